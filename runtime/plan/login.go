package plan

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/sign"
	"github.com/marketprism/marketprism/sdk/source"
)

// login says whether a channel's feed has the credentials that the channel
// needs, and reports what is missing.
func (b *builder) login(s *pipefile.Source, c *Channel, f *Feed) bool {
	login := c.Spec.Login
	if e := endpoint(f.Spec, c.Class); c.Transport == source.Stream && e != nil && e.Login != nil {
		login = e.Login
	}
	if login == nil {
		return true
	}
	what := fmt.Sprintf("channel %q", c.Channel)
	instead := ""
	for _, r := range c.Spec.ClassWhen { // the attribute that brought it there
		if r.Class == c.Class && c.Config[r.Attribute] == r.Value {
			what += fmt.Sprintf(" with %s = %s", r.Attribute, literal(r.Value))
			instead = ", or give " + r.Attribute + " another value"
			break
		}
	}
	who := ""
	if login.For != "" {
		who = fmt.Sprintf(" (%s lets in %s)", s.Manifest.Title, login.For)
	}
	block := "credentials {"
	for _, n := range sign.Needs(login) {
		block += fmt.Sprintf(" %s = env(%q)", n, strings.ToUpper(s.Manifest.Venue+"_"+n))
	}
	block += " }"
	missing := s.Credentials.Missing(login)
	switch {
	case s.Credentials == nil:
		b.errorf(c.at, "Channel needs a login", "%s of %s needs %s%s, and %s has no credentials block: add %s to it%s.",
			what, s.Manifest.Venue, list(sign.Needs(login)), who, s.Address(), block, instead)
		return false
	case len(missing) > 0:
		b.errorf(s.Ranges["credentials"], "Channel needs a login", "%s of %s needs %s%s, and the credentials block of %s lacks %s: it is written %s.",
			what, s.Manifest.Venue, list(sign.Needs(login)), who, s.Address(), list(missing), block)
		return false
	}
	if err := s.Credentials.Check(login); err != nil {
		b.errorf(s.Ranges["credentials"], "Wrong value for \"secret\"", "%s of %s can't be signed: %v. The value is sensitive and isn't shown.", what, s.Manifest.Venue, err)
		return false
	}
	address := f.Spec.HTTP
	attribute := "http_url"
	if e := endpoint(f.Spec, c.Class); c.Transport == source.Stream && e != nil {
		address, attribute = []string{e.URL}, "url"
	}
	for _, a := range address {
		if host := plain(a); host != "" {
			b.errorf(s.Ranges[attribute], "Login without TLS", "%s of %s logs in, and the way to %s has no TLS: who is on it could read what signs in. Give %s an address with TLS, or one on this machine.",
				what, s.Manifest.Venue, host, attribute)
			return false
		}
	}
	return true
}

// plain is the host beyond this machine that an address reaches without TLS.
func plain(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "ws" && u.Scheme != "http" {
		return ""
	}
	if ip, err := netip.ParseAddr(u.Hostname()); u.Hostname() == "localhost" || err == nil && ip.IsLoopback() {
		return ""
	}
	return u.Host
}

func literal(v any) string {
	if t, ok := v.(string); ok {
		return fmt.Sprintf("%q", t)
	}
	return fmt.Sprint(v)
}

// list is "a", "a and b" or "a, b and c".
func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
