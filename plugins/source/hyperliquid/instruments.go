package hyperliquid

import (
	"fmt"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// numbered are the spot pairs whose symbol is a number that can be named without
// the catalogue. A pair keeps its number.
var numbered = map[string]string{"HYPE-USDC": "@107", "UBTC-USDC": "@142", "UETH-USDC": "@151"}

// collaterals are the tokens that perpetuals are settled in, by their number.
var collaterals = map[int64]string{0: "USDC", 235: "USDE", 268: "USDT0", 360: "USDH"}

// builders are those whose perpetuals aren't settled in USDC.
var builders = map[string]string{"flx": "USDH", "vntl": "USDH", "km": "USDH", "hyna": "USDE", "cash": "USDT0"}

// marketOf tells a coin's market: spot pairs are PURR/USDC or @107, outcomes #330.
func marketOf(symbol []byte) market.Market {
	if len(symbol) > 0 && (symbol[0] == '@' || symbol[0] == '#') {
		return market.MarketSpot
	}
	for _, c := range symbol {
		if c == '/' {
			return market.MarketSpot
		}
	}
	return market.MarketLinear
}

// parse names a symbol; the zero Name if it doesn't say what it is. A builder's
// coin xyz:SP500 has the base xyz.SP500.
func parse(m market.Market, symbol string) (n market.Name) {
	if m == market.MarketSpot {
		if n.Base, n.Quote, _ = strings.Cut(symbol, "/"); n.Quote != "" {
			return n
		}
		for name, s := range numbered {
			if s == symbol {
				n.Base, n.Quote, _ = strings.Cut(name, "-")
				return n
			}
		}
		return market.Name{}
	}
	dex, coin, of := strings.Cut(symbol, ":")
	n = market.Name{Base: symbol, Quote: "USDC", End: "PERP"}
	if of {
		n.Base = dex + "." + coin
		if q := builders[dex]; q != "" {
			n.Quote = q
		}
	}
	if strings.ContainsAny(n.Base, "-/@#: ") || of && (dex == "" || coin == "") {
		return market.Name{}
	}
	return n
}

// Identify names a symbol. A contract is one unit of its base, and amounts are in it.
func (p *plugin) Identify(m market.Market, symbol string) market.Instrument {
	return market.Instrument{Venue: p.manifest.Venue, Market: m, Symbol: symbol, Name: parse(m, symbol).String(), AmountUnit: market.UnitBase}
}

// Resolve gives the symbol of a canonical name.
func (p *plugin) Resolve(name string) (market.Market, string, error) {
	n, err := market.ParseName(name)
	m, symbol := n.Market(), ""
	switch {
	case err != nil:
	case m == market.MarketSpot:
		if symbol = numbered[name]; symbol == "" && n.Base == "PURR" && n.Quote == "USDC" {
			symbol = "PURR/USDC" // the one that has a name
		}
		if symbol == "" {
			err = fmt.Errorf("spot pairs have numbers, and its number isn't known without the catalogue")
		}
	case m == market.MarketLinear && n.End == "PERP" && n.Settle == "":
		if symbol = strings.Replace(n.Base, ".", ":", 1); parse(m, symbol).Quote != n.Quote {
			err = fmt.Errorf("the venue has none that is quoted so")
		}
	default:
		err = fmt.Errorf("the venue has spot pairs and perpetuals alone")
	}
	if err != nil {
		return 0, "", fmt.Errorf("hyperliquid: %q names no instrument: %w; valid are BTC-USDC-PERP, xyz.SP500-USDC-PERP (of the builder xyz), PURR-USDC, HYPE-USDC (spot)", name, err)
	}
	return m, symbol, nil
}

// Places that prices have at most, less those of amounts.
const (
	placesPerp = 6
	placesSpot = 8
)

// precise states the least steps of price and amount. Prices have five
// significant digits at most: high ones move in greater steps.
func precise(r *market.InstrumentRecord, places, size int64) {
	if size >= 0 && size <= places {
		r.TickSize, r.LotSize = market.NewDecimal(1, uint8(places-size)), market.NewDecimal(1, uint8(size))
	}
}

// perpetuals decodes {"universe":[…],"collateralToken":0}, whose token stands
// behind what is settled in it, and keeps the names for the contexts that follow.
func (d *decoder) perpetuals(out *source.Out) error {
	c := &d.c
	token := int64(0)
	universe := c.Mark()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "universe":
			universe = c.Mark()
		case "collateralToken":
			token = c.Int64()
		}
	}
	end := c.Mark()
	c.Seek(universe)
	d.names = d.names[:0]
	c.Array()
	for c.Elem() {
		var name []byte
		r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), AmountUnit: market.UnitBase, Expiry: market.None, Status: market.StatusTrading}
		c.Object()
		for c.Key() {
			switch string(c.KeyBytes()) {
			case "name":
				name = c.Str()
			case "szDecimals":
				precise(&r, placesPerp, c.Int64())
			case "isDelisted":
				if c.Bool() {
					r.Status = market.StatusDelisted
				}
			}
		}
		if len(name) == 0 {
			return source.Lacks(c, "a perpetual", "name")
		}
		d.names = append(d.names, name)
		n := parse(market.MarketLinear, string(name))
		n.Quote = collaterals[token] // a token that is new leaves its perpetuals without a name
		d.list(out, &r, market.MarketLinear, name, n)
	}
	c.Seek(end)
	return c.Err()
}

// list emits an instrument.
func (d *decoder) list(out *source.Out, r *market.InstrumentRecord, m market.Market, symbol []byte, n market.Name) {
	r.Base, r.Quote = []byte(n.Base), []byte(n.Quote)
	if name := n.String(); name != "" {
		if _, err := market.ParseName(name); err == nil { // anybody may list a token, by a name of his own
			r.Instrument = []byte(name)
		}
	}
	if m == market.MarketLinear {
		r.Settle, r.ContractSize = r.Quote, market.NewDecimal(1, 0)
	}
	r.Header.Instrument = out.SymbolIn(m, symbol)
	out.Instrument(r)
}

// pairs decodes {"universe":[{"tokens":[1,0],…}],"tokens":[…]}.
func (d *decoder) pairs(out *source.Out) error {
	c := &d.c
	type token struct {
		name string
		size int64
	}
	tokens := map[int64]token{}
	universe := c.Mark()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "universe":
			universe = c.Mark()
		case "tokens":
			c.Array()
			for c.Elem() {
				var t token
				index := int64(-1)
				c.Object()
				for c.Key() {
					switch string(c.KeyBytes()) {
					case "name":
						t.name = string(c.Str())
					case "szDecimals":
						t.size = c.Int64()
					case "index":
						index = c.Int64()
					}
				}
				tokens[index] = t
			}
		}
	}
	end := c.Mark()
	c.Seek(universe)
	d.names = d.names[:0] // contexts of pairs name themselves
	c.Array()
	for c.Elem() {
		var name []byte
		var pair [2]market.Decimal
		c.Object()
		for c.Key() {
			switch string(c.KeyBytes()) {
			case "name":
				name = c.Str()
			case "tokens":
				source.Decimals(c, pair[:])
			}
		}
		base, quote := tokens[number(pair[0])], tokens[number(pair[1])]
		if len(name) == 0 || base.name == "" || quote.name == "" {
			return source.Lacks(c, "a pair", "name or known tokens")
		}
		r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), AmountUnit: market.UnitBase, Expiry: market.None, Status: market.StatusTrading}
		precise(&r, placesSpot, base.size)
		d.list(out, &r, market.MarketSpot, name, market.Name{Base: base.name, Quote: quote.name})
	}
	c.Seek(end)
	return c.Err()
}

// number is a token's; none is -1.
func number(d market.Decimal) int64 {
	if v, ok := d.Rescale(0); ok && !d.IsNull() {
		return v
	}
	return -1
}
