package shm

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

func TestChecksumIsCRC32C(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 64<<10)
	for i := range buf {
		buf[i] = byte(rng.Uint32())
	}
	for n := 0; n < 3000; n++ {
		p := buf[n%97*8:][:n*8]
		crc := rng.Uint32()
		if got, want := checksum(crc, p), crc32.Update(crc, castagnoli, p); got != want {
			t.Fatalf("%d words: %08x, want %08x", n, got, want)
		}
	}
}

func BenchmarkChecksum(b *testing.B) {
	buf := make([]byte, 272)
	for _, f := range []struct {
		name string
		f    func(uint32, []byte) uint32
	}{
		{"ours", checksum},
		{"hash/crc32", func(c uint32, p []byte) uint32 { return crc32.Update(c, castagnoli, p) }},
	} {
		b.Run(f.name, func(b *testing.B) {
			var c uint32
			for b.Loop() {
				c = f.f(c, buf)
			}
		})
	}
}
