package sched

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
)

// PanicError is a panic that was caught.
type PanicError struct {
	Name  string // of the goroutine, or pool and kind of the task
	Value any
	Stack []byte // where it happened
}

func newPanic(name string, v any) *PanicError {
	return &PanicError{Name: name, Value: v, Stack: debug.Stack()}
}

func (e *PanicError) Error() string { return fmt.Sprintf("sched: %s panicked: %v", e.Name, e.Value) }

// Unwrap gives the value, if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// goid is the number of the calling goroutine, as stacks show it. It takes
// about a microsecond: a worker asks once.
func goid() uint64 {
	var buf [40]byte
	b := buf[:runtime.Stack(buf[:], false)] // goroutine 123 [running]:
	b = bytes.TrimPrefix(b, []byte("goroutine "))
	if i := bytes.IndexByte(b, ' '); i > 0 {
		n, _ := strconv.ParseUint(string(b[:i]), 10, 64)
		return n
	}
	return 0
}

// maxStacks bounds the text of all goroutines' stacks, of which one is cut out.
const maxStacks = 8 << 20

// stacks is the text of all goroutines' stacks. It stops the program for as
// long as that takes, so only a stall asks for it.
func stacks() []byte {
	for n := 64 << 10; ; n *= 4 {
		b := make([]byte, n)
		if got := runtime.Stack(b, true); got < n || n >= maxStacks {
			return b[:got]
		}
	}
}

// stackOf cuts one goroutine's stack out of all.
func stackOf(all []byte, id uint64) string {
	head := []byte("goroutine " + strconv.FormatUint(id, 10) + " ")
	if !bytes.HasPrefix(all, head) {
		i := bytes.Index(all, append([]byte("\n\n"), head...))
		if i < 0 {
			return ""
		}
		all = all[i+2:]
	}
	if i := bytes.Index(all, []byte("\n\n")); i >= 0 {
		all = all[:i]
	}
	return string(all)
}
