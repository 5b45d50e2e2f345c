package bitmex

import (
	"fmt"
	"slices"
	"strings"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Pairs are named BASE_QUOTE, contracts BASE QUOTE (XBTUSD, LINKUSDT), those that
// end have the letter of a month with a year behind that (ETHUSDM22): on its last
// Friday. Where no quote stands (XBTM22, ADAM22) it is USD of bitcoin, and
// bitcoin of all else. What a contract is settled in is behind an underscore
// (ETHUSD_ETH), or follows from the two. Bitcoin is XBT.
const bitcoin = "XBT"

// quotes are the currencies that contracts are quoted in.
var quotes = []string{"USD", "USDT", "USDC", "EUR", "XBT", "ETH", "JPY", "CHF", "TRY", "INR", "ZAR", "BRL", "MXN", "CNH", "SEK"}

// unlike are futures that are quoted in another currency than their symbols say.
var unlike = map[string]string{"ETHPOW": "USDT"}

// parts of a symbol, in the venue's currencies.
type parts struct {
	base, quote, settle string
	code                string // of a month
	spot                bool
}

// split takes a symbol apart. Spreads (XBTM26-XBTU26), indices (.BXBT) and
// predictions (P_FTXZ26) have no base.
func split(symbol string) (p parts) {
	if strings.HasPrefix(symbol, "P_") || strings.HasSuffix(symbol, "_") || strings.ContainsAny(symbol, ".-") {
		return p
	}
	pair, suffix, underscore := strings.Cut(symbol, "_")
	body := pair
	if n := len(pair) - 3; n > 0 && pair[n] >= 'F' && pair[n] <= 'Z' && digit(pair[n+1]) && digit(pair[n+2]) {
		body, p.code = pair[:n], pair[n:]
	}
	p.base, p.quote = market.CutQuote(body, quotes)
	if underscore && (p.base == "" || suffix == "USD" || suffix == "USDT" || suffix == "USDC" || suffix == "EUR") {
		return parts{base: pair, quote: suffix, spot: true}
	}
	if p.base == "" && p.code != "" {
		if p.base, p.quote = body, bitcoin; body == bitcoin {
			p.quote = "USD"
		} else if quote, ok := unlike[body]; ok {
			p.quote = quote
		}
	}
	switch {
	case p.base == "":
	case underscore:
		p.settle = suffix
	case p.quote == "USDT" || p.quote == "USDC":
		p.settle = p.quote
	case p.base == "USDT":
		p.settle = p.base
	default: // those that are of another base are quanto contracts
		p.settle = bitcoin
	}
	return p
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func (p *parts) market() market.Market {
	switch {
	case p.spot:
		return market.MarketSpot
	case p.base != "" && p.settle == p.base:
		return market.MarketInverse
	}
	return market.MarketLinear
}

// marketOf tells by a symbol where it is traded. What has no name counts as linear.
func marketOf(symbol string) market.Market {
	p := split(symbol)
	return p.market()
}

// currency is the name of one of the venue's.
func currency(s string) string {
	if s == bitcoin {
		return "BTC"
	}
	return s
}

// native is the inverse of currency.
func native(s string) string {
	if s == "BTC" {
		return bitcoin
	}
	return s
}

// parse names a symbol; the zero Name if it is none of the market's.
func parse(m market.Market, symbol string) (n market.Name) {
	p := split(symbol)
	if p.base == "" || p.market() != m {
		return n
	}
	n.Base, n.Quote = currency(p.base), currency(p.quote)
	if p.spot {
		return n
	}
	if n.End = "PERP"; p.code != "" {
		if n.End = market.NameCode(p.code); n.End == "" {
			return market.Name{}
		}
	}
	if p.settle != p.quote {
		n.Settle = currency(p.settle)
	}
	return n
}

// Identify names a symbol. Inverse contracts are worth one unit of what they are
// quoted in; what the others, and the units that pairs are counted in, are worth
// the catalogue says.
func (p *plugin) Identify(m market.Market, symbol string) market.Instrument {
	i := market.Instrument{Venue: p.manifest.Venue, Market: m, Symbol: symbol, Name: parse(m, symbol).String(), AmountUnit: market.UnitContract}
	if m == market.MarketInverse {
		i.ContractSize = market.NewDecimal(1, 0)
	}
	return i
}

// Resolve gives the symbol of a canonical name: the first of those that it may
// have which reads so.
func (p *plugin) Resolve(name string) (market.Market, string, error) {
	n, err := market.ParseName(name)
	m := n.Market()
	if err == nil {
		base, quote := native(n.Base), native(n.Quote)
		code := ""
		if n.End != "PERP" {
			code = market.VenueCode(n.End)
		}
		symbols := []string{base + "_" + quote}
		if m != market.MarketSpot {
			symbols = []string{base + code, base + quote + code, base + quote + code + "_" + native(n.Settle)}
		}
		for _, symbol := range symbols {
			if parse(m, symbol) == n {
				return m, symbol, nil
			}
		}
		err = fmt.Errorf("the venue has none that is quoted and settled so, or ends then")
	}
	return 0, "", fmt.Errorf("bitmex: %q names no instrument: %w; valid are BTC-USDT (spot), BTC-USDT-PERP, ETH-USD:BTC-PERP, ETH-BTC-20260626 (linear), BTC-USD:BTC-PERP, BTC-USD:BTC-20260626, ETH-USD:ETH-PERP (inverse; they end on a month's last Friday)", name, err)
}

// minor are the units that the venue settles in, of what and with how many places.
var minor = map[string]struct {
	currency string
	places   uint8
}{"XBt": {"XBT", 8}, "USDt": {"USDT", 6}, "USDc": {"USDC", 6}, "Gwei": {"ETH", 9}}

// traded are the types of instrument that are collected: perpetual contracts on
// coins, on currencies, on shares and goods, those that end, and pairs.
var traded = []string{"FFWCSX", "FFWCSF", "FFSCSX", "FFCCSX", "IFXXXP"}

// listing decodes an instrument of the catalogue, whose fields correct what its
// symbol says: in 2021 contracts quoted in USDT were settled in bitcoin.
func (d *decoder) listing(out *source.Out) error {
	c := &d.c
	r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), AmountUnit: market.UnitContract, Expiry: market.None}
	var symbol []byte
	var kind, base, quote, settle string
	var multiplier, perBase market.Decimal
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "typ":
			kind = string(c.Str())
		case "state":
			r.Status = statuses[string(c.Str())]
		case "underlying":
			base = textOrNull(c)
		case "quoteCurrency":
			quote = textOrNull(c)
		case "settlCurrency":
			settle = textOrNull(c)
		case "expiry":
			if !c.Null() {
				r.Expiry = source.Time(c)
			}
		case "tickSize":
			r.TickSize = source.DecimalOrNull(c)
		case "lotSize":
			r.LotSize = source.DecimalOrNull(c)
		case "multiplier":
			multiplier = source.DecimalOrNull(c)
		case "underlyingToPositionMultiplier":
			perBase = source.DecimalOrNull(c)
		default:
			c.Skip()
		}
	}
	if symbol == nil || kind == "" {
		return source.Lacks(c, "an instrument", "symbol or typ")
	}
	m := marketOf(string(symbol))
	if !slices.Contains(traded, kind) || !d.Wants(m) {
		return nil
	}
	n := parse(m, string(symbol))
	if base != "" && quote != "" {
		n.Base, n.Quote = currency(base), currency(quote)
	}
	if r.Expiry != market.None {
		n.End = day(r.Expiry)
	}
	if unit, ok := minor[settle]; ok {
		if n.Settle = currency(unit.currency); n.Settle == n.Quote {
			n.Settle = ""
		}
		// A price's worth in what is settled; of an inverse contract its own.
		if coef, ok := multiplier.Coef(); ok && coef != 0 {
			r.ContractSize = market.NewDecimal(max(coef, -coef), multiplier.Scale()+unit.places).Trim()
		}
	} else if coef, ok := perBase.Rescale(0); ok && coef > 0 { // parts of a coin
		r.ContractSize = part(coef)
	}
	out.Listing(&r, m, symbol, n)
	return nil
}

// part is 1/n, of powers of ten alone.
func part(n int64) market.Decimal {
	places := uint8(0)
	for ; n%10 == 0; n /= 10 {
		places++
	}
	if n != 1 || places > market.MaxScale {
		return market.Decimal{}
	}
	return market.NewDecimal(1, places)
}

func textOrNull(c *jsonscan.Cursor) string {
	if c.Null() {
		return ""
	}
	return string(c.Str())
}

var statuses = map[string]market.Status{
	"Open": market.StatusTrading, "Unlisted": market.StatusPreOpen, "Closed": market.StatusHalted, "Clearing": market.StatusHalted,
	"Settled": market.StatusExpired, "Delisted": market.StatusDelisted,
}
