package bitstamp

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

var benchFrames = []oracle.Frame{
	{"trade", `{"data":{"id":650885871,"timestamp":"1791403680","amount":0.00274133,"amount_str":"0.00274133","price":83463.08,"price_str":"83463.08","type":1,"microtimestamp":"1791403680349000","buy_order_id":2058521371389952,"sell_order_id":2058521418514434},"channel":"live_trades_btcusd","event":"trade"}`},
	{"contract trade", `{"data":{"id":2001939623936278528,"id_str":"2001939623936278528","type":0,"sell_order_id":2050545352740993,"buy_order_id":2050545360601216,"amount":0.00921,"amount_str":"0.00921","price":77204,"price_str":"77204","microtimestamp":"1789456400586000","timestamp":"1789456400586"},"channel":"live_trades_btcusd-perp","event":"trade"}`},
	{"changes", `{"data":{"timestamp":"1772723362","microtimestamp":"1772723362377013","bids":[["2087.28","0.500000"],["2087.19","0.00000000"],["2087.09","0.056000"],["2087.03","3.410000"],["2086.99","2.373151"],["2086.97","0.00000000"]],"asks":[["2087.29","6.330796"],["2087.32","0.241000"],["2087.36","6.824888"],["2087.37","0.00000000"]]},"channel":"diff_order_book_ethusd","event":"data"}`},
	{"book", `{"data":{"timestamp":"1789457617","microtimestamp":"1789457617906487","bids":[["77188","0.41122"],["77183","0.32386"],["77180","1.87131"],["77179","0.5"],["77170","2.25"]],"asks":[["77189","0.41124"],["77193","0.32385"],["77194","1.10113"],["77195","0.2"],["77199","3"]]},"channel":"order_book_btcusd-perp","event":"data"}`},
	{"funding", `{"data":{"market":"btcusd-perp","mark_price":"77186.81199586","index_price":"77177.99454545454","funding_rate":"0.000123","timestamp":"1789457618","next_funding_time":"1789459200"},"channel":"funding_rate_btcusd-perp","event":"funding_rate_saved"}`},
	{"heartbeat", `{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}`},
}

// BenchmarkDecode decodes a frame into encoded records.
func BenchmarkDecode(b *testing.B) { oracle.Bench(b, New(), market.MarketLinear, benchFrames) }
