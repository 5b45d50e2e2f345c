marketprism {
  data_dir = "/var/lib/marketprism"
  latency  = "low"
  proxy    = "http://user:hunter2@proxy:3128"
  journal {
    max_size     = "1GiB"
    segment_size = "16MiB"
    sync         = "always"
  }
  required_plugins {
    acme = { path = "bin/acme", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
  }
}

source "binance" "all" {
  symbols = ["BTC-USDT", "BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USD:BTC-PERP"]
  channel "trades" {
    aggregate = true
  }
  channel "bbo" {}
  channel "funding" {}
  channel "liquidations" {}
  channel "open_interest" {
    every = "5s"
  }
  channel "book" {
    depth = 100
  }
}

# The same feed again: one union of subscriptions.
source "binance" "more" {
  symbols = ["SOL-USDT", "BTC-USDT"]
  channel "trades" {
    aggregate = true
  }
}

source "acme" "own" {
  symbols = ["BTC-USD"]
  token   = "geheim"
  channel "book" {}
  channel "bbo" {}
}

processor "book_snapshot" "top" {
  input = [source.binance.all, source.acme.own.book]
  depth = 5
  every = "100ms"
}

sink "clickhouse" "hot" {
  input    = [source.binance.all.trades, source.binance.more.trades, processor.book_snapshot.top]
  url      = "http://127.0.0.1:8123"
  password = "geheim"
  batch {
    max_wait = "250ms"
  }
}

sink "stdout" "quotes" {
  input = source.acme.own.bbo
}
