package conn

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

// EventBreaker is a breaker that opened, tries again, or closed.
const EventBreaker EventKind = "breaker"

// A breaker opens when half of the requests of the last 30 s failed, and at
// least 10 were made. After 5 s, more or less by a quarter so that hosts that
// failed together aren't asked together again, one request tries; it closes the
// breaker or opens it again.
const (
	breakerRate   = 0.5
	breakerLeast  = 10
	breakerPeriod = 30 * time.Second
	breakerDelay  = 5 * time.Second
	breakerJitter = 0.25
)

// breaker keeps requests from a host that fails: answers of 500 and above, and
// connections that break. 429 and 418 are the gate's and no failures.
type breaker struct {
	cb    circuitbreaker.CircuitBreaker[any]
	opens atomic.Uint64
	news  atomic.Pointer[string] // a change that nobody has told yet
}

// openError is a request that was not made.
type openError struct{ after time.Duration }

func (e *openError) Error() string {
	return fmt.Sprintf("conn: the breaker is open: the host failed too often, and is tried again in %v", e.after.Round(time.Millisecond))
}

func newBreaker() *breaker {
	b := new(breaker)
	b.cb = circuitbreaker.NewBuilder[any]().
		WithFailureRateThreshold(breakerRate, breakerLeast, breakerPeriod).
		WithDelay(breakerDelay).WithJitterFactor(breakerJitter).WithSuccessThreshold(1).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) {
			text := "closed: the host answers again"
			switch e.NewState {
			case circuitbreaker.OpenState:
				b.opens.Add(1)
				text = fmt.Sprintf("opened: %d of %d requests failed", e.Metrics().Failures(), e.Metrics().Executions())
			case circuitbreaker.HalfOpenState:
				text = "half open: one request tries"
			}
			b.news.Store(&text)
		}).Build()
	return b
}

// enter asks whether a request may be made; who may calls leave or abandon.
func (b *breaker) enter() (probe bool, err error) {
	if b.cb.TryAcquirePermit() {
		return !b.cb.IsClosed(), nil
	}
	return false, &openError{max(b.cb.RemainingDelay(), 50*time.Millisecond)}
}

func (b *breaker) leave(ok bool) {
	if ok {
		b.cb.RecordSuccess()
	} else {
		b.cb.RecordFailure()
	}
}

// abandon gives the permit of a request back that says nothing about the host.
// A trial that ends so is no success; the next one comes after the delay.
func (b *breaker) abandon(probe bool) {
	if probe {
		b.cb.RecordFailure()
	}
}

// state is 0 closed, 1 half open, 2 open.
func (b *breaker) state() int {
	switch {
	case b.cb.IsOpen():
		return 2
	case b.cb.IsHalfOpen():
		return 1
	}
	return 0
}

// left is how long requests are refused yet.
func (b *breaker) left() time.Duration {
	if b.cb.IsOpen() {
		return b.cb.RemainingDelay()
	}
	return 0
}

// breakerNews takes a change of a host's breaker that nobody has told yet.
func (p *HTTPPool) breakerNews(k hostKey) string {
	p.mu.Lock()
	h := p.hosts[k]
	p.mu.Unlock()
	if h == nil || h.breaker.news.Load() == nil {
		return ""
	}
	if s := h.breaker.news.Swap(nil); s != nil {
		return *s
	}
	return ""
}
