package sched

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
)

// A worker takes a few tasks at a time where they are short, so that the lock
// is taken once for all of them. What it has taken and not begun, an idle worker
// steals: no task waits behind a slow one while somebody has nothing to do.
const (
	batchTasks = 64
	batchCost  = 20_000 // ns of work
	// Where all processors run tasks, a submitter that was woken because there is
	// room would wait for one of them to end, and the queue run dry meanwhile. So
	// before a task that takes longer than this (ns) the worker lets it go first.
	yieldCost = 20_000
)

// worker is one goroutine of a pool. Its tasks in buf are claimed by the owner
// from the front and by others, who hold the pool's lock, from the back.
type worker struct {
	p     *Pool
	base  context.Context // of tasks
	part  int             // of the kinds' counters
	hired bool            // has not looked for work yet; counted as searching
	wake  chan struct{}

	state atomic.Uint64 // of buf: the next task and the end, 32 bits each
	buf   [batchTasks]Task

	// For the watch; written for kinds that have a bound.
	begun atomic.Int64 // when the present task began; 0: none
	doing atomic.Pointer[Kind]
	whose atomic.Pointer[Tenant]
	goid  atomic.Uint64
	_     [64]byte

	reported atomic.Int64 // the watch's: begun of the last task that it reported
}

func (w *worker) run(context.Context) error {
	if w.p.timed {
		w.goid.Store(goid())
	}
	clean := false
	defer func() {
		if !clean { // a task ended the goroutine by runtime.Goexit: another one takes its place
			w.begun.Store(0)
			w.p.mu.Lock()
			w.p.group.Go("worker", w.run)
			w.p.mu.Unlock()
		}
	}()
	w.tasks() // what is left, for that other one
	for w.next() {
		w.tasks()
	}
	clean = true
	return nil
}

// claim is the index of the next task; -1 if all are claimed.
func (w *worker) claim() int {
	for {
		s := w.state.Load()
		if uint32(s>>32) >= uint32(s) {
			return -1
		}
		if w.state.CompareAndSwap(s, s+1<<32) {
			return int(s >> 32)
		}
	}
}

// rob takes up to half of what w has not begun, the last tasks first. The
// pool's lock is held.
func (w *worker) rob(into []Task) int {
	for {
		s := w.state.Load()
		next, end := int(s>>32), int(uint32(s))
		k := min((end-next+1)/2, len(into))
		if k <= 0 {
			return 0
		}
		if w.state.CompareAndSwap(s, s-uint64(k)) {
			copy(into, w.buf[end-k:end])
			clear(w.buf[end-k : end])
			return k
		}
	}
}

// next gets tasks into buf, waiting for them; false when the worker is to end.
// It begins as one that searches where it was just started.
func (w *worker) next() bool {
	p := w.p
	p.mu.Lock()
	searching, spun := w.fresh(), false
	var since int64 // when it first found nothing
	for {
		n := 0
		if len(p.workers) <= p.target || p.closed {
			n = p.fill(w)
		}
		if n > 0 {
			if searching {
				p.searching--
			}
			h := p.helper(p.queued > 0 || n > 1)
			if since != 0 {
				p.gaps.learn(mono() - since)
			}
			yield := p.freed && w.buf[0].Kind.cost.Load() > yieldCost
			p.freed = false
			p.mu.Unlock()
			if h != nil {
				h.wake <- struct{}{}
			}
			if yield {
				runtime.Gosched()
			}
			return true
		}
		if p.closed || len(p.workers) > p.target {
			w.leave(searching)
			return false
		}
		if since == 0 {
			since = mono()
		}
		if !spun && p.gaps.short() && p.searching == 0 {
			spun, searching = true, true
			p.searching++
			p.mu.Unlock()
			p.stat.spins.Add(1)
			if spin(func() bool { return p.queuedNow.Load() > 0 }) {
				p.stat.spinHits.Add(1)
			}
			p.mu.Lock()
			continue
		}
		if searching {
			p.searching--
		}
		p.idle = append(p.idle, w)
		p.mu.Unlock()
		p.stat.parks.Add(1)
		<-w.wake
		searching = true // whoever wakes counts it
		p.mu.Lock()
	}
}

// fresh says whether this is the first call since the worker was hired.
func (w *worker) fresh() bool {
	was := w.hired
	w.hired = false
	return was
}

// leave takes the worker off. The lock is held, and released.
func (w *worker) leave(searching bool) {
	p := w.p
	if searching {
		p.searching--
	}
	for i, o := range p.workers {
		if o == w {
			p.workers[i] = p.workers[len(p.workers)-1]
			p.workers = p.workers[:len(p.workers)-1]
			break
		}
	}
	p.spare = append(p.spare, w)
	h := p.helper(p.queued > 0)
	p.mu.Unlock()
	if h != nil {
		h.wake <- struct{}{}
	}
}

// fill gets tasks from the queues, or from another worker. The lock is held.
func (p *Pool) fill(w *worker) int {
	n := p.take(w.buf[:], min(batchTasks, p.queued/len(p.workers)+1), batchCost)
	if n == 0 {
		for _, o := range p.workers {
			if o != w {
				if n = o.rob(w.buf[:]); n > 0 {
					p.stat.stolen.Add(uint64(n))
					break
				}
			}
		}
	} else {
		p.stat.batches.Add(1)
	}
	if n > 0 {
		w.state.Store(uint64(n))
	}
	return n
}

// tasks runs what is in buf.
func (w *worker) tasks() {
	var kind *Kind
	var n, begun, now int64
	for {
		i := w.claim()
		if i < 0 {
			break
		}
		t := &w.buf[i]
		if now == 0 {
			now = mono()
			begun = now
		}
		if t.Kind != kind {
			if n > 0 {
				now = w.p.lap(kind, n, begun, now)
			}
			kind, n, begun = t.Kind, 0, now
		}
		now = w.p.do(w.base, w, t, now)
		n++
		*t = Task{}
	}
	if n > 0 {
		w.p.lap(kind, n, begun, now)
	}
}

// lap learns what n tasks of a kind took.
func (p *Pool) lap(k *Kind, n, begun, now int64) int64 {
	if !p.timed { // one clock for all of them
		now = mono()
	}
	k.learn((now - begun) / n)
	return now
}

// do runs one task, and returns when it ended, as far as that is measured.
// w is nil for a task that its submitter runs.
func (p *Pool) do(base context.Context, w *worker, t *Task, now int64) int64 {
	part, k := 0, t.Kind
	if w != nil {
		part = w.part
	}
	c := &k.parts[part]
	if p.timed {
		c.wait.Observe(nanos(now - t.since))
	} else if t.due != 0 {
		now = mono()
	}
	switch {
	case t.call != nil && !t.call.state.CompareAndSwap(callQueued, callBegun):
		t.call = nil // its Do has returned
		c.outcomes[Cancelled].Add(1)
		t.finish(context.Canceled)
		return now
	case t.due != 0 && now > t.due:
		c.outcomes[DeadlineMissed].Add(1)
		t.finish(ErrDeadline)
		return now
	case t.Ctx != nil && t.Ctx.Err() != nil:
		c.outcomes[Cancelled].Add(1)
		t.finish(context.Cause(t.Ctx))
		return now
	}
	watched := k.stuck > 0 && p.timed && w != nil
	if watched {
		w.doing.Store(k)
		w.whose.Store(t.Tenant)
		w.begun.Store(now)
	}
	err, out := p.call(base, c, t)
	if watched {
		w.begun.Store(0)
	}
	c.outcomes[out].Add(1)
	if p.timed {
		end := mono()
		c.run.Observe(nanos(end - now))
		now = end
	}
	t.finish(err)
	return now
}

// call runs the task's function.
func (p *Pool) call(base context.Context, c *kindPart, t *Task) (err error, out Outcome) { //nolint:revive // the outcome is of the error
	returned := false
	defer func() {
		if returned {
			return
		}
		out = Panicked
		if v := recover(); v != nil {
			err = p.panicked(t.Kind, v)
			return
		}
		c.outcomes[Panicked].Add(1) // nobody returns to where it is counted
		t.finish(fmt.Errorf("%w: %s", ErrGoexit, p.set.Name))
		*t = Task{}
	}()
	ctx := base
	if t.Ctx != nil {
		inner, cancel := context.WithCancelCause(t.Ctx)
		defer cancel(nil)
		defer context.AfterFunc(base, func() { cancel(context.Cause(base)) })()
		ctx = inner
	}
	err = t.Runner.Run(ctx)
	returned = true
	switch {
	case err == nil:
		return nil, Succeeded
	case errors.Is(err, context.Canceled):
		return err, Cancelled
	}
	return err, Failed
}

func (p *Pool) panicked(k *Kind, v any) error {
	e := newPanic("pool "+p.set.Name+": "+k.name, v)
	p.s.set.Logger.Error().Str("pool", p.set.Name).Str("kind", k.name).Bytes("stack", e.Stack).Msgf("panic: %v", v)
	return e
}

// runHere runs a task in its submitter.
func (p *Pool) runHere(t *Task) {
	if t.Kind == nil {
		t.Kind = p.kind
	}
	if t.Join != nil {
		t.Join.left.Add(1)
	}
	if !t.Deadline.IsZero() {
		t.due = int64(t.Deadline.Sub(epoch))
	}
	p.mu.Lock()
	base := p.base
	p.mu.Unlock()
	now := mono()
	t.since = now
	p.do(base, nil, t, now)
}

// spin looks for work for a short while, and lets others run meanwhile.
func spin(work func() bool) bool {
	until := mono() + spinFor
	for range spinRounds {
		for range 32 {
			if work() {
				return true
			}
		}
		if mono() >= until {
			break
		}
		runtime.Gosched()
	}
	return false
}
