package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/marketprism/marketprism/sdk/wire/shm"
)

const (
	cursorMagic   = 0x31524355434d5250 // "PRMCUCR1"
	cursorVersion = 1
	// MaxCursors is how many slots a cursor file has.
	MaxCursors = 1023
	// MaxCursorName is the longest name of a slot, in bytes.
	MaxCursorName = 128

	// A slot has two copies, each in a disk sector of its own, so that one is
	// whole whatever a write of the other leaves behind.
	copyBytes  = 512
	slotBytes  = 2 * copyBytes
	cursorSize = (MaxCursors + 1) * slotBytes

	// A copy: generation, CRC32C of the rest, name, state.
	copyGen   = 0
	copyCRC   = 8
	copyName  = 16 // length u16, bytes
	copyState = 16 + 2 + MaxCursorName + 6
	copyEnd   = copyState + 8*7
)

// State is what a cursor file keeps under a name: where a sink is, and the
// batch that it is about to write.
type State struct {
	Journal uint64       // whose positions these are (Journal.ID)
	Cursor  shm.Position // everything below is done
	// The intent: the batch [IntentFrom, IntentTo) with this number is about
	// to be written, or was. Equal when there is none.
	IntentFrom, IntentTo shm.Position
	Batch                uint64
	Epoch                uint64
	Flags                uint64 // the caller's
}

// Cursors is a file of named States. Storing one is a few memory writes: it
// survives kill -9 at any moment, and a power failure once Slot.Sync or
// Cursors.Sync has returned. It is one process's, like the journal: its owner
// holds the data directory's lock.
type Cursors struct {
	path  string
	sync  Sync
	mu    sync.Mutex
	mem   []byte
	slots map[string]*Slot
	free  []int
}

// Slot is one named State. Its methods may be called by several goroutines.
type Slot struct {
	c    *Cursors
	name string
	at   int
	mu   sync.Mutex
	gen  uint64
	st   State
}

// OpenCursors opens the cursor file at path, or makes it.
func OpenCursors(path string, policy Sync) (*Cursors, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("journal: open cursors: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("journal: open cursors: %w", err)
	}
	if n := st.Size(); n != 0 && n != cursorSize {
		return nil, fmt.Errorf("journal: cursor file %s has %d bytes, not %d: it is damaged or no cursor file; "+
			"move it away to start again from the oldest records", path, n, cursorSize)
	}
	if err := allocate(f, cursorSize); err != nil {
		if isDiskFull(err) {
			return nil, fmt.Errorf("%w: no room for the cursor file %s: %w", ErrDiskFull, path, err)
		}
		return nil, fmt.Errorf("journal: allocate cursors %s: %w", path, err)
	}
	mem, err := mapWrite(f, cursorSize)
	if err != nil {
		return nil, fmt.Errorf("journal: map cursors %s: %w", path, err)
	}
	c := &Cursors{path: path, sync: policy, mem: mem, slots: make(map[string]*Slot)}
	if err := c.load(); err != nil {
		_ = unmap(mem)
		return nil, err
	}
	if policy != SyncProcess {
		if err := errors.Join(f.Sync(), syncDir(filepath.Dir(path))); err != nil {
			_ = unmap(mem)
			return nil, fmt.Errorf("journal: sync cursors %s: %w", path, err)
		}
	}
	return c, nil
}

func (c *Cursors) load() error {
	le := binary.LittleEndian
	switch magic := le.Uint64(c.mem); {
	case magic == 0 && le.Uint64(c.mem[8:]) == 0:
		le.PutUint64(c.mem[8:], cursorVersion)
		le.PutUint64(c.mem, cursorMagic)
	case magic != cursorMagic:
		return fmt.Errorf("journal: %s is no cursor file", c.path)
	case le.Uint64(c.mem[8:]) != cursorVersion:
		return fmt.Errorf("journal: cursor file %s has version %d, this program reads %d", c.path, le.Uint64(c.mem[8:]), cursorVersion)
	}
	for at := MaxCursors * slotBytes; at > 0; at -= slotBytes {
		s, gen := c.read(at)
		if s == nil {
			c.free = append(c.free, at)
			continue
		}
		if old := c.slots[s.name]; old != nil && old.gen > gen {
			continue
		}
		c.slots[s.name] = s
	}
	return nil
}

// read returns a slot's newer whole copy; nil if it has none or is free.
func (c *Cursors) read(at int) (*Slot, uint64) {
	var best *Slot
	for i := range 2 {
		m := c.mem[at+i*copyBytes:][:copyBytes]
		le := binary.LittleEndian
		gen := le.Uint64(m[copyGen:])
		if gen == 0 || le.Uint32(m[copyCRC:]) != copySum(m, gen) || best != nil && best.gen > gen {
			continue
		}
		n := int(le.Uint16(m[copyName:]))
		if n > MaxCursorName {
			continue
		}
		s := &Slot{c: c, name: string(m[copyName+2:][:n]), at: at, gen: gen}
		for k, p := range s.st.words() {
			*p = le.Uint64(m[copyState+8*k:])
		}
		best = s
	}
	if best == nil || best.name == "" {
		return nil, 0
	}
	return best, best.gen
}

func (s *State) words() [7]*uint64 {
	return [...]*uint64{&s.Journal, &s.Cursor, &s.IntentFrom, &s.IntentTo, &s.Batch, &s.Epoch, &s.Flags}
}

func copySum(m []byte, gen uint64) uint32 {
	seed := uint32(gen) ^ uint32(gen>>32)
	return crc32.Update(seed, crc32.MakeTable(crc32.Castagnoli), m[copyName:copyEnd])
}

// Slot returns the slot of that name, and makes it, with a zero State, if
// there is none.
func (c *Cursors) Slot(name string) (*Slot, error) {
	if name == "" || len(name) > MaxCursorName {
		return nil, fmt.Errorf("journal: cursor name %q: must have 1 to %d bytes", name, MaxCursorName)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mem == nil {
		return nil, ErrClosed
	}
	if s := c.slots[name]; s != nil {
		return s, nil
	}
	if len(c.free) == 0 {
		return nil, fmt.Errorf("journal: cursor file %s is full: %d names", c.path, MaxCursors)
	}
	at := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	s := &Slot{c: c, name: name, at: at}
	// A deleted slot's generations go on, so that no old copy wins.
	for i := range 2 {
		s.gen = max(s.gen, binary.LittleEndian.Uint64(c.mem[at+i*copyBytes:]))
	}
	c.slots[name] = s
	s.Store(State{})
	return s, nil
}

// Delete frees the slot of that name.
func (c *Cursors) Delete(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.slots[name]
	if s == nil || c.mem == nil {
		return
	}
	delete(c.slots, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name, s.st = "", State{}
	s.write() // twice: neither copy may name it
	s.write()
	c.free = append(c.free, s.at)
	s.at = 0 // who still has the Slot writes nowhere
}

// Names lists the slots' names, in no order.
func (c *Cursors) Names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := make([]string, 0, len(c.slots))
	for n := range c.slots {
		names = append(names, n)
	}
	return names
}

// Above is the greatest position that any slot holds for the journal; with id
// zero, for any: what Options.Above wants.
func (c *Cursors) Above(id uint64) shm.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	var top shm.Position
	for _, s := range c.slots {
		if st := s.Load(); id == 0 || st.Journal == id {
			top = max(top, st.Cursor, st.IntentTo)
		}
	}
	return top
}

// Sync forces the whole file to the disk.
func (c *Cursors) Sync() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mem == nil {
		return ErrClosed
	}
	if err := syncRange(c.mem, 0, cursorSize); err != nil {
		return fmt.Errorf("journal: sync cursors %s: %w", c.path, err)
	}
	return nil
}

// Close syncs (unless "process") and unmaps. Slots are of no use afterwards.
func (c *Cursors) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mem == nil {
		return nil
	}
	var err error
	if c.sync != SyncProcess {
		err = syncRange(c.mem, 0, cursorSize)
	}
	for _, s := range c.slots {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	err = errors.Join(err, unmap(c.mem))
	c.mem = nil
	return err
}

// Name is the slot's name.
func (s *Slot) Name() string { return s.name }

// Load returns the slot's state.
func (s *Slot) Load() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st
}

// Store replaces the slot's state. From then on it survives kill -9.
func (s *Slot) Store(st State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st = st
	s.write()
}

// Commit is Store, and Sync unless the file's policy is "process": for what
// must be durable before the next step, an intent before its batch is written
// and a cursor before retention goes past it.
func (s *Slot) Commit(st State) error {
	s.Store(st)
	if s.c.sync == SyncProcess {
		return nil
	}
	return s.Sync()
}

// write fills the older copy: its generation is cleared before and stored
// last, so that it counts as nothing meanwhile.
func (s *Slot) write() {
	if s.at == 0 || s.c.mem == nil {
		return
	}
	s.gen++
	m := s.c.mem[s.at+int(s.gen&1)*copyBytes:][:copyBytes]
	le := binary.LittleEndian
	gen := (*atomic.Uint64)(unsafe.Pointer(&m[copyGen]))
	gen.Store(0)
	clear(m[copyName:copyEnd])
	le.PutUint16(m[copyName:], uint16(len(s.name)))
	copy(m[copyName+2:], s.name)
	for k, p := range s.st.words() {
		le.PutUint64(m[copyState+8*k:], *p)
	}
	le.PutUint32(m[copyCRC:], copySum(m, s.gen))
	gen.Store(s.gen)
}

// Sync forces the slot to the disk.
func (s *Slot) Sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == 0 || s.c.mem == nil {
		return ErrClosed
	}
	if err := syncRange(s.c.mem, uint64(s.at), uint64(s.at+slotBytes)); err != nil {
		return fmt.Errorf("journal: sync cursor %s in %s: %w", s.name, s.c.path, err)
	}
	return nil
}
