package coinbase

import (
	"bytes"
	"fmt"
	"slices"

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
	trades     []trade
}

// message is what stands around the events of a frame.
type message struct {
	channel []byte
	seq     int64 // on the connection
	ts      int64
	origin  market.Origin
	symbol  []byte // of a response whose path names it
}

// trade is one of a frame, before it is known how many of its product there are.
type trade struct {
	t      market.Trade
	symbol []byte
}

// NewDecoder starts a decoder.
func (p *plugin) NewDecoder(s source.DecoderSettings) (source.Decoder, error) {
	return &decoder{Feed: s.Feed(), c: source.NewCursor()}, nil
}

// Decode handles a frame or a response.
func (d *decoder) Decode(in *source.Input, out *source.Out) error {
	switch in.Kind {
	case source.InputText:
		return in.Fail("coinbase", d.frame(in.Data, out))
	case source.InputHTTP:
		d.c.Reset(in.Data)
		return in.Fail("coinbase", d.response(in, out))
	}
	return nil
}

// frame reads {"channel":…,"timestamp":…,"sequence_num":…,"events":[…]}. Events
// are decoded where they stand, if the rest came before them, else when it was
// read: the frame's number must reach the runtime before what the frame holds.
func (d *decoder) frame(frame []byte, out *source.Out) error {
	c, m := &d.c, &d.m
	c.Reset(frame)
	c.Object()
	start := c.Mark()
	*m = message{seq: market.None, ts: market.None}
	first := true
	var events source.Body
	read := func() error {
		if m.seq != market.None {
			out.Sequence(m.seq)
		}
		return d.events(out)
	}
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "channel":
			m.channel = c.Str()
		case "timestamp":
			m.ts = source.Time(c)
		case "sequence_num":
			m.seq = c.Int64()
		case "events":
			if events.Due(c, m.channel != nil && m.seq != market.None && m.ts != market.None) {
				if err := read(); err != nil {
					return err
				}
			}
		case "type":
			kind := c.Str()
			if !first {
				c.Seek(start)
			}
			return d.exchange(kind, out)
		default:
			c.Skip()
		}
		first = false
	}
	err := events.End(c, m.channel != nil, read)
	if err == nil && !events.Done {
		err = fmt.Errorf("neither a channel's events nor a type")
	}
	return err
}

// events decodes a channel's events, which are due.
func (d *decoder) events(out *source.Out) error {
	c := &d.c
	var one func(*decoder, *source.Out) error
	switch string(d.m.channel) {
	case "l2_data":
		one = (*decoder).book
	case feedTrades:
		return d.tradeEvents(out)
	case feedTicker, feedSlow:
		one = (*decoder).tickers
	case "candles":
		one = (*decoder).candles
	case "status":
		one = (*decoder).products
	case "subscriptions":
		out.Subscribed([]byte(answer))
		c.Skip()
		return c.Err()
	case "heartbeats":
		out.Heartbeat()
		c.Skip()
		return c.Err()
	default:
		if err := c.Err(); err != nil {
			return err
		}
		return fmt.Errorf("at byte %d: unknown channel %.40q", c.Offset(), d.m.channel)
	}
	return source.Each(&d.c, d, out, one)
}

// book decodes {"type":"update","product_id":…,"updates":[{"side":"bid","event_time":…,
// "price_level":…,"new_quantity":…},…]}.
func (d *decoder) book(out *source.Out) error {
	c := &d.c
	b := source.NewBook(0)
	d.bids, d.asks = d.bids[:0], d.asks[:0]
	var symbol []byte
	have := false
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "type":
			b.Kind = bookKind(c.Str())
		case "product_id":
			symbol = c.Str()
		case "updates":
			have = true
			if err := d.levels(); err != nil {
				return err
			}
		default:
			c.Skip()
		}
	}
	if symbol == nil || !have || b.Kind == 0 {
		return source.Lacks(&d.c, "a book", "product_id, updates or the type snapshot or update")
	}
	b.Seq, b.Ts, b.Bids, b.Asks = d.m.seq, d.m.ts, d.bids, d.asks
	b.Instrument = out.SymbolIn(marketOf(symbol), symbol)
	out.Book(&b)
	return nil
}

func bookKind(s []byte) market.Kind {
	switch string(s) {
	case "snapshot":
		return market.KindBookSnapshot
	case "update":
		return market.KindBookDelta
	}
	return 0
}

// levels reads the changes of both sides.
func (d *decoder) levels() error {
	c := &d.c
	c.Array()
	for c.Elem() {
		var l market.Level
		side := byte(0)
		c.Object()
		for c.Key() {
			switch string(c.KeyBytes()) {
			case "side":
				if s := c.Str(); string(s) == "bid" || string(s) == "offer" {
					side = s[0]
				}
			case "price_level":
				l.Price = source.Decimal(c)
			case "new_quantity":
				l.Amount = source.Decimal(c)
			default:
				c.Skip()
			}
		}
		if side == 0 || l.Price.IsNull() || l.Amount.IsNull() {
			return source.Lacks(&d.c, "a level", "side, price_level or new_quantity")
		}
		to := &d.bids
		if side == 'o' {
			to = &d.asks
		}
		if len(*to) >= market.MaxLevels {
			return fmt.Errorf("at byte %d: more levels than a book record holds", c.Offset())
		}
		*to = append(*to, l)
	}
	return c.Err()
}

// tradeEvents decodes [{"type":"update","trades":[{…},…]},…]. Trades stand newest
// first and leave so; the first of each product says what the frame follows.
func (d *decoder) tradeEvents(out *source.Out) error {
	c := &d.c
	d.trades = d.trades[:0]
	c.Array()
	for c.Elem() {
		from, origin, have := len(d.trades), market.OriginLive, false
		c.Object()
		for c.Key() {
			switch string(c.KeyBytes()) {
			case "type":
				if string(c.Str()) == "snapshot" {
					origin = market.OriginHistory
				}
			case "trades":
				have = true
				if err := d.tradeList(); err != nil {
					return err
				}
			default:
				c.Skip()
			}
		}
		if !have {
			return source.Lacks(&d.c, "an event", "trades")
		}
		for i := from; i < len(d.trades); i++ {
			d.trades[i].t.Origin = origin
		}
	}
	if err := c.Err(); err != nil {
		return err
	}
	d.emitTrades(out)
	return nil
}

func (d *decoder) tradeList() error {
	c := &d.c
	c.Array()
	for c.Elem() {
		d.trades = append(d.trades, trade{})
		c.Object()
		if err := d.trade(&d.trades[len(d.trades)-1]); err != nil {
			return err
		}
	}
	return c.Err()
}

// trade decodes a trade of either feed. The side is the maker's.
func (d *decoder) trade(one *trade) error {
	c := &d.c
	t := &one.t
	t.Channel, t.TsSend, t.Seq, t.PrevSeq, t.FirstID, t.LastID = market.ChannelTrades, market.None, market.None, market.None, market.None, market.None
	one.symbol = d.m.symbol
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "product_id":
			one.symbol = c.Str()
		case "trade_id":
			t.ID = c.NumOrStr()
			if n, ok := integer(t.ID); ok {
				t.Seq = n
			}
		case "price":
			t.Price = source.Decimal(c)
		case "size":
			t.Amount = source.Decimal(c)
		case "time":
			t.Ts = source.Time(c)
		case "side":
			t.Side = taker(c.Str())
		default:
			c.Skip()
		}
	}
	if one.symbol == nil || len(t.ID) == 0 || t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown {
		return source.Lacks(&d.c, "a trade", "product_id, trade_id, price, size or side")
	}
	return nil
}

// integer reads an id that is one; the ids of contracts need not be.
func integer(s []byte) (n int64, ok bool) {
	if len(s) == 0 || len(s) > 18 {
		return 0, false
	}
	for _, b := range s {
		if b < '0' || b > '9' {
			return 0, false
		}
		n = n*10 + int64(b-'0')
	}
	return n, true
}

// taker is the side opposite to the maker's, which the venue states.
func taker(maker []byte) market.Side {
	switch string(maker) {
	case "BUY", "buy":
		return market.SideSell
	case "SELL", "sell":
		return market.SideBuy
	}
	return market.SideUnknown
}

// emitTrades emits what was read. Of several of one product that stand newest
// first, the first continues what came before all of them.
func (d *decoder) emitTrades(out *source.Out) {
	for i := range d.trades {
		one := &d.trades[i]
		same := func(o trade) bool { return bytes.Equal(o.symbol, one.symbol) }
		if i+1 < len(d.trades) && one.t.Seq != market.None && !slices.ContainsFunc(d.trades[:i], same) {
			n := int64(1)
			for _, o := range d.trades[i+1:] {
				if same(o) && o.t.Seq < one.t.Seq {
					n++
				}
			}
			if n > 1 {
				one.t.PrevSeq = one.t.Seq - n
			}
		}
		one.t.Instrument = out.SymbolIn(marketOf(one.symbol), one.symbol)
		out.Trade(&one.t)
	}
}

// tickers decodes {"type":…,"tickers":[{…}]}.
func (d *decoder) tickers(out *source.Out) error {
	return d.list("tickers", out, (*decoder).ticker)
}

// list decodes the objects of an event's one member, which its type stands before
// or behind.
func (d *decoder) list(member string, out *source.Out, one func(*decoder, *source.Out) error) error {
	c := &d.c
	var items jsonscan.Mark
	typed, waiting, done := false, false, false
	for c.Key() {
		switch k := c.KeyBytes(); {
		case string(k) == "type":
			typed = true
			if d.m.origin = market.OriginLive; string(c.Str()) == "snapshot" {
				d.m.origin = market.OriginHistory
			}
		case string(k) != member:
			c.Skip()
		case !typed:
			items, waiting = c.Mark(), true
		default:
			done = true
			if err := source.Each(c, d, out, one); err != nil {
				return err
			}
		}
	}
	if !waiting {
		if !done {
			return source.Lacks(&d.c, "an event", member)
		}
		return c.Err()
	}
	after := c.Mark()
	c.Seek(items)
	if err := source.Each(c, d, out, one); err != nil {
		return err
	}
	c.Seek(after)
	return c.Err()
}

// ticker decodes a ticker of either feed.
func (d *decoder) ticker(out *source.Out) error {
	c := &d.c
	t := market.Ticker{Header: source.Header(market.ChannelTicker), Trades: market.None}
	t.Ts = d.m.ts
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "product_id":
			symbol = c.Str()
		case "price":
			t.Last = source.DecimalOrNull(c)
		case "last_size":
			t.LastAmount = source.DecimalOrNull(c)
		case "open_24h":
			t.Open = source.DecimalOrNull(c)
		case "high_24_h", "high_24h":
			t.High = source.DecimalOrNull(c)
		case "low_24_h", "low_24h":
			t.Low = source.DecimalOrNull(c)
		case "volume_24_h", "volume_24h":
			t.Volume = source.DecimalOrNull(c)
		case "best_bid":
			t.BidPrice = source.DecimalOrNull(c)
		case "best_bid_quantity", "best_bid_size":
			t.BidAmount = source.DecimalOrNull(c)
		case "best_ask":
			t.AskPrice = source.DecimalOrNull(c)
		case "best_ask_quantity", "best_ask_size":
			t.AskAmount = source.DecimalOrNull(c)
		case "time":
			t.Ts = source.Time(c)
		default:
			c.Skip()
		}
	}
	if symbol == nil || t.Last.IsNull() {
		return source.Lacks(&d.c, "a ticker", "product_id or price")
	}
	t.Instrument = out.SymbolIn(marketOf(symbol), symbol)
	out.Ticker(&t)
	return nil
}

// candleName is that of the one length of candles that the venue sends.
const candleName = "5m"

// candles decodes {"type":…,"candles":[{…},…]}.
func (d *decoder) candles(out *source.Out) error {
	return d.list("candles", out, (*decoder).candle)
}

func (d *decoder) candle(out *source.Out) error {
	return d.candleOf(out, granularities.Named(candleName))
}

func (d *decoder) candleOf(out *source.Out, i *source.Interval) error {
	c := &d.c
	t := market.Candle{Header: source.Header(market.ChannelCandles), Trades: market.None, OpenTs: market.None}
	t.Ts, t.Origin = d.m.ts, d.m.origin
	symbol := d.m.symbol
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "start":
			t.OpenTs = source.Seconds(c)
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
		case "product_id":
			symbol = c.Str()
		default:
			c.Skip()
		}
	}
	if symbol == nil || t.OpenTs == market.None || t.Open.IsNull() || t.High.IsNull() || t.Low.IsNull() || t.Close.IsNull() || t.Volume.IsNull() {
		return source.Lacks(&d.c, "a candle", "product_id, start, prices or volume")
	}
	if i.Put(&t, 0); t.Ts != market.None && t.Ts >= t.CloseTs {
		t.Flags = market.FlagClosed
	}
	t.Instrument = out.SymbolIn(marketOf(symbol), symbol)
	out.Candle(&t)
	return nil
}
