package memory

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// LimitRatio is the part of a control group's limit that the Go runtime may use:
// the rest is for what it doesn't count.
const LimitRatio = 0.9

// Limit says what the memory limit of this process is, and why.
type Limit struct {
	Bytes int64  // 0: none
	Set   bool   // by this call
	Why   string // in words
}

// SetLimit sets the Go runtime's memory limit to LimitRatio of the control
// group's. A GOMEMLIMIT in the environment stands, and AUTOMEMLIMIT=off leaves
// all as it is.
func SetLimit() (Limit, error) { return setLimit(memlimit.FromCgroup) }

func setLimit(provider memlimit.Provider) (Limit, error) {
	if v, ok := os.LookupEnv("GOMEMLIMIT"); ok {
		return Limit{current(), false, "GOMEMLIMIT=" + v + " stands in the environment"}, nil
	}
	if os.Getenv("AUTOMEMLIMIT") == "off" {
		return Limit{current(), false, "AUTOMEMLIMIT is off"}, nil
	}
	var whole uint64
	n, err := memlimit.Set(memlimit.WithRatio(LimitRatio), memlimit.WithProvider(func() (uint64, error) {
		var err error
		whole, err = provider()
		return whole, err
	}))
	switch {
	case errors.Is(err, memlimit.ErrNoCgroup), errors.Is(err, memlimit.ErrCgroupsNotSupported):
		return Limit{current(), false, "this system has no control groups"}, nil
	case err != nil:
		return Limit{current(), false, ""}, fmt.Errorf("memory: limit of the control group: %w: set GOMEMLIMIT", err)
	case n == math.MaxInt64:
		return Limit{0, false, "the control group has no limit"}, nil
	}
	return Limit{n, true, fmt.Sprintf("%.0f %% of the control group's %s", 100*float64(n)/float64(whole), Size(int64(whole)))}, nil
}

// current is the limit in force; 0 if there is none.
func current() int64 {
	if l := debug.SetMemoryLimit(-1); l != math.MaxInt64 {
		return l
	}
	return 0
}
