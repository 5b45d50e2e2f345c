package binance

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// decoder has no state but room: what a frame means follows from the frame.
type decoder struct {
	c jsonscan.Cursor
	source.Feed

	bids, asks []market.Level
	symbol     []byte // one that had to be put together
	text       []byte // of a trade's id
}

// NewDecoder starts a decoder; without channels it decodes all.
func (p *plugin) NewDecoder(s source.DecoderSettings) (source.Decoder, error) {
	return &decoder{Feed: s.Feed(), c: source.NewCursor()}, nil
}

// Decode handles a frame of a combined or a raw stream, or a response.
func (d *decoder) Decode(in *source.Input, out *source.Out) error {
	switch in.Kind {
	case source.InputText:
		return in.Fail("binance", d.frame(in.Data, out))
	case source.InputHTTP:
		d.c.Reset(in.Data)
		return in.Fail("binance", d.response(in, out))
	case source.InputBinary:
		if d.Market == market.MarketLinear || d.Market == market.MarketInverse {
			return in.Binary("binance")
		}
		return in.Fail("binance", d.binary(in.Data, out))
	}
	return nil
}

// frame decodes the usual frame, an envelope whose stream comes first around an
// event that names itself first, or a best bid and offer of spot, which begins
// with u. All else starts again from the front.
func (d *decoder) frame(data []byte, out *source.Out) error {
	c := &d.c
	c.Reset(data)
	if c.Kind() == jsonscan.KindObject {
		c.Object()
		if c.Key() && string(c.KeyBytes()) == "stream" {
			stream := c.Str()
			if c.Key() && string(c.KeyBytes()) == "data" && c.Kind() == jsonscan.KindObject {
				c.Object()
				c.Key()
				err := errUnusual
				switch c.Key1() {
				case 'e':
					err = d.named(c.Str(), stream, out)
				case 'u':
					err = d.bookTicker(c.Int64(), out)
				}
				if err == nil {
					return c.End()
				}
				if err != errUnusual {
					return err
				}
			}
		}
	}
	c.Reset(data)
	return d.unusual(out)
}

// errUnusual says that what is being decoded is something else.
var errUnusual = errors.New("another event")

// unusual tells an envelope, an event and an answer apart by the first key.
// Events have keys of one letter, save a partial book.
func (d *decoder) unusual(out *source.Out) error {
	c := &d.c
	if c.Kind() == jsonscan.KindArray {
		return d.events(nil, out)
	}
	c.Object()
	start := c.Mark()
	if !c.Key() {
		if err := c.End(); err != nil {
			return err
		}
		return errors.New("an object without members")
	}
	k := c.KeyBytes()
	envelope := string(k) == "stream" || string(k) == "data"
	event := len(k) == 1 || string(k) == "lastUpdateId"
	c.Seek(start)
	switch {
	case envelope:
		return d.envelope(out)
	case event:
		return d.event(nil, out)
	}
	return d.answer(out)
}

// envelope is one whose members come in another order than usual.
func (d *decoder) envelope(out *source.Out) error {
	c := &d.c
	var stream []byte
	var data jsonscan.Mark
	have := false
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "stream":
			stream = c.Str()
		case "data":
			data, have = c.Mark(), true
		}
	}
	if err := c.End(); err != nil {
		return err
	}
	if stream == nil || !have {
		return errors.New("an envelope without stream or data")
	}
	c.Seek(data)
	return d.events(stream, out)
}

// events decodes the value that is due: an event, or an array of them.
func (d *decoder) events(stream []byte, out *source.Out) error {
	c := &d.c
	if c.Kind() != jsonscan.KindArray {
		c.Object()
		return d.event(stream, out)
	}
	c.Array()
	for c.Elem() {
		depth := c.Depth()
		c.Object()
		if err := d.one(stream, out); err != nil {
			return err
		}
		if c.Depth() != depth && c.Err() == nil {
			return fmt.Errorf("at byte %d: an event that ends early", c.Offset())
		}
	}
	return c.End()
}

func (d *decoder) event(stream []byte, out *source.Out) error {
	if err := d.one(stream, out); err != nil {
		return err
	}
	return d.c.End()
}

// one decodes the members of an event's object, up to its end.
func (d *decoder) one(stream []byte, out *source.Out) error {
	c := &d.c
	start := c.Mark()
	var first, kind []byte
	for c.Key() {
		if first == nil {
			first = c.KeyBytes()
		}
		if c.Key1() == 'e' && c.Kind() == jsonscan.KindString {
			kind = c.Str()
			break
		}
	}
	if err := c.Err(); err != nil {
		return err
	}
	c.Seek(start)
	switch {
	case kind != nil:
		return d.named(kind, stream, out)
	case string(first) == "u" || isStream(stream, "@bookTicker"):
		return d.bookTicker(market.None, out)
	case bytes.Equal(first, []byte("lastUpdateId")) || depthOf(stream) > 0:
		return d.partial(stream, out)
	}
	return source.Lacks(&d.c, "an event", "e")
}

func (d *decoder) named(kind, stream []byte, out *source.Out) error {
	switch string(kind) {
	case "trade":
		return d.trade('t', 0, out)
	case "aggTrade":
		return d.trade('a', market.FlagAggregate, out)
	case "depthUpdate":
		return d.depthUpdate(stream, out)
	case "bookTicker":
		return d.bookTicker(market.None, out)
	case "kline", "continuous_kline":
		return d.kline(out)
	case "24hrTicker", "24hrMiniTicker", "1hTicker", "4hTicker", "1dTicker":
		return d.ticker(out)
	case "markPriceUpdate":
		return d.markPrice(out)
	case "indexPriceUpdate":
		return d.indexPrice(out)
	case "forceOrder":
		return d.forceOrder(out)
	case "serverShutdown":
		out.Reconnect("the venue shuts this server down")
		d.c.Leave()
		return nil
	}
	if err := d.c.Err(); err != nil {
		return err
	}
	return fmt.Errorf("at byte %d: unknown event %.40q", d.c.Offset(), kind)
}

// trade decodes a trade or an aggregate trade, whose id has another key.
func (d *decoder) trade(idKey byte, flags market.Flags, out *source.Out) error {
	c := &d.c
	var t market.Trade // field by field: this is where most frames come through
	t.Channel, t.Flags = market.ChannelTrades, flags
	t.TsSend, t.Seq, t.PrevSeq, t.FirstID, t.LastID = market.None, market.None, market.None, market.None, market.None
	var symbol []byte
	for c.Key() {
		switch k := c.Key1(); k {
		case 'E':
			t.TsSend = source.Millis(c)
		case 's':
			symbol = c.Str()
		case 't', 'a':
			if k != idKey {
				c.Skip()
				continue
			}
			t.Seq = c.Int64()
			t.ID = c.Lexeme()
		case 'p':
			t.Price = source.Decimal(c)
		case 'q':
			t.Amount = source.Decimal(c)
		case 'f':
			t.FirstID = c.Int64()
		case 'l':
			t.LastID = c.Int64()
		case 'T':
			t.Ts = source.Millis(c)
		case 'm':
			t.Side = taker(c.Bool())
		case 'X':
			t.Conditions = condition(c.Str())
		default:
			c.Skip() // at once: Key is quicker then
		}
	}
	if symbol == nil || t.ID == nil || t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown {
		return source.Lacks(&d.c, "a trade", "s, id, p, q or m")
	}
	t.Instrument = out.Symbol(symbol)
	out.Trade(&t)
	return nil
}

// condition names how a futures trade came about where that isn't the market.
func condition(x []byte) []byte {
	switch string(x) {
	case "MARKET":
		return nil
	case "INSURANCE_FUND":
		return []byte("insurance_fund")
	case "ADL":
		return []byte("adl")
	case "RPI":
		return []byte("rpi")
	}
	return x
}

// isStream tells whether a stream's name, symbol@kind, has this kind.
func isStream(stream []byte, kind string) bool {
	i := bytes.IndexByte(stream, '@')
	return i >= 0 && string(stream[i:]) == kind || string(stream) == "!"+kind[1:]
}

// depthOf is the number of levels in the name of a partial book's stream,
// btcusdt@depth20@100ms; 0 for btcusdt@depth@100ms and the rest.
func depthOf(stream []byte) int64 {
	i := bytes.IndexByte(stream, '@')
	if i < 0 || !bytes.HasPrefix(stream[i:], []byte("@depth")) {
		return 0
	}
	n := int64(0)
	for _, b := range stream[i+len("@depth"):] {
		if b-'0' > 9 || n > market.MaxLevels {
			break
		}
		n = n*10 + int64(b-'0')
	}
	return n
}

// streamSymbol is the symbol in a stream's name, in the case of symbols.
func (d *decoder) streamSymbol(stream []byte) []byte {
	name, _, _ := bytes.Cut(stream, []byte("@"))
	d.symbol = append(d.symbol[:0], bytes.ToUpper(name)...)
	return d.symbol
}

// depthUpdate decodes changes of a book; on a stream that names a number of
// levels it is the whole of them.
func (d *decoder) depthUpdate(stream []byte, out *source.Out) error {
	c := &d.c
	b := source.NewBook(market.KindBookDelta)
	var symbol []byte
	levels := 0
	for c.Key() {
		switch c.Key1() {
		case 'E':
			b.TsSend = source.Millis(c)
		case 's':
			symbol = c.Str()
		case 'U':
			b.FirstSeq = c.Int64()
		case 'u':
			b.Seq = c.Int64()
		case 'b':
			d.bids = source.Levels(c, d.bids[:0])
			levels |= 1
		case 'a':
			d.asks = source.Levels(c, d.asks[:0])
			levels |= 2
		case 0:
			if string(c.KeyBytes()) == "pu" {
				b.PrevSeq = c.Int64()
			} else {
				c.Skip()
			}
		default:
			c.Skip()
		}
	}
	if symbol == nil || levels != 3 || b.Seq == market.None || b.FirstSeq == market.None {
		return source.Lacks(&d.c, "a depthUpdate", "s, U, u, b or a")
	}
	b.Ts = b.TsSend
	if n := depthOf(stream); n > 0 {
		b.Kind, b.Depth = market.KindBookSnapshot, n
	}
	b.Bids, b.Asks = d.bids, d.asks
	b.Instrument = out.Symbol(symbol)
	out.Book(&b)
	return nil
}

// partial decodes the first levels of a spot book, whose symbol is the stream's.
func (d *decoder) partial(stream []byte, out *source.Out) error {
	b, symbol, whole := d.snapshot()
	if symbol == nil {
		symbol = d.streamSymbol(stream)
	}
	if len(symbol) == 0 || !whole {
		return source.Lacks(&d.c, "a partial book", "symbol, lastUpdateId, bids or asks")
	}
	if n := depthOf(stream); n > 0 {
		b.Depth = n
	}
	b.Instrument = out.Symbol(symbol)
	out.Book(&b)
	return nil
}

// snapshot reads a book as requests and partial streams give it, up to the end
// of its object; whole is false where something is missing.
func (d *decoder) snapshot() (b market.Book, symbol []byte, whole bool) {
	c := &d.c
	b = source.NewBook(market.KindBookSnapshot)
	levels := 0
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "lastUpdateId":
			b.Seq = c.Int64()
		case "E":
			b.TsSend = source.Millis(c)
			b.Ts = b.TsSend
		case "symbol":
			symbol = c.Str()
		case "bids":
			d.bids = source.Levels(c, d.bids[:0])
			levels |= 1
		case "asks":
			d.asks = source.Levels(c, d.asks[:0])
			levels |= 2
		}
	}
	b.Bids, b.Asks = d.bids, d.asks
	return b, symbol, levels == 3 && b.Seq != market.None
}

// bookTicker decodes a best bid and offer. What begins with u may still turn out
// to be another event.
func (d *decoder) bookTicker(seq int64, out *source.Out) error {
	c := &d.c
	t := market.BBO{Header: source.Header(market.ChannelBBO)}
	t.Seq = seq
	var symbol []byte
	for c.Key() {
		switch c.Key1() {
		case 'u':
			t.Seq = c.Int64()
		case 's':
			symbol = c.Str()
		case 'b':
			t.BidPrice = source.Decimal(c)
		case 'B':
			t.BidAmount = source.Decimal(c)
		case 'a':
			t.AskPrice = source.Decimal(c)
		case 'A':
			t.AskAmount = source.Decimal(c)
		case 'E':
			t.TsSend = source.Millis(c)
		case 'e':
			if string(c.Str()) != "bookTicker" && c.Err() == nil {
				return errUnusual
			}
		default:
			c.Skip()
		}
	}
	if symbol == nil || t.BidPrice.IsNull() || t.BidAmount.IsNull() || t.AskPrice.IsNull() || t.AskAmount.IsNull() {
		return source.Lacks(&d.c, "a bookTicker", "s, b, B, a or A")
	}
	if t.TsSend != market.None {
		t.Ts = t.TsSend
	}
	t.Instrument = out.Symbol(symbol)
	out.BBO(&t)
	return nil
}

// ticker decodes rolling statistics; the mini ticker has fewer of them.
func (d *decoder) ticker(out *source.Out) error {
	c := &d.c
	t := market.Ticker{Header: source.Header(market.ChannelTicker), Trades: market.None}
	var symbol []byte
	for c.Key() {
		switch c.Key1() {
		case 'E':
			t.TsSend = source.Millis(c)
		case 's':
			symbol = c.Str()
		case 'c':
			t.Last = source.Decimal(c)
		case 'o':
			t.Open = source.Decimal(c)
		case 'h':
			t.High = source.Decimal(c)
		case 'l':
			t.Low = source.Decimal(c)
		case 'Q':
			t.LastAmount = source.Decimal(c)
		case 'n':
			t.Trades = c.Int64()
		case 'v':
			t.Volume = source.Decimal(c)
		case 'q':
			t.QuoteVolume = source.Decimal(c)
		case 'w':
			t.VWAP = source.Decimal(c)
		case 'b':
			t.BidPrice = source.Decimal(c)
		case 'B':
			t.BidAmount = source.Decimal(c)
		case 'a':
			t.AskPrice = source.Decimal(c)
		case 'A':
			t.AskAmount = source.Decimal(c)
		}
	}
	if symbol == nil || t.Last.IsNull() {
		return source.Lacks(&d.c, "a ticker", "s or c")
	}
	t.Ts = t.TsSend
	t.Instrument = out.Symbol(symbol)
	out.Ticker(&t)
	return nil
}

// kline decodes a candle; a continuous one names pair and contract type.
func (d *decoder) kline(out *source.Out) error {
	c := &d.c
	t := market.Candle{Header: source.Header(market.ChannelCandles), OpenTs: market.None, CloseTs: market.None, Trades: market.None}
	var symbol, pair, contract []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "E":
			t.TsSend = source.Millis(c)
		case "s":
			symbol = c.Str()
		case "ps":
			pair = c.Str()
		case "ct":
			contract = c.Str()
		case "k":
			c.Object()
			d.candle(&t)
		}
	}
	if symbol == nil && pair != nil {
		if string(contract) != "PERPETUAL" {
			return fmt.Errorf("at byte %d: a continuous kline of %.20q contracts belongs to no symbol", c.Offset(), contract)
		}
		symbol = d.perpetual(pair)
	}
	if symbol == nil || t.Interval == nil || t.OpenTs == market.None || t.Open.IsNull() || t.High.IsNull() || t.Low.IsNull() || t.Close.IsNull() {
		return source.Lacks(&d.c, "a kline", "s, t, i, o, h, l or c")
	}
	t.Ts = t.TsSend
	t.Instrument = out.Symbol(symbol)
	out.Candle(&t)
	return nil
}

func (d *decoder) candle(t *market.Candle) {
	c := &d.c
	for c.Key() {
		switch c.Key1() {
		case 't':
			t.OpenTs = source.Millis(c)
		case 'T':
			t.CloseTs = source.Millis(c)
		case 'i':
			t.Interval = c.Str()
		case 'o':
			t.Open = source.Decimal(c)
		case 'h':
			t.High = source.Decimal(c)
		case 'l':
			t.Low = source.Decimal(c)
		case 'c':
			t.Close = source.Decimal(c)
		case 'v':
			t.Volume = source.Decimal(c)
		case 'q':
			t.QuoteVolume = source.Decimal(c)
		case 'V':
			t.BuyVolume = source.Decimal(c)
		case 'n':
			t.Trades = c.Int64()
		case 'x':
			if c.Bool() {
				t.Flags |= market.FlagClosed
			}
		}
	}
}

// perpetual is the symbol of a pair's perpetual.
func (d *decoder) perpetual(pair []byte) []byte {
	if d.Market != market.MarketInverse {
		return pair
	}
	d.symbol = append(append(d.symbol[:0], pair...), "_PERP"...)
	return d.symbol
}
