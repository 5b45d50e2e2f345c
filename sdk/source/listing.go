package source

import (
	"github.com/marketprism/marketprism/sdk/market"
)

// Listing emits a catalogue entry under the name that its symbol has. What the
// entry doesn't state of the currencies, of an option's kind and strike, the name
// tells; contracts are settled in their quote currency unless it names another.
func (o *Out) Listing(r *market.InstrumentRecord, m market.Market, symbol []byte, n market.Name) {
	fill := func(to *[]byte, s string) {
		if len(*to) == 0 {
			*to = []byte(s)
		}
	}
	fill(&r.Base, n.Base)
	fill(&r.Quote, n.Quote)
	if m != market.MarketSpot {
		fill(&r.Settle, n.Settle)
		fill(&r.Settle, string(r.Quote))
	}
	if n.Option != market.OptionNone {
		r.OptionType = n.Option
		if r.Strike.IsNull() {
			r.Strike, _ = market.ParseDecimal([]byte(n.Strike))
		}
	}
	r.Header.Instrument, r.Instrument = o.SymbolIn(m, symbol), []byte(n.String())
	o.Instrument(r)
}

// OptionType reads the letter that a symbol has for it.
func OptionType(letter string) market.OptionType {
	switch letter {
	case "C":
		return market.OptionCall
	case "P":
		return market.OptionPut
	}
	return market.OptionNone
}
