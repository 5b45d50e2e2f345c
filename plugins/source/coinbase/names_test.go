package coinbase

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/capture"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/corpus"
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

// catalogues are the recorded ones: the Exchange's, and those at the start of
// recordings.
func catalogues(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	files, _ := filepath.Glob(filepath.Join(corpus.Path(t, "catalogues", "coinbase_pro"), "*.json.gz"))
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		if all["https://api.exchange.coinbase.com/products?"+filepath.Base(path)], err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	files, _ = filepath.Glob(filepath.Join(corpus.Path(t, "captures"), "coinbase-*.jsonl.zst"))
	for _, path := range files {
		r, err := capture.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for e, err := range r.All() {
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind != capture.KindHTTP {
				break
			}
			all[string(e.URL)] = append([]byte(nil), e.Text...)
		}
		r.Close()
	}
	return all
}

// TestCatalogues goes through every recorded listing: the name that follows from
// the symbol agrees with the venue's fields and leads back to the symbol, no two
// symbols have one name, and each listing is one record.
func TestCatalogues(t *testing.T) {
	all := catalogues(t)
	if len(all) < 4 {
		t.Fatalf("%d catalogues", len(all))
	}
	p := New()
	for address, body := range all {
		var whole struct{ Products []listed }
		list := &whole.Products
		var err error
		if strings.HasPrefix(string(body), "[") {
			err = json.Unmarshal(body, list)
		} else {
			err = json.Unmarshal(body, &whole)
		}
		if err != nil || len(*list) < 100 {
			t.Fatalf("%s: %d listings, %v", address, len(*list), err)
		}
		unique, bySymbol := map[string]string{}, map[string]listed{}
		for _, l := range *list {
			symbol := l.ID + l.ProductID
			bySymbol[symbol] = l
			i := p.Identify(market.MarketSpot, symbol)
			if other, ok := unique[i.Name]; ok || i.Name == "" {
				t.Errorf("%s: %s and %s are both %q", address, symbol, other, i.Name)
			}
			unique[i.Name] = symbol
			if m, s, err := p.Resolve(i.Name); err != nil || m != market.MarketSpot || s != symbol {
				t.Errorf("%s resolves to %s %s, %v", i.Name, m, s, err)
			}
			if symbol == "BTCAUCTION-USD" { // the one pair whose symbol isn't made of its currencies
				continue
			}
			if n, err := market.ParseName(i.Name); err != nil || n.Base != l.Base+l.BaseID || n.Quote != l.Quote+l.QuoteID {
				t.Errorf("%s is %s, the venue says %+v (%v)", symbol, i.Name, l, err)
			}
		}
		f := oracle.NewFeed(t, p, market.MarketSpot)
		items, err := f.Decode(t, &source.Input{Kind: source.InputHTTP, Recv: 1, Status: 200, Data: body, URL: []byte(address)})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		fs := market.Fields(market.KindInstrument)
		for _, it := range items {
			if it.Record == nil {
				continue
			}
			n++
			l := bySymbol[it.Instrument.Symbol]
			if name := it.Record.Text(fs[0].Offset); string(name) != it.Instrument.Name {
				t.Errorf("%s is %q in the catalogue, %q by its symbol", it.Instrument.Symbol, name, it.Instrument.Name)
			}
			for _, x := range []struct{ field, want string }{{"tick_size", l.QuoteTick}, {"lot_size", l.BaseIncrement}} {
				for _, f := range fs {
					if f.Name == x.field && it.Record.Dec(f.Offset).String() != market.MustDecimal(x.want).String() {
						t.Errorf("%s of %s is %s, the venue says %s", x.field, it.Instrument.Symbol, it.Record.Dec(f.Offset), x.want)
					}
				}
			}
		}
		if n != len(*list) {
			t.Errorf("%s: %d records of %d listings", address, n, len(*list))
		}
	}
}

func TestContractNames(t *testing.T) {
	p := New()
	for symbol, name := range map[string]string{"BTC-PERP-INTX": "BTC-USDC-PERP", "1000SHIB-PERP-INTX": "1000SHIB-USDC-PERP",
		"BIT-27MAR26-CDE": "BIT-USD-20260327", "BIP-20DEC30-CDE": "BIP-USD-20301220"} {
		if i := p.Identify(market.MarketLinear, symbol); i.Name != name {
			t.Errorf("%s is %q", symbol, i.Name)
		}
		if m, s, err := p.Resolve(name); err != nil || m != market.MarketLinear || s != symbol {
			t.Errorf("%s resolves to %s %s, %v", name, m, s, err)
		}
	}
	for _, symbol := range []string{"BTC", "BTC-27Mar26-CDE", "BTC-PERP-XXXX", "A-B-C-D"} {
		if i := p.Identify(market.MarketLinear, symbol); i.Name != "" {
			t.Errorf("%s is %q", symbol, i.Name)
		}
	}
	for _, n := range []string{"", "BTC", "BTC-USD-PERP", "BTC-USDC-20260327", "BTC-USD:BTC-PERP", "BTC-USD-20260327-1-C"} {
		if m, s, err := p.Resolve(n); err == nil {
			t.Errorf("%q resolves to %s %s", n, m, s)
		}
	}
}
