package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/runtime/sched"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// run collects until stop ends, then drains: connections close, what was read
// is decoded and journalled. hard ends everything at once.
func (f *feed) run(hard context.Context, stop <-chan struct{}) error {
	ctx, cancel := context.WithCancel(hard)
	defer cancel()
	defer context.AfterFunc(ctx, func() { f.ended.Store(true) })()
	g, gctx := sched.NewGroup(ctx, "")
	bg, bgCancel := context.WithCancel(ctx) // ends after the lane has drained
	defer bgCancel()
	for _, j := range f.allJournals() {
		g.Go("journal "+filepath.Base(j.Dir()), func(context.Context) error { return j.Run(bg) })
	}
	g.Go("plugin", func(at context.Context) error {
		err := f.src.Run(sched.Placed(bg, at))
		if q := new(host.QuarantineError); errors.As(err, &q) {
			_ = note(f.frames, source.InputNote, 0, flow.Note{Note: flow.NoteQuarantine, Detail: err.Error()}) // reported below as well
		}
		return err
	})
	collecting, collectCancel := context.WithCancel(gctx)
	defer collectCancel()
	connDone, refused := make(chan struct{}), make(chan struct{})
	var connErr error // set before refused is closed
	f.setState("running")
	if f.conn != nil {
		g.Go("timer", func(context.Context) error { f.tickTimers(collecting); return nil })
		g.Go("connections", func(at context.Context) error {
			defer close(connDone)
			err := f.conn.Run(sched.Placed(collecting, at))
			if err != nil && collecting.Err() == nil {
				connErr = err
				close(refused) // what was read is drained, as at an orderly end
			}
			return nil
		})
	} else {
		close(connDone)
	}
	drained := make(chan struct{})
	g.Go("lane", func(ctx context.Context) error {
		defer bgCancel()
		return f.runLane(ctx, drained)
	})
	g.Go("drain", func(context.Context) error {
		select {
		case <-stop:
		case <-refused:
		case <-gctx.Done():
			return nil
		}
		f.setState("draining")
		var err error
		if f.conn != nil {
			err = note(f.frames, source.InputNote, 0, flow.Note{Note: flow.NoteStopping})
			collectCancel()
			<-connDone
			err = errors.Join(err, note(f.frames, source.InputNote, 0, flow.Note{Note: flow.NoteStop}))
		}
		close(drained)
		return err
	})
	err := g.Wait()
	if errors.Is(err, context.Canceled) || errors.Is(err, io.EOF) {
		err = nil
	}
	if err == nil {
		err = connErr
	}
	if err != nil {
		f.setState(err.Error())
		return fmt.Errorf("engine: feed %s: %w", f.p.Name, err)
	}
	f.setState("stopped")
	return nil
}

// tickTimers journals that time passes.
func (f *feed) tickTimers(ctx context.Context) {
	t := time.NewTicker(timerEvery(f.plan, f.p.Name))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			wall, mono := stamp()
			if _, err := f.frames.Append(shm.Header{Kind: uint8(source.InputTimer), Wall: wall, Mono: mono}, nil); err != nil && !errors.Is(err, journal.ErrDiskFull) {
				f.log.Error().Err(err).Msg("a timer could not be journalled")
			}
			f.frames.Ring()
		}
	}
}

// runLane is the feed's event loop.
func (f *feed) runLane(ctx context.Context, drained <-chan struct{}) error {
	w := laneWork{feed: f}
	l := f.e.sched.NewLane(sched.LaneSettings{Name: f.p.Name, Batch: sched.TunerSettings{Min: pollBytes, Max: pollBytes},
		NoSpin: true, StuckAfter: laneStuck}, &w)
	err := l.Run(ctx, drained)
	if w.err != nil {
		return w.err
	}
	return err
}

// laneStuck is how long a turn of a lane may take; it handles pollBytes at most.
const laneStuck = 5 * time.Second

// laneWork is what the feed's lane does. It doesn't spin: the plugin rings only
// for a lane that sleeps, and whoever waits a little finds more.
type laneWork struct {
	*feed
	b    host.Batch
	upto shm.Position
	err  error
}

// Poll implements sched.Work, in bytes.
func (w *laneWork) Poll(budget int) (n int, err error) {
	f, b := w.feed, &w.b
	defer func() { w.err = err }()
	if err := b.Lease(f.e.messages.Batches); err != nil {
		return 0, err
	}
	defer b.Return() // a lane that waits holds none
	if err := f.src.Poll(b, budget); err != nil {
		return 0, err
	}
	for i := range b.Entries {
		e := &b.Entries[i]
		if err := f.lane.Process(b.Generation, e.Pos, e.Next, e.Data); err != nil {
			if errors.Is(err, flow.ErrPlugin) {
				f.src.Reject(err)
				break
			}
			return n, err
		}
		n += len(e.Data)
	}
	f.lane.Decoded(b.Upto)
	if b.Upto != w.upto { // frames that gave no record are work as well
		w.upto = b.Upto
		n = max(n, 1)
	}
	if len(b.Entries) == 0 {
		return n, nil
	}
	f.ring()
	caughtUp := f.checkpointAt < f.begun && f.lane.Next() >= f.begun // the next restart need not derive all that again
	if caughtUp || f.lane.Next() >= f.checkpointAt+uint64(f.checkpoint) {
		if err := f.writeCheckpoint(); err != nil {
			f.log.Error().Err(err).Msg("checkpoint failed: a restart begins at the one before")
		}
	}
	return max(n, 1), nil
}

// Idle implements sched.Work.
func (w *laneWork) Idle(draining bool) (done bool, err error) {
	if !draining || w.lane.Next() < w.frames.Tail() {
		return false, nil
	}
	w.ring()
	err = w.writeCheckpoint()
	w.err = err
	return true, err
}

// Wait implements sched.Work.
func (w *laneWork) Wait(d time.Duration) { w.src.Wait(d) }

// Interrupt implements sched.Work.
func (w *laneWork) Interrupt() { w.src.Interrupt() }

// ring ends a burst: readers of what it made are woken.
func (f *feed) ring() {
	f.lane.Output().Mark()
	for _, p := range f.processors {
		p.Output().Mark()
	}
	f.lane.Publish(time.Now().UnixNano())
	for _, w := range *f.wake.Load() {
		w()
	}
}

func (f *feed) writeCheckpoint() (err error) {
	began, c := time.Now(), &f.checkpointMeter
	defer func() {
		c.took.Observe(time.Since(began))
		if err != nil {
			c.errors.Add(1)
		}
	}()
	if err := f.e.registry.Sync(); err != nil {
		return err
	}
	at := f.lane.Next()
	dir := f.checkpoints()
	if err := flow.WriteCheckpoint(dir, at, f.lane.Save); err != nil {
		return err
	}
	f.checkpointAt = at
	c.writes.Add(1)
	c.at.Store(int64(at))
	c.wall.Store(time.Now().UnixNano())
	f.frames.Hold("checkpoint", at)
	return flow.DropCheckpoints(dir, f.frames.Oldest())
}
