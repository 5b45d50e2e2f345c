package flow_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

const (
	second = int64(1e9)
	t0     = 1_700_000_000 * second
)

// venue is as much of a source as source.Out needs.
type venue struct{ source.Source }

func (venue) Describe() source.Manifest { return source.Manifest{Venue: "test"} }

func (venue) Identify(_ market.Market, symbol string) market.Instrument {
	return market.Instrument{Name: strings.ToUpper(symbol), AmountUnit: market.UnitBase}
}

var spot = []market.Market{market.MarketSpot}

// specs are those of a venue like Binance: trades are numbered one by one, books
// are differences with ranges, spliced into an HTTP snapshot.
var specs = []source.ChannelSpec{
	{Channel: market.ChannelTrades, Markets: spot, Sequence: source.SequenceIncrement},
	{Channel: market.ChannelBBO, Markets: spot, Lossy: "by design"},
	{Channel: market.ChannelBook, Markets: spot, Book: &source.BookRule{Snapshot: source.SnapshotHTTP, Recovery: source.RecoverRequest,
		Sequence: source.Sequence{Kind: source.SequenceRange, Start: source.StartRange}}},
}

// input is one record of a frames journal, with what the decoder makes of it.
type input struct {
	kind    source.InputKind
	conn    uint32
	wall    int64
	payload string
	decode  func(o *source.Out) // nil: nothing
	pos     uint64              // in the frames journal, once it is there
}

func (in *input) end() uint64 { return in.pos + shm.RecordBytes(len(in.payload)) }

// actions collects what a lane asks of the outside.
type actions []string

func (a *actions) Signal(conn uint32, s source.Signal) {
	*a = append(*a, fmt.Sprintf("signal %#x on %d: %s", uint8(s.Kind), conn, s.Text))
}
func (a *actions) Snapshot(symbol string) { *a = append(*a, "snapshot "+symbol) }
func (a *actions) Resubscribe(ch market.Channel, s string) {
	*a = append(*a, fmt.Sprintf("resubscribe %s %s", ch, s))
}
func (a *actions) History(symbol string, from, to int64) {
	*a = append(*a, fmt.Sprintf("history %s %d-%d", symbol, from, to))
}
func (a *actions) Reconnect(conn uint32, why string) {
	*a = append(*a, fmt.Sprintf("reconnect %d: %s", conn, why))
}

// bench is a lane between real journals. Its zero settings are specs, no
// processors, actions recorded.
type bench struct {
	testing.TB
	dir             string
	frames, records *journal.Journal
	registry        *flow.Registry
	settings        flow.Settings
	asked           actions
	lane            *flow.Lane
	gen             uint32
	out             *source.Out
	inputs          []*input
	wall            int64
}

// saved is a lane's state as a checkpoint holds it.
func saved(t testing.TB, l *flow.Lane) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := l.Save(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func newBench(t testing.TB, change func(*flow.Settings)) *bench {
	t.Helper()
	b := &bench{TB: t, dir: t.TempDir(), wall: t0}
	b.frames, b.records = b.journal("frames"), b.journal("records")
	var err error
	if b.registry, err = flow.OpenRegistry(filepath.Join(b.dir, "instruments.jsonl")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.registry.Close() })
	b.settings = flow.Settings{Venue: "test", Market: market.MarketSpot, Channels: specs, Registry: b.registry, Frames: framesAt{b.frames},
		Records: b.records, Actions: &b.asked, Logger: zerolog.New(io.Discard)}
	if change != nil {
		change(&b.settings)
	}
	b.lane = flow.New(b.settings)
	b.plugin()
	return b
}

func (b *bench) journal(name string) *journal.Journal {
	b.Helper()
	j, _, err := journal.Open(journal.Options{Dir: filepath.Join(b.dir, name), SegmentBytes: 1 << 20, MaxBytes: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := j.Close(); err != nil {
			b.Error(err)
		}
	})
	return j
}

// framesAt implements flow.Frames as the engine does.
type framesAt struct{ j *journal.Journal }

func (f framesAt) At(pos uint64) (shm.Record, error) {
	r, err := shm.OpenRange(f.j.Dir(), pos, f.j.Tail(), nil)
	if err != nil {
		return shm.Record{}, err
	}
	defer r.Close()
	rec, ok, err := r.Next()
	if err == nil && (!ok || rec.Pos != pos) {
		err = fmt.Errorf("no record at %d", pos)
	}
	rec.Payload = bytes.Clone(rec.Payload)
	return rec, err
}

// plugin starts a new plugin process: its instrument ids begin anew.
func (b *bench) plugin() {
	b.gen++
	b.out = source.NewOut(venue{}, market.MarketSpot)
}

// append journals an input a millisecond after the one before.
func (b *bench) append(in input) *input {
	b.Helper()
	if in.wall == 0 {
		b.wall += 1e6
		in.wall = b.wall
	}
	b.wall = in.wall
	if in.payload == "" && in.decode != nil {
		in.payload = "a frame"
	}
	pos, err := b.frames.Append(shm.Header{Kind: uint8(in.kind), Conn: in.conn, Wall: in.wall}, []byte(in.payload))
	if err != nil {
		b.Fatal(err)
	}
	in.pos = pos
	b.inputs = append(b.inputs, &in)
	return &in
}

// encode is what the plugin process makes of an input, as sdk/serve does.
func (b *bench) encode(in *input) []byte {
	b.out.Begin(&source.Input{Kind: in.kind, Conn: in.conn, Recv: in.wall, Pos: in.pos, Data: []byte(in.payload)})
	if in.decode != nil {
		in.decode(b.out)
	}
	if in.kind > source.InputBinary && in.kind != source.InputSent {
		b.out.Echo()
	}
	return bytes.Clone(b.out.Bytes())
}

func (b *bench) process(in *input) error {
	data := b.encode(in)
	if len(data) == 0 {
		b.lane.Decoded(in.end())
		return nil
	}
	return b.lane.Process(b.gen, in.pos, in.end(), data)
}

// feed journals an input and lets the lane handle it.
func (b *bench) feed(in input) *input {
	b.Helper()
	p := b.append(in)
	if err := b.process(p); err != nil {
		b.Fatal(err)
	}
	return p
}

// frame feeds a frame of a connection.
func (b *bench) frame(conn uint32, decode func(o *source.Out)) *input {
	b.Helper()
	return b.feed(input{kind: source.InputText, conn: conn, decode: decode})
}

// refused feeds a frame that must be the plugin's fault.
func (b *bench) refused(conn uint32, data []byte) error {
	b.Helper()
	in := b.append(input{kind: source.InputText, conn: conn, payload: "a frame"})
	return b.lane.Process(b.gen, in.pos, in.end(), data)
}

func (b *bench) note(conn uint32, n flow.Note) *input {
	b.Helper()
	kind := source.InputNote
	if n.Note == flow.NoteDown || n.Note == flow.NoteStopped || n.Note == flow.NoteDropped {
		kind = source.InputGap
	}
	return b.feed(input{kind: kind, conn: conn, payload: string(n.Encode())})
}

func (b *bench) subscribed(conn uint32, symbols ...string) {
	b.Helper()
	n := flow.Note{Note: flow.NoteSubscribed}
	for _, s := range symbols {
		n.Subs = append(n.Subs, source.Subscription{Channel: market.ChannelTrades, Symbol: s}, source.Subscription{Channel: market.ChannelBook, Symbol: s})
	}
	b.note(conn, n)
}

func (b *bench) timer(wall int64) *input {
	b.Helper()
	return b.feed(input{kind: source.InputTimer, wall: wall})
}

func (b *bench) closed(conn uint32, why string) {
	b.Helper()
	b.feed(input{kind: source.InputClose, conn: conn, payload: why})
}

// trade emits a trade with this id.
func trade(symbol string, id int64) func(*source.Out) {
	return tradeOf(symbol, id, market.OriginLive)
}

func tradeOf(symbol string, id int64, origin market.Origin) func(*source.Out) {
	return func(o *source.Out) {
		o.Trade(&market.Trade{Header: market.Header{Instrument: o.Symbol([]byte(symbol)), Channel: market.ChannelTrades, Origin: origin,
			Ts: t0 + id, TsSend: market.None, Seq: id, PrevSeq: market.None}, ID: fmt.Append(nil, id), Price: dec("100.5"), Amount: dec("1"),
			Side: market.SideBuy, FirstID: market.None, LastID: market.None})
	}
}

// delta emits a book_delta that covers [first, last] and sets one level of each side.
func delta(symbol string, first, last int64, bid, ask string) func(*source.Out) {
	return func(o *source.Out) {
		r := market.Book{Header: bookHeader(o, symbol, market.KindBookDelta, last), Depth: market.None, FirstSeq: first, Checksum: market.None}
		if bid != "" {
			r.Bids = []market.Level{{Price: dec(bid), Amount: dec("1")}}
		}
		if ask != "" {
			r.Asks = []market.Level{{Price: dec(ask), Amount: dec("2")}}
		}
		o.Book(&r)
	}
}

// snapshot emits a book_snapshot of two levels a side around 100.
func snapshot(symbol string, seq int64) func(*source.Out) {
	return func(o *source.Out) {
		o.Book(&market.Book{Header: bookHeader(o, symbol, market.KindBookSnapshot, seq), Depth: market.None, FirstSeq: market.None, Checksum: market.None,
			Bids: []market.Level{{Price: dec("99"), Amount: dec("1")}, {Price: dec("98"), Amount: dec("1")}},
			Asks: []market.Level{{Price: dec("101"), Amount: dec("1")}, {Price: dec("102"), Amount: dec("1")}}})
	}
}

func bookHeader(o *source.Out, symbol string, k market.Kind, seq int64) market.Header {
	return market.Header{Kind: k, Instrument: o.Symbol([]byte(symbol)), Channel: market.ChannelBook, Ts: t0 + seq, TsSend: market.None, Seq: seq, PrevSeq: market.None}
}

func dec(s string) market.Decimal {
	d, err := market.ParseDecimal(s)
	if err != nil {
		panic(err)
	}
	return d
}

// record is what stands in a records journal.
type record struct {
	market.View
	symbol string
}

// read gives the records of a journal. Every one must be valid, and its
// instrument defined before it.
func (b *bench) read(j *journal.Journal) []record {
	b.Helper()
	r, err := shm.OpenReader(j.Dir(), 0, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	var out []record
	names := map[market.InstrumentID]string{0: ""}
	for {
		rec, ok, err := r.Next()
		if err != nil {
			b.Fatal(err)
		}
		if !ok {
			return out
		}
		if rec.Kind == flow.KindDefine {
			var i market.Instrument
			if err := json.Unmarshal(rec.Payload, &i); err != nil {
				b.Fatal(err)
			}
			names[i.ID] = i.Symbol
			continue
		}
		v, err := market.Validate(bytes.Clone(rec.Payload))
		if err != nil {
			b.Fatal(err)
		}
		name, ok := names[v.Instrument()]
		if !ok {
			b.Fatalf("%s of instrument %d at %d, which is not defined before it", v.Kind(), v.Instrument(), rec.Pos)
		}
		out = append(out, record{v, name})
	}
}

// text is a record in a few words, for comparison.
func (r record) text() string {
	seq := func(n int64) string {
		if n == market.None {
			return "-"
		}
		return fmt.Sprint(n)
	}
	switch r.Kind() {
	case market.KindQuality:
		var w []string
		for _, f := range market.Fields(market.KindQuality) {
			switch f.Name {
			case "cause", "channel":
				w = append(w, f.Enum[r.Int(f.Offset)])
			case "from_seq", "to_seq", "missing":
				if n := r.Int(f.Offset); n != market.None {
					w = append(w, f.Name+"="+seq(n))
				}
			case "ref":
				if r.Int(f.Offset) != market.None {
					w = append(w, "closes")
				}
			case "repaired", "detail":
				if t := r.Text(f.Offset); len(t) > 0 {
					w = append(w, fmt.Sprintf("%s=%q", f.Name, t))
				}
			}
		}
		return strings.TrimSpace("quality " + r.symbol + " " + strings.Join(w, " "))
	case market.KindBookDelta, market.KindBookSnapshot:
		state := ""
		for _, f := range []struct {
			flag market.Flags
			name string
		}{{market.FlagApplied, "applied"}, {market.FlagStale, "stale"}, {market.FlagUnsynced, "unsynced"}, {market.FlagCrossed, "crossed"}} {
			if r.Flags()&f.flag != 0 {
				state += " " + f.name
			}
		}
		return fmt.Sprintf("%s %s %s%s", r.Kind(), r.symbol, seq(r.Seq()), state)
	}
	return fmt.Sprintf("%s %s %s", r.Kind(), r.symbol, seq(r.Seq()))
}

// texts are the records of the lane but coverage.
func (b *bench) texts() []string {
	b.Helper()
	var out []string
	for _, r := range b.read(b.records) {
		if r.Kind() != market.KindCoverage {
			out = append(out, r.text())
		}
	}
	return out
}

// want compares the lane's records, but coverage, with their texts.
func (b *bench) want(lines ...string) {
	b.Helper()
	got := b.texts()
	for i := range max(len(got), len(lines)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(lines) {
			w = lines[i]
		}
		if g != w {
			b.Errorf("record %d:\n got  %s\n want %s", i, g, w)
		}
	}
	if b.Failed() {
		b.Fatalf("the last records:\n%s", strings.Join(got[max(0, len(got)-20):], "\n"))
	}
}
