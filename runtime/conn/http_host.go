package conn

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// hostPool is the connections to one host. Waiters stand in line: a connection
// that comes back goes to the first of them.
type hostPool struct {
	p       *HTTPPool
	key     hostKey
	breaker *breaker

	mu      sync.Mutex
	idle    []*wire // the one used last is at the end, and is used next
	h2      []*http.ClientConn
	known   bool // the server speaks HTTP/1.1 alone
	open    int  // HTTP/1.1 connections, those being dialled included
	dialing int
	waiters []chan lent
	reaper  *time.Timer
	closed  bool

	looking atomic.Int32 // waiters, and who may become one; for who doesn't hold mu
}

// lent is a connection for one request. Both nil: look again.
type lent struct {
	wire   *wire
	two    *http.ClientConn
	reused bool
}

// get waits for a connection, and dials where there is room for one more.
func (h *hostPool) get(ctx context.Context, deadline time.Time, fresh bool) (lent, error) {
	for {
		h.mu.Lock()
		if h.closed {
			h.mu.Unlock()
			return lent{}, errPoolClosed
		}
		h.looking.Add(1) // before looking: a place that becomes free afterwards finds somebody to wake
		if two := h.reserve(); two != nil {
			if len(h.waiters) > 0 && two.Available() > 0 { // several places may have become free at once
				h.next() <- lent{}
			}
			h.looking.Add(-1)
			h.mu.Unlock()
			return lent{two: two, reused: true}, nil
		}
		if n := len(h.idle); n > 0 && !fresh {
			w := h.idle[n-1]
			h.idle[n-1], h.idle = nil, h.idle[:n-1]
			h.looking.Add(-1)
			h.mu.Unlock()
			return lent{wire: w}, nil
		}
		if fresh && len(h.idle) > 0 { // what was idle as long as the one that failed is closed, too
			for _, w := range h.idle {
				w.close()
			}
			h.open -= len(h.idle)
			h.idle = nil
		}
		// Whether the server speaks HTTP/2 is known after the first dial: the
		// others wait for it, one connection may be all that is needed.
		if h.open+len(h.h2) < h.p.set.MaxConns && (h.known || h.dialing == 0) {
			h.open++
			h.dialing++
			h.looking.Add(-1)
			h.mu.Unlock()
			return h.connect(ctx, deadline)
		}
		turn := make(chan lent, 1)
		h.waiters = append(h.waiters, turn)
		h.mu.Unlock()
		t := time.NewTimer(time.Until(deadline))
		select {
		case l := <-turn:
			t.Stop()
			if l.wire != nil {
				return l, nil
			}
			continue
		case <-ctx.Done():
			t.Stop()
			h.quit(turn)
			return lent{}, ctx.Err()
		case <-t.C:
			h.quit(turn)
			return lent{}, errLine
		}
	}
}

var errLine = timeoutError("no connection became free in time")

type timeoutError string

func (e timeoutError) Error() string { return string(e) }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// reserve finds a place on an HTTP/2 connection. h.mu is held.
func (h *hostPool) reserve() *http.ClientConn {
	for _, two := range h.living() {
		if two.Available() > 0 && two.Reserve() == nil {
			return two
		}
	}
	return nil
}

// living forgets HTTP/2 connections that ended. h.mu is held.
func (h *hostPool) living() []*http.ClientConn {
	h.h2 = slices.DeleteFunc(h.h2, func(two *http.ClientConn) bool { return two.Err() != nil })
	return h.h2
}

// quit leaves the line; what came meanwhile goes to the next.
func (h *hostPool) quit(turn chan lent) {
	h.mu.Lock()
	for i, t := range h.waiters {
		if t == turn {
			h.waiters = append(h.waiters[:i], h.waiters[i+1:]...)
			h.looking.Add(-1)
			h.mu.Unlock()
			return
		}
	}
	h.mu.Unlock()
	if l := <-turn; l.wire != nil {
		h.put(l.wire)
	} else {
		h.wake()
	}
}

// next takes the first waiter off the line. h.mu is held.
func (h *hostPool) next() chan lent {
	if len(h.waiters) == 0 {
		return nil
	}
	t := h.waiters[0]
	h.waiters = h.waiters[:copy(h.waiters, h.waiters[1:])]
	h.looking.Add(-1)
	return t
}

// wake lets the first waiter look again.
func (h *hostPool) wake() {
	h.mu.Lock()
	if t := h.next(); t != nil {
		t <- lent{}
	}
	h.mu.Unlock()
}

// put gives back a connection that can be used again.
func (h *hostPool) put(w *wire) {
	w.end(time.Now())
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		h.open--
		w.close()
		return
	}
	if t := h.next(); t != nil {
		t <- lent{wire: w}
		return
	}
	h.idle = append(h.idle, w)
	if h.reaper == nil {
		h.reaper = time.AfterFunc(h.p.set.MaxIdle, h.reap)
	}
}

// drop closes a connection that can't.
func (h *hostPool) drop(w *wire) {
	w.close()
	h.mu.Lock()
	h.open--
	if t := h.next(); t != nil {
		t <- lent{}
	}
	h.mu.Unlock()
}

// reap closes what was idle too long. The oldest stand first.
func (h *hostPool) reap() {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, now := 0, time.Now()
	for n < len(h.idle) && now.Sub(h.idle[n].idle) >= h.p.set.MaxIdle {
		h.idle[n].close()
		n++
	}
	h.idle = h.idle[:copy(h.idle, h.idle[n:])]
	h.open -= n
	if h.reaper = nil; len(h.idle) > 0 && !h.closed {
		h.reaper = time.AfterFunc(max(h.p.set.MaxIdle-now.Sub(h.idle[0].idle), time.Millisecond), h.reap)
	}
}

func (h *hostPool) shut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.reaper != nil {
		h.reaper.Stop()
		h.reaper = nil
	}
	for _, w := range h.idle {
		w.close()
	}
	h.open -= len(h.idle)
	h.idle = nil
	for _, two := range h.h2 {
		two.Close()
	}
	h.h2 = nil
	for t := h.next(); t != nil; t = h.next() {
		t <- lent{}
	}
}

// connect opens one more connection; its place is counted already.
func (h *hostPool) connect(ctx context.Context, deadline time.Time) (l lent, err error) {
	limit, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	var c net.Conn
	if err = errShut; h.p.gate.left(time.Now()) <= 0 {
		c, err = h.open1(limit)
	}
	var two *http.ClientConn
	t, _ := c.(*tls.Conn)
	agreed := err == nil && t != nil && t.ConnectionState().NegotiatedProtocol == "h2"
	if agreed {
		two, err = h.p.upgrade(limit, t, h.key.addr())
	}
	if err == nil {
		h.p.count.opened.Add(1)
	} else if ctx.Err() != nil {
		err = ctx.Err()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dialing--
	h.known = h.known || err == nil && !agreed
	if err != nil || agreed {
		h.open--
	}
	if two != nil {
		h.known = false
		if err = two.Reserve(); err == nil && !h.closed {
			h.h2 = append(h.h2, two)
			two.SetStateHook(func(*http.ClientConn) { // it may be called where h.mu is held
				if h.looking.Load() > 0 {
					go h.wake()
				}
			})
		}
	}
	for t := h.next(); t != nil; t = h.next() { // what there is now is for them to see
		t <- lent{}
	}
	switch {
	case err != nil:
		return lent{}, err
	case two != nil:
		return lent{two: two}, nil
	}
	return lent{wire: newWire(c)}, nil
}

// open1 dials, and agrees on a protocol where there is TLS.
func (h *hostPool) open1(ctx context.Context) (net.Conn, error) {
	d := h.p.dial
	c, err := d.through(ctx, h.key.url(), h.key.addr())
	if err != nil || !h.key.secure {
		return c, err
	}
	host, _, _ := net.SplitHostPort(h.key.addr())
	cfg := d.tls(host)
	if cfg.NextProtos = []string{"http/1.1"}; !h.p.set.HTTP1 {
		cfg.NextProtos = []string{"h2", "http/1.1"}
	}
	t := tls.Client(c, cfg)
	limit, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	if err := t.HandshakeContext(limit); err != nil {
		c.Close()
		return nil, err
	}
	return t, nil
}
