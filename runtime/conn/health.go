package conn

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Health is what a connection's state is worth.
type Health string

// The states. A connection goes from connecting to live; it is degraded while
// its data are old for what it carries, its pings take long or what it sends is
// refused, and live again when none of that holds. Degraded for long, it is
// replaced. One that another has replaced is draining until the venue has
// nothing left to say on it. A slot without a connection is dead.
const (
	Connecting Health = "connecting"
	Live       Health = "live"
	Degraded   Health = "degraded"
	Draining   Health = "draining"
	Dead       Health = "dead"
)

// healths are the states in the order in which they are reported.
var healths = [...]Health{Connecting, Live, Degraded, Draining, Dead}

const (
	errorHalf   = 30 * time.Second // errors are forgotten by halves
	manyErrors  = 3.0
	fewErrors   = 1.0
	healthyFor  = 5 * time.Second // without a cause before degraded becomes live
	strainMost  = 32
	probeTries  = 3 // pings that a venue may leave unanswered before it is taken to answer none
	probeJitter = 10
)

// standing of a link as others see it.
type healthState struct {
	state Health
	why   string
	since time.Time
}

// illness is one reason for degraded, as the metrics name it.
type illness int

// The illnesses.
const (
	illData illness = iota
	illPong
	illErrors
	illnesses
)

func (i illness) String() string { return [...]string{"data", "pong", "errors"}[i] }

// health follows one connection; it is control's.
type health struct {
	l      *link
	errs   float64 // errors, halved every errorHalf
	seen   uint64  // of link.errs
	at     time.Time
	well   time.Time // no cause since; zero: there is one
	strain int       // times Settings.DegradedFor
}

func newHealth(l *link) *health { return &health{l: l, at: time.Now(), strain: l.strain} }

func (l *link) setHealth(s Health, why string) {
	if h := l.health.Load(); h != nil && h.state == s {
		if h.why != why {
			l.health.Store(&healthState{s, why, h.since})
		}
		return
	}
	l.health.Store(&healthState{s, why, time.Now()})
}

// check says how the connection is, and asks for another one where it has been
// ill for long. lastData is when data last came, silence how long they may stay
// away before the connection is stale; 0: for ever.
func (h *health) check(due func(time.Time) bool, now, lastData time.Time, silence time.Duration) {
	l := h.l
	kind, why := h.cause(due, now, lastData, silence)
	st := l.health.Load()
	switch {
	case why == "" && st.state != Degraded:
		l.setHealth(Live, "")
		return
	case why == "":
		if h.well.IsZero() {
			h.well = now
		}
		if due(h.well.Add(healthyFor)) {
			l.setHealth(Live, "")
		}
		return
	case st.state != Degraded:
		l.f.count.degraded[kind].Add(1)
		l.setHealth(Degraded, why)
		l.f.event(Event{Kind: EventDegraded, Conn: l.num, Detail: why})
	default:
		l.setHealth(Degraded, why)
	}
	h.well = time.Time{}
	limit := l.f.set.DegradedFor * time.Duration(h.strain)
	// Old data are the business of StaleAfter, which has its own patience.
	if since := l.health.Load().since; kind != illData && limit > 0 && !l.replacing.Load() {
		if due(since.Add(limit)) {
			l.slot.replace(ask{l: l, reason: replaceDegraded, after: limit, why: fmt.Sprintf("degraded for %v: %s", now.Sub(since).Round(time.Millisecond), why)})
			due(now.Add(limit))
		}
	}
}

// cause is the first reason for degraded there is.
func (h *health) cause(due func(time.Time) bool, now, lastData time.Time, silence time.Duration) (illness, string) {
	l := h.l
	if n := l.errs.Load(); n != h.seen || h.errs > 0 {
		h.errs = h.errs*math.Exp2(-float64(now.Sub(h.at))/float64(errorHalf)) + float64(n-h.seen)
		if h.errs < 0.01 {
			h.errs = 0
		}
		h.seen = n
	}
	h.at = now
	ill := l.health.Load().state == Degraded
	if h.errs >= manyErrors || ill && h.errs >= fewErrors {
		due(now.Add(time.Second))
		return illErrors, fmt.Sprintf("%.1f frames refused or not acknowledged lately", h.errs)
	}
	if slow := l.f.set.SlowPong; slow > 0 && l.answers.Load() {
		// A ping that is still out counts with the time that it has taken so far.
		if at := l.pinged.Load(); at != 0 {
			if sent := processStart.Add(time.Duration(at)); due(sent.Add(slow)) {
				due(now.Add(slow))
				return illPong, fmt.Sprintf("no pong for %v", now.Sub(sent).Round(time.Millisecond))
			}
		}
		if rtt := time.Duration(l.rtt.Load()); rtt > slow {
			return illPong, fmt.Sprintf("pongs take %v", rtt.Round(time.Millisecond))
		}
	}
	if silence > 0 && due(lastData.Add(silence/2)) {
		return illData, fmt.Sprintf("no data for %v", now.Sub(lastData).Round(time.Millisecond))
	}
	return 0, ""
}

// ill counts an error of the connection, from any goroutine.
func (l *link) ill() {
	l.errs.Add(1)
	nudge(l.wake)
}

// pingText is the payload of a ping: when it was sent.
func (l *link) pingText(now time.Time) []byte {
	at := Mono(now)
	l.pinged.CompareAndSwap(0, at) // the oldest that is still out
	return strconv.AppendInt(nil, at, 10)
}

// ponged runs on the reader's goroutine.
func (l *link) ponged(payload string) {
	now := Mono(time.Now())
	l.f.count.pongs.Add(1)
	l.lastLife.Store(now)
	at, err := strconv.ParseInt(payload, 10, 64)
	if err != nil || at < Mono(l.since) || at > now {
		return // an idea of the venue's own
	}
	l.pinged.Store(0)
	d := now - at
	if last := l.rtt.Load(); last != 0 {
		d = last + (d-last)/4
	}
	l.rtt.Store(max(d, 1))
	l.answers.Store(true)
	l.f.pong.Observe(time.Duration(now - at))
	l.slot.board.ping(l.address, time.Duration(now-at))
	nudge(l.wake)
}
