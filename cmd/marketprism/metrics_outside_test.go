package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/engine"
	"github.com/marketprism/marketprism/runtime/memory"
	"github.com/marketprism/marketprism/runtime/sched"
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
