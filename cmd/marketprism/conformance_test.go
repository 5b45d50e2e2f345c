package main

import (
	"os"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
)

// TestConformance plays the kit's cards against this program and the plugin
// processes that it starts.
func TestConformance(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, venue := range emulator.Venues() {
		s := bundledSources[venue]()
		for i, m := range s.Describe().Markets {
			var cards []string // all on a venue's first market; on the others those that differ from it, for all take a minute
			switch {
			case m.Market == market.MarketOption:
				cards = []string{"02", "04", "12"}
			case i > 0:
				cards = []string{"01", "02", "03", "04", "09"}
			}
			t.Run(venue+"-"+m.Market.String(), func(t *testing.T) {
				plugintest.Run(t, plugintest.Config{Binary: exe, Env: []string{asProgram + "=1"}, Source: s, Market: m.Market, Cards: cards})
			})
		}
	}
}
