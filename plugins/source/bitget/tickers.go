package bitget

import (
	"strconv"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// maxMillis is the last millisecond whose nanoseconds can be told.
const maxMillis = 1<<63/1_000_000 - 1

// millisOrNone reads a time that may be "".
func (d *decoder) millisOrNone() int64 {
	ms := source.DecimalOrNull(&d.c)
	if v, ok := ms.Rescale(0); ok && !ms.IsNull() && v > 0 && v <= maxMillis {
		return v * 1_000_000
	}
	return market.None
}

// state is what a ticker of a contract says beside the ticker.
type state struct {
	mark, index, interest, rate, hours market.Decimal
	next                               int64
}

// ticker decodes a ticker, which carries five channels, with the members of API
// v2 and v3, and what answers to requests say of one of them alone.
func (d *decoder) ticker(out *source.Out) error {
	c := &d.c
	t := market.Ticker{Header: source.Header(market.ChannelTicker), Trades: market.None}
	s := state{next: market.None}
	var symbol []byte
	for c.Key() {
		switch key := c.KeyBytes(); string(key) {
		case "instId", "symbol":
			symbol = c.Str()
		case "lastPr", "lastPrice":
			t.Last = source.DecimalOrNull(c)
		case "open24h", "openPrice24h", "open":
			t.Open = source.DecimalOrNull(c)
		case "high24h", "highPrice24h":
			t.High = source.DecimalOrNull(c)
		case "low24h", "lowPrice24h":
			t.Low = source.DecimalOrNull(c)
		case "bidPr", "bid1Price":
			t.BidPrice = source.DecimalOrNull(c)
		case "bidSz", "bid1Size":
			t.BidAmount = source.DecimalOrNull(c)
		case "askPr", "ask1Price":
			t.AskPrice = source.DecimalOrNull(c)
		case "askSz", "ask1Size":
			t.AskAmount = source.DecimalOrNull(c)
		case "baseVolume", "volume24h":
			t.Volume = source.DecimalOrNull(c)
		case "quoteVolume", "turnover24h":
			t.QuoteVolume = source.DecimalOrNull(c)
		case "ts":
			t.Ts = source.Millis(c)
		case "markPrice":
			s.mark = source.DecimalOrNull(c)
		case "indexPrice":
			s.index = source.DecimalOrNull(c)
		case "fundingRate":
			s.rate = source.DecimalOrNull(c)
		case "nextFundingTime", "nextUpdate":
			s.next = d.millisOrNone()
		case "fundingRateInterval":
			s.hours = source.DecimalOrNull(c)
		case "fundingTime": // of a rate that was paid
			t.Ts, t.Origin = source.Millis(c), market.OriginBackfill
		case "holdingAmount", "openInterest", "size":
			s.interest = source.DecimalOrNull(c)
		default:
			d.tickerV1(key, &t, &s)
		}
	}
	if t.Ts == 0 {
		t.Ts = d.m.ts
	}
	if t.Ts == 0 || symbol == nil && d.m.symbol == nil {
		return source.Lacks(&d.c, "a ticker", "instId or ts")
	}
	t.Instrument = d.id(symbol, out)
	d.states(&t, &s, out)
	return nil
}

// states emits the channels of a ticker.
func (d *decoder) states(t *market.Ticker, s *state, out *source.Out) {
	head := t.Header
	if d.use[market.ChannelTicker] && !t.Last.IsNull() {
		out.Ticker(t)
	}
	for _, p := range [...]struct {
		price market.Decimal
		kind  market.Kind
		ch    market.Channel
	}{{s.mark, market.KindMarkPrice, market.ChannelMarkPrice}, {s.index, market.KindIndexPrice, market.ChannelIndexPrice}} {
		if d.use[p.ch] && !p.price.IsNull() {
			r := market.Price{Header: head, Price: p.price}
			r.Kind, r.Channel = p.kind, p.ch
			out.Price(&r)
		}
	}
	if d.use[market.ChannelFunding] && !s.rate.IsNull() {
		r := market.Funding{Header: head, Rate: s.rate, NextTs: s.next}
		if n, ok := s.hours.Rescale(0); ok && n > 0 && n < 100 {
			d.text = append(strconv.AppendInt(d.text[:0], n, 10), 'h')
			r.Interval = d.text
		}
		r.Channel = market.ChannelFunding
		out.Funding(&r)
	}
	if d.use[market.ChannelOpenInterest] && !s.interest.IsNull() {
		r := market.OpenInterest{Header: head, Amount: s.interest}
		r.Channel = market.ChannelOpenInterest
		out.OpenInterest(&r)
	}
}
