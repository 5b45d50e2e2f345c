package book_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/marketprism/marketprism/runtime/book"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

var increment = source.BookRule{Snapshot: source.SnapshotInBand, Sequence: source.Sequence{Kind: source.SequenceIncrement}, CutToDepth: true}

func setSeq(v []byte, seq int64) { binary.LittleEndian.PutUint64(v[48:], uint64(seq)) }

// ladder is a snapshot with n levels a side on every second tick around 100,000.
func ladder(n int) []byte {
	b := newBook(market.KindBookSnapshot)
	b.Seq = 0
	for i := range n {
		b.Bids = append(b.Bids, market.Level{Price: market.NewDecimal(int64(100_000-2*i), 2), Amount: market.NewDecimal(123_456, 5)})
		b.Asks = append(b.Asks, market.Level{Price: market.NewDecimal(int64(100_002+2*i), 2), Amount: market.NewDecimal(123_456, 5)})
	}
	return b.AppendTo(nil)
}

// updates makes records of size levels over a ladder of n: each toggles ticks
// between the ladder's, on which levels come and go, or sets an amount. at gives
// the distance from the best in levels.
func updates(n, size int, at func(*rand.Rand) int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	present := map[int64]bool{}
	var out [][]byte
	for range 4096 {
		b := newBook(market.KindBookDelta)
		for i := range size {
			d := int64(2 * min(max(at(r), 0), n-1))
			amount := market.NewDecimal(int64(1+r.IntN(1e6)), 5)
			if r.IntN(100) < 60 {
				d++
				k := d
				if i%2 == 1 {
					k = -d
				}
				if present[k] {
					amount = market.NewDecimal(0, 5)
				}
				present[k] = !present[k]
			}
			if i%2 == 0 {
				b.Bids = append(b.Bids, market.Level{Price: market.NewDecimal(100_000-d, 2), Amount: amount})
			} else {
				b.Asks = append(b.Asks, market.Level{Price: market.NewDecimal(100_002+d, 2), Amount: amount})
			}
		}
		out = append(out, b.AppendTo(nil))
	}
	return out
}

func benchApply(b *testing.B, snapshot []byte, recs [][]byte, depth int) {
	k := book.New(increment, book.Options{SubscribedDepth: depth})
	emit := func(market.View) {}
	seq, i := int64(0), len(recs)
	b.ReportAllocs()
	for b.Loop() {
		if i == len(recs) {
			i, seq = 0, 0
			k.Apply(snapshot, emit)
		}
		seq++
		setSeq(recs[i], seq)
		if o := k.Apply(recs[i], emit); o.Verdict != book.VerdictApplied {
			b.Fatalf("%+v", o)
		}
		i++
	}
}

func BenchmarkApply(b *testing.B) {
	const n = 1000
	near := func(r *rand.Rand) int { return int(r.ExpFloat64() * 8) }
	far := func(r *rand.Rand) int { return n - 1 - int(r.ExpFloat64()*8) }
	even := func(r *rand.Rand) int { return r.IntN(n) }
	for _, c := range []struct {
		name string
		n    int
		size int
		at   func(*rand.Rand) int
	}{
		{"near/10", n, 10, near}, {"near/5", n, 5, near}, {"far/10", n, 10, far}, {"random/10", n, 10, even},
		{"random/10-of-44000", 44_000, 10, func(r *rand.Rand) int { return r.IntN(44_000) }},
		{"near/10-of-10", 10, 10, func(r *rand.Rand) int { return r.IntN(10) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			benchApply(b, ladder(c.n), updates(c.n, c.size, c.at), 0)
		})
	}
}

// BenchmarkApplyCorpus applies the recorded level changes in their order, ten to
// a record, to a book cut to 1,000 levels a side.
func BenchmarkApplyCorpus(b *testing.B) {
	for _, name := range []string{"binance-spot-20240808-hft-btcusdt", "binance-linear-20240718-hft-btcusdt", "binance-inverse-20240808-hft-btcusd_perp"} {
		b.Run(name, func(b *testing.B) {
			var snapshot []byte
			var recs [][]byte
			ten := newBook(market.KindBookDelta)
			events(b, filepath.Join(captures(b), name+".jsonl.zst"), func(e *event) {
				if e.Kind != "recv" && e.Kind != "http" || len(recs) == 20_000 {
					return
				}
				decode(b, name, e, func(_ string, r *market.Book) {
					if r.Kind == market.KindBookSnapshot {
						r.Seq = 0
						snapshot = r.AppendTo(nil)
					}
					if snapshot == nil || r.Kind == market.KindBookSnapshot {
						return
					}
					for s, ls := range [][]market.Level{r.Bids, r.Asks} {
						for _, l := range ls {
							if s == 0 {
								ten.Bids = append(ten.Bids, l)
							} else {
								ten.Asks = append(ten.Asks, l)
							}
							if len(ten.Bids)+len(ten.Asks) == 10 {
								recs = append(recs, ten.AppendTo(nil))
								ten.Bids, ten.Asks = ten.Bids[:0], ten.Asks[:0]
							}
						}
					}
				})
			})
			benchApply(b, snapshot, recs, 1000)
		})
	}
}

func BenchmarkSnapshot(b *testing.B) {
	for _, n := range []int{1000, 44_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rec := ladder(n)
			k := book.New(increment, book.Options{})
			b.ReportAllocs()
			for b.Loop() {
				k.Apply(rec, func(market.View) {})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(2*n), "ns/level")
		})
	}
}

func BenchmarkTop25(b *testing.B) {
	k := book.New(increment, book.Options{})
	k.Apply(ladder(1000), func(market.View) {})
	var dst []market.Level
	b.ReportAllocs()
	for b.Loop() {
		dst = k.Top(book.Asks, 25, k.Top(book.Bids, 25, dst[:0]))
	}
}

// BenchmarkChecksum is the cost of one level changed near the top of a book of 25
// levels, with the check.
func BenchmarkChecksum(b *testing.B) {
	for _, c := range []source.Checksum{{}, {Kind: source.ChecksumKraken, Levels: 10}, {Kind: source.ChecksumPairs, Levels: 25}, {Kind: source.ChecksumScript, Levels: 25}} {
		b.Run(string("kind-"+c.Kind), func(b *testing.B) {
			rule := increment
			rule.Checksum = c
			k := book.New(rule, book.Options{})
			emit := func(market.View) {}
			k.Apply(ladder(25), emit)
			r := newBook(market.KindBookDelta)
			r.Bids = []market.Level{{Price: market.MustDecimal("999.90"), Amount: market.MustDecimal("1.50000000")}}
			r.Seq, r.Checksum = 1, 0
			probe := r.AppendTo(nil)
			if o := k.Apply(probe, emit); o.Verdict == book.VerdictChecksumBad {
				r.Checksum = o.Got
				k.Apply(ladder(25), emit)
			}
			rec := r.AppendTo(nil)
			seq := k.Seq()
			b.ReportAllocs()
			for b.Loop() {
				seq++
				setSeq(rec, seq)
				if o := k.Apply(rec, emit); o.Verdict != book.VerdictApplied {
					b.Fatalf("%+v", o)
				}
			}
		})
	}
}

// BenchmarkHeld is one delta held and released by a snapshot of ten levels.
func BenchmarkHeld(b *testing.B) {
	rule := source.BookRule{Snapshot: source.SnapshotHTTP, Sequence: source.Sequence{Kind: source.SequenceRange, Start: source.StartRange}}
	k := book.New(rule, book.Options{})
	emit := func(market.View) {}
	snap, recs := ladder(10), updates(10, 7, func(r *rand.Rand) int { return r.IntN(10) })
	for i := range recs {
		setSeq(recs[i], int64(i+1))
	}
	b.ReportAllocs()
	for b.Loop() {
		k.Void(market.CauseDisconnect, emit)
		for _, r := range recs[:8] {
			k.Apply(r, emit)
		}
		if o := k.Apply(snap, emit); o.Verdict != book.VerdictApplied || k.Seq() != 8 {
			b.Fatalf("%+v", o)
		}
	}
}

func BenchmarkMemory(b *testing.B) {
	for _, n := range []int{10, 1000, 44_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			snap, recs := ladder(n), updates(n, 10, func(r *rand.Rand) int { return r.IntN(n) })
			recs = recs[:min(len(recs), 4*n)]
			keep := make([]*book.Book, max(1, 100_000/n))
			var before, after runtime.MemStats
			levels := 0
			for b.Loop() {
				clear(keep)
				runtime.GC()
				runtime.ReadMemStats(&before)
				levels = 0
				for i := range keep {
					keep[i] = book.New(increment, book.Options{})
					keep[i].Apply(snap, func(market.View) {})
					for s, r := range recs {
						setSeq(r, int64(s+1))
						keep[i].Apply(r, func(market.View) {})
					}
					levels += keep[i].Len(book.Bids) + keep[i].Len(book.Asks)
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(levels), "B/level")
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(keep)), "B/book")
		})
	}
}
