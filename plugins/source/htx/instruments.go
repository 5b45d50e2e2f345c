package htx

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// quotes are what pairs end with: ETHUSDT has no separator.
var quotes = []string{"USDT", "USDC", "USDD", "HUSD", "TUSD", "UST", "BTC", "ETH", "HT", "TRX", "EUR", "EUROC", "GBP", "BRL", "RUB", "TRY", "UAH"}

// nativeDate is how symbols write a day.
const nativeDate = "060102"

// marketOf tells a symbol's market by its form: btcusdt, BTC-USDT,
// BTC-USDT-261225, BTC-USD, BTC261225, of old BTC_CQ, BTC-USDT-210326-C-32000.
func marketOf(symbol []byte) market.Market {
	i := bytes.IndexByte(symbol, '-')
	if i < 0 {
		if len(symbol) > 0 && (symbol[0] >= 'A' && symbol[0] <= 'Z' || bytes.IndexByte(symbol, '_') > 0) {
			return market.MarketInverse
		}
		return market.MarketSpot
	}
	rest := symbol[i+1:]
	if string(rest) == "USD" {
		return market.MarketInverse
	}
	if bytes.Contains(rest, []byte("-C-")) || bytes.Contains(rest, []byte("-P-")) {
		return market.MarketOption
	}
	return market.MarketLinear
}

// dated takes apart the symbol of a contract that ends and is settled in its coin.
func dated(symbol string) (base, day string) {
	i := len(symbol) - len(nativeDate)
	if i <= 0 || strings.Contains(symbol, "-") {
		return "", ""
	}
	return symbol[:i], market.NameDate(nativeDate, symbol[i:])
}

// pairOf is what a contract is one of: the symbol of its perpetual and its index.
func pairOf(symbol string) string {
	if base, day := dated(symbol); day != "" {
		return base + "-USD"
	}
	if parts := strings.SplitN(symbol, "-", 3); len(parts) == 3 {
		return parts[0] + "-" + parts[1]
	}
	return symbol
}

// parse names a symbol; the zero Name if it isn't one of the venue's, or an alias
// like BTC_CQ, which is another contract each quarter.
func parse(m market.Market, symbol string) (n market.Name) {
	if m == market.MarketSpot {
		if strings.ToLower(symbol) == symbol {
			n.Base, n.Quote = market.CutQuote(strings.ToUpper(symbol), quotes)
		}
		return n
	}
	parts := strings.Split(symbol, "-")
	if m != marketOf([]byte(symbol)) {
		return n
	}
	switch {
	case m == market.MarketInverse && len(parts) == 2:
		return market.Name{Base: parts[0], Quote: "USD", Settle: parts[0], End: "PERP"}
	case m == market.MarketInverse:
		base, day := dated(symbol)
		if day == "" {
			return n
		}
		return market.Name{Base: base, Quote: "USD", Settle: base, End: day}
	case len(parts) == 2:
		return market.Name{Base: parts[0], Quote: parts[1], End: "PERP"}
	}
	n = market.Name{Base: parts[0], Quote: parts[1], End: market.NameDate(nativeDate, parts[2])}
	if m == market.MarketOption && len(parts) == 5 {
		if n.Strike, n.Option = parts[4], market.OptionCall; parts[3] == "P" {
			n.Option = market.OptionPut
		}
	}
	if n.End == "" || m != n.Market() {
		return market.Name{}
	}
	return n
}

// Identify names a symbol. Contracts settled in their coin are worth 10 USD,
// those of bitcoin 100; what the others are worth the catalogue says.
func (p *plugin) Identify(m market.Market, symbol string) market.Instrument {
	i := market.Instrument{Venue: p.manifest.Venue, Market: m, Symbol: symbol, AmountUnit: market.UnitContract, Name: parse(m, symbol).String()}
	switch m {
	case market.MarketSpot:
		i.AmountUnit = market.UnitBase
	case market.MarketInverse:
		if i.ContractSize = market.NewDecimal(10, 0); strings.HasPrefix(pairOf(symbol), "BTC-") || strings.HasPrefix(symbol, "BTC_") {
			i.ContractSize = market.NewDecimal(100, 0)
		}
	}
	return i
}

// Resolve gives the symbol of a canonical name.
func (p *plugin) Resolve(name string) (market.Market, string, error) {
	n, err := market.ParseName(name)
	m := n.Market()
	switch {
	case err != nil:
	case m == market.MarketOption:
		err = fmt.Errorf("the venue has no options any more")
	case m == market.MarketLinear && n.Quote == "USD", m != market.MarketInverse && n.Settle != "":
		err = fmt.Errorf("contracts quoted in USD are settled in their base currency, all others in their quote")
	case m == market.MarketInverse && n.Quote != "USD":
		err = fmt.Errorf("what is settled in its base currency is quoted in USD")
	}
	if err != nil {
		return 0, "", fmt.Errorf("htx: %q names no instrument: %w; valid are BTC-USDT (spot), BTC-USDT-PERP, BTC-USDT-20261225 (linear), BTC-USD:BTC-PERP, BTC-USD:BTC-20261225 (inverse)", name, err)
	}
	s := n.Base + "-" + n.Quote
	switch {
	case m == market.MarketSpot:
		s = strings.ToLower(n.Base + n.Quote)
	case n.End == "PERP":
	case m == market.MarketInverse:
		s = n.Base + market.VenueDate(nativeDate, n.End)
	default:
		s += "-" + market.VenueDate(nativeDate, n.End)
	}
	return m, s, nil
}

// listing decodes a pair or a contract. Spot has had three lists, which differ in
// how members are called.
func (d *decoder) listing(out *source.Out) error {
	c := &d.c
	r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), AmountUnit: market.UnitContract, Expiry: market.None, Status: market.StatusTrading}
	var symbol, base, quote []byte
	contract := false
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "contract_code":
			symbol, contract = c.Str(), true
		case "symbol", "sc":
			if text := c.Str(); symbol == nil { // a contract's is its coin
				symbol = text
			}
		case "bc", "base-currency":
			base = c.Str()
		case "qc", "quote-currency":
			quote = c.Str()
		case "pp", "tpp", "price-precision":
			r.TickSize = source.Places(c)
		case "ap", "tap", "amount-precision":
			r.LotSize = source.Places(c)
		case "state":
			r.Status = states[string(c.Str())]
		case "contract_size":
			r.ContractSize = source.Decimal(c)
		case "price_tick":
			r.TickSize = source.Decimal(c)
		case "delivery_time": // "" of perpetuals
			r.Expiry = source.MillisOrNone(c)
		case "contract_status":
			r.Status = status(c.Int64())
		default:
			c.Skip()
		}
	}
	if symbol == nil || !contract && (base == nil || quote == nil) {
		return source.Lacks(c, "an instrument", "a symbol or a currency")
	}
	m := market.MarketSpot
	if contract {
		m, r.LotSize = marketOf(symbol), market.NewDecimal(1, 0)
	} else {
		r.AmountUnit = market.UnitBase
	}
	if err := c.Err(); err != nil || !d.Wants(m) {
		return err
	}
	n := parse(m, string(symbol))
	// A currency may have another name by now, the pair's symbol stays.
	if !contract && string(symbol) == string(base)+string(quote) {
		n = market.Name{Base: strings.ToUpper(string(base)), Quote: strings.ToUpper(string(quote))}
	}
	out.Listing(&r, m, symbol, n)
	return nil
}

// states are those of pairs.
var states = map[string]market.Status{
	"online": market.StatusTrading, "offline": market.StatusDelisted, "pre-online": market.StatusPreOpen, "not-online": market.StatusPreOpen,
	"suspend": market.StatusHalted, "fuse": market.StatusHalted, "transfer-board": market.StatusHalted,
}

// status reads a contract's: 5 to 7 are settlement and delivery, 9 suspends.
func status(n int64) market.Status {
	switch n {
	case 0:
		return market.StatusDelisted
	case 1:
		return market.StatusTrading
	case 2:
		return market.StatusPreOpen
	case 3, 4, 5, 6, 7, 9:
		return market.StatusHalted
	case 8:
		return market.StatusExpired
	}
	return market.StatusUnknown
}
