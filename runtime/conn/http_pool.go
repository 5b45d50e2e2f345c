package conn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// HTTPPool keeps HTTP connections open, by host, and makes requests on them.
// Where a server offers HTTP/2 by ALPN there is one connection with many
// requests, spoken by net/http; elsewhere there are up to MaxConns connections
// of HTTP/1.1 with one request each, spoken here. A request waits for a
// connection in the order of arrival.
//
// After an answer 429 or 418 nothing is sent before the time that it names: no
// request begins to be written once the answer's header was read. Requests that
// were written before are in the air; nobody can call them back.
//
// Do may be called from many goroutines. There is no goroutine here but those
// of HTTP/2 connections; a timer closes connections that are idle too long.
type HTTPPool struct {
	set    HTTPPoolSettings
	dial   *dialer
	gate   *gate
	egress *egress // nil outside of a feed
	h2     *http.Transport
	mu     sync.Mutex
	hosts  map[hostKey]*hostPool
	closed bool
	count  poolCounters
}

// HTTPPoolSettings are what a pool is made from.
type HTTPPoolSettings struct {
	Egress   string         // a local address, a proxy's URL, or empty
	Roots    *x509.CertPool // the system's if nil
	MaxConns int            // of HTTP/1.1, for each host; 8 if 0
	MaxIdle  time.Duration  // a connection that was idle so long is closed; 90 s if 0
	Timeout  time.Duration  // of a request, connection and body included; 30 s if 0
	MaxBody  int            // inflated; 15 MiB if 0
	HTTP1    bool           // don't offer HTTP/2
}

// HTTPRequest is a request. It may be used again once Do returned.
type HTTPRequest struct {
	Method  string // GET if empty
	URL     string
	Header  map[string]string
	Body    string
	MaxBody int    // of the answer, inflated; the pool's if 0
	Shown   string // in place of URL, where that holds what must not be seen: in errors. Redirects are not followed then
}

func (q *HTTPRequest) shown(raw string) string {
	if q.Shown != "" {
		return redact(q.Shown)
	}
	return redact(raw)
}

func (q *HTTPRequest) method() string {
	if q.Method == "" {
		return http.MethodGet
	}
	return q.Method
}

// again says that the request may be sent twice.
func (q *HTTPRequest) again() bool {
	return q.Body == "" && (q.method() == http.MethodGet || q.method() == http.MethodHead)
}

// HTTPResponse is an answer. Do writes over the one that it is given and keeps
// its memory, so that a caller who has one at hand causes no allocation.
type HTTPResponse struct {
	Status int
	Body   []byte    // inflated
	Reused bool      // it came on a connection that had served a request before
	Until  time.Time // of 429 and 418: nothing is sent before
	fields []byte    // of HTTP/1.1
	header http.Header
	limit  int
	from   lenders // of Body
}

// Header is the first value of a header field.
func (r *HTTPResponse) Header(name string) string {
	if r.header != nil {
		return r.header.Get(name)
	}
	return string(field(r.fields, strings.ToLower(name)))
}

// HTTPStats are a pool's counters and its connections now.
type HTTPStats struct {
	Requests uint64 // that were sent, repetitions included
	Reused   uint64 // of these, on a connection that had served one before
	Opened   uint64 // connections
	Repeated uint64 // requests, since the server had closed an idle connection
	Errors   uint64 // requests without an answer
	Limited  uint64 // answers 429 and 418
	Bytes    uint64 // of bodies, inflated
	Open     int    // connections of HTTP/1.1 now, in use and idle
	Open2    int    // connections of HTTP/2 now
}

type poolCounters struct {
	requests, reused, opened, repeated, errors, limited, bytes atomic.Uint64
}

var errPoolClosed = errors.New("conn: the HTTP pool is closed")

// NewHTTPPool makes a pool. It opens nothing.
func NewHTTPPool(s HTTPPoolSettings) (*HTTPPool, error) {
	d, err := newEgressDialer(s.Egress, nil, s.Roots)
	if err != nil {
		return nil, err
	}
	return newPool(s, d, new(gate)), nil
}

func newPool(s HTTPPoolSettings, d *dialer, g *gate) *HTTPPool {
	if s.MaxConns == 0 {
		s.MaxConns = 8
	}
	if s.MaxIdle == 0 {
		s.MaxIdle = 90 * time.Second
	}
	if s.Timeout == 0 {
		s.Timeout = requestTime
	}
	if s.MaxBody == 0 {
		s.MaxBody = 15 << 20
	}
	p := &HTTPPool{set: s, dial: d, gate: g, hosts: make(map[hostKey]*hostPool)}
	p.h2 = &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return ctx.Value(handedOver{}).(net.Conn), nil
		},
		ForceAttemptHTTP2: true, IdleConnTimeout: s.MaxIdle, MaxResponseHeaderBytes: maxHead,
		DisableCompression: true, // bodies are inflated here, where the ratio is known
		HTTP2:              &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
	return p
}

// handedOver is the context key of a connection on which HTTP/2 was agreed.
type handedOver struct{}

// Close closes idle connections and those of HTTP/2, and the others after their request.
func (p *HTTPPool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.each((*hostPool).shut)
}

// Stats reads the counters; each is exact, together they are of about one moment.
func (p *HTTPPool) Stats() HTTPStats {
	c := &p.count
	s := HTTPStats{Requests: c.requests.Load(), Reused: c.reused.Load(), Opened: c.opened.Load(), Repeated: c.repeated.Load(),
		Errors: c.errors.Load(), Limited: c.limited.Load(), Bytes: c.bytes.Load()}
	p.each(func(h *hostPool) {
		h.mu.Lock()
		s.Open += h.open
		s.Open2 += len(h.living())
		h.mu.Unlock()
	})
	return s
}

func (p *HTTPPool) each(f func(*hostPool)) {
	p.mu.Lock()
	hosts := make([]*hostPool, 0, len(p.hosts))
	for _, h := range p.hosts {
		hosts = append(hosts, h)
	}
	p.mu.Unlock()
	for _, h := range hosts {
		f(h)
	}
}

// Do makes a request and reads the answer into r, whatever its status. While a
// ban lasts it waits. An error of type *url.Error says that there was no answer;
// one that wraps fault.Wait, that the host's breaker is open.
func (p *HTTPPool) Do(ctx context.Context, q *HTTPRequest, r *HTTPResponse) error {
	for {
		err := p.do(ctx, q, r)
		if err != errShut {
			return err
		}
		if err := p.gate.wait(ctx); err != nil {
			return err
		}
	}
}

// do is Do that returns errShut instead of waiting for a ban.
func (p *HTTPPool) do(ctx context.Context, q *HTTPRequest, r *HTTPResponse) error {
	if !token(q.method()) {
		return fmt.Errorf("conn: request: %.20q is no method", q.Method)
	}
	for k, v := range q.Header {
		if !token(k) || !printable(v) {
			return fmt.Errorf("conn: request: header field %.40q can't be sent", k)
		}
	}
	r.limit = p.set.MaxBody
	if q.MaxBody > 0 {
		r.limit = q.MaxBody
	}
	deadline := time.Now().Add(p.set.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	raw := q.URL
	for hop := 0; ; hop++ {
		a, err := parseAddress(raw)
		if err != nil {
			return err
		}
		h, err := p.host(a)
		if err != nil {
			return err
		}
		if err := h.send(ctx, deadline, q, r, a); err != nil {
			if err == errShut || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return err
			}
			var open *openError
			if errors.As(err, &open) {
				return err
			}
			p.count.errors.Add(1)
			return &url.Error{Op: q.method(), URL: q.shown(raw), Err: err}
		}
		switch r.Status {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			return nil
		}
		to := r.Header("Location")
		if to == "" || !q.again() || q.Shown != "" {
			return nil
		}
		if raw, err = redirected(raw, to, hop); err != nil {
			return &url.Error{Op: q.method(), URL: redact(q.URL), Err: err}
		}
		if next, err := parseAddress(raw); err == nil && next.hostKey != a.hostKey { // keys in headers are for the first host
			q = &HTTPRequest{Method: q.Method, URL: q.URL}
		}
	}
}

func redirected(from, to string, hop int) (string, error) {
	if hop >= 3 {
		return "", errors.New("conn: more than 3 redirects")
	}
	base, err := url.Parse(from)
	if err != nil {
		return "", err
	}
	u, err := base.Parse(to)
	if err != nil {
		return "", err
	}
	if base.Scheme == "https" && u.Scheme != "https" {
		return "", fmt.Errorf("conn: redirect from TLS to %s is refused", u.Redacted())
	}
	return u.String(), nil
}

// address is a URL as a request needs it.
type address struct {
	hostKey
	target string // path and query
	url    string
}

type hostKey struct {
	secure bool
	host   string // with the port, if one is named
}

// parseAddress takes a URL apart without an allocation where it is of plain
// characters, and asks net/url where it isn't.
func parseAddress(raw string) (a address, err error) {
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c >= 0x7f || c == '#' || c == '@' || c == '"' || c == '<' || c == '>' || c == '\\' || c == '{' || c == '}' || c == '|' || c == '^' || c == '`' {
			u, err := url.Parse(raw)
			if err != nil {
				return a, fmt.Errorf("conn: request: %w", err)
			}
			if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !printable(u.Host) || strings.ContainsAny(u.Host, " @/?") {
				return a, fmt.Errorf("conn: request: %q is no HTTP address", u.Redacted())
			}
			target := escape(u.RequestURI())
			return address{hostKey{u.Scheme == "https", u.Host}, target, u.Scheme + "://" + u.Host + target}, nil
		}
	}
	a.url = raw
	rest, ok := strings.CutPrefix(raw, "https://")
	if a.secure = ok; !ok {
		if rest, ok = strings.CutPrefix(raw, "http://"); !ok {
			return a, fmt.Errorf("conn: request: %q is no HTTP address", raw)
		}
	}
	i := strings.IndexAny(rest, "/?")
	switch {
	case i < 0:
		a.host, a.target = rest, "/"
	case rest[i] == '?':
		a.host, a.target = rest[:i], "/"+rest[i:]
	default:
		a.host, a.target = rest[:i], rest[i:]
	}
	if a.host == "" || a.host[0] == ':' {
		return a, fmt.Errorf("conn: request: %q names no host", raw)
	}
	return a, nil
}

// escape leaves a target with plain characters alone: net/url lets others stand in a query.
func escape(target string) string {
	var b []byte
	for _, c := range []byte(target) {
		if c <= ' ' || c >= 0x7f {
			b = fmt.Appendf(b, "%%%02X", c)
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

func (k hostKey) addr() string {
	port := "80"
	if k.secure {
		port = "443"
	}
	u := url.URL{Host: k.host}
	if p := u.Port(); p != "" {
		port = p
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func (k hostKey) url() *url.URL {
	u := &url.URL{Scheme: "http", Host: k.host}
	if k.secure {
		u.Scheme = "https"
	}
	return u
}

// maxHosts bounds the hosts of a pool: manifests name a few, redirects could name any.
const maxHosts = 64

func (p *HTTPPool) host(a address) (*hostPool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errPoolClosed
	}
	h := p.hosts[a.hostKey]
	if h == nil {
		if len(p.hosts) >= maxHosts {
			return nil, fmt.Errorf("conn: request to %s: the pool has connections to %d hosts already", a.host, maxHosts)
		}
		key := hostKey{a.secure, strings.Clone(a.host)}
		h = &hostPool{p: p, key: key}
		h.breaker = newBreaker()
		p.hosts[key] = h
	}
	return h, nil
}

// send makes one request at a host, and again where a connection turns out to be
// closed before its answer began.
func (h *hostPool) send(ctx context.Context, deadline time.Time, q *HTTPRequest, r *HTTPResponse, a address) error {
	if h.p.gate.left(time.Now()) > 0 {
		return errShut
	}
	probe, err := h.breaker.enter()
	if err != nil {
		return err
	}
	for try := 0; ; try++ { // as often as there may be connections that ended unseen
		if err = h.once(ctx, deadline, q, r, a, try > 0); try > h.p.set.MaxConns || !errors.Is(err, errStale) || !q.again() {
			break
		}
		h.p.count.repeated.Add(1)
	}
	switch {
	case err == nil:
		h.breaker.leave(r.Status < 500)
	case err == errShut || ctx.Err() != nil || errors.Is(err, errTooLarge):
		h.breaker.abandon(probe) // it says nothing about the host
	default:
		h.breaker.leave(false)
	}
	return err
}

func (h *hostPool) once(ctx context.Context, deadline time.Time, q *HTTPRequest, r *HTTPResponse, a address, fresh bool) error {
	c, err := h.get(ctx, deadline, fresh)
	if err != nil {
		return err
	}
	count := &h.p.count
	if c.two != nil {
		return h.multiplexed(ctx, deadline, q, r, a, c)
	}
	w := c.wire
	if err := w.begin(ctx, deadline); err != nil {
		if ctx.Err() != nil {
			h.put(w)
		} else {
			h.drop(w)
		}
		return err
	}
	w.render(q, a.host, a.target)
	if !h.p.gate.enter() {
		h.put(w)
		return errShut
	}
	_, err = w.c.Write(w.out)
	h.p.gate.leave()
	count.requests.Add(1)
	if r.Reused = w.served > 0; r.Reused {
		count.reused.Add(1)
	}
	var hd head
	if err == nil {
		hd, err = w.readHead()
	} else if w.served > 0 && !timeout(err) {
		err = fmt.Errorf("%w: %w", errStale, err)
	}
	if err != nil {
		h.drop(w)
		return because(ctx, err)
	}
	r.Status, r.header = hd.status, nil
	r.fields = append(r.fields[:0], hd.fields...)
	h.p.limited(r)
	w.body(&hd, q.method())
	r.Body, err = readAll(r.Body[:0], w, hd.gzip, w.left, r.limit, r.from)
	count.bytes.Add(uint64(len(r.Body)))
	w.served++
	if err != nil || hd.close || !w.spent() {
		h.drop(w)
	} else {
		h.put(w)
	}
	return because(ctx, err)
}

// because names the context's end where that is why a connection failed.
func because(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && timeout(err) {
		return ctx.Err()
	}
	return err
}

// limited shuts the gate at once when the venue asks for silence.
func (p *HTTPPool) limited(r *HTTPResponse) {
	r.Until = time.Time{}
	if r.Status == http.StatusTooManyRequests || r.Status == http.StatusTeapot {
		now := time.Now()
		r.Until = p.gate.shut(now, retryAfter(r.Status, r.Header("Retry-After"), now))
		p.count.limited.Add(1)
	}
}

// multiplexed makes a request on a reserved place of an HTTP/2 connection.
func (h *hostPool) multiplexed(ctx context.Context, deadline time.Time, q *HTTPRequest, r *HTTPResponse, a address, c lent) error {
	if !h.p.gate.enter() {
		c.two.Release()
		return errShut
	}
	var once sync.Once
	written := func() { once.Do(h.p.gate.leave) }
	defer written()
	limit, cancel := context.WithDeadline(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { written() }}), deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(limit, q.method(), a.url, strings.NewReader(q.Body))
	if err != nil {
		c.two.Release()
		return err
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept-Encoding", "gzip")
	for k, v := range q.Header {
		req.Header.Set(k, v)
	}
	count := &h.p.count
	count.requests.Add(1)
	if r.Reused = c.reused; r.Reused {
		count.reused.Add(1)
	}
	resp, err := c.two.RoundTrip(req)
	written()
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if c.reused && c.two.Err() != nil && limit.Err() == nil {
			err = fmt.Errorf("%w: %w", errStale, err)
		}
		return err
	}
	defer resp.Body.Close()
	r.Status, r.header = resp.StatusCode, resp.Header
	h.p.limited(r)
	r.Body, err = readAll(r.Body[:0], resp.Body, strings.EqualFold(r.header.Get("Content-Encoding"), "gzip"), resp.ContentLength, r.limit, r.from)
	count.bytes.Add(uint64(len(r.Body)))
	if ctx.Err() != nil && err != nil {
		return ctx.Err()
	}
	return err
}

// readBody reads the answer to a WebSocket handshake.
func readBody(resp *http.Response, limit int) ([]byte, error) {
	return readAll(nil, resp.Body, strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip"), -1, limit, lenders{})
}

var errNotAgreed = errors.New("HTTP/2 was agreed and could not be begun")

// upgrade makes an HTTP/2 connection of one on which it was agreed.
func (p *HTTPPool) upgrade(ctx context.Context, c *tls.Conn, addr string) (*http.ClientConn, error) {
	cc, err := p.h2.NewClientConn(context.WithValue(ctx, handedOver{}, net.Conn(c)), "https", addr)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("%w: %w", errNotAgreed, err)
	}
	return cc, nil
}
