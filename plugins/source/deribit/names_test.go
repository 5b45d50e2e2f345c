package deribit

import (
	"encoding/json"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

type listed struct {
	Name       string  `json:"instrument_name"`
	Type       string  `json:"instrument_type"`
	Kind       string  `json:"kind"`
	Base       string  `json:"base_currency"`
	Counter    string  `json:"counter_currency"`
	Settle     string  `json:"settlement_currency"`
	OptionType string  `json:"option_type"`
	Strike     float64 `json:"strike"`
}

// TestNames goes through every listing of the recorded catalogues.
func TestNames(t *testing.T) {
	for _, path := range oracle.Files(t, 20, "catalogues", "deribit", "*.json.gz") {
		_, list := oracle.Catalogue[listed](t, path)
		var ls []oracle.Listing
		for _, l := range list {
			m := marketOf([]byte(l.Name))
			ls = append(ls, oracle.Listing{Market: m, Symbol: l.Name, Base: l.Base, Quote: l.Counter, Settle: l.Settle, Option: l.OptionType})
			if l.Base == "" || l.Kind == "option" != (m == market.MarketOption) || l.Kind == "future" && l.Type != "" && l.Type == "linear" != (m == market.MarketLinear) {
				t.Errorf("%s is %s, the venue says %s %s of %s", l.Name, m, l.Kind, l.Type, l.Base)
			}
		}
		oracle.Names(t, New(), ls)
	}
}

// TestCatalogues decodes the same lists as responses: one record for each
// listing of the feed's market, the rest left to the feeds that have it.
func TestCatalogues(t *testing.T) {
	for _, path := range oracle.Files(t, 20, "catalogues", "deribit", "*.json.gz") {
		raw, list := oracle.Catalogue[listed](t, path)
		body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "result": raw})
		if err != nil {
			t.Fatal(err)
		}
		all := oracle.Listings(t, New(), oracle.Answer("https://www.deribit.com/api/v2/public/get_instruments?currency=any&kind=future", body), everywhere...)
		if len(all) != len(list) {
			t.Errorf("%s: %d records of %d listings", path, len(all), len(list))
		}
		for _, it := range all {
			if size := oracle.Dec(t, it.Record, "contract_size"); size.Sign() <= 0 { // of pairs, too
				t.Errorf("%s: contract size %s", it.Instrument.Symbol, size)
			}
		}
	}
}

// TestSymbols are forms that the recorded catalogues don't have.
func TestSymbols(t *testing.T) {
	var ls []oracle.Listing
	for symbol, name := range map[string]string{
		"BTC_USDC": "BTC-USDC", "ETH_BTC": "ETH-BTC", "BTC_USDC-PERPETUAL": "BTC-USDC-PERP", "BTCDVOL_USDC-28DEC26": "BTCDVOL-USDC-20261228",
		"XRP_USDC-30JUN27-0d525-P": "XRP-USDC-20270630-0.525-P", "BTC-1JAN27-100000-C": "BTC-USD:BTC-20270101-100000-C",
	} {
		ls = append(ls, oracle.Listing{Market: marketOf([]byte(symbol)), Symbol: symbol, Name: name})
	}
	oracle.Names(t, New(), ls)
	for _, symbol := range []string{"BTC-FS-25DEC26_PERP", "BTC-CS-25DEC26-70000_75000", "BTC_USDC-FS-25DEC26_PERP", "BTC", "BTC-", ""} {
		if m, n := marketOf([]byte(symbol)), parse(symbol); m != market.MarketNone || n.String() != "" {
			t.Errorf("%s is %s %s", symbol, m, n)
		}
	}
	for _, symbol := range []string{"BTC-01JAN27", "BTC-1jan27", "BTC-25DEC26-1-X", "BTC-31FEB27"} {
		if n := parse(symbol); n.String() != "" {
			t.Errorf("%s is %s", symbol, n)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	oracle.RefusesNames(t, New(), "", "BTC", "BTC-", "BTC-USD-PERP", "BTC-USD:USDC-PERP", "BTC-USDC:BTC-PERP", "BTC-USDC-2026", "BTC-USD:BTC-PERP-1-C")
}
