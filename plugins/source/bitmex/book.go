package bitmex

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// level decodes a row of a book, known by an id that says nothing: since 2023 each
// has its price.
func (d *decoder) level(out *source.Out) error {
	c, m := &d.c, &d.m
	var symbol []byte
	var row int64
	var l market.Level
	ts, of := int64(0), market.SideUnknown
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "id":
			row = c.Int64()
		case "side":
			of = side(c)
		case "size":
			l.Amount = source.DecimalOrNull(c)
		case "price":
			l.Price = source.DecimalOrNull(c)
		case "timestamp":
			ts = source.Time(c)
		default:
			c.Skip()
		}
	}
	if symbol == nil || of == market.SideUnknown {
		return source.Lacks(c, "a level", "symbol or side")
	}
	if m.book == nil || !bytes.Equal(m.book, symbol) {
		d.emitBook(out)
		d.begin(symbol, out)
	}
	switch {
	case m.action == deleted:
		l.Amount = market.NewDecimal(0, 0)
	case l.Amount.IsNull() && m.action == updated: // what changed is none of ours
		return nil
	case l.Amount.IsNull():
		return source.Lacks(c, "a level", "size")
	}
	if l.Price.IsNull() {
		var err error
		if l.Price, err = d.step(d.b.Instrument).price(row); err != nil {
			return fmt.Errorf("at byte %d: %w", c.Offset(), err)
		}
	} else if m.action == whole {
		d.step(d.b.Instrument).learn(row, l.Price)
	}
	d.b.Ts = max(d.b.Ts, ts)
	if len(d.bids)+len(d.asks) >= market.MaxLevels {
		c.Fail("more levels than a book record holds")
		return c.Err()
	}
	if of == market.SideBuy {
		d.bids = append(d.bids, l)
	} else {
		d.asks = append(d.asks, l)
	}
	return nil
}

// begin starts a record of a symbol's rows.
func (d *decoder) begin(symbol []byte, out *source.Out) {
	m := &d.m
	m.book, m.books = symbol, m.books+1
	d.bids, d.asks = d.bids[:0], d.asks[:0]
	d.b = market.Book{Header: source.Header(market.ChannelBook), Depth: m.depth, FirstSeq: market.None, Checksum: market.None}
	d.b.Instrument = d.id(symbol, out)
	if d.b.Kind = market.KindBookDelta; m.action == whole {
		d.b.Kind = market.KindBookSnapshot
		*d.step(d.b.Instrument) = step{}
	}
}

// emitBook emits the rows that were read, a whole book best first.
func (d *decoder) emitBook(out *source.Out) {
	if d.m.book == nil {
		return
	}
	d.m.book = nil
	if d.b.Kind == market.KindBookSnapshot {
		bestFirst(d.bids, -1)
		bestFirst(d.asks, 1)
		if s := d.step(d.b.Instrument); s.coef != 0 { // later rows may need it
			out.Remember()
		}
	} else if len(d.bids)+len(d.asks) == 0 {
		return
	}
	d.b.Bids, d.b.Asks = d.bids, d.asks
	out.Book(&d.b)
}

// bestFirst sorts levels, which come from the highest price to the lowest.
func bestFirst(ls []market.Level, dir int) {
	if dir > 0 {
		slices.Reverse(ls)
	}
	compare := func(a, b market.Level) int { return dir * a.Price.Cmp(b.Price) }
	if !slices.IsSortedFunc(ls, compare) {
		slices.SortFunc(ls, compare)
	}
}

// ten decodes a book of ten levels, whole whatever the action is.
func (d *decoder) ten(out *source.Out) error {
	c := &d.c
	b := source.NewBook(market.KindBookSnapshot)
	d.bids, d.asks = d.bids[:0], d.asks[:0]
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "symbol":
			symbol = c.Str()
		case "bids":
			d.bids = source.Levels(c, d.bids)
		case "asks":
			d.asks = source.Levels(c, d.asks)
		case "timestamp":
			b.Ts = source.Time(c)
		default:
			c.Skip()
		}
	}
	if symbol == nil {
		return source.Lacks(c, "a book", "symbol")
	}
	b.Depth, b.Bids, b.Asks, b.Instrument = d.m.depth, d.bids, d.asks, d.id(symbol, out)
	out.Book(&b)
	return nil
}
