// Package coinbase collects Coinbase: the Advanced Trade feed (spot, perpetuals
// and futures), and the Exchange feed of the same spot markets where it is public
// or needs a login. Frames of both are decoded wherever they come from, so that
// recordings of Coinbase Pro, as the Exchange was called, are decoded too.
//
// manifest.go holds what the venue is, session.go what is sent to it, decode.go
// what Advanced Trade sends, exchange.go what the Exchange sends, responses.go what
// is requested, instruments.go names, catalogues and what is told of contracts.
package coinbase

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// plugin has no state.
type plugin struct{ manifest source.Manifest }

const (
	advancedHTTP = "https://api.coinbase.com"
	exchangeHTTP = "https://api.exchange.coinbase.com"
)

// New is the plugin for Coinbase.
func New() source.Source {
	const (
		advanced = "wss://advanced-trade-ws.coinbase.com"
		exchange = "wss://ws-feed.exchange.coinbase.com"
		direct   = "wss://ws-direct.exchange.coinbase.com"
	)
	return &plugin{source.Manifest{
		Venue: "coinbase", Title: "Coinbase", Version: "0.1.0", Revision: 1,
		Markets: []source.MarketSpec{
			spec(market.MarketSpot, endpoint(classAdvanced, advanced), endpoint(classBook, advanced),
				endpoint(classExchange, exchange), login(direct, exchange)),
			spec(market.MarketLinear, endpoint(classAdvanced, advanced), endpoint(classBook, advanced)),
		},
		Channels: channels(),
		Docs: []source.Doc{
			{URL: "https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-rate-limits", Date: "2026-11-23", For: "8 connections and 8 messages a second by address"},
			{URL: "https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-overview", Date: "2026-11-23", For: "endpoint, subscribing within 5 s, sequence_num"},
			{URL: "https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels", Date: "2026-11-23", For: "channels, heartbeats, what is closed in silence"},
			{URL: "https://docs.cdp.coinbase.com/exchange/websocket-feed/overview", Date: "2026-11-23", For: "the Exchange's endpoints, subscribing within 5 s"},
			{URL: "https://docs.cdp.coinbase.com/exchange/websocket-feed/authentication", Date: "2026-11-23", For: "login in the subscription: full, level2, level3, user"},
			{URL: "https://docs.cdp.coinbase.com/exchange/websocket-feed/channels", Date: "2026-11-23", For: "the Exchange's channels and which need a login"},
			{URL: "https://docs.cdp.coinbase.com/exchange/websocket-feed/rate-limits", Date: "2026-11-23", For: "the Exchange's limits: 8 requests a second, 100 messages a second, 10 subscriptions of a product's channel"},
			{URL: "https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/rest-api", Date: "2026-11-23", For: "products, their funding and open interest; 10 public requests a second by address"},
		},
	}}
}

// Describe returns the manifest.
func (p *plugin) Describe() source.Manifest { return p.manifest }

// The classes of endpoint. A frame that is missing voids all books of its
// connection, so books have connections of their own, and few on each.
const (
	classAdvanced = ""
	classBook     = "book"
	classExchange = "exchange"
	classLogin    = "login"
)

var (
	spotOnly   = []market.Market{market.MarketSpot}
	linearOnly = []market.Market{market.MarketLinear}
	everywhere = []market.Market{market.MarketSpot, market.MarketLinear}
)

func spec(m market.Market, endpoints ...source.Endpoint) source.MarketSpec {
	return source.MarketSpec{
		Market: m, Endpoints: endpoints, HTTP: []string{advancedHTTP},
		Connects: source.Rate{N: 8, Per: time.Second},
		Weight:   source.WeightLimit{Rate: source.Rate{N: 10, Per: time.Second}},
	}
}

func endpoint(class, url string) source.Endpoint {
	e := source.Endpoint{
		Class: class, URL: url,
		MaxSubscriptions: 40, // none is stated: so many are sent within 5 s
		Messages:         source.Rate{N: 8, Per: time.Second},
		SubscribeWithin:  5 * time.Second,
		MaxFrame:         16 << 20, // the snapshot of BTC-USD had 5 MB in August 2026
		// The channel of heartbeats, which is subscribed on every connection, has
		// a frame each second.
		Heartbeat: source.Heartbeat{Kind: source.HeartbeatServer, Every: time.Second, Timeout: 20 * time.Second},
	}
	switch class {
	case classBook:
		e.MaxSubscriptions = 10
	case classExchange, classLogin:
		e.Messages.N = 100
	}
	return e
}

// login is the class of the feeds that need one. The venue recommends its public
// address where the direct one fails; both ask for the same login.
func login(url, failover string) source.Endpoint {
	e := endpoint(classLogin, url)
	e.Alternates = []string{failover}
	e.Login = &source.Login{Secret: true, Passphrase: true, Scheme: source.SchemeHMACSHA256, Form: source.SecretBase64, For: "API keys of Coinbase Exchange, not of Advanced Trade"}
	return e
}

// Feeds of the channels. Those of the Exchange have the same trades and levels
// as Advanced Trade's, but no number on the connection.
const (
	feedTrades   = "market_trades"
	feedMatches  = "matches"
	feedFull     = "full"
	feedBook     = "level2"
	feedBatch    = "level2_batch"
	feedLogin    = "exchange_level2"
	feedTicker   = "ticker"
	feedSlow     = "ticker_batch"
	feedExchange = "exchange_ticker"
)

// exchangeChannel is the Exchange's name of a feed; empty for Advanced Trade's.
func exchangeChannel(feed string) string {
	switch feed {
	case feedMatches, feedFull, feedBatch:
		return feed
	case feedLogin:
		return "level2"
	case feedExchange:
		return "ticker"
	}
	return ""
}

// feeds adds the attribute that chooses among feeds.
func feeds(c source.ChannelSpec, allowed []string, doc string, classes ...source.ClassRule) source.ChannelSpec {
	c.Attributes = schema.Attributes{{Name: "feed", Type: schema.String, Default: allowed[0], Allowed: allowed, Doc: doc}}
	c.ClassWhen = classes
	return c
}

func when(feed, class string) source.ClassRule {
	return source.ClassRule{Attribute: "feed", Value: feed, Class: class}
}

func channels() []source.ChannelSpec {
	// Ids are consecutive by product in all recordings, which are of spot markets.
	// Trades of contracts are known to be whole by the connection's numbers.
	trades := source.StreamOf(market.ChannelTrades, spotOnly, market.KindTrade)
	trades.Sequence, trades.Weight, trades.History = source.SequenceIncrement, 1, &source.History{By: source.HistorySequence, Backward: true}
	book := func(ms []market.Market) source.ChannelSpec {
		c := source.StreamOf(market.ChannelBook, ms, market.KindBookSnapshot, market.KindBookDelta)
		c.Class = classBook
		c.Book = &source.BookRule{
			// sequence_num rises by one with each frame of the connection, those that
			// acknowledge and the heartbeats included. The Exchange's books have none.
			Sequence: source.Sequence{Kind: source.SequenceIncrement, Scope: source.ScopeConnection},
			Snapshot: source.SnapshotInBand, Recovery: source.RecoverResubscribe,
		}
		return c
	}
	candles := source.StreamOf(market.ChannelCandles, everywhere, market.KindCandle)
	candles.Attributes = schema.Attributes{{Name: "intervals", Type: schema.Strings, Default: []string{"5m"}, Allowed: []string{"5m"},
		Doc: "lengths of the candles; the venue has one"}}
	return []source.ChannelSpec{
		feeds(trades, []string{feedTrades, feedMatches, feedFull},
			"the venue's feed: market_trades (Advanced Trade), matches (Exchange); after a login: full (Exchange, the trades among the orders)",
			when(feedMatches, classExchange), when(feedFull, classLogin)),
		source.StreamOf(market.ChannelTrades, linearOnly, market.KindTrade),
		feeds(book(spotOnly), []string{feedBook, feedBatch, feedLogin},
			"the venue's feed: level2 (Advanced Trade, verified by the connection's numbers), level2_batch (Exchange, each 50 ms, not verifiable); after a login: exchange_level2 (Exchange, each change, not verifiable)",
			when(feedBatch, classExchange), when(feedLogin, classLogin)),
		book(linearOnly),
		feeds(source.StreamOf(market.ChannelTicker, spotOnly, market.KindTicker), []string{feedTicker, feedSlow, feedExchange},
			"the venue's feed: ticker (Advanced Trade, with each match), ticker_batch (Advanced Trade, each 5 s, without the best prices), exchange_ticker (Exchange, with each match)",
			when(feedExchange, classExchange)),
		feeds(source.StreamOf(market.ChannelTicker, linearOnly, market.KindTicker), []string{feedTicker, feedSlow},
			"the venue's feed: ticker (with each match), ticker_batch (each 5 s, without the best prices)"),
		candles,
		source.PollOf(market.ChannelFunding, linearOnly, time.Minute, market.KindFunding),
		source.PollOf(market.ChannelOpenInterest, linearOnly, time.Minute, market.KindOpenInterest),
		source.CatalogueOf(everywhere),
	}
}
