package flow_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/runtime/process"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// inBand are the specs of a venue like Kraken, whose snapshots are in the stream.
var inBand = []source.ChannelSpec{
	specs[0], specs[1],
	{Channel: market.ChannelBook, Markets: spot, Book: &source.BookRule{Snapshot: source.SnapshotInBand, Recovery: source.RecoverResubscribe,
		Sequence: source.Sequence{Kind: source.SequenceIncrement}}},
}

// script makes up n inputs of a feed that has its share of bad days.
func script(r *rand.Rand, n int) []input {
	symbols := []string{"btc", "eth", "sol"}
	ids, seqs := map[string]int64{}, map[string]int64{}
	wall := t0
	var out []input
	add := func(in input) { out = append(out, in) }
	note := func(kind source.InputKind, conn uint32, n flow.Note) {
		add(input{kind: kind, conn: conn, wall: wall, payload: string(n.Encode())})
	}
	for len(out) < n {
		wall += 1 + r.Int64N(50e6)
		s, conn := symbols[r.IntN(len(symbols))], uint32(1+r.IntN(2))
		subs := []source.Subscription{{Channel: market.ChannelTrades, Symbol: s}, {Channel: market.ChannelBook, Symbol: s}}
		frame := func(decode func(*source.Out)) {
			add(input{kind: source.InputText, conn: conn, wall: wall, payload: "a frame", decode: decode})
		}
		switch p := r.IntN(100); {
		case p < 30: // trades: mostly the next, sometimes again, sometimes with a gap
			var made []func(*source.Out)
			for range 1 + r.IntN(3) {
				id := ids[s] + 1
				switch r.IntN(10) {
				case 0:
					id += r.Int64N(5)
				case 1, 2:
					id = max(1, id-r.Int64N(6))
				}
				ids[s] = max(ids[s], id)
				made = append(made, tradeOf(s, id, []market.Origin{market.OriginLive, market.OriginLive, market.OriginLive, market.OriginHistory}[r.IntN(4)]))
			}
			frame(func(o *source.Out) {
				for _, m := range made {
					m(o)
				}
			})
		case p < 60: // a difference of the book
			first := seqs[s] + 1
			if r.IntN(15) == 0 {
				first += 1 + r.Int64N(3)
			}
			last := first
			seqs[s] = last
			bid, ask := fmt.Sprint(90+r.IntN(10)), fmt.Sprint(101+r.IntN(10))
			if r.IntN(30) == 0 {
				bid = "105"
			}
			frame(delta(s, first, last, bid, ask))
		case p < 70:
			seq := max(0, seqs[s]-r.Int64N(4))
			if r.IntN(2) == 0 {
				add(input{kind: source.InputHTTP, wall: wall, payload: "a body", decode: snapshot(s, seq)})
			} else {
				frame(snapshot(s, seq))
			}
		case p < 78:
			wall += r.Int64N(int64(2 * time.Second))
			add(input{kind: source.InputTimer, wall: wall})
		case p < 79:
			wall += r.Int64N(int64(time.Hour))
			add(input{kind: source.InputTimer, wall: wall})
		case p < 82:
			note(source.InputNote, conn, flow.Note{Note: flow.NoteSubscribed, Subs: subs})
		case p < 83:
			note(source.InputNote, conn, flow.Note{Note: flow.NoteUnsubscribed, Subs: subs[:1+r.IntN(2)]})
		case p < 85:
			note(source.InputNote, conn, flow.Note{Note: flow.NoteStale, Detail: "30s"})
		case p < 88:
			add(input{kind: source.InputClose, conn: conn, wall: wall, payload: "gone"})
		case p < 89: // an orderly stop closes all connections
			note(source.InputNote, 0, flow.Note{Note: flow.NoteStopping})
			add(input{kind: source.InputClose, conn: 1, wall: wall, payload: "drained"})
			add(input{kind: source.InputClose, conn: 2, wall: wall, payload: "drained"})
			note(source.InputNote, 0, flow.Note{Note: flow.NoteStop})
			note(source.InputGap, 0, flow.Note{Note: flow.NoteStopped, From: wall})
		case p < 90:
			note(source.InputGap, 0, flow.Note{Note: []string{flow.NoteDown, flow.NoteDropped}[r.IntN(2)], From: wall - r.Int64N(1e9), Detail: "down"})
		case p < 92:
			frame(func(o *source.Out) { o.Refuse(errors.New("malformed")) })
		case p < 94:
			frame(func(o *source.Out) { o.Remember() })
		case p < 95:
			frame(func(o *source.Out) { o.Resync(o.Symbol([]byte(s)), "asked for") })
		case p < 96:
			frame(func(o *source.Out) { o.Maintenance("soon") })
		case p < 97:
			frame(func(o *source.Out) { o.Rejected([]byte("token"), []byte("no such symbol")) })
		default:
			frame(nil) // of no interest
		}
	}
	return out
}

// scope ends what a bench opened before its test ends, where there are many.
type scope struct {
	testing.TB
	ends []func()
}

func (s *scope) Cleanup(f func()) { s.ends = append(s.ends, f) }

func (s *scope) TempDir() string {
	dir, err := os.MkdirTemp("", "flow")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (s *scope) end() {
	for _, f := range slices.Backward(s.ends) {
		f()
	}
}

// restarts is a bench whose lane may be killed, with a processor.
type restarts struct {
	*bench
	tops     *journal.Journal
	saved    []byte // the last checkpoint
	at       int    // the input that it stands before
	diverged int64
}

func newRestarts(t testing.TB, channels []source.ChannelSpec, inputs []input) *restarts {
	x := &restarts{}
	x.bench = newBench(t, func(s *flow.Settings) { s.Channels, s.DeriveBBO = channels, true })
	x.tops = x.journal("tops")
	x.start()
	for _, in := range inputs {
		x.append(in)
	}
	x.save(0)
	return x
}

// start makes a lane with empty state; the plugin's process is another one too.
func (x *restarts) start() {
	x.settings.Processors = []flow.Processor{process.NewBookSnapshot(time.Second, 2, nil, x.tops)}
	x.lane = flow.New(x.settings)
	x.plugin()
}

func (x *restarts) save(at int) {
	x.saved, x.at = saved(x, x.lane), at
}

// kill loses the lane; the next one begins at the last checkpoint.
func (x *restarts) kill() {
	x.diverged += x.lane.Output().Diverged + x.settings.Processors[0].Output().Diverged
	x.start()
	records, procs, err := x.lane.Restore(x.saved)
	if err == nil {
		err = x.lane.Output().Resume(x.records.Dir(), records, x.records.Tail())
	}
	if err == nil {
		err = x.settings.Processors[0].Output().Resume(x.tops.Dir(), procs[0], x.tops.Tail())
	}
	if err != nil {
		x.Fatal(err)
	}
}

// run lets the lane handle inputs [from, to).
func (x *restarts) run(from, to int) {
	for i := from; i < to; i++ {
		if err := x.process(x.inputs[i]); err != nil {
			x.Fatalf("input %d: %v", i, err)
		}
	}
}

// same compares what two benches have come to.
func (x *restarts) same(t interface {
	Fatalf(string, ...any)
	Errorf(string, ...any)
}, whole *restarts) {
	for _, j := range []struct {
		name      string
		got, want []record
	}{{"records", x.read(x.records), whole.read(whole.records)}, {"the processor's records", x.read(x.tops), whole.read(whole.tops)}} {
		for i := range max(len(j.got), len(j.want)) {
			switch {
			case i >= len(j.got):
				t.Fatalf("%s: %d where an uninterrupted run has %d; first missing: %s", j.name, len(j.got), len(j.want), j.want[i].text())
			case i >= len(j.want):
				t.Fatalf("%s: %d where an uninterrupted run has %d; first too many: %s", j.name, len(j.got), len(j.want), j.got[i].text())
			case !bytes.Equal(j.got[i].View, j.want[i].View):
				t.Fatalf("%s: the %dth is %s (%+v), in an uninterrupted run %s (%+v)", j.name, i, j.got[i].text(), j.got[i].Header(), j.want[i].text(), j.want[i].Header())
			}
		}
	}
	if n := x.diverged + x.lane.Output().Diverged + x.settings.Processors[0].Output().Diverged; n != 0 {
		t.Errorf("%d records came out otherwise the second time", n)
	}
	if got, want := x.lane.Remembered(), whole.lane.Remembered(); !slices.Equal(got, want) {
		t.Errorf("remembers %v, an uninterrupted run %v", got, want)
	}
	if got, want := x.lane.Counts.BooksSynced.Load(), whole.lane.Counts.BooksSynced.Load(); got != want {
		t.Errorf("%d books in step, in an uninterrupted run %d", got, want)
	}
	if got, want := x.lane.Next(), whole.lane.Next(); got != want {
		t.Errorf("stands at %d, an uninterrupted run at %d", got, want)
	}
}

// TestRestartAnywhere: wherever the runtime is killed, and however often, the
// next one journals exactly what an uninterrupted run would have.
func TestRestartAnywhere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		n := rapid.IntRange(1, 150).Draw(rt, "inputs")
		channels := specs
		if rapid.Bool().Draw(rt, "in band") {
			channels = inBand
		}
		inputs := script(r, n)
		n = len(inputs)
		tb := &scope{TB: t}
		defer tb.end()
		whole := newRestarts(tb, channels, inputs)
		whole.run(0, n)

		x := newRestarts(tb, channels, inputs)
		i := 0
		for _, e := range rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) [2]int {
			return [2]int{rapid.IntRange(0, 40).Draw(rt, "inputs"), rapid.IntRange(0, 2).Draw(rt, "event")}
		}), 1, 12).Draw(rt, "events") {
			to := min(n, i+e[0])
			x.run(i, to)
			switch i = to; e[1] {
			case 0:
				x.save(i)
			case 1:
				x.kill()
				i = x.at
			case 2:
				x.plugin() // its process alone dies
			}
		}
		x.run(i, n)
		x.same(rt, whole)
	})
}

// The same with the cut at each entry of one script.
func TestRestartAtEachEntry(t *testing.T) {
	inputs := script(rand.New(rand.NewPCG(7, 7)), 200)
	if !slices.ContainsFunc(inputs, func(in input) bool { return strings.Contains(in.payload, flow.NoteStopping) }) {
		t.Fatal("no orderly stop is in the script: take another seed")
	}
	whole := newRestarts(t, specs, inputs)
	whole.run(0, len(inputs))
	if n := len(whole.read(whole.records)); n < 100 {
		t.Fatalf("the script gives %d records: too few to say anything", n)
	}
	for mid := range inputs {
		cut := min(len(inputs), mid+5)
		tb := &scope{TB: t}
		x := newRestarts(tb, specs, inputs)
		x.run(0, mid)
		x.save(mid)
		x.run(mid, cut)
		x.kill()
		x.run(mid, len(inputs))
		x.same(t, whole)
		tb.end()
		if t.Failed() {
			t.Fatalf("with a checkpoint at %d and a kill at %d", mid, cut)
		}
	}
}

// A restart that fails while it catches up leaves a checkpoint that is right.
func TestCheckpointWhileCatchingUp(t *testing.T) {
	inputs := script(rand.New(rand.NewPCG(8, 8)), 120)
	whole := newRestarts(t, specs, inputs)
	whole.run(0, len(inputs))
	x := newRestarts(t, specs, inputs)
	x.run(0, 100)
	x.kill()
	x.run(0, 40)
	x.save(40)
	x.run(40, 70)
	x.kill()
	x.run(40, len(inputs))
	x.same(t, whole)
}

// What was learnt between a checkpoint and a kill is in the table already; the
// book must be told again all the same.
func TestPrecisionIsLearntAgain(t *testing.T) {
	channels := slices.Clone(specs)
	rule := *specs[2].Book
	rule.Checksum = source.Checksum{Kind: source.ChecksumKraken, Levels: 10}
	channels[2].Book = &rule
	checked := func(o *source.Out) {
		o.Book(&market.Book{Header: bookHeader(o, "btc", market.KindBookDelta, 2), Depth: market.None, FirstSeq: 2, Checksum: 1,
			Bids: []market.Level{{Price: dec("90"), Amount: dec("1")}}})
	}
	inputs := []input{
		{kind: source.InputText, conn: 1, wall: t0 + 1, payload: "s", decode: snapshot("btc", 1)},
		{kind: source.InputText, conn: 1, wall: t0 + 2, payload: "p", decode: func(o *source.Out) {
			o.Precision(o.Symbol([]byte("btc")), 3, 5)
		}},
		{kind: source.InputText, conn: 1, wall: t0 + 3, payload: "d", decode: checked},
	}
	whole := newRestarts(t, channels, inputs)
	whole.run(0, 3)
	whole.metrics(map[string]float64{"book_checksums_total bad": 1, "book_checksums_total ok": 0})
	x := newRestarts(t, channels, inputs)
	x.run(0, 1)
	x.save(1)
	x.run(1, 2)
	x.kill()
	x.run(1, 3)
	x.same(t, whole)
	detail := func(x *restarts) string {
		for _, r := range x.read(x.records) {
			if r.Kind() == market.KindQuality {
				return r.text()
			}
		}
		return ""
	}
	if got, want := detail(x), detail(whole); got != want || want == "" {
		t.Errorf("the checksum of a book comes to %q behind a restart, else to %q", got, want)
	}
}

// Another build decodes a frame otherwise when it derives it again.
func TestDivergenceIsCounted(t *testing.T) {
	inputs := []input{
		{kind: source.InputText, conn: 1, wall: t0 + 1, payload: "a", decode: trade("btc", 1)},
		{kind: source.InputText, conn: 1, wall: t0 + 2, payload: "b", decode: trade("btc", 2)},
		{kind: source.InputText, conn: 1, wall: t0 + 3, payload: "c", decode: trade("btc", 3)},
	}
	x := newRestarts(t, specs, inputs)
	x.run(0, 2)
	x.kill()
	x.inputs[1].decode = tradeOf("btc", 2, market.OriginBackfill)
	x.run(0, 3)
	x.metrics(map[string]float64{"flow_diverged_total": 1})
}

func TestRestoreRefuses(t *testing.T) {
	inputs := script(rand.New(rand.NewPCG(9, 9)), 60)
	x := newRestarts(t, specs, inputs)
	x.run(0, len(inputs))
	x.save(len(inputs))
	for i := range x.saved {
		b := bytes.Clone(x.saved)
		b[i] ^= 0x40
		x.start()
		if _, _, err := x.lane.Restore(b); !errors.Is(err, flow.ErrCheckpoint) {
			t.Fatalf("byte %d changed: got %v, want an unusable checkpoint", i, err)
		}
	}
	for n := range x.saved {
		x.start()
		if _, _, err := x.lane.Restore(x.saved[:n]); !errors.Is(err, flow.ErrCheckpoint) {
			t.Fatalf("cut to %d bytes: got %v, want an unusable checkpoint", n, err)
		}
	}
	x.start()
	x.settings.Processors = nil
	if _, _, err := flow.New(x.settings).Restore(x.saved); !errors.Is(err, flow.ErrCheckpoint) {
		t.Errorf("another number of processors: got %v, want an unusable checkpoint", err)
	}
}

// stateful is a processor that has nothing but a state.
type stateful struct{ name, state string }

func (*stateful) Tick(int64, *flow.Lane) error { return nil }
func (s *stateful) State() []byte              { return []byte(s.state) }
func (s *stateful) Restore(b []byte) (uint64, error) {
	s.state = string(b)
	return uint64(len(b)), nil
}
func (*stateful) Output() *flow.Output { return nil }
func (s *stateful) Name() string       { return s.name }

// Processors that come and go between two runs leave the checkpoint usable.
func TestRestoreWithOtherProcessors(t *testing.T) {
	b := newBench(t, func(s *flow.Settings) {
		s.Processors = []flow.Processor{&stateful{"top", "a"}, &stateful{"deep", "bcd"}}
	})
	b.frame(1, trade("btc", 1))
	saved := saved(t, b.lane)
	fresh, deep := &stateful{"new", ""}, &stateful{"deep", ""}
	b.settings.Processors = []flow.Processor{fresh, deep}
	_, at, err := flow.New(b.settings).Restore(saved)
	if err != nil || !slices.Equal(at, []uint64{flow.NoState, 3}) || fresh.state != "" || deep.state != "bcd" {
		t.Errorf("%v, %v, %q, %q", err, at, fresh.state, deep.state)
	}
	b.settings.Processors = nil
	if _, at, err := flow.New(b.settings).Restore(saved); err != nil || len(at) != 0 {
		t.Errorf("without processors: %v, %v", at, err)
	}
}

func TestCheckpointFiles(t *testing.T) {
	dir := t.TempDir()
	for _, pos := range []uint64{300, 1 << 40, 5} {
		if err := flow.WriteCheckpoint(dir, pos, func(w io.Writer) error { _, err := fmt.Fprint(w, pos); return err }); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want ...uint64) {
		t.Helper()
		got, err := flow.Checkpoints(dir)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
	}
	check(5, 300, 1<<40)
	if b, err := flow.ReadCheckpoint(dir, 300); err != nil || string(b) != "300" {
		t.Errorf("got %q, %v", b, err)
	}
	if err := flow.DropCheckpoints(dir, 301); err != nil {
		t.Fatal(err)
	}
	check(1 << 40)
	if err := flow.DropCheckpoints(dir, 1<<50); err != nil {
		t.Fatal(err)
	}
	check(1 << 40) // the newest stays
	if got, err := flow.Checkpoints(dir + "/none"); err != nil || len(got) != 0 {
		t.Errorf("of no directory: %v, %v", got, err)
	}
}
