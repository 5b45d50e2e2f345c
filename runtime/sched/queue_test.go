package sched

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestQueuesKeepOrder puts and takes at random, and compares with lists: each
// tenant's tasks of a priority come in their order, none is lost or comes twice,
// and no queue goes over its bound.
func TestQueuesKeepOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bound := rapid.IntRange(1, 40).Draw(t, "bound")
		p := New(Settings{MonitorOff: true}).NewPool(PoolSettings{Name: "p", Queue: bound, Full: Reject})
		kinds := []*Kind{p.Kind("unknown", 0), p.Kind("short", 0), p.Kind("long", 0)}
		kinds[1].cost.Store(100)
		kinds[2].cost.Store(int64(time.Second))
		tenants := []*Tenant{p.Tenant("a", 1), p.Tenant("b", 3), p.Tenant("c", 1)}
		type place struct {
			tenant *Tenant
			level  Priority
		}
		want := map[place][]int{}
		queued, id := 0, 0
		dst := make([]Task, batchTasks)
		take := func(t *rapid.T) {
			limit := rapid.IntRange(1, batchTasks).Draw(t, "limit")
			p.mu.Lock()
			n := p.take(dst, limit, batchCost)
			p.mu.Unlock()
			if n > limit || n == 0 && queued > 0 {
				t.Fatalf("took %d of %d, at most %d", n, queued, limit)
			}
			for i := range dst[:n] {
				at := place{dst[i].Tenant, dst[i].Priority}
				if len(want[at]) == 0 || want[at][0] != int(dst[i].since) {
					t.Fatalf("tenant %s, %s: got %d, want one of %v", at.tenant.name, at.level, dst[i].since, want[at])
				}
				want[at] = want[at][1:]
				dst[i] = Task{}
			}
			queued -= n
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				at := place{rapid.SampledFrom(tenants).Draw(t, "tenant"), Priority(rapid.IntRange(0, 2).Draw(t, "level"))}
				k := rapid.SampledFrom(kinds).Draw(t, "kind")
				for range rapid.IntRange(1, 20).Draw(t, "n") {
					id++
					n, full, err := p.push([]Task{{Runner: nothing, Kind: k, Tenant: at.tenant, Priority: at.level}}, int64(id))
					if err != nil || (full != nil) != (len(want[at]) == bound) || n == 1 && full != nil {
						t.Fatalf("%d queued, %v, with %d of %d there: %v", n, full != nil, len(want[at]), bound, err)
					}
					if n == 1 {
						want[at] = append(want[at], id)
						queued++
					}
				}
			},
			"take": take,
			"": func(t *rapid.T) {
				if p.queued != queued || p.queuedNow.Load() != int64(queued) {
					t.Fatalf("%d are queued, it says %d", queued, p.queued)
				}
			},
		})
		for queued > 0 {
			take(t)
		}
		for _, l := range p.levels {
			if l.tail != nil || l.queued != 0 {
				t.Fatal("an empty level has a queue in its round")
			}
		}
	})
}

// Tasks need one of four connections: more workers than that only wait.
func TestPoolTunesItsWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := tree(t, Settings{})
		p, stop := startPool(t, s, ctx, PoolSettings{Name: "p", Workers: 48, Queue: 200, Tune: &TunerSettings{Min: 1}, TuneEvery: 100 * time.Millisecond})
		conns := make(chan struct{}, 4)
		work := Func(func(context.Context) error {
			conns <- struct{}{}
			time.Sleep(time.Millisecond)
			<-conns
			return nil
		})
		end := make(chan struct{})
		submitted := make(chan error)
		go func() {
			for {
				select {
				case <-end:
					submitted <- nil
					return
				default:
				}
				if err := p.Submit(ctx, Task{Runner: work}); err != nil {
					submitted <- err
					return
				}
			}
		}()
		time.Sleep(30 * time.Second)
		if st := p.Stats(); st.Limit < 3 || st.Limit > 7 || st.Workers > st.Limit {
			t.Errorf("4 workers are best, it has %d and may have %d", st.Workers, st.Limit)
		}
		p.Tuner().Pin(20)
		time.Sleep(time.Second)
		if b, err := json.Marshal(s.Pools()); err != nil || !strings.Contains(string(b), `"kinds":[{"kind":"task","outcomes":{"cancelled":0,`) || !strings.Contains(string(b), `"run_p50_ns":10`) {
			t.Errorf("as JSON: %s, %v", b, err)
		}
		if st := p.Stats(); st.Limit != 20 || st.Workers != 20 {
			t.Errorf("pinned to 20, it has %d and may have %d", st.Workers, st.Limit)
		}
		p.Tuner().Pin(2)
		time.Sleep(time.Second)
		if st := p.Stats(); st.Limit != 2 || st.Workers != 2 {
			t.Errorf("pinned to 2, it has %d and may have %d", st.Workers, st.Limit)
		}
		close(end)
		if err := errors.Join(<-submitted, stop()); err != nil {
			t.Error(err)
		}
	})
}

func TestForeignKindsAreRefused(t *testing.T) {
	s, ctx := tree(t, Settings{})
	a, b := s.NewPool(PoolSettings{Name: "a"}), s.NewPool(PoolSettings{Name: "b"})
	for _, task := range []Task{{Runner: nothing, Kind: b.Kind("k", 0)}, {Runner: nothing, Tenant: b.Tenant("t", 1)}} {
		if err := a.Submit(ctx, task); err == nil || !strings.Contains(err.Error(), "another pool's") {
			t.Errorf("Submit returned %v", err)
		}
	}
}
