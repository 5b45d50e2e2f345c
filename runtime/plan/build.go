package plan

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/source"
)

// Resolver gives the native instrument of a canonical name; the venue's plugin
// knows. An error's text is shown to the user beside the name.
type Resolver interface {
	Resolve(venue, name string) (market.Market, string, error)
}

type builder struct {
	in     *pipefile.Pipeline
	names  *memo
	chosen Choices // nil: of no selector is known what it chooses
	out    *Plan
	diags  pipefile.Diagnostics
	// shares holds what each source takes of each feed, for selections.
	shares map[*pipefile.Source][]*share
}

// share is a source's part of a feed.
type share struct {
	feed        *Feed
	instruments []Instrument
	channels    []market.Channel
}

// Build plans a pipeline. What its selectors choose isn't known: their feeds have
// no instruments, and nothing can be run by the Plan. The Plan is nil if there
// are errors; warnings may come with one.
func Build(p *pipefile.Pipeline, names Resolver) (*Plan, pipefile.Diagnostics) {
	return build(p, &memo{names: names, known: map[[2]string]resolved{}}, nil)
}

// BuildChosen plans a pipeline with what its selectors have chosen.
func BuildChosen(p *pipefile.Pipeline, names Resolver, chosen Choices) (*Plan, pipefile.Diagnostics) {
	if chosen == nil {
		chosen = Choices{}
	}
	return build(p, &memo{names: names, known: map[[2]string]resolved{}}, chosen)
}

func build(p *pipefile.Pipeline, names *memo, chosen Choices) (*Plan, pipefile.Diagnostics) {
	s := p.Settings
	b := &builder{in: p, names: names, chosen: chosen, shares: map[*pipefile.Source][]*share{}, out: &Plan{
		FormatVersion: FormatVersion, Pipeline: p.Name,
		DataDir: s.DataDir, Latency: s.Latency, Listen: s.Listen, TokenFile: s.TokenFile, Hosts: s.Hosts, Exemplars: s.Exemplars, Sync: s.Journal.Sync,
		Feeds: []*Feed{}, Processors: []*Processor{}, Sinks: []*Sink{}, Processes: []Process{}, Journals: []Journal{},
	}}
	if u, err := url.Parse(s.Proxy); err == nil && s.Proxy != "" {
		b.out.Proxy = u.Redacted()
	}
	for _, src := range p.Sources {
		b.source(src)
	}
	if !b.diags.HasErrors() {
		for _, f := range b.out.Feeds {
			b.connections(f)
			b.budget(f)
			b.assume(f)
		}
		b.processors()
		b.sinks()
	}
	if !b.diags.HasErrors() {
		b.totals()
		if err := b.out.seal(); err != nil {
			b.errorf(pipefile.Range{}, "Plan can't be written", "%v", err)
		}
	}
	b.diags.Sort()
	if b.diags.HasErrors() {
		return nil, b.diags
	}
	b.out.in, b.out.names, b.out.chosen = p, names, chosen
	return b.out, b.diags
}

func (b *builder) errorf(r pipefile.Range, summary, format string, args ...any) {
	b.diags = append(b.diags, b.in.Errorf(r, summary, format, args...))
}

// source adds a source block to the feeds of its symbols' markets.
func (b *builder) source(s *pipefile.Source) {
	bySymbol := map[string]pipefile.Symbol{}
	var shares []*share
	symbols := s.Symbols
	if s.Selector != nil {
		if symbols, shares = b.selected(s); symbols == nil {
			b.channels(s, shares)
			return
		}
	}
	for i, sym := range symbols {
		var m market.Market
		var native string
		var err error
		if s.Selector != nil { // the venue's own statement goes before its naming rules
			l := &b.chosen[s.Address()][i]
			m, native = l.Market, l.Symbol
		} else {
			m, native, err = b.names.Resolve(s.Manifest.Venue, sym.Name)
		}
		if err != nil {
			b.errorf(sym.Range, "Unknown symbol", "%v", err)
			continue
		}
		spec := marketSpec(&s.Manifest, m)
		if spec == nil || native == "" {
			b.errorf(sym.Range, "Unknown market", "%q is of the market %q, which %s doesn't have. It has: %s.", sym.Name, m, s.Manifest.Venue, marketNames(&s.Manifest))
			continue
		}
		key := m.String() + " " + native
		if first, dup := bySymbol[key]; dup {
			b.errorf(sym.Range, "Symbol stands twice", "%q and %q are both %s on %s.", first.Name, sym.Name, native, s.Manifest.Venue)
			continue
		}
		bySymbol[key] = sym
		i := slices.IndexFunc(shares, func(x *share) bool { return x.feed.Market == m })
		if i < 0 {
			f := b.feed(s, *spec)
			if f == nil {
				return
			}
			i = len(shares)
			shares = append(shares, &share{feed: f})
		}
		x := shares[i]
		ins := Instrument{sym.Name, native}
		if j := slices.IndexFunc(x.feed.Instruments, func(o Instrument) bool { return o.Symbol == native }); j < 0 {
			x.feed.Instruments = append(x.feed.Instruments, ins)
		} else if o := x.feed.Instruments[j]; o != ins {
			b.errorf(sym.Range, "Two names of one symbol", "Another source calls %s %q; call it so here too.", native, o.Name)
			continue
		}
		x.instruments = append(x.instruments, ins)
	}
	b.channels(s, shares)
}

func (b *builder) channels(s *pipefile.Source, shares []*share) {
	for _, c := range s.Channels {
		b.channel(s, c, shares)
	}
	b.shares[s] = shares
}

func marketSpec(m *source.Manifest, k market.Market) *source.MarketSpec {
	for i := range m.Markets {
		if m.Markets[i].Market == k {
			return &m.Markets[i]
		}
	}
	return nil
}

func marketNames(m *source.Manifest) string {
	var names []string
	for _, s := range m.Markets {
		names = append(names, s.Market.String())
	}
	return strings.Join(names, ", ")
}

// redacted leaves passwords out of the ways out.
func redacted(egress []string) (shown []string) {
	for _, e := range egress {
		if u, err := url.Parse(e); err == nil && u.Host != "" {
			e = u.Redacted()
		}
		shown = append(shown, e)
	}
	return shown
}

// feed finds or adds a feed, and refuses a source whose settings differ from
// those that the feed has: a feed has one decoder and one set of endpoints.
func (b *builder) feed(s *pipefile.Source, spec source.MarketSpec) *Feed {
	name := s.Manifest.Venue + "-" + spec.Market.String()
	over, err := Override(spec, s.URL, s.HTTPURL)
	if err != nil {
		b.errorf(s.Range, "Plugin is wrong", "%v. This is a fault of the plugin %s.", err, s.Type)
		return nil
	}
	f := b.out.Feed(name)
	if f == nil {
		f = &Feed{
			Name: name, Venue: s.Manifest.Venue, Market: spec.Market, Sources: []string{s.Address()}, Plugin: s.Type,
			Config: s.Config, Shown: s.Shown, HTTP: over.HTTP, Spec: over, Manifest: &s.Manifest,
			Egress: s.Egress, ShownEgress: redacted(s.Egress), Standby: s.Standby, Backfill: s.Backfill, Connections: []Connection{},
			Credentials: s.Credentials, Login: s.Credentials.Names(),
			at: s.Range,
		}
		b.out.Feeds = append(b.out.Feeds, f)
		b.out.Processes = append(b.out.Processes, process("source", f.Name, s.Plugin, s.Manifest.Version))
		return f
	}
	var differs []string
	at := s.Range
	note := func(n string) {
		differs = append(differs, n)
		if r, ok := s.Ranges[n]; ok && at == s.Range {
			at = r
		}
	}
	if f.Plugin != s.Type {
		note("plugin")
	}
	if !sameEndpoints(f.Spec, over) {
		if s.HTTPURL != "" && s.URL == "" {
			note("http_url")
		} else {
			note("url")
		}
	}
	if !slices.Equal(f.Egress, s.Egress) {
		note("egress")
	}
	if s.Standby != f.Standby {
		note("standby")
	}
	if s.Backfill != f.Backfill {
		note("backfill")
	}
	if !f.Credentials.Equal(s.Credentials) {
		note("credentials")
	}
	for _, n := range slices.Sorted(maps.Keys(s.Config)) {
		if !reflect.DeepEqual(s.Config[n], f.Config[n]) {
			note(n)
		}
	}
	if len(differs) > 0 {
		b.errorf(at, "Sources of one feed differ", "%s shares the feed %s with %s, and must agree with it on %s: a feed has one decoder and one set of endpoints.",
			s.Address(), name, f.Sources[0], strings.Join(differs, ", "))
		return nil
	}
	f.Sources = append(f.Sources, s.Address())
	return f
}

func sameEndpoints(a, b source.MarketSpec) bool {
	return slices.Equal(a.HTTP, b.HTTP) && slices.EqualFunc(a.Endpoints, b.Endpoints, func(x, y source.Endpoint) bool { return x.URL == y.URL })
}

// Override puts another scheme and host into a market's endpoints. Alternates
// go then: who names a host wants no other.
func Override(spec source.MarketSpec, ws, http string) (source.MarketSpec, error) {
	swap := func(old, with string) (string, error) {
		u, err := url.Parse(old)
		if err != nil || u.Host == "" {
			return "", fmt.Errorf("plan: endpoint %q is no URL", old)
		}
		w, err := url.Parse(with)
		if err != nil {
			return "", fmt.Errorf("plan: override %q is no URL", with)
		}
		u.Scheme, u.Host = w.Scheme, w.Host
		return u.String(), nil
	}
	var err error
	if ws != "" {
		spec.Endpoints = slices.Clone(spec.Endpoints)
		for i := range spec.Endpoints {
			e := &spec.Endpoints[i]
			if e.URL, err = swap(e.URL, ws); err != nil {
				return spec, err
			}
			e.Alternates = nil
		}
	}
	if http != "" && len(spec.HTTP) > 0 {
		first, err := swap(spec.HTTP[0], http)
		if err != nil {
			return spec, err
		}
		spec.HTTP = []string{first}
	}
	return spec, nil
}

// channel adds a source's channel to each of its feeds that has it.
func (b *builder) channel(s *pipefile.Source, c *pipefile.Channel, shares []*share) {
	found := len(shares) == 0
	for _, x := range shares {
		n, ok := b.variant(s, c, x.feed)
		if !ok {
			continue
		}
		found = true
		if n == nil { // it was reported
			continue
		}
		x.channels = append(x.channels, c.Channel)
		have := x.feed.Channel(c.Channel)
		if have == nil {
			have = n
			x.feed.Channels = append(x.feed.Channels, n)
		} else if d := differing(have.Config, n.Config); len(d) > 0 {
			b.errorf(c.Range, "Channels of one feed differ", "%s sets %s of channel %q otherwise than %s does (%s): a feed has one decoder. Give both the same, or leave one out.",
				s.Address(), strings.Join(d, ", "), c.Channel, have.by, have.at)
			continue
		}
		for _, i := range x.instruments {
			if !slices.Contains(have.Symbols, i.Symbol) {
				have.Symbols = append(have.Symbols, i.Symbol)
			}
		}
	}
	if found || s.Selector != nil && slices.ContainsFunc(s.Selector.On(), func(m market.Market) bool { // of which nothing is chosen now
		_, ok := c.On(m)
		return ok
	}) {
		return
	}
	var markets, has []string
	for _, x := range shares {
		markets = append(markets, x.feed.Market.String())
		for _, spec := range s.Manifest.Channels {
			if n := spec.Channel.String(); slices.Contains(spec.Markets, x.feed.Market) && !slices.Contains(has, n) {
				has = append(has, n)
			}
		}
	}
	slices.Sort(has)
	b.errorf(c.Range, "Channel not on this market", "%s has no channel %q on %s, where all symbols of %s are. There it has: %s.",
		s.Manifest.Venue, c.Channel, strings.Join(markets, " or "), s.Address(), strings.Join(has, ", "))
}

func differing(a, b schema.Values) []string {
	var d []string
	for _, n := range slices.Sorted(maps.Keys(b)) {
		if !reflect.DeepEqual(a[n], b[n]) {
			d = append(d, n)
		}
	}
	return d
}

// variant is the channel as a feed's market has it. It isn't ok if the market
// lacks it, and nil if it is wrong there.
func (b *builder) variant(s *pipefile.Source, c *pipefile.Channel, f *Feed) (*Channel, bool) {
	n := &Channel{Channel: c.Channel, Symbols: []string{}, at: c.Range, by: s.Address()}
	if v, ok := c.On(f.Market); ok {
		b.diags = append(b.diags, v.Problems...)
		if v.Problems.HasErrors() {
			return nil, true
		}
		n.Transport, n.Class, n.PerMarket, n.Lossy, n.Kinds = v.Spec.Transport, v.Spec.EndpointClass(v.Config, ""), v.Spec.PerMarket, v.Spec.Lossy, v.Spec.Kinds
		n.Config, n.Shown, n.Spec = v.Config, v.Shown, v.Spec
		if !b.login(s, n, f) {
			return nil, true
		}
		return n, true
	}
	if c.Channel != market.ChannelBBO || !slices.ContainsFunc(s.Manifest.Channels, func(x source.ChannelSpec) bool {
		return x.Channel == market.ChannelBook && slices.Contains(x.Markets, f.Market)
	}) {
		return nil, false
	}
	if s.Channel(market.ChannelBook) == nil {
		b.errorf(c.Range, "Channel needs another", "%s sends no bbo on %s; it is taken from the book: add channel \"book\" {} to %s.", s.Manifest.Venue, f.Market, s.Address())
		return nil, true
	}
	n.Derived, n.Kinds = true, []market.Kind{market.KindBBO}
	return n, true
}

func process(kind, name string, p pipefile.Plugin, version string) Process {
	return Process{Name: kind + "/" + name, Kind: kind, Plugin: p.Name, Version: version, FirstParty: p.FirstParty(), Path: p.Path, SHA256: p.SHA256}
}

// selections are what an input means, one for each feed that it touches; changes
// says that instrument records of what selectors take and leave out are in them.
func (b *builder) selections(refs []pipefile.Ref, changes bool) []Selection {
	var out []Selection
	add := func(n Selection) {
		for i := range out {
			if o := &out[i]; o.Journal == n.Journal && o.All == n.All && slices.Equal(o.Instruments, n.Instruments) {
				o.Kinds = union(o.Kinds, n.Kinds)
				o.Channels = union(o.Channels, n.Channels)
				return
			}
		}
		out = append(out, n)
	}
	for _, r := range refs {
		if r.Kind == "processor" {
			for _, p := range b.out.Processors {
				if p.Name != r.Type+"."+r.Name {
					continue
				}
				for i, in := range p.Inputs {
					add(Selection{Feed: in.Feed, Processor: p.Name, Journal: p.Journals[i], Kinds: p.Kinds, All: in.All, Instruments: in.Instruments})
				}
			}
			continue
		}
		src := b.in.Source(r.Type, r.Name)
		for _, x := range b.shares[src] {
			n := Selection{Feed: x.feed.Name, Journal: x.feed.Journal(Records), Instruments: x.instruments}
			alone := src.Selector != nil && len(x.feed.Sources) == 1
			for _, c := range x.channels {
				if r.Channel == market.ChannelNone || r.Channel == c {
					n.Channels = union(n.Channels, []market.Channel{c})
					n.Kinds = union(n.Kinds, x.feed.Channel(c).Kinds)
					alone = alone && !x.feed.Channel(c).PerMarket
				}
			}
			if alone { // nobody else's are in the journal: what comes and goes changes no reader
				n.All, n.Instruments = true, []Instrument{}
			}
			if len(n.Channels) > 0 {
				n.Kinds = union(n.Kinds, []market.Kind{market.KindQuality, market.KindCoverage})
				add(n)
				if src.Selector != nil && changes {
					add(Selection{Feed: n.Feed, Journal: n.Journal, Channels: []market.Channel{market.ChannelInstruments}, Kinds: []market.Kind{market.KindInstrument},
						All: true, Instruments: []Instrument{}})
				}
			}
		}
	}
	return out
}

// union is sorted and has each value once.
func union[T market.Kind | market.Channel](a, b []T) []T {
	u := slices.Concat(a, b)
	slices.Sort(u)
	return slices.Compact(u)
}

func (b *builder) processors() {
	for _, x := range b.in.Processors {
		p := &Processor{Name: x.Type + "." + x.Name, Type: x.Type, Config: x.Config, Shown: x.Shown, Kinds: []market.Kind{market.KindBookSnapshot}, Journals: []string{}}
		refs := slices.Clone(x.Input)
		for i := range refs { // it reads the book alone, also where the input is a whole source
			refs[i].Channel = market.ChannelBook
		}
		byFeed := map[string]int{}
		for _, s := range b.selections(refs, false) {
			if i, ok := byFeed[s.Feed]; ok {
				in := &p.Inputs[i]
				if in.All = in.All || s.All; in.All {
					in.Instruments = []Instrument{}
				} else {
					in.Instruments = unionInstruments(in.Instruments, s.Instruments)
				}
				continue
			}
			byFeed[s.Feed] = len(p.Inputs)
			p.Inputs = append(p.Inputs, s)
			p.Journals = append(p.Journals, s.Feed+"-"+x.Type+"-"+x.Name)
		}
		b.out.Processors = append(b.out.Processors, p)
	}
}

func unionInstruments(a, b []Instrument) []Instrument {
	out := slices.Clone(a)
	for _, i := range b {
		if !slices.Contains(out, i) {
			out = append(out, i)
		}
	}
	return out
}

func (b *builder) sinks() {
	for _, x := range b.in.Sinks {
		s := &Sink{
			Name: x.Type + "." + x.Name, Plugin: x.Type, Commit: x.Manifest.Commit, Idempotent: x.Manifest.Idempotent,
			Config: x.Config, Shown: x.Shown, Inputs: b.selections(x.Input, true), Journals: []string{},
			Batch: Batch{x.Batch.MaxRecords, Duration(x.Batch.MaxWait)}, OnFull: x.OnFull, Access: access(&x.Manifest, x.Config, x.Shown),
		}
		for _, in := range s.Inputs {
			if !slices.Contains(s.Journals, in.Journal) {
				s.Journals = append(s.Journals, in.Journal)
			}
		}
		if x.Manifest.Commit == sink.CommitRoll {
			s.Roll = &Roll{Duration(x.Config.Duration("roll_every")), x.Config.Int("roll_size")}
			if age := b.in.Settings.Journal.MaxAge; s.Roll.Every.Std() > age {
				at := x.Range
				if r, ok := x.Ranges["roll_every"]; ok {
					at = r
				}
				b.errorf(at, "Journal is shorter than a roll", "%s has its records only when a file is closed, every %s; the journal keeps them for %s: what isn't closed by then would be lost in a crash. Raise journal { max_age } or lower roll_every.",
					x.Address(), s.Roll.Every, pipefile.FormatDuration(age))
			}
		}
		b.out.Sinks = append(b.out.Sinks, s)
		b.out.Processes = append(b.out.Processes, process("sink", s.Name, x.Plugin, x.Manifest.Version))
	}
}

// access is what a sink may do with these values.
func access(m *sink.Manifest, config schema.Values, shown pipefile.Shown) Access {
	a := Access{Undeclared: !m.Declares()}
	if m.Access != nil {
		a.Connect, a.Listen, a.Stdout = m.Access.Connect, m.Access.Listen, m.Access.Stdout
	}
	for _, attr := range m.Attributes {
		if paths := attr.Paths(config); len(paths) > 0 {
			a.Writes = append(a.Writes, Writes{attr.Name, attr.Writes, paths, shown[attr.Name] == pipefile.Struck})
		}
	}
	return a
}
