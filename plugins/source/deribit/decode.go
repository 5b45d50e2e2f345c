package deribit

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// decoder keeps nothing of what it was fed but quoted: what a frame means
// follows from the frame.
type decoder struct {
	c jsonscan.Cursor
	source.Feed
	tickerBBO bool // tickers give best bids and offers: no quotes are subscribed

	channel    []byte // of the data that is being decoded
	origin     market.Origin
	s          state
	bids, asks []market.Level
	symbol     []byte // one that had to be put together
	ended      [][]byte
}

// NewDecoder starts a decoder; without channels it decodes all.
func (p *plugin) NewDecoder(s source.DecoderSettings) (source.Decoder, error) {
	return &decoder{Feed: s.Feed(), c: source.NewCursor(), tickerBBO: s.Channels == nil}, nil
}

// Decode handles a frame or a response.
func (d *decoder) Decode(in *source.Input, out *source.Out) error {
	d.c.Reset(in.Data)
	switch in.Kind {
	case source.InputText:
		d.origin = market.OriginLive
		return in.Fail("deribit", d.frame(out))
	case source.InputHTTP:
		return in.Fail("deribit", d.response(in, out))
	case source.InputBinary:
		return in.Binary("deribit")
	}
	return nil
}

// frame reads a notification, {"method":…,"params":{…}}, or the answer to a
// call, {"id":…,"result":…} or {"id":…,"error":{…}}. Data is decoded where it
// stands if its channel came before it, else when the rest was read.
func (d *decoder) frame(out *source.Out) error {
	c := &d.c
	c.Object()
	d.channel = nil
	var id, code, reason, kind []byte
	var result jsonscan.Mark
	answered := false
	var body source.Body
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "params":
			c.Object()
			for c.Key() {
				switch string(c.KeyBytes()) {
				case "channel":
					d.channel = c.Str()
				case "data":
					if body.Due(c, d.channel != nil) {
						if err := d.data(out); err != nil {
							return err
						}
					}
				case "type":
					kind = c.Str()
				default:
					c.Skip()
				}
			}
		case "id":
			id = c.NumOrStr()
		case "result":
			result, answered = c.Mark(), true
		case "error":
			code, reason = d.failure()
		default:
			c.Skip()
		}
	}
	if err := body.End(c, d.channel != nil, func() error { return d.data(out) }); err != nil {
		return err
	}
	switch {
	case d.channel != nil:
		return nil
	case code != nil:
		if string(id) == idLogin {
			id = []byte(loginToken)
		}
		out.Rejected(id, fmt.Appendf(nil, "%s: %.300s", code, reason))
	case answered:
		c.Seek(result)
		d.answer(id, out)
	case kind != nil: // heartbeat, test_request
		out.Heartbeat()
		if string(kind) == "test_request" {
			out.Reply(test)
		}
	default:
		return fmt.Errorf("neither a channel's data nor an answer")
	}
	return c.End()
}

// test is what the venue wants to hear when it asks for a sign of life.
var test = []byte(`{"jsonrpc":"2.0","id":` + idTest + `,"method":"public/test","params":{}}`)

// failure reads an error object.
func (d *decoder) failure() (code, reason []byte) {
	c := &d.c
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "code":
			code = c.NumOrStr()
		case "message":
			reason = c.Str()
		}
	}
	return code, reason
}

// answer decodes the result of a call. That of subscriptions lists the channels
// that exist; those that don't are left out without a word.
func (d *decoder) answer(id []byte, out *source.Out) {
	c := &d.c
	if id == nil || string(id) == idTest {
		out.Heartbeat()
		return
	}
	if string(id) == idLogin {
		out.Ready(loginToken)
		return
	}
	if c.Kind() != jsonscan.KindArray {
		out.Subscribed(id)
		return
	}
	asked, unsubscribe := callOf(id)
	n := 0
	d.ended = d.ended[:0]
	c.Array()
	for ; c.Elem(); n++ {
		name := c.Str()
		kind, rest, _ := bytes.Cut(name, []byte{'.'})
		switch {
		case unsubscribe && string(kind) == "book":
			symbol, _, _ := bytes.Cut(rest, []byte{'.'})
			d.ended = append(d.ended, symbol)
		case string(kind) == "quote":
			d.tickerBBO = false
		}
	}
	for _, symbol := range d.ended {
		m := marketOf(symbol)
		if m == market.MarketNone {
			continue
		}
		out.EndBook(out.SymbolIn(m, symbol))
	}
	switch {
	case unsubscribe || n >= asked:
		out.Subscribed(id)
	case n == 0:
		out.Rejected(id, []byte("the venue knows none of these channels"))
	default: // the rest is carried all the same
		out.Subscribed(id)
		out.Rejected(append(bytes.Clone(id), "-part"...), fmt.Appendf(nil, "of %d channels the venue knows %d", asked, n))
	}
}

// data decodes a channel's data, which is due.
func (d *decoder) data(out *source.Out) error {
	c := &d.c
	kind, rest, _ := bytes.Cut(d.channel, []byte{'.'})
	one := (*decoder).book
	switch string(kind) {
	case "book":
	case "trades":
		return source.Each(c, d, out, (*decoder).trade)
	case "quote":
		one = (*decoder).quote
	case "ticker", "incremental_ticker":
		one = (*decoder).tickerState
	case "deribit_volatility_index":
		one = (*decoder).volatility
	case "chart":
		if !bytes.HasPrefix(rest, []byte("trades.")) {
			return fmt.Errorf("at byte %d: unknown channel %.60q", c.Offset(), d.channel)
		}
		one = (*decoder).candle
	default:
		if err := c.Err(); err != nil {
			return err
		}
		return fmt.Errorf("at byte %d: unknown channel %.60q", c.Offset(), d.channel)
	}
	c.Object()
	if err := one(d, out); err != nil {
		return err
	}
	return c.Err()
}

// Conditions of a trade, as bits.
const (
	liquidated = 1 << iota
	block
	rfq
	combo
)

// conditions by their bits.
var conditions = func() (all [16][]byte) {
	for i := range all {
		for j, name := range []string{"liquidation", "block", "rfq", "combo"} {
			if i>>j&1 == 0 {
				continue
			}
			if len(all[i]) > 0 {
				all[i] = append(all[i], ',')
			}
			all[i] = append(all[i], name...)
		}
	}
	return all
}()

// trade decodes a trade, and the liquidations that it was: "M" of the maker, "T"
// of the taker, "MT" of both.
func (d *decoder) trade(out *source.Out) error {
	c := &d.c
	var t market.Trade // field by field: this is where most frames come through
	t.Channel, t.Origin = market.ChannelTrades, d.origin
	t.TsSend, t.Seq, t.PrevSeq, t.FirstID, t.LastID = market.None, market.None, market.None, market.None, market.None
	var symbol, forced []byte
	flags := 0
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "trade_seq":
			t.Seq = c.Int64()
		case "trade_id":
			t.ID = c.NumOrStr()
		case "timestamp":
			t.Ts = source.Millis(c)
		case "price":
			t.Price = source.Decimal(c)
		case "amount":
			t.Amount = source.Decimal(c)
		case "instrument_name":
			symbol = c.Str()
		case "direction":
			t.Side = source.Side(c.Str(), "buy", "sell")
		case "liquidation":
			if !c.Null() {
				forced = c.Str()
				flags |= liquidated
			}
		case "block_trade_id":
			flags |= present(c, block)
		case "block_rfq_id":
			flags |= present(c, rfq)
		case "combo_id":
			flags |= present(c, combo)
		default:
			c.Skip()
		}
	}
	if symbol == nil || t.ID == nil || t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown {
		return source.Lacks(&d.c, "a trade", "instrument_name, trade_id, price, amount or direction")
	}
	m := marketOf(symbol)
	if m == market.MarketNone {
		return c.Err()
	}
	t.Conditions, t.Instrument = conditions[flags], out.SymbolIn(m, symbol)
	if d.Uses(market.ChannelTrades) {
		out.Trade(&t)
	}
	if forced != nil && d.Uses(market.ChannelLiquidations) {
		d.liquidation(&t, forced, out)
	}
	return nil
}

// present reads a member that says something by being there.
func present(c *jsonscan.Cursor, flag int) int {
	if c.Null() {
		return 0
	}
	c.Skip()
	return flag
}

// liquidation emits what a trade liquidated, with the side of the order that
// closed the position. Where both sides did, the maker's has an id of its own.
func (d *decoder) liquidation(t *market.Trade, forced []byte, out *source.Out) {
	l := market.Liquidation{Header: source.Header(market.ChannelLiquidations), ID: t.ID, Price: t.Price, Amount: t.Amount, Side: t.Side}
	l.Ts, l.Origin, l.Instrument = t.Ts, t.Origin, t.Instrument
	taker := bytes.IndexByte(forced, 'T') >= 0
	if taker {
		out.Liquidation(&l)
	}
	if bytes.IndexByte(forced, 'M') < 0 {
		return
	}
	if l.Side = market.SideBuy; t.Side == market.SideBuy {
		l.Side = market.SideSell
	}
	if taker {
		d.symbol = append(append(d.symbol[:0], t.ID...), "-M"...)
		l.ID = d.symbol
	}
	l.Header = source.Header(market.ChannelLiquidations)
	l.Ts, l.Origin, l.Instrument = t.Ts, t.Origin, t.Instrument
	out.Liquidation(&l)
}

// book decodes a snapshot, changes, or the levels of a grouped book, which come
// whole each time: book.BTC-PERPETUAL.none.20.100ms.
func (d *decoder) book(out *source.Out) error {
	c := &d.c
	b := source.NewBook(market.KindBookSnapshot)
	b.Origin = d.origin
	var symbol []byte
	sides := 0
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "type":
			if string(c.Str()) == "change" {
				b.Kind = market.KindBookDelta
			}
		case "timestamp":
			b.Ts = source.Millis(c)
		case "instrument_name":
			symbol = c.Str()
		case "change_id":
			b.Seq = c.Int64()
		case "prev_change_id":
			b.PrevSeq, b.Kind = c.Int64(), market.KindBookDelta
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
	if symbol == nil || sides != 3 || b.Seq == market.None {
		return source.Lacks(&d.c, "a book", "instrument_name, change_id, bids or asks")
	}
	m := marketOf(symbol)
	if m == market.MarketNone {
		return nil
	}
	if parts := bytes.Count(d.channel, []byte{'.'}); parts == 4 {
		depth := d.channel[:bytes.LastIndexByte(d.channel, '.')]
		if n, err := strconv.Atoi(string(depth[bytes.LastIndexByte(depth, '.')+1:])); err == nil {
			b.Depth = int64(n)
		}
	}
	b.Bids, b.Asks = d.bids, d.asks
	b.Instrument = out.SymbolIn(m, symbol)
	out.Book(&b)
	return nil
}

// levels appends [action, price, amount] of a book, or [price, amount] of a
// grouped one. What is done follows from the amount: 0 where a level is deleted.
func levels(c *jsonscan.Cursor, ls []market.Level) []market.Level {
	c.Array()
	for c.Elem() {
		var l market.Level
		c.Array()
		if !c.Elem() {
			c.Fail("a level without price or amount")
			break
		}
		deleted := false
		if c.Kind() == jsonscan.KindString {
			action := c.Str()
			deleted = string(action) == "delete"
			c.Elem()
		}
		l.Price = source.Decimal(c)
		c.Elem()
		l.Amount = source.Decimal(c)
		if deleted {
			l.Amount = market.NewDecimal(0, 0)
		}
		if c.Elem() {
			c.Leave()
		}
		if len(ls) >= market.MaxLevels {
			c.Fail("more levels than a book record holds")
			break
		}
		ls = append(ls, l)
	}
	return ls
}

// quote decodes a best bid and offer; a price of 0 is the venue's way to say
// that there is none.
func (d *decoder) quote(out *source.Out) error {
	c := &d.c
	t := market.BBO{Header: source.Header(market.ChannelBBO)}
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "timestamp":
			t.Ts = source.Millis(c)
		case "instrument_name":
			symbol = c.Str()
		case "best_bid_price":
			t.BidPrice = source.DecimalOrNull(c)
		case "best_bid_amount":
			t.BidAmount = source.DecimalOrNull(c)
		case "best_ask_price":
			t.AskPrice = source.DecimalOrNull(c)
		case "best_ask_amount":
			t.AskAmount = source.DecimalOrNull(c)
		default:
			c.Skip()
		}
	}
	if symbol == nil || t.Ts == 0 {
		return source.Lacks(&d.c, "a quote", "instrument_name or timestamp")
	}
	if m := marketOf(symbol); m != market.MarketNone {
		t.Instrument = out.SymbolIn(m, symbol)
		out.BBO(&t)
	}
	return nil
}

// response decodes {"jsonrpc":"2.0","result":…} by the path of its request.
func (d *decoder) response(in *source.Input, out *source.Out) error {
	c := &d.c
	name, _ := in.Asked()
	var code, reason []byte
	var result jsonscan.Mark
	have := false
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "result":
			result, have = c.Mark(), true
		case "error":
			code, reason = d.failure()
		}
	}
	err := c.End()
	switch {
	case in.Status != 200 || code != nil:
		return fmt.Errorf("status %d, code %.20s: %.200s", in.Status, code, reason)
	case err != nil:
		return err
	case !have:
		return fmt.Errorf("no result")
	}
	d.channel, d.origin = nil, market.OriginBackfill
	c.Seek(result)
	switch name {
	case "get_instruments":
		err = source.Each(c, d, out, (*decoder).instrument)
	case "get_last_trades_by_instrument":
		c.Object()
		for c.Key() {
			if string(c.KeyBytes()) != "trades" {
				continue
			}
			if err = source.Each(c, d, out, (*decoder).trade); err != nil {
				return err
			}
		}
	case "get_order_book":
		c.Object()
		d.origin = market.OriginLive
		err = d.book(out)
	default:
		return fmt.Errorf("no such request is known")
	}
	if err != nil {
		return err
	}
	return c.End()
}
