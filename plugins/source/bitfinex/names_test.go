package bitfinex

import (
	"encoding/json"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

// pairs of a recorded catalogue, [[["BTCUSD",[…]], …]].
func pairs(t *testing.T, path string) (raw []json.RawMessage, names []string) {
	raw, lists := oracle.Catalogue[[][2]json.RawMessage](t, path)
	for _, l := range lists {
		for _, one := range l {
			var name string
			if err := json.Unmarshal(one[0], &name); err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
		}
	}
	return raw, names
}

// TestCatalogues goes through every listing of the recorded catalogues: its name
// leads back to it, and a response with the list has a record of it.
func TestCatalogues(t *testing.T) {
	for _, path := range oracle.Files(t, 4, "catalogues", "bitfinex", "*.json.gz") {
		raw, names := pairs(t, path)
		var ls []oracle.Listing
		for _, name := range names {
			symbol := "t" + name
			n := parse(symbol)
			ls = append(ls, oracle.Listing{Market: marketOf([]byte(symbol)), Symbol: symbol, Base: n.Base, Quote: n.Quote})
		}
		oracle.Names(t, New(), ls)
		body, err := json.Marshal(raw)
		if err != nil {
			t.Fatal(err)
		}
		if all := oracle.Listings(t, New(), oracle.Answer(base+"/v2/conf/pub:info:pair", body), everywhere...); len(all) != len(names) {
			t.Errorf("%s: %d records of %d listings", path, len(all), len(names))
		}
	}
}

// TestCapturedCatalogues: lists of names alone, as older captures begin with.
func TestCapturedCatalogues(t *testing.T) {
	for _, path := range oracle.Files(t, 1, "captures", "bitfinex-spot-*.jsonl.zst") {
		n := 0
		for in := range oracle.Answers(t, path) {
			n += len(oracle.Listings(t, New(), in, everywhere...))
		}
		if n < 200 {
			t.Errorf("%s: %d listings", path, n)
		}
	}
}

func TestNames(t *testing.T) {
	oracle.Names(t, New(), []oracle.Listing{
		{Market: market.MarketSpot, Symbol: "tBTCUST", Name: "BTC-USDT"}, {Market: market.MarketSpot, Symbol: "tDOGE:UST", Name: "DOGE-USDT"},
		{Market: market.MarketSpot, Symbol: "tIOTUSD", Name: "IOTA-USD"}, {Market: market.MarketSpot, Symbol: "tUSTUSD", Name: "USDT-USD"},
		{Market: market.MarketLinear, Symbol: "tBTCF0:USTF0", Name: "BTC-USDT-PERP"}, {Market: market.MarketLinear, Symbol: "tETHF0:BTCF0", Name: "ETH-BTC-PERP"},
	})
	oracle.RefusesNames(t, New(), "", "BTC", "BTC-USDT-20261225", "BTC-USD:BTC-PERP", "BTC-USD-20261225-1-C", "BTC-USDT-X")
}
