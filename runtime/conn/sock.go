package conn

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// sock stands between a TCP connection and what parses it. It tells its owner
// when everything read so far was parsed (before), and it gathers: while a
// message comes each window or faster, it lets the kernel collect for about a
// window (two where traffic is thin) and takes them in one read, so that 20,000
// single messages a second cost 500 wake-ups. For that the low-water mark is raised; without it the
// network poller would be woken by each segment all the same. A quiet socket
// parks in the network poller.
//
// Waits end on a grid that all connections of the process share, so that many
// connections wake together.
type sock struct {
	net.Conn
	before func() (messages int) // called on the reading goroutine; returns what was parsed since the last call
	gaps   func()                // counts gathers
	gather time.Duration         // 0: read at once

	raw  syscall.RawConn // nil: not a socket, so read as it comes
	try  func(fd uintptr) bool
	park bool // try waits when there is nothing
	p    []byte
	n    int
	err  error

	buf   []byte // under TLS, whose records are read in pieces
	r, w  int
	taken int64 // bytes from the kernel, under TLS encrypted ones

	full   bool // the last read may have left something
	raised bool // the low-water mark
	last   time.Time
	gap    time.Duration // smoothed time between messages

	visited int64        // Mono when the last read of the kernel began
	visits  atomic.Int64 // of them
	parked  atomic.Bool  // the last one found nothing
	caught  atomic.Int64 // Mono at which nothing was there that is not parsed now

	mu     sync.Mutex // of tick's making and closing
	tick   *ticker
	closed bool
}

// errAgain says that nothing is there to be read.
var errAgain = errors.New("nothing to read")

func newSock(c net.Conn, buffered bool) *sock {
	s := &sock{Conn: c}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			s.raw, s.try = raw, s.tryRead
		}
	}
	if buffered {
		s.buf = make([]byte, readBuffer)
	}
	return s
}

// arm starts calls of before, and gathering, once the handshake is over.
func (s *sock) arm(before func() int, gathered func(), gather time.Duration) {
	s.before, s.gaps = before, gathered
	if gather > 0 && s.raw != nil && lowWater(s.raw, 1) == nil {
		s.mu.Lock()
		if t, err := newTicker(); err == nil && !s.closed {
			s.tick, s.gather = t, gather
		}
		s.mu.Unlock()
	}
	s.gap, s.last = time.Second, time.Now()
}

// Close also ends a wait.
func (s *sock) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.tick != nil {
		s.tick.close()
	}
	s.mu.Unlock()
	return s.Conn.Close()
}

func (s *sock) Read(p []byte) (int, error) {
	if s.buf == nil {
		return s.fetch(p)
	}
	if s.r == s.w {
		n, err := s.fetch(s.buf)
		s.r, s.w = 0, n
		if n == 0 {
			return 0, err
		}
	}
	n := copy(p, s.buf[s.r:s.w])
	s.r += n
	return n, nil
}

func (s *sock) fetch(p []byte) (n int, err error) {
	if !s.full {
		s.caught.Store(s.visited)
	}
	switch {
	case s.before == nil:
		if s.taken > handshakeBytes {
			return 0, fmt.Errorf("handshake of more than %d bytes: %w", handshakeBytes, errTooLarge)
		}
		n, err = s.Conn.Read(p)
	case s.gather == 0:
		s.before()
		n, err = s.receive(p, true)
	default:
		n, err = s.collect(p, s.before())
	}
	s.taken += int64(n)
	return n, err
}

// collect reads after a wait while traffic flows.
func (s *sock) collect(p []byte, messages int) (int, error) {
	now := time.Now()
	if messages > 0 {
		gap := min(now.Sub(s.last)/time.Duration(messages), time.Second)
		if s.last = now; gap < s.gap {
			s.gap = (s.gap + gap) / 2 // traffic that starts is recognised soon, traffic that ends after some reads
		} else {
			s.gap += (gap - s.gap) / 8
		}
	}
	if s.gap > s.gather {
		return s.quiet(p)
	}
	if s.full {
		if n, err := s.receive(p, false); err != errAgain {
			return n, err
		}
	}
	if !s.raised {
		s.raised = lowWater(s.raw, readBuffer) == nil
	}
	wait := s.gather - time.Duration(Mono(now))%s.gather
	if wait < s.gather/2 || 8*s.gap > s.gather { // thin traffic may wait a window longer
		wait += s.gather
	}
	s.gaps()
	s.tick.wait(wait)
	if n, err := s.receive(p, false); err != errAgain {
		return n, err
	}
	return s.quiet(p)
}

// quiet waits for the first byte.
func (s *sock) quiet(p []byte) (int, error) {
	if s.raised {
		if err := lowWater(s.raw, 1); err != nil {
			return 0, err
		}
		s.raised = false
	}
	return s.receive(p, true)
}

// receive reads what is there; where nothing is, it parks or says errAgain.
func (s *sock) receive(p []byte, park bool) (int, error) {
	if s.raw == nil {
		return s.Conn.Read(p)
	}
	s.p, s.park = p, park
	err := s.raw.Read(s.try)
	s.p = nil
	if err != nil {
		return 0, err
	}
	s.full = s.n == len(p)
	return s.n, s.err
}

// visit notes that the kernel is asked; found, that it had nothing.
func (s *sock) visit() {
	s.parked.Store(false)
	s.visits.Add(1)
	s.visited = Mono(time.Now())
}

func (s *sock) found() {
	s.caught.Store(s.visited)
	s.parked.Store(true)
}

// caughtUp says whether all that was there to be read at a time (Mono) has been
// handed on by the reader. It may be asked from any goroutine.
func (s *sock) caughtUp(at int64) bool {
	if s.raw == nil || s.caught.Load() >= at {
		return true
	}
	n := s.visits.Load()
	return s.parked.Load() && unread(s.raw) == 0 && s.parked.Load() && s.visits.Load() == n
}
