package hyperliquid

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// decoder remembers which trades are due to begin with those of before.
type decoder struct {
	c     jsonscan.Cursor
	inner jsonscan.Cursor // of the request that an error's text repeats
	source.Feed
	depth int64 // of books

	begun      []begun
	names      [][]byte // of the perpetuals that contexts in a response belong to
	bids, asks []market.Level
	token      []byte
}

// begun is a subscription of trades that was acknowledged and has brought
// nothing so far.
type begun struct {
	conn uint32
	coin string
	at   int64 // it was acknowledged
}

// topic is what a frame's channel says.
type topic uint8

const (
	topicNone topic = iota
	isTrades
	isBook
	isBBO
	isContext
	isCandle
	isAnswer
	isError
	isPong
)

func topicOf(name []byte) topic {
	switch string(name) {
	case nameTrades:
		return isTrades
	case nameBook:
		return isBook
	case nameBBO:
		return isBBO
	case nameContext, nameSpotContext:
		return isContext
	case nameCandle:
		return isCandle
	case "subscriptionResponse":
		return isAnswer
	case "error":
		return isError
	case "pong":
		return isPong
	}
	return topicNone
}

// NewDecoder starts a decoder; without channels it decodes all.
func (p *plugin) NewDecoder(s source.DecoderSettings) (source.Decoder, error) {
	return &decoder{Feed: s.Feed(), c: source.NewCursor(), depth: depth(s.Channels[market.ChannelBook].Int("depth"))}, nil
}

// Decode handles a frame, a response, or the beginning or end of a connection.
func (d *decoder) Decode(in *source.Input, out *source.Out) error {
	switch in.Kind {
	case source.InputText:
		d.c.Reset(in.Data)
		return in.Fail("hyperliquid", d.frame(in, out))
	case source.InputHTTP:
		if in.Status != 200 {
			return in.Fail("hyperliquid", fmt.Errorf("status %d: %.200s", in.Status, in.Data))
		}
		d.c.Reset(in.Data)
		return in.Fail("hyperliquid", d.response(out))
	case source.InputOpen, source.InputClose:
		d.begun = slices.DeleteFunc(d.begun, func(b begun) bool { return b.conn == in.Conn })
	case source.InputBinary:
		return in.Binary("hyperliquid")
	}
	return nil
}

// frame reads {"channel":…,"data":…}. Data is read where it stands if the
// channel came before it.
func (d *decoder) frame(in *source.Input, out *source.Out) error {
	c := &d.c
	what := topicNone
	var body source.Body
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "channel":
			name := c.Str()
			if what = topicOf(name); what == topicNone && c.Err() == nil {
				return fmt.Errorf("unknown channel %.40q", name)
			}
		case "data":
			if body.Due(c, what != topicNone) {
				if err := d.data(what, in, out); err != nil {
					return err
				}
			}
		default:
			c.Skip()
		}
	}
	if err := body.End(c, what != topicNone && what != isPong, func() error { return d.data(what, in, out) }); err != nil {
		return err
	}
	if what == isPong {
		out.Heartbeat()
	} else if !body.Done {
		return fmt.Errorf("a frame without channel or data")
	}
	return nil
}

// data decodes a channel's data, which is due.
func (d *decoder) data(what topic, in *source.Input, out *source.Out) error {
	c := &d.c
	switch what {
	case isTrades:
		return d.trades(in.Conn, out)
	case isBook:
		c.Object()
		return d.book(out)
	case isBBO:
		return d.bbo(out)
	case isContext:
		return d.context(out)
	case isCandle:
		c.Object()
		return d.candle(out, market.OriginLive)
	case isAnswer:
		return d.answer(in, out)
	case isError:
		d.refusal(c.Str(), out)
	}
	return c.Err()
}

// trades decodes those of one coin. The first frame after an acknowledgement
// holds the latest of before it, if there were any.
func (d *decoder) trades(conn uint32, out *source.Out) error {
	c := &d.c
	first, until := len(d.begun) > 0, int64(0)
	c.Array()
	for c.Elem() {
		c.Object()
		var t market.Trade // field by field: this is where most frames come through
		coin, err := d.trade(&t)
		if err != nil {
			return err
		}
		if first {
			first = false
			if i := slices.IndexFunc(d.begun, func(b begun) bool { return b.conn == conn && b.coin == string(coin) }); i >= 0 {
				until = d.begun[i].at
				d.begun = slices.Delete(d.begun, i, i+1)
			}
		}
		if t.Ts < until {
			t.Origin = market.OriginHistory
		}
		t.Instrument = out.SymbolIn(marketOf(coin), coin)
		out.Trade(&t)
	}
	return c.Err()
}

// trade reads one whose object was entered. The side is the taker's.
func (d *decoder) trade(t *market.Trade) (coin []byte, err error) {
	c := &d.c
	t.Channel = market.ChannelTrades
	t.TsSend, t.Seq, t.PrevSeq, t.FirstID, t.LastID = market.None, market.None, market.None, market.None, market.None
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "coin":
			coin = c.Str()
		case "side":
			t.Side = source.Side(c.Str(), "B", "A")
		case "px":
			t.Price = source.Decimal(c)
		case "sz":
			t.Amount = source.Decimal(c)
		case "time":
			t.Ts = source.Millis(c)
		case "tid":
			t.ID = c.NumOrStr()
		default: // hash and users
			c.Skip()
		}
	}
	if len(coin) == 0 || len(t.ID) == 0 || t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown {
		return nil, source.Lacks(c, "a trade", "coin, tid, px, sz or side")
	}
	return coin, nil
}

// book decodes a whole book, of a stream or a response, whose object was
// entered. Its time is all that it can be told by.
func (d *decoder) book(out *source.Out) error {
	c := &d.c
	b := source.NewBook(market.KindBookSnapshot)
	b.Depth = d.depth
	var coin []byte
	sides := 0
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "coin":
			coin = c.Str()
		case "time":
			b.Ts = source.Millis(c)
		case "fast":
			if c.Bool() {
				b.Depth = levelsFast
			}
		case "levels":
			c.Array()
			for ; c.Elem(); sides++ {
				switch sides {
				case 0:
					d.bids = levels(c, d.bids[:0])
				case 1:
					d.asks = levels(c, d.asks[:0])
				}
			}
		default:
			c.Skip()
		}
	}
	if len(coin) == 0 || b.Ts == 0 || sides != 2 {
		return source.Lacks(c, "a book", "coin, time or both sides")
	}
	b.Seq, b.Bids, b.Asks = b.Ts/1_000_000, d.bids, d.asks
	b.Instrument = out.SymbolIn(marketOf(coin), coin)
	out.Book(&b)
	return nil
}

// levels appends those of a side, which is due.
func levels(c *jsonscan.Cursor, ls []market.Level) []market.Level {
	c.Array()
	for c.Elem() {
		if len(ls) >= market.MaxLevels {
			c.Fail("more levels than a book record holds")
			break
		}
		ls = append(ls, level(c))
	}
	return ls
}

// level reads {"px":"105055.0","sz":"3.03622","n":5}.
func level(c *jsonscan.Cursor) (l market.Level) {
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "px":
			l.Price = source.Decimal(c)
		case "sz":
			l.Amount = source.Decimal(c)
		default: // n: how many orders
			c.Skip()
		}
	}
	if l.Price.IsNull() || l.Amount.IsNull() {
		c.Fail("a level without px or sz")
	}
	return l
}

// bbo decodes {"coin":…,"time":…,"bbo":[bid,ask]}; a side without orders is null.
func (d *decoder) bbo(out *source.Out) error {
	c := &d.c
	t := market.BBO{Header: source.Header(market.ChannelBBO)}
	var coin []byte
	sides := 0
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "coin":
			coin = c.Str()
		case "time":
			t.Ts = source.Millis(c)
		case "bbo":
			c.Array()
			for ; c.Elem(); sides++ {
				if c.Null() {
					continue
				}
				l := level(c)
				if sides == 0 {
					t.BidPrice, t.BidAmount = l.Price, l.Amount
				} else {
					t.AskPrice, t.AskAmount = l.Price, l.Amount
				}
			}
		default:
			c.Skip()
		}
	}
	if len(coin) == 0 || sides != 2 {
		return source.Lacks(c, "a best bid and offer", "coin or both sides")
	}
	t.Instrument = out.SymbolIn(marketOf(coin), coin)
	out.BBO(&t)
	return nil
}

// candle decodes the state of a candle whose object was entered. The venue
// doesn't say which is the last; the end is a candle's last millisecond.
func (d *decoder) candle(out *source.Out, origin market.Origin) error {
	c := &d.c
	t := market.Candle{Header: source.Header(market.ChannelCandles), Trades: market.None}
	t.Origin = origin
	var coin []byte
	for c.Key() {
		switch c.Key1() {
		case 't':
			t.OpenTs = source.Millis(c)
		case 'T':
			t.CloseTs = source.Millis(c)
		case 's':
			coin = c.Str()
		case 'i':
			t.Interval = c.Str()
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
		case 'n':
			t.Trades = c.Int64()
		default:
			c.Skip()
		}
	}
	if len(coin) == 0 || len(t.Interval) == 0 || t.OpenTs == 0 || t.CloseTs == 0 || t.Open.IsNull() || t.High.IsNull() || t.Low.IsNull() || t.Close.IsNull() {
		return source.Lacks(c, "a candle", "s, i, t, T or prices")
	}
	t.Instrument = out.SymbolIn(marketOf(coin), coin)
	out.Candle(&t)
	return nil
}

// assetContext is the state of a coin that has no time of its own.
type assetContext struct {
	open, quoteVolume, volume, mark, oracle, funding, interest market.Decimal
}

// context decodes {"coin":…,"ctx":{…}}.
func (d *decoder) context(out *source.Out) error {
	c := &d.c
	var coin []byte
	var x assetContext
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "coin":
			coin = c.Str()
		case "ctx":
			c.Object()
			x.read(c)
		default:
			c.Skip()
		}
	}
	if len(coin) == 0 || x.mark.IsNull() {
		return source.Lacks(c, "a context", "coin or markPx")
	}
	d.emit(out, coin, &x, true)
	return nil
}

// read reads a context whose object was entered. A pair's response has its coin
// among the members.
func (x *assetContext) read(c *jsonscan.Cursor) (coin []byte) {
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "coin":
			coin = c.Str()
		case "prevDayPx":
			x.open = source.DecimalOrNull(c)
		case "dayNtlVlm":
			x.quoteVolume = source.DecimalOrNull(c)
		case "dayBaseVlm":
			x.volume = source.DecimalOrNull(c)
		case "markPx":
			x.mark = source.DecimalOrNull(c)
		case "oraclePx":
			x.oracle = source.DecimalOrNull(c)
		case "funding":
			x.funding = source.DecimalOrNull(c)
		case "openInterest":
			x.interest = source.DecimalOrNull(c)
		default: // premium, midPx, impactPxs, supplies
			c.Skip()
		}
	}
	return coin
}

// hourly is the interval of funding.
var hourly = []byte("1h")

// emit emits the channels that are in use. A ticker has no last price: the venue
// states none.
func (d *decoder) emit(out *source.Out, coin []byte, x *assetContext, ticker bool) {
	m := marketOf(coin)
	h := source.Header(market.ChannelTicker)
	h.Instrument = out.SymbolIn(m, coin)
	if ticker && d.Uses(market.ChannelTicker) {
		t := market.Ticker{Header: h, Open: x.open, Volume: x.volume, QuoteVolume: x.quoteVolume, Trades: market.None}
		out.Ticker(&t)
	}
	d.MarkPrice(out, h, x.mark)
	if m != market.MarketLinear {
		return
	}
	d.IndexPrice(out, h, x.oracle)
	d.Funding(out, h, market.Funding{Rate: x.funding, NextTs: market.None, Interval: hourly})
	d.OpenInterest(out, h, x.interest, market.Decimal{})
}

// request is what an answer or an error repeats of what was asked for.
type request struct {
	unsubscribe          bool
	kind, coin, interval []byte
}

// read reads {"method":…,"subscription":{…}}, or the subscription alone, whose
// object was entered.
func (r *request) read(c *jsonscan.Cursor) {
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "method":
			r.unsubscribe = string(c.Str()) == "unsubscribe"
		case "subscription":
			c.Object()
			r.read(c)
		case "type":
			r.kind = c.Str()
		case "coin":
			r.coin = c.Str()
		case "interval":
			r.interval = c.Str()
		default:
			c.Skip()
		}
	}
}

// answer decodes an acknowledgement.
func (d *decoder) answer(in *source.Input, out *source.Out) error {
	var r request
	d.c.Object()
	r.read(&d.c)
	if len(r.kind) == 0 {
		return source.Lacks(&d.c, "an answer", "type")
	}
	d.accepted(in, &r, out)
	return nil
}

// accepted passes an acknowledgement on.
func (d *decoder) accepted(in *source.Input, r *request, out *source.Out) {
	switch {
	case r.unsubscribe && string(r.kind) == nameBook:
		out.EndBook(out.SymbolIn(marketOf(r.coin), r.coin))
	case string(r.kind) == nameTrades:
		d.begun = slices.DeleteFunc(d.begun, func(b begun) bool { return b.conn == in.Conn && b.coin == string(r.coin) })
		if !r.unsubscribe {
			d.begun = append(d.begun, begun{in.Conn, string(r.coin), in.Recv})
		}
	}
	d.token = appendToken(d.token[:0], r.kind, r.coin, r.interval)
	out.Subscribed(d.token)
}

// refusal decodes an error's text, which ends with what was asked for: "Invalid
// subscription {…}". What is subscribed already, or no more, is as good as
// acknowledged.
func (d *decoder) refusal(text []byte, out *source.Out) {
	var r request
	c := &d.inner
	if i := bytes.IndexByte(text, '{'); i >= 0 {
		c.Reset(text[i:])
		c.Object()
		if r.read(c); c.End() != nil {
			r = request{}
		}
	}
	if len(r.kind) == 0 { // requests are answered in order
		out.Rejected([]byte(source.TokenOldest), text[:min(len(text), 300)])
		return
	}
	d.token = appendToken(d.token[:0], r.kind, r.coin, r.interval)
	if bytes.HasPrefix(text, []byte("Already ")) {
		out.Subscribed(d.token)
		return
	}
	out.Rejected(d.token, text[:min(len(text), 300)])
}
