package htx

import (
	"bytes"
	"compress/gzip"
	"testing"

	"github.com/marketprism/marketprism/sdk/capture"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/corpus"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

var benchFrames = []oracle.Frame{
	{"spot trade", `{"ch":"market.btcusdt.trade.detail","ts":1790134831872,"tick":{"id":182140716701,"ts":1790134831870,"data":[{"id":182140716701236887569077664,"ts":1790134831870,"tradeId":103357140867,"amount":0.000198,"price":86859.07,"direction":"sell"}]}}`},
	{"trade", `{"ch":"market.BTC-USDT.trade.detail","ts":1790134831872,"tick":{"id":100129125618870,"ts":1790134831871,"data":[{"amount":196,"quantity":0.196,"trade_turnover":17024.51,"ts":1790134831871,"id":1001291256188700000,"price":86859.8,"direction":"sell"}]}}`},
	{"mbp", `{"ch":"market.btcusdt.mbp.150","ts":1790134831873,"tick":{"seqNum":229803485567,"prevSeqNum":229803485424,"bids":[[86853.4,0.0],[86852.87,0.009708],[86848.5,0]],"asks":[[86862.88,0.102302]]}}`},
	{"book", `{"ch":"market.BTC-USDT.depth.size_150.high_freq","ts":1790134831873,"tick":{"asks":[],"bids":[[86853.4,2],[86848.5,0]],"ch":"market.BTC-USDT.depth.size_150.high_freq","event":"update","id":100129125618998,"mrid":100129125618998,"ts":1790134831871,"version":1789895280798}}`},
	{"spot bbo", `{"ch":"market.btcusdt.bbo","ts":1790134831587,"tick":{"seqId":155441231856,"ask":86859.9,"askSize":0.794873,"bid":86859.8,"bidSize":4.378544,"quoteTime":1790134831586,"symbol":"btcusdt"}}`},
	{"bbo", `{"ch":"market.BTC-USDT.bbo","ts":1790134831587,"tick":{"mrid":100129125618683,"id":1790134831,"bid":[86859.8,6172],"ask":[86859.9,817],"ts":1790134831586,"version":100129125618683,"ch":"market.BTC-USDT.bbo"}}`},
	{"ticker", `{"ch":"market.BTC-USDT.detail","ts":1790134831587,"tick":{"id":1790134800,"mrid":108854811173,"open":86728.4,"close":86859.8,"high":87729.5,"low":85306.6,"amount":34473.406,"vol":34473406,"trade_turnover":2996364677.232,"count":203526,"ask":[86859.9,2138],"bid":[86859.8,3743]}}`},
	{"candle", `{"ch":"market.btcusdt.kline.1min","ts":1790134831587,"tick":{"id":1790134800,"open":86845.71,"close":86859.8,"low":86845.71,"high":86860.72,"amount":0.154437587171888,"vol":13414.1844552,"count":4}}`},
	{"mark", `{"ch":"market.BTC-USDT.mark_price.1min","tick":{"id":1790135100,"open":"86834.8","close":"86826.6","high":"86838.2","low":"86826.6","amount":"0","vol":"0","count":"0","trade_turnover":"0"},"ts":1790135117624}`},
	{"funding", `{"op":"notify","topic":"public.BTC-USDT.funding_rate","ts":1790135117894,"data":[{"symbol":"BTC","contract_code":"BTC-USDT","fee_asset":"USDT","funding_time":"1790135110000","funding_rate":"0.000064355479737646","estimated_rate":null,"settlement_time":"1790150400000","trade_partition":"USDT"}]}`},
	{"small prices", `{"ch":"market.shibusdt.mbp.150","ts":1790134831873,"tick":{"seqNum":229803485567,"prevSeqNum":229803485424,"bids":[[9.121E-7,92730.24],[9.12E-7,66053.68],[9.109E-7,4.0E7]],"asks":[]}}`},
}

// BenchmarkDecode decodes a frame, once inflated, into encoded records.
func BenchmarkDecode(b *testing.B) { oracle.Bench(b, New(), market.MarketLinear, benchFrames) }

// BenchmarkFrames decodes what a recording received, as it came.
func BenchmarkFrames(b *testing.B) {
	for name, m := range map[string]market.Market{"htx-spot-20210417-cfg2": market.MarketSpot, "htx-linear-20220217-cfg1": market.MarketLinear} {
		b.Run(m.String(), func(b *testing.B) {
			frames, decode := received(b, name), decoding(b, m)
			text := 0
			for i := range frames {
				text += decode(&frames[i])
			}
			b.SetBytes(int64(text))
			b.ReportAllocs()
			for b.Loop() {
				for i := range frames {
					decode(&frames[i])
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(text), "ns/B")
		})
	}
}

// received are the frames of a recording.
func received(t testing.TB, name string) (all []source.Input) {
	t.Helper()
	r, err := capture.Open(corpus.Path(t, "captures", name+".jsonl.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for e, err := range r.All() {
		if err != nil {
			t.Fatal(err)
		}
		if in := e.Input(); in.Kind == source.InputBinary {
			in.Data = bytes.Clone(in.Data)
			all = append(all, in)
		}
	}
	return all
}

// decoding gives what decodes a frame, and how long the text of it was.
func decoding(t testing.TB, m market.Market) func(*source.Input) int {
	t.Helper()
	s := New()
	dec, err := s.NewDecoder(source.DecoderSettings{Market: m})
	if err != nil {
		t.Fatal(err)
	}
	out := source.NewOut(s, m)
	return func(in *source.Input) int {
		out.Begin(in)
		if err := dec.Decode(in, out); err != nil {
			t.Fatal(err)
		}
		return len(dec.(*decoder).z.buf)
	}
}

// pack is a frame as the venue sends it.
func pack(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(text)
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
