package host

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/schema"
)

func TestAccessBelow(t *testing.T) {
	dir := func(p string) Path { return Path{Path: p, Target: schema.Directory} }
	file := func(p string) Path { return Path{Path: p, Target: schema.File} }
	for _, c := range []struct{ given, want []Path }{
		{nil, nil},
		{[]Path{dir("lake"), dir("/a/../b/")}, []Path{dir("/srv/lake"), dir("/b")}},
		{[]Path{dir("lake/tmp"), dir("lake"), file("lake/x"), dir("./lake"), dir("lake2")}, []Path{dir("/srv/lake"), dir("/srv/lake2")}},
		{[]Path{dir("/"), dir("lake"), file("/etc/x")}, []Path{dir("/")}},
		{[]Path{file("x"), file("x"), file("x/y")}, []Path{file("/srv/x"), file("/srv/x/y")}},
		{[]Path{dir(".")}, []Path{dir("/srv")}},
	} {
		given := append([]Path(nil), c.given...)
		if a := (Access{Writes: c.given, Connect: true}).below("/srv"); !reflect.DeepEqual(a.Writes, c.want) || !a.Connect {
			t.Errorf("%+v gives %+v", c.given, a)
		}
		if !reflect.DeepEqual(c.given, given) {
			t.Errorf("%+v was changed to %+v", given, c.given)
		}
	}
}

func TestAccessPrepare(t *testing.T) {
	root := t.TempDir()
	at := func(parts ...string) string { return filepath.Join(append([]string{root}, parts...)...) }
	a := &Access{Writes: []Path{{"path", at("a", "b"), schema.Directory, false}, {"file", at("f"), schema.File, false}}}
	for range 2 { // what is there stays
		if err := a.prepare(); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(at("f")); err != nil || len(b) != 0 && string(b) != "kept" {
			t.Errorf("file: %q, %v", b, err)
		}
		if err := os.WriteFile(at("f"), []byte("kept"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(at("a", "b")); err != nil || !st.IsDir() {
		t.Error(err)
	}
	for _, p := range []Path{{"path", at("f", "x"), schema.Directory, false}, {"path", at("f"), schema.Directory, true}, {"file", at("a"), schema.File, false},
		{"file", at("a"), schema.File, true}, {"file", at("no", "f"), schema.File, false}, {"file", at("no", "f"), schema.File, true}} {
		err := (&Access{Writes: []Path{p}}).prepare()
		if fault.Of(err) != fault.Stop || !strings.Contains(err.Error(), p.Attribute+": what the sink writes can't be made") || strings.Contains(err.Error(), root) == p.Hidden {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestAccessSays(t *testing.T) {
	lake, file, secret := Path{"path", "/lake", schema.Directory, false}, Path{"log", "/l", schema.File, false}, Path{"path", "/hush", schema.Directory, true}
	for want, a := range map[string]Access{
		"it may write nothing, and may not use TCP": {},
		"it may write nothing":                      {Connect: true, Listen: true},
		"it may write below /lake (path), /l (log) and nothing else, and may not listen on TCP": {Writes: []Path{lake, file}, Connect: true},
		"it may write below /lake (path) and nothing else, and may not open TCP connections":    {Writes: []Path{lake}, Listen: true},
		"it may write below path and nothing else":                                              {Writes: []Path{secret}, Connect: true, Listen: true},
	} {
		if a.String() != want {
			t.Errorf("%q, not %q", a.String(), want)
		}
	}
}
