package bybit

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

func sub(c market.Channel, symbol string, config ...any) source.Subscription {
	s := source.Subscription{Channel: c, Symbol: symbol, Config: schema.Values{}}
	for i := 0; i < len(config); i += 2 {
		s.Config[config[i].(string)] = config[i+1]
	}
	return s
}

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
			frames, err := New().Frames(source.FrameRequest{Market: c.m, Unsubscribe: unsubscribe, Subscriptions: c.subs})
			var got []string
			for _, f := range frames {
				got = append(got, parts(t, f, op))
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s %s: %q, %v", c.m, op, got, err)
			}
		}
		script, err := New().Session(source.SessionRequest{Market: c.m, Endpoint: "ws://127.0.0.1:1/x", Subscriptions: c.subs})
		if err != nil || len(script.Steps) != 2 || script.Steps[0].Dial.URL != "ws://127.0.0.1:1/x" || len(script.Steps[1].Subscribe) != len(c.want) {
			t.Errorf("%+v, %v", script, err)
		}
	}
}

func parts(t *testing.T, f source.Frame, op string) string {
	t.Helper()
	var r struct {
		ID   string `json:"req_id"`
		Op   string
		Args []string
	}
	if err := json.Unmarshal([]byte(f.Data), &r); err != nil || r.ID != f.Token || r.Op != op || len(r.Args) != 1 || r.Args[0] != f.Token {
		t.Fatalf("%s: %v", f.Data, err)
	}
	return fmt.Sprintf("%s %v", f.Token, f.Subs)
}

// TestArgs: a connection that the manifest allows names no more topics than the
// venue takes, all lengths of candles among them; one that does is refused.
func TestArgs(t *testing.T) {
	p := New()
	all := make([]string, len(intervals))
	for i := range intervals {
		all[i] = intervals[i].name
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
	for _, c := range []struct {
		r    source.RequestFor
		want []string
	}{
		{source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketInverse},
			[]string{"https://api.bybit.com/v5/market/instruments-info?category=inverse&limit=1000"}},
		{source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketSpot, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelInstruments, "")}},
			[]string{"http://h/v5/market/instruments-info?category=spot&limit=1000"}},
		{source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketLinear, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelLongShortRatio, "BTCUSDT")}},
			[]string{"http://h/v5/market/account-ratio?category=linear&symbol=BTCUSDT&period=5min&limit=1"}},
		{source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketSpot, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelTrades, "BTCUSDT")}},
			[]string{"http://h/v5/market/recent-trade?category=spot&symbol=BTCUSDT&limit=60"}},
		{source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketOption, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelTrades, "BTC-1")}},
			[]string{"http://h/v5/market/recent-trade?category=option&symbol=BTC-1&limit=1000"}},
	} {
		rs, err := New().Requests(c.r)
		var got []string
		for _, r := range rs {
			got = append(got, r.URL)
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v, %v", got, err)
		}
	}
	rs, err := New().Requests(source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketOption, Base: "http://h"})
	if err != nil || len(rs) != len(coins) || rs[1].URL != "http://h/v5/market/instruments-info?category=option&limit=1000&baseCoin=ETH" {
		t.Errorf("%v, %v", rs, err)
	}
}

func TestRefusals(t *testing.T) {
	s := New()
	for _, one := range []source.Subscription{
		sub(market.ChannelVolatilityIndex, "BTCUSDT"),
		sub(market.ChannelInstruments, ""),
		sub(market.ChannelCandles, "BTCUSDT", "intervals", []string{"7m"}),
	} {
		if f, err := s.Frames(source.FrameRequest{Market: market.MarketLinear, Subscriptions: []source.Subscription{one}}); err == nil {
			t.Errorf("%v", f)
		}
	}
	for _, r := range []source.RequestFor{
		{Purpose: source.PurposePoll, Market: market.MarketSpot, Subs: []source.Subscription{sub(market.ChannelLongShortRatio, "BTCUSDT")}},
		{Purpose: source.PurposeSnapshot, Market: market.MarketSpot, Subs: []source.Subscription{sub(market.ChannelBook, "BTCUSDT")}},
	} {
		if r, err := s.Requests(r); err == nil {
			t.Errorf("%v", r)
		}
	}
}

// TestManifest checks that every channel can be subscribed or polled on each of
// its markets, and stands once for each.
func TestManifest(t *testing.T) {
	s := New()
	m := s.Describe()
	seen := map[string]bool{}
	for _, c := range m.Channels {
		for _, on := range c.Markets {
			if !slices.ContainsFunc(m.Markets, func(x source.MarketSpec) bool { return x.Market == on }) {
				t.Errorf("channel %s on %s, which isn't a market", c.Channel, on)
			}
			if k := fmt.Sprint(c.Channel, on); seen[k] {
				t.Errorf("%s stands twice", k)
			} else {
				seen[k] = true
			}
			one := []source.Subscription{{Channel: c.Channel, Symbol: "BTCUSDT"}}
			if c.Transport == source.Poll {
				if r, err := s.Requests(source.RequestFor{Purpose: source.PurposePoll, Market: on, Subs: one}); err != nil || len(r) == 0 {
					t.Errorf("%s: %v, %v", c.Channel, r, err)
				}
			} else if f, err := s.Frames(source.FrameRequest{Market: on, Subscriptions: one}); err != nil || len(f) == 0 {
				t.Errorf("%s: %v, %v", c.Channel, f, err)
			}
		}
	}
}

// TestWire subscribes on the emulator: what is wrong is refused by its topic, the
// rest is acknowledged by its topic and then sent.
func TestWire(t *testing.T) {
	for m, symbol := range map[market.Market]string{market.MarketLinear: "BTCUSDT", market.MarketOption: "BTC-27DEC30-100000-C-USDT"} {
		t.Run(m.String(), func(t *testing.T) {
			e, err := emulator.New(emulator.Options{Venue: "bybit", Market: m, Rate: 100})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- e.Run(ctx) }()
			defer func() {
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				e.Close()
			}()
			frames, err := New().Frames(source.FrameRequest{Market: m, Subscriptions: []source.Subscription{
				sub(market.ChannelTicker, "NONE"), sub(market.ChannelTrades, symbol), sub(market.ChannelBook, symbol), sub(market.ChannelTicker, symbol), sub(market.ChannelMarkPrice, symbol)}})
			if err != nil {
				t.Fatal(err)
			}
			w := oracle.Dial(t, New(), m, e.URL()+"/v5/public/"+m.String())
			for i, f := range frames {
				w.Send(t, f.Data)
				if m == market.MarketOption && f.Token == "publicTrade.ETH" { // it has no options of its own
					continue
				}
				w.Until(t, "the answer to "+f.Token, func(it oracle.Item) bool {
					text := string(it.Signal.Text)
					if i == 0 {
						return it.Signal.Kind == source.SignalRejected && strings.HasPrefix(text, f.Token+"\x00error:handler not found")
					}
					return it.Signal.Kind == source.SignalSubscribed && text == f.Token
				})
			}
			w.Send(t, New().Describe().Markets[0].Endpoints[0].Heartbeat.Payload)
			w.Until(t, "a pong", func(it oracle.Item) bool { return it.Signal.Kind == source.SignalHeartbeat })
			for _, k := range []market.Kind{market.KindBookDelta, market.KindTrade} {
				w.Until(t, k.String(), func(it oracle.Item) bool { return it.Record != nil && it.Record.Kind() == k })
			}
			if m == market.MarketOption {
				return
			}
			bbo, err := New().Frames(source.FrameRequest{Market: m, Subscriptions: []source.Subscription{sub(market.ChannelBBO, symbol)}})
			if err != nil {
				t.Fatal(err)
			}
			w.Send(t, bbo[0].Data)
			w.Until(t, "the best bid and offer", func(it oracle.Item) bool {
				return it.Record != nil && it.Record.Kind() == market.KindBBO && it.Record.Seq() != market.None
			})
		})
	}
}
