package bitmex

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

// words state a frame: what it does, to which topic, the subscriptions.
func words(f source.Frame) string {
	var r struct {
		Op   string
		Args []string
	}
	if err := json.Unmarshal([]byte(f.Data), &r); err != nil || len(r.Args) != 1 || strings.TrimPrefix(f.Token, givenUp) != r.Args[0] {
		return fmt.Sprintf("%s %v", f.Data, err)
	}
	return fmt.Sprintf("%s %s %v", r.Op, r.Args[0], f.Subs)
}

func TestSession(t *testing.T) {
	s := New()
	steps := oracle.Session(t, s, source.SessionRequest{Market: market.MarketInverse, Endpoint: "ws://127.0.0.1:1/realtime", Subscriptions: []source.Subscription{
		sub(market.ChannelTrades, "XBTUSD"),
		sub(market.ChannelBook, "XBTUSD"),
		sub(market.ChannelBook, "XBTZ26", "feed", "orderBook10"),
		sub(market.ChannelBBO, "XBTUSD"),
		sub(market.ChannelTicker, "XBTUSD"),
		sub(market.ChannelFunding, "XBTUSD"),
		sub(market.ChannelOpenInterest, "XBTUSD"),
		sub(market.ChannelCandles, "XBTUSD", "intervals", []string{"1m", "1d"}),
		sub(market.ChannelLiquidations, "XBTUSD"),
	}}, 2)
	oracle.Tokens(t, steps[1].Subscribe)
	oracle.Rendered(t, steps[1].Subscribe, words,
		"subscribe trade:XBTUSD [0]", "subscribe orderBookL2:XBTUSD [1]", "subscribe orderBook10:XBTZ26 [2]", "subscribe quote:XBTUSD [3]",
		"subscribe instrument:XBTUSD [4 5 6]", "subscribe tradeBin1m:XBTUSD [7]", "subscribe tradeBin1d:XBTUSD [7]", "subscribe liquidation:XBTUSD [8]")
	// Table instrument goes on while one of its channels is wanted.
	oracle.Frames(t, s, source.FrameRequest{Market: market.MarketInverse, Unsubscribe: true,
		Subscriptions: []source.Subscription{sub(market.ChannelTicker, "XBTUSD"), sub(market.ChannelMarkPrice, "XBTZ26")},
		Live:          []source.Subscription{sub(market.ChannelFunding, "XBTUSD")}}, words, "unsubscribe instrument:XBTZ26 [1]")
}

func TestRequests(t *testing.T) {
	s := New()
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketSpot, From: 1_780_544_850_001_400_000, To: 1_780_544_861_001_000_001,
		Subs: []source.Subscription{sub(market.ChannelTrades, "XBT_USDT")}},
		"https://www.bitmex.com/api/v1/trade?count=1000&endTime=2026-06-04T03%3A47%3A41.002Z&startTime=2026-06-04T03%3A47%3A30.001Z&symbol=XBT_USDT")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketLinear, Base: "http://h"}, "http://h/api/v1/instrument/active")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketLinear, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelInstruments, "")}},
		"http://h/api/v1/instrument/active")
}

// TestStatistics: those of all markets are requested at once, of which each feed
// takes its own.
func TestStatistics(t *testing.T) {
	all, err := New().Requests(source.RequestFor{Purpose: source.PurposeTickers, Market: market.MarketLinear, Base: "http://h"})
	if err != nil || len(all) != 1 || !strings.HasPrefix(all[0].URL, "http://h/api/v1/instrument?columns=%5B%22symbol%22%2C") || !strings.HasSuffix(all[0].URL, "&count=500&filter=%7B%22state%22%3A%22Open%22%7D") {
		t.Fatalf("%v %v", all, err)
	}
	in := oracle.Answer(all[0].URL, []byte(`[{"symbol":"XBTUSD","lastPrice":65000,"foreignNotional24h":52310000},{"symbol":"ETHUSD","lastPrice":3000,"volume24h":7,"foreignNotional24h":775.5,"timestamp":"2026-06-04T03:47:45.500Z"},{"symbol":"NEWUSDT"}]`))
	items, err := oracle.NewFeed(t, New(), market.MarketLinear).Decode(t, &in)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, it := range items {
		if it.Record != nil {
			got = append(got, fmt.Sprintf("%s %s %s %s", it.Record.Kind(), it.Instrument.Symbol, oracle.Dec(t, it.Record, "volume"), oracle.Dec(t, it.Record, "quote_volume")))
		}
	}
	if len(got) != 1 || got[0] != "ticker ETHUSD 7 775.5" {
		t.Errorf("%q", got)
	}
}

func TestRefusals(t *testing.T) {
	oracle.RefusesFrames(t, New(), market.MarketSpot, sub(market.ChannelFunding, "XBT_USDT"), sub(market.ChannelLiquidations, "XBT_USDT"),
		sub(market.ChannelCandles, "XBT_USDT", "intervals", []string{"7m"}), sub(market.ChannelTrades, `XBT"USDT`), sub(market.ChannelTrades, "XBT,ETH"), sub(market.ChannelTrades, ""))
	oracle.RefusesFrames(t, New(), market.MarketLinear, sub(market.ChannelOptions, "XBTUSDT"), sub(market.ChannelLongShortRatio, "XBTUSDT"))
	oracle.RefusesRequests(t, New(), source.RequestFor{Purpose: source.PurposeSnapshot, Subs: []source.Subscription{sub(market.ChannelBook, "XBTUSD")}},
		source.RequestFor{Purpose: source.PurposePoll, Subs: []source.Subscription{sub(market.ChannelTicker, "XBTUSD")}})
}

// TestManifest: every channel can be had on each of its markets.
func TestManifest(t *testing.T) {
	oracle.Manifest(t, New(), func(_ market.Market, c market.Channel) source.Subscription { return sub(c, "XBTUSD") })
}

// TestTickersByConnection: what one connection has said of an instrument is no
// part of what another says, and is forgotten when it ends.
func TestTickersByConnection(t *testing.T) {
	f := oracle.NewFeed(t, New(), market.MarketInverse)
	open := func(conn uint32, text string) string {
		t.Helper()
		items, err := f.Decode(t, &source.Input{Kind: source.InputText, Conn: conn, Recv: 1, Data: []byte(`{"table":"instrument",` + text)})
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range items {
			if it.Record != nil && it.Record.Kind() == market.KindTicker {
				return oracle.Dec(t, it.Record, "open").String()
			}
		}
		return "none"
	}
	const row, change = `"action":"partial","data":[{"symbol":"XBTUSD","lastPrice":2,"prevPrice24h":1}]}`, `"action":"update","data":[{"symbol":"XBTUSD","lastPrice":3}]}`
	for i, step := range []struct {
		conn       uint32
		text, want string
	}{{1, row, "1"}, {1, change, "1"}, {2, change, ""}, {2, row, "1"}, {1, change, "1"}} {
		if got := open(step.conn, step.text); got != step.want {
			t.Errorf("step %d: it opened at %q, want %q", i, got, step.want)
		}
	}
	if _, err := f.Decode(t, &source.Input{Kind: source.InputClose, Conn: 1, Recv: 1}); err != nil {
		t.Fatal(err)
	}
	if got := open(1, change); got != "" {
		t.Errorf("a connection that ended is remembered: it opened at %q", got)
	}
	if got := open(2, change); got != "1" {
		t.Errorf("the other one is forgotten: it opened at %q", got)
	}
}

// TestAnswers carries out a session against the emulator.
func TestAnswers(t *testing.T) {
	e := emulator.Start(t, emulator.Options{Venue: "bitmex", Market: market.MarketInverse, Rate: 200})
	steps := oracle.Session(t, New(), source.SessionRequest{Market: market.MarketInverse, Endpoint: e.URL() + "/realtime",
		Subscriptions: []source.Subscription{sub(market.ChannelBook, "XBTUSD"), sub(market.ChannelTrades, "NOPEUSD"), sub(market.ChannelFunding, "ETHUSDZ30_ETH")}}, 2)
	w := oracle.Dial(t, New(), market.MarketInverse, steps[0].Dial.URL)
	book, nope, state := steps[1].Subscribe[0], steps[1].Subscribe[1], steps[1].Subscribe[2]
	w.Refused(t, nope, "400: Unknown or expired symbol")
	w.Acknowledged(t, book)
	w.UntilRecords(t, market.KindBookSnapshot, market.KindBookDelta)
	w.Acknowledged(t, book) // though it is subscribed already
	w.Send(t, state.Data)
	w.UntilRecords(t, market.KindFunding, market.KindMarkPrice)
	end := oracle.Render(t, New(), source.FrameRequest{Market: market.MarketInverse, Unsubscribe: true, Subscriptions: []source.Subscription{sub(market.ChannelBook, "XBTUSD")}})
	w.Send(t, end[0].Data)
	w.UntilEnd(t, "XBTUSD")
}
