package source

import (
	"fmt"
	"testing"
	"time"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
)

func cursor(text string) *jsonscan.Cursor {
	c := new(jsonscan.Cursor)
	c.Reset([]byte(text))
	return c
}

func TestDecimals(t *testing.T) {
	for in, want := range map[string]string{`"1.500"`: "1.500", `0.00000000`: "0.00000000", `1e-08`: "0.00000001",
		`"123456789012345678901.5"`: "123456789012345678901.5"} {
		c := cursor(in)
		if d := Decimal(c); d.Text() != want || c.End() != nil {
			t.Errorf("%s = %q, %v", in, d.Text(), c.Err())
		}
	}
	for _, in := range []string{`""`, `null`} {
		if c := cursor(in); !DecimalOrNull(c).IsNull() || c.End() != nil {
			t.Errorf("%s: %v", in, c.Err())
		}
		if c := cursor(in); !Decimal(c).IsNull() || c.End() == nil {
			t.Errorf("%s was taken for a decimal", in)
		}
	}
	for _, in := range []string{`"x"`, `true`, `[1]`, `"1.2.3"`} {
		if c := cursor(in); !DecimalOrNull(c).IsNull() || c.End() == nil {
			t.Errorf("%s was taken for a decimal", in)
		}
	}
}

func TestTimes(t *testing.T) {
	for in, want := range map[string]int64{
		"2026-08-02T04:23:45.665579Z":    1785644625665579000,
		"2023-10-04T16:26:30.524394914Z": 1696436790524394914,
		"2024-02-29T23:59:59Z":           1709251199000000000,
		"1970-01-01T00:00:00+00:00":      0,
	} {
		c := cursor(`"` + in + `"`)
		if got := Time(c); got != want || c.End() != nil {
			t.Errorf("%s = %d, want %d, %v", in, got, want, c.Err())
		}
		std, err := time.Parse(time.RFC3339Nano, in)
		if err != nil || std.UnixNano() != want {
			t.Errorf("%s: the standard library says %d, %v", in, std.UnixNano(), err)
		}
	}
	for _, in := range []string{`""`, `"2026-08-02"`, `"2026-08-02T04:23:45"`, `"2026-13-02T04:23:45Z"`, `"2026-08-02T04:23:45.Z"`,
		`"2026-08-02T04:23:45+02:00"`, `"2026-08-02T04:23:45.1234567891Z"`, `1`} {
		if c := cursor(in); Time(c) != 0 || c.End() == nil {
			t.Errorf("%s was taken for a time", in)
		}
	}
	for in, want := range map[string]int64{`1672515782136`: 1672515782136000000, `"1583139600000"`: 1583139600000000000, `1672515782136123`: 1672515782136123000} {
		if c := cursor(in); Millis(c) != want || c.End() != nil {
			t.Errorf("%s: %v", in, c.Err())
		}
	}
	for in, want := range map[string]int64{`"1618678133.365913"`: 1618678133365913000, `1688669597.8277369`: 1688669597827736900, `1688671659`: 1688671659000000000} {
		if c := cursor(in); Seconds(c) != want || c.End() != nil {
			t.Errorf("%s: %v", in, c.Err())
		}
	}
	for _, in := range []string{`-1`, `"x"`, `99999999999999999999`} {
		if c := cursor(in); Millis(c) != 0 || c.End() == nil {
			t.Errorf("%s was taken for milliseconds", in)
		}
		if c := cursor(in); Seconds(c) != 0 || c.End() == nil {
			t.Errorf("%s was taken for seconds", in)
		}
	}
}

func FuzzTime(f *testing.F) {
	f.Add("2026-08-02T04:23:45.665579Z")
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseTime([]byte(s))
		if !ok {
			return
		}
		std, err := time.Parse(time.RFC3339Nano, s)
		if err == nil && std.UnixNano() != got {
			t.Fatalf("%s = %d, the standard library says %d", s, got, std.UnixNano())
		}
	})
}

func TestLevels(t *testing.T) {
	c := cursor(`[["1.50","2"],[3,"0.00","x",[1]]]`)
	ls := Levels(c, nil)
	if err := c.End(); err != nil || len(ls) != 2 || ls[0].Price.Text() != "1.50" || ls[1].Amount.Text() != "0.00" {
		t.Errorf("%v, %v", ls, err)
	}
	for _, in := range []string{`[["1"]]`, `[[]]`, `[1]`, `{}`, `[["1","x"]]`} {
		c := cursor(in)
		if Levels(c, nil); c.End() == nil {
			t.Errorf("%s was taken for levels", in)
		}
	}
	var row [3]market.Decimal
	for in, want := range map[string]string{`["1.50",2]`: "2 1.50 2 ", `["1","","3",null]`: "3 1  3", `[1,2,3,4,["x"]]`: "3 1 2 3", `[]`: "0   "} {
		row = [3]market.Decimal{}
		c := cursor(in)
		if got := fmt.Sprint(Decimals(c, row[:])) + " " + row[0].Text() + " " + row[1].Text() + " " + row[2].Text(); got != want || c.End() != nil {
			t.Errorf("%s: %q, want %q, %v", in, got, want, c.Err())
		}
	}
	for _, in := range []string{`{}`, `["x"]`, `[1,`} {
		c := cursor(in)
		if Decimals(c, row[:]); c.End() == nil {
			t.Errorf("%s was taken for numbers", in)
		}
	}
	var ls0 []market.Level
	if n := testing.AllocsPerRun(100, func() {
		c.Reset([]byte(`[["1.50","2"],["3","0.00"]]`))
		ls0 = Levels(c, ls0[:0])
	}); n > 1 { // the frame itself
		t.Errorf("%v allocations", n)
	}
}

// TestExponents: what the cursor reads at sight is what market.ParseDecimal makes of
// the same text.
func TestExponents(t *testing.T) {
	for _, text := range []string{"9.12E-7", "-9.10e-7", "1e5", "1.5E+3", "1e17", "1e18", "123456789012345678e3", "0e-8", "1e-38", "12.5e0"} {
		want, err := market.ParseDecimal(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, json := range []string{text, `"` + text + `"`} {
			var c jsonscan.Cursor
			c.Reset([]byte("[" + json + "]"))
			c.Array()
			c.Elem()
			got := Decimal(&c)
			for c.Elem() {
			}
			if err := c.End(); err != nil || got != want {
				t.Errorf("%s is %v, want %v, %v", json, got, want, err)
			}
		}
	}
}
