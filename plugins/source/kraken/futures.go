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

// contractIntervals are the candles that can be requested, by the venue's names.
var contractIntervals = source.NewIntervals("1m 5m 15m 30m 1h 4h 12h 1d 1w")

func contractChannels() []source.ChannelSpec {
	trades := source.StreamOf(market.ChannelTrades, contracts, market.KindTrade)
	trades.History = &source.History{By: source.HistoryRecent}
	trades.Sequence = source.SequenceIncrement // consecutive by product in all recordings

	book := source.StreamOf(market.ChannelBook, contracts, market.KindBookSnapshot, market.KindBookDelta)
	book.Book = &source.BookRule{
		// All levels, in the stream; a change is one level and one number.
		Sequence: source.Sequence{Kind: source.SequenceIncrement}, Snapshot: source.SnapshotInBand, Recovery: source.RecoverResubscribe,
	}

	// "Delta messages are throttled such that they are published every 1s."
	var ticks []source.ChannelSpec
	for _, c := range []source.ChannelSpec{
		source.StreamOf(market.ChannelTicker, contracts, market.KindTicker),
		source.StreamOf(market.ChannelMarkPrice, contracts, market.KindMarkPrice),
		source.StreamOf(market.ChannelIndexPrice, contracts, market.KindIndexPrice),
		source.StreamOf(market.ChannelOpenInterest, contracts, market.KindOpenInterest),
		source.StreamOf(market.ChannelOptions, []market.Market{market.MarketOption}, market.KindOptionSummary),
	} {
		c.StaleAfter = time.Minute
		ticks = append(ticks, c)
	}

	// Of perpetuals alone: the silence of others says nothing.
	funding := source.StreamOf(market.ChannelFunding, []market.Market{market.MarketLinear, market.MarketInverse}, market.KindFunding)

	candles := source.PollOf(market.ChannelCandles, contracts, time.Minute, market.KindCandle)
	candles.Attributes = schema.Attributes{
		contractIntervals.Attribute("lengths of the candles"),
		{Name: "poll_every", Type: schema.Duration, Default: "1m", Min: schema.Limit(int64(time.Second)),
			Doc: "how often the newest two candles of each length are requested: no stream has them"},
	}

	return append(ticks, funding, trades, book, source.StreamOf(market.ChannelLiquidations, contracts, market.KindLiquidation), candles, source.CatalogueOf(contracts))
}
