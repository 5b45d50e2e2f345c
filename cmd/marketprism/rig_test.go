package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// rig is an emulator in this process and a runtime in another one that collects
// from it.
type rig struct {
	t   *testing.T
	dir string
	emu *emulator.Emulator

	cmd    *exec.Cmd
	exited chan error
	log    lockedBuffer
	admin  string
	args   []string // beside those of start
}

// newRig starts an emulator, with a ledger unless it is off, and writes the
// pipeline. In its text "ADMIN", "URL" and "HTTP_URL" stand for addresses: where
// the runtime listens, and the emulator's two.
func newRig(t *testing.T, o emulator.Options, pipeline string) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	if !o.Ledger.Off {
		o.Ledger.Path = filepath.Join(r.dir, "ledger")
	}
	r.emu = emulator.Start(t, o)
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	r.admin = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	text := strings.NewReplacer(`"ADMIN"`, strconv.Quote(r.admin), `"URL"`, strconv.Quote(r.emu.URL()), `"HTTP_URL"`, strconv.Quote(r.emu.HTTPURL())).Replace(pipeline)
	if err := os.WriteFile(filepath.Join(r.dir, "p.hcl"), []byte(text), 0o644); err != nil {
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
	if r.t.Failed() {
		tail := r.log.String()
		r.t.Logf("the runtime's log ends:\n%s", tail[max(0, len(tail)-4000):])
	}
}

// lockedBuffer is what a process writes while it runs, and a test reads.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *lockedBuffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Reset()
}

// start starts the runtime and waits until it collects.
func (r *rig) start() {
	exe, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	r.cmd = exec.Command(exe, slices.Concat([]string{"run", "--quiet", "--log-format", "json", "--plugin-restarts", "100000", "--plugin-backoff", "50ms"}, r.args, []string{"p.hcl"})...)
	r.cmd.Dir, r.cmd.Env = r.dir, append(os.Environ(), asProgram+"=1")
	r.cmd.Stderr = &r.log
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
