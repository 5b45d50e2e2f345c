package binance

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

func TestGolden(t *testing.T) { oracle.Golden(t, New()) }

func FuzzDecode(f *testing.F) {
	oracle.Fuzz(f, New(), market.MarketSpot, market.MarketLinear, market.MarketInverse)
}

// TestAllocs: a frame costs no allocation once its symbols were seen.
func TestAllocs(t *testing.T) {
	raw := benchTrade[len(`{"stream":"bnbbtc@trade","data":`) : len(benchTrade)-1]
	oracle.Allocs(t, New(), market.MarketSpot, append(benchFrames, oracle.Frame{Name: "raw", Text: raw}))
}
