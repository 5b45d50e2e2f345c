package shm

import (
	"hash/crc32"

	"golang.org/x/sys/cpu"
)

// hash/crc32 runs one chain of CRC32Q instructions over less than 504 bytes,
// at three cycles for eight bytes: more than half of what appending or reading
// a 250-byte record costs. Three chains side by side take half of that.

// crc3 continues a CRC32C (not inverted) over 3*k+1+rest words, k > 0. c2 and
// c1 are shifts[2*k+1] and shifts[k+1].
//
//go:noescape
func crc3(crc uint32, p *byte, k, rest, c2, c1 uint64) uint32

// maxStream is the longest of the three streams, in words.
const maxStream = 128

// shifts[n] is x^(64n-33) modulo the polynomial, bits reversed: multiplying a
// CRC by it and taking the CRC of the product moves it past n words.
var (
	shifts  [2*maxStream + 2]uint64
	hasCRC3 = cpu.X86.HasSSE42 && cpu.X86.HasPCLMULQDQ
)

func init() {
	var zero [8]byte
	shifts[1] = 1
	for n := 2; n < len(shifts); n++ {
		shifts[n] = uint64(^crc32.Update(^uint32(shifts[n-1]), castagnoli, zero[:]))
	}
}

// checksum is CRC32C over p, whose length is a multiple of eight, from crc on.
func checksum(crc uint32, p []byte) uint32 {
	n := uint64(len(p)) / 8
	if n < 7 || !hasCRC3 {
		return crc32.Update(crc, castagnoli, p)
	}
	crc = ^crc
	for n > 3*maxStream+3 {
		crc = crc3(crc, &p[0], maxStream, 0, shifts[2*maxStream+1], shifts[maxStream+1])
		p = p[8*(3*maxStream+1):]
		n -= 3*maxStream + 1
	}
	if n >= 4 {
		k := (n - 1) / 3
		return ^crc3(crc, &p[0], k, n-3*k-1, shifts[2*k+1], shifts[k+1])
	}
	return crc32.Update(^crc, castagnoli, p)
}
