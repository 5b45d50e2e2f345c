package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// LockName is the file whose lock owns a directory.
const LockName = "LOCK"

// ErrLocked says who owns a directory.
type ErrLocked struct {
	Dir string
	PID int // zero when the owner hasn't written it yet
}

func (e *ErrLocked) Error() string {
	return fmt.Sprintf("journal: %s is in use by process %d: stop it first, or use another data directory", e.Dir, e.PID)
}

// Lock is a held directory. The kernel releases it when the process dies.
type Lock struct{ f *os.File }

// LockDir takes the owner lock of a directory: of one journal, or of a whole
// data directory. It fails with *ErrLocked if another process, or another
// Lock of this one, has it. The directory is made if it isn't there.
func LockDir(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("journal: make directory: %w", err)
	}
	path := filepath.Join(dir, LockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("journal: open lock: %w", err)
	}
	if err := lockFile(f); err != nil {
		defer f.Close()
		if !errors.Is(err, errWouldBlock) {
			return nil, fmt.Errorf("journal: lock %s: %w", path, err)
		}
		b, _ := io.ReadAll(io.LimitReader(f, 32))
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		return nil, &ErrLocked{Dir: dir, PID: pid}
	}
	pid := []byte(strconv.Itoa(os.Getpid()) + "\n")
	if _, err = f.WriteAt(pid, 0); err == nil {
		err = f.Truncate(int64(len(pid)))
	}
	if err != nil && !isDiskFull(err) { // a full disk costs the pid, not the lock
		f.Close()
		return nil, fmt.Errorf("journal: write lock %s: %w", path, err)
	}
	return &Lock{f: f}, nil
}

// Close releases the lock. The file stays.
func (l *Lock) Close() error { return l.f.Close() }
