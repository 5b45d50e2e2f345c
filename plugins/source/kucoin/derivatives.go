package kucoin

import (
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// tickerV2 decodes contracts' best bid and offer. Where it states the last trade
// too, as the first version and responses do, it is a ticker as well.
func (d *decoder) tickerV2(out *source.Out) error {
	c := &d.c
	t := market.BBO{Header: source.Header(market.ChannelBBO)}
	symbol := d.m.symbol
	var last, amount market.Decimal
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "sequence":
			t.Seq = c.Int64()
		case "bestBidPrice", "bestBid":
			t.BidPrice = source.DecimalOrNull(c)
		case "bestBidSize":
			t.BidAmount = source.DecimalOrNull(c)
		case "bestAskPrice", "bestAsk":
			t.AskPrice = source.DecimalOrNull(c)
		case "bestAskSize":
			t.AskAmount = source.DecimalOrNull(c)
		case "price":
			last = source.DecimalOrNull(c)
		case "size":
			amount = source.DecimalOrNull(c)
		case "ts", "time":
			t.Ts = instant(c)
		default:
			c.Skip()
		}
	}
	if len(symbol) == 0 || t.BidPrice.IsNull() && t.AskPrice.IsNull() && last.IsNull() {
		return source.Lacks(c, "a ticker", "symbol or prices")
	}
	t.Origin = d.m.origin
	t.Instrument = d.id(out, symbol)
	if d.Uses(market.ChannelBBO) && (!t.BidPrice.IsNull() || !t.AskPrice.IsNull()) {
		out.BBO(&t)
	}
	if !last.IsNull() && d.Uses(market.ChannelTicker) {
		k := market.Ticker{Header: source.Header(market.ChannelTicker), Last: last, LastAmount: amount, Trades: market.None,
			BidPrice: t.BidPrice, BidAmount: t.BidAmount, AskPrice: t.AskPrice, AskAmount: t.AskAmount}
		k.Ts, k.Seq, k.Instrument, k.Origin = t.Ts, t.Seq, t.Instrument, t.Origin
		out.Ticker(&k)
	}
	return nil
}

// day decodes contracts' ticker. Its volume is in the base currency, that of
// inverse contracts in contracts.
func (d *decoder) day(out *source.Out) error {
	c := &d.c
	t := market.Ticker{Header: source.Header(market.ChannelTicker), Trades: market.None}
	symbol := d.m.symbol
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "lastPrice":
			t.Last = source.DecimalOrNull(c)
		case "highPrice":
			t.High = source.DecimalOrNull(c)
		case "lowPrice":
			t.Low = source.DecimalOrNull(c)
		case "volume":
			t.Volume = source.DecimalOrNull(c)
		case "turnover":
			t.QuoteVolume = source.DecimalOrNull(c)
		case "ts":
			t.Ts = instant(c)
		default:
			c.Skip()
		}
	}
	if t.Last.IsNull() {
		return source.Lacks(c, "a ticker", "lastPrice")
	}
	if marketOf(symbol) == market.MarketInverse { // turnover is in the base currency
		t.QuoteVolume = market.Decimal{}
	}
	t.Instrument = d.id(out, symbol)
	out.Ticker(&t)
	return nil
}

// mark decodes mark price, index price and open interest, which counts contracts.
func (d *decoder) mark(out *source.Out) error {
	c := &d.c
	symbol, ts := d.m.symbol, market.None
	var mark, index, interest market.Decimal
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "s":
			symbol = c.Str()
		case "mp":
			mark = source.DecimalOrNull(c)
		case "ip":
			index = source.DecimalOrNull(c)
		case "oi":
			interest = source.DecimalOrNull(c)
		case "ts":
			ts = instant(c)
		default:
			c.Skip()
		}
	}
	if len(symbol) == 0 || mark.IsNull() && index.IsNull() && interest.IsNull() {
		return source.Lacks(c, "a mark price", "s, mp, ip and oi")
	}
	d.stated(d.id(out, symbol), ts, mark, index, interest, out)
	return nil
}

// stated emits what is in use of what a contract states.
func (d *decoder) stated(id market.InstrumentID, ts int64, mark, index, interest market.Decimal, out *source.Out) {
	h := source.Header(market.ChannelMarkPrice)
	h.Instrument, h.Ts, h.TsSend = id, ts, d.m.sent
	d.MarkPrice(out, h, mark)
	d.IndexPrice(out, h, index)
	d.OpenInterest(out, h, interest, market.Decimal{})
}

// funding decodes the rate of the interval that runs, which is paid at nt.
func (d *decoder) funding(out *source.Out) error {
	c := &d.c
	t := market.Funding{Header: source.Header(market.ChannelFunding), NextTs: market.None}
	symbol := d.m.symbol
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "s":
			symbol = c.Str()
		case "fr":
			t.Rate = source.DecimalOrNull(c)
		case "nt":
			t.NextTs = instant(c)
		case "gl":
			t.Interval = source.Hours(c.Int64() / 3_600_000)
		default:
			c.Skip()
		}
	}
	if len(symbol) == 0 || t.Rate.IsNull() {
		return source.Lacks(c, "a funding rate", "s or fr")
	}
	t.Instrument, t.Ts = d.id(out, symbol), d.m.sent
	out.Funding(&t)
	return nil
}
