package conn

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/source"
)

// slot is the place of one connection: it keeps one alive for its
// subscriptions, and puts a new one beside it before the old one goes.
// Its own goroutine starts and ends links; fields below the line are f.mu's.
type slot struct {
	f       *Feed
	ep      source.Endpoint
	id      int
	wake    chan struct{}
	ready   chan *link // a link has data
	gone    chan *link // a link's run returned
	asked   chan ask
	stopped chan struct{}

	fails      int // in a row
	reconnects atomic.Int64
	patience   int // times StaleAfter: a market that is quiet by nature is not reconnected for ever

	// ---
	subs    map[subKey]source.Subscription
	running bool
	ended   bool
	cur     *link // that carries the subscriptions; nil while there is none
}

type ask struct {
	l     *link
	why   string
	stale time.Duration // the silence, where that is why
}

// newSlot is called with f.mu held.
func newSlot(f *Feed, ep source.Endpoint) *slot {
	f.slotIDs++
	return &slot{f: f, ep: ep, id: f.slotIDs, wake: make(chan struct{}, 1), ready: make(chan *link, 2), gone: make(chan *link, 2),
		asked: make(chan ask, 4), stopped: make(chan struct{}), patience: 1, subs: make(map[subKey]source.Subscription)}
}

func (s *slot) start(ctx context.Context) {
	s.running = true
	s.f.work.Go(func() { s.run(ctx) })
}

func (s *slot) stop() { close(s.stopped) }

// nudge says that subs changed. f.mu is held.
func (s *slot) nudge() {
	for _, l := range s.f.links {
		if l.slot == s {
			l.changed.Store(true)
			nudge(l.wake)
		}
	}
}

// replace asks for make-before-break. When four asks wait already, this one
// has nothing to add.
func (s *slot) replace(a ask) {
	select {
	case s.asked <- a:
	default:
	}
}

// snapshot copies the subscriptions in a stable order.
func (s *slot) snapshot() ([]subKey, []source.Subscription) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	var keys []subKey
	var subs []source.Subscription
	for _, k := range s.f.order {
		if sub, ok := s.subs[k]; ok {
			keys, subs = append(keys, k), append(subs, sub)
		}
	}
	return keys, subs
}

func (s *slot) run(ctx context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var cur, next *link // next replaces cur when it has data
	live := 0
	why := ""
	retry := time.NewTimer(0) // fires when a link is to be started
	defer retry.Stop()
	begin := func() {
		l, err := newLink(ctx, s)
		if err != nil {
			s.f.fail(err)
			return
		}
		if cur == nil {
			cur = l
			s.setCur(l)
		} else {
			next = l
		}
		live++
		go func() {
			l.err = l.run()
			s.gone <- l
		}()
	}
	replace := func(a ask) {
		if a.l != cur || next != nil || why != "" || ctx.Err() != nil {
			return
		}
		if a.stale > 0 {
			if time.Since(cur.since) > 4*a.stale {
				s.patience = 1
			}
			s.patience = min(2*s.patience, 32)
		}
		why = a.why
		s.f.count.replacements.Add(1)
		s.f.event(Event{Kind: EventReplace, Conn: cur.num, Detail: why})
		cur.replacing.Store(true)
		retry.Reset(0)
	}
	for {
		select {
		case <-ctx.Done():
		case <-s.stopped:
			cancel(errors.New("no subscriptions left"))
		case <-retry.C:
			if ctx.Err() == nil && next == nil && (cur == nil || why != "") {
				begin()
			}
			continue
		case a := <-s.asked:
			replace(a)
			continue
		case l := <-s.ready:
			if l == next {
				cur.close("replaced: " + why)
				cur, next, why = next, nil, ""
				s.setCur(cur)
				s.fails = 0
			}
			continue
		case l := <-s.gone:
			live--
			if fault.Of(l.err) == fault.Stop {
				s.f.fail(l.err)
				continue
			}
			if l != cur && l != next {
				continue // was replaced
			}
			s.reconnects.Add(1)
			if time.Since(l.since) > backoffCap && l.opened {
				s.fails = 0
			}
			delay := s.backoff()
			s.fails++
			if l == cur { // where a replacement is on its way it takes over
				cur, next = next, nil
				s.setCur(cur)
				if cur != nil {
					why = ""
					continue
				}
			} else {
				next = nil
			}
			retry.Reset(delay)
			continue
		}
		for ; live > 0; live-- {
			<-s.gone
		}
		s.setCur(nil)
		return
	}
}

func (s *slot) setCur(l *link) {
	s.f.mu.Lock()
	s.cur = l
	s.f.mu.Unlock()
}

// backoff is full jitter: anywhere between nothing and a bound that doubles.
func (s *slot) backoff() time.Duration {
	bound := min(backoffCap, backoffBase<<min(s.fails, 10))
	return rand.N(bound)
}

// address picks the preferred endpoint, and an alternate after two failures.
func (s *slot) address() string {
	all := append([]string{s.ep.URL}, s.ep.Alternates...)
	return all[s.fails/2%len(all)]
}
