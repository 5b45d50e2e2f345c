package oracle

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Frame is a text frame whose decoding is measured.
type Frame = struct{ Name, Text string }

// Allocs fails if a frame costs an allocation once its symbols were seen. What
// stands before frames (acknowledgements, say) is decoded first.
func Allocs(t *testing.T, s source.Source, m market.Market, frames []Frame, before ...string) {
	decode := Decoding(t, s, m, before...)
	for _, f := range frames {
		in := &source.Input{Kind: source.InputText, Recv: 1, Data: []byte(f.Text)}
		if n := testing.AllocsPerRun(100, func() { decode(in) }); n != 0 {
			t.Errorf("%s: %v allocations: %.500s", f.Name, n, f.Text)
		}
	}
}

// Bench decodes each frame into encoded records, again and again, behind what
// stands before it.
func Bench(b *testing.B, s source.Source, m market.Market, frames []Frame, before ...string) {
	for _, f := range frames {
		b.Run(f.Name, func(b *testing.B) {
			decode := Decoding(b, s, m, before...)
			in := &source.Input{Kind: source.InputText, Recv: 1, Data: []byte(f.Text)}
			b.SetBytes(int64(len(f.Text)))
			b.ReportAllocs()
			for b.Loop() {
				decode(in)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(f.Text)), "ns/B")
		})
	}
}

// Decoding starts a decoder and gives what decodes an input into encoded records,
// without a look at them: for what is measured.
func Decoding(t testing.TB, s source.Source, m market.Market, before ...string) func(*source.Input) {
	t.Helper()
	dec, err := s.NewDecoder(source.DecoderSettings{Market: m})
	if err != nil {
		t.Fatal(err)
	}
	out := source.NewOut(s, m)
	decode := func(in *source.Input) {
		out.Begin(in)
		if err := dec.Decode(in, out); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range before {
		decode(&source.Input{Kind: source.InputText, Recv: 1, Data: []byte(text)})
	}
	return decode
}
