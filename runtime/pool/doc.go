// Package pool keeps objects for reuse: frame buffers, record batches, levels of
// books, decoded messages, and any other type that is costly to make. What it holds
// survives garbage collections, so a hit rate doesn't depend on when they run,
// and it says at any moment how much is leased, by whom, and for how long.
//
// # Order
//
// Lease takes an idle object or makes one; Return gives it back. Each processor
// (P of the Go scheduler) has a magazine of a few idle objects that only it
// touches, while the goroutine can't be preempted: no atomic operation, no lock.
// Behind the magazines is one depot under a mutex; magazines exchange half their
// content with it. Counters stand in the magazines as well and are added up when
// somebody asks. A build with the race detector, with -tags invariants or nopin, or for
// a machine other than amd64 and arm64 guards the magazines with locks instead,
// at about twice the cost. docs/adr/0011-pools-by-processor.md has the figures.
//
// # Ownership
//
// A leased object belongs to the caller, who returns it once, from any
// goroutine; after that neither the handle nor what it pointed to may be used.
// A handle that is dropped is a leak: its object is collected like any other,
// and the pool says so. Under -tags invariants double returns, uses after return
// and leaks are found and told with the stack that leased.
//
// # Bounds
//
// MaxOutstanding bounds what exists at a time, leased or idle. What happens when
// all of it is leased is the pool's Policy: Overflow makes one more, which isn't
// kept, and counts it; Refuse gives ErrEmpty; Block lets LeaseContext wait, first
// come, first served. A pool that refuses or blocks does so exactly: on reaching
// its bound it gathers all magazines and works on the depot alone until Trim
// has found it below the bound for all its windows. MaxIdle and MaxIdleBytes
// bound what is kept; what is returned beyond them is destroyed. A slow consumer
// that sits on leases therefore costs memory under Overflow, errors under Refuse
// and time under Block, and never more than the bound says.
package pool
