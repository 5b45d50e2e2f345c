package deribit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

var sub = oracle.Sub

// parts of a call, after its id was checked.
func parts(f source.Frame) string {
	var r struct {
		JSONRPC string
		ID      json.Number
		Method  string
		Params  struct{ Channels []string }
	}
	err := json.Unmarshal([]byte(f.Data), &r)
	n, off := callOf([]byte(f.Token))
	if err != nil || r.JSONRPC != "2.0" || r.ID.String() != f.Token || n != len(r.Params.Channels) || off != (r.Method == "public/unsubscribe") {
		return fmt.Sprintf("token %s (%d channels, unsubscribe %v): %s: %v", f.Token, n, off, f.Data, err)
	}
	if n > 3 {
		return fmt.Sprintf("%s %d %v", r.Method, n, len(f.Subs))
	}
	return fmt.Sprintf("%s %v %v", r.Method, r.Params.Channels, f.Subs)
}

func TestSession(t *testing.T) {
	s := New()
	subs := []source.Subscription{
		sub(market.ChannelTrades, "BTC-PERPETUAL", "interval", "agg2"),
		sub(market.ChannelLiquidations, "BTC-PERPETUAL"),
		sub(market.ChannelBook, "BTC-PERPETUAL", "interval", "100ms"),
		sub(market.ChannelBBO, "BTC-PERPETUAL"),
		sub(market.ChannelTicker, "BTC-PERPETUAL"),
		sub(market.ChannelFunding, "BTC-PERPETUAL"),
		sub(market.ChannelMarkPrice, "BTC-PERPETUAL"),
		sub(market.ChannelCandles, "BTC-PERPETUAL", "intervals", []string{"1m", "1d"}),
		sub(market.ChannelVolatilityIndex, "BTC-25DEC26"),
		sub(market.ChannelVolatilityIndex, "BTC-PERPETUAL"),
	}
	steps := oracle.Session(t, s, source.SessionRequest{Market: market.MarketInverse, Endpoint: "ws://127.0.0.1:1/ws/api/v2", Subscriptions: subs}, 3)
	if hello := steps[1].Send; hello.Data != `{"jsonrpc":"2.0","id":1,"method":"public/set_heartbeat","params":{"interval":30}}` || hello.Token != "1" {
		t.Errorf("%+v", hello)
	}
	oracle.Rendered(t, steps[2].Subscribe, parts,
		"public/subscribe [trades.BTC-PERPETUAL.agg2] [0]",
		"public/subscribe [trades.BTC-PERPETUAL.100ms] [1]",
		"public/subscribe [book.BTC-PERPETUAL.100ms] [2]",
		"public/subscribe [quote.BTC-PERPETUAL] [3]",
		"public/subscribe [ticker.BTC-PERPETUAL.100ms] [4 5 6]",
		"public/subscribe [chart.trades.BTC-PERPETUAL.1] [7]",
		"public/subscribe [chart.trades.BTC-PERPETUAL.1D] [7]",
		"public/subscribe [deribit_volatility_index.btc_usd] [8 9]",
	)
}

func TestFrames(t *testing.T) {
	s := New()
	var many []source.Subscription
	for i := range 501 {
		many = append(many, sub(market.ChannelBook, "BTC-25DEC26-"+strconv.Itoa(i)+"-C"))
	}
	perp := func(c market.Channel) source.Subscription { return sub(c, "BTC-PERPETUAL") }
	for _, c := range []struct {
		r    source.FrameRequest
		want []string
	}{
		{source.FrameRequest{Subscriptions: many}, []string{"public/subscribe 500 500", "public/subscribe [book.BTC-25DEC26-500-C.100ms] [500]"}},
		{source.FrameRequest{Subscriptions: []source.Subscription{perp(market.ChannelBook)}, Unsubscribe: true}, []string{"public/unsubscribe [book.BTC-PERPETUAL.100ms] [0]"}},
		// The ticker's channel goes on for the mark price.
		{source.FrameRequest{Subscriptions: []source.Subscription{perp(market.ChannelTicker), perp(market.ChannelTrades)}, Live: []source.Subscription{perp(market.ChannelMarkPrice)}, Unsubscribe: true},
			[]string{"public/unsubscribe [trades.BTC-PERPETUAL.100ms] [1]"}},
		{source.FrameRequest{Subscriptions: []source.Subscription{perp(market.ChannelFunding), perp(market.ChannelTicker)}, Unsubscribe: true}, []string{"public/unsubscribe [ticker.BTC-PERPETUAL.100ms] [0 1]"}},
	} {
		oracle.Frames(t, s, c.r, parts, c.want...)
	}
}

func TestRequests(t *testing.T) {
	s := New()
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketInverse, From: 10, To: 20, Subs: []source.Subscription{sub(market.ChannelTrades, "BTC-PERPETUAL")}},
		"https://www.deribit.com/api/v2/public/get_last_trades_by_instrument?instrument_name=BTC-PERPETUAL&start_seq=10&end_seq=20&count=1000&sorting=asc")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketInverse, Base: "http://127.0.0.1:1"},
		"http://127.0.0.1:1/api/v2/public/get_instruments?currency=any&kind=future")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketSpot, Base: "http://h"},
		"http://h/api/v2/public/get_instruments?currency=any&kind=spot")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketOption, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelInstruments, "")}},
		"http://h/api/v2/public/get_instruments?currency=any&kind=option")
}

func TestRefusals(t *testing.T) {
	s := New()
	for _, one := range []source.Subscription{sub(market.ChannelLongShortRatio, "BTC-PERPETUAL"), sub(market.ChannelCandles, "BTC-PERPETUAL", "intervals", []string{"7m"})} {
		oracle.RefusesFrames(t, s, market.MarketInverse, one)
		if f, err := s.Frames(source.FrameRequest{Live: []source.Subscription{one}}); err == nil {
			t.Errorf("%v", f)
		}
	}
	book := []source.Subscription{sub(market.ChannelBook, "BTC-PERPETUAL")}
	oracle.RefusesRequests(t, s, source.RequestFor{Purpose: source.PurposePoll, Subs: book}, source.RequestFor{Purpose: source.PurposeSnapshot, Subs: book})
}

// TestInUse: of a ticker's frame, a live feed gives what its channels are.
func TestInUse(t *testing.T) {
	frame := benchFrames[slices.IndexFunc(benchFrames, func(f oracle.Frame) bool { return f.Name == "option" })].Text
	for _, c := range []struct {
		channels []market.Channel
		want     []market.Kind
	}{
		{[]market.Channel{market.ChannelBBO, market.ChannelTicker}, []market.Kind{market.KindTicker}}, // quotes give the other
		{[]market.Channel{market.ChannelOptions}, []market.Kind{market.KindOptionSummary}},
		{[]market.Channel{market.ChannelMarkPrice, market.ChannelIndexPrice, market.ChannelOpenInterest, market.ChannelFunding},
			[]market.Kind{market.KindMarkPrice, market.KindIndexPrice, market.KindOpenInterest}},
	} {
		var use []source.Subscription
		for _, ch := range c.channels {
			use = append(use, sub(ch, ""))
		}
		got := oracle.Kinds(oracle.NewFeed(t, New(), market.MarketOption, use...).Records(t, frame))
		if !slices.Equal(got, c.want) {
			t.Errorf("%v give %v, want %v", c.channels, got, c.want)
		}
	}
}

// TestManifest: every channel can be had on each of its markets.
func TestManifest(t *testing.T) {
	oracle.Manifest(t, New(), func(_ market.Market, c market.Channel) source.Subscription { return sub(c, "BTC-PERPETUAL") })
}

// TestLogin carries out the script of a raw feed against the emulator, with the
// secret that a runtime would fill in.
func TestLogin(t *testing.T) {
	e := emulator.Start(t, emulator.Options{Venue: "deribit", Market: market.MarketInverse, Rate: 200})
	steps := oracle.Session(t, New(), source.SessionRequest{Market: market.MarketInverse, Class: classLogin, Endpoint: e.URL() + "/ws/api/v2",
		Subscriptions: []source.Subscription{sub(market.ChannelBook, "BTC-PERPETUAL", "interval", intervalRaw)}}, 6)
	w := oracle.Dial(t, New(), market.MarketInverse, steps[0].Dial.URL)
	w.Acknowledged(t, *steps[1].Send) // the heartbeat
	subscribe := steps[5].Subscribe[0]
	w.Refused(t, subscribe, "13778") // without a login
	login := steps[2].Send
	for _, secret := range []string{"wrong", emulator.DeribitSecret} {
		values := strings.NewReplacer("${timestamp}", strconv.FormatInt(time.Now().UnixMilli(), 10), "${nonce}", "once")
		h := hmac.New(sha256.New, []byte(secret))
		h.Write([]byte(values.Replace(login.Sign.Payload)))
		w.Send(t, strings.NewReplacer("${key}", emulator.DeribitKey, "${signature}", hex.EncodeToString(h.Sum(nil))).Replace(values.Replace(login.Data)))
		if secret == "wrong" {
			w.UntilSignal(t, "the refusal of a wrong secret", source.SignalRejected, loginToken+"\x0013004")
		} else {
			w.UntilSignal(t, "the login", source.SignalReady, steps[3].Await.Token)
		}
	}
	renewal := steps[4].Renew.Frame.Data
	w.Send(t, strings.ReplaceAll(renewal, "${kept:refresh_token}", emulator.DeribitGrants+"-refresh"))
	w.UntilSignal(t, "the renewal", source.SignalReady, loginToken)
	w.Send(t, strings.ReplaceAll(renewal, "${kept:refresh_token}", "another"))
	w.UntilSignal(t, "its refusal", source.SignalRejected, loginToken+"\x0013009")
	w.Send(t, subscribe.Data)
	w.UntilRecords(t, market.KindBookSnapshot, market.KindBookDelta)
}
