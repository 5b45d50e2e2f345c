// Package okx collects OKX over its API v5: spot, linear and inverse swaps and
// futures, options. Okcoin, which spoke the same protocol, is a venue beside it
// for the sake of its recordings. Frames of API v3 are decoded too.
//
// manifest.go holds what the venue is, session.go what is sent to it, decode.go
// and derivatives.go what it sends, instruments.go its names and catalogues,
// legacy.go API v3.
package okx

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// plugin has no state.
type plugin struct{ manifest source.Manifest }

// New is the plugin for OKX.
func New() source.Source {
	p := &plugin{source.Manifest{
		Venue: "okx", Title: "OKX", Version: "0.1.0", Revision: 1,
		Channels: append(channels(everywhere, true), derivativeChannels()...),
		Docs: []source.Doc{
			{URL: "https://www.okx.com/docs-v5/en/#overview-websocket-connect", Date: "2026-11-23", For: "endpoints, connections a second, requests an hour, 64 KB a request, ping, closing for upgrades"},
			{URL: "https://www.okx.com/docs-v5/en/#overview-websocket-login", Date: "2026-11-23", For: "login"},
			{URL: "https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel", Date: "2026-11-23", For: "book channels, fewer than 30 on a connection, sequence rule, fee tiers"},
			{URL: "https://www.okx.com/docs-v5/log_en/#2026-02-12", Date: "2026-11-23", For: "snapshots by request once the stream has none, checksum"},
			{URL: "https://www.okx.com/help/okx-order-book-channels-checksum-field-deprecation", Date: "2026-11-23", For: "checksum 0 since 2026-06-23"},
			{URL: "https://www.okx.com/docs-v5/en/#order-book-trading-market-data", Date: "2026-11-23", For: "trades, tickers, candles, request limits"},
			{URL: "https://www.okx.com/docs-v5/en/#public-data-websocket", Date: "2026-11-23", For: "funding, mark and index price, open interest, liquidations, option summaries, instruments"},
		},
	}}
	for _, m := range everywhere {
		p.manifest.Markets = append(p.manifest.Markets, spec(m, "https://www.okx.com",
			endpoint(classPublic, "wss://ws.okx.com:8443/ws/v5/public"), endpoint(classBook, "wss://ws.okx.com:8443/ws/v5/public"),
			endpoint(classLogin, "wss://ws.okx.com:8443/ws/v5/public"), endpoint(classBusiness, "wss://ws.okx.com:8443/ws/v5/business")))
	}
	return p
}

// NewOkcoin is the plugin for okcoin.com, whose one endpoint had all channels.
func NewOkcoin() source.Source {
	const address = "wss://real.okcoin.com:8443/ws/v5/public"
	return &plugin{source.Manifest{
		Venue: "okcoin", Title: "Okcoin", Version: "0.1.0", Revision: 1,
		Markets: []source.MarketSpec{spec(market.MarketSpot, "https://www.okcoin.com",
			endpoint(classPublic, address), endpoint(classBook, address), endpoint(classBusiness, "wss://real.okcoin.com:8443/ws/v5/business"))},
		Channels: channels(spotOnly, false),
		Docs: []source.Doc{
			{URL: "https://www.okcoin.com/docs-v5/en/", Date: "2026-11-23", For: "endpoints; the rest is OKX's"},
		},
	}}
}

// Describe returns the manifest.
func (p *plugin) Describe() source.Manifest { return p.manifest }

// The classes of endpoint. Books have connections of their own, for the venue
// wants few of them on one; those of the fast feeds log in first.
const (
	classPublic   = ""
	classBook     = "book"
	classLogin    = "login"
	classBusiness = "business"
)

var (
	spotOnly   = []market.Market{market.MarketSpot}
	contracts  = []market.Market{market.MarketLinear, market.MarketInverse}
	everywhere = []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse, market.MarketOption}
)

func spec(m market.Market, http string, endpoints ...source.Endpoint) source.MarketSpec {
	return source.MarketSpec{
		Market: m, Endpoints: endpoints, HTTP: []string{http},
		Connects: source.Rate{N: 3, Per: time.Second}, // "3 requests per second (based on IP)"
		// Each path has a limit of its own; 20 requests in 2 s is the lowest of those used.
		Weight: source.WeightLimit{Rate: source.Rate{N: 20, Per: 2 * time.Second}}, TickersWeight: 1,
	}
}

func endpoint(class, url string) source.Endpoint {
	e := source.Endpoint{
		Class: class, URL: url,
		MaxSubscriptions: 200, // none is stated: each can be made anew once within the hour's requests
		// "The total number of 'subscribe'/'unsubscribe'/'login' requests per
		// connection is limited to 480 times per hour." Pings aren't counted by the
		// venue, but are sent in silence only.
		Messages:     source.Rate{N: 480, Per: time.Hour},
		MaxFrameSent: 64 << 10, // "the total length of multiple channels cannot exceed 64 KB"
		// A connection without data for 30 s is closed: "ping" before that, "pong"
		// within as long again.
		Heartbeat: source.Heartbeat{Kind: source.HeartbeatText, Payload: "ping", Every: 20 * time.Second, Timeout: 40 * time.Second, Idle: true},
	}
	if class == classBook || class == classLogin {
		e.MaxSubscriptions = 29 // "each of less than 30 channels"
	}
	if class == classLogin {
		e.Login = &source.Login{Secret: true, Passphrase: true, Scheme: source.SchemeHMACSHA256, For: "accounts of high fee tiers"}
	}
	return e
}

// intervals are the candles that can be subscribed, by the venue's name. Those
// from 6 hours on exist by Hong Kong's day and by UTC's; UTC's are taken.
var intervals = source.NewIntervals("1s 1m 3m 5m 15m 30m 1h=1H 2h=2H 4h=4H 6h=6Hutc 12h=12Hutc 1d=1Dutc 2d=2Dutc 3d=3Dutc 5d=5Dutc 1w=1Wutc 1M=1Mutc 3M=3Mutc")

// Feeds of the book channel and the levels a side that they hold.
const (
	feedBooks = "books"
	feedFive  = "books5"
	feed50    = "books50-l2-tbt"
	feed400   = "books-l2-tbt"
)

func channels(ms []market.Market, login bool) []source.ChannelSpec {
	// trades-all has each trade; trades has one record of what one order took at
	// one price. Ids are consecutive by instrument in all recordings.
	trades := source.StreamOf(market.ChannelTrades, ms, market.KindTrade)
	trades.Class, trades.ClassWhen = classBusiness, []source.ClassRule{{Attribute: "aggregate", Value: true, Class: classPublic}}
	trades.Sequence, trades.Weight = source.SequenceRange, 1
	trades.History = &source.History{By: source.HistorySequence, Backward: true, Single: true}
	trades.Attributes = schema.Attributes{{Name: "aggregate", Type: schema.Bool, Default: false,
		Doc: "trades of one taker order at one price as one record, with first_id and last_id"}}

	book := source.StreamOf(market.ChannelBook, ms, market.KindBookSnapshot, market.KindBookDelta)
	book.Class, book.Weight = classBook, 1
	book.StaleAfter = 3 * time.Minute // a book that rests is sent again, empty, after about 60 s
	feeds := []string{feedBooks, feedFive}
	if login {
		feeds = append(feeds, feed50, feed400)
		book.ClassWhen = []source.ClassRule{{Attribute: "feed", Value: feed50, Class: classLogin}, {Attribute: "feed", Value: feed400, Class: classLogin}}
	}
	book.Attributes = schema.Attributes{{Name: "feed", Type: schema.String, Default: feedBooks, Allowed: feeds,
		Doc: "the venue's feed: books (400 levels, changes each 100 ms), books5 (5 levels, whole, each 100 ms); after a login, for high fee tiers: books50-l2-tbt (50 levels, each 10 ms), books-l2-tbt (400 levels, each 10 ms)"}}
	book.Book = &source.BookRule{
		Sequence: source.Sequence{Kind: source.SequenceChain, Start: source.StartChain},
		Checksum: source.Checksum{Kind: source.ChecksumPairs, Levels: 25, Until: "2026-06-23"},
		// The stream begins with a snapshot, which starts the book; the venue has
		// announced that it will not any more. A book that has none asks for one.
		Snapshot: source.SnapshotHTTP, Recovery: source.RecoverRequest,
		CrossedLegal: false,
	}

	candles := source.StreamOf(market.ChannelCandles, ms, market.KindCandle)
	candles.Class = classBusiness
	candles.Attributes = schema.Attributes{intervals.Attribute("lengths of the candles; those from 6h on begin by UTC")}
	return []source.ChannelSpec{trades, book, source.StreamOf(market.ChannelBBO, ms, market.KindBBO), source.StreamOf(market.ChannelTicker, ms, market.KindTicker), candles, source.CatalogueOf(ms)}
}

func derivativeChannels() []source.ChannelSpec {
	options := []market.Market{market.MarketOption}
	funding := source.StreamOf(market.ChannelFunding, contracts, market.KindFunding)
	funding.StaleAfter = 5 * time.Minute // sent each 30 to 90 s; swaps alone have it
	mark := source.StreamOf(market.ChannelMarkPrice, everywhere, market.KindMarkPrice)
	mark.StaleAfter = time.Minute // each 200 ms when it changes, else each 10 s; of pairs, those with margin have it
	index := source.StreamOf(market.ChannelIndexPrice, contracts, market.KindIndexPrice)
	index.StaleAfter = 3 * time.Minute // each 100 ms when it changes, else each minute
	interest := source.StreamOf(market.ChannelOpenInterest, append(options, contracts...), market.KindOpenInterest)
	liquidations := source.StreamOf(market.ChannelLiquidations, append(options, contracts...), market.KindLiquidation)
	liquidations.PerMarket = true
	liquidations.Lossy = "of the liquidations of a contract within a second at most one is sent"
	summaries := source.StreamOf(market.ChannelOptions, options, market.KindOptionSummary)
	summaries.PerMarket = true
	summaries.Attributes = schema.Attributes{familiesAttribute}
	return []source.ChannelSpec{funding, mark, index, interest, liquidations, summaries}
}

// families are those that options exist of; a summary is subscribed by family.
var families = []string{"BTC-USD", "ETH-USD"}

var familiesAttribute = schema.Attribute{Name: "families", Type: schema.Strings, Default: families, Doc: "families of options whose summaries are collected"}
