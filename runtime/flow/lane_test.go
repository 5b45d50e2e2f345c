package flow_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestRecordsPassInOrder(t *testing.T) {
	b := newBench(t, nil)
	in := b.frame(1, func(o *source.Out) {
		trade("btc", 1)(o)
		trade("eth", 7)(o)
		trade("btc", 2)(o)
	})
	b.frame(1, trade("btc", 3))
	b.want("trade btc 1", "trade eth 7", "trade btc 2", "trade btc 3")
	for i, r := range b.read(b.records)[:3] {
		if r.Pos() != in.pos || int(r.Index()) != i || r.Conn() != 1 || r.TsRecv() != in.wall {
			t.Errorf("record %d: pos %d, index %d, connection %d, received %d", i, r.Pos(), r.Index(), r.Conn(), r.TsRecv())
		}
	}
	if b.lane.Next() != b.frames.Tail() {
		t.Errorf("the lane stands at %d, the journal ends at %d", b.lane.Next(), b.frames.Tail())
	}
}

// A record's position and index name it: what the lane adds to a frame's records
// takes none of theirs.
func TestPositionAndIndexAreUnique(t *testing.T) {
	b := newBench(t, nil)
	b.frame(1, trade("btc", 1))
	b.frame(1, func(o *source.Out) { // a gap between each two
		trade("btc", 5)(o)
		trade("btc", 9)(o)
		trade("eth", 1)(o)
		trade("eth", 3)(o)
	})
	b.closed(1, "gone")
	b.frame(2, func(o *source.Out) {
		trade("eth", 4)(o)
		trade("btc", 10)(o)
	})
	b.note(0, flow.Note{Note: flow.NoteStop})
	type at struct {
		pos   uint64
		index uint16
	}
	seen := map[at]string{}
	var last at
	for _, r := range b.read(b.records) {
		k := at{r.Pos(), r.Index()}
		if was, ok := seen[k]; ok {
			t.Errorf("%s and %s are both at %d, index %d", was, r.text(), k.pos, k.index)
		}
		if k.pos < last.pos || k.pos == last.pos && k.index < last.index {
			t.Errorf("%s at %d, index %d comes after %d, %d", r.text(), k.pos, k.index, last.pos, last.index)
		}
		seen[k], last = r.text(), k
	}
}

func TestDuplicatesAcrossConnections(t *testing.T) {
	b := newBench(t, nil)
	b.subscribed(1, "btc")
	b.subscribed(2, "btc")
	for id := int64(1); id <= 300; id++ {
		b.frame(1, trade("btc", id))
		if id > 5 { // the second connection is five behind
			b.frame(2, trade("btc", id-5))
		}
	}
	var want []string
	for id := 1; id <= 300; id++ {
		want = append(want, fmt.Sprintf("trade btc %d", id))
	}
	b.want(want...)
	if n := b.lane.Counts.Duplicates.Load(); n != 295 {
		t.Errorf("%d duplicates were counted, want 295", n)
	}

	// The first one goes: nothing is lost, the other carries on.
	b.closed(1, "gone")
	b.frame(2, trade("btc", 301))
	b.want(append(want, "trade btc 301")...)

	// The last one goes: that is a gap.
	b.closed(2, "gone")
	b.frame(3, trade("btc", 305))
	b.want(append(want, "trade btc 301", `quality btc disconnect trades from_seq=301 detail="gone"`, `quality btc disconnect book detail="gone"`,
		`quality btc disconnect trades from_seq=301 to_seq=305 missing=3 repaired="resumed" closes`, "trade btc 305")...)
}

// TestUnnumberedRepeats: ids without an order tell a repeat on one connection too;
// what has neither id nor number is passed on.
func TestUnnumberedRepeats(t *testing.T) {
	b := newBench(t, func(s *flow.Settings) {
		s.Channels = slices.Clone(s.Channels)
		s.Channels[0].Sequence = source.SequenceNone
	})
	for _, id := range []int64{7, 3, 7, 3, 3, 9} {
		b.frame(1, trade("btc", id))
	}
	b.want("trade btc 7", "trade btc 3", "trade btc 9")
	nameless := func(o *source.Out) {
		o.Trade(&market.Trade{Header: market.Header{Instrument: o.Symbol([]byte("btc")), Channel: market.ChannelTrades, Ts: t0, TsSend: market.None, Seq: market.None,
			PrevSeq: market.None}, Price: dec("1"), Amount: dec("1"), Side: market.SideBuy, FirstID: market.None, LastID: market.None})
	}
	b.frame(1, nameless)
	b.frame(1, nameless)
	if n := b.lane.Counts.Duplicates.Load(); n != 3 {
		t.Errorf("%d duplicates were counted, want 3", n)
	}
}

func TestVenueRepeatsItself(t *testing.T) {
	b := newBench(t, nil)
	b.frame(1, trade("btc", 1))
	b.frame(1, trade("btc", 2))
	b.frame(1, trade("btc", 1))
	b.frame(1, trade("btc", 2))
	b.frame(1, trade("btc", 3))
	b.want("trade btc 1", "trade btc 2", "trade btc 3")
}

func TestTradeGap(t *testing.T) {
	b := newBench(t, nil)
	b.frame(1, trade("btc", 10))
	b.frame(1, trade("eth", 1))
	b.frame(1, trade("btc", 14))
	b.frame(1, trade("eth", 2))
	b.want("trade btc 10", "trade eth 1", "quality btc gap trades from_seq=10 to_seq=14 missing=3", "trade btc 14", "trade eth 2")
	if g, m := b.lane.Counts.Gaps.Load(), b.lane.Counts.Missing.Load(); g != 1 || m != 3 {
		t.Errorf("%d gaps and %d missing were counted, want 1 and 3", g, m)
	}
}

// What the venue sends on subscribing continues what was there, and is no gap.
func TestHistory(t *testing.T) {
	b := newBench(t, nil)
	b.frame(1, func(o *source.Out) {
		tradeOf("btc", 8, market.OriginHistory)(o)
		tradeOf("btc", 9, market.OriginHistory)(o)
	})
	b.frame(1, trade("btc", 10))
	b.closed(1, "gone")
	b.frame(2, func(o *source.Out) { // 9 and 10 are known, 11 and 12 fill the gap
		for id := int64(9); id <= 12; id++ {
			tradeOf("btc", id, market.OriginHistory)(o)
		}
	})
	b.frame(2, trade("btc", 13))
	b.want("trade btc 8", "trade btc 9", "trade btc 10", `quality btc disconnect trades from_seq=10 detail="gone"`,
		"trade btc 11", "trade btc 12", `quality btc disconnect trades from_seq=10 to_seq=13 missing=0 repaired="resumed" closes`, "trade btc 13")
}

// TestDuplicatesFarBehind: a second connection may be further behind than keys are
// remembered, also when the first has closed and after a restart. A number that
// was lost is new, whichever connection brings it.
func TestDuplicatesFarBehind(t *testing.T) {
	b := newBench(t, nil)
	b.subscribed(1, "btc")
	var want []string
	for id := int64(1); id <= 2000; id++ {
		if id == 700 {
			continue
		}
		b.frame(1, trade("btc", id))
		if id == 701 {
			want = append(want, "quality btc gap trades from_seq=699 to_seq=701 missing=1")
		}
		want = append(want, fmt.Sprint("trade btc ", id))
		if id == 1000 {
			b.subscribed(2, "btc")
		}
		if id > 1000 { // a thousand behind
			b.frame(2, trade("btc", id-1000))
			if id == 1700 {
				want = append(want, "trade btc 700")
			}
		}
	}
	b.closed(1, "replaced")
	saved := saved(t, b.lane)
	b.lane = flow.New(b.settings)
	if _, _, err := b.lane.Restore(saved); err != nil {
		t.Fatal(err)
	}
	b.plugin()
	for id := int64(1001); id <= 2001; id++ {
		b.frame(2, trade("btc", id))
	}
	b.want(append(want, "trade btc 2001")...)
}

// TestCountingAnew: a venue that begins to count anew while two connections are
// open is not taken for one that repeats.
func TestCountingAnew(t *testing.T) {
	b := newBench(t, nil)
	b.subscribed(1, "btc")
	b.subscribed(2, "btc")
	var want []string
	for id := int64(1); id <= 600; id++ {
		b.frame(1, trade("btc", id))
		want = append(want, fmt.Sprint("trade btc ", id))
	}
	for id := int64(1); id <= 100; id++ {
		b.frame(2, func(o *source.Out) {
			o.Trade(&market.Trade{Header: market.Header{Instrument: o.Symbol([]byte("btc")), Channel: market.ChannelTrades, Origin: market.OriginLive,
				Ts: t0 + 1000 + id, TsSend: market.None, Seq: id, PrevSeq: market.None}, ID: fmt.Append(nil, id), Price: dec("100.5"), Amount: dec("1"),
				Side: market.SideBuy, FirstID: market.None, LastID: market.None})
		})
		want = append(want, fmt.Sprint("trade btc ", id))
	}
	b.want(want...)
}

func TestClosingRecordNamesItsOpening(t *testing.T) {
	b := newBench(t, nil)
	b.frame(1, trade("btc", 1))
	b.frame(1, trade("eth", 1))
	b.closed(1, "gone")
	opened := map[string]record{}
	before := b.read(b.records)
	for _, r := range before[2:] {
		if r.Kind() == market.KindQuality {
			opened[r.symbol] = r
		}
	}
	b.frame(2, trade("eth", 2))
	b.frame(2, trade("btc", 2))
	rs := b.read(b.records)
	for _, r := range rs[len(before):] {
		if r.Kind() != market.KindQuality {
			continue
		}
		ref := fieldOf(t, r, "ref")
		o := opened[r.symbol]
		if uint64(ref) != o.Pos() {
			t.Errorf("%s refers to %d, its opening is at %d", r.text(), ref, o.Pos())
		}
		if from, to := fieldOf(t, r, "from_ts"), fieldOf(t, r, "to_ts"); from != fieldOf(t, o, "from_ts") || to != r.TsRecv() || from >= to {
			t.Errorf("%s spans %d to %d", r.text(), from, to)
		}
		delete(opened, r.symbol)
	}
	if len(opened) > 0 {
		t.Errorf("these were not closed: %v", opened)
	}
}

func fieldOf(t *testing.T, r record, name string) int64 {
	t.Helper()
	for _, f := range market.Fields(r.Kind()) {
		if f.Name == name {
			return r.Int(f.Offset)
		}
	}
	t.Fatalf("%s has no field %s", r.Kind(), name)
	return 0
}

func TestNotes(t *testing.T) {
	b := newBench(t, nil)
	b.subscribed(1, "btc")
	b.frame(1, trade("btc", 1))

	// Silence that is suspicious opens a gap; data closes it.
	b.note(1, flow.Note{Note: flow.NoteStale, Detail: "30s"})
	b.note(1, flow.Note{Note: flow.NoteStale, Detail: "60s"}) // it is open already
	b.frame(1, trade("btc", 2))
	b.want("trade btc 1", `quality btc stale trades from_seq=1 detail="30s"`, `quality btc stale book detail="30s"`,
		`quality btc stale trades from_seq=1 to_seq=2 missing=0 repaired="resumed" closes`, "trade btc 2")

	// What the venue ends connections on is refused.
	b.note(1, flow.Note{Note: flow.NoteRejected, Detail: "nope"})
	if got := b.texts()[5:]; len(got) != 1 || got[0] != `quality  rejected none detail="nope"` {
		t.Errorf("%q", got)
	}

	// An orderly stop, the next start, data.
	b.note(0, flow.Note{Note: flow.NoteStopping})
	b.closed(1, "drained")
	b.note(0, flow.Note{Note: flow.NoteStop})
	b.note(0, flow.Note{Note: flow.NoteStopped, From: b.wall})
	b.note(0, flow.Note{Note: flow.NoteStart})
	b.frame(1, trade("btc", 9))
	got := b.texts()[6:]
	want := []string{`quality btc stopped trades from_seq=2 detail="drained"`,
		`quality btc stopped trades from_seq=2 to_seq=9 missing=6 repaired="resumed" closes`, "trade btc 9"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	// The runtime is killed: every stream has a gap since its last sign of life.
	n := b.note(0, flow.Note{Note: flow.NoteDown, From: b.wall, Detail: "killed"})
	rs := b.read(b.records)
	down := rs[len(rs)-1]
	if got := down.text(); got != `quality btc runtime_down trades from_seq=9 detail="killed"` {
		t.Errorf("got %s", got)
	}
	if from := fieldOf(t, down, "from_ts"); from != n.wall-1e6 {
		t.Errorf("the gap begins at %d, the last sign of life was at %d", from, n.wall-1e6)
	}
	b.note(0, flow.Note{Note: flow.NoteDropped, From: b.wall, Detail: "full"})
	b.frame(1, trade("btc", 10))
	rs = b.read(b.records)
	if got := rs[len(rs)-2].text(); got != `quality btc runtime_down trades from_seq=9 to_seq=10 missing=0 repaired="resumed" closes` {
		t.Errorf("got %s", got)
	}

	// What is no longer wanted has no gap.
	b.note(1, flow.Note{Note: flow.NoteUnsubscribed, Subs: []source.Subscription{{Channel: market.ChannelTrades, Symbol: "btc"}}})
	was := len(b.texts())
	b.closed(1, "gone")
	for _, s := range b.texts()[was:] {
		if strings.Contains(s, "trades") {
			t.Errorf("%s after the channel was unsubscribed", s)
		}
	}
}

func TestBook(t *testing.T) {
	b := newBench(t, nil)
	b.subscribed(1, "btc", "eth")
	http := func(symbol string, seq int64) {
		b.feed(input{kind: source.InputHTTP, payload: "body", decode: snapshot(symbol, seq)})
	}
	b.frame(1, delta("btc", 1, 5, "99", ""))
	b.frame(1, delta("btc", 6, 8, "97", ""))
	http("btc", 6)
	http("eth", 3)
	b.frame(1, delta("eth", 2, 4, "", "105"))
	b.frame(1, delta("btc", 9, 9, "", "103"))
	b.want("book_snapshot btc 6 applied", "book_delta btc 5 stale", "book_delta btc 8 applied", "book_snapshot eth 3 applied", "book_delta eth 4 applied",
		"book_delta btc 9 applied")
	if want := (actions{"snapshot btc"}); !slices.Equal(b.asked, want) {
		t.Errorf("asked for %q, want %q", b.asked, want)
	}
	if n, s := b.lane.Counts.Books.Load(), b.lane.Counts.BooksSynced.Load(); n != 2 || s != 2 {
		t.Errorf("%d books, %d in step, want 2 and 2", n, s)
	}

	// One book breaks. It alone is asked for, once, and the other goes on.
	b.asked = nil
	b.frame(1, delta("btc", 12, 13, "96", ""))
	b.frame(1, delta("eth", 5, 6, "", "106"))
	b.frame(1, delta("btc", 14, 15, "96", ""))
	if want := (actions{"snapshot btc"}); !slices.Equal(b.asked, want) {
		t.Errorf("asked for %q, want %q", b.asked, want)
	}
	if n, s := b.lane.Counts.Books.Load(), b.lane.Counts.BooksSynced.Load(); n != 2 || s != 1 {
		t.Errorf("%d books, %d in step, want 2 and 1", n, s)
	}
	http("btc", 13)
	b.frame(1, delta("btc", 16, 16, "95", ""))
	want := []string{"quality btc gap book from_seq=9 to_seq=12", "book_delta eth 6 applied", "book_snapshot btc 13 applied", "book_delta btc 13 stale",
		"book_delta btc 15 applied", `quality btc gap book from_seq=9 to_seq=15 repaired="snapshot" closes`, "book_delta btc 16 applied"}
	if got := b.texts()[6:]; !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if s := b.lane.Counts.BooksSynced.Load(); s != 2 {
		t.Errorf("%d books in step, want 2", s)
	}

	// The connection breaks: both books are void until their snapshots.
	b.closed(1, "gone")
	if s := b.lane.Counts.BooksSynced.Load(); s != 0 {
		t.Errorf("%d books in step behind a disconnect, want 0", s)
	}
	was := len(b.texts())
	b.frame(2, delta("eth", 7, 8, "", "107"))
	if got := b.texts()[was:]; len(got) != 0 {
		t.Errorf("a void book emits %q", got)
	}
	http("eth", 7)
	want = []string{"book_snapshot eth 7 applied", "book_delta eth 8 applied", `quality eth disconnect book from_seq=6 to_seq=8 repaired="snapshot" closes`}
	if got := b.texts()[was:]; !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestOldCopies: an answer that holds less than the updates which wait is a copy
// that the venue keeps for a while, so that the next is asked for later.
func TestOldCopies(t *testing.T) {
	b := newBench(t, func(s *flow.Settings) {
		s.Channels = slices.Clone(s.Channels)
		for i := range s.Channels {
			if s.Channels[i].Book != nil {
				rule := *s.Channels[i].Book
				rule.Sequence.Kind = source.SequenceNone
				s.Channels[i].Book = &rule
			}
		}
	})
	b.subscribed(1, "btc")
	b.frame(1, delta("btc", 50, 50, "99", ""))
	b.want()
	last := b.feed(input{kind: source.InputHTTP, payload: "body", decode: snapshot("btc", 40)})
	b.want("book_snapshot btc 40 stale")
	if want := (actions{"snapshot btc"}); !slices.Equal(b.asked, want) {
		t.Errorf("asked for %q at once, want %q", b.asked, want)
	}
	b.timer(last.wall + 1e9)
	b.timer(last.wall + 3e9)
	if want := (actions{"snapshot btc", "snapshot btc"}); !slices.Equal(b.asked, want) {
		t.Errorf("asked for %q later, want %q", b.asked, want)
	}
	b.feed(input{kind: source.InputHTTP, payload: "body", decode: snapshot("btc", 50)})
	b.frame(1, delta("btc", 70, 70, "98", ""))
	b.want("book_snapshot btc 40 stale", "book_snapshot btc 50 applied", "book_delta btc 50 stale", "book_delta btc 70 applied")
}

func TestCrossedBookIsBuiltAnew(t *testing.T) {
	b := newBench(t, nil)
	b.frame(1, snapshot("btc", 1))
	b.asked = nil
	b.frame(1, delta("btc", 2, 2, "103", "")) // above the best ask
	b.frame(1, delta("btc", 3, 3, "", "104"))
	if want := (actions{"snapshot btc"}); !slices.Equal(slices.Compact(b.asked), want) { // a request under way is not made twice
		t.Errorf("asked for %q, want %q", b.asked, want)
	}
	b.frame(0, snapshot("btc", 3))
	b.frame(1, delta("btc", 4, 4, "97", ""))
	b.want("book_snapshot btc 1 applied", "book_delta btc 2 applied crossed", `quality btc crossed book from_seq=2 detail="best bid is not below best ask"`,
		"book_snapshot btc 3 applied", "book_delta btc 3 stale", `quality btc crossed book from_seq=2 to_seq=3 repaired="snapshot" closes`, "book_delta btc 4 applied")
	if n := b.lane.Counts.Crossed.Load(); n != 1 {
		t.Errorf("%d crossed books were counted, want 1", n)
	}
}

func TestPluginAsksForResync(t *testing.T) {
	b := newBench(t, nil)
	b.frame(1, snapshot("btc", 1))
	b.frame(1, snapshot("eth", 1))
	b.asked = nil
	b.frame(1, func(o *source.Out) { o.Resync(o.Symbol([]byte("btc")), "the venue says so") })
	if want := (actions{"snapshot btc"}); !slices.Equal(b.asked, want) {
		t.Errorf("asked for %q, want %q", b.asked, want)
	}
	b.want("book_snapshot btc 1 applied", "book_snapshot eth 1 applied", `quality btc gap book from_seq=1 detail="the venue says so"`)
}

func TestDecodeError(t *testing.T) {
	b := newBench(t, nil)
	b.frame(1, trade("btc", 1))
	in := b.frame(1, func(o *source.Out) { o.Refuse(errors.New(strings.Repeat("x", 5000))) })
	b.frame(1, trade("btc", 2))
	rs := b.read(b.records)
	if len(rs) != 3 || rs[1].Kind() != market.KindQuality || rs[1].Pos() != in.pos || rs[1].TsRecv() != in.wall || rs[1].Conn() != 1 {
		t.Fatalf("want a quality record at %d between the trades, got %q", in.pos, b.texts())
	}
	if n := b.lane.Counts.DecodeErrors.Load(); n != 1 {
		t.Errorf("%d decode errors were counted, want 1", n)
	}
}

// The time of what a signal says is its frame's, whatever came before it.
func TestSignalsHaveTheTimeOfTheirFrame(t *testing.T) {
	b := newBench(t, nil)
	b.frame(1, snapshot("btc", 1))
	for _, decode := range []func(*source.Out){
		func(o *source.Out) { o.Maintenance("soon") },
		func(o *source.Out) { o.Rejected([]byte("token"), []byte("no such symbol")) },
		func(o *source.Out) { o.Resync(o.Symbol([]byte("btc")), "why") },
	} {
		in := b.frame(1, decode)
		rs := b.read(b.records)
		if r := rs[len(rs)-1]; r.Kind() != market.KindQuality || r.TsRecv() != in.wall || r.Pos() != in.pos {
			t.Errorf("%s at %d of %d, its frame at %d was received at %d", r.text(), r.Pos(), r.TsRecv(), in.pos, in.wall)
		}
	}
}

func TestSignalsReachTheConnections(t *testing.T) {
	b := newBench(t, nil)
	b.frame(3, func(o *source.Out) {
		o.Reply([]byte("pong"))
		o.Heartbeat()
		o.Subscribed([]byte("7"))
		o.Ready("r")
		o.Reconnect("tired")
	})
	want := actions{"signal 0x82 on 3: pong", "signal 0x83 on 3: ", "signal 0x80 on 3: 7", "signal 0x88 on 3: r", "signal 0x85 on 3: tired"}
	if !slices.Equal(b.asked, want) {
		t.Errorf("asked for %q, want %q", b.asked, want)
	}
	b.want()
}

func TestInstrumentDefinitions(t *testing.T) {
	b := newBench(t, nil)
	b.frame(1, trade("btc", 1))
	b.frame(1, trade("eth", 1))
	b.plugin() // another process: it numbers them the other way round
	b.frame(1, trade("eth", 2))
	b.frame(1, trade("btc", 2))
	b.want("trade btc 1", "trade eth 1", "trade eth 2", "trade btc 2")
	rs := b.read(b.records)
	if rs[0].Instrument() != rs[3].Instrument() || rs[1].Instrument() != rs[2].Instrument() {
		t.Error("an instrument's id depends on the plugin process")
	}
	all := b.registry.All("test", market.MarketSpot)
	if len(all) != 2 || all[0].Symbol != "btc" || all[0].Name != "BTC" || all[0].AmountUnit != market.UnitBase {
		t.Errorf("the table holds %+v", all)
	}
}

func TestMalformedOutputIsThePluginsFault(t *testing.T) {
	define := func(id market.InstrumentID, venue string, m market.Market, symbol string) []byte {
		text, err := json.Marshal(market.Instrument{ID: id, Venue: venue, Market: m, Symbol: symbol})
		if err != nil {
			t.Fatal(err)
		}
		return source.AppendSignal(nil, source.SignalDefine, 1, 0, 0, text)
	}
	stray := func() []byte {
		o := source.NewOut(venue{}, market.MarketSpot)
		o.Begin(&source.Input{Kind: source.InputText, Conn: 1, Recv: t0})
		trade("btc", 1)(o)
		b := o.Bytes()
		_, n, err := source.ParseSignal(b) // its definition
		if err != nil {
			t.Fatal(err)
		}
		return b[n:]
	}
	for name, data := range map[string][]byte{
		"no JSON":                  source.AppendSignal(nil, source.SignalDefine, 1, 0, 0, "{"),
		"id out of order":          define(2, "test", market.MarketSpot, "btc"),
		"id 0":                     define(0, "test", market.MarketSpot, "btc"),
		"another venue":            define(1, "other", market.MarketSpot, "btc"),
		"no market":                define(1, "test", market.MarketNone, "btc"),
		"mixed market":             define(1, "test", market.MarketMixed, "btc"),
		"more about nothing":       define(5, "", market.MarketNone, ""),
		"record of no instrument":  stray(),
		"resync of no instrument":  source.AppendSignal(nil, source.SignalResync, 1, 9, 0, "why"),
		"echo without its kind":    source.AppendSignal(nil, source.SignalEcho, 1, 0, 0, ""),
		"signal that is cut short": source.AppendSignal(nil, source.SignalReply, 1, 0, 0, "text")[:24],
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			if err := b.refused(1, data); !errors.Is(err, flow.ErrPlugin) {
				t.Errorf("got %v, want the plugin's fault", err)
			}
			b.want()
		})
	}
	t.Run("a frame that was handled", func(t *testing.T) {
		b := newBench(t, nil)
		in := b.frame(1, trade("btc", 1))
		b.frame(1, trade("btc", 2))
		if err := b.process(in); !errors.Is(err, flow.ErrPlugin) {
			t.Errorf("got %v, want the plugin's fault", err)
		}
		b.want("trade btc 1", "trade btc 2")
	})
}

// What the runtime itself can't do is not the plugin's fault.
func TestFullDiskIsNotThePluginsFault(t *testing.T) {
	b := newBench(t, nil)
	if err := b.registry.Close(); err != nil {
		t.Fatal(err)
	}
	in := b.append(input{kind: source.InputText, conn: 1, decode: trade("btc", 1)})
	if err := b.process(in); err == nil || errors.Is(err, flow.ErrPlugin) {
		t.Errorf("an instrument that can't be written down: got %v, want an error that is not the plugin's fault", err)
	}
}

func TestRememberedFrames(t *testing.T) {
	b := newBench(t, nil)
	remember := func(conn uint32) *input { return b.frame(conn, func(o *source.Out) { o.Remember() }) }
	one, two, three := remember(1), remember(2), remember(1)
	want := []flow.Remembered{{Pos: one.pos, Conn: 1}, {Pos: two.pos, Conn: 2}, {Pos: three.pos, Conn: 1}}
	if got := b.lane.Remembered(); !slices.Equal(got, want) {
		t.Errorf("remembers %v, want %v", got, want)
	}
	b.closed(1, "gone")
	if got := b.lane.Remembered(); !slices.Equal(got, want[1:2]) {
		t.Errorf("behind the close of connection 1 it remembers %v, want %v", got, want[1:2])
	}
	b.note(0, flow.Note{Note: flow.NoteDown, From: b.wall})
	if got := b.lane.Remembered(); len(got) != 0 {
		t.Errorf("behind a restart of the runtime it remembers %v", got)
	}
}

func TestCoverage(t *testing.T) {
	b := newBench(t, nil)
	hour := int64(3600) * second
	from := (t0/hour + 1) * hour
	b.timer(from - 60*second)
	b.wall = from - 30*second
	b.subscribed(1, "btc")
	b.frame(1, trade("btc", 1))
	b.frame(1, trade("btc", 4))
	b.timer(from - second) // the hour isn't over
	if n := len(b.coverage()); n != 0 {
		t.Fatalf("%d statements within an hour", n)
	}
	b.timer(from)
	b.timer(from + second)
	b.frame(1, trade("btc", 5))
	b.timer(from + hour)
	b.note(0, flow.Note{Note: flow.NoteStop})
	want := []string{
		"btc trades 2 messages 1 gaps 2 missing sequence", "btc book 0 messages 0 gaps 0 missing sequence",
		"btc trades 1 messages 0 gaps 0 missing sequence", "btc book 0 messages 0 gaps 0 missing sequence",
		"btc trades 0 messages 0 gaps 0 missing sequence", "btc book 0 messages 0 gaps 0 missing sequence",
	}
	if got := b.coverage(); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// The spans of a stream follow each other without a hole.
	ends := map[int64]int64{}
	for _, r := range b.read(b.records) {
		if r.Kind() == market.KindCoverage {
			ch := fieldOf(t, r, "channel")
			if end, ok := ends[ch]; ok && fieldOf(t, r, "from_ts") != end {
				t.Errorf("a span begins at %d, the one before ended at %d", fieldOf(t, r, "from_ts"), end)
			}
			ends[ch] = fieldOf(t, r, "to_ts")
		}
	}
}

// TestCoverageSaysWhatWasProven: a venue that has checksums may have feeds without,
// or have given them up: a span of a book is proven by checksums if some were right.
func TestCoverageSaysWhatWasProven(t *testing.T) {
	channels := slices.Clone(specs)
	rule := *specs[2].Book
	rule.Checksum = source.Checksum{Kind: source.ChecksumPairs, Levels: 25}
	channels[2].Book = &rule
	b := newBench(t, func(s *flow.Settings) { s.Channels = channels })
	hour := int64(3600) * second
	at := (t0/hour + 1) * hour
	b.timer(at - 60*second)
	b.wall = at - 30*second
	b.subscribed(1, "btc")
	b.frame(1, snapshot("btc", 1))
	b.timer(at)
	b.timer(at + second)
	b.frame(1, func(o *source.Out) { // takes one level of each side away
		h := bookHeader(o, "btc", market.KindBookDelta, 2)
		o.Book(&market.Book{Header: h, Depth: market.None, FirstSeq: 2, Checksum: int64(crc32.ChecksumIEEE([]byte("99:1:101:1"))),
			Bids: []market.Level{{Price: dec("98"), Amount: dec("0")}}, Asks: []market.Level{{Price: dec("102"), Amount: dec("0")}}})
	})
	b.timer(at + hour)
	b.frame(1, delta("btc", 3, 3, "97", ""))
	b.note(0, flow.Note{Note: flow.NoteStop})
	want := []string{"btc book 1 messages 0 gaps 0 missing sequence", "btc book 1 messages 0 gaps 0 missing checksum", "btc book 1 messages 0 gaps 0 missing sequence"}
	if got := slices.DeleteFunc(b.coverage(), func(s string) bool { return strings.HasPrefix(s, "btc trades") }); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// coverage are the coverage records in a few words.
func (b *bench) coverage() []string {
	b.Helper()
	var out []string
	for _, r := range b.read(b.records) {
		if r.Kind() != market.KindCoverage {
			continue
		}
		var n []any
		var channel, verifiable string
		for _, f := range market.Fields(market.KindCoverage) {
			switch f.Name {
			case "channel":
				channel = f.Enum[r.Int(f.Offset)]
			case "verifiable":
				verifiable = f.Enum[r.Int(f.Offset)]
			case "messages", "gaps", "missing":
				n = append(n, r.Int(f.Offset))
			}
		}
		out = append(out, fmt.Sprintf("%s %s %d messages %d gaps %d missing %s", append(append([]any{r.symbol, channel}, n...), verifiable)...))
	}
	return out
}

func TestDerivedBBO(t *testing.T) {
	b := newBench(t, func(s *flow.Settings) { s.DeriveBBO = true })
	b.frame(1, snapshot("btc", 1))
	b.frame(1, delta("btc", 2, 2, "98", ""))   // not the best
	b.frame(1, delta("btc", 3, 3, "99.5", "")) // the best
	b.frame(1, delta("btc", 9, 9, "99.7", "")) // a gap: the book is void
	b.want("book_snapshot btc 1 applied", "bbo btc 1", "book_delta btc 2 applied", "book_delta btc 3 applied", "bbo btc 3",
		"quality btc gap book from_seq=3 to_seq=9")
}

// An orderly stop is where the books' held differences leave, so that the records
// before it don't depend on whether there is a next run.
func TestStopReleasesWhatBooksHold(t *testing.T) {
	b := newBench(t, nil)
	b.frame(1, delta("eth", 1, 2, "99", ""))
	b.frame(1, delta("btc", 1, 2, "99", ""))
	b.frame(1, delta("eth", 3, 3, "98", ""))
	b.want()
	b.note(0, flow.Note{Note: flow.NoteStop})
	b.want("book_delta btc 2 unsynced", "book_delta eth 2 unsynced", "book_delta eth 3 unsynced")
	b.note(0, flow.Note{Note: flow.NoteStopped, From: b.wall})
	b.want("book_delta btc 2 unsynced", "book_delta eth 2 unsynced", "book_delta eth 3 unsynced",
		"quality btc stopped book", "quality eth stopped book")
}

// The plugin starts again in the middle: frames that it is fed a second time give
// what the lane has not got yet, and nothing twice.
func TestPluginRestarts(t *testing.T) {
	b := newBench(t, nil)
	var ins []*input
	for id := int64(1); id <= 20; id++ {
		ins = append(ins, b.append(input{kind: source.InputText, conn: 1, decode: trade([]string{"btc", "eth"}[id%2], id/2)}))
	}
	var want []string
	for i, in := range ins {
		if i%7 == 3 {
			b.plugin()
		}
		if in.pos != b.lane.Next() && i > 0 {
			t.Fatalf("the lane stands at %d, the next frame is at %d", b.lane.Next(), in.pos)
		}
		if err := b.process(in); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("trade %s %d", []string{"btc", "eth"}[(i+1)%2], (i+1)/2))
	}
	b.want(want...)
}

// TestTradeRanges: where a venue merges trades, the first of those merged
// follows the last one that came before.
func TestTradeRanges(t *testing.T) {
	b := newBench(t, func(s *flow.Settings) {
		s.Channels = slices.Clone(s.Channels)
		for i := range s.Channels {
			if s.Channels[i].Channel == market.ChannelTrades {
				s.Channels[i].Sequence = source.SequenceRange
			}
		}
	})
	merged := func(first, last int64) func(*source.Out) {
		return func(o *source.Out) {
			o.Trade(&market.Trade{Header: market.Header{Instrument: o.Symbol([]byte("btc")), Channel: market.ChannelTrades, Flags: market.FlagAggregate,
				Ts: t0, TsSend: market.None, Seq: last, PrevSeq: market.None}, ID: fmt.Append(nil, last), Price: dec("1"), Amount: dec("1"),
				Side: market.SideBuy, FirstID: first, LastID: last})
		}
	}
	b.frame(1, merged(10, 12))
	b.frame(1, merged(13, 13))
	b.frame(1, merged(14, 20))
	b.frame(1, merged(23, 24))
	b.want("trade btc 12", "trade btc 13", "trade btc 20", "quality btc gap trades from_seq=20 to_seq=24 missing=2", "trade btc 24")
}
