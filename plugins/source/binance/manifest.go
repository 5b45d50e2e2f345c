// Package binance collects Binance spot, USD-M (linear) and COIN-M (inverse)
// futures, and Binance.US, which speaks the same protocol.
//
// manifest.go holds what the venue is, session.go what is sent to it, decode.go
// what it sends, sbe.go what it sends in binary to holders of a key,
// instruments.go its names and catalogues.
package binance

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// plugin is one venue: Binance or Binance.US.
type plugin struct {
	manifest source.Manifest
	quotes   []string // known quote currencies, see split
}

// New is the plugin for binance.com.
func New() source.Source {
	return &plugin{quotes: quotes, manifest: source.Manifest{
		Venue: "binance", Title: "Binance", Version: "0.1.0", Revision: 1,
		Markets: []source.MarketSpec{
			{
				Market: market.MarketSpot,
				Endpoints: []source.Endpoint{spotEndpoint("wss://stream.binance.com:9443/stream",
					"wss://stream.binance.com:443/stream", "wss://data-stream.binance.vision/stream"), sbeEndpoint()},
				HTTP:   []string{"https://api.binance.com", "https://api-gcp.binance.com", "https://data-api.binance.vision"},
				Weight: weight(6000), TickersWeight: 80, // /api/v3/ticker/24hr without a symbol
				Connects: source.Rate{N: 300, Per: 5 * time.Minute},
			},
			{
				Market: market.MarketLinear,
				Endpoints: []source.Endpoint{
					futuresEndpoint(classPublic, "wss://fstream.binance.com/public/stream"),
					futuresEndpoint(classMarket, "wss://fstream.binance.com/market/stream"),
				},
				HTTP:   []string{"https://fapi.binance.com"},
				Weight: weight(2400), TickersWeight: 40, // /fapi/v1/ticker/24hr without a symbol
				Connects: source.Rate{N: 300, Per: 5 * time.Minute},
			},
			{
				Market:    market.MarketInverse,
				Endpoints: []source.Endpoint{futuresEndpoint("", "wss://dstream.binance.com/stream")},
				HTTP:      []string{"https://dapi.binance.com"},
				Weight:    weight(2400), TickersWeight: 40, // /dapi/v1/ticker/24hr without a symbol
				Connects: source.Rate{N: 300, Per: 5 * time.Minute},
			},
		},
		Channels:   append(spotChannels(true), futuresChannels()...),
		Attributes: sourceAttributes,
		Docs: []source.Doc{
			{URL: "https://github.com/binance/binance-spot-api-docs/blob/a5e0bc3/web-socket-streams.md", Date: "2026-11-23", For: "spot streams, limits, heartbeat, book rule, serverShutdown"},
			{URL: "https://github.com/binance/binance-spot-api-docs/blob/a5e0bc3/rest-api.md", Date: "2026-11-23", For: "spot requests and weights"},
			{URL: "https://github.com/binance/binance-spot-api-docs/blob/a5e0bc3/sbe-market-data-streams.md", Date: "2026-11-23", For: "SBE streams, their key, limits and speeds"},
			{URL: "https://github.com/binance/binance-spot-api-docs/blob/a5e0bc3/sbe/schemas/stream_1_0.xml", Date: "2026-11-23", For: "messages of the SBE streams"},
			{URL: "https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams", Date: "2026-11-23", For: "USD-M streams, limits, heartbeat, book rule"},
			{URL: "https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/Important-WebSocket-Change-Notice", Date: "2026-11-23", For: "USD-M stream paths /public and /market"},
			{URL: "https://developers.binance.com/docs/derivatives/coin-margined-futures/websocket-market-streams", Date: "2026-11-23", For: "COIN-M streams, limits, heartbeat, book rule"},
		},
	}}
}

// NewUS is the plugin for binance.us: spot alone, endpoints of its own.
func NewUS() source.Source {
	return &plugin{quotes: quotesUS, manifest: source.Manifest{
		Venue: "binanceus", Title: "Binance.US", Version: "0.1.0", Revision: 1,
		Markets: []source.MarketSpec{{
			Market:    market.MarketSpot,
			Endpoints: []source.Endpoint{spotEndpoint("wss://stream.binance.us:9443/stream", "wss://stream.binance.us:443/stream")},
			HTTP:      []string{"https://api.binance.us"},
			Weight:    weight(1200), TickersWeight: 40, // /api/v3/ticker/24hr without a symbol
			Connects: source.Rate{N: 300, Per: 5 * time.Minute},
		}},
		Channels:   spotChannels(false),
		Attributes: sourceAttributes,
		Docs: []source.Doc{
			{URL: "https://docs.binance.us/", Date: "2026-11-23", For: "endpoints, request weight; the rest is Binance spot's"},
		},
	}}
}

// Describe returns the manifest.
func (p *plugin) Describe() source.Manifest { return p.manifest }

// The classes of USD-M endpoints: high-frequency data has a path of its own. Spot
// has the SBE streams beside those in JSON.
const (
	classPublic = "public"
	classMarket = "market"
	classSBE    = "sbe"
)

func weight(n int) source.WeightLimit {
	return source.WeightLimit{Rate: source.Rate{N: n, Per: time.Minute}, UsedHeader: "X-Mbx-Used-Weight-1m"}
}

func spotEndpoint(url string, alternates ...string) source.Endpoint {
	return source.Endpoint{
		URL: url, Alternates: alternates,
		MaxSubscriptions: 1024,
		Messages:         source.Rate{N: 5, Per: time.Second}, // pongs count
		MaxFrameSent:     4096,
		MaxAge:           24 * time.Hour,
		Heartbeat:        source.Heartbeat{Kind: source.HeartbeatServer, Every: 20 * time.Second, Timeout: time.Minute},
	}
}

// sbeEndpoint has the limits of the streams in JSON. A key is shown, and nothing
// is signed; the venue wants it to be of the kind Ed25519.
func sbeEndpoint() source.Endpoint {
	e := spotEndpoint("wss://stream-sbe.binance.com:9443/stream", "wss://stream-sbe.binance.com/stream")
	e.Class = classSBE
	e.Login = &source.Login{For: "API keys of the kind Ed25519"}
	return e
}

func futuresEndpoint(class, url string) source.Endpoint {
	return source.Endpoint{
		Class: class, URL: url,
		MaxSubscriptions: 200, // the lower of the two figures that the venue's pages give
		Messages:         source.Rate{N: 10, Per: time.Second},
		MaxFrameSent:     4096,
		MaxAge:           24 * time.Hour,
		Heartbeat:        source.Heartbeat{Kind: source.HeartbeatServer, Every: 3 * time.Minute, Timeout: 10 * time.Minute},
	}
}

var (
	spotOnly  = []market.Market{market.MarketSpot}
	linear    = []market.Market{market.MarketLinear}
	inverse   = []market.Market{market.MarketInverse}
	futures   = []market.Market{market.MarketLinear, market.MarketInverse}
	intervals = source.NewIntervals("1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M")
)

var sourceAttributes = schema.Attributes{{Name: "time_unit", Type: schema.String, Default: "ms", Allowed: []string{"ms", "us"},
	Doc: "unit of the times that spot streams carry: milliseconds, or microseconds (timeUnit=MICROSECOND)"}}

var aggregateAttribute = schema.Attribute{Name: "aggregate", Type: schema.Bool, Default: false,
	Doc: "trades of one taker order at one price as one record, with first_id and last_id"}

// Feeds of spot.
const (
	feedJSON = "json"
	feedSBE  = "sbe"
)

// withSBE lets a channel choose the SBE streams.
func withSBE(c *source.ChannelSpec, doc string) {
	c.Attributes = append(c.Attributes, schema.Attribute{Name: "feed", Type: schema.String, Default: feedJSON, Allowed: []string{feedJSON, feedSBE}, Doc: doc})
	c.ClassWhen = []source.ClassRule{{Attribute: "feed", Value: feedSBE, Class: classSBE}}
}

func bookAttributes(maxDepth int64, speeds ...string) schema.Attributes {
	return schema.Attributes{
		{Name: "speed", Type: schema.String, Default: "100ms", Allowed: speeds, Doc: "how often the venue sends changes"},
		{Name: "depth", Type: schema.Int, Default: 1000, Min: schema.Limit(1), Max: schema.Limit(maxDepth), Doc: "levels a side that the book starts with"},
	}
}

// spotChannels are those of both venues; with sbe some can be had in binary.
func spotChannels(sbe bool) []source.ChannelSpec {
	trades := source.StreamOf(market.ChannelTrades, spotOnly, market.KindTrade)
	trades.Attributes = schema.Attributes{aggregateAttribute}
	trades.Sequence, trades.Weight, trades.History = source.SequenceIncrement, 25, &source.History{By: source.HistorySequence}
	book := source.StreamOf(market.ChannelBook, spotOnly, market.KindBookSnapshot, market.KindBookDelta)
	book.Attributes, book.Weight = bookAttributes(5000, "100ms", "1000ms"), 50
	book.Book = &source.BookRule{
		Sequence: source.Sequence{Kind: source.SequenceRange, Start: source.StartRange},
		Snapshot: source.SnapshotHTTP, Recovery: source.RecoverRequest,
	}
	candles := source.StreamOf(market.ChannelCandles, spotOnly, market.KindCandle)
	candles.Attributes = schema.Attributes{intervals.Attribute("lengths of the candles")}
	instruments := source.CatalogueOf(spotOnly)
	instruments.Weight = 20
	bbo := source.StreamOf(market.ChannelBBO, spotOnly, market.KindBBO)
	if sbe {
		withSBE(&trades, "json, or with a key sbe: in binary, single trades alone")
		withSBE(&book, "json, or with a key sbe: in binary, each 20 ms whatever speed is")
		withSBE(&bbo, "json, or with a key sbe: in binary with the time of the event; under load the venue leaves out what is outdated")
	}
	return []source.ChannelSpec{trades, book, bbo,
		source.StreamOf(market.ChannelTicker, spotOnly, market.KindTicker),
		candles, instruments}
}

func futuresChannels() []source.ChannelSpec {
	var all []source.ChannelSpec
	for _, ms := range [][]market.Market{linear, inverse} {
		public, rest := "", ""
		if ms[0] == market.MarketLinear {
			public, rest = classPublic, classMarket
		}
		add := func(c market.Channel, k market.Kind, class string) *source.ChannelSpec {
			s := source.StreamOf(c, ms, k)
			s.Class = class
			all = append(all, s)
			return &all[len(all)-1]
		}
		trades := add(market.ChannelTrades, market.KindTrade, public)
		trades.Attributes = schema.Attributes{aggregateAttribute}
		trades.Sequence, trades.Weight = source.SequenceIncrement, 20
		trades.History = &source.History{By: source.HistorySequence} // of single trades the latest 1,000 alone
		if rest != public {
			trades.ClassWhen = []source.ClassRule{{Attribute: "aggregate", Value: true, Class: rest}}
		}
		book := add(market.ChannelBook, market.KindBookDelta, public)
		book.Kinds = []market.Kind{market.KindBookSnapshot, market.KindBookDelta}
		book.Attributes, book.Weight = bookAttributes(1000, "100ms", "250ms", "500ms"), 20
		book.Book = &source.BookRule{
			Sequence: source.Sequence{Kind: source.SequenceChain, Start: source.StartOverlap},
			Snapshot: source.SnapshotHTTP, Recovery: source.RecoverRequest,
		}
		add(market.ChannelBBO, market.KindBBO, public)
		add(market.ChannelTicker, market.KindTicker, rest)
		add(market.ChannelCandles, market.KindCandle, rest).Attributes = schema.Attributes{intervals[1:].Attribute("lengths of the candles")}
		const silence = 15 * time.Second // of what is sent every second
		add(market.ChannelMarkPrice, market.KindMarkPrice, rest).StaleAfter = silence
		add(market.ChannelIndexPrice, market.KindIndexPrice, rest).StaleAfter = silence
		add(market.ChannelFunding, market.KindFunding, rest).StaleAfter = silence
		add(market.ChannelLiquidations, market.KindLiquidation, rest).Lossy = "of the liquidations of a symbol within a second only the latest is sent"
	}
	ratio := source.PollOf(market.ChannelLongShortRatio, futures, 5*time.Minute, market.KindLongShortRatio)
	ratio.Attributes = schema.Attributes{{Name: "population", Type: schema.String, Default: "accounts",
		Allowed: []string{"accounts", "top_accounts", "top_positions"}, Doc: "whose longs and shorts are counted"}}
	return append(all, source.PollOf(market.ChannelOpenInterest, futures, 30*time.Second, market.KindOpenInterest), ratio, source.CatalogueOf(futures))
}
