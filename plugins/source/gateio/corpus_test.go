package gateio

import (
	"strings"
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
			path := ""
			switch {
			case m.Request != "": // "GET /api/v4/spot/order_book", without the query it was sent with
				_, path, _ = strings.Cut(m.Request, " ")
			case m.Channel == "l2_snapshot" && m.Market == "spot":
				path = "/api/v4/spot/order_book"
			case m.Channel == "l2_snapshot":
				path = "/api/v4/futures/usdt/order_book"
			default:
				return source.Input{Kind: source.InputText}
			}
			return source.Input{Kind: source.InputHTTP, Status: 200, URL: []byte("https://api.example" + path + "?contract=UNKNOWN_USDT")}
		},
	}.Run(t, New())
}
