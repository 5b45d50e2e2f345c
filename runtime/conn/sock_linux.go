package conn

import (
	"io"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lowWater sets how many bytes make a socket readable.
func lowWater(raw syscall.RawConn, n int) error {
	var err error
	if cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, n)
	}); cerr != nil {
		return cerr
	}
	return os.NewSyscallError("setsockopt", err)
}

// unread is how many bytes wait in a socket; 0 where it is closed.
func unread(raw syscall.RawConn) (n int) {
	raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
	return n
}

// read is a read of a descriptor that never blocks. The scheduler isn't told:
// telling it wakes its monitor thread after each idle moment, which costs more
// than the read.
func read(fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, e := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(n), 0
	}
}

func (s *sock) tryRead(fd uintptr) bool {
	s.visit()
	n, e := read(fd, s.p)
	s.n, s.err = n, nil
	switch {
	case e == unix.EAGAIN:
		s.found()
		s.err = errAgain
		return !s.park
	case e != 0:
		s.err = os.NewSyscallError("read", e)
	case n == 0:
		s.err = io.EOF
	}
	return true
}

// ticker waits by a timerfd in the network poller. The Go runtime's own timers
// wake a second thread each time, which looks for work and finds none: four
// times the CPU of the wait itself.
type ticker struct {
	file *os.File
	raw  syscall.RawConn
	set  func(fd uintptr)
	try  func(fd uintptr) bool
	spec unix.ItimerSpec
	buf  [8]byte
}

func newTicker() (*ticker, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	t := &ticker{file: os.NewFile(uintptr(fd), "gather")}
	if t.raw, err = t.file.SyscallConn(); err != nil {
		t.file.Close()
		return nil, err
	}
	t.set = func(fd uintptr) {
		unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&t.spec)), 0, 0, 0)
	}
	t.try = func(fd uintptr) bool {
		_, e := read(fd, t.buf[:])
		return e != unix.EAGAIN
	}
	return t, nil
}

// wait returns after d, or when the ticker was closed.
func (t *ticker) wait(d time.Duration) {
	t.spec.Value = unix.NsecToTimespec(int64(d))
	if t.raw.Control(t.set) == nil {
		t.raw.Read(t.try)
	}
}

func (t *ticker) close() { t.file.Close() }
