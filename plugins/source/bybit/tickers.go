package bybit

import (
	"math/bits"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// A ticker of a contract carries six channels. The first is whole, those after
// it state what changed: they are merged, by connection, for each begins with a
// whole one. A decoder that was restarted knows what came since, and states no
// more than that. Spot's and options' are always whole.

// field is a member of a ticker.
type field uint8

const (
	fLast field = iota
	fOpen
	fHigh
	fLow
	fVolume
	fTurnover
	fBid
	fBidAmount
	fAsk
	fAskAmount
	fMark
	fIndex
	fInterest
	fInterestValue
	fRate
	fNext
	fHours
	fBidIV
	fAskIV
	fMarkIV
	fUnderlying
	fDelta
	fGamma
	fVega
	fTheta
	numFields
	fNone = numFields
)

// groups of fields that make a channel.
const (
	ofTicker  = 1<<fLast | 1<<fOpen | 1<<fHigh | 1<<fLow | 1<<fVolume | 1<<fTurnover
	ofBest    = 1<<fBid | 1<<fBidAmount | 1<<fAsk | 1<<fAskAmount
	ofFunding = 1<<fRate | 1<<fNext
	ofOption  = 1<<fBidIV | 1<<fAskIV | 1<<fMarkIV
)

// fields are the members that a frame has.
type fields struct {
	have uint32
	v    [numFields]market.Decimal
}

// ticker is the merged state of an instrument on a connection; what is unknown is
// null.
type ticker struct {
	v     [numFields]market.Decimal
	whole bool  // a whole one came
	best  int64 // number of the best bid and offer of the book of one level; None: it has none
}

// ticker finds an instrument's state.
func (k *connection) ticker(id market.InstrumentID) *ticker {
	for int(id) >= len(k.tickers) {
		k.tickers = append(k.tickers, nil)
	}
	if k.tickers[id] == nil {
		k.tickers[id] = &ticker{best: market.None}
	}
	return k.tickers[id]
}

// fieldOf names a member; requests name some otherwise than streams.
func fieldOf(key []byte) field {
	switch string(key) {
	case "lastPrice":
		return fLast
	case "prevPrice24h":
		return fOpen
	case "highPrice24h":
		return fHigh
	case "lowPrice24h":
		return fLow
	case "volume24h":
		return fVolume
	case "turnover24h":
		return fTurnover
	case "bid1Price", "bidPrice":
		return fBid
	case "bid1Size", "bidSize":
		return fBidAmount
	case "ask1Price", "askPrice":
		return fAsk
	case "ask1Size", "askSize":
		return fAskAmount
	case "markPrice":
		return fMark
	case "indexPrice":
		return fIndex
	case "openInterest":
		return fInterest // of both sides
	case "openInterestValue":
		return fInterestValue
	case "fundingRate":
		return fRate
	case "nextFundingTime":
		return fNext
	case "fundingIntervalHour":
		return fHours
	case "bidIv", "bid1Iv":
		return fBidIV
	case "askIv", "ask1Iv":
		return fAskIV
	case "markPriceIv", "markIv":
		return fMarkIV
	case "underlyingPrice":
		return fUnderlying
	case "delta":
		return fDelta
	case "gamma":
		return fGamma
	case "vega":
		return fVega
	case "theta":
		return fTheta
	}
	return fNone
}

// ticker reads the members of an object that was entered.
func (d *decoder) ticker() {
	c, m := &d.c, &d.m
	d.fresh.have = 0
	for c.Key() {
		key := c.KeyBytes()
		if string(key) == "symbol" {
			m.symbol = c.Str()
			continue
		}
		f := fieldOf(key)
		if f == fNone {
			c.Skip()
			continue
		}
		d.fresh.v[f] = source.DecimalOrNull(c)
		d.fresh.have |= 1 << f
	}
}

// emitTicker merges what was read and emits the channels that it concerns.
func (d *decoder) emitTicker(out *source.Out) {
	m := &d.m
	id := out.SymbolIn(m.market, m.symbol)
	k := m.conn.ticker(id)
	if !m.delta {
		k.whole, k.v = true, [numFields]market.Decimal{}
	}
	for have := d.fresh.have; have != 0; have &= have - 1 {
		f := bits.TrailingZeros32(have)
		k.v[f] = d.fresh.v[f]
	}
	d.emitFields(out, id, k, d.fresh.have)
}

// emitFields emits the channels that new fields concern, from the merged state.
func (d *decoder) emitFields(out *source.Out, id market.InstrumentID, k *ticker, fresh uint32) {
	h := source.Header(market.ChannelTicker)
	h.Instrument, h.Ts = id, d.m.ts
	v := &k.v
	inverse := d.m.market == market.MarketInverse
	if d.Uses(market.ChannelTicker) && (k.whole || fresh&ofTicker != 0) {
		t := market.Ticker{Header: h, Trades: market.None, Last: v[fLast], Open: v[fOpen], High: v[fHigh], Low: v[fLow], Volume: v[fVolume],
			BidPrice: v[fBid], BidAmount: v[fBidAmount], AskPrice: v[fAsk], AskAmount: v[fAskAmount]}
		if !inverse { // there turnover is in the base currency
			t.QuoteVolume = v[fTurnover]
		}
		out.Ticker(&t)
	}
	// The best bid and offer is the book of one level where there is one.
	if fresh&ofBest != 0 && d.Uses(market.ChannelBBO) && (d.m.market == market.MarketOption || d.All && k.best == market.None) {
		t := market.BBO{Header: h, BidPrice: v[fBid], BidAmount: v[fBidAmount], AskPrice: v[fAsk], AskAmount: v[fAskAmount]}
		t.Channel = market.ChannelBBO
		out.BBO(&t)
	}
	if fresh&ofFunding != 0 {
		hours, _ := v[fHours].Rescale(0)
		d.Funding(out, h, market.Funding{Rate: v[fRate], NextTs: source.MillisOf(v[fNext]), Interval: source.Hours(hours)})
	}
	if fresh&(1<<fInterest) != 0 {
		value := v[fInterestValue]
		if inverse {
			value = market.Decimal{}
		}
		d.OpenInterest(out, h, v[fInterest], value)
	}
	if fresh&(1<<fMark) != 0 {
		d.MarkPrice(out, h, v[fMark])
	}
	if fresh&(1<<fIndex) != 0 {
		d.IndexPrice(out, h, v[fIndex])
	}
	if fresh&ofOption != 0 && d.Uses(market.ChannelOptions) {
		t := market.OptionSummary{Header: h, BidPrice: v[fBid], BidAmount: v[fBidAmount], BidIV: v[fBidIV], AskPrice: v[fAsk], AskAmount: v[fAskAmount],
			AskIV: v[fAskIV], MarkPrice: v[fMark], MarkIV: v[fMarkIV], Last: v[fLast], OpenInterest: v[fInterest],
			UnderlyingPrice: v[fUnderlying], Delta: v[fDelta], Gamma: v[fGamma], Vega: v[fVega], Theta: v[fTheta]}
		t.Channel = market.ChannelOptions
		out.OptionSummary(&t)
	}
}
