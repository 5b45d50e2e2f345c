package main

import (
	"strings"
	"time"
)

// poolFigure checks a metric of pools against what the API says of them: it adds
// up the size classes of a name, or tells them apart.
func poolFigure(name string, of func(*poolStats) float64, classes bool) (string, func(*check)) {
	return name, func(c *check) {
		names := map[string]bool{}
		for _, p := range c.outside[0].pools.Pools {
			if p.Leases == 0 { // what nobody uses has no series
				continue
			}
			labels := []string{"pool", p.Name}
			if classes {
				labels = append(labels, "class", p.Class)
			}
			if key := strings.Join(labels, " "); !names[key] {
				names[key] = true
				c.bracket(name, func(o *outside) (sum float64) {
					for i := range o.pools.Pools {
						if x := &o.pools.Pools[i]; x.Name == p.Name && (!classes || x.Class == p.Class) {
							sum += of(x)
						}
					}
					return sum
				}, labels...)
			}
		}
		if len(names) == 0 {
			c.Errorf("no pool is used")
		}
	}
}

var poolChecks = func() map[string]func(*check) {
	m := map[string]func(*check){}
	for _, f := range []struct {
		name    string
		of      func(*poolStats) float64
		classes bool
	}{
		{"pool_leases_total", func(p *poolStats) float64 { return p.Leases }, false},
		{"pool_hits_total", func(p *poolStats) float64 { return p.Hits }, false},
		{"pool_misses_total", func(p *poolStats) float64 { return p.Misses }, true},
		{"pool_returns_total", func(p *poolStats) float64 { return p.Returns }, false},
		{"pool_created_objects_total", func(p *poolStats) float64 { return p.Created }, false},
		{"pool_outstanding_leases", func(p *poolStats) float64 { return p.Outstanding }, true},
		{"pool_peak_outstanding_leases", func(p *poolStats) float64 { return p.Peak }, false},
		{"pool_capacity_objects", func(p *poolStats) float64 { return p.Capacity }, false},
		{"pool_live_objects", func(p *poolStats) float64 { return p.Live }, false},
		{"pool_idle_objects", func(p *poolStats) float64 { return p.Idle }, false},
		{"pool_idle_bytes", func(p *poolStats) float64 { return p.IdleBytes }, true},
		{"pool_depot_exchanges_total", func(p *poolStats) float64 { return p.Exchanges }, false},
		{"pool_traced_leases", func(p *poolStats) float64 { return p.Traced }, false},
		{"pool_wait_seconds", func(p *poolStats) float64 { return p.Waits }, false},
	} {
		name, check := poolFigure(f.name, f.of, f.classes)
		m[name] = check
	}
	byAPI := m["pool_leases_total"]
	m["pool_leases_total"] = func(c *check) {
		byAPI(c)
		// A buffer for each connection and for each answer, and a larger one where it is outgrown.
		n := opened + float64(c.venue.HTTP)
		c.between(c.end, n, 4*n, "pool_leases_total", "pool", "frames")
	}
	m["pool_destroyed_objects_total"] = func(c *check) {
		for _, x := range c.end.all("pool_destroyed_objects_total") {
			c.bracket("pool_destroyed_objects_total", func(o *outside) (sum float64) {
				for _, p := range o.pools.Pools {
					if p.Name == x.labels["pool"] {
						sum += p.Destroyed[x.labels["reason"]]
					}
				}
				return sum
			}, "pool", x.labels["pool"], "reason", x.labels["reason"])
		}
	}
	m["pool_reuse_ratio"] = func(c *check) {
		for _, x := range c.end.all("pool_reuse_ratio") {
			p := x.labels["pool"]
			leases, made := c.end.of("pool_leases_total", "pool", p), c.end.of("pool_created_objects_total", "pool", p)
			c.near(c.end, leases/max(made, 1), 1e-9, 0, "pool_reuse_ratio", "pool", p)
		}
	}
	m["pool_oldest_lease_seconds"] = func(c *check) {
		for _, x := range c.end.all("pool_oldest_lease_seconds") {
			p, high := x.labels["pool"], 0.0
			if c.end.of("pool_traced_leases", "pool", p) > 0 {
				high = time.Since(c.began).Seconds()
			}
			c.between(c.end, 0, high, "pool_oldest_lease_seconds", "pool", p)
		}
	}
	// No pool of the runtime's has a capacity, and nothing is lost or broken.
	for _, name := range []string{"pool_overflow_leases_total", "pool_refused_leases_total", "pool_oversize_leases_total", "pool_waiting_goroutines",
		"pool_leak_sites", "pool_lost_leases_total", "pool_misused_leases_total"} {
		m[name] = never(name)
	}
	return m
}()
