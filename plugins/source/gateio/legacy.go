package gateio

import (
	"fmt"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// API v3 of spot, which recordings up to 2021 hold:
// {"method":"trades.update","params":["BTC_USDT",[…]],"id":null} and
// {"method":"depth.update","params":[true,{…},"BTC_USDT"],"id":null}.
// Retired channels of API v4 (futures.liquidates, order_book) are decoded with
// those of today.

// method reads a frame of API v3.
func (d *decoder) method(out *source.Out) error {
	c, m := &d.c, &d.m
	*m = message{sent: market.None, family: ofSpot}
	var name []byte
	var params jsonscan.Mark
	have := false
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "method":
			name = c.Str()
		case "params":
			params, have = c.Mark(), true
		}
	}
	if err := c.End(); err != nil {
		return err
	}
	if !have {
		return fmt.Errorf("a method without params")
	}
	c.Seek(params)
	c.Array()
	switch string(name) {
	case "trades.update":
		return d.tradesV3(out)
	case "depth.update":
		return d.depthV3(out)
	}
	return fmt.Errorf("unknown method %.40q", name)
}

// tradesV3 decodes trades, newest first. The first frame of a market is the past,
// which nothing in it says.
func (d *decoder) tradesV3(out *source.Out) error {
	c := &d.c
	if !c.Elem() {
		return source.Lacks(c, "trades", "symbol")
	}
	symbol := c.Str()
	if !c.Elem() {
		return source.Lacks(c, "trades", "list")
	}
	c.Array()
	for c.Elem() {
		t := market.Trade{Header: d.header(market.ChannelTrades), FirstID: market.None, LastID: market.None}
		c.Object()
		for c.Key() {
			switch string(c.KeyBytes()) {
			case "id":
				t.ID = c.NumOrStr()
			case "time":
				t.Ts = moment(c)
			case "price":
				t.Price = source.Decimal(c)
			case "amount":
				t.Amount = source.Decimal(c)
			case "type":
				t.Side = source.Side(c.Str(), "buy", "sell")
			}
		}
		if t.ID == nil || t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown {
			return source.Lacks(c, "a trade", "id, price, amount or type")
		}
		t.Instrument = d.symbolOf(symbol, out)
		out.Trade(&t)
	}
	return c.End()
}

// depthV3 decodes a whole book, or changes, which have no number.
func (d *decoder) depthV3(out *source.Out) error {
	c := &d.c
	b := source.NewBook(market.KindBookDelta)
	d.bids, d.asks = d.bids[:0], d.asks[:0]
	if c.Elem() && c.Bool() {
		b.Kind, b.Flags = market.KindBookSnapshot, market.FlagReset
	}
	if !c.Elem() {
		return source.Lacks(c, "a book", "levels")
	}
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "asks":
			d.asks = source.Levels(c, d.asks)
		case "bids":
			d.bids = source.Levels(c, d.bids)
		}
	}
	if !c.Elem() {
		return source.Lacks(c, "a book", "symbol")
	}
	symbol := c.Str()
	if err := c.End(); err != nil {
		return err
	}
	b.Bids, b.Asks = d.bids, d.asks
	b.Instrument = d.symbolOf(symbol, out)
	out.Book(&b)
	return nil
}
