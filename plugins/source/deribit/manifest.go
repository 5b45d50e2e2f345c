// Package deribit collects Deribit over its JSON-RPC API v2: inverse and linear
// perpetuals and futures, options, spot, and the volatility index. Combinations
// of instruments are left out: what they trade is published of their legs too.
//
// manifest.go holds what the venue is, session.go what is sent to it, decode.go
// and ticker.go what it sends, instruments.go its names and catalogues. Frames
// have had one form since 2019, so recordings need nothing of their own.
package deribit

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// plugin has no state.
type plugin struct{ manifest source.Manifest }

// New is the plugin for Deribit.
func New() source.Source {
	p := &plugin{source.Manifest{
		Venue: "deribit", Title: "Deribit", Version: "0.1.0", Revision: 1,
		Channels: channels(),
		Docs: []source.Doc{
			{URL: "https://docs.deribit.com/articles/connection-management-best-practices", Date: "2026-11-23", For: "32 connections, heartbeats, no maximal age"},
			{URL: "https://docs.deribit.com/articles/rate-limits", Date: "2026-11-23", For: "credits of subscribe, requests"},
			{URL: "https://docs.deribit.com/articles/market-data-collection-best-practices", Date: "2026-11-23", For: "500 channels a call, gaps"},
			{URL: "https://docs.deribit.com/articles/authentication", Date: "2026-11-23", For: "login by signature"},
			{URL: "https://docs.deribit.com/articles/errors", Date: "2026-11-23", For: "codes of refusals"},
			{URL: "https://docs.deribit.com/subscriptions/orderbook/bookinstrument_nameinterval", Date: "2026-11-23", For: "book, its chain of change ids, intervals, raw for authorised users only"},
			{URL: "https://docs.deribit.com/subscriptions/trades/tradesinstrument_nameinterval", Date: "2026-11-23", For: "trades, liquidations, block trades, legs of combinations"},
			{URL: "https://docs.deribit.com/subscriptions/market-data/tickerinstrument_nameinterval", Date: "2026-11-23", For: "ticker, mark and index price, open interest, funding, greeks"},
			{URL: "https://docs.deribit.com/subscriptions/market-data/deribit_volatility_indexindex_name", Date: "2026-11-23", For: "volatility index"},
			{URL: "https://docs.deribit.com/api-reference/market-data/public-get_instruments", Date: "2026-11-23", For: "catalogue, units, one request a second"},
			{URL: "https://docs.deribit.com/api-reference/market-data/public-get_last_trades_by_instrument", Date: "2026-11-23", For: "history of trades by number"},
		},
	}}
	for _, m := range everywhere {
		p.manifest.Markets = append(p.manifest.Markets, source.MarketSpec{
			Market: m, Endpoints: []source.Endpoint{endpoint(classPublic), endpoint(classLogin)},
			HTTP:     []string{"https://www.deribit.com"},
			MaxConns: 32, // "32 simultaneous connections per IP address", requests counted
			// What an address may ask without a login isn't published; catalogues may be
			// asked for once a second.
			Weight: source.WeightLimit{Rate: source.Rate{N: 5, Per: 5 * time.Second}},
		})
	}
	return p
}

// Describe returns the manifest.
func (p *plugin) Describe() source.Manifest { return p.manifest }

// The classes of endpoint. Connections of the raw feeds log in first.
const (
	classPublic = ""
	classLogin  = "login"
)

var (
	everywhere = []market.Market{market.MarketInverse, market.MarketLinear, market.MarketOption, market.MarketSpot}
	contracts  = []market.Market{market.MarketInverse, market.MarketLinear}
	derivative = []market.Market{market.MarketInverse, market.MarketLinear, market.MarketOption}
)

// maxChannels is how many channels one call may name.
const maxChannels = 500

func endpoint(class string) source.Endpoint {
	e := source.Endpoint{
		Class: class, URL: "wss://www.deribit.com/ws/api/v2",
		MaxSubscriptions: maxChannels, // none is stated: one call makes all of them anew
		// A call of subscribe costs 3,000 credits of 30,000, which refill by 10,000 a
		// second: about 3.3 a second, 10 at once. Who passes that is disconnected.
		Messages: source.Rate{N: 10, Per: 3 * time.Second},
		// The venue asks at the interval that a session sets, 10 s at least, and closes
		// the connection if the answer takes as long again.
		Heartbeat: source.Heartbeat{Kind: source.HeartbeatServer, Every: heartbeat * time.Second, Timeout: (2*heartbeat + 5) * time.Second},
	}
	if class == classLogin {
		e.Login = &source.Login{Secret: true, Scheme: source.SchemeHMACSHA256}
	}
	return e
}

// heartbeat is the interval in seconds that a session sets: long enough for a
// decoder that is started again to answer in time.
const heartbeat = 30

// Intervals of notification.
const (
	interval100 = "100ms"
	intervalAgg = "agg2"
	intervalRaw = "raw"
)

// intervals are the candles that can be subscribed, by the venue's name.
var intervals = source.NewIntervals("1m=1 3m=3 5m=5 10m=10 15m=15 30m=30 1h=60 2h=120 3h=180 6h=360 12h=720 1d=1D")

// withInterval lets a channel choose how often it is notified.
func withInterval(c source.ChannelSpec) source.ChannelSpec {
	c.Attributes = schema.Attributes{{Name: "interval", Type: schema.String, Default: interval100, Allowed: []string{interval100, intervalAgg, intervalRaw},
		Doc: "how often the venue sends: what happened within 100ms, within a longer time of its choice (agg2), or each change by itself (raw, after a login)"}}
	c.ClassWhen = []source.ClassRule{{Attribute: "interval", Value: intervalRaw, Class: classLogin}}
	return c
}

func channels() []source.ChannelSpec {
	// trade_seq counts the trades of an instrument, those of blocks and
	// combinations with them.
	trades := withInterval(source.StreamOf(market.ChannelTrades, everywhere, market.KindTrade))
	trades.Sequence, trades.Weight, trades.History = source.SequenceIncrement, 1, &source.History{By: source.HistorySequence}

	book := withInterval(source.StreamOf(market.ChannelBook, everywhere, market.KindBookSnapshot, market.KindBookDelta))
	book.Book = &source.BookRule{
		// All levels, in the stream. A second subscription of the same channel brings
		// no second snapshot: it is given up and made again.
		Sequence: source.Sequence{Kind: source.SequenceChain}, Snapshot: source.SnapshotInBand, Recovery: source.RecoverResubscribe,
	}

	candles := source.StreamOf(market.ChannelCandles, everywhere, market.KindCandle)
	candles.Attributes = schema.Attributes{intervals.Attribute("lengths of the candles")}

	mark := source.StreamOf(market.ChannelMarkPrice, derivative, market.KindMarkPrice)
	mark.StaleAfter = time.Minute // of one frame with the index price, which is sent each second
	index := source.StreamOf(market.ChannelIndexPrice, derivative, market.KindIndexPrice)
	index.StaleAfter = time.Minute
	return []source.ChannelSpec{
		trades, book,
		source.StreamOf(market.ChannelBBO, everywhere, market.KindBBO),
		withInterval(source.StreamOf(market.ChannelTicker, everywhere, market.KindTicker)),
		candles,
		source.StreamOf(market.ChannelFunding, contracts, market.KindFunding), // of perpetuals alone
		mark, index,
		source.StreamOf(market.ChannelOpenInterest, derivative, market.KindOpenInterest),
		source.StreamOf(market.ChannelLiquidations, derivative, market.KindLiquidation),
		withInterval(source.StreamOf(market.ChannelOptions, []market.Market{market.MarketOption}, market.KindOptionSummary)),
		source.StreamOf(market.ChannelVolatilityIndex, []market.Market{market.MarketInverse}, market.KindVolatilityIndex),
		source.CatalogueOf(everywhere),
	}
}
