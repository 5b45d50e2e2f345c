package pool

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkRatio takes turns between this pool and sync.Pool in short runs, so
// that whatever else the machine does meets both, and gives the medians'
// quotient: x-sync below 1 says that this pool is faster.
func BenchmarkRatio(b *testing.B) {
	each(b, func(b *testing.B) {
		p := must(New(Options[object]{Name: "bench"}))
		var s sync.Pool
		s.New = func() any { return new(object) }
		turns(b, func(n int) {
			for range n {
				l, _ := p.Lease()
				l.Value().words[0]++
				l.Return()
			}
		}, func(n int) {
			for range n {
				o := s.Get().(*object)
				o.words[0]++
				s.Put(o)
			}
		})
	})
}

// turns runs two ways of doing the same on as many goroutines as there are Ps.
func turns(b *testing.B, ours, theirs func(n int)) {
	const n = 20_000
	var a, c []float64
	round := func(f func(int)) float64 {
		took := make([]float64, 0, 8)
		var mu sync.Mutex
		b.SetParallelism(1)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
			}
			t := time.Now()
			f(n)
			d := float64(time.Since(t)) / n
			mu.Lock()
			took = append(took, d)
			mu.Unlock()
		})
		return slices.Min(took)
	}
	round(ours)
	round(theirs)
	for range 41 {
		a = append(a, round(ours))
		c = append(c, round(theirs))
	}
	slices.Sort(a)
	slices.Sort(c)
	b.ReportMetric(a[len(a)/2], "pool-ns")
	b.ReportMetric(c[len(c)/2], "sync-ns")
	b.ReportMetric(a[len(a)/2]/c[len(c)/2], "x-sync")
}
