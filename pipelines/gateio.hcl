# Gate.io, spot, linear, inverse and an option: four feeds of one source. Books of
# pairs and perpetuals begin with a whole one (order book V2); those of delivery
# contracts and options are spliced onto a requested one.
#
#   marketprism plan pipelines/gateio.hcl
#   marketprism run  pipelines/gateio.hcl

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

source "gateio" "md" {
  symbols = [
    "BTC-USDT", "ETH-USDT",
    "BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USD1-PERP", "BTC-USDT-20261225",
    "BTC-USD:BTC-PERP",
    "BTC-USDT-20261225-100000-C",
  ]

  channel "trades" {}
  channel "book" {} # 400 levels each 100 ms; depth = 50: each 20 ms
  channel "bbo" {}
  channel "ticker" {}
  channel "candles" {}
  channel "funding" {}
  channel "mark_price" {}
  channel "index_price" {}
  channel "open_interest" {}
  channel "options" {}
  channel "instruments" {}
}

# Delivery contracts have neither liquidations nor statistics: a source of
# perpetuals has these.
source "gateio" "perpetuals" {
  symbols = ["BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USD1-PERP", "BTC-USD:BTC-PERP"]

  channel "liquidations" {}
  channel "long_short_ratio" {}
}

sink "parquet" "lake" {
  input = [source.gateio.md, source.gateio.perpetuals]
  path  = var.lake

  roll_every = "1h"
}
