// Package bitget collects Bitget over its API v2: spot, linear and inverse
// contracts. Liquidations exist in API v3 alone, which has a connection of its
// own. Frames of API v1 and the rest of API v3 are decoded too.
//
// manifest.go holds what the venue is, session.go what is sent to it, decode.go
// and tickers.go what it sends, responses.go what it answers to requests,
// instruments.go its names and catalogues, legacy.go API v1.
package bitget

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// plugin has no state.
type plugin struct{ manifest source.Manifest }

// New is the plugin for Bitget.
func New() source.Source {
	p := &plugin{source.Manifest{
		Venue: "bitget", Title: "Bitget", Version: "0.1.0", Revision: 1,
		Channels: channels(),
		Docs: []source.Doc{
			{URL: "https://www.bitget.com/docs/classic/websocket/intro", Date: "2026-11-23", For: "endpoints, connections, subscription requests an hour, messages a second, 4096 bytes a request, ping, 24 hours"},
			{URL: "https://www.bitget.com/docs/classic/websocket/contract/public/Order-Book-Channel", Date: "2026-11-23", For: "book channels, seq and pseq"},
			{URL: "https://www.bitget.com/docs/uta/websocket/public/Order-Book-Channel", Date: "2026-11-23", For: "the chain of seq and pseq, pseq 0 after a restart"},
			{URL: "https://www.bitget.com/legacy-docs/uta/changelog", Date: "2026-11-23", For: "depth channels without checksum since 2026-05-12"},
			{URL: "https://www.bitget.com/api-doc/spot/websocket/public/Depth-Channel", Date: "2026-11-23", For: "checksum, as it was"},
			{URL: "https://www.bitget.com/docs/classic/websocket/contract/public/Tickers-Channel", Date: "2026-11-23", For: "tickers, funding, mark and index price, open interest"},
			{URL: "https://www.bitget.com/api-doc/contract/websocket/public/New-Trades-Channel", Date: "2026-11-23", For: "trades, of which a subscription begins with the last ones"},
			{URL: "https://www.bitget.com/api-doc/contract/websocket/public/Candlesticks-Channel", Date: "2026-11-23", For: "candles, those of UTC beside those of UTC+8"},
			{URL: "https://www.bitget.com/docs/uta/websocket/public/Liquidation-Channel", Date: "2026-11-23", For: "liquidations: once a second the largest of each side, the position's side, amounts in the quote coin"},
			{URL: "https://www.bitget.com/api-doc/contract/market/Get-All-Symbols-Contracts", Date: "2026-11-23", For: "catalogues, limits of requests"},
			{URL: "https://www.bitget.com/api-doc/common/apidata/Account-Long-Short", Date: "2026-11-23", For: "long and short accounts and positions, one request a second"},
		},
	}}
	for _, m := range everywhere {
		spec := source.MarketSpec{
			Market: m, HTTP: []string{"https://api.bitget.com"},
			// "300 connection requests/IP/5min, Max 100 connections/IP"
			Connects: source.Rate{N: 300, Per: 5 * time.Minute}, MaxConns: 100,
			// Each path has a limit of its own, most 20 a second; what has a lower
			// one weighs more. 6,000 a minute of the address aren't reached so.
			Weight: source.WeightLimit{Rate: source.Rate{N: 20, Per: time.Second}},
			// /api/v2/spot/market/tickers and /api/v2/mix/market/tickers, 20 a second.
			TickersWeight: 1,
			Endpoints:     []source.Endpoint{endpoint(classPublic, "wss://ws.bitget.com/v2/ws/public")},
		}
		if m != market.MarketSpot {
			spec.Endpoints = append(spec.Endpoints, endpoint(classUnified, "wss://ws.bitget.com/v3/ws/public"))
		}
		p.manifest.Markets = append(p.manifest.Markets, spec)
	}
	return p
}

// Describe returns the manifest.
func (p *plugin) Describe() source.Manifest { return p.manifest }

// The classes of endpoint: API v2, and API v3, which the venue calls unified.
const (
	classPublic  = ""
	classUnified = "unified"
)

var (
	contracts  = []market.Market{market.MarketLinear, market.MarketInverse}
	everywhere = []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse}
)

func endpoint(class, url string) source.Endpoint {
	return source.Endpoint{
		Class: class, URL: url,
		MaxSubscriptions: 49, // 1,000 at most, but "we highly recommend" fewer than 50
		// "up to 10 messages per second", pings among them; who sends more is cut off
		// and may be shut out. They leave one by one and somewhat slower, for two
		// bursts of ten that are a second apart here may be less there. Apart from
		// that "240 subscription requests/Hour".
		Messages: source.Rate{N: 1, Per: 125 * time.Millisecond}, Subscribes: source.Rate{N: 240, Per: time.Hour},
		MaxFrameSent: 4096, // "cannot exceed 4096 bytes at a time"
		MaxAge:       24 * time.Hour,
		// "ping" each 30 s, "pong" is the answer; a connection without a ping is cut
		// after 2 minutes, whatever else goes over it.
		Heartbeat: source.Heartbeat{Kind: source.HeartbeatText, Payload: "ping", Every: 25 * time.Second, Timeout: 60 * time.Second},
	}
}

// intervals are the candles that can be subscribed, by the venue's name. Those
// from 6 hours on exist by Hong Kong's day and by UTC's; UTC's are taken.
var intervals = source.NewIntervals("1m 5m 15m 30m 1h=1H 4h=4H 6h=6Hutc 12h=12Hutc 1d=1Dutc 3d=3Dutc 1w=1Wutc 1M=1Mutc")

// Feeds of the book channel. Those of 5 and 15 levels are whole each time; one
// of a single level is the best bid and offer.
const (
	feedBooks   = "books"
	feedFive    = "books5"
	feedFifteen = "books15"
	feedOne     = "books1"
	feedFifty   = "books50" // of API v3
)

func channels() []source.ChannelSpec {
	// Ids of trades rise, but aren't consecutive: what is missing can't be told.
	trades := source.StreamOf(market.ChannelTrades, everywhere, market.KindTrade)
	trades.History = &source.History{By: source.HistoryTime, Backward: true}

	book := source.StreamOf(market.ChannelBook, everywhere, market.KindBookSnapshot, market.KindBookDelta)
	book.Attributes = schema.Attributes{{Name: "feed", Type: schema.String, Default: feedBooks, Allowed: []string{feedBooks, feedFive, feedFifteen},
		Doc: "the venue's feed: books (up to 500 levels, changes each 150 ms), books5 (5 levels, whole, each 150 ms), books15 (15 levels, whole, each 150 ms)"}}
	book.Book = &source.BookRule{
		// "The seq of the previous update incremental message must be equal to the
		// pseq of the following"; the first one's is that of the snapshot, or before it.
		Sequence: source.Sequence{Kind: source.SequenceChain, Start: source.StartChain},
		Checksum: source.Checksum{Kind: source.ChecksumPairs, Levels: 25, Until: "2026-05-12"},
		Snapshot: source.SnapshotInBand, Recovery: source.RecoverResubscribe,
	}

	candles := source.StreamOf(market.ChannelCandles, everywhere, market.KindCandle)
	candles.Attributes = schema.Attributes{intervals.Attribute("lengths of the candles; those from 6h on begin by UTC")}

	liquidations := source.StreamOf(market.ChannelLiquidations, contracts, market.KindLiquidation)
	liquidations.Class, liquidations.PerMarket = classUnified, true
	liquidations.Lossy = "of the liquidations of a contract within a second at most the largest long and the largest short one are sent"

	ratio := source.PollOf(market.ChannelLongShortRatio, contracts[:1], 5*time.Minute, market.KindLongShortRatio)
	ratio.Weight = 2 * weightRatio

	// One stream carries tickers and what follows them. It is sent when one of
	// them changes, which on contracts an index does even if nobody trades.
	of := func(c market.Channel, k market.Kind) source.ChannelSpec {
		s := source.StreamOf(c, contracts, k)
		s.StaleAfter = time.Minute
		return s
	}
	return []source.ChannelSpec{trades, book, source.StreamOf(market.ChannelBBO, everywhere, market.KindBBO), candles,
		source.StreamOf(market.ChannelTicker, everywhere, market.KindTicker), of(market.ChannelFunding, market.KindFunding),
		of(market.ChannelMarkPrice, market.KindMarkPrice), of(market.ChannelIndexPrice, market.KindIndexPrice),
		of(market.ChannelOpenInterest, market.KindOpenInterest), liquidations, ratio, source.CatalogueOf(everywhere)}
}

// Weights of requests whose paths have lower limits than 20 a second.
const (
	weightRatio   = 20 // 1 a second
	weightHistory = 2  // 10 a second
)
