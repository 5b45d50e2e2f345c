package oracle

import (
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Listing is what a venue says of an instrument in fields of its own. What is
// empty it doesn't say.
type Listing struct {
	Market       market.Market
	Symbol       string
	Name         string // the canonical name, where a test knows it whole
	Base         string
	Quote        string
	Settle       string
	End          string // PERP or YYYYMMDD
	Strike       string
	Option       string // call or put
	ContractSize string
}

// Names goes through listings: the name that follows from the symbol alone
// agrees with the venue's fields and leads back to the symbol, so that no two
// symbols share one.
func Names(t testing.TB, s source.Source, listings []Listing) {
	t.Helper()
	type key struct {
		m market.Market
		x string
	}
	symbols := map[key]string{}
	for _, l := range listings {
		i := s.Identify(l.Market, l.Symbol)
		n, err := market.ParseName(i.Name)
		if err != nil {
			t.Errorf("%s on %s has no good name: %v", l.Symbol, l.Market, err)
			continue
		}
		if other, ok := symbols[key{l.Market, i.Name}]; ok {
			t.Errorf("%s and %s on %s are both %s", other, l.Symbol, l.Market, i.Name)
		}
		symbols[key{l.Market, i.Name}] = l.Symbol
		if m, symbol, err := s.Resolve(i.Name); err != nil || m != l.Market || symbol != l.Symbol {
			t.Errorf("%s resolves to %s on %s, %v, want %s on %s", i.Name, symbol, m, err, l.Symbol, l.Market)
		}
		settle := n.Settle
		if settle == "" {
			settle = n.Quote
		}
		option := ""
		if n.Option != market.OptionNone {
			option = n.Option.String()
		}
		for _, f := range []struct{ what, got, want string }{
			{"name", i.Name, l.Name}, {"base", n.Base, l.Base}, {"quote", n.Quote, l.Quote}, {"settlement", settle, l.Settle}, {"end", n.End, l.End},
			{"strike", n.Strike, l.Strike}, {"option type", option, l.Option}, {"contract size", i.ContractSize.String(), l.ContractSize},
		} {
			if f.want != "" && f.got != f.want {
				t.Errorf("%s on %s is %s: its %s is %s, the venue says %s", l.Symbol, l.Market, i.Name, f.what, f.got, f.want)
			}
		}
		if (option != "") != (l.Market == market.MarketOption) || i.Market != l.Market || i.Symbol != l.Symbol {
			t.Errorf("%s on %s is identified as %s of %s on %s", l.Symbol, l.Market, i.Name, i.Symbol, i.Market)
		}
	}
}

// Nameless goes through symbols that no rule of the venue makes: they have no name.
func Nameless(t testing.TB, s source.Source, m market.Market, symbols ...string) {
	t.Helper()
	for _, symbol := range symbols {
		if i := s.Identify(m, symbol); i.Name != "" {
			t.Errorf("%q on %s is %s, want no name", symbol, m, i.Name)
		}
	}
}

// RefusesNames goes through names that no instrument of the venue can have: each
// is refused by an error that begins with the venue's name.
func RefusesNames(t testing.TB, s source.Source, names ...string) {
	t.Helper()
	for _, n := range names {
		if m, symbol, err := s.Resolve(n); err == nil {
			t.Errorf("%q resolves to %s on %s, want a refusal", n, symbol, m)
		} else if v := s.Describe().Venue; !strings.HasPrefix(err.Error(), v+": ") {
			t.Errorf("%q is refused with %q, which doesn't begin with %s", n, err, v)
		}
	}
}
