package sched

import (
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

var layer = telemetry.NewLayer("sched")

// Descs are the package's metrics.
func Descs() []*telemetry.Desc { return layer.Metrics() }

// Of supervised goroutines.
var (
	mGoroutines = layer.Gauge(telemetry.RunsOut, "goroutines", "Supervised goroutines that live now. One that grows without more feeds is a leak: list them by name over the admin API.")
	mGroups     = layer.Gauge(telemetry.RunsOut, "groups", "Groups of goroutines that somebody waits for. One that grows is a group whose Wait never returns.")
	mStarted    = layer.Counter(telemetry.Changed, "goroutines_started_total", "Supervised goroutines that were started. A high rate is churn: look at connections and requests.")
	mFailed     = layer.Counter(telemetry.Changed, "goroutines_failed_total", "Supervised goroutines that ended with an error for good. Each one is in the log of whoever waited for it.")
	mPanics     = layer.Counter(telemetry.Changed, "goroutine_panics_total", "Panics of supervised goroutines that were caught. Each is a defect: its stack is in the log.")
	mRestarts   = layer.Counter(telemetry.Changed, "restarts_total", "Goroutines that were started again after a failure. The log says which, and why.")
	mGaveUp     = layer.Counter(telemetry.Complete, "restarts_given_up_total", "Goroutines that used up their restarts: what they served stands still until somebody acts.")
	mBackoff    = layer.Gauge(telemetry.Late, "goroutines_backing_off", "Goroutines that wait to be started again; what they serve is late by so much.")
)

// Of pools.
var (
	mTasks    = layer.Counter(telemetry.Complete, "tasks_total", "Tasks by what became of them. Anything but success is work that was not done; look at the kind.", "pool", "kind", "outcome")
	mWait     = layer.Histogram(telemetry.Late, "wait_seconds", "From a task's submission to its begin. When it grows the pool is short of workers, or one tenant has too much.", "pool", "kind")
	mRun      = layer.Histogram(telemetry.Late, "run_seconds", "How long tasks ran. When it grows with the number of workers there are too many of them.", "pool", "kind")
	mQueued   = layer.Gauge(telemetry.Late, "queue_tasks", "Tasks that wait, by priority. Near the capacity the pool's policy for a full queue begins to matter.", "pool", "priority")
	mCapacity = layer.Gauge(telemetry.RunsOut, "queue_capacity_tasks", "Tasks that may wait: the bound of each queue, times tenants and priorities.", "pool")
	mBegun    = layer.Counter(telemetry.Late, "tasks_begun_total", "Tasks that left their queue, by priority. A low priority that stands still while others move is a defect.", "pool", "priority")
	mTenant   = layer.Counter(telemetry.Who, "tenant_tasks_total", "Tasks that left their queue, by tenant: who uses the pool.", "pool", "tenant")
	mTenantQ  = layer.Gauge(telemetry.Who, "tenant_queue_tasks", "Tasks that wait, by tenant: who floods the pool, and pays for it by waiting.", "pool", "tenant")
	mRejected = layer.Counter(telemetry.Complete, "rejected_tasks_total", "Tasks that were refused because their tenant's queue was full: raise the bound or the number of workers.", "pool", "tenant")
	mBlocked  = layer.Counter(telemetry.Late, "blocked_submits_total", "Submissions that had to wait for room in a full queue: the submitter was held back.", "pool")
	mInCaller = layer.Counter(telemetry.Late, "caller_runs_total", "Tasks that their submitter ran because the queue was full: the submitter was held back.", "pool")
	mWorkers  = layer.Gauge(telemetry.RunsOut, "workers", "Workers that live now, parked ones included.", "pool")
	mBusy     = layer.Gauge(telemetry.RunsOut, "workers_busy", "Workers that run tasks now. At the number of workers, with a queue that grows, the pool is too small.", "pool")
	mTarget   = layer.Gauge(telemetry.Changed, "workers_limit", "Workers that may run: fixed by the settings, or tuned.", "pool")
	mStolen   = layer.Counter(telemetry.Pays, "stolen_tasks_total", "Tasks that an idle worker took from another one's batch. Many, compared with all tasks, say that run times vary widely.", "pool")
	mBatches  = layer.Counter(telemetry.Pays, "batches_total", "Times that a worker took tasks from the queues; tasks divided by it is how many share one lock.", "pool")
	mWakes    = layer.Counter(telemetry.Pays, "worker_wakes_total", "Parked workers that were woken. Waking costs a few microseconds: near the number of tasks, submit in batches.", "pool")
	mParks    = layer.Counter(telemetry.Pays, "worker_parks_total", "Times that a worker found nothing and slept.", "pool")
	mSpins    = layer.Counter(telemetry.Pays, "worker_spins_total", "Times that a worker looked for work for some microseconds before it slept.", "pool")
	mSpinHits = layer.Counter(telemetry.Pays, "worker_spin_hits_total", "Spins that found work; the others were for nothing.", "pool")
	mStuck    = layer.Gauge(telemetry.Late, "stuck_tasks", "Tasks that run for longer than their kind's bound now. The log has their stacks.", "pool")
	mStalls   = layer.Counter(telemetry.Changed, "stalls_total", "Tasks that were reported because they ran for longer than their kind's bound, each once.", "pool")
	mCut      = layer.Counter(telemetry.Complete, "drain_cut_tasks_total", "Tasks that were not begun because the drain time was over: give the drain more time.", "pool")
	mDrain    = layer.Histogram(telemetry.Late, "drain_seconds", "How long pools took to drain. Near the drain time, tasks are about to be cut.")
)

// Of tuners.
var (
	mTunedTotal  = layer.Counter(telemetry.Changed, "tuner_changes_total", "Changes of the tuned value. One that never rests finds no best value: pin it.", "tuner")
	mTunerLoad   = layer.Counter(telemetry.Changed, "tuner_load_changes_total", "Times that a tuner at rest saw the load change and looked for a value again.", "tuner")
	mTunerPinned = layer.Gauge(telemetry.Changed, "tuner_pinned", "1 while the value is held by an operator, else 0.", "tuner")
)

// Of timers.
var (
	mTicks   = layer.Counter(telemetry.Late, "timer_ticks_total", "Times that periodic or delayed work began.")
	mSkipped = layer.Counter(telemetry.Complete, "timer_skipped_total", "Times of periodic work that passed while the one before was still under way: it takes longer than its interval.")
	mLate    = layer.Histogram(telemetry.Late, "timer_lateness_seconds", "How much later than its time periodic work began. When it grows the machine is short of CPU.")
)

// Of lanes.
var (
	mLanePolls   = layer.Counter(telemetry.Pays, "lane_polls_total", "Polls of a lane. It stands still while the lane sleeps.", "lane")
	mLaneEmpty   = layer.Counter(telemetry.Pays, "lane_empty_polls_total", "Polls that found nothing: what looking costs.", "lane")
	mLaneFull    = layer.Counter(telemetry.Late, "lane_full_polls_total", "Polls that took as much as they might: there was more. While all are full the lane can't keep up.", "lane")
	mLaneTaken   = layer.Counter(telemetry.Complete, "lane_taken_units_total", "What a lane took, in entries or bytes as its source counts. Divided by polls it is the batch.", "lane")
	mLaneSpins   = layer.Counter(telemetry.Pays, "lane_spins_total", "Times that a lane polled on for some microseconds before it slept.", "lane")
	mLaneHits    = layer.Counter(telemetry.Pays, "lane_spin_hits_total", "Spins that found work; the others were for nothing.", "lane")
	mLaneParks   = layer.Counter(telemetry.Pays, "lane_parks_total", "Times that a lane slept.", "lane")
	mLaneParked  = layer.Counter(telemetry.RunsOut, "lane_parked_seconds_total", "Time that a lane slept. A rate near 1 is an idle lane, near 0 one that has no time left.", "lane")
	mLaneFalse   = layer.Counter(telemetry.Pays, "lane_false_wakes_total", "Sleeps that ended without work: somebody rings for nothing.", "lane")
	mLaneDamped  = layer.Counter(telemetry.Changed, "lane_damped_total", "Pauses of a lane whose source woke it again and again without work: a defect of the source, held off the CPU.", "lane")
	mLaneBudget  = layer.Gauge(telemetry.Changed, "lane_batch_limit_units", "What a lane may take in one poll, as tuned or pinned.", "lane")
	mLaneTurn    = layer.Histogram(telemetry.Late, "lane_turn_seconds", "How long polls took that found work, handling included: what a record waits for those before it.", "lane")
	mLaneStuck   = layer.Gauge(telemetry.Late, "lane_stuck", "1 while a lane's turn takes longer than its bound. The log has its stack.", "lane")
	mLaneStalls  = layer.Counter(telemetry.Changed, "lane_stalls_total", "Turns that were reported because they took longer than their bound, each once.", "lane")
	mLaneRunning = layer.Gauge(telemetry.Late, "lane_running", "1 while a lane runs, asleep or not, else 0.", "lane")
)

// drains is the histogram of all pools' drains.
func (s *Scheduler) drained(d time.Duration) { s.drains.Observe(d) }

// Report emits the values of everything that runs under s.
func (s *Scheduler) Report(e *telemetry.Emitter) {
	c := &s.count
	s.mu.Lock()
	groups := len(s.groups)
	s.mu.Unlock()
	ended := c.ended.Load() // read first: what starts meanwhile counts as living
	e.Value(mGoroutines, float64(c.started.Load()-ended))
	e.Value(mGroups, float64(groups))
	e.Count(mStarted, uint64(c.started.Load()))
	e.Count(mFailed, uint64(c.failed.Load()))
	e.Count(mPanics, uint64(c.panics.Load()))
	e.Count(mRestarts, uint64(c.restarts.Load()))
	e.Count(mGaveUp, uint64(c.gaveUp.Load()))
	e.Value(mBackoff, float64(c.backoff.Load()))
	e.Count(mTicks, uint64(c.ticks.Load()))
	e.Count(mSkipped, uint64(c.skipped.Load()))
	e.Histogram(mLate, s.timers.late.Snapshot())
	e.Histogram(mDrain, s.drains.Snapshot())
	pools, lanes := s.parts()
	for _, p := range pools {
		p.report(e)
	}
	for _, l := range lanes {
		l.report(e)
	}
}

func (p *Pool) report(e *telemetry.Emitter) {
	name := p.set.Name
	st := p.Stats()
	for i := range st.Kinds {
		k := &st.Kinds[i]
		for o, n := range k.Outcomes {
			e.Count(mTasks, n, name, k.Kind, Outcome(o).String())
		}
		if p.timed {
			e.Histogram(mWait, k.Wait, name, k.Kind)
			e.Histogram(mRun, k.Run, name, k.Kind)
		}
	}
	for l := range priorities {
		e.Value(mQueued, float64(st.Queued[l]), name, l.String())
		e.Count(mBegun, st.Begun[l], name, l.String())
	}
	for _, t := range st.Tenants {
		e.Count(mTenant, t.Begun, name, t.Tenant)
		e.Value(mTenantQ, float64(t.Queued), name, t.Tenant)
		e.Count(mRejected, t.Rejected, name, t.Tenant)
	}
	e.Value(mCapacity, float64(st.Capacity), name)
	e.Value(mWorkers, float64(st.Workers), name)
	e.Value(mBusy, float64(st.Busy), name)
	e.Value(mTarget, float64(st.Limit), name)
	e.Count(mBlocked, st.Blocked, name)
	e.Count(mInCaller, st.InCaller, name)
	e.Count(mStolen, st.Stolen, name)
	e.Count(mBatches, st.Batches, name)
	e.Count(mWakes, st.Wakes, name)
	e.Count(mParks, st.Parks, name)
	e.Count(mSpins, st.Spins, name)
	e.Count(mSpinHits, st.SpinHits, name)
	e.Value(mStuck, float64(st.StuckNow), name)
	e.Count(mStalls, st.Stalls, name)
	e.Count(mCut, st.Cut, name)
	if p.tuner != nil {
		p.tuner.report(e, "pool "+name)
	}
}

func (t *Tuner) report(e *telemetry.Emitter, name string) {
	pinned := 0.0
	if t.Pinned() {
		pinned = 1
	}
	e.Count(mTunedTotal, t.changes.Load(), name)
	e.Count(mTunerLoad, t.restarts.Load(), name)
	e.Value(mTunerPinned, pinned, name)
}

func (l *Lane) report(e *telemetry.Emitter) {
	st, name := l.Stats(), l.set.Name
	e.Count(mLanePolls, st.Polls, name)
	e.Count(mLaneEmpty, st.Empty, name)
	e.Count(mLaneFull, st.Full, name)
	e.Count(mLaneTaken, st.Taken, name)
	e.Count(mLaneSpins, st.Spins, name)
	e.Count(mLaneHits, st.SpinHits, name)
	e.Count(mLaneParks, st.Parks, name)
	e.Value(mLaneParked, st.Parked.Seconds(), name)
	e.Count(mLaneFalse, st.FalseWakes, name)
	e.Count(mLaneDamped, st.Damped, name)
	e.Value(mLaneBudget, float64(st.Budget), name)
	if l.timed {
		e.Histogram(mLaneTurn, l.turn.Snapshot(), name)
	}
	e.Value(mLaneStuck, float64(l.stuckNow.Load()), name)
	e.Count(mLaneStalls, l.stuck.Load(), name)
	running := 0.0
	if l.state.Load() != laneStopped {
		running = 1
	}
	e.Value(mLaneRunning, running, name)
	l.tuner.report(e, "lane "+name)
}
