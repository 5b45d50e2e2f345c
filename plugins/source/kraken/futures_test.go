package kraken

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

// contractBench are frames of Kraken Futures.
var contractBench = []oracle.Frame{
	{"book", `{"feed":"book","product_id":"PF_XBTUSD","side":"buy","seq":270613033,"price":39080.5,"qty":0.0125,"timestamp":1790000025941}`},
	{"trade", `{"feed":"trade","product_id":"PI_XBTUSD","uid":"df029bc0-1e27-4c19-8dd7-d6dc89217508","side":"sell","type":"fill","seq":222737,"time":1790000084700,"qty":386.0,"price":39054.5}`},
	{"ticker", `{"time":1790000048112,"product_id":"PF_ETHUSD","funding_rate":0.032725177043125,"funding_rate_prediction":0.031251669645,"relative_funding_rate":0.0000186711875,"relative_funding_rate_prediction":0.00001783425,"next_funding_rate_time":1790001200000,"leverage":"100x","premium":-0.0,"feed":"ticker","bid":1751.6,"ask":1751.7,"bid_size":1.459,"ask_size":2.886,"volume":57204.177,"dtm":0,"index":1751.75,"last":1751.7,"change":0.97,"suspended":false,"tag":"perpetual","pair":"ETH:USD","openInterest":24085.822,"markPrice":1751.97553924942,"maturityTime":0,"post_only":false,"volumeQuote":99424431.8132,"open":1734.8,"high":1765.4,"low":1708.8}`},
	{"snapshot", `{"feed":"book_snapshot","product_id":"PF_XBTUSD","timestamp":1790000071000,"seq":270511410,"tickSize":null,"bids":[` +
		strings.Repeat(`{"price":39253.0,"qty":3.44},`, 2000) + `{"price":39251.5,"qty":0.4452}],"asks":[{"price":39279.5,"qty":2.455}]}`},
	{"trades", `{"feed":"trade_snapshot","product_id":"PI_XBTUSD","trades":[` +
		strings.Repeat(`{"feed":"trade","product_id":"PI_XBTUSD","uid":"57d30a84-6890-4f5d-9f1b-087d24701ec9","side":"buy","type":"fill","seq":222736,"time":1790000007008,"qty":2519.0,"price":39096.0},`, 99) +
		`{"feed":"trade","product_id":"PI_XBTUSD","uid":"0a265ed2-0c5d-4d81-ba70-4bbbd724783d","side":"sell","type":"liquidation","seq":222735,"time":1790000069433,"qty":636.0,"price":39077.0}]}`},
	{"exponents", `{"time":1790000051042,"product_id":"PI_XBTUSD","funding_rate":3.216424e-12,"funding_rate_prediction":-8.63581351e-10,"relative_funding_rate":9.6321875e-8,"relative_funding_rate_prediction":-0.000025847309375,"next_funding_rate_time":1790001200000,"feed":"ticker","bid":29914.5,"ask":29925.0,"bid_size":8400.0,"ask_size":10000.0,"volume":100353210.0,"dtm":0,"leverage":"50x","index":29927.42,"premium":-0.0,"last":29929.0,"change":-5.280481050716035,"suspended":false,"tag":"perpetual","pair":"XBT:USD","openInterest":43967525.0,"markPrice":29919.75,"maturityTime":0,"post_only":false}`},
}

// BenchmarkDecodeContracts decodes a frame into encoded records.
func BenchmarkDecodeContracts(b *testing.B) {
	oracle.Bench(b, New(), market.MarketLinear, contractBench)
}

func TestAllocsContracts(t *testing.T) { oracle.Allocs(t, New(), market.MarketLinear, contractBench) }

func FuzzDecodeContracts(f *testing.F) {
	oracle.Fuzz(f, New(), market.MarketInverse, market.MarketMixed)
}

type contractListed struct {
	Symbol, Type string
	Size         json.Number `json:"contractSize"`
	Expiry       string      `json:"lastTradingTime"`
}

// TestContractNames goes through every listing of the recorded catalogues;
// indices and reference rates, which stand among them, are none.
func TestContractNames(t *testing.T) {
	for _, path := range oracle.Files(t, 7, "catalogues", "kraken", "futures.*.json.gz") {
		raw, list := oracle.Catalogue[contractListed](t, path)
		var ls []oracle.Listing
		for _, l := range list {
			symbol := strings.ToUpper(l.Symbol)
			m := contractMarket([]byte(symbol))
			if l.Type == "spot index" {
				oracle.Nameless(t, New(), market.MarketLinear, symbol)
				continue
			}
			want := oracle.Listing{Market: m, Symbol: symbol, Quote: "USD", Settle: "USD", End: "PERP", ContractSize: l.Size.String()}
			if inverse := l.Type == "futures_inverse"; inverse {
				want.Settle = ""
			} else if l.Type != "flexible_futures" || m != market.MarketLinear {
				t.Errorf("%s is %s, the venue says %s", symbol, m, l.Type)
			}
			if l.Expiry != "" {
				want.End = strings.ReplaceAll(l.Expiry[:10], "-", "")
			}
			ls = append(ls, want)
		}
		oracle.Names(t, New(), ls)

		body, err := json.Marshal(map[string]any{"result": "success", "instruments": raw})
		if err != nil {
			t.Fatal(err)
		}
		all := oracle.Listings(t, New(), oracle.Answer("https://futures.kraken.com/derivatives/api/v3/instruments", body), contracts...)
		if len(all) != len(ls) {
			t.Errorf("%s: %d records of %d listings", path, len(all), len(ls))
		}
		for _, it := range all {
			if tick := oracle.Dec(t, it.Record, "tick_size"); tick.Sign() <= 0 {
				t.Errorf("%s: tick size %s", it.Instrument.Symbol, tick)
			}
		}
		t.Logf("%s: %d contracts", path, len(ls))
	}
}

// TestContractSymbols are forms that the recorded catalogues don't have.
func TestContractSymbols(t *testing.T) {
	var ls []oracle.Listing
	for symbol, name := range map[string]string{
		"PI_XBTUSD": "BTC-USD:BTC-PERP", "PF_DOGEUSD": "DOGE-USD-PERP", "FI_XBTUSD_240628": "BTC-USD:BTC-20240628", "FF_XBTUSD_240628": "BTC-USD-20240628",
		"PF_XBTEUR": "BTC-EUR-PERP", "PV_XRPXBT": "XRP-BTC-PERP", "FV_XRPXBT_180615": "XRP-BTC-20180615", "PF_USDTUSD": "USDT-USD-PERP",
		"OF_ETHUSD_240101_1000_C": "ETH-USD-20240101-1000-C", "OF_XBTUSD_261225_100000_P": "BTC-USD-20261225-100000-P",
	} {
		ls = append(ls, oracle.Listing{Market: contractMarket([]byte(symbol)), Symbol: symbol, Name: name})
	}
	oracle.Names(t, New(), ls)
	oracle.Nameless(t, New(), market.MarketLinear, "", "PF_", "PF_USD", "PF_XBT", "XX_XBTUSD", "PF_XBTUSD_240628", "FF_XBTUSD", "FF_XBTUSD_240631", "PF_BTCUSD",
		"OF_ETHUSD_240101_1000_X", "OF_ETHUSD_240101_1000", "in_xbtusd", "PF_XBTUSD_")
	oracle.RefusesNames(t, New(), "BTC-USD:ETH-PERP", "BTC-USD-2026", "BTC-USD:BTC", "BTC-USD/X")
}

// contractParts of a frame: what it says, and the subscriptions.
func contractParts(f source.Frame) string {
	var r struct {
		Event, Feed string
		Products    []string `json:"product_ids"`
	}
	if err := json.Unmarshal([]byte(f.Data), &r); err != nil || len(r.Products) != 1 || f.Token != r.Event+" "+r.Feed+" "+r.Products[0] {
		return fmt.Sprintf("%s %q %v", f.Data, f.Token, err)
	}
	return fmt.Sprintf("%s %v", f.Token, f.Subs)
}

func TestContractSession(t *testing.T) {
	s := New()
	subs := []source.Subscription{
		sub(market.ChannelBook, "PF_XBTUSD"), sub(market.ChannelTrades, "PF_XBTUSD"), sub(market.ChannelLiquidations, "PF_XBTUSD"),
		sub(market.ChannelTicker, "PF_XBTUSD"), sub(market.ChannelFunding, "PF_XBTUSD"), sub(market.ChannelFunding, "PF_ETHUSD"),
	}
	steps := oracle.Session(t, s, source.SessionRequest{Market: market.MarketLinear, Endpoint: "ws://127.0.0.1:1/ws/v1", Subscriptions: subs}, 2)
	oracle.Tokens(t, steps[1].Subscribe)
	oracle.Rendered(t, steps[1].Subscribe, contractParts, "subscribe book PF_XBTUSD [0]", "subscribe trade PF_XBTUSD [1 2]", "subscribe ticker PF_XBTUSD [3 4]",
		"subscribe ticker PF_ETHUSD [5]")
	// What another subscription needs goes on.
	oracle.Frames(t, s, source.FrameRequest{Market: market.MarketLinear, Unsubscribe: true, Subscriptions: subs[1:4], Live: subs[4:]}, contractParts,
		"unsubscribe trade PF_XBTUSD [0 1]")
	oracle.RefusesFrames(t, s, market.MarketLinear, sub(market.ChannelBBO, "PF_XBTUSD"), sub(market.ChannelCandles, "PF_XBTUSD"))
}

func TestContractRequests(t *testing.T) {
	s := New()
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeInstruments, Market: market.MarketInverse, Base: "http://127.0.0.1:1"},
		"http://127.0.0.1:1/derivatives/api/v3/instruments")
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketLinear, Subs: []source.Subscription{sub(market.ChannelInstruments, "")}},
		"https://futures.kraken.com/derivatives/api/v3/instruments")
	candles := sub(market.ChannelCandles, "PF_XBTUSD", "intervals", []string{"1m", "4h"})
	if weight := oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketLinear, Subs: []source.Subscription{candles}},
		"https://futures.kraken.com/api/charts/v1/trade/PF_XBTUSD/1m?count=2", "https://futures.kraken.com/api/charts/v1/trade/PF_XBTUSD/4h?count=2"); weight != 2 {
		t.Errorf("weight %d", weight)
	}
	oracle.Requests(t, s, source.RequestFor{Purpose: source.PurposeHistory, Market: market.MarketInverse, Subs: []source.Subscription{sub(market.ChannelTrades, "PI_XBTUSD")}},
		"https://futures.kraken.com/derivatives/api/v3/history?symbol=PI_XBTUSD")
	oracle.RefusesRequests(t, s,
		source.RequestFor{Purpose: source.PurposeSnapshot, Market: market.MarketLinear, Subs: []source.Subscription{sub(market.ChannelBook, "PF_XBTUSD")}},
		source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketLinear, Subs: []source.Subscription{sub(market.ChannelCandles, "PF_XBTUSD", "intervals", []string{"2m"})}},
		source.RequestFor{Purpose: source.PurposePoll, Market: market.MarketLinear, Subs: []source.Subscription{sub(market.ChannelTicker, "PF_XBTUSD")}})
}

// TestContractsOfOneFeed: a feed's frame gives the channels that are in use, and
// the listings of its market.
func TestContractsOfOneFeed(t *testing.T) {
	for _, c := range []struct {
		channel market.Channel
		frame   int
		want    []market.Kind
	}{
		{market.ChannelFunding, 2, []market.Kind{market.KindFunding}}, {market.ChannelLiquidations, 4, []market.Kind{market.KindLiquidation}},
		{market.ChannelTicker, 2, []market.Kind{market.KindTicker}}, {market.ChannelLiquidations, 1, nil},
	} {
		got := oracle.Kinds(oracle.NewFeed(t, New(), market.MarketLinear, sub(c.channel, "")).Records(t, contractBench[c.frame].Text))
		if !slices.Equal(got, c.want) {
			t.Errorf("%s of %s: %v, want %v", c.channel, contractBench[c.frame].Name, got, c.want)
		}
	}
}

// TestContractAnswers: what the venue says to requests, of which its refusals
// name none.
func TestContractAnswers(t *testing.T) {
	e := emulator.Start(t, emulator.Options{Venue: "kraken", Market: market.MarketLinear, Rate: 200})
	script, err := New().Session(source.SessionRequest{Market: market.MarketLinear, Endpoint: e.URL() + "/ws/v1",
		Subscriptions: []source.Subscription{sub(market.ChannelBook, "PF_NOPEUSD"), sub(market.ChannelBook, "PF_XBTUSD")}})
	if err != nil {
		t.Fatal(err)
	}
	w := oracle.Dial(t, New(), market.MarketLinear, script.Steps[0].Dial.URL)
	frames := script.Steps[1].Subscribe
	w.Send(t, frames[0].Data)
	w.UntilSignal(t, "a refusal that names no request", source.SignalRejected, source.TokenOldest+"\x00Couldn't subscribe to invalid product")
	w.Acknowledged(t, frames[1])
	w.UntilRecords(t, market.KindBookSnapshot)
	w.Send(t, frames[1].Data)
	w.UntilSignal(t, "an answer to what is subscribed already", source.SignalSubscribed, source.TokenOldest)
	w.UntilRecords(t, market.KindBookSnapshot) // again
}
