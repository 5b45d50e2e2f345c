package okx

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
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
	steps := oracle.Session(t, s, source.SessionRequest{Market: market.MarketLinear, Endpoint: "ws://127.0.0.1:1/ws/v5/public", Subscriptions: subs}, 2)
	oracle.Tokens(t, steps[1].Subscribe)
	oracle.Rendered(t, steps[1].Subscribe, parts,
		`subscribe {"channel":"trades-all","instId":"BTC-USDT-SWAP"} [0]`,
		`subscribe {"channel":"trades","instId":"BTC-USDT-SWAP"} [1]`,
		`subscribe {"channel":"books5","instId":"BTC-USDT-SWAP"} [2]`,
		`subscribe {"channel":"bbo-tbt","instId":"BTC-USDT-SWAP"} [3]`,
		`subscribe {"channel":"candle1m","instId":"BTC-USDT-SWAP"} [4]`,
		`subscribe {"channel":"candle1Dutc","instId":"BTC-USDT-SWAP"} [4]`,
		`subscribe {"channel":"index-tickers","instId":"BTC-USDT"} [5 6]`,
		`subscribe {"channel":"index-tickers","instId":"BTC-USD"} [7]`,
		`subscribe {"channel":"liquidation-orders","instType":"SWAP"} [8]`,
		`subscribe {"channel":"liquidation-orders","instType":"FUTURES"} [8]`,
		`subscribe {"channel":"opt-summary","instFamily":"BTC-USD"} [9]`,
	)
	oracle.Frames(t, s, source.FrameRequest{Market: market.MarketLinear, Unsubscribe: true, Subscriptions: []source.Subscription{sub(market.ChannelBook, "BTC-USDT")}}, parts,
		`unsubscribe {"channel":"books","instId":"BTC-USDT"} [0]`)
	// What another contract needs isn't given up.
	oracle.Frames(t, s, source.FrameRequest{Market: market.MarketLinear, Unsubscribe: true, Subscriptions: subs[5:8:8], Live: []source.Subscription{sub(market.ChannelIndexPrice, "BTC-USDT-261225")}}, parts,
		`unsubscribe {"channel":"index-tickers","instId":"BTC-USD"} [2]`)
}

// parts of a frame: what it does, its one argument, the subscriptions.
func parts(f source.Frame) string {
	var r struct {
		ID, Op string
		Args   []json.RawMessage
	}
	if err := json.Unmarshal([]byte(f.Data), &r); err != nil || r.ID != f.Token || len(r.Args) != 1 {
		return fmt.Sprintf("%s %v", f.Data, err)
	}
	return fmt.Sprintf("%s %s %v", r.Op, r.Args[0], f.Subs)
}

func TestRequests(t *testing.T) {
	s := New()
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeSnapshot, Market: market.MarketSpot, Subs: []source.Subscription{sub(market.ChannelBook, "BTC-USDT")}},
		"https://www.okx.com/api/v5/market/books?instId=BTC-USDT&sz=400")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketSpot, From: 10, To: 20, Subs: []source.Subscription{sub(market.ChannelTrades, "BTC-USDT")}},
		"https://www.okx.com/api/v5/market/history-trades?instId=BTC-USDT&type=1&before=9&after=21&limit=100")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketInverse, Base: "http://127.0.0.1:1"},
		"http://127.0.0.1:1/api/v5/public/instruments?instType=SWAP", "http://127.0.0.1:1/api/v5/public/instruments?instType=FUTURES")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketOption, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelInstruments, "")}},
		"http://h/api/v5/public/instruments?instType=OPTION&instFamily=BTC-USD", "http://h/api/v5/public/instruments?instType=OPTION&instFamily=ETH-USD")
}

func TestRefusals(t *testing.T) {
	oracle.RefusesFrames(t, New(), market.MarketSpot, sub(market.ChannelLongShortRatio, "BTC-USDT-SWAP"), sub(market.ChannelCandles, "BTC-USDT", "intervals", []string{"7m"}))
	oracle.RefusesRequests(t, New(), source.RequestFor{Purpose: source.PurposePoll, Subs: []source.Subscription{sub(market.ChannelTicker, "BTC-USDT")}})
}

// TestManifest: every channel can be had on each of its markets.
func TestManifest(t *testing.T) {
	for _, s := range []source.Source{New(), NewOkcoin()} {
		oracle.Manifest(t, s, func(_ market.Market, c market.Channel) source.Subscription { return sub(c, "BTC-USDT") })
	}
}

// TestLogin carries out the script of a fast feed against the emulator, with the
// secret that a runtime would fill in.
func TestLogin(t *testing.T) {
	e := emulator.Start(t, emulator.Options{Venue: "okx", Rate: 200})
	steps := oracle.Session(t, New(), source.SessionRequest{Market: market.MarketSpot, Class: classLogin, Endpoint: e.URL() + "/ws/v5/public",
		Subscriptions: []source.Subscription{sub(market.ChannelBook, "BTC-USDT", "feed", feed400)}}, 4)
	w := oracle.Dial(t, New(), market.MarketSpot, steps[0].Dial.URL)
	subscribe := steps[3].Subscribe[0]
	w.Refused(t, subscribe, "60011") // without a login
	login := steps[1].Send
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
			return i.Signal.Kind == source.SignalReady && string(i.Signal.Text) == steps[2].Await.Token
		})
	}
	w.Send(t, subscribe.Data)
	w.UntilRecords(t, market.KindBookSnapshot, market.KindBookDelta)
}
