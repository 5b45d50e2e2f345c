package sched

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// What a Join or Do reports of a task that was not run, or not to its end.
var (
	ErrDeadline = errors.New("sched: the task's deadline had passed before it began")
	ErrFull     = errors.New("sched: the queue is full")
	ErrClosed   = errors.New("sched: the pool drains or has ended, and takes no more tasks")
	ErrDrained  = errors.New("sched: the pool's drain time was over before the task began")
)

// Runner is what a task does. A pointer to a struct that the submitter keeps and
// uses again costs no allocation; nor does a Func that captures nothing or was
// made before.
type Runner interface {
	Run(ctx context.Context) error
}

// Func is a function as a Runner.
type Func func(ctx context.Context) error

// Run calls f.
func (f Func) Run(ctx context.Context) error { return f(ctx) }

// Priority of a task. While higher ones wait as well, of 21 tasks that begin 16
// are High, 4 Normal and 1 Low.
type Priority uint8

// The priorities. The zero value is Normal.
const (
	Normal Priority = iota
	High
	Low
	priorities
)

func (p Priority) String() string {
	return [...]string{"normal", "high", "low"}[p]
}

// shares are how many tasks of a level begin in a round, in the order of service.
var shares = [...]struct {
	level Priority
	tasks int
}{{High, 16}, {Normal, 4}, {Low, 1}}

// Task is one piece of work.
type Task struct {
	Runner   Runner
	Kind     *Kind   // nil: the pool's kind "task"
	Tenant   *Tenant // nil: the pool's own tenant
	Priority Priority
	// Deadline is when the task must have begun; later it isn't run. Zero: none.
	Deadline time.Time
	// Ctx, if set, is the task's context: when it has ended before the task
	// begins, the task isn't run. The pool ends it when its drain time is over.
	Ctx context.Context
	// Join, if set, is told of the end.
	Join *Join

	call  *call // of Do
	due   int64 // Deadline on the package's clock
	since int64 // when it was submitted
}

// Join counts tasks that are under way, of any number of pools. One goroutine
// waits at a time. It may be used again after Wait.
type Join struct {
	left   atomic.Int64
	failed atomic.Int64
	first  atomic.Pointer[error]
	wake   chan struct{}
}

// NewJoin makes a Join.
func NewJoin() *Join { return &Join{wake: make(chan struct{}, 1)} }

func (j *Join) done(err error) {
	if err != nil {
		j.failed.Add(1)
		j.keep(err)
	}
	if j.left.Add(-1) == 0 {
		select {
		case j.wake <- struct{}{}:
		default:
		}
	}
}

// keep is apart so that the error of the common case stays off the heap.
func (j *Join) keep(err error) { j.first.CompareAndSwap(nil, &err) }

// Wait blocks until no task is under way, or ctx ends. It returns the first
// error since the last Wait, and says how many there were.
func (j *Join) Wait(ctx context.Context) error {
	for j.left.Load() > 0 {
		select {
		case <-j.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	n, err := j.failed.Swap(0), j.first.Swap(nil)
	switch {
	case err == nil:
		return nil
	case n == 1:
		return *err
	}
	return fmt.Errorf("sched: %d tasks failed, the first: %w", n, *err)
}

// call is the other end of a Do. It is used again only when both ends are done
// with it.
type call struct {
	state atomic.Int32 // queued, then begun or withdrawn
	err   error        // before done
	done  chan struct{}
}

const (
	callQueued = iota
	callBegun
	callWithdrawn
)

// finish tells the owners of the task.
func (t *Task) finish(err error) {
	if t.call != nil {
		t.call.err = err
		t.call.done <- struct{}{}
	}
	if t.Join != nil {
		t.Join.done(err)
	}
}

// Tenant is on whose behalf tasks run: a pipeline, or a feed. Tenants share the
// workers' time by weight; each has its own queues.
type Tenant struct {
	pool   *Pool
	name   string
	weight int64
	queues [priorities]queue

	served  atomic.Uint64 // tasks that began
	rejects atomic.Uint64
}

// Kind is what a task does, for metrics and for the watch.
type Kind struct {
	pool  *Pool
	name  string
	stuck int64 // ns that one may take; 0: any
	cost  atomic.Int64
	parts []kindPart
}

// cost of a task for fair shares and batches: what its kind took lately.
const (
	leastCost = int64(time.Microsecond)
	mostCost  = int64(10 * time.Millisecond)
)

func (k *Kind) estimate() int64 { return min(max(k.cost.Load(), leastCost), mostCost) }

// learn takes note of what tasks took. Two workers that learn at the same time
// lose one of the two, which does no harm to a smoothed value.
func (k *Kind) learn(ns int64) {
	ns = max(ns, 1)
	if old := k.cost.Load(); old > 0 {
		ns = old + (ns-old)/8
	}
	k.cost.Store(max(ns, 1))
}
