//go:build !linux

package ring

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
)

var errSystem = fmt.Errorf("ring: shared-memory channels need Linux, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)

func newMemfd(string, int) (*os.File, error) { return nil, errSystem }
func sealedSize(int) (int, error)            { return 0, errSystem }
func mapShared(int, int) ([]byte, error)     { return nil, errSystem }
func unmap([]byte)                           {}
func closeFd(int)                            {}
func newPipe() (*os.File, *os.File, error)   { return nil, nil, errSystem }
func ringBell(int)                           {}

// Pause sleeps for d.
func Pause(d time.Duration) { time.Sleep(d) }
