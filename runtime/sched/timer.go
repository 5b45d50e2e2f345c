package sched

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

// Every says when periodic work is done. The times are start + n × Interval
// whatever the work takes: they don't drift. A time that comes while the work
// is still under way is skipped and counted.
type Every struct {
	Interval time.Duration
	Jitter   time.Duration // each time is up to that much later, at random
	AtOnce   bool          // the first time is the start
	// Restart, if set, starts the work again after a failure; else that is the
	// group's.
	Restart Restart
}

type timerStats struct{ late telemetry.Histogram }

// Every does work at an interval, in a goroutine of its own.
func (g *Group) Every(name string, e Every, work func(context.Context) error) *Child {
	e.Interval = max(e.Interval, time.Nanosecond)
	return g.Supervise(name, e.Restart, func(ctx context.Context) error {
		start := mono()
		n := int64(1)
		if e.AtOnce {
			n = 0
		}
		t := time.NewTimer(time.Hour)
		defer t.Stop()
		for {
			due := start + n*int64(e.Interval)
			if e.Jitter > 0 {
				due += int64(rand.N(e.Jitter))
			}
			if d := due - mono(); d > 0 {
				t.Reset(nanos(d))
				select {
				case <-ctx.Done():
					return nil
				case <-t.C:
				}
			} else if ctx.Err() != nil {
				return nil
			}
			g.s.timers.late.Observe(nanos(mono() - due))
			g.s.count.ticks.Add(1)
			if err := work(ctx); err != nil {
				if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
					return nil
				}
				return err
			}
			next := max((mono()-start)/int64(e.Interval), n) + 1
			if next > n+1 {
				g.s.count.skipped.Add(next - n - 1)
			}
			n = next
		}
	})
}

// After does work once, when d has passed; if the group's context ends before,
// it isn't done.
func (g *Group) After(name string, d time.Duration, work func(context.Context) error) *Child {
	due := mono() + int64(d)
	return g.Go(name, func(ctx context.Context) error {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		g.s.timers.late.Observe(nanos(mono() - due))
		g.s.count.ticks.Add(1)
		return work(ctx)
	})
}

// Every submits a task at an interval; g waits for the goroutine that does so.
// While the one before has not ended, or its queue is full, a time is skipped.
// The task's Join is this function's. It ends when the pool takes no more.
func (p *Pool) Every(g *Group, name string, e Every, t Task) *Child {
	t.Join = NewJoin()
	ended := errors.New("the pool has ended")
	return g.Go(name, func(ctx context.Context) error {
		sub, sctx := NewGroup(ctx, "")
		sub.Every("timer", e, func(context.Context) error {
			if t.Join.left.Load() > 0 {
				g.s.count.skipped.Add(1)
				return nil
			}
			switch err := p.Submit(sctx, t); {
			case errors.Is(err, ErrFull):
				g.s.count.skipped.Add(1)
			case errors.Is(err, ErrClosed):
				return ended
			case err != nil:
				return err
			}
			return nil
		})
		if err := sub.Wait(); !errors.Is(err, ended) {
			return err
		}
		return nil
	})
}
