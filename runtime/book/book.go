package book

import (
	"fmt"

	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// The defaults of Options.
const (
	DefaultHeldRecords = 10_000
	DefaultHeldBytes   = 8 << 20
	DefaultMaxLevels   = 1 << 18
)

// maxStaleRun is how many deltas in a row may be taken for duplicates. A venue
// that starts its numbers anew, lower, without saying so would else be ignored
// for ever; redundant connections never repeat that many between two new ones.
const maxStaleRun = 128

// Options of one book.
type Options struct {
	SubscribedDepth int // levels a side that the subscription asked for; a record's own Depth goes before it
	HeldRecords     int // deltas that may wait for a snapshot; DefaultHeldRecords if 0
	HeldBytes       int // their bytes; DefaultHeldBytes if 0
	MaxLevels       int // levels a side; a record that needs more is refused; DefaultMaxLevels if 0

	Levels  *Levels                 // where levels are kept; nil: in memory of the book's own
	Batches *pool.Pool[pool.Batch]  // where deltas wait for a snapshot; nil: in memory of the book's own
	Books   *pool.Pool[market.Book] // lends what AppendState needs; nil: the allocator does
}

// Verdict is what became of the record that Apply was given.
type Verdict uint8

// The verdicts.
const (
	VerdictNone        Verdict = iota
	VerdictApplied             // a delta in sequence, or a snapshot that is in force now
	VerdictKeepAlive           // in sequence, changed nothing
	VerdictStale               // wholly before the state in force, or a snapshot older than it
	VerdictHeld                // waits for a snapshot
	VerdictUnsynced            // no snapshot is in force and none will make it usable
	VerdictGap                 // breaks the sequence: the book is void
	VerdictTooOld              // a snapshot that doesn't reach the deltas held: ask again
	VerdictChecksumBad         // applied, and the exchange's checksum differs: the book is void
	VerdictRefused             // can't be used, Outcome.Reason says why: the book is void
	VerdictEnded               // the exchange ended the book
)

var verdictNames = [...]string{"none", "applied", "keep_alive", "stale", "held", "unsynced", "gap", "too_old", "checksum_bad",
	"refused", "ended"}

func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("unknown(%d)", int(v))
}

// Outcome is what one call came to. A snapshot releases the deltas held, so one
// call may mend the book and break it again: Repaired then comes before Cause.
type Outcome struct {
	Verdict Verdict

	// Need is what the book needs now and has not asked for before: "" nothing.
	// It is said once; whoever carries it out repeats it until a snapshot comes,
	// or calls Void, after which the book asks again.
	Need source.Recovery

	// Cause is set if a snapshot was in force, this one perhaps, and this call
	// made the book void.
	Cause   market.Cause
	FromSeq int64 // the last good sequence, or market.None
	ToSeq   int64 // the first one seen after the break, or market.None
	Missing int64 // messages between them, or market.None: only "increment" counts messages

	Want, Got int64  // the exchange's checksum and ours, both unsigned, where they differ; else 0
	Reason    string // of VerdictRefused

	Repaired    bool // the first good state after a break
	Crossed     bool // best bid >= best ask after a record of this call
	BestChanged bool // price or amount of a best level
}

// Stats count since the book was made, checkpoints included.
type Stats struct {
	Snapshots                 int64 // that came, stale ones too
	Applied, Stale, Unsynced  int64 // deltas
	LevelChanges              int64 // entries of applied deltas
	Gaps                      int64 // breaks of the sequence rule
	ChecksumsOK, ChecksumsBad int64
	Crossed                   int64 // deltas after which best bid >= best ask
}

// Book is one instrument's order book. It is not safe for concurrent use.
type Book struct {
	rule  source.BookRule
	opts  Options
	stats Stats
	prec  market.Precision

	bids, asks side
	free       leaves
	scale      uint8 // of the ticks
	depth      int   // levels a side that are kept; 0: all

	seq      int64 // in force
	snap     int64 // sequence of the snapshot in force
	lost     int64 // greatest sequence that was dropped from the held deltas since the last snapshot, or of a timed book that is void
	inForce  bool  // a snapshot is in force
	starting bool  // no delta has followed it yet
	broken   bool  // a break is not repaired yet
	asked    bool  // Need was said and nothing came yet
	apart    bool  // the stream of a timed book broke off, and no update has come since
	staleRun int

	held held
	text []byte // scratch of checksums
}

// New makes an empty book that waits for its snapshot.
func New(rule source.BookRule, o Options) *Book {
	if o.HeldRecords <= 0 {
		o.HeldRecords = DefaultHeldRecords
	}
	if o.HeldBytes <= 0 {
		o.HeldBytes = DefaultHeldBytes
	}
	if o.MaxLevels <= 0 {
		o.MaxLevels = DefaultMaxLevels
	}
	if rule.Recovery == "" {
		rule.Recovery = source.RecoverResubscribe
		if waits(rule.Snapshot) {
			rule.Recovery = source.RecoverRequest
		}
	}
	b := &Book{rule: rule, opts: o, depth: max(0, o.SubscribedDepth), seq: market.None, snap: market.None, lost: market.None}
	b.free.pool = o.Levels
	b.bids.free, b.asks.free = &b.free, &b.free
	return b
}

// Close gives back what the book has leased. It is empty and void then; what it
// held for a snapshot is gone, so Flush comes before.
func (b *Book) Close() {
	b.void(false)
	b.held.clear()
	b.free.free = nil
}

// waits says whether a book that has no snapshot asks for one by a request.
func waits(w source.SnapshotWay) bool { return w == source.SnapshotHTTP || w == source.SnapshotSocket }

// holds says whether deltas are held for a snapshot: one that comes by request,
// or one in the stream that may come behind them.
func (b *Book) holds() bool {
	return waits(b.rule.Snapshot) || b.rule.Snapshot == source.SnapshotInBand && b.rule.Sequence.Start != source.StartInBand
}

// SetPrecision tells the places with which the venue computes its checksum; it
// belongs to the book's state and to its checkpoint.
func (b *Book) SetPrecision(p market.Precision) { b.prec = p }

// timed says whether updates are numbered by times: they only tell what a
// requested snapshot holds, not what follows what.
func (b *Book) timed() bool {
	q := &b.rule.Sequence
	return q.Kind == source.SequenceNone && q.Start != source.StartInBand && waits(b.rule.Snapshot)
}

// Apply judges one book_snapshot or book_delta of this instrument, which must be
// valid (market.Validate) and writable, and emits what is decided by it.
func (b *Book) Apply(v market.View, emit func(market.View)) Outcome {
	out := Outcome{FromSeq: market.None, ToSeq: market.None, Missing: market.None}
	f := v.Flags() &^ market.FlagsRuntime
	v.SetFlags(f)
	k := v.Kind()
	switch {
	case k != market.KindBookSnapshot && k != market.KindBookDelta:
		emit(v)
		out.Verdict, out.Reason = VerdictRefused, "a record that is of no book"
	case f&market.FlagEnd != 0:
		b.release(emit)
		b.void(false)
		emit(v)
		out.Verdict = VerdictEnded
	case k == market.KindBookSnapshot || f&market.FlagReset != 0 || b.rule.Snapshot == source.SnapshotEach:
		out.Verdict = b.snapshot(v, emit, &out)
	case b.inForce:
		if out.Verdict = b.next(v, emit, &out); out.Verdict == VerdictGap {
			b.unsynced(v, emit, &out) // the next snapshot may want it
		}
	default:
		out.Verdict = b.unsynced(v, emit, &out)
	}
	return out
}

// Ahead says whether a delta does not follow the state in force yet: another
// one, that comes by another connection perhaps, belongs between.
func (b *Book) Ahead(v market.View) bool {
	return b.inForce && v.Kind() == market.KindBookDelta && v.Flags()&(market.FlagReset|market.FlagEnd) == 0 &&
		b.rule.Snapshot != source.SnapshotEach && b.rule.Sequence.Kind != source.SequenceNone && v.Seq() != market.None &&
		b.judge(v) == VerdictGap
}

// unsynced holds or emits a delta that came while no snapshot is in force.
func (b *Book) unsynced(v market.View, emit func(market.View), out *Outcome) Verdict {
	if !b.holds() {
		b.emitUnsynced(v, emit)
		return VerdictUnsynced
	}
	b.apart = false
	if waits(b.rule.Snapshot) {
		b.need(out, source.RecoverRequest)
	}
	for b.held.n > 0 && !b.held.fits(v, &b.opts) {
		b.dropHeld(emit)
	}
	if !b.held.fits(v, &b.opts) {
		b.noteLost(v)
		b.emitUnsynced(v, emit)
		return VerdictUnsynced
	}
	b.held.push(v, &b.opts)
	return VerdictHeld
}

func (b *Book) dropHeld(emit func(market.View)) {
	v := b.held.front()
	b.noteLost(v)
	b.emitUnsynced(v, emit)
	b.held.pop()
}

func (b *Book) noteLost(v market.View) { b.lost = max(b.lost, v.Seq()) }

func (b *Book) emitUnsynced(v market.View, emit func(market.View)) {
	if v.Kind() == market.KindBookDelta {
		b.stats.Unsynced++
	}
	v.SetFlags(v.Flags() | market.FlagUnsynced)
	emit(v)
}

// release gives up on all deltas held.
func (b *Book) release(emit func(market.View)) {
	for b.held.n > 0 {
		b.emitUnsynced(b.held.front(), emit)
		b.held.pop()
	}
}

// need asks for something unless it was asked for.
func (b *Book) need(out *Outcome, r source.Recovery) {
	if !b.asked {
		b.asked, out.Need = true, r
	}
}

// void forgets the state. The levels go: a void book shows nothing.
func (b *Book) void(broke bool) {
	b.bids.clear()
	b.asks.clear()
	b.inForce, b.starting, b.asked, b.staleRun = false, false, false, 0
	lost := market.None
	if b.timed() { // what was applied is in every snapshot that may follow
		lost = max(b.lost, b.seq)
	}
	b.seq, b.snap, b.lost = market.None, market.None, lost
	b.broken = b.broken || broke
}

// breaks voids a book for a cause that its own rule found.
func (b *Book) breaks(c market.Cause, out *Outcome) {
	if b.inForce {
		out.Cause, out.FromSeq = c, b.seq
	}
	b.void(true)
	b.need(out, b.rule.Recovery)
}

// Void is for what breaks a book from outside: a disconnect, a gap in a sequence
// that runs over the connection, a resubscription. Deltas held leave unsynced,
// later ones are held or leave unsynced until the next snapshot.
func (b *Book) Void(c market.Cause, emit func(market.View)) Outcome {
	out := Outcome{FromSeq: market.None, ToSeq: market.None, Missing: market.None}
	if b.inForce {
		out.Cause, out.FromSeq = c, b.seq
	}
	b.release(emit)
	b.void(b.inForce)
	switch c {
	case market.CauseGap, market.CauseCrossed, market.CauseChecksum: // the stream goes on
	default:
		b.Part()
	}
	return out
}

// Part says that the updates to come don't follow those that came before: the
// stream broke off, or the book of one that did is made anew. Between a snapshot
// of that time and the first update others may lie that nobody received; the
// numbers of an update show it, its time does not.
func (b *Book) Part() { b.apart = b.timed() }

// Flush is for the end of a feed: deltas held leave unsynced. A book in force
// holds none and stays as it is.
func (b *Book) Flush(emit func(market.View)) { b.release(emit) }

// snapshot judges a record that replaces the book.
func (b *Book) snapshot(v market.View, emit func(market.View), out *Outcome) Verdict {
	if v.Kind() == market.KindBookSnapshot {
		b.stats.Snapshots++
	}
	if verdict := b.judgeSnapshot(v); verdict != VerdictApplied {
		v.SetFlags(v.Flags() | market.FlagStale)
		if v.Kind() == market.KindBookDelta {
			b.stats.Stale++
		}
		emit(v)
		if verdict == VerdictTooOld {
			if b.asked = false; !b.apart { // else the first update asks
				b.need(out, source.RecoverRequest)
			}
		}
		return verdict
	}
	reset := v.Flags()&market.FlagReset != 0
	if reset {
		b.release(emit) // they belong to what ends here
	}
	bid, ask := b.best(&b.bids), b.best(&b.asks)
	b.bids.clear()
	b.asks.clear()
	b.scale = scaleOf(v.Bids(), scaleOf(v.Asks(), 0))
	wasBroken := b.broken
	b.seq, b.snap, b.lost = v.Seq(), v.Seq(), market.None
	b.inForce, b.asked, b.broken, b.apart, b.staleRun = true, false, false, false, 0
	b.starting = b.rule.Sequence.Start != source.StartInBand && !reset
	verdict := b.put(v, emit, out, bid, ask)
	if verdict != VerdictApplied {
		return verdict
	}
	out.Repaired = wasBroken
	for b.held.n > 0 && b.inForce {
		if b.next(b.held.front(), emit, out) == VerdictGap {
			return verdict // it stays the first of those held, for the next snapshot
		}
		b.held.pop()
	}
	return verdict
}

// next judges the delta that follows a snapshot in force, and emits it unless it
// breaks the sequence.
func (b *Book) next(v market.View, emit func(market.View), out *Outcome) Verdict {
	verdict := b.judge(v)
	switch verdict {
	case VerdictApplied:
		b.staleRun = 0
		bid, ask := b.best(&b.bids), b.best(&b.asks)
		if s := v.Seq(); s != market.None {
			b.seq = s
		}
		b.starting = false
		if v.Flags()&market.FlagKeepAlive == 0 {
			return b.put(v, emit, out, bid, ask)
		}
		verdict = VerdictKeepAlive
		fallthrough
	case VerdictKeepAlive:
		b.staleRun = 0
		b.stats.Applied++
		b.stats.LevelChanges += int64(v.Bids().Len() + v.Asks().Len())
		v.SetFlags(v.Flags() | market.FlagApplied)
		emit(v)
	case VerdictStale:
		if b.staleRun++; b.staleRun > maxStaleRun && !b.starting && b.rule.Sequence.Kind != source.SequenceNone {
			b.gap(v, out)
			return VerdictGap
		}
		b.stats.Stale++
		v.SetFlags(v.Flags() | market.FlagStale)
		emit(v)
	case VerdictGap:
		b.gap(v, out)
	}
	return verdict
}

func (b *Book) gap(v market.View, out *Outcome) {
	b.stats.Gaps++
	last := v.Seq()
	out.ToSeq = v.FirstSeq()
	if out.ToSeq == market.None {
		out.ToSeq = last
	}
	if b.rule.Sequence.Kind == source.SequenceIncrement && last != market.None && last-b.seq > 1 {
		out.Missing = last - b.seq - 1
	}
	b.breaks(market.CauseGap, out)
}

// put applies a record's levels, checks what can be checked, and emits it.
func (b *Book) put(v market.View, emit func(market.View), out *Outcome, bid, ask best) Verdict {
	delta := v.Kind() == market.KindBookDelta
	bids, asks := v.Bids(), v.Asks()
	if reason := b.levels(bids, asks, !delta); reason != "" {
		out.Reason = reason
		b.breaks(market.CauseRejected, out)
		b.emitUnsynced(v, emit)
		return VerdictRefused
	}
	if d := v.Depth(); d > 0 && d <= int64(b.opts.MaxLevels) {
		b.depth = int(d)
	}
	if b.rule.CutToDepth && b.depth > 0 {
		b.bids.cut(b.depth)
		b.asks.cut(b.depth)
	}
	f := v.Flags() | market.FlagApplied
	if delta {
		b.stats.Applied++
		b.stats.LevelChanges += int64(bids.Len() + asks.Len())
	}
	if b.Crossed() {
		f |= market.FlagCrossed
		out.Crossed = true
		if delta {
			b.stats.Crossed++
		}
	}
	if !b.best(&b.bids).same(bid) || !b.best(&b.asks).same(ask) {
		out.BestChanged = true
	}
	if want := v.Checksum(); want != market.None && b.rule.Checksum.Kind != source.ChecksumNone {
		got := int64(b.checksum())
		if sameChecksum(want, got) {
			b.stats.ChecksumsOK++
			f |= market.FlagChecksumOK
		} else {
			b.stats.ChecksumsBad++
			v.SetFlags(f | market.FlagChecksumBad)
			emit(v)
			out.Want, out.Got = want, got
			b.breaks(market.CauseChecksum, out)
			return VerdictChecksumBad
		}
	}
	v.SetFlags(f)
	emit(v)
	return VerdictApplied
}
