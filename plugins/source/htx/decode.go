package htx

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// decoder knows since when trades are subscribed; all else follows from the frame.
type decoder struct {
	c jsonscan.Cursor
	source.Feed
	z     inflater
	since map[uint64]int64 // of streams of trades that have brought none yet: see stream

	m          message      // that is being decoded
	b          market.Book  // of the frame, until the rest of it was read
	p          market.Price // the same
	bids, asks []market.Level
	trades     []market.Trade
	text       []byte
}

// message is what stands around a topic's data.
type message struct {
	topic, symbol, arg []byte
	what               topic
	market             market.Market
	conn               uint32
	sent               int64
	asked              bool // for: a reply
	book, price        bool // there is one to be emitted
	origin             market.Origin
}

// topic is what a topic is about.
type topic uint8

const (
	topicNone topic = iota
	isTrades
	isMBP
	isMBPWhole
	isHighFrequency
	isDepth
	isBBO
	isTicker
	isCandles
	isMark
	isIndex
	isBasis
	isFunding
	isLiquidations
)

// name takes apart "market.btcusdt.mbp.150" and "public.BTC-USDT.funding_rate".
func (m *message) name(text []byte) {
	m.topic = text
	scope, rest, _ := bytes.Cut(text, []byte{'.'})
	symbol, rest, _ := bytes.Cut(rest, []byte{'.'})
	what, arg, _ := bytes.Cut(rest, []byte{'.'})
	m.symbol, m.arg, m.what = symbol, arg, topicNone
	if string(scope) == "public" {
		switch string(what) {
		case "funding_rate":
			m.what = isFunding
		case "liquidation_orders":
			m.what = isLiquidations
		}
		return
	}
	m.market = marketOf(symbol)
	switch string(what) {
	case "trade":
		m.what = isTrades
	case "mbp":
		if m.what = isMBP; bytes.HasPrefix(arg, []byte("refresh.")) {
			m.what, m.arg = isMBPWhole, arg[len("refresh."):]
		}
	case "depth":
		m.what = isDepth
		if size, ok := bytes.CutPrefix(arg, []byte("size_")); ok {
			m.what = isHighFrequency
			m.arg, _, _ = bytes.Cut(size, []byte{'.'})
		}
	case "bbo":
		m.what = isBBO
	case "ticker", "detail":
		m.what = isTicker
	case "kline":
		m.what = isCandles
	case "mark_price":
		m.what = isMark
	case "index":
		m.what = isIndex
	case "basis":
		m.what = isBasis
	}
}

func (t topic) isBook() bool { return t >= isMBP && t <= isDepth }

// held are topics whose time may stand behind their data: records of them are
// emitted when the frame was read.
func (t topic) held() bool { return t.isBook() || t == isMark || t == isIndex }

// NewDecoder starts a decoder.
func (p *plugin) NewDecoder(s source.DecoderSettings) (source.Decoder, error) {
	return &decoder{Feed: s.Feed(), c: source.NewCursor(), since: map[uint64]int64{}}, nil
}

// Decode handles a frame or a response.
func (d *decoder) Decode(in *source.Input, out *source.Out) error {
	data := in.Data
	switch in.Kind {
	case source.InputBinary:
		var err error
		if data, err = d.z.inflate(data); err != nil {
			return fmt.Errorf("htx: frame: %w", err)
		}
		fallthrough
	case source.InputText: // recordings may hold what was inflated
		d.m = message{conn: in.Conn, sent: market.None}
		return in.Fail("htx", d.frame(data, out))
	case source.InputHTTP:
		d.m = message{sent: market.None}
		return in.Fail("htx", d.response(in, out))
	case source.InputClose:
		for k := range d.since {
			if uint32(k>>32) == in.Conn {
				delete(d.since, k)
			}
		}
	}
	return nil
}

// frame reads {"ch":…,"ts":…,"tick":{…}}, an answer, a ping, or
// {"op":"notify","topic":…,"ts":…,"data":[…]}. Data is decoded where it stands,
// if all that it takes came before it, else when the rest was read.
func (d *decoder) frame(frame []byte, out *source.Out) error {
	c, m := &d.c, &d.m
	c.Reset(frame)
	c.Object()
	var a answer
	var body source.Body
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "ch", "topic":
			m.name(c.Str())
		case "ts":
			m.sent = source.Millis(c)
		case "tick", "data":
			if body.Due(c, m.what != topicNone && (m.sent != market.None || m.what.held())) {
				if err := d.data(out); err != nil {
					return err
				}
			}
		case "rep":
			m.name(c.Str())
			m.asked = true
		case "subbed":
			m.name(c.Str())
			a.verb = "sub"
		case "unsubbed":
			m.name(c.Str())
			a.verb = "unsub"
		case "ping":
			a.verb, a.ping = "ping", c.NumOrStr()
		case "op":
			a.op(c.Str())
		case "id", "cid":
			a.id = c.NumOrStr()
		case "err-code", "err_code":
			a.code = c.NumOrStr()
		case "err-msg", "err_msg":
			a.reason = c.Str()
		default:
			c.Skip()
		}
	}
	answers := a.verb != "" || len(a.code) > 0
	if err := body.End(c, m.what != topicNone && !answers, func() error { return d.data(out) }); err != nil {
		return err
	}
	switch {
	case answers:
		return d.answered(&a, out)
	case m.what == topicNone:
		return fmt.Errorf("unknown topic %.60q", m.topic)
	case !body.Done:
		return fmt.Errorf("no data of %.60q", m.topic)
	}
	d.emit(out)
	return nil
}

// data decodes a topic's data, which is due.
func (d *decoder) data(out *source.Out) error {
	switch d.m.what {
	case isTrades:
		return source.EachOrOne(&d.c, d, out, (*decoder).tradeList)
	case isMBP, isMBPWhole, isHighFrequency, isDepth:
		return source.EachOrOne(&d.c, d, out, (*decoder).book)
	case isBBO:
		return source.EachOrOne(&d.c, d, out, (*decoder).bbo)
	case isTicker:
		return source.EachOrOne(&d.c, d, out, (*decoder).ticker)
	case isCandles:
		return source.EachOrOne(&d.c, d, out, (*decoder).candle)
	case isMark, isIndex:
		return source.EachOrOne(&d.c, d, out, (*decoder).price)
	case isBasis:
		return source.EachOrOne(&d.c, d, out, (*decoder).basis)
	case isFunding:
		return source.EachOrOne(&d.c, d, out, (*decoder).funding)
	default:
		return source.EachOrOne(&d.c, d, out, (*decoder).liquidation)
	}
}

// header is where a record's header begins.
func (d *decoder) header(c market.Channel) market.Header {
	h := source.Header(c)
	h.Origin = d.m.origin
	return h
}

// id is the instrument of a symbol, the topic's if it is nil.
func (d *decoder) id(symbol []byte, out *source.Out) market.InstrumentID {
	if symbol == nil {
		return out.SymbolIn(d.m.market, d.m.symbol)
	}
	return out.SymbolIn(marketOf(symbol), symbol)
}

// stream names a subscription's stream on its connection. The first trades of it
// are the last ones of before: the answer to the request says since when.
func stream(conn uint32, id market.InstrumentID) uint64 { return uint64(conn)<<32 | uint64(id) }

// tradeList decodes {"id":…,"ts":…,"data":[{…}]}, newest first on spot.
func (d *decoder) tradeList(out *source.Out) error {
	c := &d.c
	d.trades = d.trades[:0]
	for c.Key() {
		if string(c.KeyBytes()) != "data" {
			c.Skip()
			continue
		}
		c.Array()
		for c.Elem() {
			if err := d.trade(); err != nil {
				return err
			}
		}
	}
	if err := c.Err(); err != nil || len(d.trades) == 0 {
		return err
	}
	i := d.id(nil, out)
	if n := len(d.trades); n > 1 && d.trades[0].Seq > d.trades[n-1].Seq {
		d.trades[0].PrevSeq = d.trades[0].Seq - int64(n)
	}
	since, first := int64(0), false
	if len(d.since) > 0 {
		if since, first = d.since[stream(d.m.conn, i)]; first {
			delete(d.since, stream(d.m.conn, i))
		}
	}
	for j := range d.trades {
		t := &d.trades[j]
		if t.Instrument = i; first && t.Ts < since {
			t.Origin = market.OriginHistory
		}
		out.Trade(t)
	}
	return nil
}

// trade decodes a trade into d.trades. Spot's have an id of their own beside one
// of 26 digits, and are numbered by it; contracts' ids aren't consecutive.
func (d *decoder) trade() error {
	c := &d.c
	d.trades = append(d.trades, market.Trade{})
	t := &d.trades[len(d.trades)-1] // field by field: this is where most frames come through
	t.Channel, t.Origin, t.TsSend = market.ChannelTrades, d.m.origin, d.m.sent
	t.Seq, t.PrevSeq, t.FirstID, t.LastID = market.None, market.None, market.None, market.None
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "id":
			if text := c.NumOrStr(); t.ID == nil {
				t.ID = text
			}
		case "tradeId", "trade-id":
			t.Seq = c.Int64()
			t.ID = c.Lexeme()
		case "ts":
			t.Ts = source.Millis(c)
		case "amount":
			t.Amount = source.Decimal(c)
		case "price":
			t.Price = source.Decimal(c)
		case "direction":
			t.Side = source.Side(c.Str(), "buy", "sell")
		default:
			c.Skip()
		}
	}
	if t.ID == nil || t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown {
		return source.Lacks(c, "a trade", "id, price, amount or direction")
	}
	return nil
}

// book decodes a whole book or changes into d.b, which is emitted when the frame
// was read: its time may stand behind.
func (d *decoder) book(*source.Out) error {
	c, m := &d.c, &d.m
	b := &d.b
	*b = market.Book{Header: d.header(market.ChannelBook), Depth: market.None, FirstSeq: market.None, Checksum: market.None}
	b.Kind = market.KindBookSnapshot
	d.bids, d.asks = d.bids[:0], d.asks[:0]
	update := false
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "seqNum", "version":
			b.Seq = c.Int64()
		case "prevSeqNum":
			b.PrevSeq = c.Int64()
		case "bids":
			d.bids = d.levels(d.bids)
		case "asks":
			d.asks = d.levels(d.asks)
		case "event":
			update = string(c.Str()) == "update"
		case "ts":
			b.Ts = source.Millis(c)
		default:
			c.Skip()
		}
	}
	if b.Seq == market.None || m.symbol == nil {
		return source.Lacks(c, "a book", "seqNum, version or symbol")
	}
	switch m.what {
	case isMBP:
		if !m.asked {
			if b.Kind = market.KindBookDelta; b.PrevSeq == market.None {
				return source.Lacks(c, "changes of a book", "prevSeqNum")
			}
			if b.Seq == b.PrevSeq && len(d.bids)+len(d.asks) == 0 {
				b.Flags = market.FlagKeepAlive // sent each 100 ms, also if nothing changed
			}
		}
	case isHighFrequency:
		if update {
			b.Kind = market.KindBookDelta
		}
	default: // whole each time
		b.Flags = market.FlagReset
	}
	if m.what != isDepth {
		if n, err := strconv.ParseInt(string(m.arg), 10, 32); err == nil {
			b.Depth = n
		}
	}
	m.book = true
	return c.Err()
}

// emit emits what was held until the frame was read.
func (d *decoder) emit(out *source.Out) {
	m, b := &d.m, &d.b
	if m.price {
		d.p.TsSend, d.p.Ts, d.p.Instrument = m.sent, m.sent, d.id(nil, out)
		out.Price(&d.p)
	}
	if !m.book {
		return
	}
	if b.TsSend = m.sent; b.Ts == 0 && m.sent != market.None {
		b.Ts = m.sent
	}
	b.Bids, b.Asks = d.bids, d.asks
	b.Instrument = d.id(nil, out)
	out.Book(b)
}

// levels reads a side; one without changes may be null or an empty object.
func (d *decoder) levels(ls []market.Level) []market.Level {
	c := &d.c
	switch c.Kind() {
	case jsonscan.KindArray:
		return source.Levels(c, ls[:0])
	case jsonscan.KindNull:
		c.Null()
	default:
		c.Object()
		if c.Key() {
			c.Fail("levels that are no list")
		}
	}
	return ls[:0]
}

// bbo decodes a best bid and offer: contracts' are pairs of price and amount.
func (d *decoder) bbo(out *source.Out) error {
	c, m := &d.c, &d.m
	t := market.BBO{Header: d.header(market.ChannelBBO)}
	t.TsSend, t.Ts = m.sent, m.sent
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "bid":
			quote(c, &t.BidPrice, &t.BidAmount)
		case "ask":
			quote(c, &t.AskPrice, &t.AskAmount)
		case "bidSize":
			t.BidAmount = source.DecimalOrNull(c)
		case "askSize":
			t.AskAmount = source.DecimalOrNull(c)
		case "seqId", "version":
			t.Seq = c.Int64()
		case "quoteTime", "ts":
			t.Ts = source.Millis(c)
		case "contract_code": // of lists
			symbol = c.Str()
		default:
			c.Skip()
		}
	}
	if symbol == nil && m.symbol == nil {
		return source.Lacks(c, "a best bid and offer", "a symbol")
	}
	if t.BidPrice.IsNull() {
		t.BidAmount = market.Decimal{}
	}
	if t.AskPrice.IsNull() {
		t.AskAmount = market.Decimal{}
	}
	t.Instrument = d.id(symbol, out)
	out.BBO(&t)
	return nil
}

// quote reads a price, or [price, amount].
func quote(c *jsonscan.Cursor, price, amount *market.Decimal) {
	if c.Kind() != jsonscan.KindArray {
		*price = source.DecimalOrNull(c)
		return
	}
	var d [2]jsonscan.Decimal
	if n, ok := c.Decimals(d[:]); ok {
		if n == 2 {
			*price, *amount = market.NewDecimal(d[0].Coef, d[0].Scale), market.NewDecimal(d[1].Coef, d[1].Scale)
		}
		return
	}
	var v [2]market.Decimal // a number that is wide or has an exponent
	if source.Decimals(c, v[:]) == 2 {
		*price, *amount = v[0], v[1]
	}
}
