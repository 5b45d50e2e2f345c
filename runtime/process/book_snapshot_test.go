package process_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/runtime/process"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

const (
	second = int64(time.Second)
	t0     = 1_700_000_000 * second
)

type venue struct{ source.Source }

func (venue) Describe() source.Manifest { return source.Manifest{Venue: "test"} }

func (venue) Identify(market.Market, string) market.Instrument { return market.Instrument{} }

// bench is a lane with one processor, between real journals.
type bench struct {
	*testing.T
	frames, records, tops *journal.Journal
	settings              flow.Settings
	lane                  *flow.Lane
	tip                   *process.BookSnapshot
	out                   *source.Out
	gen                   uint32
}

func newBench(t *testing.T, every time.Duration, depth int, pick func(*market.Instrument) bool) *bench {
	t.Helper()
	b := &bench{T: t}
	dir := t.TempDir()
	open := func(name string) *journal.Journal {
		j, _, err := journal.Open(journal.Options{Dir: filepath.Join(dir, name), SegmentBytes: 1 << 20, MaxBytes: 16 << 20})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { j.Close() })
		return j
	}
	b.frames, b.records, b.tops = open("frames"), open("records"), open("tops")
	registry, err := flow.OpenRegistry(filepath.Join(dir, "instruments.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { registry.Close() })
	b.settings = flow.Settings{Venue: "test", Market: market.MarketSpot, Registry: registry, Frames: b, Records: b.records, Logger: zerolog.Nop(),
		Channels: []source.ChannelSpec{{Channel: market.ChannelBook, Markets: []market.Market{market.MarketSpot},
			Book: &source.BookRule{Snapshot: source.SnapshotInBand, Sequence: source.Sequence{Kind: source.SequenceIncrement}}}}}
	b.start(every, depth, pick)
	return b
}

// start makes a lane and its processor with empty state.
func (b *bench) start(every time.Duration, depth int, pick func(*market.Instrument) bool) {
	b.gen++
	b.tip = process.NewBookSnapshot(every, depth, pick, b.tops)
	b.settings.Processors = []flow.Processor{b.tip}
	b.lane, b.out = flow.New(b.settings), source.NewOut(venue{}, market.MarketSpot)
}

// At implements flow.Frames.
func (b *bench) At(pos uint64) (rec shm.Record, err error) {
	r, err := shm.OpenRange(b.frames.Dir(), pos, b.frames.Tail(), nil)
	if err != nil {
		return rec, err
	}
	defer r.Close()
	rec, ok, err := r.Next()
	if !ok && err == nil {
		err = fmt.Errorf("no record at %d", pos)
	}
	return rec, err
}

func (b *bench) feed(kind source.InputKind, wall int64, decode func()) {
	b.Helper()
	pos, err := b.frames.Append(shm.Header{Kind: uint8(kind), Conn: 1, Wall: wall}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.out.Begin(&source.Input{Kind: kind, Conn: 1, Recv: wall, Pos: pos})
	if decode != nil {
		decode()
	}
	if kind > source.InputBinary {
		b.out.Echo()
	}
	if err := b.lane.Process(b.gen, pos, pos+shm.RecordBytes(0), b.out.Bytes()); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) timer(wall int64) { b.Helper(); b.feed(source.InputTimer, wall, nil) }

// book feeds a snapshot (seq 1) or a difference that sets the best bid.
func (b *bench) book(wall int64, symbol string, seq int64, bid string) {
	b.Helper()
	b.feed(source.InputText, wall, func() {
		k := market.KindBookDelta
		rec := market.Book{Bids: levels(bid), Depth: market.None, FirstSeq: market.None, Checksum: market.None}
		if seq == 1 {
			k, rec.Bids, rec.Asks = market.KindBookSnapshot, levels(bid, "9", "8", "7"), levels("20", "21", "22")
		}
		rec.Header = market.Header{Kind: k, Instrument: b.out.Symbol([]byte(symbol)), Channel: market.ChannelBook, Ts: wall, TsSend: market.None,
			Seq: seq, PrevSeq: market.None}
		b.out.Book(&rec)
	})
}

func levels(prices ...string) (out []market.Level) {
	for _, p := range prices {
		d, err := market.ParseDecimal(p)
		if err != nil {
			panic(err)
		}
		out = append(out, market.Level{Price: d, Amount: d})
	}
	return out
}

// snapshots are the processor's records in a few words: time since t0, symbol,
// sequence, bids and asks.
func (b *bench) snapshots() []string {
	b.Helper()
	r, err := shm.OpenReader(b.tops.Dir(), 0, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	var out []string
	defined := map[market.InstrumentID]bool{}
	for {
		rec, ok, err := r.Next()
		if err != nil {
			b.Fatal(err)
		}
		if !ok {
			return out
		}
		if rec.Kind == flow.KindDefine {
			for _, i := range b.settings.Registry.All("test", market.MarketSpot) {
				defined[i.ID] = defined[i.ID] || strings.Contains(string(rec.Payload), `"`+i.Symbol+`"`)
			}
			continue
		}
		v, err := market.Validate(rec.Payload)
		if err != nil {
			b.Fatal(err)
		}
		if !defined[v.Instrument()] {
			b.Errorf("a snapshot of instrument %d, which is not defined before it", v.Instrument())
		}
		if v.Kind() != market.KindBookSnapshot || v.Origin() != market.OriginDerived || v.Flags() != market.FlagApplied {
			b.Errorf("%s of origin %s with flags %#x", v.Kind(), v.Origin(), v.Flags())
		}
		side := func(ls market.Levels) string {
			var w []string
			for i := range ls.Len() {
				w = append(w, ls.At(i).Price.String())
			}
			return strings.Join(w, " ")
		}
		out = append(out, fmt.Sprintf("%v %s %d | %s | %s", time.Duration(v.TsRecv()-t0), b.settings.Registry.Get(v.Instrument()).Symbol, v.Seq(),
			side(v.Bids()), side(v.Asks())))
	}
}

func (b *bench) want(lines ...string) {
	b.Helper()
	if got := b.snapshots(); !slices.Equal(got, lines) {
		b.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}

func TestSnapshotsOnAnInterval(t *testing.T) {
	b := newBench(t, time.Second, 2, nil)
	b.timer(t0)
	b.book(t0+1e8, "eth", 1, "10")
	b.book(t0+2e8, "btc", 1, "10")
	b.timer(t0 + 5e8) // within the interval
	b.want()
	b.timer(t0 + second)
	want := []string{"1s btc 1 | 10 9 | 20 21", "1s eth 1 | 10 9 | 20 21"}
	b.want(want...)

	// A book that did not change gives none.
	b.book(t0+second+1, "btc", 2, "11")
	b.timer(t0 + 2*second)
	want = append(want, "2s btc 2 | 11 10 | 20 21")
	b.want(want...)
	b.timer(t0 + 3*second)
	b.want(want...)

	// An interval that passed without a timer is no debt.
	b.book(t0+4*second, "eth", 2, "12")
	b.timer(t0 + 9*second + 5e8)
	want = append(want, "9.5s eth 2 | 12 10 | 20 21")
	b.want(want...)
	b.book(t0+9*second+6e8, "eth", 3, "13")
	b.timer(t0 + 10*second)
	want = append(want, "10s eth 3 | 13 12 | 20 21")
	b.want(want...)

	// A void book gives none until it is whole again.
	b.book(t0+10*second+1, "eth", 9, "14")
	b.timer(t0 + 11*second)
	b.want(want...)
	b.book(t0+11*second+1, "eth", 1, "10")
	b.timer(t0 + 12*second)
	b.want(append(want, "12s eth 1 | 10 9 | 20 21")...)
}

func TestSnapshotsOfSome(t *testing.T) {
	b := newBench(t, time.Millisecond, 5, func(i *market.Instrument) bool { return i.Symbol == "btc" })
	b.book(t0+1, "eth", 1, "10")
	b.book(t0+2, "btc", 1, "10")
	b.timer(t0 + 1e8)
	b.book(t0+1e8+1, "btc", 2, "11")
	b.timer(t0 + 1e8 + 5e7) // 100 ms is the least
	b.timer(t0 + 2e8)
	b.want("100ms btc 1 | 10 9 8 7 | 20 21 22", "200ms btc 2 | 11 10 9 8 7 | 20 21 22")
}

func TestSnapshotsAfterARestart(t *testing.T) {
	b := newBench(t, time.Second, 1, nil)
	b.book(t0+1, "btc", 1, "10")
	b.book(t0+2, "eth", 1, "10")
	b.timer(t0 + second)
	b.book(t0+second+1, "btc", 2, "11")
	var saved bytes.Buffer
	if err := b.lane.Save(&saved); err != nil {
		t.Fatal(err)
	}
	b.start(time.Second, 1, nil)
	records, procs, err := b.lane.Restore(saved.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if records != b.records.Tail() || len(procs) != 1 || procs[0] != b.tops.Tail() {
		t.Errorf("the journals stood at %d and %v, they end at %d and %d", records, procs, b.records.Tail(), b.tops.Tail())
	}
	b.timer(t0 + second + 5e8) // of an interval that was done
	b.timer(t0 + 2*second)     // eth has not changed
	b.want("1s btc 1 | 10 | 20", "1s eth 1 | 10 | 20", "2s btc 2 | 11 | 20")

	for _, state := range [][]byte{nil, make([]byte, 8), make([]byte, 24)} {
		if _, err := process.NewBookSnapshot(time.Second, 1, nil, b.tops).Restore(state); err == nil {
			t.Errorf("a state of %d bytes is taken", len(state))
		}
	}
}
