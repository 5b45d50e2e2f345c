package htx

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

var sub = oracle.Sub

// text is a frame without its id.
func text(f source.Frame) string { return f.Data }

func subscribed(topic string) string {
	return `{"sub":"` + topic + `","id":"` + source.RequestID("sub", topic) + `"}`
}

func TestSession(t *testing.T) {
	steps := oracle.Session(t, New(), source.SessionRequest{Market: market.MarketLinear, Endpoint: "ws://127.0.0.1:1/linear-swap-ws", Subscriptions: []source.Subscription{
		sub(market.ChannelTrades, "BTC-USDT"),
		sub(market.ChannelBook, "BTC-USDT", "depth", int64(150)),
		sub(market.ChannelBook, "ETH-USDT", "depth", int64(20)),
		sub(market.ChannelBBO, "BTC-USDT-261225"),
		sub(market.ChannelTicker, "BTC-USDT"),
		sub(market.ChannelCandles, "BTC-USDT", "intervals", []string{"1m", "1M"}),
	}}, 2)
	oracle.Tokens(t, steps[1].Subscribe)
	deep, flat := "market.BTC-USDT.depth.size_150.high_freq", "market.ETH-USDT.depth.size_20.high_freq"
	oracle.Rendered(t, steps[1].Subscribe, text,
		subscribed("market.BTC-USDT.trade.detail"),
		`{"sub":"`+deep+`","data_type":"incremental","id":"`+source.RequestID("sub", deep)+`"}`,
		`{"sub":"`+flat+`","data_type":"incremental","id":"`+source.RequestID("sub", flat)+`"}`,
		subscribed("market.BTC-USDT-261225.bbo"), subscribed("market.BTC-USDT.detail"),
		subscribed("market.BTC-USDT.kline.1min"), subscribed("market.BTC-USDT.kline.1mon"))

	spot := oracle.Session(t, New(), source.SessionRequest{Market: market.MarketSpot, Class: classFeed, Endpoint: "ws://h/feed", Subscriptions: []source.Subscription{
		sub(market.ChannelBook, "btcusdt"), sub(market.ChannelBook, "ethusdt", "depth", int64(3)), sub(market.ChannelBook, "xrpusdt", "depth", int64(6)),
		sub(market.ChannelTicker, "btcusdt"), sub(market.ChannelCandles, "btcusdt", "intervals", []string{"1y"})}}, 2)
	oracle.Rendered(t, spot[1].Subscribe, text, subscribed("market.btcusdt.mbp.150"), subscribed("market.ethusdt.mbp.5"), subscribed("market.xrpusdt.mbp.20"),
		subscribed("market.btcusdt.ticker"), subscribed("market.btcusdt.kline.1year"))
}

// TestShared: contracts of a pair share its index, which goes on while one needs it;
// the notification endpoints have a protocol of their own.
func TestShared(t *testing.T) {
	perpetual, ends := sub(market.ChannelIndexPrice, "BTC-USDT"), sub(market.ChannelIndexPrice, "BTC-USDT-261225")
	if frames := oracle.Render(t, New(), source.FrameRequest{Market: market.MarketLinear, Subscriptions: []source.Subscription{perpetual, ends}}); len(frames) != 1 || len(frames[0].Subs) != 2 {
		t.Errorf("%+v", frames)
	}
	oracle.Frames(t, New(), source.FrameRequest{Market: market.MarketLinear, Unsubscribe: true, Subscriptions: []source.Subscription{ends}, Live: []source.Subscription{perpetual}}, text)
	oracle.Frames(t, New(), source.FrameRequest{Market: market.MarketLinear, Unsubscribe: true, Subscriptions: []source.Subscription{ends}}, text,
		`{"unsub":"market.BTC-USDT.index.1min","id":"`+source.RequestID("unsub", "market.BTC-USDT.index.1min")+`"}`)
	funding, all := "public.BTC-USD.funding_rate", "public.*.liquidation_orders"
	oracle.Frames(t, New(), source.FrameRequest{Market: market.MarketInverse, Class: classNotice, Subscriptions: []source.Subscription{
		sub(market.ChannelFunding, "BTC-USD"), sub(market.ChannelLiquidations, ""), sub(market.ChannelIndexPrice, "BTC261225"), sub(market.ChannelMarkPrice, "BTC261225")}}, text,
		`{"op":"sub","cid":"`+source.RequestID("sub", funding)+`","topic":"`+funding+`"}`, `{"op":"sub","cid":"`+source.RequestID("sub", all)+`","topic":"`+all+`"}`,
		subscribed("market.BTC-USD.index.1min"), subscribed("market.BTC261225.mark_price.1min"))
}

func TestRequests(t *testing.T) {
	s := New()
	rs, err := s.Requests(source.RequestFor{Purpose: source.PurposeSnapshot, Market: market.MarketSpot, Subs: []source.Subscription{sub(market.ChannelBook, "btcusdt", "depth", int64(5))}})
	if err != nil || len(rs) != 1 || !rs[0].Socket || rs[0].Body != `{"req":"market.btcusdt.mbp.5","id":"`+source.RequestID("req", "market.btcusdt.mbp.5")+`"}` {
		t.Errorf("%+v, %v", rs, err)
	}
	ask := func(p source.Purpose, m market.Market, c market.Channel, symbol string) source.RequestFor {
		return source.RequestFor{Purpose: p, Market: m, Base: "http://h", Subs: []source.Subscription{sub(c, symbol)}}
	}
	oracle.Requests(t, s, ask(source.PurposeHistory, market.MarketSpot, market.ChannelTrades, "btcusdt"), "http://h/market/history/trade?symbol=btcusdt&size=2000")
	oracle.Requests(t, s, ask(source.PurposeHistory, market.MarketLinear, market.ChannelTrades, "BTC-USDT"), "http://h/linear-swap-ex/market/history/trade?contract_code=BTC-USDT&size=2000")
	oracle.Requests(t, s, ask(source.PurposeHistory, market.MarketInverse, market.ChannelTrades, "BTC-USD"), "http://h/swap-ex/market/history/trade?contract_code=BTC-USD&size=2000")
	oracle.Requests(t, s, ask(source.PurposeHistory, market.MarketInverse, market.ChannelTrades, "BTC261225"), "http://h/market/history/trade?symbol=BTC261225&size=2000")
	oracle.Requests(t, s, ask(source.PurposePoll, market.MarketLinear, market.ChannelOpenInterest, "龙虾-USDT"), "http://h/linear-swap-api/v1/swap_open_interest?contract_code=%E9%BE%99%E8%99%BE-USDT")
	oracle.Requests(t, s, ask(source.PurposePoll, market.MarketLinear, market.ChannelOpenInterest, "BTC-USDT-261225"), "http://h/linear-swap-api/v1/swap_open_interest?contract_code=BTC-USDT-261225&business_type=futures")
	oracle.Requests(t, s, ask(source.PurposePoll, market.MarketInverse, market.ChannelOpenInterest, "BTC261225"), "http://h/api/v1/contract_open_interest?contract_code=BTC261225")
	oracle.Requests(t, s, ask(source.PurposePoll, market.MarketInverse, market.ChannelLongShortRatio, "BTC-USD"),
		"http://h/swap-api/v1/swap_elite_account_ratio?contract_code=BTC-USD&period=5min", "http://h/swap-api/v1/swap_elite_position_ratio?contract_code=BTC-USD&period=5min")
	for m, path := range map[market.Market]string{market.MarketSpot: "/market/tickers", market.MarketLinear: "/linear-swap-ex/market/detail/batch_merged", market.MarketInverse: "/swap-ex/market/detail/batch_merged"} {
		oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeTickers, Market: m, Base: "http://h"}, "http://h"+path)
	}
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketSpot}, "https://api.huobi.pro/v1/settings/common/market-symbols")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketLinear}, "https://api.hbdm.com/linear-swap-api/v1/swap_contract_info?business_type=all")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketInverse},
		"https://api.hbdm.com/swap-api/v1/swap_contract_info", "https://api.hbdm.com/api/v1/contract_contract_info")
}

func TestRefusals(t *testing.T) {
	oracle.RefusesFrames(t, New(), market.MarketSpot, sub(market.ChannelFunding, "btcusdt"), sub(market.ChannelCandles, "btcusdt", "intervals", []string{"7m"}),
		sub(market.ChannelMarkPrice, "btcusdt"), sub(market.ChannelLiquidations, ""))
	oracle.RefusesFrames(t, New(), market.MarketLinear, sub(market.ChannelCandles, "BTC-USDT", "intervals", []string{"1y"}), sub(market.ChannelOptions, "BTC-USDT"))
	oracle.RefusesRequests(t, New(), source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketSpot, Subs: []source.Subscription{sub(market.ChannelOpenInterest, "btcusdt")}},
		source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketLinear, Subs: []source.Subscription{sub(market.ChannelLongShortRatio, "BTC-USDT-261225")}},
		source.RequestFor{Purpose: source.PurposeSnapshot, Market: market.MarketLinear, Subs: []source.Subscription{sub(market.ChannelBook, "BTC-USDT")}})
}

// TestManifest: every channel can be had on each of its markets; what ends and is
// settled in its coin has an endpoint of its own.
func TestManifest(t *testing.T) {
	symbols := map[market.Market]string{market.MarketSpot: "btcusdt", market.MarketLinear: "BTC-USDT", market.MarketInverse: "BTC-USD"}
	oracle.Manifest(t, New(), func(m market.Market, c market.Channel) source.Subscription {
		if c == market.ChannelLiquidations {
			return sub(c, "")
		}
		return sub(c, symbols[m])
	})
	for _, c := range New().Describe().Channels {
		if c.Channel != market.ChannelTrades || c.Markets[0] != market.MarketInverse {
			continue
		}
		for symbol, class := range map[string]string{"BTC-USD": "", "BTC261225": classDated} {
			if got := c.EndpointClass(nil, symbol); got != class {
				t.Errorf("%s is of class %q", symbol, got)
			}
		}
	}
}

// TestBooks carries out sessions against the emulator: spot's changes come first
// and the whole book on request, on the same connection; a contract's stream
// begins with it, and ends when it is given up.
func TestBooks(t *testing.T) {
	e := emulator.Start(t, emulator.Options{Venue: "htx", Rate: 500})
	want := []source.Subscription{sub(market.ChannelBook, "btcusdt")}
	steps := oracle.Session(t, New(), source.SessionRequest{Market: market.MarketSpot, Class: classFeed, Endpoint: e.URL() + "/feed", Subscriptions: want}, 2)
	w := oracle.Dial(t, New(), market.MarketSpot, steps[0].Dial.URL)
	w.Acknowledged(t, steps[1].Subscribe[0])
	w.UntilRecords(t, market.KindBookDelta)
	rs, err := New().Requests(source.RequestFor{Purpose: source.PurposeSnapshot, Market: market.MarketSpot, Subs: want})
	if err != nil {
		t.Fatal(err)
	}
	w.Send(t, rs[0].Body)
	w.UntilRecords(t, market.KindBookSnapshot, market.KindBookDelta)
	w.Send(t, `{"req":"market.nope.mbp.150","id":"5"}`)
	w.UntilSignal(t, "a refusal", source.SignalRejected, "5\x00bad-request: invalid topic market.nope.mbp.150")

	e = emulator.Start(t, emulator.Options{Venue: "htx", Market: market.MarketInverse, Rate: 500, Symbols: []string{"BTC-USD:BTC-20301227"}})
	want = []source.Subscription{sub(market.ChannelBook, "BTC301227")}
	steps = oracle.Session(t, New(), source.SessionRequest{Market: market.MarketInverse, Class: classDated, Endpoint: e.URL() + "/ws", Subscriptions: want}, 2)
	w = oracle.Dial(t, New(), market.MarketInverse, steps[0].Dial.URL)
	w.Acknowledged(t, steps[1].Subscribe[0])
	w.UntilRecords(t, market.KindBookSnapshot, market.KindBookDelta)
	end := oracle.Render(t, New(), source.FrameRequest{Market: market.MarketInverse, Unsubscribe: true, Subscriptions: want})
	w.Send(t, end[0].Data)
	w.UntilEnd(t, want[0].Symbol)
}

// TestNotifications: funding comes by the other protocol, whose pings want "op".
func TestNotifications(t *testing.T) {
	e := emulator.Start(t, emulator.Options{Venue: "htx", Market: market.MarketLinear, Rate: 100, PingEvery: 50_000_000})
	steps := oracle.Session(t, New(), source.SessionRequest{Market: market.MarketLinear, Class: classNotice, Endpoint: e.URL() + "/linear-swap-notification",
		Subscriptions: []source.Subscription{sub(market.ChannelFunding, "BTC-USDT"), sub(market.ChannelFunding, "NO-USDT")}}, 2)
	w := oracle.Dial(t, New(), market.MarketLinear, steps[0].Dial.URL)
	for _, f := range steps[1].Subscribe {
		w.Send(t, f.Data)
	}
	w.UntilSignal(t, "the acknowledgement", source.SignalSubscribed, steps[1].Subscribe[0].Token)
	w.UntilRecords(t, market.KindFunding)
	w.UntilSignal(t, "a refusal", source.SignalRejected, steps[1].Subscribe[1].Token+"\x002011: ")
	w.Until(t, "what answers a ping", func(i oracle.Item) bool {
		return i.Record == nil && i.Signal.Kind == source.SignalReply && len(i.Signal.Text) > len(`{"op":"pong"`) && string(i.Signal.Text[:12]) == `{"op":"pong"`
	})
}

// TestHistory: the trades that a stream begins with are of before it; they are no
// more after the next frame, on another connection, or when this one closed.
func TestHistory(t *testing.T) {
	feed := oracle.NewFeed(t, New(), market.MarketSpot)
	origin := func(conn uint32, ts string) (o market.Origin) {
		t.Helper()
		in := source.Input{Kind: source.InputText, Conn: conn, Recv: 1, Data: []byte(`{"ch":"market.btcusdt.trade.detail","ts":` + ts + `,"tick":{"id":1,"ts":` + ts + `,"data":[{"id":1,"ts":` + ts + `,"tradeId":7,"amount":1,"price":1,"direction":"buy"}]}}`)}
		items, err := feed.Decode(t, &in)
		if err != nil {
			t.Fatal(err)
		}
		return items[len(items)-1].Record.Origin()
	}
	feeds := func(conn uint32, k source.InputKind, text string) {
		t.Helper()
		if _, err := feed.Decode(t, &source.Input{Kind: k, Conn: conn, Recv: 1, Data: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	const ack = `{"id":"1","status":"ok","subbed":"market.btcusdt.trade.detail","ts":1790134831900}`
	feeds(1, source.InputText, ack)
	for i, x := range []struct {
		conn uint32
		ts   string
		want market.Origin
	}{
		{2, "1790134831800", market.OriginLive}, {1, "1790134831800", market.OriginHistory}, {1, "1790134831800", market.OriginLive},
	} {
		if got := origin(x.conn, x.ts); got != x.want {
			t.Errorf("%d: origin %d, want %d", i, got, x.want)
		}
	}
	feeds(1, source.InputText, ack)
	if got := origin(1, "1790134831900"); got != market.OriginLive {
		t.Errorf("a trade of the time of the answer has origin %d", got)
	}
	feeds(1, source.InputText, ack)
	feeds(1, source.InputClose, "network")
	if got := origin(1, "1790134831800"); got != market.OriginLive {
		t.Errorf("a trade of another connection with the number has origin %d", got)
	}
}
