package bitget

import (
	"bytes"
	"fmt"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

var envelope = source.Envelope{Code: "code", OK: "00000", Reason: "msg", Time: "requestTime", Data: "data"}

// response decodes {"code":"00000","msg":"success","requestTime":…,"data":…} by
// the path of its request.
func (d *decoder) response(in *source.Input, out *source.Out) error {
	c, m := &d.c, &d.m
	now, err := envelope.Open(c, in)
	if err != nil {
		return err
	}
	name, asked := in.Asked()
	*m = message{product: bytes.ToUpper([]byte(asked.Get("productType") + asked.Get("category"))), ts: now, origin: market.OriginBackfill}
	if s := asked.Get("symbol"); s != "" {
		m.symbol = []byte(s)
	}
	if bytes.Contains(in.URL, []byte("/spot/")) {
		m.market = market.MarketSpot
	}
	one := (*decoder).listing
	switch name {
	case "symbols", "products", "contracts":
	case "fills", "fills-history":
		one = (*decoder).trade
	case "orderbook", "merge-depth":
		m.channel, one = []byte(feedBooks), (*decoder).book
	case "ticker", "tickers", "symbol-price", "current-fund-rate", "history-fund-rate":
		one = (*decoder).ticker
	case "account-long-short", "position-long-short":
		m.channel = []byte(name)
		return d.ratios(out)
	case "open-interest":
		one = (*decoder).interest
	case "candles", "history-candles":
		m.interval = []byte(asked.Get("granularity"))
		if err := d.candles(out); err != nil {
			return err
		}
		return c.End()
	default:
		return fmt.Errorf("no such request is known")
	}
	if err := d.list(out, one); err != nil {
		return err
	}
	return c.End()
}

// interest decodes {"openInterestList":[{"symbol":…,"size":…}],"ts":…}; the time
// stands behind what it is of.
func (d *decoder) interest(out *source.Out) error {
	c := &d.c
	var list jsonscan.Mark
	have := false
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "openInterestList", "list":
			list, have = c.Mark(), true
		case "ts":
			d.m.ts = source.Millis(c)
		}
	}
	end := c.Mark()
	if !have {
		return source.Lacks(c, "an open interest", "list")
	}
	c.Seek(list)
	if err := d.list(out, (*decoder).ticker); err != nil {
		return err
	}
	c.Seek(end)
	return nil
}

// ratios decodes the shares of accounts or positions that are long and short.
// The last of them is new, the others were the last before.
func (d *decoder) ratios(out *source.Out) error {
	c := &d.c
	last := market.LongShortRatio{Header: source.Header(market.ChannelLongShortRatio)}
	c.Array()
	for c.Elem() {
		t := last
		t.Ts, t.Long, t.Short, t.Ratio = 0, market.Decimal{}, market.Decimal{}, market.Decimal{}
		c.Object()
		for c.Key() {
			switch string(c.KeyBytes()) {
			case "longAccountRatio", "longPositionRatio":
				t.Long = source.Decimal(c)
			case "shortAccountRatio", "shortPositionRatio":
				t.Short = source.Decimal(c)
			case "longShortAccountRatio", "longShortPositionRatio":
				t.Ratio = source.Decimal(c)
			case "ts":
				t.Ts = source.Millis(c)
			}
		}
		if t.Long.IsNull() || t.Short.IsNull() || t.Ts == 0 || d.m.symbol == nil {
			return source.Lacks(c, "a ratio", "symbol, longAccountRatio, shortAccountRatio or ts")
		}
		if t.Ts > last.Ts {
			last = t
		}
	}
	if err := c.End(); err != nil || last.Ts == 0 {
		return err
	}
	if last.Population = accounts; d.m.channel[0] == 'p' {
		last.Population = positions
	}
	last.Instrument = d.id(nil, out)
	out.LongShortRatio(&last)
	return nil
}

// The populations that the venue counts.
var accounts, positions = []byte("accounts"), []byte("positions")
