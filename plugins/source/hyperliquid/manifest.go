// Package hyperliquid collects Hyperliquid: spot pairs and perpetuals, those of
// builder-deployed exchanges too.
//
// The venue numbers nothing and sends no checksums. Each book is whole, so one
// that was missed costs freshness alone, and nobody can tell that it was missed.
// Trades are told apart by their ids; how many there were isn't known.
//
// manifest.go holds what the venue is, session.go what is sent to it, decode.go
// what it sends, responses.go what it answers to requests, instruments.go its
// names and catalogues.
package hyperliquid

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// plugin has no state.
type plugin struct{ manifest source.Manifest }

const docs = "https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/"

// New is the plugin for Hyperliquid.
func New() source.Source {
	p := &plugin{source.Manifest{
		Venue: "hyperliquid", Title: "Hyperliquid", Version: "0.1.0", Revision: 1,
		Channels: channels(),
		Docs: []source.Doc{
			{URL: docs + "rate-limits-and-user-limits", Date: "2026-11-23", For: "connections, subscriptions, messages and request weights of an address"},
			{URL: docs + "websocket/subscriptions", Date: "2026-11-23", For: "frames, acknowledgements, how often a book is sent, trade ids"},
			{URL: docs + "websocket/timeouts-and-heartbeats", Date: "2026-11-23", For: "60 s of silence, ping and pong"},
			{URL: docs + "info-endpoint", Date: "2026-11-23", For: "requests, names of coins"},
			{URL: docs + "info-endpoint/perpetuals", Date: "2026-11-23", For: "catalogue and contexts of perpetuals, funding"},
			{URL: docs + "info-endpoint/spot", Date: "2026-11-23", For: "catalogue and contexts of spot pairs"},
			{URL: docs + "tick-and-lot-size", Date: "2026-11-23", For: "places of prices and sizes"},
			{URL: docs + "asset-ids", Date: "2026-11-23", For: "dex:coin, @index"},
			{URL: "https://www.quicknode.com/blog/hyperliquid-foundation-websocket-changes", Date: "2026-11-23", For: "since June 2026 books of 20 levels come each 5 s, those of 5 levels each 0.5 s"},
		},
	}}
	for _, m := range both {
		p.manifest.Markets = append(p.manifest.Markets, source.MarketSpec{
			Market: m, HTTP: []string{"https://api.hyperliquid.xyz"},
			// Of an address: "Maximum of 10 websocket connections", "Maximum of 30 new
			// websocket connections per minute", "REST requests share an aggregated
			// weight limit of 1200 per minute".
			Connects: source.Rate{N: 30, Per: time.Minute}, MaxConns: connections,
			Weight: source.WeightLimit{Rate: source.Rate{N: 1200, Per: time.Minute}},
			Endpoints: []source.Endpoint{{
				URL: "wss://api.hyperliquid.xyz/ws",
				// "Maximum of 1000 websocket subscriptions" and "of 2000 messages sent …
				// per minute across all websocket connections": each of the connections
				// that an address may have takes its part.
				MaxSubscriptions: 1000 / connections,
				Messages:         source.Rate{N: 2000 / connections, Per: time.Minute},
				// "The server will close any connection if it hasn't sent a message to it
				// in the last 60 seconds": a ping has it send a pong.
				Heartbeat: source.Heartbeat{Kind: source.HeartbeatText, Payload: `{"method":"ping"}`, Every: 20 * time.Second, Timeout: 45 * time.Second, Idle: true},
			}},
		})
	}
	return p
}

// Describe returns the manifest.
func (p *plugin) Describe() source.Manifest { return p.manifest }

// connections that an address may have.
const connections = 10

var (
	both  = []market.Market{market.MarketSpot, market.MarketLinear}
	perps = []market.Market{market.MarketLinear}
)

// intervals are the candles that can be subscribed; the venue calls them so too.
var intervals = source.NewIntervals("1m 3m 5m 15m 30m 1h 2h 4h 8h 12h 1d 3d 1w 1M")

// Levels a side of the two books that can be subscribed.
const (
	levelsFast = 5
	levelsSlow = 20
)

// context is a channel that a coin's context carries, which comes each second.
func context(c market.Channel, ms []market.Market, k market.Kind) source.ChannelSpec {
	s := source.StreamOf(c, ms, k)
	s.StaleAfter = time.Minute
	return s
}

func channels() []source.ChannelSpec {
	// Ids are hashes of 50 bits: they tell trades apart and count nothing.
	trades := source.StreamOf(market.ChannelTrades, both, market.KindTrade)
	trades.History = &source.History{By: source.HistoryRecent}
	trades.Weight = 21 // of the latest by request: 20, and 1 for each 20 of them

	book := source.StreamOf(market.ChannelBook, both, market.KindBookSnapshot)
	book.StaleAfter = 15 * time.Second // a book that rests is sent again after 5 s
	book.Lossy = "books are sent whole at intervals; the states between two of them never are"
	book.Attributes = schema.Attributes{{Name: "depth", Type: schema.Int, Default: levelsSlow, Min: schema.Limit(1), Max: schema.Limit(levelsSlow),
		Doc: "levels a side that are subscribed: the next of 5 (sent each 0.5 s), 20 (each 5 s, before June 2026 each 0.5 s)"}}
	book.Book = &source.BookRule{
		Snapshot: source.SnapshotEach, Recovery: source.RecoverResubscribe,
		Depths: []int{levelsFast, levelsSlow}, CutToDepth: true,
	}

	candles := source.StreamOf(market.ChannelCandles, both, market.KindCandle)
	candles.Attributes = schema.Attributes{intervals.Attribute("lengths of the candles")}

	instruments := source.CatalogueOf(both)
	instruments.Weight = weightInfo

	return []source.ChannelSpec{
		trades, book, source.StreamOf(market.ChannelBBO, both, market.KindBBO), candles,
		context(market.ChannelTicker, both, market.KindTicker),
		context(market.ChannelMarkPrice, both, market.KindMarkPrice),
		context(market.ChannelIndexPrice, perps, market.KindIndexPrice),
		context(market.ChannelFunding, perps, market.KindFunding),
		context(market.ChannelOpenInterest, perps, market.KindOpenInterest),
		instruments,
	}
}
