package sched

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/fault"
)

func TestDescs(t *testing.T) {
	if err := telemetry.Check(Descs()); err != nil {
		t.Error(err)
	}
	if n := len(Descs()); n < 25 {
		t.Errorf("%d metrics", n)
	}
}

// values are a scheduler's metrics by name and labels, "tasks_total pool kind
// outcome"; a histogram's value is its count.
func values(s *Scheduler) map[string]float64 {
	r := telemetry.NewRegistry()
	r.Add(s.Report)
	out := map[string]float64{}
	for _, v := range r.Values() {
		key := strings.Join(append([]string{strings.TrimPrefix(v.Desc.Name, "marketprism_sched_")}, v.Labels...), " ")
		if out[key] = v.Value; v.Hist != nil {
			out[key] = float64(v.Hist.Count)
		}
	}
	return out
}

// TestMetricsSayWhatWasDone does one of everything, by a clock that stands still
// meanwhile, and reads each metric.
func TestMetricsSayWhatWasDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := tree(t, Settings{WatchEvery: time.Second})
		g, gctx := NewSet(ctx, "g")
		g.Go("watch", s.Run)
		g.Supervise("restarted", Restart{When: OnFailure, Max: 1, Within: time.Hour}, func(context.Context) error { panic("twice") })
		g.Supervise("banned", Restart{When: OnFailure}, func(ctx context.Context) error { return fault.WaitFor(time.Hour, errBoom) })
		g.Every("tick", Every{Interval: 20 * time.Second}, func(context.Context) error { time.Sleep(30 * time.Second); return nil })

		p := s.NewPool(PoolSettings{Name: "p", Workers: 2, Queue: 2, Full: Reject, Tune: &TunerSettings{Min: 1, Pin: 1}})
		g.Go("pool", p.Run)
		k, spot := p.Kind("slow", 5*time.Second), p.Tenant("spot", 1)
		end := make(chan struct{})
		dead, cancel := context.WithCancel(gctx)
		cancel()
		submit := func(task Task) {
			if err := p.Submit(gctx, task); err != nil && !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		submit(Task{Runner: nothing})
		submit(Task{Runner: Func(func(context.Context) error { return errBoom })})
		submit(Task{Runner: Func(func(context.Context) error { panic("no") })})
		submit(Task{Runner: nothing, Ctx: dead})
		submit(Task{Runner: nothing, Deadline: time.Now().Add(-time.Second)})
		submit(Task{Runner: Func(func(context.Context) error { <-end; return nil }), Kind: k, Tenant: spot, Priority: High})
		for range 3 { // the worker is busy: two wait, one is refused
			submit(Task{Runner: nothing, Tenant: spot, Priority: Low})
		}

		l := s.NewLane(LaneSettings{Name: "lane", Batch: TunerSettings{Min: 10, Max: 10}, StuckAfter: 5 * time.Second}, newSource())
		src := l.work.(*source)
		src.polls = func(_, n int) error {
			if n == 3 {
				<-end
			}
			return nil
		}
		g.Go("lane", func(ctx context.Context) error { return l.Run(ctx, nil) })
		synctest.Wait()
		src.add(25)
		synctest.Wait()
		src.Interrupt() // for nothing
		time.Sleep(10 * time.Second)
		src.add(3)

		time.Sleep(111 * time.Second)
		synctest.Wait()
		got := values(s)
		for key, want := range map[string]float64{
			"goroutines": 7, // watch, banned, tick, pool and its worker and tuner, lane
			"groups":     3, "goroutines_started_total": 8,
			"goroutines_failed_total": 1, "goroutine_panics_total": 2, "restarts_total": 1, "restarts_given_up_total": 1, "goroutines_backing_off": 1,
			"timer_ticks_total": 3, "timer_skipped_total": 2, "timer_lateness_seconds": 3,
			"tasks_total p task success": 1, "tasks_total p task error": 1, "tasks_total p task panic": 1, "tasks_total p task cancelled": 1, "tasks_total p task deadline": 1,
			"tasks_total p slow success": 0, "wait_seconds p task": 5, "wait_seconds p slow": 1, "run_seconds p task": 3, "run_seconds p slow": 0,
			"queue_tasks p low": 2, "queue_tasks p normal": 0, "queue_tasks p high": 0, "queue_capacity_tasks p": 12,
			"tasks_begun_total p normal": 5, "tasks_begun_total p high": 1, "tasks_begun_total p low": 0,
			"tenant_tasks_total p ": 5, "tenant_tasks_total p spot": 1, "tenant_queue_tasks p spot": 2, "tenant_queue_tasks p ": 0,
			"rejected_tasks_total p spot": 1, "rejected_tasks_total p ": 0, "blocked_submits_total p": 0, "caller_runs_total p": 0,
			"workers p": 1, "workers_busy p": 1, "workers_limit p": 1, "stolen_tasks_total p": 0, "batches_total p": 6,
			"stuck_tasks p": 1, "stalls_total p": 1, "drain_cut_tasks_total p": 0,
			"tuner_pinned pool p": 1, "tuner_changes_total pool p": 0, "tuner_load_changes_total pool p": 0,
			"tuner_pinned lane lane": 0,
			"lane_polls_total lane":  6, "lane_empty_polls_total lane": 3, "lane_full_polls_total lane": 2, "lane_taken_units_total lane": 25,
			"lane_parks_total lane": 3, "lane_parked_seconds_total lane": 10, "lane_false_wakes_total lane": 1, "lane_damped_total lane": 0,
			"lane_batch_limit_units lane": 10, "lane_turn_seconds lane": 3, "lane_stuck lane": 1, "lane_stalls_total lane": 1, "lane_running lane": 1,
			"lane_spins_total lane": 0, "lane_spin_hits_total lane": 0,
		} {
			if v, ok := got[key]; !ok || v != want {
				t.Errorf("%s is %v (%v), want %v", key, v, ok, want)
			}
		}
		parks, wakes := got["worker_parks_total p"], got["worker_wakes_total p"]
		if spins := got["worker_spins_total p"]; parks+spins < 5 || wakes > parks || got["worker_spin_hits_total p"] > spins {
			t.Errorf("%v parks, %v wakes, %v spins", parks, wakes, spins)
		}
		for _, d := range Descs() {
			found := d == mDrain
			for key := range got {
				found = found || strings.HasPrefix(key+" ", strings.TrimPrefix(d.Name, "marketprism_sched_")+" ")
			}
			if !found {
				t.Errorf("%s is never reported", d.Name)
			}
		}
		close(end)
		synctest.Wait()
		if got = values(s); got["tasks_total p task success"] != 3 || got["tasks_total p slow success"] != 1 || got["run_seconds p slow"] != 1 ||
			got["lane_taken_units_total lane"] != 28 || got["goroutines"] != 7 {
			t.Errorf("in the end %v", got)
		}
		g.Cancel(nil)
		p2 := new(PanicError)
		if err := g.Wait(); !errors.As(err, &p2) {
			t.Errorf("Wait returned %v", err)
		}
		if got = values(s); got["goroutines"] != 0 || got["groups"] != 0 || got["drain_seconds"] != 1 {
			t.Errorf("after the end %v", got)
		}
	})
}
