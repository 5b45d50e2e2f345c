package bybit

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

var sub = oracle.Sub

func TestSession(t *testing.T) {
	for _, c := range []struct {
		m    market.Market
		subs []source.Subscription
		want []string
	}{
		{market.MarketLinear, []source.Subscription{
			sub(market.ChannelTrades, "BTCUSDT"),
			sub(market.ChannelBook, "BTCUSDT", "depth", int64(10)),
			sub(market.ChannelBook, "ETHUSDT"),
			sub(market.ChannelBook, "SOLUSDT", "depth", int64(5000)),
			sub(market.ChannelBBO, "BTCUSDT"),
			sub(market.ChannelTicker, "BTCUSDT"),
			sub(market.ChannelFunding, "BTCUSDT"),
			sub(market.ChannelMarkPrice, "BTCUSDT"),
			sub(market.ChannelOpenInterest, "ETHUSDT"),
			sub(market.ChannelCandles, "BTCUSDT", "intervals", []string{"1m", "1d", "1M"}),
			sub(market.ChannelLiquidations, "BTCUSDT"),
		}, []string{"publicTrade.BTCUSDT [0]", "orderbook.50.BTCUSDT [1]", "orderbook.200.ETHUSDT [2]", "orderbook.1000.SOLUSDT [3]", "orderbook.1.BTCUSDT [4]",
			"tickers.BTCUSDT [5 6 7]", "tickers.ETHUSDT [8]", "kline.1.BTCUSDT [9]", "kline.D.BTCUSDT [9]", "kline.M.BTCUSDT [9]", "allLiquidation.BTCUSDT [10]"}},
		{market.MarketOption, []source.Subscription{
			sub(market.ChannelTrades, ""),
			sub(market.ChannelTrades, "", "coins", []string{"SOL"}),
			sub(market.ChannelBook, "BTC-25DEC26-100000-C-USDT"),
			sub(market.ChannelBBO, "BTC-25DEC26-100000-C-USDT"),
			sub(market.ChannelOptions, "BTC-25DEC26-100000-C-USDT"),
		}, []string{"publicTrade.BTC [0]", "publicTrade.ETH [0]", "publicTrade.SOL [1]", "orderbook.100.BTC-25DEC26-100000-C-USDT [2]",
			"tickers.BTC-25DEC26-100000-C-USDT [3 4]"}},
	} {
		for op, unsubscribe := range map[string]bool{"subscribe": false, "unsubscribe": true} {
			oracle.Frames(t, New(), source.FrameRequest{Market: c.m, Unsubscribe: unsubscribe, Subscriptions: c.subs},
				func(f source.Frame) string { return parts(f, op) }, c.want...)
		}
		steps := oracle.Session(t, New(), source.SessionRequest{Market: c.m, Endpoint: "ws://127.0.0.1:1/x", Subscriptions: c.subs}, 2)
		oracle.Rendered(t, steps[1].Subscribe, func(f source.Frame) string { return parts(f, "subscribe") }, c.want...)
	}
	// Tickers go on while one of their channels is wanted.
	oracle.Frames(t, New(), source.FrameRequest{Market: market.MarketLinear, Unsubscribe: true, Live: []source.Subscription{sub(market.ChannelTicker, "BTCUSDT")},
		Subscriptions: []source.Subscription{sub(market.ChannelFunding, "BTCUSDT"), sub(market.ChannelFunding, "ETHUSDT")}},
		func(f source.Frame) string { return parts(f, "unsubscribe") }, "tickers.ETHUSDT [1]")
}

// parts of a frame: its one topic, the subscriptions.
func parts(f source.Frame, op string) string {
	var r struct {
		ID   string `json:"req_id"`
		Op   string
		Args []string
	}
	if err := json.Unmarshal([]byte(f.Data), &r); err != nil || r.ID != f.Token || r.Op != op || len(r.Args) != 1 || r.Args[0] != f.Token {
		return fmt.Sprintf("%s %v", f.Data, err)
	}
	return fmt.Sprintf("%s %v", f.Token, f.Subs)
}

// TestArgs: a connection that the manifest allows names no more topics than the
// venue takes, all lengths of candles among them; one that does is refused.
func TestArgs(t *testing.T) {
	p := New()
	all := make([]string, len(intervals))
	for i := range intervals {
		all[i] = intervals[i].Name
	}
	request := func(n, lengths int) source.SessionRequest {
		r := source.SessionRequest{Market: market.MarketLinear}
		for i := range n {
			r.Subscriptions = append(r.Subscriptions, sub(market.ChannelCandles, fmt.Sprintf("1000000COIN%dUSDT", 100+i), "intervals", all[:lengths]))
		}
		return r
	}
	n := p.Describe().Markets[0].Endpoints[0].MaxSubscriptions
	if _, err := p.Session(request(n, 6)); err != nil {
		t.Error(err)
	}
	if _, err := p.Session(request(n, len(all))); err == nil || !strings.Contains(err.Error(), "fewer lengths") {
		t.Errorf("%v", err)
	}
}

func TestRequests(t *testing.T) {
	s := New()
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketInverse},
		"https://api.bybit.com/v5/market/instruments-info?category=inverse&limit=1000")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketSpot, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelInstruments, "")}},
		"http://h/v5/market/instruments-info?category=spot&limit=1000")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketLinear, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelLongShortRatio, "BTCUSDT")}},
		"http://h/v5/market/account-ratio?category=linear&symbol=BTCUSDT&period=5min&limit=1")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketSpot, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelTrades, "BTCUSDT")}},
		"http://h/v5/market/recent-trade?category=spot&symbol=BTCUSDT&limit=60")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketOption, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelTrades, "BTC-1")}},
		"http://h/v5/market/recent-trade?category=option&symbol=BTC-1&limit=1000")
	var all []string
	for _, coin := range coins {
		all = append(all, "http://h/v5/market/instruments-info?category=option&limit=1000&baseCoin="+coin)
	}
	if oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketOption, Base: "http://h"}, all...); coins[1] != "ETH" {
		t.Errorf("%s", coins)
	}
}

func TestRefusals(t *testing.T) {
	oracle.RefusesFrames(t, New(), market.MarketLinear, sub(market.ChannelVolatilityIndex, "BTCUSDT"), sub(market.ChannelInstruments, ""),
		sub(market.ChannelCandles, "BTCUSDT", "intervals", []string{"7m"}))
	oracle.RefusesRequests(t, New(),
		source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketSpot, Subs: []source.Subscription{sub(market.ChannelLongShortRatio, "BTCUSDT")}},
		source.RequestFor{Purpose: source.PurposeSnapshot, Market: market.MarketSpot, Subs: []source.Subscription{sub(market.ChannelBook, "BTCUSDT")}})
}

// TestManifest: every channel can be had on each of its markets.
func TestManifest(t *testing.T) {
	oracle.Manifest(t, New(), func(_ market.Market, c market.Channel) source.Subscription { return sub(c, "BTCUSDT") })
}

// TestWire subscribes on the emulator: what is wrong is refused by its topic, the
// rest is acknowledged by its topic and then sent.
func TestWire(t *testing.T) {
	for m, symbol := range map[market.Market]string{market.MarketLinear: "BTCUSDT", market.MarketOption: "BTC-27DEC30-100000-C-USDT"} {
		t.Run(m.String(), func(t *testing.T) {
			e := emulator.Start(t, emulator.Options{Venue: "bybit", Market: m, Rate: 100})
			frames := oracle.Render(t, New(), source.FrameRequest{Market: m, Subscriptions: []source.Subscription{
				sub(market.ChannelTicker, "NONE"), sub(market.ChannelTrades, symbol), sub(market.ChannelBook, symbol), sub(market.ChannelTicker, symbol), sub(market.ChannelMarkPrice, symbol)}})
			w := oracle.Dial(t, New(), m, e.URL()+"/v5/public/"+m.String())
			for i, f := range frames {
				switch {
				case m == market.MarketOption && f.Token == "publicTrade.ETH": // it has no options of its own
					w.Send(t, f.Data)
				case i == 0:
					w.Refused(t, f, "error:handler not found")
				default:
					w.Acknowledged(t, f)
				}
			}
			w.Send(t, New().Describe().Markets[0].Endpoints[0].Heartbeat.Payload)
			w.Until(t, "a pong", func(it oracle.Item) bool { return it.Signal.Kind == source.SignalHeartbeat })
			w.UntilRecords(t, market.KindBookDelta, market.KindTrade)
			if m == market.MarketOption {
				return
			}
			bbo := oracle.Render(t, New(), source.FrameRequest{Market: m, Subscriptions: []source.Subscription{sub(market.ChannelBBO, symbol)}})
			w.Send(t, bbo[0].Data)
			w.Until(t, "the best bid and offer", func(it oracle.Item) bool {
				return it.Record != nil && it.Record.Kind() == market.KindBBO && it.Record.Seq() != market.None
			})
		})
	}
}
