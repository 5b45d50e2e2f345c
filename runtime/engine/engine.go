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
	"net/http"
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
	// Untimed leaves out the latencies that a lane takes of each record: what
	// they cost is the difference. A replay takes none.
	Untimed bool
	Memory  MemoryOptions
	// Unmonitored leaves out all that only watches: the memory monitor, latencies
	// of records, clocks of tasks, traces of leases, figures of single streams.
	// What that costs is the difference. Counters are kept.
	Unmonitored bool
	// Unreturned is told at the end of leases that were not returned. They are
	// logged in any case.
	Unreturned func(error)
	// Replay, if set, feeds the frames journals in place of connections; it is
	// called once for each feed, and the engine drains when all have returned.
	Replay func(ctx context.Context, feed string, j *journal.Journal) error
	// Load reads the pipeline again, for Reload: its plan, the proxy with its
	// password, and what is wrong with it. Nil: it can't be read again.
	Load func(ctx context.Context, inForce *plan.Plan) (*plan.Plan, string, pipefile.Diagnostics)
	// Routes are what others serve beside the engine's own API, by
	// http.ServeMux's patterns: "GET /api/v1/memory/snapshots".
	Routes map[string]http.Handler
}

// Engine runs one plan.
type Engine struct {
	core
	opt      Options
	dir      string // the data directory, absolute: plugin processes work elsewhere
	log      zerolog.Logger
	lock     *journal.Lock
	registry *flow.Registry
	cursors  *journal.Cursors
	host     *host.Host
	budgets  *conn.Budgets
	memory   *memory.Monitor // nil if it is switched off
	started  time.Time

	// mu guards what a reload replaces. Run's goroutine alone writes it, and reads
	// it without the lock.
	mu    sync.RWMutex
	plan  *plan.Plan
	proxy string
	feeds []*feed
	sinks []*sinkDriver
	admin *admin.Server

	exited  chan struct{} // a feed or a sink has ended
	reloads chan *reload  // to Run
	ended   chan struct{} // Run takes no more reloads
	loading sync.Mutex    // one reload at a time
	count   reloadCounts
	follows follows

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
	if o.Unmonitored {
		o.Untimed, o.Memory.Off = true, true
	}
	e := &Engine{opt: o, plan: o.Plan, proxy: o.Proxy, log: o.Logger, started: time.Now(), exited: make(chan struct{}, 1),
		reloads: make(chan *reload), ended: make(chan struct{}), follows: follows{turn: make(chan struct{}, 1)}}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if err := e.openCore(); err != nil {
		return nil, err
	}
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
	if e.cursors, err = journal.OpenCursors(e.cursorsPath(), policy); err != nil {
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
	e.host, e.opt.Host = host.New(o.Host), o.Host
	for _, p := range o.Plan.Feeds {
		f, err := e.openFeed(o.Plan, p)
		if err != nil {
			return nil, err
		}
		e.feeds = append(e.feeds, f)
	}
	for _, p := range o.Plan.Sinks {
		d, err := e.newSink(o.Plan, p, e.feeds)
		if err != nil {
			return nil, err
		}
		e.sinks = append(e.sinks, d)
	}
	connect(e.feeds, e.sinks)
	e.budgets = conn.NewBudgets()
	for _, f := range e.feeds {
		if err := f.prepare(e.budgets, o.Proxy); err != nil {
			return nil, err
		}
	}
	if err := e.openMemory(); err != nil {
		return nil, err
	}
	e.setExemplars(o.Plan)
	if e.admin, err = e.newAdmin(o.Plan); err != nil {
		return nil, err
	}
	return e, nil
}

// URL is where the admin endpoints are; empty if there are none.
func (e *Engine) URL() string {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.admin == nil {
		return ""
	}
	return e.admin.URL()
}

func (e *Engine) cursorsPath() string { return filepath.Join(e.dir, "cursors") }

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

func feedNamed(feeds []*feed, name string) *feed {
	for _, f := range feeds {
		if f.p.Name == name {
			return f
		}
	}
	return nil
}

// timerEvery is how often the journal says that time passes: a second, or as
// often as the quickest processor of the feed needs.
func timerEvery(pl *plan.Plan, feed string) time.Duration {
	every := time.Second
	for _, p := range pl.Processors {
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
		all := in.All
		return process.NewBookSnapshot(p.Config.Duration("every"), int(p.Config.Int("depth")),
			func(i *market.Instrument) bool { return all || symbols[i.Symbol] }, j), nil
	}
	return nil, fmt.Errorf("engine: no processor %q in this version", p.Type)
}

// syncTables forces new instruments and the cursors of batches to the disk.
func (e *Engine) syncTables() error {
	if err := e.registry.Sync(); err != nil {
		return err
	}
	if e.cursorsDirty.Swap(false) {
		return e.cursors.Sync()
	}
	return nil
}

// close releases what New opened.
func (e *Engine) close() error {
	var errs []error
	for _, f := range e.feeds {
		errs = append(errs, f.closeJournals())
		f.p.Credentials.Zero()
	}
	if e.admin != nil {
		errs = append(errs, e.admin.Close())
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
	e.closeCore()
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
