package market

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
)

// MaxScale is the greatest number of digits after the point that a Decimal holds.
const MaxScale = 38

// ErrDecimal is what Parse's errors wrap: the text is no decimal, or it needs
// more than 120 bits or MaxScale places. Nothing is ever rounded.
var ErrDecimal = errors.New("not an exact decimal")

// Decimal is an exact decimal number as the exchange sent it: a coefficient of
// up to 120 bits and a scale, trailing zeros kept, because checksums are
// computed over them. The zero value is null: the exchange sent no value, which
// differs from a zero that it sent.
//
// In memory and in a record it takes 16 bytes: the low 64 bits of the
// coefficient in two's complement, then its high 56 bits above one byte that
// holds scale+1 (0: null).
type Decimal struct {
	lo  uint64
	ext int64
}

// NewDecimal returns coef × 10^-scale.
func NewDecimal(coef int64, scale uint8) Decimal {
	return Decimal{uint64(coef), (coef>>63)<<8 | int64(scale+1)}
}

// IsNull reports whether there is no value.
func (d Decimal) IsNull() bool { return d.ext&0xff == 0 }

// Scale is the number of digits after the point, as sent; 0 for null.
func (d Decimal) Scale() uint8 {
	if s := uint8(d.ext); s != 0 {
		return s - 1
	}
	return 0
}

// Coef returns the coefficient when it fits 64 bits, as nearly all do.
func (d Decimal) Coef() (int64, bool) {
	return int64(d.lo), d.ext>>8 == int64(d.lo)>>63
}

// Valid reports whether the bits are ones that this package writes; records
// that cross a process boundary are checked with it.
func (d Decimal) Valid() bool {
	s := uint8(d.ext)
	if s == 0 {
		return d.lo == 0 && d.ext == 0
	}
	return s <= MaxScale+1
}

// Sign is -1, 0 or 1; null counts as 0.
func (d Decimal) Sign() int {
	switch hi := d.ext >> 8; {
	case hi < 0:
		return -1
	case hi == 0 && d.lo == 0:
		return 0
	}
	return 1
}

// IsZero reports null, so that the omitzero of encoding/json leaves out what
// isn't there and keeps a zero that is. Sign is 0 for both.
func (d Decimal) IsZero() bool { return d.IsNull() }

// abs returns the magnitude as high and low words.
func (d Decimal) abs() (neg bool, hi, lo uint64) {
	h := d.ext >> 8
	hi, lo = uint64(h), d.lo
	if h < 0 {
		var b uint64
		lo, b = bits.Sub64(0, lo, 0)
		hi, _ = bits.Sub64(0, hi, b)
		return true, hi, lo
	}
	return false, hi, lo
}

// fromWords is the inverse of abs; false when the magnitude needs over 119 bits.
func fromWords(neg bool, hi, lo uint64, scale uint8) (Decimal, bool) {
	if hi >= 1<<55 || scale > MaxScale {
		return Decimal{}, false
	}
	if neg {
		var b uint64
		lo, b = bits.Sub64(0, lo, 0)
		hi, _ = bits.Sub64(0, hi, b)
	}
	return Decimal{lo, int64(hi)<<8 | int64(scale+1)}, true
}

// ParseDecimal reads a JSON number or the text of one. An exponent is expanded
// exactly ("5.6e-7" is 0.00000056). The error wraps ErrDecimal and quotes at
// most 40 bytes of the text.
func ParseDecimal[T ~string | ~[]byte](s T) (Decimal, error) {
	var coef uint64
	i, n := 0, len(s)
	neg := n > 0 && s[0] == '-'
	if neg {
		i = 1
	}
	if n-i > 19 { // 18 digits and a point at most: the coefficient can't overflow
		return parseWide(s)
	}
	start, point := i, -1
	for ; i < n; i++ {
		c := s[i] - '0'
		if c <= 9 {
			coef = coef*10 + uint64(c)
			continue
		}
		if s[i] == '.' && point < 0 && i > start {
			point = i
			continue
		}
		return parseWide(s)
	}
	digits := n - start
	scale := 0
	if point >= 0 {
		digits--
		scale = n - point - 1
		if scale == 0 {
			return Decimal{}, badDecimal(s)
		}
	}
	if digits == 0 || digits > 18 {
		return parseWide(s)
	}
	v := int64(coef)
	if neg {
		v = -v
	}
	return NewDecimal(v, uint8(scale)), nil
}

func parseWide[T ~string | ~[]byte](s T) (Decimal, error) {
	i, n := 0, len(s)
	neg := n > 0 && s[0] == '-'
	if neg {
		i++
	}
	var hi, lo uint64
	scale, digits, point := 0, 0, false
	for ; i < n; i++ {
		c := s[i]
		if c == '.' && !point && digits > 0 {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		var over bool
		if hi, lo, over = mul10add(hi, lo, uint64(c-'0')); over {
			return Decimal{}, badDecimal(s)
		}
		digits++
		if point {
			scale++
		}
	}
	if digits == 0 || point && scale == 0 {
		return Decimal{}, badDecimal(s)
	}
	if i < n {
		if s[i] != 'e' && s[i] != 'E' {
			return Decimal{}, badDecimal(s)
		}
		exp, err := strconv.Atoi(string(s[i+1:]))
		if err != nil || exp > 2*MaxScale || exp < -2*MaxScale {
			return Decimal{}, badDecimal(s)
		}
		scale -= exp
		for ; scale < 0; scale++ {
			var over bool
			if hi, lo, over = mul10add(hi, lo, 0); over {
				return Decimal{}, badDecimal(s)
			}
		}
	}
	if scale > MaxScale {
		return Decimal{}, badDecimal(s)
	}
	d, ok := fromWords(neg, hi, lo, uint8(scale))
	if !ok {
		return Decimal{}, badDecimal(s)
	}
	return d, nil
}

func mul10add(hi, lo, digit uint64) (uint64, uint64, bool) {
	h1, l1 := bits.Mul64(lo, 10)
	l1, c := bits.Add64(l1, digit, 0)
	h2, l2 := bits.Mul64(hi, 10)
	hi, c2 := bits.Add64(l2, h1, c)
	return hi, l1, h2 != 0 || c2 != 0 || hi >= 1<<55
}

func badDecimal[T ~string | ~[]byte](s T) error {
	t := string(s[:min(len(s), 40)])
	return fmt.Errorf("market: %q: %w of at most 35 digits and %d places", t, ErrDecimal, MaxScale)
}

// MustDecimal is ParseDecimal for constants in programs and tests; it panics on bad text.
func MustDecimal(s string) Decimal {
	d, err := ParseDecimal(s)
	if err != nil {
		panic(err)
	}
	return d
}

// Append writes the number as sent, trailing zeros included; nothing for null.
func (d Decimal) Append(b []byte) []byte {
	if d.IsNull() {
		return b
	}
	var buf [48]byte
	neg, hi, lo := d.abs()
	i := len(buf)
	scale := int(d.Scale())
	for n := 0; hi != 0 || lo != 0 || n <= scale; n++ {
		if n == scale && scale > 0 {
			i--
			buf[i] = '.'
		}
		var q, r uint64
		q, r = hi/10, hi%10
		hi = q
		lo, r = bits.Div64(r, lo, 10)
		i--
		buf[i] = byte('0' + r)
	}
	if neg {
		i--
		buf[i] = '-'
	}
	return append(b, buf[i:]...)
}

// AppendTrimmed writes the number without trailing zeros, trailing point or
// exponent: the form in which numbers leave the product.
func (d Decimal) AppendTrimmed(b []byte) []byte { return d.Trim().Append(b) }

// String is the trimmed form, empty for null.
func (d Decimal) String() string { return string(d.AppendTrimmed(nil)) }

// Text is the number as sent.
func (d Decimal) Text() string { return string(d.Append(nil)) }

// Trim returns the same value without trailing zeros after the point.
func (d Decimal) Trim() Decimal {
	s := d.Scale()
	if s == 0 {
		return d
	}
	if c, ok := d.Coef(); ok {
		for s > 0 && c%10 == 0 {
			c /= 10
			s--
		}
		return NewDecimal(c, s)
	}
	neg, hi, lo := d.abs()
	for s > 0 {
		qh := hi / 10
		ql, r := bits.Div64(hi%10, lo, 10)
		if r != 0 {
			break
		}
		hi, lo = qh, ql
		s--
	}
	t, _ := fromWords(neg, hi, lo, s)
	return t
}

var pow10 = [19]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

// Rescale returns the coefficient at another scale, if it is exact and fits 64 bits.
func (d Decimal) Rescale(scale uint8) (int64, bool) {
	c, ok := d.Coef()
	if !ok || d.IsNull() {
		return 0, false
	}
	s := d.Scale()
	switch {
	case s == scale:
		return c, true
	case s < scale:
		if scale-s > 18 {
			return 0, c == 0
		}
		p := pow10[scale-s]
		hi, lo := bits.Mul64(uint64(max(c, -c)), uint64(p))
		if hi != 0 || lo > math.MaxInt64 {
			return 0, false
		}
		return c * p, true
	}
	if s-scale > 18 {
		return 0, c == 0
	}
	p := pow10[s-scale]
	return c / p, c%p == 0
}

// Cmp compares values, whatever their scales; null sorts before every number.
func (d Decimal) Cmp(o Decimal) int {
	if d.IsNull() || o.IsNull() {
		return b2i(!d.IsNull()) - b2i(!o.IsNull())
	}
	if a, b := d.Sign(), o.Sign(); a != b {
		return b2i(a > b)*2 - 1
	}
	dc, ok1 := d.Coef()
	oc, ok2 := o.Coef()
	if ok1 && ok2 && d.Scale() == o.Scale() {
		return b2i(dc > oc) - b2i(dc < oc)
	}
	return d.cmpWide(o)
}

func (d Decimal) cmpWide(o Decimal) int {
	neg, h1, l1 := d.abs()
	_, h2, l2 := o.abs()
	a, b := [4]uint64{l1, h1}, [4]uint64{l2, h2}
	for s := d.Scale(); s < o.Scale(); s++ {
		mul10(&a)
	}
	for s := o.Scale(); s < d.Scale(); s++ {
		mul10(&b)
	}
	for i := 3; i >= 0; i-- {
		if a[i] != b[i] {
			r := b2i(a[i] > b[i])*2 - 1
			if neg {
				r = -r
			}
			return r
		}
	}
	return 0
}

func mul10(w *[4]uint64) {
	var carry uint64
	for i := range w {
		hi, lo := bits.Mul64(w[i], 10)
		var c uint64
		w[i], c = bits.Add64(lo, carry, 0)
		carry = hi + c
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Equal reports equal values: 1.0 equals 1.
func (d Decimal) Equal(o Decimal) bool { return d.Cmp(o) == 0 }

// Neg returns -d.
func (d Decimal) Neg() Decimal {
	if d.IsNull() {
		return d
	}
	neg, hi, lo := d.abs()
	r, _ := fromWords(!neg, hi, lo, d.Scale())
	return r
}

// Mul returns the exact product; false when it doesn't fit or an operand is null.
func (d Decimal) Mul(o Decimal) (Decimal, bool) {
	if d.IsNull() || o.IsNull() {
		return Decimal{}, false
	}
	n1, h1, l1 := d.abs()
	n2, h2, l2 := o.abs()
	if h1 != 0 && h2 != 0 {
		return Decimal{}, false
	}
	hi, lo := bits.Mul64(l1, l2)
	ch, cl := bits.Mul64(h1, l2)
	dh, dl := bits.Mul64(h2, l1)
	hi, c1 := bits.Add64(hi, cl, 0)
	hi, c2 := bits.Add64(hi, dl, 0)
	if ch != 0 || dh != 0 || c1 != 0 || c2 != 0 || int(d.Scale())+int(o.Scale()) > MaxScale {
		return Decimal{}, false
	}
	return fromWords(n1 != n2, hi, lo, d.Scale()+o.Scale())
}

// Add returns the exact sum at the greater of the two scales; false when it
// doesn't fit or an operand is null.
func (d Decimal) Add(o Decimal) (Decimal, bool) {
	if d.IsNull() || o.IsNull() {
		return Decimal{}, false
	}
	scale := max(d.Scale(), o.Scale())
	ah, al, ok1 := d.wordsAt(scale)
	bh, bl, ok2 := o.wordsAt(scale)
	lo, c := bits.Add64(al, bl, 0)
	hi, _ := bits.Add64(ah, bh, c)
	if h := int64(hi); !ok1 || !ok2 || h >= 1<<54 || h < -1<<54 {
		return Decimal{}, false
	}
	return Decimal{lo, int64(hi)<<8 | int64(scale+1)}, true
}

// wordsAt is the two's complement coefficient at a scale not below the number's.
func (d Decimal) wordsAt(scale uint8) (hi, lo uint64, ok bool) {
	neg, hi, lo := d.abs()
	for s := d.Scale(); s < scale; s++ {
		var over bool
		if hi, lo, over = mul10add(hi, lo, 0); over {
			return 0, 0, false
		}
	}
	if neg {
		var b uint64
		lo, b = bits.Sub64(0, lo, 0)
		hi, _ = bits.Sub64(0, hi, b)
	}
	return hi, lo, true
}

// Float64 is the nearest float, for displays and data frames; NaN for null.
func (d Decimal) Float64() float64 {
	if d.IsNull() {
		return math.NaN()
	}
	if c, ok := d.Coef(); ok && c > -1<<53 && c < 1<<53 && d.Scale() <= 22 {
		return float64(c) / math.Pow10(int(d.Scale()))
	}
	f, _ := strconv.ParseFloat(d.Text(), 64)
	return f
}

// MarshalText and UnmarshalText carry the number as sent; null is empty.
func (d Decimal) MarshalText() ([]byte, error) { return d.Append(nil), nil }

// UnmarshalText is the inverse of MarshalText.
func (d *Decimal) UnmarshalText(b []byte) (err error) {
	*d = Decimal{}
	if len(b) > 0 {
		*d, err = ParseDecimal(b)
	}
	return err
}
