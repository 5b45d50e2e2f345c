package bitget

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
	s := New()
	subs := []source.Subscription{
		sub(market.ChannelTrades, "BTCUSDT"),
		sub(market.ChannelBook, "BTCUSDT", "feed", "books15"),
		sub(market.ChannelBook, "BTCPERP"),
		sub(market.ChannelBBO, "BTCUSDT"),
		sub(market.ChannelTicker, "BTCUSDT"),
		sub(market.ChannelFunding, "BTCUSDT"),
		sub(market.ChannelCandles, "BTCUSDT", "intervals", []string{"1m", "1d"}),
	}
	steps := oracle.Session(t, s, source.SessionRequest{Market: market.MarketLinear, Endpoint: "ws://127.0.0.1:1/v2/ws/public", Subscriptions: subs}, 2)
	oracle.Tokens(t, steps[1].Subscribe)
	oracle.Rendered(t, steps[1].Subscribe, parts,
		`subscribe {"instType":"USDT-FUTURES","channel":"trade","instId":"BTCUSDT"} [0]`,
		`subscribe {"instType":"USDT-FUTURES","channel":"books15","instId":"BTCUSDT"} [1]`,
		`subscribe {"instType":"USDC-FUTURES","channel":"books","instId":"BTCPERP"} [2]`,
		`subscribe {"instType":"USDT-FUTURES","channel":"books1","instId":"BTCUSDT"} [3]`,
		`subscribe {"instType":"USDT-FUTURES","channel":"ticker","instId":"BTCUSDT"} [4 5]`,
		`subscribe {"instType":"USDT-FUTURES","channel":"candle1m","instId":"BTCUSDT"} [6]`,
		`subscribe {"instType":"USDT-FUTURES","channel":"candle1Dutc","instId":"BTCUSDT"} [6]`,
	)
	oracle.Frames(t, s, source.FrameRequest{Market: market.MarketLinear, Class: classUnified, Subscriptions: []source.Subscription{sub(market.ChannelLiquidations, "")}}, parts,
		`subscribe {"instType":"usdt-futures","topic":"liquidation"} [0]`,
		`subscribe {"instType":"usdc-futures","topic":"liquidation"} [0]`)
	// A stream goes on for the channels that stay.
	oracle.Frames(t, s, source.FrameRequest{Market: market.MarketInverse, Unsubscribe: true,
		Subscriptions: []source.Subscription{sub(market.ChannelBook, "BTCUSD_261225"), sub(market.ChannelFunding, "BTCUSD_261225")},
		Live:          []source.Subscription{sub(market.ChannelMarkPrice, "BTCUSD_261225")}}, parts,
		`unsubscribe {"instType":"COIN-FUTURES","channel":"books","instId":"BTCUSD_261225"} [0]`)
}

// parts of a frame: what it does, its one argument, the subscriptions.
func parts(f source.Frame) string {
	var r struct {
		Op   string
		Args []json.RawMessage
	}
	if err := json.Unmarshal([]byte(f.Data), &r); err != nil || len(r.Args) != 1 {
		return fmt.Sprintf("%s %v", f.Data, err)
	}
	return fmt.Sprintf("%s %s %v", r.Op, r.Args[0], f.Subs)
}

func TestRequests(t *testing.T) {
	s := New()
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketLinear, From: 10_000_000, To: 20_000_000,
		Subs: []source.Subscription{sub(market.ChannelTrades, "BTCPERP")}},
		"https://api.bitget.com/api/v2/mix/market/fills-history?symbol=BTCPERP&productType=USDC-FUTURES&startTime=10&endTime=20&limit=1000")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketSpot, From: 10_000_000, To: 20_000_000,
		Subs: []source.Subscription{sub(market.ChannelTrades, "牛来USDT")}},
		"https://api.bitget.com/api/v2/spot/market/fills-history?symbol=%E7%89%9B%E6%9D%A5USDT&startTime=10&endTime=20&limit=1000")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketLinear, Base: "http://127.0.0.1:1"},
		"http://127.0.0.1:1/api/v2/mix/market/contracts?productType=USDT-FUTURES", "http://127.0.0.1:1/api/v2/mix/market/contracts?productType=USDC-FUTURES")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketSpot, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelInstruments, "")}},
		"http://h/api/v2/spot/public/symbols")
	if weight := oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketLinear, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelLongShortRatio, "BTCUSDT")}},
		"http://h/api/v2/mix/market/account-long-short?symbol=BTCUSDT&period=5m", "http://h/api/v2/mix/market/position-long-short?symbol=BTCUSDT&period=5m"); weight != 40 {
		t.Errorf("ratios weigh %d, want two seconds of what is allowed", weight)
	}
}

func TestRefusals(t *testing.T) {
	oracle.RefusesFrames(t, New(), market.MarketSpot, sub(market.ChannelLongShortRatio, "BTCUSDT"), sub(market.ChannelCandles, "BTCUSDT", "intervals", []string{"7m"}),
		sub(market.ChannelTrades, `BTC"USDT`))
	oracle.RefusesRequests(t, New(), source.RequestFor{Purpose: source.PurposePoll, Subs: []source.Subscription{sub(market.ChannelTicker, "BTCUSDT")}},
		source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketInverse, Subs: []source.Subscription{sub(market.ChannelLongShortRatio, "BTCUSD")}})
}

// TestManifest: every channel can be had on each of its markets.
func TestManifest(t *testing.T) {
	oracle.Manifest(t, New(), func(_ market.Market, c market.Channel) source.Subscription {
		if c == market.ChannelLiquidations {
			return sub(c, "")
		}
		return sub(c, "BTCUSDT")
	})
}

// TestAnswers carries out sessions of both versions of the API against the
// emulator: the venue answers with what was asked for, without an id.
func TestAnswers(t *testing.T) {
	e := emulator.Start(t, emulator.Options{Venue: "bitget", Market: market.MarketInverse, Rate: 200})
	steps := oracle.Session(t, New(), source.SessionRequest{Market: market.MarketInverse, Endpoint: e.URL() + "/v2/ws/public",
		Subscriptions: []source.Subscription{sub(market.ChannelBook, "BTCUSD"), sub(market.ChannelTrades, "NOPEUSD")}}, 2)
	w := oracle.Dial(t, New(), market.MarketInverse, steps[0].Dial.URL)
	book, nope := steps[1].Subscribe[0], steps[1].Subscribe[1]
	w.Refused(t, nope, "30001")
	w.Acknowledged(t, book)
	w.UntilRecords(t, market.KindBookSnapshot, market.KindBookDelta)
	end := oracle.Render(t, New(), source.FrameRequest{Market: market.MarketInverse, Unsubscribe: true, Subscriptions: []source.Subscription{sub(market.ChannelBook, "BTCUSD")}})
	w.Acknowledged(t, end[0])

	steps = oracle.Session(t, New(), source.SessionRequest{Market: market.MarketInverse, Class: classUnified, Endpoint: e.URL() + "/v3/ws/public",
		Subscriptions: []source.Subscription{sub(market.ChannelLiquidations, "")}}, 2)
	w = oracle.Dial(t, New(), market.MarketInverse, steps[0].Dial.URL)
	unknown := source.Frame{Data: `{"op":"subscribe","args":[{"instType":"spot","topic":"liquidation"}]}`, Token: "liquidation|spot|"}
	w.Refused(t, unknown, "30001") // it names no stream but in its text
	w.Acknowledged(t, steps[1].Subscribe[0])
	w.UntilRecords(t, market.KindLiquidation)
}
