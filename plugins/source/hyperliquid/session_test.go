package hyperliquid

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

var sub = oracle.Sub

func TestSession(t *testing.T) {
	subs := []source.Subscription{
		sub(market.ChannelTrades, "BTC"),
		sub(market.ChannelBook, "BTC", "depth", int64(5)),
		sub(market.ChannelBook, "xyz:SP500"),
		sub(market.ChannelBook, "SOL", "depth", int64(6)),
		sub(market.ChannelBBO, "BTC"),
		sub(market.ChannelTicker, "BTC"),
		sub(market.ChannelFunding, "BTC"),
		sub(market.ChannelOpenInterest, "ETH"),
		sub(market.ChannelIndexPrice, "BTC"),
		sub(market.ChannelCandles, "BTC", "intervals", []string{"1m", "1M"}),
		sub(market.ChannelCandles, "ETH"),
	}
	want := []string{"trades BTC [0]", "l2Book BTC fast [1]", "l2Book xyz:SP500 [2]", "l2Book SOL [3]", "bbo BTC [4]", "activeAssetCtx BTC [5 6 8]",
		"activeAssetCtx ETH [7]", "candle BTC 1m [9]", "candle BTC 1M [9]", "candle ETH 1m [10]"}
	for method, unsubscribe := range map[string]bool{"subscribe": false, "unsubscribe": true} {
		oracle.Frames(t, New(), source.FrameRequest{Market: market.MarketLinear, Unsubscribe: unsubscribe, Subscriptions: subs},
			func(f source.Frame) string { return parts(f, method) }, want...)
	}
	steps := oracle.Session(t, New(), source.SessionRequest{Market: market.MarketLinear, Endpoint: "ws://127.0.0.1:1/ws", Subscriptions: subs}, 2)
	oracle.Rendered(t, steps[1].Subscribe, func(f source.Frame) string { return parts(f, "subscribe") }, want...)
	oracle.Tokens(t, steps[1].Subscribe)
	// What another channel needs isn't given up.
	oracle.Frames(t, New(), source.FrameRequest{Market: market.MarketLinear, Unsubscribe: true, Subscriptions: subs[4:7], Live: subs[8:9]},
		func(f source.Frame) string { return parts(f, "unsubscribe") }, "bbo BTC [0]")
}

// parts of a frame: what it asks for, the subscriptions.
func parts(f source.Frame, method string) string {
	var r struct {
		Method       string
		Subscription subscription
	}
	if err := json.Unmarshal([]byte(f.Data), &r); err != nil || r.Method != method || r.Subscription.token() != f.Token {
		return fmt.Sprintf("%s %s %v", f.Token, f.Data, err)
	}
	if r.Subscription.Fast {
		return fmt.Sprintf("%s fast %v", f.Token, f.Subs)
	}
	return fmt.Sprintf("%s %v", f.Token, f.Subs)
}

func TestRequests(t *testing.T) {
	s := New()
	if w := oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketLinear},
		`POST https://api.hyperliquid.xyz/info {"type":"allPerpMetas"}`); w != 20 {
		t.Errorf("weight %d", w)
	}
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketSpot, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelInstruments, "")}},
		`POST http://h/info {"type":"spotMeta"}`)
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketLinear, Base: "http://h",
		Subs: []source.Subscription{sub(market.ChannelTrades, "BTC"), sub(market.ChannelTrades, "xyz:SP500")}},
		`POST http://h/info {"coin":"BTC","type":"recentTrades"}`, `POST http://h/info {"coin":"xyz:SP500","type":"recentTrades"}`)
}

func TestRefusals(t *testing.T) {
	oracle.RefusesFrames(t, New(), market.MarketLinear, sub(market.ChannelLiquidations, "BTC"), sub(market.ChannelInstruments, ""),
		sub(market.ChannelCandles, "BTC", "intervals", []string{"2m"}))
	if _, err := New().Session(source.SessionRequest{Subscriptions: []source.Subscription{sub(market.ChannelOptions, "BTC")}}); err == nil {
		t.Error("a session with options is rendered")
	}
	oracle.RefusesRequests(t, New(),
		source.RequestFor{Purpose: source.PurposeSnapshot, Market: market.MarketSpot, Subs: []source.Subscription{sub(market.ChannelBook, "@107")}},
		source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketSpot, Subs: []source.Subscription{sub(market.ChannelTrades, "")}},
		source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketSpot, Subs: []source.Subscription{sub(market.ChannelTicker, "@107")}})
}

// TestManifest: every channel can be had on each of its markets, and the limits of
// an address hold over all the connections that it may have.
func TestManifest(t *testing.T) {
	oracle.Manifest(t, New(), func(_ market.Market, c market.Channel) source.Subscription { return sub(c, "BTC") })
	for _, m := range New().Describe().Markets {
		e := m.Endpoints[0]
		if m.MaxConns*e.MaxSubscriptions > 1000 || m.MaxConns*e.Messages.N > 2000 || e.Heartbeat.Every+e.Heartbeat.Timeout > 65e9 || !e.Heartbeat.Idle {
			t.Errorf("%s: %d connections of %d subscriptions and %d messages, %+v", m.Market, m.MaxConns, e.MaxSubscriptions, e.Messages.N, e.Heartbeat)
		}
	}
}

// TestWire subscribes on the emulator: what is refused is known by its token, the
// rest is acknowledged and then sent; what was traded before comes as history.
func TestWire(t *testing.T) {
	for m, symbol := range map[market.Market]string{market.MarketLinear: "BTC", market.MarketSpot: "@107"} {
		t.Run(m.String(), func(t *testing.T) {
			e := emulator.Start(t, emulator.Options{Venue: "hyperliquid", Market: m, Rate: 200})
			subs := []source.Subscription{sub(market.ChannelTrades, symbol), sub(market.ChannelBook, symbol), sub(market.ChannelBBO, symbol),
				sub(market.ChannelTicker, symbol), sub(market.ChannelMarkPrice, symbol), sub(market.ChannelCandles, symbol)}
			frames := oracle.Render(t, New(), source.FrameRequest{Market: m, Subscriptions: subs})
			w := oracle.Dial(t, New(), m, e.URL()+"/ws")
			if err := e.Inject(emulator.Fault{Kind: emulator.FaultReject}); err != nil {
				t.Fatal(err)
			}
			w.Refused(t, frames[0], "Invalid subscription")
			w.Send(t, frames[0].Data)
			w.Until(t, "a live trade", func(it oracle.Item) bool {
				return it.Record != nil && it.Record.Kind() == market.KindTrade && it.Record.Origin() == market.OriginLive
			})
			w = oracle.Dial(t, New(), m, e.URL()+"/ws")
			w.Send(t, frames[0].Data)
			w.Until(t, "a trade of before", func(it oracle.Item) bool { return it.Record != nil && it.Record.Origin() == market.OriginHistory })
			for range 2 { // what is subscribed already is acknowledged too
				for _, f := range frames {
					w.Acknowledged(t, f)
				}
			}
			w.Send(t, New().Describe().Markets[0].Endpoints[0].Heartbeat.Payload)
			w.Until(t, "a pong", func(it oracle.Item) bool { return it.Signal.Kind == source.SignalHeartbeat })
			w.UntilRecords(t, market.KindTrade, market.KindBookSnapshot, market.KindBBO, market.KindTicker, market.KindMarkPrice, market.KindCandle)
			end := oracle.Render(t, New(), source.FrameRequest{Market: m, Unsubscribe: true, Subscriptions: subs[1:2]})
			w.Send(t, end[0].Data)
			w.UntilEnd(t, symbol)
		})
	}
}
