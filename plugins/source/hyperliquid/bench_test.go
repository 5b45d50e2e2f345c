package hyperliquid

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

var benchFrames = []oracle.Frame{
	{"trade", `{"channel":"trades","data":[{"coin":"BTC","side":"A","px":"37000.0","sz":"0.00018","time":1700000046105,"hash":"0x5a66f0a3bb7a1e2f5be00416a01fffd202dc0089567d3d01fe2f9bf67a7df81a","tid":456615105517601,"users":["0x1111111111111111111111111111111111111111","0x2222222222222222222222222222222222222222"]}]}`},
	{"book", `{"channel":"l2Book","data":{"coin":"BTC","time":1700000067883,"levels":[[{"px":"37172.0","sz":"1.21098","n":5},{"px":"37171.0","sz":"0.35315","n":2},{"px":"37170.0","sz":"10.25923","n":36},{"px":"37165.0","sz":"0.0001","n":1},{"px":"37160.0","sz":"7.5","n":12}],[{"px":"37173.0","sz":"8.45682","n":30},{"px":"37174.0","sz":"0.63175","n":5},{"px":"37180.0","sz":"50.66449","n":18},{"px":"37181.0","sz":"0.00711","n":2},{"px":"37190.0","sz":"0.01782","n":1}]]}}`},
	{"bbo", `{"channel":"bbo","data":{"coin":"BTC","time":1700000068169,"bbo":[{"px":"37172.0","sz":"0.92185","n":4},{"px":"37173.0","sz":"9.07775","n":32}]}}`},
	{"context", `{"channel":"activeAssetCtx","data":{"coin":"BTC","ctx":{"funding":"0.0000125","openInterest":"34524.51236","prevDayPx":"36319.0","dayNtlVlm":"5691036987.81","premium":"-0.0001329822","oraclePx":"37182.2","markPx":"37172.0","midPx":"37172.5","impactPxs":["37172.0","37173.0"],"dayBaseVlm":"84496.56164"}}}`},
	{"candle", `{"channel":"candle","data":{"t":1700000040000,"T":1700000099999,"s":"BTC","i":"1m","o":"37170.0","c":"37172.0","h":"37174.0","l":"37170.0","v":"0.80052","n":47}}`},
}

// BenchmarkDecode decodes a frame into encoded records.
func BenchmarkDecode(b *testing.B) { oracle.Bench(b, New(), market.MarketLinear, benchFrames) }
