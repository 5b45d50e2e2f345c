# Bitget, spot, linear and inverse: three feeds of one source. Books are verified
# by the chain of their numbers; one that breaks is subscribed anew.
#
#   marketprism plan pipelines/bitget.hcl
#   marketprism run  pipelines/bitget.hcl

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

source "bitget" "md" {
  symbols = [
    "BTC-USDT", "ETH-USDT",
    "BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USDC-PERP",
    "BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP",
  ]

  channel "trades" {}
  channel "book" {} # up to 500 levels, changes each 150 ms
  channel "bbo" {}  # each change, at most each 10 ms
  channel "ticker" {}
  channel "candles" {}
  channel "funding" {}
  channel "mark_price" {}
  channel "index_price" {}
  channel "open_interest" {}
  channel "liquidations" {} # of whole products, the largest of each second; sinks take those of the symbols above
  channel "long_short_ratio" {}
  channel "instruments" {}
}

sink "parquet" "lake" {
  input = [source.bitget.md]
  path  = var.lake

  roll_every = "1h"
}
