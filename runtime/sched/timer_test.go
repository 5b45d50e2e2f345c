package sched

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestEveryDoesNotDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := tree(t, Settings{})
		g, _ := NewGroup(ctx, "g")
		start := time.Now()
		var at []time.Duration
		g.Every("tick", Every{Interval: 10 * time.Second}, func(context.Context) error {
			at = append(at, time.Since(start))
			time.Sleep(time.Duration(len(at)) * 700 * time.Millisecond) // the 15th takes longer than the interval
			return nil
		})
		time.Sleep(161 * time.Second)
		g.Cancel(nil)
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		for i, d := range at {
			want := time.Duration(i+1) * 10 * time.Second
			if i == 15 {
				want += 10 * time.Second
			}
			if d != want {
				t.Errorf("time %d was at %v, want %v", i, d, want)
			}
		}
		if n := s.count.skipped.Load(); len(at) != 15 || n != 1 {
			t.Errorf("%d times, %d skipped", len(at), n)
		}
		if c := s.timers.late.Snapshot(); c.Count != 15 || c.Sum != 0 {
			t.Errorf("lateness %d, %v", c.Count, c.Sum)
		}
	})
}

func TestEveryJitterDoesNotAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, ctx := tree(t, Settings{})
		g, _ := NewGroup(ctx, "g")
		start, n := time.Now(), 0
		seen := map[time.Duration]bool{}
		g.Every("tick", Every{Interval: time.Second, Jitter: 100 * time.Millisecond, AtOnce: true}, func(context.Context) error {
			late := time.Since(start) - time.Duration(n)*time.Second
			if late < 0 || late >= 100*time.Millisecond {
				t.Errorf("time %d is %v late", n, late)
			}
			seen[late] = true
			n++
			return nil
		})
		time.Sleep(1000*time.Second - time.Nanosecond)
		g.Cancel(nil)
		if err := g.Wait(); err != nil || n != 1000 || len(seen) < 900 {
			t.Errorf("%d times, %d different delays, %v", n, len(seen), err)
		}
	})
}

func TestEveryFailureIsTheGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, ctx := tree(t, Settings{})
		g, _ := NewGroup(ctx, "g")
		n := 0
		g.Every("once", Every{Interval: time.Second}, func(context.Context) error { return errBoom })
		if err := g.Wait(); err != errBoom {
			t.Errorf("Wait returned %v", err)
		}
		g, _ = NewGroup(ctx, "g")
		g.Every("again", Every{Interval: time.Second, Restart: Restart{When: OnFailure, Max: 2, Within: time.Hour}}, func(context.Context) error { n++; panic("no") })
		if err := g.Wait(); err == nil || n != 3 {
			t.Errorf("%d times, then %v", n, err)
		}
	})
}

func TestAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, ctx := tree(t, Settings{})
		g, _ := NewGroup(ctx, "g")
		start := time.Now()
		g.After("late", 3*time.Hour, func(context.Context) error {
			if d := time.Since(start); d != 3*time.Hour {
				t.Errorf("it came after %v", d)
			}
			return nil
		})
		never := g.After("never", 4*time.Hour, func(context.Context) error { t.Error("it ran"); return nil })
		time.Sleep(3*time.Hour + time.Second)
		g.Cancel(nil)
		if err := errors.Join(g.Wait(), never.Wait()); err != nil {
			t.Error(err)
		}
	})
}

func TestPoolEverySkipsWhatStillRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := tree(t, Settings{})
		p, stop := startPool(t, s, ctx, PoolSettings{Name: "p", Workers: 2})
		g, _ := NewGroup(ctx, "g")
		n := 0
		c := p.Every(g, "poll", Every{Interval: time.Second}, Task{Runner: Func(func(context.Context) error {
			n++
			time.Sleep(2500 * time.Millisecond)
			return errBoom // the next time comes all the same
		})})
		time.Sleep(30500 * time.Millisecond) // begins at 1, 4, 7, … 28
		synctest.Wait()
		if n != 10 || s.count.skipped.Load() != 20 {
			t.Errorf("it ran %d times, %d were skipped", n, s.count.skipped.Load())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if err := c.Wait(); err != nil { // the pool is gone
			t.Error(err)
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}
