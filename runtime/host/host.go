// Package host runs plugin processes: it finds and verifies their executables,
// starts them in a clean environment, hands them shared memory, watches them,
// starts them again, and says why when it gives up. Source and Sink are the two
// kinds; Plugin is a process for control calls alone.
//
// # Order
//
// New starts nothing. NewSource and NewSink start nothing either; their Run
// starts the process and keeps it running until its context ends or the plugin
// is quarantined. Each start is a generation.
//
// # Ownership
//
// One goroutine, the lane, polls a Source; one submits to a Sink and takes its
// results. The lane alone decides where a source starts again: its RestartFrom
// is called from within Poll, after everything that the dead process had
// committed was taken, so nothing is missing and nothing comes twice.
//
// # Trust
//
// Nothing that a plugin writes is believed. What it puts into shared memory is
// copied and then checked; what it prints is parsed by code that takes any
// bytes, and is bounded in rate. Garbage quarantines the plugin at once; death,
// silence and floods cost a restart, and too many restarts quarantine it.
// Processes have a clean environment and empty standard input. Where the kernel
// has Landlock, plugins can neither write files nor use TCP nor signal other
// processes, but for what a sink says that it needs (Access). A third-party
// executable is run from the sealed copy that was hashed.
//
// # A slow plugin
//
// Frames and records wait in their journals. A plugin that makes no progress
// while input waits is taken for hung after Options.StallAfter and killed.
package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/sched"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/heap"
	"github.com/marketprism/marketprism/sdk/wire/ring"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// Options configure a Host.
type Options struct {
	// Exe is the program that holds the bundled plugins; /proc/self/exe if
	// empty, so that an upgrade on disk doesn't mix versions.
	Exe string
	// Args are the arguments that make Exe serve a bundled plugin. The default
	// is "plugin KIND NAME".
	Args   func(kind, name string) []string
	Logger zerolog.Logger
	// Stdout is what sinks write to that ask for standard output; the process's
	// own if nil.
	Stdout *os.File
	// TempDir is where the control sockets are made; the system's if empty.
	TempDir string
	// StartTimeout bounds the time from start to handshake; 15 s if zero.
	StartTimeout time.Duration
	// CallTimeout bounds a control call; 30 s if zero.
	CallTimeout time.Duration
	// StallAfter is how long a plugin may show no sign of progress while input
	// waits; 10 s if zero.
	StallAfter time.Duration
	// WriteTimeout is how long one batch or flush of a sink may take; 10 min
	// if zero.
	WriteTimeout time.Duration
	Restart      Budget
	// RingBytes is the size of a record ring, a power of two; 4 MiB if zero.
	RingBytes int
	// Gather is how long balanced loops gather; 2 ms if zero.
	Gather time.Duration
}

// Spec names a plugin.
type Spec struct {
	Kind string // source or sink
	Name string // binance, parquet
	// Path is a third-party plugin's executable; empty for a bundled one.
	Path string
	// SHA256 is the pin of Path, in hexadecimal. It may be missing only where
	// Unpinned says so (a plugin under development).
	SHA256   string
	Unpinned bool
	// Env is added to the otherwise clean environment, as "NAME=value".
	Env []string
	// Procs is the process's GOMAXPROCS; 1 if zero.
	Procs int
	// MemoryLimit is the process's GOMEMLIMIT in bytes: a hint to its collector,
	// not a bound. SourceMemory or SinkMemory if zero.
	MemoryLimit int64
	// Access is what a sink may do beside reading; nobody else has any.
	Access Access
}

// Memory limits of plugin processes.
const (
	SourceMemory = 64 << 20
	SinkMemory   = 256 << 20
)

func (s *Spec) check() error {
	if s.Kind != wire.KindSource && s.Kind != wire.KindSink || s.Name == "" {
		return fmt.Errorf("host: a plugin is a source or a sink and has a name, not %q %q", s.Kind, s.Name)
	}
	if s.Path != "" && s.SHA256 == "" && !s.Unpinned {
		return fault.Errorf(fault.Stop, "host: plugin %s %s (%s) has no SHA-256 pin: give sha256 in required_plugins", s.Kind, s.Name, s.Path)
	}
	return nil
}

// Journal is what the host needs of a journal. runtime/journal implements it.
type Journal interface {
	Dir() string
	Tail() shm.Position
	Attach(ctl *shm.Control, from shm.Position)
	Detach(ctl *shm.Control)
}

// retire detaches the control block of a dead process and closes it once no
// appender can be about to ring it any more.
func retire(j Journal, ctl *shm.Control) {
	j.Detach(ctl)
	time.AfterFunc(retireAfter, func() {
		j.Tail() // behind the appenders' lock
		ctl.Close()
	})
}

const retireAfter = 5 * time.Second

// pump calls wake for each ring of the bell until stop returns.
func pump(ctx context.Context, bell *ring.Bell, wake func()) (stop func()) {
	over := make(chan struct{})
	g, _ := sched.NewSet(context.WithoutCancel(ctx), "")
	g.Go("bell", func(context.Context) error { bell.Pump(over, wake); return nil })
	return func() {
		close(over)
		bell.Interrupt()
		_ = g.Wait() // of a panic the scheduler told
	}
}

// Host starts plugin processes.
type Host struct {
	opt      Options
	confined sync.Once
	vitals   sync.Map // label: *vitals
}

// New makes a host.
func New(o Options) *Host {
	if o.Exe == "" {
		o.Exe = "/proc/self/exe"
	}
	if o.Args == nil {
		o.Args = func(kind, name string) []string { return []string{"plugin", kind, name} }
	}
	def(&o.Stdout, os.Stdout)
	def(&o.StartTimeout, 15*time.Second)
	def(&o.CallTimeout, 30*time.Second)
	def(&o.StallAfter, 10*time.Second)
	def(&o.WriteTimeout, 10*time.Minute)
	def(&o.Gather, wire.DefaultGather)
	def(&o.RingBytes, 4<<20)
	o.Restart.fill()
	o.TempDir = absolute(o.TempDir)
	return &Host{opt: o}
}

// absolute makes a path mean the same in a plugin process, whose working
// directory is the root.
func absolute(path string) string {
	if path == "" {
		return ""
	}
	if a, err := filepath.Abs(path); err == nil {
		return a
	}
	return path
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Describe starts a plugin, asks what it is, and ends it.
func (h *Host) Describe(ctx context.Context, s Spec) (wire.Description, error) {
	p, err := h.Open(ctx, s)
	if err != nil {
		return wire.Description{}, err
	}
	defer p.Close()
	return p.Description(), nil
}

// Plugin is a running process that answers control calls and carries no data:
// what validate and plan need.
type Plugin struct {
	controls
	proc *process
	desc wire.Description
}

// Open starts a plugin for control calls.
func (h *Host) Open(ctx context.Context, s Spec) (*Plugin, error) {
	s.Access = Access{}
	p, desc, err := h.start(ctx, s, s.Kind+"."+s.Name, nil)
	if err != nil {
		if s.Access.denied(err.Error()) {
			err = fmt.Errorf("%w; a plugin that is only asked what it is may neither write nor use TCP", err)
		}
		return nil, err
	}
	one := func(_ context.Context, not *process) (*process, error) {
		if p == not {
			return nil, p.end()
		}
		return p, nil
	}
	return &Plugin{controls{one, h.opt.CallTimeout}, p, desc}, nil
}

// Description is what the plugin says of itself.
func (p *Plugin) Description() wire.Description { return p.desc }

// Close ends the process.
func (p *Plugin) Close() { p.proc.kill(errStopped) }

// start starts a process and checks that it is what was asked for.
func (h *Host) start(ctx context.Context, s Spec, label string, files []*os.File) (*process, wire.Description, error) {
	p, err := h.launch(ctx, s, label, files)
	if err != nil {
		return nil, wire.Description{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, h.opt.StartTimeout)
	defer cancel()
	desc, err := p.client.Describe(ctx)
	if err == nil && desc.Kind != s.Kind {
		err = fault.Errorf(fault.Stop, "host: the plugin is a %s, a %s was expected", desc.Kind, s.Kind)
	}
	if err != nil {
		err = p.explain(fmt.Errorf("host: plugin %s: %w", label, err))
		p.kill(err)
		return nil, desc, err
	}
	return p, desc, nil
}

// controls are the control calls of a source, to whichever process is running.
type controls struct {
	running func(ctx context.Context, not *process) (*process, error) // waits for one, another than not
	timeout time.Duration
}

func (c controls) with(ctx context.Context, f func(context.Context, *wire.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	p, err := c.running(ctx, nil)
	if err != nil {
		return err
	}
	for again := true; ; again = false {
		if err = f(ctx, p.client); err == nil {
			return nil
		}
		err = p.explain(fmt.Errorf("host: plugin %s: %w", p.label, err))
		select {
		case <-p.exited():
			// The call is a function of what it is given: the next process may answer it,
			// once, for the call may be what ended this one.
			if !again {
				return err
			}
			next, nerr := c.running(ctx, p)
			if nerr != nil {
				return err
			}
			p = next
		default:
			return err
		}
	}
}

// Resolve is source.Source's, in the plugin process.
func (c controls) Resolve(ctx context.Context, name string) (m market.Market, symbol string, err error) {
	err = c.with(ctx, func(ctx context.Context, w *wire.Client) (err error) {
		m, symbol, err = w.Resolve(ctx, name)
		return err
	})
	return m, symbol, err
}

// Identify is source.Source's, in the plugin process.
func (c controls) Identify(ctx context.Context, m market.Market, symbol string) (i market.Instrument, err error) {
	err = c.with(ctx, func(ctx context.Context, w *wire.Client) (err error) { i, err = w.Identify(ctx, m, symbol); return err })
	return i, err
}

// Session is source.Source's, in the plugin process.
func (c controls) Session(ctx context.Context, r source.SessionRequest) (s source.Script, err error) {
	err = c.with(ctx, func(ctx context.Context, w *wire.Client) (err error) { s, err = w.Session(ctx, r); return err })
	return s, err
}

// Frames is source.Source's, in the plugin process.
func (c controls) Frames(ctx context.Context, r source.FrameRequest) (f []source.Frame, err error) {
	err = c.with(ctx, func(ctx context.Context, w *wire.Client) (err error) { f, err = w.Frames(ctx, r); return err })
	return f, err
}

// Requests is source.Source's, in the plugin process.
func (c controls) Requests(ctx context.Context, r source.RequestFor) (q []source.Request, err error) {
	err = c.with(ctx, func(ctx context.Context, w *wire.Client) (err error) { q, err = w.Requests(ctx, r); return err })
	return q, err
}

// Health asks the process for its state.
func (c controls) Health(ctx context.Context) (v wire.Health, err error) {
	err = c.with(ctx, func(ctx context.Context, w *wire.Client) (err error) { v, err = w.Health(ctx); return err })
	return v, err
}

// Heap asks the process which sites hold most of its heap.
func (c controls) Heap(ctx context.Context) (v []heap.Site, err error) {
	err = c.with(ctx, func(ctx context.Context, w *wire.Client) (err error) { v, err = w.Heap(ctx); return err })
	return v, err
}

var errStopped = errors.New("stopped")
