package sched

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// startPool makes a pool and runs it; stop drains it.
func startPool(t testing.TB, s *Scheduler, ctx context.Context, set PoolSettings) (p *Pool, stop func() error) { //nolint:revive // t first
	t.Helper()
	p = s.NewPool(set)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return p, stop
}

func TestEveryTaskRunsOnce(t *testing.T) {
	s, ctx := tree(t, Settings{})
	p, stop := startPool(t, s, ctx, PoolSettings{Name: "p", Workers: 8, Queue: 100})
	const submitters, each = 8, 5000
	ran := make([]atomic.Int32, submitters*each)
	j := NewJoin()
	var wg sync.WaitGroup
	for k := range submitters {
		wg.Go(func() {
			tenant := p.Tenant(fmt.Sprint("tenant", k%3), 1+k%3)
			r := rand.New(rand.NewPCG(1, uint64(k)))
			for i := 0; i < each; {
				n := min(1+r.IntN(20), each-i)
				batch := make([]Task, n)
				for b := range batch {
					at := k*each + i + b
					batch[b] = Task{Tenant: tenant, Priority: Priority(r.IntN(3)), Join: j,
						Runner: Func(func(context.Context) error { ran[at].Add(1); return nil })}
				}
				if got, err := p.SubmitBatch(ctx, batch); got != n || err != nil {
					t.Errorf("%d of %d submitted: %v", got, n, err)
				}
				i += n
			}
		})
	}
	wg.Wait()
	if err := j.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for i := range ran {
		if n := ran[i].Load(); n != 1 {
			t.Fatalf("task %d ran %d times", i, n)
		}
	}
	if k := p.kind.Stats(); k.Outcomes[Succeeded] != submitters*each || k.Wait.Count != submitters*each || k.Run.Count != submitters*each {
		t.Fatalf("counted %v", k.Outcomes)
	}
}

// held is a pool of one worker that is busy until release is called: what is
// submitted meanwhile waits.
func held(t *testing.T, set PoolSettings) (p *Pool, ctx context.Context, release func(), stop func() error) {
	t.Helper()
	s, ctx := tree(t, Settings{})
	if set.Workers == 0 {
		set.Workers = 1
	}
	p, stop = startPool(t, s, ctx, set)
	begun, end := make(chan struct{}), make(chan struct{})
	if err := p.Submit(ctx, Task{Runner: Func(func(context.Context) error { close(begun); <-end; return nil })}); err != nil {
		t.Fatal(err)
	}
	<-begun
	return p, ctx, sync.OnceFunc(func() { close(end) }), stop
}

// order records which tasks ran.
type order struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *order) task(mark string) Func {
	return func(context.Context) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.text.WriteString(mark)
		return nil
	}
}

func TestPriorities(t *testing.T) {
	p, ctx, release, stop := held(t, PoolSettings{Name: "p"})
	var o order
	for range 84 {
		for _, l := range []struct {
			Priority
			mark string
		}{{Low, "l"}, {Normal, "n"}, {High, "h"}} {
			if err := p.Submit(ctx, Task{Runner: o.task(l.mark), Priority: l.Priority}); err != nil {
				t.Fatal(err)
			}
		}
	}
	release()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	got := o.text.String()
	for round := range 5 { // while all wait
		part := got[round*21 : (round+1)*21]
		if h, n, l := strings.Count(part, "h"), strings.Count(part, "n"), strings.Count(part, "l"); h < 15 || n < 3 || l != 1 {
			t.Errorf("round %d began %d high, %d normal, %d low: %s", round, h, n, l, part)
		}
	}
	if len(got) != 252 || !strings.HasSuffix(got, strings.Repeat("l", 40)) {
		t.Errorf("%d ran, in the end %s", len(got), got[len(got)-60:])
	}
}

func TestAFloodStarvesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := tree(t, Settings{})
		p, stop := startPool(t, s, ctx, PoolSettings{Name: "p", Workers: 2, Queue: 1000})
		flood, quiet := p.Tenant("flood", 1), p.Tenant("quiet", 1)
		work := Func(func(context.Context) error { time.Sleep(time.Millisecond); return nil })
		g, gctx := NewGroup(ctx, "g")
		ctxFlood, endFlood := context.WithCancel(gctx)
		for range 4 {
			g.Go("flood", func(context.Context) error {
				for ctxFlood.Err() == nil {
					if err := p.Submit(ctxFlood, Task{Runner: work, Tenant: flood}); err != nil && ctxFlood.Err() == nil {
						return err
					}
				}
				return nil
			})
		}
		time.Sleep(time.Second)
		var longest time.Duration
		for range 200 {
			begin := time.Now()
			if err := p.Do(ctx, Task{Runner: work, Tenant: quiet}); err != nil {
				t.Fatal(err)
			}
			longest = max(longest, time.Since(begin))
			time.Sleep(3 * time.Millisecond)
		}
		// A thousand tasks of the flood wait all the time, for 500 ms; a turn of it
		// is one task of a millisecond.
		if longest > 5*time.Millisecond {
			t.Errorf("the quiet tenant waited %v", longest)
		}
		if q := p.Stats().Tenants; q[1].Tenant != "flood" || q[1].Queued < 700 {
			t.Errorf("the flood has gone: %+v", q)
		}
		endFlood()
		if err := errors.Join(g.Wait(), stop()); err != nil {
			t.Error(err)
		}
	})
}

func TestTenantsShareTimeByWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := tree(t, Settings{})
		p, stop := startPool(t, s, ctx, PoolSettings{Name: "p", Workers: 2, Queue: 100_000})
		var had [3]atomic.Int64 // time of workers
		fill := func(i, weight int, takes time.Duration, n int) {
			k, tenant := p.Kind(fmt.Sprint("kind", i), 0), p.Tenant(fmt.Sprint("tenant", i), weight)
			for range n {
				if err := p.Submit(ctx, Task{Kind: k, Tenant: tenant, Runner: Func(func(context.Context) error {
					time.Sleep(takes)
					had[i].Add(int64(takes))
					return nil
				})}); err != nil {
					t.Fatal(err)
				}
			}
		}
		fill(0, 1, 100*time.Microsecond, 50_000)
		fill(1, 1, 3*time.Millisecond, 5_000)
		fill(2, 2, time.Millisecond, 10_000)
		time.Sleep(3 * time.Second)
		a, b, c := had[0].Load(), had[1].Load(), had[2].Load()
		all := float64(a + b + c)
		for i, want := range []float64{0.25, 0.25, 0.5} {
			if got := float64(had[i].Load()) / all; got < want*0.9 || got > want*1.1 {
				t.Errorf("tenant %d had %.3f of the time, want %.2f", i, got, want)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestDeadlineBeforeBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx, release, stop := held(t, PoolSettings{Name: "p"})
		j := NewJoin()
		ran := 0
		task := Task{Runner: Func(func(context.Context) error { ran++; return nil }), Join: j}
		task.Deadline = time.Now().Add(time.Second)
		if err := p.Submit(ctx, task); err != nil {
			t.Fatal(err)
		}
		task.Deadline = time.Now().Add(time.Minute)
		if err := p.Submit(ctx, task); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		release()
		if err := j.Wait(ctx); err != ErrDeadline || ran != 1 {
			t.Errorf("%d ran, the waiter was told %v", ran, err)
		}
		if o := p.kind.Stats().Outcomes; o[DeadlineMissed] != 1 || o[Succeeded] != 2 {
			t.Errorf("counted %v", o)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestCancellation(t *testing.T) {
	p, ctx, release, stop := held(t, PoolSettings{Name: "p"})
	j := NewJoin()
	cause := errors.New("not wanted")
	dead, cancel := context.WithCancelCause(ctx)
	if err := p.Submit(ctx, Task{Runner: Func(func(context.Context) error { t.Error("it ran"); return nil }), Ctx: dead, Join: j}); err != nil {
		t.Fatal(err)
	}
	cancel(cause)
	// A Do whose context ends while it waits returns at once.
	waits, endWait := context.WithCancel(ctx)
	endWait()
	if err := p.Do(waits, Task{Runner: Func(func(context.Context) error { t.Error("it ran"); return nil })}); !errors.Is(err, context.Canceled) {
		t.Errorf("Do returned %v", err)
	}
	release()
	if err := j.Wait(ctx); err != cause {
		t.Errorf("the waiter was told %v", err)
	}
	// One whose context ends while it runs is told by its context.
	runs, endRun := context.WithCancel(ctx)
	if err := p.Do(runs, Task{Runner: Func(func(ctx context.Context) error { endRun(); <-ctx.Done(); return ctx.Err() })}); !errors.Is(err, context.Canceled) {
		t.Errorf("Do returned %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if o := p.kind.Stats().Outcomes; o[Cancelled] != 3 || o[Succeeded] != 1 {
		t.Errorf("counted %v", o)
	}
}

func TestPanicsStayInTheirTask(t *testing.T) {
	s, ctx := tree(t, Settings{})
	p, stop := startPool(t, s, ctx, PoolSettings{Name: "p", Workers: 2})
	j := NewJoin()
	for i := range 300 {
		if err := p.Submit(ctx, Task{Join: j, Runner: Func(func(context.Context) error {
			switch i % 3 {
			case 0:
				panic(errBoom)
			case 1:
				runtime.Goexit()
			}
			return nil
		})}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Wait(ctx); err == nil || !strings.Contains(err.Error(), "200 tasks failed") {
		t.Errorf("the waiter was told %v", err)
	}
	pe := new(PanicError)
	if err := p.Do(ctx, Task{Runner: Func(func(context.Context) error { panic(errBoom) })}); !errors.As(err, &pe) || !errors.Is(err, errBoom) || pe.Name != "pool p: task" {
		t.Errorf("Do returned %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if o := p.kind.Stats().Outcomes; o[Panicked] != 201 || o[Succeeded] != 100 {
		t.Errorf("counted %v", o)
	}
}

func TestFullQueue(t *testing.T) {
	t.Run("reject", func(t *testing.T) {
		p, ctx, release, stop := held(t, PoolSettings{Name: "p", Queue: 3, Full: Reject})
		a := p.Tenant("a", 1)
		ts := make([]Task, 5)
		for i := range ts {
			ts[i] = Task{Runner: nothing, Tenant: a}
		}
		if n, err := p.SubmitBatch(ctx, ts); n != 3 || !errors.Is(err, ErrFull) {
			t.Errorf("%d submitted: %v", n, err)
		}
		if err := p.Submit(ctx, Task{Runner: nothing, Tenant: a, Priority: High}); err != nil { // a queue of its own
			t.Error(err)
		}
		if err := p.Submit(ctx, Task{Runner: nothing}); err != nil { // another tenant
			t.Error(err)
		}
		if st := p.Stats(); st.Tenants[1].Rejected != 1 || st.Tenants[1].Queued != 4 || st.Capacity != 18 {
			t.Errorf("stats %+v", st)
		}
		release()
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	t.Run("caller runs", func(t *testing.T) {
		p, ctx, release, stop := held(t, PoolSettings{Name: "p", Queue: 2, Full: CallerRuns})
		here, j := 0, NewJoin()
		for range 5 {
			if err := p.Submit(ctx, Task{Runner: Func(func(context.Context) error { here++; return errBoom }), Join: j}); err != nil {
				t.Fatal(err)
			}
		}
		if here != 3 || p.Stats().InCaller != 3 {
			t.Errorf("%d ran in the submitter, counted %d", here, p.Stats().InCaller)
		}
		release()
		if err := j.Wait(ctx); err == nil || !strings.Contains(err.Error(), "5 tasks failed") {
			t.Errorf("the waiter was told %v", err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	t.Run("block", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, ctx, release, stop := held(t, PoolSettings{Name: "p", Queue: 2})
			j := NewJoin()
			ts := make([]Task, 10)
			for i := range ts {
				ts[i] = Task{Runner: nothing, Join: j}
			}
			short, end := context.WithTimeout(ctx, time.Minute)
			defer end()
			begin := time.Now()
			if n, err := p.SubmitBatch(short, ts); n != 2 || !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Minute {
				t.Errorf("%d submitted: %v after %v", n, err, time.Since(begin))
			}
			done := make(chan error)
			go func() {
				n, err := p.SubmitBatch(ctx, ts)
				if n != 10 {
					t.Errorf("%d submitted", n)
				}
				done <- err
			}()
			synctest.Wait()
			release()
			if err := errors.Join(<-done, j.Wait(ctx), stop()); err != nil {
				t.Error(err)
			}
			if st := p.Stats(); st.Blocked < 2 || st.Kinds[0].Outcomes[Succeeded] != 13 {
				t.Errorf("stats %+v", st)
			}
		})
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := tree(t, Settings{})
		// What is queued ends in time.
		p, stop := startPool(t, s, ctx, PoolSettings{Name: "p", Workers: 2, Queue: 5, Drain: time.Minute})
		j := NewJoin()
		second := Task{Runner: Func(func(ctx context.Context) error { time.Sleep(time.Second); return ctx.Err() }), Join: j}
		for range 5 {
			if err := p.Submit(ctx, second); err != nil {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		if err := errors.Join(stop(), j.Wait(ctx)); err != nil || time.Since(begin) != 3*time.Second {
			t.Errorf("drained after %v: %v", time.Since(begin), err)
		}
		if err := p.Submit(ctx, second); !errors.Is(err, ErrClosed) {
			t.Errorf("a pool that has ended took a task: %v", err)
		}
		if len(s.Pools()) != 0 {
			t.Error("the pool is listed after its end")
		}

		// What isn't done in time is told so; blocked submitters as well.
		p, stop = startPool(t, s, ctx, PoolSettings{Name: "p", Workers: 2, Queue: 5, Drain: 10 * time.Second})
		long := Task{Runner: Func(func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }), Join: j}
		for range 7 {
			if err := p.Submit(ctx, long); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		blocked := make(chan error)
		go func() { blocked <- p.Submit(ctx, long) }()
		synctest.Wait()
		begin = time.Now()
		if err := stop(); err == nil || !strings.Contains(err.Error(), "5 tasks were not begun within the 10s") || time.Since(begin) != 10*time.Second {
			t.Errorf("drained after %v: %v", time.Since(begin), err)
		}
		if err := <-blocked; !errors.Is(err, ErrClosed) {
			t.Errorf("the blocked submitter was told %v", err)
		}
		if err := j.Wait(ctx); err == nil || !strings.Contains(err.Error(), "7 tasks failed") {
			t.Errorf("the waiter was told %v", err)
		}
		if o := p.kind.Stats().Outcomes; o[Cancelled] != 5 || o[Failed] != 2 {
			t.Errorf("counted %v", o)
		}
	})
}

func TestTasksBeforeRun(t *testing.T) {
	s, ctx := tree(t, Settings{})
	p := s.NewPool(PoolSettings{Name: "p"})
	j := NewJoin()
	for range 10 {
		if err := p.Submit(ctx, Task{Runner: nothing, Join: j}); err != nil {
			t.Fatal(err)
		}
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := errors.Join(p.Run(over), j.Wait(ctx)); err != nil {
		t.Fatal(err)
	}
	if err := p.Run(ctx); err == nil {
		t.Fatal("a pool ran twice")
	}
}

// A short kind of task is taken many at a time; when one of them takes long all
// the same, the others are stolen.
func TestNobodyWaitsBehindASlowTask(t *testing.T) {
	s, ctx := tree(t, Settings{})
	p, stop := startPool(t, s, ctx, PoolSettings{Name: "p", Workers: 2, Queue: 10_000})
	j := NewJoin()
	short := Task{Runner: nothing, Join: j}
	ts := make([]Task, 5000)
	for round := range 20 {
		end := make(chan struct{})
		for i := range ts {
			ts[i] = short
		}
		slow := NewJoin()
		ts[1000+round] = Task{Runner: Func(func(context.Context) error { <-end; return nil }), Join: slow}
		if _, err := p.SubmitBatch(ctx, ts); err != nil {
			t.Fatal(err)
		}
		if err := j.Wait(ctx); err != nil { // all short ones end while the slow one runs
			t.Fatal(err)
		}
		close(end)
		if err := slow.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestSubmitAllocatesNothing(t *testing.T) {
	s, ctx := tree(t, Settings{})
	p, _ := startPool(t, s, ctx, PoolSettings{Name: "p", Workers: 2})
	k, tenant, j := p.Kind("k", time.Second), p.Tenant("t", 1), NewJoin()
	task := Task{Runner: nothing, Kind: k, Tenant: tenant, Join: j, Deadline: time.Now().Add(time.Hour)}
	batch := []Task{task, task, task, task}
	run := func() {
		for range 100 {
			if err := p.Submit(ctx, task); err != nil {
				t.Fatal(err)
			}
			if _, err := p.SubmitBatch(ctx, batch); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if n := testing.AllocsPerRun(50, run); n > 2 { // 500 tasks
		t.Errorf("%v allocations for 500 tasks", n)
	}
}

func TestStuckTasksAreReportedOnce(t *testing.T) {
	reports := make(chan Stuck, 10)
	s, ctx := tree(t, Settings{WatchEvery: time.Millisecond, OnStuck: func(st Stuck) { reports <- st }})
	p, stop := startPool(t, s, ctx, PoolSettings{Name: "p", Workers: 2})
	g, gctx := NewGroup(ctx, "g")
	g.Go("watch", s.Run)
	k := p.Kind("slow", time.Millisecond)
	end, rounds := make(chan struct{}), NewJoin()
	if err := p.Submit(gctx, Task{Kind: k, Tenant: p.Tenant("spot", 1), Join: rounds, Runner: Func(func(context.Context) error { waitForEver(end); return nil })}); err != nil {
		t.Fatal(err)
	}
	st := <-reports
	if st.Where != "pool p" || st.Kind != "slow" || st.Tenant != "spot" || st.For < time.Millisecond || !strings.Contains(st.Stack, "waitForEver") {
		t.Errorf("reported %+v", st)
	}
	for s.look(); len(reports) > 0; {
		t.Errorf("reported again: %+v", <-reports)
	}
	if n := p.Stats(); n.StuckNow != 1 || n.Stalls != 1 {
		t.Errorf("stats %+v", n)
	}
	close(end)
	if err := rounds.Wait(gctx); err != nil {
		t.Fatal(err)
	}
	g.Cancel(nil)
	if err := errors.Join(g.Wait(), stop()); err != nil {
		t.Error(err)
	}
	if s.look(); len(reports) > 0 {
		t.Error("an ended task was reported")
	}
}

//go:noinline
func waitForEver(c chan struct{}) { <-c }

func TestMonitorOff(t *testing.T) {
	s, ctx := tree(t, Settings{MonitorOff: true})
	p, stop := startPool(t, s, ctx, PoolSettings{Name: "p", Workers: 2})
	j := NewJoin()
	for range 1000 {
		if err := p.Submit(ctx, Task{Runner: nothing, Join: j}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(j.Wait(ctx), stop()); err != nil {
		t.Fatal(err)
	}
	if k := p.kind.Stats(); k.Outcomes[Succeeded] != 1000 || k.Wait.Count != 0 || k.Run.Count != 0 {
		t.Errorf("counted %v, %d waits, %d runs", k.Outcomes, k.Wait.Count, k.Run.Count)
	}
}

func TestTenMillionTasksSucceed(t *testing.T) {
	n := 10_000_000
	if testing.Short() || raceEnabled {
		n = 200_000
	}
	r, err := Load{Tasks: n, Batch: 64}.Pool(context.Background())
	if err != nil || r.Succeeded != uint64(n) {
		t.Fatalf("%d of %d succeeded: %v", r.Succeeded, n, err)
	}
	t.Logf("%d tasks, %.0f a second, p99 wait %v, %.3f allocations a task", n, r.PerSecond, r.WaitP99, r.Allocs)
	g, err := Load{Tasks: n / 100}.Goroutines(context.Background())
	if err != nil || g.Succeeded != uint64(n/100) {
		t.Fatalf("%d of %d succeeded: %v", g.Succeeded, n/100, err)
	}
	t.Logf("goroutines: %.0f a second, p99 wait %v, %.3f allocations a task", g.PerSecond, g.WaitP99, g.Allocs)
}
