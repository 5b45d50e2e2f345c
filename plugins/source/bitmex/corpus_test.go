package bitmex

import (
	"slices"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

func TestCaptures(t *testing.T) { oracle.Captures{Pattern: "bitmex-*"}.Run(t, New()) }

func TestMessages(t *testing.T) {
	oracle.Messages{
		Venue:  "bitmex",
		Market: func(*oracle.Message) (market.Market, string) { return market.MarketMixed, "" }, // symbols say it
		Normalise: func(m *oracle.Message, e map[string]any) {
			if asks, ok := e["asks"].([]any); ok && e["kind"] == "book_snapshot" && m.Channel != "l2_topk" {
				slices.Reverse(asks) // the venue begins with the highest price, records with the best
			}
		},
	}.Run(t, New())
}
