package bitfinex

import "github.com/marketprism/marketprism/sdk/market"

// orders are those of a raw book, for the runtime's books have levels: a change
// of an order is the new sum at its price. They follow from the snapshot; a
// decoder that starts in mid-stream asks for another one.
type orders struct {
	known bool
	asked bool // for a snapshot
	by    map[int64]order
	sums  map[place]total
}

type order struct {
	place
	amount market.Decimal
}

// place is a price on a side.
type place struct {
	price market.Decimal
	ask   bool
}

type total struct {
	amount market.Decimal
	n      int
}

// maxOrders bounds a raw book; the largest that can be subscribed has 250 a side.
const maxOrders = 1 << 14

func newOrders() *orders { return &orders{by: map[int64]order{}, sums: map[place]total{}} }

func (o *orders) clear() {
	clear(o.by)
	clear(o.sums)
	o.known = true
}

// add changes the sum at an order's place by n orders of the amount.
func (o *orders) add(x order, n int) (sum market.Decimal, ok bool) {
	t := o.sums[x.place]
	if t.n == 0 {
		t.amount = market.NewDecimal(0, 0)
	}
	t.n += n
	if n < 0 {
		x.amount = x.amount.Neg()
	}
	if sum, ok = t.amount.Add(x.amount); !ok {
		return sum, false
	}
	if t.amount = sum; t.n <= 0 {
		delete(o.sums, x.place)
		return market.NewDecimal(0, 0), true
	}
	o.sums[x.place] = t
	return sum, true
}

// order decodes [id, price, amount]: price 0 takes the order away. In a live
// book the levels that it changes are told.
func (d *decoder) order(o *orders, row []market.Decimal) {
	if len(row) < 3 || row[0].IsNull() || row[1].IsNull() || row[2].IsNull() || len(o.by) >= maxOrders {
		d.c.Fail("an order without id, price or amount, or more than a raw book has")
		return
	}
	id, ok := row[0].Rescale(0)
	if !ok {
		d.c.Fail("an order's id is no number")
		return
	}
	if !o.known {
		return
	}
	old, had := o.by[id]
	delete(o.by, id)
	sum := market.Decimal{}
	if had {
		if sum, ok = o.add(old, -1); !ok {
			d.c.Fail("a sum of orders is out of range")
			return
		}
	}
	x := order{place{row[1].Trim(), row[2].Sign() < 0}, row[2]}
	gone := row[1].Sign() == 0
	if had && (gone || x.place != old.place) {
		d.at(old.place, sum)
	}
	if gone {
		return
	}
	if x.ask {
		x.amount = x.amount.Neg()
	}
	if sum, ok = o.add(x, 1); !ok {
		d.c.Fail("a sum of orders is out of range")
		return
	}
	o.by[id] = x
	d.at(x.place, sum)
}

// at appends a level; the orders of one, which stand together in a snapshot, make
// one of them.
func (d *decoder) at(p place, sum market.Decimal) {
	to := &d.bids
	if p.ask {
		to = &d.asks
	}
	if n := len(*to); n > 0 && (*to)[n-1].Price == p.price {
		(*to)[n-1].Amount = sum
		return
	}
	*to = append(*to, market.Level{Price: p.price, Amount: sum})
}
