package gateio

import (
	"bytes"
	"fmt"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// candle decodes a candle, whose name is its length and its symbol: 1m_BTC_USDT.
// Spot's a counts the base currency and v the quote currency; frames from before
// 2022 have v alone, which is passed on as their volume.
func (d *decoder) candle(out *source.Out) error {
	c := &d.c
	t := market.Candle{Header: d.header(market.ChannelCandles), OpenTs: market.None, Trades: market.None}
	var name []byte
	var amount market.Decimal
	for c.Key() {
		switch c.Key1() {
		case 't':
			t.OpenTs = moment(c)
		case 'o':
			t.Open = source.Decimal(c)
		case 'h':
			t.High = source.Decimal(c)
		case 'l':
			t.Low = source.Decimal(c)
		case 'c':
			t.Close = source.Decimal(c)
		case 'v':
			t.Volume = source.DecimalOrNull(c)
		case 'a':
			amount = source.DecimalOrNull(c)
		case 'n':
			name = c.Str()
		case 'w':
			if c.Bool() {
				t.Flags = market.FlagClosed
			}
		default:
			c.Skip()
		}
	}
	interval, symbol, ok := bytes.Cut(name, []byte{'_'})
	if !ok || t.OpenTs == market.None || t.Open.IsNull() || t.High.IsNull() || t.Low.IsNull() || t.Close.IsNull() {
		return source.Lacks(c, "a candle", "n, t, o, h, l or c")
	}
	i := intervals.Native(interval)
	if i == nil {
		return fmt.Errorf("at byte %d: a candle of the unknown length %.20q", c.Offset(), interval)
	}
	if d.m.family == ofSpot && !amount.IsNull() {
		t.Volume, t.QuoteVolume = amount, t.Volume
	}
	i.Put(&t, 0)
	t.Instrument = d.symbolOf(symbol, out)
	out.Candle(&t)
	return nil
}

// ticker decodes a ticker; contracts' carry five channels.
func (d *decoder) ticker(out *source.Out) error {
	c := &d.c
	h := d.header(market.ChannelTicker)
	h.Ts = d.m.at
	t := market.Ticker{Header: h, Trades: market.None}
	f := market.Funding{NextTs: market.None}
	symbol := d.m.symbol
	var mark, index, interest market.Decimal
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "currency_pair", "contract":
			symbol = c.Str()
		case "last":
			t.Last = source.DecimalOrNull(c)
		case "lowest_ask":
			t.AskPrice = source.DecimalOrNull(c)
		case "lowest_size":
			t.AskAmount = source.DecimalOrNull(c)
		case "highest_bid":
			t.BidPrice = source.DecimalOrNull(c)
		case "highest_size":
			t.BidAmount = source.DecimalOrNull(c)
		case "high_24h":
			t.High = source.DecimalOrNull(c)
		case "low_24h":
			t.Low = source.DecimalOrNull(c)
		case "base_volume", "volume_24h": // contracts count themselves
			t.Volume = source.DecimalOrNull(c)
		case "quote_volume", "volume_24h_quote":
			t.QuoteVolume = source.DecimalOrNull(c)
		case "mark_price":
			mark = source.DecimalOrNull(c)
		case "index_price":
			index = source.DecimalOrNull(c)
		case "total_size":
			interest = source.DecimalOrNull(c)
		case "funding_rate":
			f.Rate = source.DecimalOrNull(c)
		case "funding_rate_indicative":
			f.PredictedRate = source.DecimalOrNull(c)
		case "funding_next_apply":
			f.NextTs = moment(c)
		case "funding_interval":
			f.Interval = source.Hours(c.Int64() / 3600)
		case "t":
			h.Ts = source.Millis(c)
			t.Ts = h.Ts
		default:
			c.Skip()
		}
	}
	if symbol == nil || t.Last.IsNull() && mark.IsNull() {
		return source.Lacks(c, "a ticker", "symbol, last or mark_price")
	}
	h.Instrument = d.symbolOf(symbol, out)
	if d.Uses(market.ChannelTicker) {
		t.Instrument = h.Instrument
		out.Ticker(&t)
	}
	d.Funding(out, h, f)
	d.states(h, mark, index, interest, out)
	return nil
}

// states emits what tickers of contracts and options have beside the ticker.
func (d *decoder) states(h market.Header, mark, index, interest market.Decimal, out *source.Out) {
	d.MarkPrice(out, h, mark)
	d.IndexPrice(out, h, index)
	d.OpenInterest(out, h, interest, market.Decimal{})
}

// optionTicker decodes an option's ticker, which carries five channels.
func (d *decoder) optionTicker(out *source.Out) error {
	c := &d.c
	h := d.header(market.ChannelTicker)
	h.Ts = d.m.at
	var o market.OptionSummary
	var symbol []byte
	var index market.Decimal
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "name":
			symbol = c.Str()
		case "last_price", "last":
			o.Last = source.DecimalOrNull(c)
		case "mark_price":
			o.MarkPrice = source.DecimalOrNull(c)
		case "index_price":
			index = source.DecimalOrNull(c)
		case "position_size":
			o.OpenInterest = source.DecimalOrNull(c)
		case "bid1_price":
			o.BidPrice = source.DecimalOrNull(c)
		case "bid1_size":
			o.BidAmount = source.DecimalOrNull(c)
		case "ask1_price":
			o.AskPrice = source.DecimalOrNull(c)
		case "ask1_size":
			o.AskAmount = source.DecimalOrNull(c)
		case "bid_iv":
			o.BidIV = source.DecimalOrNull(c)
		case "ask_iv":
			o.AskIV = source.DecimalOrNull(c)
		case "mark_iv":
			o.MarkIV = source.DecimalOrNull(c)
		case "delta":
			o.Delta = source.DecimalOrNull(c)
		case "gamma":
			o.Gamma = source.DecimalOrNull(c)
		case "vega":
			o.Vega = source.DecimalOrNull(c)
		case "theta":
			o.Theta = source.DecimalOrNull(c)
		case "rho":
			o.Rho = source.DecimalOrNull(c)
		default:
			c.Skip()
		}
	}
	if symbol == nil || o.MarkPrice.IsNull() {
		return source.Lacks(c, "an option's ticker", "name or mark_price")
	}
	h.Instrument = d.symbolOf(symbol, out)
	if d.Uses(market.ChannelTicker) {
		t := market.Ticker{Header: h, Trades: market.None, Last: o.Last, BidPrice: o.BidPrice, BidAmount: o.BidAmount, AskPrice: o.AskPrice, AskAmount: o.AskAmount}
		out.Ticker(&t)
	}
	d.states(h, o.MarkPrice, index, o.OpenInterest, out)
	if d.Uses(market.ChannelOptions) {
		o.Header, o.UnderlyingPrice = h, index
		o.Channel = market.ChannelOptions
		o.UnderlyingIndex, _, _ = bytes.Cut(symbol, []byte{'-'})
		out.OptionSummary(&o)
	}
	return nil
}

// liquidation decodes an order that closes a position: its size is negative
// where it sold. The private channel of old and requests tell what was paid.
func (d *decoder) liquidation(out *source.Out) error {
	c := &d.c
	l := market.Liquidation{Header: d.header(market.ChannelLiquidations)}
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "contract":
			symbol = c.Str()
		case "price", "fill_price":
			l.Price = source.Decimal(c)
		case "size":
			l.Amount, l.Side = unsigned(source.Decimal(c))
		case "time_ms":
			l.Ts = moment(c)
		case "time":
			if l.Ts == 0 {
				l.Ts = moment(c)
			}
		default:
			c.Skip()
		}
	}
	if symbol == nil || l.Price.IsNull() || l.Side == market.SideUnknown {
		return source.Lacks(c, "a liquidation", "contract, price or size")
	}
	l.Instrument = d.symbolOf(symbol, out)
	out.Liquidation(&l)
	return nil
}

// populations are those whose long and short positions the venue compares.
var populations = [...]struct{ member, name string }{
	{"lsr_account", "accounts"}, {"lsr_taker", "takers"}, {"top_lsr_account", "top_accounts"}, {"top_lsr_size", "top_positions"},
}

// stats decodes a contract's statistics of a minute.
func (d *decoder) stats(out *source.Out) error {
	c := &d.c
	h := d.header(market.ChannelLongShortRatio)
	var ratios [len(populations)]market.Decimal
	var symbol []byte
members:
	for c.Key() {
		key := c.KeyBytes()
		for i := range populations {
			if string(key) == populations[i].member {
				ratios[i] = source.DecimalOrNull(c)
				continue members
			}
		}
		switch string(key) {
		case "contract":
			symbol = c.Str()
		case "time":
			h.Ts = moment(c)
		default:
			c.Skip()
		}
	}
	if symbol == nil || h.Ts == 0 {
		return source.Lacks(c, "statistics", "contract or time")
	}
	h.Instrument = d.symbolOf(symbol, out)
	for i, ratio := range ratios {
		if !ratio.IsNull() {
			d.text = append(d.text[:0], populations[i].name...)
			t := market.LongShortRatio{Header: h, Ratio: ratio, Population: d.text}
			out.LongShortRatio(&t)
		}
	}
	return nil
}

// system decodes what the service says of itself: {"type":"upgrade","msg":"…"}
// before it closes the connection.
func (d *decoder) system(out *source.Out) error {
	c := &d.c
	var kind, text []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "type":
			kind = c.Str()
		case "msg":
			text = c.Str()
		}
	}
	if err := c.Err(); err != nil {
		return err
	}
	said := fmt.Sprintf("the venue announces %.40s: %.200s", kind, text)
	if string(kind) == "upgrade" {
		out.Reconnect(said)
	} else {
		out.Maintenance(said)
	}
	return nil
}

// answered passes on an acknowledgement. The book of a symbol that is given up ends.
func (d *decoder) answered(event string, token []byte, payload jsonscan.Mark, out *source.Out) error {
	m := &d.m
	if event == "unsubscribe" && payload != (jsonscan.Mark{}) && (m.what == isBookV2 || m.what == isBookUpdate || m.what == isBookWhole) {
		c := &d.c
		c.Seek(payload)
		c.Array()
		if c.Elem() && c.Kind() == jsonscan.KindString {
			symbol := c.Str()
			if m.what == isBookV2 {
				symbol, _ = feed(symbol)
			}
			b := source.NewBook(market.KindBookDelta)
			b.TsSend, b.Flags, b.Instrument = m.sent, market.FlagEnd, d.symbolOf(symbol, out)
			out.Book(&b)
		}
		if err := c.Err(); err != nil {
			return err
		}
	}
	out.Subscribed(token)
	return nil
}

// refused passes on why a request was: {"code":2,"message":"unknown currency
// pair X"}. What is subscribed already is as good as acknowledged.
func (d *decoder) refused(token []byte, failed jsonscan.Mark, out *source.Out) error {
	c := &d.c
	c.Seek(failed)
	var code, text []byte
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "code":
			code = c.NumOrStr()
		case "message":
			text = c.Str()
		}
	}
	if err := c.Err(); err != nil {
		return err
	}
	if bytes.HasPrefix(text, []byte("Alert sub ")) {
		out.Subscribed(token)
		return nil
	}
	out.Rejected(token, fmt.Appendf(nil, "%s: %.300s", code, text))
	return nil
}
