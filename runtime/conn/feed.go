package conn

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/runtime/sched"
	"github.com/marketprism/marketprism/runtime/sign"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// subKey tells subscriptions apart: a channel may be had twice for a symbol
// with different attributes (candles of 1m and 5m).
type subKey struct {
	channel        market.Channel
	symbol, config string
}

func keyOf(s source.Subscription) subKey {
	k := subKey{channel: s.Channel, symbol: s.Symbol}
	if len(s.Config) > 0 {
		b, _ := json.Marshal(s.Config) // sorts names; values are strings, numbers, bools and lists of strings
		k.config = string(b)
	}
	return k
}

// Feed is one venue and market: its connections, polls and requests.
type Feed struct {
	set   Settings
	name  string // venue and market, for messages
	ways  []*way
	signs *sign.Signer
	turn  atomic.Uint32 // of ways that are equally good
	http  httpCounts
	count counters
	distributions
	baseAt atomic.Uint32
	wake   chan struct{}
	polls  chan struct{} // wakes the poller

	mu       sync.Mutex
	ctx      context.Context // of Run, and of work; nil before
	work     *sched.Group    // all goroutines
	stopped  error
	next     uint32 // connection number
	streams  map[subKey]source.Subscription
	order    []subKey // of streams, as given: sharding follows it
	polled   map[subKey]source.Subscription
	slots    []*slot
	slotIDs  int
	openedBy map[string]uint64 // connections, by class
	links    map[uint32]*link
	pending  map[subKey]bool // snapshots on their way
	pasts    []past          // trades that are asked for again, in turn; one a subscription
	asking   bool            // a goroutine asks for them
	busy     chan struct{}   // HTTP requests at a time
}

// New checks the settings. It starts nothing.
func New(s Settings) (*Feed, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	ways, err := newWays(&s)
	if err != nil {
		return nil, err
	}
	f := &Feed{set: s, name: s.Venue + " " + s.Spec.Market.String(), ways: ways, signs: sign.NewSigner(s.Credentials),
		wake: make(chan struct{}, 1), polls: make(chan struct{}, 1), busy: make(chan struct{}, 6),
		next: s.FirstConn, streams: make(map[subKey]source.Subscription), polled: make(map[subKey]source.Subscription),
		links: make(map[uint32]*link), openedBy: make(map[string]uint64), pending: make(map[subKey]bool)}
	return f, nil
}

// Run connects, and blocks until ctx ends or the feed must stop: then
// connections were closed, their InputClose is journalled, and all goroutines
// have returned. It returns nil after a drain, and an error of kind fault.Stop
// when no retry can help. A feed runs once.
func (f *Feed) Run(ctx context.Context) error {
	f.mu.Lock()
	if f.ctx != nil {
		f.mu.Unlock()
		return fmt.Errorf("conn: %s: the feed ran before", f.name)
	}
	f.work, ctx = sched.NewGroup(ctx, "")
	f.ctx = ctx
	f.mu.Unlock()
	if host := f.set.plain(); host != "" {
		f.event(Event{Kind: EventWarning, Detail: "the url attributes leave TLS out on the way to " + host})
	}
	f.spawn("catalogue", func() { f.catalogue(ctx) })
	f.spawn("polls", func() { f.poll(ctx) })
	for ctx.Err() == nil {
		f.reconcile()
		select {
		case <-f.wake:
		case <-ctx.Done():
		}
	}
	f.mu.Lock()          // who starts work holds it and looks at ctx: from here on nobody does
	f.mu.Unlock()        //nolint:staticcheck // the empty section is the barrier
	err := f.work.Wait() // a panic: it has ended all the others
	f.set.Frames.Ring()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped != nil {
		return f.stopped
	}
	return err
}

// spawn runs work in a goroutine that Run waits for.
func (f *Feed) spawn(name string, work func()) {
	f.work.Go(name, func(context.Context) error { work(); return nil })
}

// closed says whether new work is refused. f.mu is held.
func (f *Feed) closed() bool { return f.ctx == nil || f.ctx.Err() != nil }

// fail stops the feed for good.
func (f *Feed) fail(err error) {
	f.mu.Lock()
	if f.stopped == nil && !f.closed() {
		f.stopped = err
	}
	work := f.work
	f.mu.Unlock()
	if work != nil {
		work.Cancel(err)
	}
}

func (f *Feed) spec(c market.Channel) (source.ChannelSpec, bool) {
	i := slices.IndexFunc(f.set.Channels, func(s source.ChannelSpec) bool {
		return s.Channel == c && (len(s.Markets) == 0 || slices.Contains(s.Markets, f.set.Spec.Market))
	})
	if i < 0 {
		return source.ChannelSpec{}, false
	}
	return f.set.Channels[i], true
}

func (f *Feed) endpoint(class string) (source.Endpoint, bool) {
	i := slices.IndexFunc(f.set.Spec.Endpoints, func(e source.Endpoint) bool { return e.Class == class })
	if i < 0 {
		return source.Endpoint{}, false
	}
	return f.set.Spec.Endpoints[i], true
}

// SetSubscriptions says what the feed carries from now on. Connections are
// told the difference; new ones open when the ones there are full. It may be
// called before Run and at any time.
func (f *Feed) SetSubscriptions(subs []source.Subscription) error {
	streams, polled, order := make(map[subKey]source.Subscription), make(map[subKey]source.Subscription), make([]subKey, 0, len(subs))
	for _, s := range subs {
		spec, ok := f.spec(s.Channel)
		if !ok {
			return fault.Errorf(fault.Stop, "conn: %s: the venue has no channel %s on this market", f.name, s.Channel)
		}
		if spec.PerMarket {
			s.Symbol = ""
		}
		k := keyOf(s)
		switch _, have := streams[k]; {
		case spec.Transport == source.Poll:
			polled[k] = s
		case have:
		default:
			if _, ok := f.endpoint(spec.EndpointClass(s.Config, s.Symbol)); !ok {
				return fault.Errorf(fault.Stop, "conn: %s: the manifest names no endpoint of class %q, which channel %s needs", f.name, spec.EndpointClass(s.Config, s.Symbol), s.Channel)
			}
			streams[k] = s
			order = append(order, k)
		}
	}
	f.mu.Lock()
	f.streams, f.polled, f.order = streams, polled, order
	f.mu.Unlock()
	nudge(f.wake)
	nudge(f.polls)
	return nil
}

// reconcile deals the subscriptions to slots: what a slot has stays there, what
// is new goes to the first slot of its class with room, then to new slots.
func (f *Feed) reconcile() {
	f.mu.Lock()
	defer f.mu.Unlock()
	placed := make(map[subKey]bool, len(f.order))
	changed := make(map[*slot]bool)
	load := make(map[*slot]int)
	for _, s := range f.slots {
		for k, sub := range s.subs {
			if _, ok := f.streams[k]; ok {
				placed[k] = true
				load[s] += channels(sub)
			} else {
				delete(s.subs, k)
				delete(s.shunned, k)
				changed[s] = true
			}
		}
	}
	first := make(map[string]int) // slots before it are full
	for _, k := range f.order {
		if placed[k] {
			continue
		}
		spec, _ := f.spec(k.channel)
		ep, _ := f.endpoint(spec.EndpointClass(f.streams[k].Config, k.symbol))
		i := first[ep.Class]
		for ; i < len(f.slots); i++ {
			if s := f.slots[i]; s.ep.Class == ep.Class && !s.ended && (ep.MaxSubscriptions <= 0 || len(s.subs) == 0 || load[s]+channels(f.streams[k]) <= ep.MaxSubscriptions) {
				break
			}
		}
		if i == len(f.slots) {
			f.slots = append(f.slots, newSlot(f, ep))
		}
		first[ep.Class] = i
		f.slots[i].subs[k] = f.streams[k]
		load[f.slots[i]] += channels(f.streams[k])
		changed[f.slots[i]] = true
	}
	f.slots = slices.DeleteFunc(f.slots, func(s *slot) bool {
		if len(s.subs) == 0 {
			s.ended = true
			s.stop()
		}
		return s.ended
	})
	for s := range changed {
		switch {
		case s.ended:
		case !s.running:
			s.start()
		default:
			s.nudge()
		}
	}
}

// channels is what a subscription counts for at the venue, as the plan counts it:
// candles of several lengths are a channel each.
func channels(s source.Subscription) int { return max(len(s.Config.Strings("intervals")), 1) }

// Signal passes on what the decoder said about a connection. It never blocks;
// the text is copied. Signals of connections that are gone are ignored.
func (f *Feed) Signal(conn uint32, sig source.Signal) {
	f.mu.Lock()
	l := f.links[conn]
	f.mu.Unlock()
	if l == nil {
		return
	}
	switch sig.Kind {
	case source.SignalHeartbeat:
		l.noData.Add(1)
	case source.SignalReply:
		select {
		case l.prio <- string(sig.Text):
		default:
			f.count.repliesDropped.Add(1)
		}
	case source.SignalSubscribed, source.SignalRejected, source.SignalReady:
		l.noData.Add(1)
		l.deliver(sig.Kind, string(sig.Text))
	case source.SignalReconnect:
		l.slot.replace(ask{l: l, reason: replaceVenue, why: string(sig.Text)})
	case source.SignalMaintenance:
		f.event(Event{Kind: EventMaintenance, Conn: conn, Detail: string(sig.Text)})
		l.slot.replace(ask{l: l, reason: replaceMaintenance, why: "maintenance: " + string(sig.Text)})
	}
}

// Reconnect opens a replacement of a connection and closes it when the
// replacement has data.
func (f *Feed) Reconnect(conn uint32, why string) {
	f.mu.Lock()
	l := f.links[conn]
	f.mu.Unlock()
	if l != nil {
		l.slot.replace(ask{l: l, reason: replaceRequest, why: why})
	}
}

// Resubscribe unsubscribes and subscribes one subscription on its connection,
// within the message budget. What is not subscribed is ignored.
func (f *Feed) Resubscribe(sub source.Subscription) {
	if spec, ok := f.spec(sub.Channel); ok && spec.PerMarket {
		sub.Symbol = ""
	}
	k := keyOf(sub)
	f.mu.Lock()
	l := f.carrier(k)
	f.mu.Unlock()
	if l != nil {
		l.resubscribe(k)
	}
}

// Subscriptions are what a connection carries or is about to; nil if it is gone.
func (f *Feed) Subscriptions(conn uint32) []source.Subscription {
	f.mu.Lock()
	l := f.links[conn]
	f.mu.Unlock()
	if l == nil {
		return nil
	}
	_, subs := l.slot.snapshot()
	return subs
}

// carrier is the connection that carries a subscription. f.mu is held.
func (f *Feed) carrier(k subKey) *link {
	for _, s := range f.slots {
		if _, ok := s.subs[k]; ok {
			return s.carrier
		}
	}
	return nil
}

func (f *Feed) number() (uint32, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next > maxConnNumber {
		return 0, fault.Errorf(fault.Stop, "conn: %s: the connection numbers of this epoch are used up; restart the runtime", f.name)
	}
	f.next++
	return f.next - 1, nil
}

// NextConn is the number that the next connection would get.
func (f *Feed) NextConn() uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next
}

// append journals and turns a failure into what it means for the feed.
func (f *Feed) append(kind source.InputKind, conn uint32, now time.Time, head, rest []byte) error {
	_, err := f.set.Frames.Append(kind, conn, now.UnixNano(), Mono(now), head, rest)
	if err == nil {
		return nil
	}
	return f.appendFailed(conn, err)
}

func (f *Feed) appendFailed(conn uint32, err error) error {
	err = fmt.Errorf("conn: %s: connection %d: journal: %w", f.name, conn, err)
	switch fault.Of(err) {
	case fault.Stop:
		f.fail(err)
	case fault.Skip:
		f.count.refused.Add(1)
		f.mu.Lock()
		l := f.links[conn]
		f.mu.Unlock()
		if l != nil {
			l.ill()
		}
		f.event(Event{Kind: EventFrame, Conn: conn, Detail: err.Error(), Err: err})
		return nil
	}
	return ending{err, closeJournal}
}

func (f *Feed) event(e Event) {
	e.Time = time.Now()
	log := f.set.Logger.Info()
	switch e.Kind {
	case EventOpen, EventSubscribed, EventClose, EventReplace, EventMaintenance, EventTakeover, EventHistory:
	case EventRefused:
		log = f.set.Logger.Error()
	default:
		log = f.set.Logger.Warn()
	}
	log.Str("venue", f.set.Venue).Stringer("market", f.set.Spec.Market).Uint32("conn", e.Conn).Str("event", string(e.Kind)).Msg(e.Detail)
	if f.set.Events != nil {
		f.set.Events(e)
	}
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
