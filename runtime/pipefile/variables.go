package pipefile

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/marketprism/marketprism/sdk/schema"
)

// EnvPrefix begins the environment variables that set pipeline variables.
const EnvPrefix = "MARKETPRISM_VAR_"

// maxFile bounds every file that is read: the HCL parser recurses, and its
// stack must hold whatever nesting fits.
const maxFile = 256 << 10

// given is a value for a variable from outside the pipeline.
type given struct {
	expr  hcl.Expression // of a variables file
	text  string         // of -var and the environment
	from  string         // says where it came from
	place Range
}

// given collects values from outside: -var before -var-file before the
// environment; of two of a sort, the later one holds.
func (p *parser) given() map[string]given {
	out := map[string]given{}
	for _, name := range p.o.VarFiles {
		f := p.load(name)
		if f == nil {
			continue
		}
		body := f.Body.(*hclsyntax.Body)
		for _, b := range body.Blocks {
			p.errorf(b.TypeRange, "Block in a variables file", "%s holds values only, as in quote = \"USDT\"; it has a block %q.", name, b.Type)
		}
		for _, a := range sorted(body) {
			out[a.Name] = given{expr: a.Expr, from: name, place: fromHCL(a.NameRange)}
		}
	}
	for _, kv := range p.o.Vars {
		name, text, ok := strings.Cut(kv, "=")
		if name = strings.TrimSpace(name); !ok || !hclsyntax.ValidIdentifier(name) {
			p.add(p.fs.diag(Error, Range{}, "Wrong -var", "A variable is set as -var name=value."))
			continue
		}
		out[name] = given{text: text, from: "-var " + name}
	}
	return out
}

// variables evaluates the variable blocks into the evaluation context.
func (p *parser) variables(blocks []*hclsyntax.Block) {
	outside := p.given()
	values := map[string]cty.Value{}
	seen := map[string]Range{}
	names := []string{}
	for _, b := range blocks {
		name := b.Labels[0]
		if first, dup := seen[name]; dup {
			p.errorf(b.DefRange(), "Variable declared twice", "Variable %q is declared at %s already.", name, first)
			continue
		}
		seen[name] = fromHCL(b.DefRange())
		names = append(names, name)
		g, ok := outside[name]
		if !ok {
			if text, set := p.o.Env(EnvPrefix + name); set {
				g, ok = given{text: text, from: EnvPrefix + name}, true
			}
		}
		values[name] = p.variable(b, g, ok)
	}
	for _, name := range slices.Sorted(maps.Keys(outside)) {
		g := outside[name]
		if _, ok := seen[name]; !ok {
			p.add(p.fs.diag(Error, g.place, "Unknown variable", "%s sets %q, but the pipeline has no variable block of that name.%s",
				g.from, name, suggest(name, names, "It has")))
		}
	}
	p.ctx.Variables["var"] = cty.ObjectVal(values)
}

var variableSchema = schema.Attributes{
	{Name: "description", Type: schema.String, Doc: "what the variable is for"},
	{Name: "sensitive", Type: schema.Bool, Doc: "never print the value"},
}

// variable gives the value of one variable; unknown if there was an error.
func (p *parser) variable(b *hclsyntax.Block, g given, isGiven bool) cty.Value {
	what := fmt.Sprintf("variable %q", b.Labels[0])
	p.noBlocks(b.Body, what)
	settings, diags := p.decode(block{what: what, body: b.Body, schema: variableSchema, handled: []string{"type", "default"}})
	p.add(diags...)
	secret := settings.values.Bool("sensitive")

	typ := cty.DynamicPseudoType
	if a := b.Body.Attributes["type"]; a != nil {
		t, ds := typeexpr.TypeConstraint(a.Expr)
		p.add(p.fs.hcl(ds)...)
		if ds.HasErrors() {
			return cty.DynamicVal
		}
		typ = t
	}
	def := b.Body.Attributes["default"]
	if secret && def != nil {
		p.maskSecret(def.Expr)
	}

	value, place, from := cty.NullVal(cty.DynamicPseudoType), fromHCL(b.DefRange()), ""
	switch {
	case isGiven && g.expr != nil:
		if secret {
			p.maskSecret(g.expr)
		}
		v, ds := g.expr.Value(&hcl.EvalContext{Functions: p.ctx.Functions})
		p.add(p.fs.hcl(ds)...)
		if ds.HasErrors() {
			return cty.DynamicVal
		}
		value, place, from = v, g.place, g.from
	case isGiven:
		from = g.from
		v, err := fromText(g.text, typ)
		if err != nil {
			p.add(p.fs.diag(Error, place, "Wrong value for a variable", "%s must be %s, in HCL's notation.", from, typ.FriendlyName()))
			return cty.DynamicVal
		}
		value = v
	case def != nil:
		v, ds := def.Expr.Value(&hcl.EvalContext{Functions: p.ctx.Functions})
		p.add(p.fs.hcl(ds)...)
		if ds.HasErrors() {
			return cty.DynamicVal
		}
		value, place, from = v, fromHCL(def.Expr.Range()), "The default"
	default:
		p.errorf(b.DefRange(), "Variable has no value", "%q has no default. Set it: -var %s=VALUE, -var-file FILE, or %s%s in the environment.",
			b.Labels[0], b.Labels[0], EnvPrefix, b.Labels[0])
		return cty.DynamicVal
	}
	v, err := convert.Convert(value, typ)
	if err != nil {
		p.add(p.fs.diag(Error, place, "Wrong value for a variable", "%s of %q must be %s: %v.", from, b.Labels[0], typ.FriendlyName(), err))
		return cty.DynamicVal
	}
	if secret {
		v = v.Mark(sensitive)
	}
	return v
}

// fromText reads a value from the command line or the environment: as it is for
// strings and where no type is declared, else as an HCL expression.
func fromText(text string, typ cty.Type) (cty.Value, error) {
	if typ == cty.String || typ == cty.DynamicPseudoType {
		return cty.StringVal(text), nil
	}
	if len(text) > maxFile {
		return cty.NilVal, fmt.Errorf("pipefile: a value of %d bytes", len(text))
	}
	e, ds := parseExpression([]byte(text), "value")
	if ds.HasErrors() {
		return cty.NilVal, ds
	}
	v, ds := e.Value(nil)
	if ds.HasErrors() {
		return cty.NilVal, ds
	}
	return v, nil
}

// functions are env() and file().
func (p *parser) functions() map[string]function.Function {
	text := func(name string) function.Parameter { return function.Parameter{Name: name, Type: cty.String} }
	fallback := text("default")
	env := function.New(&function.Spec{
		Description: "The value of an environment variable.",
		Params:      []function.Parameter{text("name")},
		VarParam:    &fallback,
		Type:        function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if len(args) > 2 {
				return cty.NilVal, function.NewArgErrorf(2, "env takes a name and a default")
			}
			name := args[0].AsString()
			if v, ok := p.o.Env(name); ok {
				return cty.StringVal(v), nil
			}
			if len(args) == 2 {
				return args[1], nil
			}
			return cty.NilVal, function.NewArgErrorf(0, "the environment variable %s is not set; set it, or give a default: env(%q, \"…\")", name, name)
		},
	})
	file := function.New(&function.Spec{
		Description: "The text of a file; a relative path starts at the pipeline's directory.",
		Params:      []function.Parameter{text("path")},
		Type:        function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			name := args[0].AsString()
			if !filepath.IsAbs(name) {
				name = filepath.Join(p.dir, name)
			}
			b, err := p.o.ReadFile(name)
			if err != nil {
				return cty.NilVal, function.NewArgError(0, err)
			}
			if len(b) > maxFile {
				return cty.NilVal, function.NewArgErrorf(0, "%s has %d bytes; at most %d are read", name, len(b), maxFile)
			}
			return cty.StringVal(strings.ToValidUTF8(string(b), "\uFFFD")), nil
		},
	})
	return map[string]function.Function{"env": env, "file": file}
}

// readFile reads at most a little more than maxFile.
func readFile(name string) ([]byte, error) {
	i, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !i.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	if i.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes; at most %d are read", name, i.Size(), maxFile)
	}
	return os.ReadFile(name)
}

// noBlocks refuses blocks in a body that takes none.
func (p *parser) noBlocks(body *hclsyntax.Body, what string, allowed ...string) {
	for _, b := range body.Blocks {
		if slices.Contains(allowed, b.Type) {
			continue
		}
		if why, ok := laterBlocks[b.Type]; ok {
			p.errorf(b.DefRange(), "Not available in this version", "%s", why)
			continue
		}
		more := suggest(b.Type, allowed, "It takes")
		if more == "" {
			more = " It takes none."
		}
		p.errorf(b.DefRange(), "Unknown block", "%s has no block %q.%s", what, b.Type, more)
	}
}

// maskSecret blots out a secret that stands in the file itself; what only says
// where the secret is had stays readable.
func (p *parser) maskSecret(e hcl.Expression) {
	switch e := e.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		return
	case *hclsyntax.FunctionCallExpr:
		if len(e.Args) < 2 {
			return
		}
	}
	p.fs.mask(e.Range())
}
