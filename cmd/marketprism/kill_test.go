package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	pq "github.com/parquet-go/parquet-go"

	"github.com/marketprism/marketprism/runtime/engine"
	"github.com/marketprism/marketprism/runtime/replay"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

var (
	kills    = flag.Int("kills", 100, "how often the kill tests kill each process")
	killRate = flag.Float64("kill-rate", 20_000, "frames a second from the emulator in the kill tests")
)

// rig is an emulator in this process and a runtime in another one that collects
// from it into Parquet.
type rig struct {
	t    *testing.T
	dir  string
	emu  *emulator.Emulator
	stop context.CancelFunc
	done chan error

	cmd    *exec.Cmd
	exited chan error
	log    *bytes.Buffer
	admin  string
	args   []string // beside those of start
}

func newRig(t *testing.T, segment, roll string) *rig {
	r := &rig{t: t, dir: t.TempDir(), done: make(chan error, 1)}
	e, err := emulator.New(emulator.Options{Venue: "binance", Rate: *killRate, Ledger: emulator.LedgerOptions{Path: filepath.Join(r.dir, "ledger"), MaxBytes: 8 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	r.emu = e
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	go func() { r.done <- e.Run(ctx) }()
	if r.admin, err = freeAddr(); err != nil {
		t.Fatal(err)
	}
	pipeline := fmt.Sprintf(`marketprism {
  data_dir = "data"
  listen   = %q
  journal { 
    max_size = "8GiB"
    segment_size = %q
    sync = "process"
  }
}
source "binance" "md" {
  symbols  = ["BTC-USDT", "ETH-USDT"]
  url      = %q
  http_url = %q
  channel "trades" {}
  channel "book" {
    depth = 100 # a light snapshot: the tests start the runtime more often a minute than the venue's budget expects
  }
}
sink "parquet" "lake" {
  input      = [source.binance.md]
  path       = "lake"
  roll_every = %q
  batch {
    max_wait = "100ms"
  }
}
`, r.admin, segment, e.URL(), e.HTTPURL(), roll)
	if err := os.WriteFile(filepath.Join(r.dir, "p.hcl"), []byte(pipeline), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

func (r *rig) close() {
	if r.cmd != nil {
		_ = r.cmd.Process.Kill()
		<-r.exited
	}
	r.stop()
	if err := <-r.done; err != nil {
		r.t.Error(err)
	}
	if err := r.emu.Close(); err != nil {
		r.t.Error(err)
	}
	if r.t.Failed() {
		tail := r.log.Bytes()
		r.t.Logf("the runtime's log ends:\n%s", tail[max(0, len(tail)-4000):])
	}
}

// start starts the runtime and waits until it collects.
func (r *rig) start() {
	exe, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	if r.log == nil {
		r.log = &bytes.Buffer{}
	}
	r.cmd = exec.Command(exe, slices.Concat([]string{"run", "--quiet", "--log-format", "json", "--plugin-restarts", "100000", "--plugin-backoff", "50ms"}, r.args, []string{"p.hcl"})...)
	r.cmd.Dir, r.cmd.Env = r.dir, append(os.Environ(), asProgram+"=1")
	r.cmd.Stderr = r.log
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.exited = make(chan error, 1)
	go func(c *exec.Cmd, to chan error) { to <- c.Wait() }(r.cmd, r.exited)
	r.wait("collecting", func(s engine.Status) bool { return s.Ready && s.Feeds[0].Records > 0 })
}

// status asks the runtime; false if it doesn't answer yet.
func (r *rig) status() (s engine.Status, ok bool) {
	resp, err := http.Get("http://" + r.admin + "/api/v1/status")
	if err != nil {
		return s, false
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return s, err == nil && json.Unmarshal(b, &s) == nil && len(s.Feeds) == 1 && len(s.Sinks) > 0
}

func (r *rig) wait(what string, ok func(engine.Status) bool) engine.Status {
	deadline := time.Now().Add(patience)
	for {
		s, up := r.status()
		if up && ok(s) {
			return s
		}
		select {
		case err := <-r.exited:
			r.cmd = nil
			r.t.Fatalf("waiting for %s: the runtime ended: %v", what, err)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("waiting for %s: %+v", what, s)
		}
	}
}

// settle stops the market and waits until all that it sent on the connection
// that is left has been read and decoded.
func (r *rig) settle() {
	r.emu.Pause()
	ledger, err := r.emu.Ledger().Entries(0)
	if err != nil {
		r.t.Fatal(err)
	}
	var conn uint32
	sent := uint64(0)
	for _, e := range ledger {
		if e.Kind != emulator.EntryFrame || e.Conn < conn {
			continue
		}
		if e.Conn > conn {
			conn, sent = e.Conn, 0
		}
		sent++
	}
	r.wait("all to be read and decoded", func(s engine.Status) bool {
		return len(s.Feeds[0].Connections) == 1 && s.Feeds[0].Connections[0].Frames >= sent && s.Feeds[0].LagBytes == 0
	})
}

// terminate ends the runtime in order.
func (r *rig) terminate() {
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	if err := <-r.exited; err != nil {
		r.t.Errorf("the runtime ended with %v", err)
	}
	r.cmd = nil
}

// frames reads the frames journal as the ledger's counterpart. Connection
// numbers start anew with each run, so the run's number stands above them.
func (r *rig) frames() []emulator.Journalled {
	rd, err := shm.OpenReader(filepath.Join(r.dir, "data/feeds/binance-spot/frames"), 0, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rd.Close()
	var out []emulator.Journalled
	run := uint64(0)
	for {
		rec, ok, err := rd.Next()
		if err != nil {
			r.t.Fatal(err)
		}
		if !ok {
			return out
		}
		switch source.InputKind(rec.Kind) {
		case source.InputNote:
			if bytes.Contains(rec.Payload, []byte(`"note":"start"`)) {
				run++
			}
		case source.InputText:
			out = append(out, emulator.Journalled{Conn: run<<32 | uint64(rec.Conn), Recv: rec.Wall, Hash: emulator.Hash(rec.Payload)})
		}
	}
}

type place struct {
	pos   uint64
	index uint16
	kind  market.Kind
	key   uint64
}

// lake reads what the Parquet files hold: how often each record is there, and
// the gaps that quality records publish.
func (r *rig) lake() (map[place]int, []emulator.Gap) {
	have, gaps := map[place]int{}, []emulator.Gap(nil)
	root := filepath.Join(r.dir, "lake")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".parquet") || strings.Contains(path, "/.tmp/") {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		kind, err := market.ParseKind(strings.SplitN(rel, "/", 2)[0])
		if err != nil {
			return err
		}
		rows, err := pq.ReadFile[struct {
			Pos    int64  `parquet:"pos"`
			Index  int32  `parquet:"index"`
			Key    int64  `parquet:"key"`
			FromTs *int64 `parquet:"from_ts,optional"`
			ToTs   *int64 `parquet:"to_ts,optional"`
			Cause  string `parquet:"cause,optional"`
		}](path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, row := range rows {
			have[place{uint64(row.Pos), uint16(row.Index), kind, uint64(row.Key)}]++
			switch {
			case kind != market.KindQuality || row.FromTs == nil:
			case row.ToTs != nil:
				gaps = append(gaps, emulator.Gap{From: *row.FromTs, To: *row.ToTs})
			case row.Cause == market.CauseStopped.String(): // the last run's end, which nothing has closed yet
				gaps = append(gaps, emulator.Gap{From: *row.FromTs, To: math.MaxInt64})
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return have, gaps
}

// check compares ledger, both journals and the lake.
func (r *rig) check(gapsAllowed bool) []emulator.Gap {
	ledger, err := r.emu.Ledger().Entries(0)
	if err != nil {
		r.t.Fatal(err)
	}
	have, gaps := r.lake()
	rep := emulator.Account(ledger, r.frames(), gaps, 0)
	r.t.Log(rep.String())
	if !rep.OK() {
		r.t.Error("ledger and journal don't balance: ", rep)
		for _, m := range rep.Unexplained[:min(3, len(rep.Unexplained))] {
			near := int64(1) << 62
			for _, g := range gaps {
				near = min(near, max(g.From-m.Due, m.Due-g.To))
			}
			r.t.Logf("frame %d of connection %d, sent %d, due %d: the nearest gap is %v away", m.Index, m.Conn, m.Time, m.Due, time.Duration(near))
		}
	}
	if !gapsAllowed && rep.Explained > 0 {
		r.t.Errorf("%d frames lie in gaps, none may be missing", rep.Explained)
	}
	records, trades := 0, 0
	err = replay.Records(filepath.Join(r.dir, "data/feeds/binance-spot/records"), "binance", market.MarketSpot, func(v market.View, _ *market.Instrument) error {
		records++
		if v.Kind() == market.KindTrade {
			trades++
		}
		p := place{v.Pos(), v.Index(), v.Kind(), v.Key()}
		switch n := have[p]; n {
		case 1:
			have[p] = -1
		case 0:
			r.t.Errorf("missing in the lake: %+v", p)
			return errors.New("stop")
		default:
			r.t.Errorf("in the lake %d times, or twice in the journal: %+v", n, p)
			return errors.New("stop")
		}
		return nil
	})
	if err != nil && !r.t.Failed() {
		r.t.Fatal(err)
	}
	if records != len(have) && !r.t.Failed() {
		r.t.Errorf("%d records in the journal, %d in the lake", records, len(have))
	}
	sent := 0
	for _, e := range ledger {
		if e.Kind == emulator.EntryFrame && e.Channel == emulator.ChannelTrades {
			sent++
		}
	}
	r.t.Logf("%d records, each in the lake once; %d trades of %d sent", records, trades, sent)
	if !gapsAllowed && trades != sent {
		r.t.Errorf("%d trades sent, %d in the lake", sent, trades)
	}
	if records == 0 || trades == 0 {
		r.t.Error("nothing was collected")
	}
	return gaps
}

func quantiles(ds []time.Duration) string {
	if len(ds) == 0 {
		return "none"
	}
	slices.Sort(ds)
	q := func(p float64) time.Duration {
		return ds[min(len(ds)-1, int(p*float64(len(ds))))].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("%d times, p50 %v, p99 %v, max %v", len(ds), q(.5), q(.99), ds[len(ds)-1].Round(100*time.Microsecond))
}

// TestKillPlugins kills the source plugin and the sink plugin again and again
// under load: no frame and no record is missing, none is there twice.
func TestKillPlugins(t *testing.T) {
	r := newRig(t, "64MiB", "2s")
	r.start()
	var source, sink []time.Duration
	for range *kills {
		s, _ := r.status()
		began := time.Now()
		if err := syscall.Kill(s.Feeds[0].Plugin.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		// The counter of frames is the connection's: reading goes on meanwhile.
		r.wait("the source to be back", func(n engine.Status) bool {
			return n.Feeds[0].Plugin.Generation > s.Feeds[0].Plugin.Generation && n.Feeds[0].Records > s.Feeds[0].Records && n.Feeds[0].LagBytes < 1<<20
		})
		source = append(source, time.Since(began))
		s, _ = r.status()
		began = time.Now()
		if err := syscall.Kill(s.Sinks[0].Plugin.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		r.wait("the sink to be back", func(n engine.Status) bool {
			return n.Sinks[0].Plugin.Generation > s.Sinks[0].Plugin.Generation && n.Sinks[0].Records > s.Sinks[0].Records
		})
		sink = append(sink, time.Since(began))
	}
	r.settle()
	r.terminate()
	t.Log("source killed ", quantiles(source))
	t.Log("sink killed ", quantiles(sink))
	r.check(false)
}

// TestKillRuntime kills the runtime again and again under load: every frame that
// the venue sent is journalled or inside a published gap, and every journalled
// record is in the Parquet output once.
func TestKillRuntime(t *testing.T) {
	r := newRig(t, "64MiB", "2s")
	for range *kills {
		r.start()
		s, _ := r.status()
		r.wait("some more records", func(n engine.Status) bool { return n.Feeds[0].Records > s.Feeds[0].Records+5000 })
		if err := r.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-r.exited
		r.cmd = nil
	}
	r.start()
	r.settle()
	r.terminate()
	var lengths []time.Duration
	for _, g := range r.check(true) {
		if g.To == math.MaxInt64 {
			continue
		}
		lengths = append(lengths, time.Duration(g.To-g.From))
	}
	t.Log("gaps published ", quantiles(lengths))
}

// TestRecordsLost takes the end of the records journal away after a kill, as a
// power failure can, since records are not synced with the frames: the lane
// begins at a checkpoint that is older than what was lost and derives it again.
func TestRecordsLost(t *testing.T) {
	r := newRig(t, "1MiB", "1h")
	r.start()
	r.wait("several segments", func(s engine.Status) bool { return s.Feeds[0].Records > 40_000 })
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.exited
	r.cmd = nil
	segments, err := filepath.Glob(filepath.Join(r.dir, "data/feeds/binance-spot/records/*.seg"))
	if err != nil || len(segments) < 6 {
		t.Fatalf("%d segments of records, want 6 at least (%v)", len(segments), err)
	}
	for _, s := range segments[len(segments)-3:] {
		if err := os.Remove(s); err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	r.settle()
	r.terminate()
	r.check(true)
	trades := 0
	err = replay.Records(filepath.Join(r.dir, "data/feeds/binance-spot/records"), "binance", market.MarketSpot, func(v market.View, _ *market.Instrument) error {
		if v.Kind() == market.KindTrade {
			trades++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	read, err := shm.OpenReader(filepath.Join(r.dir, "data/feeds/binance-spot/frames"), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	frames := 0
	for {
		rec, ok, err := read.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if source.InputKind(rec.Kind) == source.InputText && bytes.Contains(rec.Payload, []byte(`"e":"trade"`)) {
			frames++
		}
	}
	if trades != frames || frames == 0 {
		t.Errorf("%d trade frames are journalled, %d trades derived from them", frames, trades)
	}
}
