package admin

import (
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

var (
	layer     = telemetry.NewLayer("admin")
	mRequests = layer.Counter(telemetry.Changed, "requests_total", "Requests that the admin endpoints answered; many 4xx or 5xx mean a scraper or a tool that is set up wrongly.", "route", "code")
	mRefused  = layer.Counter(telemetry.Changed, "refused_total", "Requests refused for their token or their host name; if it grows, somebody knows the address and not the token.", "reason")
)

// Descs are all the metrics that this package reports.
func Descs() []*telemetry.Desc { return layer.Metrics() }

var (
	routes  = [...]string{"health", "metrics", "api", "reload", "pprof", "other"}
	classes = [...]string{"2xx", "3xx", "4xx", "5xx"}
)

type counters struct {
	requests      [len(routes)][len(classes)]atomic.Uint64
	tokens, hosts atomic.Uint64
}

// Report emits what was counted.
func (s *Server) Report(e *telemetry.Emitter) {
	for i, route := range routes {
		for j, code := range classes {
			e.Count(mRequests, s.count.requests[i][j].Load(), route, code)
		}
	}
	e.Count(mRefused, s.count.tokens.Load(), "token")
	e.Count(mRefused, s.count.hosts.Load(), "host")
}

func (s *Server) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &coded{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(c, r)
		route := slices.Index(routes[:], class(r.URL.Path))
		s.count.requests[route][min(max(c.code/100, 2), 5)-2].Add(1)
	})
}

// coded notes an answer's status.
type coded struct {
	http.ResponseWriter
	code int
}

func (c *coded) WriteHeader(code int) {
	c.code = code
	c.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (c *coded) Unwrap() http.ResponseWriter { return c.ResponseWriter }
