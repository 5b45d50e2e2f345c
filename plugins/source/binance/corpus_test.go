package binance

import (
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestCaptures(t *testing.T) {
	oracle.Captures{Pattern: "binance-*"}.Run(t, New())
	oracle.Captures{Pattern: "binanceus-*"}.Run(t, NewUS())
}

func TestMessages(t *testing.T) {
	oracle.Messages{
		Venue: "binance",
		Market: func(m *oracle.Message) (market.Market, string) {
			switch m.Market {
			case "linear", "linear-future":
				return market.MarketLinear, ""
			case "inverse", "inverse-future":
				return market.MarketInverse, ""
			}
			return market.MarketSpot, ""
		},
		Input: func(m *oracle.Message) source.Input {
			url := ""
			switch {
			case m.Request != "": // "GET /fapi/v1/depth", without the query it was sent with
				_, path, _ := strings.Cut(m.Request, " ")
				url = "https://api.example" + path + "?symbol=UNKNOWN"
			// Some responses stand in the collection as if they were frames.
			case strings.HasPrefix(m.Raw, `{"lastUpdateId"`):
				url = "https://api.example/depth?symbol=UNKNOWN"
			case strings.HasPrefix(m.Raw, `{"symbol"`) && strings.Contains(m.Raw, "openInterest"):
				url = "https://api.example/openInterest"
			default:
				return source.Input{Kind: source.InputText}
			}
			return source.Input{Kind: source.InputHTTP, Status: 200, URL: []byte(url)}
		},
	}.Run(t, New())
}
