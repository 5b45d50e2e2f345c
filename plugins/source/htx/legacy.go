package htx

import (
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// What recordings hold and the collector doesn't subscribe any more has the
// envelope of today: whole books (depth.step0, mbp.refresh), which decode.go reads
// with the others, contracts by their alias (BTC_CQ), options, which ended in
// 2021, and the basis.

// basis decodes a contract's distance from its index: both prices.
func (d *decoder) basis(out *source.Out) error {
	c, m := &d.c, &d.m
	p := market.Price{Header: d.header(market.ChannelIndexPrice)}
	t := market.Ticker{Header: d.header(market.ChannelTicker), Trades: market.None}
	p.Kind, p.TsSend, p.Ts, t.TsSend, t.Ts = market.KindIndexPrice, m.sent, m.sent, m.sent, m.sent
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "index_price":
			p.Price = source.Decimal(c)
		case "contract_price":
			t.Last = source.Decimal(c)
		default:
			c.Skip()
		}
	}
	if m.symbol == nil || p.Price.IsNull() || t.Last.IsNull() {
		return source.Lacks(c, "a basis", "a symbol, index_price or contract_price")
	}
	p.Instrument = d.id(nil, out)
	t.Instrument = p.Instrument
	out.Price(&p)
	out.Ticker(&t)
	return nil
}
