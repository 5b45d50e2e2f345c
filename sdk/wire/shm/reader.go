package shm

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// ErrLapped says that retention dropped what a reader had yet to read:
// positions [From, To). The reader's cursor is To when it is returned, and it
// may read on.
type ErrLapped struct{ From, To Position }

func (e ErrLapped) Error() string {
	return fmt.Sprintf("shm: reader was lapped: positions %d to %d are no longer in the journal", e.From, e.To)
}

// segment is one mapped segment file.
type segment struct {
	SegmentHeader
	mem  []byte
	lock *os.File // holds the file's shared lock: it isn't used again meanwhile
	head []byte
}

func (s *segment) close() {
	unmap(s.mem)
	s.lock.Close()
	s.mem, s.head = nil, nil
}

// Reader reads a journal's records in order. It belongs to one goroutine.
type Reader struct {
	dir string
	ctl *Control
	pos Position // the cursor
	to  Position // reads end here
	cur *segment
	// Of cur, what the hot path needs.
	mem     []byte
	base    Position
	epoch   uint64
	bounded bool // what isn't committed by the host's word isn't read

	old []*segment // left, and still pinned
	pin Position
	// What was damaged: places and bytes.
	places, bytes uint64
	onSkip        func(from, to Position)
	ready         func() bool
}

// OpenReader opens a reader of the journal in dir, at position from: the
// position of a record or the one after it, as Cursor or Record.End returned
// it; zero for the oldest record there is. ctl is its control block, which the
// journal's owner has attached. Without one (nil) the reader has no doorbell:
// the way to scan a directory that no runtime owns, to the end of what is
// there.
func OpenReader(dir string, from Position, ctl *Control) (*Reader, error) {
	return OpenRange(dir, from, math.MaxUint64, ctl)
}

// OpenRange is OpenReader over the records in [from, to) only.
func OpenRange(dir string, from, to Position, ctl *Control) (*Reader, error) {
	if st, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("shm: open journal: %w", err)
	} else if !st.IsDir() {
		return nil, fmt.Errorf("shm: open journal: %s is no directory", dir)
	}
	r := &Reader{dir: dir, ctl: ctl}
	r.ready = r.Ready
	if err := r.Reset(from, to); err != nil {
		return nil, err
	}
	return r, nil
}

// Reset moves the reader to the records in [from, to). Payloads it returned
// before are no longer valid. The segment that is mapped stays so when from
// lies in it.
func (r *Reader) Reset(from, to Position) error {
	if from&7 != 0 || from > to {
		return fmt.Errorf("shm: read journal %s: no range: %d to %d", r.dir, from, to)
	}
	r.pos, r.to = from, to
	// The pin first: from here on the bytes stay.
	r.pin = from
	if r.ctl != nil {
		r.ctl.SetPin(from)
		r.ctl.SetCursor(from)
	}
	for _, s := range r.old {
		s.close()
	}
	r.old = r.old[:0]
	if r.cur != nil && (from < r.cur.Base+SegmentHeaderBytes || from >= r.cur.End()) {
		r.drop()
	}
	return nil
}

// drop forgets the current segment.
func (r *Reader) drop() {
	r.cur.close()
	r.cur, r.mem = nil, nil
}

// Next returns the next record. ok is false when there is none yet (or, at the
// end of a range or of an unowned directory, no more). The checksum was
// verified. Damaged records are skipped and counted. An error is ErrLapped,
// after which the reader reads on, or says that the journal can't be read.
// It allocates nothing but for errors and at the change of segments.
func (r *Reader) Next() (rec Record, ok bool, err error) {
	ok, err = r.Read(&rec)
	return rec, ok, err
}

// Read is Next into the caller's record, which saves copying it. Where ok is
// false, rec is as it was.
func (r *Reader) Read(rec *Record) (ok bool, err error) {
	for r.pos < r.to {
		if r.cur == nil {
			if ok, err := r.enter(); !ok {
				return false, err
			}
		}
		pos := r.pos
		off := pos - r.base
		commit := word(r.mem, off).Load()
		if commit == 0 || r.bounded && pos >= r.ctl.Committed() {
			if !r.stuck(off) {
				return false, nil
			}
			continue
		}
		n, ok := check(r.mem, off, r.epoch, pos, commit)
		if !ok {
			if !r.resync(off) {
				return false, nil
			}
			continue
		}
		m := r.mem[off : off+RecordBytes(n)]
		if m[offKind+3] >= KindHead && r.internal(m[offKind+3], m[RecordHeaderBytes:RecordHeaderBytes+n]) {
			continue
		}
		fill(rec, m, pos, n)
		r.pos = pos + uint64(len(m))
		return true, nil
	}
	return false, nil
}

// internal handles the journal's own records. It returns false for one that
// readers get.
func (r *Reader) internal(kind uint8, payload []byte) bool {
	switch kind {
	case KindHead:
		r.cur.head = payload
		r.pos += RecordBytes(len(payload))
	case KindSeal:
		next := r.cur.End()
		if len(payload) == 8 {
			next = max(next, binary.LittleEndian.Uint64(payload))
		}
		r.leave(next)
	default:
		return false
	}
	return true
}

// leave ends the current segment; it stays mapped while the pin needs it.
func (r *Reader) leave(next Position) {
	if r.pin < r.cur.End() {
		r.old = append(r.old, r.cur)
	} else {
		r.cur.close()
	}
	r.cur, r.mem = nil, nil
	r.pos = next
}

// stuck decides what a zero commit word means. It returns true when Next
// shall look again.
func (r *Reader) stuck(off uint64) bool {
	if r.ctl != nil {
		committed := r.ctl.Committed()
		if r.pos >= committed || word(r.mem, off).Load() != 0 {
			return r.pos < committed
		}
		// Records above were committed: this word was lost.
		return r.resync(off)
	}
	// No owner tells how far the segment goes. Its marks do, and a later
	// segment means that this one is at its end.
	if GetMark(r.cur.mem, MarkSynced) > r.pos || GetMark(r.cur.mem, MarkSealed) > r.pos {
		return r.resync(off)
	}
	if later, err := r.later(); err != nil || !later {
		return false
	}
	if word(r.mem, off).Load() != 0 {
		return true
	}
	r.leave(r.cur.End())
	return true
}

// resync gets past damage at off: to the next whole record, or to the next
// segment. It returns false where nothing whole follows yet.
func (r *Reader) resync(off uint64) bool {
	limit := uint64(len(r.mem))
	if r.ctl != nil && r.ctl.Committed() < r.cur.End() {
		limit = max(off, r.ctl.Committed()-min(r.base, r.ctl.Committed()))
	}
	from := r.pos
	if next, ok := Find(r.mem, off+8, limit, r.cur.Epoch, r.base); ok {
		r.skip(from, r.base+next)
		r.pos = r.base + next
		return true
	}
	if sealed := GetMark(r.cur.mem, MarkSealed); sealed > 0 {
		r.skip(from, max(from, sealed))
		r.leave(r.cur.End())
		return true
	}
	if later, err := r.later(); err == nil && later {
		r.skip(from, r.cur.End())
		r.leave(r.cur.End())
		return true
	}
	if r.ctl != nil && off < limit {
		r.skip(from, r.base+limit)
		r.pos = r.base + limit
		return true
	}
	return false
}

func (r *Reader) skip(from, to Position) {
	r.places++
	r.bytes += to - from
	if r.onSkip != nil {
		r.onSkip(from, to)
	}
}

// later says whether the directory has a segment with records after this one.
func (r *Reader) later() (bool, error) {
	bases, err := segmentBases(r.dir)
	if err != nil {
		return false, err
	}
	for _, b := range bases {
		if b > r.base {
			return r.begun(b), nil
		}
	}
	return false, nil
}

// begun says whether the segment at base has its first record; one that was
// only prepared hasn't.
func (r *Reader) begun(base Position) bool {
	s, err := openSegment(r.dir, base)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer s.close()
	return word(s.mem, SegmentHeaderBytes).Load() != 0
}

// enter maps the segment that holds the cursor, or the first one after it.
func (r *Reader) enter() (bool, error) {
	for range 16 {
		bases, err := segmentBases(r.dir)
		if err != nil {
			return false, fmt.Errorf("shm: read journal: %w", err)
		}
		i, exact := slices.BinarySearch(bases, r.pos)
		if !exact && i > 0 {
			i--
		}
		s, err := r.openFrom(bases[i:])
		if errors.Is(err, fs.ErrNotExist) {
			continue // retention took it meanwhile
		}
		if s == nil {
			return false, err
		}
		first := s.Base + SegmentHeaderBytes
		if first >= r.to {
			s.close()
			r.pos = r.to
			return false, nil
		}
		from := r.pos
		r.cur, r.mem, r.base, r.epoch = s, s.mem, s.Base, s.Epoch
		r.bounded = s.Bounded && r.ctl != nil
		r.pos = max(from, first)
		if rec, _, ok := At(s.mem, SegmentHeaderBytes, s.Epoch, s.Base); ok && rec.Kind == KindHead {
			s.head = rec.Payload
		}
		if from != 0 && from < s.Base && s.Prev > from {
			return false, ErrLapped{From: from, To: r.pos}
		}
		return true, nil
	}
	return false, fmt.Errorf("shm: read journal %s: segments vanish faster than they can be opened", r.dir)
}

// openFrom opens the first of the segments that ends after the cursor. One
// whose header is damaged is passed over: what it held is reported as lapped.
func (r *Reader) openFrom(bases []Position) (*segment, error) {
	for _, b := range bases {
		s, err := openSegment(r.dir, b)
		switch {
		case errors.Is(err, ErrDamaged):
			continue
		case err != nil:
			return nil, err
		case r.pos < s.End():
			return s, nil
		}
		s.close()
	}
	return nil, nil
}

func openSegment(dir string, base Position) (*segment, error) {
	path := filepath.Join(dir, SegmentName(base))
	mem, lock, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	s := &segment{mem: mem, lock: lock}
	if s.SegmentHeader, err = ParseSegmentHeader(mem, uint64(len(mem))); err != nil {
		s.close()
		return nil, fmt.Errorf("shm: %s: %w", path, err)
	}
	if s.Base != base {
		s.close() // it is being used again for another position
		return nil, fs.ErrNotExist
	}
	return s, nil
}

// segmentBases lists the base positions of a directory's segments, in order.
func segmentBases(dir string) ([]Position, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	bases := make([]Position, 0, len(names))
	for _, n := range names {
		if b, ok := ParseSegmentName(n); ok {
			bases = append(bases, b)
		}
	}
	slices.SortFunc(bases, cmp.Compare[Position])
	return bases, nil
}

// Cursor is the position that Next reads next.
func (r *Reader) Cursor() Position { return r.pos }

// Skipped counts the damaged places that were skipped, and their bytes.
func (r *Reader) Skipped() (places, bytes uint64) { return r.places, r.bytes }

// OnSkip has f called, from within Next, for each damaged range.
func (r *Reader) OnSkip(f func(from, to Position)) { r.onSkip = f }

// Head returns the tables that stand at the start of the current segment;
// nil before the first record. Valid as long as payloads of that segment are.
func (r *Reader) Head() []byte {
	if r.cur == nil {
		if n := len(r.old); n > 0 {
			return r.old[n-1].head
		}
		return nil
	}
	return r.cur.head
}

// Advance moves the pin to pos: payloads of records below it are no longer
// used. It never moves back, and not beyond the cursor.
func (r *Reader) Advance(pos Position) {
	pos = min(pos, r.pos)
	if r.ctl != nil {
		r.ctl.SetCursor(r.pos)
	}
	if pos <= r.pin {
		return
	}
	r.pin = pos
	if len(r.old) > 0 {
		r.old = slices.DeleteFunc(r.old, func(s *segment) bool {
			if s.End() > pos {
				return false
			}
			s.close()
			return true
		})
	}
	if r.ctl != nil {
		r.ctl.SetPin(pos)
	}
}

// Release moves the pin to the cursor: no payload returned so far is used
// any more.
func (r *Reader) Release() { r.Advance(r.pos) }

// Ready says whether Next has something to do.
func (r *Reader) Ready() bool {
	if r.pos >= r.to {
		return false
	}
	if r.cur == nil {
		return r.ctl == nil || r.pos < r.ctl.Committed()
	}
	if r.bounded {
		return r.pos < r.ctl.Committed()
	}
	return word(r.mem, r.pos-r.base).Load() != 0
}

// Wait sleeps until there is a record to read, the timeout (if positive) has
// passed, or the control block was stopped or interrupted, and says whether
// there is one. It publishes the cursor first. A reader without a control
// block doesn't sleep.
func (r *Reader) Wait(timeout time.Duration) bool {
	if r.ctl == nil {
		return r.Ready()
	}
	r.ctl.SetCursor(r.pos)
	return r.ctl.Wait(r.ready, timeout)
}

// WaitContext is Wait until ctx ends.
func (r *Reader) WaitContext(ctx context.Context) bool {
	if r.ctl == nil {
		return r.Ready()
	}
	r.ctl.SetCursor(r.pos)
	return r.ctl.WaitContext(ctx, r.ready)
}

// Close unmaps everything; the control block stays its owner's.
func (r *Reader) Close() error {
	for _, s := range r.old {
		s.close()
	}
	r.old = nil
	if r.cur != nil {
		r.drop()
	}
	if r.ctl != nil {
		r.ctl.SetPin(math.MaxUint64)
	}
	return nil
}
