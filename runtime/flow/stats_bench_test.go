package flow

import (
	"testing"
	"unsafe"

	"github.com/marketprism/marketprism/sdk/market"
)

func TestDelayBuckets(t *testing.T) {
	if n := unsafe.Sizeof(stats{}); n > 1024 {
		t.Errorf("a stream's figures take %d bytes", n)
	}
	if delayBucket(-5) != 0 || delayBucket(delayBound(0)-1) != 0 || delayBucket(delayBound(0)) != 1 {
		t.Error("the first bound")
	}
	for i := 1; i < delayBuckets-1; i++ {
		lo, hi := delayBound(i-1), delayBound(i)
		if delayBucket(lo) != i || delayBucket(hi-1) != i || delayBucket(hi) != i+1 || hi <= lo || 4*hi > 5*lo {
			t.Errorf("bucket %d is [%d, %d): its ends are in %d, %d", i, lo, hi, delayBucket(lo), delayBucket(hi-1))
		}
	}
	if delayBucket(1<<62) != delayBuckets-1 {
		t.Error("the last bucket")
	}
}

// BenchmarkStats is what the figures cost: a record's part, with the publication
// of a burst of this many records over 8 streams.
func BenchmarkStats(b *testing.B) {
	for _, c := range []struct {
		name  string
		burst int
	}{{"burst=1", 1}, {"burst=10", 10}, {"burst=100", 100}, {"burst=1000", 1000}} {
		b.Run(c.name, func(b *testing.B) {
			l := New(Settings{})
			in := &instrument{inst: &market.Instrument{Symbol: "btc"}}
			var all [8]*stats
			for i := range all {
				all[i] = l.figures(in, newStream(market.ChannelTrades, false, 0))
			}
			h := market.BBO{Header: market.Header{Kind: market.KindBBO, Channel: market.ChannelBBO, Origin: market.OriginLive, Ts: 1e18, TsSend: market.None}}
			v := market.View(h.AppendTo(nil))
			l.recv = 1e18
			b.ReportAllocs()
			n := 0
			for i := 0; b.Loop(); i++ {
				l.recv += 1000
				l.observe(all[i&7], v)
				if n++; n == c.burst {
					l.Publish(l.recv)
					n = 0
				}
			}
		})
	}
}
