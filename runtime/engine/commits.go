package engine

import (
	"sort"
	"sync"

	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// maxCommits is how many commits of a sink in a journal are known.
const maxCommits = 1024

// commits remember when a sink committed how far, so that who asks can tell when
// a record was: as exactly as commits are for the latest ones. When the table is
// full every second commit of its older half goes, so that it reaches back far at
// the price of precision: a time it gives is never too early.
type commits struct {
	mu  sync.Mutex
	all []commit // ascending
}

type commit struct {
	upTo shm.Position
	at   int64 // ns
}

func (c *commits) add(upTo shm.Position, at int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) == maxCommits {
		const half = maxCommits / 2
		for i := range half / 2 {
			c.all[i] = c.all[2*i+1]
		}
		c.all = append(c.all[:half/2], c.all[half:]...)
	}
	c.all = append(c.all, commit{upTo, at})
}

// when is the first known commit of what is at pos; 0: it is not committed, or
// was before the first commit of this run.
func (c *commits) when(pos shm.Position, cursor shm.Position) (at int64, committed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pos >= cursor {
		return 0, false
	}
	i := sort.Search(len(c.all), func(i int) bool { return c.all[i].upTo > pos })
	if i == len(c.all) {
		return 0, true
	}
	return c.all[i].at, true
}
