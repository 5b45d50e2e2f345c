# Bybit, spot, linear, inverse and options: four feeds of one source. Books are
# verified by their numbers; one that breaks is subscribed anew.
#
#   marketprism plan pipelines/bybit.hcl
#   marketprism run  pipelines/bybit.hcl

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

source "bybit" "md" {
  symbols = [
    "BTC-USDT", "ETH-USDT",
    "BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USDC-PERP", "BTC-USDT-20261225",
    "BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP",
    "BTC-USDT-20261225-100000-C",
  ]

  channel "trades" {} # of options those of all of a coin; sinks take those of the symbols above
  channel "book" {}   # 200 levels, of options 100, changes each 100 ms
  channel "bbo" {}    # each change, at most each 10 ms
  channel "ticker" {}
  channel "candles" {}
  channel "funding" {}
  channel "mark_price" {}
  channel "index_price" {}
  channel "open_interest" {}
  channel "liquidations" {}
  channel "long_short_ratio" {}
  channel "options" {}
  channel "instruments" {}
}

sink "parquet" "lake" {
  input = [source.bybit.md]
  path  = var.lake

  roll_every = "1h"
}
