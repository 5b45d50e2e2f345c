package sched_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/marketprism/runtime/sched"
)

// A feed's goroutines end together: the first error ends the others' context.
func ExampleNewGroup() {
	s := sched.New(sched.Settings{})
	g, _ := sched.NewGroup(s.Context(context.Background()), "engine/feed binance-spot")
	g.Go("timer", func(ctx context.Context) error { <-ctx.Done(); return nil })
	g.Supervise("journal", sched.Restart{When: sched.OnFailure}, func(ctx context.Context) error { <-ctx.Done(); return nil })
	g.Go("lane", func(ctx context.Context) error {
		return fmt.Errorf("%s: the plugin is gone", sched.Path(ctx))
	})
	fmt.Println(g.Wait())
	// Output: engine/feed binance-spot/lane: the plugin is gone
}

// request is a task that is used again and again: submitting it allocates
// nothing.
type request struct{ symbol string }

func (r *request) Run(context.Context) error {
	fmt.Println("snapshot of", r.symbol)
	return nil
}

func ExamplePool_Do() {
	s := sched.New(sched.Settings{})
	p := s.NewPool(sched.PoolSettings{Name: "requests", Workers: 4, Queue: 100, Drain: time.Second})
	snapshot, binance := p.Kind("snapshot", 10*time.Second), p.Tenant("binance-spot", 1)

	ctx, stop := context.WithCancel(s.Context(context.Background()))
	g, ctx := sched.NewGroup(ctx, "engine")
	g.Go("requests", p.Run)
	err := p.Do(ctx, sched.Task{Runner: &request{"BTC-USDT"}, Kind: snapshot, Tenant: binance, Priority: sched.High})
	stop()
	fmt.Println(errors.Join(err, g.Wait()))
	// Output:
	// snapshot of BTC-USDT
	// <nil>
}

// ring is work for a lane.
type ring struct {
	frames []string
	bell   chan struct{}
}

func (r *ring) Poll(budget int) (int, error) {
	n := min(budget, len(r.frames))
	for _, f := range r.frames[:n] {
		fmt.Println("decoded", f)
	}
	r.frames = r.frames[n:]
	return n, nil
}

func (r *ring) Idle(draining bool) (bool, error) { return draining && len(r.frames) == 0, nil }
func (r *ring) Wait(time.Duration)               { <-r.bell }
func (r *ring) Interrupt() {
	select {
	case r.bell <- struct{}{}:
	default:
	}
}

func ExampleLane() {
	s := sched.New(sched.Settings{})
	lane := s.NewLane(sched.LaneSettings{Name: "binance-spot", StuckAfter: time.Second}, &ring{[]string{"a", "b"}, make(chan struct{}, 1)})
	drain := make(chan struct{})
	close(drain)
	fmt.Println(lane.Run(s.Context(context.Background()), drain))
	// Output:
	// decoded a
	// decoded b
	// <nil>
}
