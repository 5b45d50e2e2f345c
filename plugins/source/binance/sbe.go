package binance

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// The templates of the market data streams' schema 1, version 0
// (sbe/schemas/stream_1_0.xml). A later version of the schema may put more
// fields behind those of a block and more parts behind a message's: lengths are
// read from the message, and what is unknown is left out.
const (
	sbeSchema = 1

	sbeTrades   = 10000
	sbeBBO      = 10001
	sbeSnapshot = 10002
	sbeDiff     = 10003
)

const (
	sbeHeader = 8             // blockLength, templateId, schemaId, version: uint16 each
	sbeNull   = math.MinInt64 // of int64 where there is no value
	sbeTimes  = 1000          // ns of a time's unit
	sbeLatest = math.MaxInt64 / sbeTimes
)

// sbe reads a message from front to back. What lies beyond its end reads as
// zero and sets short.
type sbe struct {
	b     []byte
	short bool
}

func (r *sbe) take(n int) []byte {
	if n > len(r.b) {
		r.short, r.b = true, nil
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

// block takes a block that has at least so many bytes.
func (r *sbe) block(length, least int) []byte {
	if length < least {
		r.short = true
		return nil
	}
	return r.take(length)
}

// group takes the dimensions of a repeating group, and the group as a whole;
// wide ones count their entries in 32 bits.
func (r *sbe) group(wide bool, least int) (entries []byte, length int) {
	size := 4
	if wide {
		size = 6
	}
	p := r.take(size)
	if p == nil {
		return nil, 0
	}
	length = int(binary.LittleEndian.Uint16(p))
	n := int(binary.LittleEndian.Uint16(p[2:]))
	if wide {
		n = int(binary.LittleEndian.Uint32(p[2:]))
	}
	if n == 0 {
		return nil, length
	}
	if length < least || n > len(r.b)/length {
		r.short = true
		return nil, 0
	}
	return r.take(n * length), length
}

// text takes a text of up to 255 bytes.
func (r *sbe) text() []byte {
	if n := r.take(1); n != nil {
		return r.take(int(n[0]))
	}
	return nil
}

func i64(p []byte) int64 { return int64(binary.LittleEndian.Uint64(p)) }

// sbeTime is a time in microseconds as ns.
func sbeTime(us int64) (int64, error) {
	if us < 0 || us > sbeLatest {
		return 0, fmt.Errorf("a time of %d µs is out of range", us)
	}
	return us * sbeTimes, nil
}

// places is an exponent as digits after the point, and the power of ten that
// takes its place where it is positive.
type places struct {
	scale uint8
	pow   int64
}

func sbePlaces(exponent byte) (places, error) {
	e := int(int8(exponent))
	if e < -market.MaxScale || e > 18 {
		return places{}, fmt.Errorf("an exponent of %d is out of range", e)
	}
	if e <= 0 {
		return places{uint8(-e), 1}, nil
	}
	p := places{0, 1}
	for range e {
		p.pow *= 10
	}
	return p, nil
}

// decimal is a mantissa's value: null where there is none, or none that fits.
func (p places) decimal(mantissa int64) market.Decimal {
	if mantissa == sbeNull {
		return market.Decimal{}
	}
	if p.pow > 1 {
		if mantissa > math.MaxInt64/p.pow || mantissa < math.MinInt64/p.pow {
			return market.Decimal{}
		}
		mantissa *= p.pow
	}
	return market.NewDecimal(mantissa, p.scale)
}

// binary decodes a message of the SBE streams.
func (d *decoder) binary(data []byte, out *source.Out) error {
	r := sbe{b: data}
	h := r.take(sbeHeader)
	if h == nil {
		return fmt.Errorf("%d bytes are no SBE message", len(data))
	}
	length, template := int(binary.LittleEndian.Uint16(h)), binary.LittleEndian.Uint16(h[2:])
	if schema := binary.LittleEndian.Uint16(h[4:]); schema != sbeSchema {
		return fmt.Errorf("SBE schema %d is not that of the market data streams", schema)
	}
	var err error
	switch template {
	case sbeTrades:
		err = d.sbeTrades(&r, length, out)
	case sbeBBO:
		err = d.sbeBBO(&r, length, out)
	case sbeSnapshot:
		err = d.sbeBook(&r, length, market.KindBookSnapshot, out)
	case sbeDiff:
		err = d.sbeBook(&r, length, market.KindBookDelta, out)
	default:
		return fmt.Errorf("unknown SBE template %d", template)
	}
	switch {
	case err != nil:
		return fmt.Errorf("SBE template %d: %w", template, err)
	case r.short:
		return fmt.Errorf("SBE template %d: a message of %d bytes ends early or has a block that is too short", template, len(data))
	}
	return nil
}

// sbeTrades decodes eventTime, transactTime, priceExponent, qtyExponent; a group
// of id, price, qty, isBuyerMaker; symbol.
func (d *decoder) sbeTrades(r *sbe, length int, out *source.Out) error {
	p := r.block(length, 18)
	entries, size := r.group(true, 25)
	symbol := r.text()
	if r.short {
		return nil
	}
	var t market.Trade
	t.Channel = market.ChannelTrades
	t.PrevSeq, t.FirstID, t.LastID = market.None, market.None, market.None
	var err error
	if t.TsSend, err = sbeTime(i64(p)); err != nil {
		return err
	}
	if t.Ts, err = sbeTime(i64(p[8:])); err != nil {
		return err
	}
	price, err := sbePlaces(p[16])
	if err != nil {
		return err
	}
	qty, err := sbePlaces(p[17])
	if err != nil {
		return err
	}
	if len(symbol) == 0 {
		return errNoSymbol
	}
	t.Instrument = out.Symbol(symbol)
	for ; len(entries) > 0; entries = entries[size:] {
		t.Seq = i64(entries)
		d.text = strconv.AppendInt(d.text[:0], t.Seq, 10)
		t.ID = d.text
		t.Price, t.Amount, t.Side = price.decimal(i64(entries[8:])), qty.decimal(i64(entries[16:])), taker(entries[24] == 1)
		if t.Price.IsNull() || t.Amount.IsNull() || entries[24] > 1 {
			return fmt.Errorf("trade %d lacks a price, an amount or a side", t.Seq)
		}
		out.Trade(&t)
	}
	return nil
}

var errNoSymbol = fmt.Errorf("it has no symbol")

// sbeBBO decodes eventTime, bookUpdateId, priceExponent, qtyExponent, bidPrice,
// bidQty, askPrice, askQty; symbol.
func (d *decoder) sbeBBO(r *sbe, length int, out *source.Out) error {
	p := r.block(length, 50)
	symbol := r.text()
	if r.short {
		return nil
	}
	t := market.BBO{Header: source.Header(market.ChannelBBO)}
	var err error
	if t.TsSend, err = sbeTime(i64(p)); err != nil {
		return err
	}
	t.Ts, t.Seq = t.TsSend, i64(p[8:])
	price, err := sbePlaces(p[16])
	if err != nil {
		return err
	}
	qty, err := sbePlaces(p[17])
	if err != nil {
		return err
	}
	t.BidPrice, t.BidAmount = price.decimal(i64(p[18:])), qty.decimal(i64(p[26:]))
	t.AskPrice, t.AskAmount = price.decimal(i64(p[34:])), qty.decimal(i64(p[42:]))
	if len(symbol) == 0 {
		return errNoSymbol
	}
	if t.BidPrice.IsNull() || t.BidAmount.IsNull() || t.AskPrice.IsNull() || t.AskAmount.IsNull() {
		return fmt.Errorf("update %d lacks a price or an amount", t.Seq)
	}
	t.Instrument = out.Symbol(symbol)
	out.BBO(&t)
	return nil
}

// partialLevels is how many levels a side the stream of partial books has.
const partialLevels = 20

// sbeBook decodes eventTime, bookUpdateId or firstBookUpdateId and
// lastBookUpdateId, priceExponent, qtyExponent; groups of bids and of asks, each
// of price and qty; symbol.
func (d *decoder) sbeBook(r *sbe, length int, kind market.Kind, out *source.Out) error {
	b := source.NewBook(kind)
	at := 16 // of the exponents
	if kind == market.KindBookDelta {
		at = 24
	}
	p := r.block(length, at+2)
	bids, bid := r.group(false, 16)
	asks, ask := r.group(false, 16)
	symbol := r.text()
	if r.short {
		return nil
	}
	var err error
	if b.TsSend, err = sbeTime(i64(p)); err != nil {
		return err
	}
	b.Ts = b.TsSend
	if kind == market.KindBookDelta {
		b.FirstSeq, b.Seq = i64(p[8:]), i64(p[16:])
	} else {
		b.Seq, b.Depth = i64(p[8:]), partialLevels
	}
	price, err := sbePlaces(p[at])
	if err != nil {
		return err
	}
	qty, err := sbePlaces(p[at+1])
	if err != nil {
		return err
	}
	if len(symbol) == 0 {
		return errNoSymbol
	}
	whole := true
	d.bids, whole = sbeLevels(d.bids[:0], bids, bid, price, qty)
	if whole {
		d.asks, whole = sbeLevels(d.asks[:0], asks, ask, price, qty)
	}
	if !whole {
		return fmt.Errorf("update %d has a level without price or amount", b.Seq)
	}
	b.Bids, b.Asks = d.bids, d.asks
	b.Instrument = out.Symbol(symbol)
	out.Book(&b)
	return nil
}

// sbeLevels appends a group's levels, of which there are 65,535 at most.
func sbeLevels(to []market.Level, entries []byte, size int, price, qty places) ([]market.Level, bool) {
	for ; len(entries) > 0; entries = entries[size:] {
		l := market.Level{Price: price.decimal(i64(entries)), Amount: qty.decimal(i64(entries[8:]))}
		if l.Price.IsNull() || l.Amount.IsNull() {
			return to, false
		}
		to = append(to, l)
	}
	return to, true
}
