package main

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/marketprism/marketprism/plugins/sink/null"
	"github.com/marketprism/marketprism/plugins/sink/parquet"
	"github.com/marketprism/marketprism/plugins/sink/stdout"
	"github.com/marketprism/marketprism/plugins/source/binance"
	"github.com/marketprism/marketprism/plugins/source/bitfinex"
	"github.com/marketprism/marketprism/plugins/source/bitget"
	"github.com/marketprism/marketprism/plugins/source/bitmex"
	"github.com/marketprism/marketprism/plugins/source/bitstamp"
	"github.com/marketprism/marketprism/plugins/source/bybit"
	"github.com/marketprism/marketprism/plugins/source/coinbase"
	"github.com/marketprism/marketprism/plugins/source/deribit"
	"github.com/marketprism/marketprism/plugins/source/gateio"
	"github.com/marketprism/marketprism/plugins/source/htx"
	"github.com/marketprism/marketprism/plugins/source/hyperliquid"
	"github.com/marketprism/marketprism/plugins/source/kraken"
	"github.com/marketprism/marketprism/plugins/source/kucoin"
	"github.com/marketprism/marketprism/plugins/source/okx"
	"github.com/marketprism/marketprism/sdk/serve"
	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire"
)

// The bundled plugins. Each runs in a process of its own: this binary again.
var (
	bundledSources = map[string]func() source.Source{
		"binance":     binance.New,
		"binanceus":   binance.NewUS,
		"bitfinex":    bitfinex.New,
		"bitget":      bitget.New,
		"bitmex":      bitmex.New,
		"bitstamp":    bitstamp.New,
		"bybit":       bybit.New,
		"coinbase":    coinbase.New,
		"deribit":     deribit.New,
		"gateio":      gateio.New,
		"htx":         htx.New,
		"hyperliquid": hyperliquid.New,
		"kraken":      kraken.New,
		"kucoin":      kucoin.New,
		"okcoin":      okx.NewOkcoin,
		"okx":         okx.New,
	}
	bundledSinks = map[string]func() sink.Sink{
		"null":    null.New,
		"parquet": parquet.New,
		"stdout":  stdout.New,
	}
)

var pluginCookie = wire.Handshake.MagicCookieKey

// servePlugin is the process of a bundled plugin: marketprism plugin source binance.
func servePlugin(args []string) int {
	if len(args) == 2 {
		switch kind, name := args[0], args[1]; {
		case kind == wire.KindSource && bundledSources[name] != nil:
			return serve.Source(bundledSources[name]())
		case kind == wire.KindSink && bundledSinks[name] != nil:
			return serve.Sink(bundledSinks[name]())
		}
	}
	fmt.Fprintf(os.Stderr, "marketprism: no bundled plugin %v\n", args)
	return exitUsage
}

func bundledNames() (sources, sinks []string) {
	return slices.Sorted(maps.Keys(bundledSources)), slices.Sorted(maps.Keys(bundledSinks))
}
