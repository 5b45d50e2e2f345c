package bybit

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
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

// listed is a listing as API v5 and v2 have it.
type listed struct{ Market, Symbol, Base, Quote, Settle string }

// listings are those of the recorded catalogues: of API v2, and the answers that
// a recording begins with.
func listings(t *testing.T) (all []listed) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(corpus.Path(t, "catalogues", "bybit"), "*.json.gz"))
	if len(files) < 10 {
		t.Fatalf("%d catalogues", len(files))
	}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		var list []struct {
			Name, Alias string
			Base        string `json:"base_currency"`
			Quote       string `json:"quote_currency"`
		}
		if err := json.NewDecoder(z).Decode(&list); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		f.Close()
		for _, l := range list {
			one := listed{"linear", l.Name, l.Base, l.Quote, l.Quote}
			if l.Quote == "USD" {
				one.Market, one.Settle = "inverse", l.Base
			}
			all = append(all, one)
			// The alias of a dated one ends with month and day: BTCUSD0624.
			if _, day, ok := strings.Cut(l.Alias, "USD0"); ok || l.Name != l.Alias {
				if n := New().Identify(market.MarketInverse, l.Name).Name; !strings.HasSuffix(n, day) {
					t.Errorf("%s is %s, by its alias it ends %s", l.Name, n, l.Alias)
				}
			}
		}
	}
	return all
}

// recorded calls each for every catalogue that a recording begins with.
func recorded(t *testing.T, each func(e *capture.Event)) {
	t.Helper()
	r, err := capture.Open(corpus.Path(t, "captures", "bybit-mixed-20260809-cfv3.jsonl.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := 0
	for e, err := range r.All() {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == capture.KindHTTP {
			each(e)
			n++
		}
	}
	if n != 2 {
		t.Fatalf("%d catalogues in the recording", n)
	}
}

// TestNames goes through every listing: the name that follows from the symbol
// agrees with the venue's fields and leads back to the symbol, and no two symbols
// of a market have one name.
func TestNames(t *testing.T) {
	all := listings(t)
	recorded(t, func(e *capture.Event) {
		var body struct {
			Result struct {
				Category string
				List     []struct{ Symbol, BaseCoin, QuoteCoin, SettleCoin string }
			}
		}
		if err := json.Unmarshal(e.Text, &body); err != nil {
			t.Fatal(err)
		}
		for _, l := range body.Result.List {
			all = append(all, listed{body.Result.Category, l.Symbol, l.BaseCoin, l.QuoteCoin, l.SettleCoin})
		}
	})
	p := New()
	unique := map[string]string{}
	for _, l := range all {
		m, err := market.ParseMarket(l.Market)
		if err != nil {
			t.Fatal(err)
		}
		i := p.Identify(m, l.Symbol)
		if other, ok := unique[i.Name]; i.Name == "" || ok && other != l.Symbol {
			t.Errorf("%s %s and %s are both %q", m, l.Symbol, other, i.Name)
		}
		unique[i.Name] = l.Symbol
		if gm, gs, err := p.Resolve(i.Name); err != nil || gm != m || gs != l.Symbol {
			t.Errorf("%s resolves to %s %s, %v, want %s %s", i.Name, gm, gs, err, m, l.Symbol)
		}
		n, err := market.ParseName(i.Name)
		settle := n.Settle
		if settle == "" {
			settle = n.Quote
		}
		if err != nil || n.Base != l.Base || n.Quote != l.Quote || l.Settle != "" && settle != l.Settle {
			t.Errorf("%s %s is %s, the venue says %s, %s, %s (%v)", m, l.Symbol, i.Name, l.Base, l.Quote, l.Settle, err)
		}
	}
	if len(unique) < 1400 {
		t.Errorf("only %d names", len(unique))
	}
}

// TestCatalogues decodes the recorded answers: one record for each listing, named
// as its symbol is.
func TestCatalogues(t *testing.T) {
	recorded(t, func(e *capture.Event) {
		f := oracle.NewFeed(t, New(), market.MarketMixed)
		in := e.Input()
		items, err := f.Decode(t, &in)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, it := range items {
			if it.Record == nil {
				continue
			}
			n++
			fs := market.Fields(market.KindInstrument)
			if name := it.Record.Text(fs[0].Offset); string(name) != it.Instrument.Name || len(name) == 0 {
				t.Errorf("%s is %q in the catalogue, %q by its symbol", it.Instrument.Symbol, name, it.Instrument.Name)
			}
			for _, at := range []int{6, 7} {
				if d := it.Record.Dec(fs[at].Offset); d.Sign() <= 0 {
					t.Errorf("%s: %s %s", it.Instrument.Symbol, fs[at].Name, d)
				}
			}
		}
		if want := strings.Count(string(e.Text), `"symbol":`); n != want || n < 500 {
			t.Errorf("%d records of %d listings", n, want)
		}
	})
}

func TestNameForms(t *testing.T) {
	p := New()
	for _, c := range []struct {
		m            market.Market
		symbol, name string
	}{
		{market.MarketLinear, "BTCPERP", "BTC-USDC-PERP"},
		{market.MarketLinear, "1000PEPEUSDT", "1000PEPE-USDT-PERP"},
		{market.MarketLinear, "BTC-6JAN23", "BTC-USDC-20230106"},
		{market.MarketLinear, "BTCUSDT-25DEC26", "BTC-USDT-20261225"},
		{market.MarketInverse, "BTCUSDH27", "BTC-USD:BTC-20270326"},
		{market.MarketOption, "ETH-3JAN23-1250-P", "ETH-USD:USDC-20230103-1250-P"},
		{market.MarketOption, "XRP-30OCT26-2.5-C-USDT", "XRP-USDT-20261030-2.5-C"},
	} {
		if i := p.Identify(c.m, c.symbol); i.Name != c.name {
			t.Errorf("%s is %q, want %q", c.symbol, i.Name, c.name)
		}
		if m, s, err := p.Resolve(c.name); err != nil || m != c.m || s != c.symbol {
			t.Errorf("%s resolves to %s %s, %v", c.name, m, s, err)
		}
	}
	for _, n := range []string{"", "BTC", "BTC-USD:USDC-PERP", "BTC-EUR-PERP", "BTC-USDT:BTC-PERP", "BTC-USD:BTC-20261224", "BTC-EUR-20261225-1-C", "BTC-USD-20261225-1-C"} {
		if m, s, err := p.Resolve(n); err == nil {
			t.Errorf("%q resolves to %s %s", n, m, s)
		}
	}
	for _, c := range []struct {
		m      market.Market
		symbol string
	}{{market.MarketSpot, "BTC"}, {market.MarketInverse, "BTCUSDA26"}, {market.MarketInverse, "BTCEUR"}, {market.MarketLinear, "BTC-X"},
		{market.MarketLinear, "A-B-C"}, {market.MarketOption, "BTC-25DEC26-1-X"}, {market.MarketOption, "BTC"}, {market.MarketLinear, ""}} {
		if i := p.Identify(c.m, c.symbol); i.Name != "" {
			t.Errorf("%s %q is %s", c.m, c.symbol, i.Name)
		}
	}
}
