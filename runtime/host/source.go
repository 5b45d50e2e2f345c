package host

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/ring"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// maxDefined bounds the instruments that one plugin process introduces.
const maxDefined = 1 << 22

// SourceSpec describes a source that is to run.
type SourceSpec struct {
	Spec
	Label    string // source.binance.md: in logs and errors
	Journal  Journal
	Settings source.DecoderSettings
	Latency  wire.Latency
	// RestartFrom says where a new process begins: the position that the lane
	// has done everything below, and the frames that it remembers. It is called
	// from within Poll.
	RestartFrom func() (shm.Position, []wire.Remembered)
	// Wake, if set, is called whenever the plugin rings, from a goroutine of
	// the host, for a lane that sleeps elsewhere than in Wait; it must be quick.
	// Such a lane calls Arm before it sleeps.
	Wake func()
}

// Source is a source plugin under supervision. Run belongs to one goroutine;
// Poll, Wait and Arm to another, the lane; the rest may be called by any.
type Source struct {
	controls
	h    *Host
	spec SourceSpec
	bell *ring.Bell
	*vitals

	// Between Run and the lane.
	next  atomic.Pointer[generation] // started, not yet taken by the lane
	want  atomic.Bool                // Run waits for a position
	start chan begin
	bad   chan error            // the lane found garbage
	over  atomic.Pointer[error] // Run has returned

	// The lane's.
	cur     *generation
	expect  shm.Position
	upto    shm.Position
	defined uint32
	ready   func() bool

	mu      sync.Mutex
	state   State
	proc    *process
	desc    wire.Description
	changed chan struct{} // closed when proc or phase changes
}

type begin struct {
	from       shm.Position
	remembered []wire.Remembered
}

// generation is one process and its ring.
type generation struct {
	n     uint32
	from  shm.Position
	ring  *ring.Consumer
	ended atomic.Bool  // the process is gone: what is in the ring is all
	users atomic.Int32 // Run and the lane; the last one unmaps
}

func (g *generation) release() {
	if g.users.Add(-1) == 0 {
		g.ring.Close()
	}
}

// NewSource makes a source; Run starts it.
func (h *Host) NewSource(spec SourceSpec) (*Source, error) {
	spec.Kind, spec.Access = wire.KindSource, Access{}
	if spec.Label == "" {
		spec.Label = "source." + spec.Name
	}
	if err := spec.check(); err != nil {
		return nil, err
	}
	if spec.Journal == nil || spec.RestartFrom == nil {
		return nil, fmt.Errorf("host: plugin %s: a source needs its journal and RestartFrom", spec.Label)
	}
	switch spec.Latency {
	case "":
		spec.Latency = wire.Balanced
	case wire.Balanced, wire.Low:
	default:
		return nil, fmt.Errorf("host: plugin %s: latency %q is neither balanced nor low", spec.Label, spec.Latency)
	}
	bell, err := ring.NewBell()
	if err != nil {
		return nil, err
	}
	s := &Source{h: h, spec: spec, bell: bell, vitals: h.vitalsOf(spec.Label), start: make(chan begin, 1), bad: make(chan error, 1), changed: make(chan struct{}),
		state: State{Phase: Idle, Since: time.Now()}}
	s.controls = controls{s.running, h.opt.CallTimeout}
	s.ready = s.hasWork
	return s, nil
}

// State is what the plugin is doing.
func (s *Source) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Manifest waits for the first start and returns what the plugin says of itself.
func (s *Source) Manifest(ctx context.Context) (*source.Manifest, error) {
	if _, err := s.running(ctx, nil); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.desc.Source, nil
}

func (s *Source) running(ctx context.Context, not *process) (*process, error) {
	for {
		s.mu.Lock()
		p, changed, state := s.proc, s.changed, s.state
		s.mu.Unlock()
		if p != nil && p != not {
			return p, nil
		}
		if e := s.over.Load(); e != nil {
			return nil, *e
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("host: plugin %s is %s (%s): %w", s.spec.Label, state.Phase, state.Why, ctx.Err())
		}
	}
}

func (s *Source) set(f func(*State)) {
	s.mu.Lock()
	f(&s.state)
	s.state.Since = time.Now()
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
}

// Run starts the plugin and keeps it running until ctx ends, which returns nil,
// or the plugin is quarantined, which returns a *QuarantineError.
func (s *Source) Run(ctx context.Context) error {
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
func (s *Source) pump(ctx context.Context) (stop func()) {
	if s.spec.Wake == nil {
		return func() {}
	}
	return pump(ctx, s.bell, s.spec.Wake)
}

func (s *Source) finish(err error, phase Phase, why string) {
	s.over.Store(&err)
	s.set(func(st *State) { st.Phase, st.Why, st.Pid = phase, why, 0 })
	s.interrupt()
}

// interrupt makes the lane look.
func (s *Source) interrupt() {
	s.bell.Interrupt()
	if s.spec.Wake != nil {
		s.spec.Wake()
	}
}

// once runs one process to its end and returns why it ended.
func (s *Source) once(ctx context.Context) error {
	var b begin
	s.want.Store(true)
	s.interrupt()
	select {
	case b = <-s.start:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-s.bad: // in what a dead process left
		return err
	default:
	}
	s.set(func(st *State) { st.Phase = Starting })
	began := time.Now()

	consumer, err := ring.New(s.h.opt.RingBytes, b.from)
	if err != nil {
		return err
	}
	ctl, err := shm.NewControl()
	if err != nil {
		consumer.Close()
		return err
	}
	s.spec.Journal.Attach(ctl, b.from)
	defer retire(s.spec.Journal, ctl)
	file, bell := ctl.Files()
	p, desc, err := s.h.start(ctx, s.spec.Spec, s.spec.Label, []*os.File{file, bell, consumer.File(), s.bell.File()})
	if err != nil {
		consumer.Close()
		return err
	}
	const first = wire.LifeFd + 1
	callCtx, cancel := context.WithTimeout(ctx, s.h.opt.CallTimeout)
	err = p.client.Start(callCtx, wire.SourceStart{Transport: wire.TransportShared, JournalDir: absolute(s.spec.Journal.Dir()), From: b.from,
		Settings: s.spec.Settings, Remembered: b.remembered, Latency: s.spec.Latency, Gather: s.h.opt.Gather,
		ControlFd: first, BellFd: first + 1, RingFd: first + 2, HostBell: first + 3})
	cancel()
	if err != nil {
		err = p.explain(fmt.Errorf("host: plugin %s: %w", s.spec.Label, err))
		p.kill(err)
		consumer.Close()
		return err
	}
	g := &generation{from: b.from, ring: consumer}
	g.users.Store(2)
	s.set(func(st *State) {
		st.Generation++
		g.n = st.Generation
		st.Phase, st.Pid = Running, p.pid()
		s.proc, s.desc = p, desc
	})
	s.vitals.start.Observe(time.Since(began))
	s.next.Store(g)
	s.interrupt()

	s.watch(ctx, p, g, ctl)
	s.set(func(st *State) { s.proc, st.Pid = nil, 0 })
	g.ended.Store(true)
	g.release()
	s.interrupt()
	return p.end()
}

// watch returns when the process has ended, or ends it.
func (s *Source) watch(ctx context.Context, p *process, g *generation, ctl *shm.Control) {
	tick := time.NewTicker(s.h.opt.StallAfter / 8)
	defer tick.Stop()
	type seen struct{ committed, upto, cursor, waits uint64 }
	var last seen
	since := time.Now()
	for {
		select {
		case <-p.exited():
			p.kill(nil)
			return
		case <-ctx.Done():
			p.kill(errStopped)
			return
		case err := <-s.bad:
			p.kill(err)
			return
		case now := <-tick.C:
			var is seen
			is.committed, is.upto = g.ring.Progress()
			is.cursor, is.waits = ctl.Cursor(), ctl.Waits()
			tail := s.spec.Journal.Tail()
			// A full ring is the lane's doing, and a plugin that has all may
			// sleep for ever. One that sleeps while input waits is woken: it
			// shows then that it lives.
			if is != last || !g.ring.Empty() || is.upto >= tail {
				last, since = is, now
				continue
			}
			ctl.Ring()
			if stalled := now.Sub(since); stalled >= s.h.opt.StallAfter {
				s.hangs.Add(1)
				p.kill(fmt.Errorf("it hangs: no progress for %v at position %d, with %d bytes of frames waiting",
					stalled.Round(time.Millisecond), is.upto, tail-is.upto))
				return
			}
		}
	}
}

// Batch is what Poll took: entries of one generation, in the order of the
// frames. It is valid until the next Poll into it.
type Batch struct {
	ring.Batch
	// Generation counts the processes. A new one gives its instruments new ids,
	// from 1 on, and defines each before it uses it.
	Generation uint32
	// From is where this generation began.
	From shm.Position
	sig  source.Signal
	lent pool.Lease[pool.Batch]
}

// Lease borrows memory for what Poll takes, until Return. Without it, or with no
// pool to borrow from, a batch has memory of its own and keeps it.
func (b *Batch) Lease(p *pool.Pool[pool.Batch]) (err error) {
	if p == nil {
		return nil
	}
	if b.lent, err = p.Lease(); err == nil {
		b.Buf = b.lent.Value().Buf
	}
	return err
}

// Return gives back what Lease borrowed: the entries are gone then.
func (b *Batch) Return() {
	if lent := b.lent.Value(); lent != nil {
		lent.Buf, b.Buf, b.Entries = b.Buf, nil, b.Entries[:0]
		b.lent.Return()
		b.lent = pool.Lease[pool.Batch]{}
	}
}

// Poll takes what the plugin has decoded, about maxBytes at most, into b. An
// empty batch says that there is nothing now. Every item was checked: it is a
// valid record or signal, of the entry's frame, of an instrument that the plugin
// defined before; positions only grow and lie within the journal. What signals
// say is the lane's to check (Reject). Poll returns io.EOF when Run has ended
// and everything was taken, and a *QuarantineError when the plugin was given up.
func (s *Source) Poll(b *Batch, maxBytes int) error {
	b.Entries = b.Entries[:0]
	if s.cur == nil {
		if s.cur = s.next.Swap(nil); s.cur == nil {
			return s.idle(b)
		}
		g := s.cur
		s.expect, s.upto, s.defined = g.from, g.from, 0
	}
	g := s.cur
	b.Generation, b.From = g.n, g.from
	ended := g.ended.Load() // before the ring is looked at: nothing comes after it
	if g.ring.Used() > s.h.opt.RingBytes/4*3 {
		s.ringFull.Add(1)
	}
	err := g.ring.Poll(&b.Batch, maxBytes)
	if err == nil {
		err = s.check(b)
	}
	if err != nil {
		b.Entries, b.Upto = b.Entries[:0], s.upto
		s.reject(err)
		return nil
	}
	if len(b.Entries) == 0 && ended && g.ring.Empty() {
		s.drop()
		return s.idle(b)
	}
	return nil
}

// idle is Poll's part without a process.
func (s *Source) idle(b *Batch) error {
	b.Upto = s.upto
	if e := s.over.Load(); e != nil {
		if g := s.next.Swap(nil); g != nil {
			g.release()
		}
		return *e
	}
	if s.want.CompareAndSwap(true, false) {
		from, remembered := s.spec.RestartFrom()
		s.start <- begin{from, remembered}
	}
	return nil
}

func (s *Source) drop() {
	s.cur.release()
	s.cur = nil
}

// Reject quarantines the plugin: the lane found what no correct plugin says.
func (s *Source) Reject(err error) {
	if s.cur != nil {
		s.reject(fmt.Errorf("%w: %w", errViolation, err))
	}
}

func (s *Source) reject(err error) {
	s.violations.Add(1)
	select {
	case s.bad <- err:
	default:
	}
	s.drop()
}

// check looks at every item of a batch.
func (s *Source) check(b *Batch) error {
	var tail shm.Position
	for i := range b.Entries {
		e := &b.Entries[i]
		if e.Remembered {
			if e.Pos != s.cur.from || e.Next != e.Pos || s.expect != s.cur.from {
				return fmt.Errorf("host: %w: what was remembered came at %d", ring.ErrGarbage, e.Pos)
			}
		} else if e.Pos < s.expect || e.Next <= e.Pos || (e.Pos|e.Next)&7 != 0 {
			return fmt.Errorf("host: %w: entry of frame %d to %d after %d", ring.ErrGarbage, e.Pos, e.Next, s.expect)
		}
		s.expect = e.Next
		if err := s.items(e); err != nil {
			return fmt.Errorf("host: frame %d: %w", e.Pos, err)
		}
	}
	if at := max(s.expect, b.Upto); at > s.upto {
		// Taken after what was seen: an append that became visible is counted.
		if tail = s.spec.Journal.Tail(); at > tail {
			return fmt.Errorf("host: %w: position %d is beyond the journal's end at %d", ring.ErrGarbage, at, tail)
		}
	}
	if b.Upto < s.upto {
		return fmt.Errorf("host: %w: decoded position went back from %d to %d", ring.ErrGarbage, s.upto, b.Upto)
	}
	s.upto = b.Upto
	return nil
}

// items checks the records and signals of one entry.
func (s *Source) items(e *ring.Entry) error {
	for b := e.Data; len(b) > 0; {
		if source.IsSignal(b) {
			sig, n, err := source.ParseSignal(b)
			if err != nil {
				return fmt.Errorf("%w: %w", ring.ErrGarbage, err)
			}
			if err := s.signal(&sig, e); err != nil {
				return err
			}
			b = b[n:]
			continue
		}
		v, err := market.Validate(b)
		if err != nil {
			return fmt.Errorf("%w: %w", ring.ErrGarbage, err)
		}
		if id := uint32(v.Instrument()); id > s.defined || v.Pos() != e.Pos || e.Remembered || v.Flags()&market.FlagsRuntime != 0 {
			return fmt.Errorf("%w: %s record at %d of instrument %d (of %d), flags %#x", ring.ErrGarbage, v.Kind(), v.Pos(), id, s.defined, v.Flags())
		}
		b = b[len(v):]
	}
	return nil
}

func (s *Source) signal(sig *source.Signal, e *ring.Entry) error {
	id := uint32(sig.Instrument)
	switch {
	case sig.Kind == source.SignalDefine:
		if id == 0 || id > s.defined+1 || id > maxDefined {
			return fmt.Errorf("%w: instrument %d is defined after %d", ring.ErrGarbage, id, s.defined)
		}
		s.defined = max(s.defined, id)
	case e.Remembered || id > s.defined || sig.Pos != e.Pos:
		return fmt.Errorf("%w: signal %#x at %d of instrument %d (of %d)", ring.ErrGarbage, sig.Kind, sig.Pos, id, s.defined)
	}
	return nil
}

// hasWork says whether Poll would do something.
func (s *Source) hasWork() bool {
	g := s.cur
	if g == nil {
		return s.next.Load() != nil || s.want.Load() || s.over.Load() != nil
	}
	return g.ring.Ready() || g.ended.Load()
}

// Wait sleeps until Poll has something to do, Interrupt is called or the
// timeout (if positive) has passed, and says whether Poll has. It isn't for a
// source with Wake.
func (s *Source) Wait(timeout time.Duration) bool {
	if g := s.cur; g != nil {
		return g.ring.Wait(s.bell, s.ready, timeout)
	}
	return s.bell.Wait(s.ready, timeout)
}

// Arm asks for Wake at the plugin's next commit and says whether Poll has
// something to do already.
func (s *Source) Arm() bool {
	if g := s.cur; g != nil {
		g.ring.Arm()
	}
	return s.hasWork()
}

// Interrupt ends the Wait under way, or the next one. Any goroutine may call it.
func (s *Source) Interrupt() { s.bell.Interrupt() }

// Close frees what is left after Run has returned and the lane polls no more.
func (s *Source) Close() error {
	if s.over.Load() == nil {
		return fmt.Errorf("host: plugin %s is closed while it runs", s.spec.Label)
	}
	if s.cur != nil {
		s.drop()
	}
	if g := s.next.Swap(nil); g != nil {
		g.release()
	}
	return s.bell.Close()
}

// Items calls yield with each record that a frame gave, or with a nil record and
// a signal, in order. Both are valid until yield returns, the record's bytes
// until the next Poll. The entry is one of b's.
func (b *Batch) Items(e *ring.Entry, yield func(market.View, *source.Signal) error) error {
	for d := e.Data; len(d) > 0; {
		n := int(binary.LittleEndian.Uint32(d))
		if !source.IsSignal(d) {
			if err := yield(market.View(d[:n:n]), nil); err != nil {
				return err
			}
		} else {
			var err error
			if b.sig, _, err = source.ParseSignal(d); err == nil {
				err = yield(nil, &b.sig)
			}
			if err != nil {
				return err
			}
		}
		d = d[n:]
	}
	return nil
}
