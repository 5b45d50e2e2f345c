package hyperliquid

import (
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestGolden(t *testing.T) { oracle.Golden(t, New()) }

func FuzzDecode(f *testing.F) {
	oracle.Fuzz(f, New(), market.MarketLinear, market.MarketSpot, market.MarketMixed)
}

// TestAllocs: a frame costs no allocation once its symbols were seen.
func TestAllocs(t *testing.T) { oracle.Allocs(t, New(), market.MarketLinear, benchFrames) }

// TestInUse: of a context only the channels that are in use come out, and a book
// states the depth that is subscribed.
func TestInUse(t *testing.T) {
	s := New()
	dec, err := s.NewDecoder(source.DecoderSettings{Market: market.MarketLinear, Channels: map[market.Channel]schema.Values{
		market.ChannelFunding: nil, market.ChannelBook: {"depth": int64(3)}}})
	if err != nil {
		t.Fatal(err)
	}
	out := source.NewOut(s, market.MarketLinear)
	var kinds []string
	for _, f := range benchFrames {
		if f.Name != "context" && f.Name != "book" {
			continue
		}
		out.Begin(&source.Input{Kind: source.InputText, Recv: 1, Data: []byte(f.Text)})
		if err := dec.Decode(&source.Input{Kind: source.InputText, Recv: 1, Data: []byte(f.Text)}, out); err != nil {
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
			if err != nil {
				t.Fatal(err)
			}
			if v.Kind() == market.KindBookSnapshot && v.Depth() != levelsFast {
				t.Errorf("a book of %d levels", v.Depth())
			}
			kinds = append(kinds, v.Kind().String())
			b = b[v.Size():]
		}
	}
	if got := strings.Join(kinds, " "); got != "book_snapshot funding" {
		t.Errorf("%s", got)
	}
}

// TestStatus: an answer that isn't one is refused with what the venue said.
func TestStatus(t *testing.T) {
	f := oracle.NewFeed(t, New(), market.MarketLinear)
	for status, text := range map[int]string{422: "Failed to deserialize the JSON body into the target type", 429: "null", 500: ""} {
		in := oracle.Answer("https://api.hyperliquid.xyz/info", []byte(text))
		in.Status = status
		if _, err := f.Decode(t, &in); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%d: %v", status, err)
		}
	}
}
