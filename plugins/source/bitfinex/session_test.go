package bitfinex

import (
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

var sub = oracle.Sub

// plain is a frame without the name that stands in its token too.
func plain(f source.Frame) string {
	return strings.TrimSpace(strings.Replace(f.Data, `,"subId":"`+f.Token+`"`, "", 1) + " " + strings.Repeat("+", len(f.Subs)-1))
}

func TestSession(t *testing.T) {
	s := New()
	subs := []source.Subscription{
		sub(market.ChannelTrades, "tBTCF0:USTF0"),
		sub(market.ChannelBook, "tBTCF0:USTF0", "precision", "P1", "depth", int64(26)),
		sub(market.ChannelBook, "tETHF0:USTF0"),
		sub(market.ChannelBook, "tETHF0:USTF0", "precision", "R0", "depth", int64(1)),
		sub(market.ChannelTicker, "tBTCF0:USTF0"),
		sub(market.ChannelCandles, "tBTCF0:USTF0", "intervals", []string{"1m", "2w"}),
		sub(market.ChannelFunding, "tBTCF0:USTF0"), sub(market.ChannelMarkPrice, "tBTCF0:USTF0"), sub(market.ChannelIndexPrice, "tETHF0:USTF0"),
		sub(market.ChannelLiquidations, ""),
	}
	steps := oracle.Session(t, s, source.SessionRequest{Market: market.MarketLinear, Endpoint: "ws://127.0.0.1:1/ws/2", Subscriptions: subs}, 4)
	if hello := steps[1].Send; hello == nil || hello.Data != `{"event":"conf","flags":229376}` || steps[2].Await == nil || steps[2].Await.Token != ready {
		t.Errorf("%+v", steps[1:3])
	}
	oracle.Tokens(t, steps[3].Subscribe)
	oracle.Rendered(t, steps[3].Subscribe, plain,
		`{"event":"subscribe","channel":"trades","symbol":"tBTCF0:USTF0"}`,
		`{"event":"subscribe","channel":"book","symbol":"tBTCF0:USTF0","prec":"P1","freq":"F0","len":"100"}`,
		`{"event":"subscribe","channel":"book","symbol":"tETHF0:USTF0","prec":"P0","freq":"F0","len":"250"}`,
		`{"event":"subscribe","channel":"book","symbol":"tETHF0:USTF0","prec":"R0","freq":"F0","len":"25"}`,
		`{"event":"subscribe","channel":"ticker","symbol":"tBTCF0:USTF0"}`,
		`{"event":"subscribe","channel":"candles","key":"trade:1m:tBTCF0:USTF0"}`,
		`{"event":"subscribe","channel":"candles","key":"trade:14D:tBTCF0:USTF0"}`,
		`{"event":"subscribe","channel":"status","key":"deriv:tBTCF0:USTF0"} +`,
		`{"event":"subscribe","channel":"status","key":"deriv:tETHF0:USTF0"}`,
		`{"event":"subscribe","channel":"status","key":"liq:global"}`,
	)
}

// TestUnsubscribe: channels end by the id that the venue gave them, and a shared
// one with the last that needs it.
func TestUnsubscribe(t *testing.T) {
	s := New()
	r := source.FrameRequest{Market: market.MarketLinear, Unsubscribe: true, Handles: map[string]string{"book:tBTCUSD:P0": "10092", "status:deriv:tBTCF0:USTF0": "335856"},
		Subscriptions: []source.Subscription{sub(market.ChannelBook, "tBTCUSD"), sub(market.ChannelMarkPrice, "tBTCF0:USTF0")}}
	all := func(f source.Frame) string { return f.Data + " " + f.Token }
	book, state := `{"event":"unsubscribe","chanId":10092} -10092`, `{"event":"unsubscribe","chanId":335856} -335856`
	oracle.Frames(t, s, r, all, book, state)
	r.Live = []source.Subscription{sub(market.ChannelFunding, "tBTCF0:USTF0")}
	oracle.Frames(t, s, r, all, book)
	r.Handles = nil
	if f, err := s.Frames(r); err == nil || !strings.Contains(err.Error(), "book:tBTCUSD:P0") {
		t.Errorf("a channel without an id is unsubscribed by %v, %v", f, err)
	}
}

func TestRequests(t *testing.T) {
	s := New()
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketSpot}, "https://api-pub.bitfinex.com/v2/conf/pub:info:pair")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketLinear, Base: "http://h", Subs: []source.Subscription{sub(market.ChannelInstruments, "")}},
		"http://h/v2/conf/pub:info:pair:futures")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketSpot, Base: "http://h", From: 1_700_000_000_000_000_000, To: 1_700_000_001_000_000_000,
		Subs: []source.Subscription{sub(market.ChannelTrades, "tDOGE:UST")}},
		"http://h/v2/trades/tDOGE:UST/hist?limit=10000&sort=1&start=1700000000000&end=1700000001000")
}

func TestRefusals(t *testing.T) {
	oracle.RefusesFrames(t, New(), market.MarketSpot, sub(market.ChannelBBO, "tBTCUSD"), sub(market.ChannelCandles, "tBTCUSD", "intervals", []string{"4h"}))
	oracle.RefusesRequests(t, New(), source.RequestFor{Purpose: source.PurposeSnapshot, Subs: []source.Subscription{sub(market.ChannelBook, "tBTCUSD")}})
}

// TestManifest: every channel can be had on each of its markets.
func TestManifest(t *testing.T) {
	oracle.Manifest(t, New(), func(_ market.Market, c market.Channel) source.Subscription { return sub(c, "tBTCUSD") })
}

// TestAnswers carries out a script against the emulator: the venue's name of a
// subscription comes with its acknowledgement, and ends it.
func TestAnswers(t *testing.T) {
	e := emulator.Start(t, emulator.Options{Venue: "bitfinex", Rate: 200})
	steps := oracle.Session(t, New(), source.SessionRequest{Market: market.MarketSpot, Endpoint: e.URL() + "/ws/2",
		Subscriptions: []source.Subscription{sub(market.ChannelBook, "tBTCUSD", "precision", "R0"), sub(market.ChannelBook, "tXXXYYY")}}, 4)
	w := oracle.Dial(t, New(), market.MarketSpot, steps[0].Dial.URL)
	w.Send(t, steps[1].Send.Data)
	w.UntilSignal(t, "the flags", source.SignalReady, ready)
	w.Send(t, steps[3].Subscribe[1].Data)
	w.UntilSignal(t, "a refusal", source.SignalRejected, "book:tXXXYYY:P0\x0010300")
	for range 2 {
		w.Send(t, steps[3].Subscribe[0].Data)
		id := ""
		w.Until(t, "the acknowledgement", func(i oracle.Item) bool {
			token, handle, _ := strings.Cut(string(i.Signal.Text), "\x00")
			if i.Record == nil && i.Signal.Kind == source.SignalSubscribed && token == steps[3].Subscribe[0].Token {
				id = handle
			}
			return id != ""
		})
		w.UntilRecords(t, market.KindBookSnapshot, market.KindBookDelta)
		w.Send(t, `{"event":"unsubscribe","chanId":`+id+`}`)
		w.UntilSignal(t, "the end", source.SignalSubscribed, ends(id))
	}
}
