// Package kraken collects Kraken: spot over its WebSocket API v2, and the
// contracts of Kraken Futures, which is one venue with it by name and another by
// protocol: WebSocket v1 of futures.kraken.com. Frames of spot's v1, which older
// recordings hold, are decoded too.
//
// manifest.go holds what the venue is, session.go what is sent to spot, decode.go
// what that sends, instruments.go its names and catalogues, legacy.go v1 and
// HTTP. The files of contracts (futures.go and those that begin so) are laid out
// likewise; instruments.go decides between the two.
package kraken

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// plugin has no state.
type plugin struct{ manifest source.Manifest }

// New is the plugin for Kraken.
func New() source.Source {
	p := &plugin{source.Manifest{
		Venue: "kraken", Title: "Kraken", Version: "0.1.0", Revision: 1,
		Markets: []source.MarketSpec{{
			Market:    market.MarketSpot,
			Endpoints: []source.Endpoint{endpoint(""), endpoint(classBBO)},
			HTTP:      []string{"https://api.kraken.com"},
			Weight:    source.WeightLimit{Rate: source.Rate{N: 1, Per: time.Second}},
			Connects:  source.Rate{N: 150, Per: 10 * time.Minute},
		}},
		// The rules of contracts stand first: recordings that mix markets are theirs.
		Channels: append(contractChannels(), channels()...),
		Docs: []source.Doc{
			{URL: "https://docs.kraken.com/exchange/api-reference/spot-websocket-v2", Date: "2026-11-23", For: "channels, acknowledgements, heartbeat, status"},
			{URL: "https://docs.kraken.com/exchange/guides/websockets/book-checksum-v2", Date: "2026-11-23", For: "book rule"},
			{URL: "https://docs.kraken.com/exchange/guides/websockets/introduction", Date: "2026-11-23", For: "endpoints, limits"},
			{URL: "https://docs.kraken.com/exchange/api-reference/spot-websocket-v1", Date: "2026-11-23", For: "frames of v1"},
			{URL: "https://docs.kraken.com/api/docs/futures-api/websocket/book", Date: "2026-11-23", For: "contracts: book rule, acknowledgements, refusals"},
			{URL: "https://docs.kraken.com/api/docs/futures-api/websocket/trade", Date: "2026-11-23", For: "contracts: trades, liquidations"},
			{URL: "https://docs.kraken.com/api/docs/futures-api/websocket/ticker", Date: "2026-11-23", For: "contracts: all that comes each second"},
			{URL: "https://docs.kraken.com/exchange/guides/futures/ratelimits", Date: "2026-11-23", For: "contracts: connections, requests a second, cost of requests"},
			{URL: "https://support.kraken.com/articles/360022635632-subscriptions-websockets-api-derivatives", Date: "2026-11-23", For: "contracts: a ping each 60 seconds"},
			{URL: "https://docs.kraken.com/api-reference/candles/market-candles", Date: "2026-11-23", For: "contracts: candles"},
		},
	}}
	for _, m := range contracts {
		p.manifest.Markets = append(p.manifest.Markets, contractSpec(m))
	}
	return p
}

// Describe returns the manifest.
func (p *plugin) Describe() source.Manifest { return p.manifest }

// classBBO keeps best bids and offers on connections of their own: the ticker
// channel carries them, and a connection subscribes a symbol's ticker once.
const classBBO = "bbo"

func endpoint(class string) source.Endpoint {
	return source.Endpoint{
		Class: class, URL: "wss://ws.kraken.com/v2",
		MaxSubscriptions: 200,                                  // none is stated; one deep book of each symbol still starts within seconds
		Messages:         source.Rate{N: 20, Per: time.Second}, // the venue's limit moves; this has been safe
		Heartbeat: source.Heartbeat{Kind: source.HeartbeatText, Payload: `{"method":"ping"}`,
			Every: 30 * time.Second, Timeout: 15 * time.Second}, // the venue beats every second where nothing else comes
	}
}

// intervals are the lengths of candles by minutes.
var intervals = source.NewIntervals("1m 5m 15m 30m 1h 4h 1d 1w 15d")

// depths are the numbers of levels that a book can be subscribed with.
var depths = []int{10, 25, 100, 500, 1000}

func channels() []source.ChannelSpec {
	spot := []market.Market{market.MarketSpot}
	return []source.ChannelSpec{
		{Channel: market.ChannelTrades, Markets: spot, Kinds: []market.Kind{market.KindTrade}, Transport: source.Stream, Sequence: source.SequenceIncrement,
			History: &source.History{By: source.HistoryTime}},
		{
			Channel: market.ChannelBook, Markets: spot, Kinds: []market.Kind{market.KindBookSnapshot, market.KindBookDelta}, Transport: source.Stream,
			Attributes: schema.Attributes{{Name: "depth", Type: schema.Int, Default: 100, Min: schema.Limit(1), Max: schema.Limit(1000),
				Doc: "levels a side that are subscribed: the next of 10, 25, 100, 500, 1000"}},
			Book: &source.BookRule{
				Checksum: source.Checksum{Kind: source.ChecksumKraken, Levels: 10},
				Snapshot: source.SnapshotInBand, Recovery: source.RecoverResubscribe,
				Depths: depths, CutToDepth: true,
			},
		},
		{Channel: market.ChannelBBO, Markets: spot, Kinds: []market.Kind{market.KindBBO}, Class: classBBO, Transport: source.Stream},
		{
			Channel: market.ChannelTicker, Markets: spot, Kinds: []market.Kind{market.KindTicker}, Transport: source.Stream,
			Attributes: schema.Attributes{{Name: "event_trigger", Type: schema.String, Default: "trades", Allowed: []string{"trades", "bbo"},
				Doc: "what makes the venue send a ticker: each trade, or each change of the best bid or offer"}},
		},
		{
			Channel: market.ChannelCandles, Markets: spot, Kinds: []market.Kind{market.KindCandle}, Transport: source.Stream,
			Attributes: schema.Attributes{intervals.Attribute("lengths of the candles")},
		},
		{Channel: market.ChannelInstruments, Markets: spot, Kinds: []market.Kind{market.KindInstrument}, Transport: source.Stream, PerMarket: true},
	}
}
