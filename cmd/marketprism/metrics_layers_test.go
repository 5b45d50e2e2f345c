package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/engine"
	"github.com/marketprism/marketprism/runtime/memory"
	"github.com/marketprism/marketprism/runtime/sched"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
)

// outside is what others say of the runtime at one moment: the kernel, and its
// own API.
type outside struct {
	resident, anonymous, descriptors, descriptorsLimit float64
	plugins                                            map[string]float64 // resident bytes by name

	goroutines struct {
		Goroutines []sched.Status    `json:"goroutines"`
		Pools      []sched.PoolStats `json:"pools"`
		Lanes      []sched.LaneStats `json:"lanes"`
	}
	pools struct {
		Pools []poolStats `json:"pools"`
	}
	snapshot  memory.Snapshot
	snapshots []memory.Entry
}

// poolStats are what matters of pool.Stats.
type poolStats struct {
	Name, Class                             string
	Leases, Hits, Misses, Returns           float64
	Outstanding, Peak, Capacity, Live, Idle float64
	IdleBytes                               float64 `json:"idle_bytes"`
	Created                                 float64
	Destroyed                               map[string]float64
	Overflow, Refused, Waits, Waiting       float64
	Exchanges, Misused, Lost, Traced        float64
	Oldest                                  time.Time
}

// kernel reads what /proc says of a process.
func (o *outside) kernel(t *testing.T, pid int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/", pid)
	for line := range strings.Lines(text(t, dir+"status")) {
		name, rest, _ := strings.Cut(line, ":")
		switch name {
		case "VmRSS":
			o.resident = firstNumber(t, rest) * 1024
		case "RssAnon":
			o.anonymous = firstNumber(t, rest) * 1024
		}
	}
	for line := range strings.Lines(text(t, dir+"limits")) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			o.descriptorsLimit = firstNumber(t, rest)
		}
	}
	fds, err := os.ReadDir(dir + "fd")
	if err != nil {
		t.Fatal(err)
	}
	o.descriptors = float64(len(fds))
}

func firstNumber(t *testing.T, s string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(strings.Fields(s + " ?")[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const outsideAsks = 5

// outsideNow asks the kernel and the API.
func (r *metricsRun) outsideNow() (o outside) {
	r.t.Helper()
	asks := 0
	get := func(what string, to any) {
		r.t.Helper()
		asks++
		status, b := r.ask("GET", what)
		if err := json.Unmarshal(b, to); err != nil || status != http.StatusOK {
			r.t.Fatalf("%s: status %d, %v: %s", what, status, err, b)
		}
	}
	var s engine.Status
	get("/api/v1/status", &s)
	get("/api/v1/goroutines", &o.goroutines)
	get("/api/v1/pools", &o.pools)
	get("/api/v1/memory/snapshots", &o.snapshots)
	get("/api/v1/memory/snapshots/latest", &o.snapshot)
	if asks != outsideAsks {
		r.t.Errorf("%d requests", asks)
	}
	o.kernel(r.t, r.cmd.Process.Pid)
	o.plugins = map[string]float64{}
	plugin := func(name string, pid int) {
		var p outside
		p.kernel(r.t, pid)
		o.plugins[name] = p.resident
	}
	plugin(src, s.Feeds[0].Plugin.Pid)
	for _, k := range s.Sinks {
		plugin("sink/"+k.Name, k.Plugin.Pid)
	}
	return o
}

// near compares a value with what was read at another moment: apart by a part of
// it, or by a little.
func (c *check) near(at scrape, want, part, little float64, name string, labels ...string) {
	c.Helper()
	by := max(want*part, little)
	c.between(at, want-by, want+by, name, labels...)
}

// bracket compares a value with what the API said before and behind the scrape.
func (c *check) bracket(name string, of func(*outside) float64, labels ...string) {
	c.Helper()
	a, b := of(&c.outside[0]), of(&c.outside[1])
	c.between(c.end, min(a, b), max(a, b), name, labels...)
}

var reloadChecks = map[string]func(*check){
	"runtime_reloads_total": func(c *check) {
		c.equal(c.before, 0, "runtime_reloads_total")
		for result, n := range map[string]float64{"unchanged": 1, "invalid": 1, "applied": 0, "failed": 0} {
			c.equal(c.end, n, "runtime_reloads_total", "result", result)
		}
		c.equal(c.again, 0, "runtime_reloads_total")
	},
	"runtime_last_reload_success_timestamp_seconds": func(c *check) {
		if len(c.before.all("runtime_last_reload_success_timestamp_seconds")) != 0 {
			c.Error("it is there before the first reload")
		}
		c.between(c.end, stamp(c.looked), stamp(c.reloaded), "runtime_last_reload_success_timestamp_seconds")
	},
}

var adminChecks = map[string]func(*check){
	"admin_requests_total": func(c *check) {
		// What look asked; the scrapes and the status requests are counted by the
		// run itself, which is the only one that asks.
		for _, w := range []struct {
			route, code string
			n           float64
		}{{"health", "2xx", 2}, {"other", "4xx", 1}, {"pprof", "4xx", 1}, {"reload", "2xx", 1}, {"reload", "4xx", 1}, {"api", "4xx", 2}, {"api", "2xx", snapshotsAsked + outsideAsks}} {
			by := c.end.of("admin_requests_total", "route", w.route, "code", w.code) - c.before.of("admin_requests_total", "route", w.route, "code", w.code)
			if by != w.n {
				c.Errorf("%s %s: %v more, look asked %v times", w.route, w.code, by, w.n)
			}
		}
		// This scrape is not counted in itself; before is.
		c.equal(c.end, c.scrapes-1, "admin_requests_total", "route", "metrics", "code", "2xx")
		for _, code := range []string{"3xx", "5xx"} {
			c.equal(c.end, 0, "admin_requests_total", "code", code)
		}
		c.equal(c.end, 0, "admin_requests_total", "route", "metrics", "code", "4xx")
	},
	"admin_refused_total": func(c *check) {
		c.equal(c.before, 0, "admin_refused_total")
		c.equal(c.end, 1, "admin_refused_total", "reason", "host")
		c.equal(c.end, 0, "admin_refused_total", "reason", "token") // there is none in this run
	},
}

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

// entries counts what the venue's ledger holds of a kind up to the end.
func (r *metricsRun) entries(k emulator.EntryKind) (n float64) {
	for _, e := range r.ledger {
		if e.Kind == k {
			n++
		}
	}
	return n
}

// repeated are the messages of a channel that the venue sent more than once: by
// a fault, and while two connections had the same subscriptions.
func (r *metricsRun) repeated(ch emulator.Channel) (n float64) {
	type key struct {
		symbol uint16
		seq    int64
	}
	seen := map[key]bool{}
	for _, e := range r.ledger {
		if e.Kind != emulator.EntryFrame || e.Channel != ch || e.Flags&emulator.FlagWithheld != 0 {
			continue
		}
		k := key{e.Symbol, e.Seq}
		if seen[k] {
			n++
		}
		seen[k] = true
	}
	return n
}

// Connections of the run: the first, the one that took over when the venue said
// that it would close, and the one after the disconnect.
const (
	opened      = 3
	limitedOnce = 1
)

var connChecks = map[string]func(*check){
	"conn_open": func(c *check) {
		for _, s := range []scrape{c.calm, c.replaced, c.end, c.again} {
			c.equal(s, 1, "conn_open", "state", "live")
			c.equal(s, 1, "conn_open")
		}
	},
	"conn_opens_total": func(c *check) {
		c.equal(c.calm, 1, "conn_opens_total")
		c.equal(c.replaced, 2, "conn_opens_total")
		c.equal(c.end, opened, "conn_opens_total")
		c.equal(c.end, c.entries(emulator.EntryOpen), "conn_opens_total")
	},
	"conn_closes_total": func(c *check) {
		c.equal(c.calm, 0, "conn_closes_total")
		c.equal(c.end, 1, "conn_closes_total", "reason", "replaced")
		c.equal(c.end, 1, "conn_closes_total", "reason", "network")
		c.equal(c.end, c.entries(emulator.EntryClose), "conn_closes_total")
	},
	"conn_connect_errors_total": func(c *check) {
		c.equal(c.calm, 0, "conn_connect_errors_total")
		c.equal(c.end, 1, "conn_connect_errors_total", "reason", "status")
		c.equal(c.end, 1, "conn_connect_errors_total")
	},
	"conn_connect_seconds": func(c *check) {
		c.equal(c.end, opened, "conn_connect_seconds")
		c.mean(c.end, 1e-5, 5, "conn_connect_seconds")
	},
	"conn_pong_rtt_seconds": func(c *check) {
		// Every connection is asked once it is up, and every 15 s.
		c.between(c.end, 2, opened+c.lastAt.Sub(c.began).Seconds()/10, "conn_pong_rtt_seconds")
		c.mean(c.end, 1e-6, 5, "conn_pong_rtt_seconds")
	},
	"conn_replacements_total": func(c *check) {
		c.equal(c.calm, 0, "conn_replacements_total")
		c.equal(c.end, 1, "conn_replacements_total", "reason", "venue")
		c.equal(c.end, 1, "conn_replacements_total")
		// Make before break: nothing is lost by it.
		c.equal(c.replaced, 0, "flow_gaps_total")
	},
	"conn_failovers_total":         never("conn_failovers_total"), // there is one endpoint
	"conn_standby_takeovers_total": never("conn_standby_takeovers_total"),
	"conn_standby_ready":           never("conn_standby_ready"), // none is asked for
	"conn_admission_waiting":       never("conn_admission_waiting"),
	"conn_admission_wait_seconds": func(c *check) {
		c.equal(c.end, opened+1, "conn_admission_wait_seconds") // each dial, the refused one as well
		c.mean(c.end, 0, 10, "conn_admission_wait_seconds")
	},
	// These take a minute at least; tests of the package have them.
	"conn_stale_total":              never("conn_stale_total"),
	"conn_heartbeat_timeouts_total": never("conn_heartbeat_timeouts_total"),
	"conn_degraded_total":           never("conn_degraded_total"),
	"conn_rejected_total":           never("conn_rejected_total"),
	"conn_ack_timeouts_total":       func(c *check) { c.equal(c.calm, 0, "conn_ack_timeouts_total") }, // a plugin that stands still acknowledges nothing
	"conn_resubscribes_total":       never("conn_resubscribes_total"),                                 // this venue's books are mended by a request
	"conn_frames_total": func(c *check) {
		c.equal(c.calm, float64(framesSent(c.sent)), "conn_frames_total")
		texts, _ := inputs(c.first("frames", c.end.of("journal_records_total", "journal", "frames")))
		c.equal(c.end, texts, "conn_frames_total")
	},
	"conn_bytes_total": func(c *check) {
		n := 0.0
		for _, e := range c.sent {
			if e.Kind == emulator.EntryFrame && e.Flags&emulator.FlagWithheld == 0 {
				n += float64(e.Size)
			}
		}
		c.equal(c.calm, n, "conn_bytes_total")
	},
	"conn_refused_frames_total": never("conn_refused_frames_total"),
	"conn_bursts_total": func(c *check) {
		// A wake-up yields more than one frame at this rate, and some windows of 4 ms pass.
		c.between(c.end, c.end.of("conn_frames_total")/100, c.end.of("conn_frames_total"), "conn_bursts_total")
	},
	"conn_signals_dropped_total": never("conn_signals_dropped_total"),
	"conn_rotation_seconds": func(c *check) { // 24 h are the venue's; it is replaced before
		c.between(c.end, 20*3600, 24*3600, "conn_rotation_seconds")
	},
	"conn_data_age_seconds": func(c *check) {
		// Settled: what the API says of the connection a moment later is as old.
		c.near(c.end, c.lastAt.Sub(c.last.Feeds[0].Connections[0].LastData).Seconds(), 0, 2, "conn_data_age_seconds")
	},
	"conn_http_requests_total": func(c *check) {
		c.equal(c.end, limitedOnce, "conn_http_requests_total", "outcome", "rate_limited", "purpose", "snapshot")
		c.equal(c.end, float64(c.venue.HTTP)-limitedOnce, "conn_http_requests_total", "outcome", "ok")
		c.equal(c.end, float64(c.venue.HTTP), "conn_http_requests_total")
		c.equal(c.calm, 2, "conn_http_requests_total", "purpose", "snapshot") // one each book
	},
	"conn_http_request_seconds": func(c *check) {
		c.equal(c.end, float64(c.venue.HTTP), "conn_http_request_seconds")
		c.mean(c.end, 1e-5, 5, "conn_http_request_seconds", "purpose", "snapshot")
	},
	"conn_http_queue_seconds": func(c *check) {
		c.equal(c.end, float64(c.venue.HTTP), "conn_http_queue_seconds")
		// The one that came again had to wait for as long as the venue wanted.
		if waited := c.end.sum("conn_http_queue_seconds") - c.replaced.sum("conn_http_queue_seconds"); waited < limitedFor-0.5 || waited > 4*limitedFor {
			c.Errorf("requests stood in line for %v s, the venue wanted %v s of silence", waited, limitedFor)
		}
	},
	"conn_http_in_flight_requests":  never("conn_http_in_flight_requests"),
	"conn_http_polls_skipped_total": never("conn_http_polls_skipped_total"),
	"conn_http_body_bytes_total": func(c *check) {
		n := 0.0
		for _, e := range c.ledger {
			if e.Kind == emulator.EntryHTTP {
				n += float64(e.Size)
			}
		}
		// The answer to the refused handshake is in the ledger, and no request's.
		c.near(c.end, n, 0, 200, "conn_http_body_bytes_total")
	},
	"conn_http_connections_opened_total": func(c *check) {
		c.between(c.end, 1, 6, "conn_http_connections_opened_total") // at most one for each request that is under way
	},
	"conn_http_sent_total": func(c *check) {
		c.equal(c.end, float64(c.venue.HTTP), "conn_http_sent_total", "egress", "direct")
	},
	"conn_http_reused_total": func(c *check) {
		c.equal(c.end, c.end.of("conn_http_sent_total")-c.end.of("conn_http_connections_opened_total"), "conn_http_reused_total")
	},
	"conn_http_repeated_total": never("conn_http_repeated_total"),
	"conn_http_open_connections": func(c *check) {
		c.between(c.end, 1, c.end.of("conn_http_connections_opened_total"), "conn_http_open_connections", "protocol", "http1")
		c.equal(c.end, 0, "conn_http_open_connections", "protocol", "http2")
	},
	"conn_weight_used": func(c *check) {
		const snapshotWeight = 5 // of 100 levels, as the venue counts
		const historyWeight = 25
		c.equal(c.calm, 2*snapshotWeight, "conn_weight_used", "budget", "weight")
		c.between(c.end, 0, snapshotWeight*float64(c.venue.HTTP)+historyWeight*c.end.of("conn_http_requests_total", "purpose", "history"), "conn_weight_used", "budget", "weight")
		c.equal(c.calm, 1, "conn_weight_used", "budget", "connects")
		c.equal(c.end, opened+1, "conn_weight_used", "budget", "connects") // in five minutes
	},
	"conn_weight_limit": func(c *check) {
		c.equal(c.end, 6000, "conn_weight_limit", "budget", "weight") // as the venue says
		c.equal(c.end, 300, "conn_weight_limit", "budget", "connects")
	},
	"conn_gate_closed_seconds": func(c *check) {
		c.equal(c.calm, 0, "conn_gate_closed_seconds")
		c.between(c.limited, 1e-3, limitedFor+0.5, "conn_gate_closed_seconds", "egress", "direct")
		c.equal(c.end, 0, "conn_gate_closed_seconds")
	},
	"conn_rate_limited_total": func(c *check) {
		c.equal(c.calm, 0, "conn_rate_limited_total")
		c.equal(c.end, limitedOnce, "conn_rate_limited_total", "egress", "direct")
	},
	"conn_breaker_state":       never("conn_breaker_state"),
	"conn_breaker_opens_total": never("conn_breaker_opens_total"),
	"conn_egress_websockets":   func(c *check) { c.equal(c.end, 1, "conn_egress_websockets", "egress", "direct") },
	"conn_egress_refused":      never("conn_egress_refused"),
}

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

// absent says whether a metric has no value since what it is of isn't there: the
// API says that there is none.
func (r *metricsRun) absent(name string) bool {
	if selectionChecks[name] != nil {
		return true
	}
	g := &r.outside[0].goroutines
	for _, d := range sched.Descs() {
		if d.Name != "marketprism_"+name {
			continue
		}
		switch first := append(d.Labels, "")[0]; first {
		case "pool":
			return len(g.Pools) == 0
		case "lane":
			return len(g.Lanes) == 0
		case "tuner":
			return len(g.Pools)+len(g.Lanes) == 0
		}
	}
	return name == "memory_exhaustion_seconds" // nothing leaks
}
