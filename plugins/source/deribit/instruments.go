package deribit

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// perpetual ends the symbol of one.
const perpetual = "PERPETUAL"

// nativeDate is how symbols write a day, in capitals: 5JUN26.
const nativeDate = "2Jan06"

// marketOf tells a symbol's market by its form: BTC_USDC, BTC-PERPETUAL and
// BTC-25DEC26 (inverse), BTC_USDC-PERPETUAL (linear), BTC-25DEC26-100000-C. It is
// none of combinations: BTC-FS-25DEC26_PERP.
func marketOf(symbol []byte) market.Market {
	pair, end, derivative := bytes.Cut(symbol, []byte{'-'})
	paired := bytes.IndexByte(pair, '_') >= 0
	switch {
	case !derivative && paired:
		return market.MarketSpot
	case len(end) == 0 || string(end) != perpetual && end[0]-'0' > 9:
		return market.MarketNone
	case bytes.IndexByte(end, '-') >= 0:
		return market.MarketOption
	case paired:
		return market.MarketLinear
	}
	return market.MarketInverse
}

// parse names a symbol; the zero Name if it isn't one of the venue's, or one of a
// combination.
func parse(symbol string) (n market.Name) {
	parts := strings.Split(symbol, "-")
	base, quote, paired := strings.Cut(parts[0], "_")
	if n.Base, n.Quote = base, quote; !paired {
		n.Quote, n.Settle = "USD", base
	}
	switch {
	case len(parts) == 1 && paired:
		return n
	case len(parts) == 2 && parts[1] == perpetual:
		n.End = "PERP"
		return n
	case len(parts) != 2 && len(parts) != 4:
		return market.Name{}
	}
	n.End = market.NameDate(nativeDate, parts[1])
	if len(parts) == 4 {
		n.Strike, n.Option = strings.Replace(parts[2], "d", ".", 1), source.OptionType(parts[3]) // 0d5: a point would end a channel's part
	}
	if n.End == "" || native(n) != symbol {
		return market.Name{}
	}
	return n
}

// native writes a name as the venue does.
func native(n market.Name) string {
	s := n.Base
	if n.Settle == "" {
		s += "_" + n.Quote
	}
	switch n.End {
	case "":
		return s
	case "PERP":
		return s + "-" + perpetual
	}
	s += "-" + strings.ToUpper(market.VenueDate(nativeDate, n.End))
	switch n.Option {
	case market.OptionCall:
		s += "-" + strings.Replace(n.Strike, ".", "d", 1) + "-C"
	case market.OptionPut:
		s += "-" + strings.Replace(n.Strike, ".", "d", 1) + "-P"
	}
	return s
}

// unit is what amounts count: US dollars of inverse contracts, the base currency
// of all others, options with them.
func unit(m market.Market) market.Unit {
	if m == market.MarketInverse {
		return market.UnitQuote
	}
	return market.UnitBase
}

// Identify names a symbol.
func (p *plugin) Identify(m market.Market, symbol string) market.Instrument {
	n := parse(symbol)
	return market.Instrument{Venue: p.manifest.Venue, Market: m, Symbol: symbol, Name: n.String(), AmountUnit: unit(m)}
}

// Resolve gives the symbol of a canonical name.
func (p *plugin) Resolve(name string) (market.Market, string, error) {
	n, err := market.ParseName(name)
	switch {
	case err != nil:
	case n.Settle != "" && (n.Settle != n.Base || n.Quote != "USD"):
		err = fmt.Errorf("what is settled in another than the quote currency is quoted in USD and settled in its base")
	case n.End != "" && n.Settle == "" && n.Quote == "USD":
		err = fmt.Errorf("contracts in USD are settled in their base currency, BTC-USD:BTC")
	}
	if err != nil {
		return 0, "", fmt.Errorf("deribit: %q names no instrument: %w; valid are BTC-USDC (spot), BTC-USDC-PERP, BTC-USDC-20261225 (linear), BTC-USD:BTC-PERP, BTC-USD:BTC-20261225 (inverse), BTC-USD:BTC-20261225-100000-C, XRP-USDC-20261225-0.5-P (option)", name, err)
	}
	return n.Market(), native(n), nil
}

// instrument decodes a listing. The catalogue of futures holds contracts of two
// markets; those of the other are left to its feed.
func (d *decoder) instrument(out *source.Out) error {
	c := &d.c
	r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), Expiry: market.None}
	var symbol, quote, counter, period, state, direction []byte
	active := true
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "instrument_name":
			symbol = c.Str()
		case "base_currency":
			r.Base = c.Str()
		case "quote_currency": // of the price: premiums of inverse options are in coin
			quote = c.Str()
		case "counter_currency":
			counter = c.Str()
		case "settlement_currency":
			r.Settle = c.Str()
		case "settlement_period":
			period = c.Str()
		case "contract_size":
			r.ContractSize = source.DecimalOrNull(c)
		case "tick_size":
			r.TickSize = source.DecimalOrNull(c)
		case "min_trade_amount":
			r.LotSize = source.DecimalOrNull(c)
		case "strike":
			r.Strike = source.DecimalOrNull(c)
		case "instrument_type":
			direction = c.Str()
		case "expiration_timestamp":
			r.Expiry = source.Millis(c)
		case "is_active":
			active = c.Bool()
		case "state":
			state = c.Str()
		}
	}
	if symbol == nil {
		return source.Lacks(&d.c, "an instrument", "instrument_name")
	}
	m := marketOf(symbol)
	switch {
	case m == market.MarketNone || !d.Wants(m):
		return c.Err()
	case string(direction) == "linear" && m == market.MarketInverse || string(direction) == "reversed" && m == market.MarketLinear:
		return fmt.Errorf("at byte %d: %s is %s by its name, %s by the catalogue", c.Offset(), symbol, m, direction)
	}
	n := parse(string(symbol))
	if r.Quote = counter; len(counter) == 0 {
		r.Quote = quote
	}
	if string(period) == "perpetual" || m == market.MarketSpot { // they expire in the year 3000
		r.Expiry = market.None
	}
	r.Status = status(state, active)
	r.AmountUnit = unit(m)
	out.Listing(&r, m, symbol, n)
	return nil
}

// status reads the state of a book, which older catalogues don't have.
func status(state []byte, active bool) market.Status {
	if len(state) == 0 && !active {
		return market.StatusExpired
	}
	return statuses[string(state)]
}

var statuses = map[string]market.Status{
	"": market.StatusTrading, "open": market.StatusTrading, "delivered": market.StatusExpired, "archivized": market.StatusExpired,
	"settlement": market.StatusHalted, "locked": market.StatusHalted, "halted": market.StatusHalted, "inactive": market.StatusHalted,
}
