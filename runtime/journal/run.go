package journal

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/marketprism/marketprism/sdk/wire/shm"
)

const (
	// Pages are populated ahead of the tail by these much: more when appends
	// catch up with it.
	minAhead = 1 << 20
	maxAhead = 32 << 20
)

// Run does the journal's background work until ctx ends: it populates pages
// ahead of the tail, prepares the next segment, applies retention, and syncs
// at the interval. It sleeps while nothing is appended. Its last act is a
// sync. Errors of the disk are logged and counted; Run goes on.
func (j *Journal) Run(ctx context.Context) error {
	var syncer sync.WaitGroup
	start := make(chan struct{}, 1)
	if j.opt.Sync.every > 0 {
		// By itself, so that a slow disk doesn't hold up what is ahead.
		syncer.Go(func() { j.syncEvery(ctx, start) })
	}
	defer syncer.Wait()
	var age <-chan time.Time
	if j.opt.MaxAge > 0 {
		t := time.NewTicker(min(max(j.opt.MaxAge/20, time.Second), time.Minute))
		defer t.Stop()
		age = t.C
	}
	ahead := uint64(minAhead)
	for {
		ahead = j.workAhead(ahead)
		select {
		case <-ctx.Done():
			if j.opt.Sync == SyncProcess {
				return nil
			}
			syncer.Wait()
			return j.Sync()
		case now := <-age:
			j.report(j.retainAge(now))
		case <-j.kicks:
			select {
			case start <- struct{}{}:
			default:
			}
		}
	}
}

// syncEvery syncs at the interval from each start on until an interval passes
// in which nothing was appended.
func (j *Journal) syncEvery(ctx context.Context, start <-chan struct{}) {
	tick := time.NewTicker(j.opt.Sync.every)
	tick.Stop()
	defer tick.Stop()
	synced, ticking := shm.Position(0), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-start:
			if !ticking {
				tick.Reset(j.opt.Sync.every)
				ticking = true
			}
		case <-tick.C:
			tail := j.Tail()
			if tail == synced && j.sleepUntilKick(tail) {
				tick.Stop()
				ticking = false
				break
			}
			synced = tail
			j.syncing.Lock()
			err := j.flush(false)
			j.syncing.Unlock()
			j.repopulate()
			j.report(err)
		}
	}
}

// sleepUntilKick makes the next Append kick, unless there was one since tail.
func (j *Journal) sleepUntilKick(tail shm.Position) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.base+j.off != tail {
		return false
	}
	j.idle, j.alert = true, 0
	return true
}

func (j *Journal) report(err error) {
	if err != nil && !errors.Is(err, ErrClosed) {
		j.opt.Logger.Error().Err(err).Str("dir", j.opt.Dir).Msg("journal")
	}
}

// workAhead prepares the next segment if there is none and populates pages
// ahead of the tail, and returns how far ahead to populate the next time.
func (j *Journal) workAhead(ahead uint64) uint64 {
	j.mu.Lock()
	cur, off, ready, closed := j.cur, j.off, j.next != nil, j.closed
	j.mu.Unlock()
	if closed {
		return ahead
	}
	if !ready {
		if err := j.prepare(0, false); err == nil {
			j.populateNext()
		} else if !errors.Is(err, ErrDiskFull) { // that was logged, once
			j.report(err)
		}
	}
	if j.opt.Sync == SyncProcess {
		j.syncing.Lock()
		j.report(j.finish())
		j.syncing.Unlock()
	}
	j.maps.Lock()
	defer j.maps.Unlock()
	if cur.mem == nil {
		return ahead // sealed and done with since
	}
	if off > cur.ahead && cur.ahead > 0 {
		ahead = min(2*ahead, maxAhead)
	}
	from, to := max(cur.ahead, off), min(off+ahead, cur.Size)
	if to > from && (to-from >= ahead/2 || to == cur.Size) {
		populate(cur.mem, from, to)
		cur.ahead = to
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cur == cur {
		j.kickAt = ^uint64(0)
		if cur.ahead < cur.Size {
			j.kickAt = max(cur.ahead-min(cur.ahead, ahead/2), j.off+1)
		}
		if !j.idle {
			j.alert = min(j.hintAt, j.kickAt)
		}
	}
	return ahead
}

// populateNext readies the first pages of the segment that was prepared.
func (j *Journal) populateNext() {
	j.maps.Lock()
	defer j.maps.Unlock()
	j.mu.Lock()
	s := j.next
	j.mu.Unlock()
	if s == nil || s.mem == nil || s.ahead > 0 {
		return // an Append was quicker
	}
	populate(s.mem, 0, minAhead)
	j.mu.Lock()
	s.ahead = min(minAhead, s.Size)
	j.mu.Unlock()
}

// repopulate makes the pages that a sync has just write-protected, and that
// appends will touch again, writable: the header and the tail.
func (j *Journal) repopulate() {
	j.maps.Lock()
	defer j.maps.Unlock()
	j.mu.Lock()
	mem, off := j.mem, j.off
	j.mu.Unlock()
	if mem != nil {
		populate(mem, 0, shm.SegmentHeaderBytes)
		populate(mem, off, off+1)
	}
}
