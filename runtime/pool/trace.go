package pool

import (
	"cmp"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxSites  = 512  // stacks that are told apart in one pool; further ones count as one
	maxTraces = 4096 // leases that are traced at a time; further ones aren't
	fewTraces = 64   // below, misses are traced as well
	depth     = 16   // frames of a stack
)

// FaultKind is a misuse.
type FaultKind uint8

// The misuses.
const (
	DoubleReturn   FaultKind = iota
	UseAfterReturn           // a handle was used, or memory written, after Return
	Lost                     // a lease was dropped without Return and its object collected
)

func (k FaultKind) String() string {
	return [...]string{"double return", "use after return", "lease lost"}[k]
}

// Fault is a misuse of a pool. Leased is the stack that leased the object, where
// it was traced: always in the invariants build.
type Fault struct {
	Kind   FaultKind
	Pool   string
	Leased string
}

func (f *Fault) Error() string {
	return fmt.Sprintf("pool: %s: %s of an object leased at\n%s", f.Pool, f.Kind, cmp.Or(f.Leased, "\t(not traced)"))
}

// LeakError says that leases were not returned when the pool was closed.
type LeakError struct {
	Pool        string
	Outstanding int
	Sites       []Site // of those that were traced
}

func (e *LeakError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pool: %s: %d leases were not returned", e.Pool, e.Outstanding)
	for i, s := range e.Sites {
		if i == 8 {
			fmt.Fprintf(&b, "\nand at %d other sites", len(e.Sites)-i)
			break
		}
		fmt.Fprintf(&b, "\n%d traced, %d collected, the oldest since %s, leased at\n%s", s.Outstanding, s.Lost, s.Oldest.UTC().Format(time.RFC3339), s.Stack)
	}
	return b.String()
}

// Site is a place that leases, with what was traced of it: one lease in Sample,
// and some of those for which an object had to be made.
type Site struct {
	Stack       string    `json:"stack"`       // a line for each function with its file and line, innermost first
	Traced      uint64    `json:"traced"`      // leases
	Outstanding int       `json:"outstanding"` // of these, now
	Oldest      time.Time `json:"oldest,omitzero"`
	Lost        uint64    `json:"lost"` // dropped without Return, found by a collection
}

type trace struct {
	site       *site
	at         time.Time
	prev, next *trace // of the same site, oldest first
	cleanup    runtime.Cleanup
}

type site struct {
	pcs    [depth]uintptr
	text   string // of the frames, once it was asked for; traces.mu
	first  *trace
	last   *trace
	n      int
	traced uint64
	lost   uint64
}

// stack is the text of the site's frames outside this package.
func (s *site) stack() string {
	if s == nil {
		return ""
	}
	var b strings.Builder
	frames := runtime.CallersFrames(s.pcs[:])
	inside := true
	for {
		f, more := frames.Next()
		if f.PC == 0 {
			break
		}
		inside = inside && ours(f)
		if !inside && f.Function != "runtime.goexit" {
			fmt.Fprintf(&b, "\t%s\n\t\t%s:%d\n", f.Function, f.File, f.Line)
		}
		if !more {
			break
		}
	}
	return b.String()
}

// here is the package's import path, which its functions' names begin with.
var here = func() string {
	pc, _, _, _ := runtime.Caller(0)
	name := runtime.FuncForPC(pc).Name()
	dir, base := path.Split(name)
	base, _, _ = strings.Cut(base, ".")
	return dir + base + "."
}()

func ours(f runtime.Frame) bool {
	return strings.HasPrefix(f.Function, here) && !strings.HasSuffix(f.File, "_test.go")
}

// traces are a pool's traced leases.
type traces struct {
	mu    sync.Mutex
	sites map[[depth]uintptr]*site
	n     int
	lost  uint64
}

func (t *traces) init() { t.sites = map[[depth]uintptr]*site{} }

func (t *traces) few() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n < fewTraces
}

// trace notes who leased it. A lease that is dropped is found when the collector
// frees its object.
func (p *Pool[T]) trace(it *item[T]) {
	if p.o.Sample < 0 {
		return
	}
	tr := &trace{at: time.Now()}
	if !p.traces.begin(tr) {
		return
	}
	it.guard.site(tr.site)
	it.trace, it.state = tr, odd
	tr.cleanup = runtime.AddCleanup(it, func(l loss[T]) { l.p.lose(l.tr) }, loss[T]{p, tr})
}

type loss[T any] struct {
	p  *Pool[T]
	tr *trace
}

func (p *Pool[T]) lose(tr *trace) {
	p.traces.mu.Lock()
	tr.site.lost++
	p.traces.lost++
	p.traces.mu.Unlock()
	p.traces.end(tr)
	if p.o.OnFault != nil {
		p.o.OnFault(&Fault{Kind: Lost, Pool: p.name(), Leased: tr.site.stack()})
	}
}

func (p *Pool[T]) untrace(it *item[T]) {
	if tr := it.trace; tr != nil {
		it.trace = nil
		tr.cleanup.Stop()
		p.traces.end(tr)
	}
}

func (t *traces) begin(tr *trace) bool {
	var pcs [depth]uintptr
	runtime.Callers(3, pcs[:]) // not Callers, begin and trace
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n >= maxTraces && !invariants {
		return false
	}
	s := t.sites[pcs]
	if s == nil {
		if len(t.sites) >= maxSites {
			pcs = [depth]uintptr{}
			s = t.sites[pcs]
		}
		if s == nil {
			s = &site{pcs: pcs}
			t.sites[pcs] = s
		}
	}
	t.n++
	s.n++
	s.traced++
	tr.site = s
	if tr.prev = s.last; tr.prev == nil {
		s.first = tr
	} else {
		tr.prev.next = tr
	}
	s.last = tr
	return true
}

func (t *traces) end(tr *trace) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := tr.site
	if tr.prev == nil {
		s.first = tr.next
	} else {
		tr.prev.next = tr.next
	}
	if tr.next == nil {
		s.last = tr.prev
	} else {
		tr.next.prev = tr.prev
	}
	s.n--
	t.n--
}

// report lists the sites with traced leases that are outstanding or lost, those
// with the most first.
func (t *traces) report() []Site {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Site
	for _, s := range t.sites {
		if s.n == 0 && s.lost == 0 {
			continue
		}
		if s.text == "" {
			s.text = s.stack() // once: each scrape asks
		}
		r := Site{Stack: s.text, Traced: s.traced, Outstanding: s.n, Lost: s.lost}
		if s.first != nil {
			r.Oldest = s.first.at
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Site) int {
		return cmp.Or(cmp.Compare(b.Lost, a.Lost), cmp.Compare(b.Outstanding, a.Outstanding), cmp.Compare(a.Stack, b.Stack))
	})
	return out
}

// fault tells of a misuse.
func (p *Pool[T]) fault(f *Fault) {
	switch {
	case p.o.OnFault != nil:
		p.o.OnFault(f)
	case invariants:
		panic(f)
	}
}
