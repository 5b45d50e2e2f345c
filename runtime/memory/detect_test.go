package memory

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/marketprism/marketprism/sdk/wire/heap"
)

// shape is one series: what a site has alive at a time, in MiB, and the load.
type shape struct {
	name  string
	value func(t float64, r *rand.Rand) float64 // t in minutes
	load  func(t float64) float64               // frames a second; constant if nil
	// by, if not zero, is the latest that it must be found, in minutes after from.
	from, by float64
}

// play runs a shape for an hour and says when it was found; 0 is never.
func play(s shape, seed uint64) (found float64) {
	t := Defaults()
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	d := newDetector(t, began)
	r := rand.New(rand.NewPCG(seed, 7))
	for i := range 360 {
		now := began.Add(time.Duration(i+1) * t.Interval)
		min := now.Sub(began).Minutes()
		load := 1000.0
		if s.load != nil {
			load = s.load(min)
		}
		load *= 1 + 0.02*r.NormFloat64()
		v := max(0, s.value(min, r)*mib)
		snap := &Snapshot{Go: GoState{Cycles: uint64(i + 1)}, Load: LoadState{FramesPerSecond: load, Connections: 4, Books: 100},
			Sites: []heap.Site{{Func: "p.f", File: "f.go", Line: 3, Owner: "p", Bytes: int64(v)}}}
		d.add(now, snap)
		if l := d.leaks(now); len(l) > 0 {
			return min
		}
	}
	return 0
}

func noise(r *rand.Rand, of float64) float64 { return of * r.NormFloat64() }

// TestHealthyShapes plays what grows and isn't a leak, an hour each, with many
// seeds.
const seeds = 20

func TestHealthyShapes(t *testing.T) {
	wave := func(period float64) func(float64) float64 {
		return func(t float64) float64 { return 1000 + 800*math.Sin(2*math.Pi*t/period) }
	}
	steps := func(t float64) float64 { return []float64{500, 2000, 1000, 3000, 200}[int(t/7)%5] }
	peak := 0.0
	shapes := []shape{
		{name: "flat with noise", value: func(_ float64, r *rand.Rand) float64 { return 20 + noise(r, 0.5) }},
		{name: "large noise", value: func(_ float64, r *rand.Rand) float64 { return 50 + noise(r, 5) }},
		{name: "sawtooth", value: func(t float64, r *rand.Rand) float64 { return 10 + 20*(t*2-math.Floor(t*2)) + noise(r, 0.2) }},
		{name: "slow sawtooth", value: func(t float64, r *rand.Rand) float64 { return 5 + 6*(t/2-math.Floor(t/2)) + noise(r, 0.2) }},
		{name: "bursts", value: func(t float64, r *rand.Rand) float64 {
			if int(t*6)%9 == 0 {
				return 100
			}
			return 10 + noise(r, 0.2)
		}},
		{name: "a step", value: func(t float64, r *rand.Rand) float64 {
			if t > 20 {
				return 60 + noise(r, 0.3)
			}
			return 10 + noise(r, 0.3)
		}},
		{name: "two steps", value: func(t float64, r *rand.Rand) float64 { return 5*math.Floor(min(t, 25)/9) + noise(r, 0.1) }},
		{name: "random walk held at a mean", value: func() func(float64, *rand.Rand) float64 {
			v := 20.0
			return func(_ float64, r *rand.Rand) float64 { v += noise(r, 0.08) - (v-20)/30; return v }
		}()},
		{name: "follows the load's steps", load: steps, value: func(t float64, r *rand.Rand) float64 { return steps(t)/50 + noise(r, 0.3) }},
		{name: "keeps the size of the highest load", load: steps, value: func(t float64, r *rand.Rand) float64 {
			if t < 0.2 {
				peak = 0
			}
			peak = max(peak, steps(t)/50)
			return peak + noise(r, 0.2)
		}},
	}
	for _, tau := range []float64{0.3, 1, 1.5} {
		shapes = append(shapes, shape{name: fmt.Sprintf("warm-up of %v min", tau), value: func(t float64, r *rand.Rand) float64 { return 60*(1-math.Exp(-t/tau)) + noise(r, 0.2) }},
			shape{name: fmt.Sprintf("a cache that begins late and fills in %v min", tau), value: func(t float64, r *rand.Rand) float64 {
				return 40*(1-math.Exp(-max(0, t-17)/tau)) + noise(r, 0.1)
			}})
	}
	for _, p := range []float64{6, 15, 30, 90} {
		shapes = append(shapes, shape{name: fmt.Sprintf("follows a load with a period of %v min", p), load: wave(p), value: func(t float64, r *rand.Rand) float64 {
			return wave(p)(t)/50 + noise(r, 0.3)
		}})
	}
	shapes = append(shapes, shape{name: "follows a load that grows for an hour", load: func(t float64) float64 { return 500 + 25*t }, value: func(t float64, r *rand.Rand) float64 {
		return (500+25*t)/50 + noise(r, 0.3)
	}})
	for _, s := range shapes {
		alarms, first := 0, 0.0
		for seed := range uint64(seeds) {
			if at := play(s, seed); at > 0 {
				alarms++
				first = at
			}
		}
		if alarms > 0 {
			t.Errorf("%s: %d alarms in %d hours, one after %.1f min", s.name, alarms, seeds, first)
		}
	}
}

// TestLeakyShapes plays leaks that need more than a straight line to be seen.
func TestLeakyShapes(t *testing.T) {
	onOff := func(t float64) float64 {
		if int(t)%2 == 0 {
			return 2000
		}
		return 0
	}
	wave := func(t float64) float64 { return 1000 + 300*math.Sin(2*math.Pi*t/3) }
	for _, s := range []shape{
		{name: "1 MiB/min from the start", from: 0, by: 5, value: func(t float64, r *rand.Rand) float64 { return t + noise(r, 0.05) }},
		{name: "1 MiB/min after 20 minutes", from: 20, by: 5, value: func(t float64, r *rand.Rand) float64 { return 10 + max(0, t-20) + noise(r, 0.05) }},
		{name: "1 MiB/min on a large and noisy site", from: 10, by: 7, value: func(t float64, r *rand.Rand) float64 { return 30 + max(0, t-10) + noise(r, 0.2) }},
		{name: "2 MiB/min, only under load", from: 10, by: 7, load: onOff, value: func(t float64, r *rand.Rand) float64 {
			whole, part := math.Modf(max(0, t-10) / 2)
			return 5 + 2*whole + 2*min(1, 2*part) + noise(r, 0.05)
		}},
		{name: "1.5 MiB/min while the load goes up and down", from: 10, by: 12, load: wave, value: func(t float64, r *rand.Rand) float64 {
			return wave(t)/400 + 1.5*max(0, t-10) + noise(r, 0.05)
		}},
		{name: "after a load that grew", from: 15, by: 8, load: func(t float64) float64 { return 500 + 100*min(t, 15) }, value: func(t float64, r *rand.Rand) float64 {
			return (500+100*min(t, 15))/100 + 1.5*max(0, t-15) + noise(r, 0.1)
		}},
		{name: "a sawtooth of 20 MiB whose floor rises", from: 10, by: 6, value: func(t float64, r *rand.Rand) float64 {
			return 10 + 20*(t*2-math.Floor(t*2)) + 2*max(0, t-10) + noise(r, 0.1)
		}},
		{name: "slow, 128 KiB/min", from: 10, by: 45, value: func(t float64, r *rand.Rand) float64 { return 5 + max(0, t-10)/8 + noise(r, 0.05) }},
	} {
		var worst, sum float64
		for seed := range uint64(seeds) {
			at := play(s, seed)
			if at == 0 || at < s.from {
				t.Errorf("%s: found at %.1f min with seed %d", s.name, at, seed)
				continue
			}
			worst = max(worst, at-s.from)
			sum += at - s.from
		}
		t.Logf("%-45s found after %.1f min on average, %.1f at worst", s.name, sum/seeds, worst)
		if worst > s.by {
			t.Errorf("%s: found after %.1f min, want %.1f", s.name, worst, s.by)
		}
	}
}

func TestTheilSen(t *testing.T) {
	began := time.Now()
	var pts []point
	for i := range 20 {
		pts = append(pts, point{at: began.Add(time.Duration(i) * 10 * time.Second), v: 100 + 3*float64(i)/6})
	}
	pts[4].v, pts[11].v = 1e9, -1e9 // outliers move a mean, not this
	tr, _ := theilSen(pts, 0.05, 2.576, nil)
	if math.Abs(tr.slope-3) > 1e-9 || tr.low < 2.9 || tr.high > 3.1 || tr.matched != 1 || tr.p > 1e-4 {
		t.Errorf("%+v", tr)
	}
	// Where load came with growth, no pair is left to be compared.
	for i := range pts {
		l := float64(1000 * (i + 1))
		pts[i].level = level{now: [loads]float64{l}, most: [loads]float64{l}}
	}
	if tr, _ = theilSen(pts, 0.05, 2.576, nil); tr.matched != 0 {
		t.Errorf("%+v", tr)
	}
	flat := make([]point, 12)
	for i := range flat {
		flat[i] = point{at: began.Add(time.Duration(i) * time.Minute), v: 5}
	}
	if tr, _ = theilSen(flat, 0.05, 2.576, nil); tr.slope != 0 || tr.low != 0 || tr.p < 0.4 {
		t.Errorf("%+v", tr)
	}
}
