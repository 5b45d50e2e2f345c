package pool

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

// Stats are a pool's figures since it was made. While others lease and return,
// they are of about one moment.
type Stats struct {
	Name  string `json:"name"`
	Class string `json:"class,omitempty"`

	Leases      uint64 `json:"leases"`
	Hits        uint64 `json:"hits"`   // leases of an object that existed
	Misses      uint64 `json:"misses"` // leases for which one was made
	Returns     uint64 `json:"returns"`
	Outstanding int    `json:"outstanding"` // leased now, leaked ones too
	Peak        int    `json:"peak"`        // of Outstanding, as seen whenever objects were made or figures taken
	Capacity    int    `json:"capacity"`    // MaxOutstanding; 0: no bound
	Live        int    `json:"live"`        // leased and idle; those that were leaked and collected count still
	Idle        int    `json:"idle"`
	IdleBytes   int    `json:"idle_bytes"`             // 0 without Size and Bytes
	ObjectBytes int    `json:"object_bytes,omitempty"` // Options.Bytes

	Created   uint64        `json:"created"`
	Destroyed ByReason      `json:"destroyed"`
	Overflow  uint64        `json:"overflow"` // leases beyond MaxOutstanding
	Refused   uint64        `json:"refused"`  // leases that got ErrEmpty
	Waits     uint64        `json:"waits"`
	Waiting   int           `json:"waiting"`
	WaitTime  time.Duration `json:"wait_ns"`   // of all that have ended
	Exchanges uint64        `json:"exchanges"` // between a magazine and the depot
	Misused   uint64        `json:"misused"`   // double returns, and in the invariants build uses after return
	Lost      uint64        `json:"lost"`      // traced leases that were dropped without Return

	Sample int       `json:"sample"`          // one lease in so many is traced
	Traced int       `json:"traced"`          // traced leases that are outstanding
	Oldest time.Time `json:"oldest,omitzero"` // lease that is outstanding and traced; zero if there is none
	Sites  []Site    `json:"sites,omitempty"` // of traced leases that are outstanding or lost
}

// ByReason counts objects that were destroyed.
type ByReason [reasons]uint64

// MarshalJSON names the reasons there were.
func (b ByReason) MarshalJSON() ([]byte, error) {
	m := map[string]uint64{}
	for r, n := range b {
		if n > 0 {
			m[Reason(r).String()] = n
		}
	}
	return json.Marshal(m)
}

// HitRate is the share of leases that found an object; 1 before the first.
func (s *Stats) HitRate() float64 {
	if s.Leases == 0 {
		return 1
	}
	return float64(s.Hits) / float64(s.Leases)
}

// Reuse is how many leases an object that was made has served so far.
func (s *Stats) Reuse() float64 { return float64(s.Leases) / float64(max(s.Created, 1)) }

// Stats takes the figures.
func (p *Pool[T]) Stats() Stats {
	p.mu.Lock()
	p.peak = max(p.peak, p.outstanding())
	s := Stats{Name: p.o.Name, Class: p.o.Class, Peak: p.peak, Capacity: p.o.MaxOutstanding, Live: p.live,
		Idle: len(p.stack), IdleBytes: p.bytes, ObjectBytes: p.o.Bytes, Created: p.created, Destroyed: p.destroyed, Overflow: p.overflow, Refused: p.refused,
		Waits: p.waits, Waiting: len(p.waiters), Exchanges: p.exchanges, Misused: p.misused, Sample: p.o.Sample,
		Leases: p.leases, Returns: p.returns, Misses: p.misses}
	for _, m := range p.shards {
		_, _, _, r := m.look()
		s.Returns += r
	}
	for _, m := range p.shards {
		n, b, l, _ := m.look()
		s.Leases += l
		s.Idle += n
		s.IdleBytes += b
	}
	p.mu.Unlock()
	s.IdleBytes += s.Idle * p.o.Bytes
	s.Outstanding = int(s.Leases - s.Returns)
	s.Hits = s.Leases - s.Misses
	s.WaitTime = p.wait.Snapshot().Sum
	s.Sites = p.traces.report()
	for _, t := range s.Sites {
		s.Traced += t.Outstanding
		s.Lost += t.Lost
		if !t.Oldest.IsZero() && (s.Oldest.IsZero() || t.Oldest.Before(s.Oldest)) {
			s.Oldest = t.Oldest
		}
	}
	return s
}

// member is a pool of any type.
type member interface {
	Stats() Stats
	Trim(now time.Time) int
	addWaits(*telemetry.Snapshot)
}

func (p *Pool[T]) addWaits(s *telemetry.Snapshot) { s.Add(&p.wait) }

// Registry lists pools for those who look at all of them. The zero Registry is
// ready.
type Registry struct {
	mu    sync.Mutex
	pools []member
}

func (r *Registry) add(m member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pools = append(r.pools, m)
}

func (r *Registry) remove(m member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pools = slices.DeleteFunc(r.pools, func(o member) bool { return o == m })
}

func (r *Registry) all() []member {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.pools)
}

// Stats takes the figures of all pools, in the order of their names.
func (r *Registry) Stats() []Stats {
	var out []Stats
	for _, m := range r.all() {
		out = append(out, m.Stats())
	}
	slices.SortStableFunc(out, func(a, b Stats) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Trim trims all pools and says how many objects were destroyed.
func (r *Registry) Trim(now time.Time) (n int) {
	for _, m := range r.all() {
		n += m.Trim(now)
	}
	return n
}
