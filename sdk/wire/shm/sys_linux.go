package shm

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapFile maps a whole segment file read-only and takes its shared lock,
// which lives as long as the file returned is open and keeps the writer from
// using the segment again.
func mapFile(path string) (mem []byte, file *os.File, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	mem, err = lockAndMap(f)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return mem, f, nil
}

func lockAndMap(f *os.File) ([]byte, error) {
	if err := flock(f, unix.LOCK_SH|unix.LOCK_NB); err != nil {
		if err == unix.EWOULDBLOCK {
			return nil, os.ErrNotExist // the writer is taking it away just now
		}
		return nil, fmt.Errorf("shm: lock segment %s: %w", f.Name(), err)
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() < SegmentHeaderBytes || st.Size() > 1<<40 {
		return nil, fmt.Errorf("shm: segment %s: %w: file of %d bytes", f.Name(), ErrDamaged, st.Size())
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("shm: map segment %s: %w", f.Name(), err)
	}
	return mem, nil
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			return err
		}
	}
}

func unmap(mem []byte) { _ = unix.Munmap(mem) }

const ctlSeals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// newControlFile makes the sealed memfd of a control block. The seals matter:
// a process that could shrink it would kill the host by SIGBUS.
func newControlFile(size int) (*os.File, error) {
	fd, err := unix.MemfdCreate("marketprism-control", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("shm: create memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), "marketprism-control")
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		f.Close()
		return nil, fmt.Errorf("shm: size memfd: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, ctlSeals); err != nil {
		f.Close()
		return nil, fmt.Errorf("shm: seal memfd: %w", err)
	}
	return f, nil
}

func mapControl(fd, size int) ([]byte, error) {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return nil, fmt.Errorf("shm: descriptor %d is no control block: %w", fd, err)
	}
	if seals&ctlSeals != ctlSeals {
		return nil, fmt.Errorf("shm: control block in descriptor %d is not sealed (%#x)", fd, seals)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("shm: control block: %w", err)
	}
	if st.Size != int64(size) {
		return nil, fmt.Errorf("shm: control block has %d bytes, not %d", st.Size, size)
	}
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("shm: map control block: %w", err)
	}
	return mem, nil
}

// newBell returns the sleeper's end as a file, to be handed to its process,
// and the ringer's as a bare descriptor.
func newBell() (sleeper *os.File, ringer int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, -1, fmt.Errorf("shm: create doorbell: %w", err)
	}
	return os.NewFile(uintptr(p[0]), "doorbell"), p[1], nil
}

func closeFd(fd int) { _ = unix.Close(fd) }

func openBell(fd int) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("shm: doorbell in descriptor %d: %w", fd, err)
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "doorbell"), nil
}

// futexWait holds its processor while it sleeps, which saves handing it over
// and back (7 µs of CPU a wake-up against 36 µs, measured at 2,000 a second).
// A signal ends it, so the collector's and the scheduler's requests do too.
func futexWait(addr unsafe.Pointer, val uint32, d time.Duration) (timedOut bool) {
	ts := unix.NsecToTimespec(int64(d))
	_, _, e := syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(addr), 0, uintptr(val), uintptr(unsafe.Pointer(&ts)), 0, 0)
	return e == unix.ETIMEDOUT
}

func futexWake(addr unsafe.Pointer) {
	_, _, _ = syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(addr), 1, 1, 0, 0, 0)
}

var bellByte = [1]byte{1}

// ringBell writes one byte. The host's end is its own open file, so nothing
// that a plugin does to its end makes this block; a full pipe is rung enough.
func ringBell(fd int) {
	_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&bellByte)), 1)
}
