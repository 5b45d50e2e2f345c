# Hyperliquid, perpetuals and spot: two feeds of one source. The venue numbers
# nothing and sends no checksums: nobody can tell whether a book or a trade is
# missing, and coverage records say so. Each book is whole, so the next one is
# right again.
#
#   marketprism plan pipelines/hyperliquid.hcl
#   marketprism run  pipelines/hyperliquid.hcl

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

source "hyperliquid" "md" {
  symbols = [
    "BTC-USDC-PERP", "ETH-USDC-PERP", "HYPE-USDC-PERP",
    "xyz.SP500-USDC-PERP", # xyz:SP500, of the builder xyz
    "HYPE-USDC", "PURR-USDC",
  ]

  channel "trades" {} # a subscription begins with the latest of before it
  channel "book" {
    depth = 5 # each 0.5 s; 20 levels come each 5 s
  }
  channel "bbo" {} # each block in which it changes
  channel "ticker" {}
  channel "candles" {}
  channel "funding" {}
  channel "mark_price" {}
  channel "index_price" {} # the oracle's price
  channel "open_interest" {}
  channel "instruments" {}
}

sink "parquet" "lake" {
  input = [source.hyperliquid.md]
  path  = var.lake

  roll_every = "1h"
}
