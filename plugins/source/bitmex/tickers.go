package bitmex

import (
	"math/bits"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Table instrument carries six channels. It begins with all that is known of an
// instrument, later rows state what changed: they are merged, by connection. A
// decoder that was restarted knows what came since, and states no more than that.

// field is a member of a row.
type field uint8

const (
	fLast field = iota
	fOpen
	fHigh
	fLow
	fVolume
	fQuoteVolume
	fVWAP
	fBid
	fAsk
	fMark
	fIndex
	fInterest
	fRate
	fPredicted
	numDecimals
	fNext  = numDecimals // times
	fHours = numDecimals + 1
)

// groups of fields that make a channel.
const (
	ofTicker  = 1<<fLast | 1<<fOpen | 1<<fHigh | 1<<fLow | 1<<fVolume | 1<<fQuoteVolume | 1<<fVWAP | 1<<fBid | 1<<fAsk
	ofFunding = 1<<fRate | 1<<fPredicted | 1<<fNext
)

// fields are the members that a row has, or all that is known; what isn't is null.
type fields struct {
	have  uint32
	v     [numDecimals]market.Decimal
	next  int64 // 0: unknown
	hours int64 // as the venue writes an interval: a time of 2000-01-01
}

// connection is what the decoder knows of one.
type connection struct {
	id     uint32
	states []*fields // by instrument id
}

func (d *decoder) forget(id uint32) {
	for i := range d.conns {
		if d.conns[i].id == id {
			last := len(d.conns) - 1
			d.conns[i], d.conns[last] = d.conns[last], connection{}
			d.conns = d.conns[:last]
			return
		}
	}
}

// state finds an instrument's on the connection.
func (d *decoder) state(id market.InstrumentID) *fields {
	at := 0
	for at < len(d.conns) && d.conns[at].id != d.m.conn {
		at++
	}
	if at == len(d.conns) {
		d.conns = append(d.conns, connection{id: d.m.conn})
	}
	k := &d.conns[at]
	for int(id) >= len(k.states) {
		k.states = append(k.states, nil)
	}
	if k.states[id] == nil {
		k.states[id] = new(fields)
	}
	return k.states[id]
}

// fieldOf names a decimal member.
func fieldOf(key []byte) field {
	switch string(key) {
	case "lastPrice":
		return fLast
	case "prevPrice24h":
		return fOpen
	case "highPrice":
		return fHigh
	case "lowPrice":
		return fLow
	case "volume24h":
		return fVolume
	case "foreignNotional24h":
		return fQuoteVolume
	case "vwap":
		return fVWAP
	case "bidPrice":
		return fBid
	case "askPrice":
		return fAsk
	case "markPrice":
		return fMark
	case "indicativeSettlePrice": // what it would be settled at: the index
		return fIndex
	case "openInterest":
		return fInterest
	case "fundingRate":
		return fRate
	case "indicativeFundingRate":
		return fPredicted
	}
	return numDecimals
}

// row reads the members of a row into d.fresh.
func (d *decoder) row() (symbol []byte, ts int64, err error) {
	c, f := &d.c, &d.fresh
	f.have = 0
	for c.Key() {
		switch key := c.KeyBytes(); string(key) {
		case "symbol":
			symbol = c.Str()
		case "timestamp":
			ts = source.Time(c)
		case "fundingTimestamp":
			f.have |= 1 << fNext
			if f.next = 0; !c.Null() {
				f.next = source.Time(c)
			}
		case "fundingInterval":
			f.have |= 1 << fHours
			if f.hours = 0; !c.Null() {
				f.hours = source.Time(c)
			}
		default:
			if at := fieldOf(key); at < numDecimals {
				f.v[at] = source.DecimalOrNull(c)
				f.have |= 1 << at
			} else {
				c.Skip()
			}
		}
	}
	if symbol == nil || c.Err() != nil {
		return nil, 0, source.Lacks(c, "an instrument", "symbol")
	}
	return symbol, ts, nil
}

// instrument decodes a row and emits the channels that it concerns.
func (d *decoder) instrument(out *source.Out) error {
	symbol, ts, err := d.row()
	if err != nil || d.m.action == deleted {
		return err
	}
	f := &d.fresh
	h := source.Header(market.ChannelTicker)
	h.Instrument, h.Ts = d.id(symbol, out), ts
	s := d.state(h.Instrument)
	if d.m.action == whole {
		*s = fields{}
	}
	s.merge(f)
	d.emitState(out, h, s, f.have)
	return nil
}

func (s *fields) merge(f *fields) {
	for have := f.have & (1<<numDecimals - 1); have != 0; have &= have - 1 {
		at := bits.TrailingZeros32(have)
		s.v[at] = f.v[at]
	}
	if f.have&(1<<fNext) != 0 {
		s.next = f.next
	}
	if f.have&(1<<fHours) != 0 {
		s.hours = f.hours
	}
}

// statistic decodes a row of those of all markets: its ticker, if it has one and
// is of this market.
func (d *decoder) statistic(out *source.Out) error {
	symbol, ts, err := d.row()
	if err != nil || d.fresh.have&(1<<fLast) == 0 || !d.Wants(marketOf(string(symbol))) {
		return err
	}
	h := source.Header(market.ChannelTicker)
	h.Instrument, h.Ts = d.id(symbol, out), ts
	s := fields{}
	s.merge(&d.fresh)
	d.emitState(out, h, &s, ofTicker)
	return nil
}

// emitState emits the channels that new fields concern.
func (d *decoder) emitState(out *source.Out, h market.Header, s *fields, fresh uint32) {
	v := &s.v
	if d.Uses(market.ChannelTicker) && fresh&ofTicker != 0 && !v[fLast].IsNull() {
		t := market.Ticker{Header: h, Trades: market.None, Last: v[fLast], Open: v[fOpen], High: v[fHigh], Low: v[fLow], Volume: v[fVolume],
			QuoteVolume: v[fQuoteVolume], VWAP: v[fVWAP], BidPrice: v[fBid], AskPrice: v[fAsk]}
		out.Ticker(&t)
	}
	if fresh&ofFunding != 0 {
		next := s.next
		if next == 0 {
			next = market.None
		}
		d.Funding(out, h, market.Funding{Rate: v[fRate], PredictedRate: v[fPredicted], NextTs: next, Interval: hours(s.hours)})
	}
	if fresh&(1<<fInterest) != 0 {
		d.OpenInterest(out, h, v[fInterest], market.Decimal{})
	}
	if fresh&(1<<fMark) != 0 {
		d.MarkPrice(out, h, v[fMark])
	}
	if fresh&(1<<fIndex) != 0 {
		d.IndexPrice(out, h, v[fIndex])
	}
}

// epoch is where the venue counts intervals from: 2000-01-01.
const epoch = 946_684_800 * int64(time.Second)

// hours names an interval.
func hours(t int64) []byte { return source.Hours((t - epoch) / int64(time.Hour)) }
