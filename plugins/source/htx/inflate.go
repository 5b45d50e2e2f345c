package htx

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
)

// inflater has room for what is inflated. The standard library's reader allocates
// tables for most frames; this one keeps them.
type inflater struct {
	in  bytes.Reader
	z   gzip.Reader
	buf []byte
}

// maxInflated bounds a frame, which says little about what it becomes;
// keepInflated the room that is kept for the next one.
const (
	maxInflated  = 16 << 20
	keepInflated = 1 << 20
)

// inflate gives the text of a frame, valid until the next call.
func (l *inflater) inflate(data []byte) ([]byte, error) {
	l.in.Reset(data)
	if err := l.z.Reset(&l.in); err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	if l.buf = l.buf[:0]; cap(l.buf) > keepInflated {
		l.buf = nil
	}
	for {
		if len(l.buf) == cap(l.buf) {
			l.buf = append(l.buf, 0)[:len(l.buf)]
		}
		n, err := l.z.Read(l.buf[len(l.buf):cap(l.buf)])
		l.buf = l.buf[:len(l.buf)+n]
		switch {
		case len(l.buf) > maxInflated:
			return nil, fmt.Errorf("gzip: more than %d bytes come of %d", maxInflated, len(data))
		case err == io.EOF:
			return l.buf, nil
		case err != nil:
			return nil, fmt.Errorf("gzip: %w", err)
		}
	}
}
