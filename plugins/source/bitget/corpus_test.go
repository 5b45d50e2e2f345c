package bitget

import (
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestCaptures(t *testing.T) {
	oracle.Captures{Pattern: "bitget-*"}.Run(t, New())
}

func TestMessages(t *testing.T) {
	oracle.Messages{
		Venue:  "bitget",
		Market: func(*oracle.Message) (market.Market, string) { return market.MarketMixed, "" }, // frames and paths say it
		Input: func(m *oracle.Message) source.Input {
			if m.Request == "" {
				return source.Input{Kind: source.InputText}
			}
			_, path, _ := strings.Cut(m.Request, " ") // "GET /api/v2/spot/market/fills", without the query it was sent with
			return source.Input{Kind: source.InputHTTP, Status: 200, URL: []byte("https://api.example" + path + "?symbol=UNKNOWN")}
		},
		Normalise: func(_ *oracle.Message, e map[string]any) {
			if s, ok := e["interval"].(string); ok { // one name for all venues
				e["interval"] = strings.ToLower(s)
			}
		},
	}.Run(t, New())
}
