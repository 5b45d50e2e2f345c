//go:build cgo

package memory

// A C library maps 8 MiB for each thread's stack, and keeps it for the next one:
// anonymous memory goes up and down by more than a slow leak. The program is
// built without it.
func init() { threadStacks = true }
