package flow_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// withHistory are specs whose trades can be had again; sequence is how they are
// numbered.
func withHistory(h source.History, sequence source.SequenceKind) func(*flow.Settings) {
	return func(s *flow.Settings) {
		s.Channels = slices.Clone(specs)
		s.Channels[0].History, s.Channels[0].Sequence = &h, sequence
	}
}

var bySequence = source.History{By: source.HistorySequence}

// answer feeds a response that holds trades, and the note behind it.
func (b *bench) answer(symbol string, from, to int64, why string, trades ...func(*source.Out)) {
	b.Helper()
	if why == "" {
		b.feed(input{kind: source.InputHTTP, payload: "a response", decode: func(o *source.Out) {
			for _, t := range trades {
				t(o)
			}
		}})
	}
	b.note(0, flow.Note{Note: flow.NoteHistory, Subs: []source.Subscription{{Channel: market.ChannelTrades, Symbol: symbol}}, From: from, To: to, Detail: why})
}

// pasts are trades of an answer.
func pasts(symbol string, ids ...int64) (all []func(*source.Out)) {
	for _, id := range ids {
		all = append(all, tradeOf(symbol, id, market.OriginBackfill))
	}
	return all
}

func (b *bench) wasAsked(lines ...string) {
	b.Helper()
	if !slices.Equal(b.asked, lines) {
		b.Errorf("asked for %q, want %q", b.asked, lines)
	}
	b.asked = nil
}

func (b *bench) trades(symbol string, ids ...int64) {
	b.Helper()
	for _, id := range ids {
		b.frame(1, trade(symbol, id))
	}
}

func TestBackfillOfANumberedGap(t *testing.T) {
	b := newBench(t, withHistory(bySequence, source.SequenceIncrement))
	b.subscribed(1, "btc")
	b.trades("btc", 1, 2, 6)
	b.wasAsked("history btc 3-5")
	b.answer("btc", 3, 5, "", pasts("btc", 2, 3, 4, 5, 6, 7)...) // with its neighbours, and one that comes yet
	b.trades("btc", 7)
	b.want("trade btc 1", "trade btc 2", "quality btc gap trades from_seq=2 to_seq=6 missing=3", "trade btc 6",
		"trade btc 3", "trade btc 4", "trade btc 5",
		`quality btc gap trades from_seq=2 to_seq=6 missing=0 repaired="history" closes detail="3 trades found"`, "trade btc 7")
	var origins []market.Origin
	for _, r := range b.read(b.records) {
		if r.Kind() == market.KindTrade && r.Seq() > 2 && r.Seq() < 6 {
			origins = append(origins, r.Origin())
		}
	}
	if !slices.Equal(origins, []market.Origin{market.OriginBackfill, market.OriginBackfill, market.OriginBackfill}) {
		t.Errorf("origins %v", origins)
	}
	b.answer("btc", 3, 5, "", pasts("btc", 3, 4, 5)...) // the request was made twice
	if n := len(b.texts()); n != 9 {
		t.Errorf("%d records behind a second answer, want 9", n)
	}
	b.wasAsked()
	b.metrics(map[string]float64{"flow_backfills_total whole": 1, "flow_backfills_total part": 0, "flow_backfilled_total": 3, "flow_backfilling": 0,
		"flow_missing_total trades": 3, "flow_duplicates_total trades": 0, "flow_out_of_order_total trades": 0})
	b.note(0, flow.Note{Note: flow.NoteStop})
	rs := b.read(b.records)
	for _, r := range rs {
		if r.Kind() == market.KindCoverage && market.Channel(r.Int(market.Fields(market.KindCoverage)[0].Offset)) == market.ChannelTrades {
			got := map[string]int64{}
			for _, f := range market.Fields(market.KindCoverage) {
				got[f.Name] = r.Int(f.Offset)
			}
			if got["messages"] != 7 || got["gaps"] != 1 || got["missing"] != 0 {
				t.Errorf("coverage %v, want 7 messages, 1 gap, none missing", got)
			}
		}
	}
}

// What ended a disconnect says how many lack; pages are asked for until all came.
func TestBackfillPages(t *testing.T) {
	b := newBench(t, withHistory(bySequence, source.SequenceIncrement))
	b.subscribed(1, "btc")
	b.trades("btc", 10)
	b.closed(1, "reset")
	b.subscribed(2, "btc")
	b.frame(2, trade("btc", 16))
	b.wasAsked("history btc 11-15")
	b.answer("btc", 11, 15, "", pasts("btc", 11, 12)...)
	b.wasAsked("history btc 13-15")
	b.answer("btc", 13, 15, "", pasts("btc", 13, 14)...)
	b.wasAsked("history btc 15-15")
	b.answer("btc", 15, 15, "")
	b.wasAsked()
	b.want("trade btc 10", `quality btc disconnect trades from_seq=10 detail="reset"`, `quality btc disconnect book detail="reset"`,
		`quality btc disconnect trades from_seq=10 to_seq=16 missing=5 repaired="resumed" closes`, "trade btc 16",
		"trade btc 11", "trade btc 12", "trade btc 13", "trade btc 14",
		`quality btc disconnect trades from_seq=14 to_seq=16 missing=1 repaired="history" closes detail="4 trades found, 1 still lack"`)
	b.metrics(map[string]float64{"flow_backfills_total part": 1, "flow_backfilled_total": 4})
}

// A venue that pages backwards has the end of the gap first.
func TestBackfillBackwards(t *testing.T) {
	b := newBench(t, withHistory(source.History{By: source.HistorySequence, Backward: true}, source.SequenceIncrement))
	b.subscribed(1, "btc")
	b.trades("btc", 1, 7)
	b.wasAsked("history btc 2-6")
	b.answer("btc", 2, 6, "", pasts("btc", 6, 5, 4)...)
	b.wasAsked("history btc 2-3")
	b.answer("btc", 2, 3, "", pasts("btc", 3)...) // its history ends there
	b.wasAsked("history btc 2-2")
	b.answer("btc", 2, 2, "")
	b.wasAsked()
	if got := b.texts(); got[len(got)-1] != `quality btc gap trades from_seq=1 to_seq=3 missing=1 repaired="history" closes detail="4 trades found, 1 still lack"` {
		t.Errorf("got %s", got[len(got)-1])
	}
}

// Gaps wait for one another; a request that fails leaves its gap as it is.
func TestBackfillFails(t *testing.T) {
	b := newBench(t, withHistory(bySequence, source.SequenceIncrement))
	b.subscribed(1, "btc")
	b.trades("btc", 1, 3, 5)
	b.wasAsked("history btc 2-2")
	b.metrics(map[string]float64{"flow_backfilling": 2})
	b.answer("btc", 2, 2, "HTTP 500")
	b.wasAsked("history btc 4-4")
	b.answer("btc", 4, 4, "", pasts("btc", 2, 4)...)
	b.want("trade btc 1", "quality btc gap trades from_seq=1 to_seq=3 missing=1", "trade btc 3", "quality btc gap trades from_seq=3 to_seq=5 missing=1", "trade btc 5",
		`quality btc gap trades from_seq=1 to_seq=3 missing=1 closes detail="0 trades found, 1 still lack: HTTP 500"`,
		"trade btc 4", `quality btc gap trades from_seq=3 to_seq=5 missing=0 repaired="history" closes detail="1 trades found"`)
	b.metrics(map[string]float64{"flow_backfills_total none": 1, "flow_backfills_total whole": 1, "flow_backfilling": 0})
}

// Without numbers it is times that bound a gap, and keys that tell what came.
func TestBackfillByTime(t *testing.T) {
	b := newBench(t, withHistory(source.History{By: source.HistoryTime}, source.SequenceNone))
	b.subscribed(1, "btc")
	b.trades("btc", 1, 2)
	b.closed(1, "reset")
	b.subscribed(2, "btc")
	b.frame(2, trade("btc", 8))
	asked := func(from, to int64) string { return fmt.Sprintf("history btc %d-%d", t0+from, t0+to) }
	b.wasAsked(asked(2-1e6, 8+1e6))
	b.frame(2, trade("btc", 5)) // late, while the answer is on its way
	b.answer("btc", t0+2-1e6, t0+8+1e6, "", pasts("btc", 1, 2, 3, 4)...)
	b.wasAsked(asked(4, 8+1e6))
	b.answer("btc", t0+4, t0+8+1e6, "", pasts("btc", 4, 5, 6, 8, 9)...)
	b.wasAsked()
	b.want("trade btc 1", "trade btc 2", `quality btc disconnect trades detail="reset"`, `quality btc disconnect book detail="reset"`,
		`quality btc disconnect trades to_seq=8 repaired="resumed" closes`, "trade btc 8", "trade btc 5", "trade btc 3", "trade btc 4", "trade btc 6",
		`quality btc disconnect trades to_seq=8 repaired="history" closes detail="3 trades found, and the answers reach over the whole gap"`)
	b.metrics(map[string]float64{"flow_backfills_total whole": 1, "flow_backfilled_total": 3})
}

// The venue has its latest trades alone: what is before them stays a gap.
func TestBackfillOfTheLatest(t *testing.T) {
	b := newBench(t, withHistory(source.History{By: source.HistoryRecent}, source.SequenceNone))
	b.subscribed(1, "btc")
	b.trades("btc", 1)
	b.closed(1, "reset")
	b.wall += 10e6
	b.subscribed(2, "btc")
	b.frame(2, trade("btc", 9))
	b.answer("btc", t0+1-1e6, t0+9+1e6, "", pasts("btc", 7, 8, 9)...)
	got := b.texts()
	if last := got[len(got)-1]; last != `quality btc disconnect trades to_seq=9 repaired="history" closes detail="2 trades found, the venue's answers don't reach back to the gap's beginning"` {
		t.Errorf("got %s", last)
	}
	b.metrics(map[string]float64{"flow_backfills_total part": 1, "flow_backfilled_total": 2})
}

// Numbered trades whose history has no numbers are told apart by key, and counted.
func TestBackfillWithoutNumbers(t *testing.T) {
	bare := func(id int64) func(*source.Out) {
		return func(o *source.Out) {
			o.Trade(&market.Trade{Header: market.Header{Instrument: o.Symbol([]byte("btc")), Channel: market.ChannelTrades, Origin: market.OriginBackfill,
				Ts: t0 + id, TsSend: market.None, Seq: market.None, PrevSeq: market.None}, ID: fmt.Append(nil, id), Price: dec("100.5"), Amount: dec("1"),
				Side: market.SideBuy, FirstID: market.None, LastID: market.None})
		}
	}
	b := newBench(t, withHistory(source.History{By: source.HistoryRecent}, source.SequenceIncrement))
	b.subscribed(1, "btc")
	b.trades("btc", 1, 2, 6)
	b.answer("btc", t0+2-1e6, t0+6+1e6, "", bare(1), bare(4), bare(5), bare(4), bare(9))
	got := b.texts()
	if last := got[len(got)-1]; last != `quality btc gap trades from_seq=2 to_seq=6 missing=1 repaired="history" closes detail="2 trades found, 1 still lack"` {
		t.Errorf("got %s", last)
	}
}

// What comes late by a connection lacks no more.
func TestBackfillMeetsTheLate(t *testing.T) {
	b := newBench(t, withHistory(bySequence, source.SequenceIncrement))
	b.subscribed(1, "btc")
	b.trades("btc", 1, 4, 3)
	b.answer("btc", 2, 3, "", pasts("btc", 2, 3)...)
	b.want("trade btc 1", "quality btc gap trades from_seq=1 to_seq=4 missing=2", "trade btc 4", "trade btc 3", "trade btc 2",
		`quality btc gap trades from_seq=1 to_seq=4 missing=0 repaired="history" closes detail="1 trades found"`)
}

// An answer may hold what its connection brings yet, and times cut to a second.
func TestBackfillIsQuicker(t *testing.T) {
	cut := func(id, to int64) func(*source.Out) {
		return func(o *source.Out) {
			o.Trade(&market.Trade{Header: market.Header{Instrument: o.Symbol([]byte("btc")), Channel: market.ChannelTrades, Origin: market.OriginBackfill,
				Ts: t0 + id - id%to, TsSend: market.None, Seq: id, PrevSeq: market.None}, ID: fmt.Append(nil, id), Price: dec("100.5"), Amount: dec("1"),
				Side: market.SideBuy, FirstID: market.None, LastID: market.None})
		}
	}
	b := newBench(t, withHistory(source.History{By: source.HistoryRecent, Coarse: 1000}, source.SequenceNone))
	b.subscribed(1, "btc")
	b.trades("btc", 1000, 1100)
	b.closed(1, "reset")
	b.subscribed(2, "btc")
	b.frame(2, trade("btc", 3500))
	b.frame(2, trade("btc", 3600))
	b.answer("btc", t0+1100-1e6, t0+3500+1e6, "", cut(1000, 1000), cut(1100, 1000), cut(1200, 1000), cut(3400, 1000), cut(3500, 1000), cut(3600, 1000))
	b.trades("btc", 3700)
	got := b.texts()
	want := []string{"trade btc 3600", "trade btc 1200", "trade btc 3400",
		`quality btc disconnect trades to_seq=3500 repaired="history" closes detail="2 trades found, and the answers reach over the whole gap"`, "trade btc 3700"}
	if !slices.Equal(got[len(got)-5:], want) {
		t.Errorf("got %q", got)
	}
	b = newBench(t, withHistory(bySequence, source.SequenceIncrement))
	b.subscribed(1, "btc")
	b.trades("btc", 1, 4, 6)
	b.feed(input{kind: source.InputHTTP, payload: "a response", decode: tradeOf("btc", 3, market.OriginBackfill)})
	b.trades("btc", 3, 2)
	b.want("trade btc 1", "quality btc gap trades from_seq=1 to_seq=4 missing=2", "trade btc 4", "quality btc gap trades from_seq=4 to_seq=6 missing=1", "trade btc 6",
		"trade btc 3", "trade btc 2")
}

func TestBackfillOfWhatCameLate(t *testing.T) {
	b := newBench(t, withHistory(bySequence, source.SequenceIncrement))
	b.subscribed(1, "btc")
	b.trades("btc", 1, 3, 2)
	b.answer("btc", 2, 2, "", pasts("btc", 1, 2, 3)...)
	b.want("trade btc 1", "quality btc gap trades from_seq=1 to_seq=3 missing=1", "trade btc 3", "trade btc 2",
		`quality btc gap trades from_seq=1 to_seq=3 missing=0 repaired="late" closes detail="they came late by a connection"`)
}

// Where the pipeline wants none, or the stream is given up, nothing waits.
func TestBackfillOff(t *testing.T) {
	subs := []source.Subscription{{Channel: market.ChannelTrades, Symbol: "btc"}}
	b := newBench(t, withHistory(bySequence, source.SequenceIncrement))
	b.subscribed(1, "btc")
	b.trades("btc", 1, 3)
	b.note(0, flow.Note{Note: flow.NoteHistoryOff, Subs: subs})
	b.metrics(map[string]float64{"flow_backfilling": 0})
	b.trades("btc", 5)
	b.metrics(map[string]float64{"flow_backfilling": 1})
	b.note(0, flow.Note{Note: flow.NoteUnsubscribed, Subs: subs})
	b.answer("btc", 4, 4, "", pasts("btc", 4)...)
	b.metrics(map[string]float64{"flow_backfilling": 0, "flow_backfilled_total": 0})
	b.want("trade btc 1", "quality btc gap trades from_seq=1 to_seq=3 missing=1", "trade btc 3", "quality btc gap trades from_seq=3 to_seq=5 missing=1", "trade btc 5")
}

// Merged trades have a history of their own, or none.
func TestBackfillOfMergedTrades(t *testing.T) {
	merged := func(id int64) func(*source.Out) {
		return func(o *source.Out) {
			o.Trade(&market.Trade{Header: market.Header{Instrument: o.Symbol([]byte("btc")), Channel: market.ChannelTrades, Flags: market.FlagAggregate,
				Ts: t0 + id, TsSend: market.None, Seq: id, PrevSeq: market.None}, ID: fmt.Append(nil, id), Price: dec("100.5"), Amount: dec("1"),
				Side: market.SideBuy, FirstID: id, LastID: id})
		}
	}
	for single, want := range map[bool][]string{false: {"history btc 2-3"}, true: nil} {
		b := newBench(t, withHistory(source.History{By: source.HistorySequence, Single: single}, source.SequenceRange))
		b.frame(1, merged(1))
		b.frame(1, merged(4))
		b.wasAsked(want...)
	}
}

// The bounds: gaps that wait, and answers for one.
func TestBackfillIsBounded(t *testing.T) {
	b := newBench(t, withHistory(bySequence, source.SequenceIncrement))
	b.subscribed(1, "btc")
	for id := int64(1); id < 24; id += 2 {
		b.trades("btc", id)
	}
	b.metrics(map[string]float64{"flow_backfilling": 8, "flow_backfills_total unasked": 3})
	b = newBench(t, withHistory(bySequence, source.SequenceIncrement))
	b.subscribed(1, "btc")
	b.trades("btc", 1, 100)
	for id := int64(2); id < 22; id++ {
		b.wasAsked(fmt.Sprintf("history btc %d-99", id))
		b.answer("btc", id, 99, "", pasts("btc", id)...)
	}
	b.wasAsked()
	got := b.texts()
	if last := got[len(got)-1]; last != `quality btc gap trades from_seq=21 to_seq=100 missing=78 repaired="history" closes detail="20 trades found, 78 still lack: 20 answers are the most that one gap is given"` {
		t.Errorf("got %s", last)
	}
}

// A lane that is killed at any moment goes on as if it hadn't been, and asks again
// for what was not answered.
func TestBackfillSurvivesRestarts(t *testing.T) {
	var inputs []input
	wall := t0
	add := func(kind source.InputKind, conn uint32, payload string, decode func(*source.Out)) {
		wall += 1e6
		inputs = append(inputs, input{kind: kind, conn: conn, wall: wall, payload: payload, decode: decode})
	}
	note := func(conn uint32, n flow.Note) { add(source.InputNote, conn, string(n.Encode()), nil) }
	subs := []source.Subscription{{Channel: market.ChannelTrades, Symbol: "btc"}}
	live := func(conn uint32, ids ...int64) {
		for _, id := range ids {
			add(source.InputText, conn, "a frame", trade("btc", id))
		}
	}
	answer := func(from, to int64, ids ...int64) {
		add(source.InputHTTP, 0, "a response", func(o *source.Out) {
			for _, t := range pasts("btc", ids...) {
				t(o)
			}
		})
		note(0, flow.Note{Note: flow.NoteHistory, Subs: subs, From: from, To: to})
	}
	note(1, flow.Note{Note: flow.NoteSubscribed, Subs: subs})
	live(1, 1, 2, 7)
	answer(3, 6, 3, 4)
	live(1, 6, 8) // one late
	answer(5, 6, 5)
	add(source.InputClose, 1, "reset", nil)
	note(2, flow.Note{Note: flow.NoteSubscribed, Subs: subs})
	live(2, 12, 14)
	answer(9, 11, 9, 10, 11, 12, 13)
	note(0, flow.Note{Note: flow.NoteHistory, Subs: subs, From: 13, To: 13, Detail: "HTTP 500"})
	live(2, 15)

	channels := slices.Clone(specs)
	channels[0].History = &bySequence
	whole := newRestarts(t, channels, inputs)
	whole.run(0, len(inputs))
	for from := range inputs {
		for to := from; to <= len(inputs); to++ {
			s := &scope{TB: t}
			x := newRestarts(s, channels, inputs)
			x.run(0, from)
			x.save(from)
			x.run(from, to)
			x.kill()
			x.run(from, len(inputs))
			x.same(t, whole)
			s.end()
		}
	}
	if t.Failed() {
		return
	}
	whole.frame(2, trade("btc", 17))
	whole.save(len(inputs))
	whole.asked = nil
	whole.kill()
	whole.timer(whole.wall + 1e9)
	whole.wasAsked("history btc 16-16")
	whole.timer(whole.wall + 30e9)
	whole.wasAsked()
	whole.timer(whole.wall + 31e9)
	whole.wasAsked("history btc 16-16")
}
