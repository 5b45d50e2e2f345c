package kraken

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

// TestNames goes through the recorded catalogues: v1's names, v2's and those of
// HTTP give one canonical name, which leads to v2's.
func TestNames(t *testing.T) {
	p := New()
	for _, path := range oracle.Files(t, 1, "catalogues", "kraken", "spot.*.json.gz") {
		_, list := oracle.Catalogue[struct{ Altname, Wsname, Base, Quote string }](t, path)
		var ls []oracle.Listing
		for _, l := range list {
			if l.Wsname == "" {
				continue
			}
			v2 := strings.ReplaceAll(strings.ReplaceAll(l.Wsname, "XBT", "BTC"), "XDG", "DOGE")
			ls = append(ls, oracle.Listing{Market: market.MarketSpot, Symbol: v2})
			others := []string{l.Wsname, l.Altname}
			if old := func(s string) bool { return len(s) == 4 && (s[0] == 'X' || s[0] == 'Z') }; old(l.Base) && old(l.Quote) {
				others = append(others, l.Base+l.Quote) // the pair's key, for the oldest currencies
			}
			want := p.Identify(market.MarketSpot, v2).Name
			for _, other := range others {
				if got := p.Identify(market.MarketSpot, other).Name; got != want {
					t.Errorf("%s is %s, %s is %s", other, got, v2, want)
				}
			}
		}
		oracle.Names(t, p, ls)
		t.Logf("%s: %d pairs", filepath.Base(path), len(ls))
	}
}
