package bitmex

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

func TestGolden(t *testing.T) { oracle.Golden(t, New()) }

func FuzzDecode(f *testing.F) {
	oracle.Fuzz(f, New(), market.MarketInverse, market.MarketLinear, market.MarketMixed)
}

// TestAllocs: a frame costs no allocation once its symbols were seen.
func TestAllocs(t *testing.T) {
	oracle.Allocs(t, New(), market.MarketInverse, append(benchFrames, // behind the whole book that it needs
		oracle.Frame{Name: "book 2021", Text: `{"table":"orderBookL2","action":"update","data":[{"symbol":"XBTUSD","id":8796381050,"side":"Sell","size":2344},{"symbol":"XBTUSD","id":8796385500,"side":"Buy","size":582}]}`}))
}
