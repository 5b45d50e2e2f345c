package kraken

import (
	"fmt"
	"time"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// decoder keeps the depth that each book was subscribed with: frames don't
// repeat it. It follows from acknowledgements, which the runtime remembers.
type decoder struct {
	c jsonscan.Cursor
	source.Feed
	depths map[subscription]int64

	message    message // that is being decoded
	bids, asks []market.Level
}

type subscription struct {
	conn   uint32
	symbol string
}

// NewDecoder starts a decoder; without channels it decodes all.
func (p *plugin) NewDecoder(s source.DecoderSettings) (source.Decoder, error) {
	if isContract(s.Market) {
		return newContractDecoder(s), nil
	}
	return &decoder{Feed: s.Feed(), depths: map[subscription]int64{}}, nil
}

// Decode handles a frame or a response.
func (d *decoder) Decode(in *source.Input, out *source.Out) error {
	switch in.Kind {
	case source.InputText:
		d.c.Reset(in.Data)
		d.message = message{conn: in.Conn, sent: market.None}
		return in.Fail("kraken", d.frame(out))
	case source.InputHTTP:
		d.c.Reset(in.Data)
		return in.Fail("kraken", d.response(in, out))
	case source.InputBinary:
		return in.Binary("kraken")
	case source.InputClose:
		for s := range d.depths {
			if s.conn == in.Conn {
				delete(d.depths, s)
			}
		}
	}
	return nil
}

// message is what stands around a channel's data.
type message struct {
	conn     uint32
	channel  []byte
	snapshot bool
	sent     int64 // None where the channel has no time
}

// frame reads {"channel":…,"type":…,"data":…}. Data is decoded where it stands,
// if all that it takes came before it, else when the rest was read.
func (d *decoder) frame(out *source.Out) error {
	c := &d.c
	if c.Kind() == jsonscan.KindArray {
		return d.legacy(out)
	}
	c.Object()
	start := c.Mark()
	m := &d.message
	var typ []byte
	var body source.Body
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "channel":
			m.channel = c.Str()
		case "type":
			typ = c.Str()
			m.snapshot = string(typ) == "snapshot"
		case "timestamp":
			m.sent = source.Time(c)
		case "data":
			if body.Due(c, m.channel != nil && typ != nil && (m.sent != market.None || string(m.channel) != "ohlc")) {
				if err := d.data(out); err != nil {
					return err
				}
			}
		case "method", "success", "error":
			c.Seek(start)
			return d.answer(out)
		case "event":
			c.Seek(start)
			return d.event(out)
		}
	}
	if err := body.End(c, m.channel != nil, func() error { return d.data(out) }); err != nil {
		return err
	}
	switch {
	case body.Done:
	case string(m.channel) == "heartbeat":
		out.Heartbeat()
	case m.channel == nil:
		return fmt.Errorf("neither a channel's message nor an answer")
	}
	return nil
}

// data decodes a channel's data, which is due.
func (d *decoder) data(out *source.Out) error {
	c, m := &d.c, &d.message
	if string(m.channel) == "instrument" {
		return d.instrument(out)
	}
	one := (*decoder).status
	switch string(m.channel) {
	case "book":
		one = (*decoder).book
	case "trade":
		one = (*decoder).trade
	case "ticker":
		one = (*decoder).tick
	case "ohlc":
		one = (*decoder).ohlc
	case "status":
	default:
		if err := c.Err(); err != nil {
			return err
		}
		return fmt.Errorf("at byte %d: unknown channel %.40q", c.Offset(), m.channel)
	}
	return source.Each(c, d, out, one)
}

func (d *decoder) book(out *source.Out) error {
	c := &d.c
	b := source.NewBook(market.KindBookDelta)
	var symbol []byte
	sides := 0
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "bids":
			d.bids = levels(c, d.bids[:0])
			sides |= 1
		case "asks":
			d.asks = levels(c, d.asks[:0])
			sides |= 2
		case "checksum":
			b.Checksum = c.Int64()
		case "timestamp":
			b.Ts = source.Time(c)
		}
	}
	if symbol == nil || sides != 3 {
		return source.Lacks(&d.c, "a book", "symbol, bids or asks")
	}
	if n, ok := d.depths[subscription{d.message.conn, string(symbol)}]; ok {
		b.Depth = n
	}
	if d.message.snapshot {
		b.Kind = market.KindBookSnapshot
	}
	b.Bids, b.Asks = d.bids, d.asks
	b.Instrument = out.Symbol(symbol)
	out.Book(&b)
	return nil
}

// levels appends levels sent as [{"price":…,"qty":…}, …].
func levels(c *jsonscan.Cursor, ls []market.Level) []market.Level {
	c.Array()
	for c.Elem() {
		var l market.Level
		c.Object()
		for c.Key() {
			switch string(c.KeyBytes()) {
			case "price":
				l.Price = source.Decimal(c)
			case "qty":
				l.Amount = source.Decimal(c)
			}
		}
		if l.Price.IsNull() || l.Amount.IsNull() || len(ls) >= market.MaxLevels {
			c.Fail("a level without price or qty, or more levels than a record holds")
			break
		}
		ls = append(ls, l)
	}
	return ls
}

func (d *decoder) trade(out *source.Out) error {
	c := &d.c
	t := market.Trade{Header: source.Header(market.ChannelTrades), FirstID: market.None, LastID: market.None}
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "side":
			t.Side = side(c.Str())
		case "price":
			t.Price = source.Decimal(c)
		case "qty":
			t.Amount = source.Decimal(c)
		case "trade_id":
			t.Seq = c.Int64()
			t.ID = c.Lexeme()
		case "timestamp":
			t.Ts = source.Time(c)
		}
	}
	if symbol == nil || t.ID == nil || t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown {
		return source.Lacks(&d.c, "a trade", "symbol, side, price, qty or trade_id")
	}
	if d.message.snapshot {
		t.Origin = market.OriginHistory
	}
	t.Instrument = out.Symbol(symbol)
	out.Trade(&t)
	return nil
}

// side reads the taker's side: buy and sell of v2, b and s of v1.
func side(s []byte) market.Side {
	switch string(s) {
	case "buy", "b":
		return market.SideBuy
	case "sell", "s":
		return market.SideSell
	}
	return market.SideUnknown
}

// tick decodes a ticker, which holds the best bid and offer too.
func (d *decoder) tick(out *source.Out) error {
	c := &d.c
	t := market.Ticker{Header: source.Header(market.ChannelTicker), Trades: market.None}
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "bid":
			t.BidPrice = source.DecimalOrNull(c)
		case "bid_qty":
			t.BidAmount = source.DecimalOrNull(c)
		case "ask":
			t.AskPrice = source.DecimalOrNull(c)
		case "ask_qty":
			t.AskAmount = source.DecimalOrNull(c)
		case "last":
			t.Last = source.DecimalOrNull(c)
		case "volume":
			t.Volume = source.DecimalOrNull(c)
		case "vwap":
			t.VWAP = source.DecimalOrNull(c)
		case "low":
			t.Low = source.DecimalOrNull(c)
		case "high":
			t.High = source.DecimalOrNull(c)
		case "timestamp":
			t.Ts = source.Time(c)
		}
	}
	if symbol == nil || t.BidPrice.IsNull() && t.AskPrice.IsNull() && t.Last.IsNull() {
		return source.Lacks(&d.c, "a ticker", "symbol and any of bid, ask and last")
	}
	t.Instrument = out.Symbol(symbol)
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

// ohlc decodes a candle. Whether it is closed the venue doesn't say.
func (d *decoder) ohlc(out *source.Out) error {
	c := &d.c
	t := market.Candle{Header: source.Header(market.ChannelCandles), OpenTs: market.None, CloseTs: market.None, Trades: market.None}
	var symbol []byte
	length := int64(0)
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "interval_begin":
			t.OpenTs = source.Time(c)
		case "interval":
			length = c.Int64()
		case "open":
			t.Open = source.Decimal(c)
		case "high":
			t.High = source.Decimal(c)
		case "low":
			t.Low = source.Decimal(c)
		case "close":
			t.Close = source.Decimal(c)
		case "volume":
			t.Volume = source.Decimal(c)
		case "trades":
			t.Trades = c.Int64()
		}
	}
	if symbol == nil || t.OpenTs == market.None || t.Open.IsNull() || t.High.IsNull() || t.Low.IsNull() || t.Close.IsNull() {
		return source.Lacks(&d.c, "a candle", "symbol, interval_begin, open, high, low or close")
	}
	if d.message.snapshot {
		t.Origin = market.OriginHistory
	}
	if sent := d.message.sent; sent != market.None {
		t.Ts, t.TsSend = sent, sent
	}
	return d.emit(&t, symbol, length, out)
}

// emit names a candle's length and end.
func (d *decoder) emit(t *market.Candle, symbol []byte, length int64, out *source.Out) error {
	if length <= 0 || length > 21600 {
		return source.Lacks(&d.c, "a candle", "a possible interval")
	}
	t.Interval = interval(length)
	t.CloseTs = t.OpenTs + length*60_000_000_000
	t.Instrument = out.Symbol(symbol)
	out.Candle(t)
	return nil
}

func interval(length int64) []byte {
	if i := intervals.Lasting(time.Duration(length) * time.Minute); i != nil {
		return i.Text()
	}
	return fmt.Appendf(nil, "%dm", length)
}

// status decodes the state of the venue's trading engine.
func (d *decoder) status(out *source.Out) error {
	c := &d.c
	var system []byte
	for c.Key() {
		if string(c.KeyBytes()) == "system" {
			system = c.Str()
		}
	}
	if system == nil {
		return source.Lacks(&d.c, "a status", "system")
	}
	d.state(system, out)
	return nil
}

func (d *decoder) state(system []byte, out *source.Out) {
	if string(system) == "online" {
		out.Heartbeat()
		return
	}
	out.Maintenance("the venue's system is " + string(system[:min(len(system), 40)]))
}

// answer decodes what the venue says to a request:
// {"method":"subscribe","result":{…},"success":true,"req_id":1}.
func (d *decoder) answer(out *source.Out) error {
	c := &d.c
	var method, token, reason, channel, symbol []byte
	levels, ok := int64(0), false
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "method":
			method = c.Str()
		case "req_id":
			token = c.NumOrStr()
		case "success":
			ok = c.Bool()
		case "error":
			reason = c.Str()
		case "result":
			c.Object()
			for c.Key() {
				switch string(c.KeyBytes()) {
				case "channel":
					channel = c.Str()
				case "symbol":
					symbol = c.Str()
				case "depth":
					levels = c.Int64()
				}
			}
		}
	}
	if err := c.End(); err != nil {
		return err
	}
	switch string(method) {
	case "pong":
		out.Heartbeat()
		return nil
	case "subscribe", "unsubscribe":
	default:
		if reason == nil { // a request that the venue couldn't read is refused without its method
			return fmt.Errorf("an answer to the unknown method %.40q", method)
		}
	}
	if !ok {
		out.Rejected(token, reason)
		return nil
	}
	if string(channel) == "book" && symbol != nil {
		d.bookAnswer(out, string(method) == "subscribe", symbol, levels)
	}
	out.Subscribed(token)
	return nil
}

// bookAnswer notes the depth of a book that begins; one that was unsubscribed
// ends with a record that says so.
func (d *decoder) bookAnswer(out *source.Out, begins bool, symbol []byte, levels int64) {
	key := subscription{d.message.conn, string(symbol)}
	if !begins {
		delete(d.depths, key)
		out.EndBook(out.Symbol(symbol))
		return
	}
	if levels > 0 {
		d.depths[key] = levels
		out.Remember()
	}
}
