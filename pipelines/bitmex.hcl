# BitMEX, spot, linear and inverse: three feeds of one source. Books have neither
# numbers nor checksums; one that crosses is subscribed anew. The venue announced
# that it closes on 2026-09-23; `marketprism simulate --venue bitmex` speaks as it did.
#
#   marketprism plan pipelines/bitmex.hcl
#   marketprism run  pipelines/bitmex.hcl

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

source "bitmex" "md" {
  symbols = [
    "BTC-USDT", "ETH-USDT",
    "BTC-USDT-PERP", "ETH-USDT-PERP", "ETH-USD:BTC-PERP", # a quanto contract
    "BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP",
  ]

  channel "trades" {}
  channel "book" {} # all levels, each change
  channel "bbo" {}
  channel "ticker" {}
  channel "candles" {}
  channel "funding" {}
  channel "mark_price" {}
  channel "index_price" {}
  channel "open_interest" {}
  channel "liquidations" {}
  channel "instruments" {}
}

sink "parquet" "lake" {
  input = [source.bitmex.md]
  path  = var.lake

  roll_every = "1h"
}
