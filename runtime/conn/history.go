package conn

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/source"
)

const (
	// historyEvery is how long a feed waits before each request for trades that a
	// gap took: there are at most 60 a minute, whatever a venue does. It also gives
	// the venue time to have the latest trades in its history.
	historyEvery = time.Second
	historyTries = 8 // over about a minute: a plugin that starts again has rendered it by then
)

// past is a request for trades of a stretch.
type past struct {
	key      subKey
	sub      source.Subscription
	from, to int64
}

// errUnwanted is a request that nobody waits for any more.
var errUnwanted = errors.New("nobody waits for it any more")

// History asks for trades from one end to the other, in turn with those that were
// asked for before, under the venue's budgets behind book snapshots. While one is
// waiting or on its way for the same subscription, another call does nothing.
// EventHistory says that the response is journalled, or why there is none.
func (f *Feed) History(sub source.Subscription, from, to int64) {
	k := keyOf(sub)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed() || slices.ContainsFunc(f.pasts, func(p past) bool { return p.key == k }) {
		return
	}
	f.pasts = append(f.pasts, past{k, sub, from, to})
	if !f.asking {
		f.asking = true
		f.spawn("history", f.histories)
	}
}

// histories makes the requests for trades one after another until none is left.
func (f *Feed) histories() {
	for {
		f.mu.Lock()
		ctx := f.ctx
		if len(f.pasts) == 0 || ctx.Err() != nil {
			f.asking = false
			f.mu.Unlock()
			return
		}
		p := f.pasts[0] // it stays there, so that it isn't asked for twice
		f.mu.Unlock()
		err := f.askHistory(ctx, p)
		f.mu.Lock()
		f.pasts = slices.Delete(f.pasts, 0, 1) // before the note: who reads that may ask on
		f.mu.Unlock()
		if ctx.Err() != nil || errors.Is(err, errUnwanted) {
			continue
		}
		e := Event{Kind: EventHistory, Subs: []source.Subscription{p.sub}, From: p.from, To: p.to, Err: err}
		if err != nil {
			e.Detail = err.Error()
		}
		f.event(e)
	}
}

func (f *Feed) askHistory(ctx context.Context, p past) error {
	if err := sleep(ctx, historyEvery); err != nil {
		return err
	}
	wanted := func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		_, ok := f.streams[p.key]
		return ok
	}
	if len(f.set.Spec.HTTP) == 0 {
		return fault.Errorf(fault.Skip, "conn: %s: the manifest names no HTTP address", f.name)
	}
	return f.insist(ctx, source.RequestFor{Purpose: source.PurposeHistory, Subs: []source.Subscription{p.sub}, From: p.from, To: p.to}, soon, historyTries, wanted)
}
