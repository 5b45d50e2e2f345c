package kraken

import (
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

// contractFrames are those of Kraken Futures.
var contractFrames = []oracle.Frame{
	{"book", `{"feed":"book","product_id":"PF_XBTUSD","side":"buy","seq":270613033,"price":39080.5,"qty":0.0125,"timestamp":1790000025941}`},
	{"trade", `{"feed":"trade","product_id":"PI_XBTUSD","uid":"df029bc0-1e27-4c19-8dd7-d6dc89217508","side":"sell","type":"fill","seq":222737,"time":1790000084700,"qty":386.0,"price":39054.5}`},
	{"ticker", `{"time":1790000048112,"product_id":"PF_ETHUSD","funding_rate":0.032725177043125,"funding_rate_prediction":0.031251669645,"relative_funding_rate":0.0000186711875,"relative_funding_rate_prediction":0.00001783425,"next_funding_rate_time":1790001200000,"leverage":"100x","premium":-0.0,"feed":"ticker","bid":1751.6,"ask":1751.7,"bid_size":1.459,"ask_size":2.886,"volume":57204.177,"dtm":0,"index":1751.75,"last":1751.7,"change":0.97,"suspended":false,"tag":"perpetual","pair":"ETH:USD","openInterest":24085.822,"markPrice":1751.97553924942,"maturityTime":0,"post_only":false,"volumeQuote":99424431.8132,"open":1734.8,"high":1765.4,"low":1708.8}`},
	{"snapshot", `{"feed":"book_snapshot","product_id":"PF_XBTUSD","timestamp":1790000071000,"seq":270511410,"tickSize":null,"bids":[` +
		strings.Repeat(`{"price":39253.0,"qty":3.44},`, 2000) + `{"price":39251.5,"qty":0.4452}],"asks":[{"price":39279.5,"qty":2.455}]}`},
	{"trades", `{"feed":"trade_snapshot","product_id":"PI_XBTUSD","trades":[` +
		strings.Repeat(`{"feed":"trade","product_id":"PI_XBTUSD","uid":"57d30a84-6890-4f5d-9f1b-087d24701ec9","side":"buy","type":"fill","seq":222736,"time":1790000007008,"qty":2519.0,"price":39096.0},`, 99) +
		`{"feed":"trade","product_id":"PI_XBTUSD","uid":"0a265ed2-0c5d-4d81-ba70-4bbbd724783d","side":"sell","type":"liquidation","seq":222735,"time":1790000069433,"qty":636.0,"price":39077.0}]}`},
	{"exponents", `{"time":1790000051042,"product_id":"PI_XBTUSD","funding_rate":3.216424e-12,"funding_rate_prediction":-8.63581351e-10,"relative_funding_rate":9.6321875e-8,"relative_funding_rate_prediction":-0.000025847309375,"next_funding_rate_time":1790001200000,"feed":"ticker","bid":29914.5,"ask":29925.0,"bid_size":8400.0,"ask_size":10000.0,"volume":100353210.0,"dtm":0,"leverage":"50x","index":29927.42,"premium":-0.0,"last":29929.0,"change":-5.280481050716035,"suspended":false,"tag":"perpetual","pair":"XBT:USD","openInterest":43967525.0,"markPrice":29919.75,"maturityTime":0,"post_only":false}`},
}

// BenchmarkDecodeContracts decodes a frame into encoded records.
func BenchmarkDecodeContracts(b *testing.B) { oracle.Bench(b, New(), market.MarketLinear, contractFrames) }

func TestAllocsContracts(t *testing.T) { oracle.Allocs(t, New(), market.MarketLinear, contractFrames) }
