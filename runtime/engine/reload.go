package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/runtime/admin"
	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/runtime/selection"
	"github.com/marketprism/marketprism/sdk/source"
)

// Reloaded is what a reload did.
type Reloaded struct {
	Changed bool        `json:"changed"`
	Digest  string      `json:"digest"` // of the plan in force
	Feeds   *difference `json:"feeds,omitempty"`
	Sinks   *difference `json:"sinks,omitempty"`
	Admin   string      `json:"admin,omitempty"` // the address, if it is another one now
}

// InvalidError says that the pipeline can't be taken over; nothing has changed.
type InvalidError struct{ Diagnostics pipefile.Diagnostics }

func (e *InvalidError) Error() string {
	for _, d := range e.Diagnostics {
		if d.Severity == pipefile.Error {
			return fmt.Sprintf("engine: the pipeline is invalid: %s: %s", d.Summary, d.Detail)
		}
	}
	return "engine: the pipeline is invalid"
}

// Errors of a reload.
var (
	ErrNoPipeline = errors.New("engine: this run has no pipeline file to read again")
	ErrReloading  = errors.New("engine: a reload is under way already")
	ErrEnding     = errors.New("engine: the runtime is going down")
)

// reloadCounts are by result.
type reloadCounts struct {
	applied, unchanged, invalid, failed atomic.Uint64
	succeeded                           atomic.Int64 // ns of the last that was applied or unchanged
}

// reload is a request to Run.
type reload struct {
	plan    *plan.Plan
	proxy   string
	changes []selection.Change // of a selector on this venue; none if a person asked
	venue   string
	result  Reloaded
	err     error
	done    chan struct{}
}

// Reload reads the pipeline again and takes it over. A pipeline that is invalid
// is an *InvalidError and changes nothing. If what is new can't come up, the plan
// before it is brought up again, and the error says why.
//
// ctx bounds the reading alone: what has begun is done to its end, by Run.
func (e *Engine) Reload(ctx context.Context) (Reloaded, error) {
	if e.opt.Load == nil {
		return Reloaded{}, ErrNoPipeline
	}
	if !e.loading.TryLock() {
		return Reloaded{}, ErrReloading
	}
	defer e.loading.Unlock()
	if err := e.follows.lock(ctx); err != nil { // selectors wait: what they choose is of the plan in force
		return Reloaded{}, err
	}
	defer e.follows.unlock()
	res, err := e.reload(ctx)
	invalid := new(InvalidError)
	switch {
	case errors.As(err, &invalid):
		e.count.invalid.Add(1)
		for _, d := range invalid.Diagnostics[:min(len(invalid.Diagnostics), 10)] {
			e.log.Error().Str("file", d.Range.Filename).Int("line", d.Range.Start.Line).Str("problem", d.Summary).Msg(d.Detail)
		}
		e.log.Error().Msg("reload refused: the pipeline is invalid, and the one before goes on")
	case err != nil:
		e.count.failed.Add(1)
		e.log.Error().Err(err).Msg("reload failed: the pipeline before it is in force")
	case res.Changed:
		e.count.applied.Add(1)
		e.log.Info().Str("plan", res.Digest).Any("feeds", res.Feeds).Any("sinks", res.Sinks).Msg("reloaded")
	default:
		e.count.unchanged.Add(1)
		e.log.Info().Str("plan", res.Digest).Msg("reloaded: the pipeline is what runs already")
	}
	if err == nil {
		e.count.succeeded.Store(time.Now().UnixNano())
	}
	return res, err
}

func (e *Engine) reload(ctx context.Context) (Reloaded, error) {
	inForce, _, _ := e.now()
	pl, proxy, diags := e.opt.Load(ctx, inForce)
	if diags.HasErrors() || pl == nil {
		return Reloaded{}, &InvalidError{diags}
	}
	if pl.DataDir != e.opt.Plan.DataDir {
		return Reloaded{}, &InvalidError{pipefile.Diagnostics{{Severity: pipefile.Error, Summary: "Another data directory",
			Detail: fmt.Sprintf("data_dir is %s in the file and %s in force. A running process can't move to another one: restart it.", pl.DataDir, e.opt.Plan.DataDir)}}}
	}
	l := &reload{plan: pl, proxy: proxy, done: make(chan struct{})}
	select {
	case e.reloads <- l:
	case <-e.ended:
		return Reloaded{}, ErrEnding
	}
	<-l.done
	return l.result, l.err
}

// apply is Run's part.
func (r *run) apply(l *reload) {
	defer close(l.done)
	old, oldProxy := r.plan, r.proxy
	l.result = Reloaded{Digest: old.Digest}
	adm, err := r.changeAdmin(l.plan)
	if err != nil {
		l.err = &InvalidError{pipefile.Diagnostics{{Severity: pipefile.Error, Summary: "Admin address can't be taken", Detail: err.Error()}}}
		return
	}
	if samePlan(old, l.plan) && oldProxy == l.proxy {
		r.forget(l.plan)
		return
	}
	if len(l.changes) == 0 { // the selectors may be others; those of the plan in force are followed afterwards
		r.unfollow()
		defer func() { r.unfollow = r.follow() }()
	}
	if l.err = r.change(l); l.err != nil {
		r.forget(l.plan)
		if adm != r.admin {
			l.err = errors.Join(l.err, adm.Close())
		} else if adm != nil {
			l.err = errors.Join(l.err, adm.Update(old.TokenFile, old.Hosts))
		}
		return
	}
	r.forget(old)
	if adm != r.admin {
		if adm != nil {
			l.result.Admin = adm.URL()
			r.log.Info().Str("admin", adm.URL()).Msg("the admin endpoints moved")
		}
		r.swap(func() { r.Engine.admin = adm })
	}
}

// forget overwrites the credentials that came with a plan and that no feed of
// this run signs with: those of a plan that was replaced or not taken over.
func (r *run) forget(pl *plan.Plan) {
	for _, f := range pl.Feeds {
		if !slices.ContainsFunc(r.feeds, func(x *feed) bool { return x.p.Credentials == f.Credentials }) {
			f.Credentials.Zero()
		}
	}
}

// swap writes what others read.
func (r *run) swap(f func()) {
	r.Engine.mu.Lock()
	defer r.Engine.mu.Unlock()
	f()
}

// changeAdmin gives the admin server of a plan: the one that runs, with the plan's
// token and hosts, or a new one that listens already.
func (r *run) changeAdmin(pl *plan.Plan) (*admin.Server, error) {
	if pl.Listen == r.plan.Listen {
		if r.admin == nil {
			return nil, nil
		}
		return r.admin, r.admin.Update(pl.TokenFile, pl.Hosts)
	}
	return r.newAdmin(pl)
}

// change takes the new plan over, or brings the old one up again.
func (r *run) change(l *reload) error {
	old, oldProxy := r.plan, r.proxy
	liveFeed := func(name string) bool { f := feedNamed(r.feeds, name); return f != nil && f.live() }
	liveSink := func(name string) bool {
		return slices.ContainsFunc(r.sinks, func(d *sinkDriver) bool { return d.p.Name == name && d.live() })
	}
	fd := feedDifference(old, l.plan, oldProxy == l.proxy, liveFeed)
	sd := sinkDifference(old, l.plan, &fd, liveSink)

	// What is new is opened first: if it can't be, nothing was touched.
	var opened []*feed
	for _, name := range fd.Added {
		f, err := r.makeFeed(l.plan, l.plan.Feed(name), l.proxy)
		if err != nil {
			return errors.Join(err, closeFeeds(opened))
		}
		opened = append(opened, f)
	}
	var feeds, goneFeeds []*feed
	for _, f := range r.feeds {
		if fd.stays(f.p.Name) {
			feeds = append(feeds, f)
		} else {
			goneFeeds = append(goneFeeds, f)
		}
	}
	var sinks, goneSinks []*sinkDriver
	for _, d := range r.sinks {
		if sd.stays(d.p.Name) {
			sinks = append(sinks, d)
		} else {
			goneSinks = append(goneSinks, d)
		}
	}
	err := r.end(goneFeeds, goneSinks, feeds, sinks)
	recycle := old.Sync != l.plan.Sync
	if recycle || old.Latency != l.plan.Latency {
		r.back()
	}
	if err == nil && recycle {
		err = r.reopenCursors(l.plan.Sync)
	}
	if err == nil {
		err = r.bringUp(l.plan, l.proxy, append(feeds, opened...), sinks)
	} else {
		err = errors.Join(err, closeFeeds(opened))
	}
	if err != nil {
		// Feeds and sinks that stayed run still; the others come up as they were.
		again := error(nil)
		if recycle {
			again = r.reopenCursors(old.Sync)
		}
		if again == nil {
			again = r.bringUp(old, oldProxy, feeds, sinks)
		}
		if again != nil {
			err = errors.Join(err, fmt.Errorf("engine: what ran before could not come up again either; restart the process: %w", again))
		}
	} else {
		l.result = Reloaded{Changed: true, Digest: l.plan.Digest, Feeds: &fd, Sinks: &sd}
		noted := r.noteChanges(l, feeds)
		if len(l.changes) == 0 {
			noted = errors.Join(noted, r.keepAll(l.plan))
		}
		if noted != nil {
			r.log.Error().Err(noted).Msg("what was selected could not be written down")
		}
	}
	if recycle || old.Latency != l.plan.Latency {
		r.back = r.background(r.plan)
	}
	return err
}

// end drains feeds, then the sinks that read them, and frees what they held.
func (r *run) end(feeds []*feed, sinks []*sinkDriver, stay []*feed, staying []*sinkDriver) error {
	late := time.AfterFunc(r.opt.Drain, func() {
		for _, f := range feeds {
			f.kill()
		}
		for _, d := range sinks {
			d.kill()
		}
	})
	defer late.Stop()
	drainAll(feeds)
	drainAll(sinks)
	connect(stay, staying)
	var errs []error
	for _, d := range sinks {
		errs = append(errs, d.release())
		for _, t := range d.tracks {
			t.j.Unhold("sink " + d.p.Name)
		}
	}
	for _, f := range feeds {
		errs = append(errs, f.release())
	}
	return errors.Join(errs...)
}

// reopenCursors has cursors synced as a plan asks; no sink runs.
func (r *run) reopenCursors(sync string) error {
	policy, err := journal.ParseSync(sync)
	if err != nil {
		return err
	}
	if err := r.cursors.Close(); err != nil {
		return err
	}
	r.cursors, err = journal.OpenCursors(r.cursorsPath(), policy)
	return err
}

func (r *run) makeFeed(pl *plan.Plan, p *plan.Feed, proxy string) (*feed, error) {
	f, err := r.openFeed(pl, p)
	if err != nil {
		return nil, err
	}
	if err := f.prepare(r.budgets, proxy); err != nil {
		return nil, errors.Join(err, f.closeJournals())
	}
	return f, nil
}

func closeFeeds(feeds []*feed) error {
	var errs []error
	for _, f := range feeds {
		errs = append(errs, f.closeJournals())
	}
	return errors.Join(errs...)
}

// bringUp makes what a plan has beyond feeds and sinks, and starts it. It closes
// what it made, and feeds that were opened and not started, if it fails.
func (r *run) bringUp(pl *plan.Plan, proxy string, feeds []*feed, sinks []*sinkDriver) (err error) {
	have := func(f *feed) bool { return feedNamed(r.feeds, f.p.Name) == f } // runs already
	all := make([]*feed, 0, len(pl.Feeds))
	made := slices.DeleteFunc(slices.Clone(feeds), have)
	var newSinks, allSinks []*sinkDriver
	defer func() {
		if err == nil {
			return
		}
		for _, d := range newSinks {
			for _, t := range d.tracks {
				err = errors.Join(err, t.reader.Close())
				t.j.Unhold("sink " + d.p.Name)
			}
		}
		err = errors.Join(err, closeFeeds(made))
	}()
	for _, p := range pl.Feeds {
		f := feedNamed(feeds, p.Name)
		if f == nil {
			if f, err = r.makeFeed(pl, p, proxy); err != nil {
				return err
			}
			made = append(made, f)
		}
		all = append(all, f)
	}
	for _, p := range pl.Sinks {
		i := slices.IndexFunc(sinks, func(d *sinkDriver) bool { return d.p.Name == p.Name })
		if i >= 0 {
			allSinks = append(allSinks, sinks[i])
			continue
		}
		d, err := r.newSink(pl, p, all)
		if err != nil {
			return err
		}
		newSinks, allSinks = append(newSinks, d), append(allSinks, d)
	}
	for _, f := range all {
		if have(f) {
			if err := f.resubscribe(pl.Feed(f.p.Name)); err != nil {
				return err
			}
		}
	}
	connect(all, allSinks)
	r.swap(func() { r.plan, r.proxy, r.Engine.feeds, r.Engine.sinks = pl, proxy, all, allSinks })
	r.setExemplars(pl)
	for _, f := range made {
		r.startFeed(f)
	}
	for _, d := range newSinks {
		r.startSink(d)
	}
	return nil
}

// resubscribe changes what a running feed carries. The lane is told before
// anything of a new symbol can come, and after the connections were told of one
// that goes: what is on its way of that is passed on.
func (f *feed) resubscribe(p *plan.Feed) error {
	old, w := f.wanted.Load(), newWanted(p)
	without := func(subs []source.Subscription, m map[subKey]source.Subscription) (out []source.Subscription) {
		for _, s := range subs {
			if _, ok := m[subKey{s.Channel, s.Symbol}]; !ok {
				out = append(out, s)
			}
		}
		return out
	}
	added, removed := without(w.order, old.subs), without(old.order, w.subs)
	if err := f.instruments(p); err != nil {
		return err
	}
	if len(added) > 0 {
		if err := note(f.frames, source.InputNote, 0, flow.Note{Note: flow.NoteWanted, Subs: added}); err != nil {
			return err
		}
	}
	f.wanted.Store(w)
	if len(added)+len(removed) == 0 {
		return nil
	}
	if f.conn != nil {
		if err := f.conn.SetSubscriptions(w.order); err != nil {
			return err
		}
	}
	if len(removed) > 0 {
		return note(f.frames, source.InputNote, 0, flow.Note{Note: flow.NoteUnsubscribed, Subs: removed})
	}
	return nil
}

func (e *Engine) setExemplars(pl *plan.Plan) {
	if e.opt.Metrics != nil {
		e.opt.Metrics.SetExemplars(pl.Exemplars)
	}
}

// newAdmin listens for a plan; nil if it wants none.
func (e *Engine) newAdmin(pl *plan.Plan) (*admin.Server, error) {
	if pl.Listen == "" || e.opt.Metrics == nil {
		return nil, nil
	}
	return admin.New(admin.Settings{Listen: pl.Listen, TokenFile: pl.TokenFile, Hosts: pl.Hosts, Metrics: e.opt.Metrics.Handler(), Ready: e.Ready,
		Reload: http.HandlerFunc(e.serveReload), Routes: e.routes(), Logger: e.log})
}

// serveReload answers POST /-/reload.
func (e *Engine) serveReload(w http.ResponseWriter, r *http.Request) {
	res, err := e.Reload(r.Context())
	invalid := new(InvalidError)
	switch {
	case err == nil:
		admin.JSON(w, http.StatusOK, res)
	case errors.As(err, &invalid):
		var b bytes.Buffer // as `validate --json` prints it
		if err := invalid.Diagnostics.WriteJSON(&b); err != nil {
			admin.Error(w, http.StatusInternalServerError, "%v", err)
			return
		}
		admin.JSON(w, http.StatusUnprocessableEntity, json.RawMessage(b.Bytes()))
	case errors.Is(err, ErrNoPipeline), errors.Is(err, ErrReloading), errors.Is(err, ErrEnding):
		admin.Error(w, http.StatusConflict, "%v", err)
	default:
		admin.WriteError(w, http.StatusInternalServerError, admin.Problem{Message: err.Error(), Detail: map[string]string{"plan_in_force": e.digest()}})
	}
}

func (e *Engine) digest() string {
	p, _, _ := e.now()
	return p.Digest
}
