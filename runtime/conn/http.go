package conn

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/source"
)

// errTooLarge is a body or frame beyond its bound.
var errTooLarge = errors.New("too large")

func newClient(t http.RoundTripper) *http.Client {
	return &http.Client{Transport: t, Timeout: requestTime, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
			return fmt.Errorf("conn: redirect from TLS to %s is refused", r.URL.Redacted())
		}
		if len(via) >= 3 {
			return errors.New("conn: more than 3 redirects")
		}
		return nil
	}}
}

// do performs a request under the budget and journals the response. An error
// says what to do next by its kind; the response is returned beside it where
// there is one.
func (f *Feed) do(ctx context.Context, r source.Request, conn uint32, weight, priority int) (source.Reply, error) {
	if r.Sign != nil {
		return source.Reply{}, errSigned
	}
	if r.Weight > 0 {
		weight = r.Weight
	}
	if err := admit(ctx, f.gate, f.weight, max(weight, 1), priority); err != nil {
		return source.Reply{}, err
	}
	for { // after the budget: what is urgent doesn't wait behind what isn't
		select {
		case f.busy <- struct{}{}:
		case <-ctx.Done():
			return source.Reply{}, ctx.Err()
		}
		if f.gate.left(time.Now()) <= 0 {
			break
		}
		<-f.busy // the gate shut while we stood in line
		if err := f.gate.wait(ctx); err != nil {
			return source.Reply{}, err
		}
	}
	defer func() { <-f.busy }()
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, override(r.URL, f.set.HTTPURL), strings.NewReader(r.Body))
	if err != nil {
		return source.Reply{}, fault.Errorf(fault.Skip, "conn: %s: request: %w", f.name, err)
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept-Encoding", "gzip")
	for k, v := range r.Header {
		req.Header.Set(k, v)
	}
	f.count.requests.Add(1)
	resp, err := f.client.Do(req)
	if err != nil {
		return source.Reply{}, fmt.Errorf("conn: %s: %w", f.name, err)
	}
	body, err := readBody(resp, f.set.MaxBody)
	resp.Body.Close()
	now := time.Now()
	if err != nil {
		return source.Reply{}, fmt.Errorf("conn: %s: response of %s: %w", f.name, req.URL.Redacted(), err)
	}
	if h := f.set.Spec.Weight.UsedHeader; h != "" {
		if used, err := strconv.Atoi(resp.Header.Get(h)); err == nil {
			f.weight.observe(now, used)
		}
	}
	reply := source.Reply{Status: resp.StatusCode, Body: body}
	if arrived, ok := ctx.Value(arrivedKey{}).(func()); ok && resp.StatusCode/100 == 2 {
		arrived()
	}
	if err := f.append(source.InputHTTP, conn, now, source.AppendHTTP(nil, resp.StatusCode, r.URL, body)); err != nil {
		return reply, err
	}
	f.set.Frames.Ring()
	if err := f.refusal(resp, body, conn, now); err != nil {
		return reply, err
	}
	if resp.StatusCode >= 500 {
		f.baseAt.Add(1)
	}
	if resp.StatusCode/100 != 2 {
		return reply, fmt.Errorf("conn: %s: %s: HTTP %d: %s", f.name, req.URL.Redacted(), resp.StatusCode, excerpt(body))
	}
	return reply, nil
}

// refusal reacts to statuses that concern the whole feed: a region refused, a
// budget overdrawn.
func (f *Feed) refusal(resp *http.Response, body []byte, conn uint32, now time.Time) error {
	at := ""
	if resp.Request != nil && resp.Request.URL != nil {
		at = resp.Request.URL.Redacted()
	}
	switch s := resp.StatusCode; {
	case s == http.StatusUnavailableForLegalReasons, s == http.StatusForbidden && namesRegion(body):
		err := fault.Errorf(fault.Stop, "conn: %s: region refused: %s answered HTTP %d: %s; %s", f.name, at, s, excerpt(body), f.alternates())
		f.event(Event{Kind: EventRefused, Conn: conn, Detail: err.Error(), Err: err})
		f.fail(err)
		return err
	case s == http.StatusTooManyRequests, s == http.StatusTeapot:
		d := retryAfter(s, resp.Header.Get("Retry-After"), now)
		until := f.gate.shut(now, d)
		f.count.rateLimited.Add(1)
		err := fault.WaitFor(until.Sub(now), fmt.Errorf("conn: %s: %s answered HTTP %d: nothing is sent to %s before %s",
			f.name, at, s, f.set.Venue, until.UTC().Format(time.RFC3339)))
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

// readBody reads and inflates a body within limit bytes and a sane ratio.
func readBody(resp *http.Response, limit int) ([]byte, error) {
	raw := &counting{r: resp.Body}
	var r io.Reader = raw
	if strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		z, err := gzip.NewReader(raw)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil, nil
			}
			return nil, err
		}
		r = z
	}
	size := 4096
	if n := resp.ContentLength; n > 0 && n < int64(limit) {
		size = int(n) + 1
	}
	buf := make([]byte, 0, size)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > limit:
			return nil, fmt.Errorf("body of more than %d bytes: %w", limit, errTooLarge)
		case bomb(len(buf), raw.n):
			return nil, fmt.Errorf("%d bytes inflate to %d: %w", raw.n, len(buf), errTooLarge)
		case err == io.EOF:
			return buf, nil
		case err != nil:
			return nil, err
		}
	}
}

func bomb(inflated int, compressed int64) bool {
	return inflated > ratioFloor && int64(inflated) > maxRatio*compressed
}

type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
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
