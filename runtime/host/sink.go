package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/runtime/sched"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/heap"
	"github.com/marketprism/marketprism/sdk/wire/ring"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// JournalRef is a records journal that a sink reads.
type JournalRef struct {
	Name    string // directory-safe, as binance-spot-records
	Journal Journal
	// Cursor is the sink's durable cursor: nothing below it is asked for
	// again. It is called from Run.
	Cursor func() shm.Position
	Venue  string // of the feed as a whole (instrument 0)
	Market market.Market
}

// SinkSpec describes a sink that is to run.
type SinkSpec struct {
	Spec
	Label     string // sink.parquet.lake: in logs and errors
	Config    schema.Values
	WorkDir   string // where relative paths start
	Selection []wire.Select
	Journals  []JournalRef
	// Wake, if set, is called whenever the plugin rings, from a goroutine of
	// the host, for a lane that sleeps elsewhere than in Wait; it must be quick.
	// Such a lane calls Arm before it sleeps.
	Wake func()
}

// ErrFull says that ring.Slots requests are unanswered.
var ErrFull = errors.New("host: the sink's mailbox is full")

// ErrNotOpen says that no process has the store open: the caller waits for a
// Result with Opened.
var ErrNotOpen = errors.New("host: the sink is not open")

// Result is what became of a request, or of the process.
type Result struct {
	ring.Answer
	Request ring.Request
	// Lost says that the process ended before it answered: the request is to
	// be made again, over the same range.
	Lost bool
	// Opened says that a process has opened the store and takes requests; what
	// a former one had written and not flushed is gone.
	Opened     bool
	Generation uint32
}

// Sink is a sink plugin under supervision. Run belongs to one goroutine;
// Submit, Results, Wait and Arm to another; the rest may be called by any.
type Sink struct {
	h    *Host
	spec SinkSpec
	bell *ring.Bell
	*vitals

	next atomic.Pointer[sinkGeneration]
	bad  chan error
	over atomic.Pointer[error]

	cur     *sinkGeneration
	pending []ring.Request // unanswered, in order
	ready   func() bool

	mu    sync.Mutex
	state State
	proc  *process
	desc  wire.Description
}

type sinkGeneration struct {
	n     uint32
	box   *ring.Mailbox
	ctl   *shm.Control
	ended atomic.Bool
	users atomic.Int32
}

func (g *sinkGeneration) release() {
	if g.users.Add(-1) == 0 {
		g.box.Close()
		g.ctl.Close()
	}
}

// NewSink makes a sink; Run starts it.
func (h *Host) NewSink(spec SinkSpec) (*Sink, error) {
	spec.Kind = wire.KindSink
	if spec.Label == "" {
		spec.Label = "sink." + spec.Name
	}
	if err := spec.check(); err != nil {
		return nil, err
	}
	for i := range spec.Journals {
		if j := &spec.Journals[i]; j.Name == "" || j.Journal == nil || j.Cursor == nil {
			return nil, fmt.Errorf("host: plugin %s: journal %d (%q) lacks its name, journal or cursor", spec.Label, i, j.Name)
		}
	}
	if spec.WorkDir = absolute(spec.WorkDir); spec.WorkDir == "" {
		spec.WorkDir = absolute(".")
	}
	if spec.Access = spec.Access.below(spec.WorkDir); spec.Access.Undeclared {
		h.opt.Logger.Warn().Str("plugin", spec.Label).Msg("the sink doesn't declare what it needs: it can write where this user can, and use TCP")
	}
	bell, err := ring.NewBell()
	if err != nil {
		return nil, err
	}
	s := &Sink{h: h, spec: spec, bell: bell, vitals: h.vitalsOf(spec.Label), bad: make(chan error, 1), state: State{Phase: Idle, Since: time.Now()}}
	s.ready = s.hasWork
	return s, nil
}

// State is what the plugin is doing.
func (s *Sink) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Manifest is what the plugin said of itself; nil before the first start.
func (s *Sink) Manifest() *sink.Manifest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.desc.Sink
}

// Health asks the process for its state.
func (s *Sink) Health(ctx context.Context) (wire.Health, error) {
	return ask(ctx, s, (*wire.Client).Health)
}

// Heap asks the process which sites hold most of its heap.
func (s *Sink) Heap(ctx context.Context) ([]heap.Site, error) {
	return ask(ctx, s, (*wire.Client).Heap)
}

func ask[T any](ctx context.Context, s *Sink, call func(*wire.Client, context.Context) (T, error)) (v T, err error) {
	s.mu.Lock()
	p := s.proc
	s.mu.Unlock()
	if p == nil {
		return v, fmt.Errorf("host: plugin %s: %w", s.spec.Label, ErrNotOpen)
	}
	ctx, cancel := context.WithTimeout(ctx, s.h.opt.CallTimeout)
	defer cancel()
	return call(p.client, ctx)
}

func (s *Sink) set(f func(*State)) {
	s.mu.Lock()
	f(&s.state)
	s.state.Since = time.Now()
	s.mu.Unlock()
}

// Run starts the plugin, opens the store and keeps both until ctx ends, which
// closes the store and returns nil, or the plugin is quarantined, which returns
// a *QuarantineError. A store that can't be opened now is tried again and again.
func (s *Sink) Run(ctx context.Context) error {
	defer s.pump(ctx)()
	budget := allowance{Budget: s.h.opt.Restart}
	log := s.h.opt.Logger.With().Str("plugin", s.spec.Label).Logger()
	for {
		err := s.once(ctx)
		if ctx.Err() != nil {
			s.finish(io.EOF, Stopped, "")
			return nil
		}
		wait, more := budget.spend(time.Now())
		if hopeless(err) || !more {
			q := &QuarantineError{Plugin: s.spec.Label, Restarts: len(budget.times) - 1, Err: err}
			s.finish(q, Quarantined, err.Error())
			return q
		}
		log.Warn().Err(err).Dur("wait", wait).Msg("plugin ended and is started again")
		s.set(func(st *State) { st.Phase, st.Why, st.Pid = Waiting, err.Error(), 0; st.Restarts++ })
		if sleep(ctx, wait) != nil {
			s.finish(io.EOF, Stopped, "")
			return nil
		}
	}
}

// pump passes on the bell's rings to Wake, where there is one.
func (s *Sink) pump(ctx context.Context) (stop func()) {
	if s.spec.Wake == nil {
		return func() {}
	}
	return pump(ctx, s.bell, s.spec.Wake)
}

func (s *Sink) finish(err error, phase Phase, why string) {
	s.over.Store(&err)
	s.set(func(st *State) { st.Phase, st.Why, st.Pid = phase, why, 0 })
	s.interrupt()
}

func (s *Sink) interrupt() {
	s.bell.Interrupt()
	if s.spec.Wake != nil {
		s.spec.Wake()
	}
}

// once runs one process to its end and returns why it ended.
func (s *Sink) once(ctx context.Context) (err error) {
	s.set(func(st *State) { st.Phase = Starting })
	if err := s.spec.Access.prepare(); err != nil {
		return err
	}
	began := time.Now()
	g := &sinkGeneration{}
	g.users.Store(1)
	defer func() { g.release() }()
	if g.box, err = ring.NewMailbox(); err != nil {
		g.box, g.ctl = new(ring.Mailbox), shm.NewLocal()
		return err
	}
	if g.ctl, err = shm.NewControl(); err != nil {
		g.ctl = shm.NewLocal()
		return err
	}
	ctlFile, ctlBell := g.ctl.Files()
	files := []*os.File{g.box.File(), ctlFile, ctlBell, s.bell.File()}
	const first = wire.LifeFd + 1
	open := wire.SinkOpen{Transport: wire.TransportShared, Name: s.spec.Label, Config: s.spec.Config, WorkDir: s.spec.WorkDir,
		Selection: s.spec.Selection, MailboxFd: first, ControlFd: first + 1, BellFd: first + 2, HostBell: first + 3}
	var readers []*shm.Control
	for i := range s.spec.Journals {
		j := &s.spec.Journals[i]
		ctl, err := shm.NewControl()
		if err != nil {
			return err
		}
		j.Journal.Attach(ctl, j.Cursor())
		defer retire(j.Journal, ctl)
		readers = append(readers, ctl)
		f, b := ctl.Files()
		open.Journals = append(open.Journals, wire.SinkJournal{Name: j.Name, Dir: absolute(j.Journal.Dir()), Venue: j.Venue, Market: j.Market,
			ControlFd: wire.LifeFd + 1 + len(files), BellFd: wire.LifeFd + 2 + len(files)})
		files = append(files, f, b)
	}
	p, desc, err := s.h.start(ctx, s.spec.Spec, s.spec.Label, files)
	if err != nil {
		return s.spec.Access.explain(err)
	}
	s.mu.Lock()
	s.desc = desc
	s.mu.Unlock()
	if err := s.open(ctx, p, open); err != nil {
		err = p.explain(fmt.Errorf("host: plugin %s: %w", s.spec.Label, err))
		p.kill(err)
		return err
	}
	g.users.Store(2)
	s.set(func(st *State) {
		st.Generation++
		g.n = st.Generation
		st.Phase, st.Pid = Running, p.pid()
		s.proc = p
	})
	s.start.Observe(time.Since(began))
	s.next.Store(g)
	s.interrupt()

	s.watch(ctx, p, g, readers)
	s.set(func(st *State) { s.proc, st.Pid = nil, 0 })
	g.ended.Store(true)
	s.interrupt()
	return s.spec.Access.explain(p.end())
}

// open opens the store, again and again while the sink says that it may help.
func (s *Sink) open(ctx context.Context, p *process, o wire.SinkOpen) error {
	backoff := s.h.opt.Restart.MinBackoff
	for {
		call, cancel := context.WithTimeout(ctx, s.h.opt.CallTimeout)
		err := p.client.Open(call, o)
		cancel()
		if err == nil {
			return nil
		}
		err = s.spec.Access.explain(err)
		if k := fault.Of(err); k == fault.Stop || k == fault.Skip {
			return fault.New(fault.Stop, err)
		}
		select {
		case <-p.exited():
			return err
		default:
		}
		s.set(func(st *State) { st.Why = err.Error() })
		s.h.opt.Logger.Warn().Str("plugin", s.spec.Label).Err(err).Msg("the store can't be opened; it is tried again")
		if err := sleep(ctx, max(backoff, fault.After(err))); err != nil {
			return err
		}
		backoff = min(2*backoff, s.h.opt.Restart.MaxBackoff)
	}
}

// watch returns when the process has ended, or ends it.
func (s *Sink) watch(ctx context.Context, p *process, g *sinkGeneration, readers []*shm.Control) {
	tick := time.NewTicker(s.h.opt.StallAfter / 8)
	defer tick.Stop()
	var lastBegun, lastAnswered, lastCursors uint64
	since := time.Now()
	moved, health := since, make(chan error, 1)
	asking := false
	asked, asks := sched.NewSet(ctx, "")
	defer asked.Wait() //nolint:errcheck // it returns none
	defer asked.Cancel(nil)
	for {
		select {
		case <-p.exited():
			p.kill(nil)
			return
		case <-ctx.Done():
			call, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.h.opt.CallTimeout)
			if err := s.spec.Access.explain(p.client.CloseSink(call)); err != nil {
				s.h.opt.Logger.Warn().Str("plugin", s.spec.Label).Err(err).Msg("the store was not closed")
			}
			cancel()
			p.kill(errStopped)
			return
		case err := <-s.bad:
			p.kill(err)
			return
		case err := <-health:
			asking = false
			if err != nil {
				s.hangs.Add(1)
				p.kill(fmt.Errorf("it hangs: no progress for %v with a batch under way, and no answer: %w", time.Since(moved).Round(time.Millisecond), err))
				return
			}
			since = time.Now()
		case now := <-tick.C:
			answered, begun := g.box.Progress()
			var cursors uint64
			for _, c := range readers {
				cursors += c.Cursor()
			}
			if answered != lastAnswered || begun != lastBegun || cursors != lastCursors || g.box.Idle() {
				lastAnswered, lastBegun, lastCursors, since, moved = answered, begun, cursors, now, now
				continue
			}
			g.ctl.Ring()
			if now.Sub(moved) >= s.h.opt.WriteTimeout {
				s.hangs.Add(1)
				p.kill(fmt.Errorf("it hangs: a batch has been under way for %v", now.Sub(moved).Round(time.Millisecond)))
				return
			}
			// A store may be slow; a process that is stopped answers nothing.
			if now.Sub(since) >= s.h.opt.StallAfter && !asking {
				asking = true
				asked.Go("health", func(context.Context) error {
					call, cancel := context.WithTimeout(asks, s.h.opt.StallAfter)
					defer cancel()
					_, err := p.client.Health(call)
					health <- err
					return nil
				})
			}
		}
	}
}

// Submit gives the sink a batch to write or a range to flush. It returns
// ErrFull, ErrNotOpen, or nil; then a Result with this request follows.
func (s *Sink) Submit(r ring.Request) error {
	g := s.cur
	if g == nil {
		return ErrNotOpen
	}
	if !g.box.Submit(&r) {
		return ErrFull
	}
	s.pending = append(s.pending, r)
	g.ctl.Ring()
	return nil
}

// Results appends what there is to dst. It returns io.EOF when Run has ended
// and everything was reported, and a *QuarantineError when the plugin was given
// up; the requests unanswered until then are reported as lost before. One call
// may report what one process lost and that the next one is open: the caller goes
// through all of it before the next Submit, or batches are written out of order.
func (s *Sink) Results(dst []Result) ([]Result, error) {
	for {
		if s.cur == nil {
			g := s.next.Swap(nil)
			if g == nil {
				if e := s.over.Load(); e != nil && len(dst) == 0 {
					return dst, *e
				}
				return dst, nil
			}
			s.cur = g
			dst = append(dst, Result{Opened: true, Generation: g.n})
		}
		g := s.cur
		ended := g.ended.Load() // before the mailbox is looked at
		for {
			a, ok, err := g.box.Take()
			if err != nil {
				s.violations.Add(1)
				select {
				case s.bad <- err:
				default:
				}
				ended = true // nothing more is taken from it
				break
			}
			if !ok {
				break
			}
			r := s.pending[0]
			s.pending = append(s.pending[:0], s.pending[1:]...)
			if a.To < r.From || a.To > r.To {
				a.Failed, a.Kind, a.Text = true, fault.Retry, fmt.Sprintf("host: the sink says it wrote up to %d of %d to %d", a.To, r.From, r.To)
			}
			if a.Failed && s.spec.Access.denied(a.Text) {
				a.Text += s.spec.Access.hint()
			}
			dst = append(dst, Result{Answer: a, Request: r, Generation: g.n})
		}
		if !ended {
			return dst, nil
		}
		for _, r := range s.pending {
			dst = append(dst, Result{Request: r, Answer: ring.Answer{Batch: r.Batch}, Lost: true, Generation: g.n})
		}
		s.pending = s.pending[:0]
		g.release()
		s.cur = nil
	}
}

// Unanswered is the number of requests without a result.
func (s *Sink) Unanswered() int { return len(s.pending) }

func (s *Sink) hasWork() bool {
	if g := s.cur; g != nil {
		return g.box.Ready() || g.ended.Load()
	}
	return s.next.Load() != nil || s.over.Load() != nil
}

// Wait sleeps until Results has something, Interrupt is called or the timeout
// (if positive) has passed, and says whether it has. It isn't for a sink with
// Wake.
func (s *Sink) Wait(timeout time.Duration) bool {
	if g := s.cur; g != nil {
		return g.box.Wait(s.bell, s.ready, timeout)
	}
	return s.bell.Wait(s.ready, timeout)
}

// Arm asks for Wake at the plugin's next answer and says whether Results has
// something already.
func (s *Sink) Arm() bool {
	if g := s.cur; g != nil {
		g.box.Arm()
	}
	return s.hasWork()
}

// Interrupt ends the Wait under way, or the next one. Any goroutine may call it.
func (s *Sink) Interrupt() { s.bell.Interrupt() }

// Close frees what is left after Run has returned and Results is called no more.
func (s *Sink) Close() error {
	if s.over.Load() == nil {
		return fmt.Errorf("host: plugin %s is closed while it runs", s.spec.Label)
	}
	if s.cur != nil {
		s.cur.release()
		s.cur = nil
	}
	if g := s.next.Swap(nil); g != nil {
		g.release()
	}
	return s.bell.Close()
}
