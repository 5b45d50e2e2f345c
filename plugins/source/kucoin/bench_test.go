package kucoin

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

var benchFrames = []oracle.Frame{
	{"trade", `{"topic":"/market/match:BTC-USDT","type":"message","subject":"trade.l3match","data":{"makerOrderId":"671b5007389355000701b1d3","price":"67523","sequence":"11067996711960577","side":"buy","size":"0.003","symbol":"BTC-USDT","takerOrderId":"671b50161777ff00074c168d","time":"1729843222921000000","tradeId":"11067996711960577","type":"match"}}`},
	{"contract trade", `{"topic":"/contractMarket/execution:XBTUSDTM","type":"message","subject":"match","sn":1794100537695,"data":{"symbol":"XBTUSDTM","sequence":1794100537695,"side":"buy","size":2,"price":"90503.9","takerOrderId":"247822202957807616","makerOrderId":"247822167163555840","tradeId":"1794100537695","ts":1731898619520000000}}`},
	{"book", `{"T":"obu.FUTURES", "dp":"increment@10ms", "t":"delta", "P":1790114459840641662, "d":{"a":[],"b":[["85973.3","16236"],["85887.1","98"]],"C":1747821262585,"s":"XBTUSDTM","M":1790114459839000000,"O":1747821262584}}`},
	{"level1", `{"topic":"/spotMarket/level1:BTC-USDT","type":"message","subject":"level1","data":{"asks":["68145.8","0.51987471"],"bids":["68145.7","1.29267802"],"timestamp":1729816058766}}`},
	{"tickerV2", `{"topic":"/contractMarket/tickerV2:XBTUSDTM","type":"message","subject":"tickerV2","sn":1709284589209,"data":{"symbol":"XBTUSDTM","sequence":1709284589209,"bestBidSize":713,"bestBidPrice":"67523.1","bestAskPrice":"67523.2","bestAskSize":314,"ts":1729822226746000000}}`},
	{"ticker", `{"topic":"/market/snapshot:BTC-USDT","type":"message","subject":"trade.snapshot","data":{"sequence":"14691517895","data":{"askSize":1.15955795,"averagePrice":66867.89967612,"baseCurrency":"BTC","bidSize":0.81772627,"board":1,"buy":67158.1,"changePrice":315.20000000000000000000,"changeRate":0.0047,"close":67158.1,"datetime":1729758286011,"high":67611.80000000000000000000,"lastTradedPrice":67158.1,"low":65257.10000000000000000000,"makerCoefficient":1.000000,"makerFeeRate":0.001,"marginTrade":true,"mark":0,"market":"USDS","marketChange1h":{"changePrice":-102.10000000000000000000,"changeRate":-0.0015,"high":67310.60000000000000000000,"low":67051.80000000000000000000,"open":67260.20000000000000000000,"vol":53.73698081000000000000,"volValue":3609965.13819127700000000000},"markets":["USDS","PoW"],"open":66842.90000000000000000000,"quoteCurrency":"USDT","sell":67158.2,"siteTypes":["turkey","thailand","global"],"sort":100,"symbol":"BTC-USDT","symbolCode":"BTC-USDT","takerCoefficient":1.000000,"takerFeeRate":0.001,"trading":true,"vol":2227.69895852000000000000,"volValue":147972941.07857507300000000000}}}`},
	{"candle", `{"topic":"/market/candles:BTC-USDT_1hour","type":"message","subject":"trade.candles.update","data":{"symbol":"BTC-USDT","candles":["1729839600","67644.9","67437.6","67724.8","67243.8","44.88321441","3027558.991928447"],"time":1729842192785164840}}`},
	{"mark", `{"T":"mark-price", "P":1790113097443102278, "d":{"s":"XBTUSDTM","mp":"86201.79","ip":"86248.81","oi":"11481754","ts":1790113097000}}`},
	{"funding", `{"T":"funding-fee", "P":1790114460967760880, "d":{"s":"XBTUSDTM","fr":"-0.000076","ft":1790092800000,"lfr":"-0.000019","nt":1790121600000,"gl":28800000,"fc":"0.003","ff":"-0.003"}}`},
	{"2021 book", `{"data":{"sequenceStart":1613277183879,"symbol":"BCHSV-USDT","changes":{"asks":[],"bids":[["241.553","5","1613277183879"]]},"sequenceEnd":1613277183879},"subject":"trade.l2update","topic":"/market/level2:BCHSV-USDT","type":"message"}`},
	{"2021 contract book", `{"topic":"/contractMarket/level2:XBTUSDTM","type":"message","subject":"level2","sn":1709400450243,"data":{"sequence":1709400450243,"change":"90631.2,sell,2","timestamp":1731897467182}}`},
}

// BenchmarkDecode decodes a frame into encoded records.
func BenchmarkDecode(b *testing.B) { oracle.Bench(b, New(), market.MarketMixed, benchFrames) }
