package coinbase

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
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
		sub(market.ChannelTrades, "BTC-USD"),
		sub(market.ChannelBook, "BTC-USD", "feed", "level2"),
		sub(market.ChannelTicker, "BTC-USD", "feed", "ticker_batch"),
		sub(market.ChannelCandles, "BTC-USD", "intervals", []string{"5m"}),
		sub(market.ChannelTrades, "BTC-USD", "feed", "matches"),
		sub(market.ChannelBook, "BTC-USD", "feed", "level2_batch"),
		sub(market.ChannelTicker, "BTC-USD", "feed", "exchange_ticker"),
	}
	want := []string{
		`{"type":"subscribe","channel":"heartbeats"} []`,
		`{"type":"subscribe","product_ids":["BTC-USD"],"channel":"market_trades"} [0]`,
		`{"type":"subscribe","product_ids":["BTC-USD"],"channel":"level2"} [1]`,
		`{"type":"subscribe","product_ids":["BTC-USD"],"channel":"ticker_batch"} [2]`,
		`{"type":"subscribe","product_ids":["BTC-USD"],"channel":"candles"} [3]`,
		`{"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches","heartbeat"]} [4]`,
		`{"type":"subscribe","product_ids":["BTC-USD"],"channels":["level2_batch","heartbeat"]} [5]`,
		`{"type":"subscribe","product_ids":["BTC-USD"],"channels":["ticker","heartbeat"]} [6]`,
	}
	script, err := s.Session(source.SessionRequest{Market: market.MarketSpot, Endpoint: "ws://127.0.0.1:1", Subscriptions: subs})
	if err != nil || len(script.Steps) != 2 || script.Steps[0].Dial.URL != "ws://127.0.0.1:1" {
		t.Fatalf("%+v, %v", script, err)
	}
	var got []string
	for _, f := range script.Steps[1].Subscribe {
		got = append(got, fmt.Sprint(f.Data, " ", f.Subs))
		if f.Token != answer || f.Sign != nil {
			t.Errorf("%+v", f)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
	frames, err := s.Frames(source.FrameRequest{Market: market.MarketSpot, Unsubscribe: true,
		Subscriptions: []source.Subscription{sub(market.ChannelBook, "BTC-USD"), sub(market.ChannelTrades, "BTC-USD", "feed", "full")}})
	if err != nil || len(frames) != 2 || frames[0].Data != `{"type":"unsubscribe","product_ids":["BTC-USD"],"channel":"level2"}` ||
		frames[1].Data != `{"type":"unsubscribe","product_ids":["BTC-USD"],"channels":["full"]}` {
		t.Errorf("%+v, %v", frames, err)
	}
}

func TestRequests(t *testing.T) {
	for _, c := range []struct {
		r    source.RequestFor
		want string
	}{
		{source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketSpot}, "https://api.coinbase.com/api/v3/brokerage/market/products?product_type=SPOT"},
		{source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketLinear, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelInstruments, "")}},
			"http://h/api/v3/brokerage/market/products?product_type=FUTURE"},
		{source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketLinear, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelFunding, "BTC-PERP-INTX")}},
			"http://h/api/v3/brokerage/market/products/BTC-PERP-INTX"},
		{source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketLinear, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelOpenInterest, "BTC-PERP-INTX")}},
			"http://h/api/v3/brokerage/market/products?product_type=FUTURE&product_ids=BTC-PERP-INTX"},
		{source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketSpot, From: 10, To: 20, Subs: []source.Subscription{sub(market.ChannelTrades, "BTC-USD")}},
			"https://api.exchange.coinbase.com/products/BTC-USD/trades?limit=1000&after=21"},
	} {
		rs, err := New().Requests(c.r)
		if err != nil || len(rs) != 1 || rs[0].URL != c.want {
			t.Errorf("%v, %v, want %s", rs, err, c.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := New()
	for _, one := range []source.Subscription{
		sub(market.ChannelFunding, "BTC-PERP-INTX"),
		sub(market.ChannelCandles, "BTC-USD", "intervals", []string{"1m"}),
	} {
		if f, err := s.Frames(source.FrameRequest{Subscriptions: []source.Subscription{one}}); err == nil {
			t.Errorf("%v", f)
		}
	}
	for _, r := range []source.RequestFor{
		{Purpose: source.PurposePoll, Subs: []source.Subscription{sub(market.ChannelTicker, "BTC-USD")}},
		{Purpose: source.PurposeHistory, Market: market.MarketLinear, Subs: []source.Subscription{sub(market.ChannelTrades, "BTC-PERP-INTX")}},
	} {
		if got, err := s.Requests(r); err == nil {
			t.Errorf("%v", got)
		}
	}
}

// TestManifest checks that every channel names endpoints that exist, and can be
// subscribed or polled on each of its markets.
func TestManifest(t *testing.T) {
	s := New()
	m := s.Describe()
	for _, c := range m.Channels {
		classes := []string{c.Class}
		for _, w := range c.ClassWhen {
			classes = append(classes, w.Class)
		}
		for _, on := range c.Markets {
			i := slices.IndexFunc(m.Markets, func(x source.MarketSpec) bool { return x.Market == on })
			if i < 0 {
				t.Fatalf("channel %s on %s, which isn't a market", c.Channel, on)
			}
			for _, class := range classes {
				if !slices.ContainsFunc(m.Markets[i].Endpoints, func(e source.Endpoint) bool { return e.Class == class }) {
					t.Errorf("%s on %s: no endpoint of class %q", c.Channel, on, class)
				}
			}
			one := []source.Subscription{{Channel: c.Channel, Symbol: "BTC-USD"}}
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

func emulated(t *testing.T) *emulator.Emulator {
	t.Helper()
	e, err := emulator.New(emulator.Options{Venue: "coinbase", Rate: 200})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		e.Close()
	})
	return e
}

// TestLogin carries out the script of the feeds that need a login against the
// emulator, with the secret that a runtime would fill in.
func TestLogin(t *testing.T) {
	e := emulated(t)
	for _, s := range []source.Subscription{sub(market.ChannelBook, "BTC-USD", "feed", feedLogin), sub(market.ChannelTrades, "BTC-USD", "feed", feedFull)} {
		script, err := New().Session(source.SessionRequest{Market: market.MarketSpot, Class: classLogin, Endpoint: e.URL(), Subscriptions: []source.Subscription{s}})
		if err != nil || len(script.Steps) != 4 || len(script.Steps[1].Subscribe) != 1 || script.Steps[2].Await == nil || len(script.Steps[3].Subscribe) != 0 {
			t.Fatalf("%+v, %v", script, err)
		}
		w := oracle.Dial(t, New(), market.MarketSpot, script.Steps[0].Dial.URL)
		f := script.Steps[1].Subscribe[0]
		w.Send(t, `{"type":"subscribe","product_ids":["BTC-USD"],"channels":["level2"]}`)
		w.Until(t, "the refusal without a login", func(i oracle.Item) bool {
			return i.Record == nil && i.Signal.Kind == source.SignalRejected && strings.HasPrefix(string(i.Signal.Text), loginToken+"\x00Failed to subscribe: level2, level3, and full")
		})
		for _, secret := range []string{"d3Jvbmc=", emulator.CoinbaseSecret} {
			now := strconv.FormatInt(time.Now().Unix(), 10)
			key, _ := base64.StdEncoding.DecodeString(secret)
			h := hmac.New(sha256.New, key)
			h.Write([]byte(strings.ReplaceAll(f.Sign.Payload, "${timestamp}", now)))
			w.Send(t, strings.NewReplacer("${key}", emulator.CoinbaseKey, "${passphrase}", emulator.CoinbasePassphrase, "${timestamp}", now,
				"${signature}", base64.StdEncoding.EncodeToString(h.Sum(nil))).Replace(f.Data))
			want, text := source.SignalReady, script.Steps[2].Await.Token
			if secret != emulator.CoinbaseSecret {
				want, text = source.SignalRejected, text+"\x00Authentication Failed"
			}
			w.Until(t, "the answer", func(i oracle.Item) bool {
				return i.Record == nil && i.Signal.Kind == want && strings.HasPrefix(string(i.Signal.Text), text)
			})
		}
		w.Until(t, "data", func(i oracle.Item) bool {
			return i.Record != nil && i.Record.Channel() == s.Channel && i.Record.Kind() != market.KindBookSnapshot
		})
	}
}

// TestExchange subscribes the Exchange's public feeds.
func TestExchange(t *testing.T) {
	e := emulated(t)
	w := oracle.Dial(t, New(), market.MarketSpot, e.URL())
	frames, err := New().Frames(source.FrameRequest{Market: market.MarketSpot, Class: classExchange, Subscriptions: []source.Subscription{
		sub(market.ChannelBook, "BTC-USD", "feed", feedBatch), sub(market.ChannelTrades, "BTC-USD", "feed", feedMatches), sub(market.ChannelTicker, "BTC-USD", "feed", feedExchange)}})
	if err != nil {
		t.Fatal(err)
	}
	missing := map[market.Kind]bool{market.KindBookSnapshot: true, market.KindBookDelta: true, market.KindTrade: true, market.KindTicker: true}
	heart := false
	for _, f := range frames {
		w.Send(t, f.Data)
	}
	w.Until(t, "all kinds and a heartbeat", func(i oracle.Item) bool {
		if i.Record != nil {
			delete(missing, i.Record.Kind())
		} else if i.Signal.Kind == source.SignalHeartbeat {
			heart = true
		} else if i.Signal.Kind == source.SignalSequence {
			t.Error("the Exchange numbers no frames")
		}
		return len(missing) == 0 && heart
	})
}
