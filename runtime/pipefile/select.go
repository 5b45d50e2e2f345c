package pipefile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/marketprism/marketprism/runtime/selection"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

var symbolsSchema = schema.Attributes{
	{Name: "include", Type: schema.Strings, Doc: "canonical names or the venue's symbols, or globs of either"},
	{Name: "exclude", Type: schema.Strings, Doc: "the same, of what is left out whatever takes it"},
	{Name: "market", Type: schema.Strings, Doc: "where include looks, and each select that names none; all of the venue's if missing"},
	{Name: "refresh", Type: schema.Duration, Default: "5m", Min: schema.Limit(int64(time.Second)), Max: schema.Limit(int64(24 * time.Hour)), Doc: "time between catalogues"},
}

var selectSchema = schema.Attributes{
	{Name: "market", Type: schema.Strings, Doc: "markets"},
	{Name: "base", Type: schema.Strings, Doc: "base currencies"},
	{Name: "quote", Type: schema.Strings, Doc: "quote currencies"},
	{Name: "settle", Type: schema.Strings, Doc: "currencies that contracts are settled in"},
	{Name: "perpetual", Type: schema.Bool, Doc: "contracts without an expiry, or with one"},
	{Name: "option", Type: schema.String, Allowed: []string{"call", "put"}, Doc: "options of a kind"},
	{Name: "expires_within", Type: schema.Duration, Min: schema.Limit(int64(time.Minute)), Doc: "what expires within this time"},
	{Name: "status", Type: schema.Strings, Allowed: []string{"unknown", "trading", "halted", "pre_open"}, Doc: "states in which an instrument is taken; trading, and unknown where the venue tells none, if missing"},
	{Name: "top", Type: schema.Int, Min: schema.Limit(1), Max: schema.Limit(10000), Doc: "only so many of each market, by the volume of 24 hours"},
	{Name: "by", Type: schema.String, Allowed: []string{"volume"}, Default: "volume", Doc: "what top counts by"},
	{Name: "margin", Type: schema.Int, Min: schema.Limit(0), Max: schema.Limit(10000), Doc: "ranks below top in which what was taken stays; a tenth of top if missing"},
}

// selector decodes a symbols block.
func (p *parser) selector(b *hclsyntax.Block, s *Source) {
	before := len(p.diags)
	what := "symbols of " + s.Address()
	p.noBlocks(b.Body, what, "select")
	d := p.loose(block{what: what, body: b.Body, schema: symbolsSchema})
	sel := &selection.Selector{Include: p.patterns(d, "include"), Exclude: p.patterns(d, "exclude"), Every: d.values.Duration("refresh")}
	all := marketsOf(s)
	sel.Markets = p.markets(d, s, all)
	for _, x := range b.Body.Blocks {
		if x.Type == "select" {
			sel.Selects = append(sel.Selects, p.selectBlock(x, s, sel.Markets))
		}
	}
	if len(sel.Include)+len(sel.Selects) == 0 {
		p.errorf(b.DefRange(), "Nothing is selected", "%s takes nothing: give it include, or a select block.", what)
	}
	for _, x := range p.diags[before:] {
		if x.Severity == Error {
			return
		}
	}
	s.Selector, s.SelectorRange = sel, fromHCL(b.DefRange())
}

func (p *parser) selectBlock(b *hclsyntax.Block, s *Source, markets []market.Market) selection.Select {
	what := "select of " + s.Address()
	p.noBlocks(b.Body, what)
	if len(b.Labels) > 0 {
		p.errorf(b.LabelRanges[0], "Wrong number of labels", "A select block has no label: select { … }.")
	}
	d := p.loose(block{what: what, body: b.Body, schema: selectSchema})
	x := selection.Select{Markets: p.markets(d, s, markets), Base: d.values.Strings("base"), Quote: d.values.Strings("quote"), Settle: d.values.Strings("settle"),
		ExpiresWithin: d.values.Duration("expires_within"), Top: int(d.values.Int("top"))}
	if v, ok := d.values["perpetual"].(bool); ok {
		x.Perpetual = &v
	}
	for _, t := range d.values.Strings("status") {
		var st market.Status
		if st.UnmarshalText([]byte(t)) == nil { // the schema allows no other text
			x.Status = append(x.Status, st)
		}
	}
	_ = x.Option.UnmarshalText([]byte(d.values.String("option"))) // the same
	margin, given := d.values["margin"].(int64)
	switch {
	case x.Top > 0 && len(x.Quote) == 0:
		p.add(p.fs.diag(Error, d.ranges["top"], "Missing attribute", "top compares the volume of 24 hours in quote currency: say in which, as quote = \"USDT\"."))
	case x.Top == 0 && (given || d.ranges["by"] != Range{}):
		p.errorf(b.DefRange(), "Missing attribute", "margin and by say how top is counted: give top, too, or leave them out.")
	case x.Top > 0 && !given:
		x.Margin = max(x.Top/10, 1)
	case x.Top > 0:
		x.Margin = int(margin)
	}
	for _, m := range x.Markets {
		if i := slices.IndexFunc(s.Manifest.Markets, func(o source.MarketSpec) bool { return o.Market == m }); x.Top > 0 && i >= 0 && s.Manifest.Markets[i].TickersWeight <= 0 {
			p.add(p.fs.diag(Error, d.ranges["top"], "Not at this venue", "%s has no request that gives the volumes of all its %s instruments, so nothing can be chosen by them. Select by other conditions, or name the symbols.",
				s.Manifest.Venue, m))
		}
	}
	return x
}

// loose decodes a block in which a list of one may be written without brackets,
// and in which nothing may be secret.
func (p *parser) loose(b block) decoded {
	b.schema = slices.Clone(b.schema)
	single := map[string]bool{}
	for i, spec := range b.schema {
		a := b.body.Attributes[spec.Name]
		if a == nil || spec.Type != schema.Strings {
			continue
		}
		if v, _ := a.Expr.Value(p.ctx); v != cty.NilVal && v.Type() == cty.String { // what is wrong with it is reported below
			b.schema[i].Type, single[spec.Name] = schema.String, true
		}
	}
	d, diags := p.decode(b)
	p.add(diags...)
	p.unprintable(d, b.what)
	for name := range single {
		if t, ok := d.values[name].(string); ok {
			d.values[name] = []string{t}
		}
	}
	return d
}

func (p *parser) patterns(d decoded, name string) []string {
	all := d.values.Strings(name)
	for i, t := range all {
		switch {
		case t == "" || len(t) > 64:
			p.add(p.fs.diag(Error, d.ranges[name], "Wrong value for \""+name+"\"", "Element %d is no name, like \"BTC-USDT\", and no glob, like \"*-USDT-PERP\".", i+1))
		case strings.ContainsAny(t, "[]{}\\"):
			p.add(p.fs.diag(Error, d.ranges[name], "Wrong value for \""+name+"\"", "%q: a glob has * for any text and ? for one character, and nothing else.", t))
		case slices.Contains(all[:i], t):
			p.add(p.fs.diag(Error, d.ranges[name], "Symbol stands twice", "%q is in the list already.", t))
		}
	}
	return all
}

func marketsOf(s *Source) (ms []market.Market) {
	for _, m := range s.Manifest.Markets {
		ms = append(ms, m.Market)
	}
	return ms
}

// markets reads a market attribute; without one it is def.
func (p *parser) markets(d decoded, s *Source, def []market.Market) (ms []market.Market) {
	given := d.values.Strings("market")
	if len(given) == 0 {
		return def
	}
	all := marketsOf(s)
	var names []string
	for _, m := range all {
		names = append(names, m.String())
	}
	for _, t := range given {
		m, err := market.ParseMarket(t)
		if err != nil || !slices.Contains(all, m) {
			p.add(p.fs.diag(Error, d.ranges["market"], "Unknown market", "%s has no market %q.%s It has: %s.", s.Manifest.Venue, t, hint(t, names), list(names)))
			continue
		}
		if !slices.Contains(ms, m) {
			ms = append(ms, m)
		}
	}
	slices.Sort(ms)
	return ms
}

// SelectorText is how messages name a selector: symbols of source.binance.md.
func (s *Source) SelectorText() string {
	return fmt.Sprintf("symbols of %s (%s)", s.Address(), s.Selector)
}
