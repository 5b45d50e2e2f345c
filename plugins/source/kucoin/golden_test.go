package kucoin

import (
	"bytes"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestGolden(t *testing.T) { oracle.Golden(t, New()) }

func FuzzDecode(f *testing.F) {
	oracle.Fuzz(f, New(), market.MarketSpot, market.MarketLinear, market.MarketMixed)
}

// TestAllocs: a frame costs no allocation once its symbols were seen.
func TestAllocs(t *testing.T) { oracle.Allocs(t, New(), market.MarketMixed, benchFrames) }

// TestBinary: the pro socket's binary frames are read as the text that they are.
func TestBinary(t *testing.T) {
	for _, f := range benchFrames {
		in := source.Input{Kind: source.InputText, Recv: 1, Data: []byte(f.Text)}
		var records [2][]byte
		for i := range records {
			items, err := oracle.NewFeed(t, New(), market.MarketMixed).Decode(t, &in)
			if err != nil {
				t.Fatal(err)
			}
			for _, it := range items {
				records[i] = append(records[i], it.Record...)
			}
			in.Kind = source.InputBinary
		}
		if !bytes.Equal(records[0], records[1]) || len(records[0]) == 0 {
			t.Errorf("%s: %d bytes of records of text, %d of the same in a binary frame", f.Name, len(records[0]), len(records[1]))
		}
	}
}

// TestInUse: of what one frame carries for several channels, those in use come out.
func TestInUse(t *testing.T) {
	s := New()
	dec, err := s.NewDecoder(source.DecoderSettings{Market: market.MarketLinear, Channels: map[market.Channel]schema.Values{market.ChannelOpenInterest: nil}})
	if err != nil {
		t.Fatal(err)
	}
	out := source.NewOut(s, market.MarketLinear)
	for _, frame := range []string{
		`{"T":"mark-price","P":1790113097443102278,"d":{"s":"XBTUSDTM","mp":"86201.79","ip":"86248.81","oi":"11481754","ts":1790113097000}}`,
		`{"topic":"/contract/instrument:XBTUSDTM","subject":"funding.rate","data":{"granularity":60000,"fundingRate":-0.002966,"timestamp":1551770400000}}`,
	} {
		in := &source.Input{Kind: source.InputText, Recv: 1, Data: []byte(frame)}
		out.Begin(in)
		if err := dec.Decode(in, out); err != nil {
			t.Fatal(err)
		}
		for b := out.Bytes(); len(b) > 0; {
			if source.IsSignal(b) {
				_, n, err := source.ParseSignal(b)
				if err != nil {
					t.Fatal(err)
				}
				b = b[n:]
				continue
			}
			v, err := market.Validate(b)
			if err != nil || v.Kind() != market.KindOpenInterest {
				t.Fatalf("a %s, %v", v.Kind(), err)
			}
			b = b[v.Size():]
		}
	}
}
