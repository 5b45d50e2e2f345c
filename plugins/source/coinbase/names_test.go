package coinbase

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

// listed is a listing as Advanced Trade and the Exchange have it.
type listed struct {
	ID            string `json:"id"`
	ProductID     string `json:"product_id"`
	Base          string `json:"base_currency"`
	Quote         string `json:"quote_currency"`
	BaseID        string `json:"base_currency_id"`
	QuoteID       string `json:"quote_currency_id"`
	QuoteTick     string `json:"quote_increment"`
	BaseIncrement string `json:"base_increment"`
}

// TestCatalogues goes through every recorded catalogue, the Exchange's and those
// at the start of recordings: its names, and one record for each listing.
func TestCatalogues(t *testing.T) {
	n := 0
	for _, path := range oracle.Files(t, 1, "catalogues", "coinbase_pro", "*.json.gz") {
		raw, list := oracle.Catalogue[listed](t, path)
		body, err := json.Marshal(raw)
		if err != nil {
			t.Fatal(err)
		}
		check(t, oracle.Answer("https://api.exchange.coinbase.com/products?"+filepath.Base(path), body), list)
		n++
	}
	for _, path := range oracle.Files(t, 1, "captures", "coinbase-*.jsonl.zst") {
		for in := range oracle.Answers(t, path) {
			var body struct{ Products []listed }
			list := &body.Products
			var err error
			if bytes.HasPrefix(in.Data, []byte("[")) {
				err = json.Unmarshal(in.Data, list)
			} else {
				err = json.Unmarshal(in.Data, &body)
			}
			if err != nil {
				t.Fatalf("%s: %v", in.URL, err)
			}
			check(t, in, *list)
			n++
		}
	}
	if n < 4 {
		t.Fatalf("%d catalogues", n)
	}
}

func check(t *testing.T, in source.Input, list []listed) {
	t.Helper()
	var ls []oracle.Listing
	bySymbol := map[string]listed{}
	for _, l := range list {
		one := oracle.Listing{Market: market.MarketSpot, Symbol: l.ID + l.ProductID, Base: l.Base + l.BaseID, Quote: l.Quote + l.QuoteID}
		bySymbol[one.Symbol] = l
		if one.Base == "" || one.Quote == "" {
			t.Errorf("%s: %+v", in.URL, l)
		}
		if one.Symbol == "BTCAUCTION-USD" { // the one pair whose symbol isn't made of its currencies
			one.Base = ""
		}
		ls = append(ls, one)
	}
	oracle.Names(t, New(), ls)
	all := oracle.Listings(t, New(), in, market.MarketSpot)
	if len(all) != len(list) || len(list) < 100 {
		t.Errorf("%s: %d records of %d listings", in.URL, len(all), len(list))
	}
	for _, it := range all {
		l := bySymbol[it.Instrument.Symbol]
		for step, want := range map[string]string{"tick_size": l.QuoteTick, "lot_size": l.BaseIncrement} {
			if got := oracle.Dec(t, it.Record, step); got.String() != market.MustDecimal(want).String() {
				t.Errorf("%s of %s is %s, the venue says %s", step, it.Instrument.Symbol, got, want)
			}
		}
	}
}

func TestContractNames(t *testing.T) {
	oracle.Names(t, New(), []oracle.Listing{
		{Market: market.MarketLinear, Symbol: "BTC-PERP-INTX", Name: "BTC-USDC-PERP"},
		{Market: market.MarketLinear, Symbol: "1000SHIB-PERP-INTX", Name: "1000SHIB-USDC-PERP"},
		{Market: market.MarketLinear, Symbol: "BIT-27MAR26-CDE", Name: "BIT-USD-20260327"},
		{Market: market.MarketLinear, Symbol: "BIP-20DEC30-CDE", Name: "BIP-USD-20301220"},
	})
	oracle.Nameless(t, New(), market.MarketLinear, "BTC", "BTC-27Mar26-CDE", "BTC-PERP-XXXX", "A-B-C-D")
	oracle.RefusesNames(t, New(), "", "BTC", "BTC-USD-PERP", "BTC-USDC-20260327", "BTC-USD:BTC-PERP", "BTC-USD-20260327-1-C")
}
