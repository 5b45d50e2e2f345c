package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/plugins/sink/null"
	"github.com/marketprism/marketprism/runtime/engine"
)

// scenario is one end-to-end measurement.
type scenario struct {
	Rate    float64 `json:"rate"` // messages/s; 0: as many as are read
	Latency string  `json:"latency"`
	Sync    string  `json:"sync"`

	scrape time.Duration // between two scrapes of the metrics; 0: nobody scrapes
}

// e2eResult is what a scenario gave. CPU is that of all our processes, the
// simulator's apart.
type e2eResult struct {
	scenario
	Messages   int64        `json:"messages"`
	PerSecond  float64      `json:"messages_per_second"`
	CPU        float64      `json:"cpu_us_per_message"`
	SimCPU     float64      `json:"simulator_cpu_us_per_message"`
	Allocs     float64      `json:"runtime_allocs_per_message"`
	Processes  []e2eProcess `json:"processes"`
	FromSocket null.Latency `json:"from_socket"`
	FromVenue  null.Latency `json:"from_venue"`
	Gaps       int64        `json:"gaps"`
}

type e2eProcess struct {
	Name    string  `json:"name"`
	CPU     float64 `json:"cpu_us_per_message"`
	Wakeups float64 `json:"wakeups_per_second"`
	AnonMiB float64 `json:"anonymous_mib"`
	FileMiB float64 `json:"file_mib"` // program text and journal mappings
}

func benchE2ECommand(g *global) *cobra.Command {
	var asJSON bool
	var each time.Duration
	var rates []string
	var unmonitored bool
	var monitoring int
	c := &cobra.Command{Use: "e2e", Short: "Measure the whole way: simulator, WebSocket, runtime, source plugin, book, null sink",
		Args: exactArgs(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			var all []scenario
			for _, rate := range []float64{0, 20_000, 2_000, 200} {
				all = append(all, scenario{Rate: rate, Latency: "balanced", Sync: "50ms"})
			}
			for _, rate := range []float64{20_000, 2_000, 200} {
				all = append(all, scenario{Rate: rate, Latency: "low", Sync: "50ms"})
			}
			if monitoring > 0 {
				if len(rates) == 0 {
					rates = []string{"0/balanced", "20000/balanced", "2000/balanced"}
				}
				all = slices.DeleteFunc(all, func(s scenario) bool { return !slices.Contains(rates, s.name()) })
				return benchMonitoring(c.Context(), c.OutOrStdout(), all, each, monitoring, asJSON)
			}
			var results []e2eResult
			for _, s := range all {
				if len(rates) > 0 && !slices.Contains(rates, s.name()) {
					continue
				}
				fmt.Fprintf(os.Stderr, "measuring %g/%s for %v\n", s.Rate, s.Latency, each)
				r, err := s.measure(c.Context(), each, unmonitored)
				if err != nil {
					return fmt.Errorf("bench: %g/%s: %w", s.Rate, s.Latency, err)
				}
				results = append(results, r)
			}
			yard, err := pingPong(20_000)
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(map[string]any{"results": results, "ping_pong": yard})
			}
			return printE2E(c.OutOrStdout(), results, yard)
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().DurationVar(&each, "for", 8*time.Second, "how long each scenario is measured, after 8 s of warm-up")
	c.Flags().BoolVar(&unmonitored, "no-monitoring", false, "run without all that only watches: what it costs is the difference")
	c.Flags().IntVar(&monitoring, "monitoring", 0, "run with and without all that only watches side by side, for so many rounds of two pairs, and tell what it costs")
	c.Flags().StringSliceVar(&rates, "only", nil, "only these, as 20000/low; 0 is saturation")
	return c
}

const e2ePipeline = `marketprism {
  data_dir = %q
  latency  = %q
  listen   = "127.0.0.1:%d"
  journal {
    max_size = "1GiB"
    sync     = %q
  }
}
source "binance" "md" {
  symbols   = ["BTC-USDT", "ETH-USDT"]
  url       = "ws://%[5]s"
  http_url  = "http://%[5]s"
  time_unit = "us"
  channel "trades" {}
  channel "book" {}
}
sink "null" "bench" {
  input        = [source.binance.md]
  latency_file = %[6]q
  latency_skip = "8s"
}
`

const warmUp = 8 * time.Second // the runtime adapts to the load within 5

// name is the scenario's, as --only takes it.
func (s scenario) name() string { return fmt.Sprintf("%g/%s", s.Rate, s.Latency) }

func (s scenario) measure(ctx context.Context, each time.Duration, unmonitored bool) (r e2eResult, err error) {
	r.scenario = s
	dir, err := os.MkdirTemp("", "marketprism-bench-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	addr, err := freeAddr()
	if err != nil {
		return r, err
	}
	admin, err := freeAddr()
	if err != nil {
		return r, err
	}
	port, err := strconv.Atoi(admin[strings.LastIndexByte(admin, ':')+1:])
	if err != nil {
		return r, err
	}
	lat := filepath.Join(dir, "latency.json")
	file := filepath.Join(dir, "bench.hcl")
	if err := os.WriteFile(file, fmt.Appendf(nil, e2ePipeline, filepath.Join(dir, "data"), s.Latency, port, s.Sync, addr, lat), 0o644); err != nil {
		return r, err
	}
	sim, err := startSimulator(ctx, addr, each+time.Minute, "--rate", fmt.Sprint(s.Rate), "--no-ledger")
	if err != nil {
		return r, err
	}
	defer sim.stop()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "run", "--quiet", fmt.Sprintf("--no-monitoring=%t", unmonitored), "--log-level", "warn", "--for", (warmUp + each + 2*time.Second).String(), file)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		return r, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-time.After(warmUp):
	case err := <-ended:
		return r, fmt.Errorf("the runtime ended at once: %w", err)
	}
	before, err := snapshotOf(admin, cmd.Process.Pid, sim.cmd.Process.Pid, nil)
	if err != nil {
		return r, err
	}
	scraped := scraping(admin, s.scrape)
	select {
	case <-time.After(each):
	case err := <-ended:
		return r, errors.Join(fmt.Errorf("the runtime ended: %w", err), scraped())
	}
	after, err := snapshotOf(admin, cmd.Process.Pid, sim.cmd.Process.Pid, before.procs)
	if err = errors.Join(err, scraped()); err != nil {
		return r, err
	}
	if err := <-ended; err != nil {
		return r, err
	}
	r.fill(before, after)
	b, err := os.ReadFile(lat)
	if err != nil {
		return r, err
	}
	var l map[string]null.Latency
	if err := json.Unmarshal(b, &l); err != nil {
		return r, fmt.Errorf("%s: %w", lat, err)
	}
	r.FromSocket, r.FromVenue = l["from_socket"], l["from_venue"]
	return r, nil
}

// e2eSnapshot is what all processes have used so far.
type e2eSnapshot struct {
	at      time.Time
	status  engine.Status
	mallocs float64
	procs   []procUse
	sim     procUse
}

type procUse struct {
	pid        int
	name       string
	cpu        time.Duration
	wakeups    int64
	anon, file int64 // bytes
}

// snapshotOf reads what all have used. Processes that are known are read before
// the runtime is asked anything, and others after it: what asking costs is in
// neither figure.
func snapshotOf(admin string, pid, sim int, known []procUse) (s e2eSnapshot, err error) {
	for _, p := range known {
		u, err := usage1(p.pid, p.name)
		if err != nil {
			return s, err
		}
		s.procs = append(s.procs, u)
	}
	s.at = time.Now()
	resp, err := http.Get("http://" + admin + "/api/v1/status")
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&s.status); err != nil {
		return s, err
	}
	if len(s.status.Feeds) != 1 || len(s.status.Sinks) != 1 {
		return s, fmt.Errorf("want one feed and one sink, there are %d and %d", len(s.status.Feeds), len(s.status.Sinks))
	}
	if s.mallocs, err = metric(admin, "go_memstats_mallocs_total"); err != nil {
		return s, err
	}
	if s.sim, err = usage1(sim, "simulator"); err != nil || known != nil {
		return s, err
	}
	for _, p := range []struct {
		pid  int
		name string
	}{{pid, "runtime"}, {s.status.Feeds[0].Plugin.Pid, "source"}, {s.status.Sinks[0].Plugin.Pid, "sink"}} {
		u, err := usage1(p.pid, p.name)
		if err != nil {
			return s, err
		}
		s.procs = append(s.procs, u)
	}
	return s, nil
}

func metric(admin, name string) (float64, error) {
	resp, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		if v, ok := strings.CutPrefix(sc.Text(), name+" "); ok {
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}

// usage1 reads a process's use of the machine: ticks of 10 ms, or what its threads
// had by the scheduler's account, which is in ns, where that is kept.
func usage1(pid int, name string) (u procUse, err error) {
	u.pid, u.name = pid, name
	dir := fmt.Sprintf("/proc/%d", pid)
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return u, fmt.Errorf("process %s: %w", name, err)
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return u, err
	}
	u.cpu = time.Duration(user+system) * 10 * time.Millisecond
	var exact time.Duration
	tasks, err := os.ReadDir(filepath.Join(dir, "task"))
	if err != nil {
		return u, err
	}
	for _, t := range tasks {
		kv, err := statusFields(filepath.Join(dir, "task", t.Name(), "status"))
		if err != nil {
			continue // the thread has ended
		}
		u.wakeups += kv["voluntary_ctxt_switches"]
		b, err := os.ReadFile(filepath.Join(dir, "task", t.Name(), "schedstat"))
		if err != nil {
			continue
		}
		var ns int64
		if _, err := fmt.Sscan(string(b), &ns); err == nil {
			exact += time.Duration(ns)
		}
	}
	if u.cpu-exact < 20*time.Millisecond { // else threads have ended, and their account with them
		u.cpu = exact
	}
	kv, err := statusFields(filepath.Join(dir, "status"))
	u.anon, u.file = kv["RssAnon"]<<10, (kv["RssFile"]+kv["RssShmem"])<<10
	return u, err
}

func statusFields(path string) (map[string]int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok {
			if f := strings.Fields(v); len(f) > 0 {
				if n, err := strconv.ParseInt(f[0], 10, 64); err == nil {
					out[k] = n
				}
			}
		}
	}
	return out, nil
}

func (r *e2eResult) fill(a, b e2eSnapshot) {
	secs := b.at.Sub(a.at).Seconds()
	// What went the whole way: records that the sink took.
	r.Messages = b.status.Sinks[0].Records - a.status.Sinks[0].Records
	n := float64(max(r.Messages, 1))
	r.PerSecond = n / secs
	r.Gaps = b.status.Feeds[0].Gaps
	r.Allocs = (b.mallocs - a.mallocs) / n
	us := func(d time.Duration) float64 { return float64(d) / 1e3 / n }
	for i := range b.procs {
		p := e2eProcess{Name: b.procs[i].name, CPU: us(b.procs[i].cpu - a.procs[i].cpu),
			Wakeups: float64(b.procs[i].wakeups-a.procs[i].wakeups) / secs, AnonMiB: float64(b.procs[i].anon) / (1 << 20), FileMiB: float64(b.procs[i].file) / (1 << 20)}
		r.CPU += p.CPU
		r.Processes = append(r.Processes, p)
	}
	r.SimCPU = us(b.sim.cpu - a.sim.cpu)
}

// yardstick is a ping-pong between two processes over pipes: what this machine
// takes for two wake-ups.
type yardstick struct {
	Rounds int   `json:"rounds"`
	P50    int64 `json:"p50_ns"`
	P99    int64 `json:"p99_ns"`
}

func pingPong(rounds int) (y yardstick, err error) {
	cmd := exec.Command("/bin/cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		return y, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return y, err
	}
	if err := cmd.Start(); err != nil {
		return y, err
	}
	took := make([]int64, rounds)
	var b [8]byte
	for i := range took {
		t := time.Now()
		if _, err := in.Write(b[:]); err != nil {
			return y, err
		}
		if _, err := io.ReadFull(out, b[:]); err != nil {
			return y, err
		}
		took[i] = int64(time.Since(t))
	}
	if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
		return y, err
	}
	slices.Sort(took)
	return yardstick{rounds, took[rounds/2], took[rounds*99/100]}, nil
}

func printE2E(w io.Writer, rs []e2eResult, y yardstick) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "rate\tlatency\tmessages/s\tCPU µs/msg\truntime\tsource\tsink\tsimulator\tallocs/msg\tsocket→sink p50 µs\tp99\tp99.9\tvenue→sink p50 µs\tp99\tgaps\t")
	for _, r := range rs {
		rate := "saturated"
		if r.Rate > 0 {
			rate = fmt.Sprintf("%g/s", r.Rate)
		}
		us := func(ns int64) string { return fmt.Sprintf("%.0f", float64(ns)/1e3) }
		fmt.Fprintf(t, "%s\t%s\t%.0f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.3f\t%s\t%s\t%s\t%s\t%s\t%d\t\n", rate, r.Latency, r.PerSecond, r.CPU, r.Processes[0].CPU, r.Processes[1].CPU,
			r.Processes[2].CPU, r.SimCPU, r.Allocs, us(r.FromSocket.P50), us(r.FromSocket.P99), us(r.FromSocket.P999), us(r.FromVenue.P50), us(r.FromVenue.P99), r.Gaps)
	}
	fmt.Fprintln(t)
	fmt.Fprintln(t, "rate\tlatency\tprocess\twake-ups/s\tanonymous MiB\tfile MiB\t")
	for _, r := range rs {
		for _, p := range r.Processes {
			fmt.Fprintf(t, "%g/s\t%s\t%s\t%.0f\t%.1f\t%.1f\t\n", r.Rate, r.Latency, p.Name, p.Wakeups, p.AnonMiB, p.FileMiB)
		}
	}
	fmt.Fprintf(t, "\nping-pong of 8 bytes between two processes over pipes: p50 %.1f µs, p99 %.1f µs\n", float64(y.P50)/1e3, float64(y.P99)/1e3)
	return t.Flush()
}
