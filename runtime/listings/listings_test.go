package listings

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/selection"
	"github.com/marketprism/marketprism/sdk/market"
)

func TestTurnover(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		what                string
		market              market.Market
		unit                market.Unit
		size                string
		volume, quote, last float64
		want                float64
	}{
		{"what the venue says", market.MarketSpot, market.UnitBase, "", 2, 300, 100, 300},
		{"base at the last price", market.MarketSpot, market.UnitBase, "", 2, nan, 100, 200},
		{"contracts of a size in base", market.MarketLinear, market.UnitContract, "0.1", 20, nan, 100, 200},
		{"contracts of a size in quote", market.MarketInverse, market.UnitContract, "10", 20, nan, 100, 200},
		{"quote", market.MarketInverse, market.UnitQuote, "", 200, nan, 100, 200},
		{"nothing", market.MarketSpot, market.UnitBase, "", nan, nan, nan, 0},
		{"no price", market.MarketSpot, market.UnitBase, "", 2, nan, nan, 0},
		{"infinite", market.MarketSpot, market.UnitBase, "", math.MaxFloat64, nan, 10, 0},
	} {
		f := found{Listing: selection.Listing{Market: c.market, AmountUnit: c.unit}}
		if c.size != "" {
			f.ContractSize = market.MustDecimal(c.size)
		}
		f.ticker.volume, f.ticker.quote, f.ticker.last = c.volume, c.quote, c.last
		if got := f.turnover(); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

func TestKept(t *testing.T) {
	dir := t.TempDir()
	none, err := ReadKept(dir)
	if err != nil || len(none) != 0 {
		t.Fatal(none, err)
	}
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	k := Kept{"source.binance.md": {Selector: "x", At: at, Members: map[string][]selection.Member{"option": {{Missed: 1, Below: 2, Listing: selection.Listing{
		Name: "BTC-USD:BTC-20301227-100000-C", Symbol: "BTC-301227-C", Market: market.MarketOption, Status: market.StatusHalted, Base: "BTC", Quote: "USD", Settle: "BTC",
		TickSize: market.MustDecimal("0.10"), LotSize: market.MustDecimal("1"), ContractSize: market.MustDecimal("0.01"), AmountUnit: market.UnitContract, Expiry: at.AddDate(4, 0, 0),
		Strike: market.MustDecimal("100000"), Option: market.OptionCall, Turnover: 1.5}}}}}}
	for range 2 { // the second replaces the first
		if err := k.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	again, err := ReadKept(dir)
	if err != nil || !reflect.DeepEqual(again, k) {
		t.Errorf("%+v, then %+v, %v", k, again, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	if err := os.WriteFile(keptFile(dir), []byte(`{"source`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKept(dir); err == nil || !strings.Contains(err.Error(), "remove the file to choose anew") {
		t.Errorf("%v", err)
	}
	if err := k.Write(filepath.Join(dir, "missing")); err == nil {
		t.Error("written into a directory that isn't there")
	}
}
