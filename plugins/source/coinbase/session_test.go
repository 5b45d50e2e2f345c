package coinbase

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
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
	steps := oracle.Session(t, s, source.SessionRequest{Market: market.MarketSpot, Endpoint: "ws://127.0.0.1:1", Subscriptions: subs}, 2)
	oracle.Rendered(t, steps[1].Subscribe, parts,
		`{"type":"subscribe","channel":"heartbeats"} []`,
		`{"type":"subscribe","product_ids":["BTC-USD"],"channel":"market_trades"} [0]`,
		`{"type":"subscribe","product_ids":["BTC-USD"],"channel":"level2"} [1]`,
		`{"type":"subscribe","product_ids":["BTC-USD"],"channel":"ticker_batch"} [2]`,
		`{"type":"subscribe","product_ids":["BTC-USD"],"channel":"candles"} [3]`,
		`{"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches","heartbeat"]} [4]`,
		`{"type":"subscribe","product_ids":["BTC-USD"],"channels":["level2_batch","heartbeat"]} [5]`,
		`{"type":"subscribe","product_ids":["BTC-USD"],"channels":["ticker","heartbeat"]} [6]`,
	)
	oracle.Frames(t, s, source.FrameRequest{Market: market.MarketSpot, Unsubscribe: true,
		Subscriptions: []source.Subscription{sub(market.ChannelBook, "BTC-USD"), sub(market.ChannelTrades, "BTC-USD", "feed", "full")}}, parts,
		`{"type":"unsubscribe","product_ids":["BTC-USD"],"channel":"level2"} [0]`,
		`{"type":"unsubscribe","product_ids":["BTC-USD"],"channels":["full"]} [1]`)
}

// parts of a frame that isn't signed: the frame, the subscriptions.
func parts(f source.Frame) string {
	if f.Token != answer || f.Sign != nil {
		return fmt.Sprintf("%+v", f)
	}
	return fmt.Sprint(f.Data, " ", f.Subs)
}

func TestRequests(t *testing.T) {
	s := New()
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketSpot},
		"https://api.coinbase.com/api/v3/brokerage/market/products?product_type=SPOT")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketLinear, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelInstruments, "")}},
		"http://h/api/v3/brokerage/market/products?product_type=FUTURE")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketLinear, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelFunding, "BTC-PERP-INTX")}},
		"http://h/api/v3/brokerage/market/products/BTC-PERP-INTX")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketLinear, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelOpenInterest, "BTC-PERP-INTX")}},
		"http://h/api/v3/brokerage/market/products?product_type=FUTURE&product_ids=BTC-PERP-INTX")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketSpot, From: 10, To: 20, Subs: []source.Subscription{sub(market.ChannelTrades, "BTC-USD")}},
		"https://api.exchange.coinbase.com/products/BTC-USD/trades?limit=1000&after=21")
}

func TestRefusals(t *testing.T) {
	oracle.RefusesFrames(t, New(), market.MarketNone, sub(market.ChannelFunding, "BTC-PERP-INTX"), sub(market.ChannelCandles, "BTC-USD", "intervals", []string{"1m"}))
	oracle.RefusesRequests(t, New(), source.RequestFor{Purpose: source.PurposePoll, Subs: []source.Subscription{sub(market.ChannelTicker, "BTC-USD")}},
		source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketLinear, Subs: []source.Subscription{sub(market.ChannelTrades, "BTC-PERP-INTX")}})
}

// TestManifest: every channel can be had on each of its markets.
func TestManifest(t *testing.T) {
	oracle.Manifest(t, New(), func(_ market.Market, c market.Channel) source.Subscription { return sub(c, "BTC-USD") })
}

// TestLogin carries out the script of the feeds that need a login against the
// emulator, with the secret that a runtime would fill in.
func TestLogin(t *testing.T) {
	e := emulator.Start(t, emulator.Options{Venue: "coinbase", Rate: 200})
	for _, s := range []source.Subscription{sub(market.ChannelBook, "BTC-USD", "feed", feedLogin), sub(market.ChannelTrades, "BTC-USD", "feed", feedFull)} {
		steps := oracle.Session(t, New(), source.SessionRequest{Market: market.MarketSpot, Class: classLogin, Endpoint: e.URL(), Subscriptions: []source.Subscription{s}}, 4)
		if len(steps[1].Subscribe) != 1 || steps[2].Await == nil || len(steps[3].Subscribe) != 0 {
			t.Fatalf("%+v", steps)
		}
		w := oracle.Dial(t, New(), market.MarketSpot, steps[0].Dial.URL)
		f := steps[1].Subscribe[0]
		w.Send(t, `{"type":"subscribe","product_ids":["BTC-USD"],"channels":["level2"]}`)
		w.UntilSignal(t, "the refusal without a login", source.SignalRejected, loginToken+"\x00Failed to subscribe: level2, level3, and full")
		for _, secret := range []string{"d3Jvbmc=", emulator.CoinbaseSecret} {
			now := strconv.FormatInt(time.Now().Unix(), 10)
			key, _ := base64.StdEncoding.DecodeString(secret)
			h := hmac.New(sha256.New, key)
			h.Write([]byte(strings.ReplaceAll(f.Sign.Payload, "${timestamp}", now)))
			w.Send(t, strings.NewReplacer("${key}", emulator.CoinbaseKey, "${passphrase}", emulator.CoinbasePassphrase, "${timestamp}", now,
				"${signature}", base64.StdEncoding.EncodeToString(h.Sum(nil))).Replace(f.Data))
			want, text := source.SignalReady, steps[2].Await.Token
			if secret != emulator.CoinbaseSecret {
				want, text = source.SignalRejected, text+"\x00Authentication Failed"
			}
			w.UntilSignal(t, "the answer", want, text)
		}
		w.Until(t, "data", func(i oracle.Item) bool {
			return i.Record != nil && i.Record.Channel() == s.Channel && i.Record.Kind() != market.KindBookSnapshot
		})
	}
}

// TestExchange subscribes the Exchange's public feeds.
func TestExchange(t *testing.T) {
	e := emulator.Start(t, emulator.Options{Venue: "coinbase", Rate: 200})
	w := oracle.Dial(t, New(), market.MarketSpot, e.URL())
	frames := oracle.Render(t, New(), source.FrameRequest{Market: market.MarketSpot, Class: classExchange, Subscriptions: []source.Subscription{
		sub(market.ChannelBook, "BTC-USD", "feed", feedBatch), sub(market.ChannelTrades, "BTC-USD", "feed", feedMatches), sub(market.ChannelTicker, "BTC-USD", "feed", feedExchange)}})
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
