# Bitstamp, spot and perpetuals: two feeds of one source. Nothing numbers what the
# venue sends, so that books can't be verified; bbo is derived from them.
#
#   marketprism plan pipelines/bitstamp.hcl
#   marketprism run  pipelines/bitstamp.hcl

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

source "bitstamp" "md" {
  symbols = ["BTC-USD", "ETH-USD", "BTC-EUR", "BTC-USD-PERP", "ETH-USD-PERP"]

  channel "trades" {}
  channel "book" {} # the whole book's changes; feed = "order_book": the best 100 levels, whole each time
  channel "bbo" {}
  channel "ticker" {}
  channel "candles" {}
  channel "funding" {}
  channel "mark_price" {}
  channel "index_price" {}
  channel "open_interest" {}
  channel "instruments" {}
}

sink "parquet" "lake" {
  input = [source.bitstamp.md]
  path  = var.lake

  roll_every = "1h"
}
