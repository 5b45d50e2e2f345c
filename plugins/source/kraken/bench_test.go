package kraken

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

var benchFrames = []struct{ name, frame string }{
	{"trade", `{"channel":"trade","type":"update","data":[{"symbol":"MATIC/USD","side":"sell","price":0.5117,"qty":40.00000000,"ord_type":"market","trade_id":4665906,"timestamp":"2023-09-25T07:49:37.708706Z"}]}`},
	{"book1", `{"channel":"book","type":"update","data":[{"symbol":"MATIC/USD","bids":[{"price":0.5657,"qty":1098.39475580}],"asks":[],"checksum":2114181697,"timestamp":"2023-10-06T17:35:55.440295Z"}]}`},
	{"trade-v1", `[0,[["5541.20000","0.15850568","1534614057.321597","s","l",""]],"trade","XBT/USD"]`},
}

// BenchmarkDecode decodes a frame into encoded records.
func BenchmarkDecode(b *testing.B) {
	for _, f := range benchFrames {
		b.Run(f.name, func(b *testing.B) {
			s := New()
			dec, err := s.NewDecoder(source.DecoderSettings{Market: market.MarketSpot})
			if err != nil {
				b.Fatal(err)
			}
			out := source.NewOut(s, market.MarketSpot)
			in := &source.Input{Kind: source.InputText, Recv: 1, Data: []byte(f.frame)}
			b.SetBytes(int64(len(f.frame)))
			b.ReportAllocs()
			for b.Loop() {
				out.Begin(in)
				if err := dec.Decode(in, out); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
