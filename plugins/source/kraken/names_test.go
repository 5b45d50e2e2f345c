package kraken

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/corpus"
)

// TestNames goes through the recorded catalogues: v1's names, v2's and those of
// HTTP give one canonical name, which leads to v2's.
func TestNames(t *testing.T) {
	// Names of HTTP that can't be split as their pair is: no frame carries them.
	exceptions := map[string]bool{}
	files, _ := filepath.Glob(filepath.Join(corpus.Path(t, "catalogues", "kraken"), "spot.*.json.gz"))
	if len(files) == 0 {
		t.Fatal("no catalogue")
	}
	p := New()
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
		var list []struct{ Altname, Wsname, Base, Quote string }
		if err := json.NewDecoder(z).Decode(&list); err != nil {
			t.Fatal(err)
		}
		unique := map[string]string{}
		n := 0
		for _, l := range list {
			if l.Wsname == "" {
				continue
			}
			n++
			i := p.Identify(market.MarketSpot, l.Wsname)
			if other, ok := unique[i.Name]; ok || i.Name == "" {
				t.Errorf("%s and %s are both %q", l.Wsname, other, i.Name)
			}
			unique[i.Name] = l.Wsname
			m, symbol, err := p.Resolve(i.Name)
			if err != nil || m != market.MarketSpot || symbol != strings.ReplaceAll(strings.ReplaceAll(l.Wsname, "XBT", "BTC"), "XDG", "DOGE") {
				t.Errorf("%s of %s resolves to %s, %v", i.Name, l.Wsname, symbol, err)
			}
			if again := p.Identify(m, symbol); again.Name != i.Name {
				t.Errorf("%s is %s, %s is %s", symbol, again.Name, l.Wsname, i.Name)
			}
			https := []string{l.Altname}
			if old := func(s string) bool { return len(s) == 4 && (s[0] == 'X' || s[0] == 'Z') }; old(l.Base) && old(l.Quote) {
				https = append(https, l.Base+l.Quote) // the pair's key, for the oldest currencies
			}
			for _, http := range https {
				if got := p.Identify(m, http); got.Name != i.Name && !exceptions[http] {
					t.Errorf("%s is %s, %s is %s", http, got.Name, l.Wsname, i.Name)
				}
			}
		}
		t.Logf("%s: %d pairs", filepath.Base(path), n)
	}
}
