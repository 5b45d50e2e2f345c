package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/conn"
	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// gather is how long a connection collects frames before it wakes the plugin, in
// latency "balanced". Wake-ups, not bytes, cost CPU at real rates: windows of
// 4 ms bound them to 250 a second and stage.
const gather = 4 * time.Millisecond

// pollBytes is how much decoded output the lane takes at a time.
const pollBytes = 256 << 10

// feed is one venue and market while it runs.
type feed struct {
	e    *Engine
	plan *plan.Plan // that it was opened by
	p    *plan.Feed // of that
	dir  string
	log  zerolog.Logger
	sync journal.Sync

	frames, records *journal.Journal
	processors      []processor
	at              framesAt
	lane            *flow.Lane
	src             *host.Source
	conn            *conn.Feed     // nil in a replay
	framesConn      *framesJournal // conn's
	wanted          atomic.Pointer[wanted]

	begun        uint64                   // frames tail when it was opened
	checkpointAt uint64                   // frame position of the last checkpoint
	checkpoint   int64                    // frames bytes between checkpoints
	wake         atomic.Pointer[[]func()] // of the sinks that read what it makes

	checkpointMeter checkpointMeter
	ended           atomic.Bool  // nothing waits for room on the disk any more
	fullSince       atomic.Int64 // ns when the disk was full; 0: it isn't

	statuses map[string]market.Status // of instruments, as records had them; the lane's

	mu    sync.Mutex
	state string // starting, running, stopped: why

	running
}

// wanted is what a feed is asked to carry; a reload replaces it whole.
type wanted struct {
	p     *plan.Feed
	order []source.Subscription // as the plan has them, which sharding follows
	subs  map[subKey]source.Subscription
	books int64
}

func newWanted(p *plan.Feed) *wanted {
	w := &wanted{p: p, subs: map[subKey]source.Subscription{}}
	for _, c := range p.Channels {
		if c.Derived {
			continue
		}
		if c.Channel == market.ChannelBook {
			w.books = int64(len(c.Symbols))
		}
		symbols := c.Symbols
		if c.PerMarket || len(symbols) == 0 {
			symbols = []string{""}
		}
		for _, s := range symbols {
			sub := source.Subscription{Channel: c.Channel, Symbol: s, Config: c.Config}
			w.subs[subKey{c.Channel, s}] = sub
			if c.Channel != market.ChannelInstruments || c.Transport != source.Poll {
				w.order = append(w.order, sub)
			}
		}
	}
	return w
}

// processor is a processor's instance on one feed, with its journal.
type processor struct {
	flow.Processor
	journal *journal.Journal
	name    string
	end     shm.Position // of what was recovered; 0: nothing
}

// Name is how a checkpoint knows the processor's state.
func (p processor) Name() string { return p.name }

type subKey struct {
	channel market.Channel
	symbol  string
}

// open recovers the feed's journals and its lane's state.
func (e *Engine) openFeed(pl *plan.Plan, p *plan.Feed) (*feed, error) {
	f := &feed{e: e, plan: pl, p: p, dir: filepath.Join(e.dir, "feeds", p.Name), state: "starting",
		log: e.log.With().Str("feed", p.Name).Logger(), running: newRunning()}
	f.wanted.Store(newWanted(p))
	f.wake.Store(new([]func()))
	if err := os.MkdirAll(filepath.Join(f.dir, "checkpoints"), 0o755); err != nil {
		return nil, fmt.Errorf("engine: feed %s: %w", p.Name, err)
	}
	var err error
	if f.sync, err = journal.ParseSync(pl.Sync); err != nil {
		return nil, err
	}
	var framesRec, recordsRec journal.Recovery
	framesRec, err = f.openJournals(&recordsRec)
	if err != nil {
		f.closeJournals()
		return nil, err
	}
	f.at = framesAt{j: f.frames}
	if err := f.makeLane(framesRec, recordsRec); err != nil {
		f.closeJournals()
		return nil, err
	}
	return f, nil
}

func (f *feed) journalOptions(name string, content plan.Content) journal.Options {
	o := journal.Options{Dir: filepath.Join(f.dir, name), Sync: f.sync, Locked: true, Logger: f.log, Reserve: content == plan.Frames,
		Passed: func(holder string, from, to shm.Position) {
			f.log.Error().Str("holder", holder).Uint64("from", from).Uint64("to", to).Msg("retention passed a reader: what it had not read is gone; raise max_size, or mend the reader")
		}}
	if content == plan.Frames {
		o.Above = f.newestCheckpoint()
	} else {
		if f.sync != journal.SyncAlways {
			o.Sync = journal.SyncProcess // it can be derived again; what a roll commits is synced first
		}
		o.Head = func() []byte { return f.e.registry.Head(f.p.Venue, market.MarketMixed) }
		o.Above = f.e.above(f.p.Name)
	}
	for _, j := range f.plan.Journals {
		if j.Feed == f.p.Name && j.Content == content && (content != plan.Derived || j.Name == name) {
			o.SegmentBytes, o.MaxBytes, o.MaxAge = j.SegmentBytes, j.MaxBytes, time.Duration(j.MaxAge)
		}
	}
	return o
}

func (f *feed) openJournals(recordsRec *journal.Recovery) (framesRec journal.Recovery, err error) {
	if f.frames, framesRec, err = journal.Open(f.journalOptions("frames", plan.Frames)); err != nil {
		return framesRec, err
	}
	f.reportRecovery("frames", framesRec)
	f.begun = f.frames.Tail()
	if f.records, *recordsRec, err = journal.Open(f.journalOptions("records", plan.Records)); err != nil {
		return framesRec, err
	}
	f.reportRecovery("records", *recordsRec)
	for _, p := range f.plan.Processors {
		for i, in := range p.Inputs {
			if in.Feed != f.p.Name {
				continue
			}
			name := p.Journals[i]
			j, rec, err := journal.Open(f.journalOptions(name, plan.Derived))
			if err != nil {
				return framesRec, err
			}
			f.reportRecovery(name, rec)
			made, err := newProcessor(p, in, &patient{f, j})
			if err != nil {
				return framesRec, errors.Join(err, j.Close())
			}
			f.processors = append(f.processors, processor{made, j, p.Name, rec.End})
		}
	}
	return framesRec, nil
}

// newestCheckpoint is a position that new frames must be above, whatever a power
// failure left of the journal.
func (f *feed) newestCheckpoint() shm.Position {
	at, err := flow.Checkpoints(f.checkpoints())
	if err != nil || len(at) == 0 {
		return 0
	}
	return at[len(at)-1]
}

func (f *feed) checkpoints() string { return filepath.Join(f.dir, "checkpoints") }

func (f *feed) reportRecovery(what string, r journal.Recovery) {
	if r.End == 0 {
		return
	}
	ev := f.log.Info()
	if r.Skipped > 0 || len(r.Damaged) > 0 {
		ev = f.log.Warn()
	}
	ev.Str("journal", what).Bool("clean", r.Clean).Uint64("end", r.End).Uint64("skipped", r.Skipped).Uint64("truncated_bytes", r.Truncated).
		Strs("damaged", r.Damaged).Msg("journal recovered")
}

// makeLane restores the lane from its newest usable checkpoint, and states in
// the frames journal that time has passed since.
func (f *feed) makeLane(framesRec, recordsRec journal.Recovery) error {
	derive := false
	var bookDepth int
	for _, c := range f.p.Channels {
		derive = derive || c.Derived && c.Channel == market.ChannelBBO
		if c.Channel == market.ChannelBook && !c.Derived {
			bookDepth = int(c.Config.Int("depth"))
		}
	}
	if err := f.instruments(f.p); err != nil {
		return err
	}
	s := flow.Settings{Venue: f.p.Venue, Market: f.p.Market, Channels: slices.Clone(f.p.Manifest.Channels), Depth: func(string) int { return bookDepth }, Registry: f.e.registry,
		Frames: &f.at, Records: &patient{f, f.records}, DeriveBBO: derive, Logger: f.log,
		Untimed: f.e.opt.Untimed || f.e.opt.Replay != nil, Unfigured: f.e.opt.Unmonitored, Levels: f.e.levels, Messages: f.e.messages}
	if f.e.opt.Replay == nil {
		s.Actions, s.LiveFrom, s.Listed = f, f.begun, f.listed
	}
	for _, p := range f.processors {
		s.Processors = append(s.Processors, p)
	}
	restored, err := f.restore(s, framesRec, recordsRec)
	if err != nil {
		return err
	}
	f.ring() // the first mark: where sinks that are up to date begin
	f.checkpoint = f.journalOptions("frames", plan.Frames).SegmentBytes
	if f.checkpoint <= 0 {
		f.checkpoint = 64 << 20
	}
	if framesRec.End > 0 {
		n := flow.Note{Note: flow.NoteDown, From: framesRec.LastWall, Detail: "the runtime was killed"}
		if framesRec.Clean {
			n.Note, n.Detail = flow.NoteStopped, "the runtime was stopped"
		}
		if err := note(f.frames, source.InputGap, 0, n); err != nil {
			return err
		}
	}
	if f.e.opt.Replay != nil { // a replay's journal holds nothing of this moment
		return nil
	}
	if !restored { // the state before anything was read is where the first restart begins
		f.lane.Decoded(f.begun)
		if err := f.writeCheckpoint(); err != nil {
			return err
		}
		if err := f.forgetCheckpoints(f.begun); err != nil {
			return err
		}
	}
	if err := f.noteSelected(chosenOf(f.plan, f.p)); err != nil {
		return err
	}
	return note(f.frames, source.InputNote, 0, flow.Note{Note: flow.NoteStart, Plan: f.plan.Digest, Build: f.e.opt.Build, Plugin: f.p.Manifest.Version})
}

// instruments gives the plan's instruments their ids and names.
func (f *feed) instruments(p *plan.Feed) error {
	for _, i := range p.Instruments {
		if _, _, err := f.e.registry.Ensure(market.Instrument{Venue: p.Venue, Market: p.Market, Symbol: i.Symbol, Name: i.Name}); err != nil {
			return err
		}
	}
	return nil
}

// forgetCheckpoints removes those below a position. They are of a lane with other
// processors, say: who used them later would derive again what the lane that
// began anew has journalled otherwise.
func (f *feed) forgetCheckpoints(below shm.Position) error {
	at, err := flow.Checkpoints(f.checkpoints())
	if err != nil {
		return err
	}
	for _, p := range at {
		if p < below {
			if err := flow.RemoveCheckpoint(f.checkpoints(), p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *feed) restore(s flow.Settings, framesRec, recordsRec journal.Recovery) (bool, error) {
	dir := f.checkpoints()
	at, err := flow.Checkpoints(dir)
	if err != nil {
		return false, err
	}
	for i := len(at) - 1; i >= 0; i-- {
		if at[i] > framesRec.End { // of frames that a power failure took
			if err := flow.RemoveCheckpoint(dir, at[i]); err != nil {
				return false, err
			}
			continue
		}
		if at[i] < framesRec.Oldest {
			continue
		}
		b, err := flow.ReadCheckpoint(dir, at[i])
		if err != nil {
			f.log.Warn().Err(err).Uint64("checkpoint", at[i]).Msg("checkpoint can't be read; the one before is tried")
			continue
		}
		f.lane = flow.New(s)
		records, procs, err := f.lane.Restore(b)
		if err == nil {
			err = resume(f.lane.Output(), f.records, records, recordsRec.End)
		}
		for n := range procs {
			if p := &f.processors[n]; err == nil && procs[n] != flow.NoState {
				err = resume(p.Output(), p.journal, procs[n], p.end)
			}
		}
		if err == nil {
			f.checkpointAt = at[i]
			f.checkpointMeter.at.Store(int64(at[i]))
			f.checkpointMeter.wall.Store(time.Now().UnixNano())
			return true, nil
		}
		f.lane.Close()
		f.log.Warn().Err(err).Uint64("checkpoint", at[i]).Msg("checkpoint can't be used; the one before is tried")
	}
	f.lane = flow.New(s)
	if framesRec.End > 0 {
		f.log.Warn().Msg("no usable checkpoint: books start anew, and frames that were not decoded before the restart stay in the frames journal only; replay them with marketprism replay")
	}
	return false, nil
}

// resume makes an output recognise what its journal holds behind a checkpoint.
// Records journals are not synced with their checkpoints: if a power failure took
// records from before this one, it is of no use, and an earlier one is.
func resume(o *flow.Output, j *journal.Journal, from, end shm.Position) error {
	if from > end && end != 0 {
		return fmt.Errorf("engine: %s ends at %d, the checkpoint was made at %d", j.Dir(), end, from)
	}
	return o.Resume(j.Dir(), min(from, end), end)
}

// Signal, Snapshot, Resubscribe, History and Reconnect implement flow.Actions.
func (f *feed) Signal(c uint32, s source.Signal) { f.conn.Signal(c, s) }

// Snapshot requests a book snapshot.
func (f *feed) Snapshot(symbol string) {
	if sub, ok := f.wanted.Load().subs[subKey{market.ChannelBook, symbol}]; ok {
		f.conn.Snapshot(sub)
	}
}

// Resubscribe renews one symbol's channel.
func (f *feed) Resubscribe(ch market.Channel, symbol string) {
	if sub, ok := f.wanted.Load().subs[subKey{ch, symbol}]; ok {
		f.conn.Resubscribe(sub)
	}
}

// History requests trades that a gap took. Where the pipeline wants none the lane
// is told so by the journal, from which it knows all else.
func (f *feed) History(symbol string, from, to int64) {
	w, key := f.wanted.Load(), subKey{market.ChannelTrades, symbol}
	sub, ok := w.subs[key]
	if ok && w.p.Backfill {
		f.conn.History(sub, from, to)
		return
	}
	n := flow.Note{Note: flow.NoteHistoryOff, Subs: []source.Subscription{{Channel: key.channel, Symbol: symbol}}}
	if err := note(f.frames, source.InputNote, 0, n); err != nil {
		f.log.Error().Err(err).Msg("a note could not be journalled")
	}
}

// Reconnect replaces a connection.
func (f *feed) Reconnect(c uint32, why string) { f.conn.Reconnect(c, why) }

// prepare makes the feed's processes and connections; run starts them.
func (f *feed) prepare(budgets *conn.Budgets, proxy string) error {
	var spec host.Spec
	for _, p := range f.plan.Processes {
		if p.Kind == wire.KindSource && p.Name == "source/"+f.p.Name {
			spec = host.Spec{Kind: wire.KindSource, Name: p.Plugin, Path: p.Path, SHA256: p.SHA256}
		}
	}
	channels := map[market.Channel]schema.Values{}
	for _, c := range f.p.Channels {
		if !c.Derived {
			channels[c.Channel] = c.Config
		}
	}
	settings := source.DecoderSettings{Market: f.p.Market, Config: f.p.Config, Channels: channels}
	if f.e.opt.Replay != nil {
		settings.Channels = nil
	}
	var err error
	f.src, err = f.e.host.NewSource(host.SourceSpec{Spec: spec, Label: "source/" + f.p.Name, Journal: f.frames, Settings: settings,
		Latency: wire.Latency(f.plan.Latency), RestartFrom: f.restartFrom})
	if err != nil || f.e.opt.Replay != nil {
		return err
	}
	f.framesConn = &framesJournal{j: f.frames, full: f.diskFull, done: &f.lane.Counts.Next, max: f.backlog()}
	f.conn, err = conn.New(conn.Settings{Venue: f.p.Venue, Spec: f.p.Spec, Channels: f.channelSpecs(), Config: f.p.Config, Credentials: f.p.Credentials, Renderer: f.src,
		Frames: f.framesConn, Buffers: f.e.messages.Frames, Inflaters: f.e.inflaters, Requests: f.e.requests, Budgets: budgets, Logger: f.log, Events: f.event, Latency: conn.Latency(f.plan.Latency), Gather: gather,
		Proxy: proxy, HTTP: conn.HTTPSettings{Egress: f.p.Egress}, CatalogueEvery: f.catalogueEvery(), Standby: f.p.Standby})
	if err != nil {
		return err
	}
	return f.conn.SetSubscriptions(f.wanted.Load().order)
}

// backlog is how far the lane may be behind: half of what the journal keeps.
func (f *feed) backlog() uint64 {
	n := f.journalOptions("frames", plan.Frames).MaxBytes
	if n <= 0 {
		n = 8 << 30
	}
	return uint64(n) / 2
}

// catalogueEvery asks for the catalogue only where a pipeline wants it.
func (f *feed) catalogueEvery() time.Duration {
	for _, c := range f.p.Channels {
		if c.Channel == market.ChannelInstruments {
			return 0 // the default
		}
	}
	return -1
}

func (f *feed) channelSpecs() []source.ChannelSpec {
	var out []source.ChannelSpec
	for _, c := range f.p.Channels {
		if !c.Derived {
			out = append(out, c.Spec)
		}
	}
	return out
}

// restartFrom says where a new plugin process begins.
func (f *feed) restartFrom() (shm.Position, []wire.Remembered) {
	var out []wire.Remembered
	for _, r := range f.lane.Remembered() {
		rec, err := f.at.At(r.Pos)
		if err != nil {
			f.log.Error().Err(err).Uint64("frame", r.Pos).Msg("a remembered frame can't be read: its connection is replaced")
			if f.conn != nil {
				f.conn.Reconnect(r.Conn, "a remembered frame was lost")
			}
			continue
		}
		out = append(out, wire.Remembered{Kind: source.InputKind(rec.Kind), Conn: rec.Conn, Recv: rec.Wall, Pos: rec.Pos, Payload: append([]byte(nil), rec.Payload...)})
	}
	return f.lane.Next(), out
}

func (f *feed) diskFull(from int64) {
	if f.fullSince.CompareAndSwap(0, from) {
		f.log.Error().Str("dir", f.frames.Dir()).Msg("the disk is full: connections are closed until there is room; free space, or lower max_size in the journal block")
		n := flow.Note{Note: flow.NoteDropped, From: from, Detail: "the disk was full"}
		wall, mono := stamp()
		if _, err := f.frames.AppendReserved(shm.Header{Kind: uint8(source.InputGap), Wall: wall, Mono: mono}, n.Encode()); err != nil {
			f.log.Error().Err(err).Msg("the gap could not be written into the reserved segment")
		}
		f.frames.Ring()
	}
}

// event is what the connections have to say; they log it themselves.
func (f *feed) event(ev conn.Event) {
	if ev.Kind == conn.EventOpen {
		f.fullSince.Store(0)
	}
	var n flow.Note
	switch ev.Kind {
	case conn.EventSubscribed:
		n = flow.Note{Note: flow.NoteSubscribed, Subs: ev.Subs}
	case conn.EventStale:
		n = flow.Note{Note: flow.NoteStale, Detail: ev.Detail}
	case conn.EventHistory:
		n = flow.Note{Note: flow.NoteHistory, Subs: ev.Subs, From: ev.From, To: ev.To, Detail: ev.Detail}
	case conn.EventShunned:
		n = flow.Note{Note: flow.NoteRejected, Subs: ev.Subs, Detail: ev.Detail}
	default:
		return
	}
	if err := note(f.frames, source.InputNote, ev.Conn, n); err != nil {
		f.log.Error().Err(err).Msg("a note could not be journalled")
	}
}

func (f *feed) setState(s string) {
	f.mu.Lock()
	f.state = s
	f.mu.Unlock()
}

func (f *feed) allJournals() []*journal.Journal {
	js := []*journal.Journal{f.frames, f.records}
	for _, p := range f.processors {
		js = append(js, p.journal)
	}
	return js
}

// release frees what a feed holds that ran and has ended.
func (f *feed) release() error {
	return errors.Join(f.src.Close(), f.closeJournals())
}

// closeJournals closes what open has opened, the lane's books with it.
func (f *feed) closeJournals() error {
	var errs []error
	if f.lane != nil {
		f.lane.Close()
	}
	f.at.close()
	for _, j := range f.allJournals() {
		if j != nil {
			errs = append(errs, j.Close())
		}
	}
	return errors.Join(errs...)
}

// output gives the journal that a selection reads, and the marks of its bursts.
func (f *feed) output(sel plan.Selection) (*journal.Journal, *flow.Marks) {
	for _, p := range f.processors {
		if p.name == sel.Processor {
			return p.journal, &p.Output().Marks
		}
	}
	return f.records, &f.lane.Output().Marks
}

// ready says whether the feed is collecting, else what it waits for.
func (f *feed) ready() (bool, string) {
	f.mu.Lock()
	state := f.state
	f.mu.Unlock()
	if state != "running" {
		return false, state
	}
	if st := f.src.State(); st.Phase != host.Running {
		return false, fmt.Sprintf("plugin %s: %s", st.Phase, st.Why)
	}
	if f.conn == nil {
		return true, ""
	}
	w := f.wanted.Load()
	live := map[int]bool{} // slots: a replacement or a spare beside a connection is no second one
	for _, c := range f.conn.Stats() {
		if c.Carries() {
			live[c.Slot] = true
		}
	}
	if len(live) < len(w.p.Connections) {
		return false, fmt.Sprintf("%d of %d connections live", len(live), len(w.p.Connections))
	}
	if s := f.lane.Counts.BooksSynced.Load(); s < w.books {
		return false, fmt.Sprintf("%d of %d books synchronised", s, w.books)
	}
	return true, ""
}
