package okx

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// margined ends the quote of contracts that are settled in US dollars and
// stablecoins of them, where those settled in coin have the bare name.
const margined = "_UM"

// nativeDate is how symbols write a day.
const nativeDate = "060102"

// marketOf tells a symbol's market by its form: BTC-USDT, BTC-USDT-SWAP,
// BTC-USD-240628, BTC-USD-240628-60000-C.
func marketOf(symbol []byte) market.Market {
	i := bytes.IndexByte(symbol, '-')
	if i < 0 {
		return market.MarketSpot
	}
	quote, end, dated := bytes.Cut(symbol[i+1:], []byte{'-'})
	switch {
	case !dated:
		return market.MarketSpot
	case bytes.IndexByte(end, '-') >= 0:
		return market.MarketOption
	case string(quote) == "USD":
		return market.MarketInverse
	}
	return market.MarketLinear
}

// parse names a symbol; the zero Name if it isn't one of the venue's.
func parse(symbol string) (n market.Name) {
	parts := strings.Split(symbol, "-")
	if len(parts) != 2 && len(parts) != 3 && len(parts) != 5 {
		return n
	}
	n.Base, n.Quote = parts[0], parts[1]
	if len(parts) == 2 {
		return n
	}
	quote, dollars := strings.CutSuffix(n.Quote, margined)
	if n.Quote = quote; !dollars && quote == "USD" {
		n.Settle = n.Base
	}
	if n.End = "PERP"; parts[2] != "SWAP" {
		n.End = market.NameDate(nativeDate, parts[2])
	}
	if len(parts) == 5 {
		n.Strike, n.Option = parts[3], source.OptionType(parts[4])
	}
	if n.End == "" || len(parts) == 5 && n.Option == market.OptionNone {
		return market.Name{}
	}
	return n
}

// Identify names a symbol. Inverse contracts are worth 100 USD for BTC, 10 USD
// for the rest; what the others are worth the catalogue says.
func (p *plugin) Identify(m market.Market, symbol string) market.Instrument {
	i := market.Instrument{Venue: p.manifest.Venue, Market: m, Symbol: symbol, AmountUnit: market.UnitContract}
	n := parse(symbol)
	i.Name = n.String()
	switch m {
	case market.MarketSpot:
		i.AmountUnit = market.UnitBase
	case market.MarketInverse:
		i.ContractSize = market.NewDecimal(10, 0)
		if n.Base == "BTC" {
			i.ContractSize = market.NewDecimal(100, 0)
		}
	}
	return i
}

// Resolve gives the symbol of a canonical name. What is quoted in USD is settled
// in its base currency, or in dollars, which the symbol says then.
func (p *plugin) Resolve(name string) (market.Market, string, error) {
	n, err := market.ParseName(name)
	m := n.Market()
	dollars := n.Quote == "USD" && n.Settle == ""
	switch {
	case err != nil:
	case m != market.MarketSpot && p.manifest.Venue != "okx":
		err = fmt.Errorf("the venue has no %s market", m)
	case n.Settle != "" && (n.Settle != n.Base || n.Quote != "USD"):
		err = fmt.Errorf("what is settled in another than the quote currency is quoted in USD and settled in its base")
	}
	if err != nil {
		return 0, "", fmt.Errorf("%s: %q names no instrument: %w; valid are BTC-USDT (spot), BTC-USDT-PERP, BTC-USDC-20261225, BTC-USD-PERP (linear), BTC-USD:BTC-PERP, BTC-USD:BTC-20261225 (inverse), BTC-USD:BTC-20261225-100000-C (option)",
			p.manifest.Venue, name, err)
	}
	s := n.Base + "-" + n.Quote
	if m == market.MarketSpot {
		return m, s, nil
	}
	if dollars {
		s += margined
	}
	if n.End == "PERP" {
		return m, s + "-SWAP", nil
	}
	s += "-" + market.VenueDate(nativeDate, n.End)
	switch n.Option {
	case market.OptionCall:
		s += "-" + n.Strike + "-C"
	case market.OptionPut:
		s += "-" + n.Strike + "-P"
	}
	return m, s, nil
}

// instrument decodes a listing. The catalogue of a product holds contracts of
// two markets; those of the other are left to its feed.
func (d *decoder) instrument(out *source.Out) error {
	c := &d.c
	r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), AmountUnit: market.UnitContract, Expiry: market.None}
	var symbol, kind, contract, pair []byte
	var multiplier market.Decimal
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "instId":
			symbol = c.Str()
		case "instType":
			kind = c.Str()
		case "ctType":
			contract = c.Str()
		case "uly":
			pair = c.Str()
		case "baseCcy":
			r.Base = c.Str()
		case "quoteCcy":
			r.Quote = c.Str()
		case "settleCcy":
			r.Settle = c.Str()
		case "ctVal":
			r.ContractSize = source.DecimalOrNull(c)
		case "ctMult":
			multiplier = source.DecimalOrNull(c)
		case "tickSz":
			r.TickSize = source.DecimalOrNull(c)
		case "lotSz":
			r.LotSize = source.DecimalOrNull(c)
		case "stk":
			r.Strike = source.DecimalOrNull(c)
		case "optType":
			r.OptionType = source.OptionType(string(c.Str()))
		case "expTime":
			r.Expiry = source.MillisOrNone(c)
		case "state":
			r.Status = statuses[string(c.Str())]
		}
	}
	if symbol == nil || kind == nil {
		return source.Lacks(&d.c, "an instrument", "instId or instType")
	}
	m := marketOf(symbol)
	switch {
	case string(kind) == "MARGIN" || !d.Wants(m): // spot pairs again, with leverage
		return nil
	case string(contract) == "linear" && m != market.MarketLinear || string(contract) == "inverse" && m != market.MarketInverse:
		return fmt.Errorf("at byte %d: %s is %s by its name, %s by the catalogue", c.Offset(), symbol, m, contract)
	}
	if m == market.MarketSpot {
		r.AmountUnit = market.UnitBase
	}
	if len(r.Base) == 0 {
		r.Base, r.Quote, _ = bytes.Cut(pair, []byte{'-'})
	}
	if size, ok := r.ContractSize.Mul(multiplier); ok { // options: a tenth or a hundredth of a coin
		r.ContractSize = size
	}
	out.Listing(&r, m, symbol, parse(string(symbol)))
	return nil
}

var statuses = map[string]market.Status{
	"live": market.StatusTrading, "post_only": market.StatusTrading, "preopen": market.StatusPreOpen, "expired": market.StatusExpired,
	"suspend": market.StatusHalted, "rebase": market.StatusHalted, "settling": market.StatusHalted,
}
