package kucoin

import (
	"bytes"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
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
	f := oracle.NewFeed(t, New(), market.MarketLinear, sub(market.ChannelOpenInterest, ""))
	for _, frame := range []string{
		`{"T":"mark-price","P":1790113097443102278,"d":{"s":"XBTUSDTM","mp":"86201.79","ip":"86248.81","oi":"11481754","ts":1790113097000}}`,
		`{"topic":"/contract/instrument:XBTUSDTM","subject":"funding.rate","data":{"granularity":60000,"fundingRate":-0.002966,"timestamp":1551770400000}}`,
	} {
		for _, k := range oracle.Kinds(f.Records(t, frame)) {
			if k != market.KindOpenInterest {
				t.Errorf("a %s", k)
			}
		}
	}
}
