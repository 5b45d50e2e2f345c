# The first run: trades, books and quotes of two pairs, from `marketprism
# simulate` on this machine, so that no internet is needed:
#
#   marketprism simulate --venue binance --listen 127.0.0.1:9070 &
#   marketprism run pipelines/quickstart.hcl
#
# For the real exchange, use binance.hcl, or point the variables elsewhere:
#
#   marketprism run -var ws_url=wss://stream.binance.com:9443 \
#                   -var http_url=https://api.binance.com pipelines/quickstart.hcl

variable "ws_url" {
  description = "Scheme and host of WebSocket endpoints; the simulator's by default"
  type        = string
  default     = "ws://127.0.0.1:9070"
}

variable "http_url" {
  description = "Scheme and host of HTTP endpoints; the simulator's by default"
  type        = string
  default     = "http://127.0.0.1:9070"
}

variable "lake" {
  description = "Directory of the Parquet files"
  type        = string
  default     = "lake"
}

marketprism {
  data_dir = "data" # journals: what was read is here before anything else sees it

  journal {
    max_size = "256MiB" # of each journal; the oldest segments go first
    max_age  = "6h"
    sync     = "50ms" # a power failure takes no more than this; a crash takes nothing
  }
}

# The symbols are canonical names: BASE-QUOTE is spot, BASE-QUOTE-PERP a
# perpetual future. The feed is then "binance-spot".
source "binance" "md" {
  symbols  = ["BTC-USDT", "ETH-USDT"]
  url      = var.ws_url
  http_url = var.http_url

  channel "trades" {}
  channel "book" {} # differences, kept in step with HTTP snapshots by the venue's rule
  channel "bbo" {}  # best bid and offer
}

# Each second, the best 25 levels of both sides, as one record.
processor "book_snapshot" "top" {
  input = source.binance.md.book
  depth = 25
  every = "1s"
}

# One directory for each kind, exchange, market, symbol and day:
#   lake/trade/exchange=binance/market=spot/symbol=BTCUSDT/date=2026-11-23/*.parquet
sink "parquet" "lake" {
  input = [source.binance.md, processor.book_snapshot.top]
  path  = var.lake

  roll_every = "10s" # files are closed and readable this often; an hour is usual
}
