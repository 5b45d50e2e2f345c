package main

import (
	"os"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest"
)

// TestConformance plays the kit's cards against this program and the plugin
// processes that it starts.
func TestConformance(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		venue  string
		market market.Market
		cards  []string // all if empty; on the futures those that differ from spot, for the others take a minute
	}{{"binance", market.MarketSpot, nil}, {"kraken", market.MarketSpot, nil},
		{"binance", market.MarketLinear, []string{"01", "02", "03", "04", "09"}},
		{"binance", market.MarketInverse, []string{"01", "02", "03", "04", "09"}},
		{"okx", market.MarketSpot, nil},
		{"okx", market.MarketLinear, []string{"01", "02", "03", "04", "09"}},
		{"okx", market.MarketInverse, []string{"02", "04"}},
		{"okx", market.MarketOption, []string{"02", "04"}}} {
		t.Run(c.venue+"-"+c.market.String(), func(t *testing.T) {
			plugintest.Run(t, plugintest.Config{Binary: exe, Env: []string{asProgram + "=1"}, Source: bundledSources[c.venue](), Market: c.market, Cards: c.cards})
		})
	}
}
