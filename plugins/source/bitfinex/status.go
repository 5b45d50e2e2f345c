package bitfinex

import (
	"bytes"
	"fmt"
	"net/url"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Places in the state of a contract.
const (
	atTime     = 0
	atLast     = 2
	atSpot     = 3
	atNext     = 7 // time of the next funding
	atAccrued  = 8 // rate of the next funding so far
	atFunding  = 11
	atMark     = 14
	atInterest = 17
	fields     = 18
)

// status decodes the state of a contract, which is four channels.
func (d *decoder) status(t *topic, out *source.Out) {
	c, row, n := &d.c, &d.row, 0
	c.Array()
	for ; c.Elem(); n++ {
		switch n {
		case atTime, atLast, atSpot, atNext, atAccrued, atFunding, atMark, atInterest:
			row[n] = source.DecimalOrNull(c)
		default:
			c.Skip()
		}
	}
	d.tail(out)
	if n < fields || row[atTime].IsNull() {
		d.c.Fail("a contract's state without time or of fewer than 18 fields")
		return
	}
	ts := d.millis(row[atTime])
	h := d.header(market.ChannelNone)
	h.Ts, h.Instrument = ts, out.SymbolIn(t.market, t.symbol)
	// The ticker channel has the last price with the rest; recordings may lack it.
	if v := row[atLast]; d.All && !v.IsNull() {
		r := market.Ticker{Header: h, Last: v, Trades: market.None}
		r.Channel = market.ChannelTicker
		out.Ticker(&r)
	}
	next := market.None
	if v := row[atNext]; !v.IsNull() {
		next = d.millis(v)
	}
	d.IndexPrice(out, h, row[atSpot])
	d.Funding(out, h, market.Funding{Rate: row[atFunding], PredictedRate: row[atAccrued], NextTs: next})
	d.MarkPrice(out, h, row[atMark])
	d.OpenInterest(out, h, row[atInterest], market.Decimal{})
}

// liquidations decodes those of the whole venue, one or a list of them. What isn't
// of the feed's market is left to the feed that has it.
func (d *decoder) liquidations(out *source.Out) {
	c := &d.c
	start := c.Mark()
	c.Skip()
	d.tail(out)
	c.Seek(start)
	c.Array()
	if !c.Elem() {
		return
	}
	if c.Kind() != jsonscan.KindArray {
		c.Seek(start)
		d.liquidation(out)
		return
	}
	d.liquidation(out)
	for c.Elem() {
		d.liquidation(out)
	}
}

// liquidation decodes ["pos", id, time, –, symbol, amount of the position, price,
// –, whether it is executed, whether at once, –, price of the execution]. A short
// position, whose amount is negative, is closed by buying. The venue tells one when
// it is triggered and again when it is executed: both records have its id.
func (d *decoder) liquidation(out *source.Out) {
	c := &d.c
	r := market.Liquidation{Header: d.header(market.ChannelLiquidations), Side: market.SideSell}
	var symbol []byte
	c.Array()
	for i := 0; c.Elem(); i++ {
		switch i {
		case 1:
			r.ID = c.NumOrStr()
		case 2:
			r.Ts = d.millis(source.Decimal(c))
		case 4:
			symbol = c.Str()
		case 5:
			r.Amount = source.Decimal(c)
		case 6:
			r.Price = source.DecimalOrNull(c)
		default:
			c.Skip()
		}
	}
	if len(r.ID) == 0 || len(symbol) == 0 || r.Amount.IsNull() {
		c.Fail("a liquidation without id, symbol or amount")
		return
	}
	m := marketOf(symbol)
	if !d.Wants(m) {
		return
	}
	if r.Amount.Sign() < 0 {
		r.Amount, r.Side = r.Amount.Neg(), market.SideBuy
	}
	r.Instrument = out.SymbolIn(m, symbol)
	out.Liquidation(&r)
}

// response decodes a body by the path of its request.
func (d *decoder) response(in *source.Input, out *source.Out) error {
	c := &d.c
	d.seq, d.sent = market.None, market.None
	if in.Status != 200 { // ["error",10020,"symbol: invalid"], {"error":"ERR_RATE_LIMIT"}
		return fmt.Errorf("status %d: %.200s", in.Status, in.Data)
	}
	path, _, _ := bytes.Cut(in.URL, []byte("?"))
	_, rest, _ := bytes.Cut(path, []byte("/v2/"))
	parts := bytes.Split(rest, []byte("/"))
	if len(parts) < 2 {
		parts = append(parts, nil)
	}
	named, err := url.PathUnescape(string(parts[1]))
	if err != nil {
		return err
	}
	t := &topic{symbol: []byte(named), market: marketOf([]byte(named)), depth: market.None}
	switch string(parts[0]) {
	case "conf":
		switch named {
		case "pub:info:pair", "pub:info:pair:futures", "pub:list:pair:exchange", "pub:list:pair:futures", "pub:list:pair:future":
			return d.instruments(out)
		case "pub:list:currency":
			return c.End()
		}
		return fmt.Errorf("no such request is known")
	case "book":
		if len(parts) > 2 && string(parts[2]) == raw {
			t.orders = newOrders()
		}
		d.book(t, out)
	case "trades":
		d.each(4, out, func(row []market.Decimal) { d.trade(t, row, market.OriginBackfill, out) })
	case "tickers":
		d.tickers(out)
	default:
		return fmt.Errorf("no such request is known")
	}
	return c.End()
}

// tickers decodes [[symbol, …], …] with a ticker's numbers.
func (d *decoder) tickers(out *source.Out) {
	c := &d.c
	c.Array()
	for c.Elem() {
		var symbol []byte
		n := 0
		c.Array()
		for c.Elem() {
			switch {
			case symbol == nil:
				symbol = c.Str()
			case n < 10 && len(symbol) > 0 && symbol[0] == 't':
				d.row[n] = source.DecimalOrNull(c)
				n++
			default:
				c.Skip()
			}
		}
		if len(symbol) == 0 || symbol[0] != 't' || !d.Wants(marketOf(symbol)) { // of margin funding
			continue
		}
		d.tick(marketOf(symbol), symbol, d.row[:n], out)
	}
}
