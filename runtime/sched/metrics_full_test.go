package sched

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestMetricsOfFullQueues fills the queues of three pools, each of which does
// something else then.
func TestMetricsOfFullQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := tree(t, Settings{})
		g, gctx := NewSet(ctx, "g")
		end := make(chan struct{})
		wait := Func(func(context.Context) error { <-end; return nil })
		submitted := make(chan error, 8)
		for name, full := range map[string]Policy{"blocks": Block, "runs": CallerRuns, "cut": Block} {
			p := s.NewPool(PoolSettings{Name: name, Workers: 1, Queue: 1, Full: full, Drain: time.Second})
			g.Go(name, p.Run)
			n := 3 // one runs, one waits, and one more
			if name == "cut" {
				n = 2
			}
			for range n {
				g.Go("submit", func(context.Context) error {
					submitted <- p.Submit(gctx, Task{Runner: wait})
					return nil
				})
				synctest.Wait()
			}
		}
		m := values(s)
		for key, want := range map[string]float64{"blocked_submits_total blocks": 1, "caller_runs_total blocks": 0, "caller_runs_total runs": 1,
			"blocked_submits_total runs": 0, "blocked_submits_total cut": 0, "drain_cut_tasks_total cut": 0, "queue_tasks blocks normal": 1} {
			if v, ok := m[key]; !ok || v != want {
				t.Errorf("%s is %v (%v), want %v", key, v, ok, want)
			}
		}
		// The end comes while a task runs: what is queued behind it is cut.
		g.Cancel(nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if m = values(s); m["drain_cut_tasks_total cut"] != 1 {
			t.Errorf("%v tasks were cut, want 1", m["drain_cut_tasks_total cut"])
		}
		close(end)
		_ = g.Wait() // says what was cut
		if m = values(s); m["drain_seconds"] != 3 {
			t.Errorf("%v drains", m["drain_seconds"])
		}
	})
}
