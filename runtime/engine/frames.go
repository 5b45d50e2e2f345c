package engine

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// framesAt reads single records of a frames journal by position.
type framesAt struct {
	j *journal.Journal
	r *shm.Reader
}

// At implements flow.Frames.
func (f *framesAt) At(pos uint64) (shm.Record, error) {
	to := f.j.Tail()
	if pos >= to {
		return shm.Record{}, fmt.Errorf("engine: frame %d is beyond the journal's end at %d", pos, to)
	}
	var err error
	if f.r == nil {
		f.r, err = shm.OpenRange(f.j.Dir(), pos, to, nil)
	} else {
		err = f.r.Reset(pos, to)
	}
	if err != nil {
		return shm.Record{}, fmt.Errorf("engine: frame %d: %w", pos, err)
	}
	rec, ok, err := f.r.Next()
	if err == nil && (!ok || rec.Pos != pos) {
		err = errors.New("no record begins there")
	}
	if err != nil {
		return shm.Record{}, fmt.Errorf("engine: frame %d: %w", pos, err)
	}
	return rec, nil
}

func (f *framesAt) close() {
	if f.r != nil {
		_ = f.r.Close() // a read-only mapping
	}
}

var started = time.Now()

// stamp is the wall and monotonic time now.
func stamp() (wall, mono int64) {
	t := time.Now()
	return t.UnixNano(), int64(t.Sub(started))
}

// framesJournal is a feed's frames journal as connections see it.
type framesJournal struct {
	j    *journal.Journal
	full func(from int64) // the disk is full: the gap begins
	done *atomic.Int64    // position that the lane has done everything below
	max  uint64           // bytes that may wait for the lane
	held atomic.Int64     // times that a reader waited for the lane
}

// lanePause is how long a reader waits before it looks at the lane again.
const lanePause = 2 * time.Millisecond

// Append implements conn.Journal.
func (f *framesJournal) Append(kind source.InputKind, conn uint32, wall, mono int64, head, rest []byte) (uint64, error) {
	pos, err := f.j.AppendV(shm.Header{Kind: uint8(kind), Conn: conn, Wall: wall, Mono: mono}, head, rest)
	switch {
	case err == nil:
		if pos > uint64(f.done.Load())+f.max {
			f.wait(pos)
		}
		return pos, nil
	case errors.Is(err, journal.ErrTooLarge):
		return 0, fault.New(fault.Skip, err)
	case errors.Is(err, journal.ErrDiskFull):
		f.full(wall)
		return 0, fault.New(fault.Retry, err)
	}
	return 0, fault.New(fault.Stop, err)
}

// wait holds a connection's reader while the lane is too far behind, so that
// retention never takes a frame that is not decoded: the venue sees a slow
// client, and if it cuts us off, that is a gap which is published.
func (f *framesJournal) wait(pos uint64) {
	f.held.Add(1)
	f.j.Ring()
	for range 30 * int(time.Second/lanePause) { // a lane that stands still is its supervisor's business
		if pos <= uint64(f.done.Load())+f.max {
			return
		}
		time.Sleep(lanePause)
	}
}

// Ring implements conn.Journal.
func (f *framesJournal) Ring() { f.j.Ring() }

// patient is a journal of the lane: while the disk is full it waits for room,
// and undecoded frames wait in theirs.
type patient struct {
	f *feed
	j *journal.Journal
}

// Tail implements flow.Journal.
func (p *patient) Tail() uint64 { return p.j.Tail() }

// Append implements flow.Journal.
func (p *patient) Append(h shm.Header, payload []byte) (uint64, error) {
	for told := false; ; told = true {
		pos, err := p.j.Append(h, payload)
		if !errors.Is(err, journal.ErrDiskFull) || p.f.ended.Load() {
			return pos, err
		}
		if !told {
			p.f.log.Error().Err(err).Msg("the disk is full: decoding waits for room")
		}
		time.Sleep(time.Second)
	}
}

// note appends a statement of the runtime.
func note(j *journal.Journal, kind source.InputKind, conn uint32, n flow.Note) error {
	wall, mono := stamp()
	_, err := j.Append(shm.Header{Kind: uint8(kind), Conn: conn, Wall: wall, Mono: mono}, n.Encode())
	if err == nil {
		j.Ring()
	}
	return err
}
