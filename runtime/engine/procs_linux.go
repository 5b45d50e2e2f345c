package engine

import (
	"context"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/marketprism/marketprism/runtime/sched"
)

// Two habits of the Go scheduler cost a collector most of its CPU at a few
// thousand messages a second, when it wakes some hundred times a second for very
// little. A goroutine that becomes ready wakes a second thread to look for more
// work; and each time that the last processor goes idle and comes back, the
// scheduler's monitor looks every 20 µs for a millisecond. So in latency
// "balanced", while there is little to do, the program keeps to one processor
// for its goroutines and has another one held by a sleeper, so that never all
// are idle. As soon as it is busy it takes all. A GOMAXPROCS in the environment
// pins it.
const (
	procsLook = time.Second
	procsBusy = 0.5  // of one processor: take all
	procsIdle = 0.3  // of one processor, procsCalm times in a row: be thrifty
	procsRest = 0.01 // of one processor: nothing goes on, nobody need hold one
	procsCalm = 3
	procsHold = 8 * time.Millisecond // below the 10 ms after which the scheduler preempts
)

// adaptProcs runs until ctx ends, and leaves all processors to the program.
func adaptProcs(ctx context.Context) error {
	if os.Getenv("GOMAXPROCS") != "" || runtime.GOMAXPROCS(0) == 1 {
		return nil
	}
	all := runtime.GOMAXPROCS(0)
	g, _ := sched.NewSet(context.WithoutCancel(ctx), "")
	defer g.Wait() //nolint:errcheck // it returns none
	var holder *sched.Child
	var hold atomic.Bool
	set := func(procs int, held bool) {
		if hold.Load() && !held {
			hold.Store(false)
			<-holder.Done()
		}
		if runtime.GOMAXPROCS(0) != procs {
			runtime.GOMAXPROCS(procs)
		}
		if held && !hold.Swap(true) {
			holder = g.Go("holder", func(context.Context) error {
				for hold.Load() {
					rawSleep(procsHold)
					runtime.Gosched()
				}
				return nil
			})
		}
	}
	defer set(all, false)
	t := time.NewTicker(procsLook)
	defer t.Stop()
	last, at := cpuTime(), time.Now()
	calm := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		now, cpu := time.Now(), cpuTime()
		used := float64(cpu-last) / float64(now.Sub(at))
		last, at = cpu, now
		switch {
		case used > procsBusy:
			calm = 0
			set(all, false)
		case used >= procsIdle:
			calm = 0
		default:
			if calm++; calm >= procsCalm {
				if used > procsRest {
					set(2, true)
				} else {
					set(1, false)
				}
			}
		}
	}
}

// rawSleep sleeps without giving the processor back to the scheduler.
func rawSleep(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	_, _, _ = syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0) // cut short by a signal is fine
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
