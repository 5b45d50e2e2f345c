package source

import (
	"fmt"
	"math"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
)

// The functions below read the values that every venue sends in one of a few
// notations. What isn't such a value stops the cursor with an error that names
// the byte.

// Decimal reads an exact decimal, bare or quoted, with its trailing zeros.
func Decimal(c *jsonscan.Cursor) market.Decimal {
	coef, scale, ok := c.DecimalParts()
	if !ok {
		return decimalWide(c)
	}
	return market.NewDecimal(coef, scale)
}

// DecimalOrNull is Decimal where the venue sends null or "" for what it doesn't know.
func DecimalOrNull(c *jsonscan.Cursor) market.Decimal {
	if c.Null() {
		return market.Decimal{}
	}
	coef, scale, ok := c.DecimalParts()
	if !ok {
		if len(c.Lexeme()) == 0 {
			return market.Decimal{}
		}
		return decimalWide(c)
	}
	return market.NewDecimal(coef, scale)
}

func decimalWide(c *jsonscan.Cursor) market.Decimal {
	if c.Err() != nil {
		return market.Decimal{}
	}
	d, err := market.ParseDecimal(c.Lexeme())
	if err != nil {
		c.Fail("no decimal of at most 35 digits and 38 places")
	}
	return d
}

// Millis reads a time in milliseconds since 1970, bare or quoted, as ns; values
// too large for that are microseconds, which some venues send on request.
func Millis(c *jsonscan.Cursor) int64 {
	v := c.Int64()
	if uint64(v) <= math.MaxInt64/1_000_000 {
		return v * 1_000_000
	}
	if v < 0 || v > math.MaxInt64/1_000 {
		c.Fail("a time is out of range")
		return 0
	}
	return v * 1_000
}

// MillisOrNone is Millis where a time may be null, "" or 0, which is none. So is one
// that is out of range.
func MillisOrNone(c *jsonscan.Cursor) int64 { return MillisOf(DecimalOrNull(c)) }

// MillisOf is the time of so many milliseconds; None if they are null, 0 or out of range.
func MillisOf(ms market.Decimal) int64 {
	if v, ok := ms.Rescale(0); ok && v > 0 && v <= math.MaxInt64/1_000_000 {
		return v * 1_000_000
	}
	return market.None
}

// Seconds reads a time in decimal seconds since 1970, bare or quoted, as ns.
// Digits beyond ns are refused, not rounded.
func Seconds(c *jsonscan.Cursor) int64 {
	ns, ok := Decimal(c).Rescale(9)
	if !ok || ns < 0 {
		c.Fail("a time in seconds is out of range")
		return 0
	}
	return ns
}

// Time reads an RFC 3339 time in UTC ("2026-08-02T04:23:45.665579Z") as ns.
func Time(c *jsonscan.Cursor) int64 {
	ns, ok := parseTime(c.Str())
	if !ok {
		c.Fail("no time in UTC as of RFC 3339")
	}
	return ns
}

func parseTime(s []byte) (int64, bool) {
	if len(s) < len("2006-01-02T15:04:05Z") || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	bad := false
	num := func(i, j int) int64 {
		var v int64
		for ; i < j; i++ {
			d := s[i] - '0'
			bad = bad || d > 9
			v = v*10 + int64(d)
		}
		return v
	}
	year, month, day := num(0, 4), num(5, 7), num(8, 10)
	hour, minute, second := num(11, 13), num(14, 16), num(17, 19)
	if bad || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60 || year < 1970 || year > 2261 {
		return 0, false
	}
	frac, rest := int64(0), s[19:]
	if rest[0] == '.' {
		digits := 0
		for rest = rest[1:]; len(rest) > 0 && rest[0]-'0' <= 9; rest = rest[1:] {
			if digits++; digits <= 9 {
				frac = frac*10 + int64(rest[0]-'0')
			} else if rest[0] != '0' {
				return 0, false
			}
		}
		if digits == 0 {
			return 0, false
		}
		for ; digits < 9; digits++ {
			frac *= 10
		}
	}
	if string(rest) != "Z" && string(rest) != "+00:00" {
		return 0, false
	}
	// Days since 1970 of the proleptic Gregorian calendar, years beginning in March.
	if month <= 2 {
		year--
		month += 12
	}
	days := 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1 - 719468
	return ((days*24+hour)*60+minute)*60*1_000_000_000 + second*1_000_000_000 + frac, true
}

// Decimals reads an array of numbers, bare or quoted, into dst and returns how
// many there were, at most len(dst); null and "" are the null decimal, what the
// array holds beyond dst is skipped. Candles come so.
func Decimals(c *jsonscan.Cursor, dst []market.Decimal) int {
	var d [16]jsonscan.Decimal
	if len(dst) <= len(d) {
		if n, ok := c.Decimals(d[:len(dst)]); ok {
			for i := range d[:n] {
				dst[i] = market.NewDecimal(d[i].Coef, d[i].Scale)
			}
			return n
		}
	}
	n := 0
	c.Array()
	for c.Elem() {
		if n < len(dst) {
			dst[n] = DecimalOrNull(c)
			n++
		} else {
			c.Skip()
		}
	}
	return n
}

// Levels appends book levels sent as [[price, amount, …], …], bare or quoted;
// what follows the amount is skipped.
func Levels(c *jsonscan.Cursor, ls []market.Level) []market.Level {
	var d [4]jsonscan.Decimal // some venues send counts behind the amount, which are quicker read than skipped
	c.Array()
	for c.Elem() {
		var l market.Level
		if n, ok := c.Decimals(d[:]); ok && n >= 2 {
			l = market.Level{Price: market.NewDecimal(d[0].Coef, d[0].Scale), Amount: market.NewDecimal(d[1].Coef, d[1].Scale)}
		} else if ok {
			c.Fail("a level without price or amount")
			break
		} else {
			l = level(c)
		}
		if len(ls) >= market.MaxLevels {
			c.Fail("more levels than a book record holds")
			break
		}
		ls = append(ls, l)
	}
	return ls
}

// level reads one that Decimals doesn't: a wide number, white space, text behind
// the amount.
func level(c *jsonscan.Cursor) (l market.Level) {
	c.Array()
	n := 0
	for ; c.Elem(); n++ {
		switch n {
		case 0:
			l.Price = Decimal(c)
		case 1:
			l.Amount = Decimal(c)
		default:
			c.Skip()
		}
	}
	if n < 2 {
		c.Fail("a level without price or amount")
	}
	return l
}

// Best gives a best bid and offer the first levels of a book; a side may be empty.
func Best(t *market.BBO, bids, asks []market.Level) {
	if len(bids) > 0 {
		t.BidPrice, t.BidAmount = bids[0].Price, bids[0].Amount
	}
	if len(asks) > 0 {
		t.AskPrice, t.AskAmount = asks[0].Price, asks[0].Amount
	}
}

// Each decodes the objects of the list that is due: one reads the members.
func Each[D any](c *jsonscan.Cursor, d *D, out *Out, one func(*D, *Out) error) error {
	c.Array()
	for c.Elem() {
		depth := c.Depth()
		c.Object()
		if err := one(d, out); err != nil {
			return err
		}
		if c.Depth() != depth && c.Err() == nil {
			return fmt.Errorf("at byte %d: an object that ends early", c.Offset())
		}
	}
	return c.Err()
}

// EachOrOne is Each where one object may stand in the list's place.
func EachOrOne[D any](c *jsonscan.Cursor, d *D, out *Out, one func(*D, *Out) error) error {
	if c.Kind() != jsonscan.KindObject {
		return Each(c, d, out, one)
	}
	c.Object()
	if err := one(d, out); err != nil {
		return err
	}
	return c.Err()
}

// Places reads a number of decimal places as the step that they allow.
func Places(c *jsonscan.Cursor) market.Decimal {
	n := c.Int64()
	if n < 0 || n > market.MaxScale {
		c.Fail("a number of places is out of range")
		return market.Decimal{}
	}
	return market.NewDecimal(1, uint8(n))
}

// Header is where a record's header begins: no sending time and no numbers.
func Header(c market.Channel) market.Header {
	return market.Header{Channel: c, TsSend: market.None, Seq: market.None, PrevSeq: market.None}
}

// NewBook is where a book record begins: no depth, numbers or checksum.
func NewBook(k market.Kind) market.Book {
	b := market.Book{Header: Header(market.ChannelBook), Depth: market.None, FirstSeq: market.None, Checksum: market.None}
	b.Kind = k
	return b
}

// Side reads a side by the venue's two words for it.
func Side(s []byte, buy, sell string) market.Side {
	switch string(s) {
	case buy:
		return market.SideBuy
	case sell:
		return market.SideSell
	}
	return market.SideUnknown
}

// Lacks is the error of an object without a member that it must have, or the one
// that stopped the cursor before.
func Lacks(c *jsonscan.Cursor, what, member string) error {
	if err := c.Err(); err != nil {
		return err
	}
	return fmt.Errorf("at byte %d: %s without %s", c.Offset(), what, member)
}
