package gateio

import (
	"bytes"
	"fmt"
	"math"
	"strconv"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// decoder has no state but room: what a frame means follows from the frame.
type decoder struct {
	c jsonscan.Cursor
	source.Feed

	m          message     // that is being decoded
	b          market.Book // of the frame, until the rest of it was read
	bids, asks []market.Level
	text       []byte
}

// message is what stands around a channel's result.
type message struct {
	family   family
	what     topic
	at, sent int64  // time of the envelope; the same if it is in milliseconds
	symbol   []byte // that a request asked for
	origin   market.Origin
	objects  bool // levels are objects
	book     bool // there is one to be emitted
}

// family is a product whose channels begin with its name.
type family uint8

const (
	familyNone family = iota
	ofSpot
	ofFutures
	ofOptions
)

// market is that of a symbol.
func (f family) market(symbol []byte) market.Market {
	switch f {
	case ofSpot:
		return market.MarketSpot
	case ofOptions:
		return market.MarketOption
	}
	return contractOf(symbol)
}

// topic is a channel's name without its family.
type topic uint8

const (
	topicNone topic = iota
	isTrades
	isBookV2
	isBookUpdate
	isBookWhole
	isBBO
	isTickers
	isOptionTickers
	isCandles
	isLiquidations
	isStats
	isSystem
	isPong
)

// channel says what a channel's name means.
func channel(name []byte) (family, topic) {
	prefix, rest, _ := bytes.Cut(name, []byte{'.'})
	f := familyNone
	switch string(prefix) {
	case familySpot:
		f = ofSpot
	case familyFutures:
		f = ofFutures
	case familyOptions:
		f = ofOptions
	}
	switch string(rest) {
	case "trades", "trades_v2", "ul_trades":
		return f, isTrades
	case "obu":
		return f, isBookV2
	case "order_book_update":
		return f, isBookUpdate
	case "order_book":
		return f, isBookWhole
	case "book_ticker":
		return f, isBBO
	case "tickers":
		return f, isTickers
	case "contract_tickers":
		return f, isOptionTickers
	case "candlesticks", "contract_candlesticks":
		return f, isCandles
	case "public_liquidates", "liquidates":
		return f, isLiquidations
	case "contract_stats":
		return f, isStats
	case "system":
		return f, isSystem
	case "pong":
		return f, isPong
	}
	return f, topicNone
}

// NewDecoder starts a decoder; without channels it decodes all.
func (p *plugin) NewDecoder(s source.DecoderSettings) (source.Decoder, error) {
	return &decoder{Feed: s.Feed(), c: source.NewCursor()}, nil
}

// Decode handles a frame or a response.
func (d *decoder) Decode(in *source.Input, out *source.Out) error {
	switch in.Kind {
	case source.InputText:
		return in.Fail("gateio", d.frame(in.Data, out))
	case source.InputHTTP:
		return in.Fail("gateio", d.response(in, out))
	}
	return nil
}

// frame reads {"time":…,"time_ms":…,"channel":…,"event":"update","result":…}.
// The result is decoded where it stands, if all that it takes came before it,
// else when the rest was read.
func (d *decoder) frame(frame []byte, out *source.Out) error {
	c, m := &d.c, &d.m
	c.Reset(frame)
	c.Object()
	start := c.Mark()
	*m = message{sent: market.None}
	var name, event, token []byte
	var failed, payload jsonscan.Mark
	refused := false
	var result source.Body
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "time":
			if m.at == 0 {
				m.at = moment(c)
			}
		case "time_ms":
			if ms := source.Millis(c); ms > 0 { // 0 in acknowledgements of 2023
				m.at, m.sent = ms, ms
			}
		case "channel":
			name = c.Str()
			m.family, m.what = channel(name)
		case "event":
			event = c.Str()
		case "id":
			if !c.Null() {
				token = c.NumOrStr()
			}
		case "error":
			if !c.Null() {
				failed, refused = c.Mark(), true
			}
		case "payload":
			payload = c.Mark()
		case "result":
			// Order book V2 has its own time, and nothing but the channel before it.
			known := m.what != topicNone && (m.what == isBookV2 || m.at != 0 && isData(event))
			if result.Due(c, known && (event == nil || isData(event))) {
				if err := d.data(out); err != nil {
					return err
				}
			}
		case "method":
			c.Seek(start)
			return d.method(out)
		default:
			c.Skip()
		}
	}
	if err := result.End(c, m.family != familyNone && m.what != topicNone && isData(event) && !refused, func() error { return d.data(out) }); err != nil {
		return err
	}
	switch {
	case refused:
		return d.refused(token, failed, out)
	case string(event) == "subscribe" || string(event) == "unsubscribe":
		return d.answered(string(event), token, payload, out)
	case m.what == isPong:
		out.Heartbeat()
		return nil
	case m.family == familyNone || m.what == topicNone:
		return fmt.Errorf("unknown channel %.40q", name)
	case !result.Done:
		return fmt.Errorf("event %.20q of %.40q, or it has no result", event, name)
	}
	d.emitBook(out)
	return nil
}

// isData: all is a whole state, update what is new.
func isData(event []byte) bool { return string(event) == "update" || string(event) == "all" }

// data decodes a channel's result, which is due.
func (d *decoder) data(out *source.Out) error {
	one := (*decoder).trade
	switch d.m.what {
	case isTrades:
	case isBookV2, isBookUpdate, isBookWhole:
		d.m.objects = d.m.family != ofSpot && d.m.what != isBookV2
		one = (*decoder).book
	case isBBO:
		one = (*decoder).bbo
	case isTickers:
		one = (*decoder).ticker
	case isOptionTickers:
		one = (*decoder).optionTicker
	case isCandles:
		one = (*decoder).candle
	case isLiquidations:
		one = (*decoder).liquidation
	case isStats:
		one = (*decoder).stats
	case isSystem:
		one = (*decoder).system
	}
	return source.EachOrOne(&d.c, d, out, one)
}

// moment reads a time in seconds or milliseconds, which have decimals at times,
// whatever their member is called.
func moment(c *jsonscan.Cursor) int64 {
	const seconds = 100_000_000_000 // more than these are milliseconds
	v := source.Decimal(c)
	coef, ok := v.Coef()
	scale := v.Scale()
	for ; scale > 9 && coef%10 == 0; scale-- {
		coef /= 10
	}
	if !ok || scale > 9 || coef < 0 {
		c.Fail("a time is out of range")
		return 0
	}
	places := uint8(9)
	if coef >= seconds*pow10[scale] {
		places = 6
	}
	if scale > places {
		if cut := pow10[scale-places]; coef%cut == 0 {
			return coef / cut
		}
	} else if up := pow10[places-scale]; coef <= math.MaxInt64/up {
		return coef * up
	}
	c.Fail("a time is out of range")
	return 0
}

var pow10 = [10]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}

// header is where a record's header begins.
func (d *decoder) header(c market.Channel) market.Header {
	h := source.Header(c)
	h.TsSend, h.Origin = d.m.sent, d.m.origin
	return h
}

// symbolOf is the id of a symbol.
func (d *decoder) symbolOf(symbol []byte, out *source.Out) market.InstrumentID {
	return out.SymbolIn(d.m.family.market(symbol), symbol)
}

// trade decodes a trade. Spot's have a side, the others' size is negative where
// the taker sold. Spot's are numbered by market; a range is of several at once.
func (d *decoder) trade(out *source.Out) error {
	c := &d.c
	var t market.Trade // field by field: this is where most frames come through
	t.Channel, t.Origin, t.TsSend = market.ChannelTrades, d.m.origin, d.m.sent
	t.Seq, t.PrevSeq, t.FirstID, t.LastID = market.None, market.None, market.None, market.None
	symbol := d.m.symbol
	signed := d.m.family != ofSpot
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "currency_pair", "contract":
			symbol = c.Str()
		case "id":
			t.ID = c.NumOrStr()
		case "price":
			t.Price = source.Decimal(c)
		case "amount", "size":
			t.Amount = source.Decimal(c)
		case "side":
			t.Side = source.Side(c.Str(), "buy", "sell")
		case "create_time_ms":
			t.Ts = moment(c)
		case "create_time":
			if t.Ts == 0 {
				t.Ts = moment(c)
			}
		case "range":
			d.numbers(&t, c.Str())
		case "is_internal": // liquidated positions that the insurance fund takes over
			if c.Bool() {
				t.Conditions = internal
			}
		default:
			c.Skip()
		}
	}
	if signed {
		t.Amount, t.Side = unsigned(t.Amount)
	}
	if symbol == nil || t.ID == nil || t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown {
		return source.Lacks(c, "a trade", "symbol, id, price, amount or side")
	}
	t.Instrument = d.symbolOf(symbol, out)
	out.Trade(&t)
	return nil
}

var internal = []byte("internal")

// numbers reads the numbers that a trade has in its market: "2390902-2390902".
func (d *decoder) numbers(t *market.Trade, text []byte) {
	from, to, _ := bytes.Cut(text, []byte{'-'})
	first, err := strconv.ParseInt(string(from), 10, 64)
	last, err2 := strconv.ParseInt(string(to), 10, 64)
	if err != nil || err2 != nil || last < first {
		d.c.Fail("a range is no two numbers")
		return
	}
	if t.Seq = last; first != last {
		t.FirstID, t.LastID = first, last
	}
}

// unsigned tells an amount and its side apart.
func unsigned(size market.Decimal) (market.Decimal, market.Side) {
	switch size.Sign() {
	case 1:
		return size, market.SideBuy
	case -1:
		return size.Neg(), market.SideSell
	}
	return market.Decimal{}, market.SideUnknown
}

// book decodes a whole book or changes into d.b, which is emitted when the frame
// is known to be one.
func (d *decoder) book(*source.Out) error {
	c := &d.c
	b := &d.b
	*b = market.Book{Header: d.header(market.ChannelBook), Depth: market.None, FirstSeq: market.None, Checksum: market.None}
	b.Kind = market.KindBookDelta
	d.bids, d.asks = d.bids[:0], d.asks[:0]
	symbol, first := d.m.symbol, market.None
	for c.Key() {
		switch c.Key1() {
		case 's':
			symbol = c.Str()
		case 'U':
			first = c.Int64()
		case 'u':
			b.Seq = c.Int64()
		case 'b':
			d.bids = d.levels(d.bids[:0])
		case 'a':
			d.asks = d.levels(d.asks[:0])
		case 't':
			b.Ts = source.Millis(c)
		case 'l':
			b.Depth = c.Int64()
		default:
			switch string(c.KeyBytes()) {
			case "full":
				if c.Bool() {
					b.Kind = market.KindBookSnapshot
				}
			case "contract":
				symbol = c.Str()
			case "id", "lastUpdateId":
				b.Seq = c.Int64()
			case "bids":
				d.bids = d.levels(d.bids[:0])
			case "asks":
				d.asks = d.levels(d.asks[:0])
			case "update":
				b.Ts = moment(c)
			default:
				c.Skip()
			}
		}
	}
	if d.m.what == isBookV2 {
		symbol, b.Depth = feed(symbol)
	}
	if symbol == nil {
		return source.Lacks(c, "a book", "symbol")
	}
	switch {
	case d.m.what == isBookWhole:
		b.Kind = market.KindBookSnapshot
	case b.Seq == market.None || b.Kind == market.KindBookDelta && first == market.None:
		return source.Lacks(c, "changes of a book", "U or u")
	case b.Kind == market.KindBookDelta:
		b.FirstSeq = first
	}
	d.text = append(d.text[:0], symbol...)
	d.m.book = true
	return c.Err()
}

// feed takes apart the name of a feed of order book V2: ob.BTC_USDT.400.
func feed(name []byte) (symbol []byte, depth int64) {
	rest, ok := bytes.CutPrefix(name, []byte("ob."))
	i := bytes.LastIndexByte(rest, '.')
	if !ok || i < 0 {
		return name, market.None
	}
	depth, err := strconv.ParseInt(string(rest[i+1:]), 10, 32)
	if err != nil {
		depth = market.None
	}
	return rest[:i], depth
}

func (d *decoder) emitBook(out *source.Out) {
	if !d.m.book {
		return
	}
	b := &d.b
	b.TsSend, b.Bids, b.Asks = d.m.sent, d.bids, d.asks
	b.Instrument = d.symbolOf(d.text, out)
	out.Book(b)
}

// levels reads levels sent as pairs, or as {"p":"62914.2","s":"21129"}.
func (d *decoder) levels(ls []market.Level) []market.Level {
	c := &d.c
	if c.Kind() == jsonscan.KindNull {
		c.Null()
		return ls
	}
	if !d.m.objects {
		return source.Levels(c, ls)
	}
	c.Array()
	for c.Elem() {
		var l market.Level
		c.Object()
		for c.Key() {
			switch c.Key1() {
			case 'p':
				l.Price = source.Decimal(c)
			case 's':
				l.Amount = source.Decimal(c)
			default:
				c.Skip()
			}
		}
		if l.Price.IsNull() || l.Amount.IsNull() {
			c.Fail("a level without price or amount")
			break
		}
		if len(ls) >= market.MaxLevels {
			c.Fail("more levels than a book record holds")
			break
		}
		ls = append(ls, l)
	}
	return ls
}

// bbo decodes a best bid and offer; a side may be empty.
func (d *decoder) bbo(out *source.Out) error {
	c := &d.c
	t := market.BBO{Header: d.header(market.ChannelBBO)}
	var symbol []byte
	for c.Key() {
		switch c.Key1() {
		case 't':
			t.Ts = source.Millis(c)
		case 'u':
			t.Seq = c.Int64()
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
		default:
			c.Skip()
		}
	}
	if symbol == nil || t.Seq == market.None {
		return source.Lacks(c, "a best bid and offer", "s or u")
	}
	if t.BidPrice.IsNull() {
		t.BidAmount = market.Decimal{}
	}
	if t.AskPrice.IsNull() {
		t.AskAmount = market.Decimal{}
	}
	t.Instrument = d.symbolOf(symbol, out)
	out.BBO(&t)
	return nil
}
