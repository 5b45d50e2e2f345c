package pipefile

import (
	"cmp"
	"fmt"
	"math"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/sink"
)

// unmarked strips marks for checks that don't print.
func unmarked(v cty.Value) cty.Value { u, _ := v.UnmarkDeep(); return u }

var sourceSchema = schema.Attributes{
	{Name: "url", Type: schema.String, Doc: "scheme and host of WebSocket endpoints"},
	{Name: "http_url", Type: schema.String, Doc: "scheme and host of HTTP endpoints"},
	{Name: "egress", Type: schema.Strings, Sensitive: true, Doc: "local addresses and proxies, each with a budget of its own"},
	{Name: "standby", Type: schema.Bool, Default: false, Doc: "keep a second, subscribed connection beside each"},
	{Name: "backfill", Type: schema.Bool, Default: true, Doc: "ask the venue again for trades that a gap took"},
}

// source decodes a source block with its plugin's schema.
func (p *parser) source(b *hclsyntax.Block) {
	s := &Source{Type: b.Labels[0], Name: b.Labels[1], Range: fromHCL(b.DefRange())}
	if first := p.out.Source(s.Type, s.Name); first != nil {
		p.errorf(b.DefRange(), "Block stands twice", "%s is at %s already.", s.Address(), first.Range)
		return
	}
	p.out.Sources = append(p.out.Sources, s) // in any case, so that references to it are found
	names, _ := p.schemas.Names()
	var ok bool
	if s.Plugin, ok = p.plugin(b, names); !ok {
		return
	}
	var err error
	if s.Manifest, err = p.schemas.Source(s.Plugin); err != nil {
		p.errorf(b.LabelRanges[0], "Plugin can't be asked", "The source plugin %q doesn't describe itself: %v", s.Type, err)
		return
	}
	if v := s.Manifest.Venue; !validName(v) {
		p.errorf(b.LabelRanges[0], "Plugin is wrong", "The source plugin %q names its venue %.64q, which is no name. This is a fault of the plugin.", s.Type, v)
		return
	}
	what := fmt.Sprintf("source %q %q", s.Type, s.Name)
	p.noBlocks(b.Body, what, "channel", "credentials", "symbols")
	all := slices.Concat(sourceSchema, s.Manifest.Attributes)
	d, diags := p.decode(block{what: what, body: b.Body, schema: all, handled: []string{"symbols"}})
	p.add(diags...)
	s.Ranges = d.ranges
	s.URL = p.endpoint(d, "url", "ws", "wss")
	s.HTTPURL = p.endpoint(d, "http_url", "http", "https")
	s.Egress = p.egress(d)
	s.Standby = d.values.Bool("standby")
	s.Backfill = d.values.Bool("backfill")
	p.credentials(b, s)
	s.Config, s.Shown = split(d, s.Manifest.Attributes)
	p.symbols(b, s)
	for _, c := range b.Body.Blocks {
		if c.Type == "channel" {
			p.channel(c, s)
		}
	}
	if !slices.ContainsFunc(b.Body.Blocks, func(c *hclsyntax.Block) bool { return c.Type == "channel" || c.Type == "dynamic" }) {
		p.errorf(b.DefRange(), "No channel", "%s collects nothing: give it channel blocks. %s has: %s.", what, s.Type, list(channelNames(s)))
	}
}

// split takes what belongs to the plugin out of decoded values.
func split(d decoded, as schema.Attributes) (schema.Values, Shown) {
	values, shown := schema.Values{}, Shown{}
	for _, a := range as {
		if v, ok := d.values[a.Name]; ok {
			values[a.Name], shown[a.Name] = v, d.shown[a.Name]
		}
	}
	return values, shown
}

// endpoint checks a URL that replaces the scheme and host of a plugin's own.
func (p *parser) endpoint(d decoded, name string, schemes ...string) string {
	text := d.values.String(name)
	if text == "" {
		return ""
	}
	if slices.Contains(d.sensitive, name) {
		p.add(p.fs.diag(Error, d.ranges[name], "Sensitive value", "%q is printed in plans and logs; a sensitive value can't stand here.", name))
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		p.add(p.fs.diag(Error, d.ranges[name], "Wrong value for \""+name+"\"",
			"It replaces scheme and host of the venue's endpoints and is written %s://host:port, without a path; paths stay the venue's.", schemes[0]))
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// egress checks the ways out of a source.
func (p *parser) egress(d decoded) []string {
	all := d.values.Strings("egress")
	for i, e := range all {
		u, err := url.Parse(e)
		proxy := err == nil && u.Host != "" && slices.Contains([]string{"http", "https", "socks5"}, u.Scheme)
		switch {
		case net.ParseIP(e) == nil && !proxy:
			p.add(p.fs.diag(Error, d.ranges["egress"], "Wrong value for \"egress\"",
				"Element %d is neither an address of this machine, like \"192.0.2.10\", nor a proxy, which is written http://host:port, https://host:port or socks5://host:port.", i+1))
		case slices.Contains(all[:i], e):
			p.add(p.fs.diag(Error, d.ranges["egress"], "Wrong value for \"egress\"", "Element %d stands there already: a way out has one budget.", i+1))
		}
	}
	return all
}

// symbols decodes the list, or the block that selects.
func (p *parser) symbols(b *hclsyntax.Block, s *Source) {
	a := b.Body.Attributes["symbols"]
	if x := p.one(b.Body, "symbols"); x != nil {
		if a != nil {
			p.errorf(x.DefRange(), "Block stands twice", "The symbols of %s are listed at %s already: give the list or the block.", s.Address(), fromHCL(a.SrcRange))
			return
		}
		p.selector(x, s)
		return
	}
	if a == nil {
		p.errorf(b.DefRange(), "Missing attribute", "source %q %q needs \"symbols\": a list of canonical names, like [\"BTC-USDT\", \"BTC-USDT-PERP\"], or a block that selects them, like symbols { include = [\"*-USDT\"] }.", s.Type, s.Name)
		return
	}
	v, secret, diags := p.eval(a.Expr)
	p.add(diags...)
	if secret {
		p.errorf(a.Expr.Range(), "Sensitive value", "Symbols are printed in plans and logs; a sensitive value can't stand here.")
		return
	}
	if v == cty.NilVal {
		return
	}
	x, err := fromCty(v, schema.Attribute{Name: "symbols", Type: schema.Strings})
	if err != nil {
		p.errorf(a.Expr.Range(), "Wrong value for \"symbols\"", "%v", err)
		return
	}
	names := x.([]string)
	if len(names) == 0 {
		p.errorf(a.Expr.Range(), "Wrong value for \"symbols\"", "The list is empty: there is nothing to collect.")
	}
	at := func(int) Range { return fromHCL(a.Expr.Range()) }
	if t, ok := a.Expr.(*hclsyntax.TupleConsExpr); ok && len(t.Exprs) == len(names) {
		at = func(i int) Range { return fromHCL(t.Exprs[i].Range()) }
	}
	seen := make(map[string]bool, len(names))
	for i, n := range names {
		switch {
		case n == "" || len(n) > 64:
			p.add(p.fs.diag(Error, at(i), "Wrong symbol", "%.64q is no canonical name, like \"BTC-USDT\" or \"BTC-USDT-PERP\".", n))
		case seen[n]:
			p.add(p.fs.diag(Error, at(i), "Symbol stands twice", "%q is in the list already.", n))
		default:
			s.Symbols = append(s.Symbols, Symbol{n, at(i)})
		}
		seen[n] = true
	}
}

// channelNames lists what the venue has, or the runtime can derive.
func channelNames(s *Source) []string {
	var names []string
	for _, c := range s.Manifest.Channels {
		if n := c.Channel.String(); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	if bbo := market.ChannelBBO.String(); slices.Contains(names, market.ChannelBook.String()) && !slices.Contains(names, bbo) {
		names = append(names, bbo)
	}
	return names
}

// channel decodes a channel block, once for each way in which the venue's
// markets give the channel.
func (p *parser) channel(b *hclsyntax.Block, s *Source) {
	if len(b.Labels) != 1 {
		p.errorf(b.DefRange(), "Wrong number of labels", "A channel block is written channel \"trades\" { … }.")
		return
	}
	name := b.Labels[0]
	ch, err := market.ParseChannel(name)
	if names := channelNames(s); err != nil || !slices.Contains(names, name) {
		p.errorf(b.LabelRanges[0], "Unknown channel", "%s has no channel %q.%s It has: %s.", s.Manifest.Venue, name, hint(name, names), list(names))
		return
	}
	if first := s.Channel(ch); first != nil {
		p.errorf(b.DefRange(), "Channel stands twice", "Channel %q of this source is at %s already.", name, first.Range)
		return
	}
	c := &Channel{Channel: ch, Range: fromHCL(b.DefRange())}
	s.Channels = append(s.Channels, c)
	what := fmt.Sprintf("channel %q of %s", name, s.Manifest.Venue)
	p.noBlocks(b.Body, what)
	bad, several := 0, 0
	for _, spec := range s.Manifest.Channels {
		if spec.Channel == ch {
			several++
		}
	}
	for _, spec := range s.Manifest.Channels {
		if spec.Channel != ch {
			continue
		}
		what := what
		if several > 1 {
			var on []string
			for _, m := range spec.Markets {
				on = append(on, m.String())
			}
			what += " on " + strings.Join(on, ", ")
		}
		d, diags := p.decode(block{what: what, body: b.Body, schema: spec.Attributes})
		v := Variant{Spec: spec, Config: d.values, Shown: d.shown, Problems: diags}
		if diags.HasErrors() {
			bad++
		}
		c.Variants = append(c.Variants, v)
	}
	switch {
	case len(c.Variants) == 0: // derived: takes nothing
		_, diags := p.decode(block{what: what, body: b.Body})
		p.add(diags...)
	case bad == len(c.Variants):
		p.add(c.Variants[0].Problems...)
	}
}

// processors are the runtime's own: their schemas, and the channel of a source
// that they read.
var processors = map[string]struct {
	schema schema.Attributes
	reads  market.Channel
}{
	"book_snapshot": {
		schema: schema.Attributes{
			{Name: "depth", Type: schema.Int, Default: 25, Min: schema.Limit(1), Max: schema.Limit(1000), Doc: "levels a side"},
			{Name: "every", Type: schema.Duration, Default: "1s", Min: schema.Limit(int64(10 * time.Millisecond)), Max: schema.Limit(int64(24 * time.Hour)), Doc: "time between snapshots"},
		},
		reads: market.ChannelBook,
	},
}

// laterProcessors come later.
var laterProcessors = []string{"bars", "basis", "dedupe", "derive", "join", "resample"}

func (p *parser) processor(b *hclsyntax.Block) {
	x := &Processor{Type: b.Labels[0], Name: b.Labels[1], Range: fromHCL(b.DefRange())}
	if first := p.out.Processor(x.Type, x.Name); first != nil {
		p.errorf(b.DefRange(), "Block stands twice", "%s is at %s already.", x.Address(), first.Range)
		return
	}
	p.out.Processors = append(p.out.Processors, x)
	spec, ok := processors[x.Type]
	if !ok {
		var names []string
		for n := range processors {
			names = append(names, n)
		}
		if slices.Contains(laterProcessors, x.Type) {
			p.errorf(b.LabelRanges[0], "Not available in this version", "The processor %q comes in a later version. There are: %s.", x.Type, list(names))
			return
		}
		p.errorf(b.LabelRanges[0], "Unknown processor", "There is no processor %q.%s", x.Type, suggest(x.Type, names, "There are:"))
		return
	}
	what := fmt.Sprintf("processor %q %q", x.Type, x.Name)
	p.noBlocks(b.Body, what)
	d, diags := p.decode(block{what: what, body: b.Body, schema: spec.schema, handled: []string{"input"}})
	p.add(diags...)
	p.unprintable(d, what)
	x.Config, x.Shown = d.values, d.shown
	x.Input = p.input(b, what)
}

var batchSchema = schema.Attributes{
	{Name: "max_records", Type: schema.Int, Min: schema.Limit(1), Max: schema.Limit(math.MaxInt32), Doc: "records in a batch"},
	{Name: "max_wait", Type: schema.Duration, Min: schema.Limit(int64(time.Millisecond)), Max: schema.Limit(int64(time.Hour)), Doc: "time from a batch's first record"},
}

// rollSchema is what sinks take that commit by roll.
func rollSchema(m sink.Manifest) schema.Attributes {
	var as schema.Attributes
	if _, has := m.Attributes.Get("roll_every"); !has {
		as = append(as, schema.Attribute{Name: "roll_every", Type: schema.Duration, Default: FormatDuration(cmp.Or(max(m.Roll.Every, 0), time.Hour)),
			Min: schema.Limit(int64(time.Second)), Max: schema.Limit(int64(24 * time.Hour)), Doc: "time between rolls"})
	}
	if _, has := m.Attributes.Get("roll_size"); !has {
		as = append(as, schema.Attribute{Name: "roll_size", Type: schema.Size, Default: fmt.Sprintf("%dB", cmp.Or(max(m.Roll.MaxBytes, 0), 256<<20)),
			Min: schema.Limit(64 << 10), Doc: "bytes between rolls"})
	}
	return as
}

// sink decodes a sink block with its plugin's schema.
func (p *parser) sink(b *hclsyntax.Block) {
	s := &Sink{Type: b.Labels[0], Name: b.Labels[1], Range: fromHCL(b.DefRange()), OnFull: DropOldest}
	for _, o := range p.out.Sinks {
		if o.Type == s.Type && o.Name == s.Name {
			p.errorf(b.DefRange(), "Block stands twice", "%s is at %s already.", s.Address(), o.Range)
			return
		}
	}
	p.out.Sinks = append(p.out.Sinks, s)
	_, names := p.schemas.Names()
	var ok bool
	if s.Plugin, ok = p.plugin(b, names); !ok {
		return
	}
	var err error
	if s.Manifest, err = p.schemas.Sink(s.Plugin); err != nil {
		p.errorf(b.LabelRanges[0], "Plugin can't be asked", "The sink plugin %q doesn't describe itself: %v", s.Type, err)
		return
	}
	what := fmt.Sprintf("sink %q %q", s.Type, s.Name)
	p.access(b, s)
	p.noBlocks(b.Body, what, "batch")
	all := slices.Clone(s.Manifest.Attributes)
	if s.Manifest.Commit == sink.CommitRoll {
		all = append(all, rollSchema(s.Manifest)...)
	}
	d, diags := p.decode(block{what: what, body: b.Body, schema: all, handled: []string{"input", "on_full"}})
	p.add(diags...)
	s.Config, s.Shown, s.Ranges = d.values, d.shown, d.ranges
	s.Input = p.input(b, what)
	p.onFull(b.Body.Attributes["on_full"])

	s.Batch = Batch{MaxRecords: cmp.Or(max(s.Manifest.Batch.MaxRecords, 0), 4096), MaxWait: cmp.Or(max(s.Manifest.Batch.MaxWait, 0), time.Second)}
	if bb := p.one(b.Body, "batch"); bb != nil {
		p.noBlocks(bb.Body, "batch")
		d, diags := p.decode(block{what: "batch", body: bb.Body, schema: batchSchema})
		p.add(diags...)
		p.unprintable(d, "batch")
		s.Batch.MaxRecords = int(cmp.Or(d.values.Int("max_records"), int64(s.Batch.MaxRecords)))
		s.Batch.MaxWait = cmp.Or(d.values.Duration("max_wait"), s.Batch.MaxWait)
	}
}

// access checks what a sink's plugin says of what it writes.
func (p *parser) access(b *hclsyntax.Block, s *Sink) {
	for _, a := range s.Manifest.Attributes {
		switch a.Writes {
		case "":
			continue
		case schema.Directory, schema.File:
			if a.Type == schema.String || a.Type == schema.Strings {
				continue
			}
		}
		p.errorf(b.LabelRanges[0], "Bad attribute in a plugin's schema",
			"The sink plugin %q says that %q, a %s, is a path to a %q that it writes: this version knows strings and lists of them, and %q and %q.",
			s.Type, a.Name, a.Type, a.Writes, schema.Directory, schema.File)
	}
	if !s.Manifest.Declares() {
		p.add(p.fs.diag(Warning, fromHCL(b.LabelRanges[0]), "Sink isn't confined",
			"The sink plugin %q doesn't say what it writes and whether it uses TCP, so it may do all that this user may. A build with a newer SDK says it: sink.Manifest.Access, and Writes at its attributes.", s.Type))
	}
}

// onFull takes the one policy that there is, and tells which will come.
func (p *parser) onFull(a *hclsyntax.Attribute) {
	if a == nil {
		return
	}
	v, _, diags := p.value(a, schema.Attribute{Name: "on_full", Type: schema.String, Allowed: []string{"drop_oldest", "spill", "block"}})
	p.add(diags...)
	if s, _ := v.(string); s == "spill" || s == "block" {
		p.errorf(a.Expr.Range(), "Not available in this version", "on_full = %q comes in a later version; \"drop_oldest\", the default, moves the sink's cursor and tells the sink what it missed.", s)
	}
}

// input reads a reference, or a list of them.
func (p *parser) input(b *hclsyntax.Block, what string) []Ref {
	a := b.Body.Attributes["input"]
	if a == nil {
		p.errorf(b.DefRange(), "Missing attribute", "%s needs \"input\": a reference, like source.binance.md, or a list of them.", what)
		return nil
	}
	exprs, ds := hcl.ExprList(a.Expr)
	if ds.HasErrors() {
		exprs = []hcl.Expression{a.Expr}
	}
	if len(exprs) == 0 {
		p.errorf(a.Expr.Range(), "Wrong value for \"input\"", "The list is empty: %s would get nothing.", what)
	}
	var refs []Ref
	for _, e := range exprs {
		r, ok := p.ref(e)
		if !ok {
			continue
		}
		if slices.ContainsFunc(refs, func(o Ref) bool { return o.Address() == r.Address() }) {
			p.errorf(e.Range(), "Input stands twice", "%s is in the list already.", r.Address())
			continue
		}
		refs = append(refs, r)
	}
	return refs
}
