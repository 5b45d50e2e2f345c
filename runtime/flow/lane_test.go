package flow_test

import (
	"encoding/json"
	"errors"
	"fmt"
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
