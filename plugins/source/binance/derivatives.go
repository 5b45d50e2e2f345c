package binance

import (
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// markPrice decodes mark price, index price and funding rate of a contract.
// Dated ones have no funding: its rate is empty.
func (d *decoder) markPrice(out *source.Out) error {
	c := &d.c
	h := source.Header(market.ChannelMarkPrice)
	var symbol []byte
	var mark, index, rate market.Decimal
	next := market.None
	for c.Key() {
		switch c.Key1() {
		case 'E':
			h.TsSend = source.Millis(c)
		case 's':
			symbol = c.Str()
		case 'p':
			mark = source.Decimal(c)
		case 'i':
			index = source.DecimalOrNull(c)
		case 'r':
			rate = source.DecimalOrNull(c)
		case 'T':
			next = source.Millis(c)
		}
	}
	if symbol == nil || mark.IsNull() {
		return source.Lacks(&d.c, "a markPriceUpdate", "s or p")
	}
	h.Ts = h.TsSend
	d.prices(out, h, symbol, mark, index, rate, next)
	return nil
}

func (d *decoder) prices(out *source.Out, h market.Header, symbol []byte, mark, index, rate market.Decimal, next int64) {
	h.Instrument = out.Symbol(symbol)
	d.MarkPrice(out, h, mark)
	d.IndexPrice(out, h, index)
	d.Funding(out, h, market.Funding{Rate: rate, NextTs: next})
}

// indexPrice decodes COIN-M's index price, which is of a pair: it is recorded
// with the pair's perpetual.
func (d *decoder) indexPrice(out *source.Out) error {
	c := &d.c
	p := market.Price{Header: source.Header(market.ChannelIndexPrice)}
	p.Kind = market.KindIndexPrice
	var pair []byte
	for c.Key() {
		switch c.Key1() {
		case 'E':
			p.TsSend = source.Millis(c)
		case 'i':
			pair = c.Str()
		case 'p':
			p.Price = source.Decimal(c)
		}
	}
	if pair == nil || p.Price.IsNull() {
		return source.Lacks(&d.c, "an indexPriceUpdate", "i or p")
	}
	p.Ts = p.TsSend
	p.Instrument = out.Symbol(d.perpetual(pair))
	out.Price(&p)
	return nil
}

// forceOrder decodes a liquidation: price and amount are the order's, its side
// is that of the closing order.
func (d *decoder) forceOrder(out *source.Out) error {
	c := &d.c
	l := market.Liquidation{Header: source.Header(market.ChannelLiquidations)}
	l.Flags = market.FlagLossy
	var symbol []byte
	for c.Key() {
		switch c.Key1() {
		case 'E':
			l.TsSend = source.Millis(c)
		case 'o':
			c.Object()
			for c.Key() {
				switch c.Key1() {
				case 's':
					symbol = c.Str()
				case 'S':
					l.Side = source.Side(c.Str(), "BUY", "SELL")
				case 'p':
					l.Price = source.Decimal(c)
				case 'q':
					l.Amount = source.Decimal(c)
				case 'T':
					l.Ts = source.Millis(c)
				}
			}
		}
	}
	if symbol == nil || l.Side == market.SideUnknown || l.Price.IsNull() || l.Amount.IsNull() {
		return source.Lacks(&d.c, "a forceOrder", "s, S, p or q")
	}
	l.Instrument = out.Symbol(symbol)
	out.Liquidation(&l)
	return nil
}
