package conn

import (
	"bufio"
	"compress/gzip"
	"io"

	"github.com/marketprism/marketprism/runtime/pool"
)

// Inflaters is a pool of what inflates answers: windows, tables and a buffer of
// input, 45 KB each. A request leases one while it reads its answer's body.
type Inflaters = pool.Pool[inflater]

const (
	inflaterBytes = 45 << 10
	maxInflaters  = 32 // as many requests are under way in a runtime
)

// NewInflaters makes the pool.
func NewInflaters(o pool.MessageOptions) (*Inflaters, error) {
	return pool.New(pool.Options[inflater]{Name: "inflaters", Reset: (*inflater).reset, Bytes: inflaterBytes, MaxIdle: maxInflaters,
		Sample: o.Sample, Registry: o.Registry, OnFault: o.OnFault})
}

// inflater reads a compressed body. A gzip.Reader makes a buffer for each input
// that it can't read bytes from, so the buffer stands before it.
type inflater struct {
	z   gzip.Reader
	in  bufio.Reader
	raw counting
}

// begin reads the header. The error is io.EOF if there is no body.
func (i *inflater) begin(body io.Reader) error {
	i.raw = counting{r: body}
	i.in.Reset(&i.raw)
	return i.z.Reset(&i.in)
}

// reset lets go of the body, and of what its header said.
func (i *inflater) reset() {
	i.raw = counting{}
	i.in.Reset(nil)
	i.z.Header = gzip.Header{}
}

type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// lenders are where the memory of an answer comes from. The zero value is the
// allocator.
type lenders struct {
	grow      func(dst []byte, n int) []byte // gives the body room for n bytes, with what is in a slice
	inflaters *Inflaters
}

func (l *lenders) more(dst []byte, n int) []byte {
	if l.grow == nil {
		return append(make([]byte, 0, n), dst...)
	}
	return l.grow(dst, n)
}

// inflater is one until lent is returned.
func (l *lenders) inflater() (i *inflater, lent pool.Lease[inflater]) {
	if l.inflaters != nil {
		if lent, err := l.inflaters.Lease(); err == nil {
			return lent.Value(), lent
		}
	}
	return new(inflater), lent
}
