// Package gateio collects Gate.io over its API v4: spot pairs, perpetuals and
// delivery contracts that are settled in USDT, USD1 and bitcoin, options. Frames
// of spot's API v3 are decoded too.
//
// manifest.go holds what the venue is, session.go what is sent to it, decode.go
// frames, trades, books and quotes, states.go the other channels and answers
// to subscriptions, responses.go answers to requests, instruments.go names and
// catalogues, legacy.go API v3.
package gateio

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// plugin has no state.
type plugin struct{ manifest source.Manifest }

// New is the plugin for Gate.io.
func New() source.Source {
	const futures = "wss://fx-ws.gateio.ws/v4/ws/"
	return &plugin{source.Manifest{
		Venue: "gateio", Title: "Gate.io", Version: "0.1.0", Revision: 1,
		Channels: channels(),
		Docs: []source.Doc{
			{URL: "https://www.gate.com/docs/developers/apiv4/ws/en/", Date: "2026-11-23", For: "spot: endpoint, requests and their ids, ping, channels, order book V2"},
			{URL: "https://www.gate.com/docs/developers/futures/ws/en/", Date: "2026-11-23", For: "perpetuals: endpoints (USD1 since 2026-08-19), sizes with decimals, channels, liquidations in batches since 2026-08-20"},
			{URL: "https://www.gate.com/docs/developers/delivery/ws/en/", Date: "2026-11-23", For: "delivery contracts, which have no order book V2"},
			{URL: "https://www.gate.com/docs/developers/options/ws/en/", Date: "2026-11-23", For: "options"},
			{URL: "https://www.gate.com/docs/developers/apiv4/en/#frequency-limit-rule", Date: "2026-11-23", For: "200 requests in 10 s to each public path, 300 connections of an address"},
			{URL: "https://github.com/gateio/gatews/issues/25", Date: "2026-11-23", For: "no limit on subscriptions and messages; readers that are slow are cut"},
		},
		Markets: []source.MarketSpec{
			spec(market.MarketSpot, endpoint("", "wss://api.gateio.ws/ws/v4/", familySpot)),
			spec(market.MarketLinear, endpoint("", futures+"usdt", familyFutures), endpoint(classDelivery, futures+"delivery/usdt", familyFutures),
				endpoint(classUSD1, futures+"usd1", familyFutures)),
			spec(market.MarketInverse, endpoint("", futures+"btc", familyFutures), endpoint(classDelivery, futures+"delivery/btc", familyFutures)),
			spec(market.MarketOption, endpoint("", "wss://op-ws.gateio.live/v4/ws", familyOptions)),
		},
	}}
}

// Describe returns the manifest.
func (p *plugin) Describe() source.Manifest { return p.manifest }

// The classes of endpoint beside perpetuals': a contract's symbol says which has it.
const (
	classDelivery = "delivery"
	classUSD1     = "usd1"
)

// The families of channels, which their names begin with.
const (
	familySpot    = "spot"
	familyFutures = "futures"
	familyOptions = "options"
)

func spec(m market.Market, endpoints ...source.Endpoint) source.MarketSpec {
	tickers := 1
	if m == market.MarketOption {
		tickers = 0 // they come by underlying, and without volumes
	}
	return source.MarketSpec{
		Market: m, Endpoints: endpoints, HTTP: []string{"https://api.gateio.ws"},
		MaxConns: 300, // "Number of connections per IP ≤ 300"
		// "Public endpoints: 200r/10s per endpoint", by address.
		Weight:        source.WeightLimit{Rate: source.Rate{N: 200, Per: 10 * time.Second}},
		TickersWeight: tickers,
	}
}

func endpoint(class, url, family string) source.Endpoint {
	return source.Endpoint{
		Class: class, URL: url,
		// "No limit on subscriptions", but what reads too slowly is cut, with all
		// that it carries.
		MaxSubscriptions: 200,
		// The venue's own pings are of the protocol; this one shows us that it is
		// there, and starts its timer anew.
		Heartbeat: source.Heartbeat{Kind: source.HeartbeatText, Payload: `{"channel":"` + family + `.ping"}`, Every: 10 * time.Second, Timeout: 30 * time.Second, Idle: true},
	}
}

// intervals are the candles that every market has. Those of 7d begin on
// Thursdays, for the venue counts from 1970 on.
var intervals = source.NewIntervals("10s 1m 5m 15m 30m 1h 4h 8h 1d 7d")

// Levels a side of order book V2, whose feeds are sent each 20 and each 100 ms.
const (
	fastLevels = 50
	deepLevels = 400
)

// underlyings are those that options exist of; they are listed by underlying.
var underlyings = []string{"BTC_USDT", "ETH_USDT"}

func channels() []source.ChannelSpec {
	var all []source.ChannelSpec
	for _, m := range []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse, market.MarketOption} {
		all = append(all, channelsOf(m)...)
	}
	return all
}

func channelsOf(m market.Market) []source.ChannelSpec {
	stream := func(c market.Channel, k ...market.Kind) source.ChannelSpec {
		s := source.StreamOf(c, []market.Market{m}, k...)
		switch m {
		case market.MarketLinear:
			s.ClassWhen = []source.ClassRule{{Symbol: "*_*_*", Class: classDelivery}, {Symbol: "*_USD1", Class: classUSD1}}
		case market.MarketInverse:
			s.ClassWhen = []source.ClassRule{{Symbol: "*_*_*", Class: classDelivery}}
		}
		return s
	}
	trades := stream(market.ChannelTrades, market.KindTrade)
	trades.History = &source.History{By: source.HistoryRecent}
	if m == market.MarketSpot { // "One market Trade ID (Continuous Growth within a Single Market ID)"
		trades.Sequence = source.SequenceRange
	}
	candles := stream(market.ChannelCandles, market.KindCandle)
	candles.Attributes = schema.Attributes{intervals.Attribute("lengths of the candles")}
	all := []source.ChannelSpec{trades, book(m, stream(market.ChannelBook, market.KindBookSnapshot, market.KindBookDelta)),
		stream(market.ChannelBBO, market.KindBBO), stream(market.ChannelTicker, market.KindTicker), candles, source.CatalogueOf([]market.Market{m})}
	if m == market.MarketSpot {
		return all
	}
	all = append(all, stream(market.ChannelMarkPrice, market.KindMarkPrice), stream(market.ChannelIndexPrice, market.KindIndexPrice),
		stream(market.ChannelOpenInterest, market.KindOpenInterest))
	if m == market.MarketOption {
		return append(all, stream(market.ChannelOptions, market.KindOptionSummary))
	}
	return append(all, stream(market.ChannelFunding, market.KindFunding), stream(market.ChannelLiquidations, market.KindLiquidation),
		stream(market.ChannelLongShortRatio, market.KindLongShortRatio))
}

// book completes the book channel. Order book V2 begins with a whole book; a
// break of its numbers is mended by subscribing anew. What delivery contracts,
// options and recordings have are changes alone, spliced onto a requested book
// by the same numbers. Whole books come in between in either ("full").
func book(m market.Market, s source.ChannelSpec) source.ChannelSpec {
	s.Weight = 1
	s.Book = &source.BookRule{
		Sequence: source.Sequence{Kind: source.SequenceRange, Start: source.StartRange},
		Snapshot: source.SnapshotHTTP, Recovery: source.RecoverResubscribe,
	}
	if m == market.MarketOption {
		s.Book.Recovery = source.RecoverRequest
		return s
	}
	s.Book.Depths = []int{fastLevels, deepLevels}
	s.Attributes = schema.Attributes{{Name: "depth", Type: schema.Int, Default: deepLevels, Min: schema.Limit(1), Max: schema.Limit(deepLevels),
		Doc: "levels a side that are subscribed: the next of 50 (changes each 20 ms), 400 (100 ms); delivery contracts have 100"}}
	return s
}
