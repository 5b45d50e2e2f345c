package emulator

import "strconv"

var pow10 = [...]int64{1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

const digits2 = "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899"

// appendFixed writes v at the given number of decimals, zero-padded to print decimals.
func appendFixed(b []byte, v int64, decimals, print uint8) []byte {
	if v < 0 {
		b, v = append(b, '-'), -v
	}
	var t [40]byte
	i, u, left := len(t), uint64(v), int(decimals)
	for p := print; p > decimals; p-- {
		i--
		t[i] = '0'
	}
	for ; left >= 2; left -= 2 {
		d := u % 100 * 2
		u /= 100
		i -= 2
		t[i], t[i+1] = digits2[d], digits2[d+1]
	}
	if left == 1 {
		i--
		t[i] = byte('0' + u%10)
		u /= 10
	}
	if print > 0 || decimals > 0 {
		i--
		t[i] = '.'
	}
	for u >= 100 {
		d := u % 100 * 2
		u /= 100
		i -= 2
		t[i], t[i+1] = digits2[d], digits2[d+1]
	}
	if u >= 10 {
		i -= 2
		t[i], t[i+1] = digits2[u*2], digits2[u*2+1]
	} else {
		i--
		t[i] = byte('0' + u)
	}
	return append(b, t[i:]...)
}

func appendInt(b []byte, v int64) []byte { return strconv.AppendInt(b, v, 10) }

func (s *symbol) appendPrice(b []byte, slot int) []byte {
	return appendFixed(b, s.origin+int64(slot), s.tick, s.printTick)
}

func (s *symbol) appendTicks(b []byte, ticks int64) []byte {
	return appendFixed(b, ticks, s.tick, s.printTick)
}

func (s *symbol) appendQty(b []byte, q int64) []byte { return appendFixed(b, q, s.step, s.printStep) }

func (t turnover) append(b []byte) []byte {
	b = append(appendInt(b, t.whole), '.')
	f := t.frac + fracUnit // keeps the leading zeros
	start := len(b)
	b = appendInt(b, f)
	return append(b[:start], b[start+1:]...)
}

// quoted writes a key and, in quotes, the text that f appends.
func quoted(b []byte, key string, f func([]byte) []byte) []byte {
	b = append(append(b, key...), '"')
	return append(f(b), '"')
}
