package deribit

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/corpus"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
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

func catalogues(t *testing.T, each func(path string, raw []json.RawMessage, list []listed)) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(corpus.Path(t, "catalogues", "deribit"), "*.json.gz"))
	if len(files) < 20 {
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
		var raw []json.RawMessage
		if err := json.NewDecoder(z).Decode(&raw); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		f.Close()
		list := make([]listed, len(raw))
		for i, r := range raw {
			if err := json.Unmarshal(r, &list[i]); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
		}
		each(path, raw, list)
	}
}

// TestNames goes through every listing of the recorded catalogues: the name that
// follows from the symbol agrees with the venue's fields and leads back to the
// symbol, and no two symbols have one name.
func TestNames(t *testing.T) {
	p := New()
	catalogues(t, func(path string, _ []json.RawMessage, list []listed) {
		unique := map[string]string{}
		for _, l := range list {
			m := marketOf([]byte(l.Name))
			i := p.Identify(m, l.Name)
			if other, ok := unique[i.Name]; ok || i.Name == "" {
				t.Errorf("%s: %s and %s are both %q", path, l.Name, other, i.Name)
			}
			unique[i.Name] = l.Name
			if gm, gs, err := p.Resolve(i.Name); err != nil || gm != m || gs != l.Name {
				t.Errorf("%s resolves to %s %s, %v, want %s %s", i.Name, gm, gs, err, m, l.Name)
			}
			n, err := market.ParseName(i.Name)
			settle := n.Settle
			if settle == "" {
				settle = n.Quote
			}
			if err != nil || l.Base != n.Base || l.Counter != "" && l.Counter != n.Quote || l.Settle != "" && l.Settle != settle {
				t.Errorf("%s is %s, the venue says %s, %s, %s (%v)", l.Name, i.Name, l.Base, l.Counter, l.Settle, err)
			}
			if l.Kind == "option" != (m == market.MarketOption) || l.OptionType != "" && l.OptionType != n.Option.String() {
				t.Errorf("%s is %s, the venue says %s %s", l.Name, m, l.Kind, l.OptionType)
			}
			if l.Kind == "future" && l.Type != "" && l.Type == "linear" != (m == market.MarketLinear) {
				t.Errorf("%s is %s, the venue says %s", l.Name, m, l.Type)
			}
		}
	})
}

// TestCatalogues decodes the same lists as responses: one record for each
// listing of the feed's market, the rest left to the feeds that have it.
func TestCatalogues(t *testing.T) {
	catalogues(t, func(path string, raw []json.RawMessage, list []listed) {
		body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "result": raw})
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, m := range everywhere {
			f := oracle.NewFeed(t, New(), m)
			items, err := f.Decode(t, &source.Input{Kind: source.InputHTTP, Recv: 1, Status: 200, Data: body,
				URL: []byte("https://www.deribit.com/api/v2/public/get_instruments?currency=any&kind=future")})
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
				size := slices.IndexFunc(fs, func(f market.Field) bool { return f.Name == "contract_size" })
				if d := it.Record.Dec(fs[size].Offset); d.Sign() <= 0 {
					t.Errorf("%s: contract size %s", it.Instrument.Symbol, d)
				}
			}
		}
		if total != len(list) {
			t.Errorf("%s: %d records of %d listings", path, total, len(list))
		}
	})
}

// TestSymbols are forms that the recorded catalogues don't have.
func TestSymbols(t *testing.T) {
	for symbol, want := range map[string]string{
		"BTC_USDC": "BTC-USDC", "ETH_BTC": "ETH-BTC", "BTC_USDC-PERPETUAL": "BTC-USDC-PERP", "BTCDVOL_USDC-28DEC26": "BTCDVOL-USDC-20261228",
		"XRP_USDC-30JUN27-0d525-P": "XRP-USDC-20270630-0.525-P", "BTC-1JAN27-100000-C": "BTC-USD:BTC-20270101-100000-C",
	} {
		i := New().Identify(marketOf([]byte(symbol)), symbol)
		m, back, err := New().Resolve(want)
		if i.Name != want || err != nil || back != symbol || m != i.Market {
			t.Errorf("%s is %q, which resolves to %s %s, %v", symbol, i.Name, m, back, err)
		}
	}
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
	for _, n := range []string{"", "BTC", "BTC-", "BTC-USD-PERP", "BTC-USD:USDC-PERP", "BTC-USDC:BTC-PERP", "BTC-USDC-2026", "BTC-USD:BTC-PERP-1-C"} {
		if m, s, err := New().Resolve(n); err == nil || !strings.HasPrefix(err.Error(), "deribit: ") {
			t.Errorf("%q resolves to %s %s, %v", n, m, s, err)
		}
	}
}
