# Deribit: inverse and linear perpetuals and futures, options and spot, four feeds
# of one source. Books have all levels and are verified by the chain of their
# numbers; one that breaks is subscribed anew.
#
#   marketprism plan pipelines/deribit.hcl
#   marketprism run  pipelines/deribit.hcl

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

source "deribit" "md" {
  symbols = [
    "BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP", "BTC-USD:BTC-20261225",
    "BTC-USDC-PERP", "ETH-USDC-PERP", "SOL-USDC-PERP",
    "BTC-USD:BTC-20261225-100000-C", "BTC-USD:BTC-20261225-100000-P", "XRP-USDC-20261225-2.5-C",
    "BTC-USDC", "ETH-USDC",
  ]

  channel "trades" {} # blocks and legs of combinations say so in their conditions
  channel "book" {}   # all levels, changes each 100 ms
  channel "bbo" {}    # each change
  channel "ticker" {}
  channel "candles" {
    intervals = ["1m", "1h"]
  }
  channel "funding" {}
  channel "mark_price" {}
  channel "index_price" {}
  channel "open_interest" {}
  channel "liquidations" {} # the trades that were forced
  channel "options" {}      # volatilities and greeks
  channel "volatility_index" {}
  channel "instruments" {}
}

sink "parquet" "lake" {
  input = [source.deribit.md]
  path  = var.lake

  roll_every = "1h"
}
