package emulator

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// LedgerOptions say where the ledger lies. It is a file of fixed entries that
// other processes may read while it grows (ReadLedger) and that outlives the
// emulator.
type LedgerOptions struct {
	Path     string // a temporary file without a name if empty
	MaxBytes int64  // 1 GiB; a ledger that would pass it stops, and Account refuses it
	Off      bool   // keep none
}

// EntryKind says what an entry records.
type EntryKind uint8

// The kinds of entry.
const (
	EntryFrame EntryKind = 1 + iota // a WebSocket text or binary frame
	EntryHTTP                       // the body of an answer to a request; Conn counts requests
	EntryOpen                       // a connection was upgraded
	EntryClose                      // a connection ended, whoever ended it
)

// EntryFlags qualify an entry.
type EntryFlags uint8

// The flags.
const (
	FlagWithheld EntryFlags = 1 << iota // made, and by an injected fault not sent
	FlagFault                           // made or altered by an injected fault
	FlagControl                         // an acknowledgement, heartbeat or other frame without market data
)

// Entry is one line of the ledger.
type Entry struct {
	Time  int64  // ns UTC, before the frame was handed to the socket
	Hash  uint64 // of the payload, see Hash
	Conn  uint32 // from 1
	Index uint32 // of the frame on its connection, from 0; withheld ones do not count
	Size  uint32 // of the payload
	Kind  EntryKind
	Flags EntryFlags
	About
}

// About is what a frame of a synthetic market shows.
type About struct {
	Channel Channel
	Symbol  uint16 // its place in Options.Symbols from 1; 0: none
	Seq     int64  // trade id, or last update id; 0: none
}

const (
	entrySize   = 40
	ledgerHead  = 4096
	ledgerChunk = 4096 * entrySize * 100 // whole pages and whole entries
	ledgerMagic = "MPLEDGE1"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Hash is what the ledger keeps of a payload: its CRC-32C in the upper half and
// its CRC-32 (IEEE) in the lower. Both have hardware instructions, and every
// language has them.
func Hash(b []byte) uint64 {
	return uint64(crc32.Checksum(b, castagnoli))<<32 | uint64(crc32.ChecksumIEEE(b))
}

// Ledger is the append-only record. Its head holds the count of complete
// entries, stored after the entry, so that a reader never sees half of one.
type Ledger struct {
	off bool
	max int64

	mu     sync.Mutex
	f      *os.File
	head   []byte
	chunks [][]byte // of ledgerChunk bytes, mapped
	n      int64
	full   bool
}

func newLedger(o LedgerOptions) (*Ledger, error) {
	l := &Ledger{off: o.Off, max: o.MaxBytes}
	if l.max <= 0 {
		l.max = 1 << 30
	}
	if o.Off {
		return l, nil
	}
	var err error
	if o.Path == "" {
		if l.f, err = os.CreateTemp("", "ledger-*"); err == nil {
			err = os.Remove(l.f.Name())
		}
	} else {
		l.f, err = os.OpenFile(o.Path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	}
	if err != nil {
		return nil, fmt.Errorf("emulator: ledger: %w", err)
	}
	if err = l.f.Truncate(ledgerHead); err == nil {
		l.head, err = unix.Mmap(int(l.f.Fd()), 0, ledgerHead, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		l.f.Close()
		return nil, fmt.Errorf("emulator: ledger %s: %w", l.f.Name(), err)
	}
	copy(l.head, ledgerMagic)
	return l, nil
}

// count and overflow are the head's two words.
func (l *Ledger) count() *atomic.Int64    { return (*atomic.Int64)(unsafe.Pointer(&l.head[8])) }
func (l *Ledger) overflow() *atomic.Int64 { return (*atomic.Int64)(unsafe.Pointer(&l.head[16])) }

func (l *Ledger) add(e Entry) {
	if l.off {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.n * entrySize
	chunk := int(at / ledgerChunk)
	if l.full || l.head == nil || (chunk == len(l.chunks) && !l.grow()) {
		l.full = true
		if l.head != nil {
			l.overflow().Add(1)
		}
		return
	}
	b := l.chunks[chunk][at%ledgerChunk:][:entrySize]
	le := binary.LittleEndian
	le.PutUint64(b, uint64(e.Time))
	le.PutUint64(b[8:], e.Hash)
	le.PutUint32(b[16:], e.Conn)
	le.PutUint32(b[20:], e.Index)
	le.PutUint32(b[24:], e.Size)
	b[28], b[29] = byte(e.Kind)|byte(e.Channel)<<4, byte(e.Flags)
	le.PutUint16(b[30:], e.Symbol)
	le.PutUint64(b[32:], uint64(e.Seq))
	l.n++
	l.count().Store(l.n)
}

func (l *Ledger) grow() bool {
	off := ledgerHead + int64(len(l.chunks))*ledgerChunk
	if off+ledgerChunk > l.max+ledgerHead || l.f.Truncate(off+ledgerChunk) != nil {
		return false
	}
	m, err := unix.Mmap(int(l.f.Fd()), off, ledgerChunk, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return false
	}
	l.chunks = append(l.chunks, m)
	return true
}

// Len is the number of entries.
func (l *Ledger) Len() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// Entries copies the entries from a number on.
func (l *Ledger) Entries(from int64) ([]Entry, error) {
	if l.off {
		return nil, errors.New("emulator: the ledger is off")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.head == nil {
		return nil, errors.New("emulator: the ledger is closed")
	}
	if n := l.overflow().Load(); n > 0 {
		return nil, fmt.Errorf("emulator: the ledger is full: %d entries did not fit; raise its MaxBytes", n)
	}
	es := make([]Entry, 0, max(l.n-from, 0))
	for i := from; i < l.n; i++ {
		at := i * entrySize
		es = append(es, parseEntry(l.chunks[at/ledgerChunk][at%ledgerChunk:]))
	}
	return es, nil
}

// Close unmaps the ledger.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.off || l.head == nil {
		return nil
	}
	for _, c := range l.chunks {
		_ = unix.Munmap(c)
	}
	_ = unix.Munmap(l.head)
	l.head, l.chunks = nil, nil
	return l.f.Close()
}

func parseEntry(b []byte) Entry {
	le := binary.LittleEndian
	return Entry{Time: int64(le.Uint64(b)), Hash: le.Uint64(b[8:]), Conn: le.Uint32(b[16:]), Index: le.Uint32(b[20:]),
		Size: le.Uint32(b[24:]), Kind: EntryKind(b[28] & 15), Flags: EntryFlags(b[29]),
		About: About{Channel(b[28] >> 4), le.Uint16(b[30:]), int64(le.Uint64(b[32:]))}}
}

// ReadLedger reads a ledger file of another process, running or gone.
func ReadLedger(path string) ([]Entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("emulator: ledger: %w", err)
	}
	defer f.Close()
	head := make([]byte, 24)
	if _, err := io.ReadFull(f, head); err != nil || string(head[:8]) != ledgerMagic {
		return nil, fmt.Errorf("emulator: %s is no ledger", path)
	}
	n, lost := int64(binary.LittleEndian.Uint64(head[8:])), binary.LittleEndian.Uint64(head[16:])
	if lost > 0 {
		return nil, fmt.Errorf("emulator: ledger %s is full: %d entries did not fit; raise its MaxBytes", path, lost)
	}
	if st, err := f.Stat(); err != nil || n < 0 || ledgerHead+n*entrySize > st.Size() {
		return nil, fmt.Errorf("emulator: ledger %s names %d entries and is too short for them", path, n)
	}
	b := make([]byte, n*entrySize)
	if _, err := f.ReadAt(b, ledgerHead); err != nil {
		return nil, fmt.Errorf("emulator: ledger %s: %w", path, err)
	}
	es := make([]Entry, n)
	for i := range es {
		es[i] = parseEntry(b[i*entrySize:])
	}
	return es, nil
}
