package memory

import (
	"testing"
	"time"
)

// Leases are a leak by their number where they are large or nothing is known of
// their size, and by their bytes where they are small: books grow by some leaves
// a minute for hours.
func TestLeasesBySize(t *testing.T) {
	for _, c := range []struct {
		name   string
		each   int64
		minute float64
		found  bool
	}{
		{"frame buffers", 64 << 10, 12, true},
		{"of unknown size", 0, 12, true},
		{"leaves of books that grow", 1 << 10, 12, false},
		{"leaves that nobody returns", 1 << 10, 1000, true},
	} {
		th := Defaults()
		began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		d := newDetector(th, began)
		found := false
		for i := range 180 { // half an hour
			now := began.Add(time.Duration(i+1) * th.Interval)
			n := int64(1000 + c.minute*now.Sub(began).Minutes())
			d.add(now, &Snapshot{Load: LoadState{FramesPerSecond: 1000, Connections: 4, Books: 100},
				Pools: []Pool{{Name: "p", Outstanding: n, Idle: 50, Bytes: c.each * (n + 50)}}})
			found = found || len(d.leaks(now)) > 0
		}
		if found != c.found {
			t.Errorf("%s: found is %t, want %t", c.name, found, c.found)
		}
	}
}
