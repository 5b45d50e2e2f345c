package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/runtime/conn"
	"github.com/marketprism/marketprism/runtime/memory"
	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/runtime/sched"
	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/market"
)

// layerConns is how many HTTP connections the benchmark keeps open, and how many
// requests it makes at a time.
const layerConns = 32

// partSettings are what a part of the benchmark is told by its parent.
type partSettings struct {
	way    string // off, on, or the name of a step
	n      int    // operations
	server string
}

// partResult is what one part measured, in a process of its own: so that what it
// allocates is no other's, and what it leaves behind ends with it.
type partResult struct {
	Part      string  `json:"part"`
	Way       string  `json:"way"`
	Tried     uint64  `json:"tried"`
	Succeeded uint64  `json:"succeeded"`
	Failure   string  `json:"failure,omitempty"` // the first, if any
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
	CPU       float64 `json:"cpu_ns_per_operation"`
	Allocs    float64 `json:"allocations_per_operation"`
	P50       int64   `json:"p50_ns,omitempty"`
	P99       int64   `json:"p99_ns,omitempty"`
	Leases    uint64  `json:"leases,omitempty"`
	Hits      uint64  `json:"hits,omitempty"`
	Requests  uint64  `json:"requests,omitempty"`
	Reused    uint64  `json:"reused,omitempty"`
	Opened    uint64  `json:"connections_opened,omitempty"`
	// After the warm-up and at the end, each after a collection.
	Before  footprint   `json:"before"`
	After   footprint   `json:"after"`
	Monitor *monitorUse `json:"monitor,omitempty"`
}

// footprint is a process's memory.
type footprint struct {
	Resident int64 `json:"resident_bytes"`
	Live     int64 `json:"live_heap_bytes"`
}

// monitorUse is what the memory monitor costs, and what it says of its process.
type monitorUse struct {
	Looks    int       `json:"looks"`
	CPU      float64   `json:"cpu_us_per_look"`
	Interval float64   `json:"interval_seconds"` // between two looks, as it is set
	Share    float64   `json:"cpu_percent_of_a_core"`
	Says     footprint `json:"it_says"`
}

var parts = map[string]func(context.Context, *partRun) error{
	"objects":  partObjects,
	"requests": partRequests,
	"tasks":    func(ctx context.Context, r *partRun) error { return partTasks(ctx, r, 1, 1) },
	"tasks-concurrent": func(ctx context.Context, r *partRun) error {
		return partTasks(ctx, r, runtime.GOMAXPROCS(0), taskBatch)
	},
	"memory":    partMemory,
	"composite": partComposite,
}

// benchLayerCommand is a part of the layers' benchmark as a process.
func benchLayerCommand() *cobra.Command {
	var s partSettings
	c := &cobra.Command{Use: "layer PART", Hidden: true, Args: exactArgs(1, "one part"),
		RunE: func(c *cobra.Command, args []string) error {
			if args[0] == "server" {
				return leanServer(c)
			}
			f := parts[args[0]]
			if f == nil || s.n < 1 {
				return usage("no part %q of %d operations", args[0], s.n)
			}
			r := &partRun{partSettings: s}
			r.res.Part, r.res.Way = args[0], s.way
			if err := f(c.Context(), r); err != nil {
				return fmt.Errorf("bench: %s, %s: %w", args[0], s.way, err)
			}
			return json.NewEncoder(c.OutOrStdout()).Encode(r.res)
		}}
	c.Flags().StringVar(&s.way, "way", "on", "with the layer, without it, or a step")
	c.Flags().IntVar(&s.n, "n", 0, "operations")
	c.Flags().StringVar(&s.server, "server", "", "address of the server")
	return c
}

// partRun is a part while it runs.
type partRun struct {
	partSettings
	res  partResult
	hist telemetry.Histogram
}

func (r *partRun) on() bool { return r.way == "on" }

// measure runs f for a tenth of the operations to warm up, and then for all of
// them. f says how many succeeded.
func (r *partRun) measure(f func(n int, hist *telemetry.Histogram) (uint64, error)) (err error) {
	if _, err := f(max(r.n/10, 1), new(telemetry.Histogram)); err != nil {
		return err
	}
	if r.res.Before, err = weigh(); err != nil {
		return err
	}
	var m, m2 runtime.MemStats
	runtime.ReadMemStats(&m)
	used, began := cpuUsed(), time.Now()
	r.res.Succeeded, err = f(r.n, &r.hist)
	took, used := time.Since(began), cpuUsed()-used
	runtime.ReadMemStats(&m2)
	if err != nil {
		return err
	}
	r.res.Tried = uint64(r.n)
	r.res.Seconds = took.Seconds()
	r.res.PerSecond = float64(r.n) / took.Seconds()
	r.res.CPU = float64(used) / float64(r.n)
	r.res.Allocs = float64(m2.Mallocs-m.Mallocs) / float64(r.n)
	if s := r.hist.Snapshot(); s.Count > 0 {
		r.res.P50, r.res.P99 = int64(s.Quantile(0.5)), int64(s.Quantile(0.99))
	}
	r.res.After, err = weigh()
	return err
}

// weigh collects garbage and reads this process's memory.
func weigh() (f footprint, err error) {
	runtime.GC()
	runtime.GC() // what the first one's finalizers let go of
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	f.Live = int64(s[0].Value.Uint64())
	kv, err := statusFields("/proc/self/status")
	f.Resident = kv["VmRSS"] << 10
	return f, err
}

// cpuUsed is this process's processor time.
func cpuUsed() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// spread runs f in so many goroutines, n operations in all; each is told its
// share. It returns the sum of what succeeded.
func spread(workers, n int, f func(n int) (uint64, error)) (ok uint64, err error) {
	var all sync.WaitGroup
	oks, errs := make([]uint64, workers), make([]error, workers)
	for i := range workers {
		share := n / workers
		if i < n%workers {
			share++
		}
		all.Go(func() { oks[i], errs[i] = f(share) })
	}
	all.Wait()
	for _, n := range oks {
		ok += n
	}
	return ok, errors.Join(errs...)
}

// room makes a side of a book as long as a message's.
func room(l []market.Level) []market.Level {
	if cap(l) < benchDepth {
		l = make([]market.Level, benchDepth)
	}
	l = l[:benchDepth]
	l[0].Amount, l[benchDepth-1].Amount = market.NewDecimal(1, 0), market.NewDecimal(2, 0)
	return l
}

var escaped atomic.Pointer[market.Book] // keeps the compiler from making them on a stack

// partObjects gets decoded book messages with room for their levels: allocated,
// or from the pool.
func partObjects(_ context.Context, r *partRun) error {
	m, err := pool.NewMessages(pool.MessageOptions{})
	if err != nil {
		return err
	}
	one := func(n int) (uint64, error) {
		var v *market.Book
		for range n {
			v = new(market.Book)
			v.Bids, v.Asks = room(v.Bids), room(v.Asks)
		}
		escaped.Store(v)
		return uint64(n), nil
	}
	if r.on() {
		one = func(n int) (uint64, error) {
			for range n {
				l, err := m.Books.Lease()
				if err != nil {
					return 0, err
				}
				v := l.Value()
				v.Bids, v.Asks = room(v.Bids), room(v.Asks)
				l.Return()
			}
			return uint64(n), nil
		}
	}
	if err := r.measure(func(n int, _ *telemetry.Histogram) (uint64, error) { return spread(runtime.GOMAXPROCS(0), n, one) }); err != nil {
		return err
	}
	s := m.Books.Stats()
	r.res.Leases, r.res.Hits = s.Leases, s.Hits // the warm-up included
	return m.Close()
}

// partRequests makes requests over HTTP: with a connection each, over the pool,
// or over net/http's own kept connections.
func partRequests(ctx context.Context, r *partRun) error {
	one, closing, err := r.requester(ctx, "http://"+r.server+tickerPath)
	if err != nil {
		return err
	}
	var failure atomic.Pointer[error]
	err = r.measure(func(n int, hist *telemetry.Histogram) (uint64, error) {
		return spread(layerConns, n, func(n int) (ok uint64, err error) {
			var answer conn.HTTPResponse
			for range n {
				begin := time.Now()
				if err := one(&answer); err != nil {
					failure.CompareAndSwap(nil, &err)
					continue // it counts as one that didn't succeed
				}
				hist.Observe(time.Since(begin))
				ok++
			}
			return ok, nil
		})
	})
	closing()
	if f := failure.Load(); f != nil {
		r.res.Failure = (*f).Error()
	}
	return err
}

// requester makes requests in the part's way.
func (r *partRun) requester(ctx context.Context, url string) (one func(*conn.HTTPResponse) error, closing func(), err error) {
	if r.on() {
		p, err := conn.NewHTTPPool(conn.HTTPPoolSettings{MaxConns: layerConns})
		if err != nil {
			return nil, nil, err
		}
		q := conn.HTTPRequest{URL: url}
		one = func(answer *conn.HTTPResponse) error {
			if err := p.Do(ctx, &q, answer); err != nil {
				return err
			}
			return expect200(answer.Status, len(answer.Body))
		}
		return one, func() { r.countPool(p); p.Close() }, nil
	}
	t := &http.Transport{DisableCompression: true, DisableKeepAlives: r.way == "off", MaxIdleConnsPerHost: layerConns}
	c := &http.Client{Transport: t}
	one = func(answer *conn.HTTPResponse) (err error) {
		answer.Status, answer.Body, err = plainGet(ctx, c, url)
		if err != nil {
			return err
		}
		return expect200(answer.Status, len(answer.Body))
	}
	return one, t.CloseIdleConnections, nil
}

func (r *partRun) countPool(p *conn.HTTPPool) {
	s := p.Stats()
	r.res.Requests, r.res.Reused, r.res.Opened = s.Requests, s.Reused, s.Opened
}

func plainGet(ctx context.Context, c *http.Client, url string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

func expect200(status, size int) error {
	if status != http.StatusOK || size == 0 {
		return fmt.Errorf("HTTP %d with %d bytes", status, size)
	}
	return nil
}

// taskBatch is how many tasks a submitter hands over at a time where many submit.
const taskBatch = 64

// tick is a task that does nothing but count.
type tick struct {
	n atomic.Uint64
	_ [7]uint64 // of a cache line alone
}

func (t *tick) Run(context.Context) error { t.n.Add(1); return nil }

// partTasks runs tasks: by a go statement each, or through the scheduler's pool.
func partTasks(ctx context.Context, r *partRun, submitters, batch int) error {
	if !r.on() {
		return r.measure(func(n int, _ *telemetry.Histogram) (uint64, error) {
			var ok atomic.Uint64
			_, err := spread(submitters, n, func(n int) (uint64, error) {
				var all sync.WaitGroup
				t := new(tick)
				for range n {
					all.Go(func() { _ = t.Run(ctx) })
				}
				all.Wait()
				ok.Add(t.n.Load())
				return 0, nil
			})
			return ok.Load(), err
		})
	}
	s := sched.New(sched.Settings{Logger: zerolog.Nop()})
	p := s.NewPool(sched.PoolSettings{Name: "bench"})
	kind := p.Kind("bench", 0)
	return r.withPool(ctx, s, p, func(ctx context.Context) error {
		return r.measure(func(n int, _ *telemetry.Histogram) (uint64, error) {
			before := kind.Stats().Outcomes[sched.Succeeded]
			_, err := spread(submitters, n, func(n int) (uint64, error) {
				j, t := sched.NewJoin(), new(tick)
				tasks := make([]sched.Task, batch)
				for i := range tasks {
					tasks[i] = sched.Task{Runner: t, Kind: kind, Join: j}
				}
				for n > 0 {
					k := min(n, batch)
					if k == 1 {
						if err := p.Submit(ctx, tasks[0]); err != nil {
							return 0, err
						}
					} else if _, err := p.SubmitBatch(ctx, tasks[:k]); err != nil {
						return 0, err
					}
					n -= k
				}
				return 0, j.Wait(ctx)
			})
			return kind.Stats().Outcomes[sched.Succeeded] - before, err
		})
	})
}

// withPool runs f while the pool runs.
func (r *partRun) withPool(ctx context.Context, s *sched.Scheduler, p *sched.Pool, f func(context.Context) error) error {
	g, gctx := sched.NewGroup(s.Context(ctx), "bench")
	run, stop := context.WithCancel(gctx)
	g.Go("pool", func(context.Context) error { return p.Run(run) })
	err := f(gctx)
	stop()
	return errors.Join(err, g.Wait())
}

// partMemory looks at this process as the runtime's memory monitor does, so many
// times.
func partMemory(ctx context.Context, r *partRun) error {
	dir, err := os.MkdirTemp("", "marketprism-bench-")
	if err != nil {
		return err
	}
	m, err := memory.New(memory.Settings{Dir: dir, Logger: zerolog.Nop()})
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	err = r.measure(func(n int, _ *telemetry.Histogram) (uint64, error) {
		for i := range n {
			if err := m.Tick(ctx); err != nil {
				return uint64(i), err
			}
		}
		return uint64(n), nil
	})
	if err == nil {
		s, every := m.Latest(), memory.Defaults().Interval
		r.res.Monitor = &monitorUse{Looks: r.n, CPU: r.res.CPU / 1e3, Interval: every.Seconds(), Share: 100 * r.res.CPU / float64(every),
			Says: footprint{Resident: s.Processes[0].Resident, Live: int64(s.Go.Live)}}
	}
	return errors.Join(err, os.RemoveAll(dir))
}
