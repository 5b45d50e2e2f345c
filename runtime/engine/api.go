package engine

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/runtime/admin"
	"github.com/marketprism/marketprism/runtime/conn"
	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/market"
)

// How many streams one answer has.
const (
	streamsDefault = 200
	streamsMax     = 2000
)

// routes are the API's, with those of others.
func (e *Engine) routes() map[string]http.Handler {
	m := map[string]http.Handler{
		"GET /api/v1/status":      answer(func(url.Values) (any, error) { return e.Status(), nil }),
		"GET /api/v1/feeds":       answer(func(url.Values) (any, error) { return map[string]any{"feeds": e.feedList()}, nil }),
		"GET /api/v1/sinks":       answer(func(url.Values) (any, error) { return map[string]any{"sinks": e.sinkList()}, nil }),
		"GET /api/v1/connections": answer(func(url.Values) (any, error) { return map[string]any{"connections": e.connections()}, nil }),
		"GET /api/v1/gaps":        answer(e.gapList, "since", "feed"),
		"GET /api/v1/streams":     answer(e.streamList, "feed", "venue", "channel", "symbol", "offset", "limit"),
		"GET /api/v1/goroutines":  answer(e.goroutineList),
		"GET /api/v1/pools":       answer(e.poolList),
		"GET /api/v1/plan": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			p, _, _ := e.now()
			admin.JSON(w, http.StatusOK, p)
		}),
		"GET /api/v1/streams/{feed}/{channel}/{symbol...}": http.HandlerFunc(e.serveStream),
	}
	if e.memory != nil {
		maps.Copy(m, e.memory.Routes())
	}
	maps.Copy(m, e.opt.Routes)
	return m
}

// answer serves what f makes of a query. Parameters that aren't known are an
// error: a misspelt filter would answer with everything.
func answer(f func(url.Values) (any, error), params ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		for name := range q {
			if !slices.Contains(params, name) {
				admin.Error(w, http.StatusBadRequest, "there is no parameter %q here; there are: %s", name, strings.Join(params, ", "))
				return
			}
		}
		v, err := f(q)
		if err != nil {
			admin.Error(w, http.StatusBadRequest, "%v", err)
			return
		}
		admin.JSON(w, http.StatusOK, v)
	})
}

func (e *Engine) streamList(q url.Values) (any, error) {
	f := StreamFilter{Feed: q.Get("feed"), Venue: q.Get("venue"), Channel: q.Get("channel"), Symbol: q.Get("symbol"), Limit: streamsDefault}
	if _, err := path.Match(f.Symbol, ""); err != nil {
		return nil, fmt.Errorf("symbol=%s is no pattern: use * for any characters, ? for one", f.Symbol)
	}
	for _, p := range []struct {
		name string
		to   *int
		max  int
	}{{"offset", &f.Offset, 1 << 30}, {"limit", &f.Limit, streamsMax}} {
		if t := q.Get(p.name); t != "" {
			n, err := strconv.Atoi(t)
			if err != nil || n < 0 || n > p.max {
				return nil, fmt.Errorf("%s=%s must be a number from 0 to %d", p.name, t, p.max)
			}
			*p.to = n
		}
	}
	page, total := e.Streams(f)
	return struct {
		Total   int            `json:"total"`
		Offset  int            `json:"offset"`
		Streams []StreamStatus `json:"streams"`
	}{total, f.Offset, page}, nil
}

// serveStream answers with one stream; two, where a venue gives trades both one
// by one and merged.
func (e *Engine) serveStream(w http.ResponseWriter, r *http.Request) {
	feed, channel, symbol := r.PathValue("feed"), r.PathValue("channel"), r.PathValue("symbol")
	page, _ := e.Streams(StreamFilter{Feed: feed, Channel: channel, Symbol: escape(symbol), Limit: 16})
	if len(page) == 0 {
		admin.Error(w, http.StatusNotFound, "no stream %s of %s in feed %s; /api/v1/streams lists them", channel, symbol, feed)
		return
	}
	admin.JSON(w, http.StatusOK, map[string]any{"streams": page})
}

// escape makes a pattern that takes a symbol as it is.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

func (e *Engine) gapList(q url.Values) (any, error) {
	since := time.Time{}
	if t := q.Get("since"); t != "" {
		if d, err := time.ParseDuration(t); err == nil {
			since = time.Now().Add(-d.Abs())
		} else if since, err = time.Parse(time.RFC3339, t); err != nil {
			return nil, fmt.Errorf("since=%s is neither a time like 2026-01-31T12:00:00Z nor a duration like 15m", t)
		}
	}
	return map[string]any{"gaps": e.Gaps(since, q.Get("feed"))}, nil
}

// feedList is Status' feeds without their connections, which have a list of
// their own, but with how many there are.
func (e *Engine) feedList() []any {
	type feedStatus struct {
		FeedStatus
		Connections int `json:"connections"`
		Live        int `json:"connections_live"`
	}
	out := []any{}
	for _, f := range e.Status().Feeds {
		s := feedStatus{FeedStatus: f, Connections: len(f.Connections)}
		for i := range f.Connections {
			if f.Connections[i].State == conn.StateLive {
				s.Live++
			}
		}
		out = append(out, s)
	}
	return out
}

// sinkList has, beside Status' sinks, how old a batch's last record was at its
// commit.
func (e *Engine) sinkList() []any {
	type latency struct {
		P50   float64 `json:"p50_seconds"`
		P99   float64 `json:"p99_seconds"`
		Mean  float64 `json:"mean_seconds"`
		Count uint64  `json:"count"`
	}
	type sinkStatus struct {
		SinkStatus
		Delay *latency `json:"receive_to_commit,omitempty"`
	}
	out := []any{}
	status := e.Status().Sinks
	_, _, sinks := e.now()
	for _, s := range status {
		o := sinkStatus{SinkStatus: s}
		for _, d := range sinks {
			if d.p.Name == s.Name {
				if h := d.meter.commit.Snapshot(); h.Count > 0 {
					o.Delay = &latency{seconds(h.Quantile(0.5)), seconds(h.Quantile(0.99)), seconds(h.Mean()), h.Count}
				}
			}
		}
		out = append(out, o)
	}
	return out
}

func (e *Engine) connections() []any {
	type connection struct {
		Feed   string        `json:"feed"`
		Venue  string        `json:"venue"`
		Market market.Market `json:"market"`
		conn.ConnStats
	}
	_, feeds, _ := e.now()
	out := []any{}
	for _, f := range feeds {
		if f.conn == nil {
			continue
		}
		for _, c := range f.conn.Stats() {
			out = append(out, connection{f.p.Name, f.p.Venue, f.p.Market, c})
		}
	}
	return out
}

// reportReloads emits how reloads went.
func (e *Engine) reportReloads(m *telemetry.Emitter) {
	c := &e.count
	m.Count(mReloads, c.applied.Load(), "applied")
	m.Count(mReloads, c.unchanged.Load(), "unchanged")
	m.Count(mReloads, c.invalid.Load(), "invalid")
	m.Count(mReloads, c.failed.Load(), "failed")
	if t := c.succeeded.Load(); t != 0 {
		m.Value(mReloaded, float64(t)/1e9)
	}
}
