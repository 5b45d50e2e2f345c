package sched

import "slices"

// PoolStats is a pool as it is now.
type PoolStats struct {
	Name     string
	Kinds    []KindStats
	Tenants  []TenantStats
	Queued   [priorities]int    // by Priority
	Begun    [priorities]uint64 // tasks that left their queue, by Priority
	Capacity int                // tasks that may wait
	Workers  int                // that live
	Busy     int                // that run tasks
	Limit    int                // that may live
	Blocked  uint64             // submissions that waited for room
	InCaller uint64             // tasks that their submitter ran
	Stolen   uint64             // tasks that an idle worker took from another
	Batches  uint64             // times that a worker took tasks from the queues
	Wakes    uint64
	Parks    uint64
	Spins    uint64
	SpinHits uint64
	StuckNow int
	Stalls   uint64
	Cut      uint64 // tasks that the end of the drain time left undone
}

// TenantStats is a tenant as it is now.
type TenantStats struct {
	Tenant   string
	Queued   int
	Begun    uint64
	Rejected uint64
}

// Stats describes the pool.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	s := PoolStats{Name: p.set.Name, Workers: len(p.workers), Busy: max(len(p.workers)-len(p.idle)-p.searching, 0), Limit: p.target,
		Capacity: len(p.tenants) * int(priorities) * p.set.Queue}
	for i := range p.levels {
		s.Queued[i], s.Begun[i] = p.levels[i].queued, p.levels[i].served
	}
	for _, t := range p.tenants {
		ts := TenantStats{Tenant: t.name, Begun: t.served.Load(), Rejected: t.rejects.Load()}
		for i := range t.queues {
			ts.Queued += t.queues[i].n
		}
		s.Tenants = append(s.Tenants, ts)
	}
	kinds := slices.Clone(p.kinds)
	p.mu.Unlock()
	for _, k := range kinds {
		s.Kinds = append(s.Kinds, k.stats())
	}
	c := &p.stat
	s.Blocked, s.InCaller, s.Stolen, s.Batches = c.blocked.Load(), c.inCaller.Load(), c.stolen.Load(), c.batches.Load()
	s.Wakes, s.Parks, s.Spins, s.SpinHits = c.wakes.Load(), c.parks.Load(), c.spins.Load(), c.spinHits.Load()
	s.StuckNow, s.Stalls, s.Cut = int(c.stuckNow.Load()), c.stuck.Load(), uint64(c.cut.Load())
	return s
}

// Pools describes the pools, in the order in which they were made.
func (s *Scheduler) Pools() (out []PoolStats) {
	pools, _ := s.parts()
	for _, p := range pools {
		out = append(out, p.Stats())
	}
	return out
}

// Lanes describes the lanes, in the order in which they were made.
func (s *Scheduler) Lanes() (out []LaneStats) {
	_, lanes := s.parts()
	for _, l := range lanes {
		out = append(out, l.Stats())
	}
	return out
}
