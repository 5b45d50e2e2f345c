package sched

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Policy says what happens to a task whose queue is full.
type Policy uint8

// The policies.
const (
	Block      Policy = iota // Submit waits for room, or until its context ends
	Reject                   // Submit returns ErrFull
	CallerRuns               // Submit runs the task itself
)

// PoolSettings configure a Pool.
type PoolSettings struct {
	Name    string
	Workers int // at most; GOMAXPROCS if zero
	Queue   int // the bound of each tenant's queue of one priority; 4096 if zero
	Full    Policy
	Drain   time.Duration // how long what is queued may take after the context ended; 30 s if zero
	// Tune changes the number of workers between Tune.Min and Workers by what is
	// measured; nil pins it to Workers. It needs the monitor.
	Tune *TunerSettings
	// TuneEvery is how often; 250 ms if zero.
	TuneEvery time.Duration
}

// Pool runs tasks in a bounded number of workers.
type Pool struct {
	s     *Scheduler
	set   PoolSettings
	timed bool
	kind  *Kind   // of tasks without
	own   *Tenant // of tasks without
	tuner *Tuner
	rooms sync.Pool // channels of submitters that wait for room
	calls sync.Pool // of Do

	queuedNow atomic.Int64 // queued, for those who don't hold the lock

	mu        sync.Mutex
	kinds     []*Kind
	tenants   []*Tenant
	levels    [priorities]level
	queued    int
	idle      []*worker // parked; the last one parked is woken first
	workers   []*worker // all that run
	spare     []*worker // have ended and can be used again
	made      int
	searching int // workers that were woken or spin, and have no task yet
	target    int // workers that may run
	gaps      gaps
	freed     bool   // submitters were woken by the present take
	group     *Group // of Run
	closed    bool
	base      context.Context
	cut       context.CancelCauseFunc // ends tasks that run

	stat struct {
		inCaller, blocked, stolen, wakes, parks, spins, spinHits, batches, stuck atomic.Uint64
		cut, stuckNow                                                            atomic.Int64
	}
}

const (
	defaultQueue = 4096
	defaultDrain = 30 * time.Second
)

// NewPool makes a pool. Tasks may be submitted before Run; they wait.
func (s *Scheduler) NewPool(set PoolSettings) *Pool {
	if set.Workers <= 0 {
		set.Workers = runtime.GOMAXPROCS(0)
	}
	if set.Queue <= 0 {
		set.Queue = defaultQueue
	}
	if set.Drain <= 0 {
		set.Drain = defaultDrain
	}
	if set.TuneEvery <= 0 {
		set.TuneEvery = 250 * time.Millisecond
	}
	p := &Pool{s: s, set: set, timed: !s.set.MonitorOff, target: set.Workers, base: context.Background()}
	p.rooms.New = func() any { return make(chan struct{}, 1) }
	p.calls.New = func() any { return &call{done: make(chan struct{}, 1)} }
	p.kind = p.Kind("task", 0)
	p.own = p.Tenant("", 1)
	if set.Tune != nil {
		t := *set.Tune
		t.Max = set.Workers
		p.tuner = NewTuner(t)
		p.target = p.tuner.Value()
	}
	s.mu.Lock()
	s.pools = append(s.pools, p)
	s.mu.Unlock()
	return p
}

// Kind is the pool's kind of task of that name; the watch reports one that runs
// longer than stuckAfter (0: as long as it likes). Kinds are made once, at start:
// their names are labels of metrics.
func (p *Pool) Kind(name string, stuckAfter time.Duration) *Kind {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.kinds {
		if k.name == name {
			return k
		}
	}
	k := &Kind{pool: p, name: name, stuck: int64(stuckAfter), parts: make([]kindPart, min(p.set.Workers, runtime.GOMAXPROCS(0))+1)}
	p.kinds = append(p.kinds, k)
	return k
}

// Tenant is the pool's tenant of that name. Of tenants that wait, each gets the
// workers' time by its weight, at least 1.
func (p *Pool) Tenant(name string, weight int) *Tenant {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.tenants {
		if t.name == name {
			return t
		}
	}
	t := &Tenant{pool: p, name: name, weight: int64(max(weight, 1))}
	for i := range t.queues {
		t.queues[i] = queue{tenant: t, level: Priority(i), bound: p.set.Queue}
	}
	p.tenants = append(p.tenants, t)
	return t
}

// Submit queues a task. Where its queue is full, the pool's policy holds; ctx
// bounds the wait for room, and nothing else.
func (p *Pool) Submit(ctx context.Context, t Task) error {
	ts := [1]Task{t}
	_, err := p.SubmitBatch(ctx, ts[:])
	return err
}

// SubmitBatch queues tasks in their order, under one lock. It says how many the
// pool took; the others it never runs. The slice is the caller's again.
func (p *Pool) SubmitBatch(ctx context.Context, ts []Task) (n int, err error) {
	var now int64
	if p.timed {
		now = mono()
	}
	for n < len(ts) {
		k, q, err := p.push(ts[n:], now)
		if n += k; err != nil {
			return n, err
		}
		if q == nil {
			continue
		}
		switch p.set.Full {
		case Reject:
			q.tenant.rejects.Add(1)
			return n, fmt.Errorf("%w: pool %s, tenant %q, priority %s, %d tasks", ErrFull, p.set.Name, q.tenant.name, q.level, q.bound)
		case CallerRuns:
			p.stat.inCaller.Add(1)
			p.runHere(&ts[n])
			n++
		case Block:
			p.stat.blocked.Add(1)
			if err := p.await(ctx, q); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// push queues tasks up to the first whose queue is full, which it returns.
func (p *Pool) push(ts []Task, now int64) (n int, full *queue, err error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return 0, nil, fmt.Errorf("%w: %s", ErrClosed, p.set.Name)
	}
	for ; n < len(ts); n++ {
		t := &ts[n]
		tenant := t.Tenant
		if tenant == nil {
			tenant = p.own
		}
		if t.Kind == nil {
			t.Kind = p.kind
		}
		if tenant.pool != p || t.Kind.pool != p {
			err = fmt.Errorf("sched: pool %s: the task's kind %q or tenant %q is another pool's", p.set.Name, t.Kind.name, tenant.name)
			break
		}
		q := &tenant.queues[min(t.Priority, Low)]
		if q.n >= q.bound {
			full = q
			break
		}
		t.since, t.due = now, 0
		if !t.Deadline.IsZero() {
			t.due = int64(t.Deadline.Sub(epoch))
		}
		if t.Join != nil {
			t.Join.left.Add(1)
		}
		q.push(t)
		l := &p.levels[q.level]
		if q.n == 1 {
			l.join(q)
		}
		l.queued++
	}
	p.queued += n
	p.queuedNow.Store(int64(p.queued))
	w := p.helper(p.queued > 0)
	p.mu.Unlock()
	if w != nil {
		w.wake <- struct{}{}
	}
	return n, full, err
}

// helper is a parked worker to wake, when there is work that nobody is about to
// take; where none is parked, it starts one. The lock is held.
func (p *Pool) helper(work bool) *worker {
	if !work || p.group == nil || p.searching > 0 {
		return nil
	}
	if k := len(p.idle); k > 0 {
		w := p.idle[k-1]
		p.idle = p.idle[:k-1]
		p.searching++
		p.stat.wakes.Add(1)
		return w
	}
	if len(p.workers) < p.target {
		p.hire()
	}
	return nil
}

// hire starts a worker. The lock is held, so that a drain can't miss it.
func (p *Pool) hire() {
	var w *worker
	if k := len(p.spare); k > 0 {
		w = p.spare[k-1]
		p.spare = p.spare[:k-1]
	} else {
		p.made++
		w = &worker{p: p, part: p.made % len(p.kind.parts), wake: make(chan struct{}, 1)}
	}
	w.hired, w.base = true, p.base
	p.searching++
	p.workers = append(p.workers, w)
	p.group.Go("worker", w.run)
}

// await blocks until the queue may have room.
func (p *Pool) await(ctx context.Context, q *queue) error {
	w := p.rooms.Get().(chan struct{})
	defer p.rooms.Put(w) //nolint:staticcheck // a channel is a pointer
	p.mu.Lock()
	if q.n < q.bound || p.closed {
		p.mu.Unlock()
		return nil
	}
	q.waiters = append(q.waiters, w)
	p.mu.Unlock()
	select {
	case <-w:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !q.forget(w) {
		<-w
		if q.n <= q.room() { // what it was woken for goes to another
			p.free(q)
		}
	}
	return fmt.Errorf("sched: pool %s: tenant %q waits for room among %d tasks: %w", p.set.Name, q.tenant.name, q.bound, context.Cause(ctx))
}

// Do runs a task in a worker and returns its error. When ctx ends before the
// task begins, it is withdrawn; later it is the task's to return.
func (p *Pool) Do(ctx context.Context, t Task) error {
	c := p.calls.Get().(*call)
	c.state.Store(callQueued)
	c.err = nil
	t.call = c
	if t.Ctx == nil && ctx.Done() != nil {
		t.Ctx = ctx
	}
	if err := p.Submit(ctx, t); err != nil {
		p.calls.Put(c)
		return err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		if c.state.CompareAndSwap(callQueued, callWithdrawn) {
			return context.Cause(ctx) // the pool still has c, and drops it
		}
		<-c.done
	}
	err := c.err
	p.calls.Put(c)
	return err
}

// Run works until ctx ends, then drains: it returns when all workers have. An
// error says that the drain time was over before all tasks were done.
func (p *Pool) Run(ctx context.Context) error {
	base, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	defer p.s.forget(p, nil)
	g, gctx := NewSet(base, "pool "+p.set.Name)
	p.mu.Lock()
	if p.base != context.Background() {
		p.mu.Unlock()
		return errors.Join(fmt.Errorf("sched: pool %s: it ran before", p.set.Name), g.Wait())
	}
	p.base, p.cut, p.group = gctx, cut, g
	p.helper(p.queued > 0)
	p.mu.Unlock()
	tuning, stopTuning := context.WithCancel(gctx)
	defer stopTuning()
	if p.tuner != nil && p.timed {
		g.Go("tuner", func(context.Context) error { p.tune(tuning); return nil })
	}
	<-ctx.Done()
	stopTuning()
	return p.drain(g)
}

// drain ends a pool: no new tasks, those queued for a while, then none.
func (p *Pool) drain(g *Group) error {
	begun := time.Now()
	timer := time.AfterFunc(p.set.Drain, func() {
		p.discard()
		p.cut(fmt.Errorf("sched: pool %s: not drained within %v", p.set.Name, p.set.Drain))
	})
	p.mu.Lock()
	p.closed = true
	for _, t := range p.tenants {
		for i := range t.queues {
			q := &t.queues[i]
			for _, w := range q.waiters {
				w <- struct{}{}
			}
			q.waiters = nil
		}
	}
	idle := p.idle
	p.idle = nil
	p.searching += len(idle)
	p.mu.Unlock()
	for _, w := range idle {
		w.wake <- struct{}{}
	}
	_ = g.Wait() // a worker's only error is a task's runtime.Goexit, which the task's owner was told of
	timer.Stop()
	p.s.drained(time.Since(begun))
	if n := p.stat.cut.Load(); n > 0 {
		return fmt.Errorf("sched: pool %s: %d tasks were not begun within the %v of its drain", p.set.Name, n, p.set.Drain)
	}
	return nil
}

// discard ends all queued tasks without running them.
func (p *Pool) discard() {
	var t [1]Task
	for {
		p.mu.Lock()
		n := p.take(t[:], 1, 0)
		if n == 0 {
			for _, w := range p.workers {
				if n = w.rob(t[:]); n > 0 {
					break
				}
			}
		}
		p.mu.Unlock()
		if n == 0 {
			return
		}
		p.stat.cut.Add(1)
		t[0].Kind.parts[0].outcomes[Cancelled].Add(1)
		t[0].finish(ErrDrained)
		t[0] = Task{}
	}
}
