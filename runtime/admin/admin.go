// Package admin serves the runtime's HTTP endpoints: whether the process is
// alive and ready, metrics, profiles, a reload, and whatever routes other
// packages hand it (Settings.Routes), which is how the API under /api/v1/ is
// made.
//
// Who may: on a loopback address and on a unix socket (mode 0600) whoever is on
// this machine, or is this user; on any other address only who knows the token.
// Where a token is set everything but /healthz asks for it, on loopback as
// well. Profiles tell of memory's contents, so they are served with a token
// alone. A request must name a host that this server is known by (a web page
// elsewhere can aim a name of its own at loopback), must not come from a page of
// another origin if it changes anything, and GET never changes anything.
//
// Order: New listens, Run serves, Update changes token and hosts in between.
//
// A slow or hostile client costs one of maxConns connections until its time is
// over; who comes when all are taken waits in the kernel's queue. The runtime
// waits for none of them.
package admin

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"maps"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/sched"
)

// Settings of the server.
type Settings struct {
	Listen    string   // host:port, or unix:///path
	TokenFile string   // holds the bearer token, mode 0600; needed beyond loopback
	Hosts     []string // names that requests may use, beside those of loopback and the address itself
	Metrics   http.Handler
	Ready     func() (bool, string) // whether all is collecting, else what isn't
	// Reload reads the configuration again; it answers the request itself. Nil:
	// this run has nothing to read again.
	Reload http.Handler
	// Routes are what others serve here, by http.ServeMux's patterns with their
	// method: "GET /api/v1/memory/snapshots". They answer errors by Error.
	Routes map[string]http.Handler
	Logger zerolog.Logger
}

// Limits of the server.
const (
	maxConns     = 64
	maxHeader    = 16 << 10
	maxBody      = 1 << 20
	maxScrapes   = 4
	headerTime   = 5 * time.Second
	readTime     = 10 * time.Second
	writeTime    = 30 * time.Second
	idleTime     = 2 * time.Minute
	longTime     = 3 * time.Minute // profiles, and a reload that drains
	shutdownTime = time.Second
)

// Server serves until Run's context ends.
type Server struct {
	s      Settings
	ln     net.Listener
	unix   bool
	access atomic.Pointer[access]
	told   atomic.Int64 // ns when a refusal was logged last
	count  counters
	mux    *http.ServeMux
	paths  []string // what there is, for the index and for who asks for something else

	headerTime, readTime time.Duration // a test's are shorter
}

// New listens, so that a port that is taken is known at once.
func New(s Settings) (*Server, error) {
	a, err := newAccess(s.Listen, s.TokenFile, s.Hosts)
	if err != nil {
		return nil, err
	}
	srv := &Server{s: s, headerTime: headerTime, readTime: readTime}
	if srv.ln, srv.unix, err = listen(s.Listen); err != nil {
		return nil, err
	}
	srv.access.Store(a)
	srv.routes()
	return srv, nil
}

// Addr is where it listens: host:port, or unix:///path.
func (s *Server) Addr() string {
	if s.unix {
		return unixScheme + s.ln.Addr().String()
	}
	return s.ln.Addr().String()
}

// URL is Addr as people and tools write it.
func (s *Server) URL() string {
	if s.unix {
		return s.Addr()
	}
	return "http://" + s.Addr()
}

// Update reads the token file again and takes other hosts; the listener stays.
func (s *Server) Update(tokenFile string, hosts []string) error {
	a, err := newAccess(s.s.Listen, tokenFile, hosts)
	if err != nil {
		return err
	}
	s.access.Store(a)
	return nil
}

// Close releases the address, if Run hasn't.
func (s *Server) Close() error {
	if err := s.ln.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func (s *Server) routes() {
	s.mux = http.NewServeMux()
	add := func(pattern string, h http.Handler) {
		s.mux.Handle(pattern, h)
		s.paths = append(s.paths, pattern)
	}
	alive := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	ready := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		ok, why := s.s.Ready()
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintln(w, why)
	})
	add("GET /healthz", alive)
	add("GET /-/healthy", alive)
	add("GET /readyz", ready)
	add("GET /-/ready", ready)
	if s.s.Metrics != nil {
		add("GET /metrics", bounded(maxScrapes, "scrapes", s.s.Metrics))
	}
	reload := s.s.Reload
	if reload == nil {
		reload = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			Error(w, http.StatusConflict, "this run has no pipeline file to read again")
		})
	}
	add("POST /-/reload", long(reload))
	for name, h := range map[string]http.HandlerFunc{"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace} {
		s.mux.Handle("GET /debug/pprof/"+name, long(s.withToken(shortProfile(h))))
	}
	s.paths = append(s.paths, "GET /debug/pprof/")
	for _, pattern := range slices.Sorted(maps.Keys(s.s.Routes)) {
		add(pattern, s.s.Routes[pattern])
	}
	add("GET /api/v1/{$}", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		JSON(w, http.StatusOK, map[string]any{"endpoints": s.paths})
	}))
}

// withToken serves only where a token was asked for.
func (s *Server) withToken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.access.Load().token == nil {
			Error(w, http.StatusForbidden, "profiles show what is in memory, so they are behind a token: name a file with mode 0600 as `token_file` in the marketprism block, reload, and ask with the header Authorization: Bearer <its content>")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// shortProfile refuses profiles that the deadline would cut off.
func shortProfile(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if t := r.FormValue("seconds"); t != "" {
			if d, err := time.ParseDuration(t + "s"); err != nil || d <= 0 || d > longTime-time.Minute {
				Error(w, http.StatusBadRequest, "seconds must be a number up to %v", (longTime - time.Minute).Seconds())
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// long gives a handler more time than others have, whichever of the connection's
// deadlines would end it.
func long(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, until := http.NewResponseController(w), time.Now().Add(longTime)
		_ = errors.Join(c.SetWriteDeadline(until), c.SetReadDeadline(until)) // refused by a test's recorder alone
		next.ServeHTTP(w, r)
	})
}

// bounded serves n requests at a time; others are told to come again.
func bounded(n int, what string, next http.Handler) http.Handler {
	busy := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case busy <- struct{}{}:
		default:
			w.Header().Set("Retry-After", "1")
			Error(w, http.StatusServiceUnavailable, "%d %s are under way, which is the most at a time", n, what)
			return
		}
		defer func() { <-busy }()
		next.ServeHTTP(w, r)
	})
}

// Handler is what Run serves, with all its checks.
func (s *Server) Handler() http.Handler {
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		Error(w, http.StatusForbidden, "a page of another origin may not change anything here")
	}))
	return s.counted(s.guarded(cross.Handler(http.HandlerFunc(s.serve))))
}

// serve is the mux, whose own errors become JSON with what there is.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime))
	h, pattern := s.mux.Handler(r)
	if pattern != "" {
		if r.ContentLength > maxBody {
			Error(w, http.StatusRequestEntityTooLarge, "a request's body has at most %d bytes", maxBody)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		s.mux.ServeHTTP(w, r) // it sets the path's values
		return
	}
	said := &discard{header: http.Header{}, code: http.StatusOK}
	h.ServeHTTP(said, r)
	switch said.code {
	case http.StatusMethodNotAllowed:
		allow := said.header.Get("Allow")
		w.Header().Set("Allow", allow)
		Error(w, said.code, "%s is not how %s is asked for; use %s", r.Method, r.URL.Path, allow)
	case http.StatusNotFound:
		WriteError(w, said.code, Problem{Message: "there is no " + r.URL.Path, Endpoints: s.paths})
	default: // a redirect to the path's clean form
		maps.Copy(w.Header(), said.header)
		w.WriteHeader(said.code)
	}
}

// discard takes what the mux says of a request that it has no route for.
type discard struct {
	header http.Header
	code   int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(c int)           { d.code = c }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	srv := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: s.headerTime, ReadTimeout: s.readTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		ErrorLog: stdlog.New(s.s.Logger, "", 0)}
	done := make(chan error, 1)
	g, _ := sched.NewSet(context.WithoutCancel(ctx), "")
	defer g.Wait() //nolint:errcheck // it says what done does
	g.Go("accept", func(context.Context) error { done <- srv.Serve(limitConns(s.ln, maxConns)); return nil })
	select {
	case err := <-done:
		return fmt.Errorf("admin: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	err := srv.Shutdown(stop)
	if e := <-done; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close()
	}
	return err
}

// class is the bounded name of a request's route, for metrics.
func class(path string) string {
	switch {
	case path == "/metrics":
		return "metrics"
	case path == "/-/reload":
		return "reload"
	case path == "/healthz" || path == "/readyz" || strings.HasPrefix(path, "/-/"):
		return "health"
	case strings.HasPrefix(path, "/api/"):
		return "api"
	case strings.HasPrefix(path, "/debug/"):
		return "pprof"
	}
	return "other"
}
