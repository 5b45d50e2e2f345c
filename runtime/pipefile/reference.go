package pipefile

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
)

// ref reads an expression as a reference, by its syntax alone: what it points
// to is checked when all blocks are known.
func (p *parser) ref(e hcl.Expression) (Ref, bool) {
	const form = "An input is a reference without quotes: source.TYPE.NAME for all channels of a source, source.TYPE.NAME.CHANNEL for one, processor.TYPE.NAME."
	t, ds := hcl.AbsTraversalForExpr(e)
	if ds.HasErrors() {
		p.errorf(e.Range(), "Not a reference", form)
		return Ref{}, false
	}
	parts := []string{t.RootName()}
	for _, s := range t[1:] {
		a, ok := s.(hcl.TraverseAttr)
		if !ok {
			p.errorf(e.Range(), "Not a reference", form)
			return Ref{}, false
		}
		parts = append(parts, a.Name)
	}
	r := Ref{Kind: parts[0], Range: fromHCL(e.Range())}
	kinds := []string{"source", "processor"}
	switch {
	case r.Kind == "sink":
		p.errorf(e.Range(), "A sink has no output", "%s takes records and gives none. %s", strings.Join(parts, "."), form)
		return r, false
	case r.Kind == "local" || r.Kind == "each":
		p.errorf(e.Range(), "Not available in this version", "Inputs by %s come in a later version. %s", r.Kind, form)
		return r, false
	case !slices.Contains(kinds, r.Kind):
		p.errorf(e.Range(), "Unknown reference", "Nothing is called %q.%s %s", r.Kind, hint(r.Kind, kinds), form)
		return r, false
	case len(parts) < 3 || len(parts) > 4 || len(parts) == 4 && r.Kind != "source":
		p.errorf(e.Range(), "Not a reference", "%s has the wrong number of parts. %s", strings.Join(parts, "."), form)
		return r, false
	}
	r.Type, r.Name = parts[1], parts[2]
	if len(parts) == 4 {
		c, err := market.ParseChannel(parts[3])
		if err != nil || c == market.ChannelNone {
			var names []string
			for c := market.ChannelTrades; c <= market.ChannelInstruments; c++ {
				names = append(names, c.String())
			}
			p.errorf(e.Range(), "Unknown channel", "There is no channel %q.%s", parts[3], suggest(parts[3], names, "There are:"))
			return r, false
		}
		r.Channel = c
	}
	return r, true
}

// references checks what inputs point to, and that the graph has no cycle.
func (p *parser) references() {
	for _, x := range p.out.Processors {
		for _, r := range x.Input {
			p.reference(r)
		}
	}
	used := map[string]bool{}
	for _, s := range p.out.Sinks {
		for _, r := range s.Input {
			p.reference(r)
		}
	}
	p.cycles()
	for _, x := range p.out.Processors {
		spec, ok := processors[x.Type]
		for _, r := range x.Input {
			used[r.Kind+"."+r.Type+"."+r.Name] = true
			if ok {
				p.readable(x, r, spec.reads)
			}
		}
	}
	for _, s := range p.out.Sinks {
		for _, r := range s.Input {
			used[r.Kind+"."+r.Type+"."+r.Name] = true
		}
	}
	if p.diags.HasErrors() {
		return
	}
	for _, s := range p.out.Sources {
		if !used[s.Address()] {
			p.add(p.fs.diag(Warning, s.Range, "Source without a reader", "No sink or processor has %s as input: it is collected into the journal only, and goes with its retention.", s.Address()))
		}
	}
	for _, x := range p.out.Processors {
		if !used[x.Address()] {
			p.add(p.fs.diag(Warning, x.Range, "Processor without a reader", "No sink has %s as input.", x.Address()))
		}
	}
}

// reference checks that a reference's target exists.
func (p *parser) reference(r Ref) {
	var names []string
	want := r.Type + "." + r.Name
	switch r.Kind {
	case "source":
		if s := p.out.Source(r.Type, r.Name); s != nil {
			if r.Channel == market.ChannelNone || s.Channel(r.Channel) != nil || len(s.Channels) == 0 {
				return
			}
			for _, c := range s.Channels {
				names = append(names, c.Channel.String())
			}
			p.add(p.fs.diag(Error, r.Range, "Unknown reference", "%s has no channel %s.%s Add channel %q {} to it, or use one of: %s.",
				s.Address(), r.Channel, hint(r.Channel.String(), names), r.Channel, list(names)))
			return
		}
		for _, s := range p.out.Sources {
			names = append(names, s.Type+"."+s.Name)
		}
	case "processor":
		if p.out.Processor(r.Type, r.Name) != nil {
			return
		}
		for _, x := range p.out.Processors {
			names = append(names, x.Type+"."+x.Name)
		}
	}
	more := fmt.Sprintf(" The pipeline has no %s block.", r.Kind)
	if len(names) > 0 {
		for i := range names {
			names[i] = r.Kind + "." + names[i]
		}
		want = r.Kind + "." + want
		more = suggest(want, names, "There are:")
	}
	p.add(p.fs.diag(Error, r.Range, "Unknown reference", "There is no %s.%s", r.Address(), more))
}

// readable checks that a processor can use an input.
func (p *parser) readable(x *Processor, r Ref, reads market.Channel) {
	if r.Kind != "source" {
		if !p.diags.HasErrors() {
			p.add(p.fs.diag(Error, r.Range, "Wrong input", "%s reads the %s channel of a source; %s is none.", x.Address(), reads, r.Address()))
		}
		return
	}
	s := p.out.Source(r.Type, r.Name)
	switch {
	case s == nil || len(s.Channels) == 0:
	case r.Channel != market.ChannelNone && r.Channel != reads:
		p.add(p.fs.diag(Error, r.Range, "Wrong input", "%s reads the %s channel; %s is another. Write source.%s.%s.%s.", x.Address(), reads, r.Address(), r.Type, r.Name, reads))
	case s.Channel(reads) == nil:
		p.add(p.fs.diag(Error, r.Range, "Wrong input", "%s reads the %s channel, which %s doesn't collect: add channel %q {} to it.", x.Address(), reads, s.Address(), reads))
	}
}

// cycles refuses processors that read themselves, on whatever way.
func (p *parser) cycles() {
	const (
		unseen = iota
		open
		done
	)
	state := map[*Processor]int{}
	var way []*Processor
	var visit func(x *Processor, by Ref)
	visit = func(x *Processor, by Ref) {
		switch state[x] {
		case done:
			return
		case open:
			var names []string
			for _, y := range way[slices.Index(way, x):] {
				names = append(names, y.Address())
			}
			p.add(p.fs.diag(Error, by.Range, "Cycle", "A processor can't read its own output: %s ← %s.", strings.Join(names, " ← "), x.Address()))
			return
		}
		state[x] = open
		way = append(way, x)
		for _, r := range x.Input {
			if y := p.out.Processor(r.Type, r.Name); r.Kind == "processor" && y != nil {
				visit(y, r)
			}
		}
		way = way[:len(way)-1]
		state[x] = done
	}
	for _, x := range p.out.Processors {
		visit(x, Ref{})
	}
}

// targetNames are attributes that say where a store is. Two sinks of one type
// that agree on all of them would write over each other.
var targetNames = []string{
	"address", "addresses", "addr", "brokers", "bucket", "collection", "database", "dir", "directory", "dsn", "endpoint", "file",
	"host", "hosts", "key", "path", "port", "prefix", "schema", "servers", "stream", "subject", "table", "topic", "url",
}

// targets refuses two sinks on one target.
func (p *parser) targets() {
	seen := map[string]*Sink{}
	for _, s := range p.out.Sinks {
		var id strings.Builder
		id.WriteString(s.Type)
		at, found := s.Range, ""
		for _, n := range targetNames {
			v, set := s.Config[n]
			if !set {
				continue
			}
			if t, ok := v.(string); ok && (n == "path" || n == "dir" || n == "directory" || n == "file") && !strings.Contains(t, "://") {
				v = path.Clean(t)
			}
			fmt.Fprintf(&id, "\x00%s=%v", n, v)
			if r, ok := s.Ranges[n]; ok && found == "" {
				at, found = r, n
			}
		}
		if id.Len() == len(s.Type) {
			continue
		}
		if first := seen[id.String()]; first != nil {
			p.add(p.fs.diag(Error, at, "Two sinks on one target", "%s writes there already (%s). Give %s a target of its own, or put all inputs into one sink.",
				first.Address(), first.Range, s.Address()))
			continue
		}
		seen[id.String()] = s
	}
}

// Processors lists the types of processors with their schemas.
func Processors() map[string]schema.Attributes {
	m := map[string]schema.Attributes{}
	for n, s := range processors {
		m[n] = s.schema
	}
	return m
}
