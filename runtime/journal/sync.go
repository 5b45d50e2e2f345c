package journal

import (
	"fmt"
	"os"
	"time"

	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// headerEvery is how often the header page, with the synced mark, goes to the
// disk by itself. A mark that lags makes recovery after a power failure
// truncate where it could have skipped, and loses no whole record before it.
const headerEvery = time.Second

// Sync forces everything appended so far to the disk, whatever Options.Sync.
func (j *Journal) Sync() error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	if err := j.flush(true); err != nil {
		return err
	}
	// With "process" sealed segments were unmapped without a sync.
	j.mu.Lock()
	sealed := append([]*segment(nil), j.sealed...)
	j.mu.Unlock()
	for _, s := range sealed {
		if s.synced >= s.end {
			continue
		}
		if err := syncFile(s.path); err != nil {
			return fmt.Errorf("journal: sync %s: %w", s.path, err)
		}
		s.synced = s.end
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// syncTo returns when everything below pos is on the disk. Callers that wait
// together share one sync.
func (j *Journal) syncTo(pos shm.Position) error {
	if j.synced.Load() < pos || j.anyFailed.Load() {
		j.syncing.Lock()
		defer j.syncing.Unlock()
		var err error
		if j.synced.Load() < pos {
			err = j.flush(false)
		}
		for _, f := range j.unsure {
			if pos > f.from && pos <= f.to {
				return f.err
			}
		}
		if j.synced.Load() < pos {
			return err
		}
	}
	return nil
}

// unsure is a range of positions whose sync failed, for those who wait for it.
type unsure struct {
	from, to shm.Position
	err      error
}

// flush syncs what was appended: sealed segments to their ends, the current
// one to its tail. It is called with syncing held.
func (j *Journal) flush(header bool) error {
	sealed, cur, off, closed := j.toSync()
	if closed {
		return ErrClosed
	}
	var failed error
	for _, s := range sealed {
		if err := j.finishSegment(s); err != nil {
			failed = err
		}
	}
	pos := cur.Base + off
	if pos <= cur.synced && !header {
		return failed
	}
	if now := time.Now(); header || now.Sub(j.headAt) >= headerEvery {
		header, j.headAt = true, now
	}
	if err := j.syncSegment(cur, pos, header); err != nil {
		return err
	}
	j.synced.Store(pos)
	return failed
}

// syncSegment syncs a segment's records up to pos. A sync that failed is not
// tried again on the same file: the kernel may have dropped the pages and
// would then report success. The segment claims nothing more, and the journal
// goes on in the next one.
func (j *Journal) syncSegment(s *segment, pos shm.Position, header bool) error {
	from, to := s.synced-s.Base, pos-s.Base
	err := error(nil)
	switch {
	case s.failed:
		err = fmt.Errorf("journal: %s: an earlier sync failed", s.path)
	case from < to:
		began := time.Now()
		err = j.msync(s.mem, from, to)
		j.syncTime.Observe(time.Since(began))
		if err != nil {
			err = fmt.Errorf("journal: sync %s, positions %d to %d: %w", s.path, s.synced, pos, err)
		}
	}
	if err == nil {
		s.synced = pos
		shm.SetMark(s.mem, shm.MarkSynced, pos)
		if header {
			if err = j.msync(s.mem, 0, shm.SegmentHeaderBytes); err != nil {
				err = fmt.Errorf("journal: sync header of %s: %w", s.path, err)
			}
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		j.count.syncErrors++
		j.anyFailed.Store(true)
		j.unsure = append(j.unsure[max(0, len(j.unsure)-15):], unsure{s.synced, s.End(), err})
		if !s.failed && s == j.cur && !j.closed {
			j.limit = 0 // the next Append rolls
		}
		s.failed = true
		return err
	}
	j.count.syncs++
	j.count.syncedB += to - min(from, to)
	return nil
}

// finishSegment syncs a sealed segment whole, unless sync is "process", and
// unmaps it.
func (j *Journal) finishSegment(s *segment) error {
	var err error
	if j.opt.Sync != SyncProcess {
		err = j.syncSegment(s, s.end+shm.SealRoom, true)
	}
	if e := j.unmap(s); err == nil {
		err = e
	}
	return err
}

func (j *Journal) unmap(s *segment) error {
	j.maps.Lock()
	defer j.maps.Unlock()
	if s.mem == nil {
		return nil
	}
	if err := unmap(s.mem); err != nil {
		return fmt.Errorf("journal: unmap %s: %w", s.path, err)
	}
	s.mem = nil
	return nil
}

// toSync lists, at one moment, what may have to be synced: the sealed segments
// that are still mapped, and the current one up to off.
func (j *Journal) toSync() (sealed []*segment, cur *segment, off uint64, closed bool) {
	j.maps.Lock()
	defer j.maps.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.sealed {
		if s.mem != nil {
			sealed = append(sealed, s)
		}
	}
	return sealed, j.cur, j.off, j.closed
}

// finish finishes every sealed segment. It is called with syncing held.
func (j *Journal) finish() error {
	var err error
	sealed, _, _, _ := j.toSync()
	for _, s := range sealed {
		if e := j.finishSegment(s); e != nil {
			err = e
		} else {
			j.synced.Store(max(j.synced.Load(), s.end))
		}
	}
	return err
}
