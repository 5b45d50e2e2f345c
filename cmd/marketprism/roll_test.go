package main

import (
	"syscall"
	"testing"

	"github.com/marketprism/marketprism/runtime/engine"
)

// TestRollsUnderLoad has a sink roll by time, and by size, while records never
// cease to come, with its process killed in between. A roll that waited for a
// pause would not come before the end.
func TestRollsUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	for name, roll := range map[string]string{
		"every": `roll_every = "1s"`,
		"size":  `roll_every = "1h"` + "\n  " + `roll_size = "1MiB"`,
	} {
		t.Run(name, func(t *testing.T) {
			r := killRig(t, "64MiB", roll)
			r.start()
			rolls := func(more int64) (s engine.Status) {
				t.Helper()
				s, _ = r.status()
				from := s.Sinks[0].Rolls
				return r.wait("rolls while records come", func(s engine.Status) bool { return s.Sinks[0].Rolls >= from+more })
			}
			s := rolls(3)
			if err := syscall.Kill(s.Sinks[0].Plugin.Pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if after := rolls(3); after.Feeds[0].Records < s.Feeds[0].Records+10_000 {
				t.Errorf("three rolls of %d records are no load", after.Feeds[0].Records-s.Feeds[0].Records)
			}
			r.settle()
			r.terminate()
			r.check(false)
		})
	}
}
