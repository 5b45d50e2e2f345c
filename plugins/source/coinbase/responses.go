package coinbase

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// response decodes a body by the path of its request.
func (d *decoder) response(in *source.Input, out *source.Out) error {
	c, m := &d.c, &d.m
	if in.Status != 200 {
		return fmt.Errorf("status %d: %.200s", in.Status, in.Data)
	}
	u, err := url.Parse(string(in.URL))
	if err != nil {
		return err
	}
	*m = message{seq: market.None, ts: market.None}
	asked := u.Query()
	path := strings.TrimPrefix(u.Path, "/api/v3/brokerage/market")
	rest, advanced := strings.TrimPrefix(path, "/products"), len(path) < len(u.Path)
	symbol, what, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	if m.symbol = []byte(symbol); symbol == "" {
		m.symbol = nil
	}
	switch {
	case path == "/product_book":
		c.Object()
		err = d.member("pricebook", out, (*decoder).pricebook)
	case !strings.HasPrefix(path, "/products"):
		return fmt.Errorf("no such request is known")
	case symbol == "" && advanced && asked.Has("product_ids"):
		err = d.catalogue(out, (*decoder).openInterest)
	case symbol == "":
		err = d.catalogue(out, (*decoder).instrument)
	case what == "" && advanced:
		c.Object()
		err = d.funding(out)
	case what == "book":
		c.Object()
		err = d.pricebook(out)
	case what == "ticker" && advanced, what == "trades":
		m.origin = market.OriginBackfill
		err = d.pastTrades(out)
	case what == "candles" && advanced:
		m.origin = market.OriginBackfill
		i := granularities.Native([]byte(asked.Get("granularity")))
		if i == nil {
			i = granularities.Named(candleName)
		}
		c.Object()
		err = d.member("candles", out, func(d *decoder, out *source.Out) error { return d.candleOf(out, i) })
	default:
		return fmt.Errorf("no such request is known")
	}
	if err != nil {
		return err
	}
	return c.End()
}

// granularities are the lengths of candles that can be requested.
var granularities = source.NewIntervals("1m=ONE_MINUTE 5m=FIVE_MINUTE 15m=FIFTEEN_MINUTE 30m=THIRTY_MINUTE 1h=ONE_HOUR 2h=TWO_HOUR 4h=FOUR_HOUR 6h=SIX_HOUR 1d=ONE_DAY")

// member decodes the one member of an object that is asked for: an object, or
// the objects of an array.
func (d *decoder) member(name string, out *source.Out, one func(*decoder, *source.Out) error) error {
	c := &d.c
	have := false
	for c.Key() {
		if string(c.KeyBytes()) != name {
			c.Skip()
			continue
		}
		have = true
		if err := source.EachOrOne(c, d, out, one); err != nil {
			return err
		}
	}
	if !have {
		return source.Lacks(&d.c, "a response", name)
	}
	return c.Err()
}

// pricebook decodes a requested book of either interface: levels are objects or
// arrays.
func (d *decoder) pricebook(out *source.Out) error {
	c := &d.c
	b := source.NewBook(market.KindBookSnapshot)
	b.Ts = market.None
	symbol, sides := d.m.symbol, 0
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "product_id":
			symbol = c.Str()
		case "bids":
			d.bids = d.side(d.bids[:0])
			sides |= 1
		case "asks":
			d.asks = d.side(d.asks[:0])
			sides |= 2
		case "time":
			b.Ts = source.Time(c)
		default:
			c.Skip()
		}
	}
	if symbol == nil || sides != 3 {
		return source.Lacks(&d.c, "a book", "product_id, bids or asks")
	}
	b.Bids, b.Asks = d.bids, d.asks
	b.Instrument = out.SymbolIn(marketOf(symbol), symbol)
	out.Book(&b)
	return nil
}

func (d *decoder) side(ls []market.Level) []market.Level {
	c := &d.c
	start := c.Mark()
	c.Array()
	if !c.Elem() || c.Kind() != jsonscan.KindObject {
		c.Seek(start)
		return source.Levels(c, ls)
	}
	for more := true; more; more = c.Elem() {
		var l market.Level
		c.Object()
		for c.Key() {
			switch string(c.KeyBytes()) {
			case "price":
				l.Price = source.Decimal(c)
			case "size":
				l.Amount = source.Decimal(c)
			default:
				c.Skip()
			}
		}
		if l.Price.IsNull() || l.Amount.IsNull() || len(ls) >= market.MaxLevels {
			c.Fail("a level without price or size, or more than a book record holds")
			return ls
		}
		ls = append(ls, l)
	}
	return ls
}

// pastTrades decodes {"trades":[…],…} or [{…},…].
func (d *decoder) pastTrades(out *source.Out) error {
	c := &d.c
	d.trades = d.trades[:0]
	have := c.Kind() == jsonscan.KindArray
	if have {
		if err := d.tradeList(); err != nil {
			return err
		}
	} else {
		c.Object()
		for c.Key() {
			if string(c.KeyBytes()) != "trades" {
				c.Skip()
				continue
			}
			have = true
			if err := d.tradeList(); err != nil {
				return err
			}
		}
	}
	if !have {
		return source.Lacks(&d.c, "a response", "trades")
	}
	for i := range d.trades {
		d.trades[i].t.Origin = d.m.origin
	}
	d.emitTrades(out)
	return c.Err()
}
