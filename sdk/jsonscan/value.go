package jsonscan

import (
	"unicode/utf16"
	"unicode/utf8"
)

// Str reads the string that is due, escapes resolved. It points into the frame, or into the cursor's own room
// where there were escapes; both stay as they are until the next Reset.
func (c *Cursor) Str() []byte {
	buf, p := c.buf, c.pos
	if c.st == stValue && p < len(buf) && buf[p] == '"' {
		p++
		for end := p; end+8 <= len(buf); end += 8 {
			m := special(load8(buf, end))
			if m == 0 {
				continue
			}
			end += first(m)
			if buf[end] != '"' {
				break
			}
			c.text = makeSpan(p, end)
			c.pos = end + 1
			c.st = c.after
			return buf[p:end:end]
		}
	}
	raw, escaped := c.RawStr()
	if !escaped || c.st == stFailed {
		return raw
	}
	c.text = c.resolve(c.text.from(), c.text.to(), true)
	return c.Lexeme()
}

// RawStr reads the string that is due as it is sent, without its quotes: with escaped set it is resolved by Unescape,
// else it is the text itself.
func (c *Cursor) RawStr() (raw []byte, escaped bool) {
	if !c.due() {
		return nil, false
	}
	p := c.pos
	if c.buf[p] != '"' {
		c.want("a string")
		return nil, false
	}
	end, escaped := c.scanString(p + 1)
	if end < 0 {
		return nil, false
	}
	c.text = makeSpan(p+1, end)
	c.pos = end + 1
	c.st = c.after
	return c.buf[p+1 : end : end], escaped
}

// Lexeme is the text of the last string or number that was read, as Str, Num or NumOrStr would have returned it:
// what is behind an Int64 or a DecimalParts. Bool, Null, Decimals, Skip and Raw leave it alone.
func (c *Cursor) Lexeme() []byte { return c.bytes(c.text) }

// resolve gives the span of a string's text; an escaped one goes to the scratch, whose indices stay good as it grows.
func (c *Cursor) resolve(from, to int, escaped bool) span {
	if !escaped {
		return makeSpan(from, to)
	}
	at := len(c.scratch)
	c.scratch = Unescape(c.scratch, c.buf[from:to])
	return makeSpan(at, len(c.scratch)) | inScratch
}

// scanString validates a string whose opening quote is before p and returns where its closing quote stands,
// or -1 after an error.
func (c *Cursor) scanString(p int) (end int, escaped bool) {
	buf := c.buf
	for {
		m := special(load(buf, p))
		if m == 0 {
			p += 8
			continue
		}
		p += first(m)
		if c.ended(p, "the frame ends inside a string") {
			return -1, false
		}
		switch b := buf[p]; {
		case b == '"':
			return p, escaped
		case b == '\\':
			escaped = true
			if p = c.scanEscape(p); p < 0 {
				return -1, false
			}
		case b < ' ':
			c.fail(p, Malformed, "a control character stands in a string")
			return -1, false
		default:
			for p < len(buf) && buf[p] >= utf8.RuneSelf {
				r, n := utf8.DecodeRune(buf[p:])
				if r == utf8.RuneError && n <= 1 {
					c.fail(p, Malformed, "a string is not UTF-8")
					return -1, false
				}
				p += n
			}
		}
	}
}

// scanEscape validates the escape at p and returns the place behind it, or -1 after an error.
func (c *Cursor) scanEscape(p int) int {
	if c.ended(p+1, "the frame ends inside a string") {
		return -1
	}
	switch c.buf[p+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return p + 2
	case 'u':
		for i := p + 2; i < p+6; i++ {
			if c.ended(i, "the frame ends inside a string") {
				return -1
			}
			if _, ok := hex(c.buf[i]); !ok {
				c.fail(i, Malformed, "four hexadecimal digits are due behind \\u")
				return -1
			}
		}
		return p + 6
	}
	c.fail(p, Malformed, "this escape does not exist")
	return -1
}

func hex(b byte) (uint32, bool) {
	switch {
	case b-'0' <= 9:
		return uint32(b - '0'), true
	case b|0x20-'a' <= 5:
		return uint32(b|0x20-'a') + 10, true
	}
	return 0, false
}

// hex4 is the number behind \u at the start of b, or -1 where b does not start with one.
func hex4(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	var r uint32
	for _, d := range b[2:6] {
		v, ok := hex(d)
		if !ok {
			return -1
		}
		r = r<<4 | v
	}
	return rune(r)
}

// Unescape appends to dst the text of a raw string as RawStr returned it. Half a surrogate pair becomes U+FFFD,
// as in encoding/json. dst and raw must not overlap; the result is never longer than raw.
func Unescape(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		b := raw[i]
		if b != '\\' || i+1 >= len(raw) {
			dst = append(dst, b)
			i++
			continue
		}
		switch e := raw[i+1]; e {
		case 'b':
			b = '\b'
		case 'f':
			b = '\f'
		case 'n':
			b = '\n'
		case 'r':
			b = '\r'
		case 't':
			b = '\t'
		case 'u':
			r := hex4(raw[i:])
			if r < 0 {
				b = e
				break
			}
			i += 6
			if utf16.IsSurrogate(r) {
				if r = utf16.DecodeRune(r, hex4(raw[i:])); r != utf8.RuneError {
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
			continue
		default:
			b = e
		}
		dst = append(dst, b)
		i += 2
	}
	return dst
}

const (
	wordTrue = 'e'<<24 | 'u'<<16 | 'r'<<8 | 't'
	wordFals = 's'<<24 | 'l'<<16 | 'a'<<8 | 'f'
	wordNull = 'l'<<24 | 'l'<<16 | 'u'<<8 | 'n'
)

// Bool reads true or false.
func (c *Cursor) Bool() bool {
	w := load(c.buf, c.pos)
	if c.st != stValue || byte(w) <= ' ' {
		if !c.due() {
			return false
		}
		w = load(c.buf, c.pos)
	}
	if uint32(w) == wordTrue {
		c.pos += 4
		c.st = c.after
		return true
	}
	if uint32(w) == wordFals && byte(w>>32) == 'e' {
		c.pos += 5
		c.st = c.after
		return false
	}
	c.wantWord("a bool")
	return false
}

// wantWord is want where the value may also be a word that only begins like one.
func (c *Cursor) wantWord(what string) {
	switch k := kindOf[c.buf[c.pos]]; k {
	case KindBool, KindNull:
		if !c.word() {
			c.fail(c.pos, Malformed, "true, false or null is misspelt")
			return
		}
		c.failFound(c.pos, Mismatch, what, k)
	default:
		c.want(what)
	}
}

// word reports whether true, false or null stands at c.pos.
func (c *Cursor) word() bool {
	w := load(c.buf, c.pos)
	return uint32(w) == wordTrue || uint32(w) == wordNull || uint32(w) == wordFals && byte(w>>32) == 'e'
}

// Null reads null where that is due and reports whether it was; any other value stays due. It is how absence is told
// from zero:
//
//	if !c.Null() { price = decimal(c) }
func (c *Cursor) Null() bool {
	if c.Kind() != KindNull {
		return false
	}
	if !c.word() {
		c.fail(c.pos, Malformed, "true, false or null is misspelt")
		return false
	}
	c.pos += 4
	c.st = c.after
	return true
}

// Skip reads the value that is due, whatever it is, and validates it in full.
func (c *Cursor) Skip() {
	depth := c.depth
	c.step()
	if c.depth > depth {
		c.skipTo(depth)
	}
}

// Raw reads the value that is due like Skip and returns its text as sent, without white space around it.
func (c *Cursor) Raw() []byte {
	if !c.due() {
		return nil
	}
	from := c.pos
	c.Skip()
	if c.st == stFailed {
		return nil
	}
	return c.buf[from:c.pos:c.pos]
}

// skipTo reads until only depth containers are open. It loops where others recurse: nesting costs no stack.
func (c *Cursor) skipTo(depth int) {
	for c.depth > depth {
		if c.after == stObjNext {
			if c.Key() {
				c.step()
			}
		} else if c.Elem() {
			c.step()
		}
	}
}

// step reads a scalar, or opens an array or object.
func (c *Cursor) step() {
	buf, p := c.buf, c.pos
	if c.st != stValue || p >= len(buf) || buf[p] <= ' ' {
		if !c.due() {
			return
		}
		p = c.pos
	}
	switch kindOf[buf[p]] {
	case KindString:
		p++
		m := special(load(buf, p))
		if end := p + first(m); m != 0 && end < len(buf) && buf[end] == '"' {
			p = end
		} else if p, _ = c.scanString(p); p < 0 {
			return
		}
		c.pos = p + 1
		c.st = c.after
	case KindNumber:
		if p = c.scanNumber(p); p < 0 {
			return
		}
		c.pos = p
		c.st = c.after
	case KindBool, KindNull:
		if !c.word() {
			c.fail(p, Malformed, "true, false or null is misspelt")
			return
		}
		c.pos += 4
		if buf[p] == 'f' {
			c.pos++
		}
		c.st = c.after
	case KindArray:
		c.push(stArrFirst, stArrNext)
	case KindObject:
		c.push(stObjFirst, stObjNext)
	default:
		c.fail(p, Malformed, "no value starts with this byte")
	}
}
