// Package kucoin collects KuCoin: spot pairs, linear and inverse perpetuals and
// futures.
//
// The venue has two public sockets for a market. The classic one is had with a
// token, which a request grants, and carries most channels; the pro one needs
// none, begins a book with a snapshot and has what contracts state.
//
// manifest.go holds what the venue is, session.go what is sent to it, decode.go
// what it sends, derivatives.go what it sends of contracts alone, responses.go
// what it answers to requests, legacy.go the topics of older recordings and of
// other clients, instruments.go its names and catalogues.
package kucoin

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// plugin has no state.
type plugin struct{ manifest source.Manifest }

// The classes of endpoint.
const (
	classClassic = ""
	classPro     = "pro"
)

// New is the plugin for KuCoin.
func New() source.Source {
	p := &plugin{source.Manifest{
		Venue: "kucoin", Title: "KuCoin", Version: "0.1.0", Revision: 1,
		Channels: channels(),
		Docs: []source.Doc{
			{URL: "https://www.kucoin.com/docs-new/websocket-api/base-info/introduction", Date: "2026-11-23", For: "classic socket: token, welcome, ping, subscriptions, 24 hours"},
			{URL: "https://www.kucoin.com/docs-new/websocket-api/base-info/introduction-uta", Date: "2026-11-23", For: "pro socket: no token, welcome, ping, acknowledgements"},
			{URL: "https://www.kucoin.com/docs-new/rate-limit-rule-classic", Date: "2026-11-23", For: "connections, messages and topics of the classic socket; weight of requests"},
			{URL: "https://www.kucoin.com/docs-new/rate-limit-rule-uta", Date: "2026-11-23", For: "connections, messages and topics of the pro socket"},
			{URL: "https://www.kucoin.com/docs-new/error-code/websocket", Date: "2026-11-23", For: "300 topics of a session, 100 of a request"},
			{URL: "https://www.kucoin.com/docs-new/3470221w0", Date: "2026-11-23", For: "books: increment@10ms begins with a snapshot; O and C"},
			{URL: "https://www.kucoin.com/docs-new/3470068w0", Date: "2026-11-23", For: "books of recordings: sequenceStart and sequenceEnd, price 0; the whole book needs a key"},
			{URL: "https://www.kucoin.com/docs-new/3470082w0", Date: "2026-11-23", For: "contracts' books of recordings: one change a frame"},
			{URL: "https://www.kucoin.com/docs-new/3470358w0", Date: "2026-11-23", For: "mark price, index price and open interest, each second"},
			{URL: "https://www.kucoin.com/docs-new/3470357w0", Date: "2026-11-23", For: "funding rates, each minute"},
			{URL: "https://www.kucoin.com/docs-new/3470067w0", Date: "2026-11-23", For: "best bid and offer of spot"},
			{URL: "https://www.kucoin.com/docs-new/3470080w0", Date: "2026-11-23", For: "best bid and offer of contracts"},
			{URL: "https://www.kucoin.com/docs-new/3470065w0", Date: "2026-11-23", For: "tickers of spot, each 2 s"},
			{URL: "https://www.kucoin.com/docs-new/3470089w0", Date: "2026-11-23", For: "tickers of contracts, each 5 s"},
			{URL: "https://www.kucoin.com/docs-new/3470071w0", Date: "2026-11-23", For: "candles of spot"},
			{URL: "https://www.kucoin.com/docs-new/3470086w0", Date: "2026-11-23", For: "candles of contracts, whose first volume is wrong"},
			{URL: "https://www.kucoin.com/docs-new/rest/futures-trading/market-data/get-all-symbols", Date: "2026-11-23", For: "catalogues, multiplier"},
		},
	}}
	for _, m := range everywhere {
		product := "futures"
		base := "https://api-futures.kucoin.com"
		if m == market.MarketSpot {
			product, base = "spot", "https://api.kucoin.com"
		}
		p.manifest.Markets = append(p.manifest.Markets, source.MarketSpec{
			Market: m, HTTP: []string{base},
			// The classic page has "30 per minute", the pro one 250 in 5 minutes; both
			// "<= 800" at a time.
			Connects: source.Rate{N: 30, Per: time.Minute}, MaxConns: 800,
			// "Public: 2000/30s" of an address, spot and futures each.
			Weight: source.WeightLimit{Rate: source.Rate{N: 2000, Per: 30 * time.Second}},
			Endpoints: []source.Endpoint{{
				// Where the token's answer names no other one.
				Class: classClassic, URL: "wss://ws-api-" + product + ".kucoin.com/",
				// A subscription may have several topics, of candles: see maxTopics.
				MaxSubscriptions: 100,
				Messages:         source.Rate{N: 100, Per: 10 * time.Second},
				// "The token is valid for only 24 hours, and a single connection is
				// expected to be disconnected after 24 hours".
				MaxAge:    24 * time.Hour,
				Heartbeat: heartbeat,
			}, {
				Class: classPro, URL: "wss://x-push-" + product + ".kucoin.com/",
				MaxSubscriptions: 300, // of 600 topics
				Messages:         source.Rate{N: 300, Per: 10 * time.Second},
				Heartbeat:        heartbeat,
			}},
		})
	}
	return p
}

// heartbeat: tokens and welcomes of 2026 have pingInterval 18000, of which this
// is less than four fifths, and pingTimeout 10000. A token that wants pings more
// often gets them: see Session.
var heartbeat = source.Heartbeat{Kind: source.HeartbeatText, Payload: `{"id":"ping","type":"ping"}`, Every: 14 * time.Second, Timeout: 25 * time.Second}

// maxTopics is how many a classic connection takes: "exceed max subscription
// count limitation of 300 per session", the error page says, 400 the page of
// limits. maxBatch is how many a request may name.
const (
	maxTopics = 300
	maxBatch  = 100
)

// Describe returns the manifest.
func (p *plugin) Describe() source.Manifest { return p.manifest }

var (
	spot       = []market.Market{market.MarketSpot}
	contracts  = []market.Market{market.MarketLinear, market.MarketInverse}
	everywhere = []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse}
)

// intervals are the candles, by the venue's name. Those of 6 hours are of spot,
// those of 5 minutes and a month of contracts.
var (
	intervals          = source.NewIntervals("1m=1min 3m=3min 5m=5min 15m=15min 30m=30min 1h=1hour 2h=2hour 4h=4hour 6h=6hour 8h=8hour 12h=12hour 1d=1day 1w=1week 1M=1month")
	spotIntervals      = intervals.Without("5m", "1M")
	contractsIntervals = intervals.Without("6h")
)

func pro(c market.Channel, stale time.Duration, k ...market.Kind) source.ChannelSpec {
	s := source.StreamOf(c, contracts, k...)
	s.Class, s.StaleAfter = classPro, stale
	return s
}

func candles(ms []market.Market, l source.Intervals) source.ChannelSpec {
	s := source.StreamOf(market.ChannelCandles, ms, market.KindCandle)
	s.Attributes = schema.Attributes{l.Attribute("lengths of the candles")}
	return s
}

func channels() []source.ChannelSpec {
	book := source.StreamOf(market.ChannelBook, everywhere, market.KindBookSnapshot, market.KindBookDelta)
	book.Class = classPro
	book.Book = &source.BookRule{
		// A delta follows if O <= C of the one before + 1 and C is greater. The stream
		// begins with a snapshot, up to some seconds after the acknowledgement;
		// recordings of the classic socket have it by request, beside the deltas.
		Sequence: source.Sequence{Kind: source.SequenceRange, Start: source.StartRange},
		Snapshot: source.SnapshotInBand, Recovery: source.RecoverResubscribe,
	}
	instruments := source.CatalogueOf(everywhere)
	instruments.Weight = 4
	trades := source.StreamOf(market.ChannelTrades, everywhere, market.KindTrade) // ids are numbers with holes
	trades.History = &source.History{By: source.HistoryRecent}
	return []source.ChannelSpec{
		trades,
		book,
		source.StreamOf(market.ChannelBBO, everywhere, market.KindBBO),
		source.StreamOf(market.ChannelTicker, everywhere, market.KindTicker),
		candles(spot, spotIntervals), candles(contracts, contractsIntervals),
		source.StreamOf(market.ChannelMarkPrice, spot, market.KindMarkPrice),   // of pairs with margin
		source.StreamOf(market.ChannelIndexPrice, spot, market.KindIndexPrice), // the same
		pro(market.ChannelMarkPrice, 10*time.Second, market.KindMarkPrice),
		pro(market.ChannelIndexPrice, 10*time.Second, market.KindIndexPrice),
		pro(market.ChannelOpenInterest, 10*time.Second, market.KindOpenInterest),
		pro(market.ChannelFunding, 3*time.Minute, market.KindFunding),
		instruments,
	}
}
