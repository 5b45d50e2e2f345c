// Package jsonscan reads one JSON frame from front to back without allocating: it is what a venue's decoder
// is written with.
//
// A Cursor is pulled: the decoder asks for the next key or element, then for its value as the type that it expects.
// Keys may come in any order; what the decoder does not know it skips, and what it does not read is skipped for it.
//
//	c.Reset(frame)
//	for c.Object(); c.Key(); {
//		switch string(c.KeyBytes()) {
//		case "s":
//			symbol = c.Str()
//		case "p":
//			price = decimal(c)
//		case "T":
//			ts = c.Int64() * int64(time.Millisecond)
//		case "b":
//			for c.Array(); c.Elem(); {
//				…
//			}
//		}
//	}
//	if err := c.End(); err != nil {
//		return err
//	}
//
// # Errors
//
// The first error stays. From then on every call returns its zero value and every loop ends, so a decoder asks once,
// with End, and must not hand on what it has read before End returned nil. End skips what is left unread and returns
// nil only if the whole frame is valid, also where the decoder left early: a frame cut short is never taken for
// a whole one. A *SyntaxError names the byte, and by its Fault whether the frame is no JSON (Malformed), is JSON of
// another shape than the decoder reads (Mismatch: the venue has changed something), is too deep or large (Limit),
// or was read wrongly (Misuse: a fault of the decoder). With Fail a decoder adds errors of its own.
//
// # What is valid
//
// Valid is what encoding/json.Valid and unicode/utf8.Valid both accept: leading zeros, NaN, unknown escapes, raw
// control characters, lone commas, anything behind the value, a byte order mark and broken UTF-8 are refused.
// What is skipped is validated like what is read. Unlike them the cursor has limits: nesting (64 levels unless
// MaxDepth says otherwise) and size (16 MiB, MaxBytes). It does not recurse, so that no nesting costs stack.
// Keys are compared as they are, after their escapes are resolved: "e" and "E" differ, and "\u0065" is "e".
// The same key twice is valid and is found twice. Half a surrogate pair in an escape is read as U+FFFD.
//
// # Numbers
//
// Nothing becomes a float. Num and NumOrStr return the text as sent, which checksums need. DecimalParts returns
// coefficient and scale, trailing zeros kept; where it cannot (ok is false and no error) Lexeme has the text:
//
//	func decimal(c *jsonscan.Cursor) market.Decimal {
//		coef, scale, ok := c.DecimalParts()
//		if !ok {
//			… // "": absent. More than 18 digits: parse c.Lexeme(). Else c.Fail("a price is no decimal").
//		}
//		…
//	}
//
// DecimalParts, Decimals, Int64 and Uint64 take numbers bare or quoted, as venues send them either way.
// Null tells an absent value from zero; no other call accepts null.
//
// # Arrays of a fixed shape
//
// Decimals reads a level or a candle in one call. Others are read element by element, and Leave drops what follows:
//
//	c.Array()
//	if c.Elem() {
//		id = c.Int64()
//	}
//	if c.Elem() {
//		amount = decimal(c)
//	}
//	c.Leave()
//
// Elem must be true before a value is read: at the end of the array it has left it.
// A loop over Key or Elem that is broken off needs Leave too, or the outer loop goes on inside.
//
// # Order
//
// Where one must know a later field to read an earlier one, Mark remembers the place and Seek goes back:
//
//	case "data":
//		data = c.Mark() // and go on: it is skipped
//	case "stream":
//		stream = c.Str()
//
// and after the loop, or after End, which has validated it, c.Seek(data).
//
// # Ownership
//
// The frame is read where it lies and never written to, so that it may be a read-only mapping; it must not change
// until the decoder has returned. What the cursor returns points into the frame or, where escapes were resolved,
// into room of the cursor, and is good until the next Reset: copy what is kept. A cursor belongs to one goroutine.
// Only an error allocates, and the first string with escapes, whose room is then used again.
package jsonscan
