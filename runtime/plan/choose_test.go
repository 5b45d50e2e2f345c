package plan_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/pipefile/pipefiletest"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/runtime/selection"
	"github.com/marketprism/marketprism/sdk/market"
)

// asked counts who is asked for names, and refuses when it must not be.
type asked struct {
	pipefiletest.Plugins
	closed bool
}

func (a *asked) Resolve(venue, name string) (market.Market, string, error) {
	if a.closed {
		return 0, "", errors.New("nobody is there any more")
	}
	return a.Plugins.Resolve(venue, name)
}

func parseText(t *testing.T, text string) (*pipefile.Pipeline, pipefile.Diagnostics) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pipe.hcl")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return pipefile.Parse(file, pipefile.Options{}, pipefiletest.Plugins{})
}

func listing(m market.Market, base string) selection.Listing {
	l := selection.Listing{Name: base + "-USDT", Symbol: base + "USDT", Market: m, Status: market.StatusTrading, Base: base, Quote: "USDT"}
	if m == market.MarketLinear {
		l.Name += "-PERP"
	}
	return l
}

const selecting = `
source "binance" "md" {
  symbols {
    include = ["*"]
    market  = ["spot", "linear"]
    refresh = "10s"
  }
  channel "trades" {}
  channel "book" {}
}
source "kraken" "md" {
  symbols = ["BTC-USD"]
  channel "trades" {}
}
processor "book_snapshot" "top" {
  input = source.binance.md.book
}
sink "null" "out" {
  input = [source.binance.md, source.kraken.md, processor.book_snapshot.top]
}
`

// TestChoose: what is chosen changes a plan's subscriptions, and neither its
// readers nor anything else that a running feed can't change.
func TestChoose(t *testing.T) {
	p, diags := parseText(t, selecting)
	if p == nil {
		t.Fatal(diags)
	}
	names := &asked{}
	spot, linear := market.MarketSpot, market.MarketLinear
	first, diags := plan.BuildChosen(p, names, plan.Choices{"source.binance.md": {listing(spot, "ETH"), listing(spot, "BTC"), listing(linear, "BTC")}})
	if first == nil {
		t.Fatal(diags)
	}
	names.closed = true
	second, diags := first.Choose(plan.Choices{"source.binance.md": {listing(spot, "ETH"), listing(spot, "SOL"), listing(linear, "BTC")}})
	if second == nil {
		t.Fatal(diags)
	}
	symbols := func(p *plan.Plan, feed string) (out []string) {
		for _, i := range p.Feed(feed).Instruments {
			out = append(out, i.Name+" "+i.Symbol)
		}
		return out
	}
	if got := symbols(first, "binance-spot"); !reflect.DeepEqual(got, []string{"ETH-USDT ETHUSDT", "BTC-USDT BTCUSDT"}) {
		t.Errorf("%q", got)
	}
	if got := symbols(second, "binance-spot"); !reflect.DeepEqual(got, []string{"ETH-USDT ETHUSDT", "SOL-USDT SOLUSDT"}) {
		t.Errorf("%q", got)
	}
	if got := symbols(second, "binance-linear"); !reflect.DeepEqual(got, []string{"BTC-USDT-PERP BTCUSDT"}) {
		t.Errorf("%q", got)
	}
	if !reflect.DeepEqual(first.Sinks, second.Sinks) || first.Digest == second.Digest {
		t.Errorf("the sink reads %+v, then %+v", first.Sinks[0].Inputs, second.Sinks[0].Inputs)
	}
	for _, in := range first.Sinks[0].Inputs {
		if in.All == (in.Feed == "kraken-spot") || in.All && len(in.Instruments) > 0 {
			t.Errorf("%+v", in)
		}
		if in.All && in.Processor == "" && !strings.Contains(kindNames(in.Kinds), "instrument") {
			t.Errorf("changes are not in %v", in.Kinds)
		}
	}
	for _, in := range first.Processors[0].Inputs {
		if !in.All || len(in.Instruments) > 0 {
			t.Errorf("%+v", in)
		}
	}
	if s := second.Find("source.binance.md"); s == nil || s.Chosen != 3 || !s.Asked || s.Every.Std() != 10*time.Second || s.Origin != first.Selected[0].Origin {
		t.Errorf("%+v", s)
	}
	if got := second.Chosen()["source.binance.md"]; len(got) != 3 || got[1].Name != "SOL-USDT" {
		t.Errorf("%+v", got)
	}
	// 20 each 10 s is what catalogues take of the budget of a minute.
	if w := second.Feed("binance-spot").Startup.PollWeight; w != 120 {
		t.Errorf("catalogues take %v", w)
	}
	var text bytes.Buffer
	if err := second.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"selected by source.binance.md: include *; asked again each 10s", "instruments: ETH-USDT (ETHUSDT), SOL-USDT (SOLUSDT)", "all instruments"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no word of %q:\n%s", want, &text)
		}
	}
	if none, diags := first.Choose(plan.Choices{}); none != nil || !strings.Contains(detail(diags), "binance lists nothing that source.binance.md takes (include *)") {
		t.Errorf("%v, %s", none != nil, detail(diags))
	}
}

func kindNames(ks []market.Kind) (s string) {
	for _, k := range ks {
		s += k.String() + " "
	}
	return s
}

func detail(ds pipefile.Diagnostics) (s string) {
	for _, d := range ds {
		s += d.Summary + ": " + d.Detail + "\n"
	}
	return s
}

// TestUnasked: without catalogues a plan has the feeds that a selector looks in,
// and says that it knows no more.
func TestUnasked(t *testing.T) {
	p, diags := parseText(t, selecting)
	if p == nil {
		t.Fatal(diags)
	}
	out, diags := plan.Build(p, pipefiletest.Plugins{})
	if out == nil {
		t.Fatal(detail(diags))
	}
	if len(out.Feeds) != 3 || len(out.Feed("binance-spot").Instruments) != 0 || out.Selected[0].Asked {
		t.Errorf("%d feeds, %+v", len(out.Feeds), out.Selected)
	}
	var text bytes.Buffer
	if err := out.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if strings.Count(text.String(), "instruments: unknown; the venue wasn't asked") != 2 {
		t.Errorf("%s", &text)
	}
}

// TestSharedFeed: where another source takes of the same feed, each reader is
// told its own instruments.
func TestSharedFeed(t *testing.T) {
	p, diags := parseText(t, `
source "binance" "some" {
  symbols {
    include = "*"
    market  = "spot"
  }
  channel "trades" {}
}
source "binance" "one" {
  symbols = ["BTC-USDT"]
  channel "trades" {}
}
sink "null" "out" {
  input = source.binance.some
}
`)
	if p == nil {
		t.Fatal(detail(diags))
	}
	out, diags := plan.BuildChosen(p, pipefiletest.Plugins{}, plan.Choices{"source.binance.some": {listing(market.MarketSpot, "ETH")}})
	if out == nil {
		t.Fatal(detail(diags))
	}
	if in := out.Sinks[0].Inputs[0]; in.All || len(in.Instruments) != 1 || in.Instruments[0].Symbol != "ETHUSDT" {
		t.Errorf("%+v", in)
	}
}

// TestWholeMarket: where a channel brings a whole market, a reader is told which
// instruments are chosen; the records of changes pass in any case.
func TestWholeMarket(t *testing.T) {
	p, diags := parseText(t, strings.Replace(selecting, `channel "trades" {}
  channel "book" {}
}
source "kraken"`, `channel "trades" {}
  channel "book" {}
  channel "instruments" {}
}
source "kraken"`, 1))
	if p == nil {
		t.Fatal(detail(diags))
	}
	out, diags := plan.BuildChosen(p, pipefiletest.Plugins{}, plan.Choices{"source.binance.md": {listing(market.MarketSpot, "ETH")}})
	if out == nil {
		t.Fatal(detail(diags))
	}
	var got []string
	for _, in := range out.Sinks[0].Inputs {
		if in.Feed == "binance-spot" && in.Processor == "" {
			got = append(got, fmt.Sprint(in.All, len(in.Instruments), " ", kindNames(in.Kinds)))
		}
	}
	want := []string{"false 1 trade book_snapshot book_delta instrument quality coverage ", "true 0 instrument "}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if in := out.Processors[0].Inputs; len(in) != 1 || !in[0].All {
		t.Errorf("%+v", in)
	}
}

// TestCataloguesCost: catalogues that are asked for too often exceed the budget,
// and the selector is pointed at.
func TestCataloguesCost(t *testing.T) {
	p, diags := parseText(t, strings.Replace(selecting, `"10s"`, `"1s"`, 1))
	if p == nil {
		t.Fatal(detail(diags))
	}
	if out, diags := plan.BuildChosen(p, pipefiletest.Plugins{}, plan.Choices{"source.binance.md": {listing(market.MarketSpot, "ETH")}}); out == nil {
		t.Error(detail(diags)) // 1200 of 6000
	}
	for _, s := range p.Sources {
		for i := range s.Manifest.Markets {
			s.Manifest.Markets[i].Weight.N = 1000
		}
	}
	out, diags := plan.BuildChosen(p, pipefiletest.Plugins{}, plan.Choices{"source.binance.md": {listing(market.MarketSpot, "ETH")}})
	if out != nil || !strings.Contains(detail(diags), "raise refresh, the time between catalogues") || diags[0].Range.Start.Line != 3 {
		t.Errorf("%v: %s", out != nil, detail(diags))
	}
}
