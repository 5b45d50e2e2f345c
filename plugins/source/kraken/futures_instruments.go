package kraken

import (
	"fmt"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// contractDate is how symbols write a day: 240628.
const contractDate = "060102"

// contractQuotes end the pair in a contract's symbol.
var contractQuotes = []string{"USD", "EUR", "GBP", "USDC", "USDT", "XBT"}

// contractMarket tells a product's market by its first two letters: perpetual,
// future or option; inverse, flexible (of many collaterals) or vanilla. It is
// none of indices (in_xbtusd) and reference rates (rr_xbtusd).
func contractMarket(symbol []byte) market.Market {
	if len(symbol) < 4 || symbol[2] != '_' {
		return market.MarketNone
	}
	switch string(symbol[:2]) {
	case "PF", "FF", "PV", "FV":
		return market.MarketLinear
	case "PI", "FI":
		return market.MarketInverse
	case "OF":
		return market.MarketOption
	}
	return market.MarketNone
}

// parseContract names a product: PF_XBTUSD, FI_XBTUSD_240628,
// OF_ETHUSD_240101_1000_C. It is the zero Name if it isn't one.
func parseContract(symbol string) (n market.Name) {
	parts := strings.Split(symbol, "_")
	if len(parts) < 2 || contractMarket([]byte(symbol)) == market.MarketNone {
		return n
	}
	base, quote := market.CutQuote(parts[1], contractQuotes)
	n.Base, n.Quote, n.End = currency(base), currency(quote), "PERP"
	if parts[0][1] == 'I' {
		n.Settle = n.Base
	}
	if len(parts) > 2 {
		n.End = market.NameDate(contractDate, parts[2])
	}
	if len(parts) == 5 {
		n.Strike = parts[3]
		n.Option = source.OptionType(parts[4])
	}
	if base == "" || n.End == "" || contractSymbol(n) != symbol {
		return market.Name{}
	}
	return n
}

// contractSymbol writes a name as the venue does.
func contractSymbol(n market.Name) string {
	kind, style := "F", "F"
	switch {
	case n.Option != market.OptionNone:
		kind = "O"
	case n.End == "PERP":
		kind = "P"
	}
	switch {
	case n.Settle == n.Base:
		style = "I"
	case n.Quote == "BTC":
		style = "V" // what isn't quoted in a collateral
	}
	s := kind + style + "_" + legacyCurrency(n.Base) + legacyCurrency(n.Quote)
	if n.End != "PERP" {
		s += "_" + market.VenueDate(contractDate, n.End)
	}
	if n.Option != market.OptionNone {
		s += "_" + n.Strike + "_" + strings.ToUpper(n.Option.String()[:1])
	}
	return s
}

// legacyCurrency is how contracts write a currency: of the old names they keep
// Bitcoin's alone.
func legacyCurrency(s string) string {
	if s == "BTC" {
		return "XBT"
	}
	return s
}

// contractUnit is what amounts count: inverse contracts, each of one unit of the
// quote currency, or the base currency.
func contractUnit(m market.Market) market.Unit {
	if m == market.MarketInverse {
		return market.UnitContract
	}
	return market.UnitBase
}

func (p *plugin) identifyContract(m market.Market, symbol string) market.Instrument {
	return market.Instrument{Venue: p.manifest.Venue, Market: m, Symbol: symbol, Name: parseContract(symbol).String(),
		AmountUnit: contractUnit(m), ContractSize: market.NewDecimal(1, 0)}
}

// instrument decodes a listing. The catalogue holds those of all markets; what
// isn't of this feed's is left to the others.
func (d *contractDecoder) instrument(out *source.Out) error {
	c := &d.c
	r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), Expiry: market.None, Status: market.StatusHalted}
	var symbol, kind []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = d.upper(c.Str())
		case "type":
			kind = c.Str()
		case "tradeable":
			if c.Bool() {
				r.Status = market.StatusTrading
			}
		case "tickSize":
			r.TickSize = source.DecimalOrNull(c)
		case "contractSize":
			r.ContractSize = source.DecimalOrNull(c)
		case "contractValueTradePrecision":
			r.LotSize = power(-c.Int64())
		case "lastTradingTime":
			if !c.Null() {
				r.Expiry = source.Time(c)
			}
		default:
			c.Skip()
		}
	}
	if symbol == nil || kind == nil {
		return source.Lacks(&d.c, "an instrument", "symbol or type")
	}
	m := contractMarket(symbol)
	if m == market.MarketNone || !d.Wants(m) {
		return c.Err()
	}
	if inverse := strings.HasSuffix(string(kind), "_inverse"); inverse != (m == market.MarketInverse) {
		return fmt.Errorf("at byte %d: %s is %s by its name, %s by the catalogue", c.Offset(), symbol, m, kind)
	}
	r.AmountUnit = contractUnit(m)
	out.Listing(&r, m, symbol, parseContract(string(symbol)))
	return nil
}

// power is 10^n; null where that is no size that a contract has.
func power(n int64) market.Decimal {
	d := market.NewDecimal(1, 0)
	switch {
	case n < -market.MaxScale || n > 15:
		return market.Decimal{}
	case n < 0:
		return market.NewDecimal(1, uint8(-n))
	}
	for ; n > 0; n-- {
		d, _ = d.Mul(market.NewDecimal(10, 0))
	}
	return d
}
