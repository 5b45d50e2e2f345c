package conn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/runtime/sched"
	"github.com/marketprism/marketprism/runtime/sign"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/source"
)

var (
	// errTooLarge is a body or frame beyond its bound.
	errTooLarge = errors.New("too large")
	// errBreaker is a poll that was not made, since the host's breaker is open.
	errBreaker = errors.New("the host's breaker is open")
)

// httpPrefix is room for what source.AppendHTTP puts beside the address.
const httpPrefix = 16

// call is a request with what decides about its turn.
type call struct {
	source.Request
	purpose  source.Purpose // purposeSession if empty
	conn     uint32
	weight   int
	priority int
	session  *sign.Session // that it is signed in; nil: one of its own
}

func (c *call) message() sign.Message {
	return sign.Message{Method: c.Method, URL: c.URL, Header: c.Header, Body: c.Body}
}

// signed is the request with values in place of placeholders. Time and nonce are
// those of the moment at which it is sent: it may have stood in line for long.
func (f *Feed) signed(c *call, q *HTTPRequest) (*HTTPRequest, error) {
	m, err := c.session.Request(c.Sign, c.message(), time.Now())
	if err != nil {
		return nil, err
	}
	return &HTTPRequest{Method: q.Method, URL: override(m.URL, f.set.HTTPURL), Header: m.Header, Body: m.Body, MaxBody: q.MaxBody, Shown: q.URL}, nil
}

// do performs a request that belongs to no connection's login. See exchange.
func (f *Feed) do(ctx context.Context, r source.Request, conn uint32, weight, priority int) (source.Reply, error) {
	return f.exchange(ctx, call{Request: r, conn: conn, weight: weight, priority: priority})
}

// exchange performs a request by the way out that has room for it, under its
// budget, and journals the response. An error says what to do next by its kind;
// the response is returned beside it where there is one, its body for a session
// alone. While the host's breaker
// is open polls fail, everything else waits.
func (f *Feed) exchange(ctx context.Context, c call) (source.Reply, error) {
	if c.Sign != nil {
		if c.session == nil {
			c.session = f.signs.Session()
		}
		if err := c.session.CheckRequest(c.Sign, c.message()); err != nil {
			return source.Reply{}, fmt.Errorf("conn: %s: %w", f.name, err)
		}
	}
	if c.Weight > 0 {
		c.weight = c.Weight
	}
	q := HTTPRequest{Method: c.Method, URL: override(c.URL, f.set.HTTPURL), Header: c.Header, Body: c.Body, MaxBody: f.set.MaxBody}
	to, err := parseAddress(q.URL)
	if err != nil {
		return source.Reply{}, fault.Errorf(fault.Skip, "conn: %s: %w", f.name, err)
	}
	lent, envelope := f.set.Buffers.Lease(readBuffer), pool.Buf[byte]{}
	defer func() { lent.Return(); envelope.Return() }()
	resp := HTTPResponse{Body: lent.Slice()[:0]}
	resp.from.inflaters = f.set.Inflaters
	resp.from.grow = func(dst []byte, n int) []byte {
		lent = f.set.Buffers.Grow(lent, len(dst), n)
		return lent.Slice()[:len(dst)]
	}
	stats := f.http.of(c.purpose)
	asked := time.Now()
	w, err := f.send(ctx, &c, &q, &resp, to, func(sent time.Time) { f.http.queue.Observe(sent.Sub(asked)); asked = sent })
	now := time.Now()
	if err != nil {
		stats.failed(ctx, err)
		return source.Reply{}, fmt.Errorf("conn: %s: %w", f.name, err)
	}
	if c.Sign != nil {
		c.session.Mask(resp.Body)
	}
	stats.seconds.Observe(now.Sub(asked))
	stats.answered(resp.Status)
	f.http.bytes.Add(uint64(len(resp.Body)))
	if h := f.set.Spec.Weight.UsedHeader; h != "" {
		if used, err := strconv.Atoi(resp.Header(h)); err == nil {
			w.weight.observe(now, used)
		}
	}
	reply := source.Reply{Status: resp.Status}
	if c.purpose == "" { // a session's goes on to the plugin
		reply.Body = bytes.Clone(resp.Body)
	}
	if arrived, ok := ctx.Value(arrivedKey{}).(func()); ok && resp.Status/100 == 2 {
		arrived()
	}
	envelope = f.set.Buffers.Lease(len(c.URL) + httpPrefix)
	if err := f.append(source.InputHTTP, c.conn, now, source.AppendHTTP(envelope.Slice()[:0], resp.Status, c.URL, nil), resp.Body); err != nil {
		return reply, err
	}
	f.set.Frames.Ring()
	at := redact(q.URL)
	if err := f.refusal(w, answer{resp.Status, resp.Header("Retry-After"), at, resp.Body, resp.Until}, c.conn, now); err != nil {
		return reply, err
	}
	if resp.Status >= 500 {
		f.baseAt.Add(1)
	}
	if c.Sign != nil && f.set.Credentials != nil && resp.Status == http.StatusUnauthorized {
		return reply, fault.Errorf(fault.Stop, "conn: %s: %s: the venue refuses the login: HTTP 401: %s; look at the source's credentials block", f.name, at, excerpt(resp.Body))
	}
	if resp.Status/100 != 2 {
		return reply, fmt.Errorf("conn: %s: %s: HTTP %d: %s", f.name, at, resp.Status, excerpt(resp.Body))
	}
	return reply, nil
}

// send waits until a way out has room, then for a place among the feed's
// requests, and makes the request. Whoever finds the gate shut meanwhile looks
// for a way again.
func (f *Feed) send(ctx context.Context, c *call, q *HTTPRequest, r *HTTPResponse, to address, sent func(time.Time)) (*way, error) {
	var paid *way
	for {
		w := f.forRequest(to.hostKey, max(c.weight, 1), c.priority)
		if d := w.pool.refuses(to.hostKey); d > 0 {
			if c.purpose == source.PurposePoll {
				return w, fmt.Errorf("%s: %w for %v", redact(q.URL), errBreaker, d.Round(time.Millisecond))
			}
			if err := sleep(ctx, d); err != nil {
				return w, err
			}
			continue
		}
		if paid != w {
			if err := admit(ctx, &w.gate, w.weight, max(c.weight, 1), c.priority); err != nil {
				return w, err
			}
			paid = w
		} else if err := w.gate.wait(ctx); err != nil {
			return w, err
		}
		select { // after the budget: what is urgent doesn't wait behind what isn't
		case f.busy <- struct{}{}:
		case <-ctx.Done():
			return w, ctx.Err()
		}
		if w.gate.left(time.Now()) > 0 { // it shut while we stood in line
			<-f.busy
			continue
		}
		err := f.perform(ctx, c, func(ctx context.Context) error {
			w.flying.Add(1)
			f.http.flying.Add(1)
			defer func() { w.flying.Add(-1); f.http.flying.Add(-1) }()
			sent(time.Now())
			out := q
			if c.Sign != nil {
				var err error
				if out, err = f.signed(c, q); err != nil {
					return err
				}
			}
			return w.pool.do(ctx, out, r)
		})
		<-f.busy
		f.tellBreaker(w, to.hostKey)
		if err == errShut {
			continue
		}
		if open := (*openError)(nil); errors.As(err, &open) {
			if c.purpose == source.PurposePoll {
				return w, fmt.Errorf("%s: %w", redact(q.URL), errBreaker)
			}
			if err := sleep(ctx, open.after); err != nil {
				return w, err
			}
			continue
		}
		f.count.requests.Add(1)
		return w, err
	}
}

// perform makes a request, in a worker of the runtime's pool where there is one.
func (f *Feed) perform(ctx context.Context, c *call, do sched.Func) error {
	p := f.set.Requests
	if p == nil {
		return do(ctx)
	}
	t := sched.Task{Runner: do, Kind: p.Kind(c.kind(), stuckRequest), Tenant: p.Tenant(f.metricName(), 1)}
	if c.priority == urgent {
		t.Priority = sched.High
	}
	return p.Do(ctx, t)
}

// stuckRequest is when the watch tells of a request: its own limits end it before.
const stuckRequest = 2 * time.Minute

// kind is what the scheduler counts the request as.
func (c *call) kind() string {
	if c.purpose == "" {
		return "session request"
	}
	return string(c.purpose) + " request"
}

// tellBreaker passes on what happened to a host's breaker; of several feeds one does.
func (f *Feed) tellBreaker(w *way, k hostKey) {
	if text := w.pool.breakerNews(k); text != "" {
		f.event(Event{Kind: EventBreaker, Detail: "breaker of " + k.host + " by " + w.name + " " + text})
	}
}

// answer is what a venue said to a request or to a handshake.
type answer struct {
	status     int
	retryAfter string
	url        string
	body       []byte
	until      time.Time // the gate is shut already
}

// refusal reacts to statuses that concern the whole way out: a region refused, a
// budget overdrawn. Where no other way is left, a refused region ends the feed.
func (f *Feed) refusal(w *way, a answer, conn uint32, now time.Time) error {
	switch s := a.status; {
	case s == http.StatusUnavailableForLegalReasons, s == http.StatusForbidden && namesRegion(a.body):
		err := fault.Errorf(fault.Stop, "conn: %s: region refused: %s answered HTTP %d: %s; %s", f.name, a.url, s, excerpt(a.body), f.alternates())
		w.refused.Store(true)
		if f.elsewhere(w) {
			err = fault.Errorf(fault.Retry, "conn: %s: region refused by egress %s, others are left: %s answered HTTP %d: %s", f.name, w.name, a.url, s, excerpt(a.body))
		}
		f.event(Event{Kind: EventRefused, Conn: conn, Detail: err.Error(), Err: err})
		if fault.Of(err) == fault.Stop {
			f.fail(err)
		}
		return err
	case s == http.StatusTooManyRequests, s == http.StatusTeapot, s == http.StatusForbidden && namesLimit(a.body):
		until := a.until
		if until.IsZero() {
			until = w.gate.shut(now, retryAfter(s, a.retryAfter, now))
		}
		w.limited.Add(1)
		f.count.rateLimited.Add(1)
		err := fault.WaitFor(until.Sub(now), fmt.Errorf("conn: %s: %s answered HTTP %d: nothing is sent to %s by %s before %s",
			f.name, a.url, s, f.set.Venue, w.name, until.UTC().Format(time.RFC3339)))
		f.event(Event{Kind: EventRateLimited, Conn: conn, Detail: err.Error(), Err: err})
		return err
	}
	return nil
}

// namesRegion tells a 403 by place from other ones, by the words that venues
// and their content networks use.
func namesRegion(body []byte) bool {
	b := strings.ToLower(string(body[:min(len(body), 4096)]))
	for _, w := range []string{"restricted location", "region", "country", "jurisdiction", "geo", "territor", "legal reasons"} {
		if strings.Contains(b, w) {
			return true
		}
	}
	return false
}

// namesLimit tells a 403 by which a venue bans an address that asked too often.
func namesLimit(body []byte) bool {
	b := strings.ToLower(string(body[:min(len(body), 4096)]))
	for _, w := range []string{"too frequent", "too many", "rate limit", "ip banned"} {
		if strings.Contains(b, w) {
			return true
		}
	}
	return false
}

// alternates says where else the venue can be had.
func (f *Feed) alternates() string {
	var a []string
	for _, e := range f.set.Spec.Endpoints {
		a = append(a, e.Alternates...)
	}
	if len(f.set.Spec.HTTP) > 1 {
		a = append(a, f.set.Spec.HTTP[1:]...)
	}
	if len(a) == 0 {
		return "the manifest names no alternates; a proxy in a region that the venue serves is the way"
	}
	return "alternates in the manifest: " + strings.Join(a, ", ")
}

// excerpt is the start of a body as one printable line.
func excerpt(b []byte) string {
	s := strings.Join(strings.Fields(strings.ToValidUTF8(string(b[:min(len(b), 200)]), "?")), " ")
	if s == "" {
		return "(no body)"
	}
	return strconv.QuoteToGraphic(s)
}

// base is the HTTP address in use; next moves on to the following one.
func (f *Feed) base() string {
	if len(f.set.Spec.HTTP) == 0 {
		return ""
	}
	return f.set.Spec.HTTP[int(f.baseAt.Load())%len(f.set.Spec.HTTP)]
}

func (f *Feed) nextBase(err error) {
	var u *url.Error
	if errors.As(err, &u) && !errors.Is(err, context.Canceled) {
		f.baseAt.Add(1)
	}
}
