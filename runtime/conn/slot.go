package conn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/runtime/sched"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/source"
)

// slot is the place of one connection: it keeps one alive for its
// subscriptions, and puts a new one beside it before the old one goes. With
// Settings.Standby it keeps a spare beside it all the time.
// Its own goroutine starts and ends links; fields below the line are f.mu's.
type slot struct {
	f       *Feed
	ep      source.Endpoint
	id      int
	work    *sched.Group // of run: its links
	board   *board
	wake    chan struct{}
	ready   chan *link // a link has data
	gone    chan *link // a link's run returned
	asked   chan ask
	stopped chan struct{}

	fails      int // in a row
	spareFails int
	reconnects atomic.Int64
	last       atomic.Pointer[lastError]
	patience   int        // times StaleAfter: a market that is quiet by nature is not reconnected for ever
	strain     int        // times DegradedFor, for the same reason
	maintained time.Time  // replaced for maintenance
	address    string     // of the last link that carried the subscriptions
	rough      int        // links in a row that the venue ended before all was acknowledged
	doubts     [][]subKey // of the frames that those ended on; see blame

	cur, next, spare *link       // next replaces cur when it has data
	spareReady       bool        // it has data
	why              string      // of the replacement that is on its way; empty: none is
	to               string      // its endpoint; empty: the best
	live             int         // links that run
	retry, respare   *time.Timer // fire when a link, a spare is to be started

	// ---
	subs    map[subKey]source.Subscription
	shunned map[subKey]bool // of subs: the venue ends connections on them
	running bool
	ended   bool
	carrier *link // cur, as others see it; nil while there is none
}

// lastError is why the last connection of a slot ended.
type lastError struct {
	text string
	at   time.Time
	conn uint32
}

// ask is a wish for another connection.
type ask struct {
	l      *link
	reason replaceReason
	why    string
	after  time.Duration // of silence or illness, where that is why
	to     string        // the endpoint wanted; empty: the best
}

// maintenanceEvery is how often a slot may be replaced because the venue
// announced an interruption: some say it on every new connection until it is over.
const maintenanceEvery = 10 * time.Minute

// newSlot is called with f.mu held.
func newSlot(f *Feed, ep source.Endpoint) *slot {
	f.slotIDs++
	return &slot{f: f, ep: ep, id: f.slotIDs, wake: make(chan struct{}, 1), ready: make(chan *link, 4), gone: make(chan *link, 4),
		board: f.set.Budgets.board(f.ways[0].key("endpoints", ep.URL), append([]string{ep.URL}, ep.Alternates...)),
		asked: make(chan ask, 4), stopped: make(chan struct{}), patience: 1, strain: 1,
		subs: make(map[subKey]source.Subscription), shunned: make(map[subKey]bool)}
}

func (s *slot) start() {
	s.running = true
	s.f.work.Go(fmt.Sprintf("slot %d", s.id), s.run)
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

// snapshot lists the slot's subscriptions in the feed's order, without those that
// end connections.
func (s *slot) snapshot() ([]subKey, []source.Subscription) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	var keys []subKey
	var subs []source.Subscription
	for _, k := range s.f.order {
		if sub, ok := s.subs[k]; ok && !s.shunned[k] {
			keys, subs = append(keys, k), append(subs, sub)
		}
	}
	return keys, subs
}

func (s *slot) run(ctx context.Context) error {
	s.work, ctx = sched.NewGroup(ctx, "")
	s.retry, s.respare = time.NewTimer(0), time.NewTimer(time.Hour)
	defer s.retry.Stop()
	defer s.respare.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-s.stopped:
			s.work.Cancel(errors.New("no subscriptions left"))
		case <-s.retry.C:
			if s.next == nil && (s.cur == nil || s.why != "") {
				s.begin(ctx)
			}
		case <-s.respare.C:
			s.beginSpare(ctx)
		case a := <-s.asked:
			s.decide(a)
		case l := <-s.ready:
			s.isReady(l)
		case l := <-s.gone:
			s.live--
			s.over(l)
		}
	}
	for ; s.live > 0; s.live-- {
		<-s.gone
	}
	s.carry(nil)
	return s.work.Wait()
}

func (s *slot) launch(l *link) {
	s.live++
	s.work.Go(l.name(""), func(context.Context) error {
		defer func() { s.gone <- l }()
		l.err = l.run()
		return nil
	})
}

// begin starts the link that is to carry the subscriptions, or to replace the
// one that does.
func (s *slot) begin(ctx context.Context) {
	address, priority := s.to, dialBroken
	if address == "" {
		address = s.board.choose(time.Now(), "")
	}
	if s.cur != nil {
		priority = dialReplace
	}
	l, err := newLink(ctx, s, address, priority)
	if err != nil {
		s.f.fail(err)
		return
	}
	l.wanted = s.to != ""
	if s.cur == nil {
		s.cur = l
		s.carry(l)
	} else {
		s.next = l
	}
	s.launch(l)
}

// beginSpare starts a spare where the venue's limit of connections leaves room
// for it and for a replacement beside it.
func (s *slot) beginSpare(ctx context.Context) {
	if !s.f.set.Standby || s.spare != nil || s.next != nil || s.cur == nil || !s.cur.carries {
		return // what ends this sets the timer
	}
	way, opens, ok := s.f.forSpare(hostOf(s.ep.URL))
	if !ok {
		s.respare.Reset(time.Minute)
		return
	}
	l, err := newLink(ctx, s, s.board.choose(time.Now(), s.cur.address), dialStandby)
	if err != nil {
		way.leave(opens)
		s.f.fail(err)
		return
	}
	l.way, l.opens = way, opens
	s.spare, s.spareReady = l, false
	s.launch(l)
}

// acquireSpare takes a connection if another one is left after it.
func (o *opens) acquireSpare() bool {
	if o == nil {
		return true
	}
	if cap(o.free)-len(o.free) < 2 {
		return false
	}
	select {
	case o.free <- struct{}{}:
		return true
	default:
		return false
	}
}

// decide starts a replacement, unless one is on its way.
func (s *slot) decide(a ask) {
	now := time.Now()
	if a.l != nil && a.l == s.spare {
		s.spare.close("standby replaced: " + a.why)
		s.spare = nil
		s.respareSoon(0)
		return
	}
	if a.l != s.cur || s.next != nil || s.why != "" {
		return
	}
	switch a.reason {
	case replaceStale:
		s.patience = patient(s.patience, now.Sub(s.cur.since), a.after)
	case replaceDegraded:
		lived := now.Sub(s.cur.since)
		s.strain = patient(s.strain, lived, a.after)
		s.board.ended(s.cur.address, now, lived)
	case replaceMaintenance:
		if now.Sub(s.maintained) < maintenanceEvery {
			return
		}
		s.maintained = now
	}
	s.f.count.replacements[a.reason].Add(1)
	s.f.event(Event{Kind: EventReplace, Conn: s.cur.num, Detail: a.why})
	s.cur.replacing.Store(true)
	if s.spare != nil && s.spareReady && a.to == "" { // there is one
		s.cur.close("replaced: " + a.why)
		s.promote()
		return
	}
	s.why, s.to = a.why, a.to
	s.retry.Reset(0)
}

// patient doubles how long the next connection may be ill, unless this one was
// well for long before.
func patient(times int, lived, after time.Duration) int {
	if lived > 4*after {
		times = 1
	}
	return min(2*times, strainMost)
}

// promote makes the spare the carrier.
func (s *slot) promote() {
	s.cur, s.spare = s.spare, nil
	s.cur.standby.Store(false)
	s.carry(s.cur)
	if !s.spareReady { // it is about to be
		return
	}
	s.arrived(s.cur)
	s.fails = 0
	s.f.count.takeovers.Add(1)
	s.f.event(Event{Kind: EventTakeover, Conn: s.cur.num, Detail: "the standby connection carries the subscriptions now"})
	s.respareSoon(0)
}

// arrived notes where the subscriptions are carried now.
func (s *slot) arrived(l *link) {
	if s.address != "" && s.address != l.address {
		s.f.count.failovers.Add(1)
	}
	s.address = l.address
}

// respareSoon sets the timer for a spare, with a pause that grows while spares
// fail, and is no shorter than the venue wants it.
func (s *slot) respareSoon(least time.Duration) {
	if !s.f.set.Standby {
		return
	}
	s.respare.Reset(max(backoff(s.spareFails), least))
	s.spareFails++
}

func (s *slot) isReady(l *link) {
	switch l {
	case s.next:
		s.cur.close("replaced: " + s.why)
		s.cur, s.next, s.why, s.to = s.next, nil, "", ""
		s.carry(s.cur)
		s.fails = 0
		fallthrough
	case s.cur:
		l.carries = true
		s.rough, s.doubts = 0, nil
		s.arrived(l)
		if s.f.set.Standby && s.spare == nil {
			s.respare.Reset(0)
		}
	case s.spare:
		l.carries, s.spareReady, s.spareFails = true, true, 0
	}
}

// over handles a link that ended by itself, or that was replaced.
func (s *slot) over(l *link) {
	if fault.Of(l.err) == fault.Stop {
		s.f.fail(l.err)
		return
	}
	s.blame(l)
	if l.err != nil {
		s.last.Store(&lastError{l.err.Error(), time.Now(), l.num})
	}
	if l == s.spare {
		s.spare = nil
		s.respareSoon(fault.After(l.err))
		return
	}
	if l != s.cur && l != s.next {
		return // was replaced
	}
	s.reconnects.Add(1)
	if time.Since(l.since) > backoffCap && l.opened {
		s.fails = 0
	}
	delay := max(backoff(s.fails), fault.After(l.err))
	s.fails++
	switch {
	case l == s.next && s.to != "": // a better endpoint that is none: cur goes on where it is
		s.next, s.why, s.to = nil, "", ""
		s.cur.replacing.Store(false)
		s.respareSoon(fault.After(l.err))
		return
	case l == s.next: // cur goes on until another try
		s.next = nil
	case s.spare != nil && (s.spareReady || s.next == nil && s.spare.health.Load().state != Connecting):
		if s.next != nil {
			s.next.close("the standby connection took over")
			s.next = nil
		}
		s.why, s.to = "", ""
		s.promote()
		return
	case s.next != nil: // a replacement is on its way and takes over
		s.cur, s.next, s.why, s.to = s.next, nil, "", ""
		s.carry(s.cur)
		return
	default:
		if s.spare != nil { // its dial would come after those of all that is broken
			s.spare.close("what it was to stand in for broke before")
			s.spare = nil
		}
		s.cur, s.why, s.to = nil, "", ""
		s.carry(nil)
	}
	s.retry.Reset(delay)
}

// roughMost is how many links in a row may end before all was acknowledged until
// the next one subscribes with care: a frame at a time.
const roughMost = 2

// blame finds the frame on which a venue ends connections without a word (a
// symbol that it doesn't know), with all that they carry. The one that waited
// alone for its answer is in doubt: the next link sends it behind the others. If
// that one ends on it too, after the venue has answered others, its subscriptions
// are refused for good. Where half of the frames are in doubt it is an outage, which
// blames nobody.
func (s *slot) blame(l *link) {
	if l.announced {
		s.rough, s.doubts = 0, nil
		return
	}
	if r := closeReasonOf(l.err); !l.opened || r != closeVenue && r != closeNetwork {
		return
	}
	s.rough++
	a := l.alone()
	if a == nil {
		return
	}
	i := slices.IndexFunc(s.doubts, func(keys []subKey) bool { return slices.Equal(keys, a.keys) })
	if i < 0 || !l.answered {
		if i < 0 {
			s.doubts = append(s.doubts, a.keys)
		}
		if 2*len(s.doubts) > l.asked {
			s.doubts = nil
		}
		return
	}
	s.doubts, s.fails = slices.Delete(s.doubts, i, i+1), 0
	s.f.mu.Lock()
	for _, k := range a.keys {
		s.shunned[k] = true
	}
	s.f.mu.Unlock()
	s.f.count.rejected.Add(1)
	s.f.event(Event{Kind: EventShunned, Conn: l.num, Subs: s.f.subsOf(a.keys),
		Detail: fmt.Sprintf("%s: the venue ends each connection on it; it is left out until the pipeline changes", excerpt([]byte(a.frame.Data)))})
}

// carry publishes which link carries the subscriptions.
func (s *slot) carry(l *link) {
	s.f.mu.Lock()
	s.carrier = l
	s.f.mu.Unlock()
}

// backoff is full jitter: anywhere between nothing and a bound that doubles.
func backoff(fails int) time.Duration {
	return rand.N(min(backoffCap, backoffBase<<min(fails, 10)))
}
