package kucoin

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// What recordings hold and this plugin doesn't subscribe: topics that have gone,
// and those for which there is a better one now.

// old tells such a topic by its name; arg is the number of levels of a whole book.
func old(name []byte) (topic, []byte) {
	switch string(name) {
	case "/market/ticker":
		return oldBest, nil
	case "/contractMarket/ticker":
		return oldTicker, nil
	case "/market/level2", "/contractMarket/level2":
		return oldLevel2, nil
	case "/contract/instrument":
		return oldStated, nil
	case "/contractMarket/candle":
		return oldCandles, nil
	case "/contract/announcement":
		return oldAnnounce, nil
	}
	for _, prefix := range [...]string{"/spotMarket/level2Depth", "/contractMarket/level2Depth"} {
		if levels, ok := bytes.CutPrefix(name, []byte(prefix)); ok {
			return oldDepth, levels
		}
	}
	return topicNone, nil
}

func (d *decoder) older(out *source.Out) error {
	switch d.m.what {
	case oldBest:
		if string(d.m.symbol) == "all" {
			d.m.symbol = d.m.subject
		}
		return d.tickerV2(out)
	case oldLevel2:
		return d.level2(out)
	case oldDepth:
		return d.whole(out)
	case oldStated:
		return d.instrument(out)
	case oldCandles:
		return d.minutes(out)
	case oldAnnounce: // when funding is paid, which says nothing of a market
		d.c.Skip()
		return d.c.Err()
	case proTrade:
		return d.proTrade(out)
	case proTicker:
		return d.proTicker(out)
	}
	return d.proCandle(out)
}

// level2 decodes changes of a book. Spot's have a number each, of which the first
// and last stand beside them; a price of 0 moves the number alone. A contract's
// frame has one change: "price,side,amount".
func (d *decoder) level2(out *source.Out) error {
	c := &d.c
	b := source.NewBook(market.KindBookDelta)
	symbol, had := d.m.symbol, false
	d.bids, d.asks = d.bids[:0], d.asks[:0]
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "sequenceStart":
			b.FirstSeq = c.Int64()
		case "sequenceEnd", "sequence":
			b.Seq = c.Int64()
		case "time", "timestamp":
			b.Ts = instant(c)
		case "changes":
			had = true
			c.Object()
			for c.Key() {
				switch string(c.KeyBytes()) {
				case "bids":
					d.bids = priced(source.Levels(c, d.bids[:0]))
				case "asks":
					d.asks = priced(source.Levels(c, d.asks[:0]))
				default:
					c.Skip()
				}
			}
		case "change":
			had = true
			if err := d.change(c.Str()); err != nil {
				return fmt.Errorf("at byte %d: %w", c.Offset(), err)
			}
		default:
			c.Skip()
		}
	}
	if !had || b.Seq == market.None {
		return source.Lacks(c, "a change of a book", "sequence or changes")
	}
	b.Bids, b.Asks = d.bids, d.asks
	b.Instrument = d.id(out, symbol)
	out.Book(&b)
	return nil
}

// priced drops the levels that have no price.
func priced(ls []market.Level) []market.Level {
	n := 0
	for _, l := range ls {
		if l.Price.Sign() != 0 {
			ls[n] = l
			n++
		}
	}
	return ls[:n]
}

func (d *decoder) change(text []byte) error {
	price, rest, _ := bytes.Cut(text, []byte{','})
	side, amount, _ := bytes.Cut(rest, []byte{','})
	var l market.Level
	var err error
	if l.Price, err = market.ParseDecimal(price); err == nil {
		l.Amount, err = market.ParseDecimal(amount)
	}
	of := source.Side(side, "buy", "sell")
	if err != nil || of == market.SideUnknown {
		return fmt.Errorf("%.60q is no change of a book", text)
	}
	switch {
	case l.Price.Sign() == 0:
	case of == market.SideBuy:
		d.bids = append(d.bids, l)
	default:
		d.asks = append(d.asks, l)
	}
	return nil
}

// whole decodes a book of a topic or a response. Contracts' asks of 2020 came
// worst first.
func (d *decoder) whole(out *source.Out) error {
	c := &d.c
	b := source.NewBook(market.KindBookSnapshot)
	symbol, levels := d.m.symbol, 0
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "sequence":
			b.Seq = c.Int64()
		case "bids":
			d.bids = source.Levels(c, d.bids[:0])
			levels |= 1
		case "asks":
			d.asks = source.Levels(c, d.asks[:0])
			levels |= 2
		case "ts", "time", "timestamp":
			b.Ts = instant(c)
		default:
			c.Skip()
		}
	}
	if levels != 3 || len(symbol) == 0 {
		return source.Lacks(c, "a book", "bids or asks")
	}
	if n := len(d.asks); n > 1 && d.asks[0].Price.Cmp(d.asks[n-1].Price) > 0 {
		slices.Reverse(d.asks)
	}
	for _, digit := range d.m.arg {
		if digit < '0' || digit > '9' || b.Depth > market.MaxLevels {
			b.Depth = market.None
			break
		}
		b.Depth = max(b.Depth, 0)*10 + int64(digit-'0')
	}
	b.Bids, b.Asks = d.bids, d.asks
	b.Instrument = d.id(out, symbol)
	out.Book(&b)
	return nil
}

// instrument decodes a funding rate or mark and index price.
func (d *decoder) instrument(out *source.Out) error {
	c := &d.c
	ts := market.None
	var rate, mark, index market.Decimal
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "fundingRate":
			rate = source.DecimalOrNull(c)
		case "markPrice":
			mark = source.DecimalOrNull(c)
		case "indexPrice":
			index = source.DecimalOrNull(c)
		case "timestamp":
			ts = instant(c)
		default:
			c.Skip()
		}
	}
	if rate.IsNull() && mark.IsNull() && index.IsNull() {
		return source.Lacks(c, "what an instrument states", "fundingRate, markPrice and indexPrice")
	}
	id := d.id(out, d.m.symbol)
	d.stated(id, ts, mark, index, market.Decimal{}, out)
	h := source.Header(market.ChannelFunding)
	h.Instrument, h.Ts = id, ts
	d.Funding(out, h, market.Funding{Rate: rate, NextTs: market.None})
	return nil
}

// minutes decodes a contract's candle whose length is in minutes.
func (d *decoder) minutes(out *source.Out) error {
	c := &d.c
	t := market.Candle{Header: source.Header(market.ChannelCandles), Trades: market.None}
	symbol := d.m.symbol
	t.OpenTs = market.None
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "time":
			t.OpenTs = instant(c)
		case "open":
			t.Open = source.Decimal(c)
		case "close":
			t.Close = source.Decimal(c)
		case "high":
			t.High = source.Decimal(c)
		case "low":
			t.Low = source.Decimal(c)
		case "volume":
			t.Volume = source.Decimal(c)
		default:
			c.Skip()
		}
	}
	if t.OpenTs == market.None || t.Open.IsNull() || t.High.IsNull() || t.Low.IsNull() || t.Close.IsNull() {
		return source.Lacks(c, "a candle", "time or prices")
	}
	t.Instrument = d.id(out, symbol)
	return d.candle(&t, out)
}

// proTrade decodes a trade of the pro socket.
func (d *decoder) proTrade(out *source.Out) error {
	c := &d.c
	t := market.Trade{Header: source.Header(market.ChannelTrades), FirstID: market.None, LastID: market.None}
	symbol := d.m.symbol
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "s":
			symbol = c.Str()
		case "E":
			t.Seq = c.Int64()
		case "S":
			t.Side = source.Side(c.Str(), "buy", "sell")
		case "p":
			t.Price = source.Decimal(c)
		case "q":
			t.Amount = source.Decimal(c)
		case "ti":
			t.ID = c.Str()
		case "M":
			t.Ts = instant(c)
		default:
			c.Skip()
		}
	}
	if len(symbol) == 0 || len(t.ID) == 0 || t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown {
		return source.Lacks(c, "a trade", "s, ti, p, q or S")
	}
	t.Instrument, t.TsSend = d.id(out, symbol), d.m.sent
	out.Trade(&t)
	return nil
}

// proTicker decodes best bid and offer and last trade.
func (d *decoder) proTicker(out *source.Out) error {
	c := &d.c
	t := market.Ticker{Header: source.Header(market.ChannelTicker), Trades: market.None}
	symbol := d.m.symbol
	for c.Key() {
		switch c.Key1() {
		case 's':
			symbol = c.Str()
		case 'b':
			t.BidPrice = source.DecimalOrNull(c)
		case 'B':
			t.BidAmount = source.DecimalOrNull(c)
		case 'a':
			t.AskPrice = source.DecimalOrNull(c)
		case 'A':
			t.AskAmount = source.DecimalOrNull(c)
		case 'l':
			t.Last = source.DecimalOrNull(c)
		case 'q':
			t.LastAmount = source.DecimalOrNull(c)
		case 'E':
			t.Seq = c.Int64()
		case 'M':
			t.Ts = instant(c)
		default:
			c.Skip()
		}
	}
	if len(symbol) == 0 || t.Last.IsNull() && t.BidPrice.IsNull() && t.AskPrice.IsNull() {
		return source.Lacks(c, "a ticker", "s or prices")
	}
	t.Instrument, t.TsSend = d.id(out, symbol), d.m.sent
	if d.Uses(market.ChannelBBO) {
		b := market.BBO{Header: t.Header, BidPrice: t.BidPrice, BidAmount: t.BidAmount, AskPrice: t.AskPrice, AskAmount: t.AskAmount}
		b.Channel = market.ChannelBBO
		out.BBO(&b)
	}
	if d.Uses(market.ChannelTicker) {
		out.Ticker(&t)
	}
	return nil
}

// proCandle decodes a candle of the pro socket, which says when it is final.
func (d *decoder) proCandle(out *source.Out) error {
	c := &d.c
	t := market.Candle{Header: source.Header(market.ChannelCandles), Trades: market.None}
	symbol := d.m.symbol
	t.OpenTs = market.None
	for c.Key() {
		switch c.Key1() {
		case 's':
			symbol = c.Str()
		case 'i':
			d.m.arg = c.Str()
		case 'O':
			t.OpenTs = instant(c)
		case 'o':
			t.Open = source.Decimal(c)
		case 'c':
			t.Close = source.Decimal(c)
		case 'h':
			t.High = source.Decimal(c)
		case 'l':
			t.Low = source.Decimal(c)
		case 'v':
			t.Volume = source.Decimal(c)
		case 'a':
			t.QuoteVolume = source.Decimal(c)
		case 'S':
			if c.Kind() == jsonscan.KindBool && c.Bool() || c.Kind() == jsonscan.KindString && string(c.Str()) == "true" {
				t.Flags = market.FlagClosed
			}
		default:
			c.Skip()
		}
	}
	if len(symbol) == 0 || t.OpenTs == market.None || t.Open.IsNull() || t.High.IsNull() || t.Low.IsNull() || t.Close.IsNull() {
		return source.Lacks(c, "a candle", "s, O or prices")
	}
	t.Instrument, t.Ts, t.TsSend = d.id(out, symbol), d.m.sent, d.m.sent
	return d.candle(&t, out)
}
