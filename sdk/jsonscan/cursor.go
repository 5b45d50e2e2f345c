package jsonscan

import "fmt"

const (
	// DefaultMaxDepth is the nesting a frame may have where Cursor.MaxDepth is zero.
	DefaultMaxDepth = 64
	// LimitDepth is the greatest MaxDepth.
	LimitDepth = 128
	// LimitBytes is the greatest MaxBytes.
	LimitBytes = 1<<31 - 1
	// DefaultMaxBytes is the frame size where Cursor.MaxBytes is zero.
	DefaultMaxBytes = 16 << 20

	// scratchKeep is how much room for resolved escapes survives a Reset.
	// A frame that needed more gives it back, so that one odd frame does not hold memory for ever.
	scratchKeep = 64 << 10
)

// Kind is the kind of a JSON value.
type Kind uint8

const (
	KindNone Kind = iota // no value stands here, or the cursor has failed
	KindNull
	KindBool
	KindNumber
	KindString
	KindArray
	KindObject
)

var kindNames = [...]string{"nothing", "null", "a bool", "a number", "a string", "an array", "an object"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "an unknown kind"
}

// Fault says what sort of error stopped the cursor.
type Fault uint8

const (
	Malformed Fault = iota + 1 // not JSON, or not UTF-8
	Mismatch                   // JSON, but not of the shape that the decoder reads
	Limit                      // too deep or too large
	Misuse                     // the decoder called a method where it has no meaning
)

// SyntaxError is the first error that a cursor met.
type SyntaxError struct {
	Offset int    // byte of the frame at which it stands
	Fault  Fault  // what sort of error it is
	What   string // what is wrong there
	Found  Kind   // the value that stood there, for a Mismatch
}

func (e *SyntaxError) Error() string {
	if e.Found != KindNone {
		return fmt.Sprintf("jsonscan: byte %d: %s is due, found %s", e.Offset, e.What, e.Found)
	}
	return fmt.Sprintf("jsonscan: byte %d: %s", e.Offset, e.What)
}

// state says what may come next.
type state uint8

const (
	stFailed   state = iota // after an error; also a cursor that was never Reset
	stValue                 // a value is due
	stObjFirst              // behind '{'
	stObjNext               // in an object, behind a value
	stArrFirst              // behind '['
	stArrNext               // in an array, behind a value
	stDone                  // behind the outermost value
)

// span is a piece of the frame, or of the scratch where escapes had to be resolved: from, to, and which of the two.
// It is one word, not a slice, because two or three are stored for each member of an object and a slice has a write barrier.
type span uint64

const inScratch = 1 << 63

func makeSpan(from, to int) span { return span(from) | span(to)<<32 }

func (s span) from() int     { return int(uint32(s)) }
func (s span) to() int       { return int(s >> 32 &^ (1 << 31)) }
func (s span) scratch() bool { return s&inScratch != 0 }

func (c *Cursor) bytes(s span) []byte {
	if s.scratch() {
		return c.scratch[s.from():s.to():s.to()]
	}
	return c.buf[s.from():s.to():s.to()]
}

// Cursor reads one frame from front to back. The zero value is ready for Reset.
// It belongs to one goroutine; a decoder holds one and uses it for every frame.
type Cursor struct {
	// MaxDepth is how deep arrays and objects may nest: 0 means DefaultMaxDepth, more than LimitDepth means LimitDepth.
	// It and MaxBytes take effect at the next Reset.
	MaxDepth int
	// MaxBytes is the largest frame: 0 means DefaultMaxBytes, more than LimitBytes means LimitBytes.
	MaxBytes int

	buf   []byte
	pos   int
	st    state
	after state // st once the value that is due has been read
	depth int
	limit int // MaxDepth as in force
	key   span
	key1  byte // the key's only byte, or 0
	text  span // of the last value, see Lexeme

	scratch []byte
	frameNo uint64 // which Reset a Mark belongs to
	err     SyntaxError
	stack   [LimitDepth]state // after of the containers around the innermost one; last, so that the rest lies together
}

// Reset starts a frame. The cursor reads the frame where it lies and never writes to it;
// what it returns points into the frame, or into room that the next Reset uses again.
func (c *Cursor) Reset(frame []byte) {
	c.buf = frame
	c.pos = 0
	c.st = stValue
	c.after = stDone
	c.depth = 0
	c.limit = c.MaxDepth
	if c.limit <= 0 {
		c.limit = DefaultMaxDepth
	}
	c.limit = min(c.limit, LimitDepth)
	c.key, c.key1 = 0, 0
	c.text = 0
	c.frameNo++
	if cap(c.scratch) > scratchKeep {
		c.scratch = nil
	}
	c.scratch = c.scratch[:0]
	most := c.MaxBytes
	if most <= 0 {
		most = DefaultMaxBytes
	}
	if most = min(most, LimitBytes); len(frame) > most {
		c.fail(most, Limit, "the frame is larger than the limit")
	}
}

// Err returns the first error, a *SyntaxError, or nil. It says nothing about what has not been read: see End.
func (c *Cursor) Err() error {
	if c.st != stFailed {
		return nil
	}
	e := c.err // a copy: the caller may keep it longer than the frame
	if e.Fault == 0 {
		e.Fault, e.What = Misuse, "no frame: Reset was not called"
	}
	return &e
}

// Fail stops the cursor with an error of the caller's at the last value or key that was read:
// a price that is no number, say. An earlier error stays. what must be a constant, for it is formatted on no hot path.
func (c *Cursor) Fail(what string) {
	c.fail(c.last(), Mismatch, what)
}

// last is the offset of the last value or key; a resolved one has only the place behind it.
func (c *Cursor) last() int {
	at := c.pos
	if c.st == stValue && !c.key.scratch() && c.key != 0 {
		at = c.key.from()
	} else if c.st != stValue && !c.text.scratch() && c.text != 0 {
		at = c.text.from()
	}
	return at
}

// Offset is the byte at which the cursor stands, or at which it failed.
func (c *Cursor) Offset() int {
	if c.st == stFailed {
		return c.err.Offset
	}
	return c.pos
}

// Depth is the number of arrays and objects that are open.
func (c *Cursor) Depth() int { return c.depth }

// fail records the first error and leaves the cursor so that every call returns its zero value.
func (c *Cursor) fail(at int, f Fault, what string) {
	c.failFound(at, f, what, KindNone)
}

//go:noinline
func (c *Cursor) failFound(at int, f Fault, what string, found Kind) {
	if c.st == stFailed {
		return
	}
	c.err = SyntaxError{Offset: at, Fault: f, What: what, Found: found}
	c.st, c.after = stFailed, stFailed
	c.pos = len(c.buf)
	c.depth = 0
	c.key, c.key1 = 0, 0
	c.text = 0
}

// ended reports whether p is behind the frame, which is then an error.
func (c *Cursor) ended(p int, what string) bool {
	if p < len(c.buf) {
		return false
	}
	c.fail(len(c.buf), Malformed, what)
	return true
}

// due moves to the value that is due, over white space, and reports whether there is one:
// not after an error, not where a key or nothing may stand, not at the end of the frame.
func (c *Cursor) due() bool {
	switch c.st {
	case stValue:
		c.pos = space(c.buf, c.pos)
		return !c.ended(c.pos, "the frame ends where a value is due")
	case stFailed:
	case stObjFirst, stObjNext:
		c.fail(c.pos, Misuse, "a value was asked for between an object's values: call Key first")
	case stArrFirst, stArrNext:
		c.fail(c.pos, Misuse, "a value was asked for between an array's values: call Elem first")
	default:
		c.fail(c.pos, Misuse, "a value was asked for behind the last one")
	}
	return false
}

// want fails because the value at c.pos, which due has found, is not what was asked for.
func (c *Cursor) want(what string) {
	k := kindOf[c.buf[c.pos]]
	if k == KindNone {
		c.fail(c.pos, Malformed, "no value starts with this byte")
		return
	}
	c.failFound(c.pos, Mismatch, what, k)
}

// Kind says what value is due, without reading it. KindNone where none is, or after an error;
// KindNumber, KindBool and KindNull are told from the first byte and checked when read.
func (c *Cursor) Kind() Kind {
	if c.st != stValue {
		return KindNone
	}
	c.pos = space(c.buf, c.pos)
	if c.pos >= len(c.buf) {
		return KindNone
	}
	return kindOf[c.buf[c.pos]]
}

var kindOf = [256]Kind{
	'n': KindNull, 't': KindBool, 'f': KindBool, '"': KindString, '[': KindArray, '{': KindObject,
	'-': KindNumber, '0': KindNumber, '1': KindNumber, '2': KindNumber, '3': KindNumber, '4': KindNumber,
	'5': KindNumber, '6': KindNumber, '7': KindNumber, '8': KindNumber, '9': KindNumber,
}

// push opens a container at c.pos: an object with stObjFirst and stObjNext, an array with the other two.
func (c *Cursor) push(first, next state) {
	if c.depth >= c.limit {
		c.fail(c.pos, Limit, "nested deeper than the limit")
		return
	}
	c.stack[uint(c.depth)%LimitDepth] = c.after
	c.depth++
	c.pos++
	c.st, c.after = first, next
}

// pop closes the innermost container; p is behind its bracket.
func (c *Cursor) pop(p int) {
	c.pos = p
	c.depth--
	c.after = c.stack[uint(c.depth)%LimitDepth]
	c.st = c.after
}

// Object opens the object that is due; Key then goes through it.
func (c *Cursor) Object() {
	if c.st != stValue || c.pos >= len(c.buf) || c.buf[c.pos] != '{' {
		if !c.due() {
			return
		}
		if c.buf[c.pos] != '{' {
			c.want("an object")
			return
		}
	}
	c.push(stObjFirst, stObjNext)
}

// Array opens the array that is due; Elem then goes through it.
func (c *Cursor) Array() {
	if c.st != stValue || c.pos >= len(c.buf) || c.buf[c.pos] != '[' {
		if !c.due() {
			return
		}
		if c.buf[c.pos] != '[' {
			c.want("an array")
			return
		}
	}
	c.push(stArrFirst, stArrNext)
}

// Key moves to the next member of the innermost object and reports whether there is one;
// its value is due then. At the closing brace it leaves the object and returns false.
// A value that was not read since the last Key is skipped, validated like any other.
func (c *Cursor) Key() bool {
	buf, p := c.buf, c.pos
	if p+8 > len(buf) {
		return c.keySlow()
	}
	w := load8(buf, p)
	switch c.st {
	case stObjNext:
		// ,"x": in one comparison, for venues whose keys are one letter.
		if w&0x000000ff_ff00ffff == ':'<<32|'"'<<24|'"'<<8|',' && plain[byte(w>>16)] {
			c.key = makeSpan(p+2, p+3)
			c.key1 = byte(w >> 16)
			c.pos = p + 5
			c.st = stValue
			return true
		}
		if uint16(w) != '"'<<8|',' {
			if byte(w) == '}' {
				c.pop(p + 1)
				return false
			}
			return c.keySlow()
		}
		p += 2
	case stObjFirst:
		if byte(w) != '"' {
			return c.keySlow()
		}
		p++
	default:
		return c.keySlow()
	}
	end := p
	for end+9 <= len(buf) {
		m := special(load8(buf, end))
		if m == 0 {
			end += 8
			continue
		}
		end += first(m)
		if buf[end] == '"' && buf[end+1] == ':' {
			c.setKey(makeSpan(p, end))
			c.pos = end + 2
			c.st = stValue
			return true
		}
		break
	}
	return c.keySlow()
}

// keySlow is Key with everything: white space, escapes, the closing brace, an unread value, every error.
func (c *Cursor) keySlow() bool {
	if c.st == stValue && c.after == stObjNext {
		c.Skip()
	}
	if c.st != stObjNext && c.st != stObjFirst {
		if c.st == stFailed {
			return false
		}
		c.fail(c.pos, Misuse, "Key was called outside an object: Leave what is open inside it")
		return false
	}
	buf := c.buf
	p := space(buf, c.pos)
	if c.ended(p, "the frame ends inside an object") {
		return false
	}
	if buf[p] == '}' {
		c.pop(p + 1)
		return false
	}
	if c.st == stObjNext {
		if buf[p] != ',' {
			c.fail(p, Malformed, "',' or '}' is due")
			return false
		}
		p = space(buf, p+1)
		if c.ended(p, "the frame ends inside an object") {
			return false
		}
	}
	if buf[p] != '"' {
		c.fail(p, Malformed, "a key is due")
		return false
	}
	end, escaped := c.scanString(p + 1)
	if end < 0 {
		return false
	}
	c.setKey(c.resolve(p+1, end, escaped))
	p = space(buf, end+1)
	if c.ended(p, "the frame ends behind a key") {
		return false
	}
	if buf[p] != ':' {
		c.fail(p, Malformed, "':' is due")
		return false
	}
	c.pos = p + 1
	c.st = stValue
	return true
}

// KeyBytes is the key that Key found, escapes resolved. It is made for
//
//	switch string(c.KeyBytes()) { case "e": … case "E": … }
//
// which allocates nothing. Empty after an error and before the first Key.
func (c *Cursor) KeyBytes() []byte { return c.bytes(c.key) }

// Key1 is the key where it is one byte long, else 0, for objects whose keys are letters:
//
//	switch c.Key1() { case 'e': … case 'E': … }
func (c *Cursor) Key1() byte { return c.key1 }

func (c *Cursor) setKey(s span) {
	c.key, c.key1 = s, 0
	if b := c.bytes(s); len(b) == 1 {
		c.key1 = b[0]
	}
}

// Elem moves to the next element of the innermost array and reports whether there is one;
// it is due then. At the closing bracket it leaves the array and returns false.
// An element that was not read since the last Elem is skipped, validated like any other.
func (c *Cursor) Elem() bool {
	buf, p := c.buf, c.pos
	if p < len(buf) {
		b := buf[p]
		if c.st == stArrNext {
			if b == ',' {
				c.pos = p + 1
				c.st = stValue
				return true
			}
			if b == ']' {
				c.pop(p + 1)
				return false
			}
		} else if c.st == stArrFirst && kindOf[b] != KindNone {
			c.st = stValue
			return true
		}
	}
	return c.elemSlow()
}

func (c *Cursor) elemSlow() bool {
	if c.st == stValue && c.after == stArrNext {
		c.Skip()
	}
	if c.st != stArrNext && c.st != stArrFirst {
		if c.st == stFailed {
			return false
		}
		c.fail(c.pos, Misuse, "Elem was called outside an array: Leave what is open inside it")
		return false
	}
	p := space(c.buf, c.pos)
	if c.ended(p, "the frame ends inside an array") {
		return false
	}
	if c.buf[p] == ']' {
		c.pop(p + 1)
		return false
	}
	if c.st == stArrNext {
		if c.buf[p] != ',' {
			c.fail(p, Malformed, "',' or ']' is due")
			return false
		}
		p++
	}
	c.pos = p
	c.st = stValue
	return true
}

// Leave skips what is left of the innermost object or array, validating it, and closes it.
// It is how a loop over Key or Elem is broken off.
func (c *Cursor) Leave() {
	if c.st == stArrNext && c.pos < len(c.buf) && c.buf[c.pos] == ']' {
		c.pop(c.pos + 1)
		return
	}
	if c.depth == 0 {
		c.fail(c.pos, Misuse, "Leave was called outside any object or array")
		return
	}
	c.skipTo(c.depth - 1)
}

// End reads to the end of the frame: what has not been read is skipped and validated,
// what is open is closed, and nothing but white space may follow.
// It returns the first error of the whole frame, so nil means that the frame is JSON in UTF-8 within the limits.
func (c *Cursor) End() error {
	if c.st != stDone {
		if c.depth == 0 {
			c.Skip()
		}
		c.skipTo(0)
	}
	if c.st == stDone {
		c.pos = space(c.buf, c.pos)
		if c.pos < len(c.buf) {
			c.fail(c.pos, Malformed, "more follows behind the value")
		}
	}
	return c.Err()
}

// Mark is a place in a frame. It is good until the next Reset.
type Mark struct {
	pos, depth int
	frameNo    uint64
	st, after  state
	stack      [LimitDepth]state
	key        span
	key1       byte
}

// Mark remembers where the cursor stands, to come back with Seek: to an object that must be read before
// one knows what it is, say.
func (c *Cursor) Mark() Mark {
	return Mark{
		pos: c.pos, depth: c.depth, frameNo: c.frameNo, st: c.st, after: c.after, stack: c.stack,
		key: c.key, key1: c.key1,
	}
}

// Seek goes to a mark of the same frame. An error stays; a mark of an earlier frame is one.
func (c *Cursor) Seek(m Mark) {
	if c.st == stFailed {
		return
	}
	if m.frameNo != c.frameNo || m.st == stFailed {
		c.fail(c.pos, Misuse, "Seek to a mark of another frame")
		return
	}
	c.pos, c.depth, c.st, c.after, c.stack = m.pos, m.depth, m.st, m.after, m.stack
	c.key, c.key1 = m.key, m.key1
}
