package gateio

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestCaptures(t *testing.T) { oracle.Captures{Pattern: "gateio-*"}.Run(t, New()) }

func TestMessages(t *testing.T) {
	oracle.Messages{
		Venue:  "gateio",
		Market: func(*oracle.Message) (market.Market, string) { return market.MarketMixed, "" }, // channels and symbols say it
		Input: func(m *oracle.Message) source.Input {
			switch {
			case m.Channel == "l2_snapshot" && m.Market == "spot":
				m.Request = "GET /api/v4/spot/order_book"
			case m.Channel == "l2_snapshot":
				m.Request = "GET /api/v4/futures/usdt/order_book"
			}
			in := m.Input()
			in.URL = append(in.URL, "?contract=UNKNOWN_USDT"...)
			return in
		},
	}.Run(t, New())
}
