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
			in := m.Input()
			if in.Kind == source.InputHTTP { // some answers don't name their symbol
				in.URL = append(in.URL, "?symbol=UNKNOWN"...)
			}
			return in
		},
		Normalise: func(_ *oracle.Message, e map[string]any) {
			if s, ok := e["interval"].(string); ok { // one name for all venues
				e["interval"] = strings.ToLower(s)
			}
		},
	}.Run(t, New())
}
