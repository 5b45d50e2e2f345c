package process

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/marketprism/marketprism/runtime/book"
	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/sdk/market"
)

// BookSnapshot publishes the top levels of each synchronised book on an
// interval, aligned to the clock of the journal. A book that is void, or that
// did not change since its last snapshot, gives none.
type BookSnapshot struct {
	every int64
	depth int
	pick  func(*market.Instrument) bool
	out   flow.Output

	last int64                          // interval of the last tick
	seen map[market.InstrumentID]uint64 // version of each book at its last snapshot
	rec  market.Book
	buf  []byte
}

// NewBookSnapshot makes the processor. every is at least 100 ms; depth counts
// levels a side; pick selects instruments (nil: all).
func NewBookSnapshot(every time.Duration, depth int, pick func(*market.Instrument) bool, j flow.Journal) *BookSnapshot {
	return &BookSnapshot{every: int64(max(every, 100*time.Millisecond)), depth: depth, pick: pick, seen: map[market.InstrumentID]uint64{}, out: flow.Output{Journal: j}}
}

// Output is the processor's way to its journal.
func (p *BookSnapshot) Output() *flow.Output { return &p.out }

// Tick implements flow.Processor.
func (p *BookSnapshot) Tick(now int64, l *flow.Lane) error {
	at := now / p.every
	if at == p.last {
		return nil
	}
	p.last = at
	l.Books(func(i *market.Instrument, b *book.Book, version uint64, h market.Header) {
		if version == p.seen[i.ID] || !b.Synced() || p.pick != nil && !p.pick(i) {
			return
		}
		p.seen[i.ID] = version
		h.Kind, h.Seq, h.Flags = market.KindBookSnapshot, b.Seq(), market.FlagApplied
		p.rec.Header = h
		p.rec.Bids = b.Top(book.Bids, p.depth, p.rec.Bids[:0])
		p.rec.Asks = b.Top(book.Asks, p.depth, p.rec.Asks[:0])
		p.rec.Depth, p.rec.FirstSeq, p.rec.Checksum = int64(p.depth), market.None, market.None
		p.buf = p.rec.AppendTo(p.buf[:0])
		p.out.EmitOf(i, market.View(p.buf))
	})
	return p.out.Err
}

// State implements flow.Processor.
func (p *BookSnapshot) State() []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(p.last))
	b = binary.LittleEndian.AppendUint64(b, p.out.Position())
	for _, id := range slices.Sorted(maps.Keys(p.seen)) {
		b = binary.LittleEndian.AppendUint64(b, uint64(id))
		b = binary.LittleEndian.AppendUint64(b, p.seen[id])
	}
	return b
}

// Restore implements flow.Processor.
func (p *BookSnapshot) Restore(b []byte) (uint64, error) {
	if len(b) < 16 || len(b)%16 != 0 {
		return 0, fmt.Errorf("process: book_snapshot state of %d bytes", len(b))
	}
	at := binary.LittleEndian.Uint64(b[8:])
	p.last = int64(binary.LittleEndian.Uint64(b))
	for b = b[16:]; len(b) > 0; b = b[16:] {
		p.seen[market.InstrumentID(binary.LittleEndian.Uint64(b))] = binary.LittleEndian.Uint64(b[8:])
	}
	return at, nil
}
