package pipefile_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/pipefile/pipefiletest"
	"github.com/marketprism/marketprism/runtime/selection"
	"github.com/marketprism/marketprism/sdk/market"
)

func TestSelector(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pipe.hcl")
	if err := os.WriteFile(file, []byte(`
variable "quote" { default = "USDT" }
source "binance" "md" {
  symbols {
    include = ["BTC-USDT", "*_PERP"]
    exclude = "*UP-*"
    market  = ["linear", "spot"]
    select {
      quote     = var.quote
      perpetual = true
      status    = "halted"
    }
    select {
      market         = "inverse"
      base           = ["BTC", "ETH"]
      settle         = "BTC"
      expires_within = "7d"
      option         = "put"
    }
  }
  channel "trades" {}
}
sink "null" "out" { input = source.binance.md }
`), 0o600); err != nil {
		t.Fatal(err)
	}
	p, diags := pipefile.Parse(file, pipefile.Options{}, pipefiletest.Plugins{})
	if p == nil {
		t.Fatal(diags)
	}
	s := p.Sources[0]
	want := &selection.Selector{Include: []string{"BTC-USDT", "*_PERP"}, Exclude: []string{"*UP-*"}, Markets: []market.Market{market.MarketSpot, market.MarketLinear}, Every: 5 * time.Minute,
		Selects: []selection.Select{
			{Markets: []market.Market{market.MarketSpot, market.MarketLinear}, Quote: []string{"USDT"}, Perpetual: new(true), Status: []market.Status{market.StatusHalted}},
			{Markets: []market.Market{market.MarketInverse}, Base: []string{"BTC", "ETH"}, Settle: []string{"BTC"}, ExpiresWithin: 7 * 24 * time.Hour, Option: market.OptionPut},
		}}
	if !reflect.DeepEqual(s.Selector, want) || len(s.Symbols) > 0 || s.SelectorRange.Start.Line != 4 {
		t.Errorf("%+v at %v\nwant %+v", s.Selector, s.SelectorRange, want)
	}
	if on := s.Selector.On(); !reflect.DeepEqual(on, []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse}) {
		t.Errorf("it looks in %v", on)
	}
}
