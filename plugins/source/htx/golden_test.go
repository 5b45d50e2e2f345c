package htx

import (
	"bytes"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestGolden(t *testing.T) { oracle.Golden(t, New()) }

func FuzzDecode(f *testing.F) { oracle.Fuzz(f, New(), market.MarketSpot, market.MarketMixed) }

// FuzzInflate feeds what may be no gzip: it is refused, or decoded as its text is.
func FuzzInflate(f *testing.F) {
	for _, b := range benchFrames {
		f.Add(pack(f, []byte(b.Text)))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		feed := oracle.NewFeed(t, New(), market.MarketMixed)
		for range 2 { // the second finds the state the first left
			_, _ = feed.Decode(t, &source.Input{Kind: source.InputBinary, Recv: 1, Data: frame})
		}
	})
}

// TestAllocs: a frame costs no allocation once its symbols were seen.
func TestAllocs(t *testing.T) {
	oracle.Allocs(t, New(), market.MarketLinear, append(benchFrames, oracle.Frame{Name: "ping", Text: `{"ping":1790134831961}`}))
}

// TestInflateAllocs: neither does inflating it.
func TestInflateAllocs(t *testing.T) {
	for name, m := range map[string]market.Market{"htx-spot-20210417-cfg2": market.MarketSpot, "htx-linear-20220217-cfg1": market.MarketLinear} {
		frames, decode := received(t, name), decoding(t, m)
		data := frames[:0]
		for _, in := range frames {
			if before := len(in.Data); decode(&in) > 200 && before > 100 { // no acknowledgement
				data = append(data, in)
			}
		}
		if len(data) < 50 {
			t.Fatalf("%s: %d frames of data", name, len(data))
		}
		if n := testing.AllocsPerRun(10, func() {
			for i := range data {
				decode(&data[i])
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations of %d frames", name, n, len(data))
		}
	}
}

// TestInflate: what is no gzip, is cut short, or becomes too much is refused; the
// frame after it is decoded.
func TestInflate(t *testing.T) {
	good := pack(t, []byte(benchFrames[0].Text))
	bad := bytes.Clone(good)
	bad[len(bad)-6]++ // of the checksum
	feed := oracle.NewFeed(t, New(), market.MarketSpot)
	for what, frame := range map[string]struct {
		data []byte
		want string
	}{
		"empty":      {nil, "EOF"},
		"text":       {[]byte(`{"ping":1}`), "invalid header"},
		"cut short":  {good[:len(good)/2], "unexpected EOF"},
		"a bad sum":  {bad, "invalid checksum"},
		"a bomb":     {pack(t, bytes.Repeat([]byte{' '}, maxInflated+1)), "more than 16777216 bytes"},
		"whitespace": {pack(t, []byte("  ")), "jsonscan"},
	} {
		_, err := feed.Decode(t, &source.Input{Kind: source.InputBinary, Recv: 1, Data: frame.data})
		if err == nil || !strings.HasPrefix(err.Error(), "htx: frame: ") || !strings.Contains(err.Error(), frame.want) {
			t.Errorf("%s: %v, want %q", what, err, frame.want)
		}
		items, err := feed.Decode(t, &source.Input{Kind: source.InputBinary, Recv: 1, Data: good})
		if err != nil || items[len(items)-1].Record == nil {
			t.Errorf("after %s: %v, %v", what, items, err)
		}
	}
}
