package flow_test

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
	"pgregory.net/rapid"
)

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

type span struct{ from, to int64 }

// TestCoverageEndsAtALoss: a span is stated when its stream is lost, up to there;
// the next one begins when something carries the stream again.
func TestCoverageEndsAtALoss(t *testing.T) {
	b := newBench(t, nil)
	want := func(n int, from, to, messages int64) {
		t.Helper()
		var of []record
		for _, r := range b.read(b.records) {
			if r.Kind() == market.KindCoverage && market.Channel(fieldOf(t, r, "channel")) == market.ChannelTrades {
				of = append(of, r)
			}
		}
		if len(of) != n {
			t.Fatalf("%d statements, want %d", len(of), n)
		}
		if r := of[n-1]; fieldOf(t, r, "from_ts") != from || fieldOf(t, r, "to_ts") != to || fieldOf(t, r, "messages") != messages {
			t.Errorf("%d messages in %d to %d, want %d in %d to %d", fieldOf(t, r, "messages"), fieldOf(t, r, "from_ts"), fieldOf(t, r, "to_ts"), messages, from, to)
		}
	}
	subscribe := func(conn uint32) int64 {
		b.subscribed(conn, "btc")
		return b.wall
	}
	first := subscribe(1)
	b.frame(1, trade("btc", 1))
	lost := b.frame(1, trade("btc", 2)).wall
	b.wall += second
	b.closed(1, "it broke")
	want(1, first, lost, 2)
	b.wall += second
	from := subscribe(2)
	b.wall += second
	subscribe(3)
	b.frame(2, trade("btc", 3))
	b.closed(2, "replaced") // the other one carries it
	want(1, first, lost, 2)
	down := b.frame(3, trade("btc", 4)).wall
	b.wall += 60 * second
	b.note(0, flow.Note{Note: flow.NoteDown, From: down + 5})
	want(2, from, down, 2)
	from = subscribe(1)
	b.frame(1, trade("btc", 5))
	b.wall += second
	b.note(0, flow.Note{Note: flow.NoteStopping})
	b.closed(1, "stopping")
	b.note(0, flow.Note{Note: flow.NoteStop})
	stop := b.wall
	want(3, from, stop, 1)
	b.wall += second
	b.note(0, flow.Note{Note: flow.NoteStopped, From: stop})
	want(3, from, stop, 1)
}

// TestCoverageTilesTime: whatever happens to a feed, each moment since a stream was
// subscribed is in a coverage record or in a gap that a quality record states;
// coverage records don't overlap, and count each record once.
func TestCoverageTilesTime(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		b := newBench(t, nil)
		type key struct {
			symbol  string
			channel market.Channel
		}
		wanted := map[key][]span{} // the last one is open: to is 0
		want := func(k key) {
			if l := wanted[k]; len(l) == 0 || l[len(l)-1].to != 0 {
				wanted[k] = append(l, span{from: b.wall})
			}
		}
		ids, seqs := map[string]int64{}, map[string]int64{}
		both := func(s string) []source.Subscription {
			return []source.Subscription{{Channel: market.ChannelTrades, Symbol: s}, {Channel: market.ChannelBook, Symbol: s}}
		}
		wants := func(s string) {
			want(key{s, market.ChannelTrades})
			want(key{s, market.ChannelBook})
		}
		symbols := []string{"btc", "eth"}
		for _, s := range symbols {
			b.note(1, flow.Note{Note: flow.NoteSubscribed, Subs: both(s)})
			wants(s)
		}
		stop := func() {
			b.note(0, flow.Note{Note: flow.NoteStopping})
			b.closed(1, "stopping")
			b.closed(2, "stopping")
			b.note(0, flow.Note{Note: flow.NoteStop})
		}
		for range rapid.IntRange(5, 60).Draw(r, "events") {
			s, conn := rapid.SampledFrom(symbols).Draw(r, "symbol"), uint32(rapid.IntRange(1, 2).Draw(r, "conn"))
			b.wall += rapid.Int64Range(0, 20*60).Draw(r, "pause") * second
			l := wanted[key{s, market.ChannelTrades}]
			subscribed := l[len(l)-1].to == 0
			switch e := rapid.SampledFrom([]string{"trade", "trade", "lost trade", "delta", "snapshot", "timer", "timer", "subscribed", "close", "stale", "down", "dropped", "stop", "unsubscribed"}).Draw(r, "event"); e {
			case "trade", "lost trade":
				if ids[s]++; e == "lost trade" {
					ids[s] += 3
				}
				b.frame(conn, trade(s, ids[s]))
			case "delta":
				seqs[s]++
				b.frame(conn, delta(s, seqs[s], seqs[s], "98", ""))
			case "snapshot":
				b.feed(input{kind: source.InputHTTP, payload: "body", decode: snapshot(s, seqs[s])})
			case "timer":
				b.timer(b.wall + 1)
			case "subscribed":
				b.note(conn, flow.Note{Note: flow.NoteWanted, Subs: both(s)})
				b.note(conn, flow.Note{Note: flow.NoteSubscribed, Subs: both(s)})
				wants(s)
			case "close":
				b.closed(conn, "it broke")
			case "stale":
				b.note(conn, flow.Note{Note: flow.NoteStale})
			case "down", "dropped":
				from := b.wall
				b.wall += second
				b.note(0, flow.Note{Note: map[string]string{"down": flow.NoteDown, "dropped": flow.NoteDropped}[e], From: from})
			case "stop":
				stop()
				from := b.wall
				b.wall += second
				b.note(0, flow.Note{Note: flow.NoteStopped, From: from})
			case "unsubscribed":
				if !subscribed {
					continue
				}
				b.note(0, flow.Note{Note: flow.NoteUnsubscribed, Subs: both(s)})
				for _, sub := range both(s) {
					l := wanted[key{s, sub.Channel}]
					l[len(l)-1].to = b.wall
				}
			}
		}
		b.wall += second
		stop()
		stated, covered := map[key][]span{}, map[key][]span{}
		messages, records := map[key]int64{}, map[key]int64{}
		open := map[string]int{}
		for _, x := range b.read(b.records) {
			switch x.Kind() {
			case market.KindCoverage:
				k := key{x.symbol, market.Channel(fieldOf(t, x, "channel"))}
				covered[k] = append(covered[k], span{fieldOf(t, x, "from_ts"), fieldOf(t, x, "to_ts")})
				messages[k] += fieldOf(t, x, "messages")
			case market.KindQuality:
				k := key{x.symbol, market.Channel(fieldOf(t, x, "channel"))}
				q := span{fieldOf(t, x, "from_ts"), fieldOf(t, x, "to_ts")}
				id := fmt.Sprint(k, q.from, fieldOf(t, x, "cause"))
				if q.to == market.None {
					open[id] = len(stated[k])
					q.to = b.wall
				} else if at, ok := open[id]; ok {
					stated[k][at].to = q.to
				}
				stated[k] = append(stated[k], q)
			default:
				records[key{x.symbol, x.Channel()}]++
			}
		}
		for k, spans := range wanted {
			for i, c := range covered[k] {
				if i > 0 && c.from < covered[k][i-1].to {
					r.Errorf("%v: coverage %v overlaps %v", k, c, covered[k][i-1])
				}
			}
			all := slices.Concat(covered[k], stated[k])
			slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.from, b.from) })
			for _, w := range spans {
				if w.to == 0 {
					w.to = b.wall
				}
				at := w.from
				for _, x := range all {
					if x.from <= at {
						at = max(at, x.to)
					}
				}
				if at < w.to {
					r.Errorf("%v: %d of %d to %d is in no record: %v and %v", k, at-t0, w.from-t0, w.to-t0, covered[k], stated[k])
				}
			}
			if messages[k] > records[k] {
				r.Errorf("%v: coverage counts %d messages, there are %d", k, messages[k], records[k])
			}
		}
	})
}
