package htx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

// listed is a pair or a contract.
type listed struct {
	Symbol   string
	Base     string      `json:"base-currency"`
	Quote    string      `json:"quote-currency"`
	Code     string      `json:"contract_code"`
	Delivery string      `json:"delivery_date"`
	Size     json.Number `json:"contract_size"`
}

func (l *listed) listing() oracle.Listing {
	if l.Code == "" {
		one := oracle.Listing{Market: market.MarketSpot, Symbol: l.Symbol}
		if l.Symbol == l.Base+l.Quote { // some currencies have another name by now
			one.Base, one.Quote = strings.ToUpper(l.Base), strings.ToUpper(l.Quote)
		}
		return one
	}
	one := oracle.Listing{Market: marketOf([]byte(l.Code)), Symbol: l.Code, Base: l.Symbol, End: "PERP"}
	if l.Delivery != "" {
		one.End = l.Delivery
	}
	if one.Quote = "USDT"; one.Market == market.MarketInverse {
		one.Quote, one.Settle, one.ContractSize = "USD", l.Symbol, market.MustDecimal(l.Size.String()).String()
	}
	return one
}

// TestNames goes through every listing of the recorded catalogues.
func TestNames(t *testing.T) {
	for _, path := range oracle.Files(t, 28, "catalogues", "huobi", "*.json.gz") {
		_, list := oracle.Catalogue[listed](t, path)
		var ls []oracle.Listing
		for _, l := range list {
			ls = append(ls, l.listing())
		}
		oracle.Names(t, New(), ls)
	}
	oracle.Names(t, New(), []oracle.Listing{
		{Market: market.MarketSpot, Symbol: "btcusdt", Name: "BTC-USDT"},
		{Market: market.MarketLinear, Symbol: "BTC-USDT-261225", Name: "BTC-USDT-20261225"},
		{Market: market.MarketInverse, Symbol: "BTC-USD", Name: "BTC-USD:BTC-PERP", ContractSize: "100"},
		{Market: market.MarketInverse, Symbol: "ETH261225", Name: "ETH-USD:ETH-20261225", ContractSize: "10"},
	})
	if i := New().Identify(market.MarketOption, "BTC-USDT-210326-C-32000"); i.Name != "BTC-USDT-20210326-32000-C" {
		t.Errorf("an option is %q", i.Name)
	}
}

// TestCatalogues decodes the same lists as answers.
func TestCatalogues(t *testing.T) {
	for _, path := range oracle.Files(t, 28, "catalogues", "huobi", "*.json.gz") {
		raw, list := oracle.Catalogue[listed](t, path)
		body, err := json.Marshal(raw)
		if err != nil {
			t.Fatal(err)
		}
		body = fmt.Appendf(nil, `{"status":"ok","data":%s,"ts":1695000000000}`, body)
		address := "https://api.huobi.pro/v1/common/symbols"
		if list[0].Code != "" {
			address = "https://api.hbdm.com/swap-api/v1/swap_contract_info"
		}
		one := list[0].listing()
		if all := oracle.Listings(t, New(), oracle.Answer(address, body), one.Market); len(all) != len(list) {
			t.Errorf("%s: %d records of %d listings", path, len(all), len(list))
		}
	}
}

// TestRecordedCatalogues: those that recordings begin with.
func TestRecordedCatalogues(t *testing.T) {
	for _, path := range oracle.Files(t, 2, "captures", "htx-*.zst") {
		for in := range oracle.Answers(t, path) {
			in.Data = bytes.Clone(in.Data)
			m := market.MarketLinear
			if strings.Contains(path, "spot") {
				m = market.MarketSpot
			}
			if all := oracle.Listings(t, New(), in, m); len(all) < 100 {
				t.Errorf("%s: %d listings", path, len(all))
			}
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	oracle.RefusesNames(t, New(), "", "BTC", "BTC-USD-PERP", "BTC-USDT:BTC-PERP", "BTC-USD:ETH-PERP", "BTC-USDT-2026", "BTC-USDT-20261225-100000-C")
	oracle.Nameless(t, New(), market.MarketSpot, "BTC-USDT", "btcxyz", "BTCUSDT")
	oracle.Nameless(t, New(), market.MarketLinear, "BTC-USDT-CW", "BTC-USD", "BTC-USDT-21032", "btcusdt")
	oracle.Nameless(t, New(), market.MarketInverse, "BTC_CQ", "BTC-USDT", "BTC2612")
}
