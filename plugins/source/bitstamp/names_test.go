package bitstamp

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

// listed is a pair of a recorded catalogue.
type listed struct {
	Name   string
	Symbol string `json:"url_symbol"`
}

// TestNames goes through every listing of the recorded catalogues.
func TestNames(t *testing.T) {
	for _, path := range oracle.Files(t, 2, "catalogues", "bitstamp", "*.json.gz") {
		_, list := oracle.Catalogue[listed](t, path)
		var ls []oracle.Listing
		for _, l := range list {
			base, quote, _ := strings.Cut(l.Name, "/")
			ls = append(ls, oracle.Listing{Market: market.MarketSpot, Symbol: l.Symbol, Base: base, Quote: quote})
		}
		oracle.Names(t, New(), ls)
	}
	oracle.Names(t, New(), []oracle.Listing{
		{Market: market.MarketSpot, Symbol: "usdcusdt", Name: "USDC-USDT"},
		{Market: market.MarketLinear, Symbol: "btcusd-perp", Name: "BTC-USD-PERP", Settle: "USD"},
		{Market: market.MarketLinear, Symbol: "eurusd-perp", Name: "EUR-USD-PERP"},
	})
}

// TestCatalogues decodes the same lists as answers; a feed of perpetuals leaves
// the pairs to that of spot.
func TestCatalogues(t *testing.T) {
	for _, path := range oracle.Files(t, 2, "catalogues", "bitstamp", "*.json.gz") {
		raw, list := oracle.Catalogue[listed](t, path)
		body, err := json.Marshal(raw)
		if err != nil {
			t.Fatal(err)
		}
		in := oracle.Answer("https://www.bitstamp.net/api/v2/trading-pairs-info/", body)
		if all := oracle.Listings(t, New(), in, market.MarketSpot, market.MarketLinear); len(all) != len(list) {
			t.Errorf("%s: %d records of %d listings", path, len(all), len(list))
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	oracle.RefusesNames(t, New(), "", "BTC", "btc-usd", "BTC-USD:BTC-PERP", "BTC-USD-20261225", "BTC-USD-20261225-1-C", "B_T-USD")
	oracle.Nameless(t, New(), market.MarketSpot, "BTCUSD", "usd", "btcxyz", "btcusd-perp")
	oracle.Nameless(t, New(), market.MarketLinear, "btcusd", "usd-perp", "-perp")
}
