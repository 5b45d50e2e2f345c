package plan_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/pipefile/pipefiletest"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/sink"
)

// own has one custom sink.
type own struct {
	pipefiletest.Plugins
	manifest sink.Manifest
}

func (o own) Sink(pipefile.Plugin) (sink.Manifest, error) { return o.manifest, nil }

func planAccess(t *testing.T, m sink.Manifest, settings string) (*plan.Plan, plan.Access) {
	t.Helper()
	text := `
marketprism {
  required_plugins {
    own = { path = "bin/own", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
  }
}
variable "where" {
  default   = "/secret/place"
  sensitive = true
}
source "binance" "md" {
  symbols = ["BTC-USDT"]
  channel "trades" {}
}
sink "own" "x" {
  input = source.binance.md
` + settings + `
}
`
	plugins := own{manifest: m}
	p, diags := pipefile.Parse("main.hcl", pipefile.Options{Env: noEnv, ReadFile: func(string) ([]byte, error) { return []byte(text), nil }}, plugins)
	if p == nil {
		t.Fatal(diags)
	}
	out, diags := plan.Build(p, plugins)
	if out == nil {
		t.Fatal(diags)
	}
	return out, out.Sinks[0].Access
}

// TestSinkAccess: what a sink's process may do follows from its manifest and its
// settings, and other settings make another plan.
func TestSinkAccess(t *testing.T) {
	m := sink.Manifest{Attributes: schema.Attributes{
		{Name: "path", Type: schema.String, Writes: schema.Directory, Default: "lake"},
		{Name: "logs", Type: schema.Strings, Writes: schema.File},
		{Name: "topic", Type: schema.String},
	}, Access: &sink.Access{Connect: true, Stdout: true}}
	for _, c := range []struct {
		manifest sink.Manifest
		settings string
		want     plan.Access
		text     string
	}{
		{m, `topic = "/x"`, plan.Access{Connect: true, Stdout: true, Writes: []plan.Writes{{"path", schema.Directory, []string{"lake"}, false}}},
			"may write below path, write to standard output, open TCP connections"},
		{m, `path = "s3://bucket/x"`, plan.Access{Connect: true, Stdout: true}, "may write to standard output, open TCP connections"},
		{m, `path = ""` + "\n" + `logs = ["a", "", "b"]`, plan.Access{Connect: true, Stdout: true, Writes: []plan.Writes{{"logs", schema.File, []string{"a", "b"}, false}}},
			"may write the file logs, write to standard output, open TCP connections"},
		{m, `path = var.where`, plan.Access{Connect: true, Stdout: true, Writes: []plan.Writes{{"path", schema.Directory, []string{"/secret/place"}, true}}},
			"may write below path, write to"},
		{sink.Manifest{Attributes: m.Attributes[:1]}, "", plan.Access{Writes: []plan.Writes{{"path", schema.Directory, []string{"lake"}, false}}}, "may write below path\n"},
		{sink.Manifest{Access: &sink.Access{Listen: true}}, "", plan.Access{Listen: true}, "may listen on TCP\n"},
		{sink.Manifest{Access: &sink.Access{}}, "", plan.Access{}, "may neither write nor use TCP\n"},
		{sink.Manifest{Attributes: m.Attributes[2:]}, "", plan.Access{Undeclared: true}, "may do all that this user may: its plugin doesn't say what it needs\n"},
	} {
		p, got := planAccess(t, c.manifest, c.settings)
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, not %+v", c.settings, got, c.want)
		}
		var text bytes.Buffer
		if err := p.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		js, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text.String(), "    "+c.text) || strings.Contains(text.String()+string(js), "secret/place") {
			t.Errorf("%s: wanted %q in\n%s", c.settings, c.text, &text)
		}
	}
	a, _ := planAccess(t, m, "")
	m.Access = &sink.Access{}
	if b, _ := planAccess(t, m, ""); a.Digest == b.Digest {
		t.Error("another manifest gives the same plan: a reload would keep the process")
	}
}
