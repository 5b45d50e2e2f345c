package conn

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// frameHeader is that of an unmasked text frame; compressed sets RSV1.
func frameHeader(n int, compressed bool) []byte {
	b := []byte{0x81, 127}
	if compressed {
		b[0] |= 0x40
	}
	return binary.BigEndian.AppendUint64(b, uint64(n))
}

func TestOversizedFrame(t *testing.T) {
	v := newVenue(t)
	closed := make(chan error, 8)
	v.ws = func(n int, ws *websocket.Conn, r *http.Request) {
		if n == 1 {
			ws.WriteMessage(websocket.TextMessage, bytes.Repeat([]byte("a"), 1000))
			ws.WriteMessage(websocket.TextMessage, bytes.Repeat([]byte("b"), 1001))
		}
		for {
			if _, _, err := ws.ReadMessage(); err != nil {
				closed <- err
				return
			}
		}
	}
	r := start(t, settings(v, func(s *Settings) { endpoint(s, func(e *source.Endpoint) { e.MaxFrame = 1000 }) }), subs(market.ChannelTrades, 1))
	if err := <-closed; !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
		t.Errorf("the venue saw %v, not 1009", err)
	}
	es := r.mem.wait(t, "the close", atLeast(1, source.InputClose, "more than 1000 bytes"))
	if count(source.InputText, "aaa")(es) != 1 || count(source.InputText, "bbb")(es) != 0 {
		t.Error("the limit is not where it should be")
	}
	if len(r.seen(EventFrame)) != 1 || r.Metrics().Refused != 1 {
		t.Errorf("%v %+v", r.seen(EventFrame), r.Metrics())
	}
}

func TestFragmentsAndLargeFrames(t *testing.T) {
	v := newVenue(t)
	big := bytes.Repeat([]byte("0123456789"), 500_000)
	v.ws = func(n int, ws *websocket.Conn, r *http.Request) {
		ws.WriteMessage(websocket.TextMessage, big)
		ws.WriteMessage(websocket.BinaryMessage, []byte{1, 2, 3})
		w, _ := ws.NextWriter(websocket.TextMessage)
		for range 10 {
			w.Write(bytes.Repeat([]byte("x"), 5000)) // beyond the write buffer: fragments
		}
		w.Close()
		ws.WriteMessage(websocket.TextMessage, nil)
		v.serve(n, ws, nil)
	}
	r := start(t, settings(v, nil), subs(market.ChannelTrades, 1))
	es := r.mem.wait(t, "frames", atLeast(1, source.InputText, `{"ack"`))
	var got []entry
	for _, e := range es {
		if e.kind == source.InputText || e.kind == source.InputBinary {
			got = append(got, e)
		}
	}
	if got[0].payload != string(big) || got[1].payload != "\x01\x02\x03" || got[1].kind != source.InputBinary ||
		got[2].payload != strings.Repeat("x", 50000) || got[3].payload != "" {
		t.Errorf("frames differ:\n%s", dump(got))
	}
}

func TestDribbledFrame(t *testing.T) {
	v := newVenue(t)
	stop := make(chan struct{})
	v.ws = func(n int, ws *websocket.Conn, r *http.Request) {
		if n > 1 {
			v.serve(n, ws, nil)
			return
		}
		c := ws.UnderlyingConn()
		c.Write(frameHeader(100000, false))
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
			case <-stop:
				return
			}
		}
	}
	t.Cleanup(func() { close(stop) })
	r := start(t, settings(v, func(s *Settings) { s.FrameTimeout = 200 * time.Millisecond }), subs(market.ChannelTrades, 1))
	r.mem.wait(t, "the close", atLeast(1, source.InputClose, "a frame was not whole after 200ms"))
	r.mem.wait(t, "the next connection", atLeast(2, source.InputOpen, ""))
}

// zeros is a deflate stream of 256 MiB of zeros: one MiB, flushed, 256 times.
func zeros() []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 6)
	w.Write(make([]byte, 1<<20))
	w.Flush()
	return bytes.Repeat(b.Bytes(), 256)
}

func peak(t *testing.T, f func()) uint64 {
	t.Helper()
	runtime.GC()
	var a, b runtime.MemStats
	runtime.ReadMemStats(&a)
	f()
	runtime.ReadMemStats(&b)
	return b.TotalAlloc - a.TotalAlloc
}

func TestCompressionBomb(t *testing.T) {
	bomb := zeros()
	for _, limit := range []int{0, 1 << 20} {
		t.Run(fmt.Sprint("limit ", limit), func(t *testing.T) {
			v := newVenue(t)
			v.upgrade.EnableCompression = true
			closed := make(chan error, 8)
			v.ws = func(n int, ws *websocket.Conn, r *http.Request) {
				if n == 1 {
					ws.UnderlyingConn().Write(append(frameHeader(len(bomb), true), bomb...))
				}
				for {
					if _, _, err := ws.ReadMessage(); err != nil {
						closed <- err
						return
					}
				}
			}
			used := peak(t, func() {
				r := start(t, settings(v, func(s *Settings) {
					s.Compress = true
					endpoint(s, func(e *source.Endpoint) { e.MaxFrame = limit })
				}), subs(market.ChannelTrades, 1))
				if err := <-closed; !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
					t.Errorf("the venue saw %v, not 1009", err)
				}
				r.mem.wait(t, "the close", atLeast(1, source.InputClose, "too large"))
			})
			if used > 40<<20 {
				t.Errorf("%d MiB were allocated for a bomb", used>>20)
			}
		})
	}
}

func TestCompressedFramesPass(t *testing.T) {
	v := newVenue(t)
	v.upgrade.EnableCompression = true
	var mixed strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&mixed, `{"symbol":"SYM%d","price":"%d.%d"},`, i*7919%50021, i*31, i*i%1000)
	}
	v.ws = func(n int, ws *websocket.Conn, r *http.Request) {
		if n == 1 {
			ws.WriteMessage(websocket.TextMessage, []byte("small"))
			ws.WriteMessage(websocket.TextMessage, []byte(mixed.String()))
		}
		v.serve(n, ws, nil)
	}
	r := start(t, settings(v, func(s *Settings) { s.Compress = true }), subs(market.ChannelTrades, 1))
	es := r.mem.wait(t, "frames", atLeast(1, source.InputText, "SYM1"))
	if count(source.InputText, mixed.String())(es) != 1 || count(source.InputText, "small")(es) != 1 {
		t.Error("frames differ")
	}
}

func TestHTTPBodies(t *testing.T) {
	v := newVenue(t)
	bomb := append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}, zeros()...)
	v.http = func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Accept-Encoding") != "gzip":
			http.Error(w, "", 500)
		case strings.Contains(r.URL.RawQuery, "SYM0"):
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(bomb)
		case strings.Contains(r.URL.RawQuery, "SYM1"):
			w.Write(make([]byte, 2000))
		default:
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			fmt.Fprint(z, `{"bids":[]}`)
			z.Close()
		}
	}
	book := subs(market.ChannelBook, 3)
	used := peak(t, func() {
		r := start(t, settings(v, func(s *Settings) { s.MaxBody = 1000 }), book)
		r.mem.wait(t, "the connection", atLeast(1, source.InputOpen, ""))
		r.Snapshot(book[2])
		es := r.mem.wait(t, "the snapshot", atLeast(1, source.InputHTTP, "SYM2"))
		for _, e := range es {
			if e.kind == source.InputHTTP {
				if in := e.input(t); in.Status != 200 || string(in.Data) != `{"bids":[]}` || string(in.URL) != "https://api.testex.example/snapshot?symbol=SYM2" || in.Conn != 0 {
					t.Errorf("%+v", in)
				}
			}
		}
		for i := range 2 {
			if _, err := r.do(t.Context(), source.Request{URL: fmt.Sprintf("https://api.testex.example/snapshot?symbol=SYM%d", i)}, 0, 1, urgent); !errors.Is(err, errTooLarge) {
				t.Errorf("body %d: %v", i, err)
			}
		}
		r.set.MaxBody = 16 << 20
		if _, err := r.do(t.Context(), source.Request{URL: "https://api.testex.example/snapshot?symbol=SYM0"}, 0, 1, urgent); !errors.Is(err, errTooLarge) {
			t.Errorf("bomb: %v", err)
		}
	})
	if used > 40<<20 {
		t.Errorf("%d MiB were allocated for a bomb", used>>20)
	}
}

func tlsVenue(t *testing.T) *venue {
	v := &venue{t: t, changed: make(chan struct{})}
	v.Server = httptest.NewUnstartedServer(v)
	v.Config.ErrorLog = discardLog()
	v.StartTLS()
	t.Cleanup(func() { v.CloseClientConnections(); v.Server.Close() })
	return v
}

func TestTLS(t *testing.T) {
	v := tlsVenue(t)
	roots := x509.NewCertPool()
	roots.AddCert(v.Certificate())
	t.Run("known authority", func(t *testing.T) {
		s := settings(v, func(s *Settings) { s.TLS = &tls.Config{RootCAs: roots} })
		r := start(t, s, subs(market.ChannelBook, 1))
		r.mem.wait(t, "an answer", atLeast(1, source.InputText, "ack"))
		r.Snapshot(subs(market.ChannelBook, 1)[0])
		r.mem.wait(t, "a response", atLeast(1, source.InputHTTP, "snapshot"))
		if st := r.Stats(); len(st) != 1 || !st[0].CertExpires.Equal(v.Certificate().NotAfter) {
			t.Errorf("%+v", st)
		}
	})
	t.Run("unknown authority", func(t *testing.T) {
		before := len(dials(v.arrivals()))
		r := start(t, settings(v, nil), subs(market.ChannelTrades, 1))
		r.mem.wait(t, "three refusals", atLeast(3, source.InputClose, "certificate signed by unknown authority"))
		if len(dials(v.arrivals())) != before {
			t.Error("something was sent to a venue whose certificate is unknown")
		}
	})
	t.Run("wrong name", func(t *testing.T) {
		s := settings(v, func(s *Settings) {
			s.TLS = &tls.Config{RootCAs: roots}
			s.URL = strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
		})
		r := start(t, s, subs(market.ChannelTrades, 1))
		r.mem.wait(t, "a refusal", atLeast(1, source.InputClose, "certificate is valid for"))
	})
	t.Run("no verification", func(t *testing.T) {
		s := settings(v, func(s *Settings) {
			s.Renderer, s.Frames = &plugin{}, newMemory()
			s.TLS = &tls.Config{InsecureSkipVerify: true}
		})
		if _, err := New(s); fault.Of(err) != fault.Stop {
			t.Errorf("New: %v", err)
		}
	})
	t.Run("downgrade by redirect", func(t *testing.T) {
		plain := newVenue(t)
		v.http = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL, http.StatusFound) }
		r := start(t, settings(v, func(s *Settings) { s.TLS = &tls.Config{RootCAs: roots} }), nil)
		_, err := r.do(t.Context(), source.Request{URL: "https://api.testex.example/"}, 0, 1, urgent)
		if err == nil || !strings.Contains(err.Error(), "redirect from TLS") || len(plain.arrivals()) != 0 {
			t.Errorf("%v", err)
		}
	})
}

func TestProxies(t *testing.T) {
	v := tlsVenue(t)
	roots := x509.NewCertPool()
	roots.AddCert(v.Certificate())
	var used chan string
	tunnel := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ := strings.Cut(r.Header.Get("Proxy-Authorization"), " ")
		used <- r.Method + " " + r.Host + " " + user + pass
		if r.Method != http.MethodConnect {
			http.Error(w, "", http.StatusMethodNotAllowed)
			return
		}
		up, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		down, _, _ := w.(http.Hijacker).Hijack()
		io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
		pipe(down, up)
	})
	proxies := map[string]string{}
	plain := httptest.NewServer(tunnel)
	defer plain.Close()
	proxies["http"] = strings.Replace(plain.URL, "//", "//me:secret@", 1)
	secure := httptest.NewUnstartedServer(tunnel)
	secure.StartTLS()
	defer secure.Close()
	roots.AddCert(secure.Certificate())
	proxies["https"] = secure.URL
	socks, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socks.Close()
	go serveSOCKS(socks, func(addr string) { used <- "SOCKS " + addr })
	proxies["socks5"] = "socks5://" + socks.Addr().String()
	for name, proxy := range proxies {
		t.Run(name, func(t *testing.T) {
			used = make(chan string, 100)
			s := settings(v, func(s *Settings) { s.Proxy, s.TLS = proxy, &tls.Config{RootCAs: roots} })
			r := start(t, s, subs(market.ChannelBook, 1))
			r.mem.wait(t, "an answer", atLeast(1, source.InputText, "ack"))
			r.Snapshot(subs(market.ChannelBook, 1)[0])
			r.mem.wait(t, "a response", atLeast(1, source.InputHTTP, "snapshot"))
			for range 2 { // both ways went through it
				got := <-used
				if !strings.Contains(got, v.Listener.Addr().String()) || name == "http" && !strings.Contains(got, "Basic") {
					t.Errorf("the proxy saw %q", got)
				}
			}
			r.stop()
		})
	}
	t.Run("secrets", func(t *testing.T) {
		plain.Close()
		s := settings(v, func(s *Settings) { s.Proxy = proxies["http"] })
		r := start(t, s, subs(market.ChannelTrades, 1))
		es := r.mem.wait(t, "a failure", atLeast(1, source.InputClose, "proxy http://me:xxxxx@"))
		if strings.Contains(dump(es), "secret") {
			t.Errorf("the proxy's password is journalled:\n%s", dump(es))
		}
	})
}

func TestNamesThatStopResolving(t *testing.T) {
	v := newVenue(t)
	addr := v.Listener.Addr().String()
	resolves := true
	d, err := newEgressDialer("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	real := d.base
	d.base = func(ctx context.Context, network, a string) (net.Conn, error) {
		if strings.HasPrefix(a, "venue.example") {
			if !resolves {
				return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: a, IsNotFound: true}}
			}
			a = addr
		}
		return real(ctx, network, a)
	}
	for range 2 {
		c, err := d.tcp(t.Context(), "tcp", "venue.example:443")
		if err != nil {
			t.Fatal(err)
		}
		if c.RemoteAddr().String() != addr {
			t.Errorf("dialled %v", c.RemoteAddr())
		}
		c.Close()
		resolves = false
	}
}
