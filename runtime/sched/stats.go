package sched

import "slices"

// PoolStats is a pool as it is now.
type PoolStats struct {
	Name     string             `json:"name"`
	Kinds    []KindStats        `json:"kinds"`
	Tenants  []TenantStats      `json:"tenants"`
	Queued   [priorities]int    `json:"queued"`    // by Priority
	Begun    [priorities]uint64 `json:"begun"`     // tasks that left their queue, by Priority
	Capacity int                `json:"capacity"`  // tasks that may wait
	Workers  int                `json:"workers"`   // that live
	Busy     int                `json:"busy"`      // that run tasks
	Limit    int                `json:"limit"`     // that may live
	Blocked  uint64             `json:"blocked"`   // submissions that waited for room
	InCaller uint64             `json:"in_caller"` // tasks that their submitter ran
	Stolen   uint64             `json:"stolen"`    // tasks that an idle worker took from another
	Batches  uint64             `json:"batches"`   // times that a worker took tasks from the queues
	Wakes    uint64             `json:"wakes"`
	Parks    uint64             `json:"parks"`
	Spins    uint64             `json:"spins"`
	SpinHits uint64             `json:"spin_hits"`
	StuckNow int                `json:"stuck_now"`
	Stalls   uint64             `json:"stalls"`
	Cut      uint64             `json:"cut"` // tasks that the end of the drain time left undone
}

// TenantStats is a tenant as it is now.
type TenantStats struct {
	Tenant   string `json:"tenant"`
	Queued   int    `json:"queued"`
	Begun    uint64 `json:"begun"`
	Rejected uint64 `json:"rejected"`
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
