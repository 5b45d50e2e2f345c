package book

import "github.com/marketprism/marketprism/sdk/market"

// Side of a book.
type Side uint8

// The sides.
const (
	Bids Side = iota
	Asks
)

var pow10 = [19]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

// best is what a change of the best level is seen by.
type best struct {
	key    int64
	amount market.Decimal // null if the side is empty
	scale  uint8
}

func (b *Book) best(s *side) best {
	if len(s.leaf) == 0 {
		return best{}
	}
	l := s.leaf[0]
	return best{l.key[0], l.amount[0], b.scale}
}

// same compares values: neither another scale nor another number of zeros is a
// change.
func (o best) same(n best) bool {
	if o.key == n.key && o.scale == n.scale {
		return o.amount == n.amount || o.amount.Equal(n.amount)
	}
	return o.scale != n.scale && !o.amount.IsNull() && !n.amount.IsNull() && o.amount.Equal(n.amount) &&
		market.NewDecimal(o.key, o.scale).Equal(market.NewDecimal(n.key, n.scale))
}

// The reasons for refusing a record.
const (
	reasonPrice  = "a price needs more than 62 bits at the book's scale"
	reasonAmount = "an amount is negative"
	reasonLevels = "the book would have more levels than it may"
)

// levels puts a record's levels into the book and says why it can't, else "".
func (b *Book) levels(bids, asks market.Levels, whole bool) string {
	if reason := b.changes(&b.bids, bids, true, whole); reason != "" {
		return reason
	}
	return b.changes(&b.asks, asks, false, whole)
}

func (b *Book) changes(s *side, ls market.Levels, negate, whole bool) string {
	for i, n := 0, ls.Len(); i < n; i++ {
		lv := ls.At(i)
		places := lv.Price.Scale()
		key, ok := lv.Price.Coef()
		if !ok || places != b.scale || !fits(key) {
			if key, ok = b.tick(lv.Price); !ok {
				return reasonPrice
			}
		}
		if negate {
			key = -key
		}
		switch sign := lv.Amount.Sign(); {
		case sign == 0:
			s.remove(key)
		case sign < 0:
			return reasonAmount
		case whole:
			s.push(key, places, lv.Amount)
		default:
			s.set(key, places, lv.Amount)
		}
	}
	if s.n > b.opts.MaxLevels {
		return reasonLevels
	}
	return ""
}

// scaleOf gives the greatest number of places of prices, from at least on.
// Prices that need more than 64 bits as sent count without their trailing zeros.
func scaleOf(ls market.Levels, least uint8) uint8 {
	for i, n := 0, ls.Len(); i < n; i++ {
		p := ls.At(i).Price
		if _, ok := p.Coef(); !ok {
			p = p.Trim()
		}
		least = max(least, p.Scale())
	}
	return least
}

func fits(key int64) bool { return key <= maxKey && key >= -maxKey }

// exact gives a price in ticks of a scale, if it is a whole number of them.
func exact(p market.Decimal, scale uint8) (int64, bool) {
	c, ok := p.Rescale(scale)
	if !ok {
		c, ok = p.Trim().Rescale(scale)
	}
	return c, ok && fits(c)
}

// tick gives a price in ticks. A price with more places than the book has scales
// the book up; where ticks would overflow, the scale comes down to what the
// prices need.
func (b *Book) tick(p market.Decimal) (int64, bool) {
	if c, ok := exact(p, b.scale); ok {
		return c, true
	}
	to := p.Trim().Scale()
	if to <= b.scale {
		to = b.asks.least(b.scale, b.bids.least(b.scale, to))
	}
	if !b.rescale(to) {
		return 0, false
	}
	return exact(p, b.scale)
}

// rescale brings all ticks to another scale; false if they don't fit.
func (b *Book) rescale(to uint8) bool {
	for b.scale != to {
		if b.bids.n+b.asks.n == 0 {
			b.scale = to
			break
		}
		if to > b.scale {
			k := min(to-b.scale, 18)
			if !b.bids.scaleBy(pow10[k]) {
				return false
			}
			if !b.asks.scaleBy(pow10[k]) {
				b.bids.divideBy(pow10[k])
				return false
			}
			b.scale += k
		} else {
			k := min(b.scale-to, 18)
			b.bids.divideBy(pow10[k])
			b.asks.divideBy(pow10[k])
			b.scale -= k
		}
	}
	return true
}

// price gives a key's price with the places that it was sent with.
func (b *Book) price(key int64, places uint8, negate bool) market.Decimal {
	if negate {
		key = -key
	}
	if places == b.scale {
		return market.NewDecimal(key, places)
	}
	for s := b.scale; s > places; {
		k := min(s-places, 18)
		key /= pow10[k]
		s -= k
	}
	d := market.NewDecimal(key, min(b.scale, places))
	for s := b.scale; s < places; {
		k := min(places-s, 18)
		d, _ = d.Mul(market.NewDecimal(pow10[k], k))
		s += k
	}
	return d
}

func (b *Book) side(w Side) *side {
	if w == Bids {
		return &b.bids
	}
	return &b.asks
}

// Synced reports whether a snapshot is in force and nothing broke since.
func (b *Book) Synced() bool { return b.inForce }

// Seq is the sequence in force, or market.None.
func (b *Book) Seq() int64 { return b.seq }

// Len is the number of levels of a side; a void book has none.
func (b *Book) Len(w Side) int { return b.side(w).n }

// Held is the number of deltas that wait for a snapshot.
func (b *Book) Held() int { return b.held.n }

// Stats are the book's counts.
func (b *Book) Stats() Stats { return b.stats }

// Crossed reports best bid >= best ask.
func (b *Book) Crossed() bool {
	return b.bids.n > 0 && b.asks.n > 0 && -b.bids.leaf[0].key[0] >= b.asks.leaf[0].key[0]
}

// Best is the best level of a side, false if there is none.
func (b *Book) Best(w Side) (market.Level, bool) {
	s := b.side(w)
	if s.n == 0 {
		return market.Level{}, false
	}
	l := s.leaf[0]
	return market.Level{Price: b.price(l.key[0], l.places[0], w == Bids), Amount: l.amount[0]}, true
}

// Top appends the best n levels of a side to dst, best first; all for n < 0.
// Prices and amounts are as they were sent.
func (b *Book) Top(w Side, n int, dst []market.Level) []market.Level {
	s := b.side(w)
	if n < 0 || n > s.n {
		n = s.n
	}
	for _, l := range s.leaf {
		m := min(n, l.n)
		for j := range m {
			dst = append(dst, market.Level{Price: b.price(l.key[j], l.places[j], w == Bids), Amount: l.amount[j]})
		}
		if n -= m; n == 0 {
			break
		}
	}
	return dst
}
