//go:build linux

package shm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary is the other process too.
const childEnv = "MARKETPRISM_SHM_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	ctl, err := MapControl(3, 4)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(4)
	}
	// It answers each committed position with its cursor.
	for ctl.Wait(func() bool { return ctl.Committed() > ctl.Cursor() }, 0) {
		ctl.SetCursor(ctl.Committed())
	}
	ctl.SetPin(uint64(cpuTime().Nanoseconds()))
	os.Exit(0)
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func startChild(tb testing.TB, ctl *Control, procs int) *exec.Cmd {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"=1", fmt.Sprint("GOMAXPROCS=", procs))
	a, b := ctl.Files()
	cmd.ExtraFiles = []*os.File{a, b}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	return cmd
}

func TestDoorbellAcrossProcesses(t *testing.T) {
	for _, procs := range []int{1, 2} {
		t.Run(fmt.Sprint("GOMAXPROCS=", procs), func(t *testing.T) {
			ctl, err := NewControl()
			if err != nil {
				t.Fatal(err)
			}
			defer ctl.Close()
			cmd := startChild(t, ctl, procs)
			deadline := time.Now().Add(2 * time.Minute)
			for i := uint64(1); i <= 3000; i++ {
				if i%100 == 0 { // let it fall asleep for good
					for !ctl.Parked() && time.Now().Before(deadline) {
						time.Sleep(50 * time.Microsecond)
					}
				}
				if i%1000 == 0 {
					time.Sleep(2 * rawSlice)
				}
				ctl.SetCommitted(i)
				ctl.Ring()
				for ctl.Cursor() != i {
					if time.Now().After(deadline) {
						cmd.Process.Kill()
						t.Fatalf("no answer to %d; parked %v", i, ctl.Parked())
					}
					time.Sleep(time.Microsecond)
				}
			}
			ctl.Stop()
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWait(t *testing.T) {
	shared, err := NewControl()
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	a, b := shared.Files()
	mapped, err := MapControl(dup(t, a), dup(t, b))
	if err != nil {
		t.Fatal(err)
	}
	defer mapped.Close()
	local := NewLocal()
	for _, c := range []struct {
		name       string
		host, read *Control
	}{{"local", local, local}, {"mapped", shared, mapped}} {
		t.Run(c.name, func(t *testing.T) {
			var n atomic.Int32
			looked := make(chan struct{}, 1) // and found nothing, after it said that it would sleep
			ready := func() bool {
				yes := n.Load() > 0
				if !yes && c.host.Parked() {
					select {
					case looked <- struct{}{}:
					default:
					}
				}
				return yes
			}
			if c.read.Wait(ready, time.Millisecond) {
				t.Error("ready without cause")
			}
			c.read.Interrupt()
			if c.read.Wait(ready, 0) { // doesn't hang: it was interrupted before
				t.Error("ready without cause")
			}
			ctx, cancel := context.WithCancel(context.Background())
			drain(looked)
			go func() {
				<-looked
				cancel()
			}()
			if c.read.WaitContext(ctx, ready) {
				t.Error("ready without cause")
			}
			drain(looked)
			woke := make(chan bool)
			go func() { woke <- c.read.Wait(ready, 0) }()
			<-looked
			n.Add(1)
			if !c.host.Ring() || !<-woke {
				t.Error("ring didn't wake")
			}
			if c.host.Ring() {
				t.Error("rang a reader that is awake")
			}
			n.Store(0)
			go func() { woke <- c.read.Wait(ready, 0) }()
			c.host.Stop()
			if <-woke || !c.read.Stopped() {
				t.Error("stop didn't end the wait")
			}
		})
	}
}

func drain(c chan struct{}) {
	select {
	case <-c:
	default:
	}
}

func dup(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// TestHostileReader does what a plugin may do to its host through a control
// block: nothing of it stops or resizes anything.
func TestHostileReader(t *testing.T) {
	ctl, err := NewControl()
	if err != nil {
		t.Fatal(err)
	}
	defer ctl.Close()
	a, b := ctl.Files()
	if err := unix.Ftruncate(int(a.Fd()), 0); err != unix.EPERM {
		t.Errorf("shrinking the block: %v", err)
	}
	// The bell is full and its end made blocking: ringing goes on.
	if err := unix.SetNonblock(int(b.Fd()), false); err != nil {
		t.Fatal(err)
	}
	for i := range 100_000 {
		ctl.p.parked.Store(uint32(i)*7 + parkedBell)
		ctl.Ring()
	}
	// What isn't a sealed block isn't mapped.
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := MapControl(dup(t, f), dup(t, b)); err == nil || !strings.Contains(err.Error(), "control block") {
		t.Errorf("a file was mapped as a control block: %v", err)
	}
}

// BenchmarkDoorbell rings a reader in another process at a pace and reports
// its CPU per ring.
func BenchmarkDoorbell(b *testing.B) {
	for _, procs := range []int{1, 2} {
		for _, rate := range []int{200, 2000, 20000} {
			b.Run(fmt.Sprintf("procs=%d/rate=%d", procs, rate), func(b *testing.B) {
				ctl, err := NewControl()
				if err != nil {
					b.Fatal(err)
				}
				defer ctl.Close()
				cmd := startChild(b, ctl, procs)
				for !ctl.Parked() {
					time.Sleep(time.Millisecond)
				}
				rings, i := 0, uint64(0)
				began, cpu := time.Now(), cpuTime()
				b.ResetTimer()
				for b.Loop() {
					i++
					if d := time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(rate))); d > 0 {
						ts := unix.NsecToTimespec(int64(d))
						_ = unix.Nanosleep(&ts, nil)
					}
					ctl.SetCommitted(i)
					if ctl.Ring() {
						rings++
					}
				}
				b.StopTimer()
				cpu = cpuTime() - cpu
				for ctl.Cursor() != i {
					time.Sleep(time.Millisecond)
				}
				ctl.Stop()
				if err := cmd.Wait(); err != nil {
					b.Error(err)
				}
				b.ReportMetric(float64(ctl.Pin())/float64(rings)/1e3, "reader-µs/ring")
				b.ReportMetric(float64(cpu.Nanoseconds())/float64(i)/1e3, "ringer-µs/op")
				b.ReportMetric(float64(rings)/float64(i), "rings/op")
			})
		}
	}
}
