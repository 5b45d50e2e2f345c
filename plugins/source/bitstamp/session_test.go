package bitstamp

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

var sub = oracle.Sub

// parts of a frame: what it does, to which channel, its token, the subscriptions.
func parts(f source.Frame) string {
	var r struct {
		Event string
		Data  struct{ Channel string }
	}
	if err := json.Unmarshal([]byte(f.Data), &r); err != nil || len(f.Data) >= 512 {
		return fmt.Sprintf("%s %v", f.Data, err)
	}
	return fmt.Sprintf("%s %s as %s %v", r.Event, r.Data.Channel, f.Token, f.Subs)
}

func TestSession(t *testing.T) {
	steps := oracle.Session(t, New(), source.SessionRequest{Market: market.MarketLinear, Endpoint: "ws://127.0.0.1:1", Subscriptions: []source.Subscription{
		sub(market.ChannelTrades, "btcusd-perp"),
		sub(market.ChannelBook, "btcusd-perp", "feed", "diff_order_book"),
		sub(market.ChannelBook, "ethusd-perp", "feed", "order_book"),
		sub(market.ChannelFunding, "btcusd-perp"),
		sub(market.ChannelMarkPrice, "btcusd-perp"),
		sub(market.ChannelIndexPrice, "btcusd-perp"),
	}}, 2)
	oracle.Tokens(t, steps[1].Subscribe)
	oracle.Rendered(t, steps[1].Subscribe, parts,
		"bts:subscribe live_trades_btcusd-perp as live_trades_btcusd-perp [0]",
		"bts:subscribe diff_order_book_btcusd-perp as diff_order_book_btcusd-perp [1]",
		"bts:subscribe order_book_ethusd-perp as order_book_ethusd-perp [2]",
		"bts:subscribe funding_rate_btcusd-perp as funding_rate_btcusd-perp [3 4 5]",
	)
	// The channel goes on while one of those that it carries is wanted.
	oracle.Frames(t, New(), source.FrameRequest{Market: market.MarketLinear, Unsubscribe: true,
		Subscriptions: []source.Subscription{sub(market.ChannelFunding, "btcusd-perp"), sub(market.ChannelFunding, "ethusd-perp")},
		Live:          []source.Subscription{sub(market.ChannelMarkPrice, "btcusd-perp")}}, parts,
		"bts:unsubscribe funding_rate_ethusd-perp as -funding_rate_ethusd-perp [1]")
}

func TestRequests(t *testing.T) {
	for _, x := range []struct {
		purpose source.Purpose
		sub     source.Subscription
		want    []string
	}{
		{source.PurposeSnapshot, sub(market.ChannelBook, "btcusd"), []string{"order_book/btcusd/?group=1"}},
		{source.PurposeHistory, sub(market.ChannelTrades, "btcusd"), []string{"transactions/btcusd/?time=hour"}},
		{source.PurposePoll, sub(market.ChannelTicker, "btcusd-perp"), []string{"ticker/btcusd-perp/"}},
		{source.PurposePoll, sub(market.ChannelOpenInterest, ""), []string{"ticker/"}},
		{source.PurposePoll, sub(market.ChannelInstruments, ""), []string{"markets/"}},
		{source.PurposePoll, sub(market.ChannelCandles, "btcusd", "intervals", []string{"1m", "3d"}), []string{"ohlc/btcusd/?step=60&limit=2", "ohlc/btcusd/?step=259200&limit=2"}},
	} {
		for i := range x.want {
			x.want[i] = "http://h/api/v2/" + x.want[i]
		}
		oracle.Requests(t, New(), source.RequestFor{Purpose: x.purpose, Market: market.MarketSpot, Base: "http://h", Subs: []source.Subscription{x.sub}}, x.want...)
	}
	oracle.Requests(t, New(), source.RequestFor{Purpose: source.PurposeTickers, Market: market.MarketSpot, Base: "http://h"}, "http://h/api/v2/ticker/#statistics")
	oracle.Requests(t, New(), source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketLinear}, "https://www.bitstamp.net/api/v2/markets/")
}

func TestRefusals(t *testing.T) {
	oracle.RefusesFrames(t, New(), market.MarketSpot, sub(market.ChannelFunding, "btcusd"), sub(market.ChannelBBO, "btcusd"), sub(market.ChannelTicker, "btcusd"))
	one := func(s source.Subscription) []source.Subscription { return []source.Subscription{s} }
	oracle.RefusesRequests(t, New(),
		source.RequestFor{Purpose: source.PurposePoll, Subs: one(sub(market.ChannelTrades, "btcusd"))},
		source.RequestFor{Purpose: source.PurposeSnapshot, Subs: one(sub(market.ChannelTrades, "btcusd"))},
		source.RequestFor{Purpose: source.PurposePoll, Subs: one(sub(market.ChannelCandles, "btcusd", "intervals", []string{"7m"}))})
}

// TestManifest: every channel can be had on each of its markets; a status of an
// answer other than 200 is an error.
func TestManifest(t *testing.T) {
	oracle.Manifest(t, New(), func(m market.Market, c market.Channel) source.Subscription {
		if m == market.MarketLinear {
			return sub(c, "btcusd-perp")
		}
		return sub(c, "btcusd")
	})
	in := oracle.Answer("https://www.bitstamp.net/api/v2/order_book/xyzusd/?group=1", []byte("<html>"))
	in.Status = 404
	if _, err := oracle.NewFeed(t, New(), market.MarketSpot).Decode(t, &in); err == nil {
		t.Error("a page is taken for a book")
	}
}

// TestVenue goes through what the venue answers: an acknowledgement and the
// channel's records, its sign of life, an error that names no frame, and the
// request to connect anew.
func TestVenue(t *testing.T) {
	e := emulator.Start(t, emulator.Options{Venue: "bitstamp", Market: market.MarketLinear, Rate: 500})
	steps := oracle.Session(t, New(), source.SessionRequest{Market: market.MarketLinear, Endpoint: e.URL(), Subscriptions: []source.Subscription{
		sub(market.ChannelBook, "btcusd-perp"), sub(market.ChannelBook, "btcusd-perp", "feed", "order_book"), sub(market.ChannelTrades, "ethusd-perp"),
	}}, 2)
	w := oracle.Dial(t, New(), market.MarketLinear, steps[0].Dial.URL)
	for i, f := range steps[1].Subscribe {
		w.Acknowledged(t, f)
		w.UntilRecords(t, []market.Kind{market.KindBookDelta, market.KindBookSnapshot, market.KindTrade}[i])
	}
	end := oracle.Render(t, New(), source.FrameRequest{Market: market.MarketLinear, Unsubscribe: true, Subscriptions: []source.Subscription{sub(market.ChannelTrades, "ethusd-perp")}})
	w.Acknowledged(t, end[0])
	w.Send(t, New().Describe().Markets[0].Endpoints[0].Heartbeat.Payload)
	w.UntilSignal(t, "a sign of life", source.SignalHeartbeat, "")
	w.Send(t, `{"event":"bts:subscribe","data":{"channel":"live_trades_BTCUSD"}}`)
	w.UntilSignal(t, "a refusal", source.SignalRejected, source.TokenOldest+"\x00Invalid channel provided.")
	if err := e.Inject(emulator.Fault{Kind: emulator.FaultShutdown}); err != nil {
		t.Fatal(err)
	}
	w.UntilSignal(t, "the request to connect anew", source.SignalReconnect, "the venue asks for it")
}
