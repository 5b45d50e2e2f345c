//go:build !linux

package journal

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

var (
	errSystem     = fmt.Errorf("journal: memory-mapped journals need Linux, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
	errWouldBlock = errSystem
)

func lockFile(*os.File) error                  { return errSystem }
func unlockFile(*os.File)                      {}
func allocate(*os.File, int64) error           { return errSystem }
func isDiskFull(error) bool                    { return false }
func mapWrite(*os.File, int64) ([]byte, error) { return nil, errSystem }
func unmap([]byte) error                       { return errSystem }
func syncRange([]byte, uint64, uint64) error   { return errSystem }
func populate([]byte, uint64, uint64)          {}
func syncDir(string) error                     { return errSystem }
func bootID() (id [16]byte)                    { return id }

// Space needs Linux.
func Space(string) (free, size uint64, err error) { return 0, 0, errSystem }
