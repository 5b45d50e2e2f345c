package gateio

import (
	"bytes"
	"fmt"
	"net/url"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// response decodes an answer, a list or a book without anything around it, by
// the path of its request: /api/v4/futures/usdt/order_book.
func (d *decoder) response(in *source.Input, out *source.Out) error {
	c, m := &d.c, &d.m
	c.Reset(in.Data)
	if in.Status != 200 {
		return d.failure(in.Status)
	}
	address, query, _ := bytes.Cut(in.URL, []byte("?"))
	_, path, _ := bytes.Cut(address, []byte("/api/v4/"))
	product, _, _ := bytes.Cut(path, []byte("/"))
	asked, _ := url.ParseQuery(string(query))
	*m = message{sent: market.None}
	if s := asked.Get("currency_pair") + asked.Get("contract"); s != "" {
		m.symbol = []byte(s)
	}
	switch string(product) {
	case "spot":
		m.family = ofSpot
	case "futures", "delivery":
		m.family = ofFutures
	case "options":
		m.family = ofOptions
	default:
		return fmt.Errorf("no such request is known")
	}
	m.objects = m.family != ofSpot
	one := (*decoder).listing
	switch string(path[bytes.LastIndexByte(path, '/')+1:]) {
	case "currency_pairs", "contracts":
	case "order_book":
		m.what = isBookWhole
		one = (*decoder).book
	case "trades":
		m.origin = market.OriginBackfill
		one = (*decoder).trade
	case "tickers":
		one = (*decoder).ticker
		if m.family == ofOptions {
			one = (*decoder).optionTicker
		}
	case "liq_orders":
		m.origin = market.OriginBackfill
		one = (*decoder).liquidation
	default:
		return fmt.Errorf("no such request is known")
	}
	if err := source.EachOrOne(c, d, out, one); err != nil {
		return err
	}
	if err := c.End(); err != nil {
		return err
	}
	d.emitBook(out)
	return nil
}

// failure decodes {"label":"INVALID_CURRENCY_PAIR","message":"…"}.
func (d *decoder) failure(status int) error {
	c := &d.c
	var label, text []byte
	if c.Object(); c.Err() == nil {
		for c.Key() {
			switch string(c.KeyBytes()) {
			case "label":
				label = c.Str()
			case "message":
				text = c.Str()
			}
		}
	}
	return fmt.Errorf("status %d: %.80s: %.200s", status, label, text)
}
