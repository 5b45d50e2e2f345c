package okx

import (
	"encoding/json"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

// listed is a listing as API v5 and v3 have it.
type listed struct {
	InstID, InstType, CtType, CtVal, CtMult, BaseCcy, QuoteCcy, SettleCcy, Uly, Stk, OptType string

	InstrumentID       string `json:"instrument_id"`
	BaseCurrency       string `json:"base_currency"`
	QuoteCurrency      string `json:"quote_currency"`
	SettlementCurrency string `json:"settlement_currency"`
	IsInverse          string `json:"is_inverse"`
}

// TestNames goes through every listing of the recorded catalogues.
func TestNames(t *testing.T) {
	for _, path := range append(oracle.Files(t, 22, "catalogues", "okx", "*.json.gz"), oracle.Files(t, 8, "catalogues", "okex", "*.json.gz")...) {
		_, list := oracle.Catalogue[listed](t, path)
		var ls []oracle.Listing
		for _, l := range list {
			symbol := l.InstID + l.InstrumentID
			m := marketOf([]byte(symbol))
			one := oracle.Listing{Market: m, Symbol: symbol, Base: l.BaseCcy + l.BaseCurrency, Quote: l.QuoteCcy + l.QuoteCurrency,
				Settle: l.SettleCcy + l.SettlementCurrency, Strike: l.Stk}
			if m == market.MarketInverse {
				one.ContractSize = l.CtVal
			}
			ls = append(ls, one)
			inverse := l.CtType == "inverse" || l.IsInverse == "true"
			if m != market.MarketOption && inverse != (m == market.MarketInverse) || l.InstID != "" && (l.Stk != "") != (m == market.MarketOption) {
				t.Errorf("%s is %s, the venue says %s %s, strike %s", symbol, m, l.CtType, l.IsInverse, l.Stk)
			}
		}
		oracle.Names(t, New(), ls)
	}
}

// TestCatalogues decodes the same lists as responses: one record for each
// listing of the feed's market, the rest left to the feeds that have it.
func TestCatalogues(t *testing.T) {
	for _, path := range oracle.Files(t, 1, "catalogues", "okx", "*.json.gz") {
		raw, list := oracle.Catalogue[listed](t, path)
		body, err := json.Marshal(map[string]any{"code": "0", "msg": "", "data": raw})
		if err != nil {
			t.Fatal(err)
		}
		want := len(list)
		if list[0].InstType == "MARGIN" { // pairs again
			want = 0
		}
		in := oracle.Answer("https://www.okx.com/api/v5/public/instruments?instType=X", body)
		if all := oracle.Listings(t, New(), in, everywhere...); len(all) != want {
			t.Errorf("%s: %d records of %d listings", path, len(all), want)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	oracle.RefusesNames(t, New(), "", "BTC", "BTC-", "BTC-USDT-PERP-X", "BTC-USD:USDC-PERP", "BTC-USDT:BTC-PERP", "BTC-USDT-2026", "BTC-USD:BTC-PERP-1-C")
	oracle.RefusesNames(t, NewOkcoin(), "BTC-USD-PERP") // it has no contracts
	oracle.Names(t, New(), []oracle.Listing{{Market: market.MarketLinear, Symbol: "BTC-USD_UM-SWAP", Name: "BTC-USD-PERP"},
		{Market: market.MarketLinear, Symbol: "BTC-USD_UM-260327", Name: "BTC-USD-20260327"}})
}
