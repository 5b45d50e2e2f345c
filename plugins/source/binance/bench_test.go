package binance

import (
	"errors"
	"testing"

	"github.com/bytedance/sonic"
	segmentio "github.com/segmentio/encoding/json"
	"github.com/valyala/fastjson"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

const (
	benchTrade = `{"stream":"bnbbtc@trade","data":{"e":"trade","E":1672515782136,"s":"BNBBTC","t":3735683259,"p":"61602.01000000","q":"0.00100000","T":1672515782135,"m":true,"M":true}}`
	benchDepth = `{"stream":"bnbbtc@depth@100ms","data":{"e":"depthUpdate","E":1672515782136,"s":"BNBBTC","U":50093239189,"u":50093239202,` +
		`"b":[["61737.63000000","0.00000000"],["61730.17000000","0.51000000"],["56854.58000000","0.00000000"],["56850.00000000","1.25000000"]],` +
		`"a":[["61837.64000000","1.54698000"],["61839.85000000","0.00000000"],["61841.00000000","0.02500000"]]}}`
	benchBBO = `{"stream":"bnbbtc@bookTicker","data":{"u":400900217,"s":"BNBBTC","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}}`
)

var benchFrames = []oracle.Frame{{"trade/record", benchTrade}, {"depth7/record", benchDepth}, {"bbo/record", benchBBO}}

type wireTrade struct {
	Stream string `json:"stream"`
	Data   struct {
		Event  string `json:"e"`
		Sent   int64  `json:"E"`
		Symbol string `json:"s"`
		ID     int64  `json:"t"`
		Price  string `json:"p"`
		Amount string `json:"q"`
		Time   int64  `json:"T"`
		Maker  bool   `json:"m"`
		Ignore bool   `json:"M"`
	} `json:"data"`
}

type wireDepth struct {
	Stream string `json:"stream"`
	Data   struct {
		Event  string      `json:"e"`
		Sent   int64       `json:"E"`
		Symbol string      `json:"s"`
		First  int64       `json:"U"`
		Last   int64       `json:"u"`
		Bids   [][2]string `json:"b"`
		Asks   [][2]string `json:"a"`
	} `json:"data"`
}

// BenchmarkDecode decodes a frame into an encoded record, and, beside it, into a
// struct with the same decimals by other decoders, which by then have encoded
// nothing.
func BenchmarkDecode(b *testing.B) {
	oracle.Bench(b, New(), market.MarketSpot, benchFrames)
	type unmarshal func([]byte, any) error
	for _, other := range []struct {
		name   string
		decode unmarshal
	}{
		{"segmentio", func(b []byte, v any) error { _, err := segmentio.Parse(b, v, segmentio.ZeroCopy); return err }},
		{"sonic", func(b []byte, v any) error { return sonic.ConfigFastest.Unmarshal(b, v) }},
	} {
		b.Run("trade/"+other.name, func(b *testing.B) {
			b.ReportAllocs()
			var w wireTrade
			for b.Loop() {
				if err := other.decode([]byte(benchTrade), &w); err != nil {
					b.Fatal(err)
				}
				if _, err := level(w.Data.Price, w.Data.Amount); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("depth7/"+other.name, func(b *testing.B) {
			b.ReportAllocs()
			var w wireDepth
			var ls []market.Level
			for b.Loop() {
				if err := other.decode([]byte(benchDepth), &w); err != nil {
					b.Fatal(err)
				}
				ls = ls[:0]
				for _, side := range [][][2]string{w.Data.Bids, w.Data.Asks} {
					for i := range side {
						l, err := level(side[i][0], side[i][1])
						if err != nil {
							b.Fatal(err)
						}
						ls = append(ls, l)
					}
				}
			}
		})
	}
	b.Run("trade/fastjson", func(b *testing.B) {
		b.ReportAllocs()
		var p fastjson.Parser
		var w wireTrade
		for b.Loop() {
			v, err := p.Parse(benchTrade)
			if err != nil {
				b.Fatal(err)
			}
			d := v.Get("data")
			w.Data.Sent, w.Data.ID, w.Data.Time, w.Data.Maker = d.GetInt64("E"), d.GetInt64("t"), d.GetInt64("T"), d.GetBool("m")
			if _, err := level(d.GetStringBytes("p"), d.GetStringBytes("q")); err != nil || string(d.GetStringBytes("e")) != "trade" {
				b.Fatal(err)
			}
		}
	})
	b.Run("depth7/fastjson", func(b *testing.B) {
		b.ReportAllocs()
		var p fastjson.Parser
		var w wireDepth
		var ls []market.Level
		for b.Loop() {
			v, err := p.Parse(benchDepth)
			if err != nil {
				b.Fatal(err)
			}
			d := v.Get("data")
			w.Data.Sent, w.Data.First, w.Data.Last = d.GetInt64("E"), d.GetInt64("U"), d.GetInt64("u")
			ls = ls[:0]
			for _, key := range []string{"b", "a"} {
				for _, pair := range d.GetArray(key) {
					l, err := level(pair.GetStringBytes("0"), pair.GetStringBytes("1"))
					if err != nil {
						b.Fatal(err)
					}
					ls = append(ls, l)
				}
			}
		}
	})
}

func level[T ~string | ~[]byte](price, amount T) (market.Level, error) {
	p, err := market.ParseDecimal(price)
	a, err2 := market.ParseDecimal(amount)
	if err != nil || err2 != nil {
		return market.Level{}, errors.Join(err, err2)
	}
	return market.Level{Price: p, Amount: a}, nil
}
