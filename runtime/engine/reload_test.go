package engine

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/runtime/sign"
	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestDescs(t *testing.T) {
	if err := telemetry.Check(Descs()); err != nil {
		t.Error(err)
	}
}

// A time that commits give is never too early, and the table stays bounded.
func TestCommits(t *testing.T) {
	var c commits
	if at, ok := c.when(5, 10); at != 0 || !ok {
		t.Errorf("committed by a run before this one: %d, %v", at, ok)
	}
	const n = 100_000
	for i := uint64(1); i <= n; i++ {
		c.add(i*10, int64(i))
	}
	if len(c.all) > maxCommits {
		t.Errorf("%d are kept", len(c.all))
	}
	if _, ok := c.when(n*10, n*10); ok {
		t.Error("what is behind the cursor is not committed")
	}
	for pos := uint64(1); pos < n*10; pos += 997 {
		at, ok := c.when(pos, n*10)
		exact := int64(pos/10) + 1
		if !ok || at < exact {
			t.Fatalf("%d was committed at %d, not %d, %v", pos, exact, at, ok)
		}
		if pos > (n-maxCommits/2)*10 && at != exact {
			t.Fatalf("of the latest ones, %d was committed at %d, not %d", pos, exact, at)
		}
	}
}

// testPlan is a plan of two feeds, and of a sink for each of them and for both.
func testPlan() *plan.Plan {
	feed := func(name string) *plan.Feed {
		return &plan.Feed{Name: name, Venue: name, Market: market.MarketSpot, Plugin: name, Config: schema.Values{"key": "secret"},
			Channels: []*plan.Channel{{Channel: market.ChannelTrades, Symbols: []string{"BTC"}}}, Instruments: []plan.Instrument{{Name: "BTC-USD", Symbol: "BTC"}},
			Manifest: &source.Manifest{Venue: name, Version: "1"}}
	}
	sinkOf := func(name string, feeds ...string) *plan.Sink {
		s := &plan.Sink{Name: name, Commit: sink.CommitBatch, Config: schema.Values{"url": "x"}}
		for _, f := range feeds {
			s.Inputs = append(s.Inputs, plan.Selection{Feed: f, Journal: f + "-records", Instruments: []plan.Instrument{{Symbol: "BTC"}}})
		}
		return s
	}
	return &plan.Plan{Digest: "d", Sync: "50ms", Latency: pipefile.LatencyBalanced, Feeds: []*plan.Feed{feed("a"), feed("b")},
		Sinks:     []*plan.Sink{sinkOf("sa", "a"), sinkOf("sb", "b"), sinkOf("sab", "a", "b")},
		Processes: []plan.Process{{Name: "source/a", SHA256: "1"}, {Name: "source/b", SHA256: "1"}, {Name: "sink/sa", SHA256: "1"}},
		Journals:  []plan.Journal{{Name: "a-frames", Feed: "a", MaxBytes: 100, BytesPerDay: 5}}}
}

func TestDifference(t *testing.T) {
	running := func(string) bool { return true }
	all := func(names ...string) difference { return difference{Kept: names} }
	for _, c := range []struct {
		name   string
		change func(*plan.Plan)
		proxy  bool // another one
		feeds  difference
		sinks  difference
	}{
		{"nothing", func(*plan.Plan) {}, false, all("a", "b"), all("sa", "sb", "sab")},
		{"assumed rates", func(p *plan.Plan) { p.Journals[0].BytesPerDay = 7 }, false, all("a", "b"), all("sa", "sb", "sab")},
		{"a symbol", func(p *plan.Plan) { p.Feeds[0].Channels[0].Symbols = []string{"BTC", "ETH"} }, false,
			difference{Kept: []string{"b"}, Resubscribed: []string{"a"}}, all("sa", "sb", "sab")},
		{"a symbol and who takes it", func(p *plan.Plan) {
			p.Feeds[0].Channels[0].Symbols = []string{"BTC", "ETH"}
			p.Sinks[0].Inputs[0].Instruments = append(p.Sinks[0].Inputs[0].Instruments, plan.Instrument{Symbol: "ETH"})
		}, false, difference{Kept: []string{"b"}, Resubscribed: []string{"a"}}, difference{Kept: []string{"sb", "sab"}, Restarted: []string{"sa"}}},
		{"a secret of a feed", func(p *plan.Plan) { p.Feeds[0].Config = schema.Values{"key": "other"} }, false,
			difference{Kept: []string{"b"}, Restarted: []string{"a"}}, difference{Kept: []string{"sb"}, Restarted: []string{"sa", "sab"}}},
		{"a channel's attribute", func(p *plan.Plan) { p.Feeds[1].Channels[0].Config = schema.Values{"aggregate": true} }, false,
			difference{Kept: []string{"a"}, Restarted: []string{"b"}}, difference{Kept: []string{"sa"}, Restarted: []string{"sb", "sab"}}},
		{"a plugin", func(p *plan.Plan) { p.Processes[0].SHA256 = "2" }, false,
			difference{Kept: []string{"b"}, Restarted: []string{"a"}}, difference{Kept: []string{"sb"}, Restarted: []string{"sa", "sab"}}},
		{"a sink's plugin", func(p *plan.Plan) { p.Processes[2].SHA256 = "2" }, false, all("a", "b"), difference{Kept: []string{"sb", "sab"}, Restarted: []string{"sa"}}},
		{"a sink's secret", func(p *plan.Plan) { p.Sinks[1].Config = schema.Values{"url": "y"} }, false, all("a", "b"),
			difference{Kept: []string{"sa", "sab"}, Restarted: []string{"sb"}}},
		{"a journal's limit", func(p *plan.Plan) { p.Journals[0].MaxBytes = 200 }, false,
			difference{Kept: []string{"b"}, Restarted: []string{"a"}}, difference{Kept: []string{"sb"}, Restarted: []string{"sa", "sab"}}},
		{"the proxy", func(*plan.Plan) {}, true, difference{Restarted: []string{"a", "b"}}, difference{Restarted: []string{"sa", "sb", "sab"}}},
		{"sync", func(p *plan.Plan) { p.Sync = "always" }, false, difference{Restarted: []string{"a", "b"}}, difference{Restarted: []string{"sa", "sb", "sab"}}},
		{"a feed less", func(p *plan.Plan) { p.Feeds, p.Sinks = p.Feeds[:1], p.Sinks[:1] }, false,
			difference{Kept: []string{"a"}, Removed: []string{"b"}}, difference{Kept: []string{"sa"}, Removed: []string{"sb", "sab"}}},
	} {
		from, to := testPlan(), testPlan()
		c.change(to)
		fd := feedDifference(from, to, !c.proxy, running)
		if !reflect.DeepEqual(fd, c.feeds) {
			t.Errorf("%s: feeds %+v, want %+v", c.name, fd, c.feeds)
		}
		if sd := sinkDifference(from, to, &fd, running); !reflect.DeepEqual(sd, c.sinks) {
			t.Errorf("%s: sinks %+v, want %+v", c.name, sd, c.sinks)
		}
	}
	// What has ended by itself is started anew.
	from, to := testPlan(), testPlan()
	fd := feedDifference(from, to, true, func(name string) bool { return name != "b" })
	sd := sinkDifference(from, to, &fd, running)
	if !slices.Equal(fd.Restarted, []string{"b"}) || !slices.Equal(sd.Restarted, []string{"sb", "sab"}) {
		t.Errorf("after b ended: %+v, %+v", fd, sd)
	}
	if !samePlan(from, to) {
		t.Error("the same plan differs from itself")
	}
	to.Sinks[0].Config = schema.Values{"url": "secretly another"} // the digest knows nothing of it
	if samePlan(from, to) {
		t.Error("another secret is the same plan")
	}
}

func TestStreamFilter(t *testing.T) {
	f := &StreamFilter{}
	for _, c := range []struct {
		pattern, native, name string
		want                  bool
	}{
		{"", "BTCUSDT", "", true}, {"btc*", "BTCUSDT", "", true}, {"*-usdt", "BTCUSDT", "BTC-USDT", true}, {"BTC", "BTCUSDT", "", false},
		{"*", "BTC/USD", "", true}, {"btc/*", "BTC/USD", "", true}, {"???/usd", "BTC/USD", "BTC-USD", true}, {"*", "", "", false},
		{escape("A*B"), "AxB", "", false}, {escape("A*B"), "A*B", "", true}, {escape(`[x]\`), `[x]\`, "", true},
	} {
		if got := f.takesSymbol(fold(c.pattern), c.native, c.name); got != c.want {
			t.Errorf("%q of %q, %q: %v", c.pattern, c.native, c.name, got)
		}
	}
}

func TestClock(t *testing.T) {
	if !clock(market.None).IsZero() || !clock(0).IsZero() || clock(1e18) != time.Unix(1e9, 0).UTC() {
		t.Error("clock")
	}
}

// TestForget: credentials of a plan are overwritten unless a feed of this run
// signs with them, and another secret restarts the feed.
func TestForget(t *testing.T) {
	with := func(secret string) *plan.Plan {
		p := testPlan()
		c := sign.New([]byte("k"), []byte(secret), nil) // one source, two feeds
		for _, f := range p.Feeds {
			f.Credentials = c
		}
		return p
	}
	old, same, other := with("one"), with("one"), with("two")
	if !samePlan(old, same) || samePlan(old, other) {
		t.Error("samePlan")
	}
	live := func(string) bool { return true }
	if d := feedDifference(old, other, true, live); len(d.Restarted) != len(old.Feeds) {
		t.Errorf("%+v", d)
	}
	r := &run{Engine: &Engine{feeds: []*feed{{p: old.Feeds[0]}}}}
	r.forget(same) // read again, and not taken over
	r.forget(old)  // a feed runs with it
	if len(same.Feeds[0].Credentials.Names()) != 0 || len(old.Feeds[1].Credentials.Names()) != 2 {
		t.Errorf("%v, %v", same.Feeds[0].Credentials.Names(), old.Feeds[1].Credentials.Names())
	}
	r.feeds = []*feed{{p: other.Feeds[0]}}
	if r.forget(old); len(old.Feeds[0].Credentials.Names()) != 0 || len(other.Feeds[0].Credentials.Names()) != 2 {
		t.Error("the plan that was replaced is remembered, or the one in force is not")
	}
}
