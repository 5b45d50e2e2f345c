package conn

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/marketprism/marketprism/sdk/source"
)

// Bounds of dialling.
const (
	maxDials    = 16                     // at a time, TLS handshake included
	firstDials  = 4                      // before the venue has answered any
	pauseBase   = 250 * time.Millisecond // after a dial that failed, doubled by each that follows
	pauseCap    = 10 * time.Second
	pacedFrom   = 2 // part of the connects budget that may go in a burst: one half
	pauseShifts = 6
)

// Priorities of dials.
const (
	dialBroken  = iota // nothing carries the subscriptions
	dialReplace        // a connection does, and is to be replaced
	dialStandby        // it is a spare
)

// admission is the queue of dials to a host of a venue by one way out, over all
// feeds of the process. What is broken goes before what is replaced, and that
// before spares; feeds take turns, and within a feed chance decides, so that
// five hundred connections that were lost at once come back in an order that no
// feed owns. The first half of the connects budget may go in a burst, the rest
// is spread over its interval.
//
// Few dials run at a time: one more for each that succeeds, half for one that
// fails. While none succeeds there is a growing pause between them, so that a
// venue that restarts does not see the budget burnt against its shut door. Who
// wants to dial an endpoint that has failed meanwhile is sent away to choose
// another one.
//
// The queue is as long as the feeds have slots. Who waits costs a place in it.
type admission struct {
	gate   *gate
	window *window

	mu      sync.Mutex
	waiting []*waiter
	running int
	most    int       // dials at a time, now
	failed  int       // in a row
	lastBad time.Time // a dial failed; others that were on their way then count with it
	next    time.Time // nothing is let in before
	turn    uint64
	turns   map[*Feed]uint64 // when a feed was last let in
	timer   *time.Timer      // calls pump
}

type waiter struct {
	feed     *Feed
	priority int
	left     func(now time.Time) bool // its endpoint is no longer a place to dial
	in       chan struct{}            // closed when it is let in, or sent away
	away     bool
}

// errElsewhere sends a dial to another endpoint.
var errElsewhere = errors.New("conn: the endpoint failed meanwhile")

// admission gives the queue of dials to a host by a way out.
func (b *Budgets) admission(out *way, host string, connects source.Rate) *admission {
	key := out.key("connects", host)
	w := b.window(key, connects)
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.queues[key]
	if a == nil {
		a = &admission{gate: &out.gate, window: w, most: firstDials, turns: make(map[*Feed]uint64)}
		b.queues[key] = a
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.window == nil {
		a.window = w
	}
	return a
}

// enter blocks until a dial may begin; leave says how it ended. left, if set,
// is asked before: it must not block.
func (a *admission) enter(ctx context.Context, f *Feed, priority int, left func(time.Time) bool) error {
	begin := time.Now()
	f.count.admitting.Add(1)
	defer f.count.admitting.Add(-1)
	for {
		w := &waiter{feed: f, priority: priority, left: left, in: make(chan struct{})}
		a.mu.Lock()
		a.waiting = append(a.waiting, w)
		a.pump()
		a.mu.Unlock()
		select {
		case <-w.in:
		case <-ctx.Done():
			a.mu.Lock()
			defer a.mu.Unlock()
			if !a.remove(w) && !w.away {
				a.running-- // it was let in meanwhile
			}
			a.pump()
			return ctx.Err()
		}
		if w.away {
			return errElsewhere
		}
		if ctx.Err() == nil && a.gate.left(time.Now()) <= 0 {
			f.waited.Observe(time.Since(begin))
			return nil
		}
		a.mu.Lock() // the gate shut while we were on our way
		a.running--
		a.mu.Unlock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// outcome of a dial.
type outcome int

const (
	dialled   outcome = iota
	dialFails         // the venue did not take it
	dialEnded         // we gave it up
)

// leave ends a dial that began at a time.
func (a *admission) leave(o outcome, began time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running--
	if o == dialFails {
		if began.Before(a.lastBad) {
			o = dialEnded
		} else {
			a.lastBad = time.Now()
		}
	}
	switch o {
	case dialled:
		a.failed = 0
		a.most = min(a.most+1, maxDials)
	case dialFails:
		a.most = max(a.most/2, 1)
		pause := min(pauseBase<<min(a.failed, pauseShifts), pauseCap)
		a.failed++
		a.after(time.Now().Add(pause/2 + rand.N(pause/2)))
	}
	a.pump()
}

func (a *admission) after(t time.Time) {
	if t.After(a.next) {
		a.next = t
	}
}

// remove takes a waiter out of the queue; false: it isn't there. a.mu is held.
func (a *admission) remove(w *waiter) bool {
	for i, x := range a.waiting {
		if x == w {
			last := len(a.waiting) - 1
			a.waiting[i], a.waiting[last] = a.waiting[last], nil
			a.waiting = a.waiting[:last]
			return true
		}
	}
	return false
}

// pump lets in whom it can, and sets the timer for the next. a.mu is held.
func (a *admission) pump() {
	if a.timer != nil {
		a.timer.Stop()
	}
	for len(a.waiting) > 0 && a.running < a.most {
		w, now := a.pick(), time.Now()
		if w.left != nil && w.left(now) {
			a.remove(w)
			w.away = true
			close(w.in)
			continue
		}
		d := max(a.gate.left(now), a.next.Sub(now))
		if d <= 0 && a.window != nil {
			priority := urgent
			if w.priority == dialStandby {
				priority = later
			}
			d = a.window.take(now, 1, priority)
		}
		if d > 0 {
			if a.timer == nil {
				a.timer = time.AfterFunc(d, func() {
					a.mu.Lock()
					defer a.mu.Unlock()
					a.pump()
				})
			} else {
				a.timer.Reset(d)
			}
			return
		}
		a.remove(w)
		a.turn++
		a.turns[w.feed] = a.turn
		a.running++
		a.pace(now)
		close(w.in)
	}
	if len(a.waiting) == 0 {
		clear(a.turns)
	}
}

// pace spreads dials once half of the budget is gone. a.mu is held.
func (a *admission) pace(now time.Time) {
	if a.window == nil {
		return
	}
	a.window.mu.Lock()
	n, per, used := a.window.n, a.window.per, a.window.sum
	a.window.mu.Unlock()
	if gap := per / time.Duration(n); used*pacedFrom > n && gap > 0 {
		a.after(now.Add(gap/2 + rand.N(gap)))
	}
}

// pick chooses who is next. a.mu is held, and somebody waits.
func (a *admission) pick() *waiter {
	var best *waiter
	n := 0 // equals seen
	for _, w := range a.waiting {
		switch {
		case best == nil || w.priority < best.priority || w.priority == best.priority && a.turns[w.feed] < a.turns[best.feed]:
			best, n = w, 1
		case w.priority == best.priority && a.turns[w.feed] == a.turns[best.feed]:
			if n++; rand.N(n) == 0 {
				best = w
			}
		}
	}
	return best
}
