package binance

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

type listed struct {
	Symbol, BaseAsset, QuoteAsset, MarginAsset, ContractType string
	ContractSize                                             json.Number
}

// TestNames goes through every listing of the recorded catalogues: the catalogue's
// name and the one that follows from the symbol alone are the same.
func TestNames(t *testing.T) {
	for _, m := range []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse} {
		all := map[string]oracle.Listing{} // a symbol stands in several catalogues
		for _, path := range oracle.Files(t, 1, "catalogues", "binance", m.String()+".*.json.gz") {
			_, list := oracle.Catalogue[listed](t, path)
			for _, l := range list {
				one := oracle.Listing{Market: m, Symbol: l.Symbol, Name: name(m, l.Symbol, l.BaseAsset, l.QuoteAsset, l.MarginAsset).String()}
				if one.Name == "" {
					t.Errorf("%s %s has no name", m, l.Symbol)
				}
				if m == market.MarketInverse {
					one.ContractSize = l.ContractSize.String()
				}
				all[l.Symbol] = one
			}
		}
		oracle.Names(t, New(), slices.Collect(maps.Values(all)))
		t.Logf("%s: %d symbols", m, len(all))
	}
}

// TestNamesUS does the same for the catalogues that Binance.US' recordings begin with.
func TestNamesUS(t *testing.T) {
	for _, path := range oracle.Files(t, 1, "captures", "binanceus-*.zst") {
		n := 0
		for in := range oracle.Answers(t, path) {
			if !strings.HasSuffix(string(in.URL), "/exchangeInfo") {
				continue
			}
			var info struct{ Symbols []listed }
			if err := json.Unmarshal(in.Data, &info); err != nil {
				t.Fatal(err)
			}
			var ls []oracle.Listing
			for _, l := range info.Symbols {
				ls = append(ls, oracle.Listing{Market: market.MarketSpot, Symbol: l.Symbol, Name: l.BaseAsset + "-" + l.QuoteAsset})
			}
			oracle.Names(t, NewUS(), ls)
			n = len(ls)
		}
		if n == 0 {
			t.Errorf("%s begins with no catalogue", path)
		}
	}
	oracle.RefusesNames(t, NewUS(), "BTC-USDT-PERP") // it has no futures
}

func TestResolveRefuses(t *testing.T) {
	oracle.RefusesNames(t, New(), "", "BTC", "BTC-", "-USDT", "BTC-USDT-", "BTC-USDT-PERP-X", "BTC-USDT:USDT", "BTC-USD:USDC-PERP", "BTC-USDT-2026", "BTC-USDT-20261332", "BTC-USD:BTC-20261225-100000-C")
}
