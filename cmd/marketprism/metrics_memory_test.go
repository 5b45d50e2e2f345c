package main

import (
	"os"
	"path/filepath"

	"github.com/marketprism/marketprism/runtime/memory"
)

var memoryChecks = map[string]func(*check){
	"memory_resident_bytes": func(c *check) {
		for _, o := range c.outside {
			c.near(c.end, o.resident, 0.25, 16<<20, "memory_resident_bytes", "process", "runtime")
		}
		for name, n := range c.outside[0].plugins {
			c.near(c.end, n, 0.25, 16<<20, "memory_resident_bytes", "process", name)
		}
		if n := len(c.end.all("memory_resident_bytes")); n != 4 || len(c.outside[0].plugins) != 3 {
			c.Errorf("%d processes", n)
		}
	},
	"memory_anonymous_bytes": func(c *check) {
		for _, o := range c.outside {
			c.near(c.end, o.anonymous, 0.25, 16<<20, "memory_anonymous_bytes", "process", "runtime")
		}
		for _, x := range c.end.all("memory_anonymous_bytes") {
			p := x.labels["process"]
			c.between(c.end, 1<<20, c.end.of("memory_resident_bytes", "process", p), "memory_anonymous_bytes", "process", p)
		}
	},
	"memory_heap_live_bytes": func(c *check) {
		// The Go runtime's own figures, read by another library in the same scrape.
		c.between(c.end, 1<<20, c.end.of("go_memstats_heap_sys_bytes"), "memory_heap_live_bytes", "process", "runtime")
		c.near(c.end, float64(c.outside[0].snapshot.Go.Live), 0.5, 8<<20, "memory_heap_live_bytes", "process", "runtime")
		for name, n := range c.outside[0].plugins {
			c.between(c.end, 64<<10, n, "memory_heap_live_bytes", "process", name)
		}
	},
	"memory_goroutines": func(c *check) {
		c.near(c.end, c.end.of("go_goroutines"), 0.2, 10, "memory_goroutines", "process", "runtime")
		stacks := 0
		for _, s := range c.outside[0].snapshot.Goroutines {
			stacks += s.Count
		}
		c.near(c.end, float64(stacks), 0.2, 10, "memory_goroutines", "process", "runtime")
		for name := range c.outside[0].plugins {
			c.between(c.end, 2, 200, "memory_goroutines", "process", name)
		}
	},
	"memory_subsystem_bytes": func(c *check) {
		// Live objects at the last collection, as sampled; all together are about the live heap.
		live := c.end.of("memory_heap_live_bytes", "process", "runtime")
		c.between(c.end, live/4, 2*live, "memory_subsystem_bytes")
		if n := len(c.end.all("memory_subsystem_bytes")); n < 5 || n > 17 {
			c.Errorf("%d subsystems", n)
		}
	},
	"memory_heap_goal_bytes": func(c *check) {
		live := c.end.of("memory_heap_live_bytes", "process", "runtime")
		c.between(c.end, live, memoryLimit, "memory_heap_goal_bytes")
		c.near(c.end, c.end.of("go_memstats_next_gc_bytes"), 0.5, 8<<20, "memory_heap_goal_bytes")
	},
	"memory_limit_bytes": func(c *check) { c.equal(c.end, memoryLimit, "memory_limit_bytes") },
	"memory_headroom_bytes": func(c *check) {
		// What Go holds is below the limit; the machine or a control group may have less.
		c.between(c.end, 1, memoryLimit-c.end.of("memory_heap_live_bytes", "process", "runtime"), "memory_headroom_bytes")
	},
	"memory_gc_cpu_ratio": func(c *check) {
		c.between(c.end, 1e-6, 0.5, "memory_gc_cpu_ratio")
		if n := c.end.of("go_gc_duration_seconds_count"); n < 2 {
			c.Errorf("%v collections", n)
		}
	},
	"memory_mapped_bytes": func(c *check) {
		c.between(c.end, c.end.of("memory_heap_live_bytes", "process", "runtime"), 2*memoryLimit, "memory_mapped_bytes", "kind", "go")
		c.near(c.end, float64(c.outside[0].snapshot.Go.Total), 0.25, 8<<20, "memory_mapped_bytes", "kind", "go")
		exe, err := os.Stat("/proc/self/exe") // the same program
		if err != nil {
			c.Fatal(err)
		}
		c.between(c.end, float64(exe.Size())/8, 2*float64(exe.Size()), "memory_mapped_bytes", "kind", "binary")
		c.between(c.end, 1<<20, 1<<28, "memory_mapped_bytes", "kind", "memfd") // the rings that it shares with plugins
	},
	"memory_descriptors": func(c *check) {
		for _, o := range c.outside {
			c.near(c.end, o.descriptors, 0, 12, "memory_descriptors") // reading them takes some, and so does a scrape
		}
		c.between(c.end, 3, 40, "memory_descriptors", "kind", "journal")
		c.between(c.end, 2, 40, "memory_descriptors", "kind", "socket") // the venue's, and the admin server's
	},
	"memory_descriptors_limit": func(c *check) {
		c.equal(c.end, c.outside[0].descriptorsLimit, "memory_descriptors_limit")
	},
	"memory_snapshots_total": func(c *check) {
		c.equal(c.before, 0, "memory_snapshots_total", "reason", "request")
		c.equal(c.end, snapshotsAsked, "memory_snapshots_total", "reason", "request")
		c.between(c.end, 1, 2, "memory_snapshots_total", "reason", "interval") // one at the start
		c.equal(c.end, 0, "memory_snapshots_total", "reason", "leak")
		c.equal(c.end, float64(len(c.outside[1].snapshots)), "memory_snapshots_total")
	},
	"memory_history_bytes": func(c *check) {
		c.bracket("memory_history_bytes", func(o *outside) (n float64) {
			for _, e := range o.snapshots {
				n += float64(e.Bytes)
			}
			return n
		})
		files, err := filepath.Glob(filepath.Join(c.dir, "data/memory/*.json.gz"))
		if err != nil || len(files) < snapshotsAsked+1 {
			c.Errorf("%d files: %v", len(files), err)
		}
	},
	// Planted leaks are found in tests of the package.
	"memory_leaks":                   func(c *check) { c.equal(c.end, 0, "memory_leaks") },
	"memory_leaks_found_total":       never("memory_leaks_found_total"),
	"memory_growth_bytes_per_minute": func(c *check) { c.equal(c.end, 0, "memory_growth_bytes_per_minute") },
	"memory_exhaustion_seconds": func(c *check) {
		if len(c.end.all("memory_exhaustion_seconds")) != 0 {
			c.Error("it is there though nothing leaks")
		}
	},
	"memory_plugins_silent": func(c *check) {
		c.equal(c.end, 0, "memory_plugins_silent")
		c.equal(c.silent, 1, "memory_plugins_silent") // the one that was stopped
	},
	"memory_samples_total": func(c *check) {
		lived := c.lastAt.Sub(c.began).Seconds()
		c.between(c.end, 3, lived*memoryScale/memory.Defaults().Interval.Seconds()+1, "memory_samples_total")
		c.between(c.again, 0, c.end.of("memory_samples_total"), "memory_samples_total")
	},
	"memory_sample_cpu_seconds_total": func(c *check) {
		n := c.end.of("memory_samples_total")
		c.between(c.end, 1e-4*n, 0.25*n, "memory_sample_cpu_seconds_total")
		c.between(c.end, 0, c.end.of("process_cpu_seconds_total"), "memory_sample_cpu_seconds_total")
	},
}
