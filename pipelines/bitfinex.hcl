# Bitfinex, spot and perpetual contracts: two feeds of one source. Frames are
# numbered on their connection, and books are verified by checksums besides.
#
#   marketprism plan pipelines/bitfinex.hcl
#   marketprism run  pipelines/bitfinex.hcl

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

source "bitfinex" "md" {
  symbols = [
    "BTC-USD", "ETH-USD", "BTC-USDT", "ETH-USDT",
    "BTC-USDT-PERP", "ETH-USDT-PERP",
  ]

  channel "trades" {}
  channel "book" {} # 250 levels at five significant digits; precision = "R0": orders at exact prices
  channel "ticker" {}
  channel "candles" {
    intervals = ["1m", "1h"]
  }
  channel "funding" {}
  channel "mark_price" {}
  channel "index_price" {}
  channel "open_interest" {}
  channel "liquidations" {} # of the whole venue; sinks take those of the symbols above
  channel "instruments" {}
}

sink "parquet" "lake" {
  input = [source.bitfinex.md]
  path  = var.lake

  roll_every = "1h"
}
