package emulator

import (
	"time"

	"golang.org/x/sys/unix"
)

// sharpTimers sets this thread's timer slack from 50 µs to 1 ns.
func sharpTimers() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }

// sleepUntil waits for a time less than some milliseconds away. The runtime's
// own timers are a millisecond late when nothing else runs, so it asks the kernel.
func sleepUntil(t time.Time) {
	d := time.Until(t)
	if d <= 0 {
		return
	}
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil)
}
