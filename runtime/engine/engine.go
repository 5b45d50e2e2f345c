// Package engine brings a plan up, keeps it running, and takes it down: it
// opens the data directory, starts a feed for each venue and market and a
// driver for each sink, and serves the admin endpoints.
//
// Order of coming up: the data directory's lock; instrument table and cursors;
// each feed's journals, recovered; each lane, restored; sinks; connections last.
// Order of going down: connections close; what was read is decoded and
// journalled; sinks write and roll what the journals hold; journals close. Every
// step has a deadline (Options.Drain), and what it cuts off is not lost: it is
// in the journals, and the next start goes on there.
//
// A feed that fails (region refused, a plugin quarantined) stops alone, and so
// does a sink; the others go on. The runtime ends when no feed is left, or no
// sink.
package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/admin"
	"github.com/marketprism/marketprism/runtime/conn"
	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/runtime/memory"
	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/runtime/process"
	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// Options of an engine.
type Options struct {
	Plan    *plan.Plan
	Proxy   string // with its password, which the plan leaves out
	Host    host.Options
	Logger  zerolog.Logger
	Metrics *telemetry.Registry
	Build   string
	WorkDir string        // where sinks' relative paths start
	Drain   time.Duration // for going down; 30 s if zero
	Memory  MemoryOptions
	// Replay, if set, feeds the frames journals in place of connections; it is
	// called once for each feed, and the engine drains when all have returned.
	Replay func(ctx context.Context, feed string, j *journal.Journal) error
}

// Engine runs one plan.
type Engine struct {
	opt      Options
	plan     *plan.Plan
	dir      string // the data directory, absolute: plugin processes work elsewhere
	log      zerolog.Logger
	lock     *journal.Lock
	registry *flow.Registry
	cursors  *journal.Cursors
	host     *host.Host
	feeds    []*feed
	sinks    []*sinkDriver
	budgets  *conn.Budgets
	admin    *admin.Server
	memory   *memory.Monitor // nil if it is switched off
	started  time.Time

	cursorsDirty atomic.Bool // stored and not synced
}

// maxSocketDir is how long the directory of control sockets may be: 108 bytes
// are a socket's whole path, of which the plugin library takes up to 45.
const maxSocketDir = 60

// New opens the data directory and recovers what is there; Run starts.
func New(o Options) (_ *Engine, err error) {
	if o.Drain == 0 {
		o.Drain = 30 * time.Second
	}
	e := &Engine{opt: o, plan: o.Plan, log: o.Logger, started: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	dir, err := filepath.Abs(o.Plan.DataDir)
	if err != nil {
		return nil, fmt.Errorf("engine: data directory: %w", err)
	}
	e.dir = dir
	if e.lock, err = journal.LockDir(dir); err != nil {
		return nil, err
	}
	if e.registry, err = flow.OpenRegistry(filepath.Join(dir, "instruments.jsonl")); err != nil {
		return nil, err
	}
	policy, err := journal.ParseSync(o.Plan.Sync)
	if err != nil {
		return nil, err
	}
	if e.cursors, err = journal.OpenCursors(filepath.Join(dir, "cursors"), policy); err != nil {
		return nil, err
	}
	// Sockets of a run that was killed are left behind, and go here. A socket's
	// path is short by the system's rule: a deep data directory leaves them to
	// the system's directory of temporary files.
	if run := filepath.Join(dir, "run"); o.Host.TempDir == "" && len(run) < maxSocketDir {
		o.Host.TempDir = run
		if err := errors.Join(os.RemoveAll(o.Host.TempDir), os.MkdirAll(o.Host.TempDir, 0o700)); err != nil {
			return nil, fmt.Errorf("engine: %w", err)
		}
	}
	o.Host.Logger = o.Logger
	e.host = host.New(o.Host)
	for _, p := range o.Plan.Feeds {
		f, err := e.openFeed(p)
		if err != nil {
			return nil, err
		}
		e.feeds = append(e.feeds, f)
	}
	for _, p := range o.Plan.Sinks {
		d, err := e.newSink(p)
		if err != nil {
			return nil, err
		}
		e.sinks = append(e.sinks, d)
	}
	e.budgets = conn.NewBudgets()
	for _, f := range e.feeds {
		if err := f.prepare(e.budgets); err != nil {
			return nil, err
		}
	}
	if err := e.openMemory(); err != nil {
		return nil, err
	}
	if o.Plan.Listen != "" && o.Metrics != nil {
		if e.admin, err = admin.New(admin.Settings{Listen: o.Plan.Listen, Metrics: o.Metrics.Handler(), Ready: e.Ready,
			Status: func() any { return e.Status() }, Routes: e.memoryRoutes()}); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Addr is where the admin endpoints are; empty if there are none.
func (e *Engine) Addr() string {
	if e.admin == nil {
		return ""
	}
	return e.admin.Addr()
}

// above is the greatest position that a sink's cursor or intent names in a
// feed's journals.
func (e *Engine) above(feed string) (pos shm.Position) {
	for _, name := range e.cursors.Names() {
		if _, j, ok := strings.Cut(name, "|"); ok && strings.HasPrefix(j, feed+"-") {
			if s, err := e.cursors.Slot(name); err == nil {
				st := s.Load()
				pos = max(pos, st.Cursor, st.IntentTo)
			}
		}
	}
	return pos
}

func (e *Engine) feedNamed(name string) *feed {
	for _, f := range e.feeds {
		if f.p.Name == name {
			return f
		}
	}
	return nil
}

// timerEvery is how often the journal says that time passes: a second, or as
// often as the quickest processor of the feed needs.
func (e *Engine) timerEvery(feed string) time.Duration {
	every := time.Second
	for _, p := range e.plan.Processors {
		for _, in := range p.Inputs {
			if d := p.Config.Duration("every"); in.Feed == feed && d > 0 {
				every = min(every, max(d, 100*time.Millisecond))
			}
		}
	}
	return every
}

func newProcessor(p *plan.Processor, in plan.Selection, j flow.Journal) (flow.Processor, error) {
	switch p.Type {
	case "book_snapshot":
		symbols := map[string]bool{}
		for _, i := range in.Instruments {
			symbols[i.Symbol] = true
		}
		return process.NewBookSnapshot(p.Config.Duration("every"), int(p.Config.Int("depth")),
			func(i *market.Instrument) bool { return symbols[i.Symbol] }, j), nil
	}
	return nil, fmt.Errorf("engine: no processor %q in this version", p.Type)
}

// Run collects until ctx ends, then drains. hard, if it ends, cuts that short.
func (e *Engine) Run(ctx, hard context.Context) error {
	defer e.budgets.Close()
	if e.opt.Metrics != nil {
		defer e.opt.Metrics.Add(e.report)()
	}

	hard, cancelHard := context.WithCancelCause(hard)
	defer cancelHard(nil)
	stop := make(chan struct{})       // feeds drain
	drainSinks := make(chan struct{}) // all feeds have drained
	var feeds, sinks, other sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	keep := func(err error) {
		if err != nil && !errors.Is(err, context.Canceled) {
			mu.Lock()
			errs = append(errs, err)
			mu.Unlock()
		}
	}
	feedsLeft, sinksLeft := make(chan struct{}, len(e.feeds)+1), make(chan struct{}, len(e.sinks)+1)
	for _, f := range e.feeds {
		feeds.Go(func() {
			if err := f.run(hard, stop); err != nil {
				f.log.Error().Err(err).Msg("feed ended")
				keep(err)
			}
			feedsLeft <- struct{}{}
		})
	}
	for _, d := range e.sinks {
		sinks.Go(func() {
			if err := d.run(hard, drainSinks); err != nil && hard.Err() == nil {
				d.log.Error().Err(err).Msg("sink ended; its records stay in the journals until retention drops them")
				keep(err)
			}
			sinksLeft <- struct{}{}
		})
	}
	adminCtx, adminStop := context.WithCancel(hard)
	defer adminStop()
	if e.plan.Latency == pipefile.LatencyBalanced && e.opt.Replay == nil {
		other.Go(func() { adaptProcs(adminCtx) })
	}
	if every, err := time.ParseDuration(e.plan.Sync); err == nil && e.opt.Replay == nil {
		other.Go(func() { keep(e.syncTables(adminCtx, every)) })
	}
	if e.memory != nil {
		if e.opt.Metrics != nil {
			defer e.opt.Metrics.Add(e.memory.Report)()
		}
		other.Go(func() { keep(e.memory.Run(adminCtx)) })
	}
	if e.admin != nil {
		other.Go(func() { keep(e.admin.Run(adminCtx)) })
	}
	if e.opt.Replay != nil {
		for _, f := range e.feeds {
			other.Go(func() {
				err := e.opt.Replay(hard, f.p.Name, f.frames)
				keep(err)
			})
		}
	}

	replayed := make(chan struct{})
	if e.opt.Replay != nil {
		go func() { other.Wait(); close(replayed) }()
	}
	liveFeeds, liveSinks := len(e.feeds), len(e.sinks)
wait:
	for {
		select {
		case <-ctx.Done():
			break wait
		case <-replayed:
			break wait
		case <-feedsLeft:
			if liveFeeds--; liveFeeds == 0 {
				break wait
			}
		case <-sinksLeft:
			if liveSinks--; liveSinks == 0 && len(e.sinks) > 0 {
				break wait
			}
		}
	}
	e.log.Info().Dur("deadline", e.opt.Drain).Msg("draining")
	deadline := time.AfterFunc(e.opt.Drain, func() {
		cancelHard(fmt.Errorf("engine: not drained within %v: what is left is in the journals and is written after the next start", e.opt.Drain))
	})
	close(stop)
	feeds.Wait()
	close(drainSinks)
	sinks.Wait()
	if !deadline.Stop() {
		keep(context.Cause(hard))
	}
	adminStop()
	other.Wait()
	keep(e.close())
	return errors.Join(errs...)
}

// syncTables forces new instruments and the cursors of batches to the disk at an
// interval.
func (e *Engine) syncTables(ctx context.Context, every time.Duration) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if err := e.registry.Sync(); err != nil {
			return err
		}
		if e.cursorsDirty.Swap(false) {
			if err := e.cursors.Sync(); err != nil {
				return err
			}
		}
	}
}

// close releases what New opened.
func (e *Engine) close() error {
	var errs []error
	for _, f := range e.feeds {
		errs = append(errs, f.closeJournals())
	}
	if e.cursors != nil {
		errs = append(errs, e.cursors.Close())
	}
	if e.registry != nil {
		errs = append(errs, e.registry.Close())
	}
	if e.lock != nil {
		errs = append(errs, e.lock.Close())
	}
	e.cursors, e.registry, e.lock = nil, nil, nil
	return errors.Join(errs...)
}

// TempDir makes a data directory that is removed by the returned function.
func TempDir() (dir string, remove func() error, err error) {
	dir, err = os.MkdirTemp("", "marketprism-")
	if err != nil {
		return "", nil, fmt.Errorf("engine: %w", err)
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}
