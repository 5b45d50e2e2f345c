package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// holders are those who want segments kept: sinks by their cursors.
type holders struct {
	mu sync.Mutex
	m  map[string]hold
}

type hold struct {
	pos   shm.Position
	limit int64
}

// Hold keeps segments from pos on from going by age, and from going by size as
// long as the journal is no larger than MaxBytes. It replaces the name's
// earlier hold. When the journal must drop what a holder holds, it does, and
// reports it (Options.Passed).
func (j *Journal) Hold(name string, pos shm.Position) { j.HoldUpTo(name, pos, 0) }

// HoldUpTo is Hold with a limit of its own, above MaxBytes: a sink that spills.
func (j *Journal) HoldUpTo(name string, pos shm.Position, limit int64) {
	j.holds.mu.Lock()
	defer j.holds.mu.Unlock()
	if j.holds.m == nil {
		j.holds.m = make(map[string]hold)
	}
	j.holds.m[name] = hold{pos: pos, limit: limit}
}

// Unhold forgets a holder.
func (j *Journal) Unhold(name string) {
	j.holds.mu.Lock()
	defer j.holds.mu.Unlock()
	delete(j.holds.m, name)
}

// Slack is how many bytes can be appended before the segment at pos must go by
// size. A sink that blocks its feed looks at it. It is negative when pos is
// gone or about to go.
func (j *Journal) Slack(pos shm.Position) int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	before := int64(0)
	for _, s := range j.sealed {
		if s.end > pos {
			break
		}
		before += int64(s.Size)
	}
	left := int64(j.cur.Size - j.off)
	if j.next != nil {
		left += int64(j.next.Size)
	}
	return j.opt.MaxBytes - j.total + before + left
}

// heldBy returns the largest limit of those who need something below end.
func (h *holders) heldBy(end shm.Position) (limit int64, held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.m {
		if x.pos < end {
			limit, held = max(limit, x.limit), true
		}
	}
	return limit, held
}

// retain drops the oldest segments until one of h's size can be added. If the
// last dropped one can be used again for h, it returns that. It is called with
// files held.
func (j *Journal) retain(h shm.SegmentHeader) (*segment, error) {
	for {
		s, total := j.oldest()
		if s == nil {
			return nil, nil
		}
		allowed := j.opt.MaxBytes
		if limit, held := j.holds.heldBy(s.end); held {
			allowed = max(allowed, limit)
		}
		if total+int64(h.Size) <= allowed {
			return nil, nil
		}
		again := s.Size == h.Size && total <= allowed
		reused, err := j.dropOldest(s, again, h)
		if err != nil || reused != nil {
			return reused, err
		}
	}
}

// retainAge drops segments that are too old and that nobody holds.
func (j *Journal) retainAge(now time.Time) error {
	if j.opt.MaxAge <= 0 {
		return nil
	}
	j.files.Lock()
	defer j.files.Unlock()
	for {
		s, _ := j.oldest()
		if s == nil || s.last > now.Add(-j.opt.MaxAge).UnixNano() {
			return nil
		}
		if _, held := j.holds.heldBy(s.end); held {
			return nil
		}
		if _, err := j.dropOldest(s, false, shm.SegmentHeader{}); err != nil {
			return err
		}
	}
}

func (j *Journal) oldest() (*segment, int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.sealed) == 0 {
		return nil, j.total
	}
	return j.sealed[0], j.total
}

// dropOldest takes the oldest segment out of the journal, and turns its file
// into the segment h if wanted and possible.
func (j *Journal) dropOldest(s *segment, again bool, h shm.SegmentHeader) (*segment, error) {
	j.maps.Lock()
	mapped := s.mem != nil
	j.maps.Unlock()
	if mapped { // a sync may be at it
		j.syncing.Lock()
		defer j.syncing.Unlock()
	}
	j.mu.Lock()
	j.sealed = j.sealed[1:]
	j.mu.Unlock()
	j.reportPassed(s)
	if again && !s.failed && j.lowestPin() >= s.End() {
		reused, err := j.recycle(s, h)
		if reused != nil || err != nil {
			return reused, err
		}
	}
	err := j.unmap(s)
	if e := os.Remove(s.path); e != nil && !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	j.mu.Lock()
	j.total -= int64(s.Size)
	j.count.unlinked++
	j.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("journal: drop segment %s: %w", s.path, err)
	}
	return nil, nil
}

// recycle uses a segment's file for h. It returns nil if somebody still has
// the file's lock: it is unlinked then, and goes when they let go.
func (j *Journal) recycle(s *segment, h shm.SegmentHeader) (*segment, error) {
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return nil, nil
	}
	defer f.Close()
	if lockFile(f) != nil {
		return nil, nil
	}
	defer unlockFile(f) // once it has its new name; the mapping would keep the lock
	if s.mem == nil {
		if s.mem, err = mapWrite(f, int64(s.Size)); err != nil {
			return nil, fmt.Errorf("journal: map segment %s: %w", s.path, err)
		}
	}
	temp := filepath.Join(j.opt.Dir, tempName)
	if err := os.Rename(s.path, temp); err != nil {
		return nil, fmt.Errorf("journal: recycle segment: %w", err)
	}
	mem := s.mem
	s.mem = nil
	j.mu.Lock()
	j.count.recycled++
	j.mu.Unlock()
	return j.enter(temp, mem, h)
}

// lowestPin is the lowest position that an attached reader may touch.
func (j *Journal) lowestPin() shm.Position {
	low := shm.Position(math.MaxUint64)
	j.bells.RLock()
	defer j.bells.RUnlock()
	for _, c := range j.readers {
		low = min(low, c.Pin())
	}
	return low
}

func (j *Journal) reportPassed(s *segment) {
	type passed struct {
		name string
		from shm.Position
	}
	var list []passed
	j.holds.mu.Lock()
	for name, h := range j.holds.m {
		if h.pos < s.end {
			list = append(list, passed{name, h.pos})
			h.pos = s.End() // reported once
			j.holds.m[name] = h
		}
	}
	j.holds.mu.Unlock()
	for _, p := range list {
		j.mu.Lock()
		j.count.passed++
		j.mu.Unlock()
		j.opt.Logger.Warn().Str("holder", p.name).Uint64("from", p.from).Uint64("to", s.End()).
			Msg("journal dropped what a holder had yet to read: it is over its size limit")
		if j.opt.Passed != nil {
			j.opt.Passed(p.name, p.from, s.End())
		}
	}
}
