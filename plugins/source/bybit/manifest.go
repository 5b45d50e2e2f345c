// Package bybit collects Bybit over its API v5: spot pairs, linear and inverse
// perpetuals and futures, options.
//
// manifest.go holds what the venue is, session.go what is sent to it, decode.go
// what it sends, tickers.go the tickers, which carry eight channels and are
// merged, responses.go what it answers to requests, instruments.go its names and
// catalogues.
package bybit

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// plugin has no state.
type plugin struct{ manifest source.Manifest }

// New is the plugin for Bybit.
func New() source.Source {
	p := &plugin{source.Manifest{
		Venue: "bybit", Title: "Bybit", Version: "0.1.0", Revision: 1,
		Channels: channels(),
		Docs: []source.Doc{
			{URL: "https://bybit-exchange.github.io/docs/v5/ws/connect", Date: "2026-11-23", For: "endpoints, args, ping, answers to requests"},
			{URL: "https://bybit-exchange.github.io/docs/v5/rate-limit", Date: "2026-11-23", For: "connections and requests of an address"},
			{URL: "https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook", Date: "2026-11-23", For: "depths, snapshots and deltas, u = 1, level 1 repeated after 3 s"},
			{URL: "https://bybit-exchange.github.io/docs/v5/websocket/public/full-ob", Date: "2026-11-23", For: "why orderbook.full isn't offered: it has no snapshot in the stream and needs a book rule of its own beside the other depths'"},
			{URL: "https://bybit-exchange.github.io/docs/v5/websocket/public/ticker", Date: "2026-11-23", For: "tickers, funding, mark and index price, open interest, options"},
			{URL: "https://bybit-exchange.github.io/docs/v5/websocket/public/trade", Date: "2026-11-23", For: "trades; those of options by coin"},
			{URL: "https://bybit-exchange.github.io/docs/v5/websocket/public/all-liquidation", Date: "2026-11-23", For: "liquidations, whose side is the position's"},
			{URL: "https://bybit-exchange.github.io/docs/v5/websocket/public/kline", Date: "2026-11-23", For: "candles"},
			{URL: "https://bybit-exchange.github.io/docs/v5/market/instrument", Date: "2026-11-23", For: "catalogues"},
			{URL: "https://bybit-exchange.github.io/docs/v5/market/long-short-ratio", Date: "2026-11-23", For: "long and short accounts"},
		},
	}}
	for _, m := range everywhere {
		p.manifest.Markets = append(p.manifest.Markets, source.MarketSpec{
			Market: m, HTTP: []string{"https://api.bybit.com", "https://api.bytick.com"},
			// "500 connections within a 5-minute window" of the host; "1,000
			// connections per IP", counted for each market by itself.
			Connects: source.Rate{N: 500, Per: 5 * time.Minute}, MaxConns: 1000,
			// "600 requests within a 5-second window per IP"; who asks for more is
			// refused for 10 minutes.
			Weight: source.WeightLimit{Rate: source.Rate{N: 600, Per: 5 * time.Second}}, TickersWeight: 1,
			Endpoints: []source.Endpoint{{
				URL: "wss://stream.bybit.com/v5/public/" + m.String(),
				// The topics of a connection may have 21,000 characters: this many
				// subscriptions, even where each is of several candles.
				MaxSubscriptions: 100,
				// "we recommend that you send the ping heartbeat packet every 20
				// seconds"; a connection with neither pings nor data is cut after 10
				// minutes.
				Heartbeat: source.Heartbeat{Kind: source.HeartbeatText, Payload: `{"op":"ping"}`, Every: 20 * time.Second, Timeout: 40 * time.Second},
			}},
		})
	}
	return p
}

// Describe returns the manifest.
func (p *plugin) Describe() source.Manifest { return p.manifest }

// maxArgs is how many characters the topics of a connection may have together.
const maxArgs = 21_000

var (
	pairs      = []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse}
	contracts  = []market.Market{market.MarketLinear, market.MarketInverse}
	options    = []market.Market{market.MarketOption}
	derived    = []market.Market{market.MarketLinear, market.MarketInverse, market.MarketOption}
	everywhere = []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse, market.MarketOption}
)

// coins are those that options exist of; their trades and catalogues are had by coin.
var coins = []string{"BTC", "ETH", "SOL", "XRP", "DOGE", "MNT"}

// intervals are the candles, by the venue's name.
var intervals = source.NewIntervals("1m=1 3m=3 5m=5 15m=15 30m=30 1h=60 2h=120 4h=240 6h=360 12h=720 1d=D 1w=W 1M=M")

// depths are the levels that a book can be subscribed with; one of 1 level is
// the best bid and offer.
func depths(m market.Market) []int {
	if m == market.MarketOption {
		return []int{25, 100} // each 20 ms, each 100 ms
	}
	return []int{50, 200, 1000} // each 20 ms, each 100 ms, each 200 ms
}

func book(ms []market.Market, deflt int, doc string) source.ChannelSpec {
	s := source.StreamOf(market.ChannelBook, ms, market.KindBookSnapshot, market.KindBookDelta)
	d := depths(ms[0])
	s.Attributes = schema.Attributes{{Name: "depth", Type: schema.Int, Default: deflt, Min: schema.Limit(1), Max: schema.Limit(int64(d[len(d)-1])), Doc: doc}}
	s.Book = &source.BookRule{
		// A snapshot overwrites, one that the venue sends anew after a restart too
		// (u is 1 then); each change has the number after the one before.
		Sequence: source.Sequence{Kind: source.SequenceIncrement},
		Snapshot: source.SnapshotInBand, Recovery: source.RecoverResubscribe,
		Depths: d, // levels that leave the depth are removed by the venue
	}
	return s
}

func channels() []source.ChannelSpec {
	// Spot's ids are numbers with holes, contracts' and options' are none: what is
	// missing can't be told from them.
	trades := source.StreamOf(market.ChannelTrades, pairs, market.KindTrade)
	trades.History = &source.History{By: source.HistoryRecent}
	ofOptions := source.StreamOf(market.ChannelTrades, options, market.KindTrade)
	ofOptions.PerMarket = true
	ofOptions.Attributes = schema.Attributes{coinsAttribute}

	bbo := source.StreamOf(market.ChannelBBO, pairs, market.KindBBO)
	bbo.StaleAfter = 15 * time.Second // level 1 is sent again after 3 s without a change

	candles := source.StreamOf(market.ChannelCandles, pairs, market.KindCandle)
	candles.Attributes = schema.Attributes{intervals.Attribute("lengths of the candles")}

	return []source.ChannelSpec{
		trades, ofOptions,
		book(pairs, 200, "levels a side that are subscribed: the next of 50 (changes each 20 ms), 200 (100 ms), 1000 (200 ms)"),
		book(options, 100, "levels a side that are subscribed: the next of 25 (changes each 20 ms), 100 (100 ms)"),
		bbo, source.StreamOf(market.ChannelBBO, options, market.KindBBO),
		source.StreamOf(market.ChannelTicker, everywhere, market.KindTicker), candles,
		source.StreamOf(market.ChannelFunding, contracts, market.KindFunding),
		source.StreamOf(market.ChannelMarkPrice, derived, market.KindMarkPrice),
		source.StreamOf(market.ChannelIndexPrice, derived, market.KindIndexPrice),
		source.StreamOf(market.ChannelOpenInterest, derived, market.KindOpenInterest),
		source.StreamOf(market.ChannelLiquidations, contracts, market.KindLiquidation),
		source.StreamOf(market.ChannelOptions, options, market.KindOptionSummary),
		source.PollOf(market.ChannelLongShortRatio, contracts, 5*time.Minute, market.KindLongShortRatio),
		source.CatalogueOf(everywhere),
	}
}

var coinsAttribute = schema.Attribute{Name: "coins", Type: schema.Strings, Default: []string{"BTC", "ETH"}, Doc: "coins whose options' trades are collected"}
