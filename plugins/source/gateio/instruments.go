package gateio

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// settled is what contracts quoted in USD are settled in.
const settled = "BTC"

// nativeDate is how symbols write a day.
const nativeDate = "20060102"

// contractOf tells a future's market by its form: BTC_USDT, BTC_USD1,
// BTC_USDT_20261225, BTC_USD, BTC_USD_20220930. Those quoted in USD are settled
// in bitcoin: what isn't of bitcoin is linear, multiplied by bitcoin's price.
func contractOf(symbol []byte) market.Market {
	base, rest, _ := bytes.Cut(symbol, []byte{'_'})
	if string(base) == settled && bytes.HasPrefix(rest, []byte("USD")) && (len(rest) == 3 || rest[3] == '_') {
		return market.MarketInverse
	}
	return market.MarketLinear
}

// delivered says whether a future ends on a day.
func delivered(symbol string) bool { return strings.Count(symbol, "_") == 2 }

// parse names a symbol; the zero Name if it isn't one of the venue's.
func parse(m market.Market, symbol string) (n market.Name) {
	pair, end := symbol, ""
	if m == market.MarketOption {
		parts := strings.Split(symbol, "-") // BTC_USDT-20261225-100000-C
		if len(parts) != 4 {
			return n
		}
		pair, end, n.Strike, n.Option = parts[0], parts[1], parts[2], source.OptionType(parts[3])
		if n.Option == market.OptionNone {
			return market.Name{}
		}
	}
	parts := strings.Split(pair, "_")
	if len(parts) == 3 && m != market.MarketSpot && end == "" {
		end = parts[2]
	} else if len(parts) != 2 {
		return market.Name{}
	}
	n.Base, n.Quote = parts[0], parts[1]
	switch {
	case m == market.MarketSpot:
		return n
	case n.Quote == "USD":
		n.Settle = settled
	}
	if n.End = "PERP"; end != "" {
		if n.End = market.NameDate(nativeDate, end); n.End == "" {
			return market.Name{}
		}
	}
	return n
}

// Identify names a symbol. Inverse contracts are worth 1 USD; what the others
// are worth the catalogue says.
func (p *plugin) Identify(m market.Market, symbol string) market.Instrument {
	i := market.Instrument{Venue: p.manifest.Venue, Market: m, Symbol: symbol, AmountUnit: market.UnitContract, Name: parse(m, symbol).String()}
	switch m {
	case market.MarketSpot:
		i.AmountUnit = market.UnitBase
	case market.MarketInverse:
		i.ContractSize = market.NewDecimal(1, 0)
	}
	return i
}

// Resolve gives the symbol of a canonical name. What is quoted in USD is settled
// in bitcoin, all else in what it is quoted in.
func (p *plugin) Resolve(name string) (market.Market, string, error) {
	n, err := market.ParseName(name)
	m := n.Market()
	switch {
	case err != nil:
	case strings.ContainsAny(n.Base+n.Quote, "_"):
		err = fmt.Errorf("no currency of the venue has an underscore")
	case m == market.MarketSpot:
	case n.Quote == "USD" && n.Settle != settled, n.Quote != "USD" && n.Settle != "":
		err = fmt.Errorf("contracts quoted in USD are settled in %s, all others in their quote", settled)
	case m == market.MarketOption && n.Settle != "":
		err = fmt.Errorf("options are settled in their quote")
	}
	if err != nil {
		return 0, "", fmt.Errorf("gateio: %q names no instrument: %w; valid are BTC-USDT (spot), BTC-USDT-PERP, BTC-USD1-PERP, BTC-USDT-20261225 (linear), BTC-USD:BTC-PERP (inverse), BTC-USDT-20261225-100000-C (option)", name, err)
	}
	s := n.Base + "_" + n.Quote
	switch {
	case m == market.MarketSpot || n.End == "PERP":
		return m, s, nil
	case m != market.MarketOption:
		return m, s + "_" + market.VenueDate(nativeDate, n.End), nil
	}
	return m, s + "-" + market.VenueDate(nativeDate, n.End) + "-" + n.Strike + "-" + strings.ToUpper(n.Option.String()[:1]), nil
}

// listing decodes a pair, a contract or an option. The contracts settled in
// bitcoin are of two markets; those of the other are left to its feed.
func (d *decoder) listing(out *source.Out) error {
	c := &d.c
	r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), AmountUnit: market.UnitContract, Expiry: market.None, Status: market.StatusTrading}
	var symbol []byte
	var kind string
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "id", "name":
			symbol = c.Str()
		case "type":
			kind = string(c.Str())
		case "precision":
			r.TickSize = source.Places(c)
		case "amount_precision":
			r.LotSize = source.Places(c)
		case "quanto_multiplier", "multiplier":
			r.ContractSize = source.DecimalOrNull(c)
		case "order_price_round":
			r.TickSize = source.DecimalOrNull(c)
		case "order_size_min":
			r.LotSize = source.DecimalOrNull(c)
		case "strike_price":
			r.Strike = source.DecimalOrNull(c)
		case "expire_time", "expiration_time":
			r.Expiry = moment(c)
		case "trade_status", "status":
			r.Status = status(c.Str(), r.Status)
		case "in_delisting":
			if c.Bool() && r.Status == market.StatusTrading {
				r.Status = market.StatusHalted // positions can be closed only
			}
		}
	}
	if symbol == nil {
		return source.Lacks(c, "an instrument", "id or name")
	}
	m := d.m.family.market(symbol)
	if err := c.Err(); err != nil || !d.Wants(m) {
		return err
	}
	if inverse := kind == "inverse"; m != market.MarketSpot && m != market.MarketOption && inverse != (m == market.MarketInverse) {
		return fmt.Errorf("at byte %d: %s is %s by its name, %s by the catalogue", c.Offset(), symbol, m, kind)
	}
	if m == market.MarketSpot {
		r.AmountUnit = market.UnitBase
	}
	if m == market.MarketInverse && r.ContractSize.Sign() == 0 { // stated as 0
		r.ContractSize = market.NewDecimal(1, 0)
	}
	if r.LotSize.Sign() == 0 { // of contracts that can be divided, without saying how far
		r.LotSize = market.Decimal{}
	}
	out.Listing(&r, m, symbol, parse(m, string(symbol)))
	return nil
}

func status(s []byte, before market.Status) market.Status {
	switch string(s) {
	case "tradable", "trading":
		return before
	case "untradable", "buyable", "sellable", "delisting", "circuit_breaker":
		return market.StatusHalted
	case "prelaunch":
		return market.StatusPreOpen
	case "delisted":
		return market.StatusDelisted
	}
	return market.StatusUnknown
}
