package bitget

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Symbols are BTCUSDT on spot and linear, BTCPERP for what is settled in USDC,
// BTCUSD on inverse; what is delivered ends with the day, BTCUSD_261225. Older
// ones name the product (BTCUSDT_SPBL, BTCUSD_DMCBL_241227), cut the pair
// (BTC_USDT) or begin with cmt_; API v3 ends inverse ones with _CM.

// nativeDate is how symbols write a day.
const nativeDate = "060102"

// perpetual stands in symbols for the quote currency USDC.
const perpetual = "PERP"

var (
	spotQuotes     = []string{"USDT", "USDC", "BTC", "ETH", "EUR", "GBP", "BRL", "UAH", "RUB", "TRY", "USD", "BGB", "DAI"}
	contractQuotes = []string{"USDT", "USDC", "USD", perpetual}
)

// pairOf is a symbol without what follows the pair.
func pairOf(symbol string) string {
	pair, _, _ := strings.Cut(symbol, "_")
	return pair
}

// contractOf tells a contract's market by its symbol.
func contractOf(symbol []byte) market.Market {
	pair, _, _ := bytes.Cut(symbol, []byte{'_'})
	if bytes.HasSuffix(pair, []byte("USD")) {
		return market.MarketInverse
	}
	return market.MarketLinear
}

// parse names a symbol; the zero Name if it isn't one of the venue's.
func parse(m market.Market, symbol string) (n market.Name) {
	parts := strings.Split(strings.TrimPrefix(strings.ToUpper(symbol), "CMT_"), "_")
	quotes := contractQuotes
	if m == market.MarketSpot {
		quotes = spotQuotes
	} else {
		n.End = "PERP"
	}
	n.Base, n.Quote = market.CutQuote(parts[0], quotes)
	for _, s := range parts[1:] {
		day := market.NameDate(nativeDate, s)
		switch {
		case s == "SPBL" || s == "UMCBL" || s == "DMCBL" || s == "CMCBL" || s == "CM": // a product
		case m != market.MarketSpot && day != "":
			n.End = day
		case len(parts) == 2 && (n.Quote == "" || m == market.MarketSpot): // STETH_USDT begins like a pair
			n.Base, n.Quote = parts[0], s
		default:
			return market.Name{}
		}
	}
	switch {
	case m == market.MarketSpot:
	case n.Quote == perpetual:
		n.Quote = "USDC"
	case n.Quote == "USD":
		n.Settle = n.Base
	}
	return n
}

// Identify names a symbol. Amounts are in the base currency everywhere.
func (p *plugin) Identify(m market.Market, symbol string) market.Instrument {
	return market.Instrument{Venue: p.manifest.Venue, Market: m, Symbol: symbol, Name: parse(m, symbol).String(), AmountUnit: market.UnitBase}
}

// Resolve gives the symbol of a canonical name.
func (p *plugin) Resolve(name string) (market.Market, string, error) {
	n, err := market.ParseName(name)
	m := n.Market()
	s := n.Base + n.Quote
	if n.Quote == "USDC" && m == market.MarketLinear {
		s = n.Base + perpetual
	}
	if n.End != "" && n.End != "PERP" {
		s += "_" + market.VenueDate(nativeDate, n.End)
	}
	switch {
	case err != nil:
	case m == market.MarketOption:
		err = fmt.Errorf("the venue has no options")
	case m == market.MarketInverse && n.Quote != "USD", m == market.MarketLinear && (n.Settle != "" || n.Quote != "USDT" && n.Quote != "USDC"):
		err = fmt.Errorf("contracts are quoted and settled in USDT or USDC, or quoted in USD and settled in their base")
	default:
		return m, s, nil
	}
	return 0, "", fmt.Errorf("bitget: %q names no instrument: %w; valid are BTC-USDT (spot), BTC-USDT-PERP, BTC-USDC-PERP (linear), BTC-USD:BTC-PERP, BTC-USD:BTC-20261225 (inverse)", name, err)
}

// listing decodes an instrument of a catalogue.
func (d *decoder) listing(out *source.Out) error {
	c := &d.c
	r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), AmountUnit: market.UnitBase, Expiry: market.None}
	var symbol []byte
	price, amount, step := market.Decimal{}, market.Decimal{}, market.NewDecimal(1, 0)
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			if symbol == nil {
				symbol = c.Str()
			}
		case "symbolName": // of API v1: the symbol without the product
			symbol = c.Str()
		case "baseCoin":
			r.Base = c.Str()
		case "quoteCoin":
			r.Quote = c.Str()
		case "pricePrecision", "pricePlace", "priceScale":
			price = source.DecimalOrNull(c)
		case "priceEndStep": // of the last place
			step = source.DecimalOrNull(c)
		case "quantityPrecision", "quantityScale":
			amount = source.DecimalOrNull(c)
		case "sizeMultiplier":
			r.LotSize = source.DecimalOrNull(c)
		case "deliveryTime":
			r.Expiry = source.MillisOrNone(c)
		case "status", "symbolStatus":
			r.Status = statuses[string(c.Str())]
		}
	}
	if symbol == nil || len(r.Base) == 0 || len(r.Quote) == 0 {
		return source.Lacks(&d.c, "an instrument", "symbol, baseCoin or quoteCoin")
	}
	symbol = d.native(symbol)
	m := d.m.market
	if m == market.MarketNone {
		m = d.marketOf(d.m.product, symbol)
	}
	n := parse(m, string(symbol))
	if m == market.MarketSpot { // the catalogue knows where the base ends
		n.Base, n.Quote = strings.ToUpper(string(r.Base)), strings.ToUpper(string(r.Quote))
	} else {
		r.Quote = []byte(n.Quote)
	}
	if r.TickSize = places(price); !step.IsNull() {
		r.TickSize, _ = r.TickSize.Mul(step)
	}
	if r.LotSize.IsNull() {
		r.LotSize = places(amount)
	}
	out.Listing(&r, m, symbol, n)
	return nil
}

// places is the unit of the last of so many decimal places.
func places(n market.Decimal) market.Decimal {
	v, ok := n.Rescale(0)
	if n.IsNull() || !ok || v < 0 || v > 30 {
		return market.Decimal{}
	}
	return market.NewDecimal(1, uint8(v))
}

var statuses = map[string]market.Status{
	"online": market.StatusTrading, "normal": market.StatusTrading,
	"halt": market.StatusHalted, "maintain": market.StatusHalted, "limit_open": market.StatusHalted, "restrictedAPI": market.StatusHalted,
	"listed": market.StatusPreOpen, "gray": market.StatusPreOpen,
	"offline": market.StatusDelisted, "off": market.StatusDelisted,
}
