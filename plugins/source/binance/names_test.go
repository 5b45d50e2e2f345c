package binance

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/capture"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/corpus"
)

type listed struct {
	Symbol, BaseAsset, QuoteAsset, MarginAsset, ContractType string
	ContractSize                                             json.Number
}

func catalogues(t *testing.T, m market.Market) map[string]listed {
	t.Helper()
	all := map[string]listed{}
	files, _ := filepath.Glob(filepath.Join(corpus.Path(t, "catalogues", "binance"), m.String()+".*.json.gz"))
	if len(files) == 0 {
		t.Fatalf("no catalogue of %s", m)
	}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		var list []listed
		if err := json.NewDecoder(z).Decode(&list); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, l := range list {
			all[l.Symbol] = l
		}
	}
	return all
}

// TestNames goes through every listing of the recorded catalogues: the catalogue's
// name and the one that follows from the symbol alone must lead back to the
// symbol, and be the same.
func TestNames(t *testing.T) {
	p := New().(*plugin)
	for _, m := range []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse} {
		unique := map[string]string{}
		n := 0
		for symbol, l := range catalogues(t, m) {
			exact := name(m, symbol, l.BaseAsset, l.QuoteAsset, l.MarginAsset)
			if exact == "" {
				t.Errorf("%s %s has no name", m, symbol)
				continue
			}
			if other, ok := unique[exact]; ok {
				t.Errorf("%s and %s are both %s", symbol, other, exact)
			}
			unique[exact] = symbol
			guess := p.Identify(m, symbol)
			for _, n := range []string{exact, guess.Name} {
				if gm, gs, err := p.Resolve(n); err != nil || gm != m || gs != symbol {
					t.Errorf("%s resolves to %s %s, %v, want %s %s", n, gm, gs, err, m, symbol)
				}
			}
			if guess.Name != exact {
				t.Errorf("%s is %s by its name, %s by the catalogue", symbol, guess.Name, exact)
			}
			if m == market.MarketInverse && guess.ContractSize.String() != l.ContractSize.String() {
				t.Errorf("a contract of %s is %s, the catalogue says %s", symbol, guess.ContractSize, l.ContractSize)
			}
			n++
		}
		t.Logf("%s: %d symbols", m, n)
	}
}

// TestNamesUS does the same for the catalogues that Binance.US' recordings begin with.
func TestNamesUS(t *testing.T) {
	p := NewUS()
	files, _ := filepath.Glob(filepath.Join(corpus.Path(t, "captures"), "binanceus-*.zst"))
	if len(files) == 0 {
		t.Fatal("no recording")
	}
	for _, path := range files {
		r, err := capture.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for e, err := range r.All() {
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(string(e.URL), "/exchangeInfo") {
				continue
			}
			var info struct{ Symbols []listed }
			if err := json.Unmarshal(e.Text, &info); err != nil || len(info.Symbols) == 0 {
				t.Fatalf("%d symbols, %v", len(info.Symbols), err)
			}
			for _, l := range info.Symbols {
				exact := l.BaseAsset + "-" + l.QuoteAsset
				if guess := p.Identify(market.MarketSpot, l.Symbol).Name; guess != exact {
					t.Errorf("%s is %s by its name, %s by the catalogue", l.Symbol, guess, exact)
				}
			}
			break
		}
	}
	if m, _, err := p.Resolve("BTC-USDT-PERP"); err == nil {
		t.Errorf("Binance.US has no futures, yet a perpetual resolves to %s", m)
	}
}

func TestResolveRefuses(t *testing.T) {
	for _, n := range []string{"", "BTC", "BTC-", "-USDT", "BTC-USDT-", "BTC-USDT-PERP-X", "BTC-USDT:USDT", "BTC-USD:USDC-PERP", "BTC-USDT-2026", "BTC-USDT-20261332", "BTC-USD:BTC-20261225-100000-C"} {
		if m, s, err := New().Resolve(n); err == nil {
			t.Errorf("%q resolves to %s %s", n, m, s)
		}
	}
}
