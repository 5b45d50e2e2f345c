package kraken

import (
	"fmt"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// currency gives the common name of a currency: v1 and HTTP say XBT and XDG.
func currency(s string) string {
	switch s {
	case "XBT":
		return "BTC"
	case "XDG":
		return "DOGE"
	}
	return s
}

// quotes are those that HTTP's names, which have no separator, end with.
var quotes = []string{"USDT", "USDC", "USDQ", "USDR", "USDG", "PYUSD", "RLUSD", "EURT", "EURQ", "EURR", "DAI",
	"USD", "EUR", "GBP", "CAD", "JPY", "AUD", "CHF", "AED", "XBT", "ETH", "DOT", "SOL"}

// split cuts a symbol into base and quote: "BTC/USD" of v2, "XBT/USD" of v1,
// "XXBTZUSD" and "XBTUSD" of HTTP.
func split(symbol string) (base, quote string) {
	base, quote, ok := strings.Cut(symbol, "/")
	if ok {
		return currency(base), currency(quote)
	}
	if len(symbol) == 8 && (symbol[0] == 'X' || symbol[0] == 'Z') && (symbol[4] == 'X' || symbol[4] == 'Z') {
		return currency(symbol[1:4]), currency(symbol[5:])
	}
	base = ""
	for _, q := range quotes {
		if b, ok := strings.CutSuffix(symbol, q); ok && b != "" && len(q) > len(quote) {
			base, quote = b, q
		}
	}
	return currency(base), currency(quote)
}

// Identify names a symbol.
func (p *plugin) Identify(m market.Market, symbol string) market.Instrument {
	if isContract(m) {
		return p.identifyContract(m, symbol)
	}
	i := market.Instrument{Venue: p.manifest.Venue, Market: m, Symbol: symbol, AmountUnit: market.UnitBase}
	if base, quote := split(symbol); base != "" && quote != "" {
		i.Name = base + "-" + quote
	}
	return i
}

// Resolve gives the symbol of a canonical name, of pairs that of v2.
func (p *plugin) Resolve(name string) (market.Market, string, error) {
	n, err := market.ParseName(name)
	switch {
	case err != nil:
	case strings.Contains(n.Quote, "/"):
		err = fmt.Errorf("%q is no currency", n.Quote)
	case n.End == "":
		return market.MarketSpot, n.Base + "/" + n.Quote, nil
	case n.Settle != "" && n.Settle != n.Base:
		err = fmt.Errorf("contracts are settled in their base or quote currency")
	}
	if err != nil {
		return 0, "", fmt.Errorf("kraken: %q names no instrument: %w; valid are BTC-USD (spot), BTC-USD-PERP, BTC-USD-20261225 (linear), BTC-USD:BTC-PERP, BTC-USD:BTC-20261225 (inverse), ETH-USD-20261225-5000-C (option)", name, err)
	}
	return n.Market(), contractSymbol(n), nil
}

// instrument decodes the instrument channel: the pairs, and with how many places
// their prices and amounts are printed.
func (d *decoder) instrument(out *source.Out) error {
	c := &d.c
	c.Object()
	for c.Key() {
		if string(c.KeyBytes()) != "pairs" {
			continue
		}
		c.Array()
		for c.Elem() {
			if err := d.pair(out); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *decoder) pair(out *source.Out) error {
	c := &d.c
	r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), AmountUnit: market.UnitBase, Expiry: market.None}
	var symbol []byte
	price, amount := int64(-1), int64(-1)
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "base":
			r.Base = c.Str()
		case "quote":
			r.Quote = c.Str()
		case "status":
			r.Status = statuses[string(c.Str())]
		case "price_increment":
			r.TickSize = source.Decimal(c)
		case "qty_increment":
			r.LotSize = source.Decimal(c)
		case "price_precision":
			price = c.Int64()
		case "qty_precision":
			amount = c.Int64()
		}
	}
	if symbol == nil || r.Base == nil || r.Quote == nil {
		return source.Lacks(&d.c, "a pair", "symbol, base or quote")
	}
	if price > market.MaxScale || amount > market.MaxScale {
		return fmt.Errorf("at byte %d: a precision of more than %d places", c.Offset(), market.MaxScale)
	}
	id := out.Symbol(symbol)
	if price >= 0 && amount >= 0 {
		out.Precision(id, uint8(price), uint8(amount))
	}
	r.Header.Instrument = id
	r.Instrument = append(append(append([]byte(nil), r.Base...), '-'), r.Quote...)
	out.Instrument(&r)
	return nil
}

var statuses = map[string]market.Status{
	"online": market.StatusTrading, "limit_only": market.StatusTrading, "post_only": market.StatusTrading, "reduce_only": market.StatusTrading,
	"cancel_only": market.StatusHalted, "maintenance": market.StatusHalted, "work_in_progress": market.StatusPreOpen, "delisted": market.StatusDelisted,
}

// assetPairs decodes HTTP's catalogue. Pairs without a name for the WebSocket
// (dark pools) can't be collected and are left out.
func (d *decoder) assetPairs(out *source.Out) error {
	c := &d.c
	c.Object()
	for c.Key() {
		r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), AmountUnit: market.UnitBase, Expiry: market.None}
		r.Status = market.StatusTrading // older catalogues hold no status: what they list is traded
		var name []byte
		c.Object()
		for c.Key() {
			switch string(c.KeyBytes()) {
			case "wsname":
				if !c.Null() {
					name = c.Str()
				}
			case "status":
				r.Status = statuses[string(c.Str())]
			case "pair_decimals":
				r.TickSize = places(r.TickSize, c.Int64())
			case "tick_size":
				r.TickSize = source.Decimal(c)
			case "lot_decimals":
				r.LotSize = places(market.Decimal{}, c.Int64())
			}
		}
		if name == nil || c.Err() != nil {
			continue
		}
		base, quote := split(string(name))
		if base == "" || quote == "" {
			return fmt.Errorf("at byte %d: wsname %.40q is no pair", c.Offset(), name)
		}
		r.Base, r.Quote, r.Instrument = []byte(base), []byte(quote), []byte(base+"-"+quote)
		r.Header.Instrument = out.Symbol([]byte(base + "/" + quote))
		out.Instrument(&r)
	}
	return nil
}

// places is 10^-n, unless the exact size is known already.
func places(known market.Decimal, n int64) market.Decimal {
	if !known.IsNull() || n < 0 || n > market.MaxScale {
		return known
	}
	return market.NewDecimal(1, uint8(n))
}
