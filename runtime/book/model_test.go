package book_test

import (
	"fmt"
	"hash/crc32"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/marketprism/marketprism/runtime/book"
	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// model is the slow, obvious book: levels in two lists that are searched from the
// front and sorted after each record, records as structs.
type model struct {
	rule        source.BookRule
	opts        book.Options
	prec        market.Precision
	side        [2][]market.Level
	depth       int
	seq, snap   int64
	lost        int64
	force       bool
	fresh       bool // no delta followed the snapshot yet
	broken      bool
	asked       bool
	parted      bool // a timed stream broke off, and no delta has come since
	held        []market.Book
	stats       book.Stats
	out         book.Outcome
	emitted     []string
	oldBest     [2][]market.Level
	stalesInRow int
}

func newModel(rule source.BookRule, o book.Options) *model {
	return &model{rule: rule, opts: o, depth: o.SubscribedDepth, seq: market.None, snap: market.None, lost: market.None}
}

func (m *model) begin() {
	m.out = book.Outcome{FromSeq: market.None, ToSeq: market.None, Missing: market.None}
	m.emitted = nil
}

func (m *model) emit(r market.Book, f market.Flags) {
	f |= r.Flags
	m.emitted = append(m.emitted, fmt.Sprint(r.Key, " ", f))
	delta := r.Kind == market.KindBookDelta
	for _, c := range []struct {
		f market.Flags
		n *int64
	}{{market.FlagApplied, &m.stats.Applied}, {market.FlagStale, &m.stats.Stale}, {market.FlagUnsynced, &m.stats.Unsynced},
		{market.FlagCrossed, &m.stats.Crossed}} {
		if delta && f&c.f != 0 {
			*c.n++
		}
	}
	if delta && f&market.FlagApplied != 0 {
		m.stats.LevelChanges += int64(len(r.Bids) + len(r.Asks))
	}
	if f&market.FlagChecksumOK != 0 {
		m.stats.ChecksumsOK++
	}
	if f&market.FlagChecksumBad != 0 {
		m.stats.ChecksumsBad++
	}
}

func (m *model) waits() bool { return m.rule.Snapshot == source.SnapshotHTTP }

func (m *model) holds() bool {
	return m.waits() || m.rule.Snapshot == source.SnapshotInBand && m.rule.Sequence.Start != source.StartInBand
}

func (m *model) need(r source.Recovery) {
	if !m.asked {
		m.asked, m.out.Need = true, r
	}
}

// timed is a book whose updates have times for numbers.
func (m *model) timed() bool {
	return m.waits() && m.rule.Sequence.Kind == source.SequenceNone && m.rule.Sequence.Start != source.StartInBand
}

func (m *model) void() {
	m.side = [2][]market.Level{}
	m.force, m.fresh, m.asked = false, false, false
	if !m.timed() {
		m.lost = market.None
	} else if m.seq != market.None {
		m.lost = max(m.lost, m.seq)
	}
	m.seq, m.snap = market.None, market.None
}

func (m *model) breaks(c market.Cause) {
	m.out.Cause, m.out.FromSeq = c, m.seq
	m.void()
	m.broken = true
	m.need(m.rule.Recovery)
}

func (m *model) releaseAll() {
	for _, h := range m.held {
		m.emit(h, market.FlagUnsynced)
	}
	m.held = nil
}

func (m *model) voidFromOutside(c market.Cause) {
	m.begin()
	if m.force {
		m.out.Cause, m.out.FromSeq, m.broken = c, m.seq, true
	}
	m.releaseAll()
	m.void()
	m.parted = m.parted || m.timed() && c == market.CauseDisconnect
}

func (m *model) apply(r market.Book) {
	m.begin()
	switch {
	case r.Flags&market.FlagEnd != 0:
		m.releaseAll()
		m.void()
		m.emit(r, 0)
		m.out.Verdict = book.VerdictEnded
	case r.Kind == market.KindBookSnapshot || r.Flags&market.FlagReset != 0 || m.rule.Snapshot == source.SnapshotEach:
		m.out.Verdict = m.snapshot(r)
	case m.force:
		m.out.Verdict = m.delta(r)
		if m.out.Verdict == book.VerdictGap {
			m.wait(r)
		}
	default:
		m.out.Verdict = m.wait(r)
	}
}

func (m *model) wait(r market.Book) book.Verdict {
	if !m.holds() {
		m.emit(r, market.FlagUnsynced)
		return book.VerdictUnsynced
	}
	if m.waits() {
		m.need(source.RecoverRequest)
	}
	m.parted = false
	if len(m.held) == m.opts.HeldRecords {
		m.lost = max(m.lost, m.held[0].Seq)
		m.emit(m.held[0], market.FlagUnsynced)
		m.held = m.held[1:]
	}
	m.held = append(m.held, r)
	return book.VerdictHeld
}

func first(r market.Book) int64 {
	if r.FirstSeq == market.None {
		return r.Seq
	}
	return r.FirstSeq
}

// startsAfter is what the first delta after snapshot s is: stale, right or a gap.
func (m *model) startsAfter(r market.Book, s int64) book.Verdict {
	stale, right := false, false
	switch m.rule.Sequence.Start {
	case source.StartRange:
		stale, right = r.Seq <= s, first(r) <= s+1
	case source.StartOverlap:
		stale, right = r.Seq < s, first(r) <= s || r.PrevSeq != market.None && r.PrevSeq <= s
	case source.StartChain:
		stale, right = r.Seq <= s, r.PrevSeq != market.None && r.PrevSeq <= s
	}
	if stale {
		return book.VerdictStale
	} else if right {
		return book.VerdictApplied
	}
	return book.VerdictGap
}

func (m *model) judge(r market.Book) book.Verdict {
	q := m.rule.Sequence
	switch {
	case q.Kind == source.SequenceNone:
		if q.Start != source.StartInBand && m.snap != market.None && r.Seq != market.None && m.startsAfter(r, m.snap) == book.VerdictStale {
			return book.VerdictStale
		}
		return book.VerdictApplied
	case q.Scope == source.ScopeConnection && r.Seq != market.None && m.seq != market.None && r.Seq < m.seq:
		return book.VerdictStale
	case q.Scope == source.ScopeConnection:
		return book.VerdictApplied
	case r.Seq == market.None && m.seq == market.None && m.rule.Checksum.Kind != "" && r.Checksum != market.None:
		return book.VerdictApplied
	case r.Seq == market.None:
		return book.VerdictGap
	case m.seq == market.None:
		return book.VerdictApplied
	case m.fresh:
		return m.startsAfter(r, m.seq)
	}
	follows := map[source.SequenceKind]bool{
		source.SequenceRange:     first(r) <= m.seq+1 && m.seq+1 <= r.Seq,
		source.SequenceChain:     r.PrevSeq == m.seq,
		source.SequenceIncrement: r.Seq == m.seq+1,
	}[q.Kind]
	switch {
	case follows:
		return book.VerdictApplied
	case r.Seq > m.seq:
		return book.VerdictGap
	case r.Flags&market.FlagKeepAlive != 0:
		return book.VerdictKeepAlive
	}
	return book.VerdictStale
}

func (m *model) delta(r market.Book) book.Verdict {
	v := m.judge(r)
	switch v {
	case book.VerdictApplied:
		m.oldBest = [2][]market.Level{top(m.side[0]), top(m.side[1])}
		if r.Seq != market.None {
			m.seq = r.Seq
		}
		m.fresh = false
		if r.Flags&market.FlagKeepAlive == 0 {
			return m.put(r)
		}
		v = book.VerdictKeepAlive
		m.emit(r, market.FlagApplied)
	case book.VerdictKeepAlive:
		m.emit(r, market.FlagApplied)
	case book.VerdictStale:
		m.emit(r, market.FlagStale)
	case book.VerdictGap:
		m.stats.Gaps++
		m.out.ToSeq = first(r)
		if m.rule.Sequence.Kind == source.SequenceIncrement && r.Seq != market.None {
			m.out.Missing = r.Seq - m.seq - 1
		}
		m.breaks(market.CauseGap)
	}
	return v
}

func (m *model) snapshot(r market.Book) book.Verdict {
	if r.Kind == market.KindBookSnapshot {
		m.stats.Snapshots++
	}
	reset := r.Flags&market.FlagReset != 0
	if m.waits() && !reset && r.Seq != market.None {
		old := false
		if m.force {
			old = m.seq != market.None && r.Seq < m.seq
		} else {
			old = m.parted || m.lost != market.None && r.Seq < m.lost
			if m.timed() && len(m.held) > 0 && m.held[0].Seq != market.None && r.Seq < m.held[0].Seq {
				old = true
			}
			if !old && m.rule.Sequence.Kind != source.SequenceNone && m.rule.Sequence.Start != source.StartInBand {
				for _, h := range m.held {
					if h.Seq == market.None {
						break
					}
					if v := m.startsAfter(h, r.Seq); v != book.VerdictStale {
						old = v == book.VerdictGap
						break
					}
				}
			}
		}
		if old {
			m.emit(r, market.FlagStale)
			if m.force {
				return book.VerdictStale
			}
			if m.asked = !m.parted; m.asked {
				m.out.Need = source.RecoverRequest
			}
			return book.VerdictTooOld
		}
	}
	if reset {
		m.releaseAll()
	}
	m.oldBest = [2][]market.Level{top(m.side[0]), top(m.side[1])}
	m.side = [2][]market.Level{}
	was := m.broken
	m.seq, m.snap, m.lost, m.force, m.asked, m.broken = r.Seq, r.Seq, market.None, true, false, false
	m.parted = false
	m.fresh = m.rule.Sequence.Start != source.StartInBand && !reset
	v := m.put(r)
	if v != book.VerdictApplied {
		return v
	}
	m.out.Repaired = was
	for len(m.held) > 0 && m.force {
		h := m.held[0]
		if m.delta(h) == book.VerdictGap {
			break
		}
		m.held = m.held[1:]
	}
	return v
}

func top(ls []market.Level) []market.Level { return slices.Clone(ls[:min(1, len(ls))]) }

func (m *model) put(r market.Book) book.Verdict {
	for s, ls := range [][]market.Level{r.Bids, r.Asks} {
		for _, l := range ls {
			if !m.fits(l.Price) {
				m.out.Reason = "a price needs more than 62 bits at the book's scale"
				m.breaks(market.CauseRejected)
				m.emit(r, market.FlagUnsynced)
				return book.VerdictRefused
			}
			m.side[s] = slices.DeleteFunc(m.side[s], func(o market.Level) bool { return o.Price.Equal(l.Price) })
			if l.Amount.Sign() != 0 {
				m.side[s] = append(m.side[s], l)
			}
		}
		slices.SortFunc(m.side[s], func(a, b market.Level) int {
			if s == 0 {
				a, b = b, a
			}
			return a.Price.Cmp(b.Price)
		})
		if len(m.side[s]) > m.opts.MaxLevels {
			m.out.Reason = "the book would have more levels than it may"
			m.breaks(market.CauseRejected)
			m.emit(r, market.FlagUnsynced)
			return book.VerdictRefused
		}
	}
	if r.Depth > 0 {
		m.depth = int(r.Depth)
	}
	for s := range m.side {
		if m.rule.CutToDepth && m.depth > 0 {
			m.side[s] = m.side[s][:min(len(m.side[s]), m.depth)]
		}
		if fmt.Sprint(top(m.side[s])) != fmt.Sprint(m.oldBest[s]) {
			m.out.BestChanged = true
		}
	}
	f := market.FlagApplied
	if m.crossed() {
		f |= market.FlagCrossed
		m.out.Crossed = true
	}
	if r.Checksum != market.None && m.rule.Checksum.Kind != "" {
		if got := m.checksum(); uint32(r.Checksum) != got {
			m.emit(r, f|market.FlagChecksumBad)
			m.out.Want, m.out.Got = r.Checksum, int64(got)
			m.breaks(market.CauseChecksum)
			return book.VerdictChecksumBad
		}
		f |= market.FlagChecksumOK
	}
	m.emit(r, f)
	return book.VerdictApplied
}

func (m *model) crossed() bool {
	return len(m.side[0]) > 0 && len(m.side[1]) > 0 && m.side[0][0].Price.Cmp(m.side[1][0].Price) >= 0
}

// fits says whether this price and those of the book are whole numbers of at most
// 62 bits at the smallest scale at which all are whole.
func (m *model) fits(p market.Decimal) bool {
	all := []market.Decimal{p.Trim()}
	for _, s := range m.side {
		for _, l := range s {
			all = append(all, l.Price.Trim())
		}
	}
	scale := uint8(0)
	for _, d := range all {
		scale = max(scale, d.Scale())
	}
	pow := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
	limit := new(big.Rat).SetInt64(1<<62 - 1)
	for _, d := range all {
		r, _ := new(big.Rat).SetString(d.Text())
		if r.Mul(r, pow); r.Abs(r).Cmp(limit) > 0 {
			return false
		}
	}
	return true
}

func (m *model) checksum() uint32 {
	var parts []string
	n := m.rule.Checksum.Levels
	if m.rule.Checksum.Kind == source.ChecksumPairs || m.rule.Checksum.Kind == source.ChecksumScript {
		for i := range n {
			for s := range 2 {
				if i >= len(m.side[s]) {
					continue
				}
				price, amount := m.side[s][i].Price, m.side[s][i].Amount
				if m.rule.Checksum.Kind == source.ChecksumPairs {
					parts = append(parts, price.Text(), amount.Text())
				} else {
					parts = append(parts, script(price), strings.Repeat("-", s)+script(amount))
				}
			}
		}
		return crc32.ChecksumIEEE([]byte(strings.Join(parts, ":")))
	}
	digits := func(d market.Decimal, places uint8) string {
		s := d.Text()
		if !strings.Contains(s, ".") {
			s += "."
		}
		for d := int(d.Scale()); m.prec.Known && d < int(places); d++ {
			s += "0"
		}
		return strings.TrimLeft(strings.NewReplacer(".", "", "-", "").Replace(s), "0") // no venue with this sum has prices below 0
	}
	for _, s := range []int{1, 0} {
		for i := range min(n, len(m.side[s])) {
			parts = append(parts, digits(m.side[s][i].Price, m.prec.Price), digits(m.side[s][i].Amount, m.prec.Amount))
		}
	}
	return crc32.ChecksumIEEE([]byte(strings.Join(parts, "")))
}

// script is a number as JavaScript prints it.
func script(d market.Decimal) string {
	text, sign := d.String(), ""
	if d.Sign() < 0 {
		text, sign = text[1:], "-"
	}
	digits := strings.TrimLeft(strings.TrimPrefix(text, "0."), "0")
	if d.Sign() == 0 || !strings.HasPrefix(text, "0.000000") {
		return sign + text
	}
	point := ""
	if len(digits) > 1 {
		point = "."
	}
	return fmt.Sprintf("%s%s%s%se-%d", sign, digits[:1], point, digits[1:], len(text)-len("0.")-len(digits)+1)
}

func crc(s string) int64 { return int64(crc32.ChecksumIEEE([]byte(s))) }

// clone is enough of a copy to try a record on.
func (m *model) clone() *model {
	c := *m
	for s := range c.side {
		c.side[s] = slices.Clone(m.side[s])
	}
	c.held = slices.Clone(m.held)
	return &c
}

func drawRule(t *rapid.T) (source.BookRule, book.Options, market.Precision) {
	pick := func(name string, n int) int { return rapid.IntRange(0, n-1).Draw(t, name) }
	rule := source.BookRule{
		Snapshot:   []source.SnapshotWay{source.SnapshotHTTP, source.SnapshotHTTP, source.SnapshotInBand, source.SnapshotEach}[pick("snapshot", 4)],
		Recovery:   []source.Recovery{source.RecoverRequest, source.RecoverResubscribe, source.RecoverReconnect}[pick("recovery", 3)],
		CutToDepth: rapid.Bool().Draw(t, "cut"),
		Sequence: source.Sequence{
			Kind: []source.SequenceKind{source.SequenceRange, source.SequenceChain, source.SequenceIncrement, source.SequenceNone}[pick("kind", 4)]},
		Checksum: source.Checksum{Levels: 3,
			Kind: []source.ChecksumKind{source.ChecksumNone, source.ChecksumKraken, source.ChecksumPairs, source.ChecksumScript}[pick("checksum", 4)]},
	}
	switch rule.Snapshot {
	case source.SnapshotInBand:
		rule.Sequence.Scope = []source.Scope{source.ScopeInstrument, source.ScopeConnection}[pick("scope", 2)]
		rule.Sequence.Start = []source.SequenceStart{source.StartInBand, source.StartInBand, source.StartRange, source.StartChain}[pick("start", 4)]
	case source.SnapshotHTTP:
		rule.Sequence.Start = []source.SequenceStart{source.StartRange, source.StartOverlap, source.StartChain}[pick("start", 3)]
	case source.SnapshotEach:
		rule.Sequence.Kind = source.SequenceNone
	}
	prec := market.Precision{Known: rapid.Bool().Draw(t, "precise"), Price: 2, Amount: 3}
	return rule, book.Options{SubscribedDepth: []int{0, 3, 50}[pick("depth", 3)], HeldRecords: 4, HeldBytes: 1 << 20, MaxLevels: 90}, prec
}

func drawLevels(t *rapid.T, most int) []market.Level {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) market.Level {
		scale := uint8(rapid.SampledFrom([]int{2, 2, 2, 2, 2, 2, 0, 1, 3, 5}).Draw(t, "scale"))
		p := market.NewDecimal(int64(rapid.IntRange(-3, 400).Draw(t, "price")), scale)
		switch rapid.IntRange(0, 199).Draw(t, "odd") {
		case 0:
			p = market.NewDecimal(4e18, 0)
		case 1:
			p = market.MustDecimal("1.500000000000000000000000000")
		case 2:
			p = market.NewDecimal(7, 21)
		}
		a := market.NewDecimal(int64(rapid.IntRange(0, 3).Draw(t, "amount"))*50, uint8(rapid.SampledFrom([]int{0, 1, 2, 3, 4, 8, 9}).Draw(t, "places")))
		if rapid.IntRange(0, 30).Draw(t, "wide") == 0 {
			a = market.MustDecimal("910458645843700000000000.00000000")
		}
		return market.Level{Price: p, Amount: a}
	}), 0, most).Draw(t, "levels")
}

// TestModel feeds the engine and the model the same records: in sequence, gaps,
// duplicates, out of order, snapshots of any age, resets, ends, disconnects. Now
// and then the engine is replaced by one restored from its checkpoint.
func TestModel(t *testing.T) {
	lend := lenders(t, pool.MessageOptions{})
	rapid.Check(t, func(t *rapid.T) {
		rule, opts, prec := drawRule(t)
		opts.Levels, opts.Batches, opts.Books = lend.Levels, lend.Batches, lend.Books
		b, m := book.New(rule, opts), newModel(rule, opts)
		defer func() {
			b.Close()
			if l, h := lend.Levels.Stats(), lend.Batches.Stats(); l.Outstanding+h.Outstanding != 0 || l.Misused+h.Misused != 0 {
				t.Errorf("after Close %d leaves and %d queues are leased, %d and %d misused", l.Outstanding, h.Outstanding, l.Misused, h.Misused)
			}
		}()
		b.SetPrecision(prec)
		m.prec = prec
		var emitted []string
		emit := func(v market.View) { emitted = append(emitted, fmt.Sprint(v.Key(), " ", v.Flags())) }
		key, at := uint64(0), int64(100) // at: the venue's sequence
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			emitted = nil
			var out book.Outcome
			switch act := rapid.IntRange(0, 99).Draw(t, "act"); {
			case act < 3:
				c := rapid.SampledFrom([]market.Cause{market.CauseDisconnect, market.CauseCrossed}).Draw(t, "cause")
				out = b.Void(c, emit)
				m.voidFromOutside(c)
			case act < 5:
				b.Flush(emit)
				m.begin()
				m.releaseAll()
				out = m.out
			case act < 15:
				state := b.AppendState(nil)
				r := book.New(rule, opts)
				if err := r.Restore(state); err != nil {
					t.Fatal(err)
				}
				if again := r.AppendState(nil); string(again) != string(state) {
					t.Fatal("a restored book has another state")
				}
				b.Close()
				b = r
				m.begin()
				out = m.out
			default:
				r := *newBook(market.KindBookDelta)
				key++
				r.Key = key
				size := int64(rapid.IntRange(1, 3).Draw(t, "size"))
				r.PrevSeq, r.FirstSeq, r.Seq = at, at+1, at+size
				if rule.Sequence.Kind == source.SequenceIncrement {
					r.Seq = at + 1
				}
				levels := 6
				switch {
				case act < 30:
					r.Kind, r.Seq = market.KindBookSnapshot, at+int64(rapid.IntRange(-6, 4).Draw(t, "age"))
					levels = 40
					if rapid.IntRange(0, 15).Draw(t, "numberless") == 0 {
						r.Seq = market.None
					}
				case act < 33:
					r.Flags = market.FlagReset
				case act < 35:
					r.Flags = market.FlagEnd
				case act < 39:
					r.Flags = market.FlagKeepAlive
				case act < 44: // a duplicate, or out of order
					d := int64(rapid.IntRange(1, 4).Draw(t, "back"))
					r.PrevSeq, r.FirstSeq, r.Seq = r.PrevSeq-d, r.FirstSeq-d, r.Seq-d
				case act < 47: // something is missing
					at += int64(rapid.IntRange(1, 3).Draw(t, "missing"))
					r.PrevSeq, r.FirstSeq, r.Seq = at, at+1, at+1
				case act < 49:
					r.FirstSeq = market.None
				case act < 50:
					r.Seq = market.None
				}
				if r.Seq > at {
					at = r.Seq
				}
				r.Bids, r.Asks = drawLevels(t, levels), drawLevels(t, levels)
				if rapid.IntRange(0, 9).Draw(t, "depth") == 0 {
					r.Depth = 20
				}
				if c := rapid.IntRange(0, 20).Draw(t, "check"); rule.Checksum.Kind != "" && c > 0 {
					try := m.clone()
					try.apply(r)
					r.Checksum = int64(try.checksum())
					if c == 1 {
						r.Checksum ^= 1
					} else if c < 6 {
						r.Checksum = int64(int32(r.Checksum))
					}
				}
				out = b.Apply(r.AppendTo(nil), emit)
				m.apply(r)
			}
			if out != m.out {
				t.Fatalf("outcome %+v, the model has %+v", out, m.out)
			}
			if !slices.Equal(emitted, m.emitted) {
				t.Fatalf("emitted %v, the model %v", emitted, m.emitted)
			}
			if b.Stats() != m.stats {
				t.Fatalf("stats %+v, the model has %+v", b.Stats(), m.stats)
			}
			if b.Synced() != m.force || b.Seq() != m.seq || b.Held() != len(m.held) || b.Crossed() != m.crossed() {
				t.Fatalf("synced %v seq %d held %d, the model %v %d %d", b.Synced(), b.Seq(), b.Held(), m.force, m.seq, len(m.held))
			}
			for s := range m.side {
				n := rapid.IntRange(-1, 40).Draw(t, "top")
				want := m.side[s]
				if n >= 0 {
					want = want[:min(n, len(want))]
				}
				text := func(ls []market.Level) (o []string) {
					for _, l := range ls {
						o = append(o, l.Price.Text()+" × "+l.Amount.Text())
					}
					return o
				}
				if got := text(b.Top(book.Side(s), n, nil)); !slices.Equal(got, text(want)) {
					t.Fatalf("side %d is %v, the model has %v", s, got, text(want))
				}
				if b.Len(book.Side(s)) != len(m.side[s]) {
					t.Fatalf("side %d has %d levels, the model %d", s, b.Len(book.Side(s)), len(m.side[s]))
				}
			}
		}
	})
}
