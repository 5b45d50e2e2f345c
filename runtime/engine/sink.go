package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/runtime/sched"
	"github.com/marketprism/marketprism/sdk/fault"
	sinkapi "github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/ring"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// Backoff of a sink whose store fails.
const (
	sinkBackoffMin = 100 * time.Millisecond
	sinkBackoffMax = 30 * time.Second
)

// sinkDriver hands a sink its batches: it keeps the cursors, makes a batch's
// boundaries durable before the first write, and repeats the same range until
// the store has it. One goroutine runs it.
type sinkDriver struct {
	e      *Engine
	plan   *plan.Plan // that it was made by
	p      *plan.Sink // of that
	log    zerolog.Logger
	proc   *host.Sink
	tracks []*track
	wait   time.Duration // of a batch since its first record

	woken  chan struct{}
	asleep atomic.Bool // wants to be woken by new records
	direct bool        // latency "low": whoever has news does the next step itself
	again  atomic.Bool // somebody had news while the step was under way

	step     sync.Mutex // guards what follows, and the tracks
	draining bool
	idle     bool
	over     bool // the plugin has ended for good: nothing comes any more
	closed   bool // released: who still pokes comes too late
	opened   bool
	batch    uint64
	res      []host.Result

	Records, Batches, Rolls, Retries, Passed atomic.Int64
	CommitWall                               atomic.Int64 // receive time of the last record committed
	meter                                    sinkMeter

	fatal error

	mu    sync.Mutex
	state string

	running
}

// track is a sink's place in one journal. All positions are the journal's.
type track struct {
	name   string
	feed   *feed
	j      *journal.Journal
	marks  *flow.Marks
	slot   *journal.Slot
	st     journal.State
	reader *shm.Reader // finds where batches end

	sent   shm.Position // written up to here; beyond the cursor only where commits roll
	seen   shm.Position // newest mark when it was scanned
	end    shm.Position // scanned up to here: the end of the batch being gathered
	count  int          // records of it
	first  time.Time    // when its first record was seen
	wall   int64        // receive time of its last record
	oldest int64        // receive time of the first record behind the cursor; 0: not known
	since  time.Time    // the request under way was made
	roll   time.Time    // when the first record after the last roll was written
	bytes  int64        // pending in the sink
	flying bool         // a request is unanswered
	again  time.Time    // not before: backoff
	tries  int
	stopAt shm.Position // where a drain ends
	hole   shm.Position // what stands before it and isn't gathered is lost; 0: nothing is known to be
	unsure bool         // the store may hold what the intent names
	past   commits
}

func (e *Engine) newSink(pl *plan.Plan, p *plan.Sink, feeds []*feed) (*sinkDriver, error) {
	d := &sinkDriver{e: e, plan: pl, p: p, running: newRunning(), log: e.log.With().Str("sink", p.Name).Logger(), woken: make(chan struct{}, 1), state: "starting",
		wait: time.Duration(p.Batch.MaxWait)}
	if pl.Latency == pipefile.LatencyLow && p.Commit == sinkapi.CommitBatch {
		d.wait, d.direct = 0, true
	}
	spec := host.SinkSpec{Label: "sink/" + p.Name, Config: p.Config, WorkDir: e.opt.WorkDir, Wake: d.wakeUp}
	for _, pr := range pl.Processes {
		if pr.Kind == wire.KindSink && pr.Name == "sink/"+p.Name {
			spec.Spec = host.Spec{Kind: wire.KindSink, Name: pr.Plugin, Path: pr.Path, SHA256: pr.SHA256}
		}
	}
	spec.Access = access(&p.Access)
	byJournal := map[*journal.Journal]bool{}
	for _, in := range p.Inputs {
		f := feedNamed(feeds, in.Feed)
		j, marks := f.output(in)
		sel := wire.Select{Journal: in.Journal, Kinds: in.Kinds, Channels: in.Channels, Venue: f.p.Venue, Market: f.p.Market}
		for _, i := range in.Instruments {
			sel.Symbols = append(sel.Symbols, i.Symbol)
		}
		spec.Selection = append(spec.Selection, sel)
		if byJournal[j] {
			continue
		}
		byJournal[j] = true
		slot, err := e.cursors.Slot(p.Name + "|" + in.Journal)
		if err != nil {
			return nil, err
		}
		t := &track{name: in.Journal, feed: f, j: j, marks: marks, slot: slot, st: slot.Load()}
		t.unsure = t.intends()
		if t.st.Journal != j.ID() { // a journal that was moved away and made anew, or the first start
			t.st = journal.State{Journal: j.ID(), Cursor: j.Oldest()}
			slot.Store(t.st)
		}
		if t.reader, err = shm.OpenReader(j.Dir(), t.st.Cursor, nil); err != nil {
			return nil, err
		}
		t.rewind()
		j.Hold("sink "+p.Name, t.st.Cursor)
		d.tracks = append(d.tracks, t)
		spec.Journals = append(spec.Journals, host.JournalRef{Name: in.Journal, Journal: j, Cursor: func() shm.Position { return slot.Load().Cursor },
			Venue: f.p.Venue, Market: f.p.Market})
	}
	var err error
	d.proc, err = e.host.NewSink(spec)
	return d, err
}

// access is what a sink's process may do.
func access(p *plan.Access) host.Access {
	a := host.Access{Undeclared: p.Undeclared, Connect: p.Connect, Listen: p.Listen, Stdout: p.Stdout}
	for _, w := range p.Writes {
		for _, path := range w.Paths {
			a.Writes = append(a.Writes, host.Path{Attribute: w.Attribute, Path: path, Target: w.Target, Hidden: w.Hidden})
		}
	}
	return a
}

// connect tells each feed which sinks to wake.
func connect(feeds []*feed, sinks []*sinkDriver) {
	for _, f := range feeds {
		var wake []func()
		for _, d := range sinks {
			for _, t := range d.tracks {
				if t.feed == f {
					wake = append(wake, d.newRecords)
				}
			}
		}
		f.wake.Store(&wake)
	}
}

// noLimit is beyond every position.
const noLimit = ^uint64(7)

// intends says whether a batch or a roll was begun and not acknowledged.
func (t *track) intends() bool { return t.st.IntentTo > t.st.IntentFrom }

// rewind goes back to the cursor: what was written and not committed is gone.
func (t *track) rewind() {
	t.sent, t.end, t.count, t.bytes, t.flying, t.oldest, t.hole = t.st.Cursor, t.st.Cursor, 0, 0, false, 0, 0
	_ = t.reader.Reset(t.st.Cursor, noLimit) // no I/O
}

// wakeUp is called by the host when the plugin answers.
func (d *sinkDriver) wakeUp() {
	if d.direct {
		d.poke()
		return
	}
	d.rouse()
}

// rouse makes run look.
func (d *sinkDriver) rouse() {
	select {
	case d.woken <- struct{}{}:
	default:
	}
}

// newRecords is called by a lane behind each burst; it costs one load unless
// the driver sleeps for want of records.
func (d *sinkDriver) newRecords() {
	if d.direct {
		d.poke()
		return
	}
	if d.asleep.Load() && d.asleep.CompareAndSwap(true, false) {
		d.rouse()
	}
}

// poke does what is due on the caller's goroutine, the lane's or the host's: a
// hop to another one costs more than the step. Whoever finds it busy leaves word.
func (d *sinkDriver) poke() {
	for {
		if !d.step.TryLock() {
			d.again.Store(true)
			if !d.step.TryLock() {
				return // the holder looks again behind its unlock
			}
		}
		d.again.Store(false)
		next, err := d.advanceAll(time.Now())
		d.step.Unlock()
		if err != nil || next >= 0 {
			d.rouse()
		}
		if !d.again.Load() {
			return
		}
	}
}

func (d *sinkDriver) setState(s string) {
	d.mu.Lock()
	d.state = s
	d.mu.Unlock()
}

// advanceAll takes answers and submits what is due, until nothing more is. It
// returns how long until more is (negative: new records or answers tell). The
// caller holds d.step.
func (d *sinkDriver) advanceAll(now time.Time) (next time.Duration, err error) {
	for {
		if d.closed {
			return -1, nil
		}
		if err := d.results(); err != nil && d.fatal == nil {
			d.fatal = err
		}
		if d.over && d.fatal == nil {
			return -1, nil
		}
		next, d.idle = -1, true
		for _, t := range d.tracks {
			if d.fatal != nil {
				return -1, d.fatal
			}
			w, busy, err := d.advance(t, now, d.draining)
			if err != nil {
				d.fatal = err
			}
			d.idle = d.idle && !busy
			if w >= 0 && (next < 0 || w < next) {
				next = w
			}
		}
		if d.fatal != nil {
			return -1, d.fatal
		}
		if !d.gathering(now) { // else it looks within max_wait in any case
			d.asleep.Store(true)
			if d.fresh(now) { // between the scan and the flag
				d.asleep.Store(false)
				continue
			}
		}
		if !d.proc.Arm() {
			return next, nil
		}
	}
}

// run writes until drain is closed and everything that the journals hold is
// committed, or ctx ends.
func (d *sinkDriver) run(ctx context.Context, drain <-chan struct{}) error {
	procCtx, stop := context.WithCancel(ctx)
	defer stop()
	procDone := make(chan error, 1)
	work, procCtx := sched.NewSet(procCtx, "")
	defer work.Wait() //nolint:errcheck // procDone says it
	defer work.Cancel(nil)
	work.Go("plugin", func(ctx context.Context) (err error) {
		defer func() { procDone <- err }()
		return d.proc.Run(ctx)
	})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		d.step.Lock()
		next, err := d.advanceAll(time.Now())
		idle := d.draining && d.idle
		d.step.Unlock()
		if err != nil {
			d.setState(err.Error())
			stop()
			<-procDone
			return err
		}
		if idle {
			stop()
			d.setState("stopped")
			return <-procDone
		}
		if next < 0 {
			next = time.Second
		}
		timer.Reset(next)
		select {
		case <-d.woken:
		case <-timer.C:
		case <-ctx.Done():
			<-procDone
			return ctx.Err()
		case <-drain:
			drain = nil
			d.step.Lock()
			d.draining = true
			for _, t := range d.tracks {
				t.stopAt = t.j.Tail() // a feed that goes on must not keep it from ending
			}
			d.step.Unlock()
		}
		d.asleep.Store(false)
	}
}

// gathering says whether a batch is being gathered, which is then due soon.
func (d *sinkDriver) gathering(now time.Time) bool {
	for _, t := range d.tracks {
		if !t.flying && t.count > 0 && !now.Before(t.again) {
			return true
		}
	}
	return false
}

// fresh says whether a journal that may be scanned has records beyond what was.
func (d *sinkDriver) fresh(now time.Time) bool {
	for _, t := range d.tracks {
		if d.opened && !t.flying && !now.Before(t.again) && t.marks.Last() != t.seen {
			return true
		}
	}
	return false
}

// advance submits what is due on one track. It returns how long until more may
// be due (negative: only new records or answers make a difference), and
// whether anything is left to do before the track is drained.
func (d *sinkDriver) advance(t *track, now time.Time, draining bool) (wait time.Duration, busy bool, err error) {
	if !d.opened || t.flying {
		return -1, true, nil
	}
	if now.Before(t.again) {
		return t.again.Sub(now), true, nil
	}
	roll := d.p.Commit == sinkapi.CommitRoll
	intent := t.intends()
	if t.unsure && t.hole == 0 && t.end == t.st.Cursor {
		// A part under the name of the whole would replace the whole.
		if err := t.probe(t.st.Cursor); err != nil {
			return -1, true, err
		}
	}
	switch lost := t.hole != 0 && t.end == t.sent; {
	case lost && t.sent == t.st.Cursor:
		return 0, true, d.drop(t)
	case lost && !intent:
		return -1, true, d.roll(t)
	case intent && !roll:
		return -1, true, d.submit(t, ring.OpWrite, t.st.IntentFrom, t.st.IntentTo)
	case intent && (lost || t.sent >= t.st.IntentTo):
		return -1, true, d.submit(t, ring.OpFlush, t.st.IntentFrom, t.st.IntentTo)
	}
	limit := noLimit
	if intent {
		limit = t.st.IntentTo
	} else if roll && t.count == 0 && !draining && t.sent > t.st.Cursor && d.untilRoll(t, now) <= 0 {
		return -1, true, d.roll(t) // before more is gathered: under load more is always there
	}
	if err := d.scan(t, now, limit); err != nil {
		return -1, true, err
	}
	if t.hole != 0 && t.end == t.sent {
		return 0, true, nil // nothing stands before it
	}
	full := t.count >= d.p.Batch.MaxRecords || intent && t.end >= limit || t.hole != 0
	if t.count > 0 || t.end > t.sent {
		due := t.first.Add(d.wait).Sub(now)
		if full || due <= 0 || draining {
			if !roll {
				t.st.IntentFrom, t.st.IntentTo, t.st.Batch = t.st.Cursor, t.end, t.st.Batch+1
				if err := d.keep(t); err != nil {
					return -1, true, err
				}
			}
			return -1, true, d.submit(t, ring.OpWrite, t.sent, t.end)
		}
		wait = due
	} else {
		wait = -1
	}
	if roll && t.sent > t.st.Cursor && t.count == 0 {
		due := d.untilRoll(t, now)
		if due <= 0 || draining {
			return -1, true, d.roll(t)
		}
		if wait < 0 || due < wait {
			wait = due
		}
	}
	return wait, t.count > 0 || roll && t.sent > t.st.Cursor, nil
}

// untilRoll is how long until what was written is due to be committed.
func (d *sinkDriver) untilRoll(t *track, now time.Time) time.Duration {
	if t.bytes >= d.p.Roll.MaxBytes {
		return 0
	}
	return t.roll.Add(time.Duration(d.p.Roll.Every)).Sub(now)
}

// roll has the sink commit what was written.
func (d *sinkDriver) roll(t *track) error {
	// What the files will hold must outlive a power failure: records that were
	// derived again behind it would be there twice.
	if d.plan.Sync != "process" {
		if err := errors.Join(d.e.registry.Sync(), t.j.Sync()); err != nil {
			return err
		}
	}
	t.st.IntentFrom, t.st.IntentTo, t.st.Batch = t.st.Cursor, t.sent, t.st.Batch+1
	if err := t.slot.Commit(t.st); err != nil {
		return err
	}
	return d.submit(t, ring.OpFlush, t.st.Cursor, t.sent)
}

func (d *sinkDriver) submit(t *track, op ring.Op, from, to shm.Position) error {
	d.batch++
	index := 0
	for i := range d.tracks {
		if d.tracks[i] == t {
			index = i
		}
	}
	err := d.proc.Submit(ring.Request{Batch: d.batch, Op: op, Journal: uint32(index), Epoch: uint32(t.j.Epoch()), From: from, To: to})
	switch {
	case err == nil:
		t.flying, t.since = true, time.Now()
	case errors.Is(err, host.ErrNotOpen):
		d.opened = false
	case !errors.Is(err, host.ErrFull):
		return err
	}
	return nil
}

// results takes the plugin's answers.
func (d *sinkDriver) results() error {
	var err error
	d.res, err = d.proc.Results(d.res[:0])
	for i := range d.res {
		r := &d.res[i]
		if r.Opened {
			d.opened = true
			d.setState("running")
			for _, t := range d.tracks {
				t.rewind()
			}
			continue
		}
		t := d.tracks[r.Request.Journal]
		t.flying = false
		if took := &d.meter.write; !r.Lost {
			if r.Request.Op == ring.OpFlush {
				took = &d.meter.flush
			}
			took.Observe(time.Since(t.since))
		}
		switch {
		case r.Lost:
			d.opened, t.unsure = false, t.intends()
			d.meter.repeated.Add(1)
		case r.Failed:
			d.failed(t, r)
		default:
			if err := d.done(t, r); err != nil {
				return err
			}
		}
	}
	if errors.Is(err, io.EOF) {
		d.over = true
		return nil
	}
	return err
}

// done takes a success.
func (d *sinkDriver) done(t *track, r *host.Result) error {
	t.tries = 0
	if r.Pending >= 0 {
		t.bytes = r.Pending
	}
	to := r.Request.To
	if r.Request.Op == ring.OpWrite {
		d.Batches.Add(1)
		d.Records.Add(r.Count)
		if to = r.To; to < r.Request.To { // it could not read the rest
			if err := t.probe(to); err != nil {
				return err
			}
			if t.end = to; t.hole == 0 {
				t.again = time.Now().Add(sinkBackoffMin)
			}
		}
		if d.p.Commit == sinkapi.CommitRoll {
			if t.sent == t.st.Cursor {
				t.roll = time.Now()
			}
			t.sent, t.count = to, 0
			return nil
		}
	} else {
		d.Rolls.Add(1)
		if t.sent < to { // a roll begun by a process before this one, and the rest of it is gone
			d.lost(t, t.sent, to)
		}
	}
	now := time.Now()
	if t.oldest == 0 { // a range that was begun by a process before this one
		if wall, ok, err := t.j.WallAfter(t.st.Cursor); ok && err == nil {
			t.oldest = wall
		}
	}
	if t.oldest != 0 {
		d.meter.commit.Observe(now.Sub(time.Unix(0, t.oldest)))
		t.oldest = 0
	}
	d.meter.committed.Store(now.UnixNano())
	t.st.Cursor, t.st.Epoch, t.sent, t.count = to, t.j.Epoch(), to, 0
	if t.hole != 0 && t.end == to {
		return d.drop(t)
	}
	t.st.IntentFrom, t.st.IntentTo, t.unsure = 0, 0, false
	if t.end < t.sent { // a batch of a run before this one: the scan had not come so far
		t.rewind()
	}
	if err := d.keep(t); err != nil {
		return err
	}
	t.j.Hold("sink "+d.p.Name, t.st.Cursor)
	d.CommitWall.Store(t.wall)
	t.past.add(t.st.Cursor, now.UnixNano())
	return nil
}

// keep stores a track's state. It survives kill -9 at once. What a power failure
// may take is bounded by the sync setting: rolls and "always" wait for the disk,
// batches are synced in the background, and those that were not yet are
// written again.
func (d *sinkDriver) keep(t *track) error {
	if d.p.Commit == sinkapi.CommitRoll || d.plan.Sync == "always" {
		return t.slot.Commit(t.st)
	}
	t.slot.Store(t.st)
	d.e.cursorsDirty.Store(true)
	return nil
}

// failed takes a failure: the same range is tried again, unless no retry can help.
func (d *sinkDriver) failed(t *track, r *host.Result) {
	err := r.Err()
	switch r.Kind {
	case fault.Stop, fault.Skip:
		d.meter.refused.Add(1)
		d.fatal = fmt.Errorf("engine: sink %s: %s of %d to %d of %s is refused: %w", d.p.Name, r.Request.Op, r.Request.From, r.Request.To, t.name, err)
		return
	}
	t.unsure = t.intends()
	d.Retries.Add(1)
	wait := min(sinkBackoffMin<<min(t.tries, 16), sinkBackoffMax)
	wait = wait/2 + rand.N(wait/2+1)
	t.tries++
	t.again = time.Now().Add(max(wait, r.After))
	d.meter.backoff.Store(t.again.UnixNano())
	d.log.Warn().Err(err).Dur("wait", time.Until(t.again)).Uint64("from", r.Request.From).Uint64("to", r.Request.To).Msg("the store refused a batch; it is tried again")
}

// release frees what a driver holds that ran and has ended.
func (d *sinkDriver) release() error {
	d.step.Lock()
	defer d.step.Unlock()
	d.closed = true
	errs := []error{d.proc.Close()}
	for _, t := range d.tracks {
		errs = append(errs, t.reader.Close())
	}
	return errors.Join(errs...)
}

// lag is how many journal bytes wait for this sink.
func (d *sinkDriver) lag() (n uint64) {
	for _, t := range d.tracks {
		n += t.j.Tail() - min(t.slot.Load().Cursor, t.j.Tail())
	}
	return n
}
