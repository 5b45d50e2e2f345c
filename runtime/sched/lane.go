package sched

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

// Work is what a lane does. Its methods but Interrupt are called by the lane's
// goroutine alone.
type Work interface {
	// Poll takes and handles what there is, up to budget (in the unit of the
	// work: entries, or bytes). It returns how much that was, and doesn't wait.
	Poll(budget int) (n int, err error)
	// Idle is called when Poll found nothing; draining says that nothing comes
	// any more but what is on its way. The lane ends when it returns true.
	Idle(draining bool) (done bool, err error)
	// Wait sleeps until there may be more, until Interrupt, or for d (0: as long
	// as it takes). An Interrupt between Poll and Wait counts.
	Wait(d time.Duration)
	// Interrupt ends a Wait. Any goroutine may call it.
	Interrupt()
}

// LaneSettings configure a Lane.
type LaneSettings struct {
	Name string
	// Batch is the budget of a poll: between Min and Max, tuned by what a unit
	// takes. Min = Max, or Pin, hold it. 1 to 1024 if zero.
	Batch TunerSettings
	// TuneEvery is over how long a budget is measured while the lane is busy;
	// 100 ms if zero.
	TuneEvery time.Duration
	// NoSpin lets the lane park as soon as there is nothing.
	NoSpin bool
	// StuckAfter is how long a turn (a poll and what it handles) may take before
	// the watch reports it; 0: as long as it likes.
	StuckAfter time.Duration
	// DrainPoll bounds a wait while the lane drains; 20 ms if zero.
	DrainPoll time.Duration
}

// Lane is an event loop: it polls in batches while there is work, spins briefly
// where work comes back at once, and else parks.
type Lane struct {
	s     *Scheduler
	set   LaneSettings
	work  Work
	tuner *Tuner
	timed bool

	// Written by the lane's goroutine, read by whoever looks.
	polls, empty, full, taken atomic.Uint64
	spins, spinHits           atomic.Uint64
	parks, falseWakes, damped atomic.Uint64
	parkedNs, biggest         atomic.Int64
	state                     atomic.Int32
	turn                      telemetry.Histogram // what a turn that found work took
	begun, reported           atomic.Int64
	stuckNow                  atomic.Int64
	stuck, goid               atomic.Uint64
}

// What a lane does now.
const (
	laneStopped int32 = iota
	lanePolling
	laneSpinning
	laneParked
)

// LaneStats is a lane as it is now.
type LaneStats struct {
	Name       string        `json:"name"`
	State      string        `json:"state"` // stopped, polling, spinning, parked
	Polls      uint64        `json:"polls"`
	Empty      uint64        `json:"empty_polls"`
	Full       uint64        `json:"full_polls"` // took all of their budget: there was more
	Taken      uint64        `json:"taken"`      // in the work's unit
	Spins      uint64        `json:"spins"`
	SpinHits   uint64        `json:"spin_hits"` // spins that found work
	Parks      uint64        `json:"parks"`
	FalseWakes uint64        `json:"false_wakes"` // parks that ended without work
	Damped     uint64        `json:"damped"`      // pauses because waits returned at once, without work
	Parked     time.Duration `json:"parked_ns"`
	Budget     int           `json:"budget"`
	Biggest    int64         `json:"biggest_batch"`
}

// NewLane makes a lane.
func (s *Scheduler) NewLane(set LaneSettings, w Work) *Lane {
	if set.Batch.Max <= 0 {
		set.Batch.Max = 1024
	}
	if set.TuneEvery <= 0 {
		set.TuneEvery = 100 * time.Millisecond
	}
	if set.DrainPoll <= 0 {
		set.DrainPoll = 20 * time.Millisecond
	}
	if set.Batch.Start == 0 {
		set.Batch.Start = max(set.Batch.Min, set.Batch.Max/8, 1)
	}
	l := &Lane{s: s, set: set, work: w, tuner: NewTuner(set.Batch), timed: !s.set.MonitorOff}
	s.mu.Lock()
	s.lanes = append(s.lanes, l)
	s.mu.Unlock()
	return l
}

// Stats describes the lane.
func (l *Lane) Stats() LaneStats {
	return LaneStats{Name: l.set.Name, State: [...]string{"stopped", "polling", "spinning", "parked"}[l.state.Load()],
		Polls: l.polls.Load(), Empty: l.empty.Load(), Full: l.full.Load(), Taken: l.taken.Load(),
		Spins: l.spins.Load(), SpinHits: l.spinHits.Load(), Parks: l.parks.Load(), FalseWakes: l.falseWakes.Load(), Damped: l.damped.Load(),
		Parked: nanos(l.parkedNs.Load()), Budget: l.tuner.Value(), Biggest: l.biggest.Load()}
}

// Tuner is the lane's, to pin its budget.
func (l *Lane) Tuner() *Tuner { return l.tuner }

// A source whose Wait returns at once without work would burn a core: after so
// many in a row the lane sleeps, each time twice as long.
const (
	dampAfter = 8
	quickPark = int64(50 * time.Microsecond)
	leastDamp = 100 * time.Microsecond
	mostDamp  = 50 * time.Millisecond
)

// Run polls until ctx ends, and returns its error; or until drain is closed and
// Idle says that nothing is left, and returns nil. drain may be nil.
func (l *Lane) Run(ctx context.Context, drain <-chan struct{}) error {
	defer l.s.forget(nil, l)
	defer l.state.Store(laneStopped)
	defer l.begun.Store(0)
	if l.timed {
		l.goid.Store(goid())
	}
	defer context.AfterFunc(ctx, l.work.Interrupt)()
	g, gctx := NewSet(ctx, "")
	defer g.Wait() //nolint:errcheck // it returns none
	defer g.Cancel(nil)
	if drain != nil {
		g.Go(l.set.Name+" drain", func(context.Context) error { // the lane sleeps in Wait: draining must wake it
			select {
			case <-drain:
				l.work.Interrupt()
			case <-gctx.Done():
			}
			return nil
		})
	}
	var r laneRun
	draining := false
	for ctx.Err() == nil {
		n, err := l.poll(&r)
		if err != nil {
			return err
		}
		if n > 0 {
			continue
		}
		if !draining {
			select {
			case <-drain:
				draining = true
			default:
			}
		}
		done, err := l.work.Idle(draining)
		if err != nil || done {
			return err
		}
		l.rest(ctx, &r, draining)
	}
	return ctx.Err()
}

// laneRun is what the loop remembers.
type laneRun struct {
	gaps  gaps
	dry   int64 // since when there is nothing; 0: there was something
	quick int   // parks in a row that ended at once, without work
	// What it did since it found work last.
	parked, spinning bool
	rounds           int // of spinning

	from    int64 // of the present measure
	units   int
	busy    int64
	batches int
}

// poll is one turn.
func (l *Lane) poll(r *laneRun) (int, error) {
	if !r.spinning {
		l.state.Store(lanePolling)
	}
	budget := l.tuner.Value()
	begin := mono()
	if l.timed && l.set.StuckAfter > 0 {
		l.begun.Store(begin)
	}
	n, err := l.work.Poll(budget)
	if l.timed && l.set.StuckAfter > 0 {
		l.begun.Store(0)
	}
	l.polls.Add(1)
	if err != nil {
		return n, fmt.Errorf("sched: lane %s: %w", l.set.Name, err)
	}
	if n <= 0 {
		l.empty.Add(1)
		if r.parked {
			l.falseWakes.Add(1)
		}
		if r.dry == 0 {
			r.dry = begin
		}
		return 0, nil
	}
	if r.dry != 0 {
		r.gaps.learn(begin - r.dry)
	}
	if r.spinning {
		l.spinHits.Add(1)
	}
	r.dry, r.quick, r.rounds, r.parked, r.spinning = 0, 0, 0, false, false
	l.taken.Add(uint64(n))
	if int64(n) > l.biggest.Load() {
		l.biggest.Store(int64(n))
	}
	full := n >= budget-budget/8 // whole frames seldom fill a budget of bytes to the last one
	if full {
		l.full.Add(1)
	}
	if l.timed {
		end := mono()
		l.turn.Observe(nanos(end - begin))
		if full {
			l.measure(r, n, begin, end)
		}
	}
	return n, nil
}

// measure tells the tuner what the budget did: only batches that it bounded say
// anything about it.
func (l *Lane) measure(r *laneRun, n int, begin, end int64) {
	if r.batches == 0 {
		r.from = begin
	}
	r.batches++
	r.units += n
	r.busy += end - begin
	if end-r.from < int64(l.set.TuneEvery) {
		return
	}
	l.tuner.Observe(float64(r.units)/nanos(r.busy).Seconds(), nanos(r.busy/int64(r.batches)))
	r.batches, r.units, r.busy = 0, 0, 0
}

// rest spins or parks. A spin is a return at once: the loop polls again.
func (l *Lane) rest(ctx context.Context, r *laneRun, draining bool) {
	if !l.set.NoSpin && !draining && !r.parked && r.gaps.short() && r.rounds < spinRounds && mono()-r.dry < spinFor {
		r.rounds++
		if !r.spinning {
			r.spinning = true
			l.spins.Add(1)
			l.state.Store(laneSpinning)
		}
		runtime.Gosched()
		return
	}
	r.spinning = false
	l.state.Store(laneParked)
	begin := mono()
	d := time.Duration(0)
	if draining {
		d = l.set.DrainPoll
	}
	l.work.Wait(d)
	took := mono() - begin
	l.parks.Add(1)
	l.parkedNs.Add(took)
	if r.parked && took < quickPark {
		r.quick++
	} else {
		r.quick = 0
	}
	r.parked = true
	if r.quick > dampAfter {
		l.damped.Add(1)
		t := time.NewTimer(min(leastDamp<<min(r.quick-dampAfter-1, 10), mostDamp))
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
}
