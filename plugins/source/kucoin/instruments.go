package kucoin

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Contracts are named BASE QUOTE "M" (XBTUSDTM), inverse ones BASE "USDM"
// (XBTUSDM), those that end BASE "M" and the letter of a month with a year
// (XBTMH26): on its last Friday. Bitcoin is XBT.
const bitcoin = "XBT"

// marketOf tells by a symbol where it is traded.
func marketOf(symbol []byte) market.Market {
	switch n := len(symbol); {
	case bytes.IndexByte(symbol, '-') >= 0:
		return market.MarketSpot
	case n > 5 && symbol[n-1] == 'M' && string(symbol[n-5:n-2]) == "USD" && (symbol[n-2] == 'T' || symbol[n-2] == 'C'):
		return market.MarketLinear
	}
	return market.MarketInverse
}

// parse names a symbol of a market; the zero Name if it isn't one of its.
func parse(m market.Market, symbol string) (n market.Name) {
	if m == market.MarketSpot {
		base, quote, ok := strings.Cut(symbol, "-")
		if !ok || strings.Contains(quote, "-") {
			return n
		}
		return market.Name{Base: base, Quote: quote}
	}
	if marketOf([]byte(symbol)) != m {
		return n
	}
	pair, perpetual := strings.CutSuffix(symbol, "M")
	if perpetual {
		n.End = "PERP"
		n.Base, n.Quote = market.CutQuote(pair, []string{"USD", "USDT", "USDC"})
	} else if at := len(symbol) - len("MH26"); at > 0 && symbol[at] == 'M' {
		n.Base, n.Quote, n.End = symbol[:at], "USD", market.NameCode(symbol[at+1:])
	}
	if n.Base == "" || n.End == "" {
		return market.Name{}
	}
	if n.Base == bitcoin {
		n.Base = "BTC"
	}
	if m == market.MarketInverse {
		n.Settle = n.Base
	}
	return n
}

// Identify names a symbol. What a contract is worth the catalogue says, save of
// inverse ones: one dollar.
func (p *plugin) Identify(m market.Market, symbol string) market.Instrument {
	i := market.Instrument{Venue: p.manifest.Venue, Market: m, Symbol: symbol, Name: parse(m, symbol).String(), AmountUnit: market.UnitContract}
	switch m {
	case market.MarketSpot:
		i.AmountUnit = market.UnitBase
	case market.MarketInverse:
		i.ContractSize = market.NewDecimal(1, 0)
	}
	return i
}

// Resolve gives the symbol of a canonical name.
func (p *plugin) Resolve(name string) (market.Market, string, error) {
	n, err := market.ParseName(name)
	m, symbol := n.Market(), ""
	if err == nil {
		base := n.Base
		if base == "BTC" {
			base = bitcoin
		}
		switch {
		case m == market.MarketSpot:
			symbol = n.Base + "-" + n.Quote
		case m == market.MarketLinear && n.Settle == "" && n.End == "PERP" && (n.Quote == "USDT" || n.Quote == "USDC"):
			symbol = base + n.Quote + "M"
		case m == market.MarketInverse && n.Quote == "USD" && n.End == "PERP":
			symbol = base + "USDM"
		case m == market.MarketInverse && n.Quote == "USD":
			if code := market.VenueCode(n.End); code != "" {
				symbol = base + "M" + code
			}
		}
		// A name that reads like one of another contract is none: USD quoted in USDT.
		if symbol == "" || parse(m, symbol) != n {
			err = fmt.Errorf("the venue has none that is quoted and settled so, or ends then")
		}
	}
	if err != nil {
		return 0, "", fmt.Errorf("kucoin: %q names no instrument: %w; valid are BTC-USDT (spot), BTC-USDT-PERP, BTC-USDC-PERP (linear), BTC-USD:BTC-PERP, BTC-USD:BTC-20261225 (inverse, a month's last Friday)", name, err)
	}
	return m, symbol, nil
}

// listing decodes an instrument of a catalogue, spot's or contracts', whose
// currencies keep the names that symbols give them. One that is on another market
// is passed over.
func (d *decoder) listing(out *source.Out) error {
	c := &d.c
	r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), AmountUnit: market.UnitContract, Expiry: market.None}
	var symbol []byte
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "settleCurrency":
			if !c.Null() {
				r.Settle = c.Str()
			}
		case "enableTrading":
			r.Status = market.StatusHalted
			if c.Bool() {
				r.Status = market.StatusTrading
			}
		case "status":
			r.Status = statuses[string(c.Str())]
		case "expireDate":
			if !c.Null() {
				r.Expiry = instant(c)
			}
		case "multiplier":
			r.ContractSize = source.DecimalOrNull(c)
		case "tickSize", "priceIncrement":
			r.TickSize = source.DecimalOrNull(c)
		case "lotSize", "baseIncrement":
			r.LotSize = source.DecimalOrNull(c)
		default:
			c.Skip()
		}
	}
	if c.Err() != nil || len(symbol) == 0 {
		return source.Lacks(c, "an instrument", "symbol")
	}
	m := marketOf(symbol)
	if !d.Wants(m) {
		return nil
	}
	n := parse(m, string(symbol))
	if n.End == "PERP" { // a perpetual that is delisted has a day too
		r.Expiry = market.None
	}
	switch m {
	case market.MarketSpot:
		r.AmountUnit, r.ContractSize = market.UnitBase, market.Decimal{}
	case market.MarketInverse: // -1: a dollar
		r.ContractSize = market.NewDecimal(1, 0)
	}
	if string(r.Settle) == bitcoin {
		r.Settle = []byte("BTC")
	}
	out.Listing(&r, m, symbol, n)
	return nil
}

var statuses = map[string]market.Status{
	"Open": market.StatusTrading, "Init": market.StatusPreOpen, "Settled": market.StatusExpired, "Closed": market.StatusDelisted,
	"Paused": market.StatusHalted, "BeingSettled": market.StatusHalted, "CancelOnly": market.StatusHalted,
}

// length is a candle's, given by the venue's name (1hour) or in minutes (60).
func length(native []byte) *source.Interval {
	if i := intervals.Native(native); i != nil {
		return i
	}
	minutes, _ := strconv.ParseInt(string(native), 10, 32)
	return intervals.Lasting(time.Duration(minutes) * time.Minute)
}
