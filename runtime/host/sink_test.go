package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/ring"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// testSink submits to a sink and collects its results.
type testSink struct {
	t      testing.TB
	snk    *host.Sink
	cursor atomic.Uint64
	got    []host.Result
	cancel context.CancelFunc
	ended  chan error
}

func startSink(t testing.TB, o host.Options, spec host.SinkSpec, j *journal.Journal) *testSink {
	t.Helper()
	s := &testSink{t: t}
	s.cursor.Store(j.Tail())
	if spec.Name == "" {
		spec.Name = "file"
	}
	if spec.Access.Writes == nil && !spec.Access.Undeclared && spec.WorkDir != "" {
		spec.Access.Writes = []host.Path{{Attribute: "dir", Path: ".", Target: schema.Directory}}
	}
	if j != nil {
		spec.Journals = []host.JournalRef{{Name: "test-spot-records", Journal: j, Venue: "test", Market: market.MarketSpot,
			Cursor: s.cursor.Load}}
	}
	snk, err := host.New(o).NewSink(spec)
	if err != nil {
		t.Fatal(err)
	}
	s.snk = snk
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.ended = cancel, make(chan error, 1)
	go func() { s.ended <- snk.Run(ctx) }()
	t.Cleanup(func() {
		s.stop()
		if err := snk.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// stop ends Run and takes what is left.
func (s *testSink) stop() error {
	s.cancel()
	err := <-s.ended
	s.ended <- err
	for {
		var end error
		if s.got, end = s.snk.Results(s.got); end != nil {
			return err
		}
		if s.snk.Unanswered() == 0 {
			return err
		}
	}
}

// next waits for one result.
func (s *testSink) next() host.Result {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for len(s.got) == 0 {
		var err error
		if s.got, err = s.snk.Results(s.got); err != nil {
			s.t.Fatalf("results: %v", err)
		}
		if len(s.got) > 0 {
			break
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("no result within %v; state %+v", patience, s.snk.State())
		}
		s.snk.Wait(100 * time.Millisecond)
	}
	r := s.got[0]
	s.got = s.got[1:]
	return r
}

// appendTrade appends a trade as the runtime's lane does.
func appendTrade(t testing.TB, j *journal.Journal, id market.InstrumentID, trade string) shm.Position {
	t.Helper()
	tr := market.Trade{Header: market.Header{Instrument: id, Ts: 1}, ID: []byte(trade), Price: market.NewDecimal(1, 0), Amount: market.NewDecimal(1, 0)}
	pos, err := j.Append(shm.Header{Kind: uint8(market.KindTrade)}, tr.AppendTo(nil))
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

func appendDefine(t testing.TB, j *journal.Journal, id market.InstrumentID, symbol string) market.Instrument {
	t.Helper()
	i := market.Instrument{ID: id, Venue: "test", Market: market.MarketSpot, Symbol: symbol}
	b, _ := json.Marshal(i)
	if _, err := j.Append(shm.Header{Kind: wire.KindDefine}, b); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestSinkWrites(t *testing.T) {
	var table []market.Instrument
	j := newJournal(t, journal.Options{SegmentBytes: 64 << 10, MaxBytes: 16 << 20, Head: func() []byte {
		b, _ := json.Marshal(table)
		return b
	}})
	table = append(table, appendDefine(t, j, 1, "BTCUSDT"), appendDefine(t, j, 2, "ETHUSDT"))
	dir := t.TempDir()
	first := appendTrade(t, j, 1, "0")
	log := &buffer{}
	s := startSink(t, testOptions(log), host.SinkSpec{WorkDir: dir, Config: schema.Values{"x": int64(1)},
		Selection: []wire.Select{{Kinds: []market.Kind{market.KindTrade}, Symbols: []string{"BTCUSDT"}}}}, j)
	if r := s.next(); !r.Opened || r.Generation != 1 {
		t.Fatalf("first result %+v", r)
	}
	// Beyond a segment's end, so that tables at segment starts count, too.
	for i := 1; i < 2000; i++ {
		appendTrade(t, j, market.InstrumentID(i%2+1), fmt.Sprint(i))
	}
	end := j.Tail()
	submit := func(r ring.Request) {
		t.Helper()
		if err := s.snk.Submit(r); err != nil {
			t.Fatal(err)
		}
	}
	submit(ring.Request{Batch: 1, Op: ring.OpWrite, From: first, To: end, MaxRecords: 10})
	r := s.next()
	if r.Batch != 1 || r.Err() != nil || r.Count != 10 || r.To >= end || r.Pending == 0 {
		t.Fatalf("first batch: %+v, %v", r, r.Err())
	}
	submit(ring.Request{Batch: 2, Op: ring.OpWrite, From: r.To, To: end})
	if r = s.next(); r.Batch != 2 || r.Err() != nil || r.Count != 990 || r.To != end {
		t.Fatalf("second batch: %+v, %v", r, r.Err())
	}
	submit(ring.Request{Batch: 3, Op: ring.OpFlush, From: first, To: end, Epoch: 5})
	if r = s.next(); r.Batch != 3 || r.Err() != nil || r.Pending != 0 {
		t.Fatalf("flush: %+v, %v", r, r.Err())
	}
	// An empty range and a fault.
	submit(ring.Request{Batch: 4, Op: ring.OpWrite, From: end, To: end})
	full := appendTrade(t, j, 1, "wait")
	submit(ring.Request{Batch: 5, Op: ring.OpWrite, From: full, To: j.Tail()})
	if r = s.next(); r.Batch != 4 || r.Err() != nil || r.Count != 0 {
		t.Fatalf("empty batch: %+v, %v", r, r.Err())
	}
	if r = s.next(); fault.Of(r.Err()) != fault.Wait || fault.After(r.Err()) != 3*time.Second || r.Err().Error() != "test: full" {
		t.Fatalf("fault: %+v, %v", r, r.Err())
	}
	submit(ring.Request{Batch: 6, Op: ring.OpWrite, Journal: 9, From: full, To: j.Tail()})
	if r = s.next(); fault.Of(r.Err()) != fault.Stop {
		t.Fatalf("unknown journal: %+v, %v", r, r.Err())
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	out, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for i := 0; i < 2000; i += 2 {
		fmt.Fprintf(&want, "trade test BTCUSDT %d\n", i)
	}
	want.WriteString("flush test-spot-records 5\nclose\n")
	if string(out) != want.String() {
		t.Errorf("wrote %d bytes, not %d: …%.200q", len(out), want.Len(), out[max(0, len(out)-200):])
	}
	if !strings.Contains(log.String(), `"level":"warn","plugin":"sink.file"`) || !strings.Contains(log.String(), `"n":7,"name":"sink.file","message":"opened"`) {
		t.Errorf("the plugin's log line is not in %s", log)
	}
}

// TestSinkLapped takes segments away from below a sink: its batch ends where they
// stood, and what follows them is read.
func TestSinkLapped(t *testing.T) {
	var table []market.Instrument
	j := newJournal(t, journal.Options{SegmentBytes: 64 << 10, MaxBytes: 16 << 20, Head: func() []byte {
		b, _ := json.Marshal(table)
		return b
	}})
	table = append(table, appendDefine(t, j, 1, "BTCUSDT"))
	var at []shm.Position
	for i := range 3000 {
		at = append(at, appendTrade(t, j, 1, fmt.Sprint(i)))
	}
	segments, err := filepath.Glob(filepath.Join(j.Dir(), "*.seg"))
	if err != nil || len(segments) < 5 {
		t.Fatalf("%d segments, %v", len(segments), err)
	}
	first := func(n int) (i int) { // trade of a segment
		base, _ := shm.ParseSegmentName(filepath.Base(segments[n]))
		for at[i] < base {
			i++
		}
		return i
	}
	s := startSink(t, testOptions(io.Discard), host.SinkSpec{WorkDir: t.TempDir()}, j)
	if r := s.next(); !r.Opened {
		t.Fatalf("first result %+v", r)
	}
	if err := errors.Join(os.Remove(segments[1]), os.Remove(segments[2])); err != nil {
		t.Fatal(err)
	}
	write := func(from, to shm.Position) host.Result {
		t.Helper()
		if err := s.snk.Submit(ring.Request{Batch: 1, Op: ring.OpWrite, From: from, To: to}); err != nil {
			t.Fatal(err)
		}
		r := s.next()
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		return r
	}
	end := j.Tail()
	r := write(at[0], end)
	if r.Count != int64(first(1)) || r.To <= at[first(1)-1] || r.To > at[first(1)] {
		t.Errorf("the batch in front of the loss has %d records to %d", r.Count, r.To)
	}
	if again := write(r.To, end); again.Count != 0 || again.To != r.To {
		t.Errorf("the batch of what is lost has %d records to %d", again.Count, again.To)
	}
	if r = write(at[first(2)], end); r.Count != 0 || r.To != at[first(2)] {
		t.Errorf("the batch that begins in a segment that is gone has %d records to %d", r.Count, r.To)
	}
	if r = write(at[first(3)], end); r.Count != int64(len(at)-first(3)) || r.To != end {
		t.Errorf("the batch behind the loss has %d records to %d", r.Count, r.To)
	}
}

func TestSinkSelectsByJournal(t *testing.T) {
	for journalName, want := range map[string]int64{"": 1, "test-spot-records": 1, "another": 0} {
		j := newJournal(t, journal.Options{})
		s := startSink(t, testOptions(io.Discard), host.SinkSpec{WorkDir: t.TempDir(), Selection: []wire.Select{{Journal: journalName}}}, j)
		s.next()
		appendDefine(t, j, 1, "BTCUSDT")
		from := appendTrade(t, j, 1, "1")
		if err := s.snk.Submit(ring.Request{Batch: 1, Op: ring.OpWrite, From: from, To: j.Tail()}); err != nil {
			t.Fatal(err)
		}
		if r := s.next(); r.Err() != nil || r.Count != want {
			t.Errorf("selected from %q: %+v, %v", journalName, r, r.Err())
		}
	}
}

func TestSinkDeathLosesNoRequest(t *testing.T) {
	j := newJournal(t, journal.Options{})
	dir := t.TempDir()
	s := startSink(t, testOptions(io.Discard), host.SinkSpec{WorkDir: dir}, j)
	s.next()
	appendDefine(t, j, 1, "BTCUSDT")
	from := appendTrade(t, j, 1, "1")
	to := j.Tail()
	pid := s.snk.State().Pid
	stop(t, pid)
	for i := range ring.Slots {
		if err := s.snk.Submit(ring.Request{Batch: uint64(i), Op: ring.OpWrite, From: from, To: to}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.snk.Submit(ring.Request{}); !errors.Is(err, host.ErrFull) {
		t.Fatalf("full mailbox: %v", err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for i := range ring.Slots {
		if r := s.next(); !r.Lost || r.Batch != uint64(i) || r.Request.To != to {
			t.Fatalf("result %d: %+v", i, r)
		}
	}
	if r := s.next(); !r.Opened || r.Generation != 2 {
		t.Fatalf("after the death: %+v", r)
	}
	if err := s.snk.Submit(ring.Request{Batch: 99, Op: ring.OpWrite, From: from, To: to}); err != nil {
		t.Fatal(err)
	}
	if r := s.next(); r.Batch != 99 || r.Err() != nil || r.Count != 1 {
		t.Fatalf("again: %+v, %v", r, r.Err())
	}
}

func TestSinkReadsDefinitionsBeforeItsRange(t *testing.T) {
	// Definitions stand in records: in the range's segment before it, and in
	// the tables that begin segments.
	var table []market.Instrument
	j := newJournal(t, journal.Options{SegmentBytes: 64 << 10, MaxBytes: 16 << 20, Head: func() []byte {
		b, _ := json.Marshal(table)
		return b
	}})
	var from, to []shm.Position
	for i := range 40 {
		id := market.InstrumentID(i + 1)
		table = append(table, appendDefine(t, j, id, fmt.Sprintf("S%d", i)))
		from = append(from, appendTrade(t, j, id, fmt.Sprint(i)))
		to = append(to, j.Tail())
		for n := range 20 {
			appendTrade(t, j, id, fmt.Sprint("filler", n))
		}
	}
	dir := t.TempDir()
	s := startSink(t, testOptions(io.Discard), host.SinkSpec{WorkDir: dir}, j)
	s.next()
	order := []int{39, 0, 17, 18, 5, 38, 1, 39, 20}
	for n, i := range order {
		if err := s.snk.Submit(ring.Request{Batch: uint64(n), Op: ring.OpWrite, From: from[i], To: to[i]}); err != nil {
			t.Fatal(err)
		}
		if r := s.next(); r.Err() != nil || r.Count != 1 {
			t.Fatalf("batch %d: %+v, %v", n, r, r.Err())
		}
	}
	out, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, i := range order {
		want += fmt.Sprintf("trade test S%d %d\n", i, i)
	}
	if string(out) != want {
		t.Errorf("wrote %q, not %q", out, want)
	}
	// Without a definition there is no guessing.
	odd := appendTrade(t, j, 999, "x")
	if err := s.snk.Submit(ring.Request{Batch: 100, Op: ring.OpWrite, From: odd, To: j.Tail()}); err != nil {
		t.Fatal(err)
	}
	if r := s.next(); fault.Of(r.Err()) != fault.Stop || !strings.Contains(r.Err().Error(), "nothing defines instrument 999") {
		t.Errorf("%+v, %v", r, r.Err())
	}
}

func TestSinkHangIsFound(t *testing.T) {
	for _, how := range []string{"stopped", "write"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			j := newJournal(t, journal.Options{})
			o := testOptions(io.Discard)
			o.StallAfter, o.WriteTimeout = time.Second, 3*time.Second
			s := startSink(t, o, host.SinkSpec{WorkDir: t.TempDir()}, j)
			s.next()
			appendDefine(t, j, 1, "BTCUSDT")
			id, want := "1", "and no answer"
			if how == "write" {
				id, want = "hang", "a batch has been under way for"
			} else {
				stop(t, s.snk.State().Pid)
			}
			from := appendTrade(t, j, 1, id)
			if err := s.snk.Submit(ring.Request{Batch: 1, Op: ring.OpWrite, From: from, To: j.Tail()}); err != nil {
				t.Fatal(err)
			}
			if r := s.next(); !r.Lost || r.Batch != 1 {
				t.Fatalf("%+v", r)
			}
			if r := s.next(); !r.Opened || r.Generation != 2 {
				t.Fatalf("%+v", r)
			}
			if why := s.snk.State().Why; !strings.Contains(why, want) {
				t.Errorf("why: %s", why)
			}
			metrics(t, s.snk, map[string]float64{"up": 1, "quarantined": 0, "hangs_total": 1, "restarts_total": 1, "start_seconds": 2})
			checkUsage(t, s.snk)
		})
	}
}

func TestSinkWaitsForItsStore(t *testing.T) {
	j := newJournal(t, journal.Options{})
	dir := t.TempDir()
	s := startSink(t, testOptions(io.Discard), host.SinkSpec{WorkDir: dir, Config: schema.Values{"wait": true}}, j)
	for !strings.Contains(s.snk.State().Why, "up: no such file") {
		if _, err := s.snk.Results(nil); err != nil {
			t.Fatal(err)
		}
		s.snk.Wait(time.Millisecond)
	}
	if err := s.snk.Submit(ring.Request{}); !errors.Is(err, host.ErrNotOpen) {
		t.Errorf("submitted: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "up"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := s.next(); !r.Opened || r.Generation != 1 || s.snk.State().Restarts != 0 {
		t.Errorf("%+v, %+v", r, s.snk.State())
	}
}

func TestSinkQuarantine(t *testing.T) {
	for name, c := range map[string]struct {
		config     schema.Values
		want       string
		violations float64
	}{
		"badsink": {nil, "garbage in shared memory: 3 requests were answered of 0 made", 1},
		"file":    {schema.Values{"refuse": true}, "test: refused", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJournal(t, journal.Options{})
			s := startSink(t, testOptions(io.Discard), host.SinkSpec{Spec: host.Spec{Name: name}, WorkDir: t.TempDir(), Config: c.config}, j)
			var err error
			for deadline := time.Now().Add(patience); err == nil && time.Now().Before(deadline); {
				if s.got, err = s.snk.Results(s.got[:0]); err == nil {
					s.snk.Wait(10 * time.Millisecond)
				}
			}
			var q *host.QuarantineError
			if !errors.As(err, &q) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, not %q", err, c.want)
			}
			metrics(t, s.snk, map[string]float64{"up": 0, "quarantined": 1, "violations_total": c.violations})
		})
	}
}

// TestKilledSinkRepeats kills the process again and again: each range that has
// an answer was written, and those reported as lost are made again.
func TestKilledSinkRepeats(t *testing.T) {
	const batches, kills = 400, 8
	j := newJournal(t, journal.Options{})
	o := testOptions(io.Discard)
	o.Restart.Restarts = kills + 1
	dir := t.TempDir()
	appendDefine(t, j, 1, "BTCUSDT")
	s := startSink(t, o, host.SinkSpec{WorkDir: dir}, j)
	s.next()
	var from, to []shm.Position
	for i := range batches {
		from = append(from, appendTrade(t, j, 1, fmt.Sprint(i)))
		to = append(to, j.Tail())
	}
	answered, killed := 0, 0
	for next := 0; answered < batches; {
		for next < batches && len(s.got) == 0 { // what is lost is known before more is submitted
			err := s.snk.Submit(ring.Request{Batch: uint64(next), Op: ring.OpWrite, From: from[next], To: to[next]})
			if err != nil {
				break // full, or not open
			}
			next++
		}
		r := s.next()
		switch {
		case r.Lost:
			next = min(next, int(r.Batch))
		case r.Opened:
		case r.Err() != nil || int(r.Batch) != answered || r.Count != 1:
			t.Fatalf("after %d: %+v, %v", answered, r, r.Err())
		default:
			answered++
			if pid := s.snk.State().Pid; pid > 0 && killed < kills && answered > killed*batches/kills {
				if syscall.Kill(pid, syscall.SIGKILL) == nil {
					killed++
				}
			}
		}
	}
	if killed < kills {
		t.Fatalf("killed %d times", killed)
	}
	out, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	// At least once, in order: the sink doesn't deduplicate.
	seen := -1
	for line := range strings.Lines(string(out)) {
		var n int
		if _, err := fmt.Sscanf(line, "trade test BTCUSDT %d", &n); err != nil || n > seen+1 {
			t.Fatalf("line %q after %d", line, seen)
		}
		seen = max(seen, n)
	}
	if seen != batches-1 {
		t.Errorf("wrote up to %d", seen)
	}
}
