package hyperliquid

import (
	"slices"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

func TestGolden(t *testing.T) { oracle.Golden(t, New()) }

func FuzzDecode(f *testing.F) {
	oracle.Fuzz(f, New(), market.MarketLinear, market.MarketSpot, market.MarketMixed)
}

// TestAllocs: a frame costs no allocation once its symbols were seen.
func TestAllocs(t *testing.T) { oracle.Allocs(t, New(), market.MarketLinear, benchFrames) }

// TestInUse: of a context only the channels that are in use come out, and a book
// states the depth that is subscribed.
func TestInUse(t *testing.T) {
	feed := oracle.NewFeed(t, New(), market.MarketLinear, sub(market.ChannelFunding, ""), sub(market.ChannelBook, "", "depth", int64(3)))
	var kinds []market.Kind
	for _, f := range benchFrames {
		if f.Name != "context" && f.Name != "book" {
			continue
		}
		for _, v := range feed.Records(t, f.Text) {
			if v.Kind() == market.KindBookSnapshot && v.Depth() != levelsFast {
				t.Errorf("a book of %d levels", v.Depth())
			}
			kinds = append(kinds, v.Kind())
		}
	}
	if !slices.Equal(kinds, []market.Kind{market.KindBookSnapshot, market.KindFunding}) {
		t.Errorf("%v", kinds)
	}
}

// TestStatus: an answer that isn't one is refused with what the venue said.
func TestStatus(t *testing.T) {
	f := oracle.NewFeed(t, New(), market.MarketLinear)
	for status, text := range map[int]string{422: "Failed to deserialize the JSON body into the target type", 429: "null", 500: ""} {
		in := oracle.Answer("https://api.hyperliquid.xyz/info", []byte(text))
		in.Status = status
		if _, err := f.Decode(t, &in); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%d: %v", status, err)
		}
	}
}
