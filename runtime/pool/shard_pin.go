//go:build (amd64 || arm64) && !race && !invariants && !nopin

package pool

import (
	"runtime"
	"sync/atomic"
	"unsafe" // linkname, too
)

// procPin forbids that the goroutine is preempted, and so that another one runs
// on this P, until procUnpin; it gives the P's number. The Go runtime keeps both
// for such use (go.dev/issue/67401).
//
//go:linkname procPin runtime.procPin
//go:nosplit
func procPin() int

//go:linkname procUnpin runtime.procUnpin
//go:nosplit
func procUnpin()

// shard is the magazine of one P. Only a goroutine that is pinned to the P
// writes to it, with plain stores; others read single words to count.
type shard[T any] struct {
	_       [128]byte // no other P's words in these cache lines; 512 bytes are allocated aligned
	top     *item[T]  // the object that was returned last, if it isn't leased again
	n       uint64    // of the others
	keep    uint64    // bound of them all: Pool.keep, or 0 while the pool doesn't use magazines
	mask    uint64    // Pool.mask, or 0 then: a zero leaves all leases to the slow path
	leases  uint64
	returns uint64
	items   [magazine]*item[T]
	_       [208]byte
}

// enter gives this P's magazine until leave. A P that came after the pool was
// made gets one that is empty and full at once, so that everything goes to the
// depot. It is small enough to be inlined.
func (p *Pool[T]) enter() *shard[T] {
	if i := procPin(); uint(i) < uint(len(p.shards)) {
		return p.shards[i]
	}
	return &p.none
}

func (s *shard[T]) leave() { procUnpin() }

// look reads the counters, and adds up what the objects hold. Words are never
// torn on these machines.
func (s *shard[T]) look() (n, bytes int, leases, returns uint64) {
	returns = atomic.LoadUint64(&s.returns)
	leases = atomic.LoadUint64(&s.leases)
	n = int(atomic.LoadUint64(&s.n))
	for i := range n {
		if it := load(&s.items[i]); it != nil {
			bytes += it.size
		}
	}
	if it := load(&s.top); it != nil {
		n++
		bytes += it.size
	}
	return n, bytes, leases, returns
}

func load[T any](p **item[T]) *item[T] {
	return (*item[T])(atomic.LoadPointer((*unsafe.Pointer)(unsafe.Pointer(p))))
}

// allow sets how many objects the magazine may have, and which leases pass it by.
// With zeros nobody puts an object in or takes one out after grace.
func (s *shard[T]) allow(keep, mask uint64) {
	atomic.StoreUint64(&s.keep, keep)
	atomic.StoreUint64(&s.mask, mask)
}

// grace returns when every goroutine that was in a magazine has left it, and
// those that enter see what was stored before. Stopping the world does it: a
// pinned goroutine isn't stopped.
func grace() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
}

// open gives a magazine for emptying, after grace.
func (s *shard[T]) open() {}
func (s *shard[T]) shut() {}
