package memory

import (
	"cmp"
	"maps"
	"math"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/wire/heap"
)

const (
	snapshotVersion = 1
	idLayout        = "20060102T150405.000Z"
)

// Snapshot is where memory was at one moment.
type Snapshot struct {
	Version         int           `json:"version"`
	ID              string        `json:"id"`
	Time            time.Time     `json:"time"`
	Reason          string        `json:"reason"`
	Uptime          float64       `json:"uptime_seconds"`
	Rate            int           `json:"profile_rate"` // mean bytes between two samples of the heap
	Load            LoadState     `json:"load"`
	Machine         Machine       `json:"machine"`
	Go              GoState       `json:"go"`
	Subsystems      []Subsystem   `json:"subsystems"`
	Sites           []heap.Site   `json:"sites"`
	Mappings        []Mapping     `json:"mappings"`
	Pools           []Pool        `json:"pools,omitempty"`
	Goroutines      []Stack       `json:"goroutines"`
	Descriptors     []Descriptors `json:"descriptors"`
	DescriptorLimit uint64        `json:"descriptor_limit"`
	Processes       []Process     `json:"processes"` // the runtime first
	Journals        []Journal     `json:"journals,omitempty"`
	Batches         []Batch       `json:"batches,omitempty"`
	Leaks           []Leak        `json:"leaks,omitempty"`
}

// LoadState is the load with its rate.
type LoadState struct {
	Frames          uint64  `json:"frames"`
	FramesPerSecond float64 `json:"frames_per_second"`
	Connections     int     `json:"connections"`
	Books           int     `json:"books"`
}

// Machine is what bounds all processes together.
type Machine struct {
	Memory     int64 `json:"memory"`                // of the machine
	Available  int64 `json:"available"`             // as the kernel estimates it
	Cgroup     int64 `json:"cgroup,omitempty"`      // limit; 0: none
	CgroupUsed int64 `json:"cgroup_used,omitempty"` // page cache included
}

// GoState is what the Go runtime says of its memory.
type GoState struct {
	Live       uint64  `json:"live"`    // bytes after the last collection
	Objects    uint64  `json:"objects"` // bytes of objects, dead ones included
	Goal       uint64  `json:"goal"`
	Stacks     uint64  `json:"stacks"`
	Idle       uint64  `json:"idle"`     // free spans that it keeps
	Released   uint64  `json:"released"` // given back to the system
	Total      uint64  `json:"total"`    // mapped by the Go runtime
	Limit      int64   `json:"limit,omitempty"`
	Percent    uint64  `json:"gc_percent"` // GOGC; MaxUint64 is off
	Procs      int     `json:"procs"`
	Goroutines uint64  `json:"goroutines"`
	Cycles     uint64  `json:"gc_cycles"`
	Allocated  uint64  `json:"allocated"`       // bytes since the start
	GCSeconds  float64 `json:"gc_cpu_seconds"`  // since the start
	CPUSeconds float64 `json:"cpu_seconds"`     // used, collections included
	GCShare    float64 `json:"gc_cpu_fraction"` // of the processor time used
}

// Used is what counts against the memory limit.
func (g *GoState) Used() uint64 { return g.Total - min(g.Total, g.Released) }

// Subsystem is a package of ours, a library or a part of Go.
type Subsystem struct {
	Name       string `json:"name"`
	Bytes      int64  `json:"bytes"`
	Objects    int64  `json:"objects"`
	Goroutines int    `json:"goroutines"`
}

// Mapping is memory of one kind, by directory or name.
type Mapping struct {
	Kind     string `json:"kind"` // go, anonymous, journal, memfd, binary, file, stack
	Name     string `json:"name,omitempty"`
	Count    int    `json:"count"`
	Bytes    int64  `json:"bytes"`
	Resident int64  `json:"resident,omitempty"` // in snapshots
	Dirty    int64  `json:"dirty,omitempty"`    // in snapshots
}

// Stack is a group of goroutines that began alike and wait alike.
type Stack struct {
	Entry     string `json:"entry"` // the function that the goroutine was started with
	Wait      string `json:"wait"`  // innermost function outside the standard library, with its line
	Subsystem string `json:"subsystem"`
	Count     int    `json:"count"`
}

// Descriptors counts descriptors of a kind.
type Descriptors struct {
	Kind  string `json:"kind"` // socket, pipe, memfd, eventfd, eventpoll, journal, file, device
	Name  string `json:"name,omitempty"`
	Count int    `json:"count"`
}

// Process is one process's memory.
type Process struct {
	Name         string      `json:"name"`
	Pid          int         `json:"pid"`
	Resident     int64       `json:"resident"`
	Peak         int64       `json:"peak"`
	Anonymous    int64       `json:"anonymous"`               // resident and backed by no file
	File         int64       `json:"file"`                    // resident pages of files: the system takes them back when it needs them
	Shared       int64       `json:"shared"`                  // resident shared memory
	PrivateDirty int64       `json:"private_dirty,omitempty"` // in snapshots
	Swapped      int64       `json:"swapped,omitempty"`
	Threads      int         `json:"threads"`
	Limit        int64       `json:"limit,omitempty"` // GOMEMLIMIT of a plugin
	Heap         *PluginHeap `json:"heap,omitempty"`  // of a plugin that answered
	Why          string      `json:"why,omitempty"`   // it didn't
}

// self is the runtime's process.
func (s *Snapshot) self() Process {
	if len(s.Processes) == 0 {
		return Process{}
	}
	return s.Processes[0]
}

// Resident adds up all processes. Pages of files and shared memory are counted
// once, with the process that has most of them.
func (s *Snapshot) Resident() (n int64) {
	var shared int64
	for i := range s.Processes {
		p := &s.Processes[i]
		n += p.Anonymous
		shared = max(shared, p.File+p.Shared)
	}
	return n + shared
}

var goMetrics = []string{
	"/gc/heap/live:bytes", "/memory/classes/heap/objects:bytes", "/gc/heap/goal:bytes", "/memory/classes/heap/stacks:bytes",
	"/memory/classes/heap/free:bytes", "/memory/classes/heap/released:bytes", "/memory/classes/total:bytes", "/gc/gogc:percent",
	"/sched/goroutines:goroutines", "/gc/heap/allocs:bytes", "/cpu/classes/gc/total:cpu-seconds", "/cpu/classes/user:cpu-seconds",
	"/cpu/classes/scavenge/total:cpu-seconds", "/cpu/classes/gc/mark/idle:cpu-seconds",
}

func readGo() (g GoState) {
	var v [14]metrics.Sample
	for i, n := range goMetrics {
		v[i].Name = n
	}
	metrics.Read(v[:])
	for i, p := range []*uint64{&g.Live, &g.Objects, &g.Goal, &g.Stacks, &g.Idle, &g.Released, &g.Total, &g.Percent, &g.Goroutines, &g.Allocated} {
		*p = v[i].Value.Uint64()
	}
	// Marking by processors that had nothing else to do takes nobody's time.
	g.GCSeconds = max(0, v[10].Value.Float64()-v[13].Value.Float64())
	g.CPUSeconds = g.GCSeconds + v[11].Value.Float64() + v[12].Value.Float64()
	if g.CPUSeconds > 0 {
		g.GCShare = g.GCSeconds / g.CPUSeconds
	}
	return g
}

// maxGoroutines bounds how many stacks are read: all goroutines stand still
// meanwhile.
const maxGoroutines = 50_000

// stackReader groups goroutines by stack. It belongs to one goroutine.
type stackReader struct {
	module string
	known  map[[32]uintptr]Stack // by the stack's addresses, without a count
}

// maxStacks bounds the stacks whose description is kept; a program has hundreds.
const maxStacks = 1 << 14

func (r *stackReader) read() []Stack {
	recs := make([]runtime.StackRecord, runtime.NumGoroutine()+64)
	if len(recs) > maxGoroutines {
		return []Stack{{Entry: "all", Wait: "too many to read their stacks", Subsystem: "all", Count: len(recs) - 64}}
	}
	n, ok := runtime.GoroutineProfile(recs)
	if !ok {
		return nil // hundreds were started this moment; the next sample has them
	}
	counts := map[[32]uintptr]int{}
	for i := range recs[:n] {
		counts[recs[i].Stack0]++
	}
	type key struct{ entry, wait string }
	group := map[key]*Stack{}
	for pcs, c := range counts {
		st, ok := r.known[pcs]
		if !ok {
			if r.known == nil || len(r.known) >= maxStacks {
				r.known = map[[32]uintptr]Stack{}
			}
			rec := runtime.StackRecord{Stack0: pcs}
			st = describe(rec.Stack(), r.module)
			r.known[pcs] = st
		}
		k := key{st.Entry, st.Wait}
		if g := group[k]; g != nil {
			g.Count += c
			continue
		}
		st.Count = c
		group[k] = &st
	}
	out := make([]Stack, 0, len(group))
	for _, g := range group {
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b Stack) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Entry, b.Entry), strings.Compare(a.Wait, b.Wait))
	})
	return out
}

func describe(stack []uintptr, module string) Stack {
	st := Stack{Entry: "unknown"}
	frames := runtime.CallersFrames(stack)
	for {
		f, more := frames.Next()
		if f.Function != "" && f.Function != "runtime.goexit" && f.Function != "runtime.main" {
			st.Entry = f.Function
		}
		if !more {
			break
		}
	}
	at := heap.Locate(stack, module)
	st.Wait = at.Func + ":" + strconv.Itoa(at.Line)
	st.Subsystem = at.Owner
	return st
}

// subsystems adds up sites and goroutines.
func subsystems(s *Snapshot) []Subsystem {
	m := map[string]*Subsystem{}
	of := func(name string) *Subsystem {
		if m[name] == nil {
			m[name] = &Subsystem{Name: name}
		}
		return m[name]
	}
	for i := range s.Sites {
		x := of(s.Sites[i].Owner)
		x.Bytes += s.Sites[i].Bytes
		x.Objects += s.Sites[i].Objects
	}
	for i := range s.Goroutines {
		of(s.Goroutines[i].Subsystem).Goroutines += s.Goroutines[i].Count
	}
	out := make([]Subsystem, 0, len(m))
	for _, n := range slices.Sorted(maps.Keys(m)) {
		out = append(out, *m[n])
	}
	slices.SortStableFunc(out, func(a, b Subsystem) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Goroutines, a.Goroutines))
	})
	return out
}

// gcOff is what GoState.Percent is when GOGC is off.
const gcOff = math.MaxUint64
