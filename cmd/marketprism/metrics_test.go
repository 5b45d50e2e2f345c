package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/engine"
	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

func TestMetricsKeepToTheConventions(t *testing.T) {
	if err := telemetry.Check(allMetrics()); err != nil {
		t.Fatal(err)
	}
}

func TestMetricsDocumentIsUpToDate(t *testing.T) {
	var want bytes.Buffer
	if err := metricsDoc(&want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/metrics.md differs from what the declarations say: run make docs")
	}
}

// metricsRun is a pipeline's life with known faults, and what was scraped of it.
type metricsRun struct {
	*rig
	began time.Time

	calm     scrape // settled, before any fault
	replaced scrape // one connection has taken over from another
	limited  scrape // while the venue wants silence
	refused  scrape // while the store refuses
	silent   scrape // while the source plugin gives no account of itself
	stalled  scrape // while the source plugin is stopped
	end      scrape // settled, behind all faults
	again    scrape // settled, behind kill -9 and a new start
	before   scrape // before look

	sent             []emulator.Entry // what the venue had sent at calm
	calmStamp        time.Time
	outside          [2]outside       // before and behind end
	ledger           []emulator.Entry // at end
	venue            emulator.Stats   // at end
	looked, reloaded time.Time        // look's begin, the last reload
	endBegan         time.Time        // when end was asked for
	scraped          int
	scrapes          float64       // when end was scraped
	last             engine.Status // at end
	lastAt           time.Time
	store            time.Duration // how long the store refused
	stall            time.Duration // that the source plugin had been stopped for at stalled
}

// The faults. Each is waited for before the next, so that all are known.
const (
	lostTrades  = 3
	limitedFor  = 2 // seconds of silence that the venue wants
	sourceKills = 2 // and one stall, which is a restart as well
	sinkKills   = 1

	snapshotsAsked = 3
)

const metricsFeed = "binance-spot"

// How memory is watched: often enough that the last sample is of what is there
// now, and not long enough for anything to look like a leak.
const (
	memoryScale = 4
	memoryLimit = 1 << 30
)

func newMetricsRun(t *testing.T, rate float64, maxSize, segmentSize string) *metricsRun {
	t.Setenv("GOMEMLIMIT", fmt.Sprint(memoryLimit))
	r := &metricsRun{began: time.Now()}
	r.rig = newRig(t, emulator.Options{Venue: "binance", Rate: rate}, fmt.Sprintf(`marketprism {
  data_dir = "data"
  listen   = "ADMIN"
  journal {
    max_size     = %q
    segment_size = %q
  }
}
source "binance" "md" {
  symbols  = ["BTC-USDT", "ETH-USDT"]
  url      = "URL"
  http_url = "HTTP_URL"
  channel "trades" {}
  channel "book" {
    depth = 100
  }
}
processor "book_snapshot" "top" {
  input = source.binance.md.book
  depth = 5
  every = "1s"
}
sink "parquet" "lake" {
  input      = source.binance.md
  path       = "lake"
  roll_every = "1s"
}
sink "null" "top" {
  input = processor.book_snapshot.top
}
`, maxSize, segmentSize))
	r.args = []string{"--memory-scale", fmt.Sprint(memoryScale)}
	return r
}

func (r *metricsRun) scrape() scrape {
	r.t.Helper()
	r.scraped++
	resp, err := http.Get("http://" + r.admin + "/metrics")
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	s, err := parseScrape(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// until scrapes until ok.
func (r *metricsRun) until(what string, ok func(scrape) bool) scrape {
	r.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		s := r.scrape()
		if ok(s) {
			return s
		}
		if time.Now().After(end) {
			r.t.Fatalf("waiting for %s", what)
		}
	}
}

// reaches waits until a metric is at least n.
func (r *metricsRun) reaches(n float64, name string, labels ...string) scrape {
	r.t.Helper()
	return r.until(fmt.Sprint(name, labels, " to be ", n), func(s scrape) bool { return s.of(name, labels...) >= n })
}

func (r *metricsRun) inject(f emulator.Fault) {
	r.t.Helper()
	if err := r.emu.Inject(f); err != nil {
		r.t.Fatal(err)
	}
}

func (r *metricsRun) whole() {
	r.t.Helper()
	r.until("books and streams to be whole", func(s scrape) bool {
		return s.of("book_synced") == 2 && s.of("flow_streams_broken") == 0 && s.of("runtime_ready") == 1
	})
}

// settled stops the market, and scrapes when all is decoded and committed.
func (r *metricsRun) settled() scrape {
	r.t.Helper()
	r.settle()
	return r.until("all to be committed", func(s scrape) bool {
		return s.of("sink_lag_bytes", "sink", "parquet.lake") == 0 && s.of("flow_lag_bytes") == 0 && s.of("runtime_ready") == 1 && s.of("flow_backfilling") == 0
	})
}

func (r *metricsRun) kill(pid int, sig syscall.Signal) {
	r.t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		r.t.Fatal(err)
	}
}

// breakStore makes the lake refuse what it is given, until mend is called.
func (r *metricsRun) breakStore() (mend func()) {
	r.t.Helper()
	must := func(err error) {
		r.t.Helper()
		if err != nil {
			r.t.Fatal(err)
		}
	}
	dir := filepath.Join(r.dir, "lake")
	must(os.Rename(dir, dir+".away"))
	must(os.WriteFile(dir, nil, 0o644))
	return func() {
		must(os.Remove(dir))
		must(os.Rename(dir+".away", dir))
	}
}

func (r *metricsRun) live() {
	t := r.t
	r.start()
	r.reaches(5000, "flow_records_total", "kind", "trade")
	r.whole()
	r.calm = r.settled()
	r.calmStamp = time.Now()
	var err error
	if r.sent, err = r.emu.Ledger().Entries(0); err != nil {
		t.Fatal(err)
	}
	r.emu.Resume()

	// Faults of the venue. It says that it will close, and refuses the first try of
	// the connection that then takes over.
	r.inject(emulator.Fault{Kind: emulator.FaultStatus, Code: http.StatusServiceUnavailable, Path: "/stream"})
	r.inject(emulator.Fault{Kind: emulator.FaultShutdown})
	r.until("the connection to be replaced", func(s scrape) bool {
		return s.of("conn_replacements_total", "reason", "venue") == 1 && s.of("conn_closes_total", "reason", "replaced") == 1
	})
	r.whole()
	r.replaced = r.scrape()
	// It is asked for a snapshot, and says that it was asked too often.
	r.inject(emulator.Fault{Kind: emulator.FaultStatus, Code: http.StatusTooManyRequests, Path: "/api/v3/depth", RetryAfter: limitedFor})
	r.inject(emulator.Fault{Kind: emulator.FaultGap, Symbol: "BTCUSDT", Channel: "book"})
	r.reaches(1, "flow_gaps_total", "channel", "book", "cause", "gap")
	r.limited = r.reaches(1, "conn_rate_limited_total")
	r.whole()
	r.inject(emulator.Fault{Kind: emulator.FaultDuplicate, Symbol: "ETHUSDT", Channel: "trades"})
	r.reaches(1, "flow_duplicates_total", "channel", "trades")
	r.inject(emulator.Fault{Kind: emulator.FaultMalformed, Symbol: "ETHUSDT", Channel: "trades"})
	r.reaches(1, "flow_decode_errors_total")
	r.inject(emulator.Fault{Kind: emulator.FaultGap, Symbol: "ETHUSDT", Channel: "trades", Count: lostTrades})
	r.reaches(lostTrades, "flow_missing_total", "channel", "trades")
	r.inject(emulator.Fault{Kind: emulator.FaultReorder, Symbol: "BTCUSDT", Channel: "trades"})
	r.reaches(1, "flow_out_of_order_total", "channel", "trades")
	r.inject(emulator.Fault{Kind: emulator.FaultCrossed, Symbol: "ETHUSDT"})
	r.reaches(1, "book_crossed_total")
	r.whole()
	r.inject(emulator.Fault{Kind: emulator.FaultDisconnect})
	r.until("the disconnect to be told", func(s scrape) bool { return s.of("flow_gaps_total", "cause", "disconnect") == 4 })
	r.whole()
	r.until("history to bring what that took", func(s scrape) bool { return s.of("flow_backfilling") == 0 })

	// The store refuses, and takes again.
	began := time.Now()
	mend := r.breakStore()
	r.refused = r.until("the store to refuse and wait", func(s scrape) bool {
		return s.of("sink_retries_total", "sink", "parquet.lake") >= 2 && s.of("sink_backoff_seconds", "sink", "parquet.lake") > 0
	})
	r.store = time.Since(began)
	mend()
	rolls := r.refused.of("sink_rolls_total", "sink", "parquet.lake")
	r.reaches(rolls+1, "sink_rolls_total", "sink", "parquet.lake")

	// Processes die, and one hangs.
	for i := range sourceKills {
		s, _ := r.status()
		r.kill(s.Feeds[0].Plugin.Pid, syscall.SIGKILL)
		r.reaches(float64(i+1), "plugin_restarts_total", "plugin", "source/"+metricsFeed)
		r.whole()
	}
	s, _ := r.status()
	for _, k := range s.Sinks {
		if k.Name == "parquet.lake" {
			r.kill(k.Plugin.Pid, syscall.SIGKILL)
		}
	}
	r.reaches(sinkKills, "plugin_restarts_total", "plugin", "sink/parquet.lake")
	r.whole()
	s, _ = r.status()
	stopped := time.Now()
	r.kill(s.Feeds[0].Plugin.Pid, syscall.SIGSTOP)
	r.stalled = r.reaches(2, "flow_lag_seconds")
	r.stall = time.Since(stopped)
	r.silent = r.reaches(1, "memory_plugins_silent")
	r.reaches(1, "plugin_hangs_total")
	r.whole()

	r.settled()
	r.look()
	r.last, _ = r.status()
	r.lastAt = time.Now()

	// The runtime is killed, and started again.
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.exited
	r.cmd = nil
	r.emu.Resume()
	r.start()
	r.reaches(100, "flow_records_total", "kind", "trade")
	r.whole()
	r.again = r.settled()
	r.terminate()
}

// ask sends a request to the admin endpoints and returns its status and body.
func (r *metricsRun) ask(method, path string, header ...string) (int, []byte) {
	r.t.Helper()
	q, err := http.NewRequest(method, "http://"+r.admin+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if q.Header.Set(header[i], header[i+1]); header[i] == "Host" {
			q.Host = header[i+1]
		}
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, b
}

// look asks the admin endpoints this and that while the market stands still, and
// looks at the process from outside.
func (r *metricsRun) look() {
	t := r.t
	want := func(status int, method, path string, header ...string) []byte {
		t.Helper()
		got, b := r.ask(method, path, header...)
		if got != status {
			t.Fatalf("%s %s: status %d, want %d: %s", method, path, got, status, b)
		}
		return b
	}
	r.looked = time.Now()
	r.before = r.scrape()
	for range snapshotsAsked {
		want(200, "POST", "/api/v1/memory/snapshots")
	}
	want(404, "GET", "/api/v1/nothing")
	want(403, "GET", "/api/v1/status", "Host", "attacker.example")
	want(403, "GET", "/debug/pprof/heap")
	want(200, "GET", "/healthz")
	want(200, "GET", "/readyz")
	want(404, "GET", "/nothing")
	want(200, "POST", "/-/reload")
	name := filepath.Join(r.dir, "p.hcl")
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{append(slices.Clone(good), "sink {"...), good} {
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if len(text) > len(good) {
			want(422, "POST", "/-/reload")
		}
	}
	r.reloaded = time.Now()
	// A sample of memory that was taken of what is there now.
	n := r.scrape().of("memory_samples_total")
	r.reaches(n+1, "memory_samples_total")
	r.outside[0] = r.outsideNow()
	r.endBegan = time.Now()
	r.end = r.scrape()
	r.scrapes = float64(r.scraped)
	r.outside[1] = r.outsideNow()
	r.venue = r.emu.Stats()
	if r.ledger, err = r.emu.Ledger().Entries(0); err != nil {
		t.Fatal(err)
	}
}

// first reads the first n records of a journal.
func (r *metricsRun) first(name string, n float64) (out []shm.Record) {
	r.t.Helper()
	rd, err := shm.OpenReader(filepath.Join(r.dir, "data/feeds", metricsFeed, name), 0, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rd.Close()
	for range int(n) {
		rec, ok, err := rd.Next()
		if err != nil || !ok {
			r.t.Fatalf("%s holds %d records, %v were counted: %v", name, len(out), n, err)
		}
		rec.Payload = bytes.Clone(rec.Payload)
		out = append(out, rec)
	}
	return out
}

// kinds counts records of a records journal by kind; definitions apart.
func kinds(recs []shm.Record) (m map[string]float64, definitions float64) {
	m = map[string]float64{}
	for _, rec := range recs {
		if rec.Kind >= wire.KindDefine {
			definitions++
			continue
		}
		m[market.Kind(rec.Kind).String()]++
	}
	return m, definitions
}

func inputs(recs []shm.Record) (texts, all float64) {
	for _, rec := range recs {
		if source.InputKind(rec.Kind) == source.InputText {
			texts++
		}
	}
	return texts, float64(len(recs))
}

// TestMetrics runs a busy pipeline with faults, and compares each metric with
// what was done to it. A metric without a check fails the test.
func TestMetrics(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	var checked []string
	for name := range metricChecks {
		checked = append(checked, name)
	}
	var known []string
	for _, d := range allMetrics() {
		known = append(known, d.Name[len("marketprism_"):])
		if metricChecks[d.Name[len("marketprism_"):]] == nil {
			t.Errorf("no check says what %s must be: add one to metricChecks", d.Name)
		}
	}
	for _, name := range checked {
		if !slices.Contains(known, name) {
			t.Errorf("the check of marketprism_%s is of a metric that there isn't", name)
		}
	}
	r := newMetricsRun(t, 2000, "256MiB", "1MiB")
	r.live()
	for _, name := range slices.Sorted(maps.Keys(metricChecks)) {
		t.Run(name, func(t *testing.T) {
			if len(r.end.all(name)) == 0 && !r.absent(name) {
				t.Fatalf("marketprism_%s is not in the scrape", name)
			}
			metricChecks[name](&check{t, r})
		})
	}
	var missing []string
	for name := range r.end.types {
		if n, ours := bytes.CutPrefix([]byte(name), []byte("marketprism_")); ours && !slices.Contains(known, string(n)) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		t.Errorf("scraped, and in no catalogue: %v", missing)
	}
	for _, d := range allMetrics() {
		if got := r.end.types[d.Name]; got != "" && got != d.Type.String() {
			t.Errorf("%s is scraped as a %s, it is declared a %s", d.Name, got, d.Type)
		}
	}
	checkScrape(t, r.end.text)
}

// TestMetricsOfLoss lets retention pass a sink whose store refuses: journals so
// small that they are full within seconds.
func TestMetricsOfLoss(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	r := newMetricsRun(t, 10_000, "8MiB", "1MiB")
	r.start()
	r.whole()
	c := &check{t, r}
	mend := r.breakStore()
	passed := r.reaches(12, "journal_readers_passed_total", "journal", "records")
	c.equal(passed, 0, "sink_until_dropped_seconds", "sink", lake)
	c.between(passed, 12<<20, 40<<20, "sink_lag_bytes", "sink", lake)
	c.equal(passed, 8<<20, "journal_max_bytes", "journal", "records")
	c.between(passed, 6<<20, 8<<20, "journal_used_bytes", "journal", "records")
	c.between(passed, 2, 1e4, "journal_segments_dropped_total", "journal", "records")
	c.between(passed, 0.01, time.Since(r.began).Seconds(), "journal_retained_seconds", "journal", "records")
	c.between(passed, 0, 5, "journal_fill_seconds", "journal", "records") // it is full for good
	c.between(passed, 2, 30, "sink_lag_seconds", "sink", lake)
	c.equal(passed, 0, "sink_dropped_total", "sink", top)
	mend()
	// What is gone is dropped, whether the driver found it gone or the plugin
	// while it read; the sink goes on behind it.
	r.reaches(1, "sink_dropped_total", "sink", lake)
	r.reaches(passed.of("sink_rolls_total", "sink", lake)+3, "sink_rolls_total", "sink", lake)
	// Checkpoints can't be written.
	checkpoints := filepath.Join(r.dir, "data/feeds", metricsFeed, "checkpoints")
	if err := errors.Join(os.Rename(checkpoints, checkpoints+".away"), os.WriteFile(checkpoints, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	r.reaches(1, "checkpoint_errors_total")
	if err := errors.Join(os.Remove(checkpoints), os.Rename(checkpoints+".away", checkpoints)); err != nil {
		t.Fatal(err)
	}
	// The plugin stands still until half of the journal waits for it: connections
	// are held then.
	s, _ := r.status()
	c.equal(passed, 0, "runtime_holds_total")
	r.kill(s.Feeds[0].Plugin.Pid, syscall.SIGSTOP)
	held := r.reaches(1, "runtime_holds_total", "feed", metricsFeed)
	c.between(held, 4<<20, 8<<20, "flow_lag_bytes")
	r.kill(s.Feeds[0].Plugin.Pid, syscall.SIGCONT)
	end := r.settled()
	c.equal(end, 0, "sink_refused_total")
	r.terminate()
	dropped := r.dropped()
	if n := float64(len(dropped)); n < end.of("sink_dropped_total", "sink", lake) {
		t.Errorf("%v drops are in the log, %v were counted", n, end.of("sink_dropped_total", "sink", lake))
	}
	have, _ := r.lake()
	lost, kept := 0, 0
	for p, n := range have {
		if n != 1 {
			t.Fatalf("in the lake %d times: %+v", n, p)
		}
	}
	rd, err := shm.OpenReader(filepath.Join(r.dir, "data/feeds", metricsFeed, "records"), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	for {
		rec, ok, err := rd.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if rec.Kind >= wire.KindDefine {
			continue
		}
		v := market.View(rec.Payload)
		in := have[place{v.Pos(), v.Index(), v.Kind(), v.Key()}] > 0
		gone := slices.ContainsFunc(dropped, func(d [2]uint64) bool { return d[0] <= rec.Pos && rec.Pos < d[1] })
		switch {
		case in && gone || !in && !gone:
			t.Fatalf("the record at %d is in the lake: %v; it was dropped: %v", rec.Pos, in, gone)
		case in:
			kept++
		default:
			lost++
		}
	}
	if kept == 0 {
		t.Error("behind the loss nothing was written")
	}
	t.Logf("%d drops; of what the journal still holds %d records are in the lake, %d were dropped", len(dropped), kept, lost)
}

// dropped are the ranges of the lake that the log says are lost.
func (r *metricsRun) dropped() (ranges [][2]uint64) {
	for line := range strings.Lines(r.log.String()) {
		var l struct {
			Sink, Journal, Message string
			From, To               uint64
		}
		if json.Unmarshal([]byte(line), &l) == nil && l.Sink == lake && strings.HasPrefix(l.Message, "records were dropped for this sink") {
			ranges = append(ranges, [2]uint64{l.From, l.To})
		}
	}
	return ranges
}
