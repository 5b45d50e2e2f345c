//go:build invariants

package pool

import (
	"bytes"
	"sync/atomic"
	"unsafe"
)

const invariants = true

// poison is what idle memory is filled with.
const poison = 0xDB

const history = 8

// generation numbers the leases of one object. A handle is of one.
type generation uint64

// guard is what the invariants build knows of an object beside.
type guard[T any] struct {
	gen    atomic.Uint64
	sites  [history]*site // that leased it, by generation
	sealed bool
	shadow T // the object's own words as they were on return
}

func (g *guard[T]) site(s *site) { g.sites[g.gen.Load()%history] = s }

func (g *guard[T]) leased(gen uint64) string {
	if now := g.gen.Load(); now-gen >= history {
		return ""
	}
	return g.sites[gen%history].stack()
}

func (it *item[T]) handle() Lease[T] { return Lease[T]{generation(it.guard.gen.Load()), it} }

// check says whether a handle is of the present lease. A return ends it.
func (it *item[T]) check(gen generation, kind FaultKind) bool {
	g := &it.guard
	if kind == DoubleReturn && g.gen.CompareAndSwap(uint64(gen), uint64(gen)+1) || kind != DoubleReturn && g.gen.Load() == uint64(gen) {
		return true
	}
	it.pool.misuse(&Fault{Kind: kind, Pool: it.pool.name(), Leased: g.leased(uint64(gen))})
	return false
}

// seal poisons an object that becomes idle.
func (it *item[T]) seal() {
	for _, raw := range it.raw() {
		for i := range raw {
			raw[i] = poison
		}
	}
	it.guard.shadow = it.value
	it.guard.sealed = true
}

func (it *item[T]) raw() [][]byte {
	if it.pool.o.Raw == nil {
		return nil
	}
	return it.pool.o.Raw(&it.value)
}

func words[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// inspect looks for what was written to an object while it was idle, and makes
// it ready for its lease.
func (it *item[T]) inspect() {
	g := &it.guard
	if !g.sealed {
		return
	}
	g.sealed = false
	clean := bytes.Equal(words(&it.value), words(&g.shadow))
	if !clean {
		it.value = g.shadow
	}
	for _, raw := range it.raw() {
		clean = clean && bytes.Count(raw, []byte{poison}) == len(raw)
	}
	if !clean {
		// The lease before this one wrote: its site stands at the generation before.
		it.pool.misuse(&Fault{Kind: UseAfterReturn, Pool: it.pool.name(), Leased: g.leased(g.gen.Load() - 1)})
	}
	if it.pool.recycle != nil {
		it.pool.recycle(&it.value)
	}
}

func (p *Pool[T]) misuse(f *Fault) {
	p.mu.Lock()
	p.misused++
	p.mu.Unlock()
	p.fault(f)
}
