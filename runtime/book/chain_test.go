package book_test

import (
	"fmt"
	"testing"

	"github.com/marketprism/marketprism/runtime/book"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// numbered is the rule of OKX, which numbers its updates and once sent checksums instead.
var numbered = source.BookRule{
	Sequence: source.Sequence{Kind: source.SequenceChain, Start: source.StartChain},
	Checksum: source.Checksum{Kind: source.ChecksumPairs, Levels: 25, Until: "2026-06-23"},
	Snapshot: source.SnapshotHTTP, Recovery: source.RecoverRequest,
}

// TestChain follows an OKX book: a snapshot in the stream, a message without
// changes, numbers that start again lower, a gap, and the splice of a snapshot
// that was asked for.
func TestChain(t *testing.T) {
	p := newTape(t, numbered, book.Options{})
	step := func(what string, o book.Outcome, want string) {
		t.Helper()
		p.want(what, fmt.Sprint(o.Verdict, " ", o.Need, p.left), want)
	}
	step("snapshot in the stream", p.snapshot(10, "1×1|2×1"), "applied [10:applied]")
	step("first update", p.delta(market.None, 15, 10, "0.5×1|"), "applied [15:applied]")
	r := p.rec(market.KindBookDelta, market.None, 15, 15, "")
	r.Flags = market.FlagKeepAlive
	step("nothing new", p.apply(r), "keep_alive [15:applied]")
	step("lower numbers", p.delta(market.None, 3, 15, "0.4×1|"), "applied [3:applied]")
	step("after them", p.delta(market.None, 5, 3, "0.4×0|"), "applied [5:applied]")
	step("gap", p.delta(market.None, 9, 7, "0.3×1|"), "gap request[]")
	step("held", p.delta(market.None, 12, 9, "0.2×1|"), "held []")
	step("too old", p.snapshot(6, "1×1|2×1"), "too_old request[6:stale]")
	step("splice", p.snapshot(10, "1×1|2×1"), "applied [10:applied 9:stale 12:applied]")
	step("goes on", p.delta(market.None, 13, 12, ""), "applied [13:applied]")

	p = newTape(t, numbered, book.Options{})
	step("without a snapshot in the stream", p.delta(market.None, 15, 10, "1×1|"), "held request[]")
	step("one is asked for", p.snapshot(12, "1×2|2×1"), "applied [12:applied 15:applied]")
}

// TestChainBefore: records from before the venue numbered them are proven by
// their checksum; one that has neither can't be shown to follow.
func TestChainBefore(t *testing.T) {
	p := newTape(t, numbered, book.Options{})
	with := func(k market.Kind, levels string, sum int64) book.Outcome {
		r := p.rec(k, market.None, market.None, market.None, levels)
		r.Checksum = sum
		return p.apply(r)
	}
	p.want("snapshot", with(market.KindBookSnapshot, "3×1|4×1", crc("3:1:4:1")).Verdict, book.VerdictApplied)
	p.want("update", with(market.KindBookDelta, "2×1|", crc("3:1:4:1:2:1")).Verdict, book.VerdictApplied)
	p.want("two sums agree", p.Stats().ChecksumsOK, 2)
	o := with(market.KindBookDelta, "1×1|", 1)
	p.want("a lost update", fmt.Sprint(o.Verdict, o.Cause), "checksum_bad checksum")
	p.want("snapshot", with(market.KindBookSnapshot, "3×1|4×1", crc("3:1:4:1")).Verdict, book.VerdictApplied)
	p.want("neither number nor checksum", with(market.KindBookDelta, "2×1|", market.None).Verdict, book.VerdictGap)
	p = newTape(t, numbered, book.Options{})
	p.snapshot(10, "3×1|4×1")
	p.want("a number is missing where there were numbers", with(market.KindBookDelta, "", crc("3:1:4:1")).Verdict, book.VerdictGap)
}
