// Package bitmex collects BitMEX: spot, linear and inverse contracts, by one
// address. The venue announced that it closes on 2026-09-23 at 04:00 UTC: what
// was recorded of it is read, in the formats of 2021 and since.
//
// manifest.go holds what the venue is, session.go what is sent to it, decode.go,
// book.go, tickers.go and events.go what it sends, responses.go what it answers to
// requests, instruments.go its names and catalogue, legacy.go what books were like
// until 2023.
package bitmex

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// plugin has no state.
type plugin struct{ manifest source.Manifest }

// New is the plugin for BitMEX.
func New() source.Source {
	p := &plugin{source.Manifest{
		Venue: "bitmex", Title: "BitMEX", Version: "0.1.0", Revision: 1,
		Channels: channels(),
		Docs: []source.Doc{
			{URL: "https://www.bitmex.com/app/wsAPI", Date: "2026-11-23", For: "endpoint, commands, tables, heartbeat, no limit of what is subscribed"},
			{URL: "https://blog.bitmex.com/api_announcement/updates-to-rate-limits/", Date: "2026-11-23", For: "60 connections an hour, 30 requests a minute without a key"},
			{URL: "https://blog.bitmex.com/api_announcement/removing-id-schema-on-orderbook-feeds/", Date: "2026-11-23", For: "books: ids that say nothing since 2023-06-26, prices in updates since April 2023, and in deletions"},
			{URL: "https://blog.bitmex.com/api_announcement/changes-to-order-book-level-2-data/", Date: "2026-11-23", For: "books: times since 2022-02-14, orderBookL2_25 is throttled"},
			{URL: "https://blog.bitmex.com/site_announcement/upcoming-updates-to-our-websocket-and-rest-apis", Date: "2026-11-23", For: "what is unknown is left out since 2023-01-16, it was null before"},
			{URL: "https://blog.bitmex.com/site_announcement/api-change-instrument-bid-ask-and-mid-prices/", Date: "2026-11-23", For: "best prices in table instrument each 5 s"},
			{URL: "https://www.bitmex.com/blog/api-update-introducing-the-pool-field-to-ws-subscription-response", Date: "2026-11-23", For: "pools, in acknowledgements since 2026-05-19; orderBookL2_100"},
			{URL: "https://www.bitmex.com/blog/bitmex-closure-site", Date: "2026-11-23", For: "the end of the venue on 2026-09-23"},
		},
	}}
	for _, m := range everywhere {
		p.manifest.Markets = append(p.manifest.Markets, source.MarketSpec{
			Market: m, HTTP: []string{"https://www.bitmex.com"},
			// "Now 60 connections per hour"; "Unauthenticated limit remains 30 requests per minute"
			Connects: source.Rate{N: 60, Per: time.Hour}, Weight: source.WeightLimit{Rate: source.Rate{N: 30, Per: time.Minute}}, TickersWeight: 1,
			Endpoints: []source.Endpoint{{
				URL: "wss://ws.bitmex.com/realtime", Alternates: []string{"wss://www.bitmex.com/realtime"},
				// "This access is not rate-limited once connected". The numbers are ours:
				// so that one connection isn't all, and its requests are no flood.
				MaxSubscriptions: 500, Messages: source.Rate{N: 10, Per: time.Second},
				// "no messages received in 5 seconds": "ping", "pong" is the answer, within 5 s.
				Heartbeat: source.Heartbeat{Kind: source.HeartbeatText, Payload: "ping", Every: 5 * time.Second, Timeout: 10 * time.Second, Idle: true},
			}},
		})
	}
	return p
}

// Describe returns the manifest.
func (p *plugin) Describe() source.Manifest { return p.manifest }

var (
	contracts  = []market.Market{market.MarketLinear, market.MarketInverse}
	everywhere = []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse}
)

// Feeds of the book channel, which are tables of the venue's. The last one is
// whole each time.
const (
	feedAll        = "orderBookL2"
	feedHundred    = "orderBookL2_100"
	feedTwentyFive = "orderBookL2_25"
	feedTen        = "orderBook10"
)

// intervals are the candles that the venue makes, all of them tables.
var intervals = source.NewIntervals("1m 5m 1h 1d")

func channels() []source.ChannelSpec {
	// Trades have ids that don't count: what is missing can't be told.
	trades := source.StreamOf(market.ChannelTrades, everywhere, market.KindTrade)
	trades.History = &source.History{By: source.HistoryTime}

	book := source.StreamOf(market.ChannelBook, everywhere, market.KindBookSnapshot, market.KindBookDelta)
	book.Attributes = schema.Attributes{{Name: "feed", Type: schema.String, Default: feedAll, Allowed: []string{feedAll, feedHundred, feedTwentyFive, feedTen},
		Doc: "the venue's table: orderBookL2 (all levels), orderBookL2_100 and orderBookL2_25 (the best of each side, at intervals), orderBook10 (10 levels, whole at each change)"}}
	book.Book = &source.BookRule{Snapshot: source.SnapshotInBand, Recovery: source.RecoverResubscribe} // neither numbers nor checksums

	candles := source.StreamOf(market.ChannelCandles, everywhere, market.KindCandle)
	candles.Attributes = schema.Attributes{intervals.Attribute("lengths of the candles, each of which is sent when it has ended")}

	// Table instrument carries the ticker and what follows it. A contract's index
	// moves though nobody trades.
	mark := source.StreamOf(market.ChannelMarkPrice, contracts, market.KindMarkPrice)
	index := source.StreamOf(market.ChannelIndexPrice, contracts, market.KindIndexPrice)
	mark.StaleAfter, index.StaleAfter = time.Minute, time.Minute
	return []source.ChannelSpec{trades, book, source.StreamOf(market.ChannelBBO, everywhere, market.KindBBO), source.StreamOf(market.ChannelTicker, everywhere, market.KindTicker),
		candles, source.StreamOf(market.ChannelFunding, contracts, market.KindFunding), mark, index, source.StreamOf(market.ChannelOpenInterest, contracts, market.KindOpenInterest),
		source.StreamOf(market.ChannelLiquidations, contracts, market.KindLiquidation), source.CatalogueOf(everywhere)}
}
