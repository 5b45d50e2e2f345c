# Coinbase Advanced Trade, spot and a perpetual: two feeds of one source. Books
# are verified by the numbers that the venue gives a connection's frames; where
# one is missing, the books of that connection are subscribed anew.
#
#   marketprism plan pipelines/coinbase.hcl
#   marketprism run  pipelines/coinbase.hcl

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

source "coinbase" "md" {
  symbols = ["BTC-USD", "ETH-USD", "BTC-USDC-PERP"]

  channel "trades" {}
  channel "book" {} # all levels; the first snapshot of BTC-USD has 5 MB
  channel "bbo" {}  # derived from the book, for the venue has none
  channel "ticker" {}
  channel "candles" {} # of 5 minutes, the venue has no other
  channel "funding" {} # each minute by request, as is open interest
  channel "open_interest" {}
  channel "instruments" {}
}

sink "parquet" "lake" {
  input = [source.coinbase.md]
  path  = var.lake

  roll_every = "1h"
}
