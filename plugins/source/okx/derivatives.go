package okx

import (
	"fmt"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// hongKong is ahead of UTC by so much: the venue's days begin there.
const hongKong = 8 * time.Hour

// candles decodes [[time, open, high, low, close, volume, volume in currency,
// volume in quote currency, confirmed], …]; older ones end with the seventh.
func (d *decoder) candles(native []byte, out *source.Out) error {
	c := &d.c
	i, local := length(native)
	if i == nil || d.m.symbol == nil {
		return fmt.Errorf("at byte %d: candles of the unknown length %.20q, or without instId", c.Offset(), native)
	}
	m := marketOf(d.m.symbol)
	c.Array()
	for c.Elem() {
		t := market.Candle{Header: source.Header(market.ChannelCandles), Trades: market.None}
		var v [9]market.Decimal
		n := source.Decimals(c, v[:])
		t.OpenTs = source.MillisOf(v[0])
		if n < 6 || t.OpenTs == market.None || v[1].IsNull() || v[2].IsNull() || v[3].IsNull() || v[4].IsNull() {
			return source.Lacks(&d.c, "a candle", "time, prices or volume")
		}
		t.Open, t.High, t.Low, t.Close, t.Volume, t.QuoteVolume = v[1], v[2], v[3], v[4], v[5], v[7]
		if confirmed, _ := v[8].Rescale(0); confirmed == 1 {
			t.Flags = market.FlagClosed
		}
		if n == 7 && m == market.MarketSpot {
			t.QuoteVolume = v[6]
		}
		if i.Put(&t, 0); local {
			i.Put(&t, hongKong)
		}
		t.Origin, t.Instrument = d.m.origin, out.SymbolIn(m, d.m.symbol)
		out.Candle(&t)
	}
	return c.Err()
}

// funding decodes a swap's rate, which is due at fundingTime.
func (d *decoder) funding(out *source.Out) error {
	c := &d.c
	t := market.Funding{Header: source.Header(market.ChannelFunding), NextTs: market.None}
	symbol, after := d.m.symbol, market.None
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "instId":
			symbol = c.Str()
		case "fundingRate":
			t.Rate = source.DecimalOrNull(c)
		case "nextFundingRate":
			t.PredictedRate = source.DecimalOrNull(c)
		case "fundingTime":
			t.NextTs = source.MillisOrNone(c)
		case "nextFundingTime":
			after = source.MillisOrNone(c)
		case "ts":
			t.Ts = source.Millis(c)
		}
	}
	if symbol == nil || t.Rate.IsNull() || t.NextTs == market.None {
		return source.Lacks(&d.c, "a funding rate", "instId, fundingRate or fundingTime")
	}
	if gap := after - t.NextTs; after > t.NextTs && gap%int64(time.Hour) == 0 {
		t.Interval = source.Hours(gap / int64(time.Hour))
	}
	t.Instrument = out.SymbolIn(marketOf(symbol), symbol)
	out.Funding(&t)
	return nil
}

func (d *decoder) markPrice(out *source.Out) error {
	p := market.Price{Header: source.Header(market.ChannelMarkPrice)}
	p.Kind = market.KindMarkPrice
	symbol := d.price(&p, "markPx")
	if symbol == nil || p.Price.IsNull() {
		return source.Lacks(&d.c, "a mark price", "instId or markPx")
	}
	p.Instrument = out.SymbolIn(marketOf(symbol), symbol)
	out.Price(&p)
	return nil
}

// indexPrice decodes the price of an index, which is of a pair: it is recorded
// with the pair's perpetual of the feed's market.
func (d *decoder) indexPrice(out *source.Out) error {
	p := market.Price{Header: source.Header(market.ChannelIndexPrice)}
	p.Kind = market.KindIndexPrice
	symbol := d.price(&p, "idxPx")
	if symbol == nil || p.Price.IsNull() {
		return source.Lacks(&d.c, "an index price", "instId or idxPx")
	}
	switch d.Market {
	case market.MarketLinear:
		d.symbol = append(d.symbol[:0], symbol...)
		if n := len(symbol); n > 4 && string(symbol[n-4:]) == "-USD" {
			d.symbol = append(d.symbol, margined...)
		}
		symbol = append(d.symbol, "-SWAP"...)
		d.symbol = symbol
	case market.MarketInverse:
		symbol = append(append(d.symbol[:0], symbol...), "-SWAP"...)
		d.symbol = symbol
	}
	p.Instrument = out.SymbolIn(marketOf(symbol), symbol)
	out.Price(&p)
	return nil
}

func (d *decoder) price(p *market.Price, member string) (symbol []byte) {
	c := &d.c
	symbol = d.m.symbol
	for c.Key() {
		switch k := c.KeyBytes(); string(k) {
		case "instId":
			symbol = c.Str()
		case "ts":
			p.Ts = source.Millis(c)
		default:
			if string(k) == member {
				p.Price = source.Decimal(c)
			}
		}
	}
	return symbol
}

// openInterest counts contracts. Its worth is stated in USD, which is the quote
// currency of inverse contracts alone.
func (d *decoder) openInterest(out *source.Out) error {
	c := &d.c
	t := market.OpenInterest{Header: source.Header(market.ChannelOpenInterest)}
	symbol := d.m.symbol
	var value market.Decimal
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "instId":
			symbol = c.Str()
		case "oi":
			t.Amount = source.Decimal(c)
		case "oiUsd":
			value = source.DecimalOrNull(c)
		case "ts":
			t.Ts = source.Millis(c)
		}
	}
	if symbol == nil || t.Amount.IsNull() {
		return source.Lacks(&d.c, "an open interest", "instId or oi")
	}
	m := marketOf(symbol)
	if m == market.MarketInverse {
		t.Value = value
	}
	t.Instrument = out.SymbolIn(m, symbol)
	out.OpenInterest(&t)
	return nil
}

// liquidations decodes those of one contract. The channel is of a product: what
// belongs to another market is left to its feed.
func (d *decoder) liquidations(out *source.Out) error {
	c := &d.c
	var symbol []byte
	start := c.Mark()
	for c.Key() {
		if string(c.KeyBytes()) == "instId" {
			symbol = c.Str()
		}
	}
	if symbol == nil {
		return source.Lacks(&d.c, "a liquidation", "instId")
	}
	m := marketOf(symbol)
	if !d.Wants(m) {
		return nil
	}
	c.Seek(start)
	for c.Key() {
		if string(c.KeyBytes()) != "details" {
			continue
		}
		c.Array()
		for c.Elem() {
			l := market.Liquidation{Header: source.Header(market.ChannelLiquidations)}
			l.Flags = market.FlagLossy
			c.Object()
			for c.Key() {
				switch string(c.KeyBytes()) {
				case "bkPx":
					l.Price = source.Decimal(c)
				case "sz":
					l.Amount = source.Decimal(c)
				case "side":
					l.Side = source.Side(c.Str(), "buy", "sell")
				case "ts":
					l.Ts = source.Millis(c)
				}
			}
			if l.Side == market.SideUnknown || l.Price.IsNull() || l.Amount.IsNull() {
				return source.Lacks(&d.c, "a liquidation", "side, bkPx or sz")
			}
			l.Instrument = out.SymbolIn(m, symbol)
			out.Liquidation(&l)
		}
	}
	return c.Err()
}

// summary decodes the state of an option. The greeks are those of Black and
// Scholes, in dollars; the venue's others are in coin.
func (d *decoder) summary(out *source.Out) error {
	c := &d.c
	t := market.OptionSummary{Header: source.Header(market.ChannelOptions)}
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "instId":
			symbol = c.Str()
		case "uly":
			t.UnderlyingIndex = c.Str()
		case "deltaBS":
			t.Delta = source.DecimalOrNull(c)
		case "gammaBS":
			t.Gamma = source.DecimalOrNull(c)
		case "vegaBS":
			t.Vega = source.DecimalOrNull(c)
		case "thetaBS":
			t.Theta = source.DecimalOrNull(c)
		case "bidVol":
			t.BidIV = source.DecimalOrNull(c)
		case "askVol":
			t.AskIV = source.DecimalOrNull(c)
		case "markVol":
			t.MarkIV = source.DecimalOrNull(c)
		case "fwdPx":
			t.UnderlyingPrice = source.DecimalOrNull(c)
		case "ts":
			t.Ts = source.Millis(c)
		}
	}
	if symbol == nil || t.Ts == 0 {
		return source.Lacks(&d.c, "an option's summary", "instId or ts")
	}
	t.Instrument = out.SymbolIn(marketOf(symbol), symbol)
	out.OptionSummary(&t)
	return nil
}
