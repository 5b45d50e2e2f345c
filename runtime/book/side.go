package book

import (
	"unsafe"

	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/sdk/market"
)

const (
	leafSize  = 32 // levels of one leaf
	leafFill  = 24 // levels that a leaf gets when a snapshot is loaded or leaves are joined
	leafSmall = 8  // levels below which a leaf looks for a neighbour to join

	maxKey = 1<<62 - 1
	noKey  = 1 << 62
)

// leaf is a run of neighbouring levels. Keys stand apart from amounts, so that a
// search touches few cache lines.
type leaf struct {
	own    pool.Lease[leaf] // zero in a book without Options.Levels
	n      int
	key    [leafSize]int64 // noKey from n on
	amount [leafSize]market.Decimal
	places [leafSize]uint8 // of the price as it was sent
}

// Levels is a pool of leaves for the books of a process: what one gives up when
// it breaks or ends, another takes.
type Levels = pool.Pool[leaf]

// levelsIdle is what Levels keep where MessageOptions say nothing: a connection
// that ends may void books of two million levels at once, and all come back.
const levelsIdle = 64 << 20

// NewLevels makes the pool. Books that lease from it are closed before it is.
func NewLevels(o pool.MessageOptions) (*Levels, error) {
	if o.MaxIdleBytes == 0 {
		o.MaxIdleBytes = levelsIdle
	}
	return pool.New(pool.Options[leaf]{Name: "levels", New: newLeaf, Reset: (*leaf).clear, Bytes: int(unsafe.Sizeof(leaf{})),
		MaxIdleBytes: o.MaxIdleBytes, Sample: o.Sample, Registry: o.Registry, OnFault: o.OnFault})
}

func newLeaf() (l leaf, _ error) {
	l.trim(leafSize, 0)
	return l, nil
}

func (l *leaf) clear() { l.trim(l.n, 0) }

// leaves are where a book's leaves come from and go to: the pool, or where there
// is none a free list of its own, since a book that is cleared will be as large
// again soon.
type leaves struct {
	pool *Levels
	free []*leaf
}

func (f *leaves) get() *leaf {
	if f.pool != nil {
		if own, err := f.pool.Lease(); err == nil {
			l := own.Value()
			l.own = own
			return l
		}
	}
	if n := len(f.free); n > 0 {
		l := f.free[n-1]
		f.free = f.free[:n-1]
		return l
	}
	l, _ := newLeaf()
	return &l
}

func (f *leaves) put(l *leaf) {
	if l.own.Valid() {
		l.own.Return()
		return
	}
	l.clear()
	f.free = append(f.free, l)
}

// trim forgets the levels from n on, of which there were some up to was.
func (l *leaf) trim(was, n int) {
	for j := n; j < was; j++ {
		l.key[j] = noKey
	}
	l.n = n
}

// side is one side of a book, best level first. A key is the price in ticks,
// negated on the bid side, so that both sides ascend.
type side struct {
	first []int64 // first key of each leaf
	leaf  []*leaf // none is empty
	n     int
	free  *leaves
}

// Both searches add by a mask and not by a branch: which half a price is in can't
// be predicted, and a wrong guess costs more than the rest of the step. Keys are
// within maxKey, so their differences don't overflow.

// find gives the leaf that holds key or would.
func (s *side) find(key int64) int {
	base, n := 0, len(s.first)
	first := s.first
	for n > 1 {
		half := n >> 1
		base += half &^ int((key-first[base+half])>>63)
		n -= half
	}
	return base
}

// search gives the place of the first key that is not below key. The steps are
// written out: a leaf has always as many.
func (l *leaf) search(key int64) int {
	const mask = leafSize - 1
	j := 16 & int((l.key[15]-key)>>63)
	j += 8 & int((l.key[(j+7)&mask]-key)>>63)
	j += 4 & int((l.key[(j+3)&mask]-key)>>63)
	j += 2 & int((l.key[(j+1)&mask]-key)>>63)
	j += 1 & int((l.key[j&mask]-key)>>63)
	return j + 1&int((l.key[j&mask]-key)>>63)
}

// set gives a level its amount.
func (s *side) set(key int64, places uint8, amount market.Decimal) {
	if len(s.leaf) == 0 {
		l := s.free.get()
		s.first, s.leaf = append(s.first, key), append(s.leaf, l)
	}
	i := s.find(key)
	l := s.leaf[i]
	j := l.search(key)
	if j < l.n && l.key[j] == key {
		l.amount[j], l.places[j] = amount, places
		return
	}
	if l.n == leafSize {
		i, j = s.split(i, j)
		l = s.leaf[i]
	}
	if n := l.n; j < n {
		copy(l.key[j+1:n+1], l.key[j:n])
		copy(l.amount[j+1:n+1], l.amount[j:n])
		copy(l.places[j+1:n+1], l.places[j:n])
	}
	l.key[j], l.amount[j], l.places[j] = key, amount, places
	l.n++
	s.n++
	if j == 0 {
		s.first[i] = key
	}
}

// push is set for a snapshot's levels, which come best first: it leaves room in
// the leaves for what comes between later.
func (s *side) push(key int64, places uint8, amount market.Decimal) {
	if e := len(s.leaf) - 1; e >= 0 {
		l := s.leaf[e]
		if l.key[l.n-1] >= key {
			s.set(key, places, amount)
			return
		}
		if l.n < leafFill {
			l.key[l.n], l.amount[l.n], l.places[l.n] = key, amount, places
			l.n++
			s.n++
			return
		}
	}
	l := s.free.get()
	l.key[0], l.amount[0], l.places[0], l.n = key, amount, places, 1
	s.first, s.leaf = append(s.first, key), append(s.leaf, l)
	s.n++
}

// split halves the full leaf i and gives the place j anew.
func (s *side) split(i, j int) (int, int) {
	l, r := s.leaf[i], s.free.get()
	const half = leafSize / 2
	r.n = copy(r.key[:], l.key[half:])
	copy(r.amount[:], l.amount[half:])
	copy(r.places[:], l.places[half:])
	l.trim(leafSize, half)
	s.first, s.leaf = append(s.first, 0), append(s.leaf, nil)
	copy(s.first[i+2:], s.first[i+1:])
	copy(s.leaf[i+2:], s.leaf[i+1:])
	s.first[i+1], s.leaf[i+1] = r.key[0], r
	if j > half {
		return i + 1, j - half
	}
	return i, j
}

// remove drops a level; exchanges remove levels that were never there as a matter
// of course.
func (s *side) remove(key int64) {
	if len(s.leaf) == 0 {
		return
	}
	i := s.find(key)
	l := s.leaf[i]
	j := l.search(key)
	if j >= l.n || l.key[j] != key {
		return
	}
	if n := l.n; j+1 < n {
		copy(l.key[j:n-1], l.key[j+1:n])
		copy(l.amount[j:n-1], l.amount[j+1:n])
		copy(l.places[j:n-1], l.places[j+1:n])
	}
	l.n--
	l.key[l.n] = noKey
	s.n--
	if l.n < leafSmall {
		s.thin(i)
	} else if j == 0 {
		s.first[i] = l.key[0]
	}
}

// thin joins the small leaf i with a neighbour that has room, or drops it empty.
func (s *side) thin(i int) {
	l := s.leaf[i]
	switch {
	case l.n == 0:
		s.drop(i)
		return
	case i+1 < len(s.leaf) && l.n+s.leaf[i+1].n <= leafFill:
		l.take(s.leaf[i+1])
		s.drop(i + 1)
	case i > 0 && l.n+s.leaf[i-1].n <= leafFill:
		s.leaf[i-1].take(l)
		s.drop(i)
		return
	}
	s.first[i] = l.key[0]
}

// take appends the levels of r, which follow.
func (l *leaf) take(r *leaf) {
	copy(l.key[l.n:], r.key[:r.n])
	copy(l.amount[l.n:], r.amount[:r.n])
	copy(l.places[l.n:], r.places[:r.n])
	l.n += r.n
}

func (s *side) drop(i int) {
	s.free.put(s.leaf[i])
	copy(s.first[i:], s.first[i+1:])
	copy(s.leaf[i:], s.leaf[i+1:])
	e := len(s.leaf) - 1
	s.leaf[e] = nil
	s.first, s.leaf = s.first[:e], s.leaf[:e]
}

// cut keeps the best n levels.
func (s *side) cut(n int) {
	for s.n > n {
		e := len(s.leaf) - 1
		l := s.leaf[e]
		if over := s.n - n; over < l.n {
			l.trim(l.n, l.n-over)
			s.n = n
			return
		}
		s.n -= l.n
		s.drop(e)
	}
}

func (s *side) clear() {
	for i, l := range s.leaf {
		s.free.put(l)
		s.leaf[i] = nil
	}
	s.first, s.leaf, s.n = s.first[:0], s.leaf[:0], 0
}

// scaleBy multiplies all keys; false, and nothing changed, if one doesn't fit.
func (s *side) scaleBy(p int64) bool {
	limit := maxKey / p
	if s.n > 0 {
		e := s.leaf[len(s.leaf)-1]
		if s.first[0] < -limit || e.key[e.n-1] > limit {
			return false
		}
	}
	for i, l := range s.leaf {
		for j := range l.key[:l.n] {
			l.key[j] *= p
		}
		s.first[i] = l.key[0]
	}
	return true
}

// divideBy divides all keys, which must be multiples.
func (s *side) divideBy(p int64) {
	for i, l := range s.leaf {
		for j := range l.key[:l.n] {
			l.key[j] /= p
		}
		s.first[i] = l.key[0]
	}
}

// least gives the smallest scale, from at least on, at which all keys are whole.
func (s *side) least(scale, least uint8) uint8 {
	for _, l := range s.leaf {
		for _, k := range l.key[:l.n] {
			for least < scale && k != 0 && (scale-least > 18 || k%pow10[scale-least] != 0) {
				least++
			}
		}
	}
	return least
}
