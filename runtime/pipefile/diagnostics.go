package pipefile

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// Pos is a position in a file: line and column from 1, byte from 0.
type Pos struct {
	Line   int `json:"line"`
	Column int `json:"column"` // counts grapheme clusters
	Byte   int `json:"byte"`
}

// Range is a stretch of a file, its end exclusive.
type Range struct {
	Filename string `json:"filename"`
	Start    Pos    `json:"start"`
	End      Pos    `json:"end"`
}

// String is file:line, for texts that mention a second place.
func (r Range) String() string { return fmt.Sprintf("%s:%d", r.Filename, r.Start.Line) }

// Severity of a diagnostic.
type Severity string

// The severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Diagnostic is one finding about a pipeline.
type Diagnostic struct {
	Severity Severity
	Summary  string
	Detail   string
	Range    Range // zero when it concerns no place in a file

	file *hcl.File       // for the snippet, secrets masked; nil if there is no source
	from *hcl.Diagnostic // what HCL found, with expression and context; nil for ours
}

// Diagnostics are findings in the order in which they were made.
type Diagnostics []Diagnostic

// HasErrors reports whether one of them is an error.
func (ds Diagnostics) HasErrors() bool {
	return slices.ContainsFunc(ds, func(d Diagnostic) bool { return d.Severity == Error })
}

// Sort orders them by file and position; those without a place come first.
func (ds Diagnostics) Sort() {
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Range.Filename, b.Range.Filename), cmp.Compare(a.Range.Start.Byte, b.Range.Start.Byte))
	})
}

// Error joins the findings in one line each, so that they can be an error.
func (ds Diagnostics) Error() string {
	var b strings.Builder
	for i, d := range ds {
		if i > 0 {
			b.WriteByte('\n')
		}
		if d.Range.Filename != "" {
			b.WriteString(d.Range.String() + ": ")
		}
		b.WriteString(d.Summary)
		if d.Detail != "" {
			b.WriteString(": " + d.Detail)
		}
	}
	return b.String()
}

// files are the sources of a pipeline by name, for snippets.
type files map[string]*hcl.File

// diag makes a diagnostic of our own.
func (fs files) diag(sev Severity, r Range, summary, format string, args ...any) Diagnostic {
	return Diagnostic{Severity: sev, Summary: summary, Detail: fmt.Sprintf(format, args...), Range: r, file: fs[r.Filename]}
}

// hcl takes over what HCL's own code found.
func (fs files) hcl(in hcl.Diagnostics) Diagnostics {
	out := make(Diagnostics, 0, len(in))
	for _, d := range in {
		n := Diagnostic{Severity: Error, Summary: d.Summary, Detail: d.Detail, from: d}
		if d.Severity == hcl.DiagWarning {
			n.Severity = Warning
		}
		if d.Subject != nil {
			n.Range = fromHCL(*d.Subject)
			n.file = fs[d.Subject.Filename]
		}
		out = append(out, n)
	}
	return out
}

// Errorf makes a diagnostic about a place in this pipeline's files.
func (p *Pipeline) Errorf(r Range, summary, format string, args ...any) Diagnostic {
	return p.files.diag(Error, r, summary, format, args...)
}

// Warnf is Errorf for a warning.
func (p *Pipeline) Warnf(r Range, summary, format string, args ...any) Diagnostic {
	return p.files.diag(Warning, r, summary, format, args...)
}

// mask blots out a secret in the text that snippets are cut from. The syntax
// tree doesn't need it any more.
func (fs files) mask(r hcl.Range) {
	f := fs[r.Filename]
	if f == nil || r.Start.Byte < 0 || r.End.Byte > len(f.Bytes) || r.Start.Byte >= r.End.Byte {
		return
	}
	f.Bytes = bytes.Clone(f.Bytes)
	for i := r.Start.Byte; i < r.End.Byte; i++ {
		if f.Bytes[i] != '\n' {
			f.Bytes[i] = '*'
		}
	}
}

func fromHCL(r hcl.Range) Range {
	return Range{r.Filename, Pos{r.Start.Line, r.Start.Column, r.Start.Byte}, Pos{r.End.Line, r.End.Column, r.End.Byte}}
}

func toHCL(r Range) hcl.Range {
	return hcl.Range{
		Filename: r.Filename,
		Start:    hcl.Pos{Line: r.Start.Line, Column: r.Start.Column, Byte: r.Start.Byte},
		End:      hcl.Pos{Line: r.End.Line, Column: r.End.Column, Byte: r.End.Byte},
	}
}

// toHCL is the form that HCL's writer takes.
func (d Diagnostic) toHCL() *hcl.Diagnostic {
	h := &hcl.Diagnostic{Summary: d.Summary, Detail: d.Detail, Severity: hcl.DiagError}
	if d.Severity == Warning {
		h.Severity = hcl.DiagWarning
	}
	if d.Range.Filename != "" {
		r := toHCL(d.Range)
		h.Subject = &r
	}
	if d.from != nil {
		h.Context, h.Expression, h.EvalContext = d.from.Context, d.from.Expression, d.from.EvalContext
	}
	return h
}

// WriteText renders diagnostics for people, with snippets. A width of 0 doesn't
// wrap.
func (ds Diagnostics) WriteText(w io.Writer, width uint, color bool) error {
	for _, d := range ds {
		m := map[string]*hcl.File{}
		if d.file != nil {
			m[d.Range.Filename] = d.file
		}
		if err := hcl.NewDiagnosticTextWriter(w, m, width, color).WriteDiagnostic(d.toHCL()); err != nil {
			return fmt.Errorf("pipefile: write diagnostics: %w", err)
		}
	}
	return nil
}

type jsonDiagnostics struct {
	FormatVersion string           `json:"format_version"`
	Valid         bool             `json:"valid"`
	ErrorCount    int              `json:"error_count"`
	WarningCount  int              `json:"warning_count"`
	Diagnostics   []jsonDiagnostic `json:"diagnostics"`
}

type jsonDiagnostic struct {
	Severity Severity     `json:"severity"`
	Summary  string       `json:"summary"`
	Detail   string       `json:"detail"`
	Range    *Range       `json:"range,omitempty"`
	Snippet  *jsonSnippet `json:"snippet,omitempty"`
}

type jsonSnippet struct {
	Context              *string     `json:"context"`
	Code                 string      `json:"code"`
	StartLine            int         `json:"start_line"`
	HighlightStartOffset int         `json:"highlight_start_offset"`
	HighlightEndOffset   int         `json:"highlight_end_offset"`
	Values               []jsonValue `json:"values"`
}

type jsonValue struct {
	Traversal string `json:"traversal"`
	Statement string `json:"statement"`
}

// WriteJSON renders diagnostics in the shape of `terraform validate -json`.
func (ds Diagnostics) WriteJSON(w io.Writer) error {
	out := jsonDiagnostics{FormatVersion: "1.0", Valid: !ds.HasErrors(), Diagnostics: []jsonDiagnostic{}}
	for _, d := range ds {
		j := jsonDiagnostic{Severity: d.Severity, Summary: d.Summary, Detail: d.Detail}
		if d.Severity == Error {
			out.ErrorCount++
		} else {
			out.WarningCount++
		}
		if d.Range.Filename != "" {
			r := d.Range
			j.Range, j.Snippet = &r, d.snippet()
		}
		out.Diagnostics = append(out.Diagnostics, j)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(out); err != nil {
		return fmt.Errorf("pipefile: write diagnostics: %w", err)
	}
	return nil
}

// snippet cuts the lines that the range and its context touch.
func (d Diagnostic) snippet() *jsonSnippet {
	if d.file == nil || d.Range.Start.Byte > len(d.file.Bytes) {
		return nil
	}
	src, r := d.file.Bytes, d.Range
	from, to, line := r.Start.Byte, min(max(r.End.Byte, r.Start.Byte), len(src)), r.Start.Line
	if d.from != nil && d.from.Context != nil {
		c := d.from.Context
		if c.Start.Byte < from {
			from, line = c.Start.Byte, c.Start.Line
		}
		to = min(max(to, c.End.Byte), len(src))
	}
	from = bytes.LastIndexByte(src[:from], '\n') + 1
	if to > from && src[to-1] == '\n' { // a range that ends with its line
		to--
	}
	if n := bytes.IndexByte(src[to:], '\n'); n >= 0 {
		to += n
	} else {
		to = len(src)
	}
	code := string(src[from:to])
	s := &jsonSnippet{Code: strings.ToValidUTF8(code, "?"), StartLine: line, Values: []jsonValue{}}
	s.HighlightStartOffset = min(r.Start.Byte-from, len(code))
	s.HighlightEndOffset = min(max(r.End.Byte-from, s.HighlightStartOffset), len(code))
	if n, ok := d.file.Nav.(interface{ ContextString(int) string }); ok {
		if c := n.ContextString(r.Start.Byte); c != "" {
			s.Context = &c
		}
	}
	s.Values = append(s.Values, d.values()...)
	return s
}

// values tells what the expression's references stood for; secrets are left out.
func (d Diagnostic) values() []jsonValue {
	if d.from == nil || d.from.Expression == nil || d.from.EvalContext == nil {
		return nil
	}
	var out []jsonValue
	for _, t := range d.from.Expression.Variables() {
		v, diags := t.TraverseAbs(d.from.EvalContext)
		if diags.HasErrors() || v.ContainsMarked() || !v.IsKnown() {
			continue
		}
		j := jsonValue{Traversal: traversalText(t), Statement: "is " + v.Type().FriendlyName()}
		switch {
		case v.IsNull():
			j.Statement = "is null"
		case v.Type() == cty.String:
			j.Statement = fmt.Sprintf("is %q", v.AsString())
		case v.Type() == cty.Number:
			j.Statement = "is " + v.AsBigFloat().Text('g', 10)
		case v.Type() == cty.Bool:
			j.Statement = fmt.Sprintf("is %t", v.True())
		}
		if !slices.Contains(out, j) {
			out = append(out, j)
		}
	}
	slices.SortFunc(out, func(a, b jsonValue) int { return cmp.Compare(a.Traversal, b.Traversal) })
	return out
}

// traversalText is a reference as written; indexes other than names are cut to […].
func traversalText(t hcl.Traversal) string {
	var b strings.Builder
	for _, s := range t {
		switch s := s.(type) {
		case hcl.TraverseRoot:
			b.WriteString(s.Name)
		case hcl.TraverseAttr:
			b.WriteString("." + s.Name)
		case hcl.TraverseIndex:
			if s.Key.Type() == cty.String && s.Key.IsKnown() && !s.Key.IsNull() && !s.Key.IsMarked() {
				fmt.Fprintf(&b, "[%q]", s.Key.AsString())
			} else {
				b.WriteString("[…]")
			}
		default:
			b.WriteString("[…]")
		}
	}
	return b.String()
}
