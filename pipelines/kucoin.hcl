# KuCoin, spot, linear and inverse: three feeds of one source, each over the
# venue's two sockets. Books are verified by their numbers; one that breaks is
# subscribed anew. The token of the classic socket is asked for before each dial,
# and nothing keeps it.
#
#   marketprism plan pipelines/kucoin.hcl
#   marketprism run  pipelines/kucoin.hcl

variable "lake" {
  description = "Directory of the Parquet files"
  type        = string
  default     = "lake"
}

marketprism {
  data_dir = "data"

  journal {
    max_size = "4GiB"
    max_age  = "6h"
    sync     = "50ms"
  }
}

source "kucoin" "md" {
  symbols = [
    "BTC-USDT", "ETH-USDT",
    "BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USDC-PERP",
    "BTC-USD:BTC-PERP", "BTC-USD:BTC-20261225",
  ]

  channel "trades" {}
  channel "book" {} # the best 500 levels, changes each 10 ms
  channel "bbo" {}
  channel "ticker" {} # of spot each 2 s, of contracts each 5 s
  channel "candles" {}
  channel "funding" {}     # each minute
  channel "mark_price" {}  # each second; of spot the pairs with margin have it
  channel "index_price" {} # the same
  channel "open_interest" {}
  channel "instruments" {}
}

sink "parquet" "lake" {
  input = [source.kucoin.md]
  path  = var.lake

  roll_every = "1h"
}
