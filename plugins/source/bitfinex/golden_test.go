package bitfinex

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestGolden(t *testing.T) { oracle.Golden(t, New()) }

// FuzzDecode feeds mutations to a decoder that knows no channel, FuzzFrames to one
// that knows several.
func FuzzDecode(f *testing.F) { oracle.Fuzz(f, New(), market.MarketSpot, market.MarketMixed) }

func FuzzFrames(f *testing.F) {
	for _, one := range benchFrames {
		f.Add([]byte(one.Text))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		feed := oracle.NewFeed(t, New(), market.MarketMixed)
		for _, text := range announced {
			if _, err := feed.Decode(t, &source.Input{Kind: source.InputText, Recv: 1, Data: []byte(text)}); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // the second finds the room the first left
			_, _ = feed.Decode(t, &source.Input{Kind: source.InputText, Recv: 1, Data: frame})
		}
	})
}

// TestAllocs: a frame costs no allocation once its symbols were seen.
func TestAllocs(t *testing.T) {
	oracle.Allocs(t, New(), market.MarketMixed, benchFrames, announced...)
}
