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

// runBench runs n tasks of work in one of the ways, and waits for them.
type way struct {
	name string
	run  func(b *testing.B, load benchLoad)
}

// benchLoad is what a task does, and how many may do it at the same time.
type benchLoad struct {
	name    string
	work    func()
	workers int
}

// busy computes for about d, as calibrated.
func busy(rounds int) func() {
	return func() {
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
		busy(rounds)()
		best = min(best, time.Since(start))
	}
	return max(1, int(rounds*time.Microsecond/best))
}

// echoes are connections to a server on the loopback that sends back each byte.
func echoes(b *testing.B, n int) func() {
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
	return func() {
		c := <-free
		if _, err := c.Write(c.buf); err != nil {
			panic(err)
		}
		if _, err := io.ReadFull(c, c.buf); err != nil {
			panic(err)
		}
		free <- c
	}
}

func report(b *testing.B, h *telemetry.Histogram) {
	b.Helper()
	s := h.Snapshot()
	b.ReportMetric(float64(s.Quantile(0.99))/1e3, "p99-wait-µs")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

func poolWay(name string, batch int, off bool) way {
	return way{name, func(b *testing.B, load benchLoad) {
		s := New(Settings{Logger: zerolog.Nop(), MonitorOff: off})
		p := s.NewPool(PoolSettings{Name: "bench", Workers: load.workers, Queue: benchQueue})
		ctx, stop := context.WithCancel(s.Context(context.Background()))
		g, _ := NewGroup(ctx, "bench")
		g.Go("pool", func(ctx context.Context) error { return p.Run(ctx) })
		var h telemetry.Histogram
		j := NewJoin()
		work := Func(func(context.Context) error { load.work(); return nil })
		tasks := make([]Task, 0, batch)
		b.ReportAllocs()
		b.ResetTimer()
		for i := range b.N {
			t := Task{Runner: work, Join: j}
			if i%sampled == 0 {
				t.Runner = &stamp{mono(), &h, work}
			}
			if batch == 1 {
				if err := p.Submit(ctx, t); err != nil {
					b.Fatal(err)
				}
				continue
			}
			if tasks = append(tasks, t); len(tasks) == batch || i == b.N-1 {
				if _, err := p.SubmitBatch(ctx, tasks); err != nil {
					b.Fatal(err)
				}
				tasks = tasks[:0]
			}
		}
		if err := j.Wait(ctx); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		report(b, &h)
		if n := p.kind.stats().Outcomes[Succeeded]; n != uint64(b.N) {
			b.Fatalf("%d of %d succeeded", n, b.N)
		}
		stop()
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
	}}
}

const benchQueue = 256

var ways = []way{
	poolWay("pool", 1, false),
	poolWay("pool-batch64", 64, false),
	poolWay("pool-unmonitored", 1, true),
	{"goroutines", func(b *testing.B, load benchLoad) {
		var wg sync.WaitGroup
		var h telemetry.Histogram
		b.ReportAllocs()
		for i := range b.N {
			work := load.work
			if i%sampled == 0 {
				from := mono()
				work = func() { h.Observe(nanos(mono() - from)); load.work() }
			}
			wg.Go(work)
		}
		wg.Wait()
		b.StopTimer()
		report(b, &h)
	}},
	{"errgroup", func(b *testing.B, load benchLoad) {
		var h telemetry.Histogram
		g, _ := errgroup.WithContext(context.Background())
		b.ReportAllocs()
		for i := range b.N {
			from := int64(0)
			if i%sampled == 0 {
				from = mono()
			}
			g.Go(func() error {
				if from != 0 {
					h.Observe(nanos(mono() - from))
				}
				load.work()
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		report(b, &h)
	}},
	{"errgroup-limited", func(b *testing.B, load benchLoad) {
		var h telemetry.Histogram
		g, _ := errgroup.WithContext(context.Background())
		g.SetLimit(load.workers)
		b.ReportAllocs()
		for i := range b.N {
			from := int64(0)
			if i%sampled == 0 {
				from = mono()
			}
			g.Go(func() error {
				if from != 0 {
					h.Observe(nanos(mono() - from))
				}
				load.work()
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		report(b, &h)
	}},
	{"ants", func(b *testing.B, load benchLoad) {
		var h telemetry.Histogram
		p, err := ants.NewPool(load.workers, ants.WithPreAlloc(true))
		if err != nil {
			b.Fatal(err)
		}
		var wg sync.WaitGroup
		plain := func() { load.work(); wg.Done() }
		b.ReportAllocs()
		b.ResetTimer()
		for i := range b.N {
			work := plain
			if i%sampled == 0 {
				from := mono()
				work = func() { h.Observe(nanos(mono() - from)); plain() }
			}
			wg.Add(1)
			if err := p.Submit(work); err != nil {
				b.Fatal(err)
			}
		}
		wg.Wait()
		b.StopTimer()
		report(b, &h)
		p.Release()
	}},
}

// BenchmarkSched compares the pool with a goroutine a task, with an error group
// and with ants, in one run. One goroutine submits; p99-wait is from the call
// that submits to the begin of the task, taken of one task in 64.
func BenchmarkSched(b *testing.B) {
	micro := calibrate()
	procs := runtime.GOMAXPROCS(0)
	const conns = 64
	loads := []benchLoad{
		{"0", func() {}, procs},
		{"1µs", busy(micro), procs},
		{"100µs", busy(100 * micro), procs},
	}
	for _, l := range loads {
		for _, w := range ways {
			b.Run(fmt.Sprintf("task=%s/%s", l.name, w.name), func(b *testing.B) { w.run(b, l) })
		}
	}
	b.Run("task=network", func(b *testing.B) {
		l := benchLoad{"network", echoes(b, conns), conns}
		for _, w := range ways {
			b.Run(w.name, func(b *testing.B) { w.run(b, l) })
		}
	})
}
