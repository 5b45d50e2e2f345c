package jsonscan

import "math"

// maxDigits is how many digits always fit an int64, maxPlaces how many places an exponent may lead to.
const (
	maxDigits = 18
	maxPlaces = 38
)

// Num reads the number that is due and returns its text as sent. Checksums and exact decimals need that text.
func (c *Cursor) Num() []byte {
	if !c.due() {
		return nil
	}
	p := c.pos
	if kindOf[c.buf[p]] != KindNumber {
		c.want("a number")
		return nil
	}
	end := c.scanNumber(p)
	if end < 0 {
		return nil
	}
	c.text = makeSpan(p, end)
	c.pos = end
	c.st = c.after
	return c.buf[p:end:end]
}

// NumOrStr reads a number as Num or a string as Str: venues send prices either way.
// That a string holds a number is not checked.
func (c *Cursor) NumOrStr() []byte {
	switch c.Kind() {
	case KindString:
		return c.Str()
	case KindNumber:
		return c.Num()
	}
	if c.due() {
		c.wantWord("a number or a string")
	}
	return nil
}

// scanNumber validates the number at p and returns the place behind it, or -1 after an error.
// What follows a number is for the next call to judge.
func (c *Cursor) scanNumber(p int) int {
	buf := c.buf
	if buf[p] == '-' {
		p++
	}
	if c.ended(p, "the frame ends inside a number") {
		return -1
	}
	if buf[p] == '0' {
		p++
		if p < len(buf) && buf[p]-'0' <= 9 {
			c.fail(p-1, Malformed, "a number has a leading zero")
			return -1
		}
	} else if p = c.scanDigits(p); p < 0 {
		return -1
	}
	if p < len(buf) && buf[p] == '.' {
		if p = c.scanDigits(p + 1); p < 0 {
			return -1
		}
	}
	if p < len(buf) && buf[p]|0x20 == 'e' {
		p++
		if p < len(buf) && (buf[p] == '+' || buf[p] == '-') {
			p++
		}
		if p = c.scanDigits(p); p < 0 {
			return -1
		}
	}
	return p
}

// scanDigits returns the place behind at least one digit, or -1 after an error.
func (c *Cursor) scanDigits(p int) int {
	from := p
	for {
		m := nondigit(load(c.buf, p) ^ zeros)
		p += first(m)
		if m != 0 {
			break
		}
	}
	if p == from && !c.ended(p, "the frame ends inside a number") {
		c.fail(p, Malformed, "a digit is due")
	}
	if p == from {
		return -1
	}
	return p
}

// DecimalParts reads the decimal that is due, a number or a string that holds one, in one pass: its value is
// coef / 10^scale, digits as sent, trailing zeros counted in scale ("0.500" is 500, 3). An exponent of one or two digits
// moves the point ("9.10E-7" is 910, 9; "1.5e3" is 1500, 0).
//
// ok is false where that is not possible: the cursor has failed, or the text, which is valid JSON, has more than 18
// digits (a zero before the point is not counted) or places that an exponent brings beyond 38, has a longer exponent, or
// is a string that holds no number in JSON's notation
// (OKX sends "" for what it doesn't know). The value is read then all the same and Lexeme is its text: parse that with
// wider arithmetic, take it as absent, or Fail.
func (c *Cursor) DecimalParts() (coef int64, scale uint8, ok bool) {
	p := c.pos
	if c.st != stValue {
		return c.decimalSlow()
	}
	coef, scale, end := scanDecimal(c.buf, p)
	if end < 0 {
		return c.decimalSlow()
	}
	if c.buf[p] == '"' {
		c.text = makeSpan(p+1, end-1)
	} else {
		c.text = makeSpan(p, end)
	}
	c.pos = end
	c.st = c.after
	return coef, scale, true
}

// Decimal is what DecimalParts returns: coef / 10^scale.
type Decimal struct {
	Coef  int64
	Scale uint8
}

// Decimals reads an array of decimals, bare or quoted, into dst and returns how many there were, at most len(dst);
// what the array holds beyond that is skipped. It is for what comes by the thousand, the levels of a book:
//
//	var level [2]jsonscan.Decimal
//	for c.Array(); c.Elem(); {
//		if n, ok := c.Decimals(level[:]); n == 2 && ok { … }
//	}
//
// ok is false after an error, and where an element is none that DecimalParts can return, no array is due, or white space
// stands in it. Nothing has been read then: go through the array with Array, Elem and DecimalParts, which also find
// what is wrong.
func (c *Cursor) Decimals(dst []Decimal) (n int, ok bool) {
	buf, p := c.buf, c.pos
	if c.st != stValue || p+1 >= len(buf) || buf[p] != '[' || c.depth >= c.limit {
		return 0, false
	}
	p++
	if buf[p] == ']' {
		c.pos = p + 1
		c.st = c.after
		return 0, true
	}
	for i := range dst {
		coef, scale, end := scanDecimal(buf, p)
		if end < 0 || end >= len(buf) {
			return 0, false
		}
		dst[i] = Decimal{coef, scale}
		p = end + 1
		if buf[end] == ']' {
			c.pos = p
			c.st = c.after
			return i + 1, true
		}
		if buf[end] != ',' {
			return 0, false
		}
	}
	c.Array()
	if len(dst) > 0 {
		c.pos = p - 1
		c.st = stArrNext
	}
	c.Leave()
	if c.st == stFailed {
		return 0, false
	}
	return len(dst), true
}

// scanDecimal reads what DecimalParts reads where that can be done at sight, and returns the place behind it, else -1.
// The place is inside buf for a bare number.
func scanDecimal(buf []byte, p int) (coef int64, scale uint8, end int) {
	if p >= len(buf) {
		return 0, 0, -1
	}
	quoted := buf[p] == '"'
	if quoted {
		p++
	}
	from := p
	w := load(buf, p)
	negative := byte(w) == '-'
	if negative {
		p++
		w = load(buf, p)
	}
	if byte(w) == '0' && byte(w>>8)-'0' <= 9 {
		return 0, 0, -1
	}
	// Where eight bytes are digits the way on is p+8, which the processor need not wait for.
	t := w ^ zeros
	m := nondigit(t)
	var v uint64
	if m != 0 {
		n := first(m)
		if n == 0 {
			return 0, 0, -1
		}
		v = value8(t, n)
		p += n
	} else if v, p = moreDigits(buf, p+8, value8(t, 8)); p-from > maxDigits {
		return 0, 0, -1
	}
	if p < len(buf) && buf[p] == '.' {
		p++
		point := p
		t = load(buf, p) ^ zeros
		if m = nondigit(t); m != 0 {
			n := first(m)
			if n == 0 {
				return 0, 0, -1
			}
			v = v*pow10[n&15] + value8(t, n)
			p += n
		} else {
			v = v*1e8 + value8(t, 8)
			p += 8
			if p < len(buf) && buf[p]-'0' <= 9 {
				v, p = moreDigits(buf, p, v)
			}
		}
		if p-from > maxDigits+1 {
			return 0, 0, -1 // decimalSlow tells a zero before the point from a digit
		}
		scale = uint8(p - point)
	}
	if p >= len(buf) {
		return 0, 0, -1
	}
	if buf[p]|0x20 == 'e' {
		if v, scale, p = exponent(buf, p+1, v, scale); p < 0 || p >= len(buf) {
			return 0, 0, -1
		}
	}
	if quoted {
		if buf[p] != '"' {
			return 0, 0, -1
		}
		p++
	}
	coef = int64(v)
	if negative {
		coef = -coef
	}
	return coef, scale, p
}

// exponent reads what stands behind the e, and moves the point of v / 10^scale by it; end is -1 where DecimalParts can't.
func exponent(buf []byte, p int, v uint64, scale uint8) (_ uint64, _ uint8, end int) {
	if p >= len(buf) {
		return 0, 0, -1
	}
	down := buf[p] == '-'
	if down || buf[p] == '+' {
		p++
	}
	from, by := p, 0
	for ; p < len(buf) && buf[p]-'0' <= 9; p++ {
		if p-from == 2 {
			return 0, 0, -1
		}
		by = by*10 + int(buf[p]-'0')
	}
	if p == from {
		return 0, 0, -1
	}
	places := int(scale) - by
	if down {
		places = int(scale) + by
	}
	if places > maxPlaces {
		return 0, 0, -1
	}
	for ; places < 0 && v > 0; places++ {
		if v *= 10; v >= 1e18 {
			return 0, 0, -1
		}
	}
	return v, uint8(max(places, 0)), p
}

// moreDigits goes on with a run of digits whose first eight made v. The value is of no use beyond 18 digits.
func moreDigits(buf []byte, p int, v uint64) (uint64, int) {
	for {
		t := load(buf, p) ^ zeros
		n := first(nondigit(t))
		if n == 0 {
			return v, p
		}
		v = v*pow10[n&15] + value8(t, n)
		p += n
		if n < 8 {
			return v, p
		}
	}
}

// decimalSlow is DecimalParts byte by byte, with white space, escapes, long numbers and every error.
func (c *Cursor) decimalSlow() (coef int64, scale uint8, ok bool) {
	if c.overSpace() {
		return c.DecimalParts()
	}
	text := c.NumOrStr()
	if c.st == stFailed {
		return 0, 0, false
	}
	return parseDecimal(text)
}

// overSpace moves to the value that is due over white space and reports whether there was any: some venues send
// it behind every colon, and numbers are worth another try at sight then.
func (c *Cursor) overSpace() bool {
	from := c.pos
	return c.st == stValue && c.due() && c.pos > from
}

func parseDecimal(text []byte) (coef int64, scale uint8, ok bool) {
	negative := len(text) > 0 && text[0] == '-'
	if negative {
		text = text[1:]
	}
	if len(text) == 0 || len(text) > 1 && text[0] == '0' && text[1] != '.' && text[1]|0x20 != 'e' {
		return 0, 0, false
	}
	digits, point := 0, -1
	for i, b := range text {
		switch {
		case b-'0' <= 9:
			digits++
			if i == 0 && b == '0' {
				digits = 0 // 0.123456789012345678 has 18 digits that count
			}
			if digits > maxDigits {
				return 0, 0, false
			}
			coef = coef*10 + int64(b-'0')
		case b == '.' && point < 0 && i > 0 && i+1 < len(text) && text[i+1]-'0' <= 9:
			point = i
		case b|0x20 == 'e' && i > 0:
			if point >= 0 {
				scale = uint8(i - 1 - point)
			}
			v, scale, end := exponent(text, i+1, uint64(coef), scale)
			if end != len(text) {
				return 0, 0, false
			}
			if coef = int64(v); negative {
				coef = -coef
			}
			return coef, scale, true
		default:
			return 0, 0, false
		}
	}
	if point >= 0 {
		scale = uint8(len(text) - 1 - point)
	}
	if negative {
		coef = -coef
	}
	return coef, scale, true
}

// Int64 reads an integer, bare or quoted, in JSON's notation without fraction and exponent.
// One that does not fit, and a string that is none, is a Mismatch.
func (c *Cursor) Int64() int64 {
	buf, p := c.buf, c.pos
	if c.st != stValue || p >= len(buf) {
		return c.int64Slow()
	}
	quoted := buf[p] == '"'
	if quoted {
		p++
	}
	from := p
	w := load(buf, p)
	negative := byte(w) == '-'
	if negative {
		p++
		w = load(buf, p)
	}
	if byte(w) == '0' && byte(w>>8)-'0' <= 9 {
		return c.int64Slow()
	}
	t := w ^ zeros
	var v uint64
	if m := nondigit(t); m != 0 {
		n := first(m)
		if n == 0 {
			return c.int64Slow()
		}
		v = value8(t, n)
		p += n
	} else {
		v = value8(t, 8)
		p += 8
		t = load(buf, p) ^ zeros
		if m = nondigit(t); m<<16 == 0x80<<56 {
			// 13 digits are milliseconds since 1970, in most frames of most venues.
			v = v*1e5 + value8(t, 5)
			p += 5
		} else {
			v, p = moreDigits(buf, p, v)
		}
	}
	if p-from > maxDigits || p >= len(buf) {
		return c.int64Slow()
	}
	to := p
	if quoted {
		if buf[p] != '"' {
			return c.int64Slow()
		}
		p++
	} else if buf[p] == '.' || buf[p]|0x20 == 'e' {
		return c.int64Slow()
	}
	c.text = makeSpan(from, to)
	c.pos = p
	c.st = c.after
	if negative {
		return -int64(v)
	}
	return int64(v)
}

func (c *Cursor) int64Slow() int64 {
	if c.overSpace() {
		return c.Int64()
	}
	v, negative := c.integer()
	if negative && v <= -math.MinInt64 {
		return -int64(v)
	}
	if negative || v > math.MaxInt64 {
		c.Fail("an integer does not fit int64")
		return 0
	}
	return int64(v)
}

// Uint64 is Int64 for integers that are never negative. Int64 is the faster one.
func (c *Cursor) Uint64() uint64 {
	v, negative := c.integer()
	if negative && v != 0 {
		c.Fail("an integer is negative")
		return 0
	}
	return v
}

// integer reads an integer digit by digit.
func (c *Cursor) integer() (v uint64, negative bool) {
	text := c.NumOrStr()
	if c.st == stFailed {
		return 0, false
	}
	negative = len(text) > 0 && text[0] == '-'
	if negative {
		text = text[1:]
	}
	if len(text) == 0 || text[0] == '0' && len(text) > 1 {
		c.Fail("not an integer")
		return 0, false
	}
	for _, b := range text {
		d := uint64(b - '0')
		if d > 9 {
			c.Fail("not an integer")
			return 0, false
		}
		if v > (math.MaxUint64-d)/10 {
			c.Fail("an integer does not fit 64 bits")
			return 0, false
		}
		v = v*10 + d
	}
	return v, negative
}
