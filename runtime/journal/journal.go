package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

var (
	// ErrTooLarge refuses a payload above shm.MaxPayload. It is counted.
	ErrTooLarge = fmt.Errorf("journal: record is larger than %d bytes", shm.MaxPayload)
	// ErrDiskFull is what errors.Is finds in an Append's error when no segment
	// could be allocated. The journal tries again by itself, at most ten
	// times a second.
	ErrDiskFull = errors.New("journal: disk full")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("journal: closed")
	// ErrKind refuses the kinds that the journal writes itself.
	ErrKind = errors.New("journal: record kind is reserved")
)

// Journal is one journal open for appending.
type Journal struct {
	opt  Options
	lock *Lock
	// Constant after Open.
	id, epoch uint64

	// mu is the append lock: it is held for memory writes only.
	mu     sync.Mutex
	cur    *segment
	mem    []byte // cur's
	base   shm.Position
	off    uint64 // where the next record goes
	limit  uint64 // ordinary records end below; zero in the reserved segment
	alert  uint64 // Append has more to do from this offset on: see touch
	hintAt uint64
	kickAt uint64
	idle   bool     // Run sleeps until it is kicked
	next   *segment // prepared
	sealed []*segment
	total  int64 // bytes of all files
	closed bool
	count  counters

	// files serialises work on files: preparing, retention. Lock order is
	// files, syncing, maps, mu.
	files   sync.Mutex
	reserve *segment
	full    error     // the last allocation's failure
	retryAt time.Time // allocate again not before

	// syncing serialises syncs, and guards what follows but the atomics.
	syncing   sync.Mutex
	msync     func(mem []byte, from, to uint64) error
	unsure    []unsure  // ranges whose sync failed, the last few
	headAt    time.Time // the header page was synced
	anyFailed atomic.Bool
	synced    atomic.Uint64

	// maps guards the mappings of segments against being taken away while
	// pages are populated or syncs chosen.
	maps sync.Mutex

	// bells guards readers: shared while they are rung.
	bells   sync.RWMutex
	readers []*shm.Control

	holds holders
	kicks chan struct{}

	// For those who look from outside.
	found    Recovery // constant after Open
	noRoom   atomic.Bool
	syncTime telemetry.Histogram
	rate     rate
}

// segment is a segment file as its writer sees it.
type segment struct {
	shm.SegmentHeader
	path    string
	mem     []byte
	reserve bool
	// Written under mu while current, constant afterwards.
	end         shm.Position // of its data: the seal record
	count       uint64
	first, last int64
	// syncing's.
	synced shm.Position
	failed bool // a sync failed: nothing more is claimed about it
	ahead  uint64
}

func (s *segment) empty() bool { return s.count == 0 }

type counters struct {
	records, bytes             uint64
	tooLarge, diskFull         uint64
	rolls, late                uint64
	recycled, unlinked         uint64
	syncs, syncErrors, syncedB uint64
	passed                     uint64
}

// Append appends one record and returns its position. The payload is copied.
// Errors are ErrTooLarge, ErrDiskFull, ErrKind, ErrClosed, and with sync =
// "always" that of the sync: the record is in the journal then, but whether on
// the disk isn't known. Readers that sleep are woken by Ring, not by Append.
func (j *Journal) Append(h shm.Header, payload []byte) (shm.Position, error) {
	return j.append(h, payload, nil, false)
}

// AppendV is Append for a payload of two parts.
func (j *Journal) AppendV(h shm.Header, a, b []byte) (shm.Position, error) {
	return j.append(h, a, b, false)
}

// AppendReserved is Append for the few small records (gaps) that must find
// room when the disk is full: with Options.Reserve they go to the reserved
// segment then. It may use the kind shm.KindGap.
func (j *Journal) AppendReserved(h shm.Header, payload []byte) (shm.Position, error) {
	return j.append(h, payload, nil, true)
}

func (j *Journal) append(h shm.Header, a, b []byte, reserved bool) (shm.Position, error) {
	n := len(a) + len(b)
	if n > shm.MaxPayload || h.Kind >= shm.KindHead && h.Kind != shm.KindGap {
		return 0, j.refuse(n)
	}
	size := shm.RecordBytes(n)
	j.mu.Lock()
	if j.off+size > j.limit {
		if err := j.room(size, reserved, h.Wall); err != nil {
			j.mu.Unlock()
			return 0, err
		}
	}
	pos := j.base + j.off
	shm.Put(j.mem, j.off, j.epoch, pos, h, a, b)
	j.off += size
	if j.off >= j.alert {
		j.touch()
	}
	s := j.cur
	if s.count == 0 {
		s.first = h.Wall
	}
	s.count++
	s.last = h.Wall
	j.count.bytes += size
	j.mu.Unlock()
	if j.opt.Sync.always {
		return pos, j.syncTo(pos + size)
	}
	return pos, nil
}

func (j *Journal) refuse(n int) error {
	if n <= shm.MaxPayload {
		return ErrKind
	}
	j.mu.Lock()
	j.count.tooLarge++
	j.mu.Unlock()
	return ErrTooLarge
}

// room makes room for a record of size bytes. It is called with mu held, and
// returns with mu held.
func (j *Journal) room(size uint64, reserved bool, wall int64) error {
	for {
		if j.closed {
			return ErrClosed
		}
		if j.off+size <= j.limit || reserved && j.off+size+shm.SealRoom <= j.cur.Size {
			return nil
		}
		var head []byte
		if j.opt.Head != nil {
			head = j.opt.Head()
		}
		need := shm.SegmentHeaderBytes + shm.RecordBytes(len(head)) + size + shm.SealRoom
		if s := j.next; s != nil && s.Size >= need && (reserved || !s.reserve) {
			j.next = nil
			j.roll(s, head, wall)
			continue
		}
		j.mu.Unlock()
		err := j.prepare(need, reserved)
		j.mu.Lock()
		if err != nil {
			j.count.diskFull++
			return err
		}
		j.count.late++
	}
}

// roll makes a prepared segment the current one. It is called with mu held.
// The order matters to readers: the new segment's file and head are there
// before the seal that leads to it.
func (j *Journal) roll(s *segment, head []byte, wall int64) {
	off := uint64(shm.SegmentHeaderBytes)
	shm.Put(s.mem, off, s.Epoch, s.Base+off, shm.Header{Kind: shm.KindHead, Wall: wall}, head, nil)
	if j.cur != nil {
		j.seal(s.Base)
		j.sealed = append(j.sealed, j.cur)
		j.count.rolls++
	}
	j.cur, j.mem, j.base = s, s.mem, s.Base
	j.off = off + shm.RecordBytes(len(head))
	j.limit = s.Size - shm.SealRoom
	if s.reserve {
		j.limit = 0
	}
	shm.SetMark(s.mem, shm.MarkHint, s.Base+j.off)
	j.hintAt = j.off + shm.HintBytes
	j.kickAt = s.ahead / 2
	j.alert = min(j.hintAt, j.kickAt)
	j.idle = false
	j.kick()
}

// seal ends the current segment. It is called with mu held.
func (j *Journal) seal(next shm.Position) {
	s := j.cur
	s.end = s.Base + j.off
	j.count.records += s.count
	sealSegment(j.mem, s, next)
}

// sealSegment writes the seal record and the marks that say what a segment
// holds.
func sealSegment(mem []byte, s *segment, next shm.Position) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], next)
	shm.Put(mem, s.end-s.Base, s.Epoch, s.end, shm.Header{Kind: shm.KindSeal, Wall: s.last}, b[:], nil)
	shm.SetMark(mem, shm.MarkCount, s.count)
	shm.SetMark(mem, shm.MarkFirst, uint64(s.first))
	shm.SetMark(mem, shm.MarkLast, uint64(s.last))
	shm.SetMark(mem, shm.MarkSealed, s.end)
}

// touch is what Append does now and then, with mu held: it moves the tail
// hint, and kicks Run when it sleeps or populated pages run out.
func (j *Journal) touch() {
	if j.off >= j.hintAt {
		shm.SetMark(j.mem, shm.MarkHint, j.base+j.off)
		j.hintAt = j.off + shm.HintBytes
	}
	if j.idle || j.off >= j.kickAt {
		j.idle = false
		if j.off >= j.kickAt {
			j.kickAt = ^uint64(0) // until Run sets it anew
		}
		j.kick()
	}
	j.alert = min(j.hintAt, j.kickAt)
}

func (j *Journal) kick() {
	select {
	case j.kicks <- struct{}{}:
	default:
	}
}

// Tail is the position after the last record: where the next one goes, or in
// a segment that follows.
func (j *Journal) Tail() shm.Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.base + j.off
}

// visible is the position up to which readers may read.
func (j *Journal) visible() shm.Position {
	if j.opt.Sync.always {
		return j.synced.Load()
	}
	return j.Tail()
}

// Ring wakes the readers that sleep and returns how many it woke. It makes no
// system call when none does. Appenders call it at the end of a burst.
func (j *Journal) Ring() int {
	j.bells.RLock()
	defer j.bells.RUnlock()
	if len(j.readers) == 0 {
		return 0
	}
	tail, n := j.visible(), 0
	for _, c := range j.readers {
		c.SetCommitted(tail)
		if c.Ring() {
			n++
		}
	}
	return n
}

// Attach registers a reader's control block and pins from. It is called
// before the reader opens the journal at from.
func (j *Journal) Attach(ctl *shm.Control, from shm.Position) {
	ctl.SetPin(from)
	ctl.SetCursor(from)
	j.bells.Lock()
	defer j.bells.Unlock()
	j.readers = append(j.readers, ctl)
	ctl.SetCommitted(j.visible())
}

// Detach forgets a control block: after its reader is closed or its process
// has ended. The journal doesn't touch it any more when Detach returns, so it
// may be closed.
func (j *Journal) Detach(ctl *shm.Control) {
	j.bells.Lock()
	defer j.bells.Unlock()
	j.readers = slices.DeleteFunc(j.readers, func(c *shm.Control) bool { return c == ctl })
}

// OpenReader opens a reader in this process, with a control block of its own.
// The caller closes the reader and detaches the block.
func (j *Journal) OpenReader(from shm.Position) (*shm.Reader, *shm.Control, error) {
	ctl := shm.NewLocal()
	j.Attach(ctl, from)
	r, err := shm.OpenReader(j.opt.Dir, from, ctl)
	if err != nil {
		j.Detach(ctl)
		return nil, nil, err
	}
	return r, ctl, nil
}

// ID is the journal's identity, drawn when its directory was first used: a
// cursor belongs to one.
func (j *Journal) ID() uint64 { return j.id }

// Dir is the journal's directory.
func (j *Journal) Dir() string { return j.opt.Dir }

// Epoch is the current epoch.
func (j *Journal) Epoch() uint64 { return j.epoch }

// Oldest is the position at which the oldest record may stand.
func (j *Journal) Oldest() shm.Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.cur
	if len(j.sealed) > 0 {
		s = j.sealed[0]
	}
	return s.Base + shm.SegmentHeaderBytes
}

// Stats are counts since Open, and the state now.
type Stats struct {
	Records, Bytes       uint64 // appended
	TooLarge, DiskFull   uint64 // refused
	Rolls, Late          uint64 // segments changed; of those, ones that Append had to prepare itself
	Recycled, Unlinked   uint64 // segments that retention took
	Syncs, SyncErrors    uint64
	SyncedBytes          uint64
	Passed               uint64 // holders passed by
	Segments             int
	TotalBytes           int64 // of all segment files
	Oldest, Tail, Synced shm.Position
	Readers              int
	Full                 bool // the last allocation failed
}

// Stats returns a snapshot.
func (j *Journal) Stats() Stats {
	oldest := j.Oldest()
	j.bells.RLock()
	readers := len(j.readers)
	j.bells.RUnlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	c := &j.count
	st := Stats{
		Records: c.records, Bytes: c.bytes, TooLarge: c.tooLarge, DiskFull: c.diskFull,
		Rolls: c.rolls, Late: c.late, Recycled: c.recycled, Unlinked: c.unlinked,
		Syncs: c.syncs, SyncErrors: c.syncErrors, SyncedBytes: c.syncedB, Passed: c.passed,
		Segments: len(j.sealed) + 1, TotalBytes: j.total,
		Oldest: oldest, Tail: j.base + j.off, Synced: j.synced.Load(),
		Readers: readers, Full: j.cur.reserve,
	}
	if !j.closed {
		st.Records += j.cur.count
	}
	return st
}

// Close seals the current segment, syncs (unless "process"), and releases the
// directory. Run must have returned. Readers keep what they have mapped.
func (j *Journal) Close() error {
	j.files.Lock()
	defer j.files.Unlock()
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	j.seal(j.cur.End())
	j.sealed = append(j.sealed, j.cur)
	next := j.next
	j.next = nil
	j.mem, j.off, j.limit = nil, uint64(j.cur.end-j.base), 0
	j.mu.Unlock()
	j.syncing.Lock()
	err := j.finish()
	j.syncing.Unlock()
	if next != nil {
		err = errors.Join(err, j.remove(next))
	}
	if j.reserve != nil {
		err = errors.Join(err, unmap(j.reserve.mem))
		j.reserve = nil
	}
	j.Ring()
	if j.lock != nil {
		err = errors.Join(err, j.lock.Close())
	}
	return err
}
