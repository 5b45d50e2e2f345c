package flow

import "sync"

// Mark is the end of a lane's burst in one of its journals.
type Mark struct {
	Pos   uint64 // behind the burst's last record
	Count int64  // records up to there since the journal was opened
	Wall  int64  // receive time of the last frame
}

// Marks are the latest ends of bursts. Sinks cut batches at them, so that they
// need not read the journal a second time to count.
type Marks struct {
	mu   sync.Mutex
	ring [1024]Mark
	n    int // ever added
}

// Add notes the end of a burst; an empty one is ignored.
func (m *Marks) Add(k Mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n > 0 && m.ring[(m.n-1)%len(m.ring)].Pos == k.Pos {
		return
	}
	m.ring[m.n%len(m.ring)] = k
	m.n++
}

// Last is the position of the newest mark; 0 if there is none.
func (m *Marks) Last() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n == 0 {
		return 0
	}
	return m.ring[(m.n-1)%len(m.ring)].Pos
}

// WallAfter is the receive time of the first burst that ends behind pos; 0 if it
// is not known.
func (m *Marks) WallAfter(pos uint64) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.search(pos + 1)
	if i == m.n {
		return 0
	}
	return m.ring[i%len(m.ring)].Wall
}

// Next is the position of the first mark behind pos; 0 if there is none.
func (m *Marks) Next(pos uint64) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.search(pos + 1)
	if i == m.n {
		return 0
	}
	return m.ring[i%len(m.ring)].Pos
}

// search finds the first mark that is still known at or behind pos. m.mu is held.
func (m *Marks) search(pos uint64) int {
	lo, hi := max(0, m.n-len(m.ring)), m.n
	for lo < hi {
		mid := (lo + hi) / 2
		if m.ring[mid%len(m.ring)].Pos < pos {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// After gives the furthest mark behind pos that is at most max records beyond
// it, and the number of records between. ok is false if pos is no mark that is
// still known, or the next one is further than max: count by reading then.
func (m *Marks) After(pos uint64, max int64) (k Mark, records int64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lo := m.search(pos)
	if lo == m.n || m.ring[lo%len(m.ring)].Pos != pos {
		return k, 0, false
	}
	from := m.ring[lo%len(m.ring)].Count
	l, h := lo, m.n // the last one within max
	for h-l > 1 {
		mid := (l + h) / 2
		if m.ring[mid%len(m.ring)].Count-from <= max {
			l = mid
		} else {
			h = mid
		}
	}
	k = m.ring[l%len(m.ring)]
	if l == lo && lo+1 < m.n {
		return k, 0, false // the next burst alone is longer
	}
	return k, k.Count - from, true
}
