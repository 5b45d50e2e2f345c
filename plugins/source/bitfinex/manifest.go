// Package bitfinex collects Bitfinex over its WebSocket API v2: spot pairs and
// perpetual contracts, which are linear. Its frames of 2021 are those of today.
//
// manifest.go holds what the venue is, session.go what is sent to it, decode.go
// what it sends, status.go the state of contracts, liquidations and answers to
// requests, orders.go raw books, instruments.go its names and catalogues.
package bitfinex

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// plugin has no state.
type plugin struct{ manifest source.Manifest }

const address, base = "wss://api-pub.bitfinex.com/ws/2", "https://api-pub.bitfinex.com"

var (
	contracts  = []market.Market{market.MarketLinear}
	everywhere = []market.Market{market.MarketSpot, market.MarketLinear}
)

// New is the plugin for Bitfinex.
func New() source.Source {
	p := &plugin{source.Manifest{
		Venue: "bitfinex", Title: "Bitfinex", Version: "0.1.0", Revision: 1,
		Channels: channels(),
		Docs: []source.Doc{
			{URL: "https://docs.bitfinex.com/docs/ws-public", Date: "2026-11-23", For: "20 connections a minute, 25 channels on one"},
			{URL: "https://docs.bitfinex.com/docs/ws-general", Date: "2026-11-23", For: "flags, heartbeats, notices, errors, unsubscribing"},
			{URL: "https://docs.bitfinex.com/docs/ws-websocket-checksum", Date: "2026-11-23", For: "checksums of books"},
			{URL: "https://docs.bitfinex.com/reference/ws-public-books", Date: "2026-11-23", For: "books, ws-public-raw-books raw ones"},
			{URL: "https://docs.bitfinex.com/reference/ws-public-trades", Date: "2026-11-23", For: "trades, ws-public-ticker and ws-public-candles the others"},
			{URL: "https://docs.bitfinex.com/reference/ws-public-status", Date: "2026-11-23", For: "state of contracts, liquidations"},
			{URL: "https://docs.bitfinex.com/docs/introduction", Date: "2026-11-23", For: "requests: 10 to 90 a minute by path"},
			{URL: "https://docs.bitfinex.com/reference/rest-public-conf", Date: "2026-11-23", For: "catalogues, names of currencies"},
		},
	}}
	for _, m := range everywhere {
		p.manifest.Markets = append(p.manifest.Markets, source.MarketSpec{
			Market: m, HTTP: []string{base},
			Connects: source.Rate{N: 20, Per: time.Minute}, // "The rate limit … is set at 20 connections per minute"
			// "between 10 and 90" requests a minute to a path, and an address that
			// makes more is blocked for up to a minute.
			Weight: source.WeightLimit{Rate: source.Rate{N: 10, Per: time.Minute}},
			Endpoints: []source.Endpoint{{
				URL:              address,
				MaxSubscriptions: 25,                                   // "You can subscribe to 25 channels at the same time on the same connection"
				Messages:         source.Rate{N: 30, Per: time.Second}, // none is stated
				// A channel without activity sends a heartbeat each 15 s.
				Heartbeat: source.Heartbeat{Kind: source.HeartbeatServer, Every: 15 * time.Second, Timeout: 35 * time.Second},
			}},
		})
	}
	return p
}

// Describe returns the manifest.
func (p *plugin) Describe() source.Manifest { return p.manifest }

// intervals are the candles that can be subscribed, by the venue's name.
var intervals = source.NewIntervals("1m 5m 15m 30m 1h 3h 6h 12h 1d=1D 1w=1W 2w=14D 1M")

// depths are the numbers of levels (of a raw book: orders) that can be subscribed.
// The venue has books of one level too, whose checksum can't be computed.
var depths = []int{25, 100, 250}

// Precisions of books: P0 has prices of five significant digits, each of the
// others one less. A raw book has orders.
const (
	finest = "P0"
	raw    = "R0"
)

func channels() []source.ChannelSpec {
	book := source.StreamOf(market.ChannelBook, everywhere, market.KindBookSnapshot, market.KindBookDelta)
	book.Attributes = schema.Attributes{
		{Name: "precision", Type: schema.String, Default: finest, Allowed: []string{finest, "P1", "P2", "P3", "P4", raw},
			Doc: "significant digits of prices: P0 (5) to P4 (1), amounts summed by price; R0: the orders at exact prices, summed here, without checksum"},
		{Name: "depth", Type: schema.Int, Default: 250, Min: schema.Limit(1), Max: schema.Limit(250),
			Doc: "levels a side that are subscribed, of R0 orders: the next of 25, 100, 250"},
	}
	book.Book = &source.BookRule{
		// The last number of a frame rises by one over the connection, heartbeats
		// and checksums included; events have none.
		Sequence: source.Sequence{Kind: source.SequenceIncrement, Scope: source.ScopeConnection},
		Checksum: source.Checksum{Kind: source.ChecksumScript, Levels: 25},
		Snapshot: source.SnapshotInBand, Recovery: source.RecoverResubscribe,
		Depths: depths,
	}
	candles := source.StreamOf(market.ChannelCandles, everywhere, market.KindCandle)
	candles.Attributes = schema.Attributes{intervals.Attribute("lengths of the candles")}
	liquidations := source.StreamOf(market.ChannelLiquidations, everywhere, market.KindLiquidation)
	liquidations.PerMarket = true
	trades := source.StreamOf(market.ChannelTrades, everywhere, market.KindTrade) // ids are of the whole venue: the connection's numbers tell what is missing
	trades.History = &source.History{By: source.HistoryTime}
	return []source.ChannelSpec{
		trades,
		book, source.StreamOf(market.ChannelTicker, everywhere, market.KindTicker), candles,
		source.StreamOf(market.ChannelFunding, contracts, market.KindFunding),
		source.StreamOf(market.ChannelMarkPrice, contracts, market.KindMarkPrice),
		source.StreamOf(market.ChannelIndexPrice, contracts, market.KindIndexPrice),
		source.StreamOf(market.ChannelOpenInterest, contracts, market.KindOpenInterest),
		liquidations, source.CatalogueOf(everywhere),
	}
}
