package conn

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/source"
)

const (
	ackTries     = 3
	inboxBound   = 1024
	readyWithout = 5 * time.Second // a replacement of a quiet connection counts as ready without data
)

// deliver hands a signal to control.
func (l *link) deliver(k source.SignalKind, text string) {
	l.mu.Lock()
	full := len(l.inbox) >= inboxBound
	if !full {
		l.inbox = append(l.inbox, letter{k, text})
	}
	l.mu.Unlock()
	if full {
		l.f.count.signalsDropped.Add(1)
		return
	}
	nudge(l.wake)
}

func (l *link) resubscribe(k subKey) {
	l.mu.Lock()
	if !slices.Contains(l.resubs, k) {
		l.resubs = append(l.resubs, k)
	}
	l.mu.Unlock()
	l.changed.Store(true)
	nudge(l.wake)
}

// ask sends a request as a frame, in turn and in the budget.
func (l *link) ask(fr *source.Frame) {
	l.mu.Lock()
	l.asks = append(l.asks, fr)
	l.mu.Unlock()
	nudge(l.wake)
}

// control writes to the connection and watches it until it ends: the script,
// changes of subscriptions, replies, heartbeats, renewals, and what is due
// when. It sleeps until the next of these.
func (l *link) control() error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	hb, hl := newHeart(l), newHealth(l)
	l.stale = l.staleAfter()
	if age := l.ageLimit(); age > 0 {
		l.rotates = l.since.Add(age)
	}
	hold := l.since.Add(l.slot.board.times.hold)
	review := hold.Add(rand.N(l.slot.board.times.review))
	for {
		now := time.Now()
		next := now.Add(time.Hour)
		due := func(t time.Time) bool { // keeps the earliest that is still to come
			if !t.After(now) {
				return true
			}
			if t.Before(next) {
				next = t
			}
			return false
		}
		if err := l.letters(); err != nil {
			return err
		}
		if err := l.acked(due, now); err != nil {
			return err
		}
		if err := l.work(due, now); err != nil {
			return err
		}
		l.render()
		if err := l.renew(due, now); err != nil {
			return err
		}
		if err := hb.beat(due, now); err != nil {
			return err
		}
		// Data is what was framed and not called something else by the decoder,
		// which speaks a little later: the greatest difference so far counts.
		data := l.dataFrames()
		if data > l.dataSeen.Load() {
			l.lastData.Store(l.lastLife.Load()) // first: see stats
			l.dataSeen.Store(data)
		}
		last, silence := processStart.Add(time.Duration(l.lastData.Load())), l.stale*time.Duration(l.patience)
		if silence > 0 && due(last.Add(silence)) && !l.replacing.Load() {
			why := fmt.Sprintf("no data for %v", now.Sub(last).Round(time.Millisecond))
			if !l.standby.Load() { // of a spare nobody misses anything
				l.f.count.stale.Add(1)
				l.f.event(Event{Kind: EventStale, Conn: l.num, Detail: why})
			}
			l.slot.replace(ask{l: l, reason: replaceStale, why: "stale: " + why, after: silence})
			l.lastData.Store(Mono(now))
			due(now.Add(silence))
		}
		if !l.scripted.IsZero() {
			hl.check(due, now, last, silence)
		}
		// Said before the slot knows that we are ready: the streams have their new
		// carrier before the old one's InputClose.
		if !l.scripted.IsZero() && l.unacked == 0 && !l.announced {
			l.announced, l.added = true, nil
			l.login.Settled()
			l.f.event(Event{Kind: EventSubscribed, Conn: l.num, Detail: fmt.Sprintf("%d subscriptions", len(l.active)), Subs: l.subscribed(nil)})
		}
		if l.announced && len(l.added) > 0 && len(l.queue) == 0 && l.unacked == 0 {
			if subs := l.subscribed(l.added); len(subs) > 0 { // none, if they were refused or dropped again
				l.f.event(Event{Kind: EventSubscribed, Conn: l.num, Detail: fmt.Sprintf("%d more subscriptions", len(subs)), Subs: subs})
			}
			l.added = nil
			l.login.Settled() // their frames may have been signed
		}
		if !l.scripted.IsZero() && !l.told && l.unacked == 0 && (l.dataSeen.Load() > 0 || due(l.scripted.Add(readyWithout))) {
			wait := l.scripted.Add(readyWithout)
			if l.dataSeen.Load() > 0 {
				wait = l.firstData(now).Add(l.overlap())
			}
			if due(wait) {
				l.told = true
				select {
				case l.slot.ready <- l:
				case <-l.ctx.Done():
				}
			}
		}
		if !l.rotates.IsZero() && due(l.rotates) && !l.replacing.Load() {
			l.slot.replace(ask{l: l, reason: replaceAge, why: fmt.Sprintf("age limit of %v", l.ep.MaxAge)})
			due(now.Add(max(l.ep.MaxAge/100, 10*time.Millisecond))) // it may be a replacement itself, whose old one still drains
		}
		if !hold.IsZero() && due(hold) {
			l.slot.board.held(l.address)
			hold = time.Time{}
		}
		if due(review) {
			every := l.slot.board.times.review
			review = now.Add(every/2 + rand.N(every))
			due(review)
			if !l.standby.Load() && !l.replacing.Load() {
				if to, ok := l.slot.board.better(now, l.address); ok {
					l.slot.replace(ask{l: l, reason: replaceEndpoint, why: "a better endpoint: " + redact(to), to: to})
				}
			}
		}
		if b := l.began.Load(); b != 0 {
			if due(processStart.Add(time.Duration(b) + l.f.set.FrameTimeout)) {
				l.f.count.refused.Add(1)
				err := l.endf(closeFrame, "a frame was not whole after %v", l.f.set.FrameTimeout)
				l.f.event(Event{Kind: EventFrame, Conn: l.num, Detail: err.Error(), Err: err})
				return err
			}
		} else {
			due(now.Add(l.f.set.FrameTimeout / 2))
		}
		if l.scripted.IsZero() || l.standby.Load() && !l.told { // a spare that could not take over yet is none
			l.publish("subscribing")
		} else {
			l.publish(StateLive)
		}
		if !l.scripted.IsZero() && !l.told && l.dataSeen.Load() == 0 {
			due(now.Add(50 * time.Millisecond)) // the reader doesn't wake us
		}
		timer.Reset(time.Until(next))
		select {
		case <-l.ctx.Done():
			return nil
		case <-l.done:
			return l.brokenBy(l.readErr)
		case p := <-l.pongs:
			l.messages.force(time.Now(), 1)
			if err := l.ws.WriteControl(websocket.PongMessage, []byte(p), time.Now().Add(writeTime)); err != nil {
				return l.endf(closeNetwork, "pong: %w", err)
			}
		case r := <-l.prio:
			l.messages.force(time.Now(), 1)
			if err := l.send(r); err != nil {
				return err
			}
		case r := <-l.rendered:
			if err := l.take(r); err != nil {
				return err
			}
		case <-l.wake:
		case <-timer.C:
		}
	}
}

func (l *link) send(data string) error { return l.sendFrame(&source.Frame{Data: data}) }

// sendFrame journals a frame as it was rendered and writes it with values in
// place of placeholders, signed at the time that the journal has.
func (l *link) sendFrame(fr *source.Frame) error {
	now := time.Now()
	data := []byte(fr.Data)
	if err := l.f.append(source.InputSent, l.num, now, data, nil); err != nil {
		return err
	}
	if fr.Sign != nil {
		var err error
		if data, err = l.login.Frame(fr.Sign, fr.Data, now); err != nil {
			return l.errorf("%w", err)
		}
		defer clear(data)
	}
	l.ws.SetWriteDeadline(now.Add(writeTime))
	if err := l.ws.WriteMessage(websocket.TextMessage, data); err != nil {
		return l.endf(closeNetwork, "write: %w", err)
	}
	l.f.count.sent.Add(1)
	l.sent.Add(1)
	return nil
}

// letters takes in what the decoder said. An error is the venue's refusal of a
// step that the script waits for.
func (l *link) letters() error {
	l.mu.Lock()
	in, asks := l.inbox, l.asks
	l.inbox, l.asks = nil, nil
	l.mu.Unlock()
	for _, a := range asks {
		l.queue = append(l.queue, item{frame: a})
	}
	for _, m := range in {
		token, reason := m.text, "" // or the handle of a subscription
		if m.kind == source.SignalRejected || m.kind == source.SignalSubscribed {
			if i := indexNUL(token); i >= 0 {
				token, reason = token[:i], token[i+1:]
			}
		}
		if m.kind != source.SignalRejected && l.scripted.IsZero() {
			l.ready[token] = true
		}
		if m.kind == source.SignalReady {
			if !l.scripted.IsZero() {
				l.login.Settled() // a login that was renewed is answered
			}
			continue
		}
		if m.kind == source.SignalRejected && l.scripted.IsZero() {
			if err := l.refused(token, reason); err != nil {
				return err
			}
		}
		waiting := l.acks[token]
		if token == source.TokenOldest {
			waiting = l.oldest()
		}
		if len(waiting) == 0 {
			if m.kind == source.SignalRejected {
				l.f.count.rejected.Add(1)
				l.f.event(Event{Kind: EventRejected, Conn: l.num, Detail: fmt.Sprintf("token %q: %s", token, reason)})
			}
			continue
		}
		a := waiting[0]
		l.settle(a)
		if m.kind == source.SignalSubscribed && reason != "" {
			if l.handles == nil {
				l.handles = map[string]string{}
			}
			l.handles[a.token] = reason
		}
		l.answered = l.answered || len(a.keys) > 0
		if m.kind == source.SignalRejected {
			for _, k := range a.keys {
				l.rejected[k] = true // not asked for again on this connection
				delete(l.active, k)
			}
			l.f.count.rejected.Add(1)
			l.f.event(Event{Kind: EventRejected, Conn: l.num, Detail: fmt.Sprintf("%s: %s", excerpt([]byte(a.frame.Data)), reason), Subs: l.f.subsOf(a.keys)})
		}
	}
	return nil
}

// refused says what a refusal of an awaited step means.
func (l *link) refused(token, reason string) error {
	i := slices.IndexFunc(l.queue, func(it item) bool { return it.await != nil && it.await.Token == token })
	if i < 0 {
		return nil
	}
	l.f.count.rejected.Add(1)
	e := &fault.Error{Kind: fault.Stop}
	next := "the feed stops: look at the source's credentials block"
	for _, r := range l.queue[i].await.Refusals {
		if strings.HasPrefix(reason, r.Reason) {
			e.Kind, e.After, next = r.Kind, r.After, "it is tried again"
			break
		}
	}
	e.Err = l.endf(closeScript, "the venue refuses %q: %s; %s", token, l.login.Redact(reason), next)
	return e
}

func indexNUL(s string) int {
	for i := range len(s) {
		if s[i] == 0 {
			return i
		}
	}
	return -1
}

// pending says whether a frame that concerns k waits to be sent or acknowledged:
// what is on its way needs no renewal.
func (l *link) pending(k subKey) bool {
	for _, list := range l.acks {
		for _, a := range list {
			if slices.Contains(a.keys, k) {
				return true
			}
		}
	}
	return slices.ContainsFunc(l.queue, func(it item) bool { return it.frame != nil && it.frame.Token != "" && slices.Contains(it.keys, k) })
}

// oldest is the list whose first frame waits longest.
func (l *link) oldest() (first []*ack) {
	for _, list := range l.acks {
		if first == nil || list[0].n < first[0].n {
			first = list
		}
	}
	return first
}

// settle takes an acknowledgement off the list.
func (l *link) settle(a *ack) {
	rest := slices.DeleteFunc(l.acks[a.token], func(b *ack) bool { return b == a })
	if len(rest) == 0 {
		delete(l.acks, a.token)
	} else {
		l.acks[a.token] = rest
	}
	l.unacked--
}

// alone is the frame of a careful link that waits for its answer; nil if none does.
func (l *link) alone() *ack {
	for _, list := range l.acks {
		if l.careful && l.unacked == 1 && len(list[0].keys) > 0 {
			return list[0]
		}
	}
	return nil
}

// acked sends again what nobody acknowledged.
func (l *link) acked(due func(time.Time) bool, now time.Time) error {
	var late []*ack
	for _, list := range l.acks {
		for _, a := range list {
			if due(a.due) {
				late = append(late, a)
			}
		}
	}
	for _, a := range late {
		l.settle(a)
		l.f.count.ackTimeouts.Add(1)
		l.errs.Add(1)
		detail := fmt.Sprintf("no acknowledgement within %v: %s", l.f.set.AckTimeout, excerpt([]byte(a.frame.Data)))
		l.f.event(Event{Kind: EventAckTimeout, Conn: l.num, Detail: detail, Subs: l.f.subsOf(a.keys)})
		if a.try+1 >= ackTries {
			return l.endf(closeScript, "%s, %d times", detail, ackTries)
		}
		again := a.item
		again.try++
		l.queue = append(l.queue, again)
	}
	return nil
}

// work does what the queue has, as far as the message budget and awaited
// signals let it. The queue is bounded by the slot's subscriptions.
func (l *link) work(due func(time.Time) bool, now time.Time) error {
	for len(l.queue) > 0 {
		it := &l.queue[0]
		switch {
		case it.end:
			l.scripted = now
			l.changed.Store(true) // they may have, since the script was rendered
			for i := range l.renewals {
				l.renewals[i].due = now.Add(l.renewals[i].Every)
			}
			if w := l.ep.SubscribeWithin; w > 0 && now.Sub(l.since) > w {
				l.f.event(Event{Kind: EventWarning, Conn: l.num, Detail: fmt.Sprintf("the script took %v, the venue wants a subscription within %v", now.Sub(l.since), w)})
			}
		case it.await != nil:
			if it.until.IsZero() {
				d := it.await.Timeout
				if d <= 0 {
					d = l.f.set.AckTimeout
				}
				it.until = now.Add(d)
			}
			if !l.ready[it.await.Token] {
				if due(it.until) {
					return l.endf(closeScript, "%q did not come within %v", it.await.Token, it.until.Sub(l.since).Round(time.Millisecond))
				}
				return nil
			}
			l.login.Settled()
		case l.careful && l.unacked > 0 && len(it.keys) > 0:
			return nil
		default:
			if d, _ := l.requests.ask(now, 1, urgent); d > 0 && len(it.keys) > 0 {
				if !l.scripted.IsZero() && !l.standby.Load() && !l.replacing.Load() { // a new connection has a budget of its own
					l.slot.replace(ask{l: l, reason: replaceRequest, why: fmt.Sprintf("%d requests to subscribe in %v are used up", l.ep.Subscribes.N, l.ep.Subscribes.Per)})
				}
				due(now.Add(d))
				return nil
			}
			if l.paid {
				l.paid = false
			} else if l.messages != nil {
				if d := l.messages.take(now, 1, urgent); d > 0 {
					due(now.Add(d))
					return nil
				}
			}
			if len(it.keys) > 0 {
				l.requests.force(now, 1)
				l.hold()
			}
			if err := l.sendFrame(it.frame); err != nil {
				return err
			}
			if it.frame.Token != "" {
				a := &ack{item: *it, token: it.frame.Token, due: now.Add(l.f.set.AckTimeout), n: l.sent.Load()}
				l.acks[a.token] = append(l.acks[a.token], a)
				l.unacked++
			}
		}
		l.queue = l.queue[1:]
	}
	l.queue = nil
	return nil
}

// render asks the plugin for the frames of a difference, beside control: a
// plugin that hangs must not stop heartbeats.
func (l *link) render() {
	if l.rendering || l.scripted.IsZero() || !l.changed.Swap(false) {
		return
	}
	keys, subs := l.slot.snapshot()
	want := make(map[subKey]source.Subscription, len(keys))
	var add, drop []subKey
	for i, k := range keys {
		want[k] = subs[i]
		if !l.active[k] && !l.rejected[k] {
			add = append(add, k)
		}
	}
	for k := range l.active {
		if _, ok := want[k]; !ok {
			drop = append(drop, k)
		}
	}
	for k := range l.rejected {
		if _, ok := want[k]; !ok {
			delete(l.rejected, k)
		}
	}
	l.mu.Lock()
	again := l.resubs
	l.resubs = nil
	l.mu.Unlock()
	for _, k := range again {
		if _, ok := want[k]; ok && !slices.Contains(add, k) && !l.pending(k) {
			if delete(l.rejected, k); l.active[k] {
				drop = append(drop, k)
			}
			add = append(add, k)
			l.f.count.resubscribes.Add(1)
		}
	}
	if len(add)+len(drop) == 0 {
		return
	}
	var live []source.Subscription
	if len(drop) > 0 {
		for k := range l.active {
			if !slices.Contains(drop, k) {
				live = append(live, l.f.subOf(k, want))
			}
		}
	}
	l.rendering = true
	handles := maps.Clone(l.handles)
	l.slot.work.Go(l.name(" rendering"), func(context.Context) error {
		r := rendering{add: add, drop: drop}
		for _, half := range []struct {
			keys  []subKey
			unsub bool
		}{{drop, true}, {add, false}} {
			if len(half.keys) == 0 || r.err != nil {
				continue
			}
			req := source.FrameRequest{Market: l.f.set.Spec.Market, Class: l.ep.Class, Unsubscribe: half.unsub}
			if half.unsub {
				req.Live, req.Handles = live, handles
			}
			for _, k := range half.keys {
				req.Subscriptions = append(req.Subscriptions, l.f.subOf(k, want))
			}
			frames, err := l.f.set.Renderer.Frames(l.ctx, req)
			if err != nil {
				r.err = l.errorf("frames: %w", err)
				break
			}
			for i := range frames {
				it, err := l.item(&frames[i], half.keys)
				if err == nil {
					err = l.sendable(&frames[i])
				}
				if err != nil {
					r.err = err
					break
				}
				r.frames = append(r.frames, it)
			}
		}
		l.rendered <- r // has room: one rendering at a time
		return nil
	})
}

func (l *link) take(r rendering) error {
	l.rendering = false
	if r.err != nil {
		return r.err // a new connection asks again, with backoff
	}
	for _, k := range r.add {
		if !l.active[k] { // else it is renewed
			if l.added == nil {
				l.added = map[subKey]bool{}
			}
			l.added[k] = true
		}
	}
	for _, k := range r.drop {
		delete(l.active, k)
	}
	for _, k := range r.add {
		l.active[k] = true
	}
	l.queue = append(l.queue, r.frames...)
	l.stale = l.staleAfter()
	return nil
}

func (l *link) renew(due func(time.Time) bool, now time.Time) error {
	if l.scripted.IsZero() {
		return nil
	}
	for i := range l.renewals {
		r := &l.renewals[i]
		if !due(r.due) {
			continue
		}
		r.due = now.Add(r.Every)
		due(r.due)
		if r.Frame != nil {
			if err := l.sendable(r.Frame); err != nil {
				return err
			}
			l.messages.force(now, 1)
			if err := l.sendFrame(r.Frame); err != nil {
				return err
			}
			continue
		}
		l.f.background(l.name(" renewal"), func() {
			if _, err := l.request(*r.Request); err != nil && l.ctx.Err() == nil {
				l.f.count.requestErrors.Add(1)
				l.f.event(Event{Kind: EventRequest, Conn: l.num, Detail: err.Error(), Err: err})
				if fault.Of(err) == fault.Stop {
					l.f.fail(err)
				}
			}
		})
	}
	return nil
}

// subscribed lists what the connection carries, in the feed's order: all of it,
// or what is in only.
func (l *link) subscribed(only map[subKey]bool) []source.Subscription {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	var out []source.Subscription
	for _, k := range l.f.order {
		if l.active[k] && (only == nil || only[k]) {
			out = append(out, l.f.streams[k])
		}
	}
	return out
}
