// Package pipefiletest has manifests of venues and stores for tests: the shapes
// of real ones (markets with unlike limits, a channel that only some markets
// have, books that start by HTTP and in the stream), so that parsing and
// planning are tested without any plugin.
//
// Plugins is constant data; several goroutines may use it.
package pipefiletest

import (
	"fmt"
	"strings"
	"time"

	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/source"
)

// Plugins provides schemas to pipefile and names to plan.
type Plugins struct{}

// Names implements pipefile.Schemas.
func (Plugins) Names() (sources, sinks []string) {
	return []string{"binance", "kraken"}, []string{"clickhouse", "null", "parquet", "stdout"}
}

// Source implements pipefile.Schemas.
func (Plugins) Source(p pipefile.Plugin) (source.Manifest, error) {
	switch p.Name {
	case "binance":
		return binance(), nil
	case "kraken":
		return kraken(), nil
	case "acme":
		m := kraken()
		m.Venue = "acme"
		m.Attributes = schema.Attributes{
			{Name: "token", Type: schema.String, Doc: "access token", Required: true, Sensitive: true},
			{Name: "ratio", Type: schema.Float, Default: 0.5},
			{Name: "tags", Type: schema.Strings, Allowed: []string{"fast", "slow"}, Default: []any{"fast"}},
		}
		return m, nil
	}
	return source.Manifest{}, fmt.Errorf("pipefiletest: no source %q", p.Name)
}

// Sink implements pipefile.Schemas.
func (Plugins) Sink(p pipefile.Plugin) (sink.Manifest, error) {
	m := sink.Manifest{Name: p.Name, Version: "1.0.0", Commit: sink.CommitBatch, Batch: sink.BatchDefaults{MaxRecords: 1000, MaxWait: time.Second}, Access: &sink.Access{}}
	switch p.Name {
	case "null":
	case "stdout":
		m.Access.Stdout = true
		m.Attributes = schema.Attributes{{Name: "format", Type: schema.String, Default: "jsonl", Allowed: []string{"jsonl", "csv"}, Doc: "of lines"}}
	case "parquet":
		m.Commit = sink.CommitRoll
		m.Roll = sink.RollDefaults{Every: time.Hour, MaxBytes: 256 << 20}
		m.Attributes = schema.Attributes{
			{Name: "path", Type: schema.String, Required: true, Writes: schema.Directory, Doc: "directory of the files"},
			{Name: "price_encoding", Type: schema.String, Default: "double", Allowed: []string{"double", "decimal"}, Doc: "type of prices"},
			{Name: "row_group_size", Type: schema.Size, Default: "16MiB", Min: schema.Limit(1 << 20), Max: schema.Limit(256 << 20), Doc: "bytes of a row group"},
		}
	case "clickhouse":
		m.Idempotent, m.Access.Connect = true, true
		m.Attributes = schema.Attributes{
			{Name: "url", Type: schema.String, Required: true, Doc: "of the server"},
			{Name: "password", Type: schema.String, Sensitive: true, Doc: "of the user", Allowed: nil},
			{Name: "timeout", Type: schema.Duration, Default: "30s", Min: schema.Limit(int64(time.Second)), Doc: "of a request"},
			{Name: "retries", Type: schema.Int, Default: 3, Min: schema.Limit(0), Max: schema.Limit(10), Doc: "of a request"},
			{Name: "pin", Type: schema.Int, Sensitive: true, Doc: "a secret number"},
		}
	default:
		return m, fmt.Errorf("pipefiletest: no sink %q", p.Name)
	}
	return m, nil
}

// Resolve implements plan.Resolver with the two venues' naming rules.
func (Plugins) Resolve(venue, name string) (market.Market, string, error) {
	base, rest, ok := strings.Cut(name, "-")
	if !ok {
		return 0, "", fmt.Errorf("%s: %q is no canonical name; write BASE-QUOTE, like BTC-USDT", venue, name)
	}
	quote, perp := strings.CutSuffix(rest, "-PERP")
	if venue == "kraken" || venue == "acme" {
		if perp {
			return 0, "", fmt.Errorf("%s: %q is no spot name; write BASE-QUOTE, like BTC-USD", venue, name)
		}
		return market.MarketSpot, base + "/" + quote, nil
	}
	if quote, inverse := strings.CutSuffix(quote, ":"+base); inverse && perp {
		return market.MarketInverse, base + quote + "_PERP", nil
	}
	if perp {
		return market.MarketLinear, base + quote, nil
	}
	return market.MarketSpot, base + quote, nil
}

var (
	spot        = []market.Market{market.MarketSpot}
	futures     = []market.Market{market.MarketLinear, market.MarketInverse}
	everywhere  = []market.Market{market.MarketSpot, market.MarketLinear, market.MarketInverse}
	binanceDocs = []source.Doc{{URL: "https://developers.binance.com/docs", Date: "2026-11-20", For: "limits"}}
)

func binance() source.Manifest {
	messages := source.Rate{N: 5, Per: time.Second}
	connects := source.Rate{N: 300, Per: 5 * time.Minute}
	hb := source.Heartbeat{Kind: source.HeartbeatServer, Every: 20 * time.Second, Timeout: time.Minute}
	end := func(class, url string, max int) source.Endpoint {
		return source.Endpoint{Class: class, URL: url, MaxSubscriptions: max, Messages: messages, MaxFrameSent: 4096, MaxAge: 24 * time.Hour, Heartbeat: hb}
	}
	weight := func(n int) source.WeightLimit {
		return source.WeightLimit{Rate: source.Rate{N: n, Per: time.Minute}, UsedHeader: "X-Mbx-Used-Weight-1m"}
	}
	levels := schema.Attributes{
		{Name: "depth", Type: schema.Int, Default: 1000, Min: schema.Limit(5), Max: schema.Limit(5000), Doc: "levels a side"},
		{Name: "interval", Type: schema.Duration, Default: "100ms", Doc: "between updates"},
	}
	return source.Manifest{
		Venue: "binance", Title: "Binance", Version: "1.0.0", Docs: binanceDocs,
		Markets: []source.MarketSpec{
			{Market: market.MarketSpot, Endpoints: []source.Endpoint{end("", "wss://stream.binance.com:9443/stream", 1024)}, HTTP: []string{"https://api.binance.com"}, Weight: weight(6000), Connects: connects, MaxConns: 100},
			{Market: market.MarketLinear, Endpoints: []source.Endpoint{end("public", "wss://fstream.binance.com/public/stream", 200), end("market", "wss://fstream.binance.com/market/stream", 200)}, HTTP: []string{"https://fapi.binance.com"}, Weight: weight(2400), Connects: connects},
			{Market: market.MarketInverse, Endpoints: []source.Endpoint{end("", "wss://dstream.binance.com/stream", 200)}, HTTP: []string{"https://dapi.binance.com"}, Weight: weight(2400), Connects: connects},
		},
		Channels: []source.ChannelSpec{
			{Channel: market.ChannelTrades, Markets: []market.Market{market.MarketSpot, market.MarketInverse}, Kinds: []market.Kind{market.KindTrade}, Transport: source.Stream, Attributes: aggregate,
				History: &source.History{By: source.HistorySequence}},
			{Channel: market.ChannelTrades, Markets: []market.Market{market.MarketLinear}, Kinds: []market.Kind{market.KindTrade}, Class: "public", Transport: source.Stream, Attributes: aggregate},
			{Channel: market.ChannelBook, Markets: spot, Kinds: []market.Kind{market.KindBookSnapshot, market.KindBookDelta}, Transport: source.Stream, Weight: 50, Attributes: levels,
				Book: &source.BookRule{Sequence: source.Sequence{Kind: source.SequenceRange, Start: source.StartRange}, Snapshot: source.SnapshotHTTP, Recovery: source.RecoverRequest}},
			{Channel: market.ChannelBook, Markets: []market.Market{market.MarketLinear}, Kinds: []market.Kind{market.KindBookSnapshot, market.KindBookDelta}, Class: "public", Transport: source.Stream, Weight: 20,
				Attributes: append(levels[:1:1], schema.Attribute{Name: "rpi", Type: schema.Bool, Default: false, Doc: "with retail price improvement orders"}),
				Book:       &source.BookRule{Sequence: source.Sequence{Kind: source.SequenceChain, Start: source.StartOverlap}, Snapshot: source.SnapshotHTTP, Recovery: source.RecoverRequest}},
			{Channel: market.ChannelBBO, Markets: []market.Market{market.MarketSpot, market.MarketInverse}, Kinds: []market.Kind{market.KindBBO}, Transport: source.Stream},
			{Channel: market.ChannelFunding, Markets: []market.Market{market.MarketLinear}, Kinds: []market.Kind{market.KindFunding, market.KindMarkPrice}, Class: "market", Transport: source.Stream, PerMarket: true},
			{Channel: market.ChannelLiquidations, Markets: []market.Market{market.MarketInverse}, Kinds: []market.Kind{market.KindLiquidation}, Transport: source.Stream, Lossy: "one a second at most"},
			{Channel: market.ChannelOpenInterest, Markets: futures, Kinds: []market.Kind{market.KindOpenInterest}, Transport: source.Poll, PollEvery: 10 * time.Second, Weight: 1,
				Attributes: schema.Attributes{{Name: "every", Type: schema.Duration, Default: "10s", Min: schema.Limit(int64(time.Second)), Doc: "between polls"}}},
			{Channel: market.ChannelInstruments, Markets: everywhere, Kinds: []market.Kind{market.KindInstrument}, Transport: source.Poll, PollEvery: time.Hour, PerMarket: true, Weight: 20},
		},
	}
}

var aggregate = schema.Attributes{{Name: "aggregate", Type: schema.Bool, Default: false, Doc: "aggregate trades"}}

func kraken() source.Manifest {
	return source.Manifest{
		Venue: "kraken", Title: "Kraken", Version: "1.0.0",
		Markets: []source.MarketSpec{{Market: market.MarketSpot, HTTP: []string{"https://api.kraken.com"}, Connects: source.Rate{N: 150, Per: 10 * time.Minute},
			Endpoints: []source.Endpoint{{URL: "wss://ws.kraken.com/v2", MaxSubscriptions: 200, Messages: source.Rate{N: 20, Per: time.Second},
				Heartbeat: source.Heartbeat{Kind: source.HeartbeatText, Every: 30 * time.Second, Timeout: time.Minute, Payload: `{"method":"ping"}`}}}}},
		Channels: []source.ChannelSpec{
			{Channel: market.ChannelTrades, Markets: spot, Kinds: []market.Kind{market.KindTrade}, Transport: source.Stream, History: &source.History{By: source.HistoryRecent}},
			{Channel: market.ChannelBook, Markets: spot, Kinds: []market.Kind{market.KindBookSnapshot, market.KindBookDelta}, Transport: source.Stream,
				Attributes: schema.Attributes{{Name: "depth", Type: schema.Int, Default: 1000, Doc: "levels a side", Min: schema.Limit(10), Max: schema.Limit(1000)}},
				Book:       &source.BookRule{Checksum: source.Checksum{Kind: source.ChecksumKraken, Levels: 10}, Snapshot: source.SnapshotInBand, Recovery: source.RecoverResubscribe, CutToDepth: true}},
			{Channel: market.ChannelTicker, Markets: spot, Kinds: []market.Kind{market.KindTicker}, Transport: source.Stream},
			{Channel: market.ChannelInstruments, Markets: spot, Kinds: []market.Kind{market.KindInstrument}, Transport: source.Stream, PerMarket: true},
		},
	}
}
