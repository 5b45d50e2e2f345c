//go:build !(amd64 || arm64) || race || invariants || nopin

package pool

import (
	"sync"
	"sync/atomic"
)

// shard is a magazine under a lock: what builds use that can't pin.
type shard[T any] struct {
	mu      sync.Mutex
	top     *item[T]
	n       uint64
	keep    uint64
	mask    uint64
	leases  uint64
	returns uint64
	items   [magazine]*item[T]
}

var turn atomic.Uint32

func (p *Pool[T]) enter() *shard[T] {
	s := p.shards[int(turn.Add(1))%len(p.shards)]
	s.mu.Lock()
	return s
}

func (s *shard[T]) leave() { s.mu.Unlock() }

func (s *shard[T]) look() (n, bytes int, leases, returns uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range s.items[:s.n] {
		bytes += it.size
	}
	n = int(s.n)
	if s.top != nil {
		n++
		bytes += s.top.size
	}
	return n, bytes, s.leases, s.returns
}

func (s *shard[T]) allow(keep, mask uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep, s.mask = keep, mask
}

// grace has nothing to wait for: the lock of each magazine is taken to empty it.
func grace() {}

func (s *shard[T]) open() { s.mu.Lock() }
func (s *shard[T]) shut() { s.mu.Unlock() }
