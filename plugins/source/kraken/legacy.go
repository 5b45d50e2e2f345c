package kraken

import (
	"bytes"
	"fmt"
	"net/url"
	"strconv"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// legacy decodes a data frame of v1: [id, payload, name, pair], where a book may
// have a second payload. What the payloads are stands behind them.
func (d *decoder) legacy(out *source.Out) error {
	c := &d.c
	var payload [2]jsonscan.Mark
	var texts [2][]byte
	payloads, n := 0, 0
	c.Array()
	for i := 0; c.Elem(); i++ {
		switch k := c.Kind(); {
		case i == 0:
			c.Skip()
		case k == jsonscan.KindString && n < 2:
			texts[n] = c.Str()
			n++
		case n == 0 && payloads < 2:
			payload[payloads] = c.Mark()
			payloads++
			c.Skip()
		default:
			c.Fail("a frame of v1 is [id, payload, name, pair]")
		}
	}
	if err := c.End(); err != nil {
		return err
	}
	if payloads == 0 || n != 2 {
		return fmt.Errorf("a frame of v1 without payload, name or pair")
	}
	name, kind, _ := bytes.Cut(texts[0], []byte("-"))
	pair := texts[1]
	if string(name) == "book" {
		return d.legacyBook(payload[:payloads], kind, pair, out)
	}
	c.Seek(payload[0])
	switch string(name) {
	case "trade":
		return d.legacyTrades(pair, market.OriginLive, out)
	case "ticker":
		return d.legacyTicker(pair, out)
	case "spread":
		return d.legacySpread(pair, out)
	case "ohlc":
		length, err := strconv.ParseInt(string(kind), 10, 64)
		if err != nil && len(kind) > 0 {
			return fmt.Errorf("channel %.40q has no length in minutes", texts[0])
		}
		return d.legacyCandle(pair, max(length, 1), out)
	}
	return fmt.Errorf("unknown channel %.40q", texts[0])
}

// legacyBook decodes levels [price, volume, time, "r" of a repeated one]; a book
// has no time of its own, its newest level's is taken.
func (d *decoder) legacyBook(payloads []jsonscan.Mark, depth, pair []byte, out *source.Out) error {
	c := &d.c
	b := source.NewBook(market.KindBookDelta)
	b.Depth = 10
	if n, err := strconv.ParseInt(string(depth), 10, 64); err == nil {
		b.Depth = n
	}
	d.bids, d.asks = d.bids[:0], d.asks[:0]
	for _, p := range payloads {
		c.Seek(p)
		c.Object()
		for c.Key() {
			switch string(c.KeyBytes()) {
			case "as":
				b.Kind = market.KindBookSnapshot
				d.asks = d.legacyLevels(d.asks, &b.Ts)
			case "bs":
				b.Kind = market.KindBookSnapshot
				d.bids = d.legacyLevels(d.bids, &b.Ts)
			case "a":
				d.asks = d.legacyLevels(d.asks, &b.Ts)
			case "b":
				d.bids = d.legacyLevels(d.bids, &b.Ts)
			case "c":
				b.Checksum = c.Int64()
			}
		}
	}
	if err := c.Err(); err != nil {
		return err
	}
	b.Bids, b.Asks = d.bids, d.asks
	b.Instrument = out.Symbol(pair)
	out.Book(&b)
	return nil
}

func (d *decoder) legacyLevels(ls []market.Level, newest *int64) []market.Level {
	c := &d.c
	c.Array()
	for c.Elem() {
		var l market.Level
		c.Array()
		for i := 0; c.Elem(); i++ {
			switch i {
			case 0:
				l.Price = source.Decimal(c)
			case 1:
				l.Amount = source.Decimal(c)
			case 2:
				*newest = max(*newest, source.Seconds(c))
			}
		}
		if l.Price.IsNull() || l.Amount.IsNull() || len(ls) >= market.MaxLevels {
			c.Fail("a level without price or volume, or more levels than a record holds")
			break
		}
		ls = append(ls, l)
	}
	return ls
}

// legacyTrades decodes [[price, volume, time, side, order type, misc, id of HTTP], …].
func (d *decoder) legacyTrades(pair []byte, origin market.Origin, out *source.Out) error {
	c := &d.c
	c.Array()
	for c.Elem() {
		t := market.Trade{Header: source.Header(market.ChannelTrades), FirstID: market.None, LastID: market.None}
		t.Origin = origin
		c.Array()
		for i := 0; c.Elem(); i++ {
			switch i {
			case 0:
				t.Price = source.Decimal(c)
			case 1:
				t.Amount = source.Decimal(c)
			case 2:
				t.Ts = source.Seconds(c)
			case 3:
				t.Side = side(c.Str())
			case 6:
				t.Seq = c.Int64()
				t.ID = c.Lexeme()
			}
		}
		if t.Price.IsNull() || t.Amount.IsNull() || t.Ts == 0 || t.Side == market.SideUnknown {
			return source.Lacks(&d.c, "a trade", "price, volume, time or side")
		}
		t.Instrument = out.Symbol(pair)
		out.Trade(&t)
	}
	return c.Err()
}

// legacyTicker decodes {"a":[price, whole, lots], …}; of [today, last 24 hours]
// the second is taken.
func (d *decoder) legacyTicker(pair []byte, out *source.Out) error {
	c := &d.c
	t := market.Ticker{Header: source.Header(market.ChannelTicker), Trades: market.None}
	c.Object()
	for c.Key() {
		switch c.Key1() {
		case 'a':
			t.AskPrice, t.AskAmount = d.pick(0, 2)
		case 'b':
			t.BidPrice, t.BidAmount = d.pick(0, 2)
		case 'c':
			t.Last, t.LastAmount = d.pick(0, 1)
		case 'v':
			_, t.Volume = d.pick(0, 1)
		case 'p':
			_, t.VWAP = d.pick(0, 1)
		case 't':
			if _, day := d.pick(0, 1); !day.IsNull() {
				t.Trades, _ = day.Rescale(0)
			}
		case 'l':
			_, t.Low = d.pick(0, 1)
		case 'h':
			_, t.High = d.pick(0, 1)
		case 'o':
			_, t.Open = d.pick(0, 1)
		}
	}
	if t.Last.IsNull() {
		return source.Lacks(&d.c, "a ticker", "c")
	}
	t.Instrument = out.Symbol(pair)
	out.Ticker(&t)
	return nil
}

// pick reads two elements of an array of numbers.
func (d *decoder) pick(i, j int) (a, b market.Decimal) {
	c := &d.c
	c.Array()
	for k := 0; c.Elem(); k++ {
		switch k {
		case i:
			a = source.Decimal(c)
		case j:
			b = source.Decimal(c)
		}
	}
	return a, b
}

// legacySpread decodes [bid, ask, time, bid volume, ask volume].
func (d *decoder) legacySpread(pair []byte, out *source.Out) error {
	c := &d.c
	t := market.BBO{Header: source.Header(market.ChannelBBO)}
	c.Array()
	for i := 0; c.Elem(); i++ {
		switch i {
		case 0:
			t.BidPrice = source.Decimal(c)
		case 1:
			t.AskPrice = source.Decimal(c)
		case 2:
			t.Ts = source.Seconds(c)
		case 3:
			t.BidAmount = source.Decimal(c)
		case 4:
			t.AskAmount = source.Decimal(c)
		}
	}
	if t.BidPrice.IsNull() || t.AskPrice.IsNull() {
		return source.Lacks(&d.c, "a spread", "bid or ask")
	}
	t.Instrument = out.Symbol(pair)
	out.BBO(&t)
	return nil
}

// legacyCandle decodes [time, end, open, high, low, close, vwap, volume, count].
func (d *decoder) legacyCandle(pair []byte, length int64, out *source.Out) error {
	c := &d.c
	t := market.Candle{Header: source.Header(market.ChannelCandles), CloseTs: market.None, Trades: market.None}
	end := int64(0)
	c.Array()
	for i := 0; c.Elem(); i++ {
		switch i {
		case 0:
			t.Ts = source.Seconds(c)
		case 1:
			end = source.Seconds(c)
		case 2:
			t.Open = source.Decimal(c)
		case 3:
			t.High = source.Decimal(c)
		case 4:
			t.Low = source.Decimal(c)
		case 5:
			t.Close = source.Decimal(c)
		case 7:
			t.Volume = source.Decimal(c)
		case 8:
			t.Trades = c.Int64()
		}
	}
	if end == 0 || t.Open.IsNull() || t.High.IsNull() || t.Low.IsNull() || t.Close.IsNull() {
		return source.Lacks(&d.c, "a candle", "end, open, high, low or close")
	}
	t.OpenTs = end - length*60_000_000_000
	return d.emit(&t, pair, length, out)
}

// event decodes v1's control frames.
func (d *decoder) event(out *source.Out) error {
	c := &d.c
	var event, status, pair, channel, token, reason []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "event":
			event = c.Str()
		case "status":
			status = c.Str()
		case "pair":
			pair = c.Str()
		case "channelName":
			channel = c.Str()
		case "reqid":
			token = c.NumOrStr()
		case "errorMessage":
			reason = c.Str()
		}
	}
	if err := c.End(); err != nil {
		return err
	}
	switch string(event) {
	case "heartbeat", "pong":
		out.Heartbeat()
	case "systemStatus":
		d.state(status, out)
	case "error":
		out.Rejected(token, reason)
	case "subscriptionStatus":
		switch {
		case string(status) == "error":
			out.Rejected(token, reason)
			return nil
		case string(status) == "unsubscribed" && bytes.HasPrefix(channel, []byte("book")) && pair != nil:
			out.EndBook(out.Symbol(pair))
		}
		out.Subscribed(token)
	default:
		return fmt.Errorf("unknown event %.40q", event)
	}
	return nil
}

// response decodes {"error":[…],"result":{…}} by the path of its request.
func (d *decoder) response(in *source.Input, out *source.Out) error {
	c := &d.c
	path, query, _ := bytes.Cut(in.URL, []byte("?"))
	var reason []byte
	var result jsonscan.Mark
	have := false
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "error":
			reason = c.Raw()
		case "result":
			result, have = c.Mark(), true
		}
	}
	err := c.End()
	switch {
	case in.Status != 200:
		return fmt.Errorf("status %d: %.200s", in.Status, reason)
	case err != nil:
		return err
	case len(reason) > 2 && bytes.ContainsRune(reason, '"'):
		return fmt.Errorf("refused: %.200s", reason)
	case !have:
		return fmt.Errorf("no result")
	}
	c.Seek(result)
	switch string(path[bytes.LastIndexByte(path, '/')+1:]) {
	case "AssetPairs":
		err = d.assetPairs(out)
	case "Trades":
		err = d.history(asked(query), out)
	case "Depth":
		err = d.depth(out)
	default:
		return fmt.Errorf("no such request is known")
	}
	if err != nil {
		return err
	}
	return c.End()
}

// asked is the pair of a request if it is a name of the WebSocket's: responses
// are keyed by another.
func asked(query []byte) []byte {
	v, err := url.ParseQuery(string(query))
	if pair := v.Get("pair"); err == nil && bytes.IndexByte([]byte(pair), '/') > 0 {
		return []byte(pair)
	}
	return nil
}

// history decodes {"XXBTZUSD":[trade, …],"last":"…"}.
func (d *decoder) history(pair []byte, out *source.Out) error {
	c := &d.c
	c.Object()
	for c.Key() {
		name := c.KeyBytes()
		if string(name) == "last" {
			continue
		}
		if pair != nil {
			name = pair
		}
		if err := d.legacyTrades(name, market.OriginBackfill, out); err != nil {
			return err
		}
	}
	return c.Err()
}

// depth decodes {"XXBTZUSD":{"asks":[…],"bids":[…]}}, whose times are whole
// seconds: the book's own is not known.
func (d *decoder) depth(out *source.Out) error {
	c := &d.c
	c.Object()
	for c.Key() {
		name := c.KeyBytes()
		b := source.NewBook(market.KindBookSnapshot)
		d.bids, d.asks = d.bids[:0], d.asks[:0]
		c.Object()
		for c.Key() {
			switch string(c.KeyBytes()) {
			case "asks":
				d.asks = source.Levels(c, d.asks)
			case "bids":
				d.bids = source.Levels(c, d.bids)
			}
		}
		if c.Err() != nil {
			break
		}
		b.Bids, b.Asks = d.bids, d.asks
		b.Instrument = out.Symbol(name)
		out.Book(&b)
	}
	return c.Err()
}
