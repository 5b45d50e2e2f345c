package pool

import (
	"fmt"
	"slices"
	"time"
)

// Warm makes objects until as many are idle, MinIdle if n is 0.
func (p *Pool[T]) Warm(n int) error {
	if n == 0 {
		n = p.o.MinIdle
	}
	for {
		p.mu.Lock()
		missing := n - len(p.stack)
		for _, s := range p.shards {
			k, _, _, _ := s.look()
			missing -= k
		}
		switch {
		case missing <= 0:
			p.mu.Unlock()
			return nil
		case p.mode.Load() == closed:
			p.mu.Unlock()
			return fmt.Errorf("pool: %s: %w", p.name(), ErrClosed)
		case p.o.MaxOutstanding > 0 && p.live >= p.o.MaxOutstanding, !p.room(&item[T]{size: p.o.MaxObjectBytes}):
			p.mu.Unlock()
			return fmt.Errorf("pool: %s: %d objects can't be kept ready: the bounds leave %d less", p.name(), n, missing)
		}
		p.live++
		p.mu.Unlock()
		it := &item[T]{pool: p, born: time.Now().UnixNano()}
		if p.o.New != nil {
			var err error
			if it.value, err = p.o.New(); err != nil {
				p.mu.Lock()
				p.vacate()
				p.mu.Unlock()
				return fmt.Errorf("pool: %s: making an object: %w", p.name(), err)
			}
		}
		p.weigh(it)
		if invariants {
			it.seal()
		}
		p.mu.Lock()
		p.created++
		p.mu.Unlock()
		p.giveBack([]*item[T]{it})
	}
}

// Trim destroys what was idle throughout the last Windows calls, and what is
// older than MaxAge, and says how many objects that were. The owner calls it at
// regular intervals, once a minute say; what the windows' peak needed is kept.
func (p *Pool[T]) Trim(now time.Time) int {
	p.clock.Store(now.UnixNano())
	p.mu.Lock()
	if p.mode.Load() == closed {
		p.mu.Unlock()
		return 0
	}
	p.peak = max(p.peak, p.outstanding())
	moves, away := p.returns+p.leases, 0
	for _, s := range p.shards {
		n, _, l, r := s.look()
		moves, away = moves+l+r, away+n
	}
	if p.still++; moves != p.moves {
		p.still, p.moves = 0, moves
	}
	low := p.low
	if p.still > p.o.Windows && away > 0 {
		p.share(shared) // nobody comes to these magazines: what is in them would stay for ever
		low += away
		for i := range p.lows {
			p.lows[i] += away
		}
	}
	if len(p.lows) == p.o.Windows {
		p.lows = slices.Delete(p.lows, 0, 1)
	}
	p.lows = append(p.lows, low)
	var dead []*item[T]
	oldest := int64(0)
	if p.o.MaxAge > 0 {
		oldest = now.UnixNano() - int64(p.o.MaxAge)
	}
	excess := 0
	if len(p.lows) == p.o.Windows {
		excess = max(min(slices.Min(p.lows), len(p.stack)-p.o.MinIdle), 0)
	}
	aged := 0
	p.stack = slices.DeleteFunc(p.stack, func(it *item[T]) bool {
		switch {
		case it.born < oldest:
			aged++
			dead = append(dead, it)
		case excess > 0:
			dead = append(dead, it)
		default:
			return false
		}
		excess--
		p.bytes -= it.size
		return true
	})
	for i := range p.lows {
		p.lows[i] = max(p.lows[i]-len(dead), 0)
	}
	p.low = len(p.stack)
	if p.calm++; p.calm > p.o.Windows && p.mode.Load() == shared && p.keep > 0 && len(p.waiters) == 0 {
		p.open()
	}
	p.mu.Unlock()
	for _, it := range dead {
		if it.born < oldest {
			p.destroy(it, Aged)
		} else {
			p.destroy(it, Trimmed)
		}
	}
	return len(dead)
}

// Close destroys what is idle, and later what is returned; leases that wait end
// with ErrClosed. The error is a *LeakError if objects are leased still: a pool
// is closed when its users have ended. The pool leaves its registry.
func (p *Pool[T]) Close() error {
	p.mu.Lock()
	if p.mode.Load() == closed {
		p.mu.Unlock()
		return nil
	}
	p.share(closed)
	for _, w := range p.waiters {
		close(w.ch)
	}
	p.waiters = nil
	dead := p.stack
	p.stack, p.bytes = nil, 0
	n := p.outstanding()
	p.mu.Unlock()
	for _, it := range dead {
		p.destroy(it, Shut)
	}
	if p.o.Registry != nil {
		p.o.Registry.remove(p)
	}
	if n > 0 {
		return &LeakError{Pool: p.name(), Outstanding: n, Sites: p.traces.report()}
	}
	return nil
}
