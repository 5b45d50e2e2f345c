package hyperliquid

import (
	"fmt"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// maxNested bounds lists inside each other: the contexts of each builder stand
// in a list of pairs of lists.
const maxNested = 4

// response decodes an answer by its shape, for all requests have one address.
func (d *decoder) response(out *source.Out) error {
	c := &d.c
	d.names = d.names[:0]
	switch c.Kind() {
	case jsonscan.KindArray, jsonscan.KindObject:
	default:
		return fmt.Errorf("no answer: the venue doesn't know what was asked for")
	}
	if err := d.value(out, 0, 0); err != nil {
		return err
	}
	return c.End()
}

// value decodes an object, or a list of them; at is its place in a list.
func (d *decoder) value(out *source.Out, at, nested int) error {
	c := &d.c
	switch c.Kind() {
	case jsonscan.KindObject:
		return d.object(out, at)
	case jsonscan.KindArray:
		if nested > maxNested {
			c.Fail("lists are nested deeper than any answer's")
			break
		}
		c.Array()
		for i := 0; c.Elem(); i++ {
			if err := d.value(out, i, nested+1); err != nil {
				return err
			}
		}
	default: // null: a builder's place that is empty
		c.Skip()
	}
	return c.Err()
}

// object decodes what its members say it is.
func (d *decoder) object(out *source.Out, at int) error {
	c := &d.c
	c.Object()
	start := c.Mark()
	var one func(*source.Out) error
	tokens := false
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "universe":
			one = d.perpetuals
		case "tokens":
			tokens = true
		case "levels":
			one = d.book
		case "tid":
			one = d.pastTrade
		case "fundingRate":
			one = d.paidRate
		case "markPx":
			one = func(out *source.Out) error { return d.stated(out, at) }
		case "i":
			one = func(out *source.Out) error { return d.candle(out, market.OriginBackfill) }
		}
	}
	switch {
	case c.Err() != nil:
		return c.Err()
	case one == nil:
		return fmt.Errorf("at byte %d: an answer of an unknown shape", c.Offset())
	case tokens:
		one = d.pairs
	}
	c.Seek(start)
	return one(out)
}

// pastTrade decodes one of the latest.
func (d *decoder) pastTrade(out *source.Out) error {
	var t market.Trade
	coin, err := d.trade(&t)
	if err != nil {
		return err
	}
	t.Origin, t.Instrument = market.OriginBackfill, out.SymbolIn(marketOf(coin), coin)
	out.Trade(&t)
	return nil
}

// paidRate decodes a funding rate of the past.
func (d *decoder) paidRate(out *source.Out) error {
	c := &d.c
	t := market.Funding{Header: source.Header(market.ChannelFunding), NextTs: market.None, Interval: hourly}
	var coin []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "coin":
			coin = c.Str()
		case "fundingRate":
			t.Rate = source.Decimal(c)
		case "time":
			t.Ts = source.Millis(c)
		}
	}
	if len(coin) == 0 || t.Rate.IsNull() || t.Ts == 0 {
		return source.Lacks(c, "a funding rate", "coin, fundingRate or time")
	}
	t.Origin, t.Instrument = market.OriginBackfill, out.SymbolIn(marketOf(coin), coin)
	out.Funding(&t)
	return nil
}

// stated decodes a context. A pair's names its coin, a perpetual's belongs to the
// name at its place in the catalogue before it.
func (d *decoder) stated(out *source.Out, at int) error {
	var x assetContext
	coin := x.read(&d.c)
	if len(coin) == 0 && at < len(d.names) {
		coin = d.names[at]
	}
	if len(coin) == 0 {
		return source.Lacks(&d.c, "a context", "coin, or a name at its place")
	}
	d.emit(out, coin, &x, false)
	return nil
}
