package kraken

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

var sub = oracle.Sub

func TestSession(t *testing.T) {
	s := New()
	subs := []source.Subscription{
		sub(market.ChannelBook, "BTC/USD", "depth", int64(11)),
		sub(market.ChannelTrades, "BTC/USD"),
		sub(market.ChannelCandles, "BTC/USD", "intervals", []string{"1m", "4h"}),
		sub(market.ChannelTicker, "BTC/USD", "event_trigger", "trades"),
		sub(market.ChannelBBO, "BTC/USD"),
		sub(market.ChannelInstruments, ""),
	}
	steps := oracle.Session(t, s, source.SessionRequest{Market: market.MarketSpot, Endpoint: "ws://127.0.0.1:1/v2", Subscriptions: subs}, 2)
	oracle.Tokens(t, steps[1].Subscribe)
	oracle.Rendered(t, steps[1].Subscribe, parts,
		`subscribe {"channel":"book","symbol":["BTC/USD"],"depth":25,"snapshot":true} [0]`,
		`subscribe {"channel":"trade","symbol":["BTC/USD"],"snapshot":true} [1]`,
		`subscribe {"channel":"ohlc","symbol":["BTC/USD"],"interval":1,"snapshot":true} [2]`,
		`subscribe {"channel":"ohlc","symbol":["BTC/USD"],"interval":240,"snapshot":true} [2]`,
		`subscribe {"channel":"ticker","symbol":["BTC/USD"],"event_trigger":"trades","snapshot":true} [3]`,
		`subscribe {"channel":"ticker","symbol":["BTC/USD"],"event_trigger":"bbo","snapshot":true} [4]`,
		`subscribe {"channel":"instrument","snapshot":true} [5]`,
	)
	oracle.Frames(t, s, source.FrameRequest{Market: market.MarketSpot, Unsubscribe: true, Subscriptions: subs[:1]}, parts,
		`unsubscribe {"channel":"book","symbol":["BTC/USD"],"depth":25} [0]`)
}

// parts of a frame: what it does, its parameters, the subscriptions.
func parts(f source.Frame) string {
	var r struct {
		Method string
		Params json.RawMessage
		ReqID  json.Number `json:"req_id"`
	}
	if err := json.Unmarshal([]byte(f.Data), &r); err != nil || r.ReqID.String() != f.Token {
		return fmt.Sprintf("%s %v", f.Data, err)
	}
	return fmt.Sprintf("%s %s %v", r.Method, r.Params, f.Subs)
}

func TestRefusals(t *testing.T) {
	s := New()
	oracle.RefusesFrames(t, s, market.MarketSpot, sub(market.ChannelFunding, "BTC/USD"), sub(market.ChannelCandles, "BTC/USD", "intervals", []string{"2m"}))
	// The book starts in the stream.
	oracle.RefusesRequests(t, s, source.RequestFor{Purpose: source.PurposeSnapshot, Subs: []source.Subscription{sub(market.ChannelBook, "BTC/USD")}})
	oracle.RefusesNames(t, s, "", "BTC", "BTC-", "BTC-USD:BTC", "BTC/USD")
}

func TestRequests(t *testing.T) {
	s := New()
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeHistory, From: 1688669597827736900, Subs: []source.Subscription{sub(market.ChannelTrades, "BTC/USD")}},
		"https://api.kraken.com/0/public/Trades?pair=BTC%2FUSD&since=1688669597827736900")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Base: "http://127.0.0.1:1"}, "http://127.0.0.1:1/0/public/AssetPairs")
}

// TestManifest: every channel can be had on each of its markets.
func TestManifest(t *testing.T) {
	most := oracle.Manifest(t, New(), func(m market.Market, c market.Channel) source.Subscription {
		if isContract(m) {
			return sub(c, "PF_XBTUSD")
		}
		return sub(c, "BTC/USD")
	})
	if most != 1 {
		t.Errorf("a subscription takes %d frames", most)
	}
}
