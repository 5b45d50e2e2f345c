package bitget

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// decoder has no state but room: what a frame means follows from the frame.
type decoder struct {
	c   jsonscan.Cursor
	why jsonscan.Cursor // of what API v3 puts into the text of a refusal
	source.Feed

	m          message // that is being decoded
	bids, asks []market.Level
	text       []byte // one that had to be put together
}

// message is what stands around a stream's data.
type message struct {
	product, channel, symbol []byte
	interval                 []byte // of candles
	action                   []byte // snapshot or update
	market                   market.Market
	ts                       int64 // of sending
	origin                   market.Origin
}

// NewDecoder starts a decoder; without channels it decodes all.
func (p *plugin) NewDecoder(s source.DecoderSettings) (source.Decoder, error) {
	return &decoder{Feed: s.Feed(), c: source.NewCursor()}, nil
}

// Decode handles a frame or a response.
func (d *decoder) Decode(in *source.Input, out *source.Out) error {
	switch in.Kind {
	case source.InputText:
		if string(in.Data) == "pong" {
			out.Heartbeat()
			return nil
		}
		return in.Fail("bitget", d.frame(in.Data, out))
	case source.InputHTTP:
		d.c.Reset(in.Data)
		return in.Fail("bitget", d.response(in, out))
	case source.InputBinary:
		return in.Binary("bitget")
	}
	return nil
}

// frame reads {"action":…,"arg":{…},"data":[…],"ts":…}. Data is decoded where it
// stands, if all that it takes came before it, else when the rest was read.
func (d *decoder) frame(frame []byte, out *source.Out) error {
	c, m := &d.c, &d.m
	c.Reset(frame)
	c.Object()
	start := c.Mark()
	*m = message{ts: sent(frame)}
	var body source.Body
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "arg":
			d.arg(c)
		case "action":
			m.action = c.Str()
		case "ts":
			m.ts = source.Millis(c)
		case "data":
			if body.Due(c, m.action != nil && m.channel != nil && (m.ts != 0 || !m.timed())) {
				if err := d.data(out); err != nil {
					return err
				}
			}
		case "event", "op":
			c.Seek(start)
			return d.event(out)
		}
	}
	err := body.End(c, m.channel != nil, func() error { return d.data(out) })
	if err == nil && !body.Done {
		err = fmt.Errorf("neither a channel's data nor an event")
	}
	return err
}

// timed data may have no times of its own, but the frame's.
func (m *message) timed() bool {
	return string(m.channel) == "ticker" || string(m.channel) == "kline" || bytes.HasPrefix(m.channel, candle)
}

// sent reads the time that a frame ends with, for what needs it stands before:
// ,"ts":1789456511968}. Where the end is another, it is read when it is come to.
func sent(frame []byte) int64 {
	const digits = 13
	if n := len(frame) - digits - 1; n > 5 && frame[len(frame)-1] == '}' && string(frame[n-5:n]) == `"ts":` {
		ms := int64(0)
		for _, c := range frame[n : n+digits] {
			if c -= '0'; c > 9 {
				return 0
			}
			ms = ms*10 + int64(c)
		}
		return ms * 1_000_000
	}
	return 0
}

var candle = []byte("candle")

// arg reads what a stream is named by: {"instType":…,"channel":…,"instId":…},
// or "topic" and "symbol".
func (d *decoder) arg(c *jsonscan.Cursor) {
	m := &d.m
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "instType":
			m.product = c.Str()
		case "channel", "topic":
			m.channel = c.Str()
		case "instId", "symbol":
			m.symbol = c.Str()
		case "interval":
			m.interval = c.Str()
		}
	}
}

// marketOf is that of a product. API v1 has one for all contracts.
func (d *decoder) marketOf(product, symbol []byte) market.Market {
	switch string(product) {
	case "SPOT", "spot", "sp", "SP", "MARGIN":
		return market.MarketSpot
	case "USDT-FUTURES", "USDC-FUTURES", "usdt-futures", "usdc-futures":
		return market.MarketLinear
	case "COIN-FUTURES", "coin-futures":
		return market.MarketInverse
	case "mc", "MC":
		return contractOf(symbol)
	}
	if d.Mixed() {
		return contractOf(symbol)
	}
	return d.Market
}

// id is the instrument of a symbol, the frame's if it is nil.
func (d *decoder) id(symbol []byte, out *source.Out) market.InstrumentID {
	if symbol == nil {
		symbol = d.m.symbol
	}
	m := d.m.market
	if m == market.MarketNone {
		m = d.marketOf(d.m.product, symbol)
	}
	if m == market.MarketInverse {
		symbol = bytes.TrimSuffix(symbol, unifiedCoin)
	}
	return out.SymbolIn(m, symbol)
}

// unifiedCoin ends the symbols of inverse contracts in API v3.
var unifiedCoin = []byte("_CM")

// data decodes a stream's data, which is due.
func (d *decoder) data(out *source.Out) error {
	m := &d.m
	m.market = d.marketOf(m.product, m.symbol)
	if string(m.action) == "snapshot" && !bytes.HasPrefix(m.channel, []byte("books")) {
		m.origin = market.OriginHistory // what happened before the subscription
	}
	switch string(m.channel) {
	case "trade", "publicTrade":
		return d.list(out, (*decoder).trade)
	case feedBooks, feedFive, feedFifteen, feedFifty:
		return d.list(out, (*decoder).book)
	case feedOne:
		return d.list(out, (*decoder).bbo)
	case "ticker", "index-price": // of pairs with margin
		m.origin = market.OriginLive // each is whole
		return d.list(out, (*decoder).ticker)
	case "kline":
		return d.list(out, (*decoder).kline)
	case "liquidation":
		return d.list(out, (*decoder).liquidation)
	}
	if native, ok := bytes.CutPrefix(m.channel, candle); ok {
		m.interval = native
		return d.candles(out)
	}
	if err := d.c.Err(); err != nil {
		return err
	}
	return fmt.Errorf("at byte %d: unknown channel %.40q", d.c.Offset(), m.channel)
}

// list decodes each of a list, or the one that stands in its place. Trades of
// API v1 are arrays.
func (d *decoder) list(out *source.Out, one func(*decoder, *source.Out) error) error {
	c := &d.c
	if c.Kind() == jsonscan.KindObject {
		return source.EachOrOne(c, d, out, one)
	}
	c.Array()
	for c.Elem() {
		err := error(nil)
		if c.Kind() == jsonscan.KindArray {
			err = d.tradeV1(out)
		} else {
			err = source.EachOrOne(c, d, out, one)
		}
		if err != nil {
			return err
		}
	}
	return c.Err()
}

// trade decodes a trade, with the members of API v2 and v3.
func (d *decoder) trade(out *source.Out) error {
	c := &d.c
	t := market.Trade{Header: source.Header(market.ChannelTrades), FirstID: market.None, LastID: market.None}
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "ts", "T":
			t.Ts = source.Millis(c)
		case "price", "p":
			t.Price = source.Decimal(c)
		case "size", "v":
			t.Amount = source.Decimal(c)
		case "side", "S":
			t.Side = side(c.Str())
		case "tradeId", "i", "execId":
			t.ID = c.NumOrStr()
		case "symbol":
			symbol = c.Str()
		case "isRPI":
			if string(c.Str()) == "yes" {
				t.Conditions = improvement
			}
		default:
			c.Skip()
		}
	}
	if t.ID == nil || t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown || symbol == nil && d.m.symbol == nil {
		return source.Lacks(&d.c, "a trade", "tradeId, price, size, side or symbol")
	}
	t.Origin, t.Instrument = d.m.origin, d.id(symbol, out)
	out.Trade(&t)
	return nil
}

// improvement marks trades with orders that only retail traders see.
var improvement = []byte("rpi")

// side reads a taker's side, which histories capitalise.
func side(s []byte) market.Side {
	if side := source.Side(s, "buy", "sell"); side != market.SideUnknown {
		return side
	}
	return source.Side(s, "Buy", "Sell")
}

// book decodes a snapshot or changes, with the members of all versions.
func (d *decoder) book(out *source.Out) error {
	c, m := &d.c, &d.m
	b := source.NewBook(market.KindBookSnapshot)
	sides, chained := d.levels(&b.Header, &b)
	if sides != 3 || m.symbol == nil {
		return source.Lacks(c, "a book", "instId, asks or bids")
	}
	restarted := false
	switch {
	case string(m.channel) == feedBooks:
		if string(m.action) == "update" {
			b.Kind = market.KindBookDelta
		}
		// Numbers that don't chain prove nothing: the checksum judges what is from
		// before pseq, and nothing that came earlier fits on its snapshots.
		if !chained && m.action != nil {
			b.Seq = market.None
			if b.Kind == market.KindBookSnapshot {
				b.Flags = market.FlagReset
			}
		}
		restarted = b.Kind == market.KindBookDelta && chained && b.PrevSeq == 0
	default: // whole each time, also after the venue has begun to count anew
		b.Flags = market.FlagReset
		switch string(m.channel) {
		case feedFive:
			b.Depth = 5
		case feedFifteen:
			b.Depth = 15
		case feedFifty:
			b.Depth = 50
		}
	}
	if b.PrevSeq == 0 { // of a snapshot, and after a restart
		b.PrevSeq = market.None
	}
	if b.Checksum == 0 { // the member was still there, the sum wasn't
		b.Checksum = market.None
	}
	b.Bids, b.Asks, b.Instrument = d.bids, d.asks, d.id(nil, out)
	out.Book(&b)
	if restarted {
		out.Resync(b.Instrument, "the venue began to count its changes anew")
	}
	return nil
}

// levels reads the members of an object with both sides of a book. It says which
// sides there were, and whether the number of the one before.
func (d *decoder) levels(h *market.Header, b *market.Book) (sides int, chained bool) {
	c := &d.c
	d.bids, d.asks = d.bids[:0], d.asks[:0]
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "asks", "a":
			d.asks = source.Levels(c, d.asks)
			sides |= 1
		case "bids", "b":
			d.bids = source.Levels(c, d.bids)
			sides |= 2
		case "ts":
			h.Ts = source.Millis(c)
		case "seq":
			h.Seq = c.Int64()
		case "pseq":
			h.PrevSeq, chained = c.Int64(), true
		case "checksum":
			b.Checksum = c.Int64()
		case "maxdepth", "maxDepth": // of API v3, which tells how many levels it keeps
			b.Depth = c.Int64()
		default:
			c.Skip()
		}
	}
	return sides, chained
}

// bbo decodes a book of one level a side; a side may be empty.
func (d *decoder) bbo(out *source.Out) error {
	var b market.Book // whose other members say nothing here
	t := market.BBO{Header: source.Header(market.ChannelBBO)}
	if sides, _ := d.levels(&t.Header, &b); sides != 3 || d.m.symbol == nil {
		return source.Lacks(&d.c, "a best bid and offer", "instId, asks or bids")
	}
	source.Best(&t, d.bids, d.asks)
	t.PrevSeq, t.Instrument = market.None, d.id(nil, out)
	out.BBO(&t)
	return nil
}

// candles decodes [[time, open, high, low, close, volume, volume in quote
// currency, volume in USDT], …]; API v1 ends with the sixth.
func (d *decoder) candles(out *source.Out) error {
	c := &d.c
	c.Array()
	for c.Elem() {
		var v [7]market.Decimal
		n := source.Decimals(c, v[:])
		if n < 6 {
			return source.Lacks(c, "a candle", "time, prices or volume")
		}
		t := market.Candle{OpenTs: source.MillisOf(v[0]), Open: v[1], High: v[2], Low: v[3], Close: v[4], Volume: v[5], QuoteVolume: v[6]}
		if err := d.candle(&t, out); err != nil {
			return err
		}
	}
	return c.Err()
}

// kline decodes a candle of API v3.
func (d *decoder) kline(out *source.Out) error {
	c := &d.c
	t := market.Candle{OpenTs: market.None}
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "start":
			t.OpenTs = source.MillisOrNone(c)
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
		case "turnover":
			t.QuoteVolume = source.DecimalOrNull(c)
		}
	}
	return d.candle(&t, out)
}

// hongKong is ahead of UTC by so much: the venue's days begin there.
const hongKong = 8 * time.Hour

// candle emits one of the length that the message names.
func (d *decoder) candle(t *market.Candle, out *source.Out) error {
	m := &d.m
	i, utc := length(m.interval)
	switch {
	case t.OpenTs == market.None || t.Open.IsNull() || t.High.IsNull() || t.Low.IsNull() || t.Close.IsNull() || t.Volume.IsNull() || m.symbol == nil:
		return source.Lacks(&d.c, "a candle", "time, prices, volume or instId")
	case i == nil:
		return fmt.Errorf("at byte %d: candles of the unknown length %.20q", d.c.Offset(), m.interval)
	}
	t.Header = source.Header(market.ChannelCandles)
	t.Trades, t.Ts, t.Origin, t.Instrument = market.None, m.ts, m.origin, d.id(nil, out)
	if i.Put(t, hongKong); utc {
		i.Put(t, 0)
	}
	out.Candle(t)
	return nil
}

// length is a candle's by the venue's name of it: 1H, 1Dutc, and in
// requests of spot's 1min, 1h, 1day, 1week.
func length(native []byte) (i *source.Interval, utc bool) {
	short, utc := bytes.CutSuffix(native, []byte("utc"))
	for _, end := range [...]string{"in", "ay", "eek"} {
		short = bytes.TrimSuffix(short, []byte(end))
	}
	for i := range intervals {
		if l := &intervals[i]; string(short) == l.Name || string(short) == strings.TrimSuffix(l.Native, "utc") {
			return l, utc
		}
	}
	return nil, false
}

// liquidation decodes one of a product, whose side is the position's: what closes
// a long sells. Its amount is in the quote currency.
func (d *decoder) liquidation(out *source.Out) error {
	c := &d.c
	l := market.Liquidation{Header: source.Header(market.ChannelLiquidations)}
	l.Flags = market.FlagLossy | market.FlagQuoteAmount
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "side":
			l.Side = source.Side(c.Str(), "sell", "buy")
		case "price":
			l.Price = source.Decimal(c)
		case "amount":
			l.Amount = source.Decimal(c)
		case "ts":
			l.Ts = source.Millis(c)
		}
	}
	if symbol == nil || l.Side == market.SideUnknown || l.Price.IsNull() || l.Amount.IsNull() {
		return source.Lacks(&d.c, "a liquidation", "symbol, side, price or amount")
	}
	l.Instrument = d.id(symbol, out)
	out.Liquidation(&l)
	return nil
}

// event decodes what the venue says to a request:
// {"event":"subscribe","arg":{…}}, {"event":"error","arg":{…},"code":30001,"msg":"…","op":"subscribe"}.
// The documentation shows a request that was repeated as the answer to one to
// unsubscribe: {"op":"unsubscribe","args":[{…}]}.
func (d *decoder) event(out *source.Out) error {
	c, m := &d.c, &d.m
	*m = message{}
	var event, op, code, reason []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "event":
			event = c.Str()
		case "op":
			op = c.Str()
		case "arg":
			d.arg(c)
		case "args":
			c.Array()
			for c.Elem() {
				d.arg(c)
			}
		case "code":
			code = c.NumOrStr()
		case "msg":
			reason = c.Str()
		}
	}
	if err := c.End(); err != nil {
		return err
	}
	if event == nil {
		event = op
	}
	refused := string(event) == "error"
	if refused && m.channel == nil && len(reason) > 0 && reason[0] == '{' { // of API v3
		d.why.Reset(reason)
		d.arg(&d.why)
	}
	t := d.text[:0]
	unsubscribe := string(event) == "unsubscribe" || refused && string(op) == "unsubscribe"
	if unsubscribe {
		t = append(t, '-')
	}
	if m.channel != nil {
		t = append(append(append(append(append(t, m.channel...), '|'), m.product...), '|'), m.symbol...)
	}
	d.text = t
	switch {
	case refused:
		out.Rejected(t, fmt.Appendf(nil, "%s: %.300s", code, reason))
	case m.channel == nil:
		return fmt.Errorf("unknown event %.40q", event)
	case unsubscribe:
		if m.symbol != nil && bytes.HasPrefix(m.channel, []byte("books")) && string(m.channel) != feedOne {
			out.EndBook(d.id(nil, out))
		}
		out.Subscribed(t)
	case string(event) == "subscribe":
		out.Subscribed(t)
	default:
		return fmt.Errorf("unknown event %.40q", event)
	}
	return nil
}
