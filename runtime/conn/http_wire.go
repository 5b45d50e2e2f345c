package conn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Bounds of an HTTP/1.1 response.
const (
	maxHead      = 64 << 10 // status line and header
	maxFields    = 256
	maxInterim   = 8   // responses 1xx before the answer
	maxChunkLine = 256 // a chunk's size with its extension
)

var (
	errShape = errors.New("not an HTTP/1.1 response")
	// errStale is a kept connection that ended before the response began: the
	// server closed it while it was idle, and has not seen the request.
	errStale = errors.New("the server closed an idle connection")
)

// head is a response's status line and header.
type head struct {
	status int
	length int64 // -1: not said
	chunks bool
	gzip   bool
	close  bool // the connection ends with this response
	fields []byte
}

// parseHead reads a block that ends in an empty line. It takes what RFC 9112
// calls valid and nothing else: a lenient reader and a strict server disagree
// about where a response ends.
func parseHead(b []byte) (h head, err error) {
	line, rest, ok := bytes.Cut(b, crlf)
	if !ok || len(line) < 12 || string(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return h, fmt.Errorf("status line %.40q: %w", line, errShape)
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return h, fmt.Errorf("status line %.40q: %w", line, errShape)
		}
		h.status = 10*h.status + int(c-'0')
	}
	if h.status < 100 || !printable(line) {
		return h, fmt.Errorf("status line %.40q: %w", line, errShape)
	}
	h.length, h.fields = -1, rest
	h.close = line[7] == '0'
	for n := 0; ; n++ {
		line, rest, ok = bytes.Cut(rest, crlf)
		if !ok || n > maxFields {
			return h, fmt.Errorf("header without an end: %w", errShape)
		}
		if len(line) == 0 {
			if h.chunks && h.length >= 0 {
				return h, fmt.Errorf("two lengths: %w", errShape)
			}
			return h, nil
		}
		name, value, ok := bytes.Cut(line, colon)
		if !ok || !token(name) || !printable(value) {
			return h, fmt.Errorf("header field %.40q: %w", line, errShape)
		}
		value = bytes.Trim(value, " \t")
		switch {
		case fold(name, "content-length"):
			v, ok := decimal(value)
			if !ok || h.length >= 0 && h.length != v {
				return h, fmt.Errorf("content-length %.40q: %w", value, errShape)
			}
			h.length = v
		case fold(name, "transfer-encoding"):
			if h.chunks || !fold(value, "chunked") {
				return h, fmt.Errorf("transfer-encoding %.40q: %w", value, errShape)
			}
			h.chunks = true
		case fold(name, "content-encoding"):
			h.gzip = fold(value, "gzip") || fold(value, "x-gzip")
		case fold(name, "connection"):
			for part := range bytes.SplitSeq(value, comma) {
				h.close = h.close || fold(bytes.Trim(part, " \t"), "close")
			}
		}
	}
}

var crlf, colon, comma, blank = []byte("\r\n"), []byte(":"), []byte(","), []byte("\r\n\r\n")

// field finds a header's value; name is in lower case.
func field(fields []byte, name string) []byte {
	for len(fields) > 0 {
		line, rest, _ := bytes.Cut(fields, crlf)
		if n, v, ok := bytes.Cut(line, colon); ok && fold(n, name) {
			return bytes.Trim(v, " \t")
		}
		fields = rest
	}
	return nil
}

// fold compares with a word in lower case.
func fold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func token[T string | []byte](name T) bool {
	for _, c := range []byte(name) {
		if !tokens[c] {
			return false
		}
	}
	return len(name) > 0
}

var tokens = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()

// printable refuses control characters, a bare CR or LF among them.
func printable[T string | []byte](v T) bool {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func decimal(b []byte) (v int64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = 10*v + int64(c-'0')
	}
	return v, len(b) > 0 && len(b) <= 18
}

// wire is an HTTP/1.1 connection. One request at a time owns it, in the
// goroutine that makes the request: it writes, reads, and hands it back.
type wire struct {
	c      net.Conn
	in     []byte // what was read; in[lo:hi] is not used yet
	lo, hi int
	out    []byte
	served uint64 // requests
	idle   time.Time

	chunk   int64 // of a body in chunks: what is left of this one; -1: all read
	left    int64 // of a body with a length; -1: until the connection ends
	chunked bool

	mu   sync.Mutex
	done <-chan struct{} // of the context that is watched
	stop func() bool
	busy bool
}

func newWire(c net.Conn) *wire { return &wire{c: c, in: make([]byte, 4096)} }

// begin lends the connection to a request until end. A watch costs an
// allocation, so it is kept for the next request of the same context.
func (w *wire) begin(ctx context.Context, deadline time.Time) error {
	done := ctx.Done()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done != done {
		if w.stop != nil {
			w.stop()
			w.stop = nil
		}
		if w.done = done; done != nil {
			w.stop = context.AfterFunc(ctx, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				if w.busy && w.done == done {
					w.c.SetDeadline(time.Unix(1, 0))
				}
			})
		}
	}
	w.busy = true
	if err := ctx.Err(); err != nil {
		w.busy = false
		return err
	}
	return w.c.SetDeadline(deadline)
}

func (w *wire) end(now time.Time) {
	w.mu.Lock()
	w.busy = false
	w.mu.Unlock()
	w.idle = now
	if len(w.in) > 16<<10 {
		w.in = make([]byte, 4096)
	}
}

func (w *wire) close() {
	w.mu.Lock()
	if w.busy, w.done = false, nil; w.stop != nil {
		w.stop()
		w.stop = nil
	}
	w.mu.Unlock()
	w.c.Close()
}

// render writes the request into w.out.
func (w *wire) render(q *HTTPRequest, host, target string) {
	b := append(append(append(w.out[:0], q.method()...), ' '), target...)
	b = append(append(append(b, " HTTP/1.1\r\nHost: "...), host...), "\r\nAccept-Encoding: gzip\r\n"...)
	agent := false
	for k, v := range q.Header {
		agent = agent || strings.EqualFold(k, "User-Agent")
		b = append(append(append(append(b, k...), ": "...), v...), crlf...)
	}
	if !agent {
		b = append(b, "User-Agent: "+userAgent+"\r\n"...)
	}
	if q.Body != "" || q.method() != http.MethodGet && q.method() != http.MethodHead {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", len(q.Body))
	}
	w.out = append(append(b, crlf...), q.Body...)
}

// fill reads more behind in[hi].
func (w *wire) fill() error {
	if w.lo == w.hi {
		w.lo, w.hi = 0, 0
	}
	if w.hi == len(w.in) {
		if w.lo > 0 {
			w.hi = copy(w.in, w.in[w.lo:w.hi])
			w.lo = 0
		} else {
			w.in = append(w.in, make([]byte, len(w.in))...)
		}
	}
	for range 100 {
		n, err := w.c.Read(w.in[w.hi:])
		w.hi += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// readHead reads the answer's head; interim responses are passed over. The
// fields are a piece of the buffer and valid until the body is read.
func (w *wire) readHead() (head, error) {
	began := false
	for range maxInterim {
		end, searched := 0, 0 // from lo, which fill may move
		for {
			if i := bytes.Index(w.in[w.lo+searched:w.hi], blank); i >= 0 {
				end = w.lo + searched + i + len(blank)
				break
			}
			if w.hi-w.lo > maxHead {
				return head{}, fmt.Errorf("header of more than %d bytes: %w", maxHead, errTooLarge)
			}
			searched = max(w.hi-w.lo-len(blank)+1, 0)
			if err := w.fill(); err != nil {
				if w.lo == w.hi && !began && w.served > 0 && !timeout(err) {
					return head{}, fmt.Errorf("%w: %w", errStale, err)
				}
				return head{}, truncated(err)
			}
		}
		h, err := parseHead(w.in[w.lo:end])
		if err != nil {
			return h, err
		}
		w.lo = end
		switch {
		case h.status == http.StatusSwitchingProtocols:
			return h, fmt.Errorf("HTTP 101 without being asked: %w", errShape)
		case h.status >= 200:
			return h, nil
		}
		began = true
	}
	return head{}, fmt.Errorf("more than %d interim responses: %w", maxInterim, errShape)
}

func timeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func truncated(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// body sets up reading of the body that h announces.
func (w *wire) body(h *head, method string) {
	w.chunked, w.chunk, w.left = false, 0, -1
	switch {
	case method == http.MethodHead || h.status == http.StatusNoContent || h.status == http.StatusNotModified:
		w.left = 0
	case h.chunks:
		w.chunked = true
	case h.length >= 0:
		w.left = h.length
	default:
		h.close = true // it ends with the connection
	}
}

// Read reads the body, and io.EOF where it ends.
func (w *wire) Read(p []byte) (int, error) {
	if w.chunked {
		if w.chunk == 0 {
			if err := w.nextChunk(); err != nil {
				return 0, truncated(err)
			}
		}
		if w.chunk < 0 {
			return 0, io.EOF
		}
		n, err := w.some(p[:min(int64(len(p)), w.chunk)])
		if w.chunk -= int64(n); w.chunk == 0 && err == nil {
			err = w.line(crlf)
		}
		return n, truncated(err)
	}
	if w.left == 0 {
		return 0, io.EOF
	}
	if w.left < 0 {
		return w.some(p)
	}
	n, err := w.some(p[:min(int64(len(p)), w.left)])
	w.left -= int64(n)
	return n, truncated(err)
}

// spent says that the body was read to its end and that nothing follows it.
func (w *wire) spent() bool {
	return w.lo == w.hi && (w.chunked && w.chunk < 0 || !w.chunked && w.left == 0)
}

// some reads what is there, from the buffer or straight from the connection.
func (w *wire) some(p []byte) (int, error) {
	if w.lo < w.hi {
		n := copy(p, w.in[w.lo:w.hi])
		w.lo += n
		return n, nil
	}
	if len(p) >= len(w.in) {
		return w.c.Read(p)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if err := w.fill(); err != nil {
		return 0, err
	}
	return w.some(p)
}

// line consumes want.
func (w *wire) line(want []byte) error {
	for w.hi-w.lo < len(want) {
		if err := w.fill(); err != nil {
			return truncated(err)
		}
	}
	if !bytes.Equal(w.in[w.lo:w.lo+len(want)], want) {
		return fmt.Errorf("chunk without an end: %w", errShape)
	}
	w.lo += len(want)
	return nil
}

// nextLine consumes a line of at most limit bytes and returns it; it is valid until the next read.
func (w *wire) nextLine(limit int) ([]byte, error) {
	for {
		if i := bytes.Index(w.in[w.lo:w.hi], crlf); i >= 0 {
			l := w.in[w.lo : w.lo+i]
			w.lo += i + 2
			return l, nil
		}
		if w.hi-w.lo > limit {
			return nil, fmt.Errorf("line of more than %d bytes: %w", limit, errShape)
		}
		if err := w.fill(); err != nil {
			return nil, truncated(err)
		}
	}
}

// nextChunk reads a chunk's size; after the last it reads the trailer, which is dropped.
func (w *wire) nextChunk() error {
	l, err := w.nextLine(maxChunkLine)
	if err != nil {
		return err
	}
	size, ext, _ := bytes.Cut(l, []byte(";"))
	size = bytes.TrimRight(size, " \t")
	if len(size) == 0 || len(size) > 15 || !printable(ext) {
		return fmt.Errorf("chunk size %.40q: %w", l, errShape)
	}
	n := int64(0)
	for _, c := range size {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return fmt.Errorf("chunk size %.40q: %w", l, errShape)
		}
		n = n<<4 | int64(c)
	}
	if w.chunk = n; n > 0 {
		return nil
	}
	w.chunk = -1
	for range maxFields {
		l, err := w.nextLine(maxHead)
		if err != nil {
			return err
		}
		if len(l) == 0 {
			return nil
		}
	}
	return fmt.Errorf("trailer without an end: %w", errShape)
}

// readAll appends a body to dst, inflated where gz says so, within limit bytes
// and a sane ratio. size is what is expected, -1 if nothing is known.
func readAll(dst []byte, body io.Reader, gz bool, size int64, limit int, from lenders) ([]byte, error) {
	var raw *int64 // bytes that were inflated
	if gz {
		z, lent := from.inflater()
		defer lent.Return()
		if err := z.begin(body); err != nil {
			if errors.Is(err, io.EOF) && z.raw.n == 0 {
				return dst, nil
			}
			return dst, err
		}
		body, size, raw = &z.z, -1, &z.raw.n
	}
	if size > int64(limit) {
		return dst, fmt.Errorf("body of more than %d bytes: %w", limit, errTooLarge)
	}
	start := len(dst)
	if want := start + int(max(size, 511)) + 1; cap(dst) < want { // one more, so that the end is seen without growth
		dst = from.more(dst, want)
	}
	for {
		if len(dst) == cap(dst) {
			dst = from.more(dst, len(dst)+len(dst)/2+512)
		}
		n, err := body.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch got := len(dst) - start; {
		case got > limit:
			return dst, fmt.Errorf("body of more than %d bytes: %w", limit, errTooLarge)
		case gz && bomb(got, *raw):
			return dst, fmt.Errorf("%d bytes inflate to %d: %w", *raw, got, errTooLarge)
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, err
		}
	}
}

func bomb(inflated int, compressed int64) bool {
	return inflated > ratioFloor && int64(inflated) > maxRatio*compressed
}
