package coinbase

import (
	"fmt"
	"regexp"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// exchange reads a frame of the Exchange, {"type":"match",…}, whose type is known.
// Books have no number, so that a lost update can't be seen.
func (d *decoder) exchange(kind []byte, out *source.Out) error {
	c := &d.c
	var err error
	switch string(kind) {
	case "l2update":
		err = d.changes(out)
	case "snapshot":
		err = d.pricebook(out)
	case "match", "last_match":
		if string(kind) == "last_match" { // the last before the subscription
			d.m.origin = market.OriginHistory
		}
		d.trades = append(d.trades[:0], trade{})
		if err = d.trade(&d.trades[0]); err == nil {
			d.trades[0].t.Origin = d.m.origin
			d.emitTrades(out)
		}
	case "ticker":
		err = d.ticker(out)
	case "status":
		err = d.member("products", out, (*decoder).instrument)
	case "subscriptions":
		out.Ready(loginToken)
		out.Subscribed([]byte(answer))
		d.rest()
	case "heartbeat", "received", "open", "done", "change", "activate": // orders have no record
		out.Heartbeat()
		d.rest()
	case "error":
		return d.refusal(out)
	default:
		if err = c.Err(); err == nil {
			err = fmt.Errorf("unknown type %.40q", kind)
		}
	}
	if err != nil {
		return err
	}
	return c.End()
}

// rest reads over the members of an object that says nothing more.
func (d *decoder) rest() {
	for d.c.Key() {
		d.c.Skip()
	}
}

// changes decodes {"type":"l2update","product_id":…,"changes":[["buy","1.5","2"],…],"time":…}.
func (d *decoder) changes(out *source.Out) error {
	c := &d.c
	b := source.NewBook(market.KindBookDelta)
	b.Ts = market.None
	d.bids, d.asks = d.bids[:0], d.asks[:0]
	var symbol []byte
	have := false
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "product_id":
			symbol = c.Str()
		case "changes":
			have = true
			c.Array()
			for c.Elem() {
				if err := d.change(); err != nil {
					return err
				}
			}
		case "time":
			b.Ts = source.Time(c)
		default:
			c.Skip()
		}
	}
	if symbol == nil || !have {
		return source.Lacks(&d.c, "a change of a book", "product_id or changes")
	}
	b.Bids, b.Asks = d.bids, d.asks
	b.Instrument = out.SymbolIn(marketOf(symbol), symbol)
	out.Book(&b)
	return nil
}

func (d *decoder) change() error {
	c := &d.c
	var l market.Level
	to := &d.bids
	n := 0
	c.Array()
	for ; c.Elem(); n++ {
		switch n {
		case 0:
			switch s := c.Str(); string(s) {
			case "buy":
			case "sell":
				to = &d.asks
			default:
				return source.Lacks(&d.c, "a change", "a side")
			}
		case 1:
			l.Price = source.Decimal(c)
		case 2:
			l.Amount = source.Decimal(c)
		default:
			c.Skip()
		}
	}
	if n < 3 || len(*to) >= market.MaxLevels {
		return source.Lacks(&d.c, "a change", "side, price or size, or of a book too deep for a record")
	}
	*to = append(*to, l)
	return c.Err()
}

// refusal decodes {"type":"error","message":"Failed to subscribe","reason":"X is not a valid product"},
// which both feeds send. It answers the oldest request that has no answer yet.
// One that doesn't speak of the login says that there was no fault in that.
func (d *decoder) refusal(out *source.Out) error {
	c := &d.c
	var message, reason []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "message":
			message = c.Str()
		case "reason":
			reason = c.Str()
		default:
			c.Skip()
		}
	}
	if err := c.End(); err != nil {
		return err
	}
	token, text := []byte(answer), fmt.Appendf(nil, "%.200s: %.300s", message, reason)
	if authentication.Match(text) {
		token = []byte(loginToken)
	} else {
		out.Ready(loginToken)
	}
	out.Rejected(token, text)
	return nil
}

// authentication finds "Authentication Failed", "authentication failure" and
// "level2, level3, and full channels now require authentication".
var authentication = regexp.MustCompile(`(?i)\bauthentication\b`)
