package flow

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/book"
	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// Journal is where a lane appends.
type Journal interface {
	Append(h shm.Header, payload []byte) (uint64, error)
	Tail() uint64
}

// Frames gives a record of the feed's frames journal by its position.
type Frames interface {
	At(pos uint64) (shm.Record, error)
}

// Actions are what a lane asks of the outside: of the connections, never of
// another lane. They must not block. In a replay nobody listens.
type Actions interface {
	Signal(conn uint32, s source.Signal)     // reply, acknowledgements, heartbeat, reconnect, maintenance
	Snapshot(symbol string)                  // request a book snapshot
	Resubscribe(ch market.Channel, s string) // one symbol's channel
	History(symbol string, from, to int64)   // request trades, both ends as the channel's History says
	Reconnect(conn uint32, why string)
}

// Processor makes records of its own out of a lane's state. It runs inside the
// lane, so that what it makes is a function of the journal as well.
type Processor interface {
	// Tick is called when a timer of the frames journal fired.
	Tick(now int64, l *Lane) error
	// State is what Restore takes; Restore returns where the processor's
	// journal stood.
	State() []byte
	Restore([]byte) (uint64, error)
	Output() *Output
}

// Settings of a lane.
type Settings struct {
	Venue      string
	Market     market.Market
	Channels   []source.ChannelSpec
	Depth      func(symbol string) int // subscribed book depth; 0: the venue's all
	Registry   *Registry
	Frames     Frames
	Records    Journal
	Actions    Actions                              // nil in a replay
	LiveFrom   uint64                               // frames below are of a run before this one: nothing is asked of the outside for them
	Listed     func(symbol string, s market.Status) // is told of instrument records that aren't of a run before; nil: nobody wants to know
	DeriveBBO  bool                                 // the venue has no bbo channel and a pipeline wants one
	Processors []Processor
	Logger     zerolog.Logger
	Untimed    bool           // take no latencies: a replay's say nothing
	Unfigured  bool           // count no records of single streams
	Levels     *book.Levels   // of all lanes' books; nil: each book has memory of its own
	Messages   *pool.Messages // nil: the lane's own
}

// Counts are a lane's counters; they are read while it runs.
type Counts struct {
	Entries, Records, Duplicates, Gaps, Missing, DecodeErrors atomic.Int64
	Resyncs, Crossed                                          atomic.Int64
	BooksSynced, Books, Diverged                              atomic.Int64
	LastRecv                                                  atomic.Int64 // receive time of the last frame handled
	Next                                                      atomic.Int64 // position behind it
}

// Lane is a feed's event loop body. It is driven by one goroutine.
type Lane struct {
	s      Settings
	specs  [256]*source.ChannelSpec
	Counts Counts

	gen   uint32
	local []*instrument // by the plugin's id; 0 unused
	insts map[market.InstrumentID]*instrument

	pos, next uint64 // of the entry being handled, and behind it
	recv      int64  // of the record or frame being handled
	last      int64  // receive time of the last record
	conn      uint32
	index     uint16
	stopping  bool  // connections that close now do so in order
	now       int64 // of the last timer
	hour      int64

	holes      int // of all streams
	fills      int // of all streams
	remembered []Remembered
	sequences  []Sequence // of the connections whose frames the venue numbers
	out        Output

	table  streamTable
	dirty  []*stats // changed since the last Publish
	turned int64    // when old delays lost weight last

	scratch []byte
	quality market.Quality
	bookOut func(market.View)
	meter   meter
}

// Remembered is a frame that a restarted decoder is fed first.
type Remembered struct {
	Pos  uint64
	Conn uint32
}

// Sequence is the last frame's number on a connection.
type Sequence struct {
	Conn uint32
	Last int64
}

// instrument is a lane's state of one instrument.
type instrument struct {
	inst    *market.Instrument
	seed    uint64
	streams []*stream // few: one a channel
	book    *book.Book
	crossed bool
	ahead   ahead           // deltas that don't follow yet
	gone    uint64          // channels, as bits, that were unsubscribed: what still comes is passed on as it is
	version uint64          // of the book: applied snapshots and updates
	parted  bool            // a book of it was dropped: the next one continues nothing
	need    source.Recovery // what the book waits for, and since when
	needAt  int64

	brokenBy market.Cause // what voided the book last; CauseNone: it is new
	brokenAt int64
}

// New makes a lane with empty state.
func New(s Settings) *Lane {
	l := &Lane{s: s, insts: map[market.InstrumentID]*instrument{}, local: make([]*instrument, 1), out: Output{Journal: s.Records}}
	for i := range s.Channels {
		c := &s.Channels[i]
		for _, m := range c.Markets {
			if m == s.Market || s.Market == market.MarketMixed && l.specs[c.Channel] == nil {
				l.specs[c.Channel] = c
			}
		}
	}
	l.bookOut = func(v market.View) {
		l.meter.judged(v.Flags())
		l.emit(v)
	}
	if s.Messages == nil {
		l.s.Messages, l.out.Err = pool.NewMessages(pool.MessageOptions{})
	}
	l.meter.timed = !s.Untimed
	if l.meter.timed {
		l.meter.frames = make([]frameTime, 0, burstFrames)
	}
	return l
}

// Messages lend what processors need while they run.
func (l *Lane) Messages() *pool.Messages { return l.s.Messages }

// Close gives back what the lane's books have leased, when nothing drives the lane
// any more. Counters may still be read.
func (l *Lane) Close() {
	for _, in := range l.insts {
		if in.book != nil {
			in.book.Close()
		}
	}
}

// ErrPlugin is wrapped by errors that are the plugin's fault: it is to be
// quarantined.
var ErrPlugin = errors.New("malformed plugin output")

// Next is the position behind the last entry handled: where a restarted plugin
// begins.
func (l *Lane) Next() uint64 { return l.next }

// Decoded tells the lane that the plugin had nothing to say up to pos.
func (l *Lane) Decoded(pos uint64) {
	if pos > l.next {
		l.next = pos
		l.Counts.Next.Store(int64(pos))
	}
}

// Remembered lists the frames that a restarted decoder is fed first.
func (l *Lane) Remembered() []Remembered { return l.remembered }

// Process handles what the plugin made of one frame: valid records and signals,
// as host.Source.Poll hands them over. gen is the plugin process's number: ids
// start anew with each.
func (l *Lane) Process(gen uint32, pos, next uint64, data []byte) error {
	if gen != l.gen {
		l.gen, l.local = gen, l.local[:1]
	}
	if pos < l.next {
		return fmt.Errorf("flow: %w: entry for frame %d after frame %d was handled", ErrPlugin, pos, l.next)
	}
	l.pos, l.index = pos, 0
	l.Counts.Entries.Add(1)
	before := l.out.Records
	for len(data) > 0 {
		if source.IsSignal(data) {
			sig, n, err := source.ParseSignal(data)
			if err == nil {
				err = l.signal(sig)
			}
			if err != nil {
				return l.blame(err)
			}
			data = data[n:]
			continue
		}
		v := market.View(data)
		v = v[:v.Size():v.Size()]
		if err := l.record(v); err != nil {
			return l.blame(err)
		}
		data = data[len(v):]
	}
	l.next = next
	l.Counts.Next.Store(int64(next))
	l.Counts.Records.Store(l.out.Records)
	l.Counts.Diverged.Store(l.out.Diverged)
	if n := l.out.Records - before; n > 0 && l.meter.timed && pos >= l.s.LiveFrom {
		l.meter.frame(l.recv, uint32(n))
	}
	return l.out.Err
}

// blame says whose fault an error of handling an entry is.
func (l *Lane) blame(err error) error {
	if l.out.Err != nil {
		return l.out.Err
	}
	return fmt.Errorf("flow: frame %d: %w: %w", l.pos, ErrPlugin, err)
}

// record takes one record of the plugin.
func (l *Lane) record(v market.View) error {
	id := v.Instrument()
	if id == 0 || int(id) >= len(l.local) || l.local[id] == nil {
		return fmt.Errorf("%s record of instrument %d, which was never defined", v.Kind(), id)
	}
	in := l.local[id]
	v.SetInstrument(in.inst.ID)
	v.SetPos(l.pos)
	v.SetFlags(v.Flags() &^ market.FlagsRuntime)
	l.recv, l.conn = v.TsRecv(), v.Conn()
	l.last = l.recv
	l.Counts.LastRecv.Store(l.recv)
	if in.gone != 0 && in.gone&(1<<v.Channel()) != 0 {
		if v.Origin() != market.OriginBackfill || v.Channel() != market.ChannelTrades { // who asked for these wants them no more
			l.late(v)
		}
		return nil
	}
	st := l.stream(in, v.Channel(), v.Flags()&market.FlagAggregate != 0, l.recv)
	st.begin(l.recv)
	if st.Filled && v.Origin() == market.OriginBackfill && l.history(st) != nil {
		if l.past(st, v) {
			l.passOn(v)
			st.Messages++
			s := l.figures(in, st)
			s.records++
			l.touch(s)
		}
		return nil
	}
	if len(st.Fills) > 0 && v.Origin() == market.OriginLive && st.brought(v) {
		l.repeated(in, st)
		return nil
	}
	if l.duplicate(in, st, v) {
		return nil
	}
	if len(st.Fills) > 0 {
		st.met(v)
	}
	v.SetIndex(l.index) // behind what the lane itself said of it
	l.index++
	st.Messages++
	st.PrevRecv, st.LastRecv, st.LastTs = st.LastRecv, l.recv, v.Ts()
	figures := st.stats
	if figures == nil {
		figures = l.figures(in, st)
	}
	l.meter.received(v, l.recv, l.pos >= l.s.LiveFrom)
	switch v.Kind() {
	case market.KindBookSnapshot, market.KindBookDelta:
		if spec := l.specs[market.ChannelBook]; v.Channel() == market.ChannelBook && spec != nil && spec.Book != nil {
			l.applyBook(in, st, spec.Book, v)
			l.observe(figures, v)
			return nil
		}
	case market.KindInstrument:
		if err := l.catalogue(in, v); err != nil {
			return err
		}
		if l.s.Listed != nil && l.pos >= l.s.LiveFrom {
			l.s.Listed(in.inst.Symbol, market.Status(v.Int(statusAt)))
		}
	}
	l.emit(v)
	l.observe(figures, v)
	return nil
}

// late passes on what was on its way when its channel was unsubscribed: it is of
// no stream any more, so nothing can be said of what is missing.
func (l *Lane) late(v market.View) {
	if k := v.Kind(); k == market.KindBookSnapshot || k == market.KindBookDelta {
		v.SetFlags(v.Flags() | market.FlagUnsynced)
	}
	l.passOn(v)
}

// passOn emits a record that says nothing of where its stream stands.
func (l *Lane) passOn(v market.View) {
	v.SetIndex(l.index)
	l.index++
	l.emit(v)
}

// duplicate applies the channel's numbering: it drops what was delivered
// before and publishes what is missing.
func (l *Lane) duplicate(in *instrument, st *stream, v market.View) bool {
	conn := v.Conn()
	if conn != 0 && (len(st.Carriers) == 0 || st.Carriers[0] != conn) { // 0: a response, which no connection carries on
		st.carry(conn)
	}
	if v.Channel() == market.ChannelBook {
		return l.redundantBook(in, st, v, conn)
	}
	seq := v.Seq()
	spec := l.specs[v.Channel()]
	numbered := spec != nil && spec.Sequence != source.SequenceNone && seq != market.None
	if st.frame != l.pos+1 { // a frame may have its newest record first: the others are no older than it
		st.frame, st.before = l.pos+1, st.LastSeq
	}
	old := numbered && st.before != market.None && seq <= st.before
	first := seq // what comes follows the number before it
	if numbered && spec.Sequence == source.SequenceRange && v.Kind() == market.KindTrade && v.TradeFirstID() != market.None {
		first = v.TradeFirstID() // of merged trades
	} else if prev := v.PrevSeq(); numbered && prev != market.None { // of the newest, which stands first: what all of them follow
		first = prev + 1
	}
	if len(st.Holes) > 0 && numbered {
		if old && l.fill(st, min(first, seq), seq) {
			st.seen(v.Key(), false)
			st.found(min(first, seq), seq)
			if v.Origin() == market.OriginLive {
				l.meter.outOfOrder[st.Channel&(maxChannels-1)].Add(1)
				l.close(in, st, v, 0)
			}
			return false
		}
		l.passed(in, st, conn, seq)
	}
	// Where no number orders a venue's trades, nothing but their ids tells a repeat.
	named := spec != nil && spec.Sequence == source.SequenceNone && v.Kind() == market.KindTrade && len(v.TradeID()) > 0
	again := old && v.Origin() == market.OriginLive && st.came(conn, v)
	if again || st.seen(v.Key(), old || named || len(st.Carriers) > 1 || v.Origin() == market.OriginHistory) || old && v.Origin() == market.OriginHistory {
		l.repeated(in, st)
		return true
	}
	if old && v.Origin() == market.OriginLive {
		l.meter.outOfOrder[st.Channel&(maxChannels-1)].Add(1)
	}
	if old {
		st.found(min(first, seq), seq)
	}
	missing := int64(0)
	if numbered && !old && v.Origin() != market.OriginBackfill {
		if st.LastSeq != market.None && first > st.LastSeq+1 {
			missing = first - st.LastSeq - 1
			if st.Open.Cause == market.CauseNone && v.Origin() == market.OriginLive && !l.skipped(in, st, conn, first, v) {
				ref := l.missed(in, st, market.CauseGap, st.LastSeq, seq, st.LastRecv, v.TsRecv(), missing, "")
				l.backfill(in, st, fill{Cause: market.CauseGap, Ref: ref, FromSeq: st.LastSeq, ToSeq: seq, FromRecv: st.LastRecv, ToRecv: v.TsRecv(), FromTs: st.LastTs, ToTs: v.Ts()},
					missing, []span{{st.LastSeq + 1, first - 1}})
			}
			st.lost(st.LastSeq+1, first-1)
		}
		if v.Origin() == market.OriginLive || st.Open.Cause != market.CauseNone {
			if v.Origin() != market.OriginLive { // history that doesn't reach back to the gap's beginning
				st.Open.Missing += missing
			}
			if st.LastSeq == market.None {
				st.Known = first
			}
			st.LastSeq, st.LastConn = max(st.LastSeq, seq), conn
		}
	}
	if v.Origin() == market.OriginLive {
		l.close(in, st, v, missing)
	}
	return false
}

// redundantBook drops book updates that a second connection delivers as well.
// Where updates carry no sequence, two connections can't be interleaved: one of
// them counts, and the other takes over with its snapshot.
func (l *Lane) redundantBook(in *instrument, st *stream, v market.View, conn uint32) bool {
	spec := l.specs[market.ChannelBook]
	if spec == nil || spec.Book == nil {
		return false
	}
	drop := false
	byConn := spec.Book.Sequence.Scope.OfConnection()
	if spec.Book.Sequence.Kind != source.SequenceNone && !byConn && v.Seq() != market.None {
		drop = st.seen(v.Key(), len(st.Carriers) > 1)
	} else if conn != 0 && conn != st.Primary {
		if v.Kind() == market.KindBookSnapshot || !slices.Contains(st.Carriers, st.Primary) {
			if byConn && v.Kind() != market.KindBookSnapshot && in.book != nil && in.book.Synced() {
				l.resync(in, "the connection whose numbers counted is gone")
			}
			st.Primary = conn
		} else {
			drop = true
		}
	}
	if drop {
		l.repeated(in, st)
		if len(in.ahead.Deltas) > 0 && in.book != nil && in.book.Ahead(v) { // it has what is held, and not what lacks
			l.beyond(in, st, conn)
		}
	}
	return drop
}

func (l *Lane) repeated(in *instrument, st *stream) {
	st.Duplicates++
	l.Counts.Duplicates.Add(1)
	l.meter.duplicates[st.Channel&(maxChannels-1)].Add(1)
	s := l.figures(in, st)
	s.duplicates++
	l.touch(s)
}

func (l *Lane) emit(v market.View) {
	l.meter.made(v.Kind())
	l.out.Emit(v)
}

// Output is the lane's way to the records journal.
func (l *Lane) Output() *Output { return &l.out }

// get gives the lane's state of an instrument.
func (l *Lane) get(i market.Instrument) (*instrument, error) {
	inst, changed, err := l.s.Registry.Ensure(i)
	if err != nil {
		l.out.Err = err
		return nil, err
	}
	in := l.insts[inst.ID]
	if in == nil {
		in = &instrument{inst: inst, seed: market.KeySeed(inst.Venue, inst.Market, inst.Symbol)}
		l.insts[inst.ID] = in
		changed = true
	}
	in.inst = inst
	if in.book != nil && inst.Precision.Known { // the table may know it from before a restart, the book doesn't
		in.book.SetPrecision(inst.Precision)
	}
	if changed {
		if err := l.out.Define(inst, l.recv); err != nil {
			return nil, err
		}
	}
	return in, nil
}

func (l *Lane) stream(in *instrument, ch market.Channel, aggregate bool, since int64) *stream {
	for _, s := range in.streams {
		if s.Channel == ch && s.Aggregate == aggregate {
			return s
		}
	}
	s := newStream(ch, aggregate, since)
	in.streams = append(in.streams, s)
	l.meter.streams = true
	return s
}

// statusAt is where an instrument record has its status.
var statusAt = func() int {
	fs := market.Fields(market.KindInstrument)
	return fs[len(fs)-1].Offset
}()

// catalogue learns from an instrument record.
func (l *Lane) catalogue(in *instrument, v market.View) error {
	fs := market.Fields(market.KindInstrument)
	i := *in.inst
	if name := v.Text(fs[0].Offset); len(name) > 0 {
		i.Name = string(name)
	}
	i.ContractSize, i.AmountUnit = v.Dec(fs[4].Offset), market.Unit(v.Int(fs[5].Offset))
	_, err := l.get(i)
	return err
}

// maxLocal bounds a plugin's instrument table.
const maxLocal = 1 << 20

// signal handles what the plugin says beside records.
func (l *Lane) signal(s source.Signal) error {
	l.conn = s.Conn
	switch s.Kind {
	case source.SignalError, source.SignalResync, source.SignalMaintenance, source.SignalRejected, source.SignalDefine:
		at, err := l.s.Frames.At(l.pos) // few: the time of a record before it would be another's
		if err != nil {
			l.out.Err = err
			return err
		}
		l.recv = at.Wall
	}
	switch s.Kind {
	case source.SignalDefine:
		return l.defined(s)
	case source.SignalError:
		l.Counts.DecodeErrors.Add(1)
		l.feedQuality(market.CauseDecodeError, string(s.Text))
		l.s.Logger.Warn().Uint64("frame", l.pos).Uint32("conn", s.Conn).Bytes("error", s.Text).Msg("frame refused by the decoder")
	case source.SignalResync:
		if int(s.Instrument) >= len(l.local) || l.local[s.Instrument] == nil {
			return fmt.Errorf("resync of instrument %d, which was never defined", s.Instrument)
		}
		l.resync(l.local[s.Instrument], string(s.Text))
	case source.SignalRemember:
		l.remembered = append(l.remembered, Remembered{l.pos, s.Conn})
		if len(l.remembered) > maxRemembered {
			return fmt.Errorf("more than %d remembered frames", maxRemembered)
		}
	case source.SignalMaintenance:
		l.meter.notices[market.CauseMaintenance].Add(1)
		l.feedQuality(market.CauseMaintenance, string(s.Text))
		l.act(s)
	case source.SignalRejected:
		l.meter.notices[market.CauseRejected].Add(1)
		l.feedQuality(market.CauseRejected, string(s.Text))
		l.act(s)
	case source.SignalSequence:
		if len(s.Text) != 8 {
			return fmt.Errorf("sequence of %d bytes", len(s.Text))
		}
		return l.sequence(s.Conn, int64(binary.LittleEndian.Uint64(s.Text)))
	case source.SignalEcho:
		if len(s.Text) != 1 {
			return fmt.Errorf("echo of %d bytes", len(s.Text))
		}
		return l.echo()
	default:
		l.act(s)
	}
	return nil
}

// maxRemembered bounds the frames that a plugin may ask to be fed again.
const maxRemembered = 4096

// live says whether the outside is to hear of what is being handled.
func (l *Lane) live() bool { return l.s.Actions != nil && l.pos >= l.s.LiveFrom }

func (l *Lane) act(s source.Signal) {
	if l.live() {
		l.s.Actions.Signal(s.Conn, s)
	}
}

func (l *Lane) defined(s source.Signal) error {
	var i market.Instrument
	if err := json.Unmarshal(s.Text, &i); err != nil {
		return fmt.Errorf("instrument definition: %w", err)
	}
	if i.Symbol == "" { // more about one that is known
		if int(i.ID) >= len(l.local) || l.local[i.ID] == nil {
			return fmt.Errorf("more about instrument %d, which was never defined", i.ID)
		}
		known := *l.local[i.ID].inst
		known.Precision = i.Precision
		_, err := l.get(known)
		return err
	}
	if int(i.ID) != len(l.local) || i.ID > maxLocal {
		return fmt.Errorf("instrument definition %d where %d was due", i.ID, len(l.local))
	}
	if i.Venue != l.s.Venue || i.Market == market.MarketNone || i.Market == market.MarketMixed {
		return fmt.Errorf("definition of instrument %s of %s %s in a feed of %s", i.Symbol, i.Venue, i.Market, l.s.Venue)
	}
	in, err := l.get(i)
	if err != nil {
		return err
	}
	l.local = append(l.local, in)
	return nil
}
