package flow_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestDuplicatesAcrossConnections(t *testing.T) {
	b := newBench(t, nil)
	b.subscribed(1, "btc")
	b.subscribed(2, "btc")
	for id := int64(1); id <= 300; id++ {
		b.frame(1, trade("btc", id))
		if id > 5 { // the second connection is five behind
			b.frame(2, trade("btc", id-5))
		}
	}
	var want []string
	for id := 1; id <= 300; id++ {
		want = append(want, fmt.Sprintf("trade btc %d", id))
	}
	b.want(want...)
	if n := b.lane.Counts.Duplicates.Load(); n != 295 {
		t.Errorf("%d duplicates were counted, want 295", n)
	}

	// The first one goes: nothing is lost, the other carries on.
	b.closed(1, "gone")
	b.frame(2, trade("btc", 301))
	b.want(append(want, "trade btc 301")...)

	// The last one goes: that is a gap.
	b.closed(2, "gone")
	b.frame(3, trade("btc", 305))
	b.want(append(want, "trade btc 301", `quality btc disconnect trades from_seq=301 detail="gone"`, `quality btc disconnect book detail="gone"`,
		`quality btc disconnect trades from_seq=301 to_seq=305 missing=3 repaired="resumed" closes`, "trade btc 305")...)
}

// TestUnnumberedRepeats: ids without an order tell a repeat on one connection too;
// what has neither id nor number is passed on.
func TestUnnumberedRepeats(t *testing.T) {
	b := newBench(t, func(s *flow.Settings) {
		s.Channels = slices.Clone(s.Channels)
		s.Channels[0].Sequence = source.SequenceNone
	})
	for _, id := range []int64{7, 3, 7, 3, 3, 9} {
		b.frame(1, trade("btc", id))
	}
	b.want("trade btc 7", "trade btc 3", "trade btc 9")
	nameless := func(o *source.Out) {
		o.Trade(&market.Trade{Header: market.Header{Instrument: o.Symbol([]byte("btc")), Channel: market.ChannelTrades, Ts: t0, TsSend: market.None, Seq: market.None,
			PrevSeq: market.None}, Price: dec("1"), Amount: dec("1"), Side: market.SideBuy, FirstID: market.None, LastID: market.None})
	}
	b.frame(1, nameless)
	b.frame(1, nameless)
	if n := b.lane.Counts.Duplicates.Load(); n != 3 {
		t.Errorf("%d duplicates were counted, want 3", n)
	}
}

func TestVenueRepeatsItself(t *testing.T) {
	b := newBench(t, nil)
	b.frame(1, trade("btc", 1))
	b.frame(1, trade("btc", 2))
	b.frame(1, trade("btc", 1))
	b.frame(1, trade("btc", 2))
	b.frame(1, trade("btc", 3))
	b.want("trade btc 1", "trade btc 2", "trade btc 3")
}

func TestTradeGap(t *testing.T) {
	b := newBench(t, nil)
	b.frame(1, trade("btc", 10))
	b.frame(1, trade("eth", 1))
	b.frame(1, trade("btc", 14))
	b.frame(1, trade("eth", 2))
	b.want("trade btc 10", "trade eth 1", "quality btc gap trades from_seq=10 to_seq=14 missing=3", "trade btc 14", "trade eth 2")
	if g, m := b.lane.Counts.Gaps.Load(), b.lane.Counts.Missing.Load(); g != 1 || m != 3 {
		t.Errorf("%d gaps and %d missing were counted, want 1 and 3", g, m)
	}
}

// What the venue sends on subscribing continues what was there, and is no gap.
func TestHistory(t *testing.T) {
	b := newBench(t, nil)
	b.frame(1, func(o *source.Out) {
		tradeOf("btc", 8, market.OriginHistory)(o)
		tradeOf("btc", 9, market.OriginHistory)(o)
	})
	b.frame(1, trade("btc", 10))
	b.closed(1, "gone")
	b.frame(2, func(o *source.Out) { // 9 and 10 are known, 11 and 12 fill the gap
		for id := int64(9); id <= 12; id++ {
			tradeOf("btc", id, market.OriginHistory)(o)
		}
	})
	b.frame(2, trade("btc", 13))
	b.want("trade btc 8", "trade btc 9", "trade btc 10", `quality btc disconnect trades from_seq=10 detail="gone"`,
		"trade btc 11", "trade btc 12", `quality btc disconnect trades from_seq=10 to_seq=13 missing=0 repaired="resumed" closes`, "trade btc 13")
}

// TestDuplicatesFarBehind: a second connection may be further behind than keys are
// remembered, also when the first has closed and after a restart. A number that
// was lost is new, whichever connection brings it.
func TestDuplicatesFarBehind(t *testing.T) {
	b := newBench(t, nil)
	b.subscribed(1, "btc")
	var want []string
	for id := int64(1); id <= 2000; id++ {
		if id == 700 {
			continue
		}
		b.frame(1, trade("btc", id))
		if id == 701 {
			want = append(want, "quality btc gap trades from_seq=699 to_seq=701 missing=1")
		}
		want = append(want, fmt.Sprint("trade btc ", id))
		if id == 1000 {
			b.subscribed(2, "btc")
		}
		if id > 1000 { // a thousand behind
			b.frame(2, trade("btc", id-1000))
			if id == 1700 {
				want = append(want, "trade btc 700")
			}
		}
	}
	b.closed(1, "replaced")
	saved := saved(t, b.lane)
	b.lane = flow.New(b.settings)
	if _, _, err := b.lane.Restore(saved); err != nil {
		t.Fatal(err)
	}
	b.plugin()
	for id := int64(1001); id <= 2001; id++ {
		b.frame(2, trade("btc", id))
	}
	b.want(append(want, "trade btc 2001")...)
}

// TestCountingAnew: a venue that begins to count anew while two connections are
// open is not taken for one that repeats.
func TestCountingAnew(t *testing.T) {
	b := newBench(t, nil)
	b.subscribed(1, "btc")
	b.subscribed(2, "btc")
	var want []string
	for id := int64(1); id <= 600; id++ {
		b.frame(1, trade("btc", id))
		want = append(want, fmt.Sprint("trade btc ", id))
	}
	for id := int64(1); id <= 100; id++ {
		b.frame(2, func(o *source.Out) {
			o.Trade(&market.Trade{Header: market.Header{Instrument: o.Symbol([]byte("btc")), Channel: market.ChannelTrades, Origin: market.OriginLive,
				Ts: t0 + 1000 + id, TsSend: market.None, Seq: id, PrevSeq: market.None}, ID: fmt.Append(nil, id), Price: dec("100.5"), Amount: dec("1"),
				Side: market.SideBuy, FirstID: market.None, LastID: market.None})
		})
		want = append(want, fmt.Sprint("trade btc ", id))
	}
	b.want(want...)
}

// TestTradeRanges: where a venue merges trades, the first of those merged
// follows the last one that came before.
func TestTradeRanges(t *testing.T) {
	b := newBench(t, func(s *flow.Settings) {
		s.Channels = slices.Clone(s.Channels)
		for i := range s.Channels {
			if s.Channels[i].Channel == market.ChannelTrades {
				s.Channels[i].Sequence = source.SequenceRange
			}
		}
	})
	merged := func(first, last int64) func(*source.Out) {
		return func(o *source.Out) {
			o.Trade(&market.Trade{Header: market.Header{Instrument: o.Symbol([]byte("btc")), Channel: market.ChannelTrades, Flags: market.FlagAggregate,
				Ts: t0, TsSend: market.None, Seq: last, PrevSeq: market.None}, ID: fmt.Append(nil, last), Price: dec("1"), Amount: dec("1"),
				Side: market.SideBuy, FirstID: first, LastID: last})
		}
	}
	b.frame(1, merged(10, 12))
	b.frame(1, merged(13, 13))
	b.frame(1, merged(14, 20))
	b.frame(1, merged(23, 24))
	b.want("trade btc 12", "trade btc 13", "trade btc 20", "quality btc gap trades from_seq=20 to_seq=24 missing=2", "trade btc 24")
}
