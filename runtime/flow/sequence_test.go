package flow_test

import (
	"slices"
	"testing"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// numbered is a venue that counts the frames of a connection, as Coinbase does.
func numbered(s *flow.Settings) {
	s.Channels = []source.ChannelSpec{
		{Channel: market.ChannelTrades, Markets: spot, Sequence: source.SequenceIncrement},
		{Channel: market.ChannelBBO, Markets: spot},
		{Channel: market.ChannelBook, Markets: spot, Book: &source.BookRule{Snapshot: source.SnapshotInBand, Recovery: source.RecoverResubscribe,
			Sequence: source.Sequence{Kind: source.SequenceIncrement, Scope: source.ScopeConnection}}},
	}
}

func counted(n int64, more ...func(*source.Out)) func(*source.Out) {
	return func(o *source.Out) {
		o.Sequence(n)
		for _, f := range more {
			f(o)
		}
	}
}

func booked(symbol string, k market.Kind, n int64) func(*source.Out) {
	return func(o *source.Out) {
		b := market.Book{Header: market.Header{Kind: k, Instrument: o.Symbol([]byte(symbol)), Channel: market.ChannelBook, Ts: t0 + n, TsSend: market.None,
			Seq: n, PrevSeq: market.None}, Depth: market.None, FirstSeq: market.None, Checksum: market.None,
			Bids: []market.Level{{Price: dec("9"), Amount: dec("1")}}, Asks: []market.Level{{Price: dec("10"), Amount: dec("1")}}}
		o.Book(&b)
	}
}

// TestConnectionSequence: a frame that is missing on a connection voids its books,
// also after a restart from a checkpoint and with a new decoder, and those of no
// other connection.
func TestConnectionSequence(t *testing.T) {
	b := newBench(t, numbered)
	synced := func(when string, want int64) {
		t.Helper()
		if got := b.lane.Counts.BooksSynced.Load(); got != want {
			t.Fatalf("%s: %d books are synchronised, want %d", when, got, want)
		}
	}
	b.frame(1, counted(0, booked("btc", market.KindBookSnapshot, 0)))
	b.frame(1, counted(1, booked("eth", market.KindBookSnapshot, 1)))
	b.frame(2, counted(0, booked("sol", market.KindBookSnapshot, 0)))
	b.frame(1, counted(2)) // a heartbeat
	b.frame(1, counted(3, booked("btc", market.KindBookDelta, 3)))
	b.frame(1, counted(3, booked("btc", market.KindBookDelta, 3))) // the frame again
	synced("all frames came", 3)
	state := saved(t, b.lane)
	b.lane = flow.New(b.settings)
	if _, _, err := b.lane.Restore(state); err != nil {
		t.Fatal(err)
	}
	b.plugin()
	b.frame(1, counted(5)) // 4 is missing
	synced("a frame of the first connection is missing", 1)
	if want := []string{"resubscribe book btc", "resubscribe book eth"}; !slices.Equal(b.asked, want) {
		t.Errorf("asked %q, want %q", b.asked, want)
	}
	b.frame(1, counted(6, booked("btc", market.KindBookDelta, 6)))
	synced("changes come before the snapshot", 1)
	b.frame(1, counted(7, booked("btc", market.KindBookSnapshot, 7)))
	b.frame(1, counted(8, booked("eth", market.KindBookSnapshot, 8)))
	synced("the snapshots came", 3)
	b.feed(input{kind: source.InputClose, conn: 1, payload: "over"})
	synced("the connection closed", 1)
	b.frame(1, counted(100)) // the number of the connection is forgotten with it
	synced("another of its number began", 1)
}

// TestConnectionTakeover: changes of another connection don't continue a book,
// for its numbers say nothing of what the first one brought.
func TestConnectionTakeover(t *testing.T) {
	b := newBench(t, numbered)
	b.frame(1, counted(0, booked("btc", market.KindBookSnapshot, 0)))
	b.frame(2, counted(0, booked("btc", market.KindBookSnapshot, 0)))
	b.frame(1, counted(1, booked("btc", market.KindBookDelta, 1))) // repeated: the second connection has taken over
	if n := b.lane.Counts.Duplicates.Load(); n != 1 {
		t.Errorf("%d duplicates", n)
	}
	b.feed(input{kind: source.InputClose, conn: 2, payload: "over"})
	b.frame(1, counted(2, booked("btc", market.KindBookDelta, 2)))
	if n := b.lane.Counts.BooksSynced.Load(); n != 0 || len(b.asked) == 0 {
		t.Errorf("%d books are synchronised, asked %q", n, b.asked)
	}
}

// TestNewestFirst: a frame whose newest trade stands first is in order; what is
// missing before it, or within it, is counted.
func TestNewestFirst(t *testing.T) {
	b := newBench(t, nil)
	frame := func(origin market.Origin, ids ...int64) {
		b.frame(1, func(o *source.Out) {
			for i, id := range ids {
				x := market.Trade{Header: market.Header{Instrument: o.Symbol([]byte("btc")), Channel: market.ChannelTrades, Origin: origin, Ts: t0,
					TsSend: market.None, Seq: id, PrevSeq: market.None}, ID: []byte{byte('a' + id)}, Price: dec("1"), Amount: dec("1"),
					Side: market.SideBuy, FirstID: market.None, LastID: market.None}
				if i == 0 && len(ids) > 1 {
					x.PrevSeq = id - int64(len(ids))
				}
				o.Trade(&x)
			}
		})
	}
	frame(market.OriginLive, 1)
	frame(market.OriginLive, 4, 3, 2)
	frame(market.OriginLive, 5)
	frame(market.OriginLive, 8, 7)
	b.want("trade btc 1", "trade btc 4", "trade btc 3", "trade btc 2", "trade btc 5", "quality btc gap trades from_seq=5 to_seq=8 missing=1", "trade btc 8", "trade btc 7")
	b.feed(input{kind: source.InputClose, conn: 1, payload: "over"})
	frame(market.OriginHistory, 12, 11) // 9 and 10 are beyond its reach
	frame(market.OriginLive, 13)
	if n := b.lane.Counts.Missing.Load(); n != 3 {
		t.Errorf("%d are missing", n)
	}
}

// TestRenewedInVain: where a snapshot can be had by a request too, it is asked for
// once the renewed subscription has not brought one.
func TestRenewedInVain(t *testing.T) {
	b := newBench(t, func(s *flow.Settings) {
		s.Channels = []source.ChannelSpec{{Channel: market.ChannelBook, Markets: spot, Book: &source.BookRule{Snapshot: source.SnapshotHTTP,
			Recovery: source.RecoverResubscribe, Sequence: source.Sequence{Kind: source.SequenceRange, Start: source.StartRange}}}}
	})
	b.frame(1, snapshot("btc", 10))
	b.frame(1, delta("btc", 12, 12, "99", "")) // 11 is missing
	b.frame(1, delta("btc", 13, 13, "98", ""))
	b.timer(b.wall + 14*second)
	if want := []string{"resubscribe book btc"}; !slices.Equal(b.asked, want) {
		t.Fatalf("asked %q, want %q", b.asked, want)
	}
	b.timer(b.wall + 2*second)
	if want := []string{"resubscribe book btc", "snapshot btc"}; !slices.Equal(b.asked, want) {
		t.Errorf("asked %q, want %q", b.asked, want)
	}
	b.frame(0, snapshot("btc", 12))
	if n := b.lane.Counts.BooksSynced.Load(); n != 1 {
		t.Error("the snapshot mended nothing")
	}
}

// TestSubscriptionTakeover: where each subscription counts for itself, the numbers
// of two connections that bring a book are never compared; a hole within one of
// them breaks the book.
func TestSubscriptionTakeover(t *testing.T) {
	b := newBench(t, func(s *flow.Settings) {
		s.Channels = []source.ChannelSpec{{Channel: market.ChannelBook, Markets: spot, Book: &source.BookRule{Snapshot: source.SnapshotInBand,
			Recovery: source.RecoverResubscribe, Sequence: source.Sequence{Kind: source.SequenceIncrement, Scope: source.ScopeSubscription}}}}
	})
	synced := func(when string, want int64) {
		t.Helper()
		if got := b.lane.Counts.BooksSynced.Load(); got != want {
			t.Fatalf("%s: %d books are synchronised, want %d", when, got, want)
		}
	}
	b.subscribed(1, "btc")
	b.frame(1, booked("btc", market.KindBookSnapshot, 1000))
	b.frame(1, booked("btc", market.KindBookDelta, 1001))
	b.subscribed(2, "btc")
	b.frame(2, booked("btc", market.KindBookSnapshot, 10)) // takes over
	b.frame(1, booked("btc", market.KindBookDelta, 1002))
	b.frame(2, booked("btc", market.KindBookDelta, 11))
	b.frame(1, booked("btc", market.KindBookDelta, 1003))
	b.frame(2, booked("btc", market.KindBookDelta, 12))
	synced("both bring it", 1)
	if d, g := b.lane.Counts.Duplicates.Load(), b.lane.Counts.Gaps.Load(); d != 2 || g != 0 || len(b.asked) > 0 {
		t.Errorf("%d duplicates, %d gaps, asked %q", d, g, b.asked)
	}
	b.frame(2, booked("btc", market.KindBookDelta, 14))
	synced("a number is missing", 0)
	if want := []string{"resubscribe book btc"}; !slices.Equal(b.asked, want) {
		t.Errorf("asked %q, want %q", b.asked, want)
	}
	b.frame(2, booked("btc", market.KindBookSnapshot, 20))
	synced("the subscription was renewed", 1)
	b.feed(input{kind: source.InputClose, conn: 2, payload: "over"})
	b.frame(1, booked("btc", market.KindBookDelta, 1004)) // follows nothing that the book holds
	synced("the connection that counted is gone", 0)
}
