package sched

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/marketprism/marketprism/sdk/fault"
)

func TestMain(m *testing.M) {
	// ants starts some when it is imported.
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent())
}

// tree is a scheduler and a context that belongs to it.
func tree(t *testing.T, s Settings) (*Scheduler, context.Context) {
	t.Helper()
	sch := New(s)
	return sch, sch.Context(context.Background())
}

var errBoom = errors.New("boom")

func TestFirstErrorEndsTheGroup(t *testing.T) {
	_, ctx := tree(t, Settings{})
	g, gctx := NewGroup(ctx, "g")
	ended := make(chan struct{})
	g.Go("other", func(ctx context.Context) error {
		<-ctx.Done()
		close(ended)
		return ctx.Err()
	})
	g.Go("fails", func(context.Context) error { return errBoom })
	if err := g.Wait(); err != errBoom {
		t.Fatalf("Wait returned %v", err)
	}
	<-ended
	if err := context.Cause(gctx); err != errBoom {
		t.Fatalf("the context's cause is %v", err)
	}
}

func TestSetGoesOn(t *testing.T) {
	_, ctx := tree(t, Settings{})
	ctx, cancel := context.WithCancel(ctx)
	g, gctx := NewSet(ctx, "g")
	failed := g.Go("fails", func(context.Context) error { return errBoom })
	if err := failed.Wait(); err != errBoom {
		t.Fatalf("the child's error is %v", err)
	}
	if gctx.Err() != nil {
		t.Fatal("a failure ended the set")
	}
	other := errors.New("another")
	g.Go("late", func(ctx context.Context) error { <-ctx.Done(); return other })
	g.Go("obedient", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	cancel()
	err := g.Wait()
	if !errors.Is(err, errBoom) || !errors.Is(err, other) || errors.Is(err, context.Canceled) {
		t.Fatalf("Wait returned %v", err)
	}
}

func TestWaitWaitsForWhatChildrenStart(t *testing.T) {
	_, ctx := tree(t, Settings{})
	g, _ := NewGroup(ctx, "g")
	var ran atomic.Int32
	var grow func(depth int) func(context.Context) error
	grow = func(depth int) func(context.Context) error {
		return func(context.Context) error {
			ran.Add(1)
			if depth > 0 {
				g.Go("child", grow(depth-1))
				g.Go("child", grow(depth-1))
			}
			return nil
		}
	}
	g.Go("child", grow(9))
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := ran.Load(); n != 1023 {
		t.Fatalf("%d of 1023 ran", n)
	}
	late := g.Go("late", func(context.Context) error { t.Error("it ran after the group's end"); return nil })
	if late.Started() || late.Wait() != ErrEnded {
		t.Fatal("a group that has ended started a goroutine")
	}
}

func TestPanicBecomesAnError(t *testing.T) {
	var log bytes.Buffer
	s, ctx := tree(t, Settings{Logger: zerolog.New(&log)})
	g, _ := NewGroup(ctx, "feed")
	g.Go("lane", func(context.Context) error { panic(errBoom) })
	err := g.Wait()
	p := new(PanicError)
	if !errors.As(err, &p) || !errors.Is(err, errBoom) || p.Name != "feed/lane" || !bytes.Contains(p.Stack, []byte("TestPanicBecomesAnError")) {
		t.Fatalf("Wait returned %#v", err)
	}
	if s.count.panics.Load() != 1 || !strings.Contains(log.String(), "feed/lane") {
		t.Fatalf("the panic was not counted or logged: %s", log.String())
	}
}

func TestGoexitIsNoticed(t *testing.T) {
	_, ctx := tree(t, Settings{})
	g, _ := NewGroup(ctx, "g")
	g.Supervise("exits", Restart{When: Always}, func(context.Context) error { runtime.Goexit(); return nil })
	if err := g.Wait(); !errors.Is(err, ErrGoexit) {
		t.Fatalf("Wait returned %v", err)
	}
}

func TestListNamesWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := tree(t, Settings{})
		g, _ := NewGroup(ctx, "engine")
		tries := 0
		g.Go("feed binance-spot", func(ctx context.Context) error {
			sub, sctx := NewGroup(ctx, "")
			sub.Go("lane", func(ctx context.Context) error {
				if p := Path(ctx); p != "engine/feed binance-spot/lane" {
					t.Errorf("the lane's path is %q", p)
				}
				<-ctx.Done()
				return nil
			})
			sub.Supervise("link", Restart{When: OnFailure, Backoff: time.Minute, Max: 3, Within: time.Hour}, func(ctx context.Context) error {
				if tries++; tries == 1 {
					return errBoom
				}
				<-ctx.Done()
				return nil
			})
			<-sctx.Done()
			return sub.Wait()
		})
		synctest.Wait()
		text := func() string {
			var b strings.Builder
			for _, st := range s.List() {
				fmt.Fprintf(&b, "%s %s %d %s\n", st.Path, st.State, st.Restarts, st.LastErr)
			}
			return b.String()
		}
		want := "engine/feed binance-spot running 0 \nengine/feed binance-spot/lane running 0 \nengine/feed binance-spot/link backoff 0 boom\n"
		if got := text(); got != want {
			t.Errorf("listed\n%swant\n%s", got, want)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		want = strings.Replace(want, "link backoff 0", "link running 1", 1)
		if got := text(); got != want {
			t.Errorf("listed\n%swant\n%s", got, want)
		}
		for _, st := range s.List() {
			if strings.HasSuffix(st.Path, "lane") && time.Since(st.Since) != time.Minute {
				t.Errorf("the lane runs since %v", st.Since)
			}
		}
		g.Cancel(nil)
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		if l := s.List(); len(l) != 0 {
			t.Errorf("listed after the end: %v", l)
		}
	})
}

func TestRestarts(t *testing.T) {
	for _, c := range []struct {
		name  string
		r     Restart
		fails int   // runs that fail; then it blocks until the context ends
		err   error // that they fail with
		runs  int
		up    bool // the failure reached the group
	}{
		{"never", Restart{}, 1, errBoom, 1, true},
		{"never, by value nil", Restart{}, 1, nil, 1, false},
		{"on failure", Restart{When: OnFailure}, 3, errBoom, 4, false},
		{"on failure, returns", Restart{When: OnFailure}, 1, nil, 1, false},
		{"always, returns", Restart{When: Always}, 3, nil, 4, false},
		{"used up", Restart{When: OnFailure, Max: 2, Within: time.Hour}, 9, errBoom, 3, true},
		{"used up by returns", Restart{When: Always, Max: 2, Within: time.Hour}, 9, nil, 3, true},
		{"stop", Restart{When: Always}, 9, fault.New(fault.Stop, errBoom), 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, ctx := tree(t, Settings{})
				g, _ := NewGroup(ctx, "g")
				runs := 0
				g.Supervise("child", c.r, func(ctx context.Context) error {
					if runs++; runs <= c.fails {
						return c.err
					}
					<-ctx.Done()
					return nil
				})
				time.Sleep(time.Hour)
				g.Cancel(nil)
				err := g.Wait()
				if runs != c.runs || (err != nil) != c.up {
					t.Errorf("%d runs, want %d; Wait returned %v", runs, c.runs, err)
				}
				if c.up && c.err != nil && !errors.Is(err, errBoom) {
					t.Errorf("Wait returned %v", err)
				}
			})
		})
	}
}

func TestBackoffDoublesUpToItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, ctx := tree(t, Settings{})
		g, _ := NewGroup(ctx, "g")
		var at []time.Time
		g.Supervise("child", Restart{When: OnFailure, Backoff: time.Second, MaxBackoff: 4 * time.Second, Max: 6, Within: time.Hour},
			func(context.Context) error { at = append(at, time.Now()); panic("again") })
		p := new(PanicError)
		if err := g.Wait(); !errors.As(err, &p) || !strings.Contains(err.Error(), "given up after 6 restarts in 1h0m0s") {
			t.Errorf("Wait returned %v", err)
		}
		for i, bound := range []time.Duration{1, 2, 4, 4, 4, 4} {
			bound *= time.Second
			if d := at[i+1].Sub(at[i]); d < bound/2 || d > bound {
				t.Errorf("restart %d came after %v, want %v to %v", i, d, bound/2, bound)
			}
		}
	})
}

func TestBudgetOfRestartsIsOfAPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, ctx := tree(t, Settings{})
		g, _ := NewGroup(ctx, "g")
		runs := 0
		g.Supervise("child", Restart{When: OnFailure, MaxBackoff: time.Second, Max: 3, Within: time.Minute}, func(ctx context.Context) error {
			runs++
			select {
			case <-time.After(25 * time.Second): // two in a minute
				return errBoom
			case <-ctx.Done():
				return nil
			}
		})
		time.Sleep(time.Hour)
		g.Cancel(nil)
		if err := g.Wait(); err != nil && err != context.Canceled || runs < 100 { // it may end in a backoff
			t.Errorf("%d runs, then %v", runs, err)
		}
	})
}

func TestRestartWaitsAsLongAsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, ctx := tree(t, Settings{})
		g, _ := NewGroup(ctx, "g")
		start, runs := time.Now(), 0
		g.Supervise("banned", Restart{When: OnFailure}, func(context.Context) error {
			if runs++; runs == 1 {
				return fault.WaitFor(17*time.Minute, errBoom)
			}
			if d := time.Since(start); d < 17*time.Minute {
				t.Errorf("started again after %v", d)
			}
			return nil
		})
		if err := g.Wait(); err != nil || runs != 2 {
			t.Errorf("%d runs, then %v", runs, err)
		}
	})
}

func TestCancelEndsABackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, ctx := tree(t, Settings{})
		g, _ := NewGroup(ctx, "g")
		g.Supervise("child", Restart{When: OnFailure, Backoff: time.Hour}, func(context.Context) error { return errBoom })
		synctest.Wait()
		start := time.Now()
		g.Cancel(nil)
		if err := g.Wait(); err != context.Canceled || time.Since(start) != 0 {
			t.Errorf("Wait returned %v after %v", err, time.Since(start))
		}
	})
}

func TestPanicMayEndAtOnce(t *testing.T) {
	_, ctx := tree(t, Settings{})
	g, _ := NewGroup(ctx, "g")
	runs := 0
	g.Supervise("child", Restart{When: Always, PanicEnds: true}, func(context.Context) error { runs++; panic("no") })
	if err := g.Wait(); err == nil || runs != 1 {
		t.Fatalf("%d runs, then %v", runs, err)
	}
}

// A goroutine of a group is to cost little more than a bare one; 64 at a time.
func BenchmarkSpawn(b *testing.B) {
	ctx := New(Settings{Logger: zerolog.Nop()}).Context(context.Background())
	fn, bare := func(context.Context) error { return nil }, func() error { return nil }
	b.Run("group", func(b *testing.B) {
		b.ReportAllocs()
		for n := 0; n < b.N; n += 64 {
			g, _ := NewGroup(ctx, "bench")
			for range 64 {
				g.Go("child", fn)
			}
			if err := g.Wait(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("errgroup", func(b *testing.B) {
		b.ReportAllocs()
		for n := 0; n < b.N; n += 64 {
			g, _ := errgroup.WithContext(ctx)
			for range 64 {
				g.Go(bare)
			}
			if err := g.Wait(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("waitgroup", func(b *testing.B) {
		b.ReportAllocs()
		for n := 0; n < b.N; n += 64 {
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() { _ = bare() })
			}
			wg.Wait()
		}
	})
}
