package pool

import (
	"math/bits"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// No constants: classes are found, and hooks called, at run time.
var (
	frameSize = 3000
	hook      = RecycleBook
)

// BenchmarkRatio takes turns between two ways of doing the same, in short runs
// on as many goroutines as there are Ps, so that whatever else the machine does
// meets both, and gives the lower quartiles, since what else runs only ever adds,
// and their quotient: x below 1 says that this pool is faster.
func BenchmarkRatio(b *testing.B) {
	b.Run("pair/sync", func(b *testing.B) {
		each(b, func(b *testing.B) {
			p := must(New(Options[object]{Name: "bench"}))
			s := sync.Pool{New: func() any { return new(object) }}
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
			hits(b, p.Stats())
		})
	})
	b.Run("burst8/sync", func(b *testing.B) {
		each(b, func(b *testing.B) {
			p := must(New(Options[object]{Name: "bench"}))
			s := sync.Pool{New: func() any { return new(object) }}
			turns(b, func(n int) {
				var held [8]Lease[object]
				for range n / 8 {
					for i := range held {
						held[i], _ = p.Lease()
						held[i].Value().words[0]++
					}
					for i := range held {
						held[i].Return()
					}
				}
			}, func(n int) {
				var held [8]*object
				for range n / 8 {
					for i := range held {
						held[i] = s.Get().(*object)
						held[i].words[0]++
					}
					for i := range held {
						s.Put(held[i])
					}
				}
			})
			hits(b, p.Stats())
		})
	})
	// A frame buffer by size class, as against an array of sync.Pool by size class.
	b.Run("frame/sync", func(b *testing.B) {
		each(b, func(b *testing.B) {
			m, err := NewMessages(MessageOptions{})
			if err != nil {
				b.Fatal(err)
			}
			var s [24]sync.Pool
			for i := range s {
				s[i].New = func() any { f := make([]byte, 1<<i); return &f }
			}
			turns(b, func(n int) {
				for range n {
					f := m.Frames.Lease(frameSize)
					f.Slice()[0]++
					f.Return()
				}
			}, func(n int) {
				for range n {
					f := s[bits.Len(uint(frameSize-1))].Get().(*[]byte)
					(*f)[0]++
					if c := cap(*f); c&(c-1) == 0 && c <= maxFrame {
						s[bits.Len(uint(c-1))].Put(f)
					}
				}
			})
		})
	})
	// A decoded message with room for 20 levels a side; filling them is no part of
	// it. The sync.Pool, too, doesn't keep giants.
	decoded := func(b *testing.B, theirs func(n int)) {
		m, err := NewMessages(MessageOptions{})
		if err != nil {
			b.Fatal(err)
		}
		turns(b, func(n int) {
			for range n {
				l, _ := m.Books.Lease()
				v := l.Value()
				v.Bids, v.Asks = room(v.Bids), room(v.Asks)
				l.Return()
			}
		}, theirs)
		hits(b, m.Books.Stats())
	}
	b.Run("decoded/sync", func(b *testing.B) {
		each(b, func(b *testing.B) {
			s := sync.Pool{New: func() any { return new(market.Book) }}
			decoded(b, func(n int) {
				for range n {
					v := s.Get().(*market.Book)
					v.Bids, v.Asks = room(v.Bids), room(v.Asks)
					if RecycleBook(v) <= maxBook {
						s.Put(v)
					}
				}
			})
		})
	})
	// What a pool does that calls a hook which it is given.
	b.Run("decoded/sync-hook", func(b *testing.B) {
		each(b, func(b *testing.B) {
			s := struct {
				sync.Pool
				recycle func(*market.Book) int
			}{sync.Pool{New: func() any { return new(market.Book) }}, hook}
			decoded(b, func(n int) {
				for range n {
					v := s.Get().(*market.Book)
					v.Bids, v.Asks = room(v.Bids), room(v.Asks)
					if s.recycle(v) <= maxBook {
						s.Put(v)
					}
				}
			})
		})
	})
	b.Run("decoded/new", func(b *testing.B) {
		each(b, func(b *testing.B) {
			decoded(b, func(n int) {
				var v *market.Book
				for range n {
					v = new(market.Book)
					v.Bids, v.Asks = room(v.Bids), room(v.Asks)
				}
				sink.Store(v)
			})
		})
	})
}

func turns(b *testing.B, ours, theirs func(n int)) {
	const ops, rounds = 8_000, 101
	round := func(f func(int)) float64 {
		var mu sync.Mutex
		best := time.Hour
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
			}
			t := time.Now()
			f(ops)
			d := time.Since(t)
			mu.Lock()
			best = min(best, d)
			mu.Unlock()
		})
		return float64(best) / ops
	}
	round(ours)
	round(theirs)
	var a, c []float64
	for range rounds {
		a = append(a, round(ours))
		c = append(c, round(theirs))
	}
	slices.Sort(a)
	slices.Sort(c)
	q := rounds / 4
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(a[q], "pool-ns")
	b.ReportMetric(c[q], "other-ns")
	b.ReportMetric(a[q]/c[q], "x")
}
