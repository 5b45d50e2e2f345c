package okx

import (
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestCaptures(t *testing.T) {
	// One connection each, for a decoder doesn't know what another has delivered.
	oracle.Captures{Pattern: "okx-mixed-20210722-cfg3-c?"}.Run(t, New())
	oracle.Captures{Pattern: "okx-mixed-20220513-*"}.Run(t, New())
	oracle.Captures{Pattern: "okcoin-spot-2023*"}.Run(t, NewOkcoin())
}

func TestMessages(t *testing.T) {
	oracle.Messages{
		Venue:  "okx",
		Market: func(*oracle.Message) (market.Market, string) { return market.MarketMixed, "" }, // symbols say it
		Input: func(m *oracle.Message) source.Input {
			path := ""
			switch {
			case m.Request != "": // "GET /api/v5/market/books", without the query it was sent with
				_, path, _ = strings.Cut(m.Request, " ")
			case m.Channel == "l2_snapshot":
				path = "/api/v5/market/books"
			case strings.HasPrefix(m.Raw, `{"code"`): // some responses stand in the collection as if they were frames
				path = "/api/v5/public/open-interest"
			default:
				return source.Input{Kind: source.InputText}
			}
			return source.Input{Kind: source.InputHTTP, Status: 200, URL: []byte("https://api.example" + path + "?instId=UNKNOWN")}
		},
		Normalise: func(_ *oracle.Message, e map[string]any) {
			if s, ok := e["interval"].(string); ok { // one name for all venues
				e["interval"] = strings.ToLower(s)
			}
		},
	}.Run(t, New())
}
