package binance

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

var sub = oracle.Sub

func params(t *testing.T, f source.Frame) []string {
	t.Helper()
	var r struct {
		Method string
		Params []string
		ID     json.Number
	}
	if err := json.Unmarshal([]byte(f.Data), &r); err != nil || r.ID.String() != f.Token || len(f.Data) > 4096 {
		t.Fatalf("%d bytes, token %s: %.200s: %v", len(f.Data), f.Token, f.Data, err)
	}
	return append([]string{r.Method}, r.Params...)
}

func TestSession(t *testing.T) {
	s := New()
	steps := oracle.Session(t, s, source.SessionRequest{Market: market.MarketLinear, Class: classMarket, Endpoint: "wss://fstream.binance.com/market/stream",
		Subscriptions: []source.Subscription{
			sub(market.ChannelMarkPrice, "BTCUSDT"), sub(market.ChannelFunding, "BTCUSDT"), sub(market.ChannelIndexPrice, "BTCUSDT"),
			sub(market.ChannelTrades, "BTCUSDT", "aggregate", true), sub(market.ChannelCandles, "BTCUSDT", "intervals", []string{"1m", "1h"}),
		}}, 2)
	if len(steps[1].Subscribe) != 1 {
		t.Fatalf("%+v", steps[1])
	}
	f := steps[1].Subscribe[0]
	if got, want := strings.Join(params(t, f), " "), "SUBSCRIBE btcusdt@markPrice@1s btcusdt@aggTrade btcusdt@kline_1m btcusdt@kline_1h"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if !slices.Equal(f.Subs, []int{0, 1, 2, 3, 4}) { // also those that share a stream: a refusal is of all of them
		t.Errorf("subscriptions %v", f.Subs)
	}
	// A stream goes on while one of its channels is wanted.
	frames, err := s.Frames(source.FrameRequest{Market: market.MarketLinear, Unsubscribe: true, Live: []source.Subscription{sub(market.ChannelFunding, "BTCUSDT")},
		Subscriptions: []source.Subscription{sub(market.ChannelMarkPrice, "BTCUSDT"), sub(market.ChannelMarkPrice, "ETHUSDT")}})
	if err != nil || len(frames) != 1 || strings.Join(params(t, frames[0]), " ") != "UNSUBSCRIBE ethusdt@markPrice@1s" || !slices.Equal(frames[0].Subs, []int{1}) {
		t.Errorf("%v, %v", frames, err)
	}
}

func TestStreams(t *testing.T) {
	for _, c := range []struct {
		m    market.Market
		sub  source.Subscription
		want string
	}{
		{market.MarketSpot, sub(market.ChannelTrades, "BTCUSDT"), "btcusdt@trade"},
		{market.MarketSpot, sub(market.ChannelTrades, "币安USDT", "aggregate", true), "币安usdt@aggTrade"},
		{market.MarketSpot, sub(market.ChannelBook, "BTCUSDT"), "btcusdt@depth@100ms"},
		{market.MarketSpot, sub(market.ChannelBook, "BTCUSDT", "speed", "1000ms"), "btcusdt@depth"},
		{market.MarketLinear, sub(market.ChannelBook, "BTCUSDT", "speed", "250ms"), "btcusdt@depth"},
		{market.MarketLinear, sub(market.ChannelBook, "BTCUSDT", "speed", "500ms"), "btcusdt@depth@500ms"},
		{market.MarketSpot, sub(market.ChannelBBO, "BTCUSDT"), "btcusdt@bookTicker"},
		{market.MarketSpot, sub(market.ChannelTicker, "BTCUSDT"), "btcusdt@ticker"},
		{market.MarketInverse, sub(market.ChannelIndexPrice, "BTCUSD_240628"), "btcusd@indexPrice@1s"},
		{market.MarketInverse, sub(market.ChannelMarkPrice, "BTCUSD_PERP"), "btcusd_perp@markPrice@1s"},
		{market.MarketInverse, sub(market.ChannelLiquidations, "BTCUSD_PERP"), "btcusd_perp@forceOrder"},
	} {
		if got, err := streams(c.m, c.sub); err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%v, %v, want %s", got, err, c.want)
		}
	}
	if _, err := streams(market.MarketLinear, sub(market.ChannelOpenInterest, "BTCUSDT")); err == nil {
		t.Error("open interest is no stream")
	}
}

func TestFramesFitTheVenue(t *testing.T) {
	var subs []source.Subscription
	for i := range 1024 {
		subs = append(subs, sub(market.ChannelBook, fmt.Sprintf("SYMBOL%dUSDT", i)))
	}
	for _, unsubscribe := range []bool{false, true} {
		frames := oracle.Render(t, New(), source.FrameRequest{Market: market.MarketSpot, Subscriptions: subs, Unsubscribe: unsubscribe})
		streams, tokens := 0, map[string]bool{}
		for _, f := range frames {
			ps := params(t, f)
			if want := map[bool]string{false: "SUBSCRIBE", true: "UNSUBSCRIBE"}[unsubscribe]; ps[0] != want || len(ps)-1 != len(f.Subs) {
				t.Errorf("%s of %d streams for %d subscriptions", ps[0], len(ps)-1, len(f.Subs))
			}
			streams += len(ps) - 1
			tokens[f.Token] = true
		}
		if streams != len(subs) || len(tokens) != len(frames) {
			t.Errorf("%d streams in %d frames with %d tokens", streams, len(frames), len(tokens))
		}
	}
}

func TestRequests(t *testing.T) {
	for _, c := range []struct {
		r      source.RequestFor
		want   string
		weight int
	}{
		{source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketSpot}, "https://api.binance.com/api/v3/exchangeInfo?showPermissionSets=false", 20},
		{source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketInverse, Base: "http://127.0.0.1:1"}, "http://127.0.0.1:1/dapi/v1/exchangeInfo", 1},
		{source.RequestFor{Purpose: source.PurposeSnapshot, Market: market.MarketSpot, Subs: []source.Subscription{sub(market.ChannelBook, "BTCUSDT", "depth", int64(5000))}}, "https://api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=5000", 250},
		{source.RequestFor{Purpose: source.PurposeSnapshot, Market: market.MarketLinear, Subs: []source.Subscription{sub(market.ChannelBook, "BTCUSDT", "depth", int64(60))}}, "https://fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit=100", 5},
		{source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketInverse, Subs: []source.Subscription{sub(market.ChannelOpenInterest, "BTCUSD_PERP")}}, "https://dapi.binance.com/dapi/v1/openInterest?symbol=BTCUSD_PERP", 1},
		{source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketInverse, Subs: []source.Subscription{sub(market.ChannelLongShortRatio, "BTCUSD_PERP", "population", "top_positions")}}, "https://dapi.binance.com/futures/data/topLongShortPositionRatio?pair=BTCUSD&period=5m&limit=1", 1},
		{source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketLinear, Subs: []source.Subscription{sub(market.ChannelLongShortRatio, "BTCUSDT")}}, "https://fapi.binance.com/futures/data/globalLongShortAccountRatio?symbol=BTCUSDT&period=5m&limit=1", 1},
		{source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketSpot, From: 28457, Subs: []source.Subscription{sub(market.ChannelTrades, "BTCUSDT")}}, "https://api.binance.com/api/v3/historicalTrades?symbol=BTCUSDT&limit=1000&fromId=28457", 25},
		{source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketLinear, From: 7, Subs: []source.Subscription{sub(market.ChannelTrades, "BTCUSDT", "aggregate", true)}}, "https://fapi.binance.com/fapi/v1/aggTrades?symbol=BTCUSDT&limit=1000&fromId=7", 20},
	} {
		if weight := oracle.Requests(t, New(), c.r, c.want); weight != c.weight {
			t.Errorf("%s weighs %d, want %d", c.want, weight, c.weight)
		}
	}
	// Spot has no open interest.
	oracle.RefusesRequests(t, New(), source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketSpot, Subs: []source.Subscription{sub(market.ChannelOpenInterest, "BTCUSDT")}})
}

// TestManifest: every channel can be had on each of its markets.
func TestManifest(t *testing.T) {
	for _, s := range []source.Source{New(), NewUS()} {
		most := oracle.Manifest(t, s, func(_ market.Market, c market.Channel) source.Subscription { return sub(c, "BTCUSD_PERP") })
		if most != 1 {
			t.Errorf("a subscription takes %d frames or requests", most)
		}
	}
}
