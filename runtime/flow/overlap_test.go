package flow_test

import (
	"slices"
	"testing"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/sdk/market"
	"pgregory.net/rapid"
)

// TestOverlap has a second connection run ahead of the first: what it skips is
// no gap until the first one can't bring it any more.
func TestOverlap(t *testing.T) {
	both := func(t *testing.T) *bench {
		b := newBench(t, nil)
		b.subscribed(1, "A")
		b.frame(1, trade("A", 1))
		b.subscribed(2, "A")
		b.frame(2, trade("A", 5)) // 2 to 4 may yet come by connection 1
		return b
	}
	t.Run("filled", func(t *testing.T) {
		b := both(t)
		for id := int64(2); id <= 6; id++ {
			b.frame(1, trade("A", id))
		}
		b.closed(1, "replaced")
		b.frame(2, trade("A", 6))
		b.frame(2, trade("A", 7))
		b.want("trade A 1", "trade A 5", "trade A 2", "trade A 3", "trade A 4", "trade A 6", "trade A 7")
	})
	t.Run("passed", func(t *testing.T) { // it lacks 3 as well
		b := both(t)
		b.frame(1, trade("A", 2))
		b.frame(1, trade("A", 4))
		b.frame(1, trade("A", 5))
		b.want("trade A 1", "trade A 5", "trade A 2", "trade A 4", "quality A gap trades from_seq=2 to_seq=4 missing=1")
	})
	t.Run("ended", func(t *testing.T) {
		b := both(t)
		b.frame(1, trade("A", 3))
		b.closed(1, "network")
		b.want("trade A 1", "trade A 5", "trade A 3", "quality A gap trades from_seq=1 to_seq=3 missing=1", "quality A gap trades from_seq=3 to_seq=5 missing=1")
	})
	t.Run("overdue", func(t *testing.T) {
		b := both(t)
		b.timer(b.wall + 1e9)
		b.timer(b.wall + 3e9)
		b.want("trade A 1", "trade A 5", "quality A gap trades from_seq=1 to_seq=5 missing=3")
	})
	t.Run("restart", func(t *testing.T) { // a checkpoint holds what may yet come
		b := both(t)
		saved := saved(t, b.lane)
		b.lane = flow.New(b.settings)
		b.plugin()
		records, _, err := b.lane.Restore(saved)
		if err == nil {
			err = b.lane.Output().Resume(b.records.Dir(), records, b.records.Tail())
		}
		if err != nil {
			t.Fatal(err)
		}
		b.frame(1, trade("A", 2))
		b.closed(1, "network")
		b.want("trade A 1", "trade A 5", "trade A 2", "quality A gap trades from_seq=2 to_seq=5 missing=2")
	})
}

// TestOverlapProperty delivers numbers by two connections with any skew and any
// losses: each that came is recorded once, and the gaps are what came by none.
func TestOverlapProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const n = 40
		b := newBench(t, nil)
		b.subscribed(1, "A")
		b.subscribed(2, "A")
		b.frame(1, trade("A", 1))
		var queues [2][]int64
		come := map[int64]bool{1: true}
		for id := int64(2); id <= n; id++ {
			for c := range queues {
				if id == n || rapid.IntRange(0, 3).Draw(rt, "lost") > 0 {
					queues[c] = append(queues[c], id)
					come[id] = true
				}
			}
		}
		for len(queues[0])+len(queues[1]) > 0 {
			c := rapid.IntRange(0, 1).Draw(rt, "connection")
			if len(queues[c]) == 0 {
				c = 1 - c
			}
			b.frame(uint32(c+1), trade("A", queues[c][0]))
			queues[c] = queues[c][1:]
		}
		var ids, missing []int64
		for _, r := range b.read(b.records) {
			switch r.Kind() {
			case market.KindTrade:
				ids = append(ids, r.Seq())
			case market.KindQuality:
				var from, to, count int64
				for _, f := range market.Fields(market.KindQuality) {
					switch f.Name {
					case "from_seq":
						from = r.Int(f.Offset)
					case "to_seq":
						to = r.Int(f.Offset)
					case "missing":
						count = r.Int(f.Offset)
					}
				}
				if count != to-from-1 {
					rt.Fatalf("%d missing from %d to %d", count, from, to)
				}
				for id := from + 1; id < to; id++ {
					missing = append(missing, id)
				}
			}
		}
		var wantIDs, wantMissing []int64
		for id := int64(1); id <= n; id++ {
			if come[id] {
				wantIDs = append(wantIDs, id)
			} else {
				wantMissing = append(wantMissing, id)
			}
		}
		slices.Sort(ids)
		slices.Sort(missing)
		if !slices.Equal(ids, wantIDs) || !slices.Equal(missing, wantMissing) {
			rt.Fatalf("recorded %v, want %v; gaps %v, want %v", ids, wantIDs, missing, wantMissing)
		}
	})
}

// TestOverlapOfBooks delivers a book by two connections with any skew and any
// losses. While each delta comes by one of them at least, all are applied, each
// once, and nothing is published; else there is a gap.
func TestOverlapOfBooks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const n = 30
		b := newBench(t, nil)
		b.subscribed(1, "A")
		b.subscribed(2, "A")
		b.frame(1, delta("A", 9, 11, "99.5", ""))
		b.frame(0, snapshot("A", 10))
		var queues [2][]int64
		lost := false
		for id := int64(12); id <= n; id++ {
			by := rapid.SampledFrom([]int{1, 2, 3, 3, 3, 3, 3, 3}).Draw(rt, "by")
			if rapid.IntRange(0, 60).Draw(rt, "lost") == 0 && id < n {
				by, lost = 0, true
			}
			for c := range queues {
				if by&(1<<c) != 0 || id == n {
					queues[c] = append(queues[c], id)
				}
			}
		}
		for len(queues[0])+len(queues[1]) > 0 {
			c := rapid.IntRange(0, 1).Draw(rt, "connection")
			if len(queues[c]) == 0 {
				c = 1 - c
			}
			b.frame(uint32(c+1), delta("A", queues[c][0], queues[c][0], "99.5", ""))
			queues[c] = queues[c][1:]
		}
		last, gaps := int64(10), 0
		for _, r := range b.read(b.records) {
			switch {
			case r.Kind() == market.KindQuality:
				gaps++
			case r.Kind() == market.KindBookDelta && !lost:
				if r.Seq() != last+1 || r.Flags()&market.FlagApplied == 0 {
					rt.Fatalf("delta %d after %d, flags %v", r.Seq(), last, r.Flags())
				}
				last = r.Seq()
			}
		}
		if !lost && (gaps > 0 || last != n) {
			rt.Fatalf("%d gaps, last delta %d", gaps, last)
		}
		if lost && gaps == 0 {
			rt.Fatal("a delta came by no connection, and no gap is published")
		}
	})
}
