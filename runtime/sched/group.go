package sched

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
)

// ErrEnded is the error of a goroutine that was not started, because its group
// had ended.
var ErrEnded = errors.New("sched: the group has ended: nobody waits for its goroutines any more")

// ErrGoexit is the error of a goroutine that ended itself by runtime.Goexit.
var ErrGoexit = errors.New("sched: the goroutine called runtime.Goexit")

// Group is goroutines that end together. Who makes one calls Wait, which
// returns when all of them have returned. All methods may be called by any
// goroutine.
type Group struct {
	s      *Scheduler
	parent node
	name   string
	apart  bool // a failure doesn't end the others
	ctx    nodeCtx
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	all   sync.Cond // n became 0
	n     int
	ended bool
	first *Child
	errs  []error
}

// NewGroup makes a group and its context, which ends with the first error of a
// goroutine (as its cause), when Wait returns, and with ctx.
func NewGroup(ctx context.Context, name string) (*Group, context.Context) {
	return newGroup(ctx, name, false)
}

// NewSet makes a group whose goroutines live apart: one that fails leaves the
// others alone, and Wait returns all errors, joined. Errors that only say that
// the context ended are left out.
func NewSet(ctx context.Context, name string) (*Group, context.Context) {
	return newGroup(ctx, name, true)
}

func newGroup(ctx context.Context, name string, apart bool) (*Group, context.Context) {
	g := &Group{parent: nodeOf(ctx), name: name, apart: apart}
	g.s = g.parent.scheduler()
	g.all.L = &g.mu
	inner, cancel := context.WithCancelCause(ctx)
	g.ctx, g.cancel = nodeCtx{inner, g}, cancel
	g.s.mu.Lock()
	g.s.groups[g] = struct{}{}
	g.s.mu.Unlock()
	return g, &g.ctx
}

func (g *Group) path() string          { return join(g.parent.path(), g.name) }
func (g *Group) scheduler() *Scheduler { return g.s }

// Cancel ends the group's context. The cause may be nil.
func (g *Group) Cancel(cause error) { g.cancel(cause) }

// Wait blocks until all goroutines have returned, those included that were
// started meanwhile; then the group has ended. It returns the first error, or,
// for a set, all of them.
func (g *Group) Wait() error {
	g.mu.Lock()
	for g.n > 0 {
		g.all.Wait()
	}
	g.ended = true
	errs := g.errs
	g.mu.Unlock()
	g.cancel(nil)
	g.s.mu.Lock()
	delete(g.s.groups, g)
	g.s.mu.Unlock()
	if !g.apart && len(errs) > 0 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// Child is a goroutine of a group.
type Child struct {
	g       *Group
	name    string
	fn      func(context.Context) error
	restart *Restart
	ctx     nodeCtx

	since    atomic.Int64
	restarts atomic.Int32
	waiting  atomic.Bool
	last     atomic.Pointer[error]

	prev, next *Child        // g.mu
	over       bool          // g.mu
	done       chan struct{} // g.mu; made when somebody asks
	err        error         // before over
}

func (c *Child) path() string          { return join(c.g.path(), c.name) }
func (c *Child) scheduler() *Scheduler { return c.g.s }

// closedChan is what Done returns for one that has ended.
var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Done is closed when the goroutine has returned for good.
func (c *Child) Done() <-chan struct{} {
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	if c.over {
		return closedChan
	}
	if c.done == nil {
		c.done = make(chan struct{})
	}
	return c.done
}

// Wait blocks until the goroutine has returned for good, and returns its error.
func (c *Child) Wait() error {
	<-c.Done()
	return c.err
}

// Started is false if the group had ended before: the function won't run, and
// Wait returns ErrEnded.
func (c *Child) Started() bool {
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	return !c.over || c.err != ErrEnded //nolint:errorlint // the very value
}

// Go runs fn in a goroutine. Its context is the group's. What it returns is the
// group's error; a panic becomes a *PanicError and counts as one. When the group
// has ended, it is not run.
func (g *Group) Go(name string, fn func(context.Context) error) *Child {
	return g.start(name, nil, fn)
}

// When says what a goroutine is started again after.
type When uint8

// The policies.
const (
	Never     When = iota
	OnFailure      // an error or a panic
	Always         // those, and a return without an error
)

// Restart is a policy. An error of kind fault.Stop is never answered by a
// restart, and one of kind fault.Wait by no earlier one than it asks for.
type Restart struct {
	When       When
	Backoff    time.Duration // before the first restart; doubles; 100 ms if zero
	MaxBackoff time.Duration // 30 s if zero
	// Max restarts in Within, or the failure goes up to the group; 5 in a minute
	// if zero. After a run as long as Within the backoff begins anew.
	Max    int
	Within time.Duration
	// PanicEnds sends a panic up at once.
	PanicEnds bool
}

func (r Restart) filled() *Restart {
	if r.Backoff <= 0 {
		r.Backoff = 100 * time.Millisecond
	}
	if r.MaxBackoff <= 0 {
		r.MaxBackoff = max(30*time.Second, r.Backoff)
	}
	if r.Max <= 0 {
		r.Max = 5
	}
	if r.Within <= 0 {
		r.Within = time.Minute
	}
	return &r
}

// Supervise runs fn and starts it again as the policy says. Its failure reaches
// the group when the policy has no restart left.
func (g *Group) Supervise(name string, r Restart, fn func(context.Context) error) *Child {
	return g.start(name, r.filled(), fn)
}

func (g *Group) start(name string, r *Restart, fn func(context.Context) error) *Child {
	c := &Child{g: g, name: name, fn: fn, restart: r}
	c.ctx = nodeCtx{&g.ctx, c}
	c.since.Store(mono())
	g.mu.Lock()
	if g.ended {
		c.over, c.err = true, ErrEnded
		g.mu.Unlock()
		return c
	}
	g.n++
	if c.next = g.first; c.next != nil {
		c.next.prev = c
	}
	g.first = c
	g.mu.Unlock()
	g.s.count.started.Add(1)
	go c.run()
	return c
}

func (c *Child) run() {
	var starts []int64 // of restarts within the period
	var err error
	for fails := 0; ; fails++ {
		var begun int64
		if c.restart != nil {
			begun = mono()
		}
		var goexit bool
		err, goexit = c.call()
		if goexit {
			return // call's defer has said so
		}
		r := c.restart
		if r == nil || r.When == Never || c.ctx.Err() != nil || err == nil && r.When == OnFailure {
			break
		}
		if p := (*PanicError)(nil); fault.Of(err) == fault.Stop || r.PanicEnds && errors.As(err, &p) {
			break
		}
		now := mono()
		if now-begun >= int64(r.Within) {
			fails = 0
		}
		for len(starts) > 0 && now-starts[0] >= int64(r.Within) {
			starts = starts[1:]
		}
		if len(starts) >= r.Max {
			if err == nil {
				err = errors.New("it returned")
			}
			c.g.s.count.gaveUp.Add(1)
			err = fmt.Errorf("sched: %s: given up after %d restarts in %v: %w", c.path(), len(starts), r.Within, err)
			break
		}
		starts = append(starts, now)
		if !c.pause(r, fails, err) {
			err = c.ctx.Err() // the failure was being dealt with: the end is not its
			break
		}
	}
	c.end(err)
}

// pause waits before a restart; false if the context ended instead.
func (c *Child) pause(r *Restart, fails int, err error) bool {
	bound := r.MaxBackoff
	if fails < 30 && r.Backoff<<fails < bound && r.Backoff<<fails > 0 {
		bound = r.Backoff << fails
	}
	d := bound/2 + rand.N(bound/2+1)
	if fault.Of(err) == fault.Wait {
		d = max(d, fault.After(err))
	}
	if err != nil {
		c.last.Store(&err)
	}
	s := c.g.s
	s.set.Logger.Warn().Err(err).Str("goroutine", c.path()).Int32("restarts", c.restarts.Load()).Dur("backoff", d).Msg("it ended and is started again")
	c.since.Store(mono())
	c.waiting.Store(true)
	s.count.backoff.Add(1)
	t := time.NewTimer(d)
	defer t.Stop()
	ok := true
	select {
	case <-t.C:
	case <-c.ctx.Done():
		ok = false
	}
	s.count.backoff.Add(-1)
	c.waiting.Store(false)
	c.since.Store(mono())
	if ok {
		c.restarts.Add(1)
		s.count.restarts.Add(1)
	}
	return ok
}

// call runs the function once.
func (c *Child) call() (err error, goexit bool) { //nolint:revive // the flag is of this file's making
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			c.g.s.count.panics.Add(1)
			p := newPanic(c.path(), v)
			c.g.s.set.Logger.Error().Str("goroutine", p.Name).Bytes("stack", p.Stack).Msgf("panic: %v", v)
			err = p
			return
		}
		c.end(fmt.Errorf("%w: %s", ErrGoexit, c.path()))
	}()
	err = c.fn(&c.ctx)
	returned = true
	return err, false
}

// end reports to the group.
func (c *Child) end(err error) {
	g := c.g
	quiet := err == nil || g.apart && g.ctx.Err() != nil && errors.Is(err, context.Canceled)
	g.s.count.ended.Add(1)
	if !quiet {
		g.s.count.failed.Add(1)
		if !g.apart {
			g.cancel(err)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !quiet && (g.apart || len(g.errs) == 0) {
		g.errs = append(g.errs, err)
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		g.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.err, c.over = err, true
	if c.done != nil {
		close(c.done)
	}
	if g.n--; g.n == 0 {
		g.all.Broadcast()
	}
}
