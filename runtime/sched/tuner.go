package sched

import (
	"math"
	"sync/atomic"
	"time"
)

// TunerSettings configure a Tuner.
type TunerSettings struct {
	Min, Max int // bounds, both included; 1 and Min if less
	Start    int // Min if zero
	Pin      int // if set, the value stays there
	// Latency is what a lower latency is worth: with 0.25, twice the latency has
	// to bring at least 19 % more throughput. 0.25 if zero.
	Latency float64
	// Thrift is what a lower value is worth: twice the workers have to bring at
	// least 3.5 % more throughput with 0.05. 0.05 if zero.
	Thrift float64
	// Noise is the relative change of the measure that means nothing; 0.02 if zero.
	Noise float64
}

// Tuner looks for the value (of workers, of a batch) that serves best by what
// is measured: it climbs the gradient of
//
//	log throughput − Latency · log latency − Thrift · log value
//
// A step that gains goes on in its direction, longer; one that doesn't is taken
// back, and the next goes half as far the other way. When steps are small it
// rests, for longer each time that a look around finds nothing better, and
// begins anew when the measure moves by itself: the load has changed. One
// goroutine calls Observe; the others may be called by any.
type Tuner struct {
	set   TunerSettings
	value atomic.Int64
	pin   atomic.Int64

	changes, rests, restarts atomic.Uint64

	ref, refScore float64 // the best so far, and its measure
	have          bool    // refScore is known
	step, dir     float64 // relative: 1 doubles
	tried         int     // directions without gain since the last one
	rest, resting int     // observations to rest, and left of them
	drift         int     // observations in a row that are off while resting
}

const (
	firstStep = 1.0
	leastStep = 0.1
	mostStep  = 3.0
	firstRest = 4
	mostRest  = 64
	offBy     = 0.15 // a change of the measure at rest that is a change of load
	offTimes  = 2
)

// NewTuner makes a tuner.
func NewTuner(s TunerSettings) *Tuner {
	s.Min = max(s.Min, 1)
	s.Max = max(s.Max, s.Min)
	if s.Start == 0 {
		s.Start = s.Min
	}
	if s.Latency <= 0 {
		s.Latency = 0.25
	}
	if s.Thrift <= 0 {
		s.Thrift = 0.05
	}
	if s.Noise <= 0 {
		s.Noise = 0.02
	}
	t := &Tuner{set: s}
	start := min(max(s.Start, s.Min), s.Max)
	t.ref = float64(start)
	t.value.Store(int64(start))
	t.begin()
	t.Pin(s.Pin)
	return t
}

func (t *Tuner) begin() {
	t.have, t.step, t.dir, t.tried, t.rest, t.resting, t.drift = false, firstStep, 1, 0, firstRest, 0, 0
}

// Value is what is to be used now.
func (t *Tuner) Value() int {
	if p := t.pin.Load(); p > 0 {
		return int(p)
	}
	return int(t.value.Load())
}

// Pin holds the value, within the bounds; 0 lets it go.
func (t *Tuner) Pin(v int) {
	if v > 0 {
		v = min(max(v, t.set.Min), t.set.Max)
	}
	t.pin.Store(int64(max(v, 0)))
}

// Pinned says whether the value is held.
func (t *Tuner) Pinned() bool { return t.pin.Load() > 0 }

// Changes is how often the value changed.
func (t *Tuner) Changes() uint64 { return t.changes.Load() }

// Observe takes what was measured with the present value: work per second, and
// the mean time that a piece of work took. It returns the value to use next.
func (t *Tuner) Observe(throughput float64, latency time.Duration) int {
	if t.Pinned() || throughput <= 0 || latency <= 0 {
		return t.Value()
	}
	v := float64(t.value.Load())
	score := math.Log(throughput) - t.set.Latency*math.Log(float64(latency)) - t.set.Thrift*math.Log(v)
	switch {
	case !t.have:
		t.ref, t.refScore, t.have = v, score, true
		t.move()
	case t.resting > 0:
		t.atRest(score)
	case score > t.refScore+t.set.Noise:
		t.ref, t.refScore, t.tried, t.rest = v, score, 0, firstRest
		t.step = min(1.5*t.step, mostStep)
		t.move()
	default:
		t.dir, t.step = -t.dir, t.step/2
		if t.tried++; t.tried >= 2 && t.step <= leastStep {
			t.settle()
		} else {
			t.move()
		}
	}
	return t.Value()
}

func (t *Tuner) atRest(score float64) {
	if math.Abs(score-t.refScore) > offBy {
		if t.drift++; t.drift >= offTimes {
			t.restarts.Add(1)
			t.begin()
			t.ref, t.refScore, t.have = float64(t.value.Load()), score, true
			t.step = firstStep / 2
			t.move()
		}
		return
	}
	t.drift = 0
	t.refScore += (score - t.refScore) / 4
	if t.resting--; t.resting == 0 {
		t.step, t.tried = 2*leastStep, 0
		t.move()
	}
}

// settle goes to the best value and rests there.
func (t *Tuner) settle() {
	t.rests.Add(1)
	t.resting, t.drift = t.rest, 0
	t.rest = min(2*t.rest, mostRest)
	t.store(t.ref)
}

// move tries the next value from the best one; where a bound is in the way it
// looks to the other side, and settles when there is nothing to try.
func (t *Tuner) move() {
	for range 2 {
		v := t.ref * (1 + t.step)
		if t.dir < 0 {
			v = t.ref / (1 + t.step)
		}
		if math.Abs(v-t.ref) < 1 {
			v = t.ref + t.dir
		}
		if v = math.Round(min(max(v, float64(t.set.Min)), float64(t.set.Max))); v != t.ref {
			t.store(v)
			return
		}
		t.dir = -t.dir
		t.tried++
	}
	t.settle()
}

func (t *Tuner) store(v float64) {
	if t.value.Swap(int64(v)) != int64(v) {
		t.changes.Add(1)
	}
}
