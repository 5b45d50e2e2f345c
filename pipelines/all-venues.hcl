# BTC and ETH everywhere: trades and books of every bundled venue, spot and
# contracts. `plan` shows the feeds, the connections that each opens, what it may
# ask for, and the disk that the journals may take.
#
#   marketprism plan pipelines/all-venues.hcl
#   marketprism run  pipelines/all-venues.hcl

variable "lake" {
  description = "Directory of the Parquet files"
  type        = string
  default     = "lake"
}

marketprism {
  data_dir = "data"

  journal {
    max_size = "1GiB" # of each feed
    max_age  = "6h"
    sync     = "50ms"
  }
}

source "binance" "all" {
  symbols = ["BTC-USDT", "ETH-USDT", "BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP"]
  channel "trades" {}
  channel "book" {}
}

source "bitfinex" "all" {
  symbols = ["BTC-USD", "ETH-USD", "BTC-USDT-PERP", "ETH-USDT-PERP"]
  channel "trades" {}
  channel "book" {}
}

source "bitget" "all" {
  symbols = ["BTC-USDT", "ETH-USDT", "BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP"]
  channel "trades" {}
  channel "book" {}
}

source "bybit" "all" {
  symbols = ["BTC-USDT", "ETH-USDT", "BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP"]
  channel "trades" {}
  channel "book" {}
}

source "coinbase" "all" {
  symbols = ["BTC-USD", "ETH-USD", "BTC-USDC-PERP", "ETH-USDC-PERP"]
  channel "trades" {}
  channel "book" {}
}

source "deribit" "all" {
  symbols = ["BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP", "BTC-USDC-PERP", "ETH-USDC-PERP"]
  channel "trades" {}
  channel "book" {}
}

source "gateio" "all" {
  symbols = ["BTC-USDT", "ETH-USDT", "BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USD:BTC-PERP"]
  channel "trades" {}
  channel "book" {}
}

source "htx" "all" {
  symbols = ["BTC-USDT", "ETH-USDT", "BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP"]
  channel "trades" {}
  channel "book" {}
}

source "hyperliquid" "all" {
  symbols = ["BTC-USDC-PERP", "ETH-USDC-PERP"]
  channel "trades" {}
  channel "book" {}
}

source "kraken" "all" {
  symbols = ["BTC-USD", "ETH-USD", "BTC-USD-PERP", "ETH-USD-PERP", "BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP"]
  channel "trades" {}
  channel "book" {}
}

source "kucoin" "all" {
  symbols = ["BTC-USDT", "ETH-USDT", "BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USD:BTC-PERP"]
  channel "trades" {}
  channel "book" {}
}

source "okx" "all" {
  symbols = ["BTC-USDT", "ETH-USDT", "BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP"]
  channel "trades" {}
  channel "book" {}
}

source "bitstamp" "all" {
  symbols = ["BTC-USD", "ETH-USD", "BTC-USD-PERP", "ETH-USD-PERP"]
  channel "trades" {}
  channel "book" {}
}

# It announced its end for September 2026: without its simulator these feeds find
# nobody.
source "bitmex" "all" {
  symbols = ["BTC-USDT", "ETH-USDT", "BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USD:BTC-PERP", "ETH-USD:BTC-PERP"]
  channel "trades" {}
  channel "book" {}
}

sink "parquet" "lake" {
  input = [
    source.binance.all,
    source.bitfinex.all,
    source.bitget.all,
    source.bybit.all,
    source.coinbase.all,
    source.deribit.all,
    source.gateio.all,
    source.htx.all,
    source.hyperliquid.all,
    source.kraken.all,
    source.kucoin.all,
    source.okx.all,
    source.bitstamp.all,
    source.bitmex.all,
  ]
  path  = var.lake

  roll_every = "1h"
}
