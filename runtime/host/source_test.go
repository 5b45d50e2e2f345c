package host_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"encoding/json"

	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// buffer is a log that several goroutines may write.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// testLane polls a source as the runtime's lane does: what it has taken and
// where it would start again are one state.
type testLane struct {
	t          testing.TB
	src        *host.Source
	pos        shm.Position
	remembered []wire.Remembered
	got        []string
	signals    []string
	gen        uint32
	starts     int
	names      map[market.InstrumentID]string
	batch      host.Batch
	err        error
}

func startSource(t testing.TB, o host.Options, spec host.SourceSpec, j *journal.Journal) *testLane {
	t.Helper()
	l := &testLane{t: t, pos: j.Tail()}
	if spec.Name == "" {
		spec.Name = "test"
	}
	spec.Journal = j
	spec.Settings.Market = market.MarketSpot
	spec.RestartFrom = func() (shm.Position, []wire.Remembered) {
		l.starts++
		return l.pos, l.remembered
	}
	src, err := host.New(o).NewSource(spec)
	if err != nil {
		t.Fatal(err)
	}
	l.src = src
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		l.err = <-done
		for src.Poll(&l.batch, 1<<20) == nil {
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// until polls until ok says true.
func (l *testLane) until(ok func() bool) {
	l.t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			l.t.Fatalf("not within 30 s; state %+v, at %d, got %d", l.src.State(), l.pos, len(l.got))
		}
		if l.err = l.src.Poll(&l.batch, 64<<10); l.err != nil {
			if ok() {
				return
			}
			l.t.Fatalf("poll: %v", l.err)
		}
		l.take()
		if len(l.batch.Entries) == 0 {
			l.src.Wait(100 * time.Millisecond)
		}
	}
}

func (l *testLane) take() {
	l.t.Helper()
	b := &l.batch
	if b.Generation != l.gen {
		l.gen, l.names = b.Generation, map[market.InstrumentID]string{0: "-"}
	}
	for i := range b.Entries {
		e := &b.Entries[i]
		err := b.Items(e, func(v market.View, s *source.Signal) error {
			switch {
			case v != nil:
				l.got = append(l.got, fmt.Sprintf("%s %s", l.names[v.Instrument()], v.TradeID()))
			case s.Kind == source.SignalDefine:
				var in market.Instrument
				if err := json.Unmarshal(s.Text, &in); err != nil {
					return err
				}
				l.names[s.Instrument] = in.Symbol
			default:
				l.signals = append(l.signals, fmt.Sprintf("%x %s", uint8(s.Kind), s.Text))
			}
			return nil
		})
		if err != nil {
			l.t.Fatal(err)
		}
	}
	if len(b.Entries) > 0 || b.Upto > l.pos {
		l.pos = b.Upto
	}
}

func TestSourceDecodes(t *testing.T) {
	for _, latency := range []wire.Latency{wire.Balanced, wire.Low} {
		t.Run(string(latency), func(t *testing.T) {
			j := newJournal(t, journal.Options{})
			l := startSource(t, testOptions(io.Discard), host.SourceSpec{Latency: latency}, j)
			appendFrame(t, j, source.InputOpen, "\x00\x00\x03\x00wss")
			for i := range 5000 {
				appendFrame(t, j, source.InputText, fmt.Sprintf("T S%d 1.50 2 %d", i%7, i))
			}
			appendFrame(t, j, source.InputText, "nonsense")
			appendFrame(t, j, source.InputSent, "sent")
			appendFrame(t, j, source.InputTimer, "timer")
			l.until(func() bool { return l.pos == j.Tail() })
			if len(l.got) != 5000 {
				t.Fatalf("%d records of 5000", len(l.got))
			}
			for i, g := range l.got {
				if want := fmt.Sprintf("S%d %d", i%7, i); g != want {
					t.Fatalf("record %d is %q, not %q", i, g, want)
				}
			}
			want := []string{"8b \x04", `8a test: 1 fields: "nonsense"`, "8b \x07"}
			if fmt.Sprint(l.signals) != fmt.Sprint(want) {
				t.Errorf("signals %q, not %q", l.signals, want)
			}
			if l.gen != 1 || l.starts != 1 {
				t.Errorf("generation %d, %d starts", l.gen, l.starts)
			}
			h, err := l.src.Health(context.Background())
			if err != nil || h.Frames != 5004 || h.Refused != 1 || h.Goroutines == 0 || h.HeapBytes == 0 {
				t.Errorf("health %+v, %v", h, err)
			}
			sites, err := l.src.Heap(context.Background())
			if err != nil || len(sites) == 0 || sites[0].Bytes <= 0 || sites[0].Func == "" || h.LiveBytes == 0 && h.GCCycles > 0 {
				t.Errorf("heap %+v, %v", sites, err)
			}
		})
	}
}
