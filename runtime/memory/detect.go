package memory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Kind says what leaks.
type Kind string

// The kinds.
const (
	HeapSite      Kind = "heap"           // live bytes of an allocation site
	HeapFunc      Kind = "heap function"  // of all sites of a function
	HeapSubsystem Kind = "heap subsystem" // of all sites of a package
	Goroutines    Kind = "goroutines"     // of one stack
	FDs           Kind = "descriptors"    // of one kind
	Mapped        Kind = "mapped"         // bytes outside the Go heap
	Leases        Kind = "leases"         // unreturned, of a pool
)

// Kinds are all kinds.
var Kinds = []Kind{HeapSite, HeapFunc, HeapSubsystem, Goroutines, FDs, Mapped, Leases}

// Thresholds of the leak detector. A series (live bytes of a site, goroutines of
// a stack and so on) is called a leak when all of this holds, three times in a row:
//
//   - Its floor, the least value of the last Settle, is looked at: what comes and
//     goes within that time is gone. So a sawtooth is seen by its lower edge.
//   - In the last Window, Middle or Long it has grown for MinSpan of it, with
//     MinPoints floors or more. The process's first WarmUp is left out.
//   - Pairs of samples are compared of which the later had no more load (frames a
//     second, connections, books) than the earlier, within LoadTolerance, and no
//     new record of load lies between them. At least MinMatched of all pairs are
//     left of those half the span apart. So growth with the load is no leak, and
//     a leak under load is one. What the load grew by all the same is granted to
//     the value, too.
//   - The Theil–Sen slope's lower bound at confidence Z is above the kind's floor
//     (per minute; half of it over Middle, a quarter over Long).
//   - Of the heap it is also above MinShare of the value in a window: what is
//     large already must grow faster, or for longer.
//   - What has grown is at least MinSignal times the standard deviation of what
//     the line leaves.
//   - Both halves of the window grow by themselves, by MinFirst of the whole slope
//     the first and by MinLast of the first's the second. So a step or a cache
//     that fills up is no leak.
//   - The floor is higher than it has been in any minute before the window, as far
//     back as Long.
type Thresholds struct {
	Interval      time.Duration // between two samples
	WarmUp        time.Duration
	Window        time.Duration
	Middle, Long  time.Duration
	Settle        time.Duration
	Bucket        time.Duration // resolution of Middle and Long
	MinSpan       float64
	MinPoints     int
	LoadTolerance float64
	MinMatched    float64
	Z             float64
	MinShare      float64
	MinSignal     float64
	MinFirst      float64
	MinLast       float64

	HeapFloor      float64 // bytes a minute of a site or function
	SubsystemFloor float64 // bytes a minute
	MappedFloor    float64 // bytes a minute
	CountFloor     float64 // goroutines or leases a minute; of leases as many more as make HeapFloor
	FDFloor        float64 // descriptors a minute

	// Collections that the monitor makes where the program makes none: Collect
	// apart, and further up to CollectMax where they would cost more than
	// CollectShare of a processor.
	Collect, CollectMax time.Duration
	CollectShare        float64
}

// Defaults find 1 MiB a minute within five minutes.
func Defaults() Thresholds {
	return Thresholds{Interval: 10 * time.Second, WarmUp: time.Minute, Window: 200 * time.Second, Middle: 12 * time.Minute, Long: 30 * time.Minute,
		Settle: 40 * time.Second, Bucket: 30 * time.Second, MinSpan: 0.75, MinPoints: 8, LoadTolerance: 0.05, MinMatched: 0.3, Z: 2.576,
		MinShare: 0.05, MinSignal: 6, MinFirst: 0.3, MinLast: 0.6,
		HeapFloor: 256 << 10, SubsystemFloor: 512 << 10, MappedFloor: 512 << 10, CountFloor: 6, FDFloor: 3,
		Collect: 9 * time.Second, CollectMax: 2 * time.Minute, CollectShare: 0.005}
}

// Scaled makes time run f times as fast: what takes a minute takes 1/f of one,
// and f times as much must grow in a minute. For tests.
func (t Thresholds) Scaled(f float64) Thresholds {
	for _, d := range []*time.Duration{&t.Interval, &t.WarmUp, &t.Window, &t.Middle, &t.Long, &t.Settle, &t.Bucket, &t.Collect, &t.CollectMax} {
		*d = time.Duration(float64(*d) / f)
	}
	for _, r := range []*float64{&t.HeapFloor, &t.SubsystemFloor, &t.MappedFloor, &t.CountFloor, &t.FDFloor} {
		*r *= f
	}
	return t
}

func (t *Thresholds) floor(k Kind) float64 {
	switch k {
	case HeapSite, HeapFunc:
		return t.HeapFloor
	case HeapSubsystem:
		return t.SubsystemFloor
	case Mapped:
		return t.MappedFloor
	case FDs:
		return t.FDFloor
	}
	return t.CountFloor
}

// leakID names a series.
type leakID struct {
	kind    Kind
	process string
	name    string // function, stack, kind of descriptor, pool
	line    int
}

// Leak is something that grows without end.
type Leak struct {
	Kind      Kind      `json:"kind"`
	Process   string    `json:"process"`
	Name      string    `json:"name"` // function, stack, kind of descriptor or mapping, pool
	File      string    `json:"file,omitempty"`
	Line      int       `json:"line,omitempty"`
	Subsystem string    `json:"subsystem,omitempty"`
	PerMinute float64   `json:"per_minute"` // bytes, or a count
	Low       float64   `json:"per_minute_low"`
	High      float64   `json:"per_minute_high"`
	Chance    float64   `json:"chance"` // Mann–Kendall: probability that nothing grows
	Value     float64   `json:"value"`  // now
	Grown     float64   `json:"grown"`  // since it was first seen growing
	Since     time.Time `json:"since"`  // the window began in which it was first seen
	Found     time.Time `json:"found"`
	Over      float64   `json:"window_seconds"` // of the trend
}

func (l *Leak) id() leakID { return leakID{l.Kind, l.Process, l.Name, l.Line} }

// Bytes says whether it is bytes that leak.
func (l *Leak) Bytes() bool {
	switch l.Kind {
	case Goroutines, FDs, Leases:
		return false
	}
	return true
}

// Site names the place.
func (l *Leak) Site() string {
	if l.Line > 0 {
		return fmt.Sprintf("%s:%d", l.Name, l.Line)
	}
	return l.Name
}

// Rate is the growth in words.
func (l *Leak) Rate() string {
	if l.Bytes() {
		return Size(int64(l.PerMinute)) + "/min"
	}
	return fmt.Sprintf("%.1f/min", l.PerMinute)
}

// maxSeries bounds the series that are followed, and minHeap the live bytes from
// which a site is: a site that leaks gets there.
const (
	maxSeries = 4096
	minHeap   = 64 << 10
)

// series is one value over time.
type series struct {
	file, subsystem string
	each            float64 // as in value
	raw             []point // newest last; Settle and Window
	floors          []point // of raw, trailing
	buckets         []point // least floor of each Bucket; Long
	hits            int     // evaluations in a row that found it
	evaluated       time.Time
	leak            *Leak
	seen            time.Time // last time that it was above zero
}

// detector follows series. It belongs to one goroutine.
type detector struct {
	t       Thresholds
	began   time.Time
	all     map[leakID]*series
	cycles  map[string]uint64    // last collection seen, by process
	before  map[string]time.Time // when its heap was last read
	recent  [][loads]float64     // last loads, for the median
	most    [loads]float64
	scratch []float64
	last    []Leak
}

func newDetector(t Thresholds, began time.Time) *detector {
	return &detector{t: t, began: began, all: map[leakID]*series{}, cycles: map[string]uint64{}, before: map[string]time.Time{}}
}

// smooth is how many samples the median of the load is taken over.
const smooth = 5

func (d *detector) level(l *LoadState) (v level) {
	d.recent = append(d.recent, [loads]float64{l.FramesPerSecond, float64(l.Connections), float64(l.Books)})
	if len(d.recent) > smooth {
		d.recent = d.recent[1:]
	}
	var col [smooth]float64
	for i := range loads {
		c := col[:0]
		for _, r := range d.recent {
			c = append(c, r[i])
		}
		slices.Sort(c)
		v.now[i] = c[len(c)/2]
		d.most[i] = max(d.most[i], v.now[i])
	}
	v.most = d.most
	return v
}

type value struct {
	v               float64
	each            float64 // bytes of a lease, where they are known
	file, subsystem string
}

// add takes a sample.
func (d *detector) add(now time.Time, s *Snapshot) {
	lv := d.level(&s.Load)
	if now.Sub(d.began) < d.t.WarmUp {
		return
	}
	if s.Go.Cycles != d.cycles["runtime"] {
		d.cycles["runtime"] = s.Go.Cycles
		vals := map[leakID]value{}
		for i := range s.Sites {
			x := &s.Sites[i]
			grouped(vals, "runtime", x.Func, x.File, x.Owner, x.Line, float64(x.Bytes))
		}
		d.values(now, lv, vals, func(id leakID) bool { return id.process == "runtime" && heapKind(id.kind) })
		d.before["runtime"] = now
	}
	vals := map[leakID]value{}
	for i := range s.Goroutines {
		g := &s.Goroutines[i]
		vals[leakID{Goroutines, "runtime", g.Entry + " at " + g.Wait, 0}] = value{v: float64(g.Count), subsystem: g.Subsystem}
	}
	for i := range s.Descriptors {
		x := &s.Descriptors[i]
		if x.Kind == "journal" {
			continue // bounded by the journal's settings
		}
		id := leakID{FDs, "runtime", joined(x.Kind, x.Name), 0}
		vals[id] = value{v: float64(x.Count)}
	}
	for i := range s.Mappings {
		x := &s.Mappings[i]
		if x.Kind == "journal" || x.Kind == "go" || x.Kind == "binary" {
			continue // bounded by its settings, or followed by site
		}
		vals[leakID{Mapped, "runtime", joined(x.Kind, x.Name), 0}] = value{v: float64(x.Bytes)}
	}
	for i := range s.Pools {
		p := &s.Pools[i]
		v := value{v: float64(p.Outstanding)}
		if n := p.Outstanding + p.Idle; n > 0 {
			v.each = float64(p.Bytes) / float64(n)
		}
		vals[leakID{Leases, "runtime", p.Name, 0}] = v
	}
	d.values(now, lv, vals, func(id leakID) bool { return id.process == "runtime" && !heapKind(id.kind) })
	for i := range s.Processes {
		d.process(now, lv, &s.Processes[i])
	}
	d.forget(now)
}

func heapKind(k Kind) bool { return k == HeapSite || k == HeapFunc || k == HeapSubsystem }

func joined(kind, name string) string {
	if name == "" {
		return kind
	}
	return kind + " " + name
}

// grouped adds a site's bytes to its series and those above it.
func grouped(vals map[leakID]value, process, fn, file, owner string, line int, bytes float64) {
	for _, id := range []leakID{{HeapSite, process, fn, line}, {HeapFunc, process, fn, 0}, {HeapSubsystem, process, owner, 0}} {
		v := vals[id]
		v.v += bytes
		v.file, v.subsystem = file, owner
		vals[id] = v
	}
}

func (d *detector) process(now time.Time, lv level, p *Process) {
	if p.Heap == nil {
		return
	}
	mine := func(id leakID) bool { return id.process == p.Name }
	if p.Heap.Cycles < d.cycles[p.Name] { // another process has its place
		maps.DeleteFunc(d.all, func(id leakID, _ *series) bool { return mine(id) })
		delete(d.before, p.Name)
	}
	vals := map[leakID]value{{Goroutines, p.Name, "all", 0}: {v: float64(p.Heap.Goroutines)}}
	if p.Heap.Cycles != d.cycles[p.Name] {
		d.cycles[p.Name] = p.Heap.Cycles
		for i := range p.Heap.Sites {
			x := &p.Heap.Sites[i]
			grouped(vals, p.Name, x.Func, x.File, x.Owner, x.Line, float64(x.Bytes))
		}
		d.values(now, lv, vals, mine)
		d.before[p.Name] = now
		return
	}
	d.values(now, lv, vals, func(id leakID) bool { return mine(id) && !heapKind(id.kind) })
}

// values appends to the series of a group; those that have no value have zero.
func (d *detector) values(now time.Time, lv level, vals map[leakID]value, group func(leakID) bool) {
	for id, v := range vals {
		s := d.all[id]
		if s == nil {
			if heapKind(id.kind) && v.v < minHeap || len(d.all) >= maxSeries {
				continue
			}
			s = &series{}
			if prev := d.before[id.process]; heapKind(id.kind) && !prev.IsZero() {
				s.raw = append(s.raw, point{prev, 0, lv}) // it was too small to be followed
			}
			d.all[id] = s
		}
		s.file, s.subsystem, s.each = v.file, v.subsystem, v.each
		if v.v > 0 {
			s.seen = now
		}
		d.append(s, point{now, v.v, lv})
	}
	for id, s := range d.all {
		if _, ok := vals[id]; !ok && group(id) {
			d.append(s, point{now, 0, lv})
		}
	}
}

func (d *detector) append(s *series, p point) {
	s.raw = keep(append(s.raw, p), p.at.Add(-d.t.Window-d.t.Settle))
	f := p
	for i := len(s.raw) - 1; i >= 0 && p.at.Sub(s.raw[i].at) <= d.t.Settle; i-- {
		f.v = min(f.v, s.raw[i].v)
	}
	if p.at.Sub(d.began) < d.t.WarmUp+d.t.Settle {
		return // not a floor yet: a rise would look flat at first
	}
	s.floors = keep(append(s.floors, f), p.at.Add(-d.t.Window))
	if n := len(s.buckets); n > 0 && p.at.Sub(s.buckets[n-1].at) < d.t.Bucket {
		s.buckets[n-1].v = min(s.buckets[n-1].v, f.v)
		s.buckets[n-1].level = f.level
	} else {
		s.buckets = keep(append(s.buckets, f), p.at.Add(-d.t.Long))
	}
}

// keep drops points before a time.
func keep(pts []point, from time.Time) []point {
	n := 0
	for n < len(pts) && pts[n].at.Before(from) {
		n++
	}
	return append(pts[:0], pts[n:]...)
}

// forget drops series that have been at zero for long.
func (d *detector) forget(now time.Time) {
	maps.DeleteFunc(d.all, func(_ leakID, s *series) bool { return now.Sub(s.seen) > d.t.Long })
}

// leaks evaluates all series that have new points and returns what leaks now,
// the fastest first. A function or package whose growth is a site's is left out.
func (d *detector) leaks(now time.Time) []Leak {
	var found []Leak
	for id, s := range d.all {
		if l := d.judge(now, id, s); l != nil {
			found = append(found, *l)
		}
	}
	order := map[Kind]int{HeapSite: 0, HeapFunc: 1, HeapSubsystem: 2}
	slices.SortFunc(found, func(a, b Leak) int {
		return cmp.Or(cmp.Compare(order[a.Kind], order[b.Kind]), cmp.Compare(b.PerMinute, a.PerMinute), cmp.Compare(a.Site(), b.Site()))
	})
	var out []Leak
	for i := range found {
		l := &found[i]
		var within float64
		for j := range out {
			o := &out[j]
			if o.Process == l.Process && order[o.Kind] < order[l.Kind] && (l.Kind == HeapFunc && o.Name == l.Name || l.Kind == HeapSubsystem && o.Subsystem == l.Name) {
				within += o.PerMinute
			}
		}
		if within < l.PerMinute/2 {
			out = append(out, *l)
		}
	}
	return out
}

// judge says whether a series leaks.
func (d *detector) judge(now time.Time, id leakID, s *series) *Leak {
	n := len(s.floors)
	if n == 0 || s.floors[n-1].at.Equal(s.evaluated) {
		return s.leak
	}
	s.evaluated = s.floors[n-1].at
	floor, share := d.t.floor(id.kind), heapKind(id.kind)
	if id.kind == Leases && s.each > 0 { // of small objects there are many, and they come and go: books grow for hours
		floor = max(floor, d.t.HeapFloor/s.each)
	}
	t, window, ok := d.grows(s.floors, d.t.Window, floor, share, s)
	if !ok {
		from := s.evaluated.Add(-d.t.Middle)
		n := slices.IndexFunc(s.buckets, func(p point) bool { return !p.at.Before(from) })
		t, window, ok = d.grows(s.buckets[max(0, n):], d.t.Middle, floor/2, share, s)
	}
	if !ok {
		t, window, ok = d.grows(s.buckets, d.t.Long, floor/4, share, s)
	}
	if !ok {
		s.hits = 0
		if s.leak != nil && (t.high < floor/4 || now.Sub(s.leak.Found) > d.t.Long) {
			s.leak = nil
		}
		return s.leak
	}
	if s.hits++; s.hits < 3 {
		return s.leak
	}
	v := s.floors[n-1].v
	if s.leak == nil {
		s.leak = &Leak{Kind: id.kind, Process: id.process, Name: id.name, Line: id.line, Since: now.Add(-window), Found: now}
	}
	l := *s.leak
	l.File, l.Subsystem = s.file, s.subsystem
	l.PerMinute, l.Low, l.High, l.Chance, l.Over = t.slope, t.low, t.high, t.p, window.Seconds()
	l.Value, l.Grown = v, max(l.Grown, now.Sub(l.Since).Minutes()*t.slope)
	s.leak = &l
	return s.leak
}

// grows tests one window.
func (d *detector) grows(pts []point, window time.Duration, floor float64, share bool, s *series) (t trend, _ time.Duration, ok bool) {
	n := len(pts)
	if n < d.t.MinPoints {
		return t, 0, false
	}
	minSpan := time.Duration(float64(window) * d.t.MinSpan)
	grown := pts[n-1].v - pts[0].v
	if pts[n-1].at.Sub(pts[0].at) < minSpan || grown < floor*minSpan.Minutes()/2 {
		return t, 0, false // most series end here, before anything is sorted
	}
	// What it was before it began to grow is left out, so that growth that ends
	// is seen to end.
	from := 0
	for i := range pts {
		if pts[i].v <= pts[0].v+grown/20 {
			from = i
		}
	}
	pts, n = pts[from:], n-from
	span := pts[n-1].at.Sub(pts[0].at)
	if n < d.t.MinPoints || span < minSpan {
		return t, span, false
	}
	t, d.scratch = theilSen(pts, d.t.LoadTolerance, d.t.Z, d.scratch)
	var part float64 // that the load grew by; twice that is granted, since it is an estimate
	part, d.scratch = loadGrowth(pts, d.scratch)
	floor = max(floor, pts[0].v*d.t.MinShare/window.Minutes()) + 2*part*pts[0].v/span.Minutes()
	ok = t.matched >= d.t.MinMatched && t.slope*span.Minutes() >= d.t.MinSignal*t.spread && t.low >= floor && t.first >= d.t.MinFirst*t.slope && t.last >= d.t.MinLast*t.first
	if ok {
		for i := range s.buckets {
			if b := &s.buckets[i]; b.at.Add(d.t.Bucket).Before(pts[0].at) && b.v >= pts[n-1].v {
				return t, span, false
			}
		}
	}
	return t, span, ok
}
