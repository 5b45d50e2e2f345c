package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// access says who may ask.
type access struct {
	token *[sha256.Size]byte // of the token; nil: none is asked for
	hosts map[string]bool    // lower case
	own   net.IP             // of the listen address, if it names one
}

// What a token file may hold, in bytes.
const (
	minToken = 16
	maxToken = 4096
)

func newAccess(listen, tokenFile string, hosts []string) (*access, error) {
	a := &access{hosts: map[string]bool{"localhost": true}}
	for _, h := range hosts {
		a.hosts[strings.ToLower(strings.TrimSuffix(h, "."))] = true
	}
	if !strings.HasPrefix(listen, unixScheme) {
		host, _, err := net.SplitHostPort(listen)
		if err != nil {
			return nil, fmt.Errorf("admin: listen address %q: want host:port, as 127.0.0.1:9464, or unix:///path: %w", listen, err)
		}
		a.own = net.ParseIP(host)
		if host != "" && a.own == nil {
			a.hosts[strings.ToLower(host)] = true
		}
		if tokenFile == "" && !loopback(host) {
			return nil, fmt.Errorf("admin: listen address %q is not on loopback: name a file with a token as `token_file` in the marketprism block, or listen on 127.0.0.1 or unix:///path", listen)
		}
	}
	if tokenFile != "" {
		t, err := readToken(tokenFile)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256([]byte(t))
		a.token = &sum
	}
	return a, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// readToken refuses a file that others than its owner can read.
func readToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("admin: token file: %w; make one with: umask 077; head -c 32 /dev/urandom | base64 > %s", err, path)
	}
	defer f.Close()
	info, err := f.Stat() // of what was opened: the name may be another file by now
	if err != nil {
		return "", fmt.Errorf("admin: token file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("admin: token file %s is no regular file", path)
	}
	if m := info.Mode().Perm(); m&0o077 != 0 {
		return "", fmt.Errorf("admin: token file %s has mode %04o: others can read it, so it is refused; chmod 600 %s", path, m, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("admin: token file: %w", err)
	}
	t := strings.TrimSpace(string(b))
	switch {
	case len(b) > maxToken:
		return "", fmt.Errorf("admin: token file %s has more than %d bytes", path, maxToken)
	case len(t) < minToken:
		return "", fmt.Errorf("admin: token file %s: the token has %d characters, fewer than %d can be guessed", path, len(t), minToken)
	case strings.ContainsFunc(t, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", errors.New("admin: token file " + path + ": a token is one line of printable ASCII without spaces")
	}
	return t, nil
}

// knows says whether a request's token is the one. Sums are compared, so that
// the time tells nothing of the length either.
func (a *access) knows(r *http.Request) bool {
	scheme, t, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		t = ""
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(t)))
	return subtle.ConstantTimeCompare(sum[:], a.token[:]) == 1
}

// serves says whether a request's Host is one of this server's. A literal
// address is of use to nobody who rebinds names; it must be where the request
// came in all the same.
func (a *access) serves(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = strings.Trim(r.Host, "[]")
	}
	if ip := net.ParseIP(host); ip != nil {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		return ip.IsLoopback() || ip.Equal(a.own) || local != nil && ip.Equal(local.IP) || a.hosts[host]
	}
	return a.hosts[strings.ToLower(strings.TrimSuffix(host, "."))]
}

// guarded lets through who may ask.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := s.access.Load()
		if !s.unix && !a.serves(r) {
			s.refused(r, "host")
			Error(w, http.StatusForbidden, "this server does not answer for the host name of this request; add it as `hosts` in the marketprism block if it should")
			return
		}
		if a.token != nil && r.URL.Path != "/healthz" && r.URL.Path != "/-/healthy" && !a.knows(r) {
			s.refused(r, "token")
			w.Header().Set("WWW-Authenticate", `Bearer realm="marketprism"`)
			Error(w, http.StatusUnauthorized, "this needs the header Authorization: Bearer <token>, with the content of `token_file`")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refusalsEvery is how often refusals are logged: an attacker must not fill the
// log. All of them are counted.
const refusalsEvery = 10 * time.Second

func (s *Server) refused(r *http.Request, why string) {
	if why == "host" {
		s.count.hosts.Add(1)
	} else {
		s.count.tokens.Add(1)
	}
	now, last := time.Now().UnixNano(), s.told.Load()
	if now-last >= int64(refusalsEvery) && s.told.CompareAndSwap(last, now) {
		s.s.Logger.Warn().Str("remote", r.RemoteAddr).Str("wrong", why).Str("path", r.URL.Path).Msg("admin request refused; more of them are counted, not logged, for 10 seconds")
	}
}
