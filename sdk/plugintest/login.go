package plugintest

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/source"
)

// loggedIn finds a channel on the market in test that a login brings, and the
// HCL that asks for it.
func (b *bench) loggedIn() (c *source.ChannelSpec, hcl string) {
	class := func(name string) bool {
		for _, m := range b.man.Markets {
			if m.Market == b.cfg.Market {
				return slices.ContainsFunc(m.Endpoints, func(e source.Endpoint) bool { return e.Class == name && e.Login != nil })
			}
		}
		return false
	}
	for i := range b.man.Channels {
		c := &b.man.Channels[i]
		if !slices.Contains(c.Markets, b.cfg.Market) || c.Transport != source.Stream {
			continue
		}
		for _, r := range c.ClassWhen {
			if text, ok := r.Value.(string); class(r.Class) && ok {
				return c, fmt.Sprintf("%s = %q", r.Attribute, text)
			} else if class(r.Class) {
				return c, fmt.Sprintf("%s = %v", r.Attribute, r.Value)
			}
		}
		if class(c.Class) {
			return c, ""
		}
	}
	return nil, ""
}

func needsLogin(b *bench) string {
	if c, _ := b.loggedIn(); c == nil {
		return b.man.Venue + " has no channel behind a login on " + b.cfg.Market.String()
	}
	if _, ok := emulator.Credentials(b.cfg.Options.Venue); !ok {
		return "the emulator takes no login of " + b.man.Venue
	}
	return ""
}

// 16: the runtime logs in, again after a disconnect, and nothing that it writes
// has the credentials.
func playLogin(b *bench) {
	c, hcl := b.loggedIn()
	u, _ := emulator.Credentials(b.cfg.Options.Venue)
	b.emulate(nil)
	b.block = fmt.Sprintf("  credentials {\n    key = %q\n", u.Key)
	if u.Secret != "" {
		file := filepath.Join(b.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(u.Secret), 0o600); err != nil {
			b.Fatal(err)
		}
		b.block += fmt.Sprintf("    secret_file = %q\n", file)
	}
	if u.Passphrase != "" {
		b.block += fmt.Sprintf("    passphrase = %q\n", u.Passphrase)
	}
	b.block += "  }"
	b.attributes = hcl
	data := func(what string) {
		from := time.Now().UnixNano()
		b.wait(what, func(rs []Record) bool {
			return slices.ContainsFunc(rs, func(r Record) bool {
				return r.Symbol == b.native(0) && r.TsRecv > from && slices.ContainsFunc(c.Kinds, func(k market.Kind) bool { return k.String() == r.Kind })
			})
		})
	}
	b.start(c.Channel)
	data("a record of " + c.Channel.String())
	b.inject(emulator.Fault{Kind: emulator.FaultDisconnect})
	b.wait("a quality record of the disconnect", func(rs []Record) bool { return len(quality(rs, "disconnect", "", "")) > 0 })
	data("another one after the disconnect")
	b.stop(true)
	pipeline := filepath.Join(b.dir, "card.hcl") // has what the user wrote
	err := filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || path == pipeline {
			return err
		}
		text, err := os.ReadFile(path)
		for _, secret := range []string{u.Key, u.Secret, u.Passphrase, u.Grants} {
			if secret != "" && bytes.Contains(text, []byte(secret)) {
				b.Errorf("%s has the credentials in it, or what was granted for them", path)
			}
		}
		if m := madeOfSecrets.Find(text); m != nil {
			b.Errorf("%s has what looks like a signature: %s", path, m)
		}
		return err
	})
	if err != nil {
		b.Error(err)
	}
}

// madeOfSecrets is a signature or a token in a member that venues send one in.
var madeOfSecrets = regexp.MustCompile(`"(?:sign|signature|authSig|jwt|SIGN)" ?: ?"[A-Za-z0-9+/_.=-]{43,}"`)
