package pool

import (
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

var layer = telemetry.NewLayer("pool")

var (
	mLeases    = layer.Counter(telemetry.Pays, "leases_total", "Objects leased. Its rate is the work that the pool takes from the allocator; one that falls to 0 says that its user stands still.", "pool")
	mHits      = layer.Counter(telemetry.Pays, "hits_total", "Leases that found an object. Below 99.9 % of leases in steady state, raise what the pool keeps (its idle bound), or look for leaks.", "pool")
	mMisses    = layer.Counter(telemetry.Pays, "misses_total", "Leases for which an object had to be made. A steady rate says that too few are kept or that leases are not returned.", "pool", "class")
	mReturns   = layer.Counter(telemetry.RunsOut, "returns_total", "Objects returned. A rate that stays below that of leases is a leak: see the lease sites in the memory report.", "pool")
	mCreated   = layer.Counter(telemetry.Pays, "created_objects_total", "Objects made, ahead or on demand, or taken over from another size class. When it grows with the load, objects are given up too early: see the reasons of those destroyed.", "pool")
	mDestroyed = layer.Counter(telemetry.Changed, "destroyed_objects_total", "Objects given up, by reason: invalid, worn and aged by their life cycle, large and full by the bounds on what is kept, surplus beyond the capacity, trimmed when idle. Much of full asks for a higher idle bound; invalid says that somebody breaks objects.", "pool", "reason")

	mOutstanding = layer.Gauge(telemetry.RunsOut, "outstanding_leases", "Objects leased now. Growth without more load is a leak; at the capacity, leases overflow, are refused or wait.", "pool", "class")
	mPeak        = layer.Gauge(telemetry.RunsOut, "peak_outstanding_leases", "The most objects leased at a time since the start, each size class at its own time. It is what a capacity should leave room for.", "pool")
	mCapacity    = layer.Gauge(telemetry.RunsOut, "capacity_objects", "Objects that may exist; 0 says that there is no bound. Compare it with those outstanding.", "pool")
	mLive        = layer.Gauge(telemetry.RunsOut, "live_objects", "Objects that exist, leased and idle. Many more than the peak of leases says that trimming is not called.", "pool")
	mIdle        = layer.Gauge(telemetry.Pays, "idle_objects", "Objects that wait for a lease. None for long says that leases are about to miss.", "pool")
	mIdleBytes   = layer.Gauge(telemetry.RunsOut, "idle_bytes", "Memory of idle objects. Large beside what is outstanding, it is memory that a lower idle bound gives back.", "pool", "class")

	mOverflow = layer.Counter(telemetry.RunsOut, "overflow_leases_total", "Leases beyond the capacity, served by the allocator. Raise the capacity, or find who holds leases for long.", "pool")
	mRefused  = layer.Counter(telemetry.Complete, "refused_leases_total", "Leases that were refused, or that waited until their caller gave up. What they were for was not done.", "pool")
	mOversize = layer.Counter(telemetry.Pays, "oversize_leases_total", "Requests beyond the largest size class, served by the allocator. Many of them ask for a larger class.", "pool")
	mWait     = layer.Histogram(telemetry.Late, "wait_seconds", "Time that leases waited at the capacity of a pool that blocks. It adds to the latency of what they are for: raise the capacity.", "pool")
	mWaiting  = layer.Gauge(telemetry.Late, "waiting_goroutines", "Goroutines that wait for a lease now. One that stays is stuck behind a leak: see the oldest lease.", "pool")

	mReuse     = layer.Gauge(telemetry.Pays, "reuse_ratio", "Leases that an object serves before it is given up, on average since the start. Near 1 the pool does nothing that the allocator would not.", "pool")
	mExchanges = layer.Counter(telemetry.Pays, "depot_exchanges_total", "Times that a processor's magazine was filled from, or emptied into, what all share. More than one in eight leases says that objects are leased on one processor and returned on another.", "pool")

	mOldest  = layer.Gauge(telemetry.RunsOut, "oldest_lease_seconds", "Age of the oldest traced lease. Growing without end, it is a leak or a stuck user: the pool's report has its stack.", "pool")
	mTraced  = layer.Gauge(telemetry.RunsOut, "traced_leases", "Leases outstanding whose stack is known. 0 with leases outstanding says that no site can be named yet.", "pool")
	mSites   = layer.Gauge(telemetry.Changed, "leak_sites", "Places in the code whose traced leases were dropped without a return. Any is a defect: the pool's report has the stacks.", "pool")
	mLost    = layer.Counter(telemetry.RunsOut, "lost_leases_total", "Traced leases whose object the garbage collector found dropped. Each stands for as many leases as are sampled; none is right.", "pool")
	mMisused = layer.Counter(telemetry.Complete, "misused_leases_total", "Objects returned twice, which was refused. Data may have been overwritten: run the invariants build to find who.", "pool")
)

// Descs are the package's metrics.
func Descs() []*telemetry.Desc { return layer.Metrics() }

// Report emits the figures of all pools. Those of one name are added up; where a
// metric has the size class, each is told apart.
func (r *Registry) Report(e *telemetry.Emitter) {
	now := time.Now()
	var all []seen
	for _, m := range r.all() {
		// A size class that nobody has used yet has no series.
		if s := m.Stats(); s.Leases+s.Created+s.Refused > 0 {
			all = append(all, seen{s, m})
		}
	}
	slices.SortStableFunc(all, func(a, b seen) int { return strings.Compare(a.Name, b.Name) })
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Name == all[0].Name {
			n++
		}
		report(e, all[:n], now)
		all = all[n:]
	}
}

type seen struct {
	Stats
	m member
}

func report(e *telemetry.Emitter, pools []seen, now time.Time) {
	var s Stats
	wait := new(telemetry.Snapshot)
	var oversize uint64
	sites := 0
	type figures struct {
		misses             uint64
		outstanding, bytes int
	}
	classes := map[string]figures{}
	var order []string
	for i := range pools {
		p := &pools[i]
		c, known := classes[p.Class]
		if !known {
			order = append(order, p.Class)
		}
		c.misses += p.Misses
		c.outstanding += p.Outstanding
		c.bytes += p.IdleBytes
		classes[p.Class] = c
		s.Leases += p.Leases
		s.Hits += p.Hits
		s.Returns += p.Returns
		s.Created += p.Created
		s.Peak += p.Peak
		s.Capacity += p.Capacity
		s.Live += p.Live
		s.Idle += p.Idle
		s.Overflow += p.Overflow
		s.Refused += p.Refused
		s.Waiting += p.Waiting
		s.Exchanges += p.Exchanges
		s.Traced += p.Traced
		s.Lost += p.Lost
		s.Misused += p.Misused
		for r, n := range p.Destroyed {
			s.Destroyed[r] += n
		}
		if p.Class == Oversize {
			oversize += p.Leases
		}
		for _, t := range p.Sites {
			if t.Lost > 0 {
				sites++
			}
		}
		if !p.Oldest.IsZero() && (s.Oldest.IsZero() || p.Oldest.Before(s.Oldest)) {
			s.Oldest = p.Oldest
		}
		p.m.addWaits(wait)
	}
	name := pools[0].Name
	for _, class := range order {
		c := classes[class]
		e.Count(mMisses, c.misses, name, class)
		e.Value(mOutstanding, float64(c.outstanding), name, class)
		e.Value(mIdleBytes, float64(c.bytes), name, class)
	}
	for r, n := range s.Destroyed {
		e.Count(mDestroyed, n, name, Reason(r).String())
	}
	e.Count(mLeases, s.Leases, name)
	e.Count(mHits, s.Hits, name)
	e.Count(mReturns, s.Returns, name)
	e.Count(mCreated, s.Created, name)
	e.Value(mPeak, float64(s.Peak), name)
	e.Value(mCapacity, float64(s.Capacity), name)
	e.Value(mLive, float64(s.Live), name)
	e.Value(mIdle, float64(s.Idle), name)
	e.Count(mOverflow, s.Overflow, name)
	e.Count(mRefused, s.Refused, name)
	e.Count(mOversize, oversize, name)
	e.Histogram(mWait, wait, name)
	e.Value(mWaiting, float64(s.Waiting), name)
	e.Value(mReuse, s.Reuse(), name)
	e.Count(mExchanges, s.Exchanges, name)
	age := 0.0
	if !s.Oldest.IsZero() {
		age = now.Sub(s.Oldest).Seconds()
	}
	e.Value(mOldest, age, name)
	e.Value(mTraced, float64(s.Traced), name)
	e.Value(mSites, float64(sites), name)
	e.Count(mLost, s.Lost, name)
	e.Count(mMisused, s.Misused, name)
}
