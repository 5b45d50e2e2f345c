package sched

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// source is a counter of things to do, with a bell.
type source struct {
	n     atomic.Int64
	bell  chan struct{}
	polls func(budget int, n int) error // told of each poll
	loud  bool                          // its Wait returns at once
}

func newSource() *source { return &source{bell: make(chan struct{}, 1)} }

func (s *source) add(n int) {
	s.n.Add(int64(n))
	s.Interrupt()
}

func (s *source) Poll(budget int) (int, error) {
	n := min(int(s.n.Load()), budget)
	s.n.Add(int64(-n))
	if s.polls != nil {
		return n, s.polls(budget, n)
	}
	return n, nil
}

func (s *source) Idle(draining bool) (bool, error) { return draining && s.n.Load() == 0, nil }

func (s *source) Wait(d time.Duration) {
	switch {
	case s.loud:
	case d == 0:
		<-s.bell
	default:
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-s.bell:
		case <-t.C:
		}
	}
}

func (s *source) Interrupt() {
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

func TestLaneTakesAllThenParks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := tree(t, Settings{})
		src := newSource()
		src.polls = func(_, n int) error { time.Sleep(time.Duration(n) * time.Microsecond); return nil }
		l := s.NewLane(LaneSettings{Name: "spot", Batch: TunerSettings{Min: 100, Max: 100}}, src)
		drain := make(chan struct{})
		g, _ := NewGroup(ctx, "feed")
		g.Go("lane", func(ctx context.Context) error { return l.Run(ctx, drain) })
		for range 10 {
			src.add(1050)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		st := l.Stats()
		if st.Taken != 10_500 || st.State != "parked" || st.Parks < 10 || st.Full != 100 || st.Biggest != 100 || st.Budget != 100 {
			t.Errorf("stats %+v", st)
		}
		if st.Polls != 110+st.Empty || st.Empty > 25 || st.Parked < 8900*time.Millisecond {
			t.Errorf("stats %+v", st)
		}
		src.n.Add(70) // without the bell: draining finds it
		close(drain)
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		if st := l.Stats(); st.Taken != 10_570 || st.State != "stopped" {
			t.Errorf("after the drain %+v", st)
		}
		if len(s.Lanes()) != 0 {
			t.Error("it is listed after its end")
		}
	})
}

func TestLaneEndsWithItsContext(t *testing.T) {
	s, ctx := tree(t, Settings{})
	ctx, cancel := context.WithCancel(ctx)
	l := s.NewLane(LaneSettings{Name: "spot"}, newSource())
	done := make(chan error)
	go func() { done <- l.Run(ctx, nil) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("Run returned %v", err)
	}
}

func TestLaneReturnsWhatItsWorkReturns(t *testing.T) {
	s, ctx := tree(t, Settings{})
	src := newSource()
	src.polls = func(int, int) error { return errBoom }
	l := s.NewLane(LaneSettings{Name: "spot"}, src)
	if err := l.Run(ctx, nil); !errors.Is(err, errBoom) || !strings.Contains(err.Error(), "lane spot") {
		t.Fatalf("Run returned %v", err)
	}
}

func TestLaneTunesItsBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := tree(t, Settings{})
		src := newSource()
		src.n.Store(1 << 40)
		src.polls = func(_, n int) error { time.Sleep(time.Millisecond + time.Duration(n)*10*time.Microsecond); return nil }
		l := s.NewLane(LaneSettings{Name: "spot", Batch: TunerSettings{Max: 4096}}, src)
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan error)
		go func() { done <- l.Run(ctx, nil) }()
		time.Sleep(20 * time.Second)
		if b := l.Stats().Budget; b < 150 || b > 700 { // 317 is best
			t.Errorf("the budget is %d", b)
		}
		l.Tuner().Pin(1000)
		time.Sleep(time.Second)
		if st := l.Stats(); st.Budget != 1000 {
			t.Errorf("pinned to 1000, the budget is %d", st.Budget)
		}
		cancel()
		<-done
	})
}

// Where work comes back within microseconds the lane spins; when it stays away
// it parks.
func TestLaneSpinsWhereThatPays(t *testing.T) {
	s, _ := tree(t, Settings{})
	l := s.NewLane(LaneSettings{Name: "spot"}, newSource())
	var r laneRun
	for range 50 {
		r.gaps.learn(int64(3 * time.Microsecond))
	}
	r.dry = mono()
	l.rest(t.Context(), &r, false)
	if st := l.Stats(); st.Spins != 1 || st.State != "spinning" || st.Parks != 0 {
		t.Errorf("after short gaps: %+v", st)
	}
	if l.work.(*source).add(1); true {
		if n, err := l.poll(&r); n != 1 || err != nil || l.Stats().SpinHits != 1 {
			t.Errorf("%d, %v, %+v", n, err, l.Stats())
		}
	}
	<-l.work.(*source).bell
	r.gaps.learn(int64(time.Second))
	r.dry = mono()
	l.work.Interrupt()
	l.rest(t.Context(), &r, false)
	if st := l.Stats(); st.Spins != 1 || st.Parks != 1 || st.State != "parked" {
		t.Errorf("after a long gap: %+v", st)
	}
}

func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Eight lanes, a pool and the watch take less than 1 % of a processor while
// there is no traffic, also where a lane's source rings all the time.
func TestIdleTakesNoCPU(t *testing.T) {
	for name, loud := range map[string]bool{"silent": false, "loud": true} {
		t.Run(name, func(t *testing.T) {
			s, ctx := tree(t, Settings{})
			g, gctx := NewGroup(ctx, "g")
			g.Go("watch", s.Run)
			p := s.NewPool(PoolSettings{Name: "p", Workers: 8, Tune: &TunerSettings{Min: 1}})
			g.Go("pool", p.Run)
			var lanes []*Lane
			lanesNow := 8
			if loud {
				lanesNow = 1
			}
			for range lanesNow {
				src := newSource()
				src.loud = loud
				l := s.NewLane(LaneSettings{Name: "l", StuckAfter: time.Second}, src)
				lanes = append(lanes, l)
				g.Go("lane", func(ctx context.Context) error {
					if err := l.Run(ctx, nil); !errors.Is(err, context.Canceled) {
						return err
					}
					return nil
				})
				src.add(1000)
			}
			for range 1000 {
				if err := p.Do(gctx, Task{Runner: nothing}); err != nil {
					t.Fatal(err)
				}
			}
			tick := time.NewTicker(500 * time.Millisecond)
			defer tick.Stop()
			<-tick.C // what began has ended
			begin, used := time.Now(), cpuTime(t)
			<-tick.C
			<-tick.C
			took, cpu := time.Since(begin), cpuTime(t)-used
			share := float64(cpu) / float64(took)
			t.Logf("%v of CPU in %v: %.3f %%", cpu, took, 100*share)
			if share > 0.01 {
				t.Errorf("idle lanes take %.2f %% of a processor", 100*share)
			}
			if loud && lanes[0].Stats().Damped == 0 {
				t.Error("a source that rings for nothing was not damped")
			}
			g.Cancel(nil)
			if err := g.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestStuckLaneIsReportedOnce(t *testing.T) {
	reports := make(chan Stuck, 4)
	s, ctx := tree(t, Settings{OnStuck: func(st Stuck) { reports <- st }})
	src, end, polling := newSource(), make(chan struct{}), make(chan struct{}, 1)
	src.polls = func(_, n int) error {
		if n > 0 {
			polling <- struct{}{}
			waitForEver(end)
		}
		return nil
	}
	l := s.NewLane(LaneSettings{Name: "spot", StuckAfter: time.Nanosecond}, src)
	drain := make(chan struct{})
	done := make(chan error)
	go func() { done <- l.Run(ctx, drain) }()
	src.add(1)
	<-polling
	s.look()
	s.look()
	if st := <-reports; st.Where != "lane spot" || !strings.Contains(st.Stack, "waitForEver") || len(reports) != 0 {
		t.Errorf("reported %+v, and %d more", st, len(reports))
	}
	close(end)
	close(drain)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func BenchmarkLane(b *testing.B) {
	s := New(Settings{})
	src := newSource()
	src.n.Store(int64(b.N))
	l := s.NewLane(LaneSettings{Name: "bench"}, src)
	drain := make(chan struct{})
	close(drain)
	b.ReportAllocs()
	if err := l.Run(s.Context(context.Background()), drain); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
