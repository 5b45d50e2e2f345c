//go:build !amd64

package shm

import "hash/crc32"

// checksum is CRC32C over p, whose length is a multiple of eight, from crc on.
func checksum(crc uint32, p []byte) uint32 {
	return crc32.Update(crc, castagnoli, p)
}
