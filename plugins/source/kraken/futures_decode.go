package kraken

import (
	"bytes"
	"fmt"
	"net/url"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// contractDecoder keeps nothing of what it was fed: what a frame means follows
// from the frame.
type contractDecoder struct {
	c jsonscan.Cursor
	source.Feed

	s          tick
	bids, asks []market.Level
	past       []market.Trade // of a snapshot
	symbol     []byte
}

func newContractDecoder(s source.DecoderSettings) *contractDecoder {
	return &contractDecoder{Feed: s.Feed()}
}

// Decode handles a frame or a response.
func (d *contractDecoder) Decode(in *source.Input, out *source.Out) error {
	d.c.Reset(in.Data)
	switch in.Kind {
	case source.InputText:
		return in.Fail("kraken", d.frame(out))
	case source.InputHTTP:
		return in.Fail("kraken", d.response(in, out))
	case source.InputBinary:
		return in.Binary("kraken")
	}
	return nil
}

// frame reads {"feed":…,…} or {"event":…,…}. All members of a feed's frame stand
// beside its name, which comes first in all but the ticker's: what begins
// otherwise is read as one until its name is known.
func (d *contractDecoder) frame(out *source.Out) error {
	c := &d.c
	c.Object()
	start := c.Mark()
	if !c.Key() {
		if err := c.End(); err != nil {
			return err
		}
		return fmt.Errorf("neither a feed's frame nor an answer")
	}
	var feed []byte
	switch string(c.KeyBytes()) {
	case "event":
		c.Seek(start)
		return d.event(out)
	case "feed":
		feed = c.Str()
	default:
		c.Seek(start)
		d.tick()
		if feed = d.s.feed; isTicker(feed) {
			return d.told(out)
		}
		if feed == nil {
			if err := c.End(); err != nil {
				return err
			}
			return fmt.Errorf("neither a feed's frame nor an answer")
		}
		c.Seek(start)
	}
	var err error
	switch string(feed) {
	case feedBook:
		err = d.change(out)
	case feedTrade:
		err = d.single(out)
	case "book_snapshot":
		err = d.snapshot(out)
	case "trade_snapshot":
		err = d.history(out)
	case "heartbeat":
		for c.Key() {
			c.Skip()
		}
		out.Heartbeat()
	default:
		if isTicker(feed) {
			d.tick()
			return d.told(out)
		}
		return fmt.Errorf("at byte %d: unknown feed %.40q", c.Offset(), feed)
	}
	if err != nil {
		return err
	}
	return c.End()
}

// change decodes what a book has at one price.
func (d *contractDecoder) change(out *source.Out) error {
	c := &d.c
	var l market.Level
	var symbol []byte
	side, seq, ts := market.SideUnknown, market.None, int64(0)
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "product_id":
			symbol = c.Str()
		case "side":
			side = source.Side(c.Str(), "buy", "sell")
		case "seq":
			seq = c.Int64()
		case "price":
			l.Price = source.Decimal(c)
		case "qty":
			l.Amount = source.Decimal(c)
		case "timestamp":
			ts = source.Millis(c)
		default:
			c.Skip()
		}
	}
	if symbol == nil || side == market.SideUnknown || seq == market.None || l.Price.IsNull() || l.Amount.IsNull() {
		return source.Lacks(c, "a book's change", "product_id, side, seq, price or qty")
	}
	d.bids, d.asks = d.bids[:0], d.asks[:0]
	if side == market.SideBuy {
		d.bids = append(d.bids, l)
	} else {
		d.asks = append(d.asks, l)
	}
	d.emit(market.KindBookDelta, symbol, seq, ts, out)
	return nil
}

// snapshot decodes a whole book.
func (d *contractDecoder) snapshot(out *source.Out) error {
	c := &d.c
	var symbol []byte
	seq, ts, sides := market.None, int64(0), 0
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "product_id":
			symbol = c.Str()
		case "seq":
			seq = c.Int64()
		case "timestamp":
			ts = source.Millis(c)
		case "bids":
			d.bids = levels(c, d.bids[:0])
			sides |= 1
		case "asks":
			d.asks = levels(c, d.asks[:0])
			sides |= 2
		default:
			c.Skip()
		}
	}
	if symbol == nil || seq == market.None || sides != 3 {
		return source.Lacks(c, "a book", "product_id, seq, bids or asks")
	}
	d.emit(market.KindBookSnapshot, symbol, seq, ts, out)
	return nil
}

func (d *contractDecoder) emit(k market.Kind, symbol []byte, seq, ts int64, out *source.Out) {
	m := contractMarket(symbol)
	if m == market.MarketNone {
		return
	}
	b := source.NewBook(k)
	b.Bids, b.Asks, b.Seq, b.Ts, b.Instrument = d.bids, d.asks, seq, ts, out.SymbolIn(m, symbol)
	out.Book(&b)
}

// conditions of a trade by its type, beside "fill".
var conditions = [...]string{"liquidation", "termination", "assignment", "block"}

// condition is a type as records have it.
func condition(typ []byte) []byte {
	for i := range conditions {
		if conditions[i] == string(typ) {
			return conditionTexts[i]
		}
	}
	return nil
}

var conditionTexts = func() (all [len(conditions)][]byte) {
	for i := range conditions {
		all[i] = []byte(conditions[i])
	}
	return all
}()

// trade reads a trade of the feed or of a response, which calls some members
// otherwise. The position in the list, which that calls trade_id, says nothing.
func (d *contractDecoder) trade(t *market.Trade) (symbol []byte) {
	c := &d.c
	*t = market.Trade{}
	t.Channel = market.ChannelTrades
	t.TsSend, t.Seq, t.PrevSeq, t.FirstID, t.LastID = market.None, market.None, market.None, market.None, market.None
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "product_id":
			symbol = c.Str()
		case "uid":
			t.ID = c.Str()
		case "side":
			t.Side = source.Side(c.Str(), "buy", "sell")
		case "type":
			t.Conditions = condition(c.Str())
		case "seq":
			t.Seq = c.Int64()
		case "time":
			if c.Kind() == jsonscan.KindString {
				t.Ts = source.Time(c)
			} else {
				t.Ts = source.Millis(c)
			}
		case "qty", "size":
			t.Amount = source.Decimal(c)
		case "price":
			t.Price = source.Decimal(c)
		default:
			c.Skip()
		}
	}
	if t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown {
		c.Fail("a trade without price, qty or side")
	}
	return symbol
}

// single decodes a trade that happened now.
func (d *contractDecoder) single(out *source.Out) error {
	var t market.Trade
	symbol := d.trade(&t)
	if symbol == nil || t.ID == nil {
		return source.Lacks(&d.c, "a trade", "product_id or uid")
	}
	if m := contractMarket(symbol); m != market.MarketNone {
		d.deal(&t, out.SymbolIn(m, symbol), out)
	}
	return nil
}

// deal emits a trade, and the liquidation that it was: the order of a position
// that is closed by force is the taker.
func (d *contractDecoder) deal(t *market.Trade, id market.InstrumentID, out *source.Out) {
	t.Instrument = id
	if d.Uses(market.ChannelTrades) {
		out.Trade(t)
	}
	if typ := string(t.Conditions); d.Uses(market.ChannelLiquidations) && (typ == "liquidation" || typ == "termination") {
		l := market.Liquidation{Header: source.Header(market.ChannelLiquidations), ID: t.ID, Price: t.Price, Amount: t.Amount, Side: t.Side}
		l.Ts, l.Origin, l.Instrument = t.Ts, t.Origin, id
		out.Liquidation(&l)
	}
}

// history decodes the trades before a subscription, newest first. The first says
// what all of them follow.
func (d *contractDecoder) history(out *source.Out) error {
	c := &d.c
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "product_id":
			symbol = c.Str()
		case "trades":
			d.list()
		default:
			c.Skip()
		}
	}
	if symbol == nil {
		return source.Lacks(c, "a list of trades", "product_id")
	}
	if err := c.Err(); err != nil {
		return err
	}
	d.listed(market.OriginHistory, symbol, out)
	return nil
}

// list reads trades into past.
func (d *contractDecoder) list() {
	c := &d.c
	d.past = d.past[:0]
	c.Array()
	for c.Elem() {
		c.Object()
		d.past = append(d.past, market.Trade{})
		d.trade(&d.past[len(d.past)-1])
	}
}

// listed emits what list has read.
func (d *contractDecoder) listed(o market.Origin, symbol []byte, out *source.Out) {
	m := contractMarket(symbol)
	if m == market.MarketNone || len(d.past) == 0 {
		return
	}
	id := out.SymbolIn(m, symbol)
	if oldest := d.past[len(d.past)-1].Seq; oldest != market.None {
		d.past[0].PrevSeq = oldest - 1
	}
	for i := range d.past {
		d.past[i].Origin = o
		d.deal(&d.past[i], id, out)
	}
}

// event decodes what the venue says of a connection or to a request. Its answers
// name feed and product, its refusals nothing: they are to the request whose turn
// it is.
func (d *contractDecoder) event(out *source.Out) error {
	c := &d.c
	var event, feed, reason []byte
	var products [][]byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "event":
			event = c.Str()
		case "feed":
			feed = c.Str()
		case "message":
			reason = c.Str()
		case "product_ids":
			c.Array()
			for c.Elem() {
				products = append(products, c.Str())
			}
		default:
			c.Skip()
		}
	}
	if err := c.End(); err != nil {
		return err
	}
	oldest := []byte(source.TokenOldest)
	each := func(request string, answer func(token, symbol []byte)) {
		for _, symbol := range products {
			answer(fmt.Appendf(nil, "%s %s %s", request, feed, symbol), symbol)
		}
	}
	switch string(bytes.TrimSpace(event)) { // the venue's own examples have a space behind it
	case "info", "challenge", "pong":
		out.Heartbeat()
	case "subscribed":
		each("subscribe", func(token, _ []byte) { out.Subscribed(token) })
	case "unsubscribed":
		each("unsubscribe", func(token, symbol []byte) {
			if m := contractMarket(symbol); string(feed) == feedBook && m != market.MarketNone {
				out.EndBook(out.SymbolIn(m, symbol))
			}
			out.Subscribed(token)
		})
	case "subscribed_failed":
		each("subscribe", func(token, _ []byte) { out.Rejected(token, reason) })
	case "unsubscribed_failed":
		each("unsubscribe", func(token, _ []byte) { out.Rejected(token, reason) })
	case "alert", "error":
		if bytes.HasPrefix(reason, []byte("Already subscribed to feed")) || bytes.HasPrefix(reason, []byte("Not subscribed to feed")) {
			out.Subscribed(oldest) // things are as the request wants them
			return nil
		}
		out.Rejected(oldest, reason)
	default:
		return fmt.Errorf("unknown event %.40q", event)
	}
	return nil
}

// upper writes a symbol as the stream does; some responses have it in lower case.
func (d *contractDecoder) upper(symbol []byte) []byte {
	d.symbol = append(d.symbol[:0], symbol...)
	for i, ch := range d.symbol {
		if 'a' <= ch && ch <= 'z' {
			d.symbol[i] = ch - 'a' + 'A'
		}
	}
	return d.symbol
}

// response decodes {"result":"success","instruments":[…],…}, or the candles of
// a path that ends with product and length.
func (d *contractDecoder) response(in *source.Input, out *source.Out) error {
	c := &d.c
	path, query, _ := bytes.Cut(in.URL, []byte("?"))
	var reason []byte
	var list jsonscan.Mark
	name := ""
	c.Object()
	for c.Key() {
		switch key := string(c.KeyBytes()); key {
		case "error":
			reason = c.Raw()
		case "instruments", "tickers", "history", "orderBook", "candles":
			name, list = key, c.Mark()
		}
	}
	err := c.End()
	switch {
	case in.Status != 200 || reason != nil:
		return fmt.Errorf("status %d: %.200s", in.Status, reason)
	case err != nil:
		return err
	case name == "":
		return fmt.Errorf("none of the lists that are requested")
	}
	c.Seek(list)
	symbol := d.asked(query)
	switch name {
	case "instruments":
		return source.Each(c, d, out, (*contractDecoder).instrument)
	case "tickers":
		return source.Each(c, d, out, (*contractDecoder).stated)
	case "candles":
		return d.candles(path, out)
	case "history":
		if d.list(); c.Err() == nil {
			d.listed(market.OriginBackfill, symbol, out)
		}
	default:
		d.bids, d.asks = d.bids[:0], d.asks[:0]
		c.Object()
		for c.Key() {
			switch string(c.KeyBytes()) {
			case "bids":
				d.bids = source.Levels(c, d.bids)
			case "asks":
				d.asks = source.Levels(c, d.asks)
			}
		}
		if c.Err() == nil {
			d.emit(market.KindBookSnapshot, symbol, market.None, 0, out)
		}
	}
	return c.Err()
}

// stated decodes a ticker of the list of all.
func (d *contractDecoder) stated(out *source.Out) error {
	d.tick()
	d.s.symbol = d.upper(d.s.symbol)
	return d.tell(out)
}

// asked is the product of a request: responses don't name it.
func (d *contractDecoder) asked(query []byte) []byte {
	v, err := url.ParseQuery(string(query))
	if err != nil {
		return nil
	}
	return d.upper([]byte(v.Get("symbol")))
}
