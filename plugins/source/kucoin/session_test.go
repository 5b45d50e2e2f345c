package kucoin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

var sub = oracle.Sub

// spotEndpoint is the classic socket's address in the manifest.
const spotEndpoint = "wss://ws-api-spot.kucoin.com/"

// text of a frame: what it does and on what, the subscriptions.
func text(f source.Frame) string {
	var r struct{ ID, Type, Topic, Action, Channel, TradeType, Symbol, Depth string }
	if err := json.Unmarshal([]byte(f.Data), &r); err != nil || r.ID != f.Token {
		return fmt.Sprintf("%s %v", f.Data, err)
	}
	return strings.Join(strings.Fields(fmt.Sprint(r.Type, " ", r.Action, " ", r.Topic, " ", r.Channel, " ", r.Symbol, " ", r.TradeType, " ", r.Depth, " ", f.Subs)), " ")
}

func TestSession(t *testing.T) {
	s := New()
	subs := []source.Subscription{
		sub(market.ChannelTrades, "BTC-USDT"), sub(market.ChannelTrades, "ETH-USDT"), sub(market.ChannelBBO, "BTC-USDT"), sub(market.ChannelTicker, "BTC-USDT"),
		sub(market.ChannelCandles, "BTC-USDT", "intervals", []string{"1m", "1d"}), sub(market.ChannelMarkPrice, "BTC-USDT"), sub(market.ChannelIndexPrice, "BTC-USDT"),
	}
	ask := source.SessionRequest{Market: market.MarketSpot, Endpoint: spotEndpoint, Subscriptions: subs}
	script, err := s.Session(ask)
	if err != nil || len(script.Steps) != 1 {
		t.Fatalf("%+v, %v", script, err)
	}
	q := script.Steps[0].Request
	if q.Method != "POST" || q.URL != "https://api.kucoin.com/api/v1/bullet-public" || q.Weight != 10 || len(q.Sign.Conceal) != 1 || q.Sign.Conceal[0] != "token" {
		t.Errorf("the request %+v", q)
	}
	// What the runtime hands over has no token in it any more.
	ask.Replies = []source.Reply{{Status: 200, Body: []byte(`{"code":"200000","data":{"token":"******","instanceServers":[{"endpoint":"wss://other.kucoin.com/endpoint","encrypt":true,"protocol":"websocket","pingInterval":10000,"pingTimeout":10000}]}}`)}}
	if script, err = s.Session(ask); err != nil || len(script.Steps) != 5 {
		t.Fatalf("%+v, %v", script, err)
	}
	steps := script.Steps
	if d := steps[1].Dial; d.URL != "wss://other.kucoin.com/endpoint?token=${kept:token}" || d.Sign == nil {
		t.Errorf("dial %+v", d)
	}
	if r := steps[2].Renew; r.Every != 8*time.Second || r.Frame.Data != heartbeat.Payload {
		t.Errorf("a token that wants a ping each 10 s is renewed by %+v", r)
	}
	if a := steps[3].Await; a.Token != welcome || a.Timeout <= 0 {
		t.Errorf("await %+v", a)
	}
	oracle.Tokens(t, steps[4].Subscribe)
	oracle.Rendered(t, steps[4].Subscribe, text,
		"subscribe /market/match:BTC-USDT,ETH-USDT [0 1]",
		"subscribe /spotMarket/level1:BTC-USDT [2]",
		"subscribe /market/snapshot:BTC-USDT [3]",
		"subscribe /market/candles:BTC-USDT_1min [4]",
		"subscribe /market/candles:BTC-USDT_1day [4]",
		"subscribe /indicator/markPrice:BTC-USDT [5]",
		"subscribe /indicator/index:BTC-USDT [6]",
	)
	// Where the user names a server, requests and the connection go there.
	ask.Endpoint, ask.Base = "ws://127.0.0.1:1/", "http://127.0.0.1:2"
	if script, err = s.Session(ask); err != nil || script.Steps[0].Request.URL != "http://127.0.0.1:2/api/v1/bullet-public" || script.Steps[1].Dial.URL != "ws://127.0.0.1:1/?token=${kept:token}" {
		t.Errorf("%+v, %v", script, err)
	}
}

func TestFrames(t *testing.T) {
	s := New()
	steps := oracle.Session(t, s, source.SessionRequest{Market: market.MarketLinear, Class: classPro, Endpoint: "wss://x-push-futures.kucoin.com/", Subscriptions: []source.Subscription{
		sub(market.ChannelBook, "XBTUSDTM"), sub(market.ChannelMarkPrice, "XBTUSDTM"), sub(market.ChannelOpenInterest, "XBTUSDTM"), sub(market.ChannelFunding, "XBTUSDTM"),
	}}, 3)
	oracle.Tokens(t, steps[2].Subscribe)
	oracle.Rendered(t, steps[2].Subscribe, text,
		"subscribe obu XBTUSDTM FUTURES increment@10ms [0]", "subscribe mark-price XBTUSDTM [1 2]", "subscribe funding-fee XBTUSDTM [3]")
	// What another channel needs isn't unsubscribed.
	oracle.Frames(t, s, source.FrameRequest{Market: market.MarketLinear, Class: classPro, Unsubscribe: true, Live: []source.Subscription{sub(market.ChannelIndexPrice, "XBTUSDTM")},
		Subscriptions: []source.Subscription{sub(market.ChannelMarkPrice, "XBTUSDTM"), sub(market.ChannelMarkPrice, "ETHUSDTM")}}, text,
		"unsubscribe mark-price ETHUSDTM [1]")
	oracle.Frames(t, s, source.FrameRequest{Market: market.MarketSpot, Class: classPro, Subscriptions: []source.Subscription{sub(market.ChannelBook, "BTC-USDT")}}, text,
		"subscribe obu BTC-USDT SPOT increment@10ms [0]")
	oracle.Frames(t, s, source.FrameRequest{Market: market.MarketInverse, Subscriptions: []source.Subscription{sub(market.ChannelTrades, "XBTUSDM"), sub(market.ChannelBBO, "XBTUSDM"),
		sub(market.ChannelTicker, "XBTUSDM"), sub(market.ChannelCandles, "XBTUSDM", "intervals", []string{"1M"})}}, text,
		"subscribe /contractMarket/execution:XBTUSDM [0]", "subscribe /contractMarket/tickerV2:XBTUSDM [1]", "subscribe /contractMarket/snapshot:XBTUSDM [2]",
		"subscribe /contractMarket/limitCandle:XBTUSDM_1month [3]")
}

// TestLimits: a request names no more than 100 topics, a connection no more than 300.
func TestLimits(t *testing.T) {
	var subs []source.Subscription
	for i := range 250 {
		subs = append(subs, sub(market.ChannelTrades, fmt.Sprintf("A%d-USDT", i)))
	}
	r := source.SessionRequest{Market: market.MarketSpot, Endpoint: spotEndpoint, Subscriptions: subs}
	frames := oracle.Render(t, New(), source.FrameRequest{Market: market.MarketSpot, Subscriptions: subs})
	if len(frames) != 3 || len(frames[0].Subs) != 100 || topicCount(frames) != 250 {
		t.Errorf("%d frames", len(frames))
	}
	oracle.Tokens(t, frames)
	if _, err := New().Session(r); err != nil {
		t.Error(err)
	}
	for i := range 6 {
		r.Subscriptions = append(r.Subscriptions, sub(market.ChannelCandles, fmt.Sprintf("A%d-USDT", i), "intervals", []string{"1m", "3m", "15m", "30m", "1h", "2h", "4h", "6h", "8h"}))
	}
	if _, err := New().Session(r); err == nil || !strings.Contains(err.Error(), "304 topics") {
		t.Errorf("%v", err)
	}
}

// TestGranted: an answer without a token's server, or with none that can be
// trusted, is dialled where the manifest says.
func TestGranted(t *testing.T) {
	for body, want := range map[string]string{
		`{"code":"200000","data":{"instanceServers":[]}}`:                                                                    "",
		`{"code":"200000","data":{"instanceServers":[{"endpoint":"ws://plain.example","pingInterval":18000}]}}`:              "",
		`{"code":"200000","data":{"instanceServers":[{"endpoint":"wss://a.example/?x=y"},{"endpoint":"wss://b.example/"}]}}`: "wss://b.example/",
	} {
		if got, _, err := granted([]byte(body)); err != nil || got != want {
			t.Errorf("%s: %q, %v", body, got, err)
		}
	}
	if _, every, _ := granted([]byte(`{"code":"200000","data":{"instanceServers":[{"endpoint":"wss://a.example/","pingInterval":1}]}}`)); every != time.Second {
		t.Errorf("a token may be pinged each %v, the venue cuts off who does so more than once a second", every)
	}
	for _, body := range []string{``, `[]`, `{"code":"400100","msg":"no"}`} {
		if a, _, err := granted([]byte(body)); err == nil {
			t.Errorf("%q gives %q", body, a)
		}
	}
}

func TestRequests(t *testing.T) {
	s := New()
	for _, c := range []struct {
		m    market.Market
		want string
		cost int
	}{{market.MarketSpot, "https://api.kucoin.com/api/v1/market/histories?symbol=A", 3}, {market.MarketInverse, "https://api-futures.kucoin.com/api/v1/trade/history?symbol=A", 5}} {
		if w := oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeHistory, Market: c.m, Subs: []source.Subscription{sub(market.ChannelTrades, "A")}}, c.want); w != c.cost {
			t.Errorf("%s weighs %d", c.want, w)
		}
	}
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketLinear, Base: "http://h"}, "http://h/api/v1/contracts/active")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketSpot, Subs: []source.Subscription{sub(market.ChannelInstruments, "")}}, "https://api.kucoin.com/api/v2/symbols")
	oracle.RefusesRequests(t, s, source.RequestFor{Purpose: source.PurposePoll, Subs: []source.Subscription{sub(market.ChannelTicker, "A")}},
		source.RequestFor{Purpose: source.PurposeSnapshot, Subs: []source.Subscription{sub(market.ChannelBook, "A")}})
	oracle.RefusesFrames(t, s, market.MarketSpot, sub(market.ChannelLiquidations, "A"), sub(market.ChannelOpenInterest, "A"), sub(market.ChannelCandles, "A", "intervals", []string{"5m"}))
	oracle.RefusesFrames(t, s, market.MarketLinear, sub(market.ChannelLiquidations, "A"), sub(market.ChannelCandles, "A", "intervals", []string{"6h"}))
}

// TestManifest: every channel can be had on each of its markets.
func TestManifest(t *testing.T) {
	oracle.Manifest(t, New(), func(_ market.Market, c market.Channel) source.Subscription { return sub(c, "BTC-USDT") })
}

// TestToken carries out the classic script against the emulator, with the token
// that a runtime would put in.
func TestToken(t *testing.T) {
	e := emulator.Start(t, emulator.Options{Venue: "kucoin", Rate: 200})
	ask := source.SessionRequest{Market: market.MarketSpot, Endpoint: e.URL() + "/", Base: e.HTTPURL(), Subscriptions: []source.Subscription{sub(market.ChannelTrades, "BTC-USDT")}}
	script, err := New().Session(ask)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(script.Steps[0].Request.URL, "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var r struct{ Data struct{ Token string } }
	if err := json.Unmarshal(body, &r); err != nil || r.Data.Token == "" {
		t.Fatalf("%s: %v", body, err)
	}
	ask.Replies = []source.Reply{{Status: resp.StatusCode, Body: []byte(strings.ReplaceAll(string(body), r.Data.Token, "******"))}}
	if script, err = New().Session(ask); err != nil {
		t.Fatal(err)
	}
	steps := script.Steps
	w := oracle.Dial(t, New(), market.MarketSpot, strings.Replace(steps[1].Dial.URL, "${kept:token}", "wrong", 1))
	w.Until(t, "the refusal of another token", func(i oracle.Item) bool { return i.Signal.Kind == source.SignalRejected })
	w = oracle.Dial(t, New(), market.MarketSpot, strings.Replace(steps[1].Dial.URL, "${kept:token}", url.QueryEscape(r.Data.Token), 1))
	w.UntilSignal(t, "the welcome", source.SignalReady, steps[2].Await.Token)
	w.Send(t, heartbeat.Payload)
	w.Until(t, "a pong", func(i oracle.Item) bool { return i.Signal.Kind == source.SignalHeartbeat })
	w.Acknowledged(t, steps[3].Subscribe[0])
	w.UntilRecords(t, market.KindTrade)
}
