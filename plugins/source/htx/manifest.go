// Package htx collects HTX, which was called Huobi: spot pairs, contracts settled
// in USDT, contracts settled in their coin. All frames are gzip.
//
// manifest.go holds what the venue is, session.go what is sent to it, decode.go
// frames, trades, books and quotes, states.go the other channels, responses.go
// answers to requests, instruments.go names and catalogues, inflate.go gzip,
// legacy.go what is not subscribed any more.
package htx

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// plugin has no state.
type plugin struct{ manifest source.Manifest }

const futuresHTTP = "https://api.hbdm.com"

// New is the plugin for HTX.
func New() source.Source {
	const futures = "wss://api.hbdm.com/"
	return &plugin{source.Manifest{
		Venue: "htx", Title: "HTX", Version: "0.1.0", Revision: 1,
		Channels: append(append(channels(market.MarketSpot), channels(market.MarketLinear)...), channels(market.MarketInverse)...),
		Docs: []source.Doc{
			{URL: "https://huobiapi.github.io/docs/spot/v1/en/#websocket-market-data", Date: "2026-11-23", For: "spot: endpoints, ping, one request each 100 ms, channels, MBP and how it is aligned, errors"},
			{URL: "https://www.htx.com/support/900000047626", Date: "2026-11-23", For: "MBP: requested and incremental books of one connection, seqNum and prevSeqNum"},
			{URL: "https://huobiapi.github.io/docs/usdt_swap/v1/en/", Date: "2026-11-23", For: "contracts in USDT: endpoints, 40 subscriptions a second, 240 requests in 3 s, 30 connections, ping, channels, catalogue, open interest, ratios"},
			{URL: "https://huobiapi.github.io/docs/coin_margined_swap/v1/en/", Date: "2026-11-23", For: "perpetuals settled in their coin"},
			{URL: "https://huobiapi.github.io/docs/dm/v1/en/", Date: "2026-11-23", For: "dated contracts settled in their coin"},
		},
		Markets: []source.MarketSpec{
			{
				Market: market.MarketSpot, HTTP: []string{"https://api.huobi.pro"},
				// No budget of these requests is stated; other market data has this one.
				Weight: source.WeightLimit{Rate: source.Rate{N: 100, Per: 10 * time.Second}}, TickersWeight: 1,
				// "The limitation of single connection is 100 ms", of requests; what
				// subscribes keeps to it as well.
				Endpoints: []source.Endpoint{
					endpoint("", "wss://api.huobi.pro/ws", source.Rate{N: 1, Per: 100 * time.Millisecond}),
					endpoint(classFeed, "wss://api.huobi.pro/feed", source.Rate{N: 1, Per: 100 * time.Millisecond}),
				},
			},
			contracts(market.MarketLinear, endpoint("", futures+"linear-swap-ws", subscribes),
				endpoint(classIndex, futures+"ws_index", subscribes), endpoint(classNotice, futures+"linear-swap-notification", subscribes)),
			contracts(market.MarketInverse, endpoint("", futures+"swap-ws", subscribes), endpoint(classDated, futures+"ws", subscribes),
				endpoint(classIndex, futures+"ws_index", subscribes), endpoint(classNotice, futures+"swap-notification", subscribes)),
		},
	}}
}

// Describe returns the manifest.
func (p *plugin) Describe() source.Manifest { return p.manifest }

// The classes of endpoint beside the one that has most channels.
const (
	classFeed   = "feed"         // spot's incremental books, and the requests for whole ones
	classIndex  = "index"        // mark and index prices
	classNotice = "notification" // funding and liquidations, by a protocol of their own
	classDated  = "dated"        // contracts that end and are settled in their coin
)

// datedSymbols matches those: BTC261225.
const datedSymbols = "[A-Z]*[0-9][0-9][0-9][0-9][0-9][0-9]"

// "40 subscriptions at most can be sent in one second", and 50 requests.
var subscribes = source.Rate{N: 40, Per: time.Second}

func contracts(m market.Market, endpoints ...source.Endpoint) source.MarketSpec {
	return source.MarketSpec{
		Market: m, Endpoints: endpoints, HTTP: []string{futuresHTTP},
		MaxConns: 30, // "the WS request connection should not go over 30 normally"
		// "the rate limit for each IP is 240 times every 3 seconds", of what is no market data.
		Weight: source.WeightLimit{Rate: source.Rate{N: 240, Per: 3 * time.Second}}, TickersWeight: 1,
	}
}

func endpoint(class, url string, messages source.Rate) source.Endpoint {
	return source.Endpoint{
		Class: class, URL: url, Messages: messages,
		MaxSubscriptions: 100, // none is stated, but many topics on one connection are advised against
		Compression:      source.CompressionGzip,
		// {"ping":…} each 5 s, of which two may go by without {"pong":…}.
		Heartbeat: source.Heartbeat{Kind: source.HeartbeatServer, Every: 5 * time.Second, Timeout: 20 * time.Second},
	}
}

// intervals are the candles by the venue's names. Its days, weeks, months and
// years begin in Singapore.
var intervals = source.NewIntervals("1m=1min 5m=5min 15m=15min 30m=30min 1h=60min 4h=4hour 1d=1day 1w=1week 1M=1mon 1y=1year")

// intervalsOf are those of a market: contracts have no years.
func intervalsOf(m market.Market) source.Intervals {
	if m == market.MarketSpot {
		return intervals
	}
	return intervals.Without("1y")
}

// The levels a side that books can be had with.
var (
	spotDepths     = []int{5, 20, 150}
	contractDepths = []int{20, 150}
)

func channels(m market.Market) []source.ChannelSpec {
	spot := m == market.MarketSpot
	stream := func(c market.Channel, class string, k ...market.Kind) source.ChannelSpec {
		s := source.StreamOf(c, []market.Market{m}, k...)
		if s.Class = class; m == market.MarketInverse && class == "" {
			s.ClassWhen = []source.ClassRule{{Symbol: datedSymbols, Class: classDated}}
		}
		return s
	}
	trades := stream(market.ChannelTrades, "", market.KindTrade)
	trades.History = &source.History{By: source.HistoryRecent}
	if spot { // they count a pair's trades: between recordings of 14 days they rise as the ticker's count says
		trades.Sequence = source.SequenceIncrement
	}
	candles := stream(market.ChannelCandles, "", market.KindCandle)
	candles.Attributes = schema.Attributes{intervalsOf(m).Attribute("lengths of the candles; those from 1d on begin by Singapore's day")}
	all := []source.ChannelSpec{trades, book(m, stream), stream(market.ChannelBBO, "", market.KindBBO), stream(market.ChannelTicker, "", market.KindTicker),
		candles, source.CatalogueOf([]market.Market{m})}
	if spot {
		return all
	}
	// Both are sent when they change, else once in a candle's minute.
	mark := stream(market.ChannelMarkPrice, classIndex, market.KindMarkPrice)
	index := stream(market.ChannelIndexPrice, classIndex, market.KindIndexPrice)
	mark.StaleAfter, index.StaleAfter = 3*time.Minute, 3*time.Minute
	liquidations := stream(market.ChannelLiquidations, classNotice, market.KindLiquidation)
	liquidations.PerMarket = true
	ratio := source.PollOf(market.ChannelLongShortRatio, []market.Market{m}, 5*time.Minute, market.KindLongShortRatio)
	ratio.Weight = 2
	return append(all, mark, index, stream(market.ChannelFunding, classNotice, market.KindFunding), liquidations,
		source.PollOf(market.ChannelOpenInterest, []market.Market{m}, time.Minute, market.KindOpenInterest), ratio)
}

// book is the book channel. "The prevSeqNum of the current incremental message
// must be the same with seqNum of the previous message"; a whole book is
// requested on the connection that carries the changes, "to align it with the
// cached incremental message which has the same prevSeqNum". Contracts' streams
// begin with a whole book and count what follows: "version: auto increment in
// single websocket connection. version may be different among several".
func book(m market.Market, stream func(market.Channel, string, ...market.Kind) source.ChannelSpec) source.ChannelSpec {
	class, depths := "", contractDepths
	doc := "levels a side that are subscribed: the next of 20, 150 (both change each 30 ms)"
	rule := &source.BookRule{
		Sequence: source.Sequence{Kind: source.SequenceIncrement, Scope: source.ScopeSubscription},
		Snapshot: source.SnapshotInBand, Recovery: source.RecoverResubscribe,
	}
	if m == market.MarketSpot {
		class, depths = classFeed, spotDepths
		doc = "levels a side that are subscribed: the next of 5 (each change by itself), 20 (the same, of large pairs alone), 150 (changes of 100 ms)"
		rule = &source.BookRule{
			Sequence: source.Sequence{Kind: source.SequenceChain},
			Snapshot: source.SnapshotSocket, Recovery: source.RecoverRequest,
		}
	}
	most := depths[len(depths)-1]
	rule.Depths = depths
	s := stream(market.ChannelBook, class, market.KindBookSnapshot, market.KindBookDelta)
	s.Book, s.Weight = rule, 1
	s.Attributes = schema.Attributes{{Name: "depth", Type: schema.Int, Default: most, Min: schema.Limit(1), Max: schema.Limit(int64(most)), Doc: doc}}
	return s
}
