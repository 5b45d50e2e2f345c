package hyperliquid

import (
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestCaptures(t *testing.T) { oracle.Captures{Pattern: "hyperliquid-*"}.Run(t, New()) }

func TestMessages(t *testing.T) {
	oracle.Messages{
		Venue:  "hyperliquid",
		Market: func(*oracle.Message) (market.Market, string) { return market.MarketMixed, "" }, // symbols say it
		Input: func(m *oracle.Message) source.Input {
			_, path, ok := strings.Cut(m.Request, " ")
			if !ok && !strings.HasPrefix(m.Channel, "Get") {
				return source.Input{Kind: source.InputText}
			}
			return source.Input{Kind: source.InputHTTP, Status: 200, URL: []byte("https://api.example" + path)}
		},
	}.Run(t, New())
}
