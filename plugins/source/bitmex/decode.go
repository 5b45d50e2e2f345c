package bitmex

import (
	"bytes"
	"fmt"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// decoder remembers what table instrument has said of each symbol on each
// connection, and in which steps the ids of old books count.
type decoder struct {
	c jsonscan.Cursor
	source.Feed

	markets map[string]market.Market // by symbol
	conns   []connection
	steps   []step // by instrument id

	m          message // that is being decoded
	fresh      fields  // of a row of table instrument
	b          market.Book
	bids, asks []market.Level
	text       []byte
}

// message is what stands around a table's rows.
type message struct {
	conn     uint32
	table    table
	action   action
	origin   market.Origin
	interval []byte // of candles
	depth    int64  // of books
	symbol   []byte // that the whole table is of
	book     []byte // symbol of the rows in b; nil: there are none
	books    int    // that came
}

// table is what a message is of.
type table uint8

const (
	tableNone table = iota
	isTrades
	isBook
	isBookTen
	isQuotes
	isCandles
	isInstruments
	isFunding
	isLiquidations
	isOther // known, and collected by nobody
)

// tableOf says what a table's name means.
func (m *message) tableOf(name []byte) table {
	switch string(name) {
	case "trade":
		return isTrades
	case feedAll:
		return isBook
	case feedTwentyFive:
		m.depth = 25
		return isBook
	case feedHundred:
		m.depth = 100
		return isBook
	case feedTen:
		m.depth = 10
		return isBookTen
	case "quote":
		return isQuotes
	case "instrument":
		return isInstruments
	case "funding":
		return isFunding
	case "liquidation":
		return isLiquidations
	case "settlement", "insurance", "connected", "announcement", "chat", "publicNotifications":
		return isOther
	}
	if interval, ok := bytes.CutPrefix(name, []byte("tradeBin")); ok {
		m.interval = interval
		return isCandles
	}
	if bytes.HasPrefix(name, []byte("quoteBin")) {
		return isOther
	}
	return tableNone
}

// action is what happens to the rows of a message.
type action uint8

const (
	actionNone action = iota
	whole             // the table as it is now
	inserted
	updated
	deleted
)

func actionOf(name []byte) action {
	switch string(name) {
	case "partial":
		return whole
	case "insert":
		return inserted
	case "update":
		return updated
	case "delete":
		return deleted
	}
	return actionNone
}

// NewDecoder starts a decoder; without channels it decodes all.
func (p *plugin) NewDecoder(s source.DecoderSettings) (source.Decoder, error) {
	return &decoder{Feed: s.Feed(), c: source.NewCursor(), markets: map[string]market.Market{}}, nil
}

// Decode handles a frame or a response.
func (d *decoder) Decode(in *source.Input, out *source.Out) error {
	switch in.Kind {
	case source.InputText:
		if string(in.Data) == "pong" {
			out.Heartbeat()
			return nil
		}
		d.m = message{conn: in.Conn, depth: market.None}
		return in.Fail("bitmex", d.frame(in.Data, out))
	case source.InputHTTP:
		d.c.Reset(in.Data)
		return in.Fail("bitmex", d.response(in, out))
	case source.InputOpen, source.InputClose:
		d.forget(in.Conn)
	case source.InputBinary:
		return in.Binary("bitmex")
	}
	return nil
}

// frame reads {"table":…,"action":…,"data":[…]}; a whole table has its keys and
// types, and the symbol that it is of, before the rows. These are decoded where
// they stand, if table and action came before, else when the rest was read.
func (d *decoder) frame(frame []byte, out *source.Out) error {
	c, m := &d.c, &d.m
	c.Reset(frame)
	c.Object()
	var name []byte
	var body source.Body
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "table":
			name = c.Str()
			m.table = m.tableOf(name)
		case "action":
			m.action = actionOf(c.Str())
		case "filter":
			c.Object()
			for c.Key() {
				if string(c.KeyBytes()) == "symbol" {
					m.symbol = c.Str()
				}
			}
		case "data":
			if body.Due(c, m.table != tableNone && m.action != actionNone) {
				if err := d.data(out); err != nil {
					return err
				}
			}
		case "success", "error", "info", "status":
			c.Reset(frame)
			return d.event(out)
		default:
			c.Skip()
		}
	}
	known := m.table != tableNone && m.action != actionNone
	if err := body.End(c, known, func() error { return d.data(out) }); err != nil {
		return err
	}
	switch {
	case !known:
		return fmt.Errorf("unknown table %.40q or action", name)
	case !body.Done:
		return fmt.Errorf("table %.40q without data", name)
	}
	if m.table == isBook && m.action == whole && m.book == nil && m.books == 0 && m.symbol != nil {
		d.begin(m.symbol, out) // a book without levels
	}
	d.emitBook(out)
	return nil
}

// data decodes a table's rows, which are due.
func (d *decoder) data(out *source.Out) error {
	m := &d.m
	if m.action == whole && m.origin == market.OriginLive {
		m.origin = market.OriginHistory // what happened before the subscription
	}
	switch m.table {
	case isTrades:
		return source.Each(&d.c, d, out, (*decoder).trade)
	case isBook:
		return source.Each(&d.c, d, out, (*decoder).level)
	case isBookTen:
		return source.Each(&d.c, d, out, (*decoder).ten)
	case isQuotes:
		return source.Each(&d.c, d, out, (*decoder).quote)
	case isCandles:
		return source.Each(&d.c, d, out, (*decoder).candle)
	case isInstruments:
		return source.Each(&d.c, d, out, (*decoder).instrument)
	case isFunding:
		return source.Each(&d.c, d, out, (*decoder).funding)
	case isLiquidations:
		return source.Each(&d.c, d, out, (*decoder).liquidation)
	}
	d.c.Skip()
	return d.c.Err()
}

// id is the instrument of a symbol.
func (d *decoder) id(symbol []byte, out *source.Out) market.InstrumentID {
	m, ok := d.markets[string(symbol)]
	if !ok {
		m = marketOf(string(symbol))
		d.markets[string(symbol)] = m
	}
	return out.SymbolIn(m, symbol)
}

// trade decodes a trade. Those that settle a contract have no side, those of an
// index neither id nor amount.
func (d *decoder) trade(out *source.Out) error {
	c := &d.c
	t := market.Trade{Header: source.Header(market.ChannelTrades), FirstID: market.None, LastID: market.None}
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "timestamp":
			t.Ts = source.Time(c)
		case "symbol":
			symbol = c.Str()
		case "side":
			t.Side = side(c)
		case "size":
			t.Amount = source.Decimal(c)
		case "price":
			t.Price = source.Decimal(c)
		case "trdMatchID":
			if t.ID = c.Str(); string(t.ID) == noID {
				t.ID = nil
			}
		case "trdType":
			t.Conditions = d.condition(c.Str())
		default:
			c.Skip()
		}
	}
	if symbol == nil || t.Ts == 0 || t.Price.IsNull() || t.Amount.IsNull() {
		return source.Lacks(c, "a trade", "symbol, timestamp, price or size")
	}
	t.Origin, t.Instrument = d.m.origin, d.id(symbol, out)
	out.Trade(&t)
	return nil
}

// noID is the id of prices of an index, which are sent as trades.
const noID = "00000000-0000-0000-0000-000000000000"

// condition is a trade's type in small letters, unless it is the usual one.
func (d *decoder) condition(kind []byte) []byte {
	if string(kind) == "Regular" {
		return nil
	}
	d.text = d.text[:0]
	for _, b := range kind {
		if b >= 'A' && b <= 'Z' {
			b += 'a' - 'A'
		}
		d.text = append(d.text, b)
	}
	return d.text
}

// side reads a side, which indices write small.
func side(c *jsonscan.Cursor) market.Side {
	s := c.Str()
	if len(s) > 0 && s[0] == 'b' || len(s) > 0 && s[0] == 's' {
		return source.Side(s, "buy", "sell")
	}
	return source.Side(s, "Buy", "Sell")
}

// quote decodes a best bid and offer; a side may be empty.
func (d *decoder) quote(out *source.Out) error {
	c := &d.c
	t := market.BBO{Header: source.Header(market.ChannelBBO)}
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "timestamp":
			t.Ts = source.Time(c)
		case "symbol":
			symbol = c.Str()
		case "bidSize":
			t.BidAmount = source.DecimalOrNull(c)
		case "bidPrice":
			t.BidPrice = source.DecimalOrNull(c)
		case "askPrice":
			t.AskPrice = source.DecimalOrNull(c)
		case "askSize":
			t.AskAmount = source.DecimalOrNull(c)
		default:
			c.Skip()
		}
	}
	if symbol == nil || t.Ts == 0 {
		return source.Lacks(c, "a quote", "symbol or timestamp")
	}
	t.Instrument = d.id(symbol, out)
	out.BBO(&t)
	return nil
}

// candle decodes a candle, whose time is its end. One without trades may have no
// prices, which says nothing.
func (d *decoder) candle(out *source.Out) error {
	c := &d.c
	t := market.Candle{Header: source.Header(market.ChannelCandles), Trades: market.None}
	t.Flags = market.FlagClosed
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "timestamp":
			t.Ts = source.Time(c)
		case "symbol":
			symbol = c.Str()
		case "open":
			t.Open = source.DecimalOrNull(c)
		case "high":
			t.High = source.DecimalOrNull(c)
		case "low":
			t.Low = source.DecimalOrNull(c)
		case "close":
			t.Close = source.DecimalOrNull(c)
		case "trades":
			t.Trades = c.Int64()
		case "volume":
			t.Volume = source.DecimalOrNull(c)
		case "foreignNotional":
			t.QuoteVolume = source.DecimalOrNull(c)
		default:
			c.Skip()
		}
	}
	i := intervals.Native(d.m.interval)
	if symbol == nil || t.Ts == 0 || i == nil {
		return source.Lacks(c, "a candle", "symbol, timestamp or a known length")
	}
	if t.Open.IsNull() || t.High.IsNull() || t.Low.IsNull() || t.Close.IsNull() {
		return c.Err()
	}
	t.OpenTs = t.Ts - int64(i.Length)
	i.Put(&t, 0)
	t.Origin, t.Instrument = d.m.origin, d.id(symbol, out)
	out.Candle(&t)
	return nil
}

// funding decodes a rate that was paid; the next one is in table instrument.
func (d *decoder) funding(out *source.Out) error {
	c := &d.c
	t := market.Funding{Header: source.Header(market.ChannelFunding), NextTs: market.None}
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "timestamp":
			t.Ts = source.Time(c)
		case "symbol":
			symbol = c.Str()
		case "fundingInterval":
			t.Interval = hours(source.Time(c))
		case "fundingRate":
			t.Rate = source.Decimal(c)
		default:
			c.Skip()
		}
	}
	if symbol == nil || t.Ts == 0 || t.Rate.IsNull() {
		return source.Lacks(c, "a funding rate", "symbol, timestamp or fundingRate")
	}
	t.Origin, t.Instrument = d.m.origin, d.id(symbol, out)
	out.Funding(&t)
	return nil
}

// liquidation decodes an order that closes a position, when it is placed: that it
// moves, or is gone, is no other one. It has no time.
func (d *decoder) liquidation(out *source.Out) error {
	c := &d.c
	l := market.Liquidation{Header: source.Header(market.ChannelLiquidations)}
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "orderID":
			l.ID = c.Str()
		case "symbol":
			symbol = c.Str()
		case "side":
			l.Side = side(c)
		case "price":
			l.Price = source.DecimalOrNull(c)
		case "leavesQty":
			l.Amount = source.DecimalOrNull(c)
		default:
			c.Skip()
		}
	}
	if d.m.action == updated || d.m.action == deleted {
		return c.Err()
	}
	if symbol == nil || l.ID == nil || l.Price.IsNull() || l.Amount.IsNull() || l.Side == market.SideUnknown {
		return source.Lacks(c, "a liquidation", "orderID, symbol, side, price or leavesQty")
	}
	l.Origin, l.Instrument = d.m.origin, d.id(symbol, out)
	out.Liquidation(&l)
	return nil
}
