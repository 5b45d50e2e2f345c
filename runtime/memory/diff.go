package memory

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/marketprism/marketprism/sdk/wire/heap"
)

// Change is what one thing had in two snapshots.
type Change struct {
	Name      string `json:"name"`
	Subsystem string `json:"subsystem,omitempty"`
	File      string `json:"file,omitempty"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
}

// By is the difference.
func (c *Change) By() int64 { return c.To - c.From }

// Diff says what changed between two snapshots, the greatest change first. What
// didn't change isn't in it.
type Diff struct {
	From        string    `json:"from"`
	To          string    `json:"to"`
	Seconds     float64   `json:"seconds"`
	LoadFrom    LoadState `json:"load_from"`
	LoadTo      LoadState `json:"load_to"`
	Restarted   bool      `json:"restarted"` // the snapshots are of two runs
	Totals      []Change  `json:"totals"`
	Processes   []Change  `json:"processes"`  // resident bytes
	Heaps       []Change  `json:"heaps"`      // live bytes of plugins
	Subsystems  []Change  `json:"subsystems"` // live bytes
	Sites       []Change  `json:"sites"`      // live bytes; of plugins, too
	Mappings    []Change  `json:"mappings"`   // bytes
	Pools       []Change  `json:"pools"`      // outstanding
	Goroutines  []Change  `json:"goroutines"`
	Descriptors []Change  `json:"descriptors"`
}

// Compare makes the difference of two snapshots.
func Compare(a, b *Snapshot) *Diff {
	d := &Diff{From: a.ID, To: b.ID, Seconds: b.Time.Sub(a.Time).Seconds(), LoadFrom: a.Load, LoadTo: b.Load}
	startA, startB := a.Time.Add(-seconds(a.Uptime)), b.Time.Add(-seconds(b.Uptime))
	d.Restarted = math.Abs(startB.Sub(startA).Seconds()) > 1
	d.Totals = []Change{{Name: "resident, all processes", From: a.Resident(), To: b.Resident()},
		{Name: "live heap of the runtime", From: int64(a.Go.Live), To: int64(b.Go.Live)},
		{Name: "mapped by the Go runtime", From: int64(a.Go.Total), To: int64(b.Go.Total)}}
	d.Processes = changes(a.Processes, b.Processes, func(p *Process) (Change, int64) { return Change{Name: p.Name}, p.Resident })
	d.Heaps = changes(a.Processes, b.Processes, func(p *Process) (Change, int64) {
		if p.Heap == nil {
			return Change{}, 0
		}
		return Change{Name: p.Name}, int64(p.Heap.Live)
	})
	d.Subsystems = changes(a.Subsystems, b.Subsystems, func(s *Subsystem) (Change, int64) { return Change{Name: s.Name}, s.Bytes })
	d.Sites = changes(allSites(a), allSites(b), func(s *ownedSite) (Change, int64) {
		return Change{Name: s.process + s.Func + ":" + strconv.Itoa(s.Line), Subsystem: s.Owner, File: s.File}, s.Bytes
	})
	d.Mappings = changes(a.Mappings, b.Mappings, func(m *Mapping) (Change, int64) { return Change{Name: joined(m.Kind, m.Name)}, m.Bytes })
	d.Pools = changes(a.Pools, b.Pools, func(p *Pool) (Change, int64) { return Change{Name: p.Name}, p.Outstanding })
	d.Goroutines = changes(a.Goroutines, b.Goroutines, func(s *Stack) (Change, int64) {
		return Change{Name: s.Entry + " at " + s.Wait, Subsystem: s.Subsystem}, int64(s.Count)
	})
	d.Descriptors = changes(a.Descriptors, b.Descriptors, func(x *Descriptors) (Change, int64) {
		return Change{Name: joined(x.Kind, x.Name)}, int64(x.Count)
	})
	return d
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func changes[T any](a, b []T, of func(*T) (Change, int64)) []Change {
	m := map[string]Change{}
	for i := range a {
		k, v := of(&a[i])
		c, ok := m[k.Name]
		if !ok {
			c = k
		}
		c.From += v
		m[k.Name] = c
	}
	for i := range b {
		k, v := of(&b[i])
		c, ok := m[k.Name]
		if !ok {
			c = k
		}
		c.To += v
		m[k.Name] = c
	}
	out := slices.Collect(maps.Values(m))
	out = slices.DeleteFunc(out, func(c Change) bool { return c.By() == 0 })
	slices.SortFunc(out, func(a, b Change) int {
		return cmp.Or(cmp.Compare(abs(b.By()), abs(a.By())), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func abs(n int64) int64 { return max(n, -n) }

// ownedSite is a site with its process; the runtime's has no prefix.
type ownedSite struct {
	process string
	heap.Site
}

func allSites(s *Snapshot) (out []ownedSite) {
	for _, x := range s.Sites {
		out = append(out, ownedSite{"", x})
	}
	for i := range s.Processes {
		if p := &s.Processes[i]; p.Heap != nil {
			for _, x := range p.Heap.Sites {
				out = append(out, ownedSite{p.Name + " ", x})
			}
		}
	}
	return out
}
