package engine

import (
	"errors"
	"fmt"
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
}

// Append implements conn.Journal.
func (f *framesJournal) Append(kind source.InputKind, conn uint32, wall, mono int64, payload []byte) (uint64, error) {
	pos, err := f.j.Append(shm.Header{Kind: uint8(kind), Conn: conn, Wall: wall, Mono: mono}, payload)
	switch {
	case err == nil:
		return pos, nil
	case errors.Is(err, journal.ErrTooLarge):
		return 0, fault.New(fault.Skip, err)
	case errors.Is(err, journal.ErrDiskFull):
		f.full(wall)
		return 0, fault.New(fault.Retry, err)
	}
	return 0, fault.New(fault.Stop, err)
}

// Ring implements conn.Journal.
func (f *framesJournal) Ring() { f.j.Ring() }

// note appends a statement of the runtime.
func note(j *journal.Journal, kind source.InputKind, conn uint32, n flow.Note) error {
	wall, mono := stamp()
	_, err := j.Append(shm.Header{Kind: uint8(kind), Conn: conn, Wall: wall, Mono: mono}, n.Encode())
	if err == nil {
		j.Ring()
	}
	return err
}
