package flow

import (
	"fmt"
	"time"

	"github.com/marketprism/marketprism/runtime/book"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

func (l *Lane) newBook(i *market.Instrument, rule *source.BookRule) *book.Book {
	depth := 0
	if l.s.Depth != nil {
		depth = l.s.Depth(i.Symbol)
	}
	b := book.New(*rule, book.Options{SubscribedDepth: depth, Levels: l.s.Levels, Batches: l.s.Messages.Batches, Books: l.s.Messages.Books})
	if i.Precision.Known {
		b.SetPrecision(i.Precision)
	}
	return b
}

// applyBook feeds a book record to its book, which emits it, and acts on what
// that came to.
func (l *Lane) applyBook(in *instrument, st *stream, rule *source.BookRule, v market.View) {
	if in.book == nil {
		if in.book = l.newBook(in.inst, rule); in.parted {
			in.book.Part()
		}
		in.brokenAt = l.recv
		l.Counts.Books.Add(1)
		l.bookFigures(in)
	}
	if l.early(in, st, rule, v) {
		return
	}
	l.follow(in, st, rule, v)
	l.catchUp(in, st, rule)
}

func (l *Lane) follow(in *instrument, st *stream, rule *source.BookRule, v market.View) {
	was := in.book.Synced()
	o := in.book.Apply(v, l.bookOut)
	l.outcome(in, st, rule, o, was)
}

func (l *Lane) outcome(in *instrument, st *stream, rule *source.BookRule, o book.Outcome, was bool) {
	if now := in.book.Synced(); now != was {
		if now {
			l.Counts.BooksSynced.Add(1)
			l.meter.resync.Observe(time.Duration(l.recv - in.brokenAt))
		} else {
			l.Counts.BooksSynced.Add(-1)
		}
		l.bookFigures(in)
	}
	if o.Cause != market.CauseNone {
		in.brokenBy, in.brokenAt = o.Cause, l.recv
	}
	if !was && in.book.Synced() && st.Open.Cause != market.CauseNone {
		l.closed(in, st, "snapshot", in.book.Seq(), l.recv, market.None)
	}
	switch o.Verdict {
	case book.VerdictApplied:
		in.version++
	case book.VerdictRefused:
		l.s.Logger.Warn().Str("symbol", in.inst.Symbol).Uint64("frame", l.pos).Str("reason", o.Reason).Msg("book record refused")
	}
	if o.Cause != market.CauseNone {
		detail := o.Reason
		if o.Cause == market.CauseChecksum {
			detail = fmt.Sprintf("the venue's checksum is %d, ours %d", o.Want, o.Got)
		}
		l.openBook(in, st, o.Cause, o.FromSeq, o.ToSeq, o.Missing, detail)
	}
	if o.Crossed && !rule.CrossedLegal {
		if !in.crossed {
			in.crossed = true
			l.Counts.Crossed.Add(1)
			l.resync(in, "best bid is not below best ask")
			return
		}
	} else if o.Verdict == book.VerdictApplied {
		in.crossed = false
	}
	switch {
	case o.Verdict == book.VerdictTooOld && rule.Sequence.Kind == source.SequenceNone:
		in.need, in.needAt = o.Need, l.recv // a copy that the venue keeps for a while: asked at once it would come again
	case o.Need != "":
		l.recover(in, o.Need)
	}
	if o.BestChanged && l.s.DeriveBBO && in.book.Synced() {
		l.deriveBBO(in)
	}
}

// openBook publishes that a book broke; the record is closed by the snapshot.
func (l *Lane) openBook(in *instrument, st *stream, c market.Cause, from, to, missing int64, detail string) {
	if st.Open.Cause != market.CauseNone {
		return
	}
	l.countGap(in, st, c, 0)
	l.meter.streams = true
	fromTs := st.PrevRecv
	ref := l.publish(in, market.Quality{Cause: c, Of: market.ChannelBook, FromSeq: from, ToSeq: to, FromTs: fromTs, ToTs: market.None,
		Missing: missing, Ref: market.None, Detail: []byte(detail)})
	l.tell(in, st, &l.quality, true)
	st.Open = openGap{Cause: c, Ref: ref, FromSeq: from, FromTs: fromTs}
}

// recover asks the outside for what mends a book.
func (l *Lane) recover(in *instrument, need source.Recovery) {
	l.Counts.Resyncs.Add(1)
	s := l.figures(in, l.stream(in, market.ChannelBook, false, l.recv))
	s.resyncs++
	l.touch(s)
	l.meter.resyncs[in.brokenBy&(maxCauses-1)].Add(1)
	in.need, in.needAt = need, l.recv
	l.ask(in, need)
}

// Patience with what was asked for, before it is asked for again.
const (
	requestPatience     = int64(2e9)
	resubscribePatience = int64(15e9)
)

// remind asks again for what books have waited for in vain: a request may have
// been made before the connections were up, or its answer may have been lost.
func (l *Lane) remind(now int64) {
	if !l.live() || l.Counts.BooksSynced.Load() == l.Counts.Books.Load() {
		return
	}
	for _, in := range l.ordered() {
		patience := resubscribePatience
		if in.need == source.RecoverRequest {
			patience = requestPatience
		}
		if in.book == nil || in.book.Synced() || in.need == "" || now-in.needAt < patience {
			continue
		}
		in.needAt = now
		if in.need == source.RecoverResubscribe && l.specs[market.ChannelBook].Book.Snapshot == source.SnapshotHTTP {
			in.need = source.RecoverRequest // the subscription was renewed, and no snapshot came by it
		}
		l.ask(in, in.need)
	}
}

func (l *Lane) ask(in *instrument, need source.Recovery) {
	if !l.live() {
		return
	}
	switch need {
	case source.RecoverRequest:
		l.s.Actions.Snapshot(in.inst.Symbol)
	case source.RecoverReconnect:
		l.s.Actions.Reconnect(l.conn, "the book of "+in.inst.Symbol+" broke")
	default:
		l.s.Actions.Resubscribe(market.ChannelBook, in.inst.Symbol)
	}
}

// resync builds one book anew, the others go on.
func (l *Lane) resync(in *instrument, why string) {
	if in.book == nil {
		return
	}
	st := l.stream(in, market.ChannelBook, false, l.recv)
	cause := market.CauseGap
	if in.crossed {
		cause = market.CauseCrossed
	}
	l.openBook(in, st, cause, in.book.Seq(), market.None, market.None, why)
	l.void(in, cause)
	need := source.RecoverResubscribe
	if spec := l.specs[market.ChannelBook]; spec != nil && spec.Book != nil && spec.Book.Recovery != "" {
		need = spec.Book.Recovery
	}
	l.recover(in, need)
}

func (l *Lane) void(in *instrument, c market.Cause) {
	if in.book.Synced() {
		l.Counts.BooksSynced.Add(-1)
		in.brokenBy, in.brokenAt = c, l.recv
	}
	in.book.Void(c, l.bookOut)
	l.bookFigures(in)
}

// dropBook ends a book that is no longer wanted: what it held leaves unsynced.
func (l *Lane) dropBook(in *instrument) {
	if in.book == nil {
		return
	}
	in.book.Flush(l.bookOut)
	l.Counts.Books.Add(-1)
	if in.book.Synced() {
		l.Counts.BooksSynced.Add(-1)
	}
	in.book.Close()
	in.book, in.crossed, in.need, in.parted = nil, false, "", true
}

func (l *Lane) deriveBBO(in *instrument) {
	bid, okB := in.book.Best(book.Bids)
	ask, okA := in.book.Best(book.Asks)
	if !okB || !okA {
		return
	}
	b := market.BBO{Header: l.header(in, market.KindBBO, market.ChannelBBO), BidPrice: bid.Price, BidAmount: bid.Amount,
		AskPrice: ask.Price, AskAmount: ask.Amount}
	b.Seq = in.book.Seq()
	if spec := l.specs[market.ChannelBook]; b.Seq != market.None && !spec.Book.Sequence.Scope.OfConnection() {
		b.Key = market.KeySeq(in.seed, market.KindBBO, b.Seq) // the number names this state of the book
	}
	l.scratch = b.AppendTo(l.scratch[:0])
	l.emit(market.View(l.scratch))
}

// Books calls f for every book, in order of market and symbol, with a header for a
// record about it and the number of changes that the book has seen.
func (l *Lane) Books(f func(i *market.Instrument, b *book.Book, version uint64, h market.Header)) {
	for _, in := range l.ordered() {
		if in.book != nil {
			f(in.inst, in.book, in.version, l.header(in, market.KindBookSnapshot, market.ChannelBook))
		}
	}
}

// flush ends a run: what books still hold leaves unsynced.
func (l *Lane) flush() {
	for _, in := range l.ordered() {
		if in.book != nil {
			for _, st := range in.streams {
				if st.Channel == market.ChannelBook {
					l.release(in, st)
				}
			}
			in.book.Flush(l.bookOut)
		}
	}
}
