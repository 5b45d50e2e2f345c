package market

import (
	"errors"
	"math/big"
	"strings"
	"testing"
)

func TestDecimalText(t *testing.T) {
	for _, c := range []struct{ in, text, trimmed string }{
		{"0", "0", "0"},
		{"0.00", "0.00", "0"},
		{"-1.50", "-1.50", "-1.5"},
		{"100", "100", "100"},
		{"0.00005100", "0.00005100", "0.000051"},
		{"61602.01000000", "61602.01000000", "61602.01"},
		{"5.6e-7", "0.00000056", "0.00000056"},
		{"1E3", "1000", "1000"},
		{"1.5e1", "15", "15"},
		{"9104586458437.00000000", "9104586458437.00000000", "9104586458437"},
		{"9223372036854775807", "9223372036854775807", "9223372036854775807"},
		{"-9223372036854775808", "-9223372036854775808", "-9223372036854775808"},
		{"123456789012345678901234567890.12345", "123456789012345678901234567890.12345", "123456789012345678901234567890.12345"},
	} {
		d, err := ParseDecimal(c.in)
		if err != nil {
			t.Fatalf("%s: %v", c.in, err)
		}
		if d.Text() != c.text || d.String() != c.trimmed {
			t.Errorf("%s: text %q trimmed %q, want %q %q", c.in, d.Text(), d.String(), c.text, c.trimmed)
		}
		if !d.Valid() || d.IsNull() {
			t.Errorf("%s: valid %v null %v", c.in, d.Valid(), d.IsNull())
		}
	}
	if (Decimal{}).String() != "" || !(Decimal{}).IsNull() || !(Decimal{}).Valid() {
		t.Error("the zero Decimal must be a valid null")
	}
}

func TestDecimalRefuses(t *testing.T) {
	for _, in := range []string{"", "-", ".", ".5", "5.", "1.2.3", "1e", "NaN", "Inf", "0x1", " 1", "1 ", "1e999",
		strings.Repeat("9", 37), "0." + strings.Repeat("0", 38) + "1", "1e-39", "+1", "1_0", "--1"} {
		if d, err := ParseDecimal(in); !errors.Is(err, ErrDecimal) {
			t.Errorf("%q gave %v, %v", in, d, err)
		}
	}
}

func FuzzDecimal(f *testing.F) {
	for _, s := range []string{"1.50", "-0.1", "99999999999999999999999.5", "1e-7", "x"} {
		f.Add(s, "2.25")
	}
	f.Fuzz(func(t *testing.T, s, u string) {
		a, errA := ParseDecimal(s)
		b, errB := ParseDecimal([]byte(u))
		if errA != nil || errB != nil {
			return
		}
		ra, ok := new(big.Rat).SetString(s)
		rb, ok2 := new(big.Rat).SetString(u)
		if !ok || !ok2 {
			t.Fatalf("%q or %q was taken, but is no number", s, u)
		}
		if g, _ := new(big.Rat).SetString(a.Text()); g.Cmp(ra) != 0 {
			t.Fatalf("%q became %q", s, a.Text())
		}
		if g, _ := new(big.Rat).SetString(a.String()); g.Cmp(ra) != 0 {
			t.Fatalf("%q trimmed to %q", s, a)
		}
		if a.Cmp(b) != ra.Cmp(rb) {
			t.Fatalf("cmp %q %q = %d", s, u, a.Cmp(b))
		}
		if p, ok := a.Mul(b); ok {
			if g, _ := new(big.Rat).SetString(p.Text()); g.Cmp(new(big.Rat).Mul(ra, rb)) != 0 {
				t.Fatalf("%q × %q = %q", s, u, p.Text())
			}
		}
		if p, ok := a.Add(b); ok {
			if g, _ := new(big.Rat).SetString(p.Text()); g.Cmp(new(big.Rat).Add(ra, rb)) != 0 {
				t.Fatalf("%q + %q = %q", s, u, p.Text())
			}
		}
		if c, ok := a.Rescale(8); ok {
			if !NewDecimal(c, 8).Equal(a) {
				t.Fatalf("rescale %q = %d", s, c)
			}
		}
	})
}

func TestDecimalAllocs(t *testing.T) {
	in := []byte("61602.01000000")
	buf := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() {
		d, _ := ParseDecimal(in)
		buf = d.AppendTrimmed(buf[:0])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkParseDecimal(b *testing.B) {
	in := []byte("61602.01000000")
	b.ReportAllocs()
	for b.Loop() {
		if d, err := ParseDecimal(in); err != nil || d.IsNull() {
			b.Fatal(err)
		}
	}
}
