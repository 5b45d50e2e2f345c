package main

import (
	"path"

	"github.com/marketprism/marketprism/runtime/sched"
)

// schedPool checks a metric of the scheduler's pools against what the API says.
func schedPool(name, label string, each func(*sched.PoolStats) map[string]float64) func(*check) {
	return func(c *check) {
		for i, p := range c.outside[0].goroutines.Pools {
			for value := range each(&p) {
				labels := []string{"pool", p.Name}
				if label != "" {
					labels = append(labels, label, value)
				}
				c.bracket(name, func(o *outside) float64 { return each(&o.goroutines.Pools[i])[value] }, labels...)
			}
		}
	}
}

func one(n float64) map[string]float64 { return map[string]float64{"": n} }

// schedLane checks a metric of lanes against what the API says.
func schedLane(name string, of func(*sched.LaneStats) float64) func(*check) {
	return func(c *check) {
		for i, l := range c.outside[0].goroutines.Lanes {
			c.bracket(name, func(o *outside) float64 { return of(&o.goroutines.Lanes[i]) }, "lane", l.Name)
		}
	}
}

// tuners says that each tuner's value is at most so much a second: what tunes is
// tested with the tuner.
func tuners(name string, aSecond float64) func(*check) {
	return func(c *check) {
		for _, x := range c.end.all(name) {
			c.between(c.end, 0, aSecond*c.lastAt.Sub(c.began).Seconds(), name, "tuner", x.labels["tuner"])
		}
	}
}

var schedChecks = map[string]func(*check){
	"sched_goroutines": func(c *check) {
		c.bracket("sched_goroutines", func(o *outside) float64 { return float64(len(o.goroutines.Goroutines)) })
		c.between(c.end, 1, c.end.of("go_goroutines"), "sched_goroutines")
	},
	"sched_groups": func(c *check) {
		groups := map[string]bool{}
		for _, g := range c.outside[0].goroutines.Goroutines {
			groups[path.Dir(g.Path)] = true
		}
		c.between(c.end, float64(len(groups)), float64(len(groups))+20, "sched_groups") // some wait for none at this moment
	},
	"sched_goroutines_started_total": func(c *check) {
		c.between(c.calm, c.calm.of("sched_goroutines"), 5000, "sched_goroutines_started_total")
		c.between(c.end, c.calm.of("sched_goroutines_started_total"), 50_000, "sched_goroutines_started_total")
	},
	"sched_goroutines_failed_total": func(c *check) { c.equal(c.calm, 0, "sched_goroutines_failed_total") },
	"sched_goroutine_panics_total":  never("sched_goroutine_panics_total"),
	"sched_restarts_total": func(c *check) {
		n := 0.0
		for _, g := range c.outside[0].goroutines.Goroutines {
			n += float64(g.Restarts)
		}
		c.between(c.end, n, n+20, "sched_restarts_total") // and of those that have ended
	},
	"sched_restarts_given_up_total": never("sched_restarts_given_up_total"),
	"sched_goroutines_backing_off": func(c *check) {
		c.bracket("sched_goroutines_backing_off", func(o *outside) (n float64) {
			for _, g := range o.goroutines.Goroutines {
				if g.State == "backoff" {
					n++
				}
			}
			return n
		})
	},
	"sched_tasks_total": func(c *check) {
		for i, p := range c.outside[0].goroutines.Pools {
			for j, k := range p.Kinds {
				for o := range k.Outcomes {
					c.bracket("sched_tasks_total", func(x *outside) float64 { return float64(x.goroutines.Pools[i].Kinds[j].Outcomes[o]) },
						"pool", p.Name, "kind", k.Kind, "outcome", sched.Outcome(o).String())
				}
			}
		}
	},
	"sched_queue_tasks": schedPool("sched_queue_tasks", "priority", func(p *sched.PoolStats) map[string]float64 {
		m := map[string]float64{}
		for i, n := range p.Queued {
			m[sched.Priority(i).String()] = float64(n)
		}
		return m
	}),
	"sched_tasks_begun_total": schedPool("sched_tasks_begun_total", "priority", func(p *sched.PoolStats) map[string]float64 {
		m := map[string]float64{}
		for i, n := range p.Begun {
			m[sched.Priority(i).String()] = float64(n)
		}
		return m
	}),
	"sched_queue_capacity_tasks":   schedPool("sched_queue_capacity_tasks", "", func(p *sched.PoolStats) map[string]float64 { return one(float64(p.Capacity)) }),
	"sched_blocked_submits_total":  schedPool("sched_blocked_submits_total", "", func(p *sched.PoolStats) map[string]float64 { return one(float64(p.Blocked)) }),
	"sched_caller_runs_total":      schedPool("sched_caller_runs_total", "", func(p *sched.PoolStats) map[string]float64 { return one(float64(p.InCaller)) }),
	"sched_workers":                schedPool("sched_workers", "", func(p *sched.PoolStats) map[string]float64 { return one(float64(p.Workers)) }),
	"sched_workers_busy":           schedPool("sched_workers_busy", "", func(p *sched.PoolStats) map[string]float64 { return one(float64(p.Busy)) }),
	"sched_workers_limit":          schedPool("sched_workers_limit", "", func(p *sched.PoolStats) map[string]float64 { return one(float64(p.Limit)) }),
	"sched_stolen_tasks_total":     schedPool("sched_stolen_tasks_total", "", func(p *sched.PoolStats) map[string]float64 { return one(float64(p.Stolen)) }),
	"sched_batches_total":          schedPool("sched_batches_total", "", func(p *sched.PoolStats) map[string]float64 { return one(float64(p.Batches)) }),
	"sched_worker_wakes_total":     schedPool("sched_worker_wakes_total", "", func(p *sched.PoolStats) map[string]float64 { return one(float64(p.Wakes)) }),
	"sched_worker_parks_total":     schedPool("sched_worker_parks_total", "", func(p *sched.PoolStats) map[string]float64 { return one(float64(p.Parks)) }),
	"sched_worker_spins_total":     schedPool("sched_worker_spins_total", "", func(p *sched.PoolStats) map[string]float64 { return one(float64(p.Spins)) }),
	"sched_worker_spin_hits_total": schedPool("sched_worker_spin_hits_total", "", func(p *sched.PoolStats) map[string]float64 { return one(float64(p.SpinHits)) }),
	"sched_stuck_tasks":            schedPool("sched_stuck_tasks", "", func(p *sched.PoolStats) map[string]float64 { return one(float64(p.StuckNow)) }),
	"sched_stalls_total":           schedPool("sched_stalls_total", "", func(p *sched.PoolStats) map[string]float64 { return one(float64(p.Stalls)) }),
	"sched_drain_cut_tasks_total":  schedPool("sched_drain_cut_tasks_total", "", func(p *sched.PoolStats) map[string]float64 { return one(float64(p.Cut)) }),
	"sched_wait_seconds": schedPool("sched_wait_seconds", "kind", func(p *sched.PoolStats) map[string]float64 {
		m := map[string]float64{}
		for _, x := range p.Kinds {
			m[x.Kind] = float64(x.Wait.Count)
		}
		return m
	}),
	"sched_run_seconds": schedPool("sched_run_seconds", "kind", func(p *sched.PoolStats) map[string]float64 {
		m := map[string]float64{}
		for _, x := range p.Kinds {
			m[x.Kind] = float64(x.Run.Count)
		}
		return m
	}),
	"sched_tenant_tasks_total": schedPool("sched_tenant_tasks_total", "tenant", func(p *sched.PoolStats) map[string]float64 {
		m := map[string]float64{}
		for _, x := range p.Tenants {
			m[x.Tenant] = float64(x.Begun)
		}
		return m
	}),
	"sched_tenant_queue_tasks": schedPool("sched_tenant_queue_tasks", "tenant", func(p *sched.PoolStats) map[string]float64 {
		m := map[string]float64{}
		for _, x := range p.Tenants {
			m[x.Tenant] = float64(x.Queued)
		}
		return m
	}),
	"sched_rejected_tasks_total": schedPool("sched_rejected_tasks_total", "tenant", func(p *sched.PoolStats) map[string]float64 {
		m := map[string]float64{}
		for _, x := range p.Tenants {
			m[x.Tenant] = float64(x.Rejected)
		}
		return m
	}),
	"sched_lane_polls_total":          schedLane("sched_lane_polls_total", func(l *sched.LaneStats) float64 { return float64(l.Polls) }),
	"sched_lane_empty_polls_total":    schedLane("sched_lane_empty_polls_total", func(l *sched.LaneStats) float64 { return float64(l.Empty) }),
	"sched_lane_full_polls_total":     schedLane("sched_lane_full_polls_total", func(l *sched.LaneStats) float64 { return float64(l.Full) }),
	"sched_lane_taken_units_total":    schedLane("sched_lane_taken_units_total", func(l *sched.LaneStats) float64 { return float64(l.Taken) }),
	"sched_lane_spins_total":          schedLane("sched_lane_spins_total", func(l *sched.LaneStats) float64 { return float64(l.Spins) }),
	"sched_lane_spin_hits_total":      schedLane("sched_lane_spin_hits_total", func(l *sched.LaneStats) float64 { return float64(l.SpinHits) }),
	"sched_lane_parks_total":          schedLane("sched_lane_parks_total", func(l *sched.LaneStats) float64 { return float64(l.Parks) }),
	"sched_lane_parked_seconds_total": schedLane("sched_lane_parked_seconds_total", func(l *sched.LaneStats) float64 { return l.Parked.Seconds() }),
	"sched_lane_false_wakes_total":    schedLane("sched_lane_false_wakes_total", func(l *sched.LaneStats) float64 { return float64(l.FalseWakes) }),
	"sched_lane_damped_total":         schedLane("sched_lane_damped_total", func(l *sched.LaneStats) float64 { return float64(l.Damped) }),
	"sched_lane_batch_limit_units":    schedLane("sched_lane_batch_limit_units", func(l *sched.LaneStats) float64 { return float64(l.Budget) }),
	"sched_lane_running": schedLane("sched_lane_running", func(l *sched.LaneStats) float64 {
		if l.State == "stopped" {
			return 0
		}
		return 1
	}),
	"sched_lane_turn_seconds": func(c *check) {
		for _, x := range c.end.all("sched_lane_turn_seconds") {
			l := x.labels["lane"]
			c.between(c.end, 0, c.end.of("sched_lane_polls_total", "lane", l), "sched_lane_turn_seconds", "lane", l)
		}
	},
	"sched_lane_stuck":               func(c *check) { c.equal(c.end, 0, "sched_lane_stuck") },
	"sched_lane_stalls_total":        func(c *check) { c.equal(c.calm, 0, "sched_lane_stalls_total") },
	"sched_tuner_changes_total":      tuners("sched_tuner_changes_total", 20),
	"sched_tuner_load_changes_total": tuners("sched_tuner_load_changes_total", 20),
	"sched_tuner_pinned":             tuners("sched_tuner_pinned", 0), // no operator holds any
	"sched_timer_ticks_total": func(c *check) {
		// Whatever is periodic here comes at most every 10 ms, and is done by few.
		c.between(c.end, c.calm.of("sched_timer_ticks_total"), 500*c.lastAt.Sub(c.began).Seconds(), "sched_timer_ticks_total")
	},
	"sched_timer_skipped_total": func(c *check) { // syncs that take longer than their interval
		c.between(c.end, 0, 500*c.lastAt.Sub(c.began).Seconds(), "sched_timer_skipped_total")
	},
	"sched_timer_lateness_seconds": func(c *check) {
		c.equal(c.end, c.end.of("sched_timer_ticks_total"), "sched_timer_lateness_seconds")
	},
	"sched_drain_seconds": never("sched_drain_seconds"), // pools drain when the runtime ends
}
