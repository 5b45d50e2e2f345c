package main

import (
	"fmt"
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
				cards = []string{"02", "04", "12", "17"}
			case venue == "kraken" && m.Market == market.MarketLinear: // all: contracts have a protocol of their own
			case i > 0:
				cards = []string{"01", "02", "03", "04", "09", "17"}
			}
			t.Run(venue+"-"+m.Market.String(), func(t *testing.T) {
				t.Parallel() // cards wait most of their time
				plugintest.Run(t, plugintest.Config{Binary: exe, Env: []string{asProgram + "=1"}, Source: s, Market: m.Market, Cards: cards})
			})
		}
	}
	t.Run("binance-spot-sbe", func(t *testing.T) { // frames of another form: what breaks them, or their order
		t.Parallel()
		sbe := `    feed = "sbe"`
		plugintest.Run(t, plugintest.Config{Binary: exe, Env: []string{asProgram + "=1"}, Source: bundledSources["binance"](), Market: market.MarketSpot,
			Attributes: fmt.Sprintf("  credentials { key = %q }", emulator.BinanceKey),
			Channels:   map[string]string{"trades": sbe, "book": sbe, "bbo": sbe},
			Cards:      []string{"03", "04", "05", "06", "07", "09", "10", "15"}})
	})
}

// TestRawBooks plays the cards that concern books with Bitfinex's orders, whose
// sums a plugin that starts again doesn't know.
func TestRawBooks(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	plugintest.Run(t, plugintest.Config{Binary: exe, Env: []string{asProgram + "=1"}, Source: bundledSources["bitfinex"](),
		Cards: []string{"02", "03", "04", "09"}, Channels: map[string]string{"book": `precision = "R0"`}})
}
