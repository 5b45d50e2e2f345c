package book_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/runtime/book"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// tape runs one book and notes what leaves it.
type tape struct {
	*book.Book
	t    *testing.T
	left []string
}

func newTape(t *testing.T, rule source.BookRule, o book.Options) *tape {
	return &tape{Book: book.New(rule, o), t: t}
}

func (p *tape) emit(v market.View) {
	names := []string{}
	for _, f := range []struct {
		f market.Flags
		s string
	}{{market.FlagApplied, "applied"}, {market.FlagStale, "stale"}, {market.FlagUnsynced, "unsynced"}, {market.FlagCrossed, "crossed"},
		{market.FlagChecksumOK, "ok"}, {market.FlagChecksumBad, "bad"}} {
		if v.Flags()&f.f != 0 {
			names = append(names, f.s)
		}
	}
	p.left = append(p.left, fmt.Sprintf("%d:%s", v.Seq(), strings.Join(names, "+")))
}

// rec makes a record: bids and asks are "price×amount" texts, bids before "|".
func (p *tape) rec(k market.Kind, first, last, prev int64, levels string) *market.Book {
	b := newBook(k)
	b.FirstSeq, b.Seq, b.PrevSeq = first, last, prev
	bids, asks, _ := strings.Cut(levels, "|")
	for i, text := range []string{bids, asks} {
		for _, f := range strings.Fields(text) {
			price, amount, _ := strings.Cut(f, "×")
			l := level(p.t, price, amount)
			if i == 0 {
				b.Bids = append(b.Bids, l)
			} else {
				b.Asks = append(b.Asks, l)
			}
		}
	}
	return b
}

func (p *tape) apply(b *market.Book) book.Outcome {
	p.left = nil
	return p.Apply(b.AppendTo(nil), p.emit)
}

func (p *tape) snapshot(seq int64, levels string) book.Outcome {
	return p.apply(p.rec(market.KindBookSnapshot, market.None, seq, market.None, levels))
}

func (p *tape) delta(first, last, prev int64, levels string) book.Outcome {
	return p.apply(p.rec(market.KindBookDelta, first, last, prev, levels))
}

func (p *tape) want(what string, got, want any) {
	p.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		p.t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

// TestTimed: where nothing but times numbers updates, a requested book must hold
// the first of those that wait for it, and all that was applied before.
func TestTimed(t *testing.T) {
	p := newTape(t, source.BookRule{Snapshot: source.SnapshotHTTP, Recovery: source.RecoverRequest,
		Sequence: source.Sequence{Start: source.StartRange}}, book.Options{})
	none := market.None
	p.want("the first update asks", p.delta(none, 100, none, "99×1|").Need, source.RecoverRequest)
	p.delta(none, 130, none, "98×1|")
	o := p.snapshot(90, "97×1|103×1")
	p.want("a copy from before it", []any{o.Verdict, o.Need, p.left}, []any{book.VerdictTooOld, source.RecoverRequest, []string{"90:stale"}})
	p.snapshot(110, "99×1|103×1")
	p.want("one that holds it", p.left, []string{"110:applied", "100:stale", "130:applied"})
	p.delta(none, 170, none, "|102×1")
	p.want("none of the numbers is missed", p.left, []string{"170:applied"})
	p.Void(market.CauseCrossed, p.emit)
	p.want("a copy from before the end", p.snapshot(169, "99×1|103×1").Verdict, book.VerdictTooOld)
	state := p.AppendState(nil)
	if err := p.Restore(state); err != nil {
		t.Fatal(err)
	}
	p.want("still", p.snapshot(169, "99×1|103×1").Verdict, book.VerdictTooOld)
	p.want("one of the end", p.snapshot(170, "99×1|102×1").Verdict, book.VerdictApplied)

	// What was asked for before the stream broke off may come behind it. Nobody
	// knows what lies between it and the first update.
	p.Void(market.CauseDisconnect, p.emit)
	o = p.snapshot(180, "99×1|102×1")
	p.want("before the first update", []any{o.Verdict, o.Need}, []any{book.VerdictTooOld, source.Recovery("")})
	state = p.AppendState(nil)
	if err := p.Restore(state); err != nil {
		t.Fatal(err)
	}
	p.want("still before it", p.snapshot(185, "99×1|102×1").Verdict, book.VerdictTooOld)
	p.want("the first update asks again", p.delta(none, 190, none, "98×1|").Need, source.RecoverRequest)
	p.want("one from before it", p.snapshot(185, "99×1|102×1").Verdict, book.VerdictTooOld)
	p.want("one that holds it", p.snapshot(190, "98×1|102×1").Verdict, book.VerdictApplied)

	p.delta(none, 1<<60, none, "|101×1") // a time that is wrong
	p.Void(market.CauseCrossed, p.emit)
	tries := 1
	for ; p.snapshot(200, "99×1|102×1").Verdict == book.VerdictTooOld && tries < 1000; tries++ {
	}
	p.want("snapshots until one is taken all the same", tries, 129)
}

// TestSplice follows a Binance book through its life: deltas before the snapshot,
// a snapshot that is too old, the splice, a gap, the repair, a disconnect.
func TestSplice(t *testing.T) {
	p := newTape(t, binanceSpot, book.Options{})
	o := p.delta(11, 12, market.None, "10×1|")
	p.want("first delta", o.Verdict, book.VerdictHeld)
	p.want("it asks", o.Need, source.RecoverRequest)
	o = p.delta(13, 15, market.None, "10×2|")
	p.want("it asks once", o.Need, source.Recovery(""))
	p.delta(16, 16, market.None, "9×2|11×1")
	p.want("nothing leaves", len(p.left), 0)

	o = p.snapshot(9, "8×1|12×1")
	p.want("an old snapshot", o.Verdict, book.VerdictTooOld)
	p.want("it asks again", o.Need, source.RecoverRequest)
	p.want("it leaves", p.left, "[9:stale]")

	o = p.snapshot(13, "8×1|12×1")
	p.want("the snapshot", o.Verdict, book.VerdictApplied)
	p.want("order", p.left, "[13:applied 12:stale 15:applied 16:applied]")
	p.want("no break was there to repair", o.Repaired, false)
	best, _ := p.Best(book.Bids)
	p.want("best bid", best.Price.Text()+" "+best.Amount.Text(), "10 2")
	p.want("seq", p.Seq(), 16)

	o = p.delta(20, 21, market.None, "7×1|")
	p.want("gap", o.Verdict, book.VerdictGap)
	p.want("cause", o.Cause, market.CauseGap)
	p.want("need", o.Need, source.RecoverRequest)
	p.want("from, to", fmt.Sprint(o.FromSeq, o.ToSeq, o.Missing), fmt.Sprint(16, 20, market.None))
	p.want("void", fmt.Sprint(p.Synced(), p.Len(book.Bids)), "false 0")
	p.want("the breaking delta is held", p.Held(), 1)
	p.delta(22, 22, market.None, "7×2|")
	o = p.snapshot(21, "6×1|12×1")
	p.want("repaired", o.Repaired, true)
	p.want("order", p.left, "[21:applied 21:stale 22:applied]")

	o = p.snapshot(15, "6×1|12×1")
	p.want("a snapshot older than the book", o.Verdict, book.VerdictStale)
	p.want("the book stays", p.Seq(), 22)
	o = p.delta(22, 22, market.None, "7×2|")
	p.want("a duplicate", o.Verdict, book.VerdictStale)

	o = p.Void(market.CauseDisconnect, p.emit)
	p.want("void", o.Cause, market.CauseDisconnect)
	p.delta(30, 31, market.None, "")
	p.left = nil
	p.Void(market.CauseDisconnect, p.emit)
	p.want("held deltas leave", p.left, "[31:unsynced]")
	o = p.delta(40, 41, market.None, "")
	p.want("it asks anew", o.Need, source.RecoverRequest)
	p.left = nil
	p.Flush(p.emit)
	p.want("flush", p.left, "[41:unsynced]")
	p.want("stats", p.Stats(), book.Stats{Snapshots: 4, Applied: 3, Stale: 3, Unsynced: 2, LevelChanges: 4, Gaps: 1})
}

func TestGapInHeld(t *testing.T) {
	p := newTape(t, binanceFutures, book.Options{})
	for _, d := range [][3]int64{{1, 5, 0}, {6, 9, 5}, {20, 25, 19}, {26, 27, 25}} {
		p.delta(d[0], d[1], d[2], "")
	}
	o := p.snapshot(5, "1×1|2×1")
	p.want("verdict of the snapshot", o.Verdict, book.VerdictApplied)
	p.want("left", p.left, "[5:applied 5:applied 9:applied]")
	p.want("gap", fmt.Sprint(o.Cause, o.FromSeq, o.ToSeq), "gap 9 20")
	p.want("held on", p.Held(), 2)
	p.snapshot(24, "1×1|2×1")
	p.want("left", p.left, "[24:applied 25:applied 27:applied]")
}

func TestHeldBounds(t *testing.T) {
	p := newTape(t, binanceSpot, book.Options{HeldRecords: 2})
	p.delta(1, 1, market.None, "")
	p.delta(2, 2, market.None, "")
	p.delta(3, 3, market.None, "")
	p.want("the oldest left", p.left, "[1:unsynced]")
	o := p.snapshot(0, "")
	p.want("a snapshot before what was dropped", o.Verdict, book.VerdictTooOld)
	o = p.snapshot(1, "")
	p.want("one that reaches it", o.Verdict, book.VerdictApplied)

	p = newTape(t, binanceSpot, book.Options{HeldBytes: 500})
	p.delta(1, 1, market.None, "1×1 2×1 3×1|")
	p.delta(2, 2, market.None, "1×1 2×1 3×1|")
	p.want("both fit", p.Held(), 2)
	o = p.delta(3, 3, market.None, strings.Repeat("1×1 ", 20)+"|")
	p.want("one that can't be held", o.Verdict, book.VerdictUnsynced)
	p.want("left", p.left, "[1:unsynced 2:unsynced 3:unsynced]")
}

// TestNumbersRestart: what looks like duplicates without an end is a venue that
// started its numbers anew.
func TestNumbersRestart(t *testing.T) {
	p := newTape(t, increment, book.Options{})
	p.snapshot(1_000_000, "1×1|2×1")
	for i := range int64(1000) {
		if o := p.delta(i, i, i-1, ""); o.Verdict != book.VerdictStale {
			p.want("verdict", o.Verdict, book.VerdictGap)
			p.want("need", o.Need, source.RecoverResubscribe)
			p.want("left", p.left, fmt.Sprintf("[%d:unsynced]", i))
			return
		}
	}
	t.Fatal("a thousand stale deltas in a row were believed")
}

func TestInBand(t *testing.T) {
	p := newTape(t, increment, book.Options{})
	o := p.delta(1, 1, 0, "")
	p.want("before the snapshot", o.Verdict, book.VerdictUnsynced)
	p.want("nothing to ask for", o.Need, source.Recovery(""))
	p.snapshot(10, "1×1|2×1")
	o = p.delta(11, 11, 10, "2×1|")
	p.want("crossed", fmt.Sprint(o.Verdict, o.Crossed, o.BestChanged, p.left), "applied true true [11:applied+crossed]")
	o = p.delta(15, 15, 14, "")
	p.want("gap", fmt.Sprint(o.Verdict, o.Missing, o.Need, p.left), "gap 3resubscribe[15:unsynced]")
	o = p.delta(16, 16, 15, "")
	p.want("asks once", fmt.Sprint(o.Verdict, o.Need), "unsynced")
	o = p.snapshot(20, "1×1|2×1")
	p.want("repaired", o.Repaired, true)

	r := p.rec(market.KindBookDelta, 1, 1, market.None, "5×1|6×1")
	r.Flags = market.FlagReset
	o = p.apply(r)
	p.want("reset", fmt.Sprint(o.Verdict, p.Seq(), p.Len(book.Bids)), "applied 1 1")
	p.delta(2, 2, 1, "4×1|")
	r = p.rec(market.KindBookDelta, market.None, market.None, market.None, "")
	r.Flags = market.FlagEnd
	o = p.apply(r)
	p.want("end", fmt.Sprint(o.Verdict, o.Cause, p.Synced()), "ended none false")
	o = p.delta(3, 3, 2, "")
	p.want("after the end", o.Verdict, book.VerdictUnsynced)
	o = p.snapshot(30, "")
	p.want("a new subscription repairs nothing", o.Repaired, false)
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct{ levels, reason string }{
		{"1×-1|", "an amount is negative"},
		{"1×1|4000000000000000000×1 0.01×1", "a price needs more than 62 bits at the book's scale"},
		{"1×1 2×1 3×1|", "the book would have more levels than it may"},
	} {
		p := newTape(t, increment, book.Options{MaxLevels: 2})
		p.snapshot(1, "1×1|2×1")
		o := p.delta(2, 2, 1, c.levels)
		p.want(c.levels, fmt.Sprint(o.Verdict, " ", o.Reason, " ", o.Cause, " ", o.Need, p.left), "refused "+c.reason+" rejected resubscribe[2:unsynced]")
		o = p.snapshot(3, c.levels)
		p.want("snapshot "+c.levels, fmt.Sprint(o.Verdict, p.Synced()), "refused false")
		o = p.snapshot(4, "1×1|2×1")
		p.want("and again", o.Repaired, true)
	}
	p := newTape(t, increment, book.Options{})
	trade := (&market.Trade{}).AppendTo(nil)
	o := p.Apply(trade, p.emit)
	p.want("a trade", o.Verdict, book.VerdictRefused)
	p.want("leaves", len(p.left), 1)
}

// TestScales: prices keep the places they were sent with, whatever the book's
// scale becomes.
func TestScales(t *testing.T) {
	p := newTape(t, increment, book.Options{})
	text := func(s book.Side) (out []string) {
		for _, l := range p.Top(s, -1, nil) {
			out = append(out, l.Price.Text()+"×"+l.Amount.Text())
		}
		return out
	}
	p.snapshot(0, "10×1 9.50×1|11×1")
	p.delta(1, 1, 0, "9.5005×2|11.00000000×3")
	p.delta(2, 2, 1, "9.125×1|11.000000000000000000000000000×5")
	p.want("bids", text(book.Bids), "[10×1 9.5005×2 9.50×1 9.125×1]")
	p.want("asks", text(book.Asks), "[11.000000000000000000000000000×5]")
	p.delta(3, 3, 2, "9.5005×0 9.50×0 9.125×0|1000000000000000000×1") // fits 62 bits at a scale of 0 alone
	p.want("asks at a smaller scale", text(book.Asks), "[11.000000000000000000000000000×5 1000000000000000000×1]")
	p.want("bids at a smaller scale", text(book.Bids), "[10×1]")
}

// TestChecksumVectors are the worked examples of Kraken's guides
// (docs.kraken.com/exchange/guides/websockets/book-checksum-v1 and -v2), and for
// pairs the texts put together by hand.
func TestChecksumVectors(t *testing.T) {
	v1 := "0.05000×0.00000500 0.04995×0.00000500 0.04990×0.00000500 0.04980×0.00000500 0.04975×0.00000500 0.04970×0.00000500 " +
		"0.04965×0.00000500 0.04960×0.00000500 0.04955×0.00000500 0.04950×0.00000500|" +
		"0.05005×0.00000500 0.05010×0.00000500 0.05015×0.00000500 0.05020×0.00000500 0.05025×0.00000500 0.05030×0.00000500 " +
		"0.05035×0.00000500 0.05040×0.00000500 0.05045×0.00000500 0.05050×0.00000500 0.05120×0.00000500"
	v2 := "45283.5×0.10000000 45283.4×1.54582015 45282.1×0.10000000 45281.0×0.10000000 45280.3×1.54592586 45279.0×0.07990000 " +
		"45277.6×0.03310103 45277.5×0.30000000 45277.3×1.54602737 45276.6×0.15445238|" +
		"45285.2×0.00100000 45286.4×1.54571953 45286.6×1.54571109 45289.6×1.54560911 45290.2×0.15890660 45291.8×1.54553491 " +
		"45294.7×0.04454749 45296.1×0.35380000 45297.5×0.09945542 45299.5×0.18772827"
	cut := strings.NewReplacer("0.10000000", "0.1", "45281.0", "45281", "0.30000000", "0.3").Replace(v2)
	pairs := source.Checksum{Kind: source.ChecksumPairs, Levels: 2}
	script := source.Checksum{Kind: source.ChecksumScript, Levels: 2}
	kraken := krakenSpot.Checksum
	places := market.Precision{Known: true, Price: 1, Amount: 8}
	for _, c := range []struct {
		name, levels string
		rule         source.Checksum
		prec         market.Precision
		want         int64
		verdict      book.Verdict
	}{
		{"v1", v1, kraken, market.Precision{}, 974947235, book.VerdictApplied},
		{"v2", v2, kraken, market.Precision{}, 3310070434, book.VerdictApplied},
		{"v2 with precision", v2, kraken, places, 3310070434, book.VerdictApplied},
		{"v2 with zeros cut off", cut, kraken, places, 3310070434, book.VerdictApplied},
		{"v2 with zeros cut off, precision unknown", cut, kraken, market.Precision{}, 3310070434, book.VerdictChecksumBad},
		{"v2 wrong", v2, kraken, places, 3310070435, book.VerdictChecksumBad},
		{"out of 32 bits", v2, kraken, places, 3310070434 + 1<<32, book.VerdictChecksumBad},
		// CRC32 of "3.10:1.0:3.2:5:3:20.50"
		{"pairs", "3.10×1.0 3×20.50|3.2×5", pairs, market.Precision{}, crc("3.10:1.0:3.2:5:3:20.50"), book.VerdictApplied},
		{"pairs, signed", "3.10×1.0 3×20.50|3.2×5", pairs, market.Precision{}, int64(int32(crc("3.10:1.0:3.2:5:3:20.50"))), book.VerdictApplied},
		{"script", "0.5×1.50 0.0000010×0.00000120|0.00000056×2", script, market.Precision{}, crc("0.5:1.5:5.6e-7:-2:0.000001:0.0000012"), book.VerdictApplied},
		{"script, exponents", "0.0000000450×0.00000001|21000×0.00000099", script, market.Precision{}, int64(int32(crc("4.5e-8:1e-8:21000:-9.9e-7"))), book.VerdictApplied},
		{"pairs, empty", "", pairs, market.Precision{}, 0, book.VerdictApplied},
	} {
		rule := krakenSpot
		rule.Checksum = c.rule
		p := newTape(t, rule, book.Options{})
		p.SetPrecision(c.prec)
		r := p.rec(market.KindBookSnapshot, market.None, market.None, market.None, c.levels)
		r.Checksum = c.want
		o := p.apply(r)
		p.want(c.name, o.Verdict, c.verdict)
		if c.verdict == book.VerdictChecksumBad {
			p.want(c.name, fmt.Sprint(o.Need, o.Cause, o.Want, p.Synced()), fmt.Sprint(source.RecoverResubscribe, market.CauseChecksum, c.want, false))
		}
	}
}

// TestLevels drives large books through the leaves' splits and joins, beside a
// map that is sorted.
func TestLevels(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 7))
		depth := []int{0, 0, 700}[seed%3]
		rule := increment
		rule.CutToDepth = depth > 0
		k := book.New(rule, book.Options{SubscribedDepth: depth})
		model := [2]map[int64]int64{{}, {}}
		buf := ladder(0)
		k.Apply(buf, func(market.View) {})
		for step := range int64(1500) {
			d := newBook(market.KindBookDelta)
			d.Seq = step + 1
			// Phases of growth and of decay, at places that wander.
			centre, grow := r.IntN(4000), 90-80*int(step/250%2)
			for i := range 2 {
				var ls []market.Level
				for range r.IntN(60) {
					price, amount := int64(centre+r.IntN(200)), int64(0)
					if r.IntN(100) < grow {
						amount = 1 + r.Int64N(1000)
					}
					ls = append(ls, market.Level{Price: market.NewDecimal(price, 2), Amount: market.NewDecimal(amount, 3)})
					model[i][price] = amount
					if amount == 0 {
						delete(model[i], price)
					}
				}
				if i == 0 {
					d.Bids = ls
				} else {
					d.Asks = ls
				}
			}
			buf = d.AppendTo(buf[:0])
			if o := k.Apply(buf, func(market.View) {}); o.Verdict != book.VerdictApplied {
				t.Fatalf("%+v", o)
			}
			for i, m := range model {
				if depth == 0 && step%20 != 0 {
					continue
				}
				var prices []int64
				for p := range m {
					prices = append(prices, p)
				}
				slices.Sort(prices)
				if i == 0 {
					slices.Reverse(prices)
				}
				if depth > 0 {
					for len(prices) > depth {
						delete(m, prices[len(prices)-1])
						prices = prices[:len(prices)-1]
					}
				}
				top := k.Top(book.Side(i), -1, nil)
				if len(top) != len(prices) || k.Len(book.Side(i)) != len(prices) {
					t.Fatalf("seed %d step %d: %d levels (%d), want %d", seed, step, len(top), k.Len(book.Side(i)), len(prices))
				}
				for j, p := range prices {
					if top[j] != (market.Level{Price: market.NewDecimal(p, 2), Amount: market.NewDecimal(m[p], 3)}) {
						t.Fatalf("seed %d step %d: level %d is %s × %s, want %d × %d", seed, step, j, top[j].Price.Text(), top[j].Amount.Text(), p, m[p])
					}
				}
			}
			if step%100 == 0 {
				again := book.New(rule, book.Options{SubscribedDepth: depth})
				if err := again.Restore(k.AppendState(nil)); err != nil {
					t.Fatal(err)
				}
				k = again
			}
		}
	}
}

func TestAllocs(t *testing.T) {
	k := book.New(increment, book.Options{})
	emit := func(market.View) {}
	snap, recs := ladder(1000), updates(1000, 10, func(r *rand.Rand) int { return r.IntN(1000) })
	var top []market.Level
	round := func() {
		k.Apply(snap, emit)
		for i, r := range recs {
			setSeq(r, int64(i+1))
			k.Apply(r, emit)
			top = k.Top(book.Asks, 25, top[:0])
		}
	}
	round()
	if n := testing.AllocsPerRun(3, round); n != 0 {
		t.Errorf("%v allocations in %d updates", n, len(recs))
	}
}
