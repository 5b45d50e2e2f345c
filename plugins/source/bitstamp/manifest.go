// Package bitstamp collects Bitstamp: spot pairs and the perpetuals settled in
// their quote currency. Frames of 2020 have today's form.
//
// Nothing numbers what the venue sends, and it has no checksum: that a book is
// whole can't be verified. The channels of single orders, whose events are
// chained, are not offered: an order has no record.
//
// manifest.go holds what the venue is, session.go what is sent to it, decode.go
// what it sends, responses.go what it answers to requests, instruments.go names
// and catalogues.
package bitstamp

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// plugin has no state.
type plugin struct{ manifest source.Manifest }

// New is the plugin for Bitstamp.
func New() source.Source {
	return &plugin{source.Manifest{
		Venue: "bitstamp", Title: "Bitstamp", Version: "0.1.0", Revision: 1,
		Markets:  []source.MarketSpec{spec(market.MarketSpot), spec(market.MarketLinear)},
		Channels: channels(),
		Docs: []source.Doc{
			{URL: "https://www.bitstamp.net/websocket/v2/", Date: "2026-09-15", For: "endpoint, channels, heartbeats, 1,024 channels of a connection, frames below 512 bytes, 90 days, how a book is begun, bts:request_reconnect"},
			{URL: "https://www.bitstamp.net/api/", Date: "2026-09-15", For: "400 requests a second, 10,000 in 10 minutes; order book, tickers, candles, transactions, markets, response codes"},
			{URL: "https://www.bitstamp.net/derivatives/perpetual-futures/trading-information/", Date: "2026-09-15", For: "funding each 8 hours, the rate of each second is that of the next payment"},
			{URL: "https://www.bitstamp.net/derivatives/perpetual-futures/contract-specifications/", Date: "2026-09-15", For: "perpetuals: linear, settled in USD, amounts in the base currency"},
		},
	}}
}

// Describe returns the manifest.
func (p *plugin) Describe() source.Manifest { return p.manifest }

var (
	everywhere = []market.Market{market.MarketSpot, market.MarketLinear}
	linear     = []market.Market{market.MarketLinear}
)

func spec(m market.Market) source.MarketSpec {
	return source.MarketSpec{
		Market: m, HTTP: []string{"https://www.bitstamp.net"},
		// "400 requests per second" and "10,000 requests per 10 minutes": this keeps both.
		Weight:        source.WeightLimit{Rate: source.Rate{N: 400, Per: 24 * time.Second}},
		TickersWeight: 1,
		Endpoints: []source.Endpoint{{
			URL: "wss://ws.bitstamp.net",
			// "Attempting a 1025th subscription causes the connection to be silently
			// closed". No limit on messages or connections is stated.
			MaxSubscriptions: 1024,
			MaxFrameSent:     511, // "keep them under 512 bytes"
			MaxAge:           90 * 24 * time.Hour,
			// The venue's own pings, each 54 s, aren't documented.
			Heartbeat: source.Heartbeat{Kind: source.HeartbeatText, Payload: `{"event":"bts:heartbeat"}`, Every: 10 * time.Second, Timeout: 30 * time.Second, Idle: true},
		}},
	}
}

// intervals are the candles, which requests name by their seconds.
var intervals = source.NewIntervals("1m 3m 5m 15m 30m 1h 2h 4h 6h 12h 1d 3d")

// Feeds of books, by the beginning of their channels' names.
const (
	feedDiff  = "diff_order_book"
	feedWhole = "order_book"
)

// wholeLevels are those of a side of feedWhole.
const wholeLevels = 100

func pollEvery(d, doc string) schema.Attribute {
	return schema.Attribute{Name: "poll_every", Type: schema.Duration, Default: d, Min: schema.Limit(int64(time.Second)), Doc: doc + ": no stream has them"}
}

func channels() []source.ChannelSpec {
	book := source.StreamOf(market.ChannelBook, everywhere, market.KindBookSnapshot, market.KindBookDelta)
	book.Weight = 1
	book.Book = &source.BookRule{
		// Updates have nothing but their times, and so has a requested book: those at
		// or before it are in it already.
		Sequence: source.Sequence{Kind: source.SequenceNone, Start: source.StartRange},
		Snapshot: source.SnapshotHTTP, Recovery: source.RecoverRequest,
	}
	book.Attributes = schema.Attributes{{Name: "feed", Type: schema.String, Default: feedDiff, Allowed: []string{feedDiff, feedWhole},
		Doc: "the venue's feed: diff_order_book (changes of the whole book, spliced onto a requested one), order_book (the best 100 levels a side, whole each time); neither is verifiable"}}

	candles := source.PollOf(market.ChannelCandles, everywhere, time.Minute, market.KindCandle)
	candles.Attributes = schema.Attributes{
		intervals.Attribute("lengths of the candles"),
		pollEvery("1m", "how often the newest two candles of each length are requested"),
	}
	ticker := source.PollOf(market.ChannelTicker, everywhere, 10*time.Second, market.KindTicker)
	ticker.Attributes = schema.Attributes{pollEvery("10s", "how often tickers are requested, each by itself")}
	openInterest := source.PollOf(market.ChannelOpenInterest, linear, time.Minute, market.KindOpenInterest)
	openInterest.PerMarket = true // by the tickers of all markets
	openInterest.Attributes = schema.Attributes{pollEvery("1m", "how often the tickers of all markets are requested, which state open interests")}

	trades := source.StreamOf(market.ChannelTrades, everywhere, market.KindTrade)   // ids rise with holes
	trades.History = &source.History{By: source.HistoryRecent, Coarse: time.Second} // of the last hour
	all := []source.ChannelSpec{
		trades,
		book, ticker, candles, openInterest, source.CatalogueOf(everywhere),
	}
	for _, c := range []source.ChannelSpec{source.StreamOf(market.ChannelFunding, linear, market.KindFunding),
		source.StreamOf(market.ChannelMarkPrice, linear, market.KindMarkPrice), source.StreamOf(market.ChannelIndexPrice, linear, market.KindIndexPrice)} {
		c.StaleAfter = 10 * time.Second // they come each second
		all = append(all, c)
	}
	return all
}
