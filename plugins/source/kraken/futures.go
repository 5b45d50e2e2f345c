package kraken

import (
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

var contracts = []market.Market{market.MarketLinear, market.MarketInverse, market.MarketOption}

// isContract tells the markets of Kraken Futures from spot. Recordings that mix
// markets are of contracts: spot has no second one.
func isContract(m market.Market) bool {
	return m == market.MarketLinear || m == market.MarketInverse || m == market.MarketOption || m == market.MarketMixed
}

func contractSpec(m market.Market) source.MarketSpec {
	return source.MarketSpec{
		Market: m,
		Endpoints: []source.Endpoint{{
			URL:              "wss://futures.kraken.com/ws/v1",
			MaxSubscriptions: 500, // none is stated: each is a request, so all are made within five seconds
			Messages:         source.Rate{N: 100, Per: time.Second},
			// "You will need to make a ping request at least every 60 seconds."
			Heartbeat: source.Heartbeat{Kind: source.HeartbeatPing, Every: 30 * time.Second, Timeout: 15 * time.Second},
		}},
		HTTP:     []string{"https://futures.kraken.com"},
		MaxConns: 100,
		// "Public endpoints do not have a cost"; this is the budget of those that have.
		Weight: source.WeightLimit{Rate: source.Rate{N: 500, Per: 10 * time.Second}},
	}
}

type contractInterval struct {
	name   string
	length time.Duration
}

// contractIntervals are the candles that can be requested, by the venue's names.
var contractIntervals = []contractInterval{
	{"1m", time.Minute}, {"5m", 5 * time.Minute}, {"15m", 15 * time.Minute}, {"30m", 30 * time.Minute}, {"1h", time.Hour},
	{"4h", 4 * time.Hour}, {"12h", 12 * time.Hour}, {"1d", 24 * time.Hour}, {"1w", 7 * 24 * time.Hour},
}

func contractStream(c market.Channel, k market.Kind, ms ...market.Market) source.ChannelSpec {
	return source.ChannelSpec{Channel: c, Markets: ms, Kinds: []market.Kind{k}, Transport: source.Stream}
}

func contractChannels() []source.ChannelSpec {
	trades := contractStream(market.ChannelTrades, market.KindTrade, contracts...)
	trades.History = &source.History{By: source.HistoryRecent}
	trades.Sequence = source.SequenceIncrement // consecutive by product in all recordings

	book := contractStream(market.ChannelBook, market.KindBookDelta, contracts...)
	book.Kinds = []market.Kind{market.KindBookSnapshot, market.KindBookDelta}
	book.Book = &source.BookRule{
		// All levels, in the stream; a change is one level and one number.
		Sequence: source.Sequence{Kind: source.SequenceIncrement}, Snapshot: source.SnapshotInBand, Recovery: source.RecoverResubscribe,
	}

	// "Delta messages are throttled such that they are published every 1s."
	var ticks []source.ChannelSpec
	for _, c := range []source.ChannelSpec{
		contractStream(market.ChannelTicker, market.KindTicker, contracts...),
		contractStream(market.ChannelMarkPrice, market.KindMarkPrice, contracts...),
		contractStream(market.ChannelIndexPrice, market.KindIndexPrice, contracts...),
		contractStream(market.ChannelOpenInterest, market.KindOpenInterest, contracts...),
		contractStream(market.ChannelOptions, market.KindOptionSummary, market.MarketOption),
	} {
		c.StaleAfter = time.Minute
		ticks = append(ticks, c)
	}

	// Of perpetuals alone: the silence of others says nothing.
	funding := contractStream(market.ChannelFunding, market.KindFunding, market.MarketLinear, market.MarketInverse)

	names := make([]string, len(contractIntervals))
	for i := range contractIntervals {
		names[i] = contractIntervals[i].name
	}
	candles := contractStream(market.ChannelCandles, market.KindCandle, contracts...)
	candles.Transport, candles.PollEvery, candles.Weight = source.Poll, time.Minute, 1
	candles.Attributes = schema.Attributes{
		{Name: "intervals", Type: schema.Strings, Default: []string{"1m"}, Allowed: names, Doc: "lengths of the candles"},
		{Name: "poll_every", Type: schema.Duration, Default: "1m", Min: schema.Limit(int64(time.Second)),
			Doc: "how often the newest two candles of each length are requested: no stream has them"},
	}

	instruments := contractStream(market.ChannelInstruments, market.KindInstrument, contracts...)
	instruments.Transport, instruments.PollEvery, instruments.PerMarket, instruments.Weight = source.Poll, time.Hour, true, 1
	return append(ticks, funding, trades, book, contractStream(market.ChannelLiquidations, market.KindLiquidation, contracts...), candles, instruments)
}
