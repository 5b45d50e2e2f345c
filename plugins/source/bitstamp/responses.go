package bitstamp

import (
	"bytes"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Paths of requests behind /api/v2/; a symbol follows most.
const (
	pathBook    = "order_book"
	pathTrades  = "transactions"
	pathTicker  = "ticker"
	pathCandles = "ohlc"
	pathMarkets = "markets"
	pathPairs   = "trading-pairs-info" // until 2024
)

// markStatistics stands behind the address of tickers that are wanted for their
// statistics, not for open interest. It is for us: a fragment isn't sent.
const markStatistics = "statistics"

// response decodes a body by the path of its request.
func (d *decoder) response(in *source.Input, out *source.Out) error {
	c := &d.c
	if in.Status != 200 {
		return fmt.Errorf("status %d: %.200s", in.Status, in.Data)
	}
	u, err := url.Parse(string(in.URL))
	if err != nil {
		return err
	}
	c.Reset(in.Data)
	d.m = message{micros: market.None, stamp: market.None, next: market.None}
	what, name, _ := strings.Cut(strings.Trim(strings.TrimPrefix(u.Path, "/api/v2/"), "/"), "/")
	symbol := []byte(name)
	switch {
	case name == "" && (what == pathMarkets || what == pathPairs):
		err = source.Each(c, d, out, (*decoder).listing)
	case name == "" && what == pathTicker && u.Fragment == markStatistics:
		err = source.Each(c, d, out, func(d *decoder, out *source.Out) error { return d.statistics(nil, out) })
	case name == "" && what == pathTicker:
		err = source.Each(c, d, out, (*decoder).openInterest)
	case name == "":
		return fmt.Errorf("no such request is known")
	case what == pathBook:
		d.data()
		if err = c.Err(); err == nil {
			err = d.emitBook(market.KindBookSnapshot, market.None, symbol, out)
		}
	case what == pathTrades:
		err = source.Each(c, d, out, func(d *decoder, out *source.Out) error { return d.pastTrade(symbol, out) })
	case what == pathTicker:
		err = d.ticker(symbol, out)
	case what == pathCandles:
		step, _ := strconv.ParseInt(u.Query().Get("step"), 10, 32)
		err = d.ohlc(symbol, step, out)
	default:
		return fmt.Errorf("no such request is known")
	}
	if err != nil {
		return err
	}
	return c.End()
}

// seconds reads a time in seconds since 1970.
func seconds(c *jsonscan.Cursor) int64 {
	v := c.Int64()
	if v < 0 || v > math.MaxInt64/1_000_000_000 {
		c.Fail("a time is out of range")
		return 0
	}
	return v * 1_000_000_000
}

// pastTrade decodes {"date":"1636716991","tid":"207502351","amount":"0.03862814","type":"1","price":"55770.29"}.
func (d *decoder) pastTrade(symbol []byte, out *source.Out) error {
	c := &d.c
	t := market.Trade{Header: source.Header(market.ChannelTrades), FirstID: market.None, LastID: market.None}
	t.Origin = market.OriginBackfill
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "date":
			t.Ts = seconds(c)
		case "tid":
			t.ID = c.NumOrStr()
		case "amount":
			t.Amount = source.Decimal(c)
		case "price":
			t.Price = source.Decimal(c)
		case "type":
			t.Side = source.Side(c.NumOrStr(), "0", "1")
		}
	}
	if t.ID == nil || t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown {
		return source.Lacks(c, "a trade", "tid, price, amount or type")
	}
	t.Instrument = d.symbolOf(symbol, out)
	out.Trade(&t)
	return nil
}

// ticker decodes one of a symbol. The venue answers with those of all markets
// where it knows no such symbol.
func (d *decoder) ticker(symbol []byte, out *source.Out) error {
	c := &d.c
	if c.Kind() == jsonscan.KindArray {
		return fmt.Errorf("tickers of all markets: the venue has none of %.40q", symbol)
	}
	c.Object()
	return d.statistics(symbol, out)
}

// statistics decodes a ticker, among those of all markets if the symbol isn't
// known. "open" is the day's first price, "open_24" that of 24 hours ago.
func (d *decoder) statistics(symbol []byte, out *source.Out) error {
	c := &d.c
	t := market.Ticker{Header: source.Header(market.ChannelTicker), Trades: market.None}
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "timestamp":
			t.Ts = seconds(c)
		case "last":
			t.Last = source.DecimalOrNull(c)
		case "open_24":
			t.Open = source.DecimalOrNull(c)
		case "high":
			t.High = source.DecimalOrNull(c)
		case "low":
			t.Low = source.DecimalOrNull(c)
		case "volume":
			t.Volume = source.DecimalOrNull(c)
		case "vwap":
			t.VWAP = source.DecimalOrNull(c)
		case "bid":
			t.BidPrice = source.DecimalOrNull(c)
		case "ask":
			t.AskPrice = source.DecimalOrNull(c)
		case "pair": // older ones have no market
			if symbol == nil {
				symbol = symbolNamed(c.Str())
			}
		}
	}
	if symbol == nil || t.Last.IsNull() || t.Ts == 0 {
		return source.Lacks(c, "a ticker", "pair, last or timestamp")
	}
	if !d.Wants(marketOf(symbol)) {
		return c.Err()
	}
	t.Instrument = d.symbolOf(symbol, out)
	out.Ticker(&t)
	return nil
}

// symbolNamed is the symbol of a market that is named as people do: BTC/USD-PERP.
func symbolNamed(name []byte) []byte {
	return bytes.ToLower(bytes.Replace(name, []byte("/"), nil, 1))
}

// openInterest takes from a ticker among those of all markets what a perpetual's
// states.
func (d *decoder) openInterest(out *source.Out) error {
	c := &d.c
	t := market.OpenInterest{Header: source.Header(market.ChannelOpenInterest)}
	var name []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "timestamp":
			t.Ts = seconds(c)
		case "pair":
			name = c.Str()
		case "open_interest":
			t.Amount = source.DecimalOrNull(c)
		case "open_interest_value":
			t.Value = source.DecimalOrNull(c)
		}
	}
	if err := c.Err(); err != nil || t.Amount.IsNull() || !d.Uses(market.ChannelOpenInterest) {
		return err
	}
	symbol := symbolNamed(name)
	if marketOf(symbol) != market.MarketLinear {
		return fmt.Errorf("at byte %d: open interest of %.40q, which is no perpetual", c.Offset(), name)
	}
	t.Instrument = d.symbolOf(symbol, out)
	out.OpenInterest(&t)
	return nil
}

// ohlc decodes {"data":{"pair":"BTC/USD","ohlc":[{…},…]}}. All candles but the
// newest have ended.
func (d *decoder) ohlc(symbol []byte, step int64, out *source.Out) error {
	c := &d.c
	i := intervals.Lasting(time.Duration(step) * time.Second)
	if i == nil {
		return fmt.Errorf("candles of the unknown length %d s", step)
	}
	d.candles = d.candles[:0]
	newest, have := int64(0), false
	c.Object()
	for c.Key() {
		if string(c.KeyBytes()) != "data" {
			continue
		}
		c.Object()
		for c.Key() {
			if string(c.KeyBytes()) != "ohlc" {
				continue
			}
			have = true
			if err := source.Each(c, d, out, (*decoder).candle); err != nil {
				return err
			}
		}
	}
	if err := c.Err(); err != nil || !have {
		return source.Lacks(c, "candles", "data or ohlc")
	}
	for j := range d.candles {
		newest = max(newest, d.candles[j].OpenTs)
	}
	for j := range d.candles {
		t := &d.candles[j]
		if i.Put(t, 0); t.OpenTs != newest {
			t.Flags = market.FlagClosed
		}
		t.Instrument = d.symbolOf(symbol, out)
		out.Candle(t)
	}
	return nil
}

func (d *decoder) candle(*source.Out) error {
	c := &d.c
	t := market.Candle{Header: source.Header(market.ChannelCandles), OpenTs: market.None, Trades: market.None}
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "timestamp":
			t.OpenTs = seconds(c)
		case "open":
			t.Open = source.Decimal(c)
		case "high":
			t.High = source.Decimal(c)
		case "low":
			t.Low = source.Decimal(c)
		case "close":
			t.Close = source.Decimal(c)
		case "volume":
			t.Volume = source.Decimal(c)
		}
	}
	if t.OpenTs == market.None || t.Open.IsNull() || t.High.IsNull() || t.Low.IsNull() || t.Close.IsNull() {
		return source.Lacks(c, "a candle", "timestamp, open, high, low or close")
	}
	d.candles = append(d.candles, t)
	return nil
}
