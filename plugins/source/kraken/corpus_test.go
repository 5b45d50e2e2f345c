package kraken

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

func TestCaptures(t *testing.T) {
	oracle.Captures{Pattern: "kraken-spot-*"}.Run(t, New())
}

func TestMessages(t *testing.T) {
	oracle.Messages{
		Venue: "kraken",
		Market: func(m *oracle.Message) (market.Market, string) {
			if m.Market != "spot" && m.Market != "unspecified" {
				return 0, "Kraken futures is another API"
			}
			return market.MarketSpot, ""
		},
		Normalise: func(m *oracle.Message, e map[string]any) {
			if s, ok := e["interval"].(string); ok { // minutes on the wire
				e["interval"] = s + "m"
			}
		},
	}.Run(t, New())
}
