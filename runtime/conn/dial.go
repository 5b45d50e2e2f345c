package conn

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/proxy"
)

// dialer opens TCP connections, directly or through a proxy, and TLS on them.
type dialer struct {
	base  func(ctx context.Context, network, addr string) (net.Conn, error)
	proxy *url.URL // nil: the environment's, but for a local address
	local net.IP   // connections leave from it; nil: the system chooses
	roots *x509.CertPool
	cache tls.ClientSessionCache

	custom bool // base is not ours: HTTP connections are shared with nobody

	mu   sync.Mutex
	good map[string]string // host:port → address that answered last, for when names don't resolve
}

func (d *dialer) tls(serverName string) *tls.Config {
	return &tls.Config{RootCAs: d.roots, ServerName: serverName, MinVersion: tls.VersionTLS12, ClientSessionCache: d.cache}
}

// egress names the way out: budgets are counted by it.
func (d *dialer) egress() string {
	switch {
	case d.proxy != nil:
		return d.proxy.Host
	case d.local != nil:
		return d.local.String()
	}
	return ""
}

func (d *dialer) proxyFor(u *url.URL) (*url.URL, error) {
	if d.proxy != nil || d.local != nil {
		return d.proxy, nil
	}
	h := *u
	switch u.Scheme {
	case "ws":
		h.Scheme = "http"
	case "wss":
		h.Scheme = "https"
	}
	return http.ProxyFromEnvironment(&http.Request{URL: &h})
}

// tcp dials and remembers the address; where the name doesn't resolve, the
// address that answered last is tried. TLS still checks the name.
func (d *dialer) tcp(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := d.base(ctx, network, addr)
	if dns := (*net.DNSError)(nil); errors.As(err, &dns) {
		d.mu.Lock()
		good := d.good[addr]
		d.mu.Unlock()
		if good != "" {
			if c, e := d.base(ctx, network, good); e == nil {
				return c, nil
			}
		}
	}
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.good[addr] = c.RemoteAddr().String()
	d.mu.Unlock()
	return c, nil
}

// through opens a connection to u's host for a WebSocket, by its proxy if there is one.
func (d *dialer) through(ctx context.Context, u *url.URL, addr string) (net.Conn, error) {
	p, err := d.proxyFor(u)
	if err != nil {
		return nil, fmt.Errorf("conn: proxy from the environment: %w", err)
	}
	if p == nil {
		return d.tcp(ctx, "tcp", addr)
	}
	if strings.HasPrefix(p.Scheme, "socks5") {
		var auth *proxy.Auth
		if p.User != nil {
			pass, _ := p.User.Password()
			auth = &proxy.Auth{User: p.User.Username(), Password: pass}
		}
		s, err := proxy.SOCKS5("tcp", hostPort(p), auth, contextDialer(d.tcp))
		if err != nil {
			return nil, fmt.Errorf("conn: proxy %s: %w", p.Redacted(), err)
		}
		c, err := s.(proxy.ContextDialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("conn: proxy %s: %w", p.Redacted(), err)
		}
		return c, nil
	}
	c, err := d.tcp(ctx, "tcp", hostPort(p))
	if err != nil {
		return nil, fmt.Errorf("conn: proxy %s: %w", p.Redacted(), err)
	}
	tunnel, err := d.connect(ctx, c, p, addr)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("conn: proxy %s: %w", p.Redacted(), err)
	}
	return tunnel, nil
}

func (d *dialer) connect(ctx context.Context, c net.Conn, p *url.URL, addr string) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if p.Scheme == "https" {
		t := tls.Client(c, d.tls(p.Hostname()))
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		c = t
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{"User-Agent": {userAgent}}}
	if p.User != nil {
		pass, _ := p.User.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(p.User.Username()+":"+pass)))
	}
	if err := req.Write(c); err != nil {
		return nil, err
	}
	br := bufio.NewReader(io.LimitReader(c, handshakeBytes))
	resp, err := http.ReadResponse(br, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("CONNECT %s: %s", addr, resp.Status)
	}
	if br.Buffered() > 0 { // nobody speaks before our handshake
		return nil, fmt.Errorf("CONNECT %s: %d bytes after the response", addr, br.Buffered())
	}
	return c, nil
}

type contextDialer func(ctx context.Context, network, addr string) (net.Conn, error)

func (d contextDialer) Dial(network, addr string) (net.Conn, error) {
	return d(context.Background(), network, addr)
}

func (d contextDialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return d(ctx, network, addr)
}

func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	port := map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443"}[u.Scheme]
	if port == "" {
		port = "1080"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// override replaces scheme and host of raw by to's and puts to's path before its own.
func override(raw, to string) string {
	if to == "" {
		return raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	t, err := url.Parse(to)
	if err != nil {
		return raw
	}
	u.Scheme, u.Host, u.User = t.Scheme, t.Host, nil
	if prefix := strings.TrimRight(t.Path, "/"); prefix != "" {
		u.Path, u.RawPath = prefix+u.Path, ""
	}
	return u.String()
}

func hostOf(raw string) string {
	if u, err := url.Parse(raw); err == nil {
		return u.Host
	}
	return raw
}
