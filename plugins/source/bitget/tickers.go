package bitget

import (
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

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
			s.next = source.MillisOrNone(c)
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
	if d.Uses(market.ChannelTicker) && !t.Last.IsNull() {
		out.Ticker(t)
	}
	d.MarkPrice(out, head, s.mark)
	d.IndexPrice(out, head, s.index)
	hours, _ := s.hours.Rescale(0)
	d.Funding(out, head, market.Funding{Rate: s.rate, NextTs: s.next, Interval: source.Hours(hours)})
	d.OpenInterest(out, head, s.interest, market.Decimal{})
}
