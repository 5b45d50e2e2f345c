package pool

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

// Reason is why an object was destroyed.
type Reason uint8

// The reasons.
const (
	Invalid Reason = iota // Validate refused it
	Worn                  // MaxUses
	Aged                  // MaxAge
	Large                 // MaxObjectBytes
	Full                  // MaxIdle or MaxIdleBytes
	Surplus               // beyond MaxOutstanding
	Trimmed               // idle for longer than Windows calls of Trim
	Shut                  // Close
	Moved                 // to the pool of another size class
	reasons = iota
)

var reasonNames = [reasons]string{"invalid", "worn", "aged", "large", "full", "surplus", "trimmed", "shut", "moved"}

func (r Reason) String() string { return reasonNames[r] }

// depot is what the magazines share. Everything but the atomics is under mu.
type depot[T any] struct {
	mu        sync.Mutex
	stack     []*item[T] // idle, the one used last at the end
	bytes     int        // of stack
	live      int        // objects that exist or are being made
	leases    uint64     // that no magazine counted
	returns   uint64
	created   uint64
	misses    uint64
	refused   uint64
	overflow  uint64
	exchanges uint64
	destroyed [reasons]uint64
	misused   uint64
	peak      int // of outstanding, as seen when objects were made, and by Stats and Trim
	waiters   []*waiter[T]
	waits     uint64

	low    int    // of len(stack) since the last Trim
	lows   []int  // of the windows before, newest last
	calm   int    // calls of Trim since the bound was reached
	moves  uint64 // leases and returns at the last Trim
	still  int    // calls of Trim without any
	clock  atomic.Int64
	wait   telemetry.Histogram
	traces traces
}

// waiter is a goroutine that waits for an object, or with a nil one for the
// right to make it.
type waiter[T any] struct{ ch chan *item[T] }

func (p *Pool[T]) failed(err error) (Lease[T], error) {
	return Lease[T]{}, fmt.Errorf("pool: %s: %w", p.name(), err)
}

func (p *Pool[T]) name() string {
	if p.o.Class == "" {
		return p.o.Name
	}
	return p.o.Name + "/" + p.o.Class
}

// leaseSlow leases from the depot, or traces. It waits if there is a ctx.
func (p *Pool[T]) leaseSlow(ctx context.Context) (Lease[T], error) {
	s := p.enter()
	var it *item[T]
	if s.keep > 0 {
		it = s.take()
	}
	if it != nil {
		trace := s.leases&p.sample == 0
		s.leases++
		s.leave()
		it.state = p.lent
		if trace {
			p.trace(it)
		}
		return p.vouch(ctx, it)
	}
	s.leave()
	p.mu.Lock()
	for {
		if p.mode.Load() == closed {
			p.mu.Unlock()
			return p.failed(ErrClosed)
		}
		trace := p.leases&p.sample == 0
		if it := p.pop(); it != nil {
			p.leases++
			if p.mode.Load() == fast {
				p.refill()
			} else {
				p.mu.Unlock()
			}
			it.state = p.lent
			if trace {
				p.trace(it)
			}
			return p.vouch(ctx, it)
		}
		p.low = 0
		over := p.o.MaxOutstanding > 0 && p.live >= p.o.MaxOutstanding
		if !over || p.o.Policy == Overflow {
			p.live++
			if over {
				p.overflow++
			}
			p.mu.Unlock()
			return p.make(over)
		}
		p.calm = 0
		if p.mode.Load() == fast {
			p.share(shared)
			continue
		}
		if ctx == nil {
			p.refused++
			p.mu.Unlock()
			return p.failed(ErrEmpty)
		}
		it, err := p.await(ctx)
		if err != nil {
			return p.failed(err)
		}
		if it == nil {
			return p.make(false)
		}
		it.state = p.lent
		if trace {
			p.trace(it)
		}
		return p.vouch(ctx, it)
	}
}

// take takes an object out of a magazine that is in use, or of one that is being
// emptied; nil if there is none.
func (s *shard[T]) take() *item[T] {
	it := s.top
	if s.top = nil; it == nil && s.n > 0 {
		s.n--
		it = s.items[s.n]
		s.items[s.n] = nil
	}
	return it
}

// pop takes an idle object off the stack; nil if there is none.
func (p *Pool[T]) pop() *item[T] {
	n := len(p.stack) - 1
	if n < 0 {
		return nil
	}
	it := p.stack[n]
	p.stack[n] = nil
	p.stack = p.stack[:n]
	p.bytes -= it.size
	p.low = min(p.low, n)
	return it
}

// refill moves objects from the depot to this P's magazine; it unlocks mu.
func (p *Pool[T]) refill() {
	var some [magazine / 2]*item[T]
	k := 0
	for k < int(p.keep/2) {
		it := p.pop()
		if it == nil {
			break
		}
		some[k] = it
		k++
	}
	p.exchanges++
	p.mu.Unlock()
	s := p.enter()
	if s.keep > 0 {
		clear(s.items[s.n:]) // what was leased from there isn't held on to
		for k > 0 && s.n+1 < s.keep {
			k--
			s.items[s.n] = some[k]
			s.n++
		}
	}
	s.leave()
	p.giveBack(some[:k])
}

// await waits in line; it unlocks mu.
func (p *Pool[T]) await(ctx context.Context) (*item[T], error) {
	w := &waiter[T]{make(chan *item[T], 1)}
	p.waiters = append(p.waiters, w)
	p.waits++
	p.mu.Unlock()
	began := time.Now()
	defer func() { p.wait.Observe(time.Since(began)) }()
	select {
	case it, ok := <-w.ch:
		if !ok {
			return nil, ErrClosed
		}
		return it, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	if i := slices.Index(p.waiters, w); i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
		p.refused++
		p.mu.Unlock()
		return nil, fmt.Errorf("%w: %w", ErrEmpty, ctx.Err())
	}
	p.mu.Unlock()
	it, ok := <-w.ch // it came at the last moment
	if !ok {
		return nil, ErrClosed
	}
	return it, nil
}

// make makes an object whose place in live is taken already.
func (p *Pool[T]) make(over bool) (Lease[T], error) {
	it := &item[T]{pool: p, over: over, born: time.Now().UnixNano(), state: p.lent}
	if p.o.New != nil {
		var err error
		if it.value, err = p.o.New(); err != nil {
			p.mu.Lock()
			p.vacate()
			p.mu.Unlock()
			return p.failed(fmt.Errorf("making an object: %w", err))
		}
	}
	p.weigh(it)
	p.mu.Lock()
	p.leases++
	p.misses++
	p.created++
	trace := p.leases&p.sample == 0
	p.peak = max(p.peak, p.outstanding())
	p.mu.Unlock()
	if over {
		it.state = odd
	}
	// Whoever leaks makes the pool run dry: misses are traced more often.
	if p.o.Sample > 0 && (trace || p.traces.few()) {
		p.trace(it)
	}
	return it.handle(), nil
}

// vacate gives up the place of an object in live, or hands it to who waits.
func (p *Pool[T]) vacate() {
	if len(p.waiters) > 0 {
		p.hand(nil)
		return
	}
	p.live--
}

// hand gives an object, or the right to make one, to the first who waits.
func (p *Pool[T]) hand(it *item[T]) {
	w := p.waiters[0]
	p.waiters = slices.Delete(p.waiters, 0, 1)
	if it != nil {
		p.leases++
	}
	w.ch <- it
}

// vouch asks Validate, where that is to be done on lease, and leases another
// object if this one is refused.
func (p *Pool[T]) vouch(ctx context.Context, it *item[T]) (Lease[T], error) {
	if invariants {
		it.inspect()
	}
	if p.vouched && !p.o.Validate(&it.value) {
		p.untrace(it)
		p.mu.Lock()
		p.leases-- // it was none
		p.mu.Unlock()
		p.destroy(it, Invalid)
		return p.leaseSlow(ctx)
	}
	return it.handle(), nil
}

// twice counts a return of what was returned, and refuses it.
func (p *Pool[T]) twice() {
	p.mu.Lock()
	p.misused++
	p.mu.Unlock()
	p.fault(&Fault{Kind: DoubleReturn, Pool: p.name()})
}

// settle looks at an object that is returned: it ends its trace, and says whether
// it may be kept: one beyond the bound only if others have gone since.
func (p *Pool[T]) settle(it *item[T]) bool {
	if it.state == idle {
		p.twice()
		return false
	}
	p.untrace(it)
	if it.moved {
		v := it.value
		p.drop(it, Moved)
		p.o.rehome(v)
		return false
	}
	if it.over {
		p.mu.Lock()
		it.over = p.live > p.o.MaxOutstanding
		p.mu.Unlock()
	}
	if it.over {
		p.drop(it, Surplus)
		return false
	}
	return !p.strict || p.fit(it)
}

// fit says whether an object that is returned may be used again.
func (p *Pool[T]) fit(it *item[T]) bool {
	it.uses++
	switch o := &p.o; {
	case o.Validate != nil && !o.ValidateOnLease && !o.Validate(&it.value):
		p.drop(it, Invalid)
	case o.MaxUses > 0 && int(it.uses) >= o.MaxUses:
		p.drop(it, Worn)
	case o.MaxAge > 0 && p.clock.Load()-it.born > int64(o.MaxAge):
		p.drop(it, Aged)
	default:
		return true
	}
	return false
}

// drop counts a return and gives up the object.
func (p *Pool[T]) drop(it *item[T], why Reason) {
	it.state = idle
	p.mu.Lock()
	p.returns++
	p.mu.Unlock()
	p.destroy(it, why)
}

// destroy gives up an object that nobody holds.
func (p *Pool[T]) destroy(it *item[T], why Reason) {
	if p.o.Destroy != nil && why != Moved {
		p.o.Destroy(&it.value)
	}
	p.mu.Lock()
	p.destroyed[why]++
	p.vacate()
	p.mu.Unlock()
}

// force leases a new object from a pool that is closed.
func (p *Pool[T]) force() Lease[T] {
	p.mu.Lock()
	p.live++
	p.mu.Unlock()
	l, _ := p.make(false)
	return l
}

// adopt makes an idle object of what was another pool's.
func (p *Pool[T]) adopt(v T) {
	it := &item[T]{pool: p, born: time.Now().UnixNano(), value: v}
	if invariants {
		it.seal()
	}
	p.mu.Lock()
	p.live++
	p.created++
	p.mu.Unlock()
	p.giveBack([]*item[T]{it})
}

// returnSlow puts an object where there is room.
func (p *Pool[T]) returnSlow(it *item[T]) {
	var some [magazine/2 + 1]*item[T]
	k := 0
	s := p.enter()
	if s.top != nil && s.keep > 0 {
		for k < int(s.keep+1)/2 {
			if some[k] = s.take(); some[k] == nil {
				break
			}
			k++
		}
		s.top = it
		s.returns++
		it = nil
	}
	s.leave()
	if it != nil {
		some[k] = it
		k++
		p.mu.Lock()
		p.returns++
	} else {
		p.mu.Lock()
		p.exchanges++
	}
	p.mu.Unlock()
	p.giveBack(some[:k])
}

// giveBack puts idle objects into the depot, or destroys what it has no room for.
func (p *Pool[T]) giveBack(items []*item[T]) {
	if len(items) == 0 {
		return
	}
	var dead [magazine]*item[T]
	k, why := 0, Full
	p.mu.Lock()
	if p.mode.Load() == closed {
		why = Shut
	}
	for _, it := range items {
		if len(p.waiters) > 0 {
			p.hand(it)
		} else if why == Shut || !p.room(it) {
			dead[k] = it
			k++
		} else {
			p.stack = append(p.stack, it)
			p.bytes += it.size
		}
	}
	p.mu.Unlock()
	for _, it := range dead[:k] {
		p.destroy(it, why)
	}
}

// room says whether the depot may keep one more object. The magazines count as
// if they were full.
func (p *Pool[T]) room(it *item[T]) bool {
	away := int(p.keep) * len(p.shards)
	return (p.o.MaxIdle == 0 || len(p.stack) < p.o.MaxIdle-away) &&
		(p.o.MaxIdleBytes == 0 || p.bytes+it.size <= p.o.MaxIdleBytes-away*p.o.MaxObjectBytes)
}

// gathering is called by share between grace and the rest. Tests set it.
var gathering func()

// share changes the mode and empties all magazines into the depot. Whoever
// holds mu waits for those who are in a magazine; they never wait for mu there.
func (p *Pool[T]) share(mode uint32) {
	p.mode.Store(mode)
	for _, s := range p.shards {
		s.allow(0, 0)
	}
	grace()
	if gathering != nil {
		gathering()
	}
	for _, s := range p.shards {
		s.open()
		for it := s.take(); it != nil; it = s.take() {
			p.stack = append(p.stack, it)
			p.bytes += it.size
		}
		clear(s.items[:])
		s.shut()
	}
}

// open lets the magazines be used again.
func (p *Pool[T]) open() {
	p.mode.Store(fast)
	for _, s := range p.shards {
		s.allow(p.keep, p.mask)
	}
}

// outstanding counts leases. It reads returns first: what moves between two
// reads makes it too high rather than negative.
func (p *Pool[T]) outstanding() int {
	returns, leases := p.returns, p.leases
	for _, s := range p.shards {
		_, _, _, r := s.look()
		returns += r
	}
	for _, s := range p.shards {
		_, _, l, _ := s.look()
		leases += l
	}
	return int(leases - returns)
}
