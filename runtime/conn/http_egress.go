package conn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
)

// HTTPSettings are those of a feed's requests and of its ways out.
type HTTPSettings struct {
	// Egress are the ways out: local addresses, and proxies as http, https or
	// socks5 URLs. Requests and dials go by the one with most budget left; each
	// has budgets, connections and bans of its own. Empty: Settings.Proxy.
	Egress []string
	HTTP1  bool // don't offer HTTP/2
}

// maxEgress bounds the ways out of a feed.
const maxEgress = 64

// newEgressDialer reads one way out. base replaces the TCP dial where it is set.
func newEgressDialer(egress string, base func(ctx context.Context, network, addr string) (net.Conn, error), roots *x509.CertPool) (*dialer, error) {
	d := &dialer{base: base, custom: base != nil, roots: roots, good: make(map[string]string), cache: tls.NewLRUClientSessionCache(16)}
	direct := &net.Dialer{Timeout: handshakeTime, KeepAlive: 15 * time.Second}
	if ip := net.ParseIP(egress); ip != nil {
		d.local = ip
		direct.LocalAddr = &net.TCPAddr{IP: ip}
	} else if egress != "" {
		u, err := url.Parse(egress)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" && u.Scheme != "socks5h" {
			return nil, fault.Errorf(fault.Stop, "conn: egress %q is neither a local address nor a proxy's URL with http, https or socks5", redact(egress))
		}
		d.proxy = u
	}
	if !d.custom {
		d.base = direct.DialContext
	}
	return d, nil
}

// egress is a way out to a venue, as all feeds of the process share it.
type egress struct {
	venue, name string // name is a local address, a proxy's host and port, or direct
	gate        gate   // shut by 429 and 418
	limited     atomic.Uint64
	sockets     atomic.Int64
}

type poolKey struct {
	venue, egress string // with its password: another user is another connection
	roots         *x509.CertPool
	dialer        *dialer // where Settings.Dial is set
	http1         bool
}

func (b *Budgets) egress(venue string, d *dialer) *egress {
	name := d.egress()
	if name == "" {
		name = "direct"
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.egresses[venue+"|"+name]
	if e == nil {
		e = &egress{venue: venue, name: name}
		b.egresses[venue+"|"+name] = e
	}
	return e
}

// pool gives the venue's HTTP connections by a way out.
func (b *Budgets) pool(e *egress, d *dialer, raw string, http1 bool) *HTTPPool {
	key := poolKey{venue: e.venue, egress: raw, roots: d.roots, http1: http1}
	if d.custom {
		key.dialer = d
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.pools[key]
	if p == nil {
		p = newPool(HTTPPoolSettings{HTTP1: http1}, d, &e.gate)
		p.egress = e
		b.pools[key] = p
	}
	return p
}

// way is a feed's way out.
type way struct {
	*egress
	dial    *dialer
	pool    *HTTPPool
	weight  *window // of HTTP requests
	refused atomic.Bool
	flying  atomic.Int64
}

// newWays makes the ways of a feed.
func newWays(s *Settings) ([]*way, error) {
	names := s.HTTP.Egress
	if len(names) == 0 {
		names = []string{s.Proxy}
	}
	if len(names) > maxEgress {
		return nil, fault.Errorf(fault.Stop, "conn: %s: %d ways out, at most %d are possible", s.Venue, len(names), maxEgress)
	}
	var ways []*way
	seen := map[string]bool{}
	for _, n := range names {
		var roots *x509.CertPool
		if s.TLS != nil {
			roots = s.TLS.RootCAs
		}
		d, err := newEgressDialer(n, s.Dial, roots)
		if err != nil {
			return nil, err
		}
		w := &way{egress: s.Budgets.egress(s.Venue, d), dial: d}
		if seen[w.name] {
			return nil, fault.Errorf(fault.Stop, "conn: %s: egress %s stands twice", s.Venue, w.name)
		}
		seen[w.name] = true
		w.pool = s.Budgets.pool(w.egress, d, n, s.HTTP.HTTP1)
		if len(s.Spec.HTTP) > 0 {
			w.weight = s.Budgets.window(w.key("weight", hostOf(s.Spec.HTTP[0])), s.Spec.Weight.Rate)
		}
		ways = append(ways, w)
	}
	return ways, nil
}

// key names a budget that is counted by address.
func (w *way) key(what, host string) string {
	return what + "|" + w.venue + "|" + host + "|" + w.name
}

// best finds the way that has to wait least, and among these the one with most left.
func (f *Feed) best(cost func(*way) (wait time.Duration, left int)) *way {
	if len(f.ways) == 1 {
		return f.ways[0]
	}
	var best *way
	var least time.Duration
	var most int
	start := int(f.turn.Add(1)) // equals take turns
	for i := range f.ways {
		w := f.ways[(start+i)%len(f.ways)]
		if w.refused.Load() && best != nil {
			continue
		}
		wait, left := cost(w)
		wait = max(wait, w.gate.left(time.Now()), 0)
		if best == nil || best.refused.Load() || wait < least || wait == least && left > most {
			best, least, most = w, wait, left
		}
	}
	return best
}

// forRequest picks the way of an HTTP request.
func (f *Feed) forRequest(a hostKey, weight, priority int) *way {
	now := time.Now()
	return f.best(func(w *way) (time.Duration, int) {
		wait, left := w.weight.ask(now, weight, priority)
		if w.weight == nil {
			left = -int(w.flying.Load())
		}
		return max(wait, w.pool.refuses(a)), left
	})
}

// forSocket picks the way of a WebSocket to a host, and takes a place among the
// open connections on it.
func (f *Feed) forSocket(ctx context.Context, host string) (*way, *opens, error) {
	w, o := f.socketWay(host)
	if err := o.acquire(ctx); err != nil {
		return nil, nil, err
	}
	w.sockets.Add(1)
	return w, o, nil
}

// forSpare does it for a connection that isn't needed yet: where none would be
// left after it, or none is free, it says no.
func (f *Feed) forSpare(host string) (*way, *opens, bool) {
	w, o := f.socketWay(host)
	if !o.acquireSpare() {
		return nil, nil, false
	}
	w.sockets.Add(1)
	return w, o, true
}

func (f *Feed) socketWay(host string) (*way, *opens) {
	now := time.Now()
	b := f.set.Budgets
	w := f.best(func(w *way) (time.Duration, int) {
		wait, _ := b.window(w.key("connects", host), f.set.Spec.Connects).ask(now, 1, urgent)
		if b.open(w.key("open", host), f.set.Spec.MaxConns).full() {
			wait = time.Hour
		}
		return wait, -int(w.sockets.Load())
	})
	return w, b.open(w.key("open", host), f.set.Spec.MaxConns)
}

// leave gives the place of a WebSocket back.
func (w *way) leave(o *opens) {
	w.sockets.Add(-1)
	o.release()
}

// silent ends a WebSocket's dial where the gate shuts while it is under way: the
// request is sent after TCP and TLS. shut says whether that happened.
func (w *way) silent(ctx context.Context) (_ context.Context, shut func() bool) {
	var c net.Conn
	ended := false
	look := func() {
		if w.gate.left(time.Now()) > 0 {
			ended = true
			c.Close()
		}
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:          func(i httptrace.GotConnInfo) { c = i.Conn; look() },
		TLSHandshakeDone: func(tls.ConnectionState, error) { look() },
	}), func() bool { return ended }
}

// elsewhere says whether another way than w may serve.
func (f *Feed) elsewhere(w *way) bool {
	for _, o := range f.ways {
		if o != w && !o.refused.Load() {
			return true
		}
	}
	return false
}

func (o *opens) full() bool { return o != nil && len(o.free) == cap(o.free) }

// refuses says how long the breaker of a host is open yet.
func (p *HTTPPool) refuses(k hostKey) time.Duration {
	p.mu.Lock()
	h := p.hosts[k]
	p.mu.Unlock()
	if h == nil {
		return 0
	}
	return h.breaker.left()
}
