package bitmex

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/corpus"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

// listed is an instrument as the venue describes it.
type listed struct {
	Symbol, Typ, Underlying, QuoteCurrency, SettlCurrency string

	Expiry              *time.Time
	IsInverse, IsQuanto bool
}

// name is made of the venue's fields alone.
func (l *listed) name() (m market.Market, n market.Name) {
	n.Base, n.Quote = currency(l.Underlying), currency(l.QuoteCurrency)
	if l.Typ == "IFXXXP" {
		return market.MarketSpot, n
	}
	if n.Settle = map[string]string{"XBt": "BTC", "USDt": "USDT", "Gwei": "ETH"}[l.SettlCurrency]; n.Settle == n.Quote {
		n.Settle = ""
	}
	if n.End = "PERP"; l.Expiry != nil {
		n.End = l.Expiry.Format("20060102")
	}
	if m = market.MarketLinear; l.IsInverse {
		m = market.MarketInverse
	}
	return m, n
}

// TestNames goes through the recorded catalogues. What symbols alone say is how
// the venue settles since 2022: before that contracts quoted in USDT were quanto
// contracts, settled in bitcoin, which the catalogue told.
func TestNames(t *testing.T) {
	for _, path := range oracle.Files(t, 10, "catalogues", "bitmex", "*.json.gz") {
		_, list := oracle.Catalogue[listed](t, path)
		var ls []oracle.Listing
		for _, l := range list {
			m, n := l.name()
			one := oracle.Listing{Market: m, Symbol: l.Symbol, Name: n.String()}
			if l.QuoteCurrency == "USDT" && l.IsQuanto {
				one.Name, one.Base, one.Quote, one.End = "", n.Base, n.Quote, n.End
			}
			if m == market.MarketInverse {
				one.ContractSize = "1"
			}
			ls = append(ls, one)
		}
		oracle.Names(t, New(), ls)
	}
	oracle.Names(t, New(), []oracle.Listing{
		{Market: market.MarketSpot, Symbol: "BMEX_USDT", Name: "BMEX-USDT"},
		{Market: market.MarketSpot, Symbol: "PYUSD_USDT", Name: "PYUSD-USDT"},
		{Market: market.MarketSpot, Symbol: "ETH_XBT", Name: "ETH-BTC"},
		{Market: market.MarketLinear, Symbol: "XBTUSDTZ26", Name: "BTC-USDT-20261225"},
		{Market: market.MarketLinear, Symbol: "100BONKUSDT", Name: "100BONK-USDT-PERP"},
		{Market: market.MarketLinear, Symbol: "XBTUSD_BBX", Name: "BTC-USD:BBX-PERP"},
		{Market: market.MarketInverse, Symbol: "ETHUSDZ22_ETH", Name: "ETH-USD:ETH-20221230"},
	})
}

func TestResolveRefuses(t *testing.T) {
	oracle.RefusesNames(t, New(), "", "BTC", "BTC-", "BTC-USD-PERP", "BTC-USD:BTC-20261224", "ETH-USD-20261225", "BTC-PLN:BTC-PERP",
		"BTC-USD:BTC-20261225-100000-C", "A.B-USDT", "XBT-USDT-PERP")
	oracle.Nameless(t, New(), market.MarketLinear, "", "USD", ".BXBT", "XBTM26-XBTU26", "P_FTXZ26", "XBTL26", "XBTUSD_", "XBT_USDT", "XBTUSD")
	oracle.Nameless(t, New(), market.MarketInverse, "XBTUSDT", "ETHUSD")
	oracle.Nameless(t, New(), market.MarketSpot, "XBTUSD", "ETHUSD_ETH")
}

// TestCatalogue decodes the same lists as answers, and that of a recording, whose
// fields correct what symbols say.
func TestCatalogue(t *testing.T) {
	check := func(in source.Input, list []listed) {
		t.Helper()
		n := 0
		for _, m := range everywhere {
			items, err := oracle.NewFeed(t, New(), m).Decode(t, &in)
			if err != nil {
				t.Fatal(err)
			}
			for _, it := range items {
				if it.Record == nil {
					continue
				}
				n++
				at := slices.IndexFunc(list, func(l listed) bool { return l.Symbol == it.Instrument.Symbol })
				if at < 0 {
					t.Fatalf("%s isn't listed", it.Instrument.Symbol)
				}
				of, want := list[at].name()
				if got := oracle.Text(t, it.Record, "instrument"); of != m || it.Instrument.Market != m || got != want.String() {
					t.Errorf("%s on %s is %s, the venue says %s on %s", list[at].Symbol, m, got, want, of)
				}
				size, tick := oracle.Dec(t, it.Record, "contract_size"), oracle.Dec(t, it.Record, "tick_size")
				if size.Sign() <= 0 || tick.Sign() <= 0 || m == market.MarketInverse && size.String() != "1" {
					t.Errorf("%s: contracts of %s, ticks of %s", list[at].Symbol, size, tick)
				}
			}
		}
		if n != len(list) {
			t.Errorf("%s: %d records of %d listings", in.URL, n, len(list))
		}
	}
	for _, path := range oracle.Files(t, 10, "catalogues", "bitmex", "*.json.gz") {
		raw, list := oracle.Catalogue[listed](t, path)
		body, err := json.Marshal(raw)
		if err != nil {
			t.Fatal(err)
		}
		check(oracle.Answer("https://www.bitmex.com/api/v1/instrument/active", body), list)
	}
	for in := range oracle.Answers(t, corpus.Path(t, "captures", "bitmex-mixed-20210417-cfg2.jsonl.zst")) {
		var list []listed
		if err := json.Unmarshal(in.Data, &list); err != nil || len(list) < 20 {
			t.Fatalf("%d listings, %v", len(list), err)
		}
		check(in, list)
	}
}

// TestContractSizes: a contract's size times its price is its worth in what it is
// settled in; an inverse one is worth a unit of its quote, a pair's unit a part of
// its base.
func TestContractSizes(t *testing.T) {
	path := oracle.Files(t, 10, "catalogues", "bitmex", "*.json.gz")[9]
	raw, _ := oracle.Catalogue[listed](t, path)
	body, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	in := oracle.Answer("https://www.bitmex.com/api/v1/instrument/active", body)
	items, err := oracle.NewFeed(t, New(), market.MarketMixed).Decode(t, &in)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"XBTUSD": "1", "ETHUSD_ETH": "1", "USDTCHF": "1", // of USD, of CHF
		"XBTUSDT": "0.000001", "ETHU22": "0.00001", "DOGEUSDT": "0.01", // of the base
		"ETHUSD": "0.000001", "LTCUSD": "0.000002", // bitcoin for each dollar of the price
		"XBT_USDT": "0.00000001", "ETH_USDT": "0.000000001",
	}
	for _, it := range items {
		if w := want[it.Instrument.Symbol]; it.Record != nil && w != "" {
			if got := oracle.Dec(t, it.Record, "contract_size").String(); got != w {
				t.Errorf("%s: %s, want %s", it.Instrument.Symbol, got, w)
			}
			delete(want, it.Instrument.Symbol)
		}
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
}
