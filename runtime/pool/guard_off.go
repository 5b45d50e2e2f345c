//go:build !invariants

package pool

// invariants says whether misuse is looked for: in builds with that tag. In
// others everything in this file is empty and costs nothing.
const invariants = false

type generation struct{}

type guard[T any] struct{}

func (guard[T]) site(*site) {}

func (it *item[T]) handle() Lease[T]                 { return Lease[T]{it: it} }
func (it *item[T]) check(generation, FaultKind) bool { return true }
func (it *item[T]) seal()                            {}
func (it *item[T]) inspect()                         {}
