package flow_test

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/crc32"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/book"
	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/runtime/process"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// lent gives a lane the pools of a process, and finds at the end of the test
// whether all was returned.
func lent(t testing.TB, s *flow.Settings) {
	levels, err := book.NewLevels(pool.MessageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := pool.NewMessages(pool.MessageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(levels.Close(), messages.Close()); err != nil {
			t.Error(err)
		}
	})
	s.Levels, s.Messages = levels, messages
}

// What books have leased goes back when they break, when they are no longer
// wanted, when a checkpoint is refused and when the lane ends.
func TestLeasesOfALane(t *testing.T) {
	b := newBench(t, func(s *flow.Settings) { lent(t, s) })
	waiting := 0 // books that hold updates for their snapshot
	leased := func(what string, want int) {
		t.Helper()
		m := b.settings.Messages
		for _, x := range []struct {
			pool.Stats
			want int
		}{{b.settings.Levels.Stats(), want}, {m.Batches.Stats(), waiting}, {m.Books.Stats(), 0}} {
			if x.Outstanding != x.want || x.Misused != 0 {
				t.Errorf("%s: of %s %d are leased, want %d; %d misused", what, x.Name, x.Outstanding, x.want, x.Misused)
			}
		}
	}
	load := func(symbol string, seq int64) {
		b.feed(input{kind: source.InputHTTP, payload: "body", decode: snapshot(symbol, seq)})
	}
	b.subscribed(1, "btc", "eth")
	load("btc", 5)
	load("eth", 5)
	leased("two books of few levels", 4)
	b.frame(1, delta("btc", 6, 6, "98", ""))
	b.frame(1, delta("btc", 9, 9, "98", "")) // 7 and 8 are missing
	waiting = 1
	leased("one is void, and holds what broke it", 2)
	held := saved(t, b.lane)
	other := flow.New(b.settings)
	if _, _, err := other.Restore(held); err != nil {
		t.Fatal(err)
	}
	waiting = 2
	leased("restored beside it", 4)
	other.Close()
	waiting = 1
	leased("which was closed", 2)
	load("btc", 10)
	waiting = 0
	leased("and mended", 4)

	state := saved(t, b.lane)
	leased("saved", 4)
	again := flow.New(b.settings)
	if _, _, err := again.Restore(state); err != nil {
		t.Fatal(err)
	}
	leased("restored", 8)
	again.Close()
	leased("and closed", 4)
	for n := 1; n < 8; n++ {
		again := flow.New(b.settings)
		if _, _, err := again.Restore(state[:len(state)*n/8]); !errors.Is(err, flow.ErrCheckpoint) {
			t.Errorf("%d eighths of a state: %v", n, err)
		}
		again.Close()
	}
	leased("refused states", 4)
	room := 0
	for ; b.lane.Save(&short{room}) != nil; room++ { // whichever part can't be written
	}
	if n := len(split(state)); room != n || n != 3 {
		t.Errorf("%d writes for %d parts", room, n)
	}
	leased("states that could not be written", 4)

	b.note(0, flow.Note{Note: flow.NoteUnsubscribed, Subs: []source.Subscription{{Channel: market.ChannelBook, Symbol: "btc"}}})
	leased("one is no longer wanted", 2)
	b.lane.Close()
	leased("closed", 0)
}

// short takes some writes.
type short struct{ n int }

func (s *short) Write(b []byte) (int, error) {
	if s.n == 0 {
		return 0, errors.New("no space left")
	}
	s.n--
	return len(b), nil
}

// split takes a checkpoint's parts apart.
func split(state []byte) (out [][]byte) {
	for len(state) > 0 {
		n := binary.LittleEndian.Uint32(state)
		out = append(out, state[8:8+n])
		state = state[8+n:]
	}
	return out
}

// A checkpoint of the version before, which had the books' states within, is
// taken as well.
func TestCheckpointOfVersion2(t *testing.T) {
	b := newBench(t, func(s *flow.Settings) { lent(t, s) })
	b.subscribed(1, "btc", "eth")
	for i, symbol := range []string{"btc", "eth"} {
		b.feed(input{kind: source.InputHTTP, payload: "body", decode: snapshot(symbol, int64(5+i))})
	}
	state := split(saved(t, b.lane))
	type instrument struct {
		ID      market.InstrumentID
		Book    []byte
		Version uint64
	}
	old := struct {
		Version, Layout int
		Frames, Records uint64
		Insts           []instrument
	}{2, market.LayoutVersion, 64, 128, []instrument{{1, state[1], 7}, {2, state[2], 8}}}
	var buf bytes.Buffer
	buf.Write(make([]byte, 8))
	if err := gob.NewEncoder(&buf).Encode(old); err != nil {
		t.Fatal(err)
	}
	text := buf.Bytes()
	binary.LittleEndian.PutUint32(text, uint32(len(text)-8))
	binary.LittleEndian.PutUint32(text[4:], crc32.Checksum(text[8:], crc32.MakeTable(crc32.Castagnoli)))
	again := flow.New(b.settings)
	if records, _, err := again.Restore(text); err != nil || records != 128 || again.Next() != 64 {
		t.Fatalf("records at %d, frames at %d: %v", records, again.Next(), err)
	}
	if got := split(saved(t, again)); len(got) != 3 || !bytes.Equal(got[1], state[1]) || !bytes.Equal(got[2], state[2]) {
		t.Errorf("%d parts, or other books", len(got))
	}
	if n := again.Counts.BooksSynced.Load(); n != 2 {
		t.Errorf("%d books in step", n)
	}
	again.Close()
	b.lane.Close()
}

// A tick borrows what it needs, and returns it where the journal refuses, too.
func TestLeasesOfAProcessor(t *testing.T) {
	b := newBench(t, func(s *flow.Settings) { lent(t, s) })
	tops := &refusing{}
	p := process.NewBookSnapshot(time.Second, 5, nil, tops)
	b.feed(input{kind: source.InputHTTP, payload: "body", decode: snapshot("btc", 5)})
	for now := range int64(3) {
		tops.refuse = now > 0
		b.frame(1, delta("btc", 6+now, 6+now, "98", ""))
		if err := p.Tick((now+1)*1e9, b.lane); (err != nil) != tops.refuse {
			t.Errorf("tick %d: %v", now, err)
		}
	}
	if s := b.settings.Messages.Books.Stats(); s.Leases != 3 || s.Outstanding != 0 {
		t.Errorf("%+v", s)
	}
	b.lane.Close()
}

// refusing is a journal that may be full.
type refusing struct {
	refuse bool
	tail   uint64
}

func (r *refusing) Append(_ shm.Header, b []byte) (uint64, error) {
	if r.refuse {
		return 0, errors.New("no space left")
	}
	r.tail += 8
	return r.tail - 8, nil
}

func (r *refusing) Tail() uint64 { return r.tail }

// deep emits a snapshot of n levels a side.
func deep(symbol string, n int64) func(*source.Out) {
	return func(o *source.Out) {
		b := market.Book{Header: bookHeader(o, symbol, market.KindBookSnapshot, 5), Depth: market.None, FirstSeq: market.None, Checksum: market.None}
		for i := range n {
			b.Bids = append(b.Bids, market.Level{Price: market.NewDecimal(100_000-i, 2), Amount: dec("1.5")})
			b.Asks = append(b.Asks, market.Level{Price: market.NewDecimal(100_001+i, 2), Amount: dec("1.5")})
		}
		o.Book(&b)
	}
}

// BenchmarkSave writes a checkpoint of 64 books of 1,000 levels a side, and says
// how much of it is allocated.
func BenchmarkSave(b *testing.B) {
	const books = 64
	x := newBench(b, func(s *flow.Settings) { lent(b, s) })
	defer x.lane.Close()
	for i := range books {
		symbol := fmt.Sprint("s", i)
		x.feed(input{kind: source.InputHTTP, payload: "body", decode: deep(symbol, 1000)})
	}
	size := int64(len(saved(b, x.lane)))
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		if err := x.lane.Save(nowhere{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size), "B/checkpoint")
}

type nowhere struct{}

func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
