package sched

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

// Settings of a Scheduler.
type Settings struct {
	Logger zerolog.Logger
	// MonitorOff stops the clocks, the histograms and the watch on stuck tasks.
	// Outcomes are still counted.
	MonitorOff bool
	// OnStuck is told of a task or a lane's turn that takes longer than its
	// bound, once for each; it is called by the watch and must not block.
	OnStuck func(Stuck)
	// WatchEvery is how often the watch looks; 250 ms if zero. A stall is seen
	// that much late at most.
	WatchEvery time.Duration
}

// Scheduler is the tree of goroutines of a program, and its pools and lanes.
type Scheduler struct {
	set Settings

	count struct {
		started, ended, failed, panics, restarts, gaveUp, backoff atomic.Int64
		ticks, skipped, stuck                                     atomic.Int64
	}
	timers timerStats
	drains telemetry.Histogram

	mu     sync.Mutex
	groups map[*Group]struct{}
	pools  []*Pool
	lanes  []*Lane
}

// New makes a scheduler. It starts nothing.
func New(s Settings) *Scheduler {
	if s.WatchEvery <= 0 {
		s.WatchEvery = 250 * time.Millisecond
	}
	return &Scheduler{set: s, groups: make(map[*Group]struct{})}
}

// epoch is where the package's clock begins.
var epoch = time.Now()

// mono is the monotonic clock: one read of it costs half a time.Now.
func mono() int64 { return int64(time.Since(epoch)) }

func at(ns int64) time.Time { return epoch.Add(time.Duration(ns)) }

// node is a place in the tree: a scheduler, a group or a child.
type node interface {
	path() string
	scheduler() *Scheduler
}

func (s *Scheduler) path() string          { return "" }
func (s *Scheduler) scheduler() *Scheduler { return s }

type nodeKey struct{}

// nodeCtx is a context that knows its place in the tree.
type nodeCtx struct {
	context.Context
	node node
}

func (c *nodeCtx) Value(key any) any {
	if _, ok := key.(nodeKey); ok {
		return c.node
	}
	return c.Context.Value(key)
}

// Context gives ctx to the groups that are to be listed by s.
func (s *Scheduler) Context(ctx context.Context) context.Context { return &nodeCtx{ctx, s} }

// Placed gives ctx the place in the tree that another context has: for a
// goroutine that ends with ctx, and is listed where at belongs.
func Placed(ctx, at context.Context) context.Context { return &nodeCtx{ctx, nodeOf(at)} }

// nodeOf is the place that ctx belongs to. A context that came from nowhere
// gets a scheduler of its own, so that a package works without one.
func nodeOf(ctx context.Context) node {
	if n, ok := ctx.Value(nodeKey{}).(node); ok {
		return n
	}
	return New(Settings{Logger: zerolog.Nop()})
}

// Path is the place of a goroutine's context in the tree, as List and logs have
// it: "engine/feed binance-spot/lane"; empty outside of any.
func Path(ctx context.Context) string {
	if n, ok := ctx.Value(nodeKey{}).(node); ok {
		return n.path()
	}
	return ""
}

func join(parent, name string) string {
	switch {
	case parent == "":
		return name
	case name == "":
		return parent
	}
	return parent + "/" + name
}

// Status is a supervised goroutine as it is now.
type Status struct {
	Path     string    `json:"path"`
	State    string    `json:"state"` // running, or backoff: waiting to be started again
	Since    time.Time `json:"since"` // of this state
	Restarts int       `json:"restarts"`
	LastErr  string    `json:"last_error,omitempty"` // why it was started again
}

// List describes what runs now, in the order of the paths.
func (s *Scheduler) List() (out []Status) {
	s.mu.Lock()
	groups := make([]*Group, 0, len(s.groups))
	for g := range s.groups {
		groups = append(groups, g)
	}
	s.mu.Unlock()
	for _, g := range groups {
		path := g.path()
		g.mu.Lock()
		for c := g.first; c != nil; c = c.next {
			st := Status{Path: join(path, c.name), State: "running", Since: at(c.since.Load()), Restarts: int(c.restarts.Load())}
			if c.waiting.Load() {
				st.State = "backoff"
			}
			if e := c.last.Load(); e != nil {
				st.LastErr = (*e).Error()
			}
			out = append(out, st)
		}
		g.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b Status) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return a.Since.Compare(b.Since)
	})
	return out
}

// Run watches tasks and lanes until ctx ends. Without it, and with MonitorOff,
// nothing is watched; all else works.
func (s *Scheduler) Run(ctx context.Context) error {
	if s.set.MonitorOff {
		<-ctx.Done()
		return nil
	}
	t := time.NewTicker(s.set.WatchEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			s.look()
		}
	}
}

func (s *Scheduler) parts() ([]*Pool, []*Lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.pools), slices.Clone(s.lanes)
}

// forget takes a pool or lane whose Run has returned off the lists.
func (s *Scheduler) forget(p *Pool, l *Lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pools = slices.DeleteFunc(s.pools, func(o *Pool) bool { return o == p })
	s.lanes = slices.DeleteFunc(s.lanes, func(o *Lane) bool { return o == l })
}
