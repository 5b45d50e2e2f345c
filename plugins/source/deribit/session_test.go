package deribit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
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

// parts of a call, after its id was checked.
func parts(t *testing.T, f source.Frame) string {
	t.Helper()
	var r struct {
		JSONRPC string
		ID      json.Number
		Method  string
		Params  struct{ Channels []string }
	}
	if err := json.Unmarshal([]byte(f.Data), &r); err != nil || r.JSONRPC != "2.0" || r.ID.String() != f.Token {
		t.Fatalf("%s: %v", f.Data, err)
	}
	n, off := callOf([]byte(f.Token))
	if n != len(r.Params.Channels) || off != (r.Method == "public/unsubscribe") {
		t.Errorf("%s says %d channels, unsubscribe %v", f.Token, n, off)
	}
	if len(r.Params.Channels) > 3 {
		return fmt.Sprintf("%s %d %v", r.Method, len(r.Params.Channels), len(f.Subs))
	}
	return fmt.Sprintf("%s %v %v", r.Method, r.Params.Channels, f.Subs)
}

func calls(t *testing.T, fs []source.Frame) (all []string) {
	t.Helper()
	for _, f := range fs {
		all = append(all, parts(t, f))
	}
	return all
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
	script, err := s.Session(source.SessionRequest{Market: market.MarketInverse, Endpoint: "ws://127.0.0.1:1/ws/api/v2", Subscriptions: subs})
	if err != nil || len(script.Steps) != 3 || script.Steps[0].Dial.URL != "ws://127.0.0.1:1/ws/api/v2" ||
		script.Steps[1].Send.Data != `{"jsonrpc":"2.0","id":1,"method":"public/set_heartbeat","params":{"interval":30}}` || script.Steps[1].Send.Token != "1" {
		t.Fatalf("%+v, %v", script, err)
	}
	want := []string{
		"public/subscribe [trades.BTC-PERPETUAL.agg2] [0]",
		"public/subscribe [trades.BTC-PERPETUAL.100ms] [1]",
		"public/subscribe [book.BTC-PERPETUAL.100ms] [2]",
		"public/subscribe [quote.BTC-PERPETUAL] [3]",
		"public/subscribe [ticker.BTC-PERPETUAL.100ms] [4 5 6]",
		"public/subscribe [chart.trades.BTC-PERPETUAL.1] [7]",
		"public/subscribe [chart.trades.BTC-PERPETUAL.1D] [7]",
		"public/subscribe [deribit_volatility_index.btc_usd] [8 9]",
	}
	if got := calls(t, script.Steps[2].Subscribe); !reflect.DeepEqual(got, want) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
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
		fs, err := s.Frames(c.r)
		if got := calls(t, fs); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v, %v, want %v", got, err, c.want)
		}
	}
}

func TestRequests(t *testing.T) {
	s := New()
	for _, c := range []struct {
		r    source.RequestFor
		want string
	}{
		{source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketInverse, From: 10, To: 20, Subs: []source.Subscription{sub(market.ChannelTrades, "BTC-PERPETUAL")}},
			"https://www.deribit.com/api/v2/public/get_last_trades_by_instrument?instrument_name=BTC-PERPETUAL&start_seq=10&end_seq=20&count=1000&sorting=asc"},
		{source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketInverse, Base: "http://127.0.0.1:1"}, "http://127.0.0.1:1/api/v2/public/get_instruments?currency=any&kind=future"},
		{source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketSpot, Base: "http://h"}, "http://h/api/v2/public/get_instruments?currency=any&kind=spot"},
		{source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketOption, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelInstruments, "")}},
			"http://h/api/v2/public/get_instruments?currency=any&kind=option"},
	} {
		if rs, err := s.Requests(c.r); err != nil || len(rs) != 1 || rs[0].URL != c.want {
			t.Errorf("%v, %v, want %s", rs, err, c.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := New()
	for _, one := range []source.Subscription{
		sub(market.ChannelLongShortRatio, "BTC-PERPETUAL"),
		sub(market.ChannelCandles, "BTC-PERPETUAL", "intervals", []string{"7m"}),
	} {
		for _, r := range []source.FrameRequest{{Subscriptions: []source.Subscription{one}}, {Live: []source.Subscription{one}}} {
			if f, err := s.Frames(r); err == nil {
				t.Errorf("%v", f)
			}
		}
	}
	for _, p := range []source.Purpose{source.PurposePoll, source.PurposeSnapshot} {
		if r, err := s.Requests(source.RequestFor{Purpose: p, Subs: []source.Subscription{sub(market.ChannelBook, "BTC-PERPETUAL")}}); err == nil {
			t.Errorf("%v", r)
		}
	}
}

// TestInUse: of a ticker's frame, a live feed gives what its channels are.
func TestInUse(t *testing.T) {
	frame := benchFrames[slices.IndexFunc(benchFrames, func(f struct{ name, frame string }) bool { return f.name == "option" })].frame
	for _, c := range []struct {
		channels []market.Channel
		want     []market.Kind
	}{
		{[]market.Channel{market.ChannelBBO, market.ChannelTicker}, []market.Kind{market.KindTicker}}, // quotes give the other
		{[]market.Channel{market.ChannelOptions}, []market.Kind{market.KindOptionSummary}},
		{[]market.Channel{market.ChannelMarkPrice, market.ChannelIndexPrice, market.ChannelOpenInterest, market.ChannelFunding},
			[]market.Kind{market.KindMarkPrice, market.KindIndexPrice, market.KindOpenInterest}},
	} {
		s := New()
		set := map[market.Channel]schema.Values{}
		for _, ch := range c.channels {
			set[ch] = nil
		}
		dec, err := s.NewDecoder(source.DecoderSettings{Market: market.MarketOption, Channels: set})
		if err != nil {
			t.Fatal(err)
		}
		out := source.NewOut(s, market.MarketOption)
		in := &source.Input{Kind: source.InputText, Recv: 1, Data: []byte(frame)}
		out.Begin(in)
		if err := dec.Decode(in, out); err != nil {
			t.Fatal(err)
		}
		var got []market.Kind
		for b := out.Bytes(); len(b) > 0; {
			if source.IsSignal(b) {
				_, n, err := source.ParseSignal(b)
				if err != nil {
					t.Fatal(err)
				}
				b = b[n:]
				continue
			}
			v, err := market.Validate(b)
			if err != nil {
				t.Fatal(err)
			}
			got, b = append(got, v.Kind()), b[len(v):]
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v give %v, want %v", c.channels, got, c.want)
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
				t.Errorf("channel %s on %s, which isn't a market", c.Channel, on)
				continue
			}
			for _, class := range classes {
				if !slices.ContainsFunc(m.Markets[i].Endpoints, func(e source.Endpoint) bool { return e.Class == class }) {
					t.Errorf("%s: no endpoint of class %q", c.Channel, class)
				}
			}
			one := []source.Subscription{{Channel: c.Channel, Symbol: "BTC-PERPETUAL"}}
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

// TestLogin carries out the script of a raw feed against the emulator, with the
// secret that a runtime would fill in.
func TestLogin(t *testing.T) {
	e, err := emulator.New(emulator.Options{Venue: "deribit", Market: market.MarketInverse, Rate: 200})
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
	script, err := New().Session(source.SessionRequest{Market: market.MarketInverse, Class: classLogin, Endpoint: e.URL() + "/ws/api/v2",
		Subscriptions: []source.Subscription{sub(market.ChannelBook, "BTC-PERPETUAL", "interval", intervalRaw)}})
	if err != nil || len(script.Steps) != 6 {
		t.Fatalf("%+v, %v", script, err)
	}
	w := oracle.Dial(t, New(), market.MarketInverse, script.Steps[0].Dial.URL)
	until := func(what string, kind source.SignalKind, text string) {
		t.Helper()
		w.Until(t, what, func(i oracle.Item) bool {
			return i.Signal.Kind == kind && strings.HasPrefix(string(i.Signal.Text), text)
		})
	}
	w.Send(t, script.Steps[1].Send.Data)
	until("the heartbeat's answer", source.SignalSubscribed, script.Steps[1].Send.Token)
	subscribe := script.Steps[5].Subscribe[0]
	w.Send(t, subscribe.Data)
	until("the refusal without a login", source.SignalRejected, subscribe.Token+"\x0013778")
	login := script.Steps[2].Send
	for _, secret := range []string{"wrong", emulator.DeribitSecret} {
		values := strings.NewReplacer("${timestamp}", strconv.FormatInt(time.Now().UnixMilli(), 10), "${nonce}", "once")
		h := hmac.New(sha256.New, []byte(secret))
		h.Write([]byte(values.Replace(login.Sign.Payload)))
		w.Send(t, strings.NewReplacer("${key}", emulator.DeribitKey, "${signature}", hex.EncodeToString(h.Sum(nil))).Replace(values.Replace(login.Data)))
		if secret == "wrong" {
			until("the refusal of a wrong secret", source.SignalRejected, loginToken+"\x0013004")
		} else {
			until("the login", source.SignalReady, script.Steps[3].Await.Token)
		}
	}
	w.Send(t, subscribe.Data)
	w.Until(t, "a book", func(i oracle.Item) bool { return i.Record != nil && i.Record.Kind() == market.KindBookSnapshot })
	renewal := script.Steps[4].Renew.Frame.Data
	w.Send(t, strings.ReplaceAll(renewal, "${kept:refresh_token}", emulator.DeribitGrants+"-refresh"))
	until("the renewal", source.SignalReady, loginToken)
	w.Send(t, strings.ReplaceAll(renewal, "${kept:refresh_token}", "another"))
	until("its refusal", source.SignalRejected, loginToken+"\x0013009")
	w.Until(t, "its changes", func(i oracle.Item) bool { return i.Record != nil && i.Record.Kind() == market.KindBookDelta })
}
