package bybit

import (
	"fmt"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

var envelope = source.Envelope{Code: "retCode", OK: "0", Reason: "retMsg", Time: "time", Data: "result"}

// response decodes {"retCode":0,"retMsg":"OK","result":{…},"time":…} by the path
// of its request.
func (d *decoder) response(in *source.Input, out *source.Out) error {
	c := &d.c
	now, err := envelope.Open(c, in)
	if err != nil {
		return err
	}
	name, asked := in.Asked()
	d.m = message{conn: &connection{}, market: d.Market, symbol: []byte(asked.Get("symbol")), arg: []byte(asked.Get("interval"))}
	if d.Mixed() {
		if m, err := market.ParseMarket(asked.Get("category")); err == nil {
			d.m.market = m
		}
	}
	one := (*decoder).listing
	switch name {
	case "instruments-info":
	case "recent-trade":
		one = (*decoder).pastTrade
	case "tickers":
		d.m.ts = now
		one = (*decoder).stated
	case "open-interest":
		one = (*decoder).interest
	case "account-ratio":
		one = (*decoder).ratio
	case "history":
		one = (*decoder).paidRate
	case "orderbook":
		d.book()
		if err := c.End(); err != nil {
			return err
		}
		return d.emitBook(out)
	default:
		return fmt.Errorf("no such request is known")
	}
	more, err := d.list(out, one)
	if err == nil {
		err = c.End()
	}
	if err == nil && more && name == "instruments-info" {
		// Requests of a catalogue can't follow each other's answers: what stands on
		// further pages is missing, which must be seen.
		out.Rejected([]byte("instruments-info"), []byte("the catalogue has more than one page; the instruments of the others are not known"))
	}
	return err
}

// list decodes each of a result's list; the symbol may stand before it. It says
// whether there is another page.
func (d *decoder) list(out *source.Out, one func(*decoder, *source.Out) error) (more bool, err error) {
	c := &d.c
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			d.m.symbol = c.Str()
		case "list":
			c.Array()
			for c.Elem() {
				if err := one(d, out); err != nil {
					return false, err
				}
			}
		case "nextPageCursor":
			more = len(c.Str()) > 0
		}
	}
	return more, c.Err()
}

// pastTrade decodes a trade of the last minutes.
func (d *decoder) pastTrade(out *source.Out) error {
	d.origin = market.OriginBackfill
	err := d.trade(out)
	d.origin = market.OriginLive
	return err
}

// stated decodes a ticker, whose best bid and offer belongs to it.
func (d *decoder) stated(out *source.Out) error {
	d.c.Object()
	d.ticker()
	if err := d.c.Err(); err != nil {
		return err
	}
	d.emitTicker(out)
	return nil
}

// interest decodes an open interest of the past.
func (d *decoder) interest(out *source.Out) error {
	c := &d.c
	t := market.OpenInterest{Header: source.Header(market.ChannelOpenInterest)}
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "openInterest":
			t.Amount = source.Decimal(c)
		case "timestamp":
			t.Ts = source.Millis(c)
		}
	}
	if t.Amount.IsNull() || t.Ts == 0 || len(d.m.symbol) == 0 {
		return source.Lacks(&d.c, "an open interest", "symbol, openInterest or timestamp")
	}
	t.Origin, t.Instrument = market.OriginBackfill, out.SymbolIn(d.m.market, d.m.symbol)
	out.OpenInterest(&t)
	return nil
}

// ratio decodes the shares of accounts that are long and short.
func (d *decoder) ratio(out *source.Out) error {
	c := &d.c
	t := market.LongShortRatio{Header: source.Header(market.ChannelLongShortRatio), Population: accounts}
	symbol := d.m.symbol
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "buyRatio":
			t.Long = source.Decimal(c)
		case "sellRatio":
			t.Short = source.Decimal(c)
		case "timestamp":
			t.Ts = source.Millis(c)
		}
	}
	if len(symbol) == 0 || t.Long.IsNull() || t.Short.IsNull() || t.Ts == 0 {
		return source.Lacks(&d.c, "a ratio", "symbol, buyRatio, sellRatio or timestamp")
	}
	t.Instrument = out.SymbolIn(d.m.market, symbol)
	out.LongShortRatio(&t)
	return nil
}

// accounts is the population that the venue counts.
var accounts = []byte("accounts")

// paidRate decodes a funding rate of the past.
func (d *decoder) paidRate(out *source.Out) error {
	c := &d.c
	t := market.Funding{Header: source.Header(market.ChannelFunding), NextTs: market.None}
	symbol := d.m.symbol
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "fundingRate":
			t.Rate = source.Decimal(c)
		case "fundingRateTimestamp":
			t.Ts = source.Millis(c)
		}
	}
	if len(symbol) == 0 || t.Rate.IsNull() || t.Ts == 0 {
		return source.Lacks(&d.c, "a funding rate", "symbol, fundingRate or fundingRateTimestamp")
	}
	t.Origin, t.Instrument = market.OriginBackfill, out.SymbolIn(d.m.market, symbol)
	out.Funding(&t)
	return nil
}
