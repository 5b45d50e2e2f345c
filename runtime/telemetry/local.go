package telemetry

import "time"

// Local gathers what one goroutine observes between two bursts: an observation
// is a plain store, and readers see it once FlushTo has moved it into a
// Histogram. The zero value is ready.
type Local struct {
	sum     int64
	pending [histBuckets]uint32
	touched []uint16 // buckets that hold something
	last    int      // index of the last observation: neighbours are alike
}

// Observe counts a duration n times; one below zero counts as zero.
func (l *Local) Observe(d time.Duration, n uint32) {
	ns := max(int64(d), 0)
	i := l.last
	if ns > histBounds[i] || i > 0 && ns <= histBounds[i-1] {
		i = histIndex(ns)
		l.last = i
	}
	if l.pending[i] == 0 {
		l.touched = append(l.touched, uint16(i))
	}
	l.pending[i] += n
	l.sum += ns * int64(n)
}

// FlushTo moves what was observed to h. One goroutine may flush at a time.
func (l *Local) FlushTo(h *Histogram) {
	if len(l.touched) == 0 {
		return
	}
	for _, i := range l.touched {
		h.buckets[i].Add(uint64(l.pending[i]))
		l.pending[i] = 0
	}
	h.sum.Add(l.sum)
	l.touched, l.sum = l.touched[:0], 0
}
