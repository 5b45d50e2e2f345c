package bitstamp

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// perpetual is what symbols of perpetuals end with: btcusd-perp.
var perpetual = []byte("-perp")

// quotes are the currencies that symbols end with. A symbol has no separator;
// the catalogue names both currencies, see listing.
var quotes = []string{"USD", "EUR", "GBP", "PAX", "USDT", "USDC", "RLUSD", "BTC", "ETH"}

// parse names a symbol; the zero Name if it isn't one of the venue's.
func parse(m market.Market, symbol string) (n market.Name) {
	pair, future := strings.CutSuffix(symbol, string(perpetual))
	if future != (m == market.MarketLinear) || pair != strings.ToLower(pair) {
		return n
	}
	if n.Base, n.Quote = market.CutQuote(strings.ToUpper(pair), quotes); future && n.Base != "" {
		n.End = "PERP"
	}
	return n
}

// Identify names a symbol. Amounts of perpetuals are in the base currency.
func (p *plugin) Identify(m market.Market, symbol string) market.Instrument {
	return market.Instrument{Venue: p.manifest.Venue, Market: m, Symbol: symbol, AmountUnit: market.UnitBase, Name: parse(m, symbol).String()}
}

// Resolve gives the symbol of a canonical name.
func (p *plugin) Resolve(name string) (market.Market, string, error) {
	n, err := market.ParseName(name)
	m := n.Market()
	switch {
	case err != nil:
	case n.End != "" && n.End != "PERP":
		err = fmt.Errorf("all contracts of the venue are perpetuals")
	case n.Settle != "":
		err = fmt.Errorf("perpetuals are settled in their quote")
	case strings.ToUpper(n.Base+n.Quote) != n.Base+n.Quote || strings.ContainsAny(n.Base+n.Quote, "/_"):
		err = fmt.Errorf("currencies are written in capitals")
	}
	if err != nil {
		return 0, "", fmt.Errorf("bitstamp: %q names no instrument: %w; valid are BTC-USD (spot), BTC-USD-PERP (linear)", name, err)
	}
	symbol := strings.ToLower(n.Base + n.Quote)
	if m == market.MarketLinear {
		symbol += string(perpetual)
	}
	return m, symbol, nil
}

// listing decodes one of /markets/, or of /trading-pairs-info/, which recordings
// hold: {"name":"BTC/USD","url_symbol":"btcusd",…}.
func (d *decoder) listing(out *source.Out) error {
	c := &d.c
	r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), AmountUnit: market.UnitBase, Expiry: market.None}
	var symbol, name []byte
	tick := market.Decimal{}
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "market_symbol", "url_symbol":
			symbol = c.Str()
		case "name":
			name = c.Str()
		case "base_currency":
			r.Base = c.Str()
		case "counter_currency":
			r.Quote = c.Str()
		case "base_decimals":
			r.LotSize = source.Places(c)
		case "counter_decimals":
			r.TickSize = source.Places(c)
		case "tick_size": // documented, and not sent in September 2026
			tick = source.DecimalOrNull(c)
		case "contract_size":
			r.ContractSize = source.DecimalOrNull(c)
		case "trading":
			if r.Status = market.StatusHalted; string(c.Str()) == "Enabled" {
				r.Status = market.StatusTrading
			}
		}
	}
	if r.Base == nil {
		r.Base, r.Quote, _ = bytes.Cut(bytes.TrimSuffix(name, []byte("-PERP")), []byte("/"))
	}
	if symbol == nil || len(r.Base) == 0 || len(r.Quote) == 0 {
		return source.Lacks(c, "a market", "market_symbol, base_currency or counter_currency")
	}
	if !tick.IsNull() {
		r.TickSize = tick
	}
	m := marketOf(symbol)
	if err := c.Err(); err != nil || !d.Wants(m) {
		return err
	}
	n := market.Name{Base: string(r.Base), Quote: string(r.Quote)}
	if m == market.MarketLinear {
		n.End = "PERP"
	}
	out.Listing(&r, m, symbol, n)
	return nil
}
