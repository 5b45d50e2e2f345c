package ring

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// newMemfd makes a memfd of a fixed size: sealed before anybody else sees it.
func newMemfd(name string, size int) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("ring: create memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		f.Close()
		return nil, fmt.Errorf("ring: size memfd to %d bytes: %w", size, err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, fmt.Errorf("ring: seal memfd: %w", err)
	}
	return f, nil
}

func sealedSize(fd int) (int, error) {
	got, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return 0, fmt.Errorf("ring: descriptor %d is no memfd: %w", fd, err)
	}
	if got&seals != seals {
		return 0, fmt.Errorf("ring: descriptor %d is not sealed (%#x)", fd, got)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("ring: descriptor %d: %w", fd, err)
	}
	return int(st.Size), nil
}

func mapShared(fd, size int) ([]byte, error) {
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("ring: map %d bytes: %w", size, err)
	}
	return mem, nil
}

func unmap(mem []byte) { _ = unix.Munmap(mem) }

func closeFd(fd int) { _ = unix.Close(fd) }

func newPipe() (r, w *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, nil, fmt.Errorf("ring: create doorbell: %w", err)
	}
	return os.NewFile(uintptr(p[0]), "doorbell"), os.NewFile(uintptr(p[1]), "doorbell"), nil
}

var bellByte = [1]byte{1}

func ringBell(fd int) {
	_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&bellByte)), 1)
}

// Pause sleeps for d, which must be short. Where the process has one processor
// it keeps it: a timer of the Go scheduler would cost several times as much,
// and other goroutines are late by d at most.
func Pause(d time.Duration) {
	if runtime.GOMAXPROCS(0) > 1 {
		time.Sleep(d)
		return
	}
	ts := unix.NsecToTimespec(int64(d))
	_, _, _ = syscall.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}
