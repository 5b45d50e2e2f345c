package okx

import (
	"bytes"
	"compress/flate"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestGolden(t *testing.T) { oracle.Golden(t, New()) }

func FuzzDecode(f *testing.F) {
	oracle.Fuzz(f, New(), market.MarketLinear, market.MarketMixed)
}

// TestAllocs: a frame costs no allocation once its symbols were seen.
func TestAllocs(t *testing.T) { oracle.Allocs(t, New(), market.MarketLinear, benchFrames) }

// TestInflate: compressed frames cost no allocation either, are bounded, and are
// refused where they are cut short.
func TestInflate(t *testing.T) {
	pack := func(text []byte) []byte {
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, flate.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(text)
		w.Close()
		return b.Bytes()
	}
	frame := []byte(`{"table":"spot/trade","data":[{"instrument_id":"ETH-USDT","price":"162.12","side":"buy","size":"11.085","timestamp":"2019-05-06T06:51:24.389Z","trade_id":"1210447366"}]}`)
	in := &source.Input{Kind: source.InputBinary, Recv: 1, Data: pack(frame)}
	decode := oracle.Decoding(t, New(), market.MarketSpot)
	if n := testing.AllocsPerRun(100, func() { decode(in) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	feed := oracle.NewFeed(t, New(), market.MarketSpot)
	whole := in.Data
	for _, bad := range [][]byte{whole[:len(whole)/2], nil, {0xff}, pack(bytes.Repeat([]byte{' '}, maxInflated+1<<20))} {
		in.Data = bad
		if _, err := feed.Decode(t, in); err == nil {
			t.Errorf("%d bytes were taken", len(bad))
		}
	}
	in.Data = whole
	if items, err := feed.Decode(t, in); err != nil || len(items) == 0 {
		t.Errorf("the next frame gives %v, %v", items, err)
	}
}
