package okx

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// API v3, which recordings up to 2021 hold: binary frames are compressed by
// DEFLATE without a header, {"table":"spot/trade","data":[{…}]}. The venue's
// documentation of it is in github.com/okcoin-okex/open-api-v3-sdk.

// legacy is room for what is inflated.
type legacy struct {
	in  bytes.Reader
	z   io.ReadCloser
	buf []byte
}

// maxInflated bounds a frame, which says little about what it becomes;
// keepInflated the room that is kept for the next one.
const (
	maxInflated  = 16 << 20
	keepInflated = 1 << 20
)

// inflate gives the text of a compressed frame, valid until the next call.
func (l *legacy) inflate(data []byte) ([]byte, error) {
	l.in.Reset(data)
	if l.z == nil {
		l.z = flate.NewReader(&l.in)
	} else if err := l.z.(flate.Resetter).Reset(&l.in, nil); err != nil {
		return nil, err
	}
	if l.buf = l.buf[:0]; cap(l.buf) > keepInflated {
		l.buf = nil
	}
	for {
		if len(l.buf) == cap(l.buf) {
			l.buf = append(l.buf, 0)[:len(l.buf)]
		}
		n, err := l.z.Read(l.buf[len(l.buf):cap(l.buf)])
		l.buf = l.buf[:len(l.buf)+n]
		switch {
		case err == io.EOF:
			return l.buf, nil
		case err != nil:
			return nil, fmt.Errorf("inflate: %w", err)
		case len(l.buf) > maxInflated:
			return nil, fmt.Errorf("inflate: more than %d bytes come of %d", maxInflated, len(data))
		}
	}
}

// table reads a frame of API v3.
func (d *decoder) table(out *source.Out) error {
	c, m := &d.c, &d.m
	*m = message{}
	var data jsonscan.Mark
	have := false
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "table":
			m.channel = c.Str()
		case "action":
			m.action = c.Str()
		case "data":
			data, have = c.Mark(), true
		}
	}
	if err := c.End(); err != nil {
		return err
	}
	if !have {
		return fmt.Errorf("a table without data")
	}
	c.Seek(data)
	_, channel, _ := bytes.Cut(m.channel, []byte{'/'})
	one := (*decoder).statesV3
	switch string(channel) {
	case "trade":
		one = (*decoder).tradeV3
	case "depth", "depth5", "depth_l2_tbt":
		one = (*decoder).bookV3
	case "ticker", "mark_price", "funding_rate":
		if string(m.channel) != "index/ticker" {
			break
		}
		one = (*decoder).indexV3
	default:
		native, ok := bytes.CutPrefix(channel, []byte("candle"))
		if !ok {
			return fmt.Errorf("at byte %d: unknown table %.40q", c.Offset(), m.channel)
		}
		m.symbol = native
		one = (*decoder).candleV3
	}
	if err := source.Each(c, d, out, one); err != nil {
		return err
	}
	return c.End()
}

func (d *decoder) tradeV3(out *source.Out) error {
	c := &d.c
	t := market.Trade{Header: source.Header(market.ChannelTrades), FirstID: market.None, LastID: market.None}
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "instrument_id":
			symbol = c.Str()
		case "trade_id": // those of futures aren't consecutive: no sequence
			t.ID = c.NumOrStr()
		case "price":
			t.Price = source.Decimal(c)
		case "size", "qty":
			t.Amount = source.Decimal(c)
		case "side":
			t.Side = source.Side(c.Str(), "buy", "sell")
		case "timestamp":
			t.Ts = source.Time(c)
		}
	}
	if symbol == nil || t.ID == nil || t.Price.IsNull() || t.Amount.IsNull() || t.Side == market.SideUnknown {
		return source.Lacks(&d.c, "a trade", "instrument_id, trade_id, price, size or side")
	}
	t.Instrument = out.SymbolIn(marketOf(symbol), symbol)
	out.Trade(&t)
	return nil
}

func (d *decoder) bookV3(out *source.Out) error {
	c := &d.c
	b := source.NewBook(market.KindBookSnapshot)
	var symbol []byte
	sides := 0
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "instrument_id":
			symbol = c.Str()
		case "asks":
			d.asks = source.Levels(c, d.asks[:0])
			sides |= 1
		case "bids":
			d.bids = source.Levels(c, d.bids[:0])
			sides |= 2
		case "timestamp":
			b.Ts = source.Time(c)
		case "checksum":
			b.Checksum = c.Int64()
		}
	}
	if symbol == nil || sides != 3 {
		return source.Lacks(&d.c, "a book", "instrument_id, asks or bids")
	}
	b.Flags = market.FlagReset // also of depth5, which has no action
	if string(d.m.action) == "update" {
		b.Kind, b.Flags = market.KindBookDelta, 0
	}
	b.Bids, b.Asks = d.bids, d.asks
	b.Instrument = out.SymbolIn(marketOf(symbol), symbol)
	out.Book(&b)
	return nil
}

// statesV3 decodes what has the same members wherever it has them: tickers, mark
// prices, funding rates.
func (d *decoder) statesV3(out *source.Out) error {
	c := &d.c
	t := market.Ticker{Header: source.Header(market.ChannelTicker), Trades: market.None}
	f := market.Funding{Header: source.Header(market.ChannelFunding), NextTs: market.None}
	var symbol []byte
	var mark market.Decimal
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "instrument_id":
			symbol = c.Str()
		case "last":
			t.Last = source.DecimalOrNull(c)
		case "last_qty":
			t.LastAmount = source.DecimalOrNull(c)
		case "best_bid":
			t.BidPrice = source.DecimalOrNull(c)
		case "best_bid_size":
			t.BidAmount = source.DecimalOrNull(c)
		case "best_ask":
			t.AskPrice = source.DecimalOrNull(c)
		case "best_ask_size":
			t.AskAmount = source.DecimalOrNull(c)
		case "open_24h":
			t.Open = source.DecimalOrNull(c)
		case "high_24h":
			t.High = source.DecimalOrNull(c)
		case "low_24h":
			t.Low = source.DecimalOrNull(c)
		case "base_volume_24h", "volume_24h":
			t.Volume = source.DecimalOrNull(c)
		case "quote_volume_24h":
			t.QuoteVolume = source.DecimalOrNull(c)
		case "timestamp":
			t.Ts = source.Time(c)
		case "mark_price":
			mark = source.DecimalOrNull(c)
		case "funding_rate":
			f.Rate = source.DecimalOrNull(c)
		case "estimated_rate":
			f.PredictedRate = source.DecimalOrNull(c)
		case "funding_time":
			f.NextTs = source.Time(c)
		}
	}
	id := market.InstrumentID(0)
	if symbol != nil {
		id = out.SymbolIn(marketOf(symbol), symbol)
	}
	switch {
	case symbol == nil:
	case !f.Rate.IsNull():
		f.Instrument = id
		out.Funding(&f)
		return nil
	case !mark.IsNull():
		p := market.Price{Header: source.Header(market.ChannelMarkPrice), Price: mark}
		p.Kind, p.Ts, p.Instrument = market.KindMarkPrice, t.Ts, id
		out.Price(&p)
		return nil
	case t.Ts != 0:
		t.Instrument = id
		out.Ticker(&t)
		return nil
	}
	return source.Lacks(&d.c, "a ticker, mark price or funding rate", "instrument_id, timestamp, mark_price or funding_rate")
}

// indexV3 decodes an index's ticker.
func (d *decoder) indexV3(out *source.Out) error {
	c := &d.c
	p := market.Price{Header: source.Header(market.ChannelIndexPrice)}
	p.Kind = market.KindIndexPrice
	var symbol []byte
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "instrument_id":
			symbol = c.Str()
		case "last":
			p.Price = source.Decimal(c)
		case "timestamp":
			p.Ts = source.Time(c)
		}
	}
	if symbol == nil || p.Price.IsNull() {
		return source.Lacks(&d.c, "an index", "instrument_id or last")
	}
	p.Instrument = out.SymbolIn(marketOf(symbol), symbol)
	out.Price(&p)
	return nil
}

// candleV3 decodes {"candle":[time, open, high, low, close, volume, …]} of a
// length in seconds, which the table's name ends with.
func (d *decoder) candleV3(out *source.Out) error {
	c := &d.c
	t := market.Candle{Header: source.Header(market.ChannelCandles), OpenTs: market.None, Trades: market.None}
	seconds, _ := strconv.ParseInt(string(bytes.TrimSuffix(d.m.symbol, []byte{'s'})), 10, 32)
	i := intervals.Lasting(time.Duration(seconds) * time.Second)
	var symbol []byte
	n := 0
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "instrument_id":
			symbol = c.Str()
		case "candle":
			c.Array()
			for ; c.Elem(); n++ {
				switch n {
				case 0:
					t.OpenTs = source.Time(c)
				case 1:
					t.Open = source.Decimal(c)
				case 2:
					t.High = source.Decimal(c)
				case 3:
					t.Low = source.Decimal(c)
				case 4:
					t.Close = source.Decimal(c)
				case 5:
					t.Volume = source.DecimalOrNull(c)
				default:
					c.Skip()
				}
			}
		}
	}
	if symbol == nil || n < 6 || i == nil {
		return source.Lacks(&d.c, "a candle", "instrument_id, a known length, time, prices or volume")
	}
	i.Put(&t, 0)
	t.Instrument = out.SymbolIn(marketOf(symbol), symbol)
	out.Candle(&t)
	return nil
}

// responseV3 decodes a catalogue of API v3, a bare list.
func (d *decoder) responseV3(in *source.Input, out *source.Out) error {
	c := &d.c
	if in.Status != 200 || !bytes.Contains(in.URL, []byte("/instruments")) { // options: /instruments/BTC-USD
		return fmt.Errorf("status %d of a request that isn't known", in.Status)
	}
	c.Array()
	for c.Elem() {
		r := market.InstrumentRecord{Header: source.Header(market.ChannelInstruments), AmountUnit: market.UnitContract, Expiry: market.None, Status: market.StatusTrading}
		var symbol []byte
		c.Object()
		for c.Key() {
			switch string(c.KeyBytes()) {
			case "instrument_id":
				symbol = c.Str()
			case "base_currency":
				r.Base = c.Str()
			case "quote_currency":
				r.Quote = c.Str()
			case "settlement_currency":
				r.Settle = c.Str()
			case "contract_val":
				r.ContractSize = source.DecimalOrNull(c)
			case "tick_size":
				r.TickSize = source.DecimalOrNull(c)
			case "size_increment", "trade_increment", "lot_size":
				r.LotSize = source.DecimalOrNull(c)
			}
		}
		if symbol == nil {
			return source.Lacks(&d.c, "an instrument", "instrument_id")
		}
		m := marketOf(symbol)
		if !d.Wants(m) {
			continue
		}
		if m == market.MarketSpot {
			r.AmountUnit = market.UnitBase
		}
		out.Listing(&r, m, symbol, parse(string(symbol)))
	}
	return c.End()
}
