package sched

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/panjf2000/ants/v2"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

// way is one of the ways to run many tasks.
type way struct {
	name string
	open func(b *testing.B, workers int) runner
}

// runner is a way that is ready: submit starts a job or queues it, wait returns
// when all have ended.
type runner struct {
	submit func(*job)
	wait   func()
	close  func()
}

// job is a task in all forms, made before it is measured.
type job struct {
	from int64 // set where its wait is measured
	hist *telemetry.Histogram
	work func(*job) // calls begin as soon as it has what it needs
	fn   func()     // run and done, for ants
}

func (j *job) Run(context.Context) error { j.run(); return nil }

func (j *job) run() { j.work(j) }

func (j *job) begin() {
	if j.hist != nil {
		j.hist.Observe(nanos(mono() - j.from))
	}
}

// benchLoad is what a task does, how many may do it at the same time, and how
// many come at once.
type benchLoad struct {
	name           string
	work           func(*job)
	workers, burst int
}

// busy computes for about d, as calibrated.
func busy(rounds int) func(*job) {
	return func(j *job) {
		j.begin()
		x := uint64(88172645463325252)
		for range rounds {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
		}
		if x == 0 {
			panic("a xorshift never is 0")
		}
	}
}

func calibrate() (roundsPerMicro int) {
	best := time.Hour
	const rounds = 1_000_000
	for range 5 {
		start := time.Now()
		busy(rounds)(&job{})
		best = min(best, time.Since(start))
	}
	return max(1, int(rounds*time.Microsecond/best))
}

// echoes are connections to a server on the loopback that sends back each byte.
func echoes(b *testing.B, n int) func(*job) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var server sync.WaitGroup
	server.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			server.Go(func() {
				defer c.Close()
				_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
			})
		}
	})
	type conn struct {
		net.Conn
		buf []byte
	}
	free := make(chan *conn, n)
	var all []net.Conn
	for range n {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, c)
		free <- &conn{c, make([]byte, 1)}
	}
	b.Cleanup(func() {
		for _, c := range all {
			c.Close()
		}
		ln.Close()
		server.Wait()
	})
	return func(j *job) {
		c := <-free
		j.begin()
		if _, err := c.Write(c.buf); err != nil {
			panic(err)
		}
		if _, err := io.ReadFull(c, c.buf); err != nil {
			panic(err)
		}
		free <- c
	}
}

// report adds to the time a task: the tasks a second, what a task took of both
// processors, the submitter and the Go scheduler included, and the wait.
func report(b *testing.B, h *telemetry.Histogram, cpu time.Duration) {
	b.Helper()
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/op")
	s := h.Snapshot()
	b.ReportMetric(float64(s.Quantile(0.99))/1e3, "p99-wait-µs")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// poolWay submits to a pool, batch tasks at a time.
func poolWay(name string, batch, queue int, full Policy, off bool) way {
	return way{name, func(b *testing.B, workers int) runner {
		s := New(Settings{Logger: zerolog.Nop(), MonitorOff: off})
		p := s.NewPool(PoolSettings{Name: "bench", Workers: workers, Queue: queue, Full: full})
		ctx, stop := context.WithCancel(s.Context(context.Background()))
		g, _ := NewGroup(ctx, "bench")
		g.Go("pool", p.Run)
		j := NewJoin()
		tasks := make([]Task, 0, batch)
		flush := func() {
			if _, err := p.SubmitBatch(ctx, tasks); err != nil {
				b.Fatal(err)
			}
			tasks = tasks[:0]
		}
		return runner{
			submit: func(w *job) {
				if tasks = append(tasks, Task{Runner: w, Join: j}); len(tasks) == batch {
					flush()
				}
			},
			wait: func() {
				flush()
				if err := j.Wait(ctx); err != nil {
					b.Fatal(err)
				}
			},
			close: func() {
				if k := p.kind.Stats(); k.Outcomes[Succeeded] != k.Done() {
					b.Fatalf("%d of %d succeeded", k.Outcomes[Succeeded], k.Done())
				}
				stop()
				if err := g.Wait(); err != nil {
					b.Fatal(err)
				}
			},
		}
	}}
}

func errgroupWay(name string, limited bool) way {
	return way{name, func(b *testing.B, workers int) runner {
		var g *errgroup.Group
		begin := func() {
			g, _ = errgroup.WithContext(context.Background())
			if limited {
				g.SetLimit(workers)
			}
		}
		begin()
		return runner{
			submit: func(w *job) { g.Go(func() error { w.run(); return nil }) },
			wait: func() {
				if err := g.Wait(); err != nil {
					b.Fatal(err)
				}
				begin()
			},
			close: func() {},
		}
	}}
}

// The pool stands with a queue of 256, with tasks submitted 64 at a time,
// without its monitor, and with next to no queue, as ants and the limited error
// group have none: there its submitter waits, or runs what finds no room.
var ways = []way{
	poolWay("pool", 1, 256, Block, false),
	poolWay("pool-batches", 64, 256, Block, false),
	poolWay("pool-unmonitored", 1, 256, Block, true),
	poolWay("pool-short-queue", 1, 2, Block, false),
	poolWay("pool-caller-runs", 1, 2, CallerRuns, false),
	{"goroutines", func(*testing.B, int) runner {
		var wg sync.WaitGroup
		return runner{submit: func(w *job) { wg.Go(w.run) }, wait: wg.Wait, close: func() {}}
	}},
	errgroupWay("errgroup", false),
	errgroupWay("errgroup-limited", true),
	{"ants", func(b *testing.B, workers int) runner {
		p, err := ants.NewPool(workers, ants.WithPreAlloc(true))
		if err != nil {
			b.Fatal(err)
		}
		var wg sync.WaitGroup
		return runner{
			submit: func(w *job) {
				if w.fn == nil {
					w.fn = func() { w.run(); wg.Done() }
				}
				wg.Add(1)
				if err := p.Submit(w.fn); err != nil {
					b.Fatal(err)
				}
			},
			wait:  wg.Wait,
			close: p.Release,
		}
	}},
}

// flood submits as fast as it goes; the wait is that of one task in 64.
func flood(b *testing.B, r runner, l benchLoad) {
	var h telemetry.Histogram
	plain := &job{work: l.work}
	b.ReportAllocs()
	cpu := cpuTime(b)
	b.ResetTimer()
	for i := range b.N {
		w := plain
		if i%sampled == 0 {
			w = &job{from: mono(), hist: &h, work: l.work}
		}
		r.submit(w)
	}
	r.wait()
	b.StopTimer()
	report(b, &h, cpu)
}

// burst has tasks come all at once, then waits for them: each one's wait is from
// the burst's begin, whatever held its submitter back.
func burst(b *testing.B, r runner, l benchLoad) {
	var h telemetry.Histogram
	jobs := make([]job, l.burst)
	for i := range jobs {
		jobs[i] = job{hist: &h, work: l.work}
	}
	b.ReportAllocs()
	cpu := cpuTime(b)
	b.ResetTimer()
	for n := 0; n < b.N; {
		k := min(l.burst, b.N-n)
		now := mono()
		for i := range jobs[:k] {
			jobs[i].from = now
		}
		for i := range jobs[:k] {
			r.submit(&jobs[i])
		}
		r.wait()
		n += k
	}
	b.StopTimer()
	report(b, &h, cpu)
}

// BenchmarkSched compares the pool with a goroutine a task, with error groups
// and with ants, in one run; one goroutine submits.
func BenchmarkSched(b *testing.B) {
	micro := calibrate()
	procs := runtime.GOMAXPROCS(0)
	const conns = 64
	loads := []benchLoad{
		{"0", (*job).begin, procs, 256},
		{"1µs", busy(micro), procs, 256},
		{"100µs", busy(100 * micro), procs, 32},
		{"network", echoes(b, conns), conns, 256},
	}
	for _, l := range loads {
		for _, how := range []struct {
			name string
			run  func(*testing.B, runner, benchLoad)
		}{{"flood", flood}, {"burst", burst}} {
			for _, w := range ways {
				b.Run(fmt.Sprintf("task=%s/%s/%s", l.name, how.name, w.name), func(b *testing.B) {
					r := w.open(b, l.workers)
					warm := &job{work: l.work}
					for range 4 * l.burst {
						r.submit(warm)
					}
					r.wait()
					how.run(b, r, l)
					r.close()
				})
			}
		}
	}
}
