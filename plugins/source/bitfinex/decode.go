package bitfinex

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// decoder keeps what the channel ids of connections stand for: frames have
// nothing else. It follows from acknowledgements, which the runtime remembers.
type decoder struct {
	c jsonscan.Cursor
	source.Feed

	topics map[topicKey]*topic
	recent [64]*topic // of them, by their id's last bits

	seq, sent  int64 // of the frame that is being decoded, or None
	nums       [24]jsonscan.Decimal
	row        [24]market.Decimal
	bids, asks []market.Level
	text       []byte
}

type topicKey struct {
	conn uint32
	id   int64
}

// topic is what a channel id stands for.
type topic struct {
	topicKey
	channel  market.Channel // funding for a contract's state, none for what has no record
	market   market.Market
	symbol   []byte
	depth    int64            // of a book
	orders   *orders          // of a raw one
	interval *source.Interval // of candles
}

// NewDecoder starts a decoder; without channels it decodes all.
func (p *plugin) NewDecoder(s source.DecoderSettings) (source.Decoder, error) {
	return &decoder{Feed: s.Feed(), c: source.NewCursor(), topics: map[topicKey]*topic{}}, nil
}

// Decode handles a frame or a response.
func (d *decoder) Decode(in *source.Input, out *source.Out) error {
	c := &d.c
	switch in.Kind {
	case source.InputText:
		c.Reset(in.Data)
		if c.Kind() == jsonscan.KindObject {
			return in.Fail("bitfinex", d.event(in.Conn, out))
		}
		return in.Fail("bitfinex", d.frame(in.Conn, out))
	case source.InputHTTP:
		c.Reset(in.Data)
		return in.Fail("bitfinex", d.response(in, out))
	case source.InputBinary:
		return in.Binary("bitfinex")
	case source.InputClose:
		for k := range d.topics {
			if k.conn == in.Conn {
				d.forget(k)
			}
		}
	}
	return nil
}

func (d *decoder) forget(k topicKey) {
	delete(d.topics, k)
	d.recent[k.id&63] = nil
}

// topic finds what a channel id stands for; nil if it wasn't announced.
func (d *decoder) topic(conn uint32, id int64) *topic {
	slot := &d.recent[id&63]
	if t := *slot; t == nil || t.id != id || t.conn != conn {
		*slot = d.topics[topicKey{conn, id}]
	}
	return *slot
}

// frame decodes [id, payload] or [id, "kind", payload]; a number and the time of
// sending stand last, where the connection has asked for them.
func (d *decoder) frame(conn uint32, out *source.Out) error {
	c := &d.c
	d.seq, d.sent = market.None, market.None
	c.Array()
	if !c.Elem() {
		return source.Lacks(c, "a frame", "a channel")
	}
	id := c.Int64()
	t := d.topic(conn, id)
	if !c.Elem() {
		return source.Lacks(c, "a frame", "a payload")
	}
	if c.Kind() == jsonscan.KindString {
		return d.marked(t, id, out)
	}
	if t == nil {
		return unannounced(c, id)
	}
	switch t.channel {
	case market.ChannelBook:
		d.book(t, out)
	case market.ChannelTrades:
		d.trades(t, out)
	case market.ChannelTicker:
		d.ticker(t, out)
	case market.ChannelCandles:
		d.candles(t, out)
	case market.ChannelFunding:
		d.status(t, out)
	case market.ChannelLiquidations:
		d.liquidations(out)
	default:
		c.Skip()
		d.tail(out)
		out.Heartbeat()
	}
	return c.End()
}

func unannounced(c *jsonscan.Cursor, id int64) error {
	if err := c.Err(); err != nil {
		return err
	}
	return fmt.Errorf("channel %d was not announced", id)
}

// marked decodes a frame whose kind is said: "te" is a trade, "tu" repeats it a
// second or two later, "hb" is a heartbeat, "cs" a checksum.
// Heartbeats of a channel may come before its acknowledgement.
func (d *decoder) marked(t *topic, id int64, out *source.Out) error {
	c := &d.c
	kind := c.Str()
	switch {
	case string(kind) == "hb":
	case t == nil:
		return unannounced(c, id)
	case string(kind) == "te" && t.channel == market.ChannelTrades:
		if !c.Elem() {
			return source.Lacks(c, "a trade", "a payload")
		}
		row, _ := d.numbers(4)
		d.tail(out)
		d.trade(t, row, market.OriginLive, out)
		return c.End()
	case string(kind) == "cs" && t.channel == market.ChannelBook && t.orders == nil:
		if !c.Elem() {
			return source.Lacks(c, "a checksum", "a value")
		}
		sum := c.Int64()
		d.tail(out)
		b := market.Book{Header: d.header(market.ChannelBook), Depth: t.depth, FirstSeq: market.None, Checksum: sum}
		b.Kind, b.Seq = market.KindBookDelta, d.seq
		b.Instrument = out.SymbolIn(t.market, t.symbol)
		out.Book(&b)
		return c.End()
	case c.Elem():
		c.Skip()
	}
	d.tail(out)
	out.Heartbeat()
	return c.End()
}

// tail reads what stands behind the payload: the frame's number, the time in
// milliseconds.
func (d *decoder) tail(out *source.Out) {
	c := &d.c
	for c.Depth() > 0 && c.Elem() { // answers to requests are the payload alone
		if c.Kind() != jsonscan.KindNumber {
			continue
		}
		if n := c.Int64(); n < 1e12 {
			d.seq = n
		} else if n <= maxMillis {
			d.sent = n * 1_000_000
		}
	}
	if d.seq != market.None {
		out.Sequence(d.seq)
	}
}

// numbers reads the first n numbers of a payload; many is set where it is a list
// of payloads, which is open then.
func (d *decoder) numbers(n int) (row []market.Decimal, many bool) {
	c := &d.c
	if n, ok := c.Decimals(d.nums[:n]); ok {
		for i := range d.nums[:n] {
			d.row[i] = market.NewDecimal(d.nums[i].Coef, d.nums[i].Scale)
		}
		return d.row[:n], false
	}
	return d.slow(n)
}

// slow reads what the cursor doesn't at sight: exponents, null, a list.
func (d *decoder) slow(n int) (row []market.Decimal, many bool) {
	c := &d.c
	c.Array()
	row = d.row[:0]
	for c.Elem() {
		if len(row) == 0 && c.Kind() == jsonscan.KindArray {
			return nil, true
		}
		if len(row) < n {
			row = append(row, source.DecimalOrNull(c))
		}
	}
	return row, false
}

// rows goes through a list whose first row is due, as numbers leaves it.
func (d *decoder) rows(n int, one func(row []market.Decimal)) {
	for {
		row, _ := d.numbers(n)
		if one(row); !d.c.Elem() {
			return
		}
	}
}

// each goes through a list of payloads, whose frame's tail is read before.
func (d *decoder) each(n int, out *source.Out, one func(row []market.Decimal)) {
	c := &d.c
	start := c.Mark()
	c.Skip()
	d.tail(out)
	c.Seek(start)
	if row, many := d.numbers(n); many {
		d.rows(n, one)
	} else if len(row) > 0 {
		one(row)
	}
}

// header begins a record with what the frame's tail says.
func (d *decoder) header(c market.Channel) market.Header {
	h := source.Header(c)
	h.Ts, h.TsSend = d.sent, d.sent
	return h
}

// maxMillis is the last millisecond whose nanoseconds can be told.
const maxMillis = 1<<63/1_000_000 - 1

// millis is a time in milliseconds as ns.
func (d *decoder) millis(v market.Decimal) int64 {
	if ms, ok := v.Coef(); ok && v.Scale() == 0 && ms >= 0 && ms <= maxMillis {
		return ms * 1_000_000
	}
	ns, ok := v.Rescale(6)
	if !ok || ns < 0 {
		d.c.Fail("a time is out of range")
	}
	return ns
}

// book decodes [price, count, amount], in a list a whole book. Amounts of asks
// are negative; count 0 takes the level away. Those of a raw book are orders.
func (d *decoder) book(t *topic, out *source.Out) {
	d.bids, d.asks = d.bids[:0], d.asks[:0]
	kind := market.KindBookDelta
	row, many := d.numbers(3)
	switch {
	case !many && len(row) > 0:
		d.entry(t, row)
	default:
		kind = market.KindBookSnapshot
		if t.orders != nil {
			t.orders.clear()
		}
		if many {
			d.rows(3, func(row []market.Decimal) { d.entry(t, row) })
		}
	}
	d.tail(out)
	if d.c.Err() != nil {
		return
	}
	inst := out.SymbolIn(t.market, t.symbol)
	if t.orders != nil && !t.orders.known {
		if !t.orders.asked {
			t.orders.asked = true
			out.Resync(inst, "the orders of the raw book are not known")
		}
		return
	}
	b := market.Book{Header: d.header(market.ChannelBook), Depth: t.depth, FirstSeq: market.None, Checksum: market.None, Bids: d.bids, Asks: d.asks}
	b.Kind, b.Seq, b.Instrument = kind, d.seq, inst
	out.Book(&b)
}

func (d *decoder) entry(t *topic, row []market.Decimal) {
	if t.orders != nil {
		d.order(t.orders, row)
	} else {
		d.level(row)
	}
}

func (d *decoder) level(row []market.Decimal) {
	if len(row) < 3 || row[0].IsNull() || row[1].IsNull() || row[2].IsNull() || len(d.bids)+len(d.asks) >= market.MaxLevels {
		d.c.Fail("a level without price, count or amount, or more than a record holds")
		return
	}
	l := market.Level{Price: row[0], Amount: row[2]}
	to := &d.bids
	if l.Amount.Sign() < 0 {
		to, l.Amount = &d.asks, l.Amount.Neg()
	}
	if row[1].Sign() == 0 {
		l.Amount = market.NewDecimal(0, 0)
	}
	*to = append(*to, l)
}

// trades decodes the trades before a subscription, the newest first.
func (d *decoder) trades(t *topic, out *source.Out) {
	d.each(4, out, func(row []market.Decimal) { d.trade(t, row, market.OriginHistory, out) })
}

// trade decodes [id, time, amount, price]; the amount of what a seller took is
// negative. Ids are of the whole venue: they order nothing.
func (d *decoder) trade(t *topic, row []market.Decimal, origin market.Origin, out *source.Out) {
	if len(row) < 4 || row[0].IsNull() || row[1].IsNull() || row[2].IsNull() || row[3].IsNull() {
		d.c.Fail("a trade without id, time, amount or price")
		return
	}
	r := market.Trade{Header: d.header(market.ChannelTrades), FirstID: market.None, LastID: market.None, Price: row[3], Amount: row[2], Side: market.SideBuy}
	r.Origin, r.Ts = origin, d.millis(row[1])
	if r.Amount.Sign() < 0 {
		r.Amount, r.Side = r.Amount.Neg(), market.SideSell
	}
	if id, ok := row[0].Coef(); ok && row[0].Scale() == 0 {
		d.text = strconv.AppendInt(d.text[:0], id, 10)
	} else {
		d.text = row[0].AppendTrimmed(d.text[:0])
	}
	r.ID = d.text
	r.Instrument = out.SymbolIn(t.market, t.symbol)
	out.Trade(&r)
}

// ticker decodes [bid, bids' sum, ask, asks' sum, change, change in parts, last,
// volume, high, low]. The sums are of 25 orders, no amounts at the best price.
func (d *decoder) ticker(t *topic, out *source.Out) {
	row, _ := d.numbers(10)
	d.tail(out)
	d.tick(t.market, t.symbol, row, out)
}

func (d *decoder) tick(m market.Market, symbol []byte, row []market.Decimal, out *source.Out) {
	if len(row) < 10 {
		d.c.Fail("a ticker of fewer than ten numbers")
		return
	}
	r := market.Ticker{Header: d.header(market.ChannelTicker), Trades: market.None, BidPrice: row[0], AskPrice: row[2], Last: row[6], Volume: row[7], High: row[8], Low: row[9]}
	r.Instrument = out.SymbolIn(m, symbol)
	out.Ticker(&r)
}

// candles decodes [start, open, close, high, low, volume], in a list the candles
// before a subscription.
func (d *decoder) candles(t *topic, out *source.Out) {
	c := &d.c
	start := c.Mark()
	row, many := d.numbers(6)
	if !many && len(row) > 0 {
		d.tail(out)
		d.candle(t, row, market.OriginLive, out)
		return
	}
	c.Seek(start)
	d.each(6, out, func(row []market.Decimal) { d.candle(t, row, market.OriginHistory, out) })
}

func (d *decoder) candle(t *topic, row []market.Decimal, origin market.Origin, out *source.Out) {
	if len(row) < 6 || row[0].IsNull() {
		d.c.Fail("a candle of fewer than six numbers, or without a start")
		return
	}
	r := market.Candle{Header: d.header(market.ChannelCandles), Trades: market.None,
		Open: row[1], Close: row[2], High: row[3], Low: row[4], Volume: row[5]}
	r.Origin, r.OpenTs = origin, d.millis(row[0])
	t.interval.Put(&r, 0)
	r.Instrument = out.SymbolIn(t.market, t.symbol)
	out.Candle(&r)
}

// event decodes what the venue says to a request, and what it announces.
func (d *decoder) event(conn uint32, out *source.Out) error {
	c := &d.c
	var event, channel, symbol, key, prec, token, code, msg, status, length []byte
	id, platform := int64(market.None), int64(1)
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "event":
			event = c.Str()
		case "channel":
			channel = c.Str()
		case "chanId":
			id = c.Int64()
		case "symbol":
			symbol = c.Str()
		case "key":
			key = c.Str()
		case "prec":
			prec = c.Str()
		case "len":
			length = c.NumOrStr()
		case "subId":
			token = c.NumOrStr()
		case "code":
			code = c.NumOrStr()
		case "msg":
			msg = c.Str()
		case "status":
			status = c.Str()
		case "platform":
			c.Object()
			for c.Key() {
				if string(c.KeyBytes()) == "status" {
					platform = c.Int64()
				}
			}
		}
	}
	if err := c.End(); err != nil {
		return err
	}
	if token == nil && channel != nil {
		token = []byte(tokenOf(channel, symbol, key, prec))
	}
	switch string(event) {
	case "subscribed":
		if channel == nil || id == market.None {
			return fmt.Errorf("a subscription without channel or chanId")
		}
		if err := d.begin(topicKey{conn, id}, channel, symbol, key, prec, length); err != nil {
			return err
		}
		out.Remember()
		out.SubscribedAs(token, strconv.AppendInt(d.text[:0], id, 10))
	case "unsubscribed":
		k := topicKey{conn, id}
		if t := d.topics[k]; t != nil && t.channel == market.ChannelBook {
			out.EndBook(out.SymbolIn(t.market, t.symbol))
		}
		d.forget(k)
		out.Subscribed([]byte(ends(strconv.FormatInt(id, 10))))
	case "error":
		if token == nil && id != market.None {
			token = []byte(ends(strconv.FormatInt(id, 10)))
		}
		out.Rejected(token, fmt.Appendf(nil, "%s: %.300s", code, msg))
	case "conf":
		if string(status) != "OK" {
			out.Rejected([]byte(ready), fmt.Appendf(nil, "%.40s: %.300s", status, msg))
			return nil
		}
		out.Ready(ready)
	case "info":
		d.info(code, msg, platform, out)
	case "pong":
		out.Heartbeat()
	default:
		return fmt.Errorf("unknown event %.40q", event)
	}
	return nil
}

// info passes on what the venue announces: 20051, it will restart the connection;
// 20060 and 20061, it enters maintenance and has left it, after which everything
// should be subscribed anew.
func (d *decoder) info(code, msg []byte, platform int64, out *source.Out) {
	switch string(code) {
	case "20051", "20061":
		out.Reconnect(fmt.Sprintf("the venue announces %s: %.200s", code, msg))
	case "20060":
		out.Maintenance(fmt.Sprintf("%s: %.200s", code, msg))
	default:
		if platform == 0 {
			out.Maintenance("the venue's platform is in maintenance")
			return
		}
		out.Heartbeat()
	}
}

func tokenOf(channel, symbol, key, prec []byte) string {
	return token(string(channel), string(symbol), string(key), string(prec))
}

// begin notes what a channel id stands for from now on. Margin funding (fUSD) has
// no record.
func (d *decoder) begin(k topicKey, channel, symbol, key, prec, length []byte) error {
	t := &topic{topicKey: k, depth: market.None}
	switch string(channel) {
	case "trades":
		t.channel = market.ChannelTrades
	case "ticker":
		t.channel = market.ChannelTicker
	case "book":
		t.channel = market.ChannelBook
		if string(prec) == raw {
			t.orders = newOrders()
		} else if n, err := strconv.ParseInt(string(length), 10, 64); err == nil {
			t.depth = n
		}
	case "candles": // trade:1m:tBTCUSD
		_, rest, _ := bytes.Cut(key, []byte(":"))
		native, of, ok := bytes.Cut(rest, []byte(":"))
		if !ok {
			return fmt.Errorf("candles of %.60q, want trade:LENGTH:SYMBOL", key)
		}
		if symbol, t.interval = of, intervals.Native(native); t.interval != nil {
			t.channel = market.ChannelCandles
		}
	case "status":
		if kind, of, _ := bytes.Cut(key, []byte(":")); string(kind) == "deriv" {
			t.channel, symbol = market.ChannelFunding, of
		} else if string(kind) == "liq" {
			t.channel, symbol = market.ChannelLiquidations, []byte("t")
		}
	}
	if t.symbol = bytes.Clone(symbol); len(symbol) == 0 || symbol[0] != 't' {
		t.channel = market.ChannelNone
	}
	t.market = marketOf(symbol)
	d.forget(k)
	d.topics[k] = t
	return nil
}
