package shm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"
)

// Position is the logical address of a record in a journal: monotonic for
// ever over all its segments, a multiple of eight.
type Position = uint64

const (
	// LayoutVersion is the version of the layout that this package reads and
	// writes. A segment of another version is refused, never guessed at.
	LayoutVersion = 1
	// SegmentHeaderBytes is the size of a segment's header; its first record
	// follows. It is a page, so that the header syncs apart from records.
	SegmentHeaderBytes = 4096
	// RecordHeaderBytes stand before every payload.
	RecordHeaderBytes = 32
	// MaxPayload is the longest payload of one record (16 MiB; a venue is
	// known to send frames of 5 MB).
	MaxPayload = 16 << 20
	// SealRoom is kept free at a segment's end for the seal record and the
	// commit word after it.
	SealRoom = RecordHeaderBytes + 8 + 8
	// HintBytes is how far a segment's tail may be above its tail hint.
	HintBytes = 64 << 10

	segmentMagic = 0x314c4e524a50524d // "MRPJRNL1"
	segmentExt   = ".seg"
)

// Record kinds from KindHead up belong to the journal itself. All others are
// the caller's.
const (
	// KindHead is the first record of each segment: the tables (plugins,
	// instruments) in force when it began. Reader.Head returns it.
	KindHead uint8 = 0xF0
	// KindSeal ends a segment; its payload is the position that follows.
	KindSeal uint8 = 0xF1
	// KindGap says what could not be journalled. Readers get it as a record.
	KindGap uint8 = 0xF2
)

// MaxConn is the greatest connection number that a record header holds.
const MaxConn = 1<<24 - 1

// Header is what a record carries beside its payload.
type Header struct {
	Kind uint8
	Conn uint32 // connection number, 24 bits
	Wall int64  // receive time, nanoseconds since 1970 UTC
	Mono int64  // monotonic clock at the same moment, nanoseconds
}

// Record is one record as the Reader returns it. Payload aliases the mapping
// and is valid until the reader's pin passes Pos or the reader is closed.
type Record struct {
	Header
	Pos     Position
	Payload []byte
}

// End is the position that follows the record: the cursor of a reader that
// has done with it.
func (r *Record) End() Position { return r.Pos + RecordBytes(len(r.Payload)) }

// RecordBytes is the room that a record with n bytes of payload takes.
func RecordBytes(n int) uint64 {
	return RecordHeaderBytes + (uint64(n)+7)&^7
}

// Record header, little endian:
//
//	 0 commit word: payload length u32, tag of the position u32
//	 8 kind u8 in the high byte, connection u24
//	12 crc32c of bytes 16 to the padded end, seeded (see seed)
//	16 wall i64
//	24 mono i64
//	32 payload, padded with zeroes to 8
const (
	offKind = 8
	offCRC  = 12
	offWall = 16
	offMono = 24
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// tag is never zero, so that a commit word never is.
func tag(pos Position) uint32 {
	return uint32((pos*0x9E3779B97F4A7C15)>>32) | 1
}

// seed folds into the checksum what it doesn't run over: the epoch and
// position, which say that these bytes are of this use of the segment, and
// the length, kind and connection.
func seed(epoch, pos uint64, n, kind uint32) uint32 {
	x := epoch*0xD6E8FEB86659FD93 ^ pos*0x9E3779B97F4A7C15 ^ (uint64(n)<<32|uint64(kind))*0xFF51AFD7ED558CCD
	return uint32(x>>32) ^ uint32(x)
}

func word(mem []byte, off uint64) *atomic.Uint64 {
	_ = mem[off+7]
	return (*atomic.Uint64)(unsafe.Pointer(&mem[off]))
}

// Put writes one record into a segment's memory at offset off and commits it.
// The payload is a followed by b. The caller is the segment's only writer,
// has checked that the record and the commit word after it fit, and that the
// payload isn't longer than MaxPayload.
func Put(mem []byte, off uint64, epoch uint64, pos Position, h Header, a, b []byte) {
	n := len(a) + len(b)
	end := off + RecordBytes(n)
	m := mem[off : end+8]
	kind := uint32(h.Kind)<<24 | h.Conn&MaxConn
	binary.LittleEndian.PutUint64(m[offWall:], uint64(h.Wall))
	binary.LittleEndian.PutUint64(m[offMono:], uint64(h.Mono))
	if n&7 != 0 {
		// The last word first: what the payload doesn't cover stays zero.
		binary.LittleEndian.PutUint64(m[end-off-8:], 0)
	}
	copy(m[RecordHeaderBytes:], a)
	copy(m[RecordHeaderBytes+len(a):], b)
	sum := checksum(seed(epoch, pos, uint32(n), kind), m[offWall:end-off])
	binary.LittleEndian.PutUint64(m[offKind:], uint64(kind)|uint64(sum)<<32)
	// The next commit word is zeroed before this one is stored: a reader that
	// sees this record never runs on into what the segment held before.
	word(mem, end).Store(0)
	word(mem, off).Store(uint64(n) | uint64(tag(pos))<<32)
}

// check looks at the record at off. It returns the payload's length and
// whether the whole record is there: tag, length and checksum.
func check(mem []byte, off uint64, epoch uint64, pos Position, commit uint64) (n int, ok bool) {
	n = int(uint32(commit))
	if uint32(commit>>32) != tag(pos) || n > MaxPayload {
		return n, false
	}
	end := off + RecordBytes(n)
	if end > uint64(len(mem)) {
		return n, false
	}
	m := mem[off:end]
	kc := binary.LittleEndian.Uint64(m[offKind:])
	return n, checksum(seed(epoch, pos, uint32(n), uint32(kc)), m[offWall:]) == uint32(kc>>32)
}

// At reads the record at offset off of a segment's memory. ok is false where
// none is committed or it is damaged; commit is zero where none is committed.
func At(mem []byte, off uint64, epoch uint64, base Position) (rec Record, commit uint64, ok bool) {
	if off+8 > uint64(len(mem)) {
		return rec, 0, false
	}
	commit = word(mem, off).Load()
	if commit == 0 {
		return rec, 0, false
	}
	n, ok := check(mem, off, epoch, base+off, commit)
	if !ok {
		return rec, commit, false
	}
	fill(&rec, mem[off:], base+off, n)
	return rec, commit, true
}

// fill sets rec from the record in m, whose payload has n bytes.
func fill(rec *Record, m []byte, pos Position, n int) {
	kind := binary.LittleEndian.Uint32(m[offKind:])
	rec.Kind = uint8(kind >> 24)
	rec.Conn = kind & MaxConn
	rec.Wall = int64(binary.LittleEndian.Uint64(m[offWall:]))
	rec.Mono = int64(binary.LittleEndian.Uint64(m[offMono:]))
	rec.Pos = pos
	rec.Payload = m[RecordHeaderBytes : RecordHeaderBytes+n : RecordHeaderBytes+n]
}

// Find scans [from, to) of a segment's memory, eight bytes at a time, for the
// next whole record: a commit word whose tag is that of its own position and
// whose checksum holds. It is how readers and recovery get past damage; the
// length of a damaged record is not believed.
func Find(mem []byte, from, to uint64, epoch uint64, base Position) (off uint64, ok bool) {
	to = min(to, uint64(len(mem))-RecordHeaderBytes)
	for off = from; off < to; off += 8 {
		commit := word(mem, off).Load()
		if uint32(commit>>32) != tag(base+off) {
			continue
		}
		if _, ok := check(mem, off, epoch, base+off, commit); ok {
			return off, true
		}
	}
	return 0, false
}

// TagAt says whether the word at off looks like the commit word of a record
// that was written there, whole or not.
func TagAt(mem []byte, off uint64, base Position) bool {
	return uint32(word(mem, off).Load()>>32) == tag(base+off)
}

// SegmentHeader is the part of a segment's header that is written once.
type SegmentHeader struct {
	Epoch   uint64   // grows with each start of the runtime
	Base    Position // position of the file's first byte
	Size    uint64   // bytes of the file
	Prev    Position // where the segment before this one ended; == Base when nothing lies between
	Journal uint64   // identity of the journal, drawn when it was made
	Created int64    // wall time, nanoseconds
	Bounded bool     // readers wait for the committed hint (sync = "always")
	Boot    [16]byte // the machine's boot id: within one boot the page cache survives
}

// End is the position after the segment's last byte.
func (h *SegmentHeader) End() Position { return h.Base + h.Size }

// Header layout: the constant part and its CRC, then the words that the
// writer changes, each beside its complement.
const (
	hdrCRC    = 112
	hdrSynced = 128
	hdrSealed = 144
	hdrHint   = 160
	hdrCount  = 176
	hdrFirst  = 192
	hdrLast   = 208
)

// PutSegmentHeader writes h at the start of a segment's memory and clears the
// words that change. The first commit word must be zero before.
func PutSegmentHeader(mem []byte, h SegmentHeader) {
	m := mem[:SegmentHeaderBytes]
	clear(m)
	le := binary.LittleEndian
	le.PutUint64(m[0:], segmentMagic)
	le.PutUint32(m[8:], LayoutVersion)
	le.PutUint32(m[12:], SegmentHeaderBytes)
	le.PutUint64(m[16:], h.Epoch)
	le.PutUint64(m[24:], h.Base)
	le.PutUint64(m[32:], ^h.Base)
	le.PutUint64(m[40:], h.Size)
	le.PutUint64(m[48:], h.Prev)
	le.PutUint64(m[56:], h.Journal)
	le.PutUint64(m[64:], uint64(h.Created))
	if h.Bounded {
		m[72] = 1
	}
	copy(m[80:96], h.Boot[:])
	le.PutUint32(m[hdrCRC:], crc32.Checksum(m[:hdrCRC], castagnoli))
}

// ErrDamaged says that a segment's header can't be believed. A segment of
// another layout version is not damaged: it is refused with an error of its own.
var ErrDamaged = errors.New("segment header is damaged")

// ParseSegmentHeader reads and checks a header. size is that of the file.
func ParseSegmentHeader(mem []byte, size uint64) (SegmentHeader, error) {
	var h SegmentHeader
	if len(mem) < SegmentHeaderBytes {
		return h, fmt.Errorf("%w: %d bytes", ErrDamaged, len(mem))
	}
	le := binary.LittleEndian
	if le.Uint64(mem[0:]) != segmentMagic {
		return h, fmt.Errorf("%w: magic is %#x", ErrDamaged, le.Uint64(mem[0:]))
	}
	if le.Uint32(mem[hdrCRC:]) != crc32.Checksum(mem[:hdrCRC], castagnoli) {
		return h, fmt.Errorf("%w: checksum differs", ErrDamaged)
	}
	if v := le.Uint32(mem[8:]); v != LayoutVersion {
		return h, fmt.Errorf("segment has layout version %d, this program reads %d", v, LayoutVersion)
	}
	h = SegmentHeader{
		Epoch:   le.Uint64(mem[16:]),
		Base:    le.Uint64(mem[24:]),
		Size:    le.Uint64(mem[40:]),
		Prev:    le.Uint64(mem[48:]),
		Journal: le.Uint64(mem[56:]),
		Created: int64(le.Uint64(mem[64:])),
		Bounded: mem[72]&1 != 0,
		Boot:    [16]byte(mem[80:96]),
	}
	if le.Uint64(mem[32:]) != ^h.Base || h.Base&7 != 0 || h.Base > 1<<62 {
		return h, fmt.Errorf("%w: base position %#x", ErrDamaged, h.Base)
	}
	if h.Size != size || h.Size&7 != 0 || h.Size < SegmentHeaderBytes+SealRoom+RecordHeaderBytes {
		return h, fmt.Errorf("%w: it says %d bytes, the file has %d", ErrDamaged, h.Size, size)
	}
	return h, nil
}

// A Mark is a word of a segment's header that its writer changes.
type Mark uint64

const (
	MarkSynced Mark = hdrSynced // position up to which records are on the disk
	MarkSealed Mark = hdrSealed // position of the seal record
	MarkHint   Mark = hdrHint   // position not far below the tail (HintBytes); survives the process, not the power
	MarkCount  Mark = hdrCount  // records in a sealed segment
	MarkFirst  Mark = hdrFirst  // wall time of its first record
	MarkLast   Mark = hdrLast   // wall time of its last record
)

// SetMark stores a mark and its complement.
func SetMark(mem []byte, m Mark, v uint64) {
	word(mem, uint64(m)).Store(v)
	word(mem, uint64(m)+8).Store(^v)
}

// GetMark loads a mark; zero when it was never set or is damaged.
func GetMark(mem []byte, m Mark) uint64 {
	v := word(mem, uint64(m)).Load()
	if word(mem, uint64(m)+8).Load() != ^v {
		return 0
	}
	return v
}

// SegmentName is the file name of the segment that begins at base.
func SegmentName(base Position) string {
	return fmt.Sprintf("%016x%s", base, segmentExt)
}

// ParseSegmentName is the reverse of SegmentName.
func ParseSegmentName(name string) (base Position, ok bool) {
	s, found := strings.CutSuffix(filepath.Base(name), segmentExt)
	if !found || len(s) != 16 {
		return 0, false
	}
	base, err := strconv.ParseUint(s, 16, 64)
	return base, err == nil
}
