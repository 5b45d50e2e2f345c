package gateio

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

var benchFrames = []oracle.Frame{
	{"spot trade", `{"time":1790359171,"time_ms":1790359171120,"channel":"spot.trades","event":"update","result":{"id":220643714,"id_market":220643714,"create_time":1790359171,"create_time_ms":"1790359171119.653000","side":"sell","currency_pair":"BTC_USDT","amount":"0.002984","price":"83790.9","range":"220643714-220643714","trade_mode":0}}`},
	{"trade", `{"time":1741500000,"time_ms":1741500000123,"channel":"futures.trades","event":"update","result":[{"size":"-108.5","id":27753479,"create_time":1741500000,"create_time_ms":1741500000123,"price":"96.4","contract":"BTC_USDT"}]}`},
	{"book v2", `{"channel":"futures.obu","result":{"t":1743673027017,"s":"ob.BTC_USDT.400","U":79072179674,"u":79072179694,"b":[["83702.2","62"],["83702.1","0"],["83702","0"],["83685.6","120"],["83685","239"]]},"time_ms":1743673027020}`},
	{"book", `{"time":1785548245,"time_ms":1785548245220,"channel":"futures.order_book_update","event":"update","result":{"t":1785548245213,"U":120900607897,"u":120900607901,"s":"BTC_USDT_20261225","a":[{"p":"62915.1","s":"0"},{"p":"62916","s":"20.5"}],"b":[{"p":"62914.2","s":"21129"}],"l":"100"}}`},
	{"bbo", `{"time":1785548245,"time_ms":1785548245220,"channel":"futures.book_ticker","event":"update","result":{"t":1785548245214,"u":120900607904,"s":"BTC_USDT","b":"62914.2","B":"20884","a":"62914.3","A":"33644"}}`},
	{"ticker", `{"time":1785548246,"time_ms":1785548246990,"channel":"futures.tickers","event":"update","result":[{"contract":"BTC_USDT","last":"62914.3","mark_price":"62914.3","index_price":"62937.6","funding_rate":"0.000033","funding_rate_indicative":"0.000033","funding_interval":28800,"funding_offset":0,"funding_next_apply":1785571200,"total_size":"651185722","volume_24h":"518068345","volume_24h_quote":"1665006","high_24h":"64000","low_24h":"62000","change_percentage":"-3.1290","t":1785548246983}]}`},
	{"candle", `{"time":1606292600,"time_ms":1606292600376,"channel":"spot.candlesticks","event":"update","result":{"t":"1606292580","v":"2362.32035","c":"19128.1","h":"19128.1","l":"19128.1","o":"19128.1","n":"1m_BTC_USDT","a":"3.8283","w":true}}`},
	{"option", `{"time":1630576352,"time_ms":1630576352123,"channel":"options.contract_tickers","event":"update","result":{"name":"BTC_USDT-20211231-59800-P","last_price":"11349.5","mark_price":"11170.19","index_price":"50012.5","position_size":993,"bid1_price":"10611.7","bid1_size":100,"ask1_price":"11728.7","ask1_size":100,"vega":"34.8731","theta":"-72.80588","rho":"-28.53331","gamma":"0.00003","delta":"-0.78311","mark_iv":"0.86695","bid_iv":"0.65481","ask_iv":"0.88145","leverage":"3.5541112718136"}}`},
	{"stats", `{"time":1742812872,"time_ms":1742812872995,"channel":"futures.contract_stats","event":"update","result":{"time":1742812860,"contract":"ETH_USDT","mark_price":87746.16,"lsr_taker":0,"lsr_account":1.9713114754098362,"long_liq_size":"0.5","open_interest":"22883730.5","top_lsr_account":1.196078431372549,"top_lsr_size":0.8342584430144387}}`},
}

// BenchmarkDecode decodes a frame into encoded records.
func BenchmarkDecode(b *testing.B) { oracle.Bench(b, New(), market.MarketLinear, benchFrames) }
