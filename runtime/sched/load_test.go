package sched

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

// Load is many equal tasks, to be run through a pool and without one on the same
// machine and in the same process: what the layer costs and brings.
type Load struct {
	Tasks int
	Work  Runner // what each does; nil: nothing
	// Of the pool. Zero values are those of PoolSettings; Batch is how many
	// tasks are submitted at a time, 1 if zero.
	Workers, Queue, Batch int
	MonitorOff            bool
}

// LoadResult is what a Load took.
type LoadResult struct {
	Tasks     uint64
	Succeeded uint64
	Elapsed   time.Duration
	PerSecond float64
	WaitP50   time.Duration // from the call that submits to the begin; of one task in 64
	WaitP99   time.Duration
	Allocs    float64 // a task
	Bytes     float64 // a task
}

// sampled is one task in how many that is stamped, by all ways alike.
const sampled = 64

// stamp is a runner that observes when it begins.
type stamp struct {
	from int64
	hist *telemetry.Histogram
	work Runner
}

func (s *stamp) Run(ctx context.Context) error {
	s.hist.Observe(nanos(mono() - s.from))
	return s.work.Run(ctx)
}

var nothing = Func(func(context.Context) error { return nil })

// run measures submit, which is to run n tasks and return how many succeeded.
func (l Load) run(submit func(work Runner, hist *telemetry.Histogram) (uint64, error)) (r LoadResult, err error) {
	work := l.Work
	if work == nil {
		work = nothing
	}
	hist := new(telemetry.Histogram)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	r.Succeeded, err = submit(work, hist)
	r.Elapsed = time.Since(start)
	runtime.ReadMemStats(&after)
	n := float64(max(l.Tasks, 1))
	r.Tasks = uint64(l.Tasks)
	r.PerSecond = float64(l.Tasks) / max(r.Elapsed.Seconds(), 1e-9)
	r.Allocs, r.Bytes = float64(after.Mallocs-before.Mallocs)/n, float64(after.TotalAlloc-before.TotalAlloc)/n
	s := hist.Snapshot()
	r.WaitP50, r.WaitP99 = s.Quantile(0.5), s.Quantile(0.99)
	return r, err
}

// Pool runs the load through a pool.
func (l Load) Pool(ctx context.Context) (LoadResult, error) {
	s := New(Settings{Logger: zerolog.Nop(), MonitorOff: l.MonitorOff})
	p := s.NewPool(PoolSettings{Name: "load", Workers: l.Workers, Queue: l.Queue})
	k := p.Kind("load", 0)
	g, gctx := NewGroup(s.Context(ctx), "load")
	run, stop := context.WithCancel(gctx)
	g.Go("pool", func(context.Context) error { return p.Run(run) })
	r, err := l.run(func(work Runner, hist *telemetry.Histogram) (uint64, error) {
		j := NewJoin()
		batch := make([]Task, 0, max(l.Batch, 1))
		for i := range l.Tasks {
			t := Task{Runner: work, Kind: k, Join: j}
			if i%sampled == 0 {
				t.Runner = &stamp{mono(), hist, work}
			}
			if batch = append(batch, t); len(batch) == cap(batch) || i == l.Tasks-1 {
				if _, err := p.SubmitBatch(gctx, batch); err != nil {
					return 0, err
				}
				batch = batch[:0]
			}
		}
		err := j.Wait(gctx)
		st := k.Stats()
		return st.Outcomes[Succeeded], err
	})
	stop()
	if werr := g.Wait(); err == nil {
		err = werr
	}
	if err != nil {
		return r, fmt.Errorf("sched: load through a pool: %w", err)
	}
	return r, nil
}

// Goroutines runs the load by a go statement a task.
func (l Load) Goroutines(ctx context.Context) (LoadResult, error) {
	r, err := l.run(func(work Runner, hist *telemetry.Histogram) (uint64, error) {
		var wg sync.WaitGroup
		failed := NewJoin()
		for i := range l.Tasks {
			t := work
			if i%sampled == 0 {
				t = &stamp{mono(), hist, work}
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				if err := t.Run(ctx); err != nil {
					failed.failed.Add(1)
					failed.keep(err)
				}
			}()
		}
		wg.Wait()
		n := failed.failed.Load()
		return uint64(l.Tasks) - uint64(n), failed.Wait(ctx)
	})
	if err != nil {
		return r, fmt.Errorf("sched: load by goroutines: %w", err)
	}
	return r, nil
}
