package pipefile

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/marketprism/marketprism/sdk/schema"
)

// sensitive marks values that are never printed.
type mark string

const sensitive = mark("sensitive")

// block is a body being decoded against a schema.
type block struct {
	what    string // for diagnostics: sink "parquet" "lake"
	body    *hclsyntax.Body
	schema  schema.Attributes
	handled []string // attributes that the caller decodes by itself
}

// decoded is what came of it.
type decoded struct {
	values    schema.Values
	shown     Shown
	sensitive []string
	ranges    map[string]Range
}

// set takes a checked value over.
func (d *decoded) set(spec schema.Attribute, v any, secret bool) {
	d.values[spec.Name] = v
	if secret || spec.Sensitive {
		d.sensitive = append(d.sensitive, spec.Name)
		d.shown[spec.Name] = Struck
		return
	}
	if n, ok := v.(int64); ok && (spec.Type == schema.Duration || spec.Type == schema.Size) {
		d.shown[spec.Name] = unit(spec.Type, n)
		return
	}
	if t, ok := v.(string); ok && strings.Contains(t, "://") {
		if u, err := url.Parse(t); err == nil { // a password in a URL is one, whatever the schema says
			v = u.Redacted()
		}
	}
	d.shown[spec.Name] = v
}

// decode checks a body's attributes and fills in defaults. Blocks in the body
// are the caller's.
func (p *parser) decode(b block) (decoded, Diagnostics) {
	var diags Diagnostics
	out := decoded{values: schema.Values{}, shown: Shown{}, ranges: map[string]Range{}}
	for _, a := range sorted(b.body) {
		out.ranges[a.Name] = fromHCL(a.SrcRange)
		if slices.Contains(b.handled, a.Name) {
			continue
		}
		spec, ok := b.schema.Get(a.Name)
		if !ok {
			diags = append(diags, p.unknownAttribute(b, a))
			continue
		}
		v, secret, ds := p.value(a, spec)
		diags = append(diags, ds...)
		if v == nil {
			continue
		}
		out.set(spec, v, secret)
	}
	head := b.body.MissingItemRange()
	for _, spec := range b.schema {
		if _, ok := out.values[spec.Name]; ok {
			continue
		}
		switch {
		case spec.Default != nil:
			v, err := fromDefault(spec)
			if err != nil {
				diags = append(diags, p.fs.diag(Error, fromHCL(head), "Bad default in a plugin's schema",
					"The default of %q for %s is wrong: %v. This is a fault of the plugin.", spec.Name, b.what, err))
				continue
			}
			out.set(spec, v, false)
		case spec.Required && b.body.Attributes[spec.Name] == nil:
			diags = append(diags, p.fs.diag(Error, p.header(b.body), "Missing attribute",
				"%s needs %q: %s.", b.what, spec.Name, strings.TrimSuffix(cmp.Or(spec.Doc, "a "+string(spec.Type)), ".")))
		}
	}
	return out, diags
}

// sorted gives a body's attributes in the file's order.
func sorted(b *hclsyntax.Body) []*hclsyntax.Attribute {
	as := make([]*hclsyntax.Attribute, 0, len(b.Attributes))
	for _, a := range b.Attributes {
		as = append(as, a)
	}
	slices.SortFunc(as, func(x, y *hclsyntax.Attribute) int { return cmp.Compare(x.SrcRange.Start.Byte, y.SrcRange.Start.Byte) })
	return as
}

func (p *parser) unknownAttribute(b block, a *hclsyntax.Attribute) Diagnostic {
	if why, ok := laterAttributes[a.Name]; ok {
		return p.fs.diag(Error, fromHCL(a.NameRange), "Not available in this version", "%s", why)
	}
	names := slices.Clone(b.handled)
	for _, s := range b.schema {
		names = append(names, s.Name)
	}
	more := suggest(a.Name, names, "It takes")
	if more == "" {
		more = " It takes none."
	}
	return p.fs.diag(Error, fromHCL(a.NameRange), "Unknown attribute", "%s has no attribute %q.%s", b.what, a.Name, more)
}

// eval evaluates an attribute's expression. The value is nil where there is
// none: it is null, or an error was reported already.
func (p *parser) eval(e hcl.Expression) (v cty.Value, secret bool, diags Diagnostics) {
	if diags = p.unknownVariables(e); len(diags) > 0 {
		return cty.NilVal, false, diags
	}
	v, ds := e.Value(p.ctx)
	if ds.HasErrors() && p.usesSecret(e) { // functions quote their arguments
		for _, d := range ds {
			d.Detail = "The expression uses a sensitive value, so the reason isn't shown."
		}
	}
	diags = p.fs.hcl(ds)
	v, marks := v.UnmarkDeep()
	_, secret = marks[sensitive]
	if ds.HasErrors() || !v.IsWhollyKnown() || v.IsNull() {
		return cty.NilVal, secret, diags
	}
	return v, secret, diags
}

// usesSecret reports whether an expression refers to a sensitive variable.
func (p *parser) usesSecret(e hcl.Expression) bool {
	return slices.ContainsFunc(e.Variables(), func(t hcl.Traversal) bool {
		v, ds := t.TraverseAbs(p.ctx)
		return !ds.HasErrors() && v.ContainsMarked()
	})
}

// unknownVariables says of references to variables that there are none of that
// name; HCL's own words for it don't say which there are.
func (p *parser) unknownVariables(e hcl.Expression) (diags Diagnostics) {
	vars := p.ctx.Variables["var"]
	for _, t := range e.Variables() {
		if t.RootName() != "var" || len(t) < 2 {
			continue
		}
		a, ok := t[1].(hcl.TraverseAttr)
		if !ok || vars.Type().HasAttribute(a.Name) {
			continue
		}
		var names []string
		for n := range vars.Type().AttributeTypes() {
			names = append(names, n)
		}
		diags = append(diags, p.fs.diag(Error, fromHCL(t.SourceRange()), "Unknown variable", "The pipeline has no variable %q.%s",
			a.Name, suggest(a.Name, names, "It has")))
	}
	return diags
}

// value evaluates and checks one attribute; nil when it isn't set or is wrong.
func (p *parser) value(a *hclsyntax.Attribute, spec schema.Attribute) (any, bool, Diagnostics) {
	if spec.Sensitive {
		p.maskSecret(a.Expr)
	}
	v, secret, diags := p.eval(a.Expr)
	if v == cty.NilVal {
		return nil, secret, diags
	}
	x, err := fromCty(v, spec)
	if err != nil {
		detail := err.Error()
		if secret || spec.Sensitive {
			detail = "The value is sensitive and isn't shown; it must be " + wanted(spec) + "."
		}
		d := p.fs.diag(Error, fromHCL(a.Expr.Range()), "Wrong value for "+strconv.Quote(a.Name), "%s", detail)
		if !spec.Sensitive && !secret {
			d.from = &hcl.Diagnostic{Expression: a.Expr, EvalContext: p.ctx}
		}
		return nil, secret, append(diags, d)
	}
	return x, secret, diags
}

// wrong is an error whose text is a sentence for the user.
type wrong string

func (w wrong) Error() string { return string(w) }

func sentence(format string, args ...any) error { return wrong(fmt.Sprintf(format, args...)) }

// wanted describes a schema's values.
func wanted(s schema.Attribute) string {
	if len(s.Allowed) > 0 {
		q := make([]string, len(s.Allowed))
		for i, a := range s.Allowed {
			q[i] = strconv.Quote(a)
		}
		if s.Type == schema.Strings {
			return "a list of " + strings.Join(q, ", ")
		}
		return "one of " + strings.Join(q, ", ")
	}
	var text string
	switch s.Type {
	case schema.Int:
		text = "a whole number"
	case schema.Float:
		text = "a number"
	case schema.Bool:
		text = "true or false"
	case schema.Duration:
		text = `a duration with a unit, like "250ms", "30s" or "6h"`
	case schema.Size:
		text = `a size with a unit, like "64KiB", "256MiB" or "8GiB"`
	case schema.Strings:
		text = `a list of strings, like ["a", "b"]`
	default:
		text = "a string"
	}
	switch {
	case s.Min != nil && s.Max != nil:
		text += fmt.Sprintf(", from %s to %s", unit(s.Type, *s.Min), unit(s.Type, *s.Max))
	case s.Min != nil:
		text += ", at least " + unit(s.Type, *s.Min)
	case s.Max != nil:
		text += ", at most " + unit(s.Type, *s.Max)
	}
	return text
}

// unit writes a schema's number as HCL would have it.
func unit(t schema.Type, n int64) string {
	switch t {
	case schema.Duration:
		return FormatDuration(time.Duration(n))
	case schema.Size:
		return FormatSize(n)
	}
	return strconv.FormatInt(n, 10)
}

// fromCty converts a value, known and not null, to what schema.Values hold. The
// error is a whole sentence for the user.
func fromCty(v cty.Value, s schema.Attribute) (any, error) {
	bad := func(what string) error { return sentence("It must be %s; this is %s.", wanted(s), what) }
	kind := v.Type().FriendlyName()
	switch s.Type {
	case schema.Strings:
		if !v.CanIterateElements() || v.Type().IsMapType() || v.Type().IsObjectType() {
			return nil, bad("a " + kind)
		}
		list := []string{}
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			e, err := convert.Convert(e, cty.String)
			if err != nil || e.IsNull() {
				return nil, bad("a list with something else in it")
			}
			if len(s.Allowed) > 0 && !slices.Contains(s.Allowed, e.AsString()) {
				return nil, sentence("%q isn't allowed here.%s It must be %s.", e.AsString(), hint(e.AsString(), s.Allowed), wanted(s))
			}
			list = append(list, e.AsString())
		}
		return list, nil
	case schema.Bool:
		b, err := convert.Convert(v, cty.Bool)
		if err != nil {
			return nil, bad("a " + kind)
		}
		return b.True(), nil
	case schema.Int, schema.Float:
		n, err := convert.Convert(v, cty.Number)
		if err != nil {
			return nil, bad("a " + kind)
		}
		f := n.AsBigFloat()
		if s.Type == schema.Float {
			x, _ := f.Float64()
			if math.IsInf(x, 0) {
				return nil, bad("too great")
			}
			return x, nil
		}
		i, acc := f.Int64()
		if acc != big.Exact {
			return nil, bad(f.Text('g', 20))
		}
		return i, inLimits(i, s)
	}
	if !v.Type().IsPrimitiveType() {
		return nil, bad("a " + kind)
	}
	t, err := convert.Convert(v, cty.String)
	if err != nil {
		return nil, bad("a " + kind)
	}
	text := t.AsString()
	switch s.Type {
	case schema.Duration:
		d, err := ParseDuration(text)
		if err != nil {
			return nil, bad(strconv.Quote(text))
		}
		return int64(d), inLimits(int64(d), s)
	case schema.Size:
		n, err := ParseSize(text)
		if err != nil {
			return nil, bad(strconv.Quote(text))
		}
		return n, inLimits(n, s)
	case schema.String:
		if len(s.Allowed) > 0 && !slices.Contains(s.Allowed, text) {
			return nil, sentence("%q isn't allowed here.%s It must be %s.", text, hint(text, s.Allowed), wanted(s))
		}
		return text, nil
	}
	return nil, sentence("The plugin's schema gives it the type %q, which this version doesn't know.", s.Type)
}

// hint is a suggestion among allowed values.
func hint(given string, allowed []string) string {
	if n := nearest(given, allowed); n != "" {
		return fmt.Sprintf(" Did you mean %q?", n)
	}
	return ""
}

func inLimits(n int64, s schema.Attribute) error {
	if s.Min != nil && n < *s.Min || s.Max != nil && n > *s.Max {
		return sentence("%s is out of bounds: it must be %s.", unit(s.Type, n), wanted(s))
	}
	return nil
}

// fromDefault converts a schema's default, which is in HCL's notation and may
// have crossed a process as JSON.
func fromDefault(s schema.Attribute) (any, error) {
	var v cty.Value
	switch d := s.Default.(type) {
	case string:
		v = cty.StringVal(d)
	case bool:
		v = cty.BoolVal(d)
	case int:
		v = cty.NumberIntVal(int64(d))
	case int64:
		v = cty.NumberIntVal(d)
	case float64:
		if math.IsNaN(d) || math.IsInf(d, 0) {
			return nil, errors.New("not a number")
		}
		v = cty.NumberFloatVal(d)
	case []string:
		return slices.Clone(d), nil
	case []any:
		list := make([]string, 0, len(d))
		for _, e := range d {
			t, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("a list of strings with a %T in it", e)
			}
			list = append(list, t)
		}
		return list, nil
	default:
		return nil, fmt.Errorf("a %T", d)
	}
	return fromCty(v, s)
}

// ParseDuration is time.ParseDuration with days: "7d", "1d12h". A number
// without a unit is refused.
func ParseDuration(s string) (time.Duration, error) {
	t, days := strings.TrimSpace(s), int64(0)
	if i := strings.IndexByte(t, 'd'); i > 0 {
		n, err := strconv.ParseInt(t[:i], 10, 32)
		if err != nil || n < 0 || n > 36500 {
			return 0, fmt.Errorf("pipefile: %q is no duration", s)
		}
		if days, t = n, t[i+1:]; t == "" {
			return time.Duration(days) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(t)
	if err != nil || t == "0" {
		return 0, fmt.Errorf("pipefile: %q is no duration with a unit", s)
	}
	if total := d + time.Duration(days)*24*time.Hour; days == 0 || d >= 0 && total > d {
		return total, nil
	}
	return 0, fmt.Errorf("pipefile: %q is no duration with a unit", s)
}

// FormatDuration is the shortest notation of a duration: 6h, 1m30s, 250ms.
func FormatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

var sizeUnits = []struct {
	name string
	n    int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

// ParseSize reads a size with a unit: "256MiB" is 256 × 2^20, "1MB" is 10^6.
func ParseSize(s string) (int64, error) {
	for _, u := range sizeUnits {
		num, ok := strings.CutSuffix(strings.TrimSpace(s), u.name)
		if !ok {
			continue
		}
		f, ok := new(big.Rat).SetString(strings.TrimSpace(num))
		if !ok || len(num) > 20 || strings.ContainsAny(num, "eE/_xXpP") {
			break
		}
		f.Mul(f, new(big.Rat).SetInt64(u.n))
		if !f.IsInt() || !f.Num().IsInt64() || f.Sign() < 0 {
			break
		}
		return f.Num().Int64(), nil
	}
	return 0, fmt.Errorf("pipefile: %q is no size with a unit", s)
}

// FormatSize is the shortest exact notation for whole binary units, else a
// rounded one: 8GiB, 1.5GiB.
func FormatSize(n int64) string {
	for _, u := range sizeUnits[:4] {
		if n >= u.n {
			if n%u.n == 0 {
				return strconv.FormatInt(n/u.n, 10) + u.name
			}
			return strconv.FormatFloat(float64(n)/float64(u.n), 'f', 1, 64) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}
