package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/marketprism/marketprism/runtime/admin"
	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/runtime/sched"
	"github.com/marketprism/marketprism/runtime/telemetry"
)

// running is a feed or a sink in the eyes of Run, whose goroutine alone uses it.
type running struct {
	stop     chan struct{} // closed: drain
	finished chan struct{} // closed: it has ended
	kill     context.CancelFunc
}

func newRunning() running {
	return running{stop: make(chan struct{}), finished: make(chan struct{})}
}

// drain asks for an orderly end, once or again.
func (r *running) drain() {
	select {
	case <-r.stop:
	default:
		close(r.stop)
	}
}

func (r *running) live() bool {
	select {
	case <-r.finished:
		return false
	default:
		return true
	}
}

// run is Run's own state.
type run struct {
	*Engine
	hard context.Context
	work *sched.Group // feeds, sinks, admin
	back func()       // stops what runs beside them

	unfollow func() // stops what has selections follow their venues

	mu   sync.Mutex
	errs []error
}

func (r *run) keep(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		r.mu.Lock()
		r.errs = append(r.errs, err)
		r.mu.Unlock()
	}
}

func (r *run) startFeed(f *feed) {
	ctx, kill := context.WithCancel(r.hard)
	f.kill = kill
	r.work.Go("feed "+f.p.Name, func(at context.Context) error {
		defer r.poked()
		defer close(f.finished)
		defer kill()
		if err := f.run(sched.Placed(ctx, at), f.stop); err != nil {
			f.log.Error().Err(err).Msg("feed ended")
			r.keep(err)
		}
		return nil
	})
}

func (r *run) startSink(d *sinkDriver) {
	ctx, kill := context.WithCancel(r.hard)
	d.kill = kill
	r.work.Go("sink "+d.p.Name, func(at context.Context) error {
		defer r.poked()
		defer close(d.finished)
		defer kill()
		if err := d.run(sched.Placed(ctx, at), d.stop); err != nil && ctx.Err() == nil {
			d.log.Error().Err(err).Msg("sink ended; its records stay in the journals until retention drops them")
			r.keep(err)
		}
		return nil
	})
}

func (r *run) poked() {
	select {
	case r.exited <- struct{}{}:
	default:
	}
}

// background starts what a plan has beside feeds and sinks; the returned function
// ends it.
func (r *run) background(pl *plan.Plan) (stop func()) {
	if r.opt.Replay != nil {
		return func() {}
	}
	work, _ := sched.NewSet(r.hard, "")
	if pl.Latency == pipefile.LatencyBalanced {
		work.Go("processors", adaptProcs)
	}
	if every, err := time.ParseDuration(pl.Sync); err == nil {
		work.Every("tables", sched.Every{Interval: every}, func(context.Context) error { return r.syncTables() })
	}
	return func() { work.Cancel(nil); r.keep(work.Wait()) }
}

// serve runs the admin server until the returned function is called.
func (r *run) serve(a *admin.Server) (stop func()) {
	if a == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(r.hard)
	c := r.work.Go("admin", func(at context.Context) error {
		defer r.opt.Metrics.Add(a.Report)()
		return a.Run(sched.Placed(ctx, at))
	})
	return func() { cancel(); <-c.Done() }
}

// Run collects until ctx ends, then drains. hard, if it ends, cuts that short. It
// runs once.
func (e *Engine) Run(ctx, hard context.Context) error {
	defer e.budgets.Close()
	if e.opt.Metrics != nil {
		for _, rep := range []telemetry.Reporter{e.report, e.sched.Report, e.pools.Report} {
			defer e.opt.Metrics.Add(rep)()
		}
	}
	hard = e.sched.Context(hard)
	core, _ := sched.NewSet(context.WithoutCancel(hard), "core")
	e.runCore(core)
	hard, cancelHard := context.WithCancelCause(hard)
	defer cancelHard(nil)
	r := &run{Engine: e}
	r.work, r.hard = sched.NewSet(hard, "")
	for _, f := range e.feeds {
		r.startFeed(f)
	}
	for _, d := range e.sinks {
		r.startSink(d)
	}
	watching, unwatch := context.WithCancel(r.hard)
	defer unwatch()
	if e.memory != nil {
		if e.opt.Metrics != nil {
			defer e.opt.Metrics.Add(e.memory.Report)()
		}
		r.work.Go("memory", func(at context.Context) error { return e.memory.Run(sched.Placed(watching, at)) })
	}
	r.back = r.background(e.plan)
	r.keep(r.keepAll(e.plan))
	r.unfollow = r.follow()
	served := e.admin
	stopServing := r.serve(served)
	var replayed chan struct{}
	if e.opt.Replay != nil {
		replayed = make(chan struct{})
		r.work.Go("replay", func(ctx context.Context) error {
			defer close(replayed)
			feeding, _ := sched.NewSet(ctx, "")
			for _, f := range e.feeds {
				feeding.Go(f.p.Name, func(ctx context.Context) error { return e.opt.Replay(ctx, f.p.Name, f.frames) })
			}
			return feeding.Wait()
		})
	}
	for r.alive() {
		select {
		case <-ctx.Done():
		case <-replayed:
		case <-e.exited:
			continue
		case l := <-e.reloads:
			r.apply(l)
			if e.admin != served { // it listens elsewhere now; the old one answers what it was asked
				old := stopServing
				served, stopServing = e.admin, r.serve(e.admin)
				r.work.Go("admin before", func(context.Context) error { old(); return nil })
			}
			continue
		}
		break
	}
	close(e.ended)
	r.unfollow()
	e.log.Info().Dur("deadline", e.opt.Drain).Msg("draining")
	deadline := time.AfterFunc(e.opt.Drain, func() {
		cancelHard(fmt.Errorf("engine: not drained within %v: what is left is in the journals and is written after the next start", e.opt.Drain))
	})
	drainAll(e.feeds)
	drainAll(e.sinks)
	if !deadline.Stop() {
		r.keep(context.Cause(hard))
	}
	stopServing()
	unwatch()
	r.back()
	r.keep(r.work.Wait())
	core.Cancel(nil)
	r.keep(core.Wait())
	r.keep(e.close())
	return errors.Join(r.errs...)
}

// alive says whether a feed is left, and a sink where there are any.
func (r *run) alive() bool {
	return slices.ContainsFunc(r.feeds, func(f *feed) bool { return f.live() }) &&
		(len(r.sinks) == 0 || slices.ContainsFunc(r.sinks, func(d *sinkDriver) bool { return d.live() }))
}

// part is a feed or a sink.
type part interface {
	drain()
	gone() <-chan struct{}
}

func (r *running) gone() <-chan struct{} { return r.finished }

// drainAll ends parts side by side and waits for all of them.
func drainAll[P part](parts []P) {
	for _, p := range parts {
		p.drain()
	}
	for _, p := range parts {
		<-p.gone()
	}
}
