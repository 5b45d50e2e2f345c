// Package capture reads capture files: recordings of one venue's traffic as
// JSON Lines, plain or compressed with zstd. The first line is a header, every
// other line one event: a connection that opened, a frame, an HTTP response.
//
// Order: events come as they stand in the file, which is the order of their
// times. Ownership: what Next returns is valid until the next call. A Reader
// belongs to one goroutine; it holds one line and the decompressor's window in
// memory, however long the file is, and reads no faster than it is asked to.
package capture

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/source"
)

// Format is what the header's format field says.
const Format = "marketprism-capture/1"

// MaxLine bounds one line: a frame of 16 MiB with all its quotes escaped.
const MaxLine = 40 << 20

// Header is the first line.
type Header struct {
	Format string          `json:"format"`
	Venue  string          `json:"venue"`
	Market string          `json:"market"`
	Source json.RawMessage `json:"source,omitempty"`
	Note   string          `json:"note,omitempty"`
}

// Event is one line. Exactly one of Text and Binary is set for kinds that carry
// a payload.
type Event struct {
	T      int64 // ns UTC
	Conn   int   // connection number
	Kind   Kind
	URL    []byte // of Open and HTTP
	Text   []byte // the payload exactly as on the wire
	Binary []byte // the payload of a binary frame, undecompressed
	Line   int    // in the file, from 1
}

// Kind says what an event is.
type Kind string

// The kinds.
const (
	KindOpen  Kind = "open"
	KindSend  Kind = "send"
	KindRecv  Kind = "recv"
	KindHTTP  Kind = "http"
	KindClose Kind = "close"
)

// Input gives the event as a decoder is fed it. Pos is the line number: it
// orders the inputs of one capture.
func (e *Event) Input() source.Input {
	in := source.Input{Kind: source.InputText, Conn: uint32(e.Conn), Recv: e.T, Pos: uint64(e.Line), URL: e.URL, Data: e.Text}
	switch {
	case e.Kind == KindHTTP:
		in.Kind, in.Status, in.Conn = source.InputHTTP, 200, 0 // no connection carries on what a response begins
	case e.Kind == KindOpen:
		in.Kind = source.InputOpen
	case e.Kind == KindClose:
		in.Kind = source.InputClose
	case e.Kind == KindSend:
		in.Kind = source.InputSent
	case e.Binary != nil:
		in.Kind, in.Data = source.InputBinary, e.Binary
	}
	return in
}

// Reader reads one file.
type Reader struct {
	Header Header

	path  string
	file  *os.File
	zr    *zstd.Decoder
	br    *bufio.Reader
	line  int
	buf   []byte // a line longer than br's buffer
	cur   jsonscan.Cursor
	event Event
	bin   []byte
}

// Open opens a file and reads its header. Errors name the file and the line.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("capture: open: %w", err)
	}
	r := &Reader{path: path, file: f, br: bufio.NewReaderSize(f, 64<<10), bin: []byte{}}
	r.cur.MaxBytes = MaxLine
	if err := r.begin(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Reader) begin() error {
	magic, err := r.br.Peek(4)
	if err != nil && len(magic) == 0 {
		return r.errorf("the file is empty")
	}
	if string(magic) == "\x28\xb5\x2f\xfd" {
		if r.zr, err = zstd.NewReader(r.br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20)); err != nil {
			return r.errorf("zstd: %w", err)
		}
		r.br = bufio.NewReaderSize(r.zr, 256<<10)
	}
	line, err := r.readLine()
	if err != nil {
		return r.errorf("header: %w", err)
	}
	if err := json.Unmarshal(line, &r.Header); err != nil {
		return r.errorf("header: %w", err)
	}
	if r.Header.Format != Format {
		return r.errorf("header: format is %q, want %q", r.Header.Format, Format)
	}
	return nil
}

// Close releases the file.
func (r *Reader) Close() error {
	if r.zr != nil {
		r.zr.Close()
	}
	return r.file.Close()
}

func (r *Reader) errorf(format string, args ...any) error {
	return fmt.Errorf("capture: %s:%d: "+format, append([]any{r.path, r.line}, args...)...)
}

// readLine returns the next line without its end.
func (r *Reader) readLine() ([]byte, error) {
	r.line++
	r.buf = r.buf[:0]
	for {
		part, err := r.br.ReadSlice('\n')
		if len(r.buf)+len(part) > MaxLine {
			return nil, fmt.Errorf("the line is longer than %d bytes", MaxLine)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			r.buf = append(r.buf, part...)
			continue
		case err != nil && (err != io.EOF || len(part)+len(r.buf) == 0):
			return nil, err
		}
		if len(r.buf) > 0 {
			r.buf = append(r.buf, part...)
			part = r.buf
		}
		if n := len(part); n > 0 && part[n-1] == '\n' {
			part = part[:n-1]
		}
		return part, nil
	}
}

// Next reads the next event; io.EOF after the last one.
func (r *Reader) Next() (*Event, error) {
	line, err := r.readLine()
	if err == io.EOF {
		return nil, io.EOF
	}
	if err != nil {
		return nil, r.errorf("%w", err)
	}
	e := &r.event
	*e = Event{Line: r.line}
	c := &r.cur
	c.Reset(line)
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "t":
			e.T = c.Int64()
		case "c":
			e.Conn = int(c.Int64())
		case "k":
			e.Kind = kindOf(c.Str())
		case "u":
			e.URL = c.Str()
		case "d":
			e.Text = c.Str()
		case "b":
			if r.bin, err = base64.StdEncoding.AppendDecode(r.bin[:0], c.Str()); err != nil {
				return nil, r.errorf("b: %w", err)
			}
			e.Binary = r.bin
		}
	}
	if err := c.End(); err != nil {
		return nil, r.errorf("%w", err)
	}
	if e.Kind == "" {
		return nil, r.errorf("k is none of open, send, recv, http, close")
	}
	return e, nil
}

func kindOf(b []byte) Kind {
	switch string(b) {
	case "recv":
		return KindRecv
	case "send":
		return KindSend
	case "http":
		return KindHTTP
	case "open":
		return KindOpen
	case "close":
		return KindClose
	}
	return ""
}

// All goes through the events that are left; it ends after an error, which is
// never io.EOF.
func (r *Reader) All() iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		for {
			e, err := r.Next()
			if err == io.EOF || !yield(e, err) || err != nil {
				return
			}
		}
	}
}
