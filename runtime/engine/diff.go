package engine

import (
	"reflect"
	"slices"

	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/sdk/wire"
)

// difference is what a new plan does to what runs. Each feed and each sink of
// both plans is in one of its lists.
type difference struct {
	Kept         []string `json:"kept,omitempty"`
	Resubscribed []string `json:"resubscribed,omitempty"` // other symbols on the connections that are there
	Restarted    []string `json:"restarted,omitempty"`
	Added        []string `json:"added,omitempty"`
	Removed      []string `json:"removed,omitempty"`
}

// stays says whether something goes on running.
func (d *difference) stays(name string) bool {
	return slices.Contains(d.Kept, name) || slices.Contains(d.Resubscribed, name)
}

// feedDifference compares by what a running feed can't change: everything but its
// symbols. live says which feeds run.
func feedDifference(from, to *plan.Plan, sameProxy bool, live func(name string) bool) (d difference) {
	for _, f := range to.Feeds {
		old := from.Feed(f.Name)
		switch {
		case old == nil:
			d.Added = append(d.Added, f.Name)
		case !live(f.Name) || !sameProxy || from.Latency != to.Latency || from.Sync != to.Sync || !sameFeed(from, old, to, f):
			d.Restarted = append(d.Restarted, f.Name)
		case !reflect.DeepEqual(newWanted(old).order, newWanted(f).order) || !reflect.DeepEqual(old.Instruments, f.Instruments):
			d.Resubscribed = append(d.Resubscribed, f.Name)
		default:
			d.Kept = append(d.Kept, f.Name)
		}
	}
	for _, f := range from.Feeds {
		if to.Feed(f.Name) == nil {
			d.Removed = append(d.Removed, f.Name)
		}
	}
	return d
}

// sinkDifference: a sink goes on if nothing of its own changed, and no feed that
// it reads was restarted.
func sinkDifference(from, to *plan.Plan, feeds *difference, live func(name string) bool) (d difference) {
	old := map[string]*plan.Sink{}
	for _, s := range from.Sinks {
		old[s.Name] = s
	}
	for _, s := range to.Sinks {
		o := old[s.Name]
		delete(old, s.Name)
		switch {
		case o == nil:
			d.Added = append(d.Added, s.Name)
		case !live(s.Name) || from.Latency != to.Latency || from.Sync != to.Sync || !reflect.DeepEqual(o, s) ||
			!reflect.DeepEqual(processOf(from, "sink/"+s.Name), processOf(to, "sink/"+s.Name)) ||
			slices.ContainsFunc(s.Inputs, func(in plan.Selection) bool { return !feeds.stays(in.Feed) }):
			d.Restarted = append(d.Restarted, s.Name)
		default:
			d.Kept = append(d.Kept, s.Name)
		}
	}
	for _, s := range from.Sinks {
		if old[s.Name] != nil {
			d.Removed = append(d.Removed, s.Name)
		}
	}
	return d
}

func processOf(p *plan.Plan, name string) plan.Process {
	for _, x := range p.Processes {
		if x.Name == name {
			return x
		}
	}
	return plan.Process{}
}

// fixed is what a running feed can't change.
type fixed struct {
	Feed     plan.Feed
	Channels []plan.Channel
	Process  plan.Process
	Journals []plan.Journal
	Inputs   []input
}

// input is a processor on a feed.
type input struct {
	Processor plan.Processor
	Selection plan.Selection
	Journal   string
}

// sameFeed compares all but the symbols, and what is computed of them.
func sameFeed(from *plan.Plan, a *plan.Feed, to *plan.Plan, b *plan.Feed) bool {
	return a.Credentials.Equal(b.Credentials) && reflect.DeepEqual(fix(from, a), fix(to, b))
}

func fix(p *plan.Plan, f *plan.Feed) fixed {
	x := fixed{Process: processOf(p, wire.KindSource+"/"+f.Name)}
	x.Feed = plan.Feed{Name: f.Name, Venue: f.Venue, Market: f.Market, Plugin: f.Plugin, Config: f.Config, HTTP: f.HTTP, Egress: f.Egress, Standby: f.Standby,
		Spec: f.Spec, Manifest: f.Manifest}
	for _, c := range f.Channels {
		x.Channels = append(x.Channels, plan.Channel{Channel: c.Channel, Transport: c.Transport, Class: c.Class, PerMarket: c.PerMarket,
			Derived: c.Derived, Kinds: c.Kinds, Config: c.Config, Spec: c.Spec})
	}
	for _, j := range p.Journals {
		if j.Feed == f.Name {
			x.Journals = append(x.Journals, plan.Journal{Name: j.Name, Content: j.Content, SegmentBytes: j.SegmentBytes, MaxBytes: j.MaxBytes, MaxAge: j.MaxAge})
		}
	}
	for _, pr := range p.Processors {
		for i, in := range pr.Inputs {
			if in.Feed == f.Name {
				x.Inputs = append(x.Inputs, input{plan.Processor{Name: pr.Name, Type: pr.Type, Config: pr.Config, Kinds: pr.Kinds}, in, pr.Journals[i]})
			}
		}
	}
	return x
}

// samePlan says whether nothing at all is to be done: secrets, which the digest
// leaves out, included.
func samePlan(a, b *plan.Plan) bool {
	if a.Digest != b.Digest {
		return false
	}
	for i, f := range a.Feeds {
		if !sameFeed(a, f, b, b.Feeds[i]) {
			return false
		}
	}
	for i, s := range a.Sinks {
		if !reflect.DeepEqual(s.Config, b.Sinks[i].Config) {
			return false
		}
	}
	return true
}
