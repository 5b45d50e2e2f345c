package plan_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/pipefile/pipefiletest"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/sdk/source"
)

// behindLogin is Kraken as it would be if all its channels needed a login.
type behindLogin struct {
	pipefiletest.Plugins
	login source.Login
}

func (b behindLogin) Source(p pipefile.Plugin) (source.Manifest, error) {
	m, err := b.Plugins.Source(p)
	for i := range m.Markets {
		for j := range m.Markets[i].Endpoints {
			m.Markets[i].Endpoints[j].Login = &b.login
		}
	}
	return m, err
}

// TestLogin: what a channel needs is asked for before anything runs, and no
// value is in a plan, a digest or a diagnostic.
func TestLogin(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pipe.hcl")
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("hunter2-in-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	build := func(login source.Login, credentials string) (*plan.Plan, pipefile.Diagnostics) {
		text := "source \"kraken\" \"md\" {\n  symbols = [\"BTC-USD\"]\n" + credentials + "\n  channel \"trades\" {}\n}\nsink \"null\" \"out\" {\n  input = source.kraken.md\n}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		all := behindLogin{login: login}
		p, diags := pipefile.Parse(file, pipefile.Options{Env: func(n string) (string, bool) { return "hunter2-of-" + n, n != "UNSET" }}, all)
		if p == nil {
			return nil, diags
		}
		out, more := plan.Build(p, all)
		return out, append(diags, more...)
	}
	hmac := source.Login{Secret: true, Scheme: source.SchemeHMACSHA256}
	for name, c := range map[string]struct {
		login       source.Login
		credentials string
		want        string // of the diagnostics; empty: a plan
	}{
		"none":           {hmac, ``, `channel "trades" of kraken needs key and secret, and source.kraken.md has no credentials block: add credentials { key = env("KRAKEN_KEY") secret = env("KRAKEN_SECRET") } to it.`},
		"given":          {hmac, `credentials {` + "\n" + `key = env("K")` + "\n" + `secret = "hunter2-text"` + "\n}", ``},
		"file":           {hmac, "credentials {\nkey = env(\"K\")\nsecret_file = \"secret\"\n}", ``},
		"both":           {hmac, "credentials {\nkey = \"hunter2\"\nsecret = \"hunter2\"\nsecret_file = \"secret\"\n}", `give secret or secret_file`},
		"no key":         {hmac, "credentials {\nsecret = \"hunter2\"\n}", `credentials needs "key"`},
		"key alone":      {hmac, "credentials {\nkey = \"hunter2\"\n}", `lacks secret`},
		"key is enough":  {source.Login{}, "credentials {\nkey = \"hunter2\"\n}", ``},
		"passphrase":     {source.Login{Secret: true, Passphrase: true}, "credentials {\nkey = \"hunter2\"\nsecret = \"hunter2\"\n}", `lacks passphrase`},
		"empty":          {hmac, "credentials {\nkey = \"\"\nsecret = \"hunter2\"\n}", `It is empty.`},
		"unset":          {hmac, "credentials {\nkey = env(\"UNSET\")\nsecret = \"hunter2\"\n}", `UNSET is not set`},
		"no file":        {hmac, "credentials {\nkey = \"hunter2\"\nsecret_file = \"missing\"\n}", `Secret can't be read`},
		"twice":          {hmac, "credentials {\nkey = \"hunter2\"\nsecret = \"hunter2\"\n}\ncredentials {\nkey = \"hunter2\"\n}", `Block stands twice`},
		"unknown":        {hmac, "credentials {\nkey = \"hunter2\"\nsekret = \"x\"\n}", `Did you mean "secret"?`},
		"no TLS":         {hmac, "url = \"ws://bridge.example\"\ncredentials {\nkey = \"hunter2\"\nsecret = \"hunter2\"\n}", `the way to bridge.example has no TLS`},
		"loopback":       {hmac, "url = \"ws://127.0.0.1:9\"\ncredentials {\nkey = \"hunter2\"\nsecret = \"hunter2\"\n}", ``},
		"another form":   {source.Login{Secret: true, Scheme: source.SchemeHMACSHA256, Form: source.SecretBase64}, "credentials {\nkey = \"hunter2\"\nsecret = \"hunter2!\"\n}", `the secret is no base64`},
		"no private key": {source.Login{Secret: true, Scheme: source.SchemeJWTES256, Form: source.SecretPEM}, "credentials {\nkey = \"hunter2\"\nsecret = \"hunter2\"\n}", `no PEM text`},
	} {
		t.Run(name, func(t *testing.T) {
			p, diags := build(c.login, c.credentials)
			var text bytes.Buffer
			for _, d := range diags {
				fmt.Fprintln(&text, d.Summary, d.Detail)
			}
			if err := diags.WriteJSON(&text); err != nil {
				t.Fatal(err)
			}
			if err := diags.WriteText(&text, 80, false); err != nil {
				t.Fatal(err)
			}
			if (p != nil) != (c.want == "") || !strings.Contains(text.String(), c.want) {
				t.Errorf("plan %v, want %q:\n%s", p != nil, c.want, &text)
			}
			if p != nil {
				if err := p.WriteText(&text); err != nil {
					t.Fatal(err)
				}
				if err := p.WriteJSON(&text); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(text.String(), "signed as (redacted), with key") {
					t.Errorf("%s", &text)
				}
				fmt.Fprintf(&text, "%+v", p.Feeds[0])
				b, err := json.Marshal(p.Feeds[0].Settings()) // what the plugin is given
				if err != nil {
					t.Fatal(err)
				}
				text.Write(b)
			}
			if strings.Contains(text.String(), "hunter2") {
				t.Errorf("a secret shows: %s", &text)
			}
		})
	}
	a, _ := build(hmac, "credentials {\nkey = \"k\"\nsecret = \"one\"\n}")
	b, _ := build(hmac, "credentials {\nkey = \"k\"\nsecret = \"two\"\n}")
	if a.Digest != b.Digest || a.Feeds[0].Credentials.Equal(b.Feeds[0].Credentials) {
		t.Error("the digest knows the secret, or the plan doesn't")
	}
}
