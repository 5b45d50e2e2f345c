package telemetry

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestLocalIsWhatAHistogramWouldBe(t *testing.T) {
	var direct, flushed Histogram
	var l Local
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 10_000 {
		d := time.Duration(r.Int64N(1<<r.IntN(50) + 1))
		if i%1000 == 0 {
			d = []time.Duration{-1, 0, 1, 1 << 62}[i/1000%4]
		}
		n := uint32(1 + r.IntN(3))
		direct.ObserveN(d, uint64(n))
		l.Observe(d, n)
		if r.IntN(7) == 0 {
			l.FlushTo(&flushed)
		}
	}
	l.FlushTo(&flushed)
	l.FlushTo(&flushed) // nothing twice
	if a, b := direct.Snapshot(), flushed.Snapshot(); *a != *b {
		t.Errorf("flushed %d in %v, want %d in %v", b.Count, b.Sum, a.Count, a.Sum)
	}
}

func BenchmarkLocalObserve(b *testing.B) {
	b.ReportAllocs()
	var h Histogram
	var l Local
	for i := 0; b.Loop(); i++ {
		l.Observe(time.Duration(i&0xfffff)*100, 1)
		if i&255 == 0 {
			l.FlushTo(&h)
		}
	}
}
