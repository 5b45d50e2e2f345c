package engine

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/runtime/listings"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/runtime/sched"
	"github.com/marketprism/marketprism/runtime/selection"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// askTime bounds one question; what a ban makes wait longer is asked at the next
// turn.
const askTime = 2 * time.Minute

// follows are the selectors that run, and what is counted of them.
type follows struct {
	turn   chan struct{} // holds one while the plan is being changed
	meters sync.Map      // feed name → *followMeter
	nudges sync.Map      // feed name → *nudges
}

// nudges wake the followers of a feed, of which each looks at the count.
type nudges struct {
	mu   sync.Mutex
	wake map[*follower]chan struct{}
}

func (e *Engine) nudges(feed string) *nudges {
	n, _ := e.follows.nudges.LoadOrStore(feed, &nudges{wake: map[*follower]chan struct{}{}})
	return n.(*nudges)
}

func (n *nudges) set(f *follower, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if on {
		n.wake[f] = f.nudged
	} else {
		delete(n.wake, f)
	}
}

func (n *nudges) ring() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.wake {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// listed is told by the lane what an instrument record says: where that is news,
// who follows the feed's catalogue need not wait for its next turn.
func (f *feed) listed(symbol string, s market.Status) {
	if known, ok := f.statuses[symbol]; ok && known == s {
		return
	}
	if f.statuses == nil {
		f.statuses = map[string]market.Status{}
	}
	f.statuses[symbol] = s
	f.e.nudges(f.p.Name).ring()
}

func (f *follows) lock(ctx context.Context) error {
	select {
	case f.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *follows) unlock() { <-f.turn }

// followMeter is what is counted of a feed's catalogues; it outlives its follower.
type followMeter struct {
	believed, doubted, failed, added, removed atomic.Uint64
	at, chosen                                atomic.Int64 // ns of the last that was believed; instruments
}

func (e *Engine) followMeter(feed string) *followMeter {
	m, _ := e.follows.meters.LoadOrStore(feed, new(followMeter))
	return m.(*followMeter)
}

// follower has one source's selection follow the venue. Its goroutine alone
// touches the states.
type follower struct {
	e      *Engine
	asker  *listings.Asker
	sel    plan.Selected
	proxy  string
	states map[market.Market]*selection.State
	log    zerolog.Logger
	nudged chan struct{} // an instrument record had news
}

// nudgeAfter is how long after a catalogue the next one is asked for at the
// earliest, where instrument records have news.
const nudgeAfter = 10 * time.Second

// follow starts followers for what a plan selects; the returned function ends
// them.
func (r *run) follow() (stop func()) {
	if r.opt.Replay != nil || len(r.plan.Selected) == 0 {
		return func() {}
	}
	work, _ := sched.NewSet(r.hard, "")
	asker := &listings.Asker{Host: r.host, Budgets: r.budgets, Buffers: r.messages.Frames, Batches: r.messages.Batches, Inflaters: r.inflaters, Dir: r.opt.Host.TempDir, Logger: r.log}
	chosen := r.plan.Chosen()
	for _, s := range r.plan.Selected {
		f := &follower{e: r.Engine, asker: asker, sel: s, proxy: r.proxy, states: map[market.Market]*selection.State{},
			log: r.log.With().Str("source", s.Source).Logger(), nudged: make(chan struct{}, 1)}
		for _, m := range s.Markets {
			var had []selection.Member
			for _, l := range chosen[s.Source] {
				if l.Market == m {
					had = append(had, selection.Member{Listing: l})
				}
			}
			f.states[m] = selection.New(s.Origin.Selector, m, had)
			f.count(m, 0)
			f.meter(m).at.Store(time.Now().UnixNano())
		}
		work.Go("selection "+s.Source, func(ctx context.Context) error { f.run(ctx); return nil })
	}
	return func() {
		work.Cancel(nil)
		r.keep(work.Wait())
		r.follows.meters.Range(func(_, m any) bool { m.(*followMeter).chosen.Store(0); return true })
	}
}

func (f *follower) feed(m market.Market) string {
	return f.sel.Origin.Manifest.Venue + "-" + m.String()
}

// count keeps the number of instruments chosen, to which other sources of the
// feed add theirs; before is what this one had counted.
func (f *follower) count(m market.Market, before int) {
	f.meter(m).chosen.Add(int64(len(f.states[m].Members()) - before))
}

func (f *follower) meter(m market.Market) *followMeter { return f.e.followMeter(f.feed(m)) }

// run asks at intervals, each time a tenth earlier at most, so that pipelines
// which were started together don't ask together.
func (f *follower) run(ctx context.Context) {
	for _, m := range f.sel.Markets {
		n := f.e.nudges(f.feed(m))
		n.set(f, true)
		defer n.set(f, false)
	}
	every, asked := f.sel.Every.Std(), time.Now()
	timer := time.NewTimer(every - rand.N(every/10+1))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.nudged:
			timer.Reset(min(nudgeAfter, every) - time.Since(asked))
			continue
		case <-timer.C:
		}
		asked = time.Now()
		f.round(ctx)
		timer.Reset(every - rand.N(every/10+1))
	}
}

// round asks for each market's catalogue, and has the plan changed if what is
// chosen has.
func (f *follower) round(ctx context.Context) {
	next := maps.Clone(f.states)
	var all []selection.Change
	for _, m := range f.sel.Markets {
		meter := f.meter(m)
		q, err := listings.Of(f.sel.Origin, m, f.proxy)
		var list []selection.Listing
		if err == nil {
			q.Turnover = f.sel.Origin.Selector.Ranks(m)
			asking, cancel := context.WithTimeout(ctx, askTime)
			list, err = f.asker.Ask(asking, q)
			cancel()
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			meter.failed.Add(1)
			f.log.Warn().Err(err).Str("market", m.String()).Msg("the catalogue could not be had: what is collected stays")
			continue
		}
		s := f.states[m].Clone()
		changes, doubt := s.Step(time.Now(), list)
		if doubt != "" {
			meter.doubted.Add(1)
			f.log.Error().Str("market", m.String()).Int("instruments", len(list)).Str("why", doubt).Msg("the catalogue is not believed: what is collected stays; look at the venue's notices")
		} else {
			meter.believed.Add(1)
			meter.at.Store(time.Now().UnixNano())
		}
		next[m] = s
		all = append(all, changes...)
	}
	var members []selection.Listing
	for _, m := range f.sel.Markets {
		for _, x := range next[m].Members() {
			members = append(members, x.Listing)
		}
	}
	if len(all) > 0 {
		if err := f.e.choose(ctx, f.sel, members, all); err != nil {
			if ctx.Err() == nil {
				f.log.Error().Err(err).Msg("what is selected could not be taken over: what is collected stays, and it is tried again")
			}
			return
		}
		for _, x := range all {
			f.tell(&x)
		}
	}
	old := f.states
	f.states = next
	for m, s := range old {
		f.count(m, len(s.Members()))
	}
	if err := f.e.keepChosen(ctx, f.sel, f.states); err != nil {
		f.log.Error().Err(err).Msg("what is selected could not be written down: a start without the venue has an older selection")
	}
}

func (f *follower) tell(c *selection.Change) {
	meter, said := f.meter(c.Market), "left out"
	if c.Added {
		meter.added.Add(1)
		said = "taken"
	} else {
		meter.removed.Add(1)
	}
	f.log.Info().Str("instrument", c.Name).Str("symbol", c.Symbol).Str("market", c.Market.String()).Str("why", c.Reason).Msg("instrument " + said)
}

// choose puts another selection into force: what a reload of the same pipeline
// does.
func (e *Engine) choose(ctx context.Context, s plan.Selected, members []selection.Listing, changes []selection.Change) error {
	if err := e.follows.lock(ctx); err != nil {
		return err
	}
	defer e.follows.unlock()
	old, _, _ := e.now()
	x := old.Find(s.Source)
	if x == nil || x.Origin != s.Origin { // a reload has passed by, and ends us
		return fmt.Errorf("engine: %s: the pipeline has changed meanwhile", s.Source)
	}
	chosen := old.Chosen()
	chosen[s.Source] = members
	pl, diags := old.Choose(chosen)
	if pl == nil {
		return &InvalidError{diags}
	}
	e.mu.RLock()
	proxy := e.proxy
	e.mu.RUnlock()
	l := &reload{plan: pl, proxy: proxy, changes: changes, venue: s.Origin.Manifest.Venue, done: make(chan struct{})}
	select {
	case e.reloads <- l:
	case <-e.ended:
		return ErrEnding
	case <-ctx.Done():
		return ctx.Err()
	}
	<-l.done
	return l.err
}

// keepChosen writes down what a source's selector has chosen.
func (e *Engine) keepChosen(ctx context.Context, s plan.Selected, states map[market.Market]*selection.State) error {
	if err := e.follows.lock(ctx); err != nil {
		return nil // we end
	}
	defer e.follows.unlock()
	kept := e.kept()
	k := listings.KeptSource{Selector: plan.Fingerprint(s.Origin), At: time.Now(), Members: map[string][]selection.Member{}}
	for m, st := range states {
		k.Members[m.String()] = st.Members()
	}
	kept[s.Source] = k
	return kept.Write(e.dir)
}

// kept is what was written down, without what isn't in the plan any more.
func (e *Engine) kept() listings.Kept {
	kept, err := listings.ReadKept(e.dir)
	if err != nil {
		e.log.Warn().Err(err).Msg("the selections of earlier runs can't be read and are written anew")
		kept = listings.Kept{}
	}
	pl, _, _ := e.now()
	maps.DeleteFunc(kept, func(source string, _ listings.KeptSource) bool { return pl.Find(source) == nil })
	return kept
}

// keepAll writes down what a plan's selectors have chosen as it comes into force.
func (e *Engine) keepAll(pl *plan.Plan) error {
	if len(pl.Selected) == 0 || e.opt.Replay != nil {
		return nil
	}
	kept, chosen := e.kept(), pl.Chosen()
	for _, s := range pl.Selected {
		k := listings.KeptSource{Selector: plan.Fingerprint(s.Origin), At: time.Now(), Members: map[string][]selection.Member{}}
		for _, l := range chosen[s.Source] {
			k.Members[l.Market.String()] = append(k.Members[l.Market.String()], selection.Member{Listing: l})
		}
		kept[s.Source] = k
	}
	return kept.Write(e.dir)
}

// noteSelected states in a feed's frames journal which instruments were taken or
// left out; the lane makes instrument records of it.
func (f *feed) noteSelected(all []selection.Listing) error {
	var mine []selection.Listing
	for _, l := range all {
		if l.Market == f.p.Market {
			mine = append(mine, l)
		}
	}
	for part := range slices.Chunk(mine, 500) { // a note is small
		if err := note(f.frames, source.InputNote, 0, flow.Note{Note: flow.NoteSelected, Listings: part}); err != nil {
			return err
		}
	}
	return nil
}

// noteChanges does it for the feeds of a venue.
func (r *run) noteChanges(l *reload, feeds []*feed) error {
	if len(l.changes) == 0 {
		return nil
	}
	var all []selection.Listing
	for _, c := range l.changes {
		all = append(all, c.Stated())
	}
	for _, f := range feeds { // those that are new state theirs as they come up
		if f.p.Venue != l.venue {
			continue
		}
		if err := f.noteSelected(all); err != nil {
			return err
		}
	}
	return nil
}

// chosenOf is what selectors have chosen of a feed.
func chosenOf(pl *plan.Plan, p *plan.Feed) (all []selection.Listing) {
	chosen := pl.Chosen()
	for _, s := range pl.Selected {
		if slices.Contains(p.Sources, s.Source) {
			all = append(all, chosen[s.Source]...)
		}
	}
	return all
}
