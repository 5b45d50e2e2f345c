package sched

import "time"

// Spinning pays where work comes back within a few microseconds: parking and
// waking a goroutine costs about as much CPU, and the work waits longer. So who
// runs dry remembers how long that lasts lately, and spins only where it is
// short. One surprise of a long gap ends it.
const (
	spinFor  = int64(20 * time.Microsecond)
	longGap  = int64(time.Millisecond)
	gapShare = 4 // what a new gap counts: one part of so many
	// The end of a spin where the clock stands still, as in a test's bubble.
	spinRounds = 256
)

// gaps is the smoothed time from running dry to the next work.
type gaps struct{ mean int64 }

func (g *gaps) learn(ns int64) {
	ns = min(max(ns, 1), longGap)
	if g.mean == 0 {
		g.mean = longGap
	}
	g.mean += (ns - g.mean) / gapShare
}

func (g *gaps) short() bool { return g.mean != 0 && g.mean < spinFor }
