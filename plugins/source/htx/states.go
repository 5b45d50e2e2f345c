package htx

import (
	"fmt"
	"strconv"
	"time"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// ticker decodes a ticker. Spot counts amount in the base and vol in the quote
// currency; contracts count vol in contracts, of both sides.
func (d *decoder) ticker(out *source.Out) error {
	c, m := &d.c, &d.m
	t := market.Ticker{Header: d.header(market.ChannelTicker), Trades: market.None}
	t.TsSend, t.Ts = m.sent, m.sent
	var symbol []byte
	var v volumes
	for c.Key() {
		switch key := c.KeyBytes(); string(key) {
		case "open":
			t.Open = source.DecimalOrNull(c)
		case "high":
			t.High = source.DecimalOrNull(c)
		case "low":
			t.Low = source.DecimalOrNull(c)
		case "close":
			if last := source.DecimalOrNull(c); t.Last.IsNull() {
				t.Last = last
			}
		case "lastPrice":
			t.Last = source.DecimalOrNull(c)
		case "lastSize":
			t.LastAmount = source.DecimalOrNull(c)
		case "bid":
			quote(c, &t.BidPrice, &t.BidAmount)
		case "ask":
			quote(c, &t.AskPrice, &t.AskAmount)
		case "bidSize":
			t.BidAmount = source.DecimalOrNull(c)
		case "askSize":
			t.AskAmount = source.DecimalOrNull(c)
		case "count":
			t.Trades = c.Int64()
		case "symbol", "contract_code": // of lists
			symbol = c.Str()
		default:
			v.read(c, m.market, key)
		}
	}
	switch {
	case symbol == nil && m.symbol == nil, symbol == nil && t.Last.IsNull():
		return source.Lacks(c, "a ticker", "a symbol or close")
	case t.Last.IsNull(): // of a list: never traded
		return c.Err()
	}
	t.Volume, t.QuoteVolume = v.base, v.quote
	t.Instrument = d.id(symbol, out)
	out.Ticker(&t)
	return nil
}

// volumes are what was traded, in the unit of amounts and in the quote currency.
type volumes struct{ base, quote market.Decimal }

// read takes a member, or skips it. What a contract's trades come to in coins may
// have more digits than a decimal holds, and isn't read.
func (v *volumes) read(c *jsonscan.Cursor, m market.Market, key []byte) {
	spot := m == market.MarketSpot
	switch string(key) {
	case "amount":
		if spot {
			v.base = source.DecimalOrNull(c)
			return
		}
	case "vol":
		if spot {
			v.quote = source.DecimalOrNull(c)
		} else {
			v.base = source.DecimalOrNull(c)
		}
		return
	case "trade_turnover":
		if m == market.MarketLinear {
			v.quote = source.DecimalOrNull(c)
			return
		}
	}
	c.Skip()
}

// singapore is ahead of UTC by so much: the venue's days begin there.
const singapore = 8 * time.Hour

// maxSeconds bounds a time in seconds, which is multiplied.
const maxSeconds = 1 << 33

// candle decodes a candle, whose id is when it began, in seconds.
func (d *decoder) candle(out *source.Out) error {
	c, m := &d.c, &d.m
	t := market.Candle{Header: d.header(market.ChannelCandles), OpenTs: market.None, Trades: market.None}
	t.TsSend, t.Ts = m.sent, m.sent
	var v volumes
	for c.Key() {
		switch key := c.KeyBytes(); string(key) {
		case "id":
			if t.OpenTs = c.Int64(); uint64(t.OpenTs) > maxSeconds {
				c.Fail("a time is out of range")
			}
			t.OpenTs *= int64(time.Second)
		case "open":
			t.Open = source.Decimal(c)
		case "high":
			t.High = source.Decimal(c)
		case "low":
			t.Low = source.Decimal(c)
		case "close":
			t.Close = source.Decimal(c)
		case "count":
			t.Trades = c.Int64()
		default:
			v.read(c, m.market, key)
		}
	}
	if m.symbol == nil || t.OpenTs == market.None || t.Open.IsNull() || t.High.IsNull() || t.Low.IsNull() || t.Close.IsNull() {
		return source.Lacks(c, "a candle", "a symbol, id, open, high, low or close")
	}
	i := intervals.Native(m.arg)
	if i == nil {
		return fmt.Errorf("at byte %d: a candle of the unknown length %.20q", c.Offset(), m.arg)
	}
	i.Put(&t, singapore)
	t.Volume, t.QuoteVolume, t.Instrument = v.base, v.quote, d.id(nil, out)
	out.Candle(&t)
	return nil
}

// price decodes a candle of the mark or the index price, whose close is the price
// now, into d.p.
func (d *decoder) price(*source.Out) error {
	c, m := &d.c, &d.m
	d.p = market.Price{Header: d.header(market.ChannelMarkPrice)}
	if d.p.Kind = market.KindMarkPrice; m.what == isIndex {
		d.p.Kind, d.p.Channel = market.KindIndexPrice, market.ChannelIndexPrice
	}
	for c.Key() {
		if string(c.KeyBytes()) == "close" {
			d.p.Price = source.Decimal(c)
		} else {
			c.Skip()
		}
	}
	if d.p.Price.IsNull() || m.symbol == nil {
		return source.Lacks(c, "a price", "a symbol or close")
	}
	m.price = true
	return nil
}

// funding decodes a contract's rate. funding_time is when it was computed, beside
// a settlement_time; alone it is when it is due.
func (d *decoder) funding(out *source.Out) error {
	c, m := &d.c, &d.m
	t := market.Funding{Header: d.header(market.ChannelFunding), NextTs: market.None}
	t.TsSend, t.Ts = m.sent, m.sent
	var symbol []byte
	settled := false
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "contract_code":
			symbol = c.Str()
		case "funding_rate":
			t.Rate = source.DecimalOrNull(c)
		case "estimated_rate":
			t.PredictedRate = source.DecimalOrNull(c)
		case "settlement_time":
			t.NextTs, settled = source.Millis(c), true
		case "funding_time":
			if c.Null() {
				continue
			}
			if at := source.Millis(c); !settled {
				t.NextTs = at
			}
		default:
			c.Skip()
		}
	}
	if symbol == nil {
		return source.Lacks(c, "a funding rate", "contract_code")
	}
	if t.Rate.IsNull() { // of contracts that end
		return c.Err()
	}
	t.Instrument = d.id(symbol, out)
	out.Funding(&t)
	return nil
}

// liquidation decodes an order that closes a position.
func (d *decoder) liquidation(out *source.Out) error {
	c, m := &d.c, &d.m
	t := market.Liquidation{Header: d.header(market.ChannelLiquidations)}
	t.TsSend = m.sent
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "contract_code":
			symbol = c.Str()
		case "direction":
			t.Side = source.Side(c.Str(), "buy", "sell")
		case "volume":
			t.Amount = source.Decimal(c)
		case "price":
			t.Price = source.Decimal(c)
		case "created_at":
			t.Ts = source.Millis(c)
		default:
			c.Skip()
		}
	}
	if symbol == nil || t.Side == market.SideUnknown || t.Price.IsNull() || t.Amount.IsNull() {
		return source.Lacks(c, "a liquidation", "contract_code, direction, price or volume")
	}
	t.Instrument = d.id(symbol, out)
	out.Liquidation(&t)
	return nil
}

// answer is what the venue says beside data.
type answer struct {
	verb                   string // "sub", "unsub", "ping", "pong" (a ping that wants "op"), "close", "error"
	ping, id, code, reason []byte
}

// op reads what a frame of the notification endpoints is.
func (a *answer) op(text []byte) {
	switch string(text) {
	case "notify":
	case "sub":
		a.verb = "sub"
	case "unsub":
		a.verb = "unsub"
	case "ping":
		a.verb = "pong"
	case "close":
		a.verb = "close"
	default:
		a.verb = "error"
	}
}

// repeated is the code of what is subscribed already.
const repeated = "2014"

// answered handles {"id":…,"status":"ok","subbed":…,"ts":…}, {"status":"error",
// "id":…,"err-code":…,"err-msg":…}, {"op":"sub","cid":…,"topic":…,"err-code":0}
// and both kinds of ping.
func (d *decoder) answered(a *answer, out *source.Out) error {
	m := &d.m
	switch {
	case a.verb == "ping":
		d.text = append(append(append(d.text[:0], `{"pong":`...), a.ping...), '}')
	case a.verb == "pong":
		if m.sent == market.None {
			return fmt.Errorf("a ping without ts")
		}
		d.text = append(strconv.AppendInt(append(d.text[:0], `{"op":"pong","ts":"`...), m.sent/1_000_000, 10), `"}`...)
	case a.verb == "close":
		out.Reconnect("the venue closes the connection")
		return nil
	case a.verb == "error" || len(a.code) > 0 && string(a.code) != "0" && string(a.code) != repeated:
		out.Rejected(a.id, fmt.Appendf(nil, "%s: %.300s", a.code, a.reason))
		return nil
	default:
		return d.subscribed(a, out)
	}
	out.Heartbeat()
	out.Reply(d.text)
	return nil
}

// subscribed passes on an acknowledgement. What comes of a stream of trades next
// is of before it; a book that is given up ends.
func (d *decoder) subscribed(a *answer, out *source.Out) error {
	m := &d.m
	switch {
	case a.verb == "sub" && m.what == isTrades && m.sent != market.None:
		d.since[stream(m.conn, d.id(nil, out))] = m.sent
		out.Remember()
	case a.verb == "unsub" && m.what.isBook():
		out.EndBook(d.id(nil, out))
	}
	out.Subscribed(a.id)
	return nil
}
