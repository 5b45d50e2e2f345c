package okx

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

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
	s := New()
	subs := []source.Subscription{
		sub(market.ChannelTrades, "BTC-USDT-SWAP", "aggregate", false),
		sub(market.ChannelTrades, "BTC-USDT-SWAP", "aggregate", true),
		sub(market.ChannelBook, "BTC-USDT-SWAP", "feed", "books5"),
		sub(market.ChannelBBO, "BTC-USDT-SWAP"),
		sub(market.ChannelCandles, "BTC-USDT-SWAP", "intervals", []string{"1m", "1d"}),
		sub(market.ChannelIndexPrice, "BTC-USDT-SWAP"),
		sub(market.ChannelIndexPrice, "BTC-USDT-260925"),
		sub(market.ChannelIndexPrice, "BTC-USD_UM-SWAP"),
		sub(market.ChannelLiquidations, ""),
		sub(market.ChannelOptions, "", "families", []string{"BTC-USD"}),
	}
	script, err := s.Session(source.SessionRequest{Market: market.MarketLinear, Endpoint: "ws://127.0.0.1:1/ws/v5/public", Subscriptions: subs})
	if err != nil || len(script.Steps) != 2 || script.Steps[0].Dial.URL != "ws://127.0.0.1:1/ws/v5/public" {
		t.Fatalf("%+v, %v", script, err)
	}
	want := []string{
		`{"channel":"trades-all","instId":"BTC-USDT-SWAP"} [0]`,
		`{"channel":"trades","instId":"BTC-USDT-SWAP"} [1]`,
		`{"channel":"books5","instId":"BTC-USDT-SWAP"} [2]`,
		`{"channel":"bbo-tbt","instId":"BTC-USDT-SWAP"} [3]`,
		`{"channel":"candle1m","instId":"BTC-USDT-SWAP"} [4]`,
		`{"channel":"candle1Dutc","instId":"BTC-USDT-SWAP"} [4]`,
		`{"channel":"index-tickers","instId":"BTC-USDT"} [5 6]`,
		`{"channel":"index-tickers","instId":"BTC-USD"} [7]`,
		`{"channel":"liquidation-orders","instType":"SWAP"} [8]`,
		`{"channel":"liquidation-orders","instType":"FUTURES"} [8]`,
		`{"channel":"opt-summary","instFamily":"BTC-USD"} [9]`,
	}
	tokens := map[string]bool{}
	for i, f := range script.Steps[1].Subscribe {
		if op, p := parts(t, f); op != "subscribe" || i >= len(want) || p != want[i] {
			t.Errorf("frame %d: %s %s", i, op, p)
		}
		tokens[f.Token] = true
	}
	if len(tokens) != len(want) {
		t.Errorf("%d tokens of %d frames", len(tokens), len(want))
	}
	frames, err := s.Frames(source.FrameRequest{Market: market.MarketLinear, Unsubscribe: true, Subscriptions: []source.Subscription{sub(market.ChannelBook, "BTC-USDT")}})
	if err != nil || len(frames) != 1 {
		t.Fatalf("%v, %v", frames, err)
	}
	if op, p := parts(t, frames[0]); op != "unsubscribe" || p != `{"channel":"books","instId":"BTC-USDT"} [0]` {
		t.Errorf("%s %s", op, p)
	}
}

func parts(t *testing.T, f source.Frame) (op, args string) {
	t.Helper()
	var r struct {
		ID, Op string
		Args   []json.RawMessage
	}
	if err := json.Unmarshal([]byte(f.Data), &r); err != nil || r.ID != f.Token || len(r.Args) != 1 {
		t.Fatalf("%s: %v", f.Data, err)
	}
	return r.Op, fmt.Sprintf("%s %v", r.Args[0], f.Subs)
}

func TestRequests(t *testing.T) {
	s := New()
	for _, c := range []struct {
		r    source.RequestFor
		want []string
	}{
		{source.RequestFor{Purpose: source.PurposeSnapshot, Market: market.MarketSpot, Subs: []source.Subscription{sub(market.ChannelBook, "BTC-USDT")}},
			[]string{"https://www.okx.com/api/v5/market/books?instId=BTC-USDT&sz=400"}},
		{source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketSpot, From: 10, To: 20, Subs: []source.Subscription{sub(market.ChannelTrades, "BTC-USDT")}},
			[]string{"https://www.okx.com/api/v5/market/history-trades?instId=BTC-USDT&type=1&before=9&after=21&limit=100"}},
		{source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketInverse, Base: "http://127.0.0.1:1"},
			[]string{"http://127.0.0.1:1/api/v5/public/instruments?instType=SWAP", "http://127.0.0.1:1/api/v5/public/instruments?instType=FUTURES"}},
		{source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketOption, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelInstruments, "")}},
			[]string{"http://h/api/v5/public/instruments?instType=OPTION&instFamily=BTC-USD", "http://h/api/v5/public/instruments?instType=OPTION&instFamily=ETH-USD"}},
	} {
		rs, err := s.Requests(c.r)
		var got []string
		for _, r := range rs {
			got = append(got, r.URL)
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v, %v", got, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := New()
	for _, one := range []source.Subscription{
		sub(market.ChannelLongShortRatio, "BTC-USDT-SWAP"),
		sub(market.ChannelCandles, "BTC-USDT", "intervals", []string{"7m"}),
	} {
		if f, err := s.Frames(source.FrameRequest{Subscriptions: []source.Subscription{one}}); err == nil {
			t.Errorf("%v", f)
		}
	}
	if r, err := s.Requests(source.RequestFor{Purpose: source.PurposePoll, Subs: []source.Subscription{sub(market.ChannelTicker, "BTC-USDT")}}); err == nil {
		t.Errorf("%v", r)
	}
}

// TestManifest checks that every channel names endpoints that exist, and can be
// subscribed or polled on each of its markets.
func TestManifest(t *testing.T) {
	for _, s := range []source.Source{New(), NewOkcoin()} {
		m := s.Describe()
		for _, c := range m.Channels {
			classes := []string{c.Class}
			for _, w := range c.ClassWhen {
				classes = append(classes, w.Class)
			}
			for _, on := range c.Markets {
				i := slices.IndexFunc(m.Markets, func(x source.MarketSpec) bool { return x.Market == on })
				if i < 0 {
					t.Errorf("%s: channel %s on %s, which isn't a market", m.Venue, c.Channel, on)
					continue
				}
				for _, class := range classes {
					if !slices.ContainsFunc(m.Markets[i].Endpoints, func(e source.Endpoint) bool { return e.Class == class }) {
						t.Errorf("%s %s: no endpoint of class %q", m.Venue, c.Channel, class)
					}
				}
				one := []source.Subscription{{Channel: c.Channel, Symbol: "BTC-USDT"}}
				if c.Transport == source.Poll {
					if r, err := s.Requests(source.RequestFor{Purpose: source.PurposePoll, Market: on, Subs: one}); err != nil || len(r) == 0 {
						t.Errorf("%s %s: %v, %v", m.Venue, c.Channel, r, err)
					}
				} else if f, err := s.Frames(source.FrameRequest{Market: on, Subscriptions: one}); err != nil || len(f) == 0 {
					t.Errorf("%s %s: %v, %v", m.Venue, c.Channel, f, err)
				}
			}
		}
	}
}

// TestLogin carries out the script of a fast feed against the emulator, with the
// secret that a runtime would fill in.
func TestLogin(t *testing.T) {
	e, err := emulator.New(emulator.Options{Venue: "okx", Rate: 200})
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
	script, err := New().Session(source.SessionRequest{Market: market.MarketSpot, Class: classLogin, Endpoint: e.URL() + "/ws/v5/public",
		Subscriptions: []source.Subscription{sub(market.ChannelBook, "BTC-USDT", "feed", feed400)}})
	if err != nil || len(script.Steps) != 4 {
		t.Fatalf("%+v, %v", script, err)
	}
	w := oracle.Dial(t, New(), market.MarketSpot, script.Steps[0].Dial.URL)
	subscribe := script.Steps[3].Subscribe[0]
	w.Send(t, subscribe.Data)
	w.Until(t, "the refusal without a login", func(i oracle.Item) bool {
		return i.Signal.Kind == source.SignalRejected && strings.HasPrefix(string(i.Signal.Text), subscribe.Token+"\x0060011")
	})
	login := script.Steps[1].Send
	for _, secret := range []string{"wrong", emulator.OKXSecret} {
		now := strconv.FormatInt(time.Now().Unix(), 10)
		h := hmac.New(sha256.New, []byte(secret))
		h.Write([]byte(strings.ReplaceAll(login.Sign.Payload, "${timestamp}", now)))
		w.Send(t, strings.NewReplacer("${key}", emulator.OKXKey, "${passphrase}", emulator.OKXPassphrase, "${timestamp}", now,
			"${signature}", base64.StdEncoding.EncodeToString(h.Sum(nil))).Replace(login.Data))
		w.Until(t, "an answer to the login", func(i oracle.Item) bool {
			if secret == "wrong" {
				return i.Signal.Kind == source.SignalRejected
			}
			return i.Signal.Kind == source.SignalReady && string(i.Signal.Text) == script.Steps[2].Await.Token
		})
	}
	w.Send(t, subscribe.Data)
	w.Until(t, "a book", func(i oracle.Item) bool { return i.Record != nil && i.Record.Kind() == market.KindBookSnapshot })
	w.Until(t, "its changes", func(i oracle.Item) bool { return i.Record != nil && i.Record.Kind() == market.KindBookDelta })
}
