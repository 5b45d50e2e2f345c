package emulator

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sharpTimers sets this thread's timer slack from 50 µs to 1 ns.
func sharpTimers() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }

// rawSleep bounds the sleeps that keep their processor.
const rawSleep = 5 * time.Millisecond

// sleepUntil waits for a time less than some milliseconds away. The runtime's
// own timers are a millisecond late when nothing else runs, so it asks the
// kernel. It does so without telling the scheduler, which would hand the
// processor to another thread and back at each event, at several times the cost
// of the event; a collection of garbage waits for the sleep to end.
func sleepUntil(t time.Time) {
	for d := time.Until(t); d > 0; d = time.Until(t) {
		ts := unix.NsecToTimespec(int64(min(d, rawSleep)))
		unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	}
}
