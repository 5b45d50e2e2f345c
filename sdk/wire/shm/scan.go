package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// SegmentInfo describes one segment of a directory.
type SegmentInfo struct {
	SegmentHeader
	Path string
	// Sealed is the position of its end; zero while it is being written, and
	// Records and Last are not known then.
	Sealed      Position
	Records     uint64
	First, Last int64 // wall times of its first and last record; zero without records
}

// Segments lists the segments of a journal that hold records, in order: what
// a replay by time chooses its first position from. Damaged ones are left out.
func Segments(dir string) ([]SegmentInfo, error) {
	bases, err := segmentBases(dir)
	if err != nil {
		return nil, fmt.Errorf("shm: list segments: %w", err)
	}
	infos := make([]SegmentInfo, 0, len(bases))
	for _, b := range bases {
		s, err := openSegment(dir, b)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrDamaged) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if word(s.mem, SegmentHeaderBytes).Load() != 0 {
			infos = append(infos, SegmentInfo{
				SegmentHeader: s.SegmentHeader,
				Path:          filepath.Join(dir, SegmentName(b)),
				Sealed:        GetMark(s.mem, MarkSealed),
				Records:       GetMark(s.mem, MarkCount),
				First:         int64(GetMark(s.mem, MarkFirst)),
				Last:          int64(GetMark(s.mem, MarkLast)),
			})
		}
		s.close()
	}
	return infos, nil
}
