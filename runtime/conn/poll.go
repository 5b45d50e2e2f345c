package conn

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/source"
)

const snapshotTries = 6

// subOf finds a subscription by key, also one that was dropped meanwhile.
func (f *Feed) subOf(k subKey, in map[subKey]source.Subscription) source.Subscription {
	if s, ok := in[k]; ok {
		return s
	}
	s := source.Subscription{Channel: k.channel, Symbol: k.symbol}
	if k.config != "" {
		json.Unmarshal([]byte(k.config), &s.Config) // what keyOf wrote
	}
	return s
}

func (f *Feed) subsOf(keys []subKey) []source.Subscription {
	subs := make([]source.Subscription, len(keys))
	for i, k := range keys {
		subs[i] = f.subOf(k, nil)
	}
	return subs
}

// background starts work that Run waits for; after the feed ended it does nothing.
func (f *Feed) background(name string, work func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed() {
		return false
	}
	f.spawn(name, work)
	return true
}

// Snapshot asks for a book's snapshot under the weight budget. While one is on
// its way for the same subscription, another call does nothing; it is on its way
// until just before its response is journalled, so that whoever reads the
// response and finds it too old can ask again. It is tried
// again with backoff; EventRequest says when it was given up. The response
// comes back through the journal.
func (f *Feed) Snapshot(sub source.Subscription) {
	k := keyOf(sub)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed() {
		return
	}
	if f.pending[k] {
		return
	}
	f.pending[k] = true
	var once sync.Once
	arrived := func() {
		once.Do(func() {
			f.mu.Lock()
			delete(f.pending, k)
			f.mu.Unlock()
		})
	}
	ctx := context.WithValue(f.ctx, arrivedKey{}, arrived)
	f.spawn("snapshot "+sub.Symbol, func() {
		defer arrived()
		wanted := func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			_, ok := f.streams[k]
			return ok
		}
		f.insist(ctx, source.RequestFor{Purpose: source.PurposeSnapshot, Subs: []source.Subscription{sub}}, urgent, snapshotTries, wanted)
	})
}

// arrivedKey is the context key of a func() that is called when a good response
// has come and before it is journalled.
type arrivedKey struct{}

// request renders and performs the requests of one purpose.
func (f *Feed) request(ctx context.Context, r source.RequestFor, priority int) error {
	r.Market, r.Base = f.set.Spec.Market, f.base()
	reqs, err := f.set.Renderer.Requests(ctx, r)
	if err != nil {
		return err
	}
	weight := 1
	if len(r.Subs) > 0 {
		if spec, ok := f.spec(r.Subs[0].Channel); ok && spec.Weight > 0 {
			weight = spec.Weight
		}
	}
	for _, q := range reqs {
		if q.Socket {
			if err := f.onSocket(q, r.Subs); err != nil {
				return err
			}
			continue
		}
		if _, err := f.exchange(ctx, call{Request: q, purpose: r.Purpose, weight: weight, priority: priority}); err != nil {
			f.nextBase(err)
			return err
		}
	}
	return nil
}

// onSocket sends a request as a frame on the connection that carries the subscription.
func (f *Feed) onSocket(q source.Request, subs []source.Subscription) error {
	var l *link
	if len(subs) > 0 {
		f.mu.Lock()
		l = f.carrier(keyOf(subs[0]))
		f.mu.Unlock()
	}
	if l == nil {
		return fault.Errorf(fault.Retry, "conn: %s: no connection carries the subscription of this request yet", f.name)
	}
	fr := &source.Frame{Data: q.Body, Sign: q.Sign}
	if err := l.sendable(fr); err != nil {
		return err
	}
	l.ask(fr)
	return nil
}

// insist makes requests until they succeed, the feed ends, they are not wanted
// any more, or the tries are used up (0: never). Waiting for a ban is no try. The
// error is told already: it is for who reports what became of the requests.
func (f *Feed) insist(ctx context.Context, r source.RequestFor, priority, tries int, wanted func() bool) error {
	for try := 0; ctx.Err() == nil; {
		if wanted != nil && !wanted() {
			return errUnwanted
		}
		err := f.request(ctx, r, priority)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if errors.Is(err, errBreaker) { // of a poll: the next one finds out
			f.count.pollsSkipped.Add(1)
			f.http.skippedOpen.Add(1)
			return err
		}
		f.count.requestErrors.Add(1)
		switch fault.Of(err) {
		case fault.Stop:
			f.fail(err)
			return err
		case fault.Wait:
			continue // the gate holds the next one back
		}
		try++
		last := tries > 0 && try >= tries || fault.Of(err) == fault.Skip
		detail := string(r.Purpose) + ": " + err.Error()
		if last {
			detail += "; given up"
		}
		f.event(Event{Kind: EventRequest, Detail: detail, Subs: r.Subs, Err: err})
		if last {
			return err
		}
		sleep(ctx, backoffBase/2+rand.N(min(backoffCap, backoffBase<<min(try, 10))))
	}
	return ctx.Err()
}

// catalogue asks for the instruments at start and then at intervals.
func (f *Feed) catalogue(ctx context.Context) {
	if f.set.CatalogueEvery < 0 || len(f.set.Spec.HTTP) == 0 {
		return
	}
	for ctx.Err() == nil {
		f.insist(ctx, source.RequestFor{Purpose: source.PurposeInstruments}, later, 0, nil)
		sleep(ctx, f.set.CatalogueEvery-rand.N(f.set.CatalogueEvery/10+1))
	}
}

type polling struct {
	sub   source.Subscription
	every time.Duration
	next  time.Time
	busy  bool
}

// poll makes the periodic requests. Those of one interval are spread over it
// at random; one that is still on its way when its turn comes again is skipped.
func (f *Feed) poll(ctx context.Context) {
	have := make(map[subKey]*polling)
	done := make(chan subKey, cap(f.busy))
	timer := time.NewTimer(0)
	defer timer.Stop()
	running := 0
	for {
		select {
		case <-ctx.Done():
			for ; running > 0; running-- {
				<-done
			}
			return
		case k := <-done:
			running--
			if p := have[k]; p != nil {
				p.busy = false
			}
		case <-f.polls:
			f.mu.Lock()
			for k := range have {
				if _, ok := f.polled[k]; !ok {
					delete(have, k)
				}
			}
			for k, sub := range f.polled {
				if have[k] == nil {
					every := f.pollEvery(sub)
					have[k] = &polling{sub: sub, every: every, next: time.Now().Add(rand.N(every))}
				}
			}
			f.mu.Unlock()
		case <-timer.C:
		}
		now := time.Now()
		next := now.Add(time.Hour)
		for k, p := range have {
			if !p.next.After(now) {
				p.next = now.Add(p.every - p.every/40 + rand.N(p.every/20+1))
				if p.busy {
					f.count.pollsSkipped.Add(1)
					f.http.skippedBusy.Add(1)
				} else {
					p.busy = true
					running++
					f.spawn("poll "+p.sub.Channel.String()+" "+p.sub.Symbol, func() {
						defer func() { done <- k }()
						f.insist(ctx, source.RequestFor{Purpose: source.PurposePoll, Subs: []source.Subscription{p.sub}}, later, 2, nil)
					})
				}
			}
			if p.next.Before(next) {
				next = p.next
			}
		}
		timer.Reset(time.Until(next))
	}
}

// pollEvery is the channel's poll_every attribute where it has one, else the manifest's.
func (f *Feed) pollEvery(sub source.Subscription) time.Duration {
	spec, _ := f.spec(sub.Channel)
	if d := sub.Config.Duration("poll_every"); d > 0 {
		return d
	}
	if spec.PollEvery > 0 {
		return spec.PollEvery
	}
	return time.Minute
}
