package main

import (
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/conn"
	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/listings"
	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/selection"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
)

// TestListings asks each venue that can be emulated for what it lists, by its
// plugin's process: names and symbols are those that the emulator has, names lead
// back to their symbols, and where volumes are promised they come.
func TestListings(t *testing.T) {
	names, _ := bundledNames()
	asked := 0
	for _, name := range names {
		plugin := bundledSources[name]()
		m := plugin.Describe()
		for _, spec := range m.Markets {
			if !slices.Contains(emulator.Markets(name), spec.Market) || len(spec.HTTP) == 0 {
				continue
			}
			t.Run(name+" "+spec.Market.String(), func(t *testing.T) {
				e := emulator.Start(t, emulator.Options{Venue: name, Market: spec.Market, Rate: 20_000})
				for end := time.Now().Add(patience); e.Stats().Events < 500 && time.Now().Before(end); time.Sleep(time.Millisecond) { // volumes take trades
				}
				src := &pipefile.Source{Type: name, Plugin: pipefile.Plugin{Name: name}, Manifest: m, HTTPURL: e.HTTPURL()}
				q, err := listings.Of(src, spec.Market, "")
				if err != nil {
					t.Fatal(err)
				}
				q.Turnover = spec.TickersWeight > 0
				budgets := conn.NewBudgets()
				defer budgets.Close()
				asker := listings.Asker{Host: host.New(host.Options{Logger: zerolog.Nop()}), Budgets: budgets, Dir: t.TempDir(), Logger: zerolog.Nop()}
				all, err := asker.Ask(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				asked++
				has := e.Symbols()
				for _, l := range all {
					if !slices.Contains(has, l.Symbol) {
						t.Errorf("%s is listed, the emulator has %v", l.Symbol, has)
					}
					k, symbol, err := plugin.Resolve(l.Name)
					if err != nil || k != spec.Market || symbol != l.Symbol {
						t.Errorf("%s is named %s, which is %s %s, %v", l.Symbol, l.Name, k, symbol, err)
					}
					if l.Status != market.StatusTrading && l.Status != market.StatusUnknown || l.Base == "" || l.Quote == "" || l.Market != spec.Market {
						t.Errorf("%+v", l)
					}
					if (spec.Market == market.MarketOption) != (l.Option != market.OptionNone) || spec.Market == market.MarketOption && l.Expiry.IsZero() {
						t.Errorf("%+v", l)
					}
					if q.Turnover && l.Turnover <= 0 {
						t.Errorf("%s has no turnover", l.Symbol)
					}
				}
				for _, s := range has {
					if !slices.ContainsFunc(all, func(l selection.Listing) bool { return l.Symbol == s }) {
						t.Errorf("%s is not listed: %d are", s, len(all))
					}
				}
			})
		}
	}
	if asked < 10 {
		t.Errorf("%d catalogues were asked for", asked)
	}
}
