// Package heap reads this process's Go heap by allocation site: the bytes and
// objects that the last collection left alive. The runtime reads its own and a
// plugin process reads its own, so both ends of the wire use it.
//
// Order: SetRate once, first thing in main; then Read whenever the figures are
// wanted. Between two collections they don't change.
//
// Ownership: a Reader belongs to one goroutine; what Read returns is the
// caller's. Nothing here is written or sent, and nobody waits for it: reading
// takes a lock that only sampled allocations take.
package heap

import (
	"cmp"
	"hash/maphash"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"time"
)

// Rate is the mean number of bytes allocated between two samples. Go's own
// 512 KiB gives a site that leaks 1 MiB a minute ten samples in five minutes,
// give or take three, which is no trend; this gives it 320. A sample costs about
// a microsecond: allocating objects of 256 bytes takes as long as without any
// sampling (BenchmarkRate in runtime/memory), at 4 KiB a tenth longer and more.
const Rate = 16 << 10

// SetRate sets the rate of sampling. It is to be called before anything else
// allocates: what was sampled before is counted by the new rate.
func SetRate() { runtime.MemProfileRate = Rate }

// Site is a place in the code and what it has alive.
type Site struct {
	Func    string `json:"func"` // innermost function outside the standard library
	File    string `json:"file"`
	Line    int    `json:"line"`
	Owner   string `json:"owner"` // subsystem: innermost package of the program's own module
	Bytes   int64  `json:"bytes"`
	Objects int64  `json:"objects"`
}

// Reader reads the heap by site.
type Reader struct {
	module string
	recs   []runtime.MemProfileRecord
	seed   maphash.Seed
	places map[uint64]Site // by stack, without figures
}

// maxPlaces bounds the cache of stacks; a program has a few thousand.
const maxPlaces = 1 << 16

// NewReader makes a reader.
func NewReader() *Reader {
	return &Reader{module: Module(), seed: maphash.MakeSeed(), places: map[uint64]Site{}}
}

// Module is the path of the program's main module.
var Module = sync.OnceValue(func() string {
	if b, ok := debug.ReadBuildInfo(); ok {
		return b.Main.Path
	}
	return ""
})

// Read returns all sites that have something alive, the greatest first. The
// figures are estimates from samples, scaled as pprof scales them.
func (r *Reader) Read() []Site {
	n, ok := runtime.MemProfile(r.recs, false)
	for !ok {
		r.recs = make([]runtime.MemProfileRecord, n+n/4+16)
		n, ok = runtime.MemProfile(r.recs, false)
	}
	type key struct {
		file string
		line int
	}
	at := map[key]int{}
	var sites []Site
	rate := float64(runtime.MemProfileRate)
	for i := range r.recs[:n] {
		rec := &r.recs[i]
		objects, bytes := scale(rec.InUseObjects(), rec.InUseBytes(), rate)
		if bytes <= 0 {
			continue
		}
		p := r.place(rec)
		k := key{p.File, p.Line}
		j, ok := at[k]
		if !ok {
			j = len(sites)
			at[k] = j
			sites = append(sites, p)
		}
		sites[j].Bytes += bytes
		sites[j].Objects += objects
	}
	slices.SortFunc(sites, func(a, b Site) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return sites
}

// scale turns samples into an estimate: an object of s bytes is sampled with
// the probability 1-exp(-s/rate).
func scale(objects, bytes int64, rate float64) (int64, int64) {
	if objects == 0 || bytes == 0 || rate <= 1 {
		return objects, bytes
	}
	f := 1 / (1 - math.Exp(-float64(bytes)/float64(objects)/rate))
	return int64(float64(objects) * f), int64(float64(bytes) * f)
}

func (r *Reader) place(rec *runtime.MemProfileRecord) Site {
	id := maphash.Comparable(r.seed, rec.Stack0)
	if p, ok := r.places[id]; ok {
		return p
	}
	if len(r.places) >= maxPlaces {
		clear(r.places)
	}
	p := Locate(rec.Stack(), r.module)
	r.places[id] = p
	return p
}

// Locate says which site a stack is of.
func Locate(stack []uintptr, module string) (s Site) {
	if len(stack) == 0 {
		return Site{Func: "unknown", Owner: "unknown"}
	}
	var inner runtime.Frame // innermost of all but the Go runtime's own
	frames := runtime.CallersFrames(stack)
	for {
		f, more := frames.Next()
		pkg := Package(f.Function)
		if inner.Function == "" || Package(inner.Function) == "runtime" && s.Func == "" {
			inner = f
		}
		if s.Func == "" && !Standard(pkg) {
			s.Func, s.File, s.Line = f.Function, f.File, f.Line
		}
		if s.Owner == "" && own(pkg, module) {
			s.Owner = strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/")
		}
		if !more {
			break
		}
	}
	if s.Func == "" {
		s.Func, s.File, s.Line = inner.Function, inner.File, inner.Line
	}
	if s.Owner == "" {
		s.Owner = Library(Package(s.Func))
	}
	return s
}

func own(pkg, module string) bool {
	return pkg == "main" || module != "" && (pkg == module || strings.HasPrefix(pkg, module+"/"))
}

// Library names the subsystem that a package outside the program's module is.
func Library(pkg string) string {
	if Standard(pkg) {
		return "go/" + pkg
	}
	parts := strings.Split(pkg, "/")
	return strings.Join(parts[:min(len(parts), 3)], "/")
}

// Package is the import path in a function's name.
func Package(function string) string {
	dir, base := "", function
	if i := strings.LastIndexByte(function, '/'); i >= 0 {
		// A type argument may hold a path of its own.
		if j := strings.IndexByte(function, '['); j >= 0 && j < i {
			i = strings.LastIndexByte(function[:j], '/')
		}
		dir, base = function[:i+1], function[i+1:]
	}
	name, _, _ := strings.Cut(base, ".")
	return dir + name
}

// Standard says whether a package is Go's own.
func Standard(pkg string) bool {
	first, _, _ := strings.Cut(pkg, "/")
	return first == "vendor" || first != "main" && first != "command-line-arguments" && !strings.Contains(first, ".")
}

// Collector collects where the program itself does so too seldom to see what
// stays: at most so often that it costs Share of one processor.
type Collector struct {
	// Every is the time that may pass between two collections; MaxEvery bounds
	// it where collections are dear.
	Every, MaxEvery time.Duration
	Share           float64

	cycles uint64
	at     time.Time
	cost   time.Duration
}

// Collect collects if none has been for long enough. It returns the number of
// collections so far: figures are new when that has changed.
func (c *Collector) Collect(now time.Time) uint64 {
	s := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(s)
	if n := s[0].Value.Uint64(); n != c.cycles {
		c.cycles, c.at = n, now
		return n
	}
	every := c.Every
	if c.Share > 0 {
		every = min(max(every, time.Duration(float64(c.cost)/c.Share)), c.MaxEvery)
	}
	if now.Sub(c.at) < every {
		return c.cycles
	}
	before := gcTime()
	runtime.GC()
	c.cost = gcTime() - before
	metrics.Read(s)
	c.cycles, c.at = s[0].Value.Uint64(), now
	return c.cycles
}

// gcTime is the processor time that collections have taken.
func gcTime() time.Duration {
	s := []metrics.Sample{{Name: "/cpu/classes/gc/mark/dedicated:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/assist:cpu-seconds"}, {Name: "/cpu/classes/gc/pause:cpu-seconds"}}
	metrics.Read(s)
	return time.Duration((s[0].Value.Float64() + s[1].Value.Float64() + s[2].Value.Float64()) * float64(time.Second))
}
