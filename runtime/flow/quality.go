package flow

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/marketprism/marketprism/runtime/selection"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// header starts a record that the lane makes itself.
func (l *Lane) header(in *instrument, k market.Kind, ch market.Channel) market.Header {
	h := market.Header{Kind: k, Origin: market.OriginDerived, Channel: ch, Conn: l.conn, Index: l.index, Ts: l.recv, TsSend: market.None,
		TsRecv: l.recv, Seq: market.None, PrevSeq: market.None, Pos: l.pos}
	if in != nil {
		h.Instrument = in.inst.ID
		h.Key = market.KeySeq(in.seed, k, l.recv^int64(l.index)<<48^int64(ch)<<40)
	} else {
		h.Key = market.KeySeq(market.KeySeed(l.s.Venue, l.s.Market, ""), k, l.recv^int64(l.index)<<48)
	}
	l.index++
	return h
}

// publish emits a quality record and returns what a closing record refers to.
func (l *Lane) publish(in *instrument, q market.Quality) int64 {
	l.quality = q
	l.quality.Header = l.header(in, market.KindQuality, q.Of)
	ref := int64(l.pos)
	l.scratch = l.quality.AppendTo(l.scratch[:0])
	l.emit(market.View(l.scratch))
	return ref
}

// feedQuality publishes what concerns no single instrument.
func (l *Lane) feedQuality(c market.Cause, detail string) {
	l.publish(nil, market.Quality{Cause: c, FromSeq: market.None, ToSeq: market.None, FromTs: l.recv, ToTs: l.recv,
		Missing: market.None, Ref: market.None, Detail: []byte(detail)})
	l.tell(nil, nil, &l.quality, false)
}

// countGap counts a gap of a stream, and how many messages it is known to miss.
func (l *Lane) countGap(in *instrument, st *stream, c market.Cause, missing int64) {
	st.Gaps++
	l.Counts.Gaps.Add(1)
	l.meter.gaps[st.Channel&(maxChannels-1)][c&(maxCauses-1)].Add(1)
	s := l.figures(in, st)
	s.gaps++
	l.touch(s)
	l.countMissing(in, st, missing)
}

func (l *Lane) countMissing(in *instrument, st *stream, missing int64) {
	if missing <= 0 {
		return
	}
	st.Missing += missing
	l.Counts.Missing.Add(missing)
	l.meter.missing[st.Channel&(maxChannels-1)].Add(uint64(missing))
	s := l.figures(in, st)
	s.missing += missing
	l.touch(s)
}

// missed publishes a loss whose bounds are known already, and returns what a
// closing record refers to.
func (l *Lane) missed(in *instrument, st *stream, c market.Cause, from, to, fromTs, toTs, missing int64, detail string) int64 {
	l.countGap(in, st, c, missing)
	ref := l.publish(in, market.Quality{Cause: c, Of: st.Channel, FromSeq: from, ToSeq: to, FromTs: fromTs, ToTs: toTs, Missing: missing,
		Ref: market.None, Detail: []byte(detail)})
	l.tell(in, st, &l.quality, false)
	return ref
}

// open publishes the beginning of a loss; close publishes its end.
func (l *Lane) open(in *instrument, st *stream, c market.Cause, fromSeq, fromTs int64, detail string) {
	if st.Open.Cause != market.CauseNone {
		return
	}
	if c != market.CauseStopped { // an orderly end is no gap of the span that it ends
		l.countGap(in, st, c, 0)
	}
	l.meter.streams = true
	ref := l.publish(in, market.Quality{Cause: c, Of: st.Channel, FromSeq: fromSeq, ToSeq: market.None, FromTs: fromTs,
		ToTs: market.None, Missing: market.None, Ref: market.None, Detail: []byte(detail)})
	l.tell(in, st, &l.quality, true)
	st.Open = openGap{Cause: c, Ref: ref, FromSeq: fromSeq, FromTs: fromTs, LastTs: st.LastTs}
}

// close ends an open gap of a stream with the first record after it. A gap of a
// book is closed when the book is whole again instead.
func (l *Lane) close(in *instrument, st *stream, v market.View, missing int64) {
	if st.Open.Cause == market.CauseNone {
		return
	}
	n := market.None
	spec := l.specs[st.Channel]
	if spec != nil && spec.Sequence != source.SequenceNone {
		n = missing + st.Open.Missing
		l.countMissing(in, st, n)
	}
	o := st.Open
	l.closed(in, st, "resumed", v.Seq(), v.TsRecv(), n)
	l.backfill(in, st, fill{Cause: o.Cause, Ref: o.Ref, FromSeq: o.FromSeq, ToSeq: v.Seq(), FromRecv: o.FromTs, ToRecv: v.TsRecv(), FromTs: o.LastTs, ToTs: v.Ts()},
		n, st.within(o.FromSeq, st.LastSeq))
}

func (l *Lane) closed(in *instrument, st *stream, how string, toSeq, toTs, missing int64) {
	o := st.Open
	st.Open = openGap{}
	l.meter.streams = true
	l.publish(in, market.Quality{Cause: o.Cause, Of: st.Channel, FromSeq: o.FromSeq, ToSeq: toSeq, FromTs: o.FromTs, ToTs: toTs,
		Missing: missing, Repaired: []byte(how), Ref: o.Ref})
	l.tell(in, st, &l.quality, false)
}

// ordered are the lane's instruments by market and symbol, so that what concerns
// all of them is published in an order that a replay repeats; ids it gives anew.
func (l *Lane) ordered() []*instrument {
	out := make([]*instrument, 0, len(l.insts))
	for _, in := range l.insts {
		out = append(out, in)
	}
	slices.SortFunc(out, func(a, b *instrument) int {
		return cmp.Or(cmp.Compare(a.inst.Market, b.inst.Market), strings.Compare(a.inst.Symbol, b.inst.Symbol))
	})
	return out
}

// lost opens a gap on every stream that conn alone delivered (all: on every stream).
func (l *Lane) lost(conn uint32, all bool, c market.Cause, fromTs int64, detail string) {
	for _, in := range l.ordered() {
		for _, st := range in.streams {
			l.ended(in, st, conn, all)
			l.leftBehind(in, st, conn, all)
			if all {
				st.Carriers = st.Carriers[:0]
			} else if !st.drop(conn) {
				continue
			}
			if st.Channel == market.ChannelInstruments {
				continue
			}
			from := fromTs
			if from == market.None {
				from = max(st.LastRecv, st.Since)
			}
			if c != market.CauseStopped || all { // an orderly end is stated at its end
				l.coverStream(in, st, from)
				st.Ended = true
			}
			seq := st.LastSeq
			if in.book != nil && st.Channel == market.ChannelBook {
				seq = in.book.Seq()
				l.void(in, c)
			}
			l.open(in, st, c, seq, from, detail)
		}
	}
}

// cover publishes what was received of each stream since the last statement.
func (l *Lane) cover(now int64) {
	for _, in := range l.ordered() {
		for _, st := range in.streams {
			l.coverStream(in, st, now)
		}
	}
}

func (l *Lane) coverStream(in *instrument, st *stream, now int64) {
	if st.Channel == market.ChannelInstruments || st.Ended || now < st.Since || now == st.Since && st.Messages == 0 {
		return
	}
	spec, ver, lossy := l.specs[st.Channel], market.VerifiableNone, int64(0)
	sums := st.Sums
	if in.book != nil && st.Channel == market.ChannelBook {
		sums = in.book.Stats().ChecksumsOK
	}
	if spec != nil {
		switch {
		// A venue may have feeds without, and have given them up meanwhile.
		case spec.Book != nil && spec.Book.Checksum.Kind != source.ChecksumNone && (sums > st.Sums || st.Messages == 0 && spec.Book.Checksum.Until == ""):
			ver = market.VerifiableChecksum
		case spec.Book != nil && spec.Book.Sequence.Scope == source.ScopeConnection && (in.book == nil || in.book.Seq() == market.None):
			// by a feed of the venue that has no numbers, or not synchronised
		case spec.Book != nil && spec.Book.Sequence.Kind != source.SequenceNone || spec.Sequence != source.SequenceNone:
			ver = market.VerifiableSequence
		}
		if spec.Lossy != "" {
			lossy = 1
		}
	}
	c := market.Coverage{Header: l.header(in, market.KindCoverage, st.Channel), Of: st.Channel, FromTs: st.Since, ToTs: now,
		Messages: st.Messages, Gaps: st.Gaps, Missing: st.Missing, Verifiable: ver, LossyByVenue: lossy, ClockOffset: market.None}
	l.scratch = c.AppendTo(l.scratch[:0])
	l.emit(market.View(l.scratch))
	st.Since, st.Messages, st.Gaps, st.Missing, st.Sums = now, 0, 0, 0, sums
}

const hour = int64(3600 * 1e9)

// echo handles an input of the runtime's own, read from the frames journal: the
// plugin only says where it stands.
func (l *Lane) echo() error {
	rec, err := l.s.Frames.At(l.pos)
	if err != nil {
		l.out.Err = fmt.Errorf("flow: echo of frame %d, which can't be read: %w", l.pos, err)
		return l.out.Err
	}
	l.recv, l.conn = rec.Wall, rec.Conn
	switch source.InputKind(rec.Kind) {
	case source.InputTimer:
		return l.tick(rec.Wall)
	case source.InputClose:
		l.forget(rec.Conn)
		c := market.CauseDisconnect
		if l.stopping {
			c = market.CauseStopped
		}
		l.lost(rec.Conn, false, c, market.None, string(rec.Payload))
	case source.InputGap:
		n, err := ParseNote(rec.Payload)
		if err != nil {
			return err
		}
		l.remembered, l.sequences, l.stopping = l.remembered[:0], l.sequences[:0], false
		for _, in := range l.insts { // with the connections went what was on its way
			in.gone = 0
		}
		// What was sent after the last frame that was read may be lost, even if
		// the runtime lived on for a moment.
		from := n.From
		if l.last != 0 {
			from = min(from, l.last)
		}
		l.lost(0, true, n.Cause(), from, n.Detail)
	case source.InputNote:
		n, err := ParseNote(rec.Payload)
		if err != nil {
			return err
		}
		return l.note(n)
	}
	return nil
}

// sequence follows the numbers of a connection's frames. Where one is missing,
// nobody knows whose: every book that the connection brings is void, and what has
// no numbers of its own has a gap.
func (l *Lane) sequence(conn uint32, n int64) error {
	i := slices.IndexFunc(l.sequences, func(s Sequence) bool { return s.Conn == conn })
	if i < 0 {
		l.sequences = append(l.sequences, Sequence{conn, n})
		return nil
	}
	last := l.sequences[i].Last
	if l.sequences[i].Last = n; n == last+1 || n == last {
		return nil
	}
	at, err := l.s.Frames.At(l.pos)
	if err != nil {
		l.out.Err = err
		return err
	}
	l.recv = at.Wall
	why := fmt.Sprintf("frame %d of the connection follows frame %d", n, last)
	for _, in := range l.ordered() {
		for _, st := range in.streams {
			spec := l.specs[st.Channel]
			switch {
			case spec == nil || st.Channel == market.ChannelInstruments || !slices.Contains(st.Carriers, conn):
			case spec.Book != nil:
				if spec.Book.Sequence.Scope == source.ScopeConnection && st.Primary == conn {
					l.resync(in, why)
				}
			case spec.Sequence == source.SequenceNone && len(st.Carriers) == 1:
				l.open(in, st, market.CauseGap, market.None, max(st.LastRecv, st.Since), why)
			}
		}
	}
	return nil
}

func (l *Lane) forget(conn uint32) {
	l.remembered = slices.DeleteFunc(l.remembered, func(r Remembered) bool { return r.Conn == conn })
	l.sequences = slices.DeleteFunc(l.sequences, func(s Sequence) bool { return s.Conn == conn })
}

func (l *Lane) tick(now int64) error {
	l.now = now
	if h := now / hour; h != l.hour {
		if l.hour != 0 {
			l.cover(now)
		}
		l.hour = h
	}
	l.overdue(now)
	l.remind(now)
	l.insistOnFills(now)
	l.turnFigures(now)
	for _, p := range l.s.Processors {
		if err := p.Tick(now, l); err != nil {
			return err
		}
	}
	return nil
}

// note handles the runtime's own statements.
func (l *Lane) note(n Note) error {
	switch n.Note {
	case NoteWanted:
		for _, s := range n.Subs {
			if inst := l.s.Registry.Find(l.s.Venue, l.s.Market, s.Symbol); inst != nil && l.insts[inst.ID] != nil {
				l.insts[inst.ID].gone &^= 1 << s.Channel
			}
		}
	case NoteSubscribed:
		for _, s := range n.Subs {
			if s.Symbol == "" {
				continue
			}
			in, err := l.get(market.Instrument{Venue: l.s.Venue, Market: l.s.Market, Symbol: s.Symbol})
			if err != nil {
				return err
			}
			in.gone &^= 1 << s.Channel
			st := l.stream(in, s.Channel, s.Config.Bool("aggregate"), l.recv)
			st.carry(l.conn)
			st.begin(l.recv)
			l.figures(in, st)
		}
	case NoteUnsubscribed:
		for _, s := range n.Subs {
			if inst := l.s.Registry.Find(l.s.Venue, l.s.Market, s.Symbol); inst != nil && l.insts[inst.ID] != nil {
				l.unsubscribed(l.insts[inst.ID], s.Channel, s.Config.Bool("aggregate"))
				l.meter.streams = true
			}
		}
	case NoteSelected:
		for i := range n.Listings {
			if err := l.selected(&n.Listings[i]); err != nil {
				return err
			}
		}
	case NoteHistory, NoteHistoryOff:
		for _, s := range n.Subs {
			inst := l.s.Registry.Find(l.s.Venue, l.s.Market, s.Symbol)
			if inst == nil || l.insts[inst.ID] == nil {
				continue
			}
			in := l.insts[inst.ID]
			for _, st := range in.streams {
				switch {
				case st.Channel != s.Channel || l.history(st) == nil:
				case n.Note == NoteHistoryOff:
					l.forgetFills(len(st.Fills))
					st.Fills = nil
				default:
					l.answered(in, st, n)
				}
			}
		}
	case NoteStale:
		for _, in := range l.ordered() {
			for _, st := range in.streams {
				if slices.Contains(st.Carriers, l.conn) {
					l.open(in, st, market.CauseStale, st.LastSeq, max(st.LastRecv, st.Since), n.Detail)
				}
			}
		}
	case NoteRejected:
		l.meter.notices[market.CauseRejected].Add(1)
		l.feedQuality(market.CauseRejected, n.Detail)
	case NoteStopping:
		l.stopping = true
	case NoteStop:
		l.cover(l.recv)
		l.flush()
	}
	return nil
}

// selected states what an instrument is that a selector has taken or left out.
func (l *Lane) selected(s *selection.Listing) error {
	in, err := l.get(market.Instrument{Venue: l.s.Venue, Market: l.s.Market, Symbol: s.Symbol, Name: s.Name, AmountUnit: s.AmountUnit, ContractSize: s.ContractSize})
	if err != nil {
		return err
	}
	r := market.InstrumentRecord{Header: l.header(in, market.KindInstrument, market.ChannelInstruments), Instrument: []byte(s.Name), Base: []byte(s.Base), Quote: []byte(s.Quote),
		Settle: []byte(s.Settle), ContractSize: s.ContractSize, TickSize: s.TickSize, LotSize: s.LotSize, Strike: s.Strike, AmountUnit: s.AmountUnit, Expiry: market.None,
		OptionType: s.Option, Status: s.Status}
	if !s.Expiry.IsZero() {
		r.Expiry = s.Expiry.UnixNano()
	}
	l.scratch = r.AppendTo(l.scratch[:0])
	l.emit(market.View(l.scratch))
	return nil
}

// unsubscribed states what came of a stream and forgets it; what still comes is
// passed on as it is.
func (l *Lane) unsubscribed(in *instrument, ch market.Channel, aggregate bool) {
	in.gone |= 1 << ch
	in.streams = slices.DeleteFunc(in.streams, func(st *stream) bool {
		if st.Channel != ch || st.Aggregate != aggregate {
			return false
		}
		if ch == market.ChannelBook {
			l.release(in, st)
			l.dropBook(in)
		}
		l.ended(in, st, 0, true)
		l.forgetFills(len(st.Fills))
		l.coverStream(in, st, l.recv)
		if st.stats != nil {
			l.forgetFigures(st.stats)
		}
		return true
	})
}
