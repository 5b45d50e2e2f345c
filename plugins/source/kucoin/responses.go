package kucoin

import (
	"fmt"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// codeOK is what an answer that isn't an error begins with.
const codeOK = "200000"

var envelope = source.Envelope{Code: "code", OK: codeOK, Reason: "msg", Data: "data"}

// response decodes {"code":"200000","data":…} by the path of its request.
func (d *decoder) response(in *source.Input, out *source.Out) error {
	c := &d.c
	_, err := envelope.Open(c, in)
	if err != nil {
		return err
	}
	name, asked := in.Asked()
	d.m = message{symbol: []byte(asked.Get("symbol")), sent: market.None}
	switch name {
	case "bullet-public": // read by the session
		return nil
	case "symbols", "active":
		return d.list(out, (*decoder).listing)
	case "histories", "history":
		return d.list(out, (*decoder).past)
	case "level1", "ticker":
		c.Object()
		err = d.tickerV2(out)
	case "current":
		c.Object()
		err = d.marked(out)
	case "level2", "orderbook", "snapshot", "level2_20", "level2_100", "depth20", "depth100":
		c.Object()
		err = d.whole(out)
	default:
		return fmt.Errorf("no such request is known")
	}
	if err != nil {
		return err
	}
	return c.End()
}

// list decodes the array that is due. What is no array, an error or a page of
// one, is refused.
func (d *decoder) list(out *source.Out, one func(*decoder, *source.Out) error) error {
	c := &d.c
	c.Array()
	for c.Elem() {
		if err := one(d, out); err != nil {
			return err
		}
	}
	return c.End()
}

// past decodes a trade of a response.
func (d *decoder) past(out *source.Out) error {
	d.m.origin = market.OriginBackfill
	d.c.Object()
	return d.trade(out)
}

// marked decodes a contract's mark and index price.
func (d *decoder) marked(out *source.Out) error {
	c := &d.c
	symbol, ts := d.m.symbol, market.None
	var mark, index market.Decimal
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "value":
			mark = source.DecimalOrNull(c)
		case "indexPrice":
			index = source.DecimalOrNull(c)
		case "timePoint":
			ts = instant(c)
		default:
			c.Skip()
		}
	}
	if len(symbol) == 0 || mark.IsNull() && index.IsNull() {
		return source.Lacks(c, "a mark price", "symbol or prices")
	}
	d.stated(d.id(out, symbol), ts, mark, index, market.Decimal{}, out)
	return nil
}
