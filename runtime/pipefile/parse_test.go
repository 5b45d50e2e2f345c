package pipefile_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/pipefile/pipefiletest"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
)

var update = flag.Bool("update", false, "write golden files anew")

func noEnv(string) (string, bool) { return "", false }

// parse reads one pipeline's text.
func parse(text string) (*pipefile.Pipeline, pipefile.Diagnostics) {
	return pipefile.Parse("main.hcl", pipefile.Options{Env: noEnv, ReadFile: only("main.hcl", text)}, pipefiletest.Plugins{})
}

// only is a file system of one file.
func only(name, text string) func(string) ([]byte, error) {
	return func(n string) ([]byte, error) {
		if n != name {
			return nil, fmt.Errorf("open %s: %w", n, os.ErrNotExist)
		}
		return []byte(text), nil
	}
}

// base is what the bad pipelines of one block stand beside.
const base = `
source "binance" "md" {
  symbols = ["BTC-USDT"]
  channel "trades" {}
  channel "book" {}
}
sink "null" "out" {
  input = source.binance.md
}
`

// TestDiagnostics holds testdata/bad/*.txtar: pairs of files NAME.hcl (a bad
// pipeline; base is appended where the name begins with "+") and NAME.want, what
// is said about it.
func TestDiagnostics(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no bad pipelines", err)
	}
	for _, f := range files {
		a, err := txtar.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for _, x := range a.Files {
			want[x.Name] = string(x.Data)
		}
		out := &txtar.Archive{Comment: a.Comment}
		for _, x := range a.Files {
			name, ok := strings.CutSuffix(x.Name, ".hcl")
			if !ok {
				continue
			}
			text := string(x.Data)
			if strings.HasPrefix(name, "+") {
				text += base
			}
			p, diags := parse(text)
			var b bytes.Buffer
			if err := diags.WriteText(&b, 0, false); err != nil {
				t.Fatal(err)
			}
			got := strings.TrimRight(b.String(), "\n") + "\n"
			out.Files = append(out.Files, x, txtar.File{Name: name + ".want", Data: []byte(got)})
			if (p == nil) != diags.HasErrors() {
				t.Errorf("%s %s: pipeline %v with errors %v", f, name, p != nil, diags.HasErrors())
			}
			if d := cmp.Diff(want[name+".want"], got); d != "" && !*update {
				t.Errorf("%s %s (-want +got):\n%s", f, name, d)
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("%s %s shows a secret", f, name)
			}
		}
		if *update {
			if err := os.WriteFile(f, txtar.Format(out), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestValues(t *testing.T) {
	env := map[string]string{"CH": "http://ch:8123", "MARKETPRISM_VAR_syms": `["ETH-USDT"]`, "MARKETPRISM_VAR_pw": "hunter2"}
	p, diags := pipefile.Parse("dir/main.hcl", pipefile.Options{
		Env: func(n string) (string, bool) { v, ok := env[n]; return v, ok },
		ReadFile: func(n string) ([]byte, error) {
			switch n {
			case filepath.Join("dir", "pw.txt"):
				return []byte("geheim"), nil
			case "my.vars":
				return []byte("wait = \"2s\"\nsyms = [\"SOL-USDT\"]\n"), nil
			case "dir/main.hcl":
				return []byte(`
marketprism {
  latency = "low"
  listen  = ""
  token_file = "admin.token"
  hosts      = ["collector.example.com"]
  journal {
    max_size = "1.5GiB"
    max_age  = "1d12h"
    sync     = "always"
  }
  required_plugins {
    acme = { path = "bin/acme", sha256 = "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef" }
  }
}
variable "syms" { type = list(string) }
variable "wait" { default = "9s" }
variable "n" {
  type    = number
  default = 7
}
variable "pw" { sensitive = true }
source "binance" "md" {
  symbols  = var.syms
  url      = "ws://127.0.0.1:9070/"
  channel "book" { depth = "50" }
}
source "acme" "own" {
  symbols = ["BTC-USD", "ETH-USD"]
  token   = file("pw.txt")
  tags    = ["slow"]
  channel "bbo" {}
  channel "book" {}
}
sink "clickhouse" "hot" {
  input    = [source.binance.md, source.acme.own.bbo]
  url      = env("CH")
  password = "x${var.pw}"
  retries  = var.n
  timeout  = env("NOT_SET", "45s")
  batch { max_wait = var.wait }
}
sink "parquet" "lake" {
  input = source.binance.md.book
  path  = "./lake/"
}
`[1:]), nil
			}
			return nil, os.ErrNotExist
		},
		Vars:     []string{"n=9", "n=5"},
		VarFiles: []string{"my.vars"},
	}, pipefiletest.Plugins{})
	if p == nil {
		t.Fatal(diags)
	}
	set := p.Settings
	if set.DataDir != "data" || set.Latency != pipefile.LatencyLow || set.Listen != "" || p.Name != "main" {
		t.Errorf("settings %+v", set)
	}
	if set.TokenFile != filepath.Join("dir", "admin.token") || len(set.Hosts) != 1 {
		t.Errorf("settings %+v", set)
	}
	if j := set.Journal; j.MaxSize != 3<<29 || j.MaxAge != 36*time.Hour || j.Sync != "always" || j.SegmentSize != 64<<20 {
		t.Errorf("journal %+v", j)
	}
	md, own := p.Source("binance", "md"), p.Source("acme", "own")
	if len(md.Symbols) != 1 || md.Symbols[0].Name != "SOL-USDT" || md.URL != "ws://127.0.0.1:9070" {
		t.Errorf("binance: a variables file goes before the environment: %+v", md)
	}
	if v, ok := md.Channel(market.ChannelBook).On(market.MarketSpot); !ok || v.Config.Int("depth") != 50 || v.Config.Duration("interval") != 100*time.Millisecond {
		t.Errorf("book on spot: %+v", v)
	}
	if v, ok := md.Channel(market.ChannelBook).On(market.MarketLinear); !ok || v.Config.Bool("rpi") || v.Config["interval"] != nil {
		t.Errorf("book on linear: %+v", v)
	}
	if own.Plugin.FirstParty() || own.Plugin.Path != filepath.Join("dir", "bin", "acme") || own.Plugin.SHA256[10:16] != "abcdef" {
		t.Errorf("plugin %+v", own.Plugin)
	}
	if d := cmp.Diff(schema.Values{"token": "geheim", "ratio": 0.5, "tags": []string{"slow"}}, own.Config); d != "" {
		t.Error(d)
	}
	if own.Shown["token"] != pipefile.Struck || !own.Channel(market.ChannelBBO).Derived() {
		t.Errorf("acme: %+v", own)
	}
	hot := p.Sinks[0]
	if d := cmp.Diff(schema.Values{"url": "http://ch:8123", "password": "xhunter2", "retries": int64(5), "timeout": int64(45 * time.Second)}, hot.Config); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(pipefile.Shown{"url": "http://ch:8123", "password": pipefile.Struck, "retries": int64(5), "timeout": "45s"}, hot.Shown); d != "" {
		t.Error(d)
	}
	if hot.Batch != (pipefile.Batch{MaxRecords: 1000, MaxWait: 2 * time.Second}) || hot.Input[1].Address() != "source.acme.own.bbo" {
		t.Errorf("sink %+v", hot)
	}
	lake := p.Sinks[1]
	if lake.Config.Duration("roll_every") != time.Hour || lake.Config.Int("roll_size") != 256<<20 || lake.Shown["row_group_size"] != "16MiB" {
		t.Errorf("parquet %+v", lake.Config)
	}
}

// TestDirectory reads a directory as one pipeline, and leaves other files be.
func TestDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mine")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a_source.hcl":          "source \"binance\" \"md\" {\n  symbols = [var.s]\n  channel \"trades\" {}\n}\n",
		"b_sink.hcl":            "variable \"s\" { default = \"BTC-USDT\" }\nsink \"null\" \"out\" { input = source.binance.md }\n",
		".marketprism.lock.hcl": "broken {",
		"notes.txt":             "{",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, diags := pipefile.Parse(dir, pipefile.Options{Env: noEnv, DataDir: "elsewhere"}, pipefiletest.Plugins{})
	if p == nil || len(diags) > 0 {
		t.Fatal(diags)
	}
	if p.Name != "mine" || p.Sources[0].Symbols[0].Name != "BTC-USDT" || p.Settings.DataDir != "elsewhere" {
		t.Errorf("%+v", p)
	}
	if _, diags := pipefile.Parse(filepath.Join(dir, "c.hcl"), pipefile.Options{}, pipefiletest.Plugins{}); !diags.HasErrors() {
		t.Error("a missing file went through")
	}
	if _, diags := pipefile.Parse(t.TempDir(), pipefile.Options{}, pipefiletest.Plugins{}); !diags.HasErrors() {
		t.Error("an empty directory went through")
	}
}

// TestJSON holds the machine form to the fields of `terraform validate -json`.
func TestJSON(t *testing.T) {
	_, diags := parse("variable \"e\" { default = \"1x\" }\nvariable \"s\" {\n  default   = \"hunter2\"\n  sensitive = true\n}\n" + `
processor "book_snapshot" "top" {
  input = source.binance.md
  every = "${var.e}"
  depth = var.s
}
` + base)
	var b bytes.Buffer
	if err := diags.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/diagnostics.json", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/diagnostics.json")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if strings.Contains(b.String(), "hunter2") {
		t.Error("a secret shows")
	}
	b.Reset()
	if err := (pipefile.Diagnostics{}).WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var none struct {
		Valid       bool  `json:"valid"`
		Diagnostics []any `json:"diagnostics"`
	}
	if err := json.Unmarshal(b.Bytes(), &none); err != nil || !none.Valid || none.Diagnostics == nil {
		t.Errorf("no diagnostics gave %s", b.Bytes())
	}
}

func TestVariablesFromOutside(t *testing.T) {
	text := "variable \"token\" {\n  type      = number\n  sensitive = true\n}\n" + base
	for name, c := range map[string]struct {
		vars []string
		file string
		want string
	}{
		"none":       {want: `main.hcl:1: Variable has no value: "token" has no default. Set it: -var token=VALUE`},
		"not a pair": {vars: []string{"token"}, want: "Wrong -var"},
		"unknown":    {vars: []string{"token=1", "tokn=1"}, want: `Did you mean "token"?`},
		"type":       {vars: []string{"token=hunter2"}, want: "-var token must be number"},
		"file type":  {file: `token = "hunter2"`, want: "vars:1: Wrong value for a variable"},
		"file block": {file: "token = 1\nx {}\n", want: "vars:2: Block in a variables file"},
		"file name":  {file: "token = 1\ntoken2 = 2\n", want: `vars:2: Unknown variable: vars sets "token2"`},
		"file gone":  {file: "-", want: "vars: file does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			o := pipefile.Options{Env: noEnv, Vars: c.vars, ReadFile: func(n string) ([]byte, error) {
				if n == "main.hcl" {
					return []byte(text), nil
				}
				if c.file == "-" {
					return nil, fmt.Errorf("open %s: %w", n, os.ErrNotExist)
				}
				return []byte(c.file), nil
			}}
			if c.file != "" {
				o.VarFiles = []string{"vars"}
			}
			_, diags := pipefile.Parse("main.hcl", o, pipefiletest.Plugins{})
			var b bytes.Buffer
			if err := diags.WriteText(&b, 0, false); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(diags.Error(), c.want) {
				t.Errorf("want %q in:\n%v", c.want, diags)
			}
			if strings.Contains(b.String()+diags.Error(), "hunter2") {
				t.Errorf("a secret shows:\n%s", b.String())
			}
		})
	}
}

func TestUnits(t *testing.T) {
	for in, want := range map[string]time.Duration{"30s": 30 * time.Second, "7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "1m30s": 90 * time.Second, "0s": 0, "250ms": 250 * time.Millisecond} {
		if got, err := pipefile.ParseDuration(in); err != nil || got != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "5", "0", "5 s", "s", "-1d", "1d-2h", "99999999d", "1dd", "1h1d", "9999999h"} {
		if got, err := pipefile.ParseDuration(in); err == nil {
			t.Errorf("%q gave %v", in, got)
		}
	}
	for in, want := range map[string]int64{"8GiB": 8 << 30, "1.5KiB": 1536, "64KiB": 64 << 10, "1MB": 1e6, "0B": 0, "12 MiB": 12 << 20, "2TiB": 2 << 40} {
		if got, err := pipefile.ParseSize(in); err != nil || got != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "8", "B", "GiB", "-1GiB", "0.3B", "1e9B", "1/2GiB", "99999999999TiB", "0x1GiB", "8Gib"} {
		if got, err := pipefile.ParseSize(in); err == nil {
			t.Errorf("%q gave %v", in, got)
		}
	}
	for in, want := range map[int64]string{8 << 30: "8GiB", 1536: "1.5KiB", 12: "12B", 0: "0B"} {
		if got := pipefile.FormatSize(in); got != want {
			t.Errorf("%d: %s", in, got)
		}
	}
	for in, want := range map[time.Duration]string{6 * time.Hour: "6h", 90 * time.Second: "1m30s", 0: "0s", time.Hour + time.Second: "1h0m1s", 10 * time.Minute: "10m"} {
		if got := pipefile.FormatDuration(in); got != want {
			t.Errorf("%v: %s", in, got)
		}
	}
}

// TestDeep parses the deepest nesting that fits a file: the stack must hold it.
func TestDeep(t *testing.T) {
	const n = 250 << 10
	for _, s := range []string{"(", "[", "{", "!", "-", "\"${", "a?", "a.b[", "f(", "\"%{if a}", "<<A\n${"} {
		_, diags := parse("x = " + strings.Repeat(s, n/len(s)))
		if !diags.HasErrors() {
			t.Errorf("%q went through", s)
		}
	}
	for _, s := range []string{strings.Repeat("a {\n", n/4), "x = \"" + strings.Repeat("%{if a}", n/7), "x = " + strings.Repeat("a?a:", n/40),
		"x = 1" + strings.Repeat("+1", n/20), "x = a" + strings.Repeat(".b", n/20), "x = a" + strings.Repeat("[0]", n/30), "x = a" + strings.Repeat("[*]", n/30),
		strings.Repeat("a", n), strings.Repeat("\n", n+n)} {
		if _, diags := parse(s); !diags.HasErrors() {
			t.Errorf("%.20q went through", s)
		}
	}
	// A long sum parses, and is then evaluated.
	if _, diags := parse("variable \"x\" { default = 1" + strings.Repeat("+1", n/20) + " }\n" + base); diags.HasErrors() {
		t.Error(diags)
	}
	if _, diags := pipefile.Parse("main.hcl", pipefile.Options{Env: noEnv, Vars: []string{"x=" + strings.Repeat("(", n)},
		ReadFile: only("main.hcl", "variable \"x\" { type = number }\n"+base)}, pipefiletest.Plugins{}); !diags.HasErrors() {
		t.Error("a deep -var went through")
	}
}

func TestErrorIsReadable(t *testing.T) {
	_, diags := parse("sorce \"binance\" \"md\" {}\n" + base)
	var err error = diags
	var back pipefile.Diagnostics
	if !errors.As(err, &back) || err.Error() != `main.hcl:1: Unknown block: A pipeline has no block "sorce". Did you mean "source"?` {
		t.Error(err)
	}
}

// FuzzParse: whatever the text, no panic, and either a pipeline or an error.
func FuzzParse(f *testing.F) {
	f.Add(base)
	for _, glob := range []string{"../../pipelines/*.hcl", "../plan/testdata/*.hcl"} {
		files, err := filepath.Glob(glob)
		if err != nil {
			f.Fatal(err)
		}
		for _, n := range files {
			b, err := os.ReadFile(n)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(b))
		}
	}
	bad, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, n := range bad {
		a, err := txtar.ParseFile(n)
		if err != nil {
			f.Fatal(err)
		}
		for _, x := range a.Files {
			if strings.HasSuffix(x.Name, ".hcl") {
				f.Add(string(x.Data) + base)
			}
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Count(text, "for") > 2 { // loops in loops take what time they take
			return
		}
		p, diags := parse(text)
		if (p == nil) != diags.HasErrors() {
			t.Fatalf("pipeline %v, errors %v", p != nil, diags.HasErrors())
		}
		var b bytes.Buffer
		if err := errors.Join(diags.WriteText(&b, 80, true), diags.WriteJSON(&b)); err != nil {
			t.Fatal(err)
		}
	})
}
