package pipefile_test

import (
	"strings"
	"testing"

	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/pipefile/pipefiletest"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/sink"
)

// own has one custom sink.
type own struct {
	pipefiletest.Plugins
	manifest sink.Manifest
}

func (o own) Sink(pipefile.Plugin) (sink.Manifest, error) { return o.manifest, nil }

// TestSinkAccess: a sink that doesn't say what it needs is warned of, and one
// that says it in a way that this version can't hold it to is refused.
func TestSinkAccess(t *testing.T) {
	const text = `
marketprism {
  required_plugins {
    own = { path = "bin/own", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
  }
}
source "binance" "md" {
  symbols = ["BTC-USDT"]
  channel "trades" {}
}
sink "own" "x" { input = source.binance.md }
`
	writes := func(typ schema.Type, to schema.Target) schema.Attributes {
		return schema.Attributes{{Name: "dir", Type: typ, Writes: to}}
	}
	for name, c := range map[string]struct {
		manifest sink.Manifest
		severity pipefile.Severity
		want     string // nothing if empty
	}{
		"undeclared":      {sink.Manifest{Attributes: writes(schema.String, "")}, pipefile.Warning, `The sink plugin "own" doesn't say what it writes`},
		"nothing":         {sink.Manifest{Access: &sink.Access{}}, "", ""},
		"a path":          {sink.Manifest{Attributes: writes(schema.String, schema.Directory)}, "", ""},
		"paths":           {sink.Manifest{Attributes: writes(schema.Strings, schema.File)}, "", ""},
		"a number":        {sink.Manifest{Attributes: writes(schema.Int, schema.File)}, pipefile.Error, `"dir", a int, is a path to a "file" that it writes`},
		"a newer SDK's":   {sink.Manifest{Attributes: writes(schema.String, "socket")}, pipefile.Error, `is a path to a "socket"`},
		"TCP, older kind": {sink.Manifest{Access: &sink.Access{Connect: true}}, "", ""},
	} {
		_, diags := pipefile.Parse("main.hcl", pipefile.Options{Env: noEnv, ReadFile: func(string) ([]byte, error) { return []byte(text), nil }}, own{manifest: c.manifest})
		switch {
		case c.want == "" && len(diags) == 0:
		case c.want == "" || len(diags) != 1 || diags[0].Severity != c.severity || !strings.Contains(diags[0].Detail, c.want):
			t.Errorf("%s: %+v", name, diags)
		}
	}
}
