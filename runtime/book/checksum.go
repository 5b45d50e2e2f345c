package book

import (
	"bytes"
	"hash/crc32"
	"math"
	"strconv"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// checksum computes the rule's CRC32 over the top of the book.
//
// Kraken (docs.kraken.com/exchange/guides/websockets/book-checksum-v2, and -v1):
// for the best 10 asks, then the best 10 bids, the digits of price and amount
// without point and without leading zeros, which are the decimal's coefficient.
//
// Pairs (OKX "checksum" of the books channels, Bitget's depth channel): bid and
// ask take turns, price:amount in the text that was sent, all joined by ":"; a
// side that has no more levels is left out.
//
// Script (Bitfinex, docs.bitfinex.com/docs/ws-websocket-checksum): the same with
// the text that JavaScript gives a number, in which no zero trails and what is
// below a millionth has an exponent; amounts of asks are negative, as sent.
func (b *Book) checksum() uint32 {
	n := b.rule.Checksum.Levels
	t := b.text[:0]
	switch b.rule.Checksum.Kind {
	case source.ChecksumKraken:
		if n <= 0 {
			n = 10
		}
		t = b.digits(t, &b.asks, n, false)
		t = b.digits(t, &b.bids, n, true)
	case source.ChecksumPairs, source.ChecksumScript:
		if n <= 0 {
			n = 25
		}
		bids, asks := cursor{s: &b.bids}, cursor{s: &b.asks}
		for range n {
			t = b.pair(t, &bids, true)
			t = b.pair(t, &asks, false)
		}
		if len(t) > 0 {
			t = t[:len(t)-1]
		}
	}
	b.text = t
	return crc32.ChecksumIEEE(t)
}

// sameChecksum compares with what the venue sent, signed or unsigned.
func sameChecksum(want, got int64) bool {
	return want >= math.MinInt32 && want <= math.MaxUint32 && uint32(want) == uint32(got)
}

// cursor walks the levels of a side.
type cursor struct {
	s    *side
	i, j int
}

func (c *cursor) next() (*leaf, int, bool) {
	for c.i < len(c.s.leaf) {
		if l := c.s.leaf[c.i]; c.j < l.n {
			c.j++
			return l, c.j - 1, true
		}
		c.i, c.j = c.i+1, 0
	}
	return nil, 0, false
}

func (b *Book) pair(t []byte, c *cursor, negate bool) []byte {
	l, j, ok := c.next()
	if !ok {
		return t
	}
	price, amount := b.price(l.key[j], l.places[j], negate), l.amount[j]
	if b.rule.Checksum.Kind == source.ChecksumScript {
		t = append(appendScript(t, price), ':')
		if !negate { // an ask
			t = append(t, '-')
		}
		return append(appendScript(t, amount), ':')
	}
	return append(amount.Append(append(price.Append(t), ':')), ':')
}

// appendScript writes a number below 1e21 as JavaScript does: what is below 1e-6
// as d.ddde-7.
func appendScript(t []byte, d market.Decimal) []byte {
	start := len(t)
	t = d.AppendTrimmed(t)
	if len(t) > start && t[start] == '-' {
		start++
	}
	const zeros = "0.000000"
	if !bytes.HasPrefix(t[start:], []byte(zeros)) {
		return t
	}
	first := start + len(zeros)
	for t[first] == '0' {
		first++
	}
	exp := first - start - len("0.") + 1
	w := start
	t[w] = t[first]
	w++
	if rest := t[first+1:]; len(rest) > 0 {
		t[w] = '.'
		w += 1 + copy(t[w+1:], rest)
	}
	return strconv.AppendInt(append(t[:w], 'e', '-'), int64(exp), 10)
}

func (b *Book) digits(t []byte, s *side, n int, negate bool) []byte {
	c := cursor{s: s}
	var price, amount uint8
	if b.prec.Known {
		price, amount = b.prec.Price, b.prec.Amount
	}
	for range n {
		l, j, ok := c.next()
		if !ok {
			break
		}
		t = appendDigits(t, b.price(l.key[j], l.places[j], negate), price)
		t = appendDigits(t, l.amount[j], amount)
	}
	return t
}

// appendDigits writes a number's digits as it was sent, or with as many places as
// the venue computes with where fewer were sent.
func appendDigits(t []byte, d market.Decimal, places uint8) []byte {
	if d.Sign() == 0 { // no digits but zeros, which are left out
		return t
	}
	if c, ok := d.Rescale(max(d.Scale(), min(places, market.MaxScale))); ok && c > 0 {
		return strconv.AppendInt(t, c, 10)
	}
	start, w := len(t), len(t)
	t = d.Append(t)
	for _, c := range t[start:] {
		if c >= '0' && c <= '9' && (c != '0' || w > start) {
			t[w] = c
			w++
		}
	}
	t = t[:w]
	for s := d.Scale(); s < places; s++ {
		t = append(t, '0')
	}
	return t
}
