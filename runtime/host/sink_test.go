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
	deadline := time.Now().Add(30 * time.Second)
	for len(s.got) == 0 {
		var err error
		if s.got, err = s.snk.Results(s.got); err != nil {
			s.t.Fatalf("results: %v", err)
		}
		if len(s.got) > 0 {
			break
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("no result within 30 s; state %+v", s.snk.State())
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
