package sched

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// model is a load: what value v brings, in work per second and time per piece.
type model func(v float64) (throughput float64, latency time.Duration)

// saturating is so many workers on a resource that serves n at a time, each
// piece taking base: beyond n they wait for each other.
func saturating(n float64, base time.Duration) model {
	return func(v float64) (float64, time.Duration) {
		return min(v, n) / base.Seconds(), time.Duration(float64(base) * max(1, v/n))
	}
}

// thrashing is the same, with a cost of each one too many.
func thrashing(n float64, base time.Duration) model {
	return func(v float64) (float64, time.Duration) {
		slow := max(1, v/n) * (1 + 0.1*max(0, v-n)/n)
		return v / (base.Seconds() * slow), time.Duration(float64(base) * slow)
	}
}

// limited is a load of so many pieces a second, whatever could be done.
func limited(rate float64, m model) model {
	return func(v float64) (float64, time.Duration) {
		t, l := m(v)
		if t > rate {
			return rate, l
		}
		return t, l + time.Duration(float64(time.Second)*(rate-t)/rate) // they queue
	}
}

// batching has a fixed cost a batch and one a piece.
func batching(fixed, each time.Duration) model {
	return func(v float64) (float64, time.Duration) {
		d := fixed + time.Duration(v)*each
		return v / d.Seconds(), d
	}
}

func score(s TunerSettings, m model, v float64) float64 {
	t, l := m(v)
	return math.Log(t) - s.Latency*math.Log(float64(l)) - s.Thrift*math.Log(v)
}

func TestTunerFindsTheBest(t *testing.T) {
	for _, c := range []struct {
		name     string
		min, max int
		m        model
	}{
		{"2 cores", 1, 64, saturating(2, 100*time.Microsecond)},
		{"8 connections", 1, 64, saturating(8, 5*time.Millisecond)},
		{"48 connections", 1, 64, saturating(48, 5*time.Millisecond)},
		{"more than the bound", 1, 64, saturating(500, 5*time.Millisecond)},
		{"thrashing", 1, 256, thrashing(20, time.Millisecond)},
		{"little load", 1, 64, limited(1000, saturating(16, 2*time.Millisecond))},
		{"batches, 317 is best", 1, 4096, batching(time.Millisecond, 10*time.Microsecond)},
		{"batches, one is best", 1, 4096, batching(time.Nanosecond, time.Millisecond)},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := TunerSettings{Min: c.min, Max: c.max, Latency: 0.25, Thrift: 0.05}
			best := math.Inf(-1)
			for v := c.min; v <= c.max; v++ {
				best = max(best, score(set, c.m, float64(v)))
			}
			for _, noise := range []float64{0, 0.03} {
				for seed := range uint64(20) {
					r := rand.New(rand.NewPCG(seed, 1))
					set.Start = 1 + r.IntN(c.max)
					tuner := NewTuner(set)
					var loss float64 // while it should know
					before := uint64(0)
					for i := range 300 {
						if i == 200 {
							before = tuner.Changes()
						}
						v := tuner.Value()
						if v < c.min || v > c.max {
							t.Fatalf("the value %d is out of bounds", v)
						}
						th, l := c.m(float64(v))
						tuner.Observe(th*(1+noise*r.NormFloat64()), l)
						if i >= 60 {
							loss += best - score(set, c.m, float64(v))
						}
					}
					if loss /= 240; loss > 0.12 {
						t.Errorf("noise %.2f, seed %d: %.1f %% below the best on average, in the end at %d", noise, seed, 100*loss, tuner.Value())
					}
					if n := tuner.Changes() - before; n > 50 {
						t.Errorf("noise %.2f, seed %d: %d changes in the last 100 steps", noise, seed, n)
					}
				}
			}
		})
	}
}

func TestTunerFollowsTheLoad(t *testing.T) {
	set := TunerSettings{Min: 1, Max: 128}
	tuner := NewTuner(set)
	set.Latency, set.Thrift = 0.25, 0.05
	r := rand.New(rand.NewPCG(1, 2))
	for phase, n := range []float64{8, 64, 4, 32} {
		m := saturating(n, time.Millisecond)
		reached := -1
		for i := range 200 {
			v := float64(tuner.Value())
			th, l := m(v)
			tuner.Observe(th*(1+0.02*r.NormFloat64()), l)
			if reached < 0 && score(set, m, n)-score(set, m, v) < 0.15 {
				reached = i
			}
		}
		if reached < 0 || reached > 60 {
			t.Errorf("phase %d: near the best after %d steps", phase, reached)
		}
		if v := float64(tuner.Value()); v < n*0.6 || v > n*1.6 {
			t.Errorf("phase %d: %.0f is best, it is at %.0f", phase, n, v)
		}
	}
	if tuner.restarts.Load() == 0 {
		t.Error("it saw no change of the load")
	}
}

func TestTunerPin(t *testing.T) {
	m := saturating(16, time.Millisecond)
	tuner := NewTuner(TunerSettings{Min: 2, Max: 64, Pin: 5})
	step := func() { th, l := m(float64(tuner.Value())); tuner.Observe(th, l) }
	for range 50 {
		if step(); tuner.Value() != 5 {
			t.Fatalf("pinned to 5, it is %d", tuner.Value())
		}
	}
	tuner.Pin(1000)
	if tuner.Value() != 64 || !tuner.Pinned() {
		t.Errorf("pinned beyond the bound, it is %d", tuner.Value())
	}
	tuner.Pin(0)
	for range 100 {
		step()
	}
	if v := tuner.Value(); v < 12 || v > 22 || tuner.Pinned() {
		t.Errorf("let go, it is %d", v)
	}
}

func TestTunerIgnoresWhatSaysNothing(t *testing.T) {
	tuner := NewTuner(TunerSettings{Min: 1, Max: 64, Start: 7})
	tuner.Observe(0, time.Second)
	tuner.Observe(100, 0)
	if tuner.Value() != 7 || tuner.Changes() != 0 {
		t.Errorf("it is %d", tuner.Value())
	}
}
