package engine

import (
	"context"
	"os"
	"runtime"
	"syscall"
	"time"
)

// With one processor, a goroutine that becomes ready wakes no second thread to
// look for work; at 2,000 messages a second that is a third of the runtime's
// CPU. So in latency "balanced" the runtime keeps to one while it is far from
// needing more, and takes all as soon as it is busy. A GOMAXPROCS in the
// environment pins it.
const (
	procsLook = time.Second
	procsBusy = 0.6 // of one processor: take all
	procsIdle = 0.3 // of one processor, procsCalm times in a row: keep to one
	procsCalm = 5
)

// adaptProcs runs until ctx ends, and leaves all processors to the program.
func adaptProcs(ctx context.Context) {
	if os.Getenv("GOMAXPROCS") != "" || runtime.GOMAXPROCS(0) == 1 {
		return
	}
	all := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(all)
	t := time.NewTicker(procsLook)
	defer t.Stop()
	last, at := cpuTime(), time.Now()
	calm := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now, cpu := time.Now(), cpuTime()
		used := float64(cpu-last) / float64(now.Sub(at))
		last, at = cpu, now
		switch {
		case used > procsBusy:
			calm = 0
			if runtime.GOMAXPROCS(0) != all {
				runtime.GOMAXPROCS(all)
			}
		case used < procsIdle:
			if calm++; calm == procsCalm {
				runtime.GOMAXPROCS(1)
			}
		default:
			calm = 0
		}
	}
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
