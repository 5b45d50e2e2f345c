// Package marketprism holds no code: its test holds the shape of the
// repository. Which package may import which stands in the tables below and in
// docs/architecture.md; a failure is a sentence that names the broken arrow and
// the line that breaks it. Files are parsed here, not listed by the go command:
// a cached test would not see what that command sees.
package marketprism

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/marketprism/marketprism"

// topLevel is what the top level may hold beside what .gitignore names.
var topLevel = []string{
	"cmd", "runtime", "sdk", "plugins", "pipelines", "docs", ".ci", ".git",
	"README.md", "LICENSE", "Makefile", "go.mod", "go.sum", "shape_test.go", ".gitignore",
	".gitattributes", ".editorconfig", ".golangci.yml", ".github",
}

// packages are the directories that may hold packages, with what each is for;
// packages below one belong to it. docs/architecture.md names each that exists.
var packages = map[string]string{
	"cmd/marketprism":   "the binary",
	"runtime/admin":     "HTTP endpoints",
	"runtime/book":      "order books",
	"runtime/conn":      "WebSocket and HTTP pools",
	"runtime/engine":    "brings a plan up and takes it down",
	"runtime/flow":      "the lane of a feed",
	"runtime/host":      "plugin processes",
	"runtime/journal":   "the journal's writer",
	"runtime/listings":  "what venues list",
	"runtime/memory":    "snapshots of memory, and advice",
	"runtime/pipefile":  "HCL to a Pipeline",
	"runtime/plan":      "Pipeline to a checked graph",
	"runtime/pool":      "object and message pools",
	"runtime/process":   "processors",
	"runtime/replay":    "recordings and journals through the same way again",
	"runtime/sched":     "supervised goroutines",
	"runtime/sign":      "credentials and signatures",
	"runtime/selection": "what selectors choose",
	"runtime/telemetry": "logger and metrics registry",
	"sdk/fault":         "error kinds",
	"sdk/capture":       "capture files",
	"sdk/jsonscan":      "JSON cursor",
	"sdk/market":        "instruments, records, decimals",
	"sdk/plugintest":    "conformance kit and venue emulator",
	"sdk/schema":        "attributes of a plugin's blocks",
	"sdk/serve":         "a plugin's main",
	"sdk/sink":          "the sink contract",
	"sdk/source":        "the source contract",
	"sdk/wire":          "control plane and shared memory",
	"plugins/source/*":  "a venue",
	"plugins/sink/*":    "a store",
}

// trees are the arrows between the top folders: cmd → runtime → sdk ← plugins.
// Tests keep to them as well.
var trees = map[string][]string{
	"cmd":     {"cmd", "runtime", "sdk", "plugins"},
	"runtime": {"runtime", "sdk"},
	"sdk":     {"sdk"},
	"plugins": {"sdk"}, // and its own plugin
}

// leaves import the standard library alone.
var leaves = []string{"sdk/market", "sdk/fault", "sdk/schema"}

// within are the arrows inside runtime, for those packages that have few. A
// package that isn't here may import any other of runtime. Tests are exempt.
var within = map[string][]string{
	"runtime/admin":     {"runtime/telemetry", "runtime/sched"},
	"runtime/book":      {"runtime/pool"},
	"runtime/conn":      {"runtime/telemetry", "runtime/pool", "runtime/sched", "runtime/sign"},
	"runtime/host":      {"runtime/telemetry", "runtime/pool", "runtime/sched"},
	"runtime/journal":   {"runtime/telemetry"},
	"runtime/pipefile":  {"runtime/selection", "runtime/sign"},
	"runtime/selection": {},
	"runtime/listings":  {"runtime/conn", "runtime/host", "runtime/journal", "runtime/pipefile", "runtime/plan", "runtime/pool", "runtime/sched", "runtime/selection"},
	"runtime/sign":      {},
	"runtime/telemetry": {},
	"runtime/pool":      {"runtime/telemetry"},
	"runtime/sched":     {"runtime/telemetry"},
	"runtime/memory":    {"runtime/telemetry"},
	"runtime/plan":      {"runtime/pipefile", "runtime/selection", "runtime/sign"},
	"runtime/flow":      {"runtime/book", "runtime/pool", "runtime/selection", "runtime/telemetry"},
	"runtime/process":   {"runtime/book", "runtime/flow", "runtime/pool"},
}

// knows says which packages know what: an import path, or one below it, and
// the only packages that may import it. In tests the last list may, too.
var knows = []struct {
	path  string
	what  string
	only  []string
	tests []string
}{
	{"github.com/hashicorp/hcl", "HCL", []string{"runtime/pipefile"}, nil},
	{"github.com/zclconf/go-cty", "HCL's values", []string{"runtime/pipefile"}, nil},
	{"google.golang.org/protobuf", "protobuf", []string{"sdk/wire"}, nil},
	{"github.com/golang/protobuf", "protobuf", []string{"sdk/wire"}, nil},
	{module + "/sdk/wire/pb", "the control plane's messages", []string{"sdk/wire"}, nil},
	{"google.golang.org/grpc", "gRPC", []string{"sdk/wire", "sdk/serve"}, []string{"runtime/host"}},
	{"github.com/hashicorp/go-plugin", "go-plugin", []string{"sdk/wire", "sdk/serve", "runtime/host"}, nil},
	{"github.com/hashicorp/go-hclog", "go-plugin's logger", []string{"sdk/serve", "runtime/host"}, nil},
	{"github.com/prometheus", "the metrics registry", []string{"runtime/telemetry"}, nil},
	{"github.com/spf13/cobra", "the command line", []string{"cmd"}, nil},
	{"github.com/gorilla/websocket", "WebSocket frames", []string{"runtime/conn", "sdk/plugintest"}, []string{"cmd"}},
}

// pure packages do no I/O. The import paths are the standard library's ways to
// the outside; tests are exempt.
var (
	pure    = []string{"runtime/plan", "runtime/book", "sdk/source", "sdk/jsonscan"}
	outside = []string{"net", "net/http", "os", "os/exec", "syscall", "math/rand", "math/rand/v2", "crypto/rand"}
)

// goFile is what one file says in its first lines.
type goFile struct {
	path    string // slashes, from the root
	dir     string
	test    bool
	pkg     string
	doc     bool
	imports []goImport
}

type goImport struct {
	path string
	at   string // file:line
}

// skipped directories hold no source.
var skipped = []string{".git", "bin", "data", "lake"}

func walk(t *testing.T, f func(name string)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch skip := slices.Contains(skipped, name); {
		case d.IsDir() && skip:
			return fs.SkipDir
		case d.Type().IsRegular() && !skip: // in a work tree .git is a file
			f(name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func parse(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	walk(t, func(name string) {
		if !strings.HasSuffix(name, ".go") || strings.Contains(name, "/testdata/") {
			return
		}
		set := token.NewFileSet()
		a, err := parser.ParseFile(set, name, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			t.Errorf("%s can't be parsed: %v", name, err)
			return
		}
		g := goFile{path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), pkg: a.Name.Name, doc: documented(a)}
		for _, i := range a.Imports {
			p := set.Position(i.Pos())
			g.imports = append(g.imports, goImport{strings.Trim(i.Path.Value, `"`), fmt.Sprintf("%s:%d", p.Filename, p.Line)})
		}
		files = append(files, g)
	})
	if len(files) == 0 {
		t.Fatal("no Go file was found: the test must run at the module's root")
	}
	return files
}

func documented(a *ast.File) bool { return a.Doc != nil && len(a.Doc.Text()) > 20 }

// below reports whether a path is root or lies below it.
func below(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }

// oneOf is a list as a sentence has it.
func oneOf(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, " and ") + " alone"
}

func belowAny(p string, roots []string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return below(p, r) })
}

// tabled finds the entry of the packages table that a directory belongs to.
func tabled(dir string) (string, bool) {
	for p := range packages {
		parts := strings.Split(dir, "/")
		n := strings.Count(p, "/") + 1
		if len(parts) < n {
			continue
		}
		if ok, _ := path.Match(p, strings.Join(parts[:n], "/")); ok {
			return strings.Join(parts[:n], "/"), true
		}
	}
	return "", false
}

func third(p string) bool { return strings.Contains(strings.Split(p, "/")[0], ".") }

func TestArrows(t *testing.T) {
	for _, f := range parse(t) {
		if f.dir == "." {
			continue
		}
		own, ok := tabled(f.dir)
		if !ok {
			t.Errorf("%s: package %s is in no table: give it a line in shape_test.go and in docs/architecture.md, or move it", f.path, f.dir)
			continue
		}
		for _, i := range f.imports {
			arrow(t, f, own, i)
		}
	}
}

// arrow checks one import against all tables.
func arrow(t *testing.T, f goFile, own string, i goImport) {
	tree := strings.Split(f.dir, "/")[0]
	to, ours := strings.CutPrefix(i.path, module+"/")
	if ours {
		switch root := strings.Split(to, "/")[0]; {
		case !slices.Contains(trees[tree], root) && !below(to, own):
			why := map[string]string{
				"sdk":     "what a plugin may use knows nothing of who hosts it",
				"runtime": "only cmd imports plugins, to bundle them",
				"plugins": "a plugin is written against sdk alone, and never against another plugin",
			}[tree]
			t.Errorf("%s: %s imports %s, but the arrows are cmd → runtime → sdk ← plugins: %s", i.at, f.dir, to, why)
		case root == "runtime" && tree == "runtime" && !f.test && !below(to, own):
			if may, ok := within[own]; ok && !belowAny(to, may) {
				t.Errorf("%s: %s imports %s, but of runtime it may import %s", i.at, own, to, oneOf(may))
			}
		}
	}
	if slices.Contains(leaves, own) && (ours && !below(to, own) || !ours && third(i.path)) {
		t.Errorf("%s: %s imports %s, but it is a leaf: it imports the standard library alone", i.at, own, i.path)
	}
	for _, k := range knows {
		if below(i.path, k.path) && !belowAny(f.dir, k.only) && !(f.test && belowAny(f.dir, k.tests)) {
			t.Errorf("%s: %s imports %s, but %s is known to %s", i.at, f.dir, i.path, k.what, oneOf(k.only))
		}
	}
	io := slices.Contains(outside, i.path)
	if io && !f.test && slices.Contains(pure, own) && f.dir == own {
		t.Errorf("%s: %s imports %s, but it does no I/O and reads no random number", i.at, f.dir, i.path)
	}
	if venue, _ := path.Match("plugins/source/*", f.dir); io && venue && !f.test {
		t.Errorf("%s: %s imports %s, but a source plugin does no I/O: the runtime owns sockets, files and time", i.at, f.dir, i.path)
	}
}

func TestEveryPackageHasItsDoc(t *testing.T) {
	type key struct{ dir, pkg string }
	seen := map[key]bool{}
	for _, f := range parse(t) {
		if f.test && (f.dir != "." || strings.HasSuffix(f.pkg, "_test")) {
			continue
		}
		k := key{f.dir, f.pkg}
		seen[k] = seen[k] || f.doc
	}
	for k, ok := range seen {
		if !ok {
			t.Errorf("package %s has no comment that says what it is for", k.dir)
		}
	}
}

func TestArchitectureNamesEveryPackage(t *testing.T) {
	text := read(t, "docs/architecture.md")
	for p := range packages {
		if strings.Contains(p, "*") {
			continue
		}
		if _, err := os.Stat(p); err == nil && !strings.Contains(text, "`"+p+"`") {
			t.Errorf("docs/architecture.md says nothing of %s", p)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTopLevel(t *testing.T) {
	ignored := strings.Fields(read(t, ".gitignore"))
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if slices.Contains(topLevel, e.Name()) || slices.ContainsFunc(ignored, func(p string) bool {
			ok, _ := path.Match(strings.Trim(p, "/"), e.Name())
			return ok
		}) {
			continue
		}
		t.Errorf("%s stands at the top level, which holds what topLevel in shape_test.go lists: move it, or list it", e.Name())
	}
}

// notes are words of work that isn't done; places are paths of somebody's
// machine. Both are put together here, so that this file passes.
var (
	notes  = regexp.MustCompile(`\b(` + strings.Join([]string{"TO" + "DO", "FIX" + "ME", "HA" + "CK"}, "|") + `)\b`)
	places = regexp.MustCompile(`(^|[\s"'(=` + "`" + `])/(` + strings.Join([]string{"wo" + "rk", "ho" + "me", "ro" + "ot", "Use" + "rs"}, "|") + `)/`)
)

func TestNothingIsLeftOver(t *testing.T) {
	walk(t, func(name string) {
		if strings.Contains(name, "/testdata/fuzz/") || name == "go.sum" || name == "LICENSE" {
			return
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
			return
		}
		if len(b) > 1<<20 || strings.ContainsRune(string(b[:min(len(b), 8192)]), 0) {
			return // data
		}
		for n, line := range strings.Split(string(b), "\n") {
			if w := notes.FindString(line); w != "" {
				t.Errorf("%s:%d: %q: do it, or write down in words why it isn't done", name, n+1, w)
			}
			if w := places.FindString(line); w != "" {
				t.Errorf("%s:%d: %q is a place on somebody's machine", name, n+1, strings.TrimSpace(w))
			}
		}
	})
}

// requires reads go.mod: versions by module, and which are marked indirect.
func requires(t *testing.T) (version map[string]string, indirect map[string]bool) {
	t.Helper()
	version, indirect = map[string]string{}, map[string]bool{}
	in := false
	for _, line := range strings.Split(read(t, "go.mod"), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "require (":
			in = true
			continue
		case line == ")":
			in = false
			continue
		case strings.HasPrefix(line, "require "):
			line = strings.TrimPrefix(line, "require ")
		case !in:
			continue
		}
		if w := strings.Fields(line); len(w) >= 2 {
			version[w[0]] = w[1]
			indirect[w[0]] = strings.HasSuffix(line, "// indirect")
		}
	}
	return version, indirect
}

func TestDependenciesAreExplained(t *testing.T) {
	version, indirect := requires(t)
	used := map[string]string{} // module: where it is imported first
	for _, f := range parse(t) {
		for _, i := range f.imports {
			if !third(i.path) || below(i.path, module) {
				continue
			}
			best := ""
			for m := range version {
				if below(i.path, m) && len(m) > len(best) {
					best = m
				}
			}
			if best == "" {
				t.Errorf("%s: %s is of no module in go.mod", i.at, i.path)
			} else if used[best] == "" {
				used[best] = i.at
			}
		}
	}
	for m, ind := range indirect {
		if !ind && used[m] == "" {
			t.Errorf("go.mod requires %s directly, and nothing imports it", m)
		}
	}
	listed := map[string]bool{}
	for n, line := range strings.Split(read(t, "docs/dependencies.md"), "\n") {
		cell := strings.Split(line, "|")
		if len(cell) < 4 || !strings.Contains(cell[1], "`") {
			continue
		}
		m, v := strings.Trim(cell[1], " `"), strings.TrimSpace(cell[2])
		listed[m] = true
		switch {
		case version[m] == "":
			t.Errorf("docs/dependencies.md:%d: %s isn't in go.mod", n+1, m)
		case version[m] != v:
			t.Errorf("docs/dependencies.md:%d: %s is at %s, go.mod has %s", n+1, m, v, version[m])
		case used[m] == "":
			t.Errorf("docs/dependencies.md:%d: nothing imports %s", n+1, m)
		}
	}
	for m, at := range used {
		if !listed[m] {
			t.Errorf("%s: %s has no line in docs/dependencies.md: say what needs it, why this one, and what isn't written thereby", at, m)
		}
	}
}

func TestPipelinesAreExplained(t *testing.T) {
	names, err := filepath.Glob("pipelines/*.hcl")
	if err != nil {
		t.Fatal(err)
	}
	text := read(t, "README.md") + read(t, "pipelines/README.md")
	for _, n := range names {
		if !strings.Contains(text, filepath.Base(n)) {
			t.Errorf("no README says what %s is for", n)
		}
	}
}

var (
	link   = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)
	quoted = regexp.MustCompile("`((?:cmd|runtime|sdk|plugins|pipelines|docs|\\.ci)/[^`\\s]*)`")
	limit  = regexp.MustCompile("^\\|.*\\| `([^`]+)` in `([^`]+)` \\|$")
)

// TestDocsPointSomewhere checks links, paths in backquotes, and that a limit is
// still called so in the file that a table names.
func TestDocsPointSomewhere(t *testing.T) {
	walk(t, func(name string) {
		if !strings.HasSuffix(name, ".md") {
			return
		}
		for n, line := range strings.Split(read(t, name), "\n") {
			at := fmt.Sprintf("%s:%d", name, n+1)
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				if strings.Contains(m[1], "://") {
					continue
				}
				if _, err := os.Stat(path.Join(path.Dir(name), m[1])); err != nil {
					t.Errorf("%s: the link to %s leads nowhere", at, m[1])
				}
			}
			for _, m := range quoted.FindAllStringSubmatch(line, -1) {
				if strings.ContainsAny(m[1], "<>*{…=") {
					continue
				}
				if _, err := os.Stat(m[1]); err != nil {
					t.Errorf("%s: there is no %s", at, m[1])
				}
			}
			if m := limit.FindStringSubmatch(line); m != nil {
				if b, err := os.ReadFile(m[2]); err != nil || !strings.Contains(string(b), m[1]) {
					t.Errorf("%s: %s isn't in %s", at, m[1], m[2])
				}
			}
		}
	})
}
