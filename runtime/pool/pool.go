package pool

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"time"
)

// Policy is what Lease does when MaxOutstanding objects exist and all are leased.
type Policy uint8

// The policies.
const (
	Overflow Policy = iota // makes one more; it is destroyed on return
	Refuse                 // ErrEmpty
	Block                  // LeaseContext waits; Lease gives ErrEmpty
)

// ErrEmpty says that all objects that may exist are leased.
var ErrEmpty = errors.New("all objects are leased")

// ErrClosed says that the pool was closed.
var ErrClosed = errors.New("the pool is closed")

// The defaults of Options, and the capacity of a magazine.
const (
	DefaultWindows = 6
	DefaultSample  = 16384
	magazine       = 16
)

// Options of a pool. The hooks are called by the goroutine that leases or
// returns, without a lock held; those that are nil do nothing.
type Options[T any] struct {
	Name  string // of the pool, in metrics: a fixed word such as "frames"
	Class string // size class, if the pool is one of several of that name

	New     func() (T, error) // makes an object; nil: the zero value
	Reset   func(*T)          // on return: brings it to the state in which it is leased
	Destroy func(*T)          // when it is given up
	// Validate says whether an object may be used again; one that may not is
	// destroyed. It is called on return, before Reset, or with ValidateOnLease
	// when the object is to be leased again.
	Validate        func(*T) bool
	ValidateOnLease bool
	// Size is the memory that an object holds, in bytes, asked on return.
	Size func(*T) int
	// Recycle is Reset and Size in one call, which costs less: instead of both.
	Recycle func(*T) int
	// Bytes is the memory of each object where it never changes: instead of Size.
	Bytes int
	// Raw is memory without pointers that the object holds and that nobody may
	// touch while it is idle. Only the invariants build uses it: it fills it on
	// return, and checks it and calls Reset again on lease.
	Raw func(*T) [][]byte

	MaxOutstanding int // objects that exist; 0: no bound
	Policy         Policy
	MaxIdle        int           // objects that are kept; 0: no bound
	MaxIdleBytes   int           // their bytes, by Size or Bytes; 0: no bound
	MaxObjectBytes int           // a larger one isn't kept; 0: MaxIdleBytes
	MinIdle        int           // Trim leaves as many, and Warm makes them
	MaxUses        int           // leases of one object; 0: no bound
	MaxAge         time.Duration // of one object, to the precision with which Trim is called; 0: no bound

	Windows int // calls of Trim whose peak is kept; DefaultWindows if 0
	Sample  int // one lease in so many is traced, a power of two; DefaultSample if 0, none if < 0

	Registry *Registry    // lists the pool until it is closed; may be nil
	OnFault  func(*Fault) // misuse that was found; nil: the invariants build panics, others count

	rehome func(T) // takes the value of an item that moved
}

const (
	idle uint32 = iota
	leased
	odd // leased, and looked at on return: traced, beyond the bound, moved, or of a strict pool
)

// item is an object with what the pool knows of it.
type item[T any] struct {
	pool  *Pool[T]
	state uint32
	over  bool // beyond the bound: it isn't kept
	moved bool // what it holds belongs to another pool now
	uses  uint32
	size  int
	born  int64 // unix ns
	trace *trace
	guard guard[T]
	value T
}

// Lease is the right to use an object until Return. The zero Lease holds none.
type Lease[T any] struct {
	gen generation
	it  *item[T]
}

// Valid says whether there is an object.
func (l Lease[T]) Valid() bool { return l.it != nil }

// Value is the object, the leaseholder's until Return; nil for the zero Lease.
func (l Lease[T]) Value() *T {
	if l.it == nil {
		return nil
	}
	if invariants {
		l.it.check(l.gen, UseAfterReturn)
	}
	return &l.it.value
}

// The modes of a pool.
const (
	fast   uint32 = iota
	shared        // at its bound, or made without magazines: the depot alone
	closed
)

// Pool of objects of type T. Its methods may be called by any goroutine.
type Pool[T any] struct {
	// What the fast paths read, and nobody writes but at a change of mode.
	shards  []*shard[T]
	recycle func(*T) int // Reset and Size; nil: neither
	largest int          // MaxObjectBytes, if any size is good the greatest int
	lent    uint32       // state of what is leased: odd where every return is looked at
	strict  bool         // every return is looked at: Validate, MaxUses, MaxAge
	vouched bool         // every lease is looked at
	mode    atomic.Uint32
	keep    uint64 // objects in a magazine at most
	mask    uint64 // leases of a magazine that the fast path leaves to the other one
	sample  uint64 // leases of a magazine at which one is traced
	each    int    // Bytes
	o       Options[T]
	none    shard[T] // is always empty, and has room for nothing
	_       [64]byte

	depot[T]
}

// New makes a pool. It starts nothing and makes no object.
func New[T any](o Options[T]) (*Pool[T], error) {
	switch {
	case o.Name == "":
		return nil, errors.New("pool: a pool needs a name")
	case o.Policy > Block:
		return nil, fmt.Errorf("pool: %s: policy %d is none", o.Name, o.Policy)
	case o.Policy != Overflow && o.MaxOutstanding <= 0:
		return nil, fmt.Errorf("pool: %s: a pool that refuses or blocks needs MaxOutstanding", o.Name)
	case o.MaxOutstanding < 0 || o.MaxIdle < 0 || o.MaxIdleBytes < 0 || o.MaxObjectBytes < 0 || o.MaxUses < 0 || o.MinIdle < 0 || o.MaxAge < 0:
		return nil, fmt.Errorf("pool: %s: a bound is negative", o.Name)
	case o.Recycle != nil && (o.Reset != nil || o.Size != nil):
		return nil, fmt.Errorf("pool: %s: Recycle stands instead of Reset and Size", o.Name)
	case o.MaxIdleBytes > 0 && !o.sized() && o.Bytes == 0 || o.MaxObjectBytes > 0 && !o.sized() || o.sized() && o.Bytes != 0:
		return nil, fmt.Errorf("pool: %s: a bound in bytes needs either Size, alone or in Recycle, or Bytes", o.Name)
	case o.Sample > 0 && o.Sample&(o.Sample-1) != 0:
		return nil, fmt.Errorf("pool: %s: sample %d is no power of two", o.Name, o.Sample)
	}
	if o.Windows <= 0 {
		o.Windows = DefaultWindows
	}
	if o.Sample == 0 {
		o.Sample = DefaultSample
	}
	if o.Bytes > 0 && o.MaxIdleBytes > 0 {
		if n := max(o.MaxIdleBytes/o.Bytes, 1); o.MaxIdle == 0 || n < o.MaxIdle {
			o.MaxIdle = n
		}
		o.MaxIdleBytes = 0
	}
	if o.MaxObjectBytes == 0 {
		o.MaxObjectBytes = o.MaxIdleBytes
	}
	if invariants {
		o.Sample = 1
	}
	p := &Pool[T]{o: o, recycle: o.recycle(), each: o.Bytes, sample: ^uint64(0), largest: math.MaxInt, lent: leased,
		strict:  o.Validate != nil && !o.ValidateOnLease || o.MaxUses > 0 || o.MaxAge > 0,
		vouched: o.Validate != nil && o.ValidateOnLease}
	if p.strict {
		p.lent = odd
	}
	if o.MaxObjectBytes > 0 {
		p.largest = o.MaxObjectBytes
	}
	if o.Sample > 0 {
		p.sample = uint64(o.Sample) - 1
	}
	if p.mask = p.sample; p.vouched {
		p.mask = 0
	}
	// What lies in magazines counts against the bounds as if they were full.
	p.shards = make([]*shard[T], runtime.GOMAXPROCS(0))
	n := 2 * uint64(len(p.shards)) // half of what the bounds leave is for the depot
	p.keep = magazine
	if o.MaxIdle > 0 {
		p.keep = min(p.keep, uint64(o.MaxIdle)/n)
	}
	if o.MaxOutstanding > 0 {
		p.keep = min(p.keep, uint64(o.MaxOutstanding)/n)
	}
	if o.MaxIdleBytes > 0 {
		p.keep = min(p.keep, uint64(o.MaxIdleBytes)/(n*uint64(o.MaxObjectBytes)))
	}
	if invariants {
		p.keep, p.mask, p.sample = 0, 0, 0
	}
	if p.keep == 0 {
		p.mode.Store(shared)
	}
	for i := range p.shards {
		p.shards[i] = new(shard[T])
	}
	if p.keep > 0 {
		p.open()
	}
	p.lows = make([]int, 0, o.Windows)
	p.traces.init()
	if o.Registry != nil {
		o.Registry.add(p)
	}
	return p, nil
}

// sized says whether objects have sizes of their own.
func (o *Options[T]) sized() bool { return o.Size != nil || o.Recycle != nil }

// recycle is what is called on return.
func (o *Options[T]) recycle() func(*T) int {
	switch reset, size := o.Reset, o.Size; {
	case o.Recycle != nil:
		return o.Recycle
	case reset == nil:
		return size
	case size == nil:
		return func(v *T) int { reset(v); return 0 }
	default:
		return func(v *T) int { reset(v); return size(v) }
	}
}

// weigh is the size of an object that was just made.
func (p *Pool[T]) weigh(it *item[T]) {
	switch {
	case p.o.Size != nil:
		it.size = p.o.Size(&it.value)
	case p.o.Recycle != nil:
		it.size = p.recycle(&it.value)
	}
}

// Lease gives an object without waiting. The error wraps ErrEmpty at the bound
// of a pool that refuses or blocks, ErrClosed, or is New's; a pool with Overflow
// whose New can't fail gives none before Close.
func (p *Pool[T]) Lease() (Lease[T], error) {
	s := p.enter()
	it := s.top
	n := s.n - 1
	switch {
	case s.leases&s.mask == 0, it == nil && n >= magazine:
		s.leave()
		return p.leaseSlow(nil)
	case it != nil:
		s.top = nil
	default:
		it = s.items[n]
		s.n = n
	}
	s.leases++
	it.state = p.lent
	s.leave()
	return Lease[T]{it: it}, nil
}

// LeaseContext gives an object and waits for one, if the pool's policy is Block
// and all are leased, until ctx ends.
func (p *Pool[T]) LeaseContext(ctx context.Context) (Lease[T], error) {
	if p.o.Policy != Block {
		return p.Lease()
	}
	return p.leaseSlow(ctx)
}

// Return gives the object back. The zero Lease may be returned; any other one is
// returned once.
func (l Lease[T]) Return() {
	it := l.it
	if it == nil {
		return
	}
	p := it.pool
	if invariants && !it.check(l.gen, DoubleReturn) {
		return
	}
	if it.state != leased && !p.settle(it) {
		return
	}
	if p.recycle != nil {
		if it.size = p.recycle(&it.value); it.size > p.largest {
			p.drop(it, Large)
			return
		}
	}
	if invariants {
		it.seal()
	}
	it.state = idle
	s := p.enter()
	switch n := s.n; {
	case s.top == nil && s.keep > 0:
		s.top = it
		s.returns++
		s.leave()
		return
	case n+1 < s.keep:
		s.items[n%magazine] = it // keep is magazine at most
		s.n = n + 1
		s.returns++
		s.leave()
		return
	}
	s.leave()
	p.returnSlow(it)
}
