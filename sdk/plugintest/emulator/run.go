package emulator

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	saturateBatch = 128 << 10 // bytes of a connection that are written at once by a saturated market
	behindLimit   = 100 * time.Millisecond
	idleEvery     = time.Millisecond // between events of a saturated market without subscribers
)

// runMarket is the market's goroutine: it makes events at their times, renders
// them for the subscribers, and sends. It has a thread of its own, whose timer
// slack it takes away to be punctual.
func (e *Emulator) runMarket(ctx context.Context) {
	if e.play != nil {
		<-ctx.Done()
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sharpTimers()

	tickEvery := 100 * time.Millisecond
	if p := e.opt.PingEvery; p > 0 && p < 4*tickEvery {
		tickEvery = max(p/4, time.Millisecond)
	}
	var ev event
	interval := time.Duration(0)
	if e.opt.Rate > 0 {
		interval = time.Duration(float64(time.Second) / e.opt.Rate)
	}
	start := time.Now()
	nextTick, origin, made := start.Add(tickEvery), start, int64(0)
	for ctx.Err() == nil {
		now := time.Now()
		if !now.Before(nextTick) {
			e.tick(now)
			nextTick = now.Add(tickEvery)
		}
		e.mu.Lock()
		paused, listened := e.paused, len(e.streams) > 0
		e.mu.Unlock()
		if paused {
			e.idle(ctx, nextTick)
			origin, made = time.Now(), 0
			continue
		}
		if interval == 0 && listened {
			e.saturate(&ev)
			origin, made = time.Now(), 0
			continue
		}
		gap := interval
		if gap == 0 {
			gap = idleEvery
		}
		// The due time comes from the origin and not from the last event, so that
		// errors do not add up.
		due := origin.Add(time.Duration(made) * gap)
		if e.opt.Rate > 0 {
			due = origin.Add(time.Duration(float64(made) / e.opt.Rate * float64(time.Second)))
		}
		if late := now.Sub(due); late < 0 {
			if due.After(nextTick) {
				e.idle(ctx, nextTick)
			} else if -late > 50*time.Millisecond {
				e.idle(ctx, due.Add(-20*time.Millisecond))
			} else {
				sleepUntil(due)
			}
			continue
		} else if late > behindLimit {
			e.stats.behind.Add(1)
			origin, made = now, 0
		}
		made++
		e.mu.Lock()
		ev.now = time.Now().UnixNano()
		e.mkt.next(&ev)
		e.dispatch(&ev)
		e.mu.Unlock()
		e.stats.events.Add(1)
		e.flushTouched(false)
	}
}

// saturate makes events until a connection has a batch, and writes it. The lock
// is free while it writes.
func (e *Emulator) saturate(ev *event) {
	full, n := false, int64(0)
	e.mu.Lock()
	for !full && n < 4096 {
		ev.now = time.Now().UnixNano()
		for range 32 {
			e.mkt.next(ev)
			e.dispatch(ev)
			n++
		}
		for _, c := range e.touched {
			full = full || c.waiting() >= saturateBatch
		}
	}
	e.mu.Unlock()
	e.stats.events.Add(n)
	e.flushTouched(true)
	for _, c := range e.touchedBefore {
		for c.waiting() > 4*saturateBatch { // its own goroutine writes: wait for it
			select {
			case <-c.done:
			case <-time.After(time.Millisecond):
				continue
			}
			break
		}
	}
}

// flushTouched writes to the connections that dispatch has put frames into.
// Only the market's goroutine calls it.
func (e *Emulator) flushTouched(wait bool) {
	e.mu.Lock()
	e.touchedBefore, e.touched = e.touched, e.touchedBefore[:0]
	for _, c := range e.touchedBefore {
		c.touched = false
	}
	e.mu.Unlock()
	for _, c := range e.touchedBefore {
		c.flush(wait)
	}
}

// idle waits until a time, a change of subscriptions, or the end.
func (e *Emulator) idle(ctx context.Context, until time.Time) {
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-t.C:
	case <-e.wake:
	case <-ctx.Done():
	}
}

// tick does what the clock asks for: pings, heartbeats, and the channels that
// the venue sends at intervals.
func (e *Emulator) tick(now time.Time) {
	if e.opt.MaxAge > 0 {
		for _, c := range e.all() {
			if now.Sub(c.opened) > e.opt.MaxAge {
				c.close(1001, "connection is too old")
			}
		}
	}
	if every := e.opt.PingEvery; every > 0 {
		for _, c := range e.all() {
			if now.UnixNano()-c.lastPing.Load() < int64(every) {
				continue
			}
			if now.UnixNano()-c.lastPong.Load() > int64(e.opt.PongTimeout) {
				c.drop("no pong")
				continue
			}
			c.lastPing.Store(now.UnixNano())
			e.stats.pings.Add(1)
			c.control(opPing, appendInt(nil, now.UnixMilli()))
		}
	}
	e.mu.Lock()
	if !e.paused {
		for _, s := range e.mkt.syms {
			for _, c := range s.candles {
				c.roll(now.UnixNano(), s.last)
			}
		}
		e.dialect.tick(now)
	}
	e.mu.Unlock()
	e.flushTouched(false)
}

// Channel says which events a stream shows. Values are part of the ledger.
type Channel uint8

// The channels.
const (
	ChannelNone Channel = iota
	ChannelTrades
	ChannelAggTrades
	ChannelBook
	ChannelBBO
	ChannelTicker
	ChannelCandles
	ChannelMarkPrice
	ChannelLiquidations
	ChannelInstruments
	numChannels
)

var channelNames = [numChannels]string{"", "trades", "agg_trades", "book", "bbo", "ticker", "candles", "mark_price", "liquidations", "instruments"}

func (c Channel) String() string { return channelNames[min(c, numChannels-1)] }

// stream is one subscription target. Its subscribers are kept by variant, since
// the same event looks different to connections of different URLs.
type stream struct {
	name  string
	kind  Channel
	sym   *symbol // nil: of the whole market
	arg   string
	depth int
	subs  [numVariants][]*Conn
	n     int
	state any // of the dialect
	sent  int64
}

// Variants of a connection's frames.
const (
	variantCombined = 1 << iota // wrapped in {"stream":…,"data":…}
	variantMicros               // times in microseconds
	variantBinary               // data in binary frames, answers in text
	numVariants     = 8
)

// dialect is a venue's protocol. Its methods are called under Emulator.mu,
// except accepts, heartbeat and http.
type dialect interface {
	// heartbeat gives the venue's rule for its own pings.
	heartbeat(timeout time.Duration) (every, within time.Duration)
	// accepts says whether a path is a WebSocket endpoint.
	accepts(path string) bool
	// open greets a connection and subscribes what its URL asks for.
	open(c *Conn, r *http.Request)
	// message handles one text frame of the client.
	message(c *Conn, text []byte)
	// render appends the frame that shows an event to a stream's subscribers; nothing if it shows none.
	render(b []byte, st *stream, variant uint8, ev *event) []byte
	// tick sends what is due by the clock.
	tick(now time.Time)
	// http answers a request of the venue's API.
	http(w http.ResponseWriter, r *http.Request)
}

// opener is a dialect whose connections begin with what no recording holds: a
// request before the dial, and a welcome that the client waits for, which open sends.
type opener interface {
	dialect
	opens(path string) bool
}

// subscribe adds a connection to a stream, which prepare fills when it is new.
func (e *Emulator) subscribe(c *Conn, name string, prepare func(*stream)) *stream {
	if c.gone {
		return nil
	}
	st := e.streams[name]
	if st == nil {
		st = &stream{name: name}
		prepare(st)
		e.streams[name] = st
		if st.sym != nil {
			st.sym.streams[st.kind] = append(st.sym.streams[st.kind], st)
		}
	}
	if slices.Contains(st.subs[c.how], c) {
		return st
	}
	st.subs[c.how] = append(st.subs[c.how], c)
	st.n++
	c.sub = append(c.sub, st)
	return st
}

func (e *Emulator) unsubscribe(c *Conn, st *stream) {
	i := slices.Index(c.sub, st)
	if i < 0 {
		return
	}
	c.sub = slices.Delete(c.sub, i, i+1)
	if j := slices.Index(st.subs[c.how], c); j >= 0 {
		st.subs[c.how] = slices.Delete(st.subs[c.how], j, j+1)
		st.n--
	}
	if st.n > 0 {
		return
	}
	delete(e.streams, st.name)
	if s := st.sym; s != nil {
		if j := slices.Index(s.streams[st.kind], st); j >= 0 {
			s.streams[st.kind] = slices.Delete(s.streams[st.kind], j, j+1)
		}
		if cd, ok := st.state.(*candle); ok {
			s.candles = slices.DeleteFunc(s.candles, func(x *candle) bool { return x == cd })
		}
	}
}

var tradeKinds, bookKinds = []Channel{ChannelTrades, ChannelAggTrades}, []Channel{ChannelBook, ChannelBBO}

// dispatch shows an event to the subscribers of its symbol.
func (e *Emulator) dispatch(ev *event) {
	kinds := tradeKinds
	if !ev.trade {
		kinds = bookKinds
	}
	for _, k := range kinds {
		if k == ChannelBBO && !ev.top {
			continue
		}
		for _, st := range ev.sym.streams[k] {
			if e.mkt.apart && k == ChannelBook {
				e.showApart(st, ev)
				continue
			}
			e.show(st, ev)
		}
	}
}

// showApart shows each level of an update by itself: those that go away first,
// so that the book never crosses in between.
func (e *Emulator) showApart(st *stream, ev *event) {
	one := *ev
	one.last = ev.prev
	show := func(bids, asks []level) {
		one.prev, one.first, one.last = one.last, one.last+1, one.last+1
		one.bids, one.asks = bids, asks
		e.show(st, &one)
	}
	for _, gone := range []bool{true, false} {
		for i, l := range ev.bids {
			if (l.qty == 0) == gone {
				show(ev.bids[i:i+1], nil)
			}
		}
		for i, l := range ev.asks {
			if (l.qty == 0) == gone {
				show(nil, ev.asks[i:i+1])
			}
		}
	}
}

// show renders an event for a stream, once a variant, and queues it.
func (e *Emulator) show(st *stream, ev *event) {
	f, about := e.faultFor(st), st.about()
	if about.Seq = ev.last; ev.trade {
		about.Seq = ev.id
	}
	for v := range st.subs {
		if len(st.subs[v]) == 0 {
			continue
		}
		e.scratch = e.dialect.render(e.scratch[:0], st, uint8(v), ev)
		if len(e.scratch) == 0 {
			continue
		}
		for _, c := range st.subs[v] {
			if f != nil {
				e.mangle(f, about, c, ev.now, e.scratch)
			} else {
				c.frame(ev.now, about, 0, e.scratch)
			}
			e.touch(c)
		}
	}
}

func (e *Emulator) touch(c *Conn) {
	if !c.touched {
		c.touched = true
		e.touched = append(e.touched, c)
	}
}

func (st *stream) about() About {
	a := About{Channel: st.kind}
	if st.sym != nil {
		a.Symbol = st.sym.idx
	}
	return a
}

// budget counts what the venue limits, when Options.Limits asks for it.
type budget struct {
	connects map[string][]time.Time // by address
	weight   int
	minute   int64
}

func (e *Emulator) mayConnect(src string) bool {
	if !e.opt.Limits {
		return true
	}
	l := e.limits
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.budget.connects == nil {
		e.budget.connects = map[string][]time.Time{}
	}
	now := time.Now()
	recent := slices.DeleteFunc(e.budget.connects[src], func(t time.Time) bool { return now.Sub(t) > l.connectsPer })
	ok := len(recent) < l.connects
	if ok {
		recent = append(recent, now)
	}
	e.budget.connects[src] = recent
	return ok
}

func (e *Emulator) mayMessage(c *Conn) bool {
	l, now := e.limits, time.Now()
	c.lastIn = slices.DeleteFunc(c.lastIn, func(t time.Time) bool { return now.Sub(t) > time.Second })
	c.lastIn = append(c.lastIn, now)
	return len(c.lastIn) <= l.messages
}

// weigh adds a request's weight to the minute's and says whether it is allowed.
func (e *Emulator) weigh(w int) (used int, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m := time.Now().Unix() / 60; m != e.budget.minute {
		e.budget.minute, e.budget.weight = m, 0
	}
	e.budget.weight += w
	return e.budget.weight, !e.opt.Limits || e.budget.weight <= e.limits.weight
}

func headerHas(h http.Header, name, what string) bool {
	return slices.ContainsFunc(h.Values(name), func(v string) bool { return strings.Contains(v, what) })
}

// cpuTime is the user and system time of this process in ns.
func cpuTime() int64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
