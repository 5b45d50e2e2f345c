package journal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

var errWouldBlock error = unix.EWOULDBLOCK

func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// lockFile takes a file's exclusive lock without waiting.
func lockFile(f *os.File) error {
	return retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
}

func unlockFile(f *os.File) { _ = unix.Flock(int(f.Fd()), unix.LOCK_UN) }

// allocate gives a file all its blocks, so that no write to its mapping needs
// any.
func allocate(f *os.File, size int64) error {
	return retry(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
}

func isDiskFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

func mapWrite(f *os.File, size int64) ([]byte, error) {
	return unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func unmap(mem []byte) error { return unix.Munmap(mem) }

// syncRange writes [from, to) of a mapping to the disk and waits for it.
func syncRange(mem []byte, from, to uint64) error {
	from &^= uint64(os.Getpagesize()) - 1
	if from >= to {
		return nil
	}
	return retry(func() error { return unix.Msync(mem[from:to], unix.MS_SYNC) })
}

// populate makes the pages of [from, to) present, writable and dirty, so that
// Append doesn't fault on them. A kernel that can't (before 5.14) leaves it to
// the faults.
func populate(mem []byte, from, to uint64) {
	page := uint64(os.Getpagesize()) - 1
	from, to = from&^page, min((to+page)&^page, uint64(len(mem)))
	if from < to {
		_ = unix.Madvise(mem[from:to], unix.MADV_POPULATE_WRITE)
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// bootID names this boot of the machine; zero, which equals no other, where
// the system doesn't say.
func bootID() (id [16]byte) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return id
	}
	digits := bytes.ReplaceAll(bytes.TrimSpace(b), []byte("-"), nil)
	if len(digits) != 32 {
		return id
	}
	if _, err := hex.Decode(id[:], digits); err != nil {
		return [16]byte{}
	}
	return id
}

// Space is how many bytes the file system of dir has, and how many of them this
// process may still use.
func Space(dir string) (free, size uint64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, fmt.Errorf("journal: space of %s: %w", dir, err)
	}
	return s.Bavail * uint64(s.Bsize), s.Blocks * uint64(s.Bsize), nil
}
