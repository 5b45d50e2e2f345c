package bitmex

import (
	"bytes"
	"fmt"
	"net/url"
	"time"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// response decodes rows by the path of their request; an error is
// {"error":{"message":…,"name":…}}.
func (d *decoder) response(in *source.Input, out *source.Out) error {
	c, m := &d.c, &d.m
	path, query, _ := bytes.Cut(in.URL, []byte("?"))
	_, name, _ := bytes.Cut(path, []byte("/api/v1/"))
	if in.Status != 200 || c.Kind() != jsonscan.KindArray {
		reason := c.Raw()
		return fmt.Errorf("status %d: %.300s", in.Status, reason)
	}
	*m = message{action: inserted, depth: market.None, origin: market.OriginBackfill}
	switch string(name) {
	case "instrument", "instrument/active":
		one := (*decoder).listing
		if bytes.Contains(query, []byte("columns=")) {
			one = (*decoder).statistic
		}
		if err := source.Each(c, d, out, one); err != nil {
			return err
		}
		return c.End()
	case "orderBook/L2":
		m.table, m.action = isBook, whole
	case "trade":
		m.table = isTrades
	case "quote":
		m.table = isQuotes
	case "funding":
		m.table = isFunding
	case "liquidation":
		m.table = isLiquidations
	case "trade/bucketed":
		asked, _ := url.ParseQuery(string(query))
		m.table, m.interval = isCandles, []byte(asked.Get("binSize"))
	default:
		return fmt.Errorf("no such request is known")
	}
	if err := d.data(out); err != nil {
		return err
	}
	d.emitBook(out)
	return c.End()
}

// day is that of a time, as names have it.
func day(ns int64) string { return time.Unix(0, ns).UTC().Format("20060102") }
