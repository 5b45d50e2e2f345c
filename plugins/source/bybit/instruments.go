package bybit

import (
	"fmt"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// quotes are the currencies that spot pairs are quoted in. A symbol has no
// separator, so names follow from them until the catalogue came.
var quotes = []string{
	"USDT", "USDC", "USDE", "USD1", "RLUSD", "XUSD", "DAI", "MNT", "BTC", "ETH", "SOL",
	"EUR", "GBP", "BRL", "AED", "PLN", "TRY", "KZT", "IDR", "GEL", "USD",
}

// nativeDate is how symbols write a day: 6JAN23.
const nativeDate = "2Jan06"

// parse names a symbol of a market; the zero Name if it isn't one of its.
func parse(m market.Market, symbol string) (n market.Name) {
	parts := strings.Split(symbol, "-")
	switch m {
	case market.MarketSpot:
		n.Base, n.Quote = market.CutQuote(symbol, quotes)
		return n
	case market.MarketOption: // BTC-25DEC26-100000-C is settled in USDC, …-C-USDT in USDT
		if len(parts) != 4 && len(parts) != 5 {
			return n
		}
		n.Base, n.Quote, n.Settle, n.End, n.Strike = parts[0], "USD", "USDC", market.NameDate(nativeDate, parts[1]), parts[2]
		if len(parts) == 5 {
			n.Quote, n.Settle = parts[4], ""
		}
		if n.Option = source.OptionType(parts[3]); n.End == "" || n.Option == market.OptionNone {
			return market.Name{}
		}
		return n
	}
	pair := parts[0]
	n.End = "PERP"
	switch {
	case len(parts) > 2:
		return market.Name{}
	case len(parts) == 2:
		if n.End = market.NameDate(nativeDate, parts[1]); n.End == "" {
			return market.Name{}
		}
	}
	if m == market.MarketInverse {
		n.Quote = "USD"
		base, ok := strings.CutSuffix(pair, "USD")
		if !ok && len(pair) > len("USDZ26") { // BTCUSDZ26
			at := len(pair) - len("Z26")
			if base, ok = strings.CutSuffix(pair[:at], "USD"); ok {
				n.End = market.NameCode(pair[at:])
			}
		}
		if n.Base, n.Settle = base, base; !ok || n.End == "" {
			return market.Name{}
		}
		return n
	}
	if base, ok := strings.CutSuffix(pair, "PERP"); ok && len(parts) == 1 { // BTCPERP
		n.Base, n.Quote = base, "USDC"
		return n
	}
	if n.Base, n.Quote = market.CutQuote(pair, []string{"USDT"}); n.Base == "" && len(parts) == 2 { // BTC-25DEC26
		n.Base, n.Quote = pair, "USDC"
	}
	return n
}

// Identify names a symbol. Inverse contracts are worth one USD; amounts of the
// others are in their base currency.
func (p *plugin) Identify(m market.Market, symbol string) market.Instrument {
	i := market.Instrument{Venue: p.manifest.Venue, Market: m, Symbol: symbol, Name: parse(m, symbol).String(), AmountUnit: market.UnitBase}
	if m == market.MarketInverse {
		i.AmountUnit, i.ContractSize = market.UnitContract, market.NewDecimal(1, 0)
	}
	return i
}

// Resolve gives the symbol of a canonical name.
func (p *plugin) Resolve(name string) (market.Market, string, error) {
	n, err := market.ParseName(name)
	m := n.Market()
	symbol := ""
	if err == nil {
		switch day := strings.ToUpper(market.VenueDate(nativeDate, n.End)); {
		case m == market.MarketSpot:
			symbol = n.Base + n.Quote
		case m == market.MarketOption && n.Quote == "USDT" && n.Settle == "":
			symbol = n.Base + "-" + day + "-" + n.Strike + "-" + name[len(name)-1:] + "-USDT"
		case m == market.MarketOption && n.Quote == "USD" && n.Settle == "USDC":
			symbol = n.Base + "-" + day + "-" + n.Strike + "-" + name[len(name)-1:]
		case m == market.MarketOption || n.Settle != "" && m != market.MarketInverse || m == market.MarketInverse && n.Quote != "USD":
		case m == market.MarketInverse && n.End == "PERP":
			symbol = n.Base + "USD"
		case m == market.MarketInverse:
			if code := market.VenueCode(n.End); code != "" {
				symbol = n.Base + "USD" + code
			}
		case n.Quote == "USDT" && n.End == "PERP":
			symbol = n.Base + "USDT"
		case n.Quote == "USDC" && n.End == "PERP":
			symbol = n.Base + "PERP"
		case n.Quote == "USDT":
			symbol = n.Base + "USDT-" + day
		case n.Quote == "USDC":
			symbol = n.Base + "-" + day
		}
		if symbol == "" {
			err = fmt.Errorf("the venue has none that is quoted and settled so, or ends then")
		}
	}
	if err != nil {
		return 0, "", fmt.Errorf("bybit: %q names no instrument: %w; valid are BTC-USDT (spot), BTC-USDT-PERP, BTC-USDC-PERP, BTC-USDT-20261225 (linear), BTC-USD:BTC-PERP, BTC-USD:BTC-20261225 (inverse, a month's last Friday), BTC-USDT-20261225-100000-C, BTC-USD:USDC-20261225-100000-C (option)",
			name, err)
	}
	return m, symbol, nil
}

// listing decodes an instrument of a catalogue.
func (d *decoder) listing(out *source.Out) error {
	c := &d.c
	r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), AmountUnit: market.UnitBase, Expiry: market.None}
	m := d.m.market
	var symbol []byte
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "baseCoin":
			r.Base = c.Str()
		case "quoteCoin":
			r.Quote = c.Str()
		case "settleCoin":
			r.Settle = c.Str()
		case "status":
			r.Status = statuses[string(c.Str())]
		case "deliveryTime":
			r.Expiry = source.MillisOrNone(c)
		case "priceFilter", "lotSizeFilter":
			c.Object()
			for c.Key() {
				switch string(c.KeyBytes()) {
				case "tickSize":
					r.TickSize = source.DecimalOrNull(c)
				case "qtyStep", "basePrecision":
					r.LotSize = source.DecimalOrNull(c)
				}
			}
		}
	}
	if len(symbol) == 0 || len(r.Base) == 0 || len(r.Quote) == 0 {
		return source.Lacks(&d.c, "an instrument", "symbol, baseCoin or quoteCoin")
	}
	n := parse(m, string(symbol))
	if m == market.MarketSpot { // the catalogue knows where the base ends
		n.Base, n.Quote = string(r.Base), string(r.Quote)
	}
	if n.End == "PERP" { // a perpetual that is delisted has a day too
		r.Expiry = market.None
	}
	if m == market.MarketInverse {
		r.AmountUnit, r.ContractSize = market.UnitContract, market.NewDecimal(1, 0)
	}
	out.Listing(&r, m, symbol, n)
	return nil
}

var statuses = map[string]market.Status{
	"Trading": market.StatusTrading, "PreLaunch": market.StatusPreOpen, "Delivering": market.StatusHalted, "Closed": market.StatusExpired,
}
