# Kraken spot, WebSocket v2. Every book update carries a checksum, which is
# computed and compared: a book that differs is subscribed anew, alone.
#
#   marketprism plan pipelines/kraken.hcl
#   marketprism run  pipelines/kraken.hcl

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

source "kraken" "spot" {
  symbols = ["BTC-USD", "ETH-USD", "BTC-EUR"]

  channel "trades" {}
  channel "book" {
    depth = 100 # levels a side that are subscribed and kept
  }
  channel "bbo" {} # each change of the best bid or offer, on a connection of its own
  channel "ticker" {}
  channel "candles" {}
  channel "instruments" {} # precisions too, which the checksum needs
}

processor "book_snapshot" "top" {
  input = source.kraken.spot.book
  depth = 25
  every = "1s"
}

sink "parquet" "lake" {
  input = [source.kraken.spot, processor.book_snapshot.top]
  path  = var.lake

  roll_every = "1h"
}
