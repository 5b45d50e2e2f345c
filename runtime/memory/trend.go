package memory

import (
	"math"
	"slices"
	"time"
)

// point is one value of a series with the load at that time.
type point struct {
	at    time.Time
	v     float64
	level level
}

// level is the load as trends use it: each figure smoothed, and the highest
// that it has been so far.
type level struct{ now, most [loads]float64 }

const loads = 3 // frames a second, connections, books

// over says whether l is more load than than, beyond the tolerance: what grew
// in between may have grown because of it. A new record counts even when it has
// passed, since buffers keep the size that the record gave them.
func (l *level) over(than *level, tolerance float64) bool {
	for i := range loads {
		if l.now[i] > than.now[i]*(1+tolerance)+1 || l.most[i] > than.most[i]*(1+tolerance)+1 {
			return true
		}
	}
	return false
}

// trend is a Theil–Sen slope, in units a minute, with the bounds of its
// confidence interval after Sen.
type trend struct {
	slope, low, high float64
	matched          float64 // part of all pairs that could be compared
	first, last      float64 // slopes of the two halves alone
	p                float64 // Mann–Kendall: probability that chance alone looks like this
}

// theilSen is the median slope of all pairs of points, leaving out those of
// which the later one had more load. z is the normal quantile of the confidence.
func theilSen(pts []point, tolerance, z float64, scratch []float64) (t trend, _ []float64) {
	slopes, s := pairs(pts, tolerance, scratch[:0])
	n := float64(len(pts))
	all := n * (n - 1) / 2
	if all == 0 || len(slopes) == 0 {
		return t, slopes
	}
	t.matched = float64(len(slopes)) / all
	// Sen's interval: ranks that the variance of Kendall's S gives, taken over
	// the pairs that are left.
	sd := math.Sqrt(n * (n - 1) * (2*n + 5) / 18)
	c := min(1, z*sd/all)
	t.slope = quantile(slopes, 0.5)
	t.low, t.high = quantile(slopes, (1-c)/2), quantile(slopes, (1+c)/2)
	t.p = math.Erfc(math.Max(0, s/t.matched-1)/sd/math.Sqrt2) / 2
	half := len(pts) / 2
	a, _ := pairs(pts[:half+1], tolerance, slopes)
	t.first = quantile(a, 0.5)
	b, _ := pairs(pts[half:], tolerance, a)
	t.last = quantile(b, 0.5)
	return t, b
}

// pairs are the slopes of the pairs that can be compared, sorted, and Kendall's
// S over them.
func pairs(pts []point, tolerance float64, out []float64) (_ []float64, s float64) {
	out = out[:0]
	for i := range pts {
		for j := i + 1; j < len(pts); j++ {
			if pts[j].level.over(&pts[i].level, tolerance) {
				continue
			}
			d := pts[j].at.Sub(pts[i].at).Minutes()
			if d <= 0 {
				continue
			}
			x := (pts[j].v - pts[i].v) / d
			out = append(out, x)
			switch {
			case x > 0:
				s++
			case x < 0:
				s--
			}
		}
	}
	slices.Sort(out)
	return out, s
}

// quantile of sorted values.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 >= len(v) {
		return v[len(v)-1]
	}
	f := at - float64(i)
	return v[i]*(1-f) + v[i+1]*f
}
