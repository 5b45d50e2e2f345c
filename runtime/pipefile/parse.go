package pipefile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/source"
)

// Options are what surrounds a pipeline.
type Options struct {
	Vars     []string                          // of -var: "name=value"; the last of a name holds
	VarFiles []string                          // of -var-file; the last value of a name holds
	DataDir  string                            // overrides data_dir if not empty
	Env      func(name string) (string, bool)  // os.LookupEnv if nil
	ReadFile func(name string) ([]byte, error) // for file(), pipelines and variables files; reads from the disk if nil
}

// Schemas provides plugins' manifests. Parse asks for each plugin in use, maybe
// more than once.
type Schemas interface {
	// Source and Sink describe a plugin: by name, and by path if it has one.
	Source(p Plugin) (source.Manifest, error)
	Sink(p Plugin) (sink.Manifest, error)
	// Names lists the first-party plugins.
	Names() (sources, sinks []string)
}

// laterBlocks and laterAttributes are words of the language that this version
// doesn't have yet.
var laterBlocks = map[string]string{
	"locals":    "Local values come in a later version; use a variable with a default.",
	"dynamic":   "Dynamic blocks come in a later version; write the blocks out.",
	"test":      "Pipeline tests come in a later version.",
	"transform": "Record expressions come in a later version.",
	"filter":    "Record expressions come in a later version.",
}

var laterAttributes = map[string]string{
	"for_each":    "for_each comes in a later version; write the blocks out.",
	"count":       "Repeated blocks come in a later version; write the blocks out.",
	"dead_letter": "Dead-letter sinks come in a later version. Until then a record that the store refuses stops the sink, with the reason.",
	"where":       "Record expressions come in a later version.",
	"extra":       "Venue-specific fields come in a later version.",
}

type parser struct {
	o       Options
	schemas Schemas
	dir     string
	fs      files
	ctx     *hcl.EvalContext
	out     *Pipeline
	diags   Diagnostics
	plugins map[string]Plugin
}

// Parse reads one .hcl file, or all of a directory as one pipeline. The
// Pipeline is nil if there are errors; warnings may come with one.
func Parse(path string, o Options, s Schemas) (*Pipeline, Diagnostics) {
	if o.Env == nil {
		o.Env = os.LookupEnv
	}
	if o.ReadFile == nil {
		o.ReadFile = readFile
	}
	p := &parser{o: o, schemas: s, fs: files{}, plugins: map[string]Plugin{}, out: &Pipeline{}}
	names, err := p.find(path)
	if err != nil {
		return nil, Diagnostics{p.fs.diag(Error, Range{}, "Pipeline not found", "%v", err)}
	}
	var bodies []*hclsyntax.Body
	for _, n := range names {
		if f := p.load(n); f != nil {
			bodies = append(bodies, f.Body.(*hclsyntax.Body))
		}
	}
	p.ctx = &hcl.EvalContext{Variables: map[string]cty.Value{}}
	p.ctx.Functions = p.functions()
	if !p.diags.HasErrors() { // half a file gives errors that mislead
		p.pipeline(bodies)
	}
	p.diags.Sort()
	if p.diags.HasErrors() {
		return nil, p.diags
	}
	p.out.files = p.fs
	return p.out, p.diags
}

// find lists the files of a pipeline.
func (p *parser) find(path string) ([]string, error) {
	i, err := os.Stat(path)
	if err != nil || !i.IsDir() {
		p.dir = filepath.Dir(path)
		p.out.Name = strings.TrimSuffix(filepath.Base(path), ".hcl")
		return []string{path}, nil // what can't be read says so when it is loaded
	}
	p.dir = path
	if abs, err := filepath.Abs(path); err == nil {
		p.out.Name = filepath.Base(abs)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("pipefile: list the files of a pipeline: %w", err)
	}
	var names []string
	for _, e := range entries {
		if n := e.Name(); strings.HasSuffix(n, ".hcl") && !strings.HasPrefix(n, ".") && e.Type()&fs.ModeDir == 0 {
			names = append(names, filepath.Join(path, n))
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("pipefile: directory %s holds no .hcl file", path)
	}
	return names, nil
}

// load parses a file; nil after an error.
func (p *parser) load(name string) *hcl.File {
	src, err := p.o.ReadFile(name)
	if err == nil && len(src) > maxFile {
		err = fmt.Errorf("%s has %d bytes; at most %d are read", name, len(src), maxFile)
	}
	if err != nil {
		p.add(p.fs.diag(Error, Range{}, "File can't be read", "%v", err))
		return nil
	}
	f, ds := parseConfig(src, name)
	if f != nil {
		p.fs[name] = f
	}
	p.add(p.fs.hcl(ds)...)
	if f == nil || ds.HasErrors() {
		return nil
	}
	return f
}

func (p *parser) add(ds ...Diagnostic) { p.diags = append(p.diags, ds...) }

func (p *parser) errorf(r hcl.Range, summary, format string, args ...any) {
	p.add(p.fs.diag(Error, fromHCL(r), summary, format, args...))
}

// header is the range of the block that holds a body, as near as HCL tells.
func (p *parser) header(b *hclsyntax.Body) Range {
	if f := p.fs[b.SrcRange.Filename]; f != nil {
		if root, ok := f.Body.(*hclsyntax.Body); ok {
			if h := headerIn(root, b); h != nil {
				return fromHCL(h.DefRange())
			}
		}
	}
	return fromHCL(b.MissingItemRange())
}

func headerIn(root, want *hclsyntax.Body) *hclsyntax.Block {
	for _, b := range root.Blocks {
		if b.Body == want {
			return b
		}
		if h := headerIn(b.Body, want); h != nil {
			return h
		}
	}
	return nil
}

// labels is how many labels a top-level block has.
var labels = map[string][]string{
	"marketprism": {},
	"variable":    {"NAME"},
	"source":      {"TYPE", "NAME"},
	"processor":   {"TYPE", "NAME"},
	"sink":        {"TYPE", "NAME"},
}

// pipeline decodes the bodies of all files.
func (p *parser) pipeline(bodies []*hclsyntax.Body) {
	blocks := map[string][]*hclsyntax.Block{}
	for _, body := range bodies {
		for _, a := range sorted(body) {
			p.errorf(a.NameRange, "Attribute outside a block", "%q stands at the top of the file, where only blocks may: marketprism, variable, source, processor, sink.", a.Name)
		}
		for _, b := range body.Blocks {
			if p.labelled(b) {
				blocks[b.Type] = append(blocks[b.Type], b)
			}
		}
	}
	p.variables(blocks["variable"])
	p.settings(blocks["marketprism"])
	for _, b := range blocks["source"] {
		p.source(b)
	}
	for _, b := range blocks["processor"] {
		p.processor(b)
	}
	for _, b := range blocks["sink"] {
		p.sink(b)
	}
	if len(blocks["source"]) == 0 && !p.diags.HasErrors() {
		p.add(p.fs.diag(Error, Range{}, "Nothing to collect", "The pipeline has no source block, as in: source \"binance\" \"md\" { … }"))
	}
	p.references()
	p.targets()
}

// labelled checks a top-level block's type and labels.
func (p *parser) labelled(b *hclsyntax.Block) bool {
	want, ok := labels[b.Type]
	if !ok {
		if why, ok := laterBlocks[b.Type]; ok {
			p.errorf(b.DefRange(), "Not available in this version", "%s", why)
			return false
		}
		var names []string
		for n := range labels {
			names = append(names, n)
		}
		p.errorf(b.TypeRange, "Unknown block", "A pipeline has no block %q.%s", b.Type, suggest(b.Type, names, "It has"))
		return false
	}
	if len(b.Labels) != len(want) {
		form := b.Type
		for _, l := range want {
			form += fmt.Sprintf(" %q", l)
		}
		p.errorf(b.DefRange(), "Wrong number of labels", "A %s block is written %s { … }.", b.Type, form)
		return false
	}
	for i, l := range b.Labels {
		if !validName(l) {
			p.errorf(b.LabelRanges[i], "Wrong name", "%q can't be referred to: a name has an ASCII letter first, then letters, digits, _ and -, at most 64.", l)
			return false
		}
	}
	return true
}

// validName holds names to what directories, metrics and references can bear.
func validName(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c != '_' && c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// plugin finds what a block's type names.
func (p *parser) plugin(b *hclsyntax.Block, firstParty []string) (Plugin, bool) {
	name := b.Labels[0]
	if pl, ok := p.plugins[name]; ok {
		return pl, true
	}
	if !slices.Contains(firstParty, name) {
		known := slices.Clone(firstParty)
		for n := range p.plugins {
			known = append(known, n)
		}
		p.errorf(b.LabelRanges[0], "Unknown plugin", "There is no %s %q.%s A plugin of your own is named in marketprism { required_plugins { … } }.",
			b.Type, name, suggest(name, known, "There are"))
		return Plugin{}, false
	}
	return Plugin{Name: name}, true
}
