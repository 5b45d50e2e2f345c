package kucoin

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

// listed is a listing of either catalogue.
type listed struct {
	Symbol, BaseCurrency, QuoteCurrency, SettleCurrency, Type string

	IsInverse  bool
	ExpireDate *int64 // ms
}

// files are the recorded catalogues, by the request that gave them.
func files(t *testing.T) map[string]string {
	all := map[string]string{}
	for _, path := range oracle.Files(t, 4, "catalogues", "kucoin", "*.json.gz") {
		all[path] = "https://api.kucoin.com/api/v2/symbols"
		if strings.Contains(path, "contract.") {
			all[path] = "https://api-futures.kucoin.com/api/v1/contracts/active"
		}
	}
	return all
}

// TestNames goes through every listing of the recorded catalogues. Spot's
// currencies were renamed (BCHSV to BSV), the symbols were not.
func TestNames(t *testing.T) {
	bitcoin := func(s string) string { return strings.Replace(s, "XBT", "BTC", 1) }
	for path := range files(t) {
		_, list := oracle.Catalogue[listed](t, path)
		var ls []oracle.Listing
		for _, l := range list {
			one := oracle.Listing{Market: marketOf([]byte(l.Symbol)), Symbol: l.Symbol, Quote: l.QuoteCurrency}
			if want := l.Type == ""; want != (one.Market == market.MarketSpot) || l.IsInverse != (one.Market == market.MarketInverse) {
				t.Errorf("%s is %s", l.Symbol, one.Market)
			}
			if l.Type != "" {
				one.Base, one.Settle, one.End = bitcoin(l.BaseCurrency), bitcoin(l.SettleCurrency), "PERP"
			}
			if l.Type == "FFICSX" {
				one.End = time.UnixMilli(*l.ExpireDate).UTC().Format("20060102")
			}
			ls = append(ls, one)
		}
		oracle.Names(t, New(), ls)
	}
}

// TestCatalogues decodes the same lists as responses: one record for each
// listing of the feed's market, the rest left to the feeds that have it.
func TestCatalogues(t *testing.T) {
	for path, url := range files(t) {
		raw, list := oracle.Catalogue[listed](t, path)
		body, err := json.Marshal(map[string]any{"code": "200000", "data": raw})
		if err != nil {
			t.Fatal(err)
		}
		if all := oracle.Listings(t, New(), oracle.Answer(url, body), everywhere...); len(all) != len(list) {
			t.Errorf("%s: %d records of %d listings", path, len(all), len(list))
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	oracle.RefusesNames(t, New(), "", "BTC", "BTC-", "BTC-USDT-PERP-X", "BTC-USDT-20261225", "BTC-USD-PERP", "BTC-EUR-PERP", "BTC-USD:USDC-PERP", "XBT-USDT-PERP",
		"BTC-USD:BTC-20261224", "BTC-USDT-20261225-100000-C")
	oracle.Nameless(t, New(), market.MarketSpot, "BTCUSDT", "A-B-C", "-")
	oracle.Nameless(t, New(), market.MarketLinear, "XBTUSDM", "BTC-USDT", "")
	oracle.Nameless(t, New(), market.MarketInverse, "XBTUSDTM", "XBTMA26", "XBTM26", "M", "")
	oracle.Names(t, New(), []oracle.Listing{{Market: market.MarketInverse, Symbol: "XBTMZ26", Name: "BTC-USD:BTC-20261225"},
		{Market: market.MarketLinear, Symbol: "ETHUSDCM", Name: "ETH-USDC-PERP"}, {Market: market.MarketInverse, Symbol: "XBTUSDM", Name: "BTC-USD:BTC-PERP", ContractSize: "1"}})
}
