package bitmex

import (
	"fmt"

	"github.com/marketprism/marketprism/sdk/market"
)

// Until 2023 rows of a book that were changed or deleted had no price: the id
// gave it. Each symbol has a hundred million ids, counted from the end in steps
// of its price: 8796381000 is 3,619,000 steps below 8800000000, so at 36190 the
// step is 0.01. A step may be less than the tick, for a symbol keeps its first
// one; the whole book, which has prices, tells it. Since then ids say nothing.

// idsOfSymbol is how many ids a symbol has.
const idsOfSymbol = 100_000_000

// step is the price that ids of a symbol count in; none where ids say nothing.
type step struct {
	coef  int64
	scale uint8
	no    bool // two rows contradict each other
}

// below is how many steps an id stands for.
func below(id int64) int64 { return (idsOfSymbol - id%idsOfSymbol) % idsOfSymbol }

// steps finds a symbol's.
func (d *decoder) step(id market.InstrumentID) *step {
	for int(id) >= len(d.steps) {
		d.steps = append(d.steps, step{})
	}
	return &d.steps[id]
}

// learn reads a row that has a price.
func (s *step) learn(id int64, price market.Decimal) {
	n := below(id)
	coef, ok := price.Coef()
	switch {
	case s.no || n == 0:
	case !ok || id < 0:
		*s = step{no: true}
	case s.coef != 0:
		if !market.NewDecimal(n*s.coef, s.scale).Equal(price) {
			*s = step{no: true}
		}
	default:
		const most = 1 << 40 // more than any price has in steps
		scale := price.Scale()
		for coef%n != 0 && coef < most && scale < market.MaxScale {
			coef, scale = coef*10, scale+1
		}
		if coef%n != 0 || coef/n == 0 || coef/n > idsOfSymbol {
			*s = step{no: true}
			return
		}
		s.coef, s.scale = coef/n, scale
	}
}

// price is that of a row that has none.
func (s *step) price(id int64) (market.Decimal, error) {
	if s.coef == 0 || id <= 0 {
		return market.Decimal{}, fmt.Errorf("a level without price, of id %d, which gives none: its whole book didn't come before", id)
	}
	return market.NewDecimal(below(id)*s.coef, s.scale), nil
}
