package kucoin

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestCaptures(t *testing.T) { oracle.Captures{Pattern: "kucoin-*"}.Run(t, New()) }

func TestMessages(t *testing.T) {
	oracle.Messages{
		Venue:  "kucoin",
		Market: func(*oracle.Message) (market.Market, string) { return market.MarketMixed, "" }, // symbols say it
		Input: func(m *oracle.Message) source.Input {
			_, path, ok := strings.Cut(m.Request, " ") // "GET /api/v1/level2/snapshot", without the query it was sent with
			switch {
			case ok:
			case m.Channel == "l2_snapshot":
				path = "/api/v1/level2/snapshot"
			default:
				return source.Input{Kind: source.InputText}
			}
			return source.Input{Kind: source.InputHTTP, Status: 200, URL: []byte("https://api.example" + path + "?symbol=UNKNOWN")}
		},
		Normalise: func(_ *oracle.Message, e map[string]any) {
			if s, ok := e["interval"].(string); ok { // one name for all venues
				e["interval"] = length([]byte(s)).Name
			}
			if ls, ok := e["asks"].([]any); ok && e["kind"] == "book_snapshot" && len(ls) > 1 { // some examples of the documentation have them worst first
				price := func(i int) float64 { p, _ := strconv.ParseFloat(ls[i].([]any)[0].(string), 64); return p }
				if price(0) > price(len(ls)-1) {
					slices.Reverse(ls)
				}
			}
			for _, side := range []string{"bids", "asks"} { // a price of 0 moves the number alone
				if ls, ok := e[side].([]any); ok && len(ls) == 1 && ls[0].([]any)[0] == "0" {
					e[side] = []any{}
				}
			}
		},
	}.Run(t, New())
}
