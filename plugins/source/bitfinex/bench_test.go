package bitfinex

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

// announced are the acknowledgements that frames need before them.
var announced = []string{
	`{"event":"subscribed","channel":"trades","chanId":1,"symbol":"tBTCUSD","subId":"trades:tBTCUSD","pair":"BTCUSD"}`,
	`{"event":"subscribed","channel":"book","chanId":2,"symbol":"tBTCUSD","prec":"P0","freq":"F0","len":"250","subId":"book:tBTCUSD:P0","pair":"BTCUSD"}`,
	`{"event":"subscribed","channel":"ticker","chanId":3,"symbol":"tBTCUSD","subId":"ticker:tBTCUSD","pair":"BTCUSD"}`,
	`{"event":"subscribed","channel":"candles","chanId":4,"key":"trade:1m:tBTCUSD","subId":"candles:trade:1m:tBTCUSD"}`,
	`{"event":"subscribed","channel":"status","chanId":5,"key":"deriv:tBTCF0:USTF0","subId":"status:deriv:tBTCF0:USTF0"}`,
	`{"event":"subscribed","channel":"book","chanId":6,"symbol":"tBTCUSD","prec":"R0","freq":"F0","len":"250","subId":"book:tBTCUSD:R0","pair":"BTCUSD"}`,
	`{"event":"subscribed","channel":"status","chanId":7,"key":"liq:global","subId":"status:liq:global"}`,
	`[6,[[34753002978,7294.7,1.54340371],[34753002979,7294.7,0.5],[34753002980,7295.1,-2]],1,1618677573467]`,
}

var benchFrames = []oracle.Frame{
	{"trade", `[1,"te",[637771130,1615232733897,0.11546588,51350],1670,1618677573467]`},
	{"repeat", `[1,"tu",[637771130,1615232733897,0.11546588,51350],1671,1618677573467]`},
	{"book", `[2,[0.0010261,1,-367.75723427],1672,1618677573467]`},
	{"snapshot", `[2,[[60400,1,0.68826974],[60397,1,1.17989099],[60391,1,1.76983648],[60385,1,2.35978197],[60379,1,2.94972747],[60418,1,-0.68826974],[60421,1,-1.17989099],[60427,1,-1.76983648],[60433,1,-2.35978197],[60439,1,-2.94972747]],1673,1618677573467]`},
	{"checksum", `[2,"cs",-1108044634,1674,1618677573467]`},
	{"exponent", `[2,[2e-8,0,1],1675,1618677573467]`},
	{"ticker", `[3,[278200,1.7023900800000002,282030,2.2626931299999997,-66440,-0.1903,282780,32.20946748,402510,231840],1676,1618677573467]`},
	{"candle", `[4,[1654075080000,31619,31619,31619,31619,0.00843875],1677,1618677573467]`},
	{"status", `[5,[1596124822000,null,0.896,0.771995,null,1396531.67460709,null,1596153600000,0.0001056,6,null,-0.01381344,null,null,0.7664,null,null,246502.09001551,null,null,null,null,0.3],1678,1618677573467]`},
	{"order", `[6,[34753002978,7294.7,1.24340371],1679,1618677573467]`},
	{"heartbeat", `[1,"hb",1680,1618677573467]`},
}

// BenchmarkDecode decodes a frame into encoded records.
func BenchmarkDecode(b *testing.B) {
	oracle.Bench(b, New(), market.MarketMixed, benchFrames, announced...)
}
