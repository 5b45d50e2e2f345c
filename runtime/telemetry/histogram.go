package telemetry

import (
	"math"
	"math/bits"
	"sort"
	"sync/atomic"
	"time"
)

// Histogram counts durations in buckets that grow by 2^(1/8), 9 %: schema 3 of
// Prometheus' native histograms. Observe is wait-free and allocates nothing. The
// zero value is ready. Where many goroutines observe often, each keeps one of its
// own, and a scrape merges them.
type Histogram struct {
	sum     atomic.Int64 // ns
	buckets [histBuckets]atomic.Uint64
}

const (
	histSchema  = 3
	histLow     = -30 << histSchema // 2^-30 s: 0.93 ns
	histHigh    = 13 << histSchema  // 2^13 s: 2 h 16 min; what is longer counts there
	histBuckets = histHigh - histLow + 1
)

// histBounds are the upper bounds in ns, histStart the first bucket that a value
// of so many bits can be in.
var (
	histBounds [histBuckets]int64
	histStart  [65]int
)

func init() {
	for i := range histBounds {
		histBounds[i] = int64(math.Floor(1e9 * math.Exp2(float64(i+histLow)/(1<<histSchema))))
	}
	for n := 1; n <= 64; n++ {
		least := int64(math.MaxInt64)
		if n < 64 {
			least = 1 << (n - 1)
		}
		histStart[n] = min(sort.Search(histBuckets, func(i int) bool { return histBounds[i] >= least }), histBuckets-1)
	}
}

func histIndex(ns int64) int {
	if ns <= 0 {
		return 0
	}
	i := histStart[bits.Len64(uint64(ns))]
	for i < histBuckets-1 && histBounds[i] < ns {
		i++
	}
	return i
}

// Observe counts a duration; one below zero counts as zero.
func (h *Histogram) Observe(d time.Duration) { h.ObserveN(d, 1) }

// ObserveN counts a duration n times.
func (h *Histogram) ObserveN(d time.Duration, n uint64) {
	ns := max(int64(d), 0)
	h.buckets[histIndex(ns)].Add(n)
	h.sum.Add(ns * int64(n))
}

// Snapshot is a histogram's counts at a moment.
type Snapshot struct {
	Count   uint64
	Sum     time.Duration
	buckets [histBuckets]uint64
}

// Add adds what h has counted to s.
func (s *Snapshot) Add(h *Histogram) {
	for i := range h.buckets {
		n := h.buckets[i].Load()
		s.buckets[i] += n
		s.Count += n
	}
	s.Sum += time.Duration(h.sum.Load())
}

// Snapshot copies the counts.
func (h *Histogram) Snapshot() *Snapshot {
	s := new(Snapshot)
	s.Add(h)
	return s
}

// Since is what was counted after an earlier snapshot of the same histogram.
func (s *Snapshot) Since(earlier *Snapshot) *Snapshot {
	d := &Snapshot{Sum: s.Sum - earlier.Sum}
	for i := range s.buckets {
		d.buckets[i] = s.buckets[i] - earlier.buckets[i]
		d.Count += d.buckets[i]
	}
	return d
}

// Quantile is the upper bound of the bucket that holds the quantile q of 0 to 1:
// at most 9 % above it. It is 0 while nothing is counted.
func (s *Snapshot) Quantile(q float64) time.Duration {
	rank := uint64(math.Ceil(q * float64(s.Count)))
	for i, n := 0, uint64(0); i < histBuckets; i++ {
		if n += s.buckets[i]; n >= max(rank, 1) {
			return time.Duration(histBounds[i])
		}
	}
	return 0
}

// Mean is 0 while nothing is counted.
func (s *Snapshot) Mean() time.Duration {
	if s.Count == 0 {
		return 0
	}
	return s.Sum / time.Duration(s.Count)
}
