# OKX, spot, linear, inverse and an option: four feeds of one source. Books are
# verified by the chain of their numbers; one that breaks is requested anew.
#
#   marketprism plan pipelines/okx.hcl
#   marketprism run  pipelines/okx.hcl

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

source "okx" "md" {
  symbols = [
    "BTC-USDT", "ETH-USDT",
    "BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USDC-PERP",
    "BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP",
    "BTC-USD:BTC-20261225-100000-C",
  ]

  channel "trades" {} # each of them; aggregate = true: what one order took at a price
  channel "book" {}   # 400 levels, changes each 100 ms
  channel "bbo" {}    # each change, at most each 10 ms
  channel "ticker" {}
  channel "candles" {}
  channel "funding" {}
  channel "mark_price" {}
  channel "index_price" {}
  channel "open_interest" {}
  channel "liquidations" {} # of whole products; sinks take those of the symbols above
  channel "options" {
    families = ["BTC-USD"]
  }
  channel "instruments" {}
}

sink "parquet" "lake" {
  input = [source.okx.md]
  path  = var.lake

  roll_every = "1h"
}
