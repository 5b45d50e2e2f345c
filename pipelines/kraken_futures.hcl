# Kraken's contracts: perpetuals and futures of many collaterals (linear) and of
# the coin (inverse), two feeds of one source, beside spot's protocol. Books have
# all levels, each change one level and one number; one that breaks is subscribed
# anew, alone.
#
#   marketprism plan pipelines/kraken_futures.hcl
#   marketprism run  pipelines/kraken_futures.hcl

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

source "kraken" "contracts" {
  symbols = [
    "BTC-USD-PERP", "ETH-USD-PERP", "SOL-USD-PERP", "BTC-USD-20261225",
    "BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP", "BTC-USD:BTC-20261225",
  ]

  channel "trades" {} # the last 100 come again on each subscription and fill what a reconnect missed
  channel "book" {}
  channel "bbo" {} # of the book
  channel "ticker" {} # each second, with best bid and offer
  channel "funding" {} # relative, per hour
  channel "mark_price" {}
  channel "index_price" {}
  channel "open_interest" {}
  channel "liquidations" {} # the trades that were forced
  channel "candles" {       # no stream has them: they are requested
    intervals  = ["1m", "1h"]
    poll_every = "1m"
  }
  channel "instruments" {}
}

sink "parquet" "lake" {
  input = [source.kraken.contracts]
  path  = var.lake

  roll_every = "1h"
}
