package bybit

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

func TestCaptures(t *testing.T) { oracle.Captures{Pattern: "bybit-*"}.Run(t, New()) }

func TestMessages(t *testing.T) {
	oracle.Messages{
		Venue: "bybit",
		Market: func(m *oracle.Message) (market.Market, string) {
			if mk, err := market.ParseMarket(m.Market); err == nil && mk != market.MarketMixed {
				return mk, ""
			}
			return market.MarketLinear, "" // the collection doesn't say; the formats are one
		},
		Normalise: func(_ *oracle.Message, e map[string]any) {
			if s, ok := e["interval"].(string); ok { // one name for all venues
				e["interval"] = intervals.Native([]byte(s)).Name
			}
		},
	}.Run(t, New())
}
