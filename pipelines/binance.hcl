# Binance: spot, linear (USD-M) and inverse (COIN-M) futures, all channels.
#
#   marketprism plan pipelines/binance.hcl     what it will open, request and store
#   marketprism run  pipelines/binance.hcl
#
# A canonical name carries its market, so the sources differ by their names
# only. They are apart because markets have different channels; three feeds come
# of them: binance-spot, binance-linear, binance-inverse.

variable "lake" {
  description = "Directory of the Parquet files"
  type        = string
  default     = "lake"
}

marketprism {
  data_dir = "data"

  journal {
    max_size = "8GiB"
    max_age  = "6h" # must exceed the sink's roll
    sync     = "50ms"
  }
}

source "binance" "spot" {
  symbols = ["BTC-USDT", "ETH-USDT", "SOL-USDT"]

  channel "trades" {}
  channel "book" {}
  channel "bbo" {}
  channel "ticker" {}
  channel "candles" {}
  channel "instruments" {} # listings, delistings, tick sizes
}

source "binance" "linear" {
  symbols = ["BTC-USDT-PERP", "ETH-USDT-PERP", "SOL-USDT-PERP"]

  channel "trades" {}
  channel "book" {}
  channel "bbo" {}
  channel "ticker" {}
  channel "candles" {}
  channel "mark_price" {}
  channel "index_price" {}
  channel "funding" {}
  channel "liquidations" {}     # one a second at most: the venue leaves out the rest
  channel "open_interest" {}    # by HTTP; plan shows what it takes of the request budget
  channel "long_short_ratio" {} # by HTTP
  channel "instruments" {}
}

# Settled in the coin itself, so the settlement currency stands in the name.
source "binance" "inverse" {
  symbols = ["BTC-USD:BTC-PERP", "ETH-USD:ETH-PERP"]

  channel "trades" {}
  channel "book" {}
  channel "bbo" {}
  channel "ticker" {}
  channel "candles" {}
  channel "mark_price" {}
  channel "index_price" {}
  channel "funding" {}
  channel "liquidations" {}
  channel "open_interest" {}
  channel "long_short_ratio" {}
  channel "instruments" {}
}

# A processor may read several sources; each feed's snapshots stay apart.
processor "book_snapshot" "top" {
  input = [source.binance.spot.book, source.binance.linear.book, source.binance.inverse.book]
  depth = 25
  every = "1s"
}

sink "parquet" "lake" {
  input = [
    source.binance.spot,
    source.binance.linear,
    source.binance.inverse,
    processor.book_snapshot.top,
  ]
  path = var.lake

  roll_every = "1h"
  roll_size  = "256MiB"
}
