package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/wire/ring"
)

// Budget bounds restarts: Restarts within Within, then quarantine. The first of
// them is made at once; before the others the host waits, MinBackoff at first,
// doubled each time up to MaxBackoff.
type Budget struct {
	Restarts   int           // 10 if zero; negative: none
	Within     time.Duration // 10 min if zero
	MinBackoff time.Duration // 50 ms if zero
	MaxBackoff time.Duration // 10 s if zero
}

func (b *Budget) fill() {
	def(&b.Restarts, 10)
	def(&b.Within, 10*time.Minute)
	def(&b.MinBackoff, 50*time.Millisecond)
	def(&b.MaxBackoff, 10*time.Second)
}

// allowance spends a budget.
type allowance struct {
	Budget
	times []time.Time
}

// spend takes one restart at now and returns how long to wait before it; false
// if there is none left.
func (a *allowance) spend(now time.Time) (time.Duration, bool) {
	keep := a.times[:0]
	for _, t := range a.times {
		if now.Sub(t) < a.Within {
			keep = append(keep, t)
		}
	}
	a.times = append(keep, now)
	n := len(a.times)
	if n > a.Restarts {
		return 0, false
	}
	if n == 1 {
		return 0, true
	}
	d := a.MinBackoff << min(n-2, 20)
	return min(max(d, a.MinBackoff), a.MaxBackoff), true
}

// QuarantineError says that the host gave a plugin up, and why.
type QuarantineError struct {
	Plugin   string // the label: source.binance.md
	Restarts int    // within the budget's time
	Err      error  // what ended it last
}

func (e *QuarantineError) Error() string {
	if e.Restarts == 0 {
		return fmt.Sprintf("host: plugin %s is quarantined: %v", e.Plugin, e.Err)
	}
	return fmt.Sprintf("host: plugin %s is quarantined after %d restarts: %v", e.Plugin, e.Restarts, e.Err)
}

// Unwrap gives the cause.
func (e *QuarantineError) Unwrap() error { return e.Err }

// hopeless says that another start can't help.
func hopeless(err error) bool {
	return errors.Is(err, ring.ErrGarbage) || errors.Is(err, errViolation) || fault.Of(err) == fault.Stop
}

// errViolation is what errors wrap that say that a plugin broke its contract.
var errViolation = errors.New("the plugin broke its contract")

// Phase is where a plugin is in its life.
type Phase string

// The phases.
const (
	Idle        Phase = "idle" // Run was not called yet
	Starting    Phase = "starting"
	Running     Phase = "running"
	Waiting     Phase = "waiting" // to be started again
	Quarantined Phase = "quarantined"
	Stopped     Phase = "stopped"
)

// State is what a plugin is doing and, where it isn't running, why.
type State struct {
	Phase      Phase
	Generation uint32 // starts so far
	Pid        int    // while running
	Restarts   int    // ever
	Why        string // what ended the last process
	Since      time.Time
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
