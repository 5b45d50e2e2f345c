// Package memory says where memory is, whether it leaks, what runs out next and
// which setting to change: of the runtime's process (Go heap by allocation site,
// mappings outside it, pools, goroutines, descriptors) and of each plugin
// process.
//
// Order: New starts nothing. Run looks at an interval (Thresholds.Interval):
// it takes a light sample, feeds the leak detector with it, and takes a
// snapshot where the sample passes a bound, a leak is found, or one is due.
// Snapshot asks Run for one. Reading the history needs no running monitor.
//
// Ownership: Run's goroutine alone samples, detects and writes the history;
// what it publishes is never changed again. Adapters (Settings.Pools and the
// others) are called by that goroutine, one at a time. A Snapshot belongs to
// whoever got it.
//
// A slow plugin delays a sample by askTimeout at most and is then left out of
// it. Requests for snapshots wait for one another; there is no queue. The
// history is bounded by count and bytes, and the oldest go first. The detector
// follows maxSeries series; the smallest are not followed.
package memory

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/sdk/wire/heap"
)

// Load is how much there is to do. Growth that follows it is no leak.
type Load struct {
	Frames      uint64 // received since the start
	Connections int
	Books       int
}

// Pool is the state of a pool of objects.
type Pool struct {
	Name        string  `json:"name"`
	Outstanding int64   `json:"outstanding"`      // leased and not returned
	Idle        int64   `json:"idle"`             // ready to be leased
	Bytes       int64   `json:"bytes"`            // of idle and outstanding objects
	Limit       int64   `json:"limit,omitempty"`  // of objects; 0: none
	Peak        int64   `json:"peak,omitempty"`   // most that were outstanding at once
	Leases      []Lease `json:"leases,omitempty"` // where leases are traced
}

// Lease counts what one place in the code has leased and not returned.
type Lease struct {
	Site  string `json:"site"`
	Count int64  `json:"count"`
}

// Plugin is a plugin process to be looked at.
type Plugin struct {
	Name  string // source/binance-spot, sink/parquet.lake
	Pid   int
	Limit int64 // its memory limit, a hint to its collector; 0: none
	// Ask asks the process for its own account.
	Ask func(context.Context) (PluginHeap, error)
}

// PluginHeap is what a plugin process says of itself.
type PluginHeap struct {
	Live       uint64      `json:"live"`    // bytes of the heap after its last collection
	Runtime    uint64      `json:"runtime"` // bytes that its Go runtime holds
	Goroutines uint32      `json:"goroutines"`
	Cycles     uint64      `json:"gc_cycles"`
	Sites      []heap.Site `json:"sites,omitempty"`
}

// Journal is a journal's directory and settings.
type Journal struct {
	Name    string        `json:"name"`
	Dir     string        `json:"dir"`
	Max     int64         `json:"max_bytes"`
	Age     time.Duration `json:"max_age_ns"`
	Segment int64         `json:"segment_bytes"`
	Held    int64         `json:"held_bytes"` // by its segment files now
}

// Batch is how a sink writes.
type Batch struct {
	Sink    string `json:"sink"`
	Records int    `json:"max_records"`
}

// Settings of a monitor. Every adapter may be nil.
type Settings struct {
	// Dir is where the history is kept; empty: none is kept.
	Dir     string
	Keep    int   // snapshots in the history; 200 if zero
	KeepMax int64 // bytes of the history; 64 MiB if zero
	// Every is the time between two snapshots; 10 min if zero, never if negative.
	Every time.Duration
	// Bound is a number of resident bytes, Growth a part (0.25: a quarter) by
	// which they or the live heap grew since the last snapshot, beyond which one
	// is taken. Zero: none, and a half. Such snapshots are a minute apart at least.
	Bound  int64
	Growth float64

	Thresholds Thresholds // Defaults() if zero
	Logger     zerolog.Logger

	Pools    func() []Pool
	Plugins  func() []Plugin
	Load     func() Load
	Journals func() []Journal
	Batches  func() []Batch

	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

const (
	askTimeout   = 2 * time.Second
	boundSpacing = time.Minute
	minGrowth    = 16 << 20 // bytes: growth below it is no reason for a snapshot
)

// Monitor looks at memory.
type Monitor struct {
	s       Settings
	t       Thresholds
	started time.Time
	heap    *heap.Reader
	stacks  stackReader
	collect heap.Collector
	det     *detector
	history *History
	asked   chan request
	ended   chan struct{}

	latest atomic.Pointer[Snapshot] // the last sample
	taken  [reasons]atomic.Uint64   // snapshots by reason
	cost   atomic.Int64             // ns of processor time that samples took
	ticks  atomic.Uint64
	found  atomic.Uint64

	// Run's.
	frames   uint64
	framesAt time.Time
	rate     float64   // frames a second
	last     *Snapshot // the last one taken
	alarmed  map[leakID]bool
}

type request struct {
	reason string
	done   chan<- answer
}

type answer struct {
	s   *Snapshot
	err error
}

// Reasons of snapshots.
const (
	byRequest = iota
	byInterval
	byThreshold
	byLeak
	reasons
)

var reasonNames = [reasons]string{"request", "interval", "threshold", "leak"}

// New makes a monitor and opens its history.
func New(s Settings) (*Monitor, error) {
	if s.Thresholds == (Thresholds{}) {
		s.Thresholds = Defaults()
	}
	if s.Every == 0 {
		s.Every = 10 * time.Minute
	}
	if s.Growth == 0 {
		s.Growth = 0.5
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	m := &Monitor{s: s, t: s.Thresholds, started: s.Now(), heap: heap.NewReader(), stacks: stackReader{module: heap.Module()},
		asked: make(chan request), ended: make(chan struct{}), alarmed: map[leakID]bool{}}
	m.collect = heap.Collector{Every: m.t.Collect, MaxEvery: m.t.CollectMax, Share: m.t.CollectShare}
	m.det = newDetector(m.t, m.started)
	if s.Dir != "" {
		h, err := OpenHistory(s.Dir, s.Keep, s.KeepMax)
		if err != nil {
			return nil, err
		}
		m.history = h
	}
	return m, nil
}

// ErrEnded says that the monitor runs no more.
var ErrEnded = errors.New("memory: the monitor has ended")

// Run looks until ctx ends.
func (m *Monitor) Run(ctx context.Context) error {
	defer close(m.ended)
	t := time.NewTicker(m.t.Interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-m.asked:
			s, err := m.take(ctx, byRequest, r.reason)
			r.done <- answer{s, err}
		case <-t.C:
			if err := m.Tick(ctx); err != nil {
				m.s.Logger.Warn().Err(err).Msg("memory: a snapshot was not kept")
			}
		}
	}
}

// Snapshot takes one now. Run must be running.
func (m *Monitor) Snapshot(ctx context.Context, reason string) (*Snapshot, error) {
	done := make(chan answer, 1)
	select {
	case m.asked <- request{reason, done}:
	case <-m.ended:
		return nil, ErrEnded
	case <-ctx.Done():
		return nil, fmt.Errorf("memory: snapshot: %w", ctx.Err())
	}
	a := <-done
	return a.s, a.err
}

// Latest is the last sample; nil before the first. It holds no resident bytes
// of mappings.
func (m *Monitor) Latest() *Snapshot { return m.latest.Load() }

// Leaks are those that grow now.
func (m *Monitor) Leaks() []Leak {
	if s := m.latest.Load(); s != nil {
		return s.Leaks
	}
	return nil
}

// Tick looks once: what Run does at each interval.
func (m *Monitor) Tick(ctx context.Context) error {
	runtime.LockOSThread() // whose processor time is the sample's cost
	defer runtime.UnlockOSThread()
	began := threadTime()
	now := m.s.Now()
	s := m.sample(ctx, now)
	m.det.add(now, s)
	s.Leaks = m.det.leaks(now)
	m.latest.Store(s)
	m.ticks.Add(1)
	err := m.decide(ctx, now, s)
	m.cost.Add(int64(threadTime() - began))
	return err
}

// decide takes a snapshot if there is a reason for one.
func (m *Monitor) decide(ctx context.Context, now time.Time, s *Snapshot) error {
	fresh := false
	current := map[leakID]bool{}
	for i := range s.Leaks {
		l := &s.Leaks[i]
		current[l.id()] = true
		if m.alarmed[l.id()] {
			continue
		}
		fresh = true
		m.found.Add(1)
		m.s.Logger.Warn().Str("kind", string(l.Kind)).Str("process", l.Process).Str("site", l.Site()).Str("growth", l.Rate()).
			Msg("something grows without end; see `marketprism memory leaks`")
	}
	m.alarmed = current
	last := m.last
	switch {
	case fresh:
		_, err := m.take(ctx, byLeak, "leak")
		return err
	case last == nil || m.s.Every > 0 && now.Sub(last.Time) >= m.s.Every:
		_, err := m.take(ctx, byInterval, "interval")
		return err
	case now.Sub(last.Time) < boundSpacing:
		return nil
	}
	why := ""
	switch r, l := s.self().Resident, last.self().Resident; {
	case m.s.Bound > 0 && r > m.s.Bound && l <= m.s.Bound:
		why = fmt.Sprintf("resident above %s", Size(m.s.Bound))
	case grew(l, r, m.s.Growth):
		why = fmt.Sprintf("resident grew by %.0f %%", 100*(float64(r)/float64(l)-1))
	case grew(int64(last.Go.Live), int64(s.Go.Live), m.s.Growth):
		why = fmt.Sprintf("live heap grew by %.0f %%", 100*(float64(s.Go.Live)/float64(last.Go.Live)-1))
	}
	if why == "" {
		return nil
	}
	_, err := m.take(ctx, byThreshold, why)
	return err
}

func grew(from, to int64, by float64) bool {
	return by > 0 && to-from > minGrowth && float64(to) > float64(from)*(1+by)
}

// take takes a full snapshot and keeps it.
func (m *Monitor) take(ctx context.Context, reason int, why string) (*Snapshot, error) {
	now := m.s.Now()
	s := m.sample(ctx, now)
	s.Reason = why
	s.Leaks = m.det.leaks(now)
	resident(s)
	m.last = s
	m.taken[reason].Add(1)
	if m.history == nil {
		return s, nil
	}
	return s, m.history.Put(s)
}

// sample reads all that is cheap to read.
func (m *Monitor) sample(ctx context.Context, now time.Time) *Snapshot {
	s := &Snapshot{Version: snapshotVersion, ID: now.UTC().Format(idLayout), Time: now, Uptime: now.Sub(m.started).Seconds(),
		Rate: runtime.MemProfileRate}
	cycle := m.collect.Collect(now)
	s.Go = readGo()
	s.Go.Cycles = cycle
	s.Go.Procs = runtime.GOMAXPROCS(0)
	if l := debug.SetMemoryLimit(-1); l != math.MaxInt64 {
		s.Go.Limit = l
	}
	s.Machine = readMachine()
	s.Sites = m.heap.Read()
	s.Goroutines = m.stacks.read()
	if m.s.Journals != nil {
		s.Journals = m.s.Journals()
	}
	s.Mappings = mappings(s.Go.Total, s.Journals)
	s.Descriptors, s.DescriptorLimit = descriptors(s.Journals)
	if m.s.Pools != nil {
		s.Pools = m.s.Pools()
	}
	if m.s.Batches != nil {
		s.Batches = m.s.Batches()
	}
	s.Processes = []Process{readProcess("runtime", os.Getpid())}
	if m.s.Plugins != nil {
		for _, p := range m.s.Plugins() {
			s.Processes = append(s.Processes, m.plugin(ctx, p))
		}
	}
	if m.s.Load != nil {
		l := m.s.Load()
		s.Load = LoadState{Frames: l.Frames, Connections: l.Connections, Books: l.Books}
		// A snapshot just after a sample has the sample's rate.
		if d := now.Sub(m.framesAt); m.framesAt.IsZero() || d >= m.t.Interval/2 {
			if !m.framesAt.IsZero() && l.Frames >= m.frames {
				m.rate = float64(l.Frames-m.frames) / d.Seconds()
			}
			m.frames, m.framesAt = l.Frames, now
		}
		s.Load.FramesPerSecond = m.rate
	}
	s.Subsystems = subsystems(s)
	return s
}

func (m *Monitor) plugin(ctx context.Context, p Plugin) Process {
	x := readProcess(p.Name, p.Pid)
	x.Limit = p.Limit
	if p.Ask == nil {
		return x
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	h, err := p.Ask(ctx)
	if err != nil {
		x.Why = err.Error()
		return x
	}
	x.Heap = &h
	return x
}
