package bitget

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

var benchFrames = []oracle.Frame{
	{"trade", `{"action":"update","arg":{"instType":"SPOT","channel":"trade","instId":"BTCUSDT"},"data":[{"ts":"1789456512001","price":"63001.1","size":"0.0013","side":"buy","tradeId":"1350000000000000002"}],"ts":1789456512012}`},
	{"book", `{"action":"update","arg":{"instType":"USDT-FUTURES","channel":"books","instId":"MAVUSDT"},"data":[{"asks":[["0.0104","116536.86"],["0.01042","382403.68"]],"bids":[["0.01036","463711.3"],["0.01035","175053.47"],["0.01031","0"]],"ts":"1789456512458","seq":427583480664,"pseq":427583480559}],"ts":1789456512511}`},
	{"bbo", `{"action":"snapshot","arg":{"instType":"USDT-FUTURES","channel":"books1","instId":"BTCUSDT"},"data":[{"asks":[["26274.9","0.0009"]],"bids":[["26274.8","0.0009"]],"ts":"1789456512458","seq":427583480664,"pseq":0}],"ts":1789456512511}`},
	{"ticker", `{"action":"snapshot","arg":{"instType":"USDT-FUTURES","channel":"ticker","instId":"BTCUSDT"},"data":[{"instId":"BTCUSDT","lastPr":"27000.5","bidPr":"27000","askPr":"27000.5","bidSz":"2.71","askSz":"8.76","open24h":"27000.5","high24h":"30668.5","low24h":"26999.0","change24h":"-0.00002","fundingRate":"0.000010","nextFundingTime":"1789459200000","markPrice":"27000.0","indexPrice":"25702.4","holdingAmount":"929.502","baseVolume":"368.900","quoteVolume":"10152429.961","openUtc":"27000.5","symbolType":1,"symbol":"BTCUSDT","deliveryPrice":"0","ts":"1789456515021"}],"ts":1789456515039}`},
	{"candle", `{"action":"update","arg":{"instType":"SPOT","channel":"candle1m","instId":"ETHUSDT"},"data":[["1789456380000","2200.1","2201","2200","2200.5","1.5","3300.75","3300.75"]],"ts":1789456385821}`},
	{"liquidation", `{"action":"update","arg":{"instType":"usdt-futures","topic":"liquidation"},"data":[{"symbol":"BTCUSDT","side":"buy","price":"89000","amount":"37.722858","ts":"1789456515000"}],"ts":1789456515100}`},
	{"v1 trade", `{"action":"update","arg":{"instType":"mc","channel":"trade","instId":"BTCUSDT"},"data":[["1653882567817","30322.5","1.117","buy"],["1653882567817","30322","1.566","buy"]]}`},
	{"v1 book", `{"action":"update","arg":{"instType":"sp","channel":"books","instId":"BTCUSDT"},"data":[{"asks":[["30266.73","0.0109"],["30266.77","0.0117"]],"bids":[["30266.57","0.0119"]],"checksum":1732241839,"ts":"1653885248245"}]}`},
}

// BenchmarkDecode decodes a frame into encoded records.
func BenchmarkDecode(b *testing.B) { oracle.Bench(b, New(), market.MarketLinear, benchFrames) }
