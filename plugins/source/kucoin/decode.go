package kucoin

import (
	"bytes"
	"fmt"

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
}

// message is what stands around a topic's data.
type message struct {
	what    topic
	origin  market.Origin
	symbol  []byte // of the topic, or of the request
	arg     []byte // length of the candles, levels of a book
	subject []byte
	sent    int64  // pro: P, else None
	kind    []byte // pro: t, snapshot or delta
}

// topic is what a topic's name says first.
type topic uint8

const (
	topicNone topic = iota
	isTrade
	isBest      // level 1 of spot
	isTickerV2  // best bid and offer of contracts
	isSnapshot  // ticker of spot
	isDay       // ticker of contracts
	isCandles   // of the classic socket
	isMark      // of spot
	isIndex     // of spot
	proBook     // obu
	proMark     // mark-price
	proFunding  // funding-fee
	proTrade    // trade
	proTicker   // ticker
	proCandle   // kline
	oldBest     // /market/ticker
	oldTicker   // /contractMarket/ticker
	oldLevel2   // changes of a book
	oldDepth    // whole books
	oldStated   // /contract/instrument
	oldCandles  // /contractMarket/candle
	oldAnnounce // /contract/announcement
)

// NewDecoder starts a decoder; without channels it decodes all.
func (p *plugin) NewDecoder(s source.DecoderSettings) (source.Decoder, error) {
	return &decoder{Feed: s.Feed(), c: source.NewCursor()}, nil
}

// Decode handles a frame or a response. The pro socket sends its text in binary
// frames.
func (d *decoder) Decode(in *source.Input, out *source.Out) error {
	switch in.Kind {
	case source.InputText, source.InputBinary:
		return in.Fail("kucoin", d.frame(in.Data, out))
	case source.InputHTTP:
		d.c.Reset(in.Data)
		return in.Fail("kucoin", d.response(in, out))
	}
	return nil
}

// id finds an instrument. A socket carries linear and inverse contracts, whose
// symbols tell them apart.
func (d *decoder) id(out *source.Out, symbol []byte) market.InstrumentID {
	return out.SymbolIn(marketOf(symbol), symbol)
}

// frame reads {"topic":…,"subject":…,"data":…} of the classic socket or
// {"T":…,"t":…,"P":…,"d":…} of the pro one, whose members come in any order.
// Data is read where it stands if what tells its kind came before it.
func (d *decoder) frame(frame []byte, out *source.Out) error {
	c, m := &d.c, &d.m
	*m = message{sent: market.None}
	c.Reset(frame)
	c.Object()
	start := c.Mark()
	var body source.Body
	for c.Key() {
		switch c.Key1() {
		case 'T':
			if err := m.pro(c.Str()); err != nil {
				return err
			}
			continue
		case 'P':
			m.sent = instant(c)
			continue
		case 't':
			m.kind = c.Str()
			continue
		}
		switch string(c.KeyBytes()) {
		case "topic":
			if err := m.classic(c.Str()); err != nil {
				return err
			}
		case "subject":
			m.subject = c.Str()
		case "data", "d":
			if c.Kind() == jsonscan.KindString { // of an error
				c.Seek(start)
				return d.answer(out)
			}
			if body.Due(c, m.what != topicNone && (m.what != oldBest || m.subject != nil) && (m.what != proBook || m.kind != nil)) {
				if err := d.data(out); err != nil {
					return err
				}
			}
		case "type":
			if string(c.Str()) == "message" {
				continue
			}
			fallthrough
		case "result", "sessionId", "message":
			c.Seek(start)
			return d.answer(out)
		default:
			c.Skip()
		}
	}
	err := body.End(c, m.what != topicNone, func() error { return d.data(out) })
	if err == nil && !body.Done {
		err = fmt.Errorf("neither a topic's data nor an answer")
	}
	return err
}

// classic takes a topic apart: /market/match:BTC-USDT, /market/candles:BTC-USDT_1min.
func (m *message) classic(t []byte) error {
	name, symbol, _ := bytes.Cut(t, []byte{':'})
	switch string(name) {
	case topicTrades, topicTradesFutures:
		m.what = isTrade
	case topicBest:
		m.what = isBest
	case topicBestFutures:
		m.what = isTickerV2
	case topicTicker:
		m.what = isSnapshot
	case topicTickerFutures:
		m.what = isDay
	case topicCandles, topicCandlesFutures:
		m.what = isCandles
	case topicMark:
		m.what = isMark
	case topicIndex:
		m.what = isIndex
	default:
		m.what, m.arg = old(name)
	}
	if m.what == topicNone {
		return fmt.Errorf("unknown topic %.60q", t)
	}
	if m.what == isCandles || m.what == oldCandles {
		if i := bytes.LastIndexByte(symbol, '_'); i >= 0 {
			symbol, m.arg = symbol[:i], symbol[i+1:]
		}
	}
	if m.symbol = symbol; len(symbol) == 0 && m.what != oldAnnounce {
		return fmt.Errorf("topic %.60q names no symbol", t)
	}
	return nil
}

// pro takes a kind apart: obu.SPOT, mark-price.
func (m *message) pro(t []byte) error {
	name, _, _ := bytes.Cut(t, []byte{'.'})
	switch string(name) {
	case channelBook:
		m.what = proBook
	case channelMark:
		m.what = proMark
	case channelFunding:
		m.what = proFunding
	case "trade":
		m.what = proTrade
	case "ticker":
		m.what = proTicker
	case "kline":
		m.what = proCandle
	default:
		return fmt.Errorf("unknown channel %.60q", t)
	}
	return nil
}

// data decodes a topic's data, which is due.
func (d *decoder) data(out *source.Out) error {
	c := &d.c
	if d.m.what != oldAnnounce {
		c.Object()
	}
	switch d.m.what {
	case isTrade:
		return d.trade(out)
	case proBook:
		return d.book(out)
	case isBest:
		return d.best(out)
	case isTickerV2, oldTicker:
		return d.tickerV2(out)
	case isSnapshot:
		return d.snapshot(out)
	case isDay:
		return d.day(out)
	case isCandles:
		return d.candles(out)
	case isMark, isIndex:
		return d.price(out)
	case proMark:
		return d.mark(out)
	case proFunding:
		return d.funding(out)
	}
	return d.older(out)
}

// trade decodes a trade of a stream or a response. Its sequence has holes.
func (d *decoder) trade(out *source.Out) error {
	c := &d.c
	var t market.Trade // field by field: this is where most frames come through
	t.Channel, t.Origin = market.ChannelTrades, d.m.origin
	t.TsSend, t.Seq, t.PrevSeq, t.FirstID, t.LastID = market.None, market.None, market.None, market.None, market.None
	symbol := d.m.symbol
	var sequence []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "sequence":
			t.Seq = c.Int64()
			sequence = c.Lexeme()
		case "side":
			t.Side = source.Side(c.Str(), "buy", "sell")
		case "size":
			t.Amount = source.Decimal(c)
		case "price":
			t.Price = source.Decimal(c)
		case "tradeId":
			t.ID = c.Str()
		case "time", "ts":
			t.Ts = instant(c)
		default:
			c.Skip()
		}
	}
	if len(t.ID) == 0 { // of a response of spot, where the sequence is the id
		t.ID = sequence
	}
	if len(symbol) == 0 || len(t.ID) == 0 || t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown {
		return source.Lacks(c, "a trade", "symbol, tradeId, price, size or side")
	}
	t.Instrument = d.id(out, symbol)
	out.Trade(&t)
	return nil
}

// book decodes a snapshot of up to 500 levels or the changes of 10 ms. A level
// that leaves the 500 is sent with amount 0.
func (d *decoder) book(out *source.Out) error {
	c, m := &d.c, &d.m
	b := source.NewBook(market.KindBookSnapshot)
	symbol, levels := m.symbol, 0
	for c.Key() {
		switch c.Key1() {
		case 's':
			symbol = c.Str()
		case 'O':
			b.FirstSeq = c.Int64()
		case 'C':
			b.Seq = c.Int64()
		case 'M':
			b.Ts = instant(c)
		case 'b':
			d.bids = source.Levels(c, d.bids[:0])
			levels |= 1
		case 'a':
			d.asks = source.Levels(c, d.asks[:0])
			levels |= 2
		default:
			c.Skip()
		}
	}
	if len(symbol) == 0 || levels != 3 || b.Seq == market.None || b.FirstSeq == market.None {
		return source.Lacks(c, "a book", "s, O, C, a or b")
	}
	switch b.TsSend = m.sent; string(m.kind) {
	case "delta":
		b.Kind = market.KindBookDelta
	case "snapshot":
		b.FirstSeq = market.None
	default:
		return fmt.Errorf("at byte %d: a book that is neither snapshot nor delta but %.20q", c.Offset(), m.kind)
	}
	b.Bids, b.Asks = d.bids, d.asks
	b.Instrument = d.id(out, symbol)
	out.Book(&b)
	return nil
}

// best decodes spot's best bid and offer, which has no number.
func (d *decoder) best(out *source.Out) error {
	c := &d.c
	t := market.BBO{Header: source.Header(market.ChannelBBO)}
	var l [2]market.Decimal
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "bids":
			if source.Decimals(c, l[:]) == 2 {
				t.BidPrice, t.BidAmount = l[0], l[1]
			}
		case "asks":
			if source.Decimals(c, l[:]) == 2 {
				t.AskPrice, t.AskAmount = l[0], l[1]
			}
		case "timestamp":
			t.Ts = instant(c)
		default:
			c.Skip()
		}
	}
	if t.Ts == market.None || t.BidPrice.IsNull() && t.AskPrice.IsNull() {
		return source.Lacks(c, "a level 1", "timestamp or both sides")
	}
	t.Instrument = d.id(out, d.m.symbol)
	out.BBO(&t)
	return nil
}

// snapshot decodes {"sequence":…,"data":{…}}, spot's ticker; those of a whole
// market name each its symbol.
func (d *decoder) snapshot(out *source.Out) error {
	c := &d.c
	seq, had := market.None, false
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "sequence":
			seq = c.Int64()
		case "data":
			had = true
			if c.Kind() != jsonscan.KindArray {
				if err := d.pair(seq, out); err != nil {
					return err
				}
				continue
			}
			c.Array()
			for c.Elem() {
				if err := d.pair(seq, out); err != nil {
					return err
				}
			}
		default:
			c.Skip()
		}
	}
	if !had {
		return source.Lacks(c, "a snapshot", "data")
	}
	return c.Err()
}

func (d *decoder) pair(seq int64, out *source.Out) error {
	c := &d.c
	t := market.Ticker{Header: source.Header(market.ChannelTicker), Trades: market.None}
	symbol := d.m.symbol
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "lastTradedPrice":
			t.Last = source.DecimalOrNull(c)
		case "open":
			t.Open = source.DecimalOrNull(c)
		case "high":
			t.High = source.DecimalOrNull(c)
		case "low":
			t.Low = source.DecimalOrNull(c)
		case "vol":
			t.Volume = source.DecimalOrNull(c)
		case "volValue":
			t.QuoteVolume = source.DecimalOrNull(c)
		case "averagePrice":
			t.VWAP = source.DecimalOrNull(c)
		case "buy":
			t.BidPrice = source.DecimalOrNull(c)
		case "bidSize":
			t.BidAmount = source.DecimalOrNull(c)
		case "sell":
			t.AskPrice = source.DecimalOrNull(c)
		case "askSize":
			t.AskAmount = source.DecimalOrNull(c)
		case "datetime":
			t.Ts = instant(c)
		default:
			c.Skip()
		}
	}
	if len(symbol) == 0 || t.Last.IsNull() && t.BidPrice.IsNull() && t.AskPrice.IsNull() {
		return source.Lacks(c, "a snapshot", "symbol or prices")
	}
	t.Seq, t.Instrument = seq, d.id(out, symbol)
	out.Ticker(&t)
	return nil
}

// candles decodes [begin, open, close, high, low, volume, turnover]. The venue
// doesn't say when one is final. Of contracts' two volumes the first "is
// incorrect, please do not use it", the second counts contracts.
func (d *decoder) candles(out *source.Out) error {
	c := &d.c
	t := market.Candle{Header: source.Header(market.ChannelCandles), Trades: market.None}
	symbol, n := d.m.symbol, 0
	var v [7]market.Decimal
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "candles":
			n = source.Decimals(c, v[:])
		case "time":
			t.Ts = instant(c)
		default:
			c.Skip()
		}
	}
	begin, ok := v[0].Rescale(9)
	if !ok || n != len(v) || v[1].IsNull() || v[2].IsNull() || v[3].IsNull() || v[4].IsNull() {
		return source.Lacks(c, "a candle", "begin or prices")
	}
	t.Open, t.Close, t.High, t.Low, t.Volume, t.QuoteVolume = v[1], v[2], v[3], v[4], v[5], v[6]
	t.OpenTs, t.Instrument = begin, d.id(out, symbol)
	if marketOf(symbol) != market.MarketSpot {
		t.Volume, t.QuoteVolume = v[6], market.Decimal{}
	}
	return d.candle(&t, out)
}

// candle emits one of the length that the message names.
func (d *decoder) candle(t *market.Candle, out *source.Out) error {
	i := length(d.m.arg)
	if i == nil {
		return fmt.Errorf("at byte %d: candles of the unknown length %.20q", d.c.Offset(), d.m.arg)
	}
	i.Put(t, 0)
	out.Candle(t)
	return nil
}

// price decodes the mark or index price of a pair with margin.
func (d *decoder) price(out *source.Out) error {
	c := &d.c
	t := market.Price{Header: source.Header(market.ChannelMarkPrice)}
	t.Kind = market.KindMarkPrice
	if d.m.what == isIndex {
		t.Kind, t.Channel = market.KindIndexPrice, market.ChannelIndexPrice
	}
	symbol := d.m.symbol
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "value":
			t.Price = source.DecimalOrNull(c)
		case "timestamp":
			t.Ts = instant(c)
		default:
			c.Skip()
		}
	}
	if t.Price.IsNull() {
		return source.Lacks(c, "a price", "value")
	}
	t.Instrument = d.id(out, symbol)
	out.Price(&t)
	return nil
}

// answer decodes what isn't data: the welcome, acknowledgements and refusals of
// either socket, pongs.
func (d *decoder) answer(out *source.Out) error {
	c := &d.c
	var id, kind, result, text, code []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "id":
			id = c.NumOrStr()
		case "type":
			kind = c.Str()
		case "message", "reason":
			if string(text) != welcome {
				text = c.Str()
			}
		case "data":
			text = c.Str()
		case "code":
			code = c.NumOrStr()
		case "result":
			if result = []byte("false"); c.Kind() == jsonscan.KindString {
				result = c.Str()
			} else if c.Bool() {
				result = []byte("true")
			}
		default:
			c.Skip()
		}
	}
	if err := c.End(); err != nil {
		return err
	}
	switch {
	case string(kind) == welcome, string(text) == welcome:
		out.Ready(welcome)
	case string(kind) == "pong":
		out.Heartbeat()
	case string(kind) == "ack", string(result) == "true":
		out.Subscribed(id)
	case string(kind) == "error", result != nil:
		if len(code) > 0 {
			text = fmt.Appendf(nil, "%s: %.300s", code, text)
		}
		out.Rejected(id, text)
	default:
		return fmt.Errorf("unknown message of type %.40q", kind)
	}
	return nil
}

// instant reads a time. The venue counts seconds, milliseconds, microseconds or
// nanoseconds, of one name now these and now those: the number tells.
func instant(c *jsonscan.Cursor) int64 {
	v := c.Int64()
	switch {
	case v < 0:
		c.Fail("a time is out of range")
	case v < 1e11:
		return v * 1e9
	case v < 1e14:
		return v * 1e6
	case v < 1e17:
		return v * 1e3
	}
	return v
}
