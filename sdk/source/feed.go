package source

import (
	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
)

// Feed is what a decoder has to know of the feed that it decodes. It is embedded.
type Feed struct {
	Market market.Market
	All    bool // a replay: every channel is in use
	use    [256]bool
}

// NewCursor reads frames and responses, of which a catalogue may have 64 MiB.
func NewCursor() jsonscan.Cursor { return jsonscan.Cursor{MaxBytes: 64 << 20} }

// Feed is what the settings say.
func (s *DecoderSettings) Feed() Feed {
	f := Feed{Market: s.Market, All: s.Channels == nil}
	for c := range f.use {
		_, in := s.Channels[market.Channel(c)]
		f.use[c] = in || f.All
	}
	return f
}

// Uses says whether a channel is in use. One of the venue's may carry several.
func (f *Feed) Uses(c market.Channel) bool { return f.use[c] }

// Mixed feeds decode recordings of several markets: what is told of one says which.
func (f *Feed) Mixed() bool { return f.Market == market.MarketMixed || f.Market == market.MarketNone }

// Wants says whether records of a market belong to the feed. One of the venue's
// channels, or its catalogue, may hold those of several.
func (f *Feed) Wants(m market.Market) bool { return f.Market == m || f.Mixed() }

// What tickers tell beside the ticker: each is emitted under the header h if it is
// known and its channel in use.

// MarkPrice emits a mark price.
func (f *Feed) MarkPrice(out *Out, h market.Header, price market.Decimal) {
	f.price(out, h, market.ChannelMarkPrice, market.KindMarkPrice, price)
}

// IndexPrice emits the price of an index.
func (f *Feed) IndexPrice(out *Out, h market.Header, price market.Decimal) {
	f.price(out, h, market.ChannelIndexPrice, market.KindIndexPrice, price)
}

func (f *Feed) price(out *Out, h market.Header, c market.Channel, k market.Kind, price market.Decimal) {
	if f.use[c] && !price.IsNull() {
		p := market.Price{Header: h, Price: price}
		p.Channel, p.Kind = c, k
		out.Price(&p)
	}
}

// OpenInterest emits an open interest and, if it is known, what it is worth.
func (f *Feed) OpenInterest(out *Out, h market.Header, amount, value market.Decimal) {
	if f.use[market.ChannelOpenInterest] && !amount.IsNull() {
		t := market.OpenInterest{Header: h, Amount: amount, Value: value}
		t.Channel = market.ChannelOpenInterest
		out.OpenInterest(&t)
	}
}

// Funding emits a funding rate.
func (f *Feed) Funding(out *Out, h market.Header, t market.Funding) {
	if f.use[market.ChannelFunding] && !t.Rate.IsNull() {
		t.Header = h
		t.Channel = market.ChannelFunding
		out.Funding(&t)
	}
}
