package pool

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
)

// object is what both pools hold in the bare comparison.
type object struct{ words [16]uint64 }

// collecting runs collections one after the other beside a benchmark.
func collecting(b *testing.B, on bool) {
	if !on {
		return
	}
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			runtime.GC()
		}
	}()
	b.Cleanup(func() { stop.Store(true); <-done })
}

// each runs f without and with collections beside it.
func each(b *testing.B, f func(*testing.B)) {
	for _, gc := range []bool{false, true} {
		name := "gc=off"
		if gc {
			name = "gc=on"
		}
		b.Run(name, func(b *testing.B) {
			collecting(b, gc)
			b.ReportAllocs()
			f(b)
		})
	}
}

func must[T any](p *Pool[T], err error) *Pool[T] {
	if err != nil {
		panic(err)
	}
	return p
}

func hits(b *testing.B, s Stats) { b.ReportMetric(100*s.HitRate(), "hit%") }

// BenchmarkPair leases one object and returns it.
func BenchmarkPair(b *testing.B) {
	b.Run("pool", func(b *testing.B) {
		each(b, func(b *testing.B) {
			p := must(New(Options[object]{Name: "bench"}))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					l, _ := p.Lease()
					l.Value().words[0]++
					l.Return()
				}
			})
			hits(b, p.Stats())
		})
	})
	b.Run("sync", func(b *testing.B) {
		each(b, func(b *testing.B) {
			var made atomic.Int64
			p := sync.Pool{New: func() any { made.Add(1); return new(object) }}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					o := p.Get().(*object)
					o.words[0]++
					p.Put(o)
				}
			})
			b.ReportMetric(100*(1-float64(made.Load())/float64(b.N)), "hit%")
		})
	})
}

// BenchmarkBurst leases 8 objects and returns them.
func BenchmarkBurst(b *testing.B) {
	b.Run("pool", func(b *testing.B) {
		each(b, func(b *testing.B) {
			p := must(New(Options[object]{Name: "bench"}))
			b.RunParallel(func(pb *testing.PB) {
				var held [8]Lease[object]
				for pb.Next() {
					for i := range held {
						held[i], _ = p.Lease()
						held[i].Value().words[0]++
					}
					for i := range held {
						held[i].Return()
					}
				}
			})
			hits(b, p.Stats())
		})
	})
	b.Run("sync", func(b *testing.B) {
		each(b, func(b *testing.B) {
			var made atomic.Int64
			p := sync.Pool{New: func() any { made.Add(1); return new(object) }}
			b.RunParallel(func(pb *testing.PB) {
				var held [8]*object
				for pb.Next() {
					for i := range held {
						held[i] = p.Get().(*object)
						held[i].words[0]++
					}
					for i := range held {
						p.Put(held[i])
					}
				}
			})
			b.ReportMetric(100*(1-float64(made.Load())/float64(8*b.N)), "hit%")
		})
	})
}

const benchLevels = 20

func fill(m *market.Book) {
	m.Kind = market.KindBookDelta
	for i := range int64(benchLevels) {
		m.Bids = append(m.Bids, market.Level{Price: market.NewDecimal(100-i, 2), Amount: market.NewDecimal(i, 0)})
		m.Asks = append(m.Asks, market.Level{Price: market.NewDecimal(101+i, 2), Amount: market.NewDecimal(i, 0)})
	}
}

var sink atomic.Pointer[market.Book]

// BenchmarkDecoded gets a decoded book message with room for 20 levels a side.
// The work of decoding isn't in it: filling is the same for all three.
func BenchmarkDecoded(b *testing.B) {
	b.Run("pool", func(b *testing.B) {
		each(b, func(b *testing.B) {
			m, err := NewMessages(MessageOptions{})
			if err != nil {
				b.Fatal(err)
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					l, _ := m.Books.Lease()
					v := l.Value()
					v.Bids, v.Asks = room(v.Bids), room(v.Asks)
					l.Return()
				}
			})
			hits(b, m.Books.Stats())
		})
	})
	b.Run("sync", func(b *testing.B) {
		each(b, func(b *testing.B) {
			p := sync.Pool{New: func() any { return new(market.Book) }}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					v := p.Get().(*market.Book)
					v.Bids, v.Asks = room(v.Bids), room(v.Asks)
					if RecycleBook(v) <= maxBook {
						p.Put(v)
					}
				}
			})
		})
	})
	b.Run("new", func(b *testing.B) {
		each(b, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				var v *market.Book
				for pb.Next() {
					v = new(market.Book)
					v.Bids, v.Asks = room(v.Bids), room(v.Asks)
				}
				sink.Store(v)
			})
		})
	})
}

// room makes a side as long as a message's.
func room(l []market.Level) []market.Level {
	if cap(l) < benchLevels {
		l = make([]market.Level, benchLevels)
	}
	l = l[:benchLevels]
	l[0].Amount, l[benchLevels-1].Amount = market.NewDecimal(1, 0), market.NewDecimal(2, 0)
	return l
}

// BenchmarkBody inflates an HTTP body of 256 KiB: into memory that grows, by a
// new decompressor, as against pools for both.
func BenchmarkBody(b *testing.B) {
	body := make([]byte, 256<<10)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range body {
		body[i] = "0123456789,[]."[r.IntN(14)]
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(body)
	z.Close()
	// grow makes room as append does, or from the pool.
	inflate := func(z *gzip.Reader, buf []byte, grow func([]byte) []byte) int {
		n := 0
		for {
			if n == len(buf) {
				buf = grow(buf)
			}
			m, err := z.Read(buf[n:])
			if n += m; err == io.EOF {
				return n
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			z, err := gzip.NewReader(bytes.NewReader(packed.Bytes()))
			if err != nil {
				b.Fatal(err)
			}
			if n := inflate(z, make([]byte, 4096), func(o []byte) []byte { o = append(o, 0); return o[:cap(o)] }); n != len(body) {
				b.Fatal(n)
			}
		}
	})
	b.Run("pool", func(b *testing.B) {
		b.ReportAllocs()
		m, err := NewMessages(MessageOptions{})
		if err != nil {
			b.Fatal(err)
		}
		readers := must(New(Options[gzip.Reader]{Name: "inflate"}))
		var in bytes.Reader
		for range b.N {
			in.Reset(packed.Bytes())
			l, _ := readers.Lease()
			if err := l.Value().Reset(&in); err != nil {
				b.Fatal(err)
			}
			buf := m.Frames.Lease(4096)
			n := inflate(l.Value(), buf.Slice(), func(o []byte) []byte {
				buf = m.Frames.Grow(buf, len(o), 2*len(o))
				return buf.Slice()
			})
			if n != len(body) {
				b.Fatal(n)
			}
			buf.Return()
			l.Return()
		}
	})
}
