package plan_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/pipefile/pipefiletest"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

var update = flag.Bool("update", false, "write golden files anew")

func noEnv(string) (string, bool) { return "", false }

// build parses and plans one pipeline's text.
func build(t *testing.T, text string) (*plan.Plan, pipefile.Diagnostics) {
	t.Helper()
	return buildFile(t, "main.hcl", text)
}

func buildFile(t *testing.T, name, text string) (*plan.Plan, pipefile.Diagnostics) {
	t.Helper()
	p, diags := pipefile.Parse(name, pipefile.Options{Env: noEnv, ReadFile: func(string) ([]byte, error) { return []byte(text), nil }}, pipefiletest.Plugins{})
	if p == nil {
		return nil, diags
	}
	out, more := plan.Build(p, pipefiletest.Plugins{})
	return out, append(diags, more...)
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s differs (-want +got); -update writes it anew:\n%s", path, d)
	}
}

// TestGolden plans each testdata/*.hcl, and the quickstart; the JSON and the
// text are in testdata.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatal("no pipelines in testdata", err)
	}
	for _, f := range append(files, "../../pipelines/quickstart.hcl") {
		t.Run(filepath.Base(f), func(t *testing.T) {
			src, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			p, diags := buildFile(t, f, string(src))
			if p == nil {
				t.Fatal(diags)
			}
			var js, text, warn bytes.Buffer
			if err := p.WriteJSON(&js); err != nil {
				t.Fatal(err)
			}
			if err := p.WriteText(&text); err != nil {
				t.Fatal(err)
			}
			if err := diags.WriteText(&warn, 0, false); err != nil {
				t.Fatal(err)
			}
			base := filepath.Join("testdata", strings.TrimSuffix(filepath.Base(f), ".hcl"))
			for _, secret := range []string{"geheim", "hunter2"} {
				if strings.Contains(js.String()+text.String(), secret) {
					t.Errorf("a secret shows")
				}
			}
			golden(t, base+".json", js.Bytes())
			golden(t, base+".txt", append(text.Bytes(), warn.Bytes()...))
			for i := range 20 { // maps must not show
				again, _ := buildFile(t, f, string(src))
				if again.Digest != p.Digest {
					t.Fatalf("build %d: digest %s, first was %s", i, again.Digest, p.Digest)
				}
			}
		})
	}
}

// TestDiagnostics holds testdata/bad/*.txtar: pairs of files NAME.hcl, a
// pipeline that parses and can't be planned, and NAME.want, what is said of it.
func TestDiagnostics(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no bad pipelines", err)
	}
	for _, f := range files {
		a, err := txtar.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for _, x := range a.Files {
			want[x.Name] = string(x.Data)
		}
		out := &txtar.Archive{Comment: a.Comment}
		for _, x := range a.Files {
			name, ok := strings.CutSuffix(x.Name, ".hcl")
			if !ok {
				continue
			}
			p, diags := build(t, string(x.Data)+"sink \"null\" \"out\" {\n  input = source.binance.a\n}\n")
			var b bytes.Buffer
			if err := diags.WriteText(&b, 0, false); err != nil {
				t.Fatal(err)
			}
			got := strings.TrimRight(b.String(), "\n") + "\n"
			out.Files = append(out.Files, x, txtar.File{Name: name + ".want", Data: []byte(got)})
			if (p == nil) != diags.HasErrors() || len(diags) == 0 {
				t.Errorf("%s %s: plan %v, diagnostics %v", f, name, p != nil, diags)
			}
			if d := cmp.Diff(want[name+".want"], got); d != "" && !*update {
				t.Errorf("%s %s (-want +got):\n%s", f, name, d)
			}
		}
		if *update {
			if err := os.WriteFile(f, txtar.Format(out), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// tuned is Plugins with other limits for Binance's spot market.
type tuned struct {
	pipefiletest.Plugins
	change func(*source.Manifest)
}

func (p tuned) Source(x pipefile.Plugin) (source.Manifest, error) {
	m, err := p.Plugins.Source(x)
	p.change(&m)
	return m, err
}

func buildTuned(change func(*source.Manifest), text string) (*plan.Plan, pipefile.Diagnostics) {
	s := tuned{change: change}
	p, diags := pipefile.Parse("main.hcl", pipefile.Options{Env: noEnv, ReadFile: func(string) ([]byte, error) { return []byte(text), nil }}, s)
	if p == nil {
		return nil, diags
	}
	out, more := plan.Build(p, s)
	return out, append(diags, more...)
}

// many is a pipeline of n symbols on Binance's spot market.
func many(n int, channels ...string) string {
	var b strings.Builder
	b.WriteString("source \"binance\" \"a\" {\n  symbols = [")
	for i := range n {
		fmt.Fprintf(&b, "\"C%d-USDT\", ", i)
	}
	b.WriteString("]\n")
	for _, c := range channels {
		fmt.Fprintf(&b, "  channel %q {}\n", c)
	}
	b.WriteString("}\nsink \"null\" \"out\" {\n  input = source.binance.a\n}\n")
	return b.String()
}

// TestSharding: each subscription stands once, no connection carries more than
// the endpoint takes, all but the last are full, and a symbol added at the end
// moves no other.
func TestSharding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, most := rapid.IntRange(1, 60).Draw(t, "symbols"), rapid.IntRange(0, 25).Draw(t, "max")
		change := func(m *source.Manifest) { m.Markets[0].Endpoints[0].MaxSubscriptions, m.Markets[0].MaxConns = most, 0 }
		p, diags := buildTuned(change, many(n, "trades", "book", "bbo"))
		if p == nil {
			t.Fatal(diags)
		}
		bigger, diags := buildTuned(change, many(n+1, "trades", "book", "bbo"))
		if bigger == nil {
			t.Fatal(diags)
		}
		f := p.Feeds[0]
		seen := map[plan.Subscription]bool{}
		for i, c := range f.Connections {
			for _, s := range c.Subscriptions {
				if seen[s] {
					t.Fatalf("%v stands twice", s)
				}
				seen[s] = true
			}
			if last := i == len(f.Connections)-1; most > 0 && (len(c.Subscriptions) > most || !last && len(c.Subscriptions) < most) {
				t.Fatalf("connection %d of %d carries %d of %d", i, len(f.Connections), len(c.Subscriptions), most)
			}
			if after := bigger.Feeds[0].Connections[i].Subscriptions; !cmp.Equal(c.Subscriptions, after[:len(c.Subscriptions)]) {
				t.Fatalf("connection %d moved: %v, then %v", i, c.Subscriptions, after)
			}
		}
		if len(seen) != 3*n || p.Totals.Subscriptions != 3*n || most == 0 && len(f.Connections) != 1 {
			t.Fatalf("%d subscriptions of %d, on %d connections", len(seen), 3*n, len(f.Connections))
		}
	})
}

// TestBudget checks the arithmetic of starting against figures done by hand.
func TestBudget(t *testing.T) {
	p, diags := buildTuned(func(m *source.Manifest) {
		s := &m.Markets[0]
		s.Endpoints[0].MaxSubscriptions, s.Endpoints[0].MaxFrameSent = 100, 400 // ten subscriptions a frame
		s.Endpoints[0].Messages = source.Rate{N: 5, Per: time.Second}
		s.Connects = source.Rate{N: 2, Per: 10 * time.Second}
		s.Weight.N = 1000
	}, many(300, "book", "instruments"))
	if p == nil {
		t.Fatal(diags)
	}
	f := p.Feeds[0]
	want := plan.Startup{
		ConnectSeconds:   10, // three connections: two at once, one 10 s later
		SubscribeFrames:  30, // ten each
		SubscribeSeconds: 1,  // five at once, five a second later
		Snapshots:        300, Requests: 301, Weight: 300*50 + 20,
		WeightLimit: 1000, WeightPer: "1m",
		PollWeight:      0.3,     // the catalogue, each hour
		SnapshotSeconds: 15 * 60, // 14,020 beyond the first 1000, 999.7 a minute
		ReadySeconds:    911,
	}
	if d := cmp.Diff(want, f.Startup); d != "" {
		t.Error(d)
	}
	if p.Totals.Connections != 3 || p.Totals.ReadySeconds != 911 || f.Connections[2].Name != "binance-spot/2" {
		t.Errorf("%+v", p.Totals)
	}
}

// TestClasses: an attribute may move a channel to another class of endpoint, and
// a subscription of several candles counts for several streams.
func TestClasses(t *testing.T) {
	change := func(m *source.Manifest) {
		trades := &m.Channels[0]
		trades.ClassWhen = []source.ClassRule{{Attribute: "aggregate", Value: true, Class: "agg"}}
		e := m.Markets[0].Endpoints[0]
		e.Class, e.URL, e.MaxSubscriptions = "agg", "wss://agg.binance.com/", 7
		m.Markets[0].Endpoints = append(m.Markets[0].Endpoints, e)
		m.Channels = append(m.Channels, source.ChannelSpec{Channel: market.ChannelCandles, Markets: trades.Markets, Class: "agg", Transport: source.Stream,
			Kinds: []market.Kind{market.KindCandle}, Attributes: schema.Attributes{{Name: "intervals", Type: schema.Strings, Default: []string{"1m", "1h", "1d"}}}})
	}
	p, diags := buildTuned(change, `source "binance" "a" {
  symbols = ["A-USDT", "B-USDT", "C-USDT"]
  channel "trades" { aggregate = true }
  channel "candles" {}
  channel "bbo" {}
}
`)
	if p == nil {
		t.Fatal(diags)
	}
	var got []string
	for _, c := range p.Feeds[0].Connections {
		got = append(got, fmt.Sprintf("%s%d", c.Class, len(c.Subscriptions)))
	}
	// Streams of agg: A 1+3, B 1, then 3 more exceed 7; B 3, C 1+3.
	if d := cmp.Diff([]string{"3", "agg3", "agg3"}, got); d != "" {
		t.Error(d)
	}
}

// TestClassOfSymbol: a symbol may be at another class of endpoint than the others.
func TestClassOfSymbol(t *testing.T) {
	p, diags := buildTuned(func(m *source.Manifest) {
		for i := range m.Channels {
			m.Channels[i].ClassWhen = []source.ClassRule{{Symbol: "B*", Class: "other"}}
		}
		e := m.Markets[0].Endpoints[0]
		e.Class = "other"
		m.Markets[0].Endpoints = append(m.Markets[0].Endpoints, e)
	}, `source "binance" "a" {
  symbols = ["A-USDT", "B-USDT", "C-USDT"]
  channel "trades" {}
  channel "bbo" {}
}
`)
	if p == nil {
		t.Fatal(diags)
	}
	var got []string
	for _, c := range p.Feeds[0].Connections {
		got = append(got, fmt.Sprintf("%s%d", c.Class, len(c.Subscriptions)))
	}
	if d := cmp.Diff([]string{"4", "other2"}, got); d != "" {
		t.Error(d)
	}
}

// TestEngineView checks what the engine takes that JSON doesn't show.
func TestEngineView(t *testing.T) {
	src, err := os.ReadFile("testdata/markets.hcl")
	if err != nil {
		t.Fatal(err)
	}
	p, diags := build(t, string(src))
	if p == nil {
		t.Fatal(diags)
	}
	f := p.Feed("acme-spot")
	if s := f.Settings(); s.Config.String("token") != "geheim" || s.Market != market.MarketSpot || len(s.Channels) != 1 {
		t.Errorf("decoder settings %+v", s)
	}
	subs := p.Feed("binance-linear").Subscriptions(p.Feed("binance-linear").Connections[1])
	if len(subs) != 4 || subs[1].Channel != market.ChannelBook || subs[1].Symbol != "BTCUSDT" || subs[1].Config.Int("depth") != 100 {
		t.Errorf("subscriptions %+v", subs)
	}
	if p.Sinks[0].Config.String("password") != "geheim" || p.Feed("nope") != nil {
		t.Error("the sink has no password, or a feed is there that isn't")
	}
	var b bytes.Buffer
	if err := p.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var back plan.Plan
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if back.Digest != p.Digest || back.Sinks[0].Batch.MaxWait.Std() != 250*time.Millisecond || back.Feeds[1].Channels[1].Channel != market.ChannelBBO {
		t.Errorf("the JSON form reads back as %+v", back)
	}
}

// TestDigest: what changes the plan changes the digest; comments don't.
func TestDigest(t *testing.T) {
	a, _ := build(t, many(3, "trades"))
	b, _ := build(t, "# a comment\n"+many(3, "trades"))
	c, _ := build(t, many(4, "trades"))
	if a.Digest != b.Digest || a.Digest == c.Digest {
		t.Errorf("digests %s, %s, %s", a.Digest, b.Digest, c.Digest)
	}
}

func BenchmarkBuild(b *testing.B) {
	text := many(500, "trades", "book", "bbo")
	p, diags := pipefile.Parse("main.hcl", pipefile.Options{Env: noEnv, ReadFile: func(string) ([]byte, error) { return []byte(text), nil }}, pipefiletest.Plugins{})
	if p == nil {
		b.Fatal(diags)
	}
	for b.Loop() {
		if out, diags := plan.Build(p, pipefiletest.Plugins{}); out == nil {
			b.Fatal(diags)
		}
	}
}

func TestEgress(t *testing.T) {
	text := func(second string) string {
		return `
source "binance" "a" {
  symbols = ["BTC-USDT"]
  egress  = ["192.0.2.10", "socks5://me:secret@proxy.example:1080"]
  channel "trades" {}
}
source "binance" "b" {
  symbols = ["ETH-USDT"]
  egress  = [` + second + `]
  channel "trades" {}
}
`
	}
	p, diags := build(t, text(`"192.0.2.10", "socks5://me:secret@proxy.example:1080"`))
	if p == nil {
		t.Fatal(diags)
	}
	if f := p.Feeds[0]; len(p.Feeds) != 1 || len(f.Egress) != 2 || !strings.Contains(f.Egress[1], "secret") {
		t.Errorf("%q", f.Egress)
	}
	var out bytes.Buffer
	if err := p.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	js, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []string{out.String(), string(js)} {
		if strings.Contains(b, "secret") || !strings.Contains(b, "me:xxxxx@proxy.example") || !strings.Contains(b, "192.0.2.10") {
			t.Errorf("%s", b)
		}
	}
	if p, diags = build(t, text(`"192.0.2.10"`)); p != nil || !strings.Contains(fmt.Sprint(diags), "must agree with it on egress") {
		t.Errorf("%v", diags)
	}
}

// TestStandby: second connections are counted beside the first ones, and refused
// where the venue's limit leaves no room for them and for one to replace one.
func TestStandby(t *testing.T) {
	in := strings.Replace(many(300, "trades"), "symbols", "standby = true\n  symbols", 1)
	tune := func(conns int) func(*source.Manifest) {
		return func(m *source.Manifest) {
			s := &m.Markets[0]
			s.Endpoints[0].MaxSubscriptions, s.MaxConns = 100, conns
			s.Connects = source.Rate{N: 2, Per: 10 * time.Second}
		}
	}
	p, diags := buildTuned(tune(7), in)
	if p == nil {
		t.Fatal(diags)
	}
	f := p.Feeds[0]
	alone, _ := buildTuned(tune(7), many(300, "trades"))
	if s := f.Startup.Standby; !f.Standby || s == nil || s.Connections != 3 || s.SubscribeFrames != f.Startup.SubscribeFrames || s.ConnectSeconds != 20 {
		t.Errorf("%+v", f.Startup.Standby)
	}
	if p.Totals.Connections != 3 || p.Totals.Standbys != 3 || f.Startup.ReadySeconds != alone.Feeds[0].Startup.ReadySeconds {
		t.Errorf("%+v", p.Totals)
	}
	if a := alone.Feeds[0].Assumed; f.Assumed.FrameBytesPerDay != 2*a.FrameBytesPerDay || f.Assumed.RecordBytesPerDay != a.RecordBytesPerDay {
		t.Errorf("assumed %+v, without standby %+v", f.Assumed, a)
	}
	if alone.Feeds[0].Startup.Standby != nil || alone.Digest == p.Digest {
		t.Error("standby makes no difference")
	}
	if p, diags := buildTuned(tune(6), in); p != nil || !strings.Contains(fmt.Sprint(diags), "No room for standby") {
		t.Errorf("six connections are enough for seven: %v", diags)
	}
}
