//go:build !linux

package conn

import (
	"errors"
	"io"
	"syscall"
	"time"
)

// Elsewhere nothing gathers, and a socket is read as it comes: newTicker fails.

func lowWater(syscall.RawConn, int) error { return errors.ErrUnsupported }

func (s *sock) tryRead(fd uintptr) bool {
	s.visit()
	n, err := syscall.Read(int(fd), s.p)
	s.n, s.err = max(n, 0), err
	switch {
	case err == syscall.EINTR:
		return s.tryRead(fd)
	case err == syscall.EAGAIN:
		s.found()
		s.err = errAgain
		return !s.park
	case err == nil && n == 0:
		s.err = io.EOF
	}
	return true
}

// unread is not known here: a reader that is parked is taken to have nothing to read.
func unread(syscall.RawConn) int { return 0 }

type ticker struct{}

func newTicker() (*ticker, error)  { return nil, errors.ErrUnsupported }
func (*ticker) wait(time.Duration) {}
func (*ticker) close()             {}
