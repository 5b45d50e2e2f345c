package ring

import (
	"fmt"
	"os"
	"time"
)

// DefaultBytes is the size of a record ring: some milliseconds of the fastest
// decoding, little enough to stay in a processor's cache at usual rates.
const DefaultBytes = 4 << 20

// MaxEntry is the greatest size of what one frame may give. A frame that gives
// more is refused by the serving side.
const MaxEntry = 64 << 20

// entryHeader stands before each chunk: position of the frame, position after
// it, length and flags. Chunks are padded to 8.
const entryHeader = 24

// Flags of a chunk.
const (
	// FlagMore says that the entry goes on in the next chunk.
	FlagMore = 1 << iota
	// FlagRemembered marks what a remembered frame gave: definitions alone.
	// Its position is that of the restart.
	FlagRemembered

	flagsKnown = FlagMore | FlagRemembered
)

// Producer is a plugin's end of a record ring. It belongs to one goroutine.
type Producer struct {
	m    memory
	mask uint64
	head uint64 // written so far; published by Publish
	tail uint64 // what is known of the consumer
	bell ringer
	full func() bool
	spun uint64
}

// OpenProducer maps the ring in descriptor fd and takes the doorbell in bellFd.
// full is called again and again while the ring has no room; false gives up.
func OpenProducer(fd, bellFd int, full func() bool) (*Producer, error) {
	m, err := attach(fd, ringMagic)
	if err != nil {
		return nil, err
	}
	size := uint64(len(m.data))
	if size&(size-1) != 0 {
		return nil, fmt.Errorf("ring: size %d is no power of two", size)
	}
	return &Producer{m: m, mask: size - 1, bell: ringer{parked: &m.h.parked, fd: bellFd}, full: full}, nil
}

// Append writes an entry; the consumer sees it after Publish. It returns false
// where full gave up.
func (p *Producer) Append(pos, next uint64, flags uint32, data []byte) bool {
	if chunk := len(p.m.data) / 4; len(data) > chunk {
		for len(data) > chunk {
			if !p.chunk(pos, next, flags|FlagMore, data[:chunk]) {
				return false
			}
			p.commit()
			data = data[chunk:]
		}
	}
	return p.chunk(pos, next, flags, data)
}

func (p *Producer) chunk(pos, next uint64, flags uint32, data []byte) bool {
	need := entryHeader + (uint64(len(data))+7)&^7
	for p.head+need-p.tail > p.mask+1 {
		if p.tail = p.m.h.in.Load(); p.head+need-p.tail <= p.mask+1 {
			break
		}
		p.commit()
		p.spun++
		if !p.full() {
			return false
		}
	}
	p.word(p.head, pos)
	p.word(p.head+8, next)
	p.word(p.head+16, uint64(len(data))|uint64(flags)<<32)
	at := (p.head + entryHeader) & p.mask
	n := copy(p.m.data[at:], data)
	copy(p.m.data, data[n:])
	p.head += need
	return true
}

func (p *Producer) word(at, v uint64) { le.PutUint64(p.m.data[at&p.mask:], v) }

func (p *Producer) commit() {
	if p.m.h.out.Load() != p.head {
		p.m.h.out.Store(p.head)
		p.bell.ring()
	}
}

// Publish makes the entries appended so far visible, then says that all frames
// below upto are decoded, and rings if the consumer sleeps.
func (p *Producer) Publish(upto uint64) {
	news := p.m.h.out.Load() != p.head
	if news {
		p.m.h.out.Store(p.head)
	}
	p.m.h.upto.Store(upto)
	if news {
		p.bell.ring()
	}
}

// Rings counts how often the consumer had to be woken, Full how often there was
// no room.
func (p *Producer) Rings() uint64 { return p.bell.rings }

// Full counts the times that there was no room.
func (p *Producer) Full() uint64 { return p.spun }

// Close unmaps the ring.
func (p *Producer) Close() { p.m.close() }

// Entry is what one frame gave. Data is the batch's.
type Entry struct {
	Pos, Next  uint64
	Remembered bool
	Data       []byte
	off, end   int
}

// Batch is a run of entries, copied out of the ring.
type Batch struct {
	Entries []Entry
	// Upto says that all frames below it are decoded and, with this batch,
	// taken: entries came only from those that gave something.
	Upto uint64
	// Buf is where their bytes are. Who has memory to lend sets it before Poll, and
	// takes it back, grown perhaps, when the entries were handled.
	Buf []byte
}

// Consumer is the runtime's end. Poll belongs to one goroutine.
type Consumer struct {
	m    memory
	mask uint64
	tail uint64
	seen uint64 // the plugin's upto when all was taken
	upto uint64
	part Entry  // of the entry whose chunks are still coming
	held []byte // its bytes so far
}

// New makes a ring of size bytes (a power of two) whose frames begin at from.
func New(size int, from uint64) (*Consumer, error) {
	if size < 64<<10 || size&(size-1) != 0 || size > 1<<30 {
		return nil, fmt.Errorf("ring: size %d: must be a power of two from 64 KiB to 1 GiB", size)
	}
	m, err := create("marketprism-ring", ringMagic, size)
	if err != nil {
		return nil, err
	}
	m.h.upto.Store(from)
	return &Consumer{m: m, mask: uint64(size) - 1, seen: from, upto: from}, nil
}

// File is the memfd for the plugin process; it stays the Consumer's.
func (c *Consumer) File() *os.File { return c.m.file }

// Ready says whether Poll would find something.
func (c *Consumer) Ready() bool {
	return c.m.h.out.Load() != c.tail || c.m.h.upto.Load() != c.seen
}

// Empty says whether all that was committed is taken.
func (c *Consumer) Empty() bool { return c.m.h.out.Load() == c.m.h.in.Load() }

// Used is how many bytes of the ring are committed and not taken. It is of the
// consumer's goroutine.
func (c *Consumer) Used() int { return int(c.m.h.out.Load() - c.tail) }

// Progress are the plugin's words as they stand, not to be trusted: they show
// that it does something.
func (c *Consumer) Progress() (committed, upto uint64) { return c.m.h.out.Load(), c.m.h.upto.Load() }

// Wait sleeps on b until ready says true, an interrupt or the timeout (if
// positive). ready includes Ready.
func (c *Consumer) Wait(b *Bell, ready func() bool, timeout time.Duration) bool {
	return b.wait(&c.m.h.parked, ready, timeout)
}

// Arm asks the plugin to ring at its next commit and says whether there is
// something already. It is Wait's first half, for a loop that sleeps elsewhere
// and is woken by whoever reads the bell.
func (c *Consumer) Arm() bool {
	c.m.h.parked.Store(1)
	return c.Ready()
}

// Poll takes entries of about maxBytes into b, whose former content is
// dropped. The entries' bytes are copies; what they say is unchecked but for
// lengths. An error wraps ErrGarbage, and the ring is of no use then.
func (c *Consumer) Poll(b *Batch, maxBytes int) error {
	b.Entries, b.Upto = b.Entries[:0], c.upto
	if cap(b.Buf) > 4<<20 && len(b.Buf) < 1<<20 {
		b.Buf = nil // one great entry isn't kept for ever
	}
	b.Buf = b.Buf[:0]
	upto := c.m.h.upto.Load() // before out: see Publish
	out := c.m.h.out.Load()
	if out&7 != 0 || out-c.tail > c.mask+1 {
		return fmt.Errorf("ring: %w: commit cursor went from %d to %d in a ring of %d bytes", ErrGarbage, c.tail, out, c.mask+1)
	}
	tail := c.tail
	for tail != out && len(b.Buf) < maxBytes {
		if out-tail < entryHeader {
			return fmt.Errorf("ring: %w: %d bytes before the commit cursor are no entry", ErrGarbage, out-tail)
		}
		e := Entry{Pos: c.word(tail), Next: c.word(tail + 8)}
		w := c.word(tail + 16)
		n, flags := uint64(uint32(w)), uint32(w>>32)
		if pad := (n + 7) &^ 7; pad > out-tail-entryHeader || flags&^flagsKnown != 0 {
			return fmt.Errorf("ring: %w: entry of %d bytes with flags %#x where %d are committed", ErrGarbage, n, flags, out-tail-entryHeader)
		}
		e.Remembered = flags&FlagRemembered != 0
		at := (tail + entryHeader) & c.mask
		tail += entryHeader + (n+7)&^7
		if flags&FlagMore != 0 || len(c.held) > 0 {
			if err := c.assemble(&e, at, n, flags&FlagMore != 0, b); err != nil {
				return err
			}
			// The producer waits for room to go on.
			c.tail = tail
			c.m.h.in.Store(tail)
			continue
		}
		e.off = len(b.Buf)
		b.Buf = c.copyOut(b.Buf, at, n)
		e.end = len(b.Buf)
		b.Entries = append(b.Entries, e)
	}
	if tail != c.tail {
		c.tail = tail
		c.m.h.in.Store(tail)
	}
	for i := range b.Entries {
		e := &b.Entries[i]
		e.Data = b.Buf[e.off:e.end:e.end]
	}
	if n := len(b.Entries); n > 0 {
		c.upto = max(c.upto, b.Entries[n-1].Next)
	}
	if tail == out {
		c.seen, c.upto = upto, max(c.upto, upto)
	}
	b.Upto = c.upto
	return nil
}

// assemble collects the chunks of an entry that is greater than a part of the
// ring.
func (c *Consumer) assemble(e *Entry, at, n uint64, more bool, b *Batch) error {
	if len(c.held) > 0 && (c.part.Pos != e.Pos || c.part.Next != e.Next || c.part.Remembered != e.Remembered) {
		return fmt.Errorf("ring: %w: chunk of frame %d in the middle of frame %d", ErrGarbage, e.Pos, c.part.Pos)
	}
	if n == 0 || len(c.held)+int(n) > MaxEntry {
		return fmt.Errorf("ring: %w: frame %d gives more than %d bytes", ErrGarbage, e.Pos, MaxEntry)
	}
	c.part = *e
	c.held = c.copyOut(c.held, at, n)
	if more {
		return nil
	}
	e.off = len(b.Buf)
	b.Buf = append(b.Buf, c.held...)
	e.end = len(b.Buf)
	b.Entries = append(b.Entries, *e)
	c.held = nil
	return nil
}

func (c *Consumer) word(at uint64) uint64 { return le.Uint64(c.m.data[at&c.mask:]) }

func (c *Consumer) copyOut(dst []byte, at, n uint64) []byte {
	if first := uint64(len(c.m.data)) - at; n > first {
		return append(append(dst, c.m.data[at:]...), c.m.data[:n-first]...)
	}
	return append(dst, c.m.data[at:at+n]...)
}

// Close unmaps the ring. The side that calls it uses it no more.
func (c *Consumer) Close() { c.m.close() }
