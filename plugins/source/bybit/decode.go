package bybit

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// decoder remembers, of each connection, what its tickers have said so far: the
// venue sends what changed.
type decoder struct {
	c jsonscan.Cursor
	source.Feed

	conns      []connection
	m          message // that is being decoded
	fresh      fields  // of a ticker
	bids, asks []market.Level
	origin     market.Origin // of trades
}

// connection is what the decoder knows of one. A mixed recording holds those of
// several markets, which their addresses name.
type connection struct {
	id      uint32
	market  market.Market
	tickers []*ticker // by instrument id
}

// message is what stands around a topic's data.
type message struct {
	conn   *connection
	market market.Market
	what   topic
	arg    []byte // depth or interval
	symbol []byte
	delta  bool
	ts     int64
	u      int64
}

// topic is what a topic's name says first.
type topic uint8

const (
	topicNone topic = iota
	isTrades
	isBook
	isTickers
	isCandles
	isLiquidations
	isLiquidation // as it was until 2025: one a second
)

// Topics' names.
const (
	topicTrades       = "publicTrade"
	topicTickers      = "tickers"
	topicCandles      = "kline"
	topicLiquidations = "allLiquidation"
)

// NewDecoder starts a decoder; without channels it decodes all.
func (p *plugin) NewDecoder(s source.DecoderSettings) (source.Decoder, error) {
	return &decoder{Feed: s.Feed(), c: source.NewCursor()}, nil
}

// on finds what is known of a connection.
func (d *decoder) on(id uint32) *connection {
	for i := range d.conns {
		if d.conns[i].id == id {
			return &d.conns[i]
		}
	}
	d.conns = append(d.conns, connection{id: id, market: d.Market})
	return &d.conns[len(d.conns)-1]
}

// Decode handles a frame, a response, or the beginning or end of a connection.
func (d *decoder) Decode(in *source.Input, out *source.Out) error {
	switch in.Kind {
	case source.InputText:
		k := d.on(in.Conn)
		d.m = message{conn: k, market: k.market}
		return in.Fail("bybit", d.frame(in.Data, out))
	case source.InputHTTP:
		d.c.Reset(in.Data)
		return in.Fail("bybit", d.response(in, out))
	case source.InputOpen:
		d.forget(in.Conn)
		if d.Mixed() {
			address, _, _ := bytes.Cut(in.URL, []byte{'?'})
			if m, err := market.ParseMarket(string(address[bytes.LastIndexByte(address, '/')+1:])); err == nil {
				d.on(in.Conn).market = m
				out.Remember()
			}
		}
	case source.InputClose:
		d.forget(in.Conn)
	case source.InputBinary:
		return in.Binary("bybit")
	}
	return nil
}

func (d *decoder) forget(id uint32) {
	for i := range d.conns {
		if d.conns[i].id == id {
			d.conns[i] = d.conns[len(d.conns)-1]
			d.conns[len(d.conns)-1] = connection{}
			d.conns = d.conns[:len(d.conns)-1]
			return
		}
	}
}

// frame reads {"topic":…,"type":…,"ts":…,"data":…}, whose members come in any
// order. Data is read where it stands if the topic came before it; books and
// tickers are decided on at the end, when type and time are known too.
func (d *decoder) frame(frame []byte, out *source.Out) error {
	c, m := &d.c, &d.m
	c.Reset(frame)
	c.Object()
	start := c.Mark()
	var body source.Body
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "topic":
			if err := m.topic(c.Str()); err != nil {
				return err
			}
		case "type":
			m.delta = string(c.Str()) == "delta"
		case "ts":
			m.ts = source.Millis(c)
		case "data":
			if body.Due(c, m.what != topicNone) {
				if err := d.data(out); err != nil {
					return err
				}
			}
		case "success", "op", "req_id", "ret_msg", "conn_id":
			c.Seek(start)
			return d.answer(out)
		default:
			c.Skip()
		}
	}
	if err := body.End(c, m.what != topicNone, func() error { return d.data(out) }); err != nil {
		return err
	}
	if !body.Done {
		return fmt.Errorf("neither a topic's data nor an answer")
	}
	switch m.what {
	case isBook:
		return d.emitBook(out)
	case isTickers:
		d.emitTicker(out)
	}
	return nil
}

// topic takes a topic's name apart: orderbook.200.BTCUSDT, tickers.BTCUSDT.
func (m *message) topic(t []byte) error {
	name, rest, _ := bytes.Cut(t, []byte{'.'})
	switch string(name) {
	case "orderbook":
		m.what = isBook
	case topicTrades:
		m.what = isTrades
	case topicTickers:
		m.what = isTickers
	case topicCandles:
		m.what = isCandles
	case topicLiquidations:
		m.what = isLiquidations
	case "liquidation":
		m.what = isLiquidation
	default:
		return fmt.Errorf("unknown topic %.40q", t)
	}
	m.symbol = rest
	if m.what == isBook || m.what == isCandles {
		m.arg, m.symbol, _ = bytes.Cut(rest, []byte{'.'})
	}
	if len(m.symbol) == 0 {
		return fmt.Errorf("topic %.40q names no symbol", t)
	}
	return nil
}

// data decodes a topic's data, which is due.
func (d *decoder) data(out *source.Out) error {
	c, m := &d.c, &d.m
	switch m.what {
	case isBook:
		d.book()
		return c.Err()
	case isTickers:
		c.Object()
		d.ticker()
		return c.Err()
	case isLiquidation:
		return d.liquidation(out)
	}
	one := (*decoder).trade
	switch m.what {
	case isCandles:
		one = (*decoder).candle
	case isLiquidations:
		one = (*decoder).liquidation
	}
	c.Array()
	for c.Elem() {
		if err := one(d, out); err != nil {
			return err
		}
	}
	return c.Err()
}

// trade decodes a trade of a stream or a response.
func (d *decoder) trade(out *source.Out) error {
	c := &d.c
	var t market.Trade // field by field: this is where most frames come through
	t.Channel, t.Origin = market.ChannelTrades, d.origin
	t.TsSend, t.Seq, t.PrevSeq, t.FirstID, t.LastID = market.None, market.None, market.None, market.None, market.None
	if d.m.ts != 0 {
		t.TsSend = d.m.ts
	}
	var symbol []byte
	block, rpi := false, false
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "T", "time":
			t.Ts = source.Millis(c)
		case "s", "symbol":
			symbol = c.Str()
		case "S", "side":
			t.Side = source.Side(c.Str(), "Buy", "Sell")
		case "v", "size":
			t.Amount = source.Decimal(c)
		case "p", "price":
			t.Price = source.Decimal(c)
		case "i", "execId":
			t.ID = c.Str()
		case "seq":
			t.Seq = c.Int64()
		case "BT", "isBlockTrade":
			block = c.Bool()
		case "RPI", "isRPITrade":
			rpi = c.Bool()
		default:
			c.Skip()
		}
	}
	if symbol == nil || len(t.ID) == 0 || t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown {
		return source.Lacks(&d.c, "a trade", "s, i, p, v or S")
	}
	switch {
	case block && rpi:
		t.Conditions = conditions
	case block:
		t.Conditions = conditions[:len("block")]
	case rpi:
		t.Conditions = conditions[len("block,"):]
	}
	t.Instrument = out.SymbolIn(d.m.market, symbol)
	out.Trade(&t)
	return nil
}

var conditions = []byte("block,rpi")

// book reads levels and number of a book.
func (d *decoder) book() {
	c, m := &d.c, &d.m
	d.bids, d.asks, m.u = d.bids[:0], d.asks[:0], market.None
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "s":
			m.symbol = c.Str()
		case "b":
			d.bids = source.Levels(c, d.bids[:0])
		case "a":
			d.asks = source.Levels(c, d.asks[:0])
		case "u":
			m.u = c.Int64()
		case "ts": // of a response
			m.ts = source.Millis(c)
		default:
			c.Skip()
		}
	}
}

// emitBook emits a snapshot or changes; a book of one level is the best bid and
// offer, which the venue repeats after 3 s without a change.
func (d *decoder) emitBook(out *source.Out) error {
	m := &d.m
	if m.u == market.None || len(m.symbol) == 0 {
		return source.Lacks(&d.c, "a book", "s or u")
	}
	id := out.SymbolIn(m.market, m.symbol)
	if len(m.arg) == 1 && m.arg[0] == '1' {
		t := market.BBO{Header: source.Header(market.ChannelBBO)}
		t.Instrument, t.Ts, t.Seq = id, m.ts, m.u
		source.Best(&t, d.bids, d.asks)
		if k := m.conn.ticker(id); k.best == m.u {
			t.Flags = market.FlagKeepAlive
		} else {
			k.best = m.u
		}
		out.BBO(&t)
		return nil
	}
	b := source.NewBook(market.KindBookSnapshot)
	b.Instrument, b.Ts, b.Seq, b.Bids, b.Asks = id, m.ts, m.u, d.bids, d.asks
	if n, err := strconv.Atoi(string(m.arg)); err == nil && n > 0 {
		b.Depth = int64(n)
	}
	if m.delta && m.u != 1 { // 1: the service was restarted, the book begins anew
		b.Kind = market.KindBookDelta
	}
	out.Book(&b)
	return nil
}

// candle decodes the state of a candle, whose end is its last millisecond.
func (d *decoder) candle(out *source.Out) error {
	c := &d.c
	t := market.Candle{Header: source.Header(market.ChannelCandles), Trades: market.None}
	if i := intervals.Native(d.m.arg); i != nil {
		t.Interval = i.Text()
	} else {
		return fmt.Errorf("at byte %d: candles of the unknown length %.20q", c.Offset(), d.m.arg)
	}
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "start":
			t.OpenTs = source.Millis(c)
		case "end":
			t.CloseTs = source.Millis(c)
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
		case "turnover":
			t.QuoteVolume = source.Decimal(c)
		case "confirm":
			if c.Bool() {
				t.Flags = market.FlagClosed
			}
		case "timestamp":
			t.Ts = source.Millis(c)
		default:
			c.Skip()
		}
	}
	if t.OpenTs == 0 || t.CloseTs == 0 || t.Open.IsNull() || t.High.IsNull() || t.Low.IsNull() || t.Close.IsNull() {
		return source.Lacks(&d.c, "a candle", "start, end or prices")
	}
	if d.m.market == market.MarketInverse { // amounts are in quote currency, turnover in the base
		t.QuoteVolume = market.Decimal{}
	}
	t.Instrument = out.SymbolIn(d.m.market, d.m.symbol)
	out.Candle(&t)
	return nil
}

// liquidation decodes one. Its side is that of the position: the closing order
// is on the other.
func (d *decoder) liquidation(out *source.Out) error {
	c := &d.c
	l := market.Liquidation{Header: source.Header(market.ChannelLiquidations)}
	if d.m.what == isLiquidation {
		l.Flags = market.FlagLossy
	}
	var symbol []byte
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "T", "updatedTime":
			l.Ts = source.Millis(c)
		case "s", "symbol":
			symbol = c.Str()
		case "S", "side":
			l.Side = source.Side(c.Str(), "Sell", "Buy")
		case "v", "size":
			l.Amount = source.Decimal(c)
		case "p", "price":
			l.Price = source.Decimal(c)
		default:
			c.Skip()
		}
	}
	if symbol == nil || l.Side == market.SideUnknown || l.Price.IsNull() || l.Amount.IsNull() {
		return source.Lacks(&d.c, "a liquidation", "s, S, p or v")
	}
	l.Instrument = out.SymbolIn(d.m.market, symbol)
	out.Liquidation(&l)
	return nil
}

// answer decodes what the venue says to a request: {"success":true,"ret_msg":"",
// "req_id":"tickers.BTCUSDT","op":"subscribe"}; on options it lists topics, and
// {"op":"pong"} answers a ping.
func (d *decoder) answer(out *source.Out) error {
	c := &d.c
	var op, token, reason, kind []byte
	var data jsonscan.Mark
	success, listed := false, false
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "success":
			success = c.Bool()
		case "op":
			op = c.Str()
		case "req_id":
			token = c.Str()
		case "ret_msg":
			reason = c.Str()
		case "type":
			kind = c.Str()
		case "data":
			data, listed = c.Mark(), true
		default:
			c.Skip()
		}
	}
	if err := c.End(); err != nil {
		return err
	}
	switch {
	case string(op) == "pong" || string(op) == "ping":
		out.Heartbeat()
		return nil
	case string(kind) == "COMMAND_RESP" && listed:
		c.Seek(data)
		c.Object()
		for c.Key() {
			ok := string(c.KeyBytes()) == "successTopics"
			for c.Array(); c.Elem(); {
				d.answered(c.Str(), reason, ok, out)
			}
		}
		return c.Err()
	case string(op) != "subscribe" && string(op) != "unsubscribe":
		return fmt.Errorf("an answer to the unknown request %.40q: %.200s", op, reason)
	}
	if len(token) == 0 { // the reason names what is wrong: error:handler not found,topic:tickers.X
		if _, topic, ok := bytes.Cut(reason, []byte("topic:")); ok && !success {
			token = topic
		}
	}
	if success && string(op) == "unsubscribe" {
		m := &d.m
		if m.topic(token) == nil && m.what == isBook && string(m.arg) != "1" {
			out.EndBook(out.SymbolIn(m.market, m.symbol))
		}
	}
	d.answered(token, reason, success, out)
	return nil
}

// answered passes on an acknowledgement. What is subscribed already is as good as
// acknowledged: another channel of the symbol is carried by the same topic.
func (d *decoder) answered(token, reason []byte, ok bool, out *source.Out) {
	if !ok && !bytes.Contains(reason, []byte("already subscribed")) {
		out.Rejected(token, reason[:min(len(reason), 300)])
	} else {
		out.Subscribed(token)
	}
}
