package jsonscan

import (
	"encoding/binary"
	"math/bits"
)

// Eight bytes at a time in a 64-bit word, the first byte lowest. A mask has the high bit of a byte set
// where the byte is meant; borrows and carries may set bits above the first true one, never below it,
// so only the first is asked for.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
	zeros = '0' * ones
)

func load8(b []byte, p int) uint64 {
	return binary.LittleEndian.Uint64(b[p : p+8])
}

// load is load8 near the end too: bytes behind the frame read as 0, which ends numbers and strings alike.
func load(b []byte, p int) uint64 {
	if p+8 <= len(b) {
		return binary.LittleEndian.Uint64(b[p : p+8])
	}
	return loadTail(b, p)
}

//go:noinline
func loadTail(b []byte, p int) uint64 {
	if len(b) >= 8 && p < len(b) {
		return binary.LittleEndian.Uint64(b[len(b)-8:]) >> (8 * uint(p+8-len(b)))
	}
	var w uint64
	for i := len(b) - 1; i >= p; i-- {
		w = w<<8 | uint64(b[i])
	}
	return w
}

// special marks what ends or complicates a string: '"', '\', control characters and all that is not ASCII.
func special(w uint64) uint64 {
	q := w ^ '"'*ones
	s := w ^ '\\'*ones
	return ((q-ones)&^q | (s-ones)&^s | (w - 0x20*ones) | w) & highs
}

// nondigit marks what is not a decimal digit in t = w ^ zeros.
func nondigit(t uint64) uint64 {
	return (t + 0x76*ones | t) & highs
}

// first is the index of the first marked byte, 8 for an empty mask.
func first(m uint64) int {
	return bits.TrailingZeros64(m) >> 3
}

// value8 is the number that the first n digits of t = w ^ zeros make, 1 <= n <= 8.
func value8(t uint64, n int) uint64 {
	t <<= uint(64-8*n) & 63
	t = t*10 + t>>8
	return (t&0x000000ff000000ff*0x000f424000000064 + t>>16&0x000000ff000000ff*0x0000271000000001) >> 32
}

var pow10 = [16]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8}

// plain are the bytes that stand for themselves in a string.
var plain = func() (t [256]bool) {
	for b := 0x20; b < 0x80; b++ {
		t[b] = b != '"' && b != '\\'
	}
	return t
}()

// space is the first position from p that is not white space.
func space(b []byte, p int) int {
	for p < len(b) && b[p] <= ' ' && (b[p] == ' ' || b[p] == '\n' || b[p] == '\r' || b[p] == '\t') {
		p++
	}
	return p
}
