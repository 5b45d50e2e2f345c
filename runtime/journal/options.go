package journal

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/sdk/wire/shm"
)

const (
	// MinSegmentBytes and MaxSegmentBytes bound Options.SegmentBytes.
	MinSegmentBytes = 64 << 10
	MaxSegmentBytes = 4 << 30
	// ReserveBytes is the size of the reserved segment.
	ReserveBytes = 256 << 10

	defaultMaxBytes = 8 << 30
)

// Options say where a journal is and how it is kept.
type Options struct {
	Dir string
	// SegmentBytes is the size of a segment; zero takes a sixteenth of
	// MaxBytes, at least 1 MiB and at most 64 MiB.
	SegmentBytes int64
	// MaxBytes bounds the segment files together, those prepared ahead
	// included; at least four segments. Zero is 8 GiB.
	MaxBytes int64
	// MaxAge drops segments whose last record is older; zero keeps them.
	MaxAge time.Duration
	Sync   Sync
	// Head returns the blob that is repeated as the first record of each
	// segment. It is called under the append lock: it must be quick and not
	// call the journal.
	Head func() []byte
	// Reserve keeps a small segment preallocated for AppendReserved.
	Reserve bool
	// Above is a position that the new epoch begins above: the greatest
	// cursor that anybody holds.
	Above shm.Position
	// Locked says that the caller holds the lock of the directory, or of one
	// around it (LockDir).
	Locked bool
	// Passed is called, from Run or an Append that must make room, when a
	// holder is passed by: positions [from, to) are gone.
	Passed func(holder string, from, to shm.Position)
	Logger zerolog.Logger

	boot [16]byte // the machine's boot id, else read from the system
}

func (o *Options) check() error {
	if o.Dir == "" {
		return errors.New("journal: no directory given")
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = min(max(o.MaxBytes/16, 1<<20), 64<<20)
	}
	page := int64(os.Getpagesize())
	o.SegmentBytes = (o.SegmentBytes + page - 1) &^ (page - 1)
	if o.SegmentBytes < MinSegmentBytes || o.SegmentBytes > MaxSegmentBytes {
		return fmt.Errorf("journal: segments of %d bytes: must be %d to %d", o.SegmentBytes, MinSegmentBytes, MaxSegmentBytes)
	}
	if o.MaxBytes < 4*o.SegmentBytes {
		return fmt.Errorf("journal: max size of %d bytes is less than four segments of %d: raise it to %d",
			o.MaxBytes, o.SegmentBytes, 4*o.SegmentBytes)
	}
	if o.MaxAge < 0 {
		return fmt.Errorf("journal: negative max age %v", o.MaxAge)
	}
	return nil
}

// Sync says when appended records are on the disk. The zero value is
// "process".
type Sync struct {
	every  time.Duration
	always bool
}

// SyncProcess, SyncAlways and SyncEvery are the three ways; see the package
// comment for what each survives.
var (
	SyncProcess = Sync{}
	SyncAlways  = Sync{always: true}
)

// SyncEvery syncs at an interval.
func SyncEvery(d time.Duration) Sync { return Sync{every: d} }

// ParseSync reads "process", "always", or a duration from 1ms to 10s.
func ParseSync(s string) (Sync, error) {
	switch s {
	case "process":
		return SyncProcess, nil
	case "always":
		return SyncAlways, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Millisecond || d > 10*time.Second {
		return Sync{}, fmt.Errorf(`journal: sync = %q: must be "process", "always", or a duration from "1ms" to "10s"`, s)
	}
	return SyncEvery(d), nil
}

func (s Sync) String() string {
	switch {
	case s.always:
		return "always"
	case s.every > 0:
		return s.every.String()
	}
	return "process"
}
