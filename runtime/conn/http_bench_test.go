package conn

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var benchBody = []byte(`{"symbol":"SYM0","openInterest":"10659.509","time":1589437530011}`)

// leanServer answers each request with the same bytes: what is measured is the client.
func leanServer(b testing.TB, config *tls.Config) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	addr := l.Addr().String()
	if config != nil {
		l = tls.NewListener(l, config)
	}
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Used-Weight-1m: 12\r\nDate: Mon, 23 Nov 2026 09:00:00 GMT\r\nContent-Length: %d\r\n\r\n%s", len(benchBody), benchBody)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf, n := make([]byte, 4096), 0
				for n < len(buf) {
					m, err := c.Read(buf[n:])
					if n += m; err != nil {
						return
					}
					if bytes.HasSuffix(buf[:n], blank) {
						n = 0
						if _, err := c.Write(answer); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return addr
}

// drive makes b.N requests from as many goroutines as parallel says.
func drive(b *testing.B, parallel int, one func() error) {
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	b.ResetTimer()
	used := cpu()
	for range parallel {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := one(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
	b.ReportMetric(float64(cpu()-used)/float64(b.N), "cpu-ns/op") // client and server; what else runs here doesn't change it
}

func poolDrive(b *testing.B, parallel int, s HTTPPoolSettings, url string) {
	p, err := NewHTTPPool(s)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	drive(b, parallel, poolOne(b, p, url))
	st := p.Stats()
	b.ReportMetric(100*float64(st.Reused)/float64(st.Requests), "reused-%")
	if st.Requests != uint64(b.N) {
		b.Errorf("%d requests were sent for %d", st.Requests, b.N)
	}
}

// poolOne makes one request of the pool's.
func poolOne(b *testing.B, p *HTTPPool, url string) func() error {
	answers := sync.Pool{New: func() any { return new(HTTPResponse) }}
	q := HTTPRequest{URL: url}
	return func() error {
		r := answers.Get().(*HTTPResponse)
		defer answers.Put(r)
		err := p.Do(b.Context(), &q, r)
		if err == nil && (r.Status != 200 || !bytes.Equal(r.Body, benchBody)) {
			err = fmt.Errorf("HTTP %d: %q", r.Status, r.Body)
		}
		return err
	}
}

func stdDrive(b *testing.B, parallel int, c *http.Client, url string) {
	defer c.CloseIdleConnections()
	drive(b, parallel, stdOne(b, c, url))
}

// stdOne makes one request of net/http's.
func stdOne(b *testing.B, c *http.Client, url string) func() error {
	return func() error {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := c.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && !bytes.Equal(body, benchBody) {
			err = fmt.Errorf("HTTP %d: %q", resp.StatusCode, body)
		}
		return err
	}
}

// BenchmarkHTTP compares the pool with net/http, and with a connection for each
// request, at servers on loopback. Client and server share the processors.
func BenchmarkHTTP(b *testing.B) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(benchBody)
	})
	std := httptest.NewServer(handler)
	defer std.Close()
	two := httptest.NewUnstartedServer(handler)
	two.EnableHTTP2 = true
	two.StartTLS()
	defer two.Close()
	roots := x509.NewCertPool()
	roots.AddCert(two.Certificate())
	one := two.TLS.Clone()
	one.NextProtos = []string{"http/1.1"}
	const path = "/v1/openInterest?symbol=SYM0"
	plain := "http://" + leanServer(b, nil) + path
	secure := "https://" + leanServer(b, one) + path
	tuned := func(idle int, h2 bool) *http.Client {
		return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: idle, DisableCompression: true,
			ForceAttemptHTTP2: h2, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	}
	fresh := func(url string) func(b *testing.B) {
		return func(b *testing.B) {
			c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
			stdDrive(b, 8, c, url)
		}
	}
	for _, n := range []int{1, 8, 32} {
		pool := HTTPPoolSettings{Roots: roots, MaxConns: n}
		b.Run(fmt.Sprintf("pool/conns=%d", n), func(b *testing.B) { poolDrive(b, n, pool, plain) })
		b.Run(fmt.Sprintf("nethttp-tuned/conns=%d", n), func(b *testing.B) { stdDrive(b, n, tuned(n, false), plain) })
		b.Run(fmt.Sprintf("nethttp-default/conns=%d", n), func(b *testing.B) {
			stdDrive(b, n, &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}, plain)
		})
		b.Run(fmt.Sprintf("tls/pool/conns=%d", n), func(b *testing.B) { poolDrive(b, n, pool, secure) })
		b.Run(fmt.Sprintf("tls/nethttp-tuned/conns=%d", n), func(b *testing.B) { stdDrive(b, n, tuned(n, false), secure) })
		b.Run(fmt.Sprintf("http2/pool/conns=%d", n), func(b *testing.B) { poolDrive(b, n, pool, two.URL+path) })
		b.Run(fmt.Sprintf("http2/nethttp/conns=%d", n), func(b *testing.B) { stdDrive(b, n, tuned(n, true), two.URL+path) })
		b.Run(fmt.Sprintf("server-nethttp/pool/conns=%d", n), func(b *testing.B) { poolDrive(b, n, pool, std.URL+path) })
		b.Run(fmt.Sprintf("server-nethttp/nethttp-tuned/conns=%d", n), func(b *testing.B) { stdDrive(b, n, tuned(n, false), std.URL+path) })
	}
	b.Run("fresh", fresh(plain))
	b.Run("tls/fresh", fresh(secure))
}

// BenchmarkHTTPHead is the parser alone.
func BenchmarkHTTPHead(b *testing.B) {
	text := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Used-Weight-1m: 12\r\nDate: Mon, 23 Nov 2026 09:00:00 GMT\r\nContent-Length: 65\r\n\r\n")
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := parseHead(text); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHTTPRatio takes turns between kept and new connections, in short
// rounds, so that whatever else the machine does meets both. It gives the lower
// quartiles of the time for a request, since what else runs only ever adds, and
// x, how many times less a kept connection takes.
func BenchmarkHTTPRatio(b *testing.B) {
	srv := httptest.NewUnstartedServer(nil) // for its certificate
	srv.StartTLS()
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	config := srv.TLS.Clone()
	config.NextProtos = []string{"http/1.1"}
	for _, secure := range []bool{false, true} {
		name, url, rounds := "plain", "http://"+leanServer(b, nil), 41
		if secure {
			name, url, rounds = "tls", "https://"+leanServer(b, config), 21
		}
		for _, n := range []int{1, 8, 32} {
			b.Run(fmt.Sprintf("%s/conns=%d", name, n), func(b *testing.B) {
				p, err := NewHTTPPool(HTTPPoolSettings{Roots: roots, MaxConns: n})
				if err != nil {
					b.Fatal(err)
				}
				defer p.Close()
				c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
				kept, fresh := poolOne(b, p, url), stdOne(b, c, url)
				round := func(requests int, one func() error) float64 {
					var all sync.WaitGroup
					began := time.Now()
					for range n {
						all.Go(func() {
							for range requests / n {
								if err := one(); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					all.Wait()
					return float64(time.Since(began)) / float64(requests)
				}
				round(1000, kept)
				var k, f []float64
				for range rounds {
					k = append(k, round(2000, kept))
					f = append(f, round(200, fresh))
				}
				slices.Sort(k)
				slices.Sort(f)
				i := rounds / 4
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(k[i], "kept-ns")
				b.ReportMetric(f[i], "fresh-ns")
				b.ReportMetric(f[i]/k[i], "x")
			})
		}
	}
}
