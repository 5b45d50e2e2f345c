# What is traded most, chosen by the venue's own catalogue and followed while it
# runs: the thirty USDT perpetuals of the greatest volume at Binance, and Deribit's
# options that expire within a week.
#
#   marketprism instruments binance --market linear --turnover
#   marketprism plan pipelines/select.hcl     # what is chosen today; --offline asks nobody
#   marketprism run  pipelines/select.hcl

variable "lake" {
  description = "Directory of the Parquet files"
  type        = string
  default     = "lake"
}

marketprism {
  data_dir = "data"

  journal {
    max_size = "8GiB"
    max_age  = "6h"
    sync     = "50ms"
  }
}

source "binance" "top" {
  symbols {
    exclude = "USDC*"
    select {
      market    = "linear"
      quote     = "USDT"
      perpetual = true
      top       = 30
      margin    = 5 # who is among the first 35 stays
    }
  }

  channel "trades" {}
  channel "bbo" {}
  channel "funding" {}
}

source "deribit" "week" {
  symbols {
    refresh = "15m"
    select {
      market         = "option"
      base           = ["BTC", "ETH"]
      expires_within = "7d"
    }
  }

  channel "trades" {}
  channel "options" {}
}

sink "parquet" "lake" {
  input = [source.binance.top, source.deribit.week]
  path  = var.lake

  roll_every = "1h"
}
