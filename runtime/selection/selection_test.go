package selection_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/selection"
	"github.com/marketprism/marketprism/sdk/market"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func linear(base string, turnover float64) selection.Listing {
	return selection.Listing{Name: base + "-USDT-PERP", Symbol: base + "USDT", Market: market.MarketLinear, Status: market.StatusTrading,
		Base: base, Quote: "USDT", Settle: "USDT", Turnover: turnover}
}

var onLinear = []market.Market{market.MarketLinear}

func names(s *selection.State) (out []string) {
	for _, m := range s.Members() {
		out = append(out, m.Symbol)
	}
	return out
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "BTC", true}, {"*", "", false}, {"BTC-*", "BTC-USDT", true}, {"btc-*", "BTC-USDT", true}, {"BTC-*", "WBTC-USDT", false},
		{"*-USDT", "BTC-USDT-PERP", false}, {"*USDT*", "BTC-USDT-PERP", true}, {"B?C*", "BTC", true}, {"B?C*", "BTTC", false}, {"**C", "BTC", true},
		{"a*b*c", "aXbXbc", true}, {"a*b*c", "aXbXb", false}, {"BTC/*", "BTC/USD", true}, {"???", "BTC", true}, {"???", "BT", false},
	} {
		if got := selection.Glob(c.pattern, c.s); got != c.want {
			t.Errorf("%q on %q: %v", c.pattern, c.s, got)
		}
	}
}

func TestSelect(t *testing.T) {
	yes, no := true, false
	soon := linear("BTC", 1)
	soon.Name, soon.Symbol, soon.Expiry = "BTC-USDT-20261130", "BTCUSDT_261130", now.Add(7*24*time.Hour)
	spot := selection.Listing{Name: "BTC-EUR", Symbol: "BTCEUR", Market: market.MarketSpot, Status: market.StatusTrading, Base: "BTC", Quote: "EUR"}
	call := selection.Listing{Name: "BTC-USD:BTC-20261130-100000-C", Symbol: "BTC-30NOV26-100000-C", Market: market.MarketOption, Status: market.StatusTrading, Base: "BTC",
		Quote: "USD", Settle: "BTC", Expiry: now.Add(7 * 24 * time.Hour), Option: market.OptionCall}
	halted := linear("HALT", 1)
	halted.Status = market.StatusHalted
	all := []selection.Listing{linear("BTC", 1), linear("ETH", 1), soon, spot, call, halted}
	everywhere := []market.Market{market.MarketSpot, market.MarketLinear, market.MarketOption}
	for _, c := range []struct {
		sel  selection.Selector
		want string
	}{
		{selection.Selector{Include: []string{"BTC-*"}, Markets: everywhere}, "BTCUSDT BTCUSDT_261130 BTCEUR BTC-30NOV26-100000-C"},
		{selection.Selector{Include: []string{"BTC-*"}, Markets: onLinear}, "BTCUSDT BTCUSDT_261130"},
		{selection.Selector{Include: []string{"ethusdt", "BTC-EUR"}, Markets: everywhere}, "ETHUSDT BTCEUR"},
		{selection.Selector{Include: []string{"*"}, Exclude: []string{"BTC*", "HALTUSDT"}, Markets: everywhere}, "ETHUSDT"},
		{selection.Selector{Include: []string{"HALT-*"}, Markets: everywhere}, "HALTUSDT"},
		{selection.Selector{Selects: []selection.Select{{Markets: everywhere, Quote: []string{"usdt"}}}}, "BTCUSDT ETHUSDT BTCUSDT_261130"},
		{selection.Selector{Selects: []selection.Select{{Markets: everywhere, Perpetual: &yes}}}, "BTCUSDT ETHUSDT"},
		{selection.Selector{Selects: []selection.Select{{Markets: everywhere, Perpetual: &no}}}, "BTCUSDT_261130 BTC-30NOV26-100000-C"},
		{selection.Selector{Selects: []selection.Select{{Markets: everywhere, ExpiresWithin: 8 * 24 * time.Hour}}}, "BTCUSDT_261130 BTC-30NOV26-100000-C"},
		{selection.Selector{Selects: []selection.Select{{Markets: everywhere, ExpiresWithin: 24 * time.Hour}}}, ""},
		{selection.Selector{Selects: []selection.Select{{Markets: everywhere, Option: market.OptionCall}, {Markets: everywhere, Base: []string{"ETH"}}}}, "ETHUSDT BTC-30NOV26-100000-C"},
		{selection.Selector{Selects: []selection.Select{{Markets: everywhere, Status: []market.Status{market.StatusHalted}}}}, "HALTUSDT"},
	} {
		var got []string
		for _, m := range c.sel.On() {
			s := selection.New(&c.sel, m, nil)
			s.Step(now, slices.DeleteFunc(slices.Clone(all), func(l selection.Listing) bool { return l.Market != m }))
			got = append(got, names(s)...)
		}
		want := strings.Fields(c.want)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s takes %v, want %v", &c.sel, got, want)
		}
	}
}

// steps runs catalogues and gives what changed in each.
func steps(s *selection.State, at time.Time, catalogues ...[]selection.Listing) (out []string) {
	for _, c := range catalogues {
		changes, doubt := s.Step(at, c)
		text := ""
		for _, x := range changes {
			sign := "-"
			if x.Added {
				sign = "+"
			}
			text += sign + x.Symbol + " "
		}
		if doubt != "" {
			text += "?"
		}
		out = append(out, strings.TrimSpace(text))
		at = at.Add(time.Minute)
	}
	return out
}

func TestDelisting(t *testing.T) {
	sel := &selection.Selector{Include: []string{"*"}, Markets: onLinear}
	a, b, c, d := linear("A", 1), linear("B", 1), linear("C", 1), linear("D", 1)
	gone := b
	gone.Status = market.StatusDelisted
	halted := b
	halted.Status = market.StatusHalted
	old := c
	old.Expiry = now.Add(90 * time.Second)
	all := []selection.Listing{a, b, c, d}
	for name, x := range map[string]struct {
		catalogues [][]selection.Listing
		want       []string
	}{
		"absent once":    {[][]selection.Listing{all, {a, c, d}, all, {a, c, d}, all}, []string{"+AUSDT +BUSDT +CUSDT +DUSDT", "", "", "", ""}},
		"absent twice":   {[][]selection.Listing{all, {a, c, d}, {a, c, d}, all}, []string{"+AUSDT +BUSDT +CUSDT +DUSDT", "", "-BUSDT", "+BUSDT"}},
		"said so":        {[][]selection.Listing{all, {a, gone, c, d}, {a, c, d}}, []string{"+AUSDT +BUSDT +CUSDT +DUSDT", "-BUSDT", ""}},
		"halted":         {[][]selection.Listing{all, {a, halted, c, d}, {a, halted, c, d}, {a, halted, c, d}}, []string{"+AUSDT +BUSDT +CUSDT +DUSDT", "", "", ""}},
		"expired":        {[][]selection.Listing{{a, b, old, d}, {a, b, old, d}, {a, b, old, d}}, []string{"+AUSDT +BUSDT +CUSDT +DUSDT", "", "-CUSDT"}},
		"listed":         {[][]selection.Listing{{a, b}, all}, []string{"+AUSDT +BUSDT", "+CUSDT +DUSDT"}},
		"empty":          {[][]selection.Listing{all, {}, {}, {}, all}, []string{"+AUSDT +BUSDT +CUSDT +DUSDT", "?", "?", "?", ""}},
		"less than half": {[][]selection.Listing{all, {a}, {a}, {a}, {a, b}, {a, b}}, []string{"+AUSDT +BUSDT +CUSDT +DUSDT", "?", "?", "?", "", "-CUSDT -DUSDT"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := steps(selection.New(sel, market.MarketLinear, nil), now, x.catalogues...); !slices.Equal(got, x.want) {
				t.Errorf("%q, want %q", got, x.want)
			}
		})
	}
	one := &selection.Selector{Include: []string{"A-*"}, Markets: onLinear}
	if got := steps(selection.New(one, market.MarketLinear, nil), now, all, []selection.Listing{b, c, d}, []selection.Listing{b, c, d}, all); !slices.Equal(got, []string{"+AUSDT", "", "?", ""}) {
		t.Errorf("%q: the last one was given up", got)
	}
}

func TestTop(t *testing.T) {
	sel := &selection.Selector{Selects: []selection.Select{{Markets: onLinear, Quote: []string{"USDT"}, Top: 2, Margin: 1}}}
	with := func(a, b, c, d float64) []selection.Listing {
		return []selection.Listing{linear("A", a), linear("B", b), linear("C", c), linear("D", d)}
	}
	for name, x := range map[string]struct {
		catalogues [][]selection.Listing
		want       []string
	}{
		"within the margin": {[][]selection.Listing{with(4, 3, 2, 1), with(4, 2, 3, 1), with(4, 3, 2, 1), with(4, 2, 3, 1)}, []string{"+AUSDT +BUSDT", "+CUSDT", "", ""}},
		"below it": {[][]selection.Listing{with(4, 3, 2, 1), with(4, 1, 3, 2), with(4, 1, 3, 2), with(4, 1, 3, 2), with(4, 1, 3, 2)},
			[]string{"+AUSDT +BUSDT", "+CUSDT", "", "-BUSDT", ""}},
		"below it and back": {[][]selection.Listing{with(4, 3, 2, 1), with(4, 1, 3, 2), with(4, 1, 3, 2), with(4, 3, 2, 1), with(4, 1, 3, 2), with(4, 1, 3, 2)},
			[]string{"+AUSDT +BUSDT", "+CUSDT", "", "", "", ""}},
		"no volumes": {[][]selection.Listing{with(4, 3, 2, 1), with(0, 0, 0, 0), with(0, 0, 0, 9), with(4, 3, 2, 1)}, []string{"+AUSDT +BUSDT", "?", "?", ""}},
		"none ever":  {[][]selection.Listing{with(0, 0, 0, 0)}, []string{"?"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := steps(selection.New(sel, market.MarketLinear, nil), now, x.catalogues...); !slices.Equal(got, x.want) {
				t.Errorf("%q, want %q", got, x.want)
			}
		})
	}
}

// TestHysteresis: whatever catalogues come, what is chosen keeps to the rules.
func TestHysteresis(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		top, margin := 1+r.IntN(6), r.IntN(4)
		sel := &selection.Selector{Include: []string{"FIX-*"}, Exclude: []string{"BAD*"}, Markets: onLinear,
			Selects: []selection.Select{{Markets: onLinear, Top: top, Margin: margin}}}
		s := selection.New(sel, market.MarketLinear, nil)
		universe := []string{"FIX", "BAD"}
		for i := range 12 {
			universe = append(universe, fmt.Sprintf("S%d", i))
		}
		turnover := map[string]float64{}
		for _, n := range universe {
			turnover[n] = float64(1 + r.IntN(1000))
		}
		absent, below, lastBelieved := map[string]int{}, map[string]int{}, 0
		at := now
		for step := range 60 {
			at = at.Add(5 * time.Minute)
			calm := step >= 50 // the last ten catalogues are the same
			var all []selection.Listing
			lost := !calm && r.IntN(8) == 0
			for _, n := range universe {
				if !calm && r.IntN(3) == 0 {
					turnover[n] = float64(1 + r.IntN(1000))
				}
				if !calm && r.IntN(10) == 0 || lost && r.IntN(4) != 0 {
					continue
				}
				l := linear(n, turnover[n])
				if !calm && r.IntN(30) == 0 {
					l.Status = market.StatusDelisted
				}
				all = append(all, l)
			}
			had := names(s)
			prior := len(had)
			changes, doubt := s.Step(at, all)
			has := names(s)
			present := 0
			for _, n := range had {
				if slices.ContainsFunc(all, func(l selection.Listing) bool { return l.Symbol == n }) {
					present++
				}
			}
			if len(all) == 0 || 2*len(all) < lastBelieved || lastBelieved == 0 && 2*present < len(had) {
				if doubt == "" || len(changes) > 0 || !slices.Equal(had, has) {
					t.Fatalf("seed %d step %d: %d listings after %d were believed: %v", seed, step, len(all), lastBelieved, changes)
				}
				continue
			}
			if prior > 0 && len(has) == 0 {
				t.Fatalf("seed %d step %d: nothing is chosen any more", seed, step)
			}
			if doubt != "" {
				continue
			}
			lastBelieved = len(all)
			// The model: ranks among what is traded, and counts of what speaks against each.
			by := map[string]selection.Listing{}
			var ranked []selection.Listing
			for _, l := range all {
				if by[l.Symbol] = l; l.Status == market.StatusTrading && l.Base != "BAD" {
					ranked = append(ranked, l)
				}
			}
			slices.SortFunc(ranked, func(a, b selection.Listing) int {
				if a.Turnover != b.Turnover {
					return int(b.Turnover - a.Turnover)
				}
				return strings.Compare(a.Symbol, b.Symbol)
			})
			rank := map[string]int{}
			for i, l := range ranked {
				rank[l.Symbol] = i + 1
			}
			for _, n := range had {
				l, listed := by[n]
				switch {
				case !listed:
					absent[n]++
				case n == "FIXUSDT" || rank[n] > 0 && rank[n] <= top+margin:
					absent[n], below[n] = 0, 0
				default:
					absent[n] = 0
					below[n]++
				}
				must := absent[n] >= 2 || below[n] >= 3 || l.Status == market.StatusDelisted
				if stays := slices.Contains(has, n); stays == must {
					t.Fatalf("seed %d step %d: %s stays %v: absent %d, below %d, status %s, rank %d of top %d+%d", seed, step, n, stays, absent[n], below[n], l.Status, rank[n], top, margin)
				} else if !stays {
					delete(absent, n)
					delete(below, n)
				}
			}
			for _, n := range has {
				if slices.Contains(had, n) {
					continue
				}
				if n == "BADUSDT" || n != "FIXUSDT" && (rank[n] == 0 || rank[n] > top) {
					t.Fatalf("seed %d step %d: %s came with rank %d of top %d", seed, step, n, rank[n], top)
				}
			}
			for _, l := range ranked[:min(top, len(ranked))] {
				if !slices.Contains(has, l.Symbol) {
					t.Fatalf("seed %d step %d: %s is missing, of rank %d", seed, step, l.Symbol, rank[l.Symbol])
				}
			}
			if kept := slices.DeleteFunc(slices.Clone(had), func(n string) bool { return !slices.Contains(has, n) }); !slices.Equal(kept, has[:len(kept)]) {
				t.Fatalf("seed %d step %d: what stayed moved: %v, then %v", seed, step, had, has)
			}
			if step > 54 && len(changes) > 0 {
				t.Fatalf("seed %d: the catalogue is the same for %d rounds, and %v", seed, step-50, changes)
			}
			if step%7 == 0 { // a restart: what is kept is enough
				b, err := json.Marshal(s.Members())
				if err != nil {
					t.Fatal(err)
				}
				var had []selection.Member
				if err := json.Unmarshal(b, &had); err != nil {
					t.Fatal(err)
				}
				if again := selection.New(sel, market.MarketLinear, had); !reflect.DeepEqual(again.Members(), s.Members()) {
					t.Fatalf("%+v, then %+v", s.Members(), again.Members())
				} else if len(all) > 0 {
					s, lastBelieved = again, 0
				}
			}
		}
	}
}
