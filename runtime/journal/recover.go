package journal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// Recovery says what Open found.
type Recovery struct {
	Epoch   uint64 // the new one
	Journal uint64 // the journal's identity
	// Oldest is where the oldest record may stand, End the position after the
	// last one before this start; equal, and zero, in a new journal.
	Oldest, End shm.Position
	// LastWall is the wall time of the last record, nanoseconds; zero if there
	// is none. The runtime was down from then on.
	LastWall int64
	// Clean says that the journal had been closed.
	Clean    bool
	Segments int
	// Damaged are files whose header can't be believed; they were set aside
	// under the name shown.
	Damaged []string
	// Skipped counts damaged places within the trusted part of segments, and
	// SkippedBytes their bytes: a record each, or several side by side.
	Skipped, SkippedBytes uint64
	// Truncated are the bytes cut off as torn tails.
	Truncated uint64
}

// Open takes the directory's lock, recovers what is there, and begins a new
// segment in a new epoch. It fails with *ErrLocked when another process owns
// the directory.
func Open(opt Options) (*Journal, Recovery, error) {
	var rec Recovery
	if err := opt.check(); err != nil {
		return nil, rec, err
	}
	if opt.boot == ([16]byte{}) {
		opt.boot = bootID()
	}
	j := &Journal{opt: opt, kicks: make(chan struct{}, 1), msync: syncRange}
	if !opt.Locked {
		lock, err := LockDir(opt.Dir)
		if err != nil {
			return nil, rec, err
		}
		j.lock = lock
	} else if err := os.MkdirAll(opt.Dir, 0o755); err != nil {
		return nil, rec, fmt.Errorf("journal: make directory: %w", err)
	}
	rec, err := j.open()
	if err != nil {
		for _, s := range []*segment{j.cur, j.reserve} {
			if s != nil && s.mem != nil {
				_ = unmap(s.mem)
			}
		}
		if j.lock != nil {
			j.lock.Close()
		}
		return nil, rec, err
	}
	j.found = rec
	j.rate.mid.at = time.Now()
	return j, rec, nil
}

func (j *Journal) open() (Recovery, error) {
	var rec Recovery
	prev, err := j.recover(&rec)
	if err != nil {
		return rec, err
	}
	j.epoch = rec.Epoch
	if j.id == 0 {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return rec, fmt.Errorf("journal: draw identity: %w", err)
		}
		j.id = binary.LittleEndian.Uint64(b[:]) | 1
	}
	rec.Journal = j.id
	page := shm.Position(os.Getpagesize())
	base := (max(prev.end, j.opt.Above) + page - 1) &^ (page - 1)
	if prev.cut == 0 {
		prev.cut = base // nothing before: nothing was missed
	}
	var full error
	if j.opt.Reserve {
		if full = j.makeReserve(); full != nil && !isDiskFull(full) {
			return rec, full
		}
	}
	var head []byte
	if j.opt.Head != nil {
		head = j.opt.Head()
	}
	need := shm.SegmentHeaderBytes + shm.RecordBytes(len(head)) + shm.SealRoom
	s, err := j.create(max(need, uint64(j.opt.SegmentBytes)), base, prev.cut)
	if err != nil && errors.Is(err, ErrDiskFull) && j.reserve != nil && need < ReserveBytes {
		s, err = j.useReserve(base)
	}
	if err != nil {
		return rec, err
	}
	j.mu.Lock()
	j.roll(s, head, rec.LastWall)
	j.mu.Unlock()
	j.synced.Store(j.base)
	if j.opt.Sync.always {
		j.syncing.Lock()
		defer j.syncing.Unlock()
		return rec, j.flush(true)
	}
	return rec, nil
}

// ending is where the segments that were found end: the position after their
// last byte, and that after their last data segment, for which a reader that
// stands there has missed nothing.
type ending struct{ end, cut shm.Position }

// recover goes through the directory's segments and leaves them all sealed.
func (j *Journal) recover(rec *Recovery) (ending, error) {
	var e ending
	entries, err := os.ReadDir(j.opt.Dir) // sorted by name, so by position
	if err != nil {
		return e, fmt.Errorf("journal: recover: %w", err)
	}
	var empty []*segment
	for _, entry := range entries {
		name := entry.Name()
		path := filepath.Join(j.opt.Dir, name)
		if name == tempName || name == reserveName {
			if err := os.Remove(path); err != nil {
				return e, fmt.Errorf("journal: recover: %w", err)
			}
			continue
		}
		base, ok := shm.ParseSegmentName(name)
		if !ok {
			continue
		}
		s, err := j.recoverSegment(path, base, rec)
		if errors.Is(err, shm.ErrDamaged) {
			aside := path + ".damaged"
			size := fileSize(path)
			rec.Damaged = append(rec.Damaged, aside)
			j.opt.Logger.Error().Err(err).Str("aside", aside).Msg("journal: segment set aside")
			if err := os.Rename(path, aside); err != nil {
				return e, fmt.Errorf("journal: recover: %w", err)
			}
			// Its positions were used: the next ones are above.
			e.end = max(e.end, base+max(size, uint64(j.opt.SegmentBytes)))
			e.cut = e.end // and who stood below missed something
			continue
		}
		if err != nil {
			return e, fmt.Errorf("journal: recover %s: %w", path, err)
		}
		e.end = max(e.end, s.End())
		j.id = s.Journal
		rec.Epoch = max(rec.Epoch, s.Epoch)
		if s.empty() {
			empty = append(empty, s)
			continue
		}
		e.cut = s.End()
		rec.Segments++
		rec.End, rec.LastWall = s.end, max(rec.LastWall, s.last)
		for _, s := range append(empty, s) {
			j.sealed = append(j.sealed, s)
			j.total += int64(s.Size)
		}
		empty = nil
	}
	// What was prepared, or begun and left without a record, goes, unless
	// segments that follow count on it.
	for _, s := range empty {
		if err := os.Remove(s.path); err != nil {
			return e, fmt.Errorf("journal: recover: %w", err)
		}
		if e.cut == 0 {
			e.cut = s.Prev
		}
	}
	rec.Epoch++
	if len(j.sealed) > 0 {
		rec.Oldest = j.sealed[0].Base + shm.SegmentHeaderBytes
	}
	return e, nil
}

func fileSize(path string) uint64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return uint64(st.Size())
}

// recoverSegment reads one segment, walks it if it wasn't both sealed and
// synced, and seals it if need be. It maps it only meanwhile.
func (j *Journal) recoverSegment(path string, base shm.Position, rec *Recovery) (*segment, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() < shm.SegmentHeaderBytes || st.Size() > 1<<40 {
		return nil, fmt.Errorf("%w: file of %d bytes", shm.ErrDamaged, st.Size())
	}
	mem, err := mapWrite(f, st.Size())
	if err != nil {
		return nil, err
	}
	defer unmap(mem)
	h, err := shm.ParseSegmentHeader(mem, uint64(len(mem)))
	if err != nil {
		return nil, err
	}
	s := &segment{SegmentHeader: h, path: path}
	if h.Base != base {
		return nil, fmt.Errorf("%w: base position %d", shm.ErrDamaged, h.Base)
	}
	sealed, synced := shm.GetMark(mem, shm.MarkSealed), shm.GetMark(mem, shm.MarkSynced)
	sameBoot := h.Boot == j.opt.boot && h.Boot != ([16]byte{})
	if sealed > base && sealed < s.End() && (sameBoot || synced >= sealed) {
		s.end, s.synced = sealed, synced
		s.count = shm.GetMark(mem, shm.MarkCount)
		s.first, s.last = int64(shm.GetMark(mem, shm.MarkFirst)), int64(shm.GetMark(mem, shm.MarkLast))
		rec.Clean = true
		return s, nil
	}
	trusted, written := synced, s.End()
	if sameBoot {
		// A commit word is stored last and the hint soon after it.
		trusted = max(trusted, shm.GetMark(mem, shm.MarkHint)+shm.HintBytes)
		written = trusted
	}
	w := walk(mem, h, trusted, written)
	s.end, s.count, s.first, s.last = w.end, w.count, w.first, w.last
	rec.Skipped += w.skipped
	rec.SkippedBytes += w.skippedBytes
	if w.end > base+shm.SegmentHeaderBytes {
		rec.Clean = w.sealed
	}
	rec.Truncated += w.truncated
	if s.count == 0 {
		return s, nil
	}
	sealSegment(mem, s, s.End())
	shm.SetMark(mem, shm.MarkSynced, s.end)
	if j.opt.Sync != SyncProcess {
		if err := syncRange(mem, 0, uint64(len(mem))); err != nil {
			return nil, err
		}
		s.synced = s.end
	}
	return s, nil
}

// walked is what a walk over one segment found.
type walked struct {
	end                   shm.Position
	sealed                bool
	count                 uint64
	first, last           int64
	skipped, skippedBytes uint64
	truncated             uint64
}

// walk reads a segment's records. Below trusted it scans past damage; beyond
// it the first word that is no whole record is the end, and commit words of
// this segment's use after it are zeroed, as far as any may have been written.
func walk(mem []byte, h shm.SegmentHeader, trusted, written shm.Position) walked {
	var w walked
	off := uint64(shm.SegmentHeaderBytes)
	limit := h.Size - shm.SealRoom
	stop := min(max(trusted, h.Base)-h.Base, limit)
	for off <= limit {
		rec, _, ok := shm.At(mem, off, h.Epoch, h.Base)
		if !ok {
			next, found := uint64(0), false
			if off < stop {
				next, found = shm.Find(mem, off+8, stop, h.Epoch, h.Base)
			}
			if !found {
				break
			}
			w.skipped++
			w.skippedBytes += next - off
			off = next
			continue
		}
		if rec.Kind == shm.KindSeal {
			w.sealed = true
			break
		}
		if rec.Kind != shm.KindHead {
			if w.count == 0 {
				w.first = rec.Wall
			}
			w.count++
			w.last = rec.Wall
		}
		off += shm.RecordBytes(len(rec.Payload))
	}
	w.end = h.Base + min(off, limit)
	if w.sealed {
		return w
	}
	for at := min(off, limit); at+8 <= h.Size && h.Base+at < written; at += 8 {
		if shm.TagAt(mem, at, h.Base) {
			w.truncated = at + shm.RecordHeaderBytes - min(off, limit)
			clear(mem[at : at+8])
		}
	}
	return w
}
