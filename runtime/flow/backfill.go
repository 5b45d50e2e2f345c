package flow

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Trades that a gap took are asked for again where the venue has them. The lane
// says what lacks when the gap has ended; the responses come back through the
// frames journal like any other, and behind each stands a note that says which
// request it answered. What is made of them follows from these two alone: whether
// anybody was asked is no business of the lane's, so a replay and a restart come
// to the same records.

// The bounds. What is beyond them stays a gap.
const (
	maxFills     = 8           // gaps of a stream that are being filled or wait for it
	maxFillPages = 20          // answers for one gap
	maxFillSpans = 64          // runs of numbers of a gap that may lack at a time
	maxFillKeys  = 32768       // trades around and in a gap that are told apart by key
	fillPatience = int64(60e9) // before what was not answered is asked for again
	fillSlack    = int64(1e6)  // asked for beyond a gap's times, and allowed for in answers: venues cut them to milliseconds
)

// fill is a gap whose trades may come yet. Its exported fields are what a
// checkpoint holds.
type fill struct {
	Cause            market.Cause
	Ref              int64 // of the record that told of the gap
	FromSeq, ToSeq   int64 // around it, as that record has them
	FromRecv, ToRecv int64
	FromTs, ToTs     int64  // at the venue, of the trades around it
	Coarse           int64  // what times in answers are cut to
	Numbered         bool   // it is known which lack:
	Left             []span // these numbers
	Beyond           int64  // and so many that are too scattered to be remembered
	Keys             []uint64
	Since            int64 // start of the coverage span that counts the loss

	Found  int64
	Bare   int64 // of these, without a number though others have one
	Pages  int
	From   int64 // what was asked for last
	To     int64
	Fresh  int64 // trades found in the answer that is coming
	Oldest int64 // in all answers, at the venue; 0: none came
	Newest int64
	Back   bool  // an answer had a trade of before the gap
	Fore   bool  // or of behind it
	Low    int64 // in the answer that is coming, as the venue pages
	High   int64
	Seen   int64 // trades in it

	at int64 // when it was asked for last; 0: not in this run
}

// What comes of filling a gap.
const (
	fillWhole = iota
	fillPart
	fillNone
	fillUnasked
)

var fillResults = [...]string{"whole", "part", "none", "unasked"}

// history is how trades of a stream can be had again; nil if they can't.
func (l *Lane) history(st *stream) *source.History {
	spec := l.specs[st.Channel]
	if spec == nil || spec.History == nil || st.Channel != market.ChannelTrades || spec.History.Single && st.Aggregate {
		return nil
	}
	return spec.History
}

// backfill begins to fill a gap that has ended. Where trades are numbered, n of
// them lack, and left says which as far as that is remembered.
func (l *Lane) backfill(in *instrument, st *stream, f fill, n int64, left []span) {
	h := l.history(st)
	if h == nil || n == 0 || f.FromTs == 0 || f.FromTs == market.None {
		return
	}
	f.Numbered = n != market.None
	if h.By == source.HistorySequence && len(left) == 0 || len(st.Fills) == maxFills {
		l.meter.fills[fillUnasked].Add(1)
		return
	}
	if f.Numbered {
		f.Left, f.Beyond = left, max(n-length(left), 0)
	}
	f.Since, f.Keys, f.Coarse = st.Since, slices.Clone(st.Recent), max(int64(h.Coarse), fillSlack)
	slices.Sort(f.Keys)
	st.Fills = append(st.Fills, f)
	st.Filled = true
	l.fills++
	l.meter.filling.Store(int64(l.fills))
	if len(st.Fills) == 1 {
		l.firstPage(in, st)
	}
}

// firstPage asks for the beginning of the gap that is next.
func (l *Lane) firstPage(in *instrument, st *stream) {
	f, h := &st.Fills[0], l.history(st)
	f.From, f.To = f.FromTs-fillSlack, f.ToTs+fillSlack
	if h.By == source.HistorySequence {
		f.From, f.To = f.Left[0].From, f.Left[len(f.Left)-1].To
	}
	l.page(in, st)
}

func (l *Lane) page(in *instrument, st *stream) {
	f := &st.Fills[0]
	f.Fresh, f.Seen, f.Low, f.High = 0, 0, 0, 0
	if l.live() {
		f.at = l.recv
		l.s.Actions.History(in.inst.Symbol, f.From, f.To)
	}
}

// insistOnFills asks again for what was not answered: who was asked may have ended
// before it could be.
func (l *Lane) insistOnFills(now int64) {
	if l.fills == 0 || !l.live() {
		return
	}
	for _, in := range l.ordered() {
		for _, st := range in.streams {
			if len(st.Fills) > 0 && now-st.Fills[0].at >= fillPatience {
				st.Fills[0].at = now
				l.s.Actions.History(in.inst.Symbol, st.Fills[0].From, st.Fills[0].To)
			}
		}
	}
}

// past takes a trade of an answer: it reports whether that lacked.
func (l *Lane) past(st *stream, v market.View) bool {
	first, seq, ts := v.Seq(), v.Seq(), v.Ts()
	if spec := l.specs[st.Channel]; spec.Sequence == source.SequenceRange && v.TradeFirstID() != market.None {
		first = v.TradeFirstID()
	}
	if len(st.Fills) > 0 {
		f, at := &st.Fills[0], ts
		if l.history(st).By == source.HistorySequence {
			at = seq
		}
		if f.Seen == 0 {
			f.Low, f.High = at, at
		}
		f.Low, f.High, f.Seen = min(f.Low, at), max(f.High, at), f.Seen+1
		if f.Oldest == 0 {
			f.Oldest, f.Newest = ts, ts
		}
		f.Oldest, f.Newest = min(f.Oldest, ts), max(f.Newest, ts)
	}
	for i := range st.Fills {
		f := &st.Fills[i]
		n := int64(1)
		switch {
		case f.Numbered && seq != market.None:
			if n = length(f.Left) - length(cut(slices.Clone(f.Left), first, seq)); n == 0 {
				continue
			}
			st.found(first, seq)
		default:
			known := f.knows(v.Key())
			f.Back = f.Back || ts < f.FromTs-f.Coarse || known && ts <= f.FromTs
			f.Fore = f.Fore || ts > f.ToTs || known && ts >= f.ToTs-f.Coarse
			if known || !f.near(ts) || ts > f.ToTs || len(f.Keys) >= maxFillKeys {
				continue
			}
		}
		st.met(v)
		f.Found++
		f.Fresh++
		if f.Numbered && seq == market.None {
			f.Bare++
		}
		if f.Numbered && f.Since == st.Since { // a span that was stated can't be mended
			st.Missing = max(st.Missing-n, 0)
		}
		l.meter.backfilled.Add(1)
		return true
	}
	return false // answers hold the neighbours too: that is no repetition of the venue's
}

// near says whether a trade of this time may be of the gap, or its neighbour.
func (f *fill) near(ts int64) bool { return f.FromTs-f.Coarse <= ts && ts <= f.ToTs+f.Coarse }

func (f *fill) knows(key uint64) bool {
	_, ok := slices.BinarySearch(f.Keys, key)
	return ok
}

// met notes a trade that came while gaps wait to be filled: an answer, or a
// connection that is late, may bring it as well.
func (s *stream) met(v market.View) {
	for i := range s.Fills {
		f := &s.Fills[i]
		if !f.near(v.Ts()) || len(f.Keys) >= maxFillKeys {
			continue
		}
		if at, known := slices.BinarySearch(f.Keys, v.Key()); !known {
			f.Keys = slices.Insert(f.Keys, at, v.Key())
		}
	}
}

// brought says whether an answer was quicker than the connection.
func (s *stream) brought(v market.View) bool {
	for i := range s.Fills {
		if f := &s.Fills[i]; f.near(v.Ts()) && f.knows(v.Key()) {
			return true
		}
	}
	return false
}

// answered handles the end of an answer: the rest is asked for, or what there is
// is stated.
func (l *Lane) answered(in *instrument, st *stream, n Note) {
	if len(st.Fills) == 0 || n.From != st.Fills[0].From || n.To != st.Fills[0].To { // of a request that was made twice
		return
	}
	h, f := l.history(st), &st.Fills[0]
	if f.Pages++; n.Detail == "" && f.more(h) {
		if f.Pages < maxFillPages {
			l.page(in, st)
			return
		}
		n.Detail = fmt.Sprintf("%d answers are the most that one gap is given", maxFillPages)
	}
	for {
		l.filled(in, st, n.Detail)
		st.Fills = slices.Delete(st.Fills, 0, 1)
		l.forgetFills(1)
		if len(st.Fills) == 0 {
			return
		}
		if f := &st.Fills[0]; !f.Numbered || f.lacks() > 0 && (len(f.Left) > 0 || h.By != source.HistorySequence) {
			l.firstPage(in, st)
			return
		}
		n.Detail = "" // the answers about another one held it
	}
}

// more says whether there is a point in asking on, and sets what for.
func (f *fill) more(h *source.History) bool {
	if h.By == source.HistoryRecent || f.Fresh == 0 || f.Numbered && f.lacks() == 0 {
		return false
	}
	from, to := f.From, f.To
	switch {
	case h.By == source.HistorySequence && h.Backward:
		i := len(f.Left) - 1
		for i >= 0 && f.Left[i].From >= f.Low {
			i--
		}
		if i < 0 {
			return false
		}
		from, to = f.Left[0].From, min(f.Left[i].To, f.Low-1)
	case h.By == source.HistorySequence:
		i := slices.IndexFunc(f.Left, func(s span) bool { return s.To > f.High })
		if i < 0 {
			return false
		}
		from, to = max(f.Left[i].From, f.High+1), f.Left[len(f.Left)-1].To
	case h.Backward:
		to = f.Low
		if to <= f.FromTs {
			return false
		}
	default:
		from = f.High
		if from >= f.ToTs {
			return false
		}
	}
	if from == f.From && to == f.To { // as many trades of one moment as an answer holds
		return false
	}
	f.From, f.To = from, to
	return true
}

// lacks is how many trades have not come, where that is known.
func (f *fill) lacks() int64 {
	return max(length(f.Left)+f.Beyond-f.Bare, 0)
}

// filled states what became of the gap.
func (l *Lane) filled(in *instrument, st *stream, why string) {
	f := &st.Fills[0]
	q := market.Quality{Cause: f.Cause, Of: st.Channel, FromSeq: f.FromSeq, ToSeq: f.ToSeq, FromTs: f.FromRecv, ToTs: f.ToRecv, Missing: market.None, Ref: f.Ref}
	detail, result := fmt.Sprintf("%d trades found", f.Found), fillPart
	// Nothing counts these trades: an answer that holds the one before the gap and
	// the one after it has what the venue has between.
	over := f.Back && f.Fore
	switch {
	case f.Numbered:
		if q.Missing = f.lacks(); q.Missing == 0 {
			result = fillWhole
			break
		}
		if f.Found > 0 && len(f.Left) > 0 && f.Beyond == 0 && f.Bare == 0 {
			q.FromSeq, q.ToSeq = f.Left[0].From-1, f.Left[len(f.Left)-1].To+1
		}
		detail += fmt.Sprintf(", %d still lack", q.Missing)
	case over && why == "":
		result = fillWhole
		detail += ", and the answers reach over the whole gap"
	case f.Fore && f.Oldest > f.FromTs: // what is before the oldest is not proven
		q.ToTs = min(max(f.Oldest, f.FromRecv), f.ToRecv)
		detail += ", the venue's answers don't reach back to the gap's beginning"
	case f.Back:
		q.FromTs = max(min(f.Newest, f.ToRecv), f.FromRecv)
		detail += ", the venue's answers end within the gap"
	}
	switch {
	case f.Numbered && f.Found == 0 && result == fillWhole:
		q.Repaired, detail = []byte("late"), "they came late by a connection"
	case f.Found > 0 || result == fillWhole:
		q.Repaired = []byte("history")
	default:
		result = fillNone
	}
	if why != "" {
		detail += ": " + why
	}
	q.Detail = []byte(detail)
	l.meter.fills[result].Add(1)
	l.publish(in, q)
	l.tell(in, st, &l.quality, false)
}

// forgetFills counts gaps that are no longer being filled.
func (l *Lane) forgetFills(n int) {
	l.fills -= n
	l.meter.filling.Store(int64(l.fills))
}

// within are the runs of numbers that lack above from and below to.
func (s *stream) within(from, to int64) []span {
	var out []span
	for _, x := range s.Lost {
		if x.From, x.To = max(x.From, from+1), min(x.To, to-1); x.From <= x.To {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b span) int { return cmp.Compare(a.From, b.From) })
	return out
}
