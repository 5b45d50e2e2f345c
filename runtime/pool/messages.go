package pool

import (
	"errors"
	"time"
	"unsafe"

	"github.com/marketprism/marketprism/sdk/market"
)

// Messages are the pools for what passes through the runtime.
type Messages struct {
	Frames  *Slices[byte]      // frames and bodies as they are read
	Books   *Pool[market.Book] // decoded book messages with their levels
	Batches *Pool[Batch]       // runs of encoded records
}

// MessageOptions of the message pools. The zero value is what the runtime uses.
type MessageOptions struct {
	Registry     *Registry
	MaxIdleBytes int // of each pool and size class; 16 MiB if 0
	Sample       int // as in Options
	OnFault      func(*Fault)
}

// The bounds of the classes, and of an object that is kept.
const (
	minFrame = 4 << 10
	maxFrame = 16 << 20
	maxBook  = 1 << 20
	maxBatch = 4 << 20
)

// NewMessages makes the pools.
func NewMessages(o MessageOptions) (*Messages, error) {
	if o.MaxIdleBytes == 0 {
		o.MaxIdleBytes = 16 << 20
	}
	m := new(Messages)
	var errs [3]error
	m.Frames, errs[0] = NewSlices[byte](SliceOptions{Name: "frames", Min: minFrame, Max: maxFrame,
		MaxIdleBytes: o.MaxIdleBytes, Sample: o.Sample, Registry: o.Registry, OnFault: o.OnFault})
	m.Books, errs[1] = New(Options[market.Book]{Name: "books", Recycle: RecycleBook, Raw: rawBook,
		MaxIdleBytes: o.MaxIdleBytes, MaxObjectBytes: min(maxBook, o.MaxIdleBytes), Sample: o.Sample, Registry: o.Registry, OnFault: o.OnFault})
	m.Batches, errs[2] = New(Options[Batch]{Name: "batches", Recycle: (*Batch).recycle, Raw: (*Batch).raw,
		MaxIdleBytes: o.MaxIdleBytes, MaxObjectBytes: min(maxBatch, o.MaxIdleBytes), Sample: o.Sample, Registry: o.Registry, OnFault: o.OnFault})
	if err := errors.Join(errs[:]...); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// Trim trims all; a registry does it for those that it lists.
func (m *Messages) Trim(now time.Time) int {
	return m.Frames.Trim(now) + m.Books.Trim(now) + m.Batches.Trim(now)
}

// Close closes all.
func (m *Messages) Close() error {
	var errs []error
	if m.Frames != nil {
		errs = append(errs, m.Frames.Close())
	}
	if m.Books != nil {
		errs = append(errs, m.Books.Close())
	}
	if m.Batches != nil {
		errs = append(errs, m.Batches.Close())
	}
	return errors.Join(errs...)
}

// RecycleBook empties a book message and keeps the room of its levels, whose
// size it gives. It touches no pointer: while a collection marks, storing one
// costs more than all the rest.
func RecycleBook(b *market.Book) int {
	b.Header = market.Header{}
	b.Bids, b.Asks = b.Bids[:0], b.Asks[:0]
	b.Depth, b.FirstSeq, b.Checksum = 0, 0, 0
	return int(unsafe.Sizeof(*b)) + (cap(b.Bids)+cap(b.Asks))*levelBytes
}

const levelBytes = int(unsafe.Sizeof(market.Level{}))

func rawBook(b *market.Book) [][]byte { return [][]byte{raw(b.Bids), raw(b.Asks)} }

// Batch is a run of encoded records in one buffer.
type Batch struct {
	Buf  []byte
	ends []int
}

// Record is what AppendTo encodes: any record of package market.
type Record interface{ AppendTo([]byte) []byte }

// Append encodes a record behind the others.
func (b *Batch) Append(r Record) {
	b.Buf = r.AppendTo(b.Buf)
	b.ends = append(b.ends, len(b.Buf))
}

// AppendView copies an encoded record behind the others.
func (b *Batch) AppendView(v market.View) {
	b.Buf = append(b.Buf, v...)
	b.ends = append(b.ends, len(b.Buf))
}

// Len is the number of records.
func (b *Batch) Len() int { return len(b.ends) }

// At is record i, valid until the batch is reset or returned.
func (b *Batch) At(i int) market.View {
	from := 0
	if i > 0 {
		from = b.ends[i-1]
	}
	return market.View(b.Buf[from:b.ends[i]:b.ends[i]])
}

// Reset empties the batch and keeps its room.
func (b *Batch) Reset() { b.Buf, b.ends = b.Buf[:0], b.ends[:0] }

func (b *Batch) recycle() int {
	b.Reset()
	return cap(b.Buf) + cap(b.ends)*int(unsafe.Sizeof(int(0)))
}

func (b *Batch) raw() [][]byte { return [][]byte{raw(b.Buf), raw(b.ends)} }
