package conn

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// script is a connection whose other side has said everything beforehand.
type script struct {
	net.Conn
	r io.Reader
}

func (s script) Read(p []byte) (int, error)      { return s.r.Read(p) }
func (s script) Write(p []byte) (int, error)     { return len(p), nil }
func (s script) Close() error                    { return nil }
func (s script) SetDeadline(time.Time) error     { return nil }
func (s script) SetReadDeadline(time.Time) error { return nil }

// readOne reads one answer as the pool does.
func readOne(r io.Reader, method string, limit int) (h head, body []byte, spent bool, err error) {
	w := newWire(script{r: r})
	if h, err = w.readHead(); err != nil {
		return h, nil, false, err
	}
	h.fields = bytes.Clone(h.fields)
	w.body(&h, method)
	body, err = readAll(nil, w, h.gzip, w.left, limit, lenders{})
	return h, body, err == nil && w.spent() && !h.close, err
}

func gz(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, text)
	z.Close()
	return b.String()
}

func TestAnswers(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct {
		name, text, method string
		status             int
		body               string
		kept               bool
		fails              bool
	}{
		{name: "length", text: ok + "Content-Length: 5\r\n\r\nhello", status: 200, body: "hello", kept: true},
		{name: "two equal lengths", text: ok + "Content-Length: 5\r\ncontent-length:5\r\n\r\nhello", status: 200, body: "hello", kept: true},
		{name: "no reason", text: "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", status: 200, kept: true},
		{name: "chunks", text: ok + "Transfer-Encoding: Chunked\r\n\r\n4\r\nhell\r\n01;a=b\r\no\r\n0\r\nX: y\r\n\r\n", status: 200, body: "hello", kept: true},
		{name: "gzip", text: ok + "Content-Encoding: gzip\r\nContent-Length: " + strconv.Itoa(len(gz("hello"))) + "\r\n\r\n" + gz("hello"), status: 200, body: "hello", kept: true},
		{name: "gzip of nothing", text: ok + "Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", status: 200, kept: true},
		{name: "interim", text: "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + ok + "Content-Length: 1\r\n\r\na", status: 200, body: "a", kept: true},
		{name: "until the end", text: ok + "\r\nall of it", status: 200, body: "all of it"},
		{name: "close", text: ok + "Connection: keep-alive, Close\r\nContent-Length: 1\r\n\r\na", status: 200, body: "a"},
		{name: "HTTP/1.0", text: "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", status: 200, body: "a"},
		{name: "no content", text: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, kept: true},
		{name: "HEAD", method: "HEAD", text: ok + "Content-Length: 5000\r\n\r\n", status: 200, kept: true},
		{name: "more than the answer", text: ok + "Content-Length: 1\r\n\r\nabHTTP/1.1 200 OK\r\n\r\n", status: 200, body: "a"},
		{name: "short body", text: ok + "Content-Length: 5\r\n\r\nhell", fails: true},
		{name: "short chunk", text: ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhell", fails: true},
		{name: "no last chunk", text: ok + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", fails: true},
		{name: "chunk without an end", text: ok + "Transfer-Encoding: chunked\r\n\r\n1\r\nabc0\r\n\r\n", fails: true},
		{name: "chunk size", text: ok + "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", fails: true},
		{name: "huge chunk size", text: ok + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", fails: true},
		{name: "length and chunks", text: ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", fails: true},
		{name: "two lengths", text: ok + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", fails: true},
		{name: "signed length", text: ok + "Content-Length: +5\r\n\r\nhello", fails: true},
		{name: "list of lengths", text: ok + "Content-Length: 5, 5\r\n\r\nhello", fails: true},
		{name: "other coding", text: ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", fails: true},
		{name: "folded", text: ok + "A: b\r\n c\r\nContent-Length: 0\r\n\r\n", fails: true},
		{name: "space before colon", text: ok + "Content-Length : 0\r\n\r\n", fails: true},
		{name: "bare line feed", text: "HTTP/1.1 200 OK\nContent-Length: 0\n\n", fails: true},
		{name: "zero byte", text: ok + "A: b\x00\r\n\r\n", fails: true},
		{name: "switched", text: "HTTP/1.1 101 Switching\r\n\r\n", fails: true},
		{name: "status of two digits", text: "HTTP/1.1 20 OK\r\n\r\n", fails: true},
		{name: "other protocol", text: "SSH-2.0-OpenSSH\r\n\r\n", fails: true},
		{name: "version 2", text: "HTTP/2.0 200 OK\r\n\r\n", fails: true},
		{name: "endless header", text: ok + strings.Repeat("A: b\r\n", 20000) + "\r\n", fails: true},
		{name: "endless interim", text: strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100), fails: true},
		{name: "end in the header", text: ok + "A: b", fails: true},
		{name: "nothing", fails: true},
		{name: "too much", text: ok + "Content-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000), fails: true},
		{name: "too much in chunks", text: ok + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("400\r\n"+strings.Repeat("x", 1024)+"\r\n", 100), fails: true},
		{name: "too much inflated", text: ok + "Content-Encoding: gzip\r\n\r\n" + gz(strings.Repeat("x", 100000)), fails: true},
	} {
		for name, r := range map[string]io.Reader{"": strings.NewReader(c.text), " by bytes": iotest.OneByteReader(strings.NewReader(c.text))} {
			t.Run(c.name+name, func(t *testing.T) {
				h, body, kept, err := readOne(r, c.method, 50000)
				if c.fails {
					if err == nil {
						t.Errorf("taken: %+v %.100q", h, body)
					}
					return
				}
				if err != nil || h.status != c.status || string(body) != c.body {
					t.Fatalf("%d %q %v", h.status, body, err)
				}
				// Byte by byte, what follows the answer is still on its way.
				if want := c.kept || name != "" && c.name == "more than the answer"; kept != want {
					t.Errorf("kept: %v", kept)
				}
			})
		}
	}
}

func TestHeaderFields(t *testing.T) {
	h, err := parseHead([]byte("HTTP/1.1 429 Slow\r\nRETRY-after: \t 7 \r\nX-Used: 12\r\nx-used: 13\r\nX-Empty:\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := HTTPResponse{fields: h.fields}
	if r.Header("Retry-After") != "7" || r.Header("X-Used") != "12" || r.Header("X-Empty") != "" || r.Header("Used") != "" {
		t.Errorf("%q", h.fields)
	}
}

// FuzzHTTPAnswer holds the reader to net/http's: whatever is taken here is taken
// there, with the same status and body.
func FuzzHTTPAnswer(f *testing.F) {
	for _, s := range []string{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 429 No\r\nRetry-After: 5\r\nConnection: close\r\n\r\nslow", "HTTP/1.0 304 \r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 29\r\n\r\n" + gz("hello")} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, head bool) {
		method := http.MethodGet
		if head {
			method = http.MethodHead
		}
		h, body, _, err := readOne(bytes.NewReader(text), method, 1<<16)
		if len(body) > 1<<16+4096 {
			t.Fatalf("%d bytes of body", len(body))
		}
		if err != nil {
			return
		}
		br := bufio.NewReader(bytes.NewReader(text))
		for {
			resp, err := http.ReadResponse(br, &http.Request{Method: method})
			if err != nil {
				t.Fatalf("net/http refuses what was taken with status %d: %v", h.status, err)
			}
			if resp.StatusCode < 200 {
				continue
			}
			want, err := readAll(nil, resp.Body, h.gzip, -1, 1<<16, lenders{})
			if err != nil || resp.StatusCode != h.status || !bytes.Equal(want, body) {
				t.Fatalf("status %d, body %q; net/http has %d, %q, %v", h.status, body, resp.StatusCode, want, err)
			}
			return
		}
	})
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		raw, host, target, addr string
		secure                  bool
	}{
		{"https://api.example/v1/a?b=c&d=%20", "api.example", "/v1/a?b=c&d=%20", "api.example:443", true},
		{"http://127.0.0.1:80?x", "127.0.0.1:80", "/?x", "127.0.0.1:80", false},
		{"https://[::1]:8443", "[::1]:8443", "/", "[::1]:8443", true},
		{"https://api.example/v1?symbol=币安USDT", "api.example", "/v1?symbol=%E5%B8%81%E5%AE%89USDT", "api.example:443", true},
		{"https://api.example/a b?c=d#e", "api.example", "/a%20b?c=d", "api.example:443", true},
		{"HTTPS://me@api.example/x", "api.example", "/x", "api.example:443", true},
	} {
		a, err := parseAddress(c.raw)
		if err != nil || a.host != c.host || a.target != c.target || a.secure != c.secure || a.addr() != c.addr {
			t.Errorf("%s: %+v %s %v", c.raw, a, a.addr(), err)
		}
	}
	for _, raw := range []string{"", "ftp://a/b", "https://", "https:///x", "https://:443/", "api.example/x", "https://a/\r\nX: y", "https://a\r\nX: y/", "http://a\x00b/"} {
		if a, err := parseAddress(raw); err == nil {
			t.Errorf("%q was taken: %+v", raw, a)
		}
	}
}
