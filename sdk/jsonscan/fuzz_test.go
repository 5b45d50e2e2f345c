package jsonscan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// walk reads whatever is due by the calls that a decoder would use and writes it down as events; how picks
// between ways that must agree. It stops recursing at the cursor's depth limit.
func walk(c *Cursor, how int, events *[]string) {
	add := func(kind string, text []byte) { *events = append(*events, kind+string(text)) }
	switch c.Kind() {
	case KindNull:
		if c.Null() {
			add("null", nil)
		}
	case KindBool:
		if b := c.Bool(); c.Err() == nil {
			add(strconv.FormatBool(b), nil)
		}
	case KindNumber:
		at := c.Mark()
		var text []byte
		switch how % 4 {
		case 0:
			text = c.Num()
		case 1:
			text = c.NumOrStr()
		case 2:
			c.DecimalParts()
			text = c.Lexeme()
		case 3:
			text = c.Raw()
		}
		if c.Err() == nil {
			add("number ", text)
			behind := c.Mark()
			checkDecimal(c, at, text)
			checkInteger(c, at, text)
			c.Seek(behind)
		}
	case KindString:
		at := c.Mark()
		var text []byte
		switch how % 3 {
		case 0:
			text = c.Str()
		case 1:
			text = c.NumOrStr()
		case 2:
			raw, escaped := c.RawStr()
			text = raw
			if escaped {
				text = Unescape(nil, raw)
			}
		}
		if c.Err() == nil {
			add("string ", text)
			behind := c.Mark()
			checkDecimal(c, at, text)
			checkInteger(c, at, text)
			c.Seek(behind)
		}
	case KindArray:
		checkDecimals(c, how%4)
		if c.Err() != nil {
			return
		}
		c.Array()
		add("[", nil)
		for c.Elem() {
			walk(c, how, events)
		}
		add("]", nil)
	case KindObject:
		c.Object()
		add("{", nil)
		for c.Key() {
			add("key ", c.KeyBytes())
			if k := c.KeyBytes(); len(k) == 1 && c.Key1() != k[0] || len(k) != 1 && c.Key1() != 0 {
				panic(fmt.Sprintf("Key1 of %q is %q", k, c.Key1()))
			}
			walk(c, how, events)
		}
		add("}", nil)
	default:
		c.Skip() // which finds out what is wrong here
	}
}

// checkDecimal reads the value at a mark again as a decimal and compares it with math/big's reading of its text.
func checkDecimal(c *Cursor, at Mark, text []byte) {
	c.Seek(at)
	coef, scale, ok := c.DecimalParts()
	if c.Err() != nil {
		panic(fmt.Sprintf("DecimalParts of %q: %v", text, c.Err()))
	}
	if !bytes.Equal(c.Lexeme(), text) {
		panic(fmt.Sprintf("the lexeme of %q is %q", text, c.Lexeme()))
	}
	isNumber := json.Valid(text) && (text[0] == '-' || text[0]-'0' <= 9) && text[len(text)-1]-'0' <= 9
	if !isNumber {
		if ok {
			panic(fmt.Sprintf("DecimalParts of %q is %d, %d", text, coef, scale))
		}
		return
	}
	mantissa, exp, raised := strings.Cut(strings.ToLower(string(text)), "e")
	digits := strings.Replace(strings.TrimPrefix(mantissa, "-"), ".", "", 1)
	whole, fraction, fractional := strings.Cut(mantissa, ".")
	if fractional && strings.TrimPrefix(whole, "-") == "0" {
		digits = digits[1:]
	}
	can, places, shown := len(digits) <= maxDigits, len(fraction), new(big.Int)
	if can && raised {
		n := strings.TrimLeft(exp, "+-")
		if can = len(n) <= 2; can {
			by, _ := strconv.Atoi(exp)
			places -= by
			shown.SetString(digits, 10)
			if places < 0 {
				shown.Mul(shown, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(-places)), nil))
				places = 0
			}
			can = places <= maxPlaces && (shown.Cmp(big.NewInt(1e18)) < 0 || len(fraction) >= by)
		}
	}
	if ok != can {
		panic(fmt.Sprintf("DecimalParts of %q: ok = %v", text, ok))
	}
	if !ok {
		return
	}
	want, _ := new(big.Rat).SetString(string(text))
	got := new(big.Rat).SetFrac(big.NewInt(coef), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
	if got.Cmp(want) != 0 || int(scale) != places {
		panic(fmt.Sprintf("DecimalParts of %q is %d, %d", text, coef, scale))
	}
}

// checkDecimals reads the array that is due by Decimals and by its elements, and comes back.
func checkDecimals(c *Cursor, room int) {
	at := c.Mark()
	got := make([]Decimal, room)
	n, ok := c.Decimals(got)
	if !ok || c.Err() != nil {
		if ok || n != 0 || c.Err() == nil && c.Mark() != at { // nothing may be read then
			panic(fmt.Sprintf("Decimals read %d and failed: %v", n, c.Err()))
		}
		return
	}
	behind := c.Mark()
	c.Seek(at)
	i := 0
	for c.Array(); c.Elem(); i++ {
		if i >= room {
			continue
		}
		coef, scale, ok := c.DecimalParts()
		if !ok || i >= n || got[i] != (Decimal{coef, scale}) {
			panic(fmt.Sprintf("Decimals read %v, element %d is %d, %d, %v", got[:n], i, coef, scale, ok))
		}
	}
	if c.Err() != nil || n != min(i, room) || c.Offset() != behind.pos || c.Depth() != behind.depth || c.st != behind.st {
		panic(fmt.Sprintf("Decimals read %d of %d and stands at %d, not %d: %v", n, i, behind.pos, c.Offset(), c.Err()))
	}
	c.Seek(at)
}

// checkInteger compares Int64 and Uint64 with strconv. Each gets a cursor of its own, for they fail.
func checkInteger(c *Cursor, at Mark, text []byte) {
	isInt := json.Valid(text) && len(bytes.Trim(text, "-0123456789")) == 0
	for _, c := range []Cursor{*c} {
		c.Seek(at)
		got := c.Int64()
		want, err := strconv.ParseInt(string(text), 10, 64)
		if bad := !isInt || err != nil; bad != (c.Err() != nil) || !bad && got != want || bad && got != 0 {
			panic(fmt.Sprintf("Int64 of %q is %d, %v", text, got, c.Err()))
		}
	}
	for _, c := range []Cursor{*c} {
		c.Seek(at)
		got := c.Uint64()
		want, err := strconv.ParseUint(strings.Replace(string(text), "-0", "0", 1), 10, 64)
		if bad := !isInt || err != nil; bad != (c.Err() != nil) || !bad && got != want || bad && got != 0 {
			panic(fmt.Sprintf("Uint64 of %q is %d, %v", text, got, c.Err()))
		}
	}
}

// reference is the same list of events by encoding/json.
func reference(frame []byte) (events []string, err error) {
	d := json.NewDecoder(bytes.NewReader(frame))
	d.UseNumber()
	type level struct{ object, value bool }
	var open []level
	for {
		t, err := d.Token()
		if err == io.EOF {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		isKey := len(open) > 0 && open[len(open)-1].object && !open[len(open)-1].value
		if n := len(open) - 1; n >= 0 && t != json.Delim('}') && t != json.Delim(']') {
			open[n].value = !open[n].value
		}
		switch t := t.(type) {
		case json.Delim:
			events = append(events, t.String())
			if t == '{' || t == '[' {
				open = append(open, level{object: t == '{'})
			} else {
				open = open[:len(open)-1]
			}
		case string:
			if isKey {
				events = append(events, "key "+t)
			} else {
				events = append(events, "string "+t)
			}
		case json.Number:
			events = append(events, "number "+t.String())
		case bool:
			events = append(events, strconv.FormatBool(t))
		case nil:
			events = append(events, "null")
		}
	}
}

// nesting is how deep brackets nest outside strings, for a frame that is valid.
func nesting(frame []byte) (most int) {
	depth, inString := 0, false
	for i := 0; i < len(frame); i++ {
		switch b := frame[i]; {
		case inString && b == '\\':
			i++
		case b == '"':
			inString = !inString
		case inString:
		case b == '[' || b == '{':
			depth++
			most = max(most, depth)
		case b == ']' || b == '}':
			depth--
		}
	}
	return most
}

// agree checks one input against encoding/json in every way of reading it.
func agree(frame []byte) error {
	valid := json.Valid(frame) && utf8.Valid(frame)
	deep := valid && nesting(frame) > DefaultMaxDepth
	var want []string
	if valid && !deep {
		var err error
		if want, err = reference(frame); err != nil {
			return fmt.Errorf("encoding/json reads no tokens of what it calls valid: %w", err)
		}
	}
	sent := bytes.Clone(frame)
	var c Cursor
	check := func(way string, err error) error {
		var se *SyntaxError
		switch {
		case deep:
			if !errors.As(err, &se) || se.Fault != Limit {
				return fmt.Errorf("%s: too deep, error is %v", way, err)
			}
		case valid && err != nil:
			return fmt.Errorf("%s: refused: %w", way, err)
		case !valid && err == nil:
			return fmt.Errorf("%s: accepted", way)
		case !valid:
			if !errors.As(err, &se) || se.Fault != Malformed && se.Fault != Limit || se.Offset < 0 || se.Offset > len(frame) {
				return fmt.Errorf("%s: a strange error: %#v", way, err)
			}
			if c.Skip(); c.Kind() != KindNone || c.Key() || c.Elem() || c.Bool() || c.Null() || len(c.Str()) != 0 || c.Int64() != 0 || c.Err().Error() != err.Error() {
				return fmt.Errorf("%s: not at rest after an error", way)
			}
		}
		return nil
	}

	c.Reset(frame)
	if err := check("End", c.End()); err != nil {
		return err
	}
	c.Reset(frame)
	c.Skip()
	if err := check("Skip", c.End()); err != nil {
		return err
	}
	for how := range 12 {
		way := fmt.Sprintf("walk %d", how)
		c.Reset(frame)
		var got []string
		walk(&c, how, &got)
		if err := check(way, c.End()); err != nil {
			return err
		}
		if valid && !deep && strings.Join(got, "\n") != strings.Join(want, "\n") {
			return fmt.Errorf("%s: read\n%q\nencoding/json reads\n%q", way, got, want)
		}
	}
	// A decoder that leaves in the middle finds the same errors at the end.
	c.Reset(frame)
	if c.Kind() == KindObject {
		c.Object()
		c.Key()
	} else if c.Kind() == KindArray {
		c.Array()
		c.Elem()
	}
	if err := check("leaving early", c.End()); err != nil {
		return err
	}
	// Keys only: the values are skipped on the way.
	c.Reset(frame)
	if c.Kind() == KindObject {
		for c.Object(); c.Key(); {
		}
	} else if c.Kind() == KindArray {
		for c.Array(); c.Elem(); {
		}
	}
	if err := check("values unread", c.End()); err != nil {
		return err
	}
	if !bytes.Equal(sent, frame) {
		return errors.New("the frame was written to")
	}
	return nil
}

// FuzzAgree holds the cursor to what encoding/json and unicode/utf8 say, on what is valid and on every value.
func FuzzAgree(f *testing.F) {
	for _, s := range valid {
		f.Add([]byte(s))
	}
	for _, s := range invalid {
		f.Add([]byte(s))
	}
	f.Add([]byte(tradeFrame))
	f.Add([]byte(depthFrame))
	f.Fuzz(func(t *testing.T, frame []byte) {
		if err := agree(frame); err != nil {
			t.Fatalf("%q: %v", frame, err)
		}
		// The same behind other bytes and before others: the word loads see another end of frame.
		for _, pad := range []string{"       ", "                         "} {
			if err := agree([]byte(string(frame) + pad)); err != nil {
				t.Fatalf("%q and white space: %v", frame, err)
			}
		}
	})
}
