package conn

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/source"
)

var (
	mRequests = layer.Counter(telemetry.Who, "http_requests_total",
		"HTTP requests of a feed by what came of them. If server_error or transport grows, look at the venue's status page and at the breaker; if client_error, at the log, which has the venue's words.", "feed", "purpose", "outcome")
	mRequestSeconds = layer.Histogram(telemetry.Late, "http_request_seconds",
		"Time from the moment that a request had its budget to the end of its answer. If it grows, the venue or the way to it is slow: try another egress.", "feed", "purpose")
	mQueueSeconds = layer.Histogram(telemetry.Late, "http_queue_seconds",
		"Time that requests stood in line for budget, ban and breaker. If it grows, the venue's request budget is short: poll less often, or add an egress.", "feed")
	mFlying = layer.Gauge(telemetry.RunsOut, "http_in_flight_requests",
		"Requests of a feed on their way now, of at most 6. If it stays at 6, answers are slow or snapshots are asked for faster than they come.", "feed")
	mSkipped = layer.Counter(telemetry.Complete, "http_polls_skipped_total",
		"Polls that were not made, since the one before was still on its way (busy) or the host's breaker was open (breaker). Each is a hole in the polled series.", "feed", "reason")
	mBody = layer.Counter(telemetry.Who, "http_body_bytes_total",
		"Bytes of HTTP answers, inflated. If it jumps, a snapshot or catalogue grew, or is asked for more often.", "feed")

	mOpened = layer.Counter(telemetry.Pays, "http_connections_opened_total",
		"HTTP connections that were opened. If it grows as fast as requests, the venue closes them after each answer.", "venue", "egress")
	mSent = layer.Counter(telemetry.Pays, "http_sent_total",
		"HTTP requests that were written to a connection, repetitions included. With the reused ones it gives the rate of reuse.", "venue", "egress")
	mReused = layer.Counter(telemetry.Pays, "http_reused_total",
		"HTTP requests on a connection that had served one before. Divided by those sent it stays near 1 while polls are more frequent than the idle limit of 90 s.", "venue", "egress")
	mRepeated = layer.Counter(telemetry.Changed, "http_repeated_total",
		"HTTP requests that were sent again, since the server had closed an idle connection. If it grows, the server keeps connections for a shorter time than we do; nothing is lost.", "venue", "egress")
	mOpenConns = layer.Gauge(telemetry.RunsOut, "http_open_connections",
		"HTTP connections now, in use and idle, by protocol. At 8 of HTTP/1.1 to a host requests wait for one another.", "venue", "egress", "protocol")
	mWeight = layer.Gauge(telemetry.RunsOut, "weight_used",
		"Units of the venue's budgets in use now, by egress, host and kind (weight of requests, connects, messages). At the limit requests wait.", "venue", "egress", "host", "budget")
	mWeightLimit = layer.Gauge(telemetry.RunsOut, "weight_limit",
		"Units that a venue's budget has, as the manifest says. Compare it with those in use.", "venue", "egress", "host", "budget")
	mGate = layer.Gauge(telemetry.Late, "gate_closed_seconds",
		"Time that the venue asked us to be silent yet; nothing is sent by this egress before. Above zero: requests come too fast, or others share the address.", "venue", "egress")
	mLimited = layer.Counter(telemetry.Who, "rate_limited_total",
		"Answers 429 and 418, to requests and to handshakes. Each one should be looked at: a venue bans addresses that go on.", "venue", "egress")
	mBreaker = layer.Gauge(telemetry.Who, "breaker_state",
		"State of a host's breaker: 0 closed, 1 trying, 2 open. While it is open polls are skipped and snapshots wait: look at the venue's status page.", "venue", "egress", "host")
	mBreakerOpens = layer.Counter(telemetry.Changed, "breaker_opens_total",
		"Times that a host's breaker opened. If it grows, the host fails and comes back: its answers are in the journal.", "venue", "egress", "host")
	mEgressSockets = layer.Gauge(telemetry.RunsOut, "egress_websockets",
		"WebSocket connections by egress. If all stand on one, the others are banned, or full.", "venue", "egress")
	mEgressRefused = layer.Gauge(telemetry.Complete, "egress_refused",
		"1 where the venue refuses the region of this egress; the feed goes on by the others and stops when none is left.", "feed", "egress")
)

// purposes are the labels of requests; what is none of them is a session's.
var purposes = [...]source.Purpose{source.PurposeInstruments, source.PurposeSnapshot, source.PurposePoll, source.PurposeTickers, source.PurposeHistory, "session"}

// Outcomes of a request.
const (
	outcomeOK = iota
	outcomeRedirect
	outcomeClient // 4xx
	outcomeServer // 5xx
	outcomeLimited
	outcomeTransport
	outcomeTimeout
	outcomeTooLarge
	outcomeBreaker
	outcomeCancelled
	outcomeCount
)

var outcomes = [outcomeCount]string{"ok", "redirect", "client_error", "server_error", "rate_limited", "transport", "timeout", "too_large", "breaker", "cancelled"}

// httpCounts are a feed's counters of requests.
type httpCounts struct {
	byPurpose                [len(purposes)]purposeCounts
	queue                    telemetry.Histogram
	flying                   atomic.Int64
	bytes                    atomic.Uint64
	skippedBusy, skippedOpen atomic.Uint64
}

type purposeCounts struct {
	outcome [outcomeCount]atomic.Uint64
	seconds telemetry.Histogram
}

func (h *httpCounts) of(p source.Purpose) *purposeCounts {
	if i := slices.Index(purposes[:], p); i >= 0 {
		return &h.byPurpose[i]
	}
	return &h.byPurpose[len(purposes)-1]
}

func (c *purposeCounts) answered(status int) {
	o := outcomeOK
	switch {
	case status == 429 || status == 418:
		o = outcomeLimited
	case status >= 500:
		o = outcomeServer
	case status >= 400:
		o = outcomeClient
	case status >= 300:
		o = outcomeRedirect
	}
	c.outcome[o].Add(1)
}

func (c *purposeCounts) failed(ctx context.Context, err error) {
	o := outcomeTransport
	switch {
	case ctx.Err() != nil:
		o = outcomeCancelled
	case errors.Is(err, errTooLarge):
		o = outcomeTooLarge
	case errors.Is(err, errBreaker):
		o = outcomeBreaker
	case timeout(err):
		o = outcomeTimeout
	}
	c.outcome[o].Add(1)
}

// reportHTTP emits what concerns the feed's own requests. What feeds share is
// Budgets.Report's.
func (f *Feed) reportHTTP(e *telemetry.Emitter) {
	feed := f.metricName()
	for i := range f.http.byPurpose {
		c, p := &f.http.byPurpose[i], string(purposes[i])
		for o := range c.outcome {
			if n := c.outcome[o].Load(); n > 0 || o == outcomeOK {
				e.Count(mRequests, n, feed, p, outcomes[o])
			}
		}
		e.Histogram(mRequestSeconds, c.seconds.Snapshot(), feed, p)
	}
	e.Histogram(mQueueSeconds, f.http.queue.Snapshot(), feed)
	e.Value(mFlying, float64(f.http.flying.Load()), feed)
	e.Count(mSkipped, f.http.skippedBusy.Load(), feed, "busy")
	e.Count(mSkipped, f.http.skippedOpen.Load(), feed, "breaker")
	e.Count(mBody, f.http.bytes.Load(), feed)
	for _, w := range f.ways {
		refused := 0.0
		if w.refused.Load() {
			refused = 1
		}
		e.Value(mEgressRefused, refused, feed, w.name)
	}
}

// Report emits what all feeds of the process share: connections, budgets, bans
// and breakers by venue and egress.
func (b *Budgets) Report(e *telemetry.Emitter) {
	type shared struct {
		*egress
		stats HTTPStats
		hosts map[string]hostState
	}
	b.mu.Lock()
	all := make(map[*egress]*shared, len(b.egresses))
	for _, g := range b.egresses {
		all[g] = &shared{egress: g, hosts: make(map[string]hostState)}
	}
	for _, p := range b.pools { // several, where feeds trust different authorities
		s := all[p.egress]
		s.stats.add(p.Stats())
		p.each(func(h *hostPool) {
			st := s.hosts[h.key.host]
			s.hosts[h.key.host] = hostState{max(st.state, h.breaker.state()), st.opens + h.breaker.opens.Load()}
		})
	}
	windows := make(map[string]*window, len(b.windows))
	for k, w := range b.windows {
		windows[k] = w
	}
	b.mu.Unlock()
	now := time.Now()
	for _, s := range all {
		v, n := s.venue, s.name
		e.Count(mOpened, s.stats.Opened, v, n)
		e.Count(mSent, s.stats.Requests, v, n)
		e.Count(mReused, s.stats.Reused, v, n)
		e.Count(mRepeated, s.stats.Repeated, v, n)
		e.Value(mOpenConns, float64(s.stats.Open), v, n, "http1")
		e.Value(mOpenConns, float64(s.stats.Open2), v, n, "http2")
		e.Value(mGate, max(s.gate.left(now), 0).Seconds(), v, n)
		e.Count(mLimited, s.limited.Load(), v, n)
		e.Value(mEgressSockets, float64(s.sockets.Load()), v, n)
		for host, st := range s.hosts {
			e.Value(mBreaker, float64(st.state), v, n, host)
			e.Count(mBreakerOpens, st.opens, v, n, host)
		}
	}
	for k, w := range windows {
		p := strings.SplitN(k, "|", 4) // as way.key writes them
		if len(p) != 4 {
			continue
		}
		e.Value(mWeight, float64(w.inUse(now)), p[1], p[3], p[2], p[0])
		w.mu.Lock()
		limit := w.n
		w.mu.Unlock()
		e.Value(mWeightLimit, float64(limit), p[1], p[3], p[2], p[0])
	}
}

type hostState struct {
	state int
	opens uint64
}

func (s *HTTPStats) add(o HTTPStats) {
	s.Requests += o.Requests
	s.Reused += o.Reused
	s.Opened += o.Opened
	s.Repeated += o.Repeated
	s.Errors += o.Errors
	s.Limited += o.Limited
	s.Bytes += o.Bytes
	s.Open += o.Open
	s.Open2 += o.Open2
}
