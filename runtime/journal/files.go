package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/marketprism/marketprism/sdk/wire/shm"
)

const (
	tempName    = "prepare.tmp"
	reserveName = "reserve.tmp"
	// retryFull is how long a failed allocation stands before the next try.
	retryFull = 100 * time.Millisecond
)

// diskFull is the error of an allocation that found no room.
func diskFull(dir string, size uint64, err error) error {
	return fmt.Errorf("%w: no room for a segment of %d MiB in %s (%w): free space there or lower the journal's max size; "+
		"what was appended is safe, and the journal goes on by itself", ErrDiskFull, size>>20, dir, err)
}

// prepare sees that a next segment of at least need bytes stands ready.
func (j *Journal) prepare(need uint64, reserved bool) error {
	j.files.Lock()
	defer j.files.Unlock()
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return ErrClosed
	}
	stale, cur := j.next, j.cur
	if stale != nil && stale.Size >= need && (reserved || !stale.reserve) {
		j.mu.Unlock()
		return nil
	}
	if stale != nil && stale.reserve {
		j.mu.Unlock() // the gap's writer is about to take it
		return j.full
	}
	j.next = nil
	j.mu.Unlock()
	// Without a next segment the current one stays while files is held.
	if stale != nil {
		if err := j.remove(stale); err != nil {
			return err
		}
	}
	s, err := j.create(max(need, uint64(j.opt.SegmentBytes)), cur.End(), cur.End())
	if err != nil && reserved && j.reserve != nil && j.reserve.Size >= need {
		s, err = j.useReserve(cur.End())
	}
	if err != nil {
		return err
	}
	j.mu.Lock()
	j.next = s
	j.mu.Unlock()
	return nil
}

// create makes a segment at base: from the file of one that retention takes,
// or a new one. It is called with files held.
func (j *Journal) create(size uint64, base, prev shm.Position) (*segment, error) {
	if j.full != nil && time.Now().Before(j.retryAt) {
		return nil, j.full
	}
	page := uint64(os.Getpagesize())
	size = (size + page - 1) &^ (page - 1)
	h := shm.SegmentHeader{
		Epoch: j.epoch, Base: base, Size: size, Prev: prev, Journal: j.id,
		Created: time.Now().UnixNano(), Bounded: j.opt.Sync.always, Boot: j.opt.boot,
	}
	s, err := j.retain(h)
	if s == nil && err == nil {
		s, err = j.newFile(h)
	}
	if err == nil && j.reserve == nil && j.opt.Reserve {
		// The last one was used up; without a new one the disk is as full.
		if err = j.makeReserve(); err != nil {
			err = errors.Join(err, j.remove(s))
			s = nil
		}
	}
	if err != nil {
		if isDiskFull(err) {
			err = diskFull(j.opt.Dir, size, err)
			if j.full == nil {
				j.opt.Logger.Error().Err(err).Msg("journal can't grow")
			}
			j.full, j.retryAt = err, time.Now().Add(retryFull)
			j.noRoom.Store(true)
		}
		return nil, err
	}
	if j.full != nil {
		j.opt.Logger.Info().Str("dir", j.opt.Dir).Msg("journal has room again")
		j.full = nil
		j.noRoom.Store(false)
	}
	return s, nil
}

// newFile makes a segment in a new file.
func (j *Journal) newFile(h shm.SegmentHeader) (*segment, error) {
	temp := filepath.Join(j.opt.Dir, tempName)
	f, mem, err := j.allocated(temp, int64(h.Size))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s, err := j.enter(temp, mem, h)
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	j.total += int64(h.Size)
	j.mu.Unlock()
	return s, nil
}

// allocated makes a file with all its blocks and maps it.
func (j *Journal) allocated(path string, size int64) (*os.File, []byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("journal: make segment: %w", err)
	}
	var mem []byte
	if err = allocate(f, size); err == nil {
		mem, err = mapWrite(f, size)
	}
	if err != nil {
		f.Close()
		_ = os.Remove(path)
		return nil, nil, fmt.Errorf("journal: make segment of %d bytes in %s: %w", size, j.opt.Dir, err)
	}
	return f, mem, nil
}

// enter gives a mapped file at temp its header and its name. The first commit
// word is cleared before, so that nothing of an earlier use can be read.
func (j *Journal) enter(temp string, mem []byte, h shm.SegmentHeader) (*segment, error) {
	clear(mem[shm.SegmentHeaderBytes : shm.SegmentHeaderBytes+8])
	shm.PutSegmentHeader(mem, h)
	s := &segment{
		SegmentHeader: h, mem: mem, path: filepath.Join(j.opt.Dir, shm.SegmentName(h.Base)),
		synced: h.Base + shm.SegmentHeaderBytes,
	}
	err := os.Rename(temp, s.path)
	if err == nil && j.opt.Sync != SyncProcess {
		if err = syncRange(mem, 0, shm.SegmentHeaderBytes+8); err == nil {
			err = syncDir(j.opt.Dir)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("journal: make segment: %w", errors.Join(err, unmap(mem)))
	}
	return s, nil
}

// remove unmaps and deletes a segment that was never used.
func (j *Journal) remove(s *segment) error {
	j.mu.Lock()
	j.total -= int64(s.Size)
	j.mu.Unlock()
	if err := errors.Join(j.unmap(s), os.Remove(s.path)); err != nil {
		return fmt.Errorf("journal: remove unused segment: %w", err)
	}
	return nil
}

// makeReserve preallocates the reserved segment.
func (j *Journal) makeReserve() error {
	f, mem, err := j.allocated(filepath.Join(j.opt.Dir, reserveName), ReserveBytes)
	if err != nil {
		return err
	}
	f.Close()
	populate(mem, 0, ReserveBytes)
	j.reserve = &segment{SegmentHeader: shm.SegmentHeader{Size: ReserveBytes}, mem: mem}
	j.mu.Lock()
	j.total += ReserveBytes
	j.mu.Unlock()
	return nil
}

// useReserve turns the reserved segment into the next one.
func (j *Journal) useReserve(base shm.Position) (*segment, error) {
	s, err := j.enter(filepath.Join(j.opt.Dir, reserveName), j.reserve.mem, shm.SegmentHeader{
		Epoch: j.epoch, Base: base, Size: ReserveBytes, Prev: base, Journal: j.id,
		Created: time.Now().UnixNano(), Bounded: j.opt.Sync.always, Boot: j.opt.boot,
	})
	j.reserve = nil
	if err != nil {
		return nil, err
	}
	s.reserve = true
	return s, nil
}
