package conn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func testPool(t testing.TB, s HTTPPoolSettings) *HTTPPool {
	t.Helper()
	p, err := NewHTTPPool(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// rawServer answers the requests of each connection with the given texts in
// turn, and closes after the last. An empty text closes without an answer.
func rawServer(t testing.TB, conns ...[]string) (url string, requests func() []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var got []string
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for i := 0; ; i++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			texts := conns[min(i, len(conns)-1)]
			all.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(patience))
				buf := make([]byte, 8192)
				for _, text := range texts {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					mu.Lock()
					got = append(got, string(buf[:n]))
					mu.Unlock()
					if text == "" {
						return
					}
					io.WriteString(c, text)
				}
			})
		}
	})
	return "http://" + l.Addr().String(), func() []string { mu.Lock(); defer mu.Unlock(); return got }
}

const okText = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestPoolReuses(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Method, r.URL, r.Header.Get("X-A")) }))
	defer srv.Close()
	p := testPool(t, HTTPPoolSettings{MaxConns: 4})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			var r HTTPResponse
			for i := range 100 {
				q := HTTPRequest{URL: srv.URL + "/a?b=" + fmt.Sprint(i), Header: map[string]string{"X-A": "y"}}
				if err := p.Do(t.Context(), &q, &r); err != nil || string(r.Body) != fmt.Sprint("GET/a?b=", i, "y") {
					t.Errorf("%q %v", r.Body, err)
				}
			}
		})
	}
	all.Wait()
	s := p.Stats()
	if s.Requests != 2000 || s.Opened > 4 || s.Reused != 2000-s.Opened || s.Errors != 0 || s.Open != int(s.Opened) || s.Repeated != 0 {
		t.Errorf("%+v", s)
	}
}

func TestPoolTakesUpWhereTheServerClosed(t *testing.T) {
	url, requests := rawServer(t, []string{okText})
	p := testPool(t, HTTPPoolSettings{})
	var r HTTPResponse
	for range 5 { // each time on a connection that the server has closed after its answer
		if err := p.Do(t.Context(), &HTTPRequest{URL: url}, &r); err != nil || string(r.Body) != "ok" {
			t.Fatalf("%q %v", r.Body, err)
		}
	}
	if s := p.Stats(); s.Repeated != 4 || s.Opened != 5 || s.Errors != 0 || len(requests()) != 5 {
		t.Errorf("%+v, the server had %d", s, len(requests()))
	}
	if err := p.Do(t.Context(), &HTTPRequest{Method: "POST", URL: url, Body: "{}"}, &r); err == nil {
		t.Error("a POST was sent twice")
	}
	if err := p.Do(t.Context(), &HTTPRequest{Method: "POST", URL: url, Body: "{}"}, &r); err != nil {
		t.Error(err)
	}
	if last := requests()[len(requests())-1]; !strings.HasPrefix(last, "POST / HTTP/1.1\r\n") || !strings.Contains(last, "\r\nContent-Length: 2\r\n") || !strings.HasSuffix(last, "\r\n\r\n{}") {
		t.Errorf("%q", last)
	}
}

func TestPoolFailures(t *testing.T) {
	var u *url.Error
	for name, texts := range map[string][]string{"no answer": {""}, "half": {"HTTP/1.1 200 OK\r\nContent-Le"}, "short": {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"}, "noise": {"220 mail\r\n\r\n"}} {
		addr, requests := rawServer(t, texts)
		p := testPool(t, HTTPPoolSettings{})
		err := p.Do(t.Context(), &HTTPRequest{URL: addr}, new(HTTPResponse))
		if s := p.Stats(); !errors.As(err, &u) || s.Errors != 1 || s.Open != 0 || len(requests()) != 1 {
			t.Errorf("%s: %v, %+v, %d requests", name, err, s, len(requests()))
		}
	}
	p := testPool(t, HTTPPoolSettings{})
	for _, q := range []HTTPRequest{{URL: "http://127.0.0.1/", Header: map[string]string{"A": "b\r\nC: d"}}, {URL: "http://127.0.0.1/", Header: map[string]string{"A b": "c"}},
		{Method: "GET / HTTP/1.1\r\n", URL: "http://127.0.0.1/"}, {URL: "file:///etc/passwd"}} {
		if err := p.Do(t.Context(), &q, new(HTTPResponse)); err == nil {
			t.Errorf("%+v was sent", q)
		}
	}
	p.Close()
	if err := p.Do(t.Context(), &HTTPRequest{URL: "http://127.0.0.1/"}, new(HTTPResponse)); !errors.Is(err, errPoolClosed) {
		t.Error(err)
	}
}

func TestPoolLimitsTime(t *testing.T) {
	release, arrived := make(chan struct{}), make(chan struct{}, 2)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-release
		}
	}))
	defer srv.Close()
	defer close(release)
	p := testPool(t, HTTPPoolSettings{Timeout: 50 * time.Millisecond, MaxConns: 1})
	if err := p.Do(t.Context(), &HTTPRequest{URL: srv.URL + "/slow"}, new(HTTPResponse)); !timeout(err) {
		t.Errorf("%v", err)
	}
	p = testPool(t, HTTPPoolSettings{MaxConns: 1})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	<-arrived // the first one, which was given up
	go func() { done <- p.Do(ctx, &HTTPRequest{URL: srv.URL + "/slow"}, new(HTTPResponse)) }()
	<-arrived
	go func() { done <- p.Do(ctx, &HTTPRequest{URL: srv.URL + "/in-line"}, new(HTTPResponse)) }()
	cancel()
	for range 2 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
	if err := p.Do(t.Context(), &HTTPRequest{URL: srv.URL}, new(HTTPResponse)); err != nil {
		t.Errorf("after the cancelled ones: %v", err)
	}
	if s := p.Stats(); s.Open != 1 {
		t.Errorf("%+v", s)
	}
	// A context that ends between requests does no harm to the connection.
	for range 10 {
		c, end := context.WithCancel(t.Context())
		if err := p.Do(c, &HTTPRequest{URL: srv.URL}, new(HTTPResponse)); err != nil {
			t.Fatal(err)
		}
		end()
	}
	if s := p.Stats(); s.Opened != 2 {
		t.Errorf("%+v", s)
	}
}

func TestPoolClosesWhatIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{accept: make(chan net.Conn), done: make(chan struct{})}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { time.Sleep(time.Second) })}
		go srv.Serve(l)
		d, _ := newEgressDialer("", l.Dial, nil)
		p := newPool(HTTPPoolSettings{MaxIdle: time.Minute}, d, new(gate))
		for range 3 {
			go p.Do(t.Context(), &HTTPRequest{URL: "http://a.test/"}, new(HTTPResponse))
		}
		time.Sleep(30 * time.Second)
		if s := p.Stats(); s.Open != 3 {
			t.Errorf("%+v", s)
		}
		p.Do(t.Context(), &HTTPRequest{URL: "http://a.test/"}, new(HTTPResponse))
		time.Sleep(45 * time.Second)
		if s := p.Stats(); s.Open != 1 || s.Opened != 3 {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Minute)
		if s := p.Stats(); s.Open != 0 {
			t.Errorf("%+v", s)
		}
		p.Close()
		srv.Close()
	})
}

func TestPoolClosesIdleHTTP2(t *testing.T) {
	cert := httptest.NewTLSServer(nil)
	defer cert.Close()
	roots := x509.NewCertPool()
	roots.AddCert(cert.Certificate())
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{accept: make(chan net.Conn), done: make(chan struct{})}
		srv := &http.Server{TLSConfig: &tls.Config{Certificates: cert.TLS.Certificates}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			fmt.Fprint(w, r.Proto)
		})}
		go srv.ServeTLS(l, "", "")
		d, _ := newEgressDialer("", l.Dial, roots)
		p := newPool(HTTPPoolSettings{MaxIdle: time.Minute, MaxConns: 1}, d, new(gate))
		for range 250 { // more than a connection takes at a time: they stand in line
			go func() {
				var r HTTPResponse
				if err := p.Do(t.Context(), &HTTPRequest{URL: "https://example.com/"}, &r); err != nil || string(r.Body) != "HTTP/2.0" {
					t.Errorf("%q %v", r.Body, err)
				}
			}()
		}
		time.Sleep(30 * time.Second)
		if s := p.Stats(); s.Open2 != 1 || s.Opened != 1 || s.Requests != 250 || s.Reused != 249 {
			t.Errorf("%+v", s)
		}
		time.Sleep(2 * time.Minute)
		if s := p.Stats(); s.Open2 != 0 {
			t.Errorf("%+v", s)
		}
		p.Close()
		srv.Close()
		time.Sleep(time.Minute)
	})
}

func TestPoolRedirects(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/a":
			http.Redirect(w, r, "b?x=1", http.StatusMovedPermanently)
		case "/round":
			http.Redirect(w, r, "/round", http.StatusFound)
		default:
			fmt.Fprint(w, r.URL)
		}
	}))
	defer srv.Close()
	p := testPool(t, HTTPPoolSettings{})
	var r HTTPResponse
	if err := p.Do(t.Context(), &HTTPRequest{URL: srv.URL + "/a"}, &r); err != nil || string(r.Body) != "/b?x=1" {
		t.Errorf("%q %v", r.Body, err)
	}
	if err := p.Do(t.Context(), &HTTPRequest{URL: srv.URL + "/round"}, &r); err == nil || p.Stats().Requests != 2+4 {
		t.Errorf("%v after %d requests", err, p.Stats().Requests)
	}
	if err := p.Do(t.Context(), &HTTPRequest{Method: "POST", URL: srv.URL + "/a", Body: "x"}, &r); err != nil || r.Status != http.StatusMovedPermanently {
		t.Errorf("a POST: %d %v", r.Status, err)
	}
}

func TestPoolKeepsKeysFromOtherHosts(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Key")) })
	other := httptest.NewServer(echo)
	defer other.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/other":
			http.Redirect(w, r, other.URL, http.StatusFound)
		case "/same":
			http.Redirect(w, r, "/x", http.StatusFound)
		default:
			echo(w, r)
		}
	}))
	defer srv.Close()
	p := testPool(t, HTTPPoolSettings{})
	for path, want := range map[string]string{"/same": "secret", "/other": ""} {
		var r HTTPResponse
		q := HTTPRequest{URL: srv.URL + path, Header: map[string]string{"X-Key": "secret"}}
		if err := p.Do(t.Context(), &q, &r); err != nil || string(r.Body) != want {
			t.Errorf("%s: %q %v", path, r.Body, err)
		}
	}
}

func TestPoolSpeaksHTTP2WhereItIsOffered(t *testing.T) {
	var protocols [3]atomic.Int64
	var conns atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocols[r.ProtoMajor].Add(1)
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Used", "7")
		fmt.Fprint(w, r.Method, r.URL, string(body), r.Header.Get("User-Agent"))
	}))
	srv.Config.ErrorLog = discardLog()
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	ask := func(p *HTTPPool, n int) {
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				var r HTTPResponse
				q := HTTPRequest{Method: "POST", URL: srv.URL + "/a?b=" + fmt.Sprint(i), Body: "c"}
				if err := p.Do(t.Context(), &q, &r); err != nil || string(r.Body) != fmt.Sprint("POST/a?b=", i, "c", userAgent) || r.Header("x-used") != "7" {
					t.Errorf("%q %v", r.Body, err)
				}
			})
		}
		all.Wait()
	}
	p := testPool(t, HTTPPoolSettings{Roots: roots})
	ask(p, 300)
	if s := p.Stats(); protocols[2].Load() != 300 || conns.Load() > 3 || s.Open2 < 1 || s.Open != 0 || s.Reused != 300-s.Opened {
		t.Errorf("%d of HTTP/2 on %d connections; %+v", protocols[2].Load(), conns.Load(), s)
	}
	srv.CloseClientConnections()
	var r HTTPResponse
	for range 3 {
		if err := p.Do(t.Context(), &HTTPRequest{URL: srv.URL}, &r); err != nil {
			t.Errorf("after the connection broke: %v", err)
		}
	}
	ask(testPool(t, HTTPPoolSettings{Roots: roots, HTTP1: true}), 50)
	if protocols[1].Load() != 50 {
		t.Errorf("%d of HTTP/1.1", protocols[1].Load())
	}
}

func TestPoolAgreesOnHTTP1(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	srv.TLS = &tls.Config{NextProtos: []string{"http/1.1"}}
	srv.StartTLS()
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	p := testPool(t, HTTPPoolSettings{Roots: roots})
	var r HTTPResponse
	for range 10 {
		if err := p.Do(t.Context(), &HTTPRequest{URL: srv.URL}, &r); err != nil || string(r.Body) != "HTTP/1.1" {
			t.Errorf("%q %v", r.Body, err)
		}
	}
	if s := p.Stats(); s.Opened != 1 || s.Reused != 9 || s.Open != 1 {
		t.Errorf("%+v", s)
	}
	if err := testPool(t, HTTPPoolSettings{}).Do(t.Context(), &HTTPRequest{URL: srv.URL}, &r); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("%v", err)
	}
}

func TestPoolWaitsForTheBan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{accept: make(chan net.Conn), done: make(chan struct{})}
		var asked []time.Time
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked = append(asked, time.Now()); len(asked) == 1 {
				w.Header().Set("Retry-After", "30")
				w.WriteHeader(429)
			}
		})}
		go srv.Serve(l)
		d, _ := newEgressDialer("", l.Dial, nil)
		p := newPool(HTTPPoolSettings{}, d, new(gate))
		var r HTTPResponse
		if err := p.Do(t.Context(), &HTTPRequest{URL: "http://a.test/"}, &r); err != nil || r.Status != 429 || !r.Until.Equal(time.Now().Add(30*time.Second)) {
			t.Errorf("%+v %v", r, err)
		}
		if err := p.Do(t.Context(), &HTTPRequest{URL: "http://a.test/"}, &r); err != nil || r.Status != 200 || asked[1].Sub(asked[0]) != 30*time.Second {
			t.Errorf("%+v %v", asked, err)
		}
		p.Close()
		srv.Close()
	})
}

// TestPoolUnderStress lets many requests be given up, fail and succeed at once;
// afterwards nothing is left in line, in flight or counted twice.
func TestPoolUnderStress(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/broken":
			panic(http.ErrAbortHandler)
		case "/slow":
			select {
			case <-time.After(3 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
		fmt.Fprint(w, r.URL.Path)
	})
	for _, two := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP/2 ", two), func(t *testing.T) {
			srv := httptest.NewUnstartedServer(handler)
			srv.Config.ErrorLog = discardLog()
			srv.EnableHTTP2 = two
			srv.StartTLS()
			defer srv.Close()
			roots := x509.NewCertPool()
			roots.AddCert(srv.Certificate())
			p := testPool(t, HTTPPoolSettings{Roots: roots, MaxConns: 3})
			var all sync.WaitGroup
			var good atomic.Int64
			for i := range 24 {
				all.Go(func() {
					for n := range 60 {
						ctx, cancel := context.WithTimeout(t.Context(), patience)
						path := "/slow"
						switch {
						case n == 30 && i%4 == 0:
							path = "/broken"
						case n%3 == 0:
							cancel()
							ctx, cancel = context.WithTimeout(t.Context(), time.Duration(n)*100*time.Microsecond)
						}
						var r HTTPResponse
						if err := p.Do(ctx, &HTTPRequest{Method: "POST", URL: srv.URL + path, Body: "x"}, &r); err == nil {
							if good.Add(1); string(r.Body) != path {
								t.Errorf("%s: %q", path, r.Body)
							}
						} else if path == "/slow" && ctx.Err() == nil && !timeout(err) {
							t.Errorf("%v", err)
						}
						cancel()
					}
				})
			}
			all.Wait()
			p.each(func(h *hostPool) {
				h.mu.Lock()
				defer h.mu.Unlock()
				if len(h.waiters) != 0 || h.looking.Load() != 0 || h.dialing != 0 || h.open != len(h.idle) || h.open > 3 {
					t.Errorf("%d in line, %d looking, %d dialling, %d open, %d idle", len(h.waiters), h.looking.Load(), h.dialing, h.open, len(h.idle))
				}
				for _, c := range h.living() {
					if c.InFlight() != 0 {
						t.Errorf("%d in flight", c.InFlight())
					}
				}
			})
			if s := p.Stats(); good.Load() < 500 {
				t.Errorf("%d of 1440 succeeded; %+v", good.Load(), s)
			}
		})
	}
}
