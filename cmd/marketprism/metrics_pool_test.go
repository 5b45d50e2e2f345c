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
		// A batch for each turn of the lane, one for each checkpoint, one for each tick
		// of the processor, and one for each book that waits; a message for each tick, and for each book in a
		// checkpoint but the first one, which has none.
		turns, written, ticks := c.end.of("sched_lane_polls_total", "lane", metricsFeed), c.end.of("checkpoint_writes_total"), c.lastAt.Sub(c.began).Seconds()
		snapshots := c.end.of("flow_records_total", "feed", metricsFeed, "kind", "book_snapshot")
		waits := snapshots + c.end.of("book_resyncs_total") // of books for their snapshots
		c.between(c.end, turns+written, turns+written+ticks+waits+1, "pool_leases_total", "pool", "batches")
		c.between(c.end, 2*(written-1)+1, 2*written+ticks+1, "pool_leases_total", "pool", "books")
		// Both sides of both books begin anew with each snapshot, which is what comes
		// compressed.
		c.between(c.end, 4*snapshots, 1e5*snapshots, "pool_leases_total", "pool", "levels")
		c.between(c.end, snapshots, float64(c.venue.HTTP), "pool_leases_total", "pool", "inflaters")
	}
	outstanding := m["pool_outstanding_leases"]
	m["pool_outstanding_leases"] = func(c *check) {
		outstanding(c)
		// The levels of two synchronised books are leased; the rest is for a moment.
		levels := 0
		for _, symbol := range []string{"BTCUSDT", "ETHUSDT"} {
			b, err := c.emu.Book(symbol, 0)
			if err != nil {
				c.Fatal(err)
			}
			levels += len(b.Bids) + len(b.Asks)
		}
		c.between(c.end, 4, float64(levels), "pool_outstanding_leases", "pool", "levels", "class", "")
		for _, name := range []string{"batches", "books", "inflaters"} {
			c.between(c.end, 0, 1, "pool_outstanding_leases", "pool", name, "class", "")
		}
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
