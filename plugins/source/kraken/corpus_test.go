package kraken

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestCaptures(t *testing.T) {
	oracle.Captures{Pattern: "kraken-*"}.Run(t, New())
}

func TestMessages(t *testing.T) {
	oracle.Messages{
		Venue: "kraken",
		Market: func(m *oracle.Message) (market.Market, string) {
			if m.Market != "spot" && m.Market != "unspecified" {
				return market.MarketMixed, "" // symbols say it
			}
			return market.MarketSpot, ""
		},
		Input: func(m *oracle.Message) source.Input {
			in := m.Input()
			if bytes.Contains(in.URL, []byte("/derivatives/")) { // without a product there is no record
				in.URL = append(in.URL, "?symbol=PI_XBTUSD"...)
			}
			return in
		},
		Normalise: func(m *oracle.Message, e map[string]any) {
			if s, ok := e["interval"].(string); ok { // minutes on the wire
				e["interval"] = s + "m"
			}
			// Of contracts the collection has the absolute rate, records the relative one.
			var raw struct {
				Relative json.Number `json:"relative_funding_rate"`
			}
			if e["kind"] == "funding" && json.Unmarshal([]byte(m.Raw), &raw) == nil && raw.Relative != "" {
				e["rate"] = market.MustDecimal(raw.Relative.String()).String()
			}
		},
		Exceptions: map[int]string{17: "the list of all tickers has the absolute funding rate alone, which is no relative one"},
	}.Run(t, New())
}
