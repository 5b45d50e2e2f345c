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
	s := New()
	dec, err := s.NewDecoder(source.DecoderSettings{Market: market.MarketSpot})
	if err != nil {
		t.Fatal(err)
	}
	out := source.NewOut(s, market.MarketSpot)
	in := &source.Input{Kind: source.InputBinary, Recv: 1, Data: pack(frame)}
	decode := func() error { out.Begin(in); return dec.Decode(in, out) }
	if n := testing.AllocsPerRun(100, func() {
		if err := decode(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	whole := in.Data
	for _, bad := range [][]byte{whole[:len(whole)/2], nil, {0xff}, pack(bytes.Repeat([]byte{' '}, maxInflated+1<<20))} {
		if in.Data = bad; decode() == nil {
			t.Errorf("%d bytes were taken", len(bad))
		}
	}
	if in.Data = whole; decode() != nil || len(out.Bytes()) == 0 {
		t.Error("the next frame is refused too")
	}
}
