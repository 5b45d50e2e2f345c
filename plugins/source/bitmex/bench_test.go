package bitmex

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

var benchFrames = []oracle.Frame{
	{"trade", `{"table":"trade","action":"insert","data":[{"timestamp":"2026-06-04T03:47:41.001Z","symbol":"XBTUSD","side":"Buy","size":100,"price":65091,"tickDirection":"PlusTick","trdMatchID":"00000000-006d-1000-0000-0012a5c8049f","grossValue":153630,"homeNotional":0.0015363,"foreignNotional":100,"trdType":"Regular"}]}`},
	{"book", `{"table":"orderBookL2","action":"update","data":[{"symbol":"XBTUSD","id":63218460402,"side":"Sell","size":700,"price":65091,"timestamp":"2026-06-04T03:47:40.300Z"},{"symbol":"XBTUSD","id":63218460406,"side":"Buy","size":300,"price":65090.5,"timestamp":"2026-06-04T03:47:40.300Z"}]}`},
	{"delete", `{"table":"orderBookL2","action":"delete","data":[{"symbol":"XBTUSD","id":63218460402,"side":"Sell","price":65091,"timestamp":"2026-06-04T03:47:40.300Z"}]}`},
	{"quote", `{"table":"quote","action":"insert","data":[{"timestamp":"2026-06-04T03:47:41.005Z","symbol":"XBTUSD","bidSize":9,"bidPrice":65090.5,"askPrice":65091,"askSize":700}]}`},
	{"quotes", `{"table":"quote","action":"insert","data":[{"timestamp":"2021-04-17T16:41:02.183Z","symbol":"XLMUSDT","bidSize":500,"bidPrice":0.60708,"askPrice":0.60862,"askSize":178},{"timestamp":"2021-04-17T16:41:02.184Z","symbol":"XLMUSDT","bidSize":112,"bidPrice":0.60649,"askPrice":0.60862,"askSize":178},{"timestamp":"2021-04-17T16:41:02.203Z","symbol":"XLMUSDT","bidSize":500,"bidPrice":0.60742,"askPrice":0.60862,"askSize":178}]}`},
	{"ten", `{"table":"orderBook10","action":"update","data":[{"symbol":"XBTUSD","bids":[[30715.5,217100],[30713,3000],[30711.5,30500],[30711,120100],[30710.5,131200],[30710,7200],[30709,6100],[30707.5,60000],[30707,36800],[30706.5,142100]],"timestamp":"2026-05-30T19:20:46.586Z","asks":[[30716,537700],[30716.5,32200],[30717,400],[30720,7200],[30723.5,7900],[30725,100],[30727,100],[30727.5,3600],[30728,12400],[30728.5,19200]]}]}`},
	{"mark", `{"table":"instrument","action":"update","data":[{"symbol":"XBTUSD","openValue":505404200000,"fairPrice":65093.5,"markPrice":65093.5,"timestamp":"2026-06-04T03:47:45.500Z"}]}`},
	{"candle", `{"table":"tradeBin1m","action":"insert","data":[{"timestamp":"2026-02-01T00:07:00.000Z","symbol":"XBTUSD","open":23077.5,"high":23096.5,"low":23076.5,"close":23085,"trades":93,"volume":342600,"vwap":23081.1487,"lastSize":100,"turnover":1484330812,"homeNotional":14.843308120000001,"foreignNotional":342600}]}`},
	{"whole 2021", `{"table":"orderBookL2","action":"partial","data":[{"symbol":"XBTUSD","id":8796381000,"side":"Sell","size":49900,"price":36190},{"symbol":"XBTUSD","id":8796381050,"side":"Sell","size":125714,"price":36189.5},{"symbol":"XBTUSD","id":8796385500,"side":"Buy","size":136,"price":36145}]}`},
	{"acknowledgement", `{"success":true,"subscribe":"orderBookL2:XBTUSD","request":{"op":"subscribe","args":["orderBookL2:XBTUSD"]},"pool":"Primary"}`},
}

// BenchmarkDecode decodes a frame into encoded records.
func BenchmarkDecode(b *testing.B) { oracle.Bench(b, New(), market.MarketInverse, benchFrames) }
