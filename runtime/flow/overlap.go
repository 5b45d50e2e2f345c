package flow

import (
	"bytes"
	"slices"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// While two connections bring the same stream, at a rotation or with a standby,
// one of them may be ahead: what it skips may still come by the other. Such a
// hole is no loss until each connection that might bring it has gone past it or
// ended, or overlapTime is over. Then what is left of it is published as a gap.
const (
	overlapTime = int64(2e9)
	maxHoles    = 64 // of a stream; with more the oldest is published at once
)

// hole is a run of numbers that one connection skipped.
type hole struct {
	From, To      int64 // around it; both were received
	FromTs, ToTs  int64
	Before, After int64    // when the trades around it were, at the venue
	Wait          []uint32 // connections that may still bring it
}

// skipped notes that conn went from st.LastSeq to seq while others carry the
// stream as well; false if none does.
func (l *Lane) skipped(in *instrument, st *stream, conn uint32, seq int64, v market.View) bool {
	wait := slices.DeleteFunc(slices.Clone(st.Carriers), func(c uint32) bool { return c == conn })
	if conn == 0 || len(wait) == 0 {
		return false
	}
	if len(st.Holes) == maxHoles {
		l.give(in, st, 0)
	}
	st.Holes = append(st.Holes, hole{st.LastSeq, seq, st.LastRecv, v.TsRecv(), st.LastTs, v.Ts(), wait})
	l.holes++
	return true
}

// fill takes numbers that came late out of the hole that has them; false if none has.
func (l *Lane) fill(st *stream, first, last int64) bool {
	for i, h := range st.Holes {
		if first <= h.From || last >= h.To {
			continue
		}
		var rest []hole
		for _, r := range []hole{{h.From, first, h.FromTs, h.ToTs, h.Before, h.After, h.Wait}, {last, h.To, h.FromTs, h.ToTs, h.Before, h.After, slices.Clone(h.Wait)}} {
			if r.To-r.From > 1 {
				rest = append(rest, r)
			}
		}
		st.Holes = slices.Replace(st.Holes, i, i+1, rest...)
		l.holes += len(rest) - 1
		return true
	}
	return false
}

// passed notes how far a connection has come. What nobody can bring any more is
// published.
func (l *Lane) passed(in *instrument, st *stream, conn uint32, seq int64) {
	for i := 0; i < len(st.Holes); {
		h := &st.Holes[i]
		if k := slices.Index(h.Wait, conn); k >= 0 && seq >= h.To {
			h.Wait = slices.Delete(h.Wait, k, k+1)
		}
		if len(h.Wait) == 0 {
			l.give(in, st, i)
			continue
		}
		i++
	}
}

// give publishes a hole as a gap.
func (l *Lane) give(in *instrument, st *stream, i int) {
	h := st.Holes[i]
	st.Holes = slices.Delete(st.Holes, i, i+1)
	l.holes--
	n := h.To - h.From - 1
	ref := l.missed(in, st, market.CauseGap, h.From, h.To, h.FromTs, h.ToTs, n, "")
	l.backfill(in, st, fill{Cause: market.CauseGap, Ref: ref, FromSeq: h.From, ToSeq: h.To, FromRecv: h.FromTs, ToRecv: h.ToTs, FromTs: h.Before, ToTs: h.After},
		n, []span{{h.From + 1, h.To - 1}})
}

// ended publishes what a connection that is gone would have had to bring; all:
// whoever would have had to.
func (l *Lane) ended(in *instrument, st *stream, conn uint32, all bool) {
	for i := 0; i < len(st.Holes); {
		h := &st.Holes[i]
		h.Wait = slices.DeleteFunc(h.Wait, func(c uint32) bool { return all || c == conn })
		if len(h.Wait) == 0 {
			l.give(in, st, i)
			continue
		}
		i++
	}
}

// overdue publishes holes that have waited for long enough.
func (l *Lane) overdue(now int64) {
	if l.holes == 0 {
		return
	}
	for _, in := range l.ordered() {
		for _, st := range in.streams {
			for len(st.Holes) > 0 && now-st.Holes[0].ToTs > overlapTime {
				l.give(in, st, 0)
			}
			if a := &in.ahead; st.Channel == market.ChannelBook && len(a.Deltas) > 0 && now-market.View(a.Deltas[0]).TsRecv() > overlapTime {
				l.release(in, st)
			}
		}
	}
}

// A book's deltas must follow one another, so those of the connection that is
// ahead are held instead: until the other one has brought what lies between, has
// got past it too or ended, overlapTime is over, or they are too many. Then the
// book is given them as they are, and finds the gap.
const maxAhead = 256

// ahead is what is held of one book. Its exported fields are what a checkpoint
// holds.
type ahead struct {
	Deltas [][]byte // as they came
	Conns  []uint32 // connections that are beyond what lacks
}

// early holds a delta that doesn't follow, where another connection may bring
// what does.
func (l *Lane) early(in *instrument, st *stream, rule *source.BookRule, v market.View) bool {
	if len(st.Carriers) < 2 || rule.Sequence.Scope.OfConnection() || !in.book.Ahead(v) {
		return false
	}
	if len(in.ahead.Deltas) == maxAhead {
		l.release(in, st)
		return false
	}
	in.ahead.Deltas = append(in.ahead.Deltas, bytes.Clone(v))
	l.holes++
	l.beyond(in, st, v.Conn())
	return true
}

// beyond notes that a connection is beyond what lacks.
func (l *Lane) beyond(in *instrument, st *stream, conn uint32) {
	a := &in.ahead
	if !slices.Contains(a.Conns, conn) {
		a.Conns = append(a.Conns, conn)
	}
	if !slices.ContainsFunc(st.Carriers, func(c uint32) bool { return !slices.Contains(a.Conns, c) }) {
		l.release(in, st)
	}
}

// catchUp applies what follows now.
func (l *Lane) catchUp(in *instrument, st *stream, rule *source.BookRule) {
	a := &in.ahead
	for i := 0; i < len(a.Deltas); {
		v := market.View(a.Deltas[i])
		if in.book.Ahead(v) {
			i++
			continue
		}
		a.Deltas = slices.Delete(a.Deltas, i, i+1)
		l.holes--
		l.follow(in, st, rule, v)
		i, a.Conns = 0, a.Conns[:0]
	}
	if len(a.Conns) == 0 {
		for _, d := range a.Deltas {
			a.Conns = append(a.Conns, market.View(d).Conn())
		}
	}
}

// release gives the book all that is held, in the order in which it came.
func (l *Lane) release(in *instrument, st *stream) {
	a := in.ahead
	in.ahead = ahead{}
	l.holes -= len(a.Deltas)
	for _, d := range a.Deltas {
		l.follow(in, st, l.specs[market.ChannelBook].Book, market.View(d))
	}
}

// leftBehind releases what is held when the connections that lacked it are gone.
func (l *Lane) leftBehind(in *instrument, st *stream, conn uint32, all bool) {
	if st.Channel != market.ChannelBook || len(in.ahead.Deltas) == 0 {
		return
	}
	left := slices.DeleteFunc(slices.Clone(st.Carriers), func(c uint32) bool { return all || c == conn || slices.Contains(in.ahead.Conns, c) })
	if len(left) == 0 {
		l.release(in, st)
	}
}
