package kraken

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestSession(t *testing.T) {
	s := New()
	subs := []source.Subscription{
		{Channel: market.ChannelBook, Symbol: "BTC/USD", Config: schema.Values{"depth": int64(11)}},
		{Channel: market.ChannelTrades, Symbol: "BTC/USD"},
		{Channel: market.ChannelCandles, Symbol: "BTC/USD", Config: schema.Values{"intervals": []string{"1m", "4h"}}},
		{Channel: market.ChannelTicker, Symbol: "BTC/USD", Config: schema.Values{"event_trigger": "trades"}},
		{Channel: market.ChannelBBO, Symbol: "BTC/USD"},
		{Channel: market.ChannelInstruments},
	}
	script, err := s.Session(source.SessionRequest{Market: market.MarketSpot, Endpoint: "ws://127.0.0.1:1/v2", Subscriptions: subs})
	if err != nil || len(script.Steps) != 2 || script.Steps[0].Dial.URL != "ws://127.0.0.1:1/v2" {
		t.Fatalf("%+v, %v", script, err)
	}
	want := []string{
		`{"channel":"book","symbol":["BTC/USD"],"depth":25,"snapshot":true} [0]`,
		`{"channel":"trade","symbol":["BTC/USD"],"snapshot":true} [1]`,
		`{"channel":"ohlc","symbol":["BTC/USD"],"interval":1,"snapshot":true} [2]`,
		`{"channel":"ohlc","symbol":["BTC/USD"],"interval":240,"snapshot":true} [2]`,
		`{"channel":"ticker","symbol":["BTC/USD"],"event_trigger":"trades","snapshot":true} [3]`,
		`{"channel":"ticker","symbol":["BTC/USD"],"event_trigger":"bbo","snapshot":true} [4]`,
		`{"channel":"instrument","snapshot":true} [5]`,
	}
	tokens := map[string]bool{}
	for i, f := range script.Steps[1].Subscribe {
		if method, p := parts(t, f); method != "subscribe" || i >= len(want) || p != want[i] {
			t.Errorf("frame %d: %s %s", i, method, p)
		}
		tokens[f.Token] = true
	}
	if len(tokens) != len(want) {
		t.Errorf("%d tokens of %d frames", len(tokens), len(want))
	}
	frames, err := s.Frames(source.FrameRequest{Market: market.MarketSpot, Unsubscribe: true, Subscriptions: subs[:1]})
	if err != nil || len(frames) != 1 {
		t.Fatalf("%v, %v", frames, err)
	}
	if method, p := parts(t, frames[0]); method != "unsubscribe" || p != `{"channel":"book","symbol":["BTC/USD"],"depth":25} [0]` {
		t.Errorf("%s %s", method, p)
	}
}

func parts(t *testing.T, f source.Frame) (method, params string) {
	t.Helper()
	var r struct {
		Method string
		Params json.RawMessage
		ReqID  json.Number `json:"req_id"`
	}
	if err := json.Unmarshal([]byte(f.Data), &r); err != nil || r.ReqID.String() != f.Token {
		t.Fatalf("%s: %v", f.Data, err)
	}
	return r.Method, fmt.Sprintf("%s %v", r.Params, f.Subs)
}

func TestRefusals(t *testing.T) {
	s := New()
	for _, one := range []source.Subscription{
		{Channel: market.ChannelFunding, Symbol: "BTC/USD"},
		{Channel: market.ChannelCandles, Symbol: "BTC/USD", Config: schema.Values{"intervals": []string{"2m"}}},
	} {
		if f, err := s.Frames(source.FrameRequest{Subscriptions: []source.Subscription{one}}); err == nil {
			t.Errorf("%v", f)
		}
	}
	if r, err := s.Requests(source.RequestFor{Purpose: source.PurposeSnapshot, Subs: []source.Subscription{{Channel: market.ChannelBook, Symbol: "BTC/USD"}}}); err == nil {
		t.Errorf("the book starts in the stream, yet %v", r)
	}
	for _, n := range []string{"", "BTC", "BTC-", "BTC-USD-PERP", "BTC-USD:BTC", "BTC/USD"} {
		if m, symbol, err := s.Resolve(n); err == nil {
			t.Errorf("%q resolves to %s %s", n, m, symbol)
		}
	}
}

func TestRequests(t *testing.T) {
	r, err := New().Requests(source.RequestFor{Purpose: source.PurposeHistory, From: 1688669597827736900, Subs: []source.Subscription{{Channel: market.ChannelTrades, Symbol: "BTC/USD"}}})
	if err != nil || len(r) != 1 || r[0].URL != "https://api.kraken.com/0/public/Trades?pair=BTC%2FUSD&since=1688669597827736900" {
		t.Errorf("%v, %v", r, err)
	}
	r, err = New().Requests(source.RequestFor{Purpose: source.PurposeInstruments, Base: "http://127.0.0.1:1"})
	if err != nil || len(r) != 1 || r[0].URL != "http://127.0.0.1:1/0/public/AssetPairs" {
		t.Errorf("%v, %v", r, err)
	}
}

// TestManifest checks that every channel names an endpoint that exists and can be subscribed.
func TestManifest(t *testing.T) {
	s := New()
	m := s.Describe()
	for _, c := range m.Channels {
		if !slices.ContainsFunc(m.Markets[0].Endpoints, func(e source.Endpoint) bool { return e.Class == c.Class }) {
			t.Errorf("%s: no endpoint of class %q", c.Channel, c.Class)
		}
		if f, err := s.Frames(source.FrameRequest{Subscriptions: []source.Subscription{{Channel: c.Channel, Symbol: "BTC/USD"}}}); err != nil || len(f) != 1 {
			t.Errorf("%s: %v, %v", c.Channel, f, err)
		}
	}
}
