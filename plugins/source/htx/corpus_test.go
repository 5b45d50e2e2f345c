package htx

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestCaptures(t *testing.T) { oracle.Captures{Pattern: "htx-*"}.Run(t, New()) }

func TestMessages(t *testing.T) {
	oracle.Messages{
		Venue:  "htx",
		Market: func(*oracle.Message) (market.Market, string) { return market.MarketMixed, "" }, // symbols say it
		Input: func(m *oracle.Message) source.Input {
			switch {
			case m.Channel == "l2_snapshot": // responses stand in the collection as if they were frames
				m.Request = "GET /market/depth"
			case m.Channel == "open_interest":
				m.Request = "GET /linear-swap-api/v1/swap_open_interest"
			}
			return m.Input()
		},
		Normalise: func(m *oracle.Message, e map[string]any) {
			delete(e, "history") // what came before the message says it
			for _, i := range intervals {
				if e["interval"] == i.Native { // one name for all venues
					e["interval"] = i.Name
					break
				}
			}
			// Of contracts the collection has what was traded in coins, records count contracts.
			var raw struct {
				Tick struct{ Vol json.Number }
			}
			if symbol, _ := e["symbol"].(string); e["volume"] != nil && strings.ToUpper(symbol) == symbol && json.Unmarshal([]byte(m.Raw), &raw) == nil {
				e["volume"] = market.MustDecimal(raw.Tick.Vol.String()).String()
			}
		},
	}.Run(t, New())
}
