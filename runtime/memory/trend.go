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

// over says whether l is more load than than, beyond the tolerance: what grew in
// between may have grown because of it. A new record counts even when it has
// passed, since buffers keep the size that the record gave them.
func (l *level) over(than *level, tolerance float64) bool {
	for i := range loads {
		if l.now[i] > than.now[i]*(1+tolerance)+1 || l.most[i] > than.most[i]*(1+tolerance)+1 {
			return true
		}
	}
	return false
}

// loadGrowth is the part by which the load grew over the points, by its own
// Theil–Sen slope: so much a value that follows the load grows, too.
func loadGrowth(pts []point, scratch []float64) (part float64, _ []float64) {
	if len(pts) == 0 {
		return 0, scratch
	}
	n := len(pts)
	for k := range loads {
		scratch = scratch[:0]
		for i := range pts {
			for j := i + n/2; j < n; j++ {
				a, b := pts[i].level.now[k], pts[j].level.now[k]
				if a > 0 {
					scratch = append(scratch, (b/a-1)*float64(n-1)/float64(j-i))
				}
			}
		}
		slices.Sort(scratch)
		part = max(part, quantile(scratch, 0.5))
	}
	return part, scratch
}

// trend is a Theil–Sen slope, in units a minute, with the bounds of its
// confidence interval after Sen.
type trend struct {
	slope, low, high float64
	matched          float64 // part of the pairs half the span or more apart that could be compared
	first, last      float64 // slopes of the two halves alone
	spread           float64 // standard deviation of what the line leaves
	p                float64 // Mann–Kendall: probability that chance alone looks like this
}

// minLag is the least distance of the two points of a pair, as a part of the
// whole span: near ones say more about noise than about a trend, and about a
// load that changes slowly they say nothing.
const minLag = 0.25

// theilSen is the median slope of all pairs of points that are far enough apart
// and of which the later one had no more load. z is the normal quantile of the
// confidence.
func theilSen(pts []point, tolerance, z float64, scratch []float64) (t trend, _ []float64) {
	slopes, matched, s := pairs(pts, tolerance, scratch)
	if len(slopes) == 0 {
		return t, slopes
	}
	t.matched = matched
	t.slope = quantile(slopes, 0.5)
	// Sen's interval: ranks that the variance of Kendall's S gives, taken over
	// the pairs that are left. Points that follow one another closely say less
	// than their number: the variance grows as that of a mean does.
	n := float64(len(pts))
	rho, spread := residuals(pts, t.slope)
	t.spread = spread
	sd := math.Sqrt(n*(n-1)*(2*n+5)/18*(1+rho)/(1-rho)) * float64(len(slopes)) / (n * (n - 1) / 2)
	c := min(1, z*sd/float64(len(slopes)))
	t.low, t.high = quantile(slopes, (1-c)/2), quantile(slopes, (1+c)/2)
	t.p = math.Erfc(math.Max(0, s-1)/sd/math.Sqrt2) / 2
	half := len(pts) / 2
	a, _, _ := pairs(pts[:half+1], tolerance, slopes)
	t.first = quantile(a, 0.5)
	b, _, _ := pairs(pts[half:], tolerance, a)
	t.last = quantile(b, 0.5)
	return t, b
}

// residuals describe what a line leaves: its autocorrelation from one point to
// the next, bounded and never negative, and its standard deviation.
func residuals(pts []point, slope float64) (rho, spread float64) {
	var mean, num, den, last float64
	left := func(i int) float64 { return pts[i].v - slope*pts[i].at.Sub(pts[0].at).Minutes() }
	for i := range pts {
		mean += left(i) / float64(len(pts))
	}
	for i := range pts {
		e := left(i) - mean
		if i > 0 {
			num += e * last
		}
		den += e * e
		last = e
	}
	if den == 0 {
		return 0, 0
	}
	return min(max(0, num/den), 0.9), math.Sqrt(den / float64(len(pts)))
}

// pairs are the slopes of the pairs that can be compared, sorted, the part that
// could be of those half the span or more apart, and Kendall's S.
func pairs(pts []point, tolerance float64, out []float64) (_ []float64, matched, s float64) {
	out = out[:0]
	if len(pts) == 0 {
		return out, 0, 0
	}
	span := pts[len(pts)-1].at.Sub(pts[0].at)
	least := time.Duration(float64(span) * minLag)
	far, all := 0, 0
	for i := range pts {
		for j := i + 1; j < len(pts); j++ {
			lag := pts[j].at.Sub(pts[i].at)
			if lag < least || lag <= 0 {
				continue
			}
			if lag >= span/2 {
				all++
			}
			if pts[j].level.over(&pts[i].level, tolerance) {
				continue
			}
			if lag >= span/2 {
				far++
			}
			x := (pts[j].v - pts[i].v) / lag.Minutes()
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
	return out, float64(far) / float64(max(all, 1)), s
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
