package gateio

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

var sub = oracle.Sub

// parts of a frame: what it does, to which channel, with what, the subscriptions.
func parts(f source.Frame) string {
	var r struct {
		ID             uint32
		Channel, Event string
		Payload        []string
	}
	if err := json.Unmarshal([]byte(f.Data), &r); err != nil || strconv.Itoa(int(r.ID)) != f.Token || r.ID>>31 != 0 {
		return fmt.Sprintf("%s %v", f.Data, err)
	}
	return fmt.Sprintf("%s %s %s %v", r.Event, r.Channel, strings.Join(r.Payload, ","), f.Subs)
}

func TestSession(t *testing.T) {
	steps := oracle.Session(t, New(), source.SessionRequest{Market: market.MarketLinear, Endpoint: "ws://127.0.0.1:1/v4/ws/usdt", Subscriptions: []source.Subscription{
		sub(market.ChannelTrades, "BTC_USDT"),
		sub(market.ChannelBook, "BTC_USDT", "depth", int64(400)),
		sub(market.ChannelBook, "ETH_USDT", "depth", int64(20)),
		sub(market.ChannelBook, "BTC_USDT_20261225", "depth", int64(400)),
		sub(market.ChannelBBO, "BTC_USDT"),
		sub(market.ChannelTicker, "BTC_USDT"),
		sub(market.ChannelFunding, "BTC_USDT"),
		sub(market.ChannelMarkPrice, "BTC_USDT"),
		sub(market.ChannelCandles, "BTC_USDT", "intervals", []string{"1m", "7d"}),
		sub(market.ChannelLiquidations, "BTC_USDT"),
		sub(market.ChannelLongShortRatio, "BTC_USDT"),
	}}, 2)
	if h := steps[0].Dial.Header; h["X-Gate-Size-Decimal"] != "1" {
		t.Errorf("sizes come without decimals: %v", h)
	}
	oracle.Tokens(t, steps[1].Subscribe)
	oracle.Rendered(t, steps[1].Subscribe, parts,
		"subscribe futures.trades BTC_USDT [0]",
		"subscribe futures.obu ob.BTC_USDT.400 [1]",
		"subscribe futures.obu ob.ETH_USDT.50 [2]",
		"subscribe futures.order_book_update BTC_USDT_20261225,100ms,100 [3]",
		"subscribe futures.book_ticker BTC_USDT [4]",
		"subscribe futures.tickers BTC_USDT [5 6 7]",
		"subscribe futures.candlesticks 1m,BTC_USDT [8]",
		"subscribe futures.candlesticks 7d,BTC_USDT [8]",
		"subscribe futures.public_liquidates BTC_USDT [9]",
		"subscribe futures.contract_stats BTC_USDT,1m [10]",
	)
	// Tickers go on while one of their channels is wanted.
	oracle.Frames(t, New(), source.FrameRequest{Market: market.MarketLinear, Unsubscribe: true,
		Subscriptions: []source.Subscription{sub(market.ChannelFunding, "BTC_USDT"), sub(market.ChannelFunding, "ETH_USDT")},
		Live:          []source.Subscription{sub(market.ChannelTicker, "BTC_USDT")}}, parts, "unsubscribe futures.tickers ETH_USDT [1]")
	oracle.Frames(t, New(), source.FrameRequest{Market: market.MarketOption, Subscriptions: []source.Subscription{
		sub(market.ChannelBook, "BTC_USDT-20261225-100000-C"), sub(market.ChannelOptions, "BTC_USDT-20261225-100000-C"), sub(market.ChannelCandles, "BTC_USDT-20261225-100000-C"),
	}}, parts,
		"subscribe options.order_book_update BTC_USDT-20261225-100000-C,100ms,50 [0]",
		"subscribe options.contract_tickers BTC_USDT-20261225-100000-C [1]",
		"subscribe options.contract_candlesticks 1m,BTC_USDT-20261225-100000-C [2]")
	spot := oracle.Session(t, New(), source.SessionRequest{Market: market.MarketSpot, Endpoint: "ws://h/ws/v4/", Subscriptions: []source.Subscription{sub(market.ChannelBook, "BTC_USDT")}}, 2)
	oracle.Rendered(t, spot[1].Subscribe, parts, "subscribe spot.obu ob.BTC_USDT.400 [0]")
}

func TestRequests(t *testing.T) {
	book := func(m market.Market, symbol string) source.RequestFor {
		return source.RequestFor{Purpose: source.PurposeSnapshot, Market: m, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelBook, symbol)}}
	}
	s := New()
	oracle.Requests(t, s, book(market.MarketSpot, "BTC_USDT"), "http://h/api/v4/spot/order_book?currency_pair=BTC_USDT&limit=100&with_id=true")
	oracle.Requests(t, s, book(market.MarketLinear, "BTC_USD1"), "http://h/api/v4/futures/usd1/order_book?contract=BTC_USD1&limit=100&with_id=true")
	oracle.Requests(t, s, book(market.MarketLinear, "BTC_USDT_20261225"), "http://h/api/v4/delivery/usdt/order_book?contract=BTC_USDT_20261225&limit=100&with_id=true")
	oracle.Requests(t, s, book(market.MarketInverse, "BTC_USD"), "http://h/api/v4/futures/btc/order_book?contract=BTC_USD&limit=100&with_id=true")
	oracle.Requests(t, s, book(market.MarketOption, "BTC_USDT-20261225-100000-C"), "http://h/api/v4/options/order_book?contract=BTC_USDT-20261225-100000-C&limit=50&with_id=true")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketLinear, Subs: []source.Subscription{sub(market.ChannelTrades, "BTC_USDT")}},
		"https://api.gateio.ws/api/v4/futures/usdt/trades?contract=BTC_USDT&limit=1000")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketLinear, Base: "http://h"},
		"http://h/api/v4/futures/usdt/contracts", "http://h/api/v4/futures/usd1/contracts", "http://h/api/v4/delivery/usdt/contracts")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketOption, Base: "http://h"},
		"http://h/api/v4/options/contracts?underlying=BTC_USDT", "http://h/api/v4/options/contracts?underlying=ETH_USDT")
}

func TestRefusals(t *testing.T) {
	oracle.RefusesFrames(t, New(), market.MarketSpot, sub(market.ChannelFunding, "BTC_USDT"), sub(market.ChannelCandles, "BTC_USDT", "intervals", []string{"7m"}))
	oracle.RefusesFrames(t, New(), market.MarketOption, sub(market.ChannelLiquidations, "BTC_USDT-20261225-100000-C"))
	oracle.RefusesRequests(t, New(), source.RequestFor{Purpose: source.PurposePoll, Subs: []source.Subscription{sub(market.ChannelTicker, "BTC_USDT")}})
}

// TestManifest: every channel can be had on each of its markets, a contract's at
// the endpoint that its symbol tells.
func TestManifest(t *testing.T) {
	symbols := map[market.Market]string{market.MarketOption: "BTC_USDT-20261225-100000-C", market.MarketInverse: "BTC_USD"}
	oracle.Manifest(t, New(), func(m market.Market, c market.Channel) source.Subscription {
		if s := symbols[m]; s != "" {
			return sub(c, s)
		}
		return sub(c, "BTC_USDT")
	})
	for _, c := range New().Describe().Channels {
		for symbol, class := range map[string]string{"BTC_USDT": "", "BTC_USD1": classUSD1, "BTC_USDT_20261225": classDelivery} {
			if got := c.EndpointClass(nil, symbol); c.Markets[0] == market.MarketLinear && c.Transport == source.Stream && got != class {
				t.Errorf("%s of %s is of class %q", c.Channel, symbol, got)
			}
		}
	}
}

// TestBooks: order book V2 begins with a whole book, is refused a second time on
// a connection, and ends when it is given up.
func TestBooks(t *testing.T) {
	e := emulator.Start(t, emulator.Options{Venue: "gateio", Rate: 500})
	steps := oracle.Session(t, New(), source.SessionRequest{Market: market.MarketSpot, Endpoint: e.URL() + "/ws/v4/", Subscriptions: []source.Subscription{sub(market.ChannelBook, "BTC_USDT")}}, 2)
	w := oracle.Dial(t, New(), market.MarketSpot, steps[0].Dial.URL)
	subscribe := steps[1].Subscribe[0]
	w.Acknowledged(t, subscribe)
	w.UntilRecords(t, market.KindBookSnapshot, market.KindBookDelta)
	w.Acknowledged(t, subscribe) // though it is subscribed already
	end := oracle.Render(t, New(), source.FrameRequest{Market: market.MarketSpot, Unsubscribe: true, Subscriptions: []source.Subscription{sub(market.ChannelBook, "BTC_USDT")}})
	w.Send(t, end[0].Data)
	w.UntilEnd(t, "BTC_USDT")
	w.Send(t, `{"id":5,"channel":"spot.trades","event":"subscribe","payload":["NO_PAIR"]}`)
	w.UntilSignal(t, "a refusal", source.SignalRejected, "5\x002: unknown currency pair NO_PAIR")
}
