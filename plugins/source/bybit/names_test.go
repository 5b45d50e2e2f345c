package bybit

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/corpus"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

// v2 is a listing of API v2; v5 is what a recording begins with.
type v2 struct {
	Name, Alias string
	Base        string `json:"base_currency"`
	Quote       string `json:"quote_currency"`
}

type v5 struct {
	Result struct {
		Category string
		List     []struct{ Symbol, BaseCoin, QuoteCoin, SettleCoin string }
	}
}

const recorded = "bybit-mixed-20260809-cfv3.jsonl.zst"

// TestNames goes through every recorded listing.
func TestNames(t *testing.T) {
	all := map[oracle.Listing]bool{} // a listing stands in several catalogues
	for _, path := range oracle.Files(t, 10, "catalogues", "bybit", "*.json.gz") {
		_, list := oracle.Catalogue[v2](t, path)
		for _, l := range list {
			one := oracle.Listing{Market: market.MarketLinear, Symbol: l.Name, Base: l.Base, Quote: l.Quote, Settle: l.Quote}
			if l.Quote == "USD" {
				one.Market, one.Settle = market.MarketInverse, l.Base
			}
			all[one] = true
			// The alias of a dated one ends with month and day: BTCUSD0624.
			if _, day, ok := strings.Cut(l.Alias, "USD0"); ok || l.Name != l.Alias {
				if n := New().Identify(market.MarketInverse, l.Name).Name; !strings.HasSuffix(n, day) {
					t.Errorf("%s is %s, by its alias it ends %s", l.Name, n, l.Alias)
				}
			}
		}
	}
	for in := range oracle.Answers(t, corpus.Path(t, "captures", recorded)) {
		var body v5
		if err := json.Unmarshal(in.Data, &body); err != nil {
			t.Fatal(err)
		}
		m, err := market.ParseMarket(body.Result.Category)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range body.Result.List {
			all[oracle.Listing{Market: m, Symbol: l.Symbol, Base: l.BaseCoin, Quote: l.QuoteCoin, Settle: l.SettleCoin}] = true
		}
	}
	oracle.Names(t, New(), slices.Collect(maps.Keys(all)))
	if len(all) < 1400 {
		t.Errorf("only %d names", len(all))
	}
}

// TestCatalogues decodes the recorded answers: one record for each listing.
func TestCatalogues(t *testing.T) {
	answers := 0
	for in := range oracle.Answers(t, corpus.Path(t, "captures", recorded)) {
		answers++
		all := oracle.Listings(t, New(), in, market.MarketMixed)
		if want := strings.Count(string(in.Data), `"symbol":`); len(all) != want || want < 500 {
			t.Errorf("%d records of %d listings", len(all), want)
		}
		for _, it := range all {
			for _, step := range []string{"tick_size", "lot_size"} {
				if d := oracle.Dec(t, it.Record, step); d.Sign() <= 0 {
					t.Errorf("%s: %s %s", it.Instrument.Symbol, step, d)
				}
			}
		}
	}
	if answers != 2 {
		t.Errorf("%d catalogues in the recording", answers)
	}
}

func TestNameForms(t *testing.T) {
	oracle.Names(t, New(), []oracle.Listing{
		{Market: market.MarketLinear, Symbol: "BTCPERP", Name: "BTC-USDC-PERP"},
		{Market: market.MarketLinear, Symbol: "1000PEPEUSDT", Name: "1000PEPE-USDT-PERP"},
		{Market: market.MarketLinear, Symbol: "BTC-6JAN23", Name: "BTC-USDC-20230106"},
		{Market: market.MarketLinear, Symbol: "BTCUSDT-25DEC26", Name: "BTC-USDT-20261225"},
		{Market: market.MarketInverse, Symbol: "BTCUSDH27", Name: "BTC-USD:BTC-20270326"},
		{Market: market.MarketOption, Symbol: "ETH-3JAN23-1250-P", Name: "ETH-USD:USDC-20230103-1250-P"},
		{Market: market.MarketOption, Symbol: "XRP-30OCT26-2.5-C-USDT", Name: "XRP-USDT-20261030-2.5-C"},
	})
	oracle.RefusesNames(t, New(), "", "BTC", "BTC-USD:USDC-PERP", "BTC-EUR-PERP", "BTC-USDT:BTC-PERP", "BTC-USD:BTC-20261224", "BTC-EUR-20261225-1-C", "BTC-USD-20261225-1-C")
	oracle.Nameless(t, New(), market.MarketSpot, "BTC")
	oracle.Nameless(t, New(), market.MarketInverse, "BTCUSDA26", "BTCEUR")
	oracle.Nameless(t, New(), market.MarketLinear, "BTC-X", "A-B-C", "")
	oracle.Nameless(t, New(), market.MarketOption, "BTC-25DEC26-1-X", "BTC")
}
