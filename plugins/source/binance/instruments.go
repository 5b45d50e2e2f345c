package binance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// quotes are the currencies that spot and USD-M pairs are quoted in. A native
// symbol has no separator, so names follow from them until the catalogue came;
// a symbol is split before the longest that it ends with.
var quotes = []string{
	"USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USDP", "USDS", "USD1", "RLUSD", "XUSD", "BFUSD", "DAI", "PAX", "UST", "VAI", "EURI", "U",
	"BTC", "ETH", "BNB", "XRP", "TRX", "DOGE", "DOT", "SOL",
	"EUR", "GBP", "AUD", "TRY", "BRL", "ARS", "MXN", "COP", "ZAR", "NGN", "UAH", "RUB", "PLN", "RON", "CZK", "JPY", "KZT",
	"IDR", "IDRT", "BIDR", "BKRW", "BVND", "GYEN", "USD",
}

// quotesUS are those of binance.us.
var quotesUS = []string{"USD", "USDT", "USDC", "BUSD", "DAI", "BTC", "ETH", "BNB"}

// bases gives the base of symbols that end with a longer quote by chance, or
// with one that most symbols end with by chance (AEUR: ADAEUR).
var bases = map[string]string{
	"BTCAEUR": "BTC", "ETHAEUR": "ETH", "EURAEUR": "EUR",
	"BNBUSD": "BNB", "SHIBUSD": "SHIB", // binance.us
}

// split cuts a symbol into base and quote as far as it can be told.
func (p *plugin) split(symbol string) (base, quote string) {
	if base, ok := bases[symbol]; ok {
		return base, symbol[len(base):]
	}
	return market.CutQuote(symbol, p.quotes)
}

// pairOf is what a contract's symbol names before its delivery: BTCUSD of
// BTCUSD_PERP and BTCUSD_240628.
func pairOf(symbol string) string {
	pair, _, _ := strings.Cut(symbol, "_")
	return pair
}

const nativeDate = "060102"

// name is that of a symbol whose currencies are known; the zero Name if the symbol
// isn't one of the market's.
func name(m market.Market, symbol, base, quote, settle string) market.Name {
	n := market.Name{Base: base, Quote: quote}
	if m == market.MarketSpot {
		return n
	}
	if settle != quote {
		n.Settle = settle
	}
	if _, end, dated := strings.Cut(symbol, "_"); !dated || end == "PERP" {
		n.End = "PERP"
	} else if n.End = market.NameDate(nativeDate, end); n.End == "" {
		return market.Name{}
	}
	return n
}

// Identify names a symbol by the venue's rules: BTCUSDT, BTCUSDT_240628,
// BTCUSD_PERP. COIN-M contracts are worth 100 USD for BTC, 10 USD for the rest.
func (p *plugin) Identify(m market.Market, symbol string) market.Instrument {
	i := market.Instrument{Venue: p.manifest.Venue, Market: m, Symbol: symbol, AmountUnit: market.UnitBase}
	if m != market.MarketInverse {
		base, quote := p.split(pairOf(symbol))
		i.Name = name(m, symbol, base, quote, quote).String()
		return i
	}
	base, usd := strings.CutSuffix(pairOf(symbol), "USD")
	if usd {
		i.Name = name(m, symbol, base, "USD", base).String()
	}
	i.AmountUnit, i.ContractSize = market.UnitContract, market.NewDecimal(10, 0)
	if base == "BTC" {
		i.ContractSize = market.NewDecimal(100, 0)
	}
	return i
}

// Resolve gives the symbol of a canonical name. Linear contracts are settled in
// their quote currency, inverse ones in their base.
func (p *plugin) Resolve(name string) (market.Market, string, error) {
	n, err := market.ParseName(name)
	m, symbol := n.Market(), n.Base+n.Quote
	switch {
	case err != nil:
	case !slices.ContainsFunc(p.manifest.Markets, func(s source.MarketSpec) bool { return s.Market == m }), n.Settle != "" && m != market.MarketInverse:
		err = fmt.Errorf("the venue has none that is settled so, or ends so")
	case n.End == "PERP" && m == market.MarketInverse:
		return m, symbol + "_PERP", nil
	case n.End == "PERP" || m == market.MarketSpot:
		return m, symbol, nil
	default:
		return m, symbol + "_" + market.VenueDate(nativeDate, n.End), nil
	}
	return 0, "", fmt.Errorf("%s: %q names no instrument: %w; valid are BTC-USDT (spot), BTC-USDT-PERP, BTC-USDT-20261225 (linear), BTC-USD:BTC-PERP, BTC-USD:BTC-20261225 (inverse)", p.manifest.Venue, name, err)
}

// exchangeInfo decodes a catalogue: names from the venue's own fields.
func (d *decoder) exchangeInfo(out *source.Out) error {
	c := &d.c
	c.Object()
	for c.Key() {
		if string(c.KeyBytes()) != "symbols" {
			continue
		}
		c.Array()
		for c.Elem() {
			d.listing(out)
		}
	}
	return c.End()
}

func (d *decoder) listing(out *source.Out) {
	c := &d.c
	r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), AmountUnit: market.UnitBase, Expiry: market.None}
	var symbol, contract []byte
	var expiry int64
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "baseAsset":
			r.Base = c.Str()
		case "quoteAsset":
			r.Quote = c.Str()
		case "marginAsset":
			r.Settle = c.Str()
		case "status", "contractStatus":
			r.Status = statuses[string(c.Str())]
		case "contractType":
			contract = c.Str()
		case "deliveryDate":
			expiry = source.Millis(c)
		case "contractSize":
			r.ContractSize = source.Decimal(c)
		case "filters":
			d.filters(&r)
		}
	}
	if c.Err() != nil {
		return
	}
	if symbol == nil || r.Base == nil || r.Quote == nil {
		c.Fail("a listing without symbol, baseAsset or quoteAsset")
		return
	}
	if d.Market == market.MarketInverse {
		r.AmountUnit = market.UnitContract
	}
	if contract != nil && string(contract) != "PERPETUAL" && expiry > 0 {
		r.Expiry = expiry
	}
	out.Listing(&r, d.Market, symbol, name(d.Market, string(symbol), string(r.Base), string(r.Quote), string(r.Settle)))
}

// filters reads the tick and lot size of a listing.
func (d *decoder) filters(r *market.InstrumentRecord) {
	c := &d.c
	c.Array()
	for c.Elem() {
		var kind []byte
		var tick, step market.Decimal
		c.Object()
		for c.Key() {
			switch string(c.KeyBytes()) {
			case "filterType":
				kind = c.Str()
			case "tickSize":
				tick = source.Decimal(c)
			case "stepSize":
				step = source.Decimal(c)
			}
		}
		switch string(kind) {
		case "PRICE_FILTER":
			r.TickSize = tick
		case "LOT_SIZE":
			r.LotSize = step
		}
	}
}

var statuses = map[string]market.Status{
	"TRADING": market.StatusTrading, "PRE_TRADING": market.StatusPreOpen, "PENDING_TRADING": market.StatusPreOpen,
	"HALT": market.StatusHalted, "BREAK": market.StatusHalted, "POST_TRADING": market.StatusHalted, "END_OF_DAY": market.StatusHalted,
	"AUCTION_MATCH": market.StatusHalted, "PRE_DELIVERING": market.StatusHalted, "DELIVERING": market.StatusHalted, "PRE_SETTLE": market.StatusHalted,
	"SETTLING": market.StatusHalted, "DELIVERED": market.StatusExpired, "CLOSE": market.StatusDelisted,
}
