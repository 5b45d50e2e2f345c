package deribit

import (
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestCaptures(t *testing.T) {
	oracle.Captures{Pattern: "deribit-*"}.Run(t, New())
}

func TestMessages(t *testing.T) {
	oracle.Messages{
		Venue:  "deribit",
		Market: func(*oracle.Message) (market.Market, string) { return market.MarketMixed, "" }, // symbols say it
		Input: func(m *oracle.Message) source.Input {
			if m.Channel == "l2_snapshot" { // responses stand in the collection as if they were frames
				return source.Input{Kind: source.InputHTTP, Status: 200, URL: []byte("https://www.deribit.com/api/v2/public/get_order_book?instrument_name=UNKNOWN")}
			}
			return source.Input{Kind: source.InputText}
		},
		Normalise: func(_ *oracle.Message, e map[string]any) {
			for _, i := range intervals { // one name for all venues
				if e["interval"] == i.Native {
					e["interval"] = strings.ToLower(i.Name)
					break
				}
			}
		},
	}.Run(t, New())
}
