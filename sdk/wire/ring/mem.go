package ring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"
)

const (
	headerBytes  = 4096
	ringMagic    = 0x31474e49524d5250 // "PRMRING1"
	mailboxMagic = 0x31584f424d524d50 // "PMRMBOX1"
)

// ErrGarbage is what errors wrap that say that the other process wrote what no
// correct one writes.
var ErrGarbage = errors.New("garbage in shared memory")

var le = binary.LittleEndian

// header is the start of the shared memory. Each side's words have cache lines
// of their own.
type header struct {
	magic   atomic.Uint64
	version atomic.Uint64
	size    atomic.Uint64 // bytes after the header
	_       [104]byte
	// The runtime's.
	in atomic.Uint64 // ring: consumed up to here; mailbox: requests made
	_  [120]byte
	// The plugin's.
	out  atomic.Uint64 // ring: committed up to here; mailbox: requests answered
	upto atomic.Uint64 // ring: frames below are decoded; mailbox: requests begun
	_    [112]byte
	// The runtime's to set, the plugin's to clear.
	parked atomic.Uint32
	_      [124]byte
}

// memory is a mapped channel.
type memory struct {
	h    *header
	data []byte
	all  []byte
	file *os.File
}

func create(name string, magic uint64, size int) (memory, error) {
	f, err := newMemfd(name, headerBytes+size)
	if err != nil {
		return memory{}, err
	}
	all, err := mapShared(int(f.Fd()), headerBytes+size)
	if err != nil {
		f.Close()
		return memory{}, err
	}
	m := memory{h: (*header)(unsafe.Pointer(&all[0])), data: all[headerBytes:], all: all, file: f}
	m.h.magic.Store(magic)
	m.h.version.Store(Version)
	m.h.size.Store(uint64(size))
	return m, nil
}

// attach maps, in the plugin, what create made.
func attach(fd int, magic uint64) (memory, error) {
	n, err := sealedSize(fd)
	if err != nil {
		return memory{}, err
	}
	if n < headerBytes+4096 {
		return memory{}, fmt.Errorf("ring: descriptor %d has %d bytes", fd, n)
	}
	all, err := mapShared(fd, n)
	if err != nil {
		return memory{}, err
	}
	closeFd(fd)
	h := (*header)(unsafe.Pointer(&all[0]))
	if h.magic.Load() != magic || h.version.Load() != Version || h.size.Load() != uint64(n-headerBytes) {
		unmap(all)
		return memory{}, fmt.Errorf("ring: descriptor %d holds no channel of version %d", fd, Version)
	}
	return memory{h: h, data: all[headerBytes:], all: all}, nil
}

func (m *memory) close() {
	if m.all == nil {
		return
	}
	unmap(m.all)
	m.all, m.data, m.h = nil, nil, new(header)
	if m.file != nil {
		m.file.Close()
	}
}

// Bell is the doorbell on which the runtime sleeps while a plugin works: a pipe
// whose reading end is the runtime's own open file, so that nothing that a
// plugin does to its end makes the runtime block.
type Bell struct {
	sleeper *os.File
	ringer  *os.File // handed to each process in turn
	broken  atomic.Bool
	buf     [64]byte
}

// NewBell makes a doorbell.
func NewBell() (*Bell, error) {
	s, r, err := newPipe()
	if err != nil {
		return nil, err
	}
	return &Bell{sleeper: s, ringer: r}, nil
}

// File is the end that a plugin process rings; it stays the Bell's.
func (b *Bell) File() *os.File { return b.ringer }

// Close closes both ends; a Wait under way returns.
func (b *Bell) Close() error {
	b.broken.Store(true)
	return errors.Join(b.sleeper.Close(), b.ringer.Close())
}

// Interrupt ends the wait under way, or the next one. Any goroutine may call it.
func (b *Bell) Interrupt() {
	b.broken.Store(true)
	_ = b.sleeper.SetReadDeadline(time.Unix(1, 0))
}

// Wait sleeps until ready says true, Interrupt is called or the timeout (if
// positive) has passed, with nobody but Interrupt to ring.
func (b *Bell) Wait(ready func() bool, timeout time.Duration) bool {
	var alone atomic.Uint32
	return b.wait(&alone, ready, timeout)
}

// wait sleeps until ready says true, Interrupt is called or the timeout (if
// positive) has passed.
func (b *Bell) wait(parked *atomic.Uint32, ready func() bool, timeout time.Duration) bool {
	if ready() {
		return true
	}
	var end time.Time
	if timeout > 0 {
		end = time.Now().Add(timeout)
	}
	for {
		_ = b.sleeper.SetReadDeadline(end)
		// Say so first, then look again: the other side commits first and
		// looks at the word then, so one of the two sees the other.
		parked.Store(1)
		if ready() || b.broken.Swap(false) {
			parked.Store(0)
			return ready()
		}
		_, err := b.sleeper.Read(b.buf[:])
		parked.Store(0)
		if ready() {
			return true
		}
		if b.broken.Swap(false) || err != nil {
			return false // interrupted, closed, or out of time
		}
	}
}

// Pump calls wake each time that the bell rings, until over is closed and
// Interrupt was called, or the bell is closed. It takes the place of Wait.
func (b *Bell) Pump(over <-chan struct{}, wake func()) {
	for {
		if _, err := b.sleeper.Read(b.buf[:]); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
			_ = b.sleeper.SetReadDeadline(time.Time{}) // Interrupt
			select {
			case <-over:
				return
			default:
			}
		}
		wake()
	}
}

// ringer is the plugin's end.
type ringer struct {
	parked *atomic.Uint32
	fd     int
	rings  uint64
}

func (r *ringer) ring() {
	if r.parked.Load() == 1 && r.parked.CompareAndSwap(1, 0) {
		ringBell(r.fd)
		r.rings++
	}
}
