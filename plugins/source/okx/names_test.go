package okx

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/corpus"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
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

func catalogue(t *testing.T, path string) (raw []json.RawMessage, list []listed) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(&raw); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, r := range raw {
		var l listed
		if err := json.Unmarshal(r, &l); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		list = append(list, l)
	}
	return raw, list
}

// TestNames goes through every listing of the recorded catalogues: the name that
// follows from the symbol agrees with the venue's fields and leads back to the
// symbol, and no two symbols have one name.
func TestNames(t *testing.T) {
	p := New()
	var files []string
	for _, venue := range []string{"okx", "okex"} {
		more, _ := filepath.Glob(filepath.Join(corpus.Path(t, "catalogues", venue), "*.json.gz"))
		files = append(files, more...)
	}
	if len(files) < 30 {
		t.Fatalf("%d catalogues", len(files))
	}
	for _, path := range files {
		_, list := catalogue(t, path)
		unique := map[string]string{}
		for _, l := range list {
			symbol := l.InstID + l.InstrumentID
			m := marketOf([]byte(symbol))
			i := p.Identify(m, symbol)
			if other, ok := unique[i.Name]; ok || i.Name == "" {
				t.Errorf("%s: %s and %s are both %q", path, symbol, other, i.Name)
			}
			unique[i.Name] = symbol
			if gm, gs, err := p.Resolve(i.Name); err != nil || gm != m || gs != symbol {
				t.Errorf("%s resolves to %s %s, %v, want %s %s", i.Name, gm, gs, err, m, symbol)
			}
			n, err := market.ParseName(i.Name)
			settle := n.Settle
			if settle == "" {
				settle = n.Quote
			}
			base, quote, settled := l.BaseCcy+l.BaseCurrency, l.QuoteCcy+l.QuoteCurrency, l.SettleCcy+l.SettlementCurrency
			if err != nil || base != "" && base != n.Base || quote != "" && quote != n.Quote || settled != "" && settled != settle {
				t.Errorf("%s is %s, the venue says %s, %s, %s (%v)", symbol, i.Name, base, quote, settled, err)
			}
			inverse := l.CtType == "inverse" || l.IsInverse == "true"
			if m != market.MarketOption && inverse != (m == market.MarketInverse) {
				t.Errorf("%s is %s, the venue says %s %s", symbol, m, l.CtType, l.IsInverse)
			}
			if size := i.ContractSize; m == market.MarketInverse && l.CtVal != "" && size.String() != l.CtVal {
				t.Errorf("a contract of %s is %s, the venue says %s", symbol, size, l.CtVal)
			}
			if l.Stk != n.Strike && l.InstID != "" {
				t.Errorf("%s: strike %s, the venue says %s", symbol, n.Strike, l.Stk)
			}
		}
	}
}

// TestCatalogues decodes the same lists as responses: one record for each
// listing of the feed's market, the rest left to the feeds that have it.
func TestCatalogues(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(corpus.Path(t, "catalogues", "okx"), "*.json.gz"))
	for _, path := range files {
		raw, list := catalogue(t, path)
		body, err := json.Marshal(map[string]any{"code": "0", "msg": "", "data": raw})
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, m := range everywhere {
			f := oracle.NewFeed(t, New(), m)
			items, err := f.Decode(t, &source.Input{Kind: source.InputHTTP, Recv: 1, Status: 200, Data: body,
				URL: []byte("https://www.okx.com/api/v5/public/instruments?instType=X")})
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			for _, it := range items {
				if it.Record == nil {
					continue
				}
				total++
				fs := market.Fields(market.KindInstrument)
				if name := it.Record.Text(fs[0].Offset); string(name) != it.Instrument.Name || it.Instrument.Market != m {
					t.Errorf("%s is %q in the catalogue, %q by its symbol", it.Instrument.Symbol, name, it.Instrument.Name)
				}
				if d := it.Record.Dec(fs[4].Offset); m != market.MarketSpot && d.Sign() <= 0 {
					t.Errorf("%s: contract size %s", it.Instrument.Symbol, d)
				}
			}
		}
		want := len(list)
		if list[0].InstType == "MARGIN" { // pairs again
			want = 0
		}
		if total != want {
			t.Errorf("%s: %d records of %d listings", path, total, want)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	for _, n := range []string{"", "BTC", "BTC-", "BTC-USDT-PERP-X", "BTC-USD:USDC-PERP", "BTC-USDT:BTC-PERP", "BTC-USDT-2026", "BTC-USD:BTC-PERP-1-C"} {
		if m, s, err := New().Resolve(n); err == nil {
			t.Errorf("%q resolves to %s %s", n, m, s)
		}
	}
	if m, s, err := New().Resolve("BTC-USD-PERP"); err != nil || m != market.MarketLinear || s != "BTC-USD_UM-SWAP" {
		t.Errorf("%s %s %v", m, s, err)
	}
	if i := New().Identify(market.MarketLinear, "BTC-USD_UM-260327"); i.Name != "BTC-USD-20260327" {
		t.Error(i.Name)
	}
	if m, s, err := NewOkcoin().Resolve("BTC-USD-PERP"); err == nil {
		t.Errorf("Okcoin has no contracts, yet %s %s", m, s)
	}
}
