package bitstamp

import (
	"bytes"
	"fmt"
	"math"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// decoder has no state but room: what a frame means follows from the frame.
type decoder struct {
	c jsonscan.Cursor
	source.Feed

	m          message // that is being decoded
	bids, asks []market.Level
	candles    []market.Candle
}

// message is what the data of any channel may hold. It stands before the
// channel's name in a frame, so that it is read before one knows what it is.
type message struct {
	micros, stamp int64 // as sent; None
	next          int64
	sides         int // of a book that there are
	id, kind      []byte
	price, amount market.Decimal
	mark, index   market.Decimal
	rate          market.Decimal
	code, text    []byte
}

// NewDecoder starts a decoder; without channels it decodes all.
func (p *plugin) NewDecoder(s source.DecoderSettings) (source.Decoder, error) {
	return &decoder{Feed: s.Feed()}, nil
}

// Decode handles a frame or a response.
func (d *decoder) Decode(in *source.Input, out *source.Out) error {
	switch in.Kind {
	case source.InputText:
		return in.Fail("bitstamp", d.frame(in.Data, out))
	case source.InputHTTP:
		return in.Fail("bitstamp", d.response(in, out))
	}
	return nil
}

// frame reads {"data":{…},"channel":"diff_order_book_btcusd","event":"data"}.
func (d *decoder) frame(frame []byte, out *source.Out) error {
	c := &d.c
	c.Reset(frame)
	c.Object()
	d.m = message{micros: market.None, stamp: market.None, next: market.None}
	var channel, event []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "data":
			if c.Kind() == jsonscan.KindObject { // null and "" where there is none
				d.data()
			} else {
				c.Skip()
			}
		case "channel":
			channel = c.Str()
		case "event":
			event = c.Str()
		default:
			c.Skip()
		}
	}
	if err := c.End(); err != nil {
		return err
	}
	switch string(event) {
	case "data":
		return d.book(channel, out)
	case "trade":
		return d.trade(channel, out)
	case "funding_rate_saved":
		return d.funding(channel, out)
	case "bts:heartbeat", "order_created", "order_changed", "order_deleted": // an order has no record
		out.Heartbeat()
	case "bts:subscription_succeeded":
		out.Subscribed(channel)
	case "bts:unsubscription_succeeded":
		out.Subscribed(append([]byte(gaveUp), channel...))
	case "bts:request_reconnect": // "a few seconds to reconnect"
		out.Reconnect("the venue asks for it")
	case "bts:error": // names no channel
		text := d.m.text
		if d.m.code != nil {
			text = fmt.Appendf(nil, "%s: %s", d.m.code, text)
		}
		out.Rejected([]byte(source.TokenOldest), text)
	default:
		return fmt.Errorf("unknown event %.40q of %.40q", event, channel)
	}
	return nil
}

// data reads what stands in the data of a frame, or a requested book.
func (d *decoder) data() {
	c, m := &d.c, &d.m
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "microtimestamp":
			m.micros = c.Int64()
		case "timestamp":
			m.stamp = c.Int64()
		case "bids":
			d.bids = source.Levels(c, d.bids[:0])
			m.sides |= 1
		case "asks":
			d.asks = source.Levels(c, d.asks[:0])
			m.sides |= 2
		case "id":
			m.id = c.NumOrStr()
		case "type": // of the taker: 0 buys, 1 sells
			m.kind = c.NumOrStr()
		case "price_str": // price and amount are rounded
			m.price = source.Decimal(c)
		case "amount_str":
			m.amount = source.Decimal(c)
		case "mark_price":
			m.mark = source.Decimal(c)
		case "index_price":
			m.index = source.Decimal(c)
		case "funding_rate":
			m.rate = source.Decimal(c)
		case "next_funding_time":
			m.next = c.Int64()
		case "code":
			if !c.Null() {
				m.code = c.NumOrStr()
			}
		case "message":
			m.text = c.Str()
		default:
			c.Skip()
		}
	}
}

// at gives the event's time: microseconds, else seconds, which trades of
// perpetuals have as milliseconds.
func (m *message) at() (int64, error) {
	v, unit := m.micros, int64(1_000)
	if v == market.None {
		if v, unit = m.stamp, 1_000_000_000; v > 100_000_000_000 {
			unit = 1_000_000
		}
	}
	if v < 0 || v > math.MaxInt64/unit {
		return 0, fmt.Errorf("a time is missing or out of range: microtimestamp %d, timestamp %d", m.micros, m.stamp)
	}
	return v * unit, nil
}

// symbolOf is the id of the symbol that a channel's name ends with.
func (d *decoder) symbolOf(symbol []byte, out *source.Out) market.InstrumentID {
	return out.SymbolIn(marketOf(symbol), symbol)
}

// cut takes the symbol from a channel's name: live_trades_btcusd-perp.
func cut(channel []byte, name string) (symbol []byte, ok bool) {
	if len(channel) > len(name)+1 && string(channel[:len(name)]) == name && channel[len(name)] == '_' {
		return channel[len(name)+1:], true
	}
	return nil, false
}

// book emits changes, or a whole book.
func (d *decoder) book(channel []byte, out *source.Out) error {
	kind, depth := market.KindBookDelta, market.None
	symbol, ok := cut(channel, feedDiff)
	if !ok {
		kind, depth = market.KindBookSnapshot, wholeLevels
		if symbol, ok = cut(channel, feedWhole); !ok {
			if _, ok = cut(channel, "detail_order_book"); !ok { // an order has no record
				return fmt.Errorf("data of the unknown channel %.40q", channel)
			}
			out.Heartbeat()
			return nil
		}
	}
	return d.emitBook(kind, depth, symbol, out)
}

// emitBook emits the book that was read. Its time is its number, which tells a
// change that a requested book holds already.
func (d *decoder) emitBook(kind market.Kind, depth int64, symbol []byte, out *source.Out) error {
	m := &d.m
	at, err := m.at()
	if err != nil {
		return err
	}
	if m.sides != 3 || m.micros == market.None {
		return fmt.Errorf("a book of %.40q without bids, asks or microtimestamp", symbol)
	}
	b := source.NewBook(kind)
	b.Depth, b.Bids, b.Asks, b.Seq, b.Ts = depth, d.bids, d.asks, m.micros, at
	b.Instrument = d.symbolOf(symbol, out)
	out.Book(&b)
	return nil
}

func (d *decoder) trade(channel []byte, out *source.Out) error {
	m := &d.m
	symbol, ok := cut(channel, nameTrades)
	at, err := m.at()
	side := source.Side(m.kind, "0", "1")
	switch {
	case !ok:
		return fmt.Errorf("a trade of the unknown channel %.40q", channel)
	case err != nil:
		return err
	case m.id == nil || m.price.IsNull() || m.amount.IsNull() || side == market.SideUnknown:
		return fmt.Errorf("a trade of %.40q without id, price_str, amount_str or type", symbol)
	}
	t := market.Trade{Header: source.Header(market.ChannelTrades), ID: m.id, Price: m.price, Amount: m.amount, Side: side, FirstID: market.None, LastID: market.None}
	t.Ts, t.Instrument = at, d.symbolOf(symbol, out)
	out.Trade(&t)
	return nil
}

// funding emits what is told of a perpetual each second. The rate is that of the
// next payment, if it were due now. "Funding payments" are "every 8 hours" on all
// contracts; those with market hours leave some out, which shows in the next time.
func (d *decoder) funding(channel []byte, out *source.Out) error {
	m := &d.m
	symbol, ok := cut(channel, nameFunding)
	at, err := m.at()
	switch {
	case !ok:
		return fmt.Errorf("a funding rate of the unknown channel %.40q", channel)
	case err != nil:
		return err
	case m.rate.IsNull() || m.mark.IsNull() || m.index.IsNull() || m.next < 0 || m.next > math.MaxInt64/1_000_000_000:
		return fmt.Errorf("a funding rate of %.40q without funding_rate, mark_price, index_price or next_funding_time", symbol)
	}
	h := source.Header(market.ChannelFunding)
	h.Ts, h.Instrument = at, d.symbolOf(symbol, out)
	d.Funding(out, h, market.Funding{Rate: m.rate, NextTs: m.next * 1_000_000_000, Interval: source.Hours(fundingEvery)})
	d.MarkPrice(out, h, m.mark)
	d.IndexPrice(out, h, m.index)
	return nil
}

const fundingEvery = 8 // hours

// marketOf tells a perpetual by its symbol's end.
func marketOf(symbol []byte) market.Market {
	if bytes.HasSuffix(symbol, perpetual) {
		return market.MarketLinear
	}
	return market.MarketSpot
}
