# HTX, spot, linear and inverse. Spot's books are spliced onto whole ones that are
# requested on the same connection; those of contracts begin with a whole one. Both
# are verified by their numbers.
#
#   marketprism plan pipelines/htx.hcl
#   marketprism run  pipelines/htx.hcl

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

source "htx" "md" {
  symbols = [
    "BTC-USDT", "ETH-USDT",
    "BTC-USDT-PERP", "ETH-USDT-PERP",
    "BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP",
  ]

  channel "trades" {}
  channel "book" {} # 150 levels: spot each 100 ms, contracts each 30 ms; spot's depth = 5: each change
  channel "bbo" {}
  channel "ticker" {}
  channel "candles" {}
  channel "funding" {}
  channel "mark_price" {}
  channel "index_price" {}
  channel "open_interest" {}
  channel "liquidations" {} # of all contracts; sinks take those of the symbols above
  channel "long_short_ratio" {}
  channel "instruments" {}
}

# Contracts that end have neither funding nor ratios, and share their pair's index.
source "htx" "dated" {
  symbols = ["BTC-USDT-20261225", "BTC-USD:BTC-20261225"]

  channel "trades" {}
  channel "book" {}
  channel "bbo" {}
  channel "mark_price" {}
  channel "open_interest" {}
}

sink "parquet" "lake" {
  input = [source.htx.md, source.htx.dated]
  path  = var.lake

  roll_every = "1h"
}
