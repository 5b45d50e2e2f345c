package jsonscan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSuite(t *testing.T) {
	for _, s := range valid {
		if !json.Valid([]byte(s)) || !utf8.ValidString(s) {
			t.Errorf("%.60q stands among the valid frames", s)
		}
		if err := agree([]byte(s)); err != nil {
			t.Errorf("%.60q: %v", s, err)
		}
	}
	for _, s := range invalid {
		if json.Valid([]byte(s)) && utf8.ValidString(s) {
			t.Errorf("%.60q stands among the invalid frames", s)
		}
		if err := agree([]byte(s)); err != nil {
			t.Errorf("%.60q: %v", s, err)
		}
	}
}

// TestMutations cuts real frames at every byte and puts every odd byte at every place.
func TestMutations(t *testing.T) {
	for _, frame := range []string{tradeFrame, depthFrame, `[0,[[1.5,2e-3,"é\n\ud83d\ude00"], {"a":-0.0 , "\u0062":null}]]`} {
		for i := range len(frame) {
			if err := agree([]byte(frame[:i])); err != nil {
				t.Fatalf("%q: %v", frame[:i], err)
			}
		}
		for i := range len(frame) {
			for _, b := range []byte("\x00\n \",-.0e[]{}:\\t\x80\xc3\xff") {
				m := []byte(frame)
				m[i] = b
				if err := agree(m); err != nil {
					t.Fatalf("%q: %v", m, err)
				}
			}
		}
	}
}

func TestThreeMillionNested(t *testing.T) {
	const n = 3_000_000
	for name, frame := range map[string]string{
		"open arrays":    strings.Repeat("[", n),
		"closed arrays":  strings.Repeat("[", n) + strings.Repeat("]", n),
		"open objects":   strings.Repeat(`{"a":`, n),
		"closed objects": strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n),
	} {
		for _, depth := range []int{0, 1, LimitDepth, 1 << 30} {
			c := Cursor{MaxDepth: depth, MaxBytes: 64 << 20}
			c.Reset([]byte(frame))
			var se *SyntaxError
			if err := c.End(); !errors.As(err, &se) || se.Fault != Limit {
				t.Errorf("%s, depth %d: %v", name, depth, err)
			}
			var events []string
			c.Reset([]byte(frame))
			walk(&c, 0, &events)
			if err := c.End(); !errors.As(err, &se) || se.Fault != Limit {
				t.Errorf("%s, depth %d, walked: %v", name, depth, err)
			}
		}
	}
}

func TestDepthLimit(t *testing.T) {
	for _, limit := range []int{1, 2, 63, 64, 65, 127, 128} {
		for depth := max(1, limit-1); depth <= limit+1; depth++ {
			frame := ""
			for i := range depth { // arrays and objects mixed, so that each level's kind has to be right
				frame += []string{"[", `{"a":`, `[0,`}[i*i%3]
			}
			frame += "1"
			for i := depth - 1; i >= 0; i-- {
				frame += []string{"]", `,"b":2}`, ",3]"}[i*i%3]
			}
			c := Cursor{MaxDepth: limit}
			c.Reset([]byte(frame))
			if err := c.End(); (err == nil) != (depth <= limit) {
				t.Errorf("limit %d, depth %d: %v", limit, depth, err)
			}
		}
	}
}

func TestSizeLimit(t *testing.T) {
	c := Cursor{MaxBytes: 4}
	c.Reset([]byte("1234"))
	if err := c.End(); err != nil {
		t.Error(err)
	}
	c.Reset([]byte("12345"))
	var se *SyntaxError
	if err := c.End(); !errors.As(err, &se) || se.Fault != Limit || se.Offset != 4 {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	read := func(frame string, f func(c *Cursor)) string {
		var c Cursor
		c.Reset([]byte(frame))
		f(&c)
		if err := c.End(); err != nil {
			return err.Error()
		}
		return ""
	}
	for _, tt := range []struct {
		frame string
		f     func(c *Cursor)
		want  string
	}{
		{`{"a":"x"}`, func(c *Cursor) { c.Object(); c.Key(); c.Num() }, "byte 5: a number is due, found a string"},
		{`{"a": 1}`, func(c *Cursor) { c.Object(); c.Key(); c.Str() }, "byte 6: a string is due, found a number"},
		{`{"a":null}`, func(c *Cursor) { c.Object(); c.Key(); c.Bool() }, "byte 5: a bool is due, found null"},
		{`{"a":nul}`, func(c *Cursor) { c.Object(); c.Key(); c.Bool() }, "byte 5: true, false or null is misspelt"},
		{`[true]`, func(c *Cursor) { c.Object() }, "byte 0: an object is due, found an array"},
		{`{"a":true}`, func(c *Cursor) { c.Array() }, "byte 0: an array is due, found an object"},
		{`[{}]`, func(c *Cursor) { c.Array(); c.Elem(); c.NumOrStr() }, "byte 1: a number or a string is due, found an object"},
		{`[true]`, func(c *Cursor) { c.Array(); c.Elem(); c.Int64() }, "byte 1: a number or a string is due, found a bool"},
		{`["a1"]`, func(c *Cursor) { c.Array(); c.Elem(); c.Int64() }, "byte 2: not an integer"},
		{`[1, -5]`, func(c *Cursor) { c.Array(); c.Elem(); c.Elem(); c.Uint64() }, "byte 4: an integer is negative"},
		{`[9223372036854775808]`, func(c *Cursor) { c.Array(); c.Elem(); c.Int64() }, "byte 1: an integer does not fit int64"},
		{`[18446744073709551616]`, func(c *Cursor) { c.Array(); c.Elem(); c.Uint64() }, "byte 1: an integer does not fit 64 bits"},
		{`{"price":""}`, func(c *Cursor) {
			c.Object()
			c.Key()
			if _, _, ok := c.DecimalParts(); !ok {
				c.Fail("a price is no decimal")
			}
		}, "byte 10: a price is no decimal"},
		{`{"a":1}`, func(c *Cursor) { c.Object(); c.Key(); c.Fail("an unknown key") }, "byte 2: an unknown key"},
		{`[01]`, func(c *Cursor) {}, "byte 1: a number has a leading zero"},
		{`[1`, func(c *Cursor) {}, "byte 2: the frame ends inside an array"},
		{`{"a`, func(c *Cursor) {}, "byte 3: the frame ends inside a string"},
		{`{} {}`, func(c *Cursor) {}, "byte 3: more follows behind the value"},
		{`[1]`, func(c *Cursor) { c.Array(); c.Key() }, "byte 1: Key was called outside an object: Leave what is open inside it"},
		{`{"a":1}`, func(c *Cursor) { c.Object(); c.Elem() }, "byte 1: Elem was called outside an array: Leave what is open inside it"},
		{`{"a":1}`, func(c *Cursor) { c.Object(); c.Num() }, "byte 1: a value was asked for between an object's values: call Key first"},
		{`[1]`, func(c *Cursor) { c.Array(); c.Num() }, "byte 1: a value was asked for between an array's values: call Elem first"},
		{`1`, func(c *Cursor) { c.Num(); c.Num() }, "byte 1: a value was asked for behind the last one"},
		{`1`, func(c *Cursor) { c.Num(); c.Leave() }, "byte 1: Leave was called outside any object or array"},
	} {
		if got := read(tt.frame, tt.f); got != "jsonscan: "+tt.want {
			t.Errorf("%s: %s\nwant jsonscan: %s", tt.frame, got, tt.want)
		}
	}
	var c Cursor
	c.Skip()
	if c.Key() || c.Elem() || c.Err() == nil || c.End() == nil {
		t.Error("a cursor without a frame reads something")
	}
}

// TestErrorStays holds an error over the next frame: it is the caller's.
func TestErrorStays(t *testing.T) {
	var c Cursor
	c.Reset([]byte(`[1,]`))
	err := c.End()
	c.Reset([]byte(`{"a":"x"`))
	c.End()
	c.Reset([]byte(`1`))
	if c.End() != nil || err.Error() != "jsonscan: byte 3: no value starts with this byte" {
		t.Error(err)
	}
}

func TestKeys(t *testing.T) {
	var c Cursor
	c.Reset([]byte(`{"e":1,"E":2,"\u0065":3,"\u0045":4,"e\u0000":5,"":6,"stream":7,"str\u0065am" : 8,"é":9}`))
	var got []string
	for c.Object(); c.Key(); {
		key := ""
		switch string(c.KeyBytes()) {
		case "e":
			key = "lower"
		case "E":
			key = "upper"
		default:
			key = string(c.KeyBytes())
		}
		got = append(got, fmt.Sprintf("%s=%c=%d", key, c.Key1(), c.Int64()))
	}
	want := "[lower=e=1 upper=E=2 lower=e=3 upper=E=4 e\x00=\x00=5 =\x00=6 stream=\x00=7 stream=\x00=8 é=\x00=9]"
	if err := c.End(); err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v %q", err, got)
	}
}

// TestResolvedStringsStay reads many strings with escapes and looks at them only at the end of the frame.
func TestResolvedStringsStay(t *testing.T) {
	var frame bytes.Buffer
	frame.WriteByte('[')
	for i := range 2000 {
		fmt.Fprintf(&frame, `"\u0061%d\n",`, i)
	}
	frame.WriteString(`"end"]`)
	var c Cursor
	c.Reset(frame.Bytes())
	var got [][]byte
	for c.Array(); c.Elem(); {
		got = append(got, c.Str())
	}
	if err := c.End(); err != nil || len(got) != 2001 {
		t.Fatal(err, len(got))
	}
	for i, s := range got[:2000] {
		if string(s) != fmt.Sprintf("a%d\n", i) {
			t.Fatalf("%d: %q", i, s)
		}
	}
}

// TestMark reads "data" only once "stream", which comes behind it, has said what it is.
func TestMark(t *testing.T) {
	for _, frame := range []string{
		`{"data":{"x":[{"y":1}],"p":"1.5"},"n":[[{}]],"stream":"s"}`,
		`{"stream":"s","data":{"x":[{"y":1}],"p":"1.5"}}`,
	} {
		var c Cursor
		var data Mark
		c.Reset([]byte(frame))
		for c.Object(); c.Key(); {
			switch string(c.KeyBytes()) {
			case "data":
				data = c.Mark()
			case "stream":
				if string(c.Str()) != "s" {
					t.Error("the stream's name is wrong")
				}
			}
		}
		if err := c.End(); err != nil {
			t.Fatal(err)
		}
		c.Seek(data)
		coef := int64(0)
		for c.Object(); c.Key(); {
			switch string(c.KeyBytes()) {
			case "x":
				c.Array()
				if !c.Elem() || c.Kind() != KindObject {
					t.Error("the array is gone")
				}
				c.Leave()
			case "p":
				coef, _, _ = c.DecimalParts()
			}
		}
		if c.Depth() != 1 {
			t.Errorf("depth is %d", c.Depth())
		}
		if err := c.End(); err != nil || coef != 15 {
			t.Errorf("%v, %d", err, coef)
		}
		c.Reset([]byte(frame))
		c.Seek(data)
		var se *SyntaxError
		if err := c.End(); !errors.As(err, &se) || se.Fault != Misuse {
			t.Error("a mark of the frame before was taken:", err)
		}
	}
}

func TestNull(t *testing.T) {
	var c Cursor
	c.Reset([]byte(`[null, null ,0,"null"]`))
	nulls := 0
	for c.Array(); c.Elem(); {
		if c.Null() {
			nulls++
		}
	}
	if err := c.End(); err != nil || nulls != 2 {
		t.Errorf("%d nulls, %v", nulls, err)
	}
}

func TestRaw(t *testing.T) {
	var c Cursor
	c.Reset([]byte(`{"a": {"b" : [1, "x"]} , "c":1.50}`))
	c.Object()
	c.Key()
	if got := c.Raw(); string(got) != `{"b" : [1, "x"]}` {
		t.Errorf("%q", got)
	}
	c.Key()
	if got := c.Raw(); string(got) != `1.50` {
		t.Errorf("%q", got)
	}
	if err := c.End(); err != nil {
		t.Error(err)
	}
}

func TestAllocations(t *testing.T) {
	escaped := []byte(`{"\u0065":"\ud83d\ude00 a\n","p":1e5,"q":12345678901234567890,"r":null,"s":[[{}]]}`)
	var c Cursor
	var tr trade
	var de depth
	tf, df := []byte(tradeFrame), []byte(depthFrame)
	for name, f := range map[string]func() error{
		"trade": func() error { return decodeTrade(&c, tf, &tr) },
		"depth": func() error { return decodeDepth(&c, df, &de) },
		"skip":  func() error { c.Reset(df); return c.End() },
		"escapes": func() error {
			c.Reset(escaped)
			for c.Object(); c.Key(); {
				switch string(c.KeyBytes()) {
				case "e":
					c.Str()
				case "p", "q":
					c.DecimalParts()
				case "r":
					c.Null()
				}
			}
			return c.End()
		},
	} {
		if err := f(); err != nil { // which also makes room
			t.Fatal(name, err)
		}
		if n := testing.AllocsPerRun(100, func() { f() }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if string(tr.symbol) != "BNBBTC" || tr.id != 12345 || tr.price != (Decimal{100000, 8}) || tr.amount != (Decimal{10000000000, 8}) || !tr.maker || tr.time != 1672515782136 {
		t.Errorf("%+v", tr)
	}
	if len(de.bids) != 4 || len(de.asks) != 3 || de.bids[3] != (level{Decimal{1657010000000, 8}, Decimal{1231000000, 8}}) || de.last != 31485920163 {
		t.Errorf("%+v", de)
	}
}
