package pool

import (
	"errors"
	"fmt"
	"math/bits"
	"reflect"
	"strconv"
	"time"
	"unsafe"
)

// Oversize is the class of slices beyond the largest one: they are made and
// given up by the allocator, and counted.
const Oversize = "oversize"

// SliceOptions of a set of pools for slices.
type SliceOptions struct {
	Name         string
	Min, Max     int // capacity of the smallest and the largest class: made powers of two
	MaxIdleBytes int // of each class; 0: no bound
	Windows      int // as in Options
	Sample       int
	Registry     *Registry
	OnFault      func(*Fault)
}

// Slices are pools of slices by size class: each class has twice the capacity of
// the one before. E holds no pointers.
type Slices[E any] struct {
	low     int // log2 of the smallest class
	min     int // the smallest class
	classes []*Pool[[]E]
	over    *Pool[[]E]
}

// Buf is a leased slice. The zero Buf holds none, and may be returned.
type Buf[E any] struct{ l Lease[[]E] }

// NewSlices makes the pools.
func NewSlices[E any](o SliceOptions) (*Slices[E], error) {
	if o.Min <= 0 || o.Max < o.Min {
		return nil, fmt.Errorf("pool: %s: classes from %d to %d", o.Name, o.Min, o.Max)
	}
	var e E
	size := int(unsafe.Sizeof(e))
	if t := reflect.TypeFor[E](); size == 0 || pointers(t) {
		return nil, fmt.Errorf("pool: %s: slices of %s: elements need a size and no pointers", o.Name, t)
	}
	s := &Slices[E]{low: bits.Len(uint(o.Min - 1))}
	s.min = 1 << s.low
	options := Options[[]E]{Name: o.Name, Windows: o.Windows, Sample: o.Sample, Registry: o.Registry, OnFault: o.OnFault, rehome: s.rehome}
	for k := s.low; ; k++ {
		n := 1 << k
		options.Class, options.Bytes, options.MaxIdleBytes = strconv.Itoa(n), n*size, o.MaxIdleBytes
		options.New = func() ([]E, error) { return make([]E, n), nil }
		options.Raw = func(b *[]E) [][]byte { return [][]byte{raw(*b)} }
		p, err := New(options)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		if s.classes = append(s.classes, p); n >= o.Max {
			break
		}
	}
	options.Class, options.Bytes, options.MaxIdleBytes, options.New, options.Raw = Oversize, 0, 0, nil, nil
	options.Size, options.MaxObjectBytes = func(b *[]E) int { return cap(*b) * size }, 1 // none is kept
	var err error
	if s.over, err = New(options); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// raw is a slice's memory.
func raw[E any](b []E) []byte {
	var e E
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(b))), cap(b)*int(unsafe.Sizeof(e)))
}

// pointers says whether values of a type hold some.
func pointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return t.Len() > 0 && pointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if pointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	case reflect.Pointer, reflect.UnsafePointer, reflect.Map, reflect.Chan, reflect.Func, reflect.Interface, reflect.Slice, reflect.String:
		return true
	}
	return false
}

// Lease gives a slice of at least n elements, as many as its class has; what is
// in them is left over. It never fails: after Close, too, the allocator gives.
func (s *Slices[E]) Lease(n int) Buf[E] {
	if k := bits.Len(uint(max(n, s.min)-1)) - s.low; uint(k) < uint(len(s.classes)) {
		p := s.classes[k]
		m := p.enter() // as in Pool.Lease: one call less
		it, i := m.top, m.n-1
		switch {
		case m.leases&m.mask == 0, it == nil && i >= magazine:
			m.leave()
			return s.leaseSlow(p, n)
		case it != nil:
			m.top = nil
		default:
			it = m.items[i]
			m.n = i
		}
		m.leases++
		it.state = leased
		m.leave()
		return Buf[E]{Lease[[]E]{it: it}}
	}
	return s.leaseSlow(s.over, n)
}

func (s *Slices[E]) leaseSlow(p *Pool[[]E], n int) Buf[E] {
	l, err := p.leaseSlow(nil)
	if err != nil {
		l = p.force()
	}
	if p == s.over {
		*l.Value() = make([]E, n)
	}
	return Buf[E]{l}
}

// Slice is the whole slice, nil for the zero Buf; a caller that appends begins
// with Slice()[:0], and gives the result to Keep if it may have outgrown it.
func (b Buf[E]) Slice() []E {
	if v := b.l.Value(); v != nil {
		return *v
	}
	return nil
}

// Cap is the slice's capacity.
func (b Buf[E]) Cap() int { return len(b.Slice()) }

// Keep makes e the slice that is leased, which append may have moved elsewhere.
// Its whole capacity is the pool's then; on Return it goes to the class that it
// belongs to now.
func (b Buf[E]) Keep(e []E) {
	v := b.l.Value()
	if v == nil {
		return
	}
	*v = e[:cap(e)]
	var el E
	if it := b.l.it; cap(e)*int(unsafe.Sizeof(el)) != it.pool.each {
		it.moved, it.state = true, odd
	} else {
		it.moved = false
	}
}

// Grow gives a slice of at least n elements that begins with the first used ones
// of b, which is returned if it was too small. A zero Buf of the set grows, too.
func (s *Slices[E]) Grow(b Buf[E], used, n int) Buf[E] {
	if b.l.Valid() && b.Cap() >= n {
		return b
	}
	g := s.Lease(n)
	copy(g.Slice(), b.Slice()[:used])
	b.Return()
	return g
}

// Return gives the slice back.
func (b Buf[E]) Return() { b.l.Return() }

// rehome takes a slice that is no more of its class's capacity. Append gives any
// capacity: what a slice has beyond its new class stays unused with it.
func (s *Slices[E]) rehome(e []E) {
	if k := bits.Len(uint(cap(e))) - 1 - s.low; k >= 0 && k < len(s.classes) {
		n := 1 << (s.low + k)
		s.classes[k].adopt(e[:n:n])
	}
}

// Stats are those of each class.
func (s *Slices[E]) Stats() (out []Stats) {
	for _, p := range s.all() {
		out = append(out, p.Stats())
	}
	return out
}

func (s *Slices[E]) all() []*Pool[[]E] {
	if s.over == nil {
		return s.classes
	}
	return append(s.classes[:len(s.classes):len(s.classes)], s.over)
}

// Trim trims all classes; a registry does it for those that it lists.
func (s *Slices[E]) Trim(now time.Time) (n int) {
	for _, p := range s.all() {
		n += p.Trim(now)
	}
	return n
}

// Close closes all classes.
func (s *Slices[E]) Close() error {
	var errs []error
	for _, p := range s.all() {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}
