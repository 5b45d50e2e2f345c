package bitget

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/corpus"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

// listed is a listing of the recorded catalogues, which are older than API v2:
// pairs, the swaps of 2021, and those of 2024.
type listed struct {
	Symbol string
	Base   string `json:"base_currency"`
	Quote  string `json:"quote_currency"`

	Underlying string `json:"underlying_index"`
	Settle     string `json:"coin"`

	Ticker string `json:"ticker_id"`
	Target string `json:"target_currency"`
}

// now is the symbol that an instrument has today; its name is the same.
func now(t *testing.T, m market.Market, old string) string {
	t.Helper()
	name := New().Identify(m, old).Name
	on, symbol, err := New().Resolve(name)
	if err != nil || on != m {
		t.Fatalf("%s on %s is %q, which is %s on %s, %v", old, m, name, symbol, on, err)
	}
	return symbol
}

// TestNames goes through every listing of the recorded catalogues.
func TestNames(t *testing.T) {
	for _, path := range oracle.Files(t, 4, "catalogues", "bitget", "*.json.gz") {
		_, list := oracle.Catalogue[listed](t, path)
		var ls []oracle.Listing
		for _, l := range list {
			one := oracle.Listing{Symbol: l.Symbol + l.Ticker, Base: l.Base + l.Underlying, Quote: l.Quote + l.Target, Settle: l.Settle, End: "PERP"}
			product, day, dated := strings.Cut(strings.TrimPrefix(l.Ticker, one.Base+one.Quote+"_"), "_")
			switch {
			case strings.Contains(path, "spot"):
				one.Market, one.End = market.MarketSpot, ""
			case product == "CMCBL": // the symbol says PERP, and so does the list
				one.Market, one.Quote, one.Settle = market.MarketLinear, "USDC", "USDC"
			case one.Quote == "USD":
				one.Market, one.Settle = market.MarketInverse, one.Base
			default:
				one.Market, one.Settle = market.MarketLinear, one.Quote
			}
			if dated {
				one.End = "20" + day
			}
			one.Symbol = now(t, one.Market, one.Symbol)
			ls = append(ls, one)
		}
		oracle.Names(t, New(), ls)
	}
	oracle.Names(t, New(), []oracle.Listing{
		{Market: market.MarketSpot, Symbol: "BTCUSDT", Name: "BTC-USDT"},
		{Market: market.MarketSpot, Symbol: "牛来USDT", Name: "牛来-USDT"},
		{Market: market.MarketLinear, Symbol: "BTCUSDT", Name: "BTC-USDT-PERP"},
		{Market: market.MarketLinear, Symbol: "PERPUSDT", Name: "PERP-USDT-PERP"},
		{Market: market.MarketLinear, Symbol: "ETHPERP", Name: "ETH-USDC-PERP"},
		{Market: market.MarketInverse, Symbol: "ETHUSD", Name: "ETH-USD:ETH-PERP"},
		{Market: market.MarketInverse, Symbol: "ETHUSD_231229", Name: "ETH-USD:ETH-20231229"},
	})
	for old, symbol := range map[string]string{"BTCUSD_CM": "BTCUSD", "BTCUSD_DMCBL_241227": "BTCUSD_241227"} {
		if got := now(t, market.MarketInverse, old); got != symbol {
			t.Errorf("%s is %s today, want %s", old, got, symbol)
		}
	}
}

// TestCatalogue decodes the catalogue that a recording begins with.
func TestCatalogue(t *testing.T) {
	for in := range oracle.Answers(t, corpus.Path(t, "captures", "bitget-spot-20220403-cfg1.jsonl.zst")) {
		var body struct {
			Data []struct{ SymbolName, Status string }
		}
		if err := json.Unmarshal(in.Data, &body); err != nil {
			t.Fatal(err)
		}
		all := oracle.Listings(t, New(), in, market.MarketSpot)
		if len(all) != len(body.Data) || len(all) < 100 {
			t.Fatalf("%d records of %d listings", len(all), len(body.Data))
		}
		for i, it := range all {
			if l := body.Data[i]; it.Instrument.Symbol != l.SymbolName || oracle.Dec(t, it.Record, "tick_size").Sign() <= 0 || oracle.Dec(t, it.Record, "lot_size").Sign() <= 0 {
				t.Errorf("%+v is %s, tick %s, lot %s", l, it.Instrument.Symbol, oracle.Dec(t, it.Record, "tick_size"), oracle.Dec(t, it.Record, "lot_size"))
			}
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	oracle.RefusesNames(t, New(), "", "BTC", "BTC-", "BTC-USDT-PERP-X", "BTC-USD:USDC-PERP", "BTC-USDT:BTC-PERP", "BTC-USD-PERP", "BTC-EUR-PERP",
		"BTC-USDT-20261225-100000-C")
	oracle.Nameless(t, New(), market.MarketSpot, "", "BTC", "USDT", "BTCUSDT_XX_YY")
	oracle.Nameless(t, New(), market.MarketLinear, "", "BTC", "BTCUSDT_2612", "BTCUSDT_999999")
}

// TestProducts: a stream is asked for under the product that has the symbol.
func TestProducts(t *testing.T) {
	for _, c := range []struct {
		m               market.Market
		symbol, product string
	}{{market.MarketSpot, "BTCUSDC", "SPOT"}, {market.MarketLinear, "BTCUSDT", "USDT-FUTURES"}, {market.MarketLinear, "PERPUSDT", "USDT-FUTURES"},
		{market.MarketLinear, "BTCPERP", "USDC-FUTURES"}, {market.MarketInverse, "BTCUSD_261225", "COIN-FUTURES"}} {
		frames := oracle.Render(t, New(), source.FrameRequest{Market: c.m, Subscriptions: []source.Subscription{{Channel: market.ChannelTrades, Symbol: c.symbol}}})
		if !strings.Contains(frames[0].Data, `"`+c.product+`"`) {
			t.Errorf("%s on %s: %v, want %s", c.symbol, c.m, frames, c.product)
		}
	}
}
