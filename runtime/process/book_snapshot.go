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
// did not change since its last snapshot, gives none. What a tick needs is leased
// for it: between ticks a processor holds no levels.
type BookSnapshot struct {
	every int64
	depth int
	pick  func(*market.Instrument) bool
	out   flow.Output

	last int64                          // interval of the last tick
	seen map[market.InstrumentID]uint64 // version of each book at its last snapshot
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
	lent, err := l.Messages().Books.Lease()
	if err != nil {
		return err
	}
	defer lent.Return()
	run, err := l.Messages().Batches.Lease()
	if err != nil {
		return err
	}
	defer run.Return()
	rec, batch := lent.Value(), run.Value()
	l.Books(func(i *market.Instrument, b *book.Book, version uint64, h market.Header) {
		if version == p.seen[i.ID] || !b.Synced() || p.pick != nil && !p.pick(i) {
			return
		}
		p.seen[i.ID] = version
		h.Kind, h.Seq, h.Flags = market.KindBookSnapshot, b.Seq(), market.FlagApplied
		rec.Header = h
		rec.Bids = b.Top(book.Bids, p.depth, rec.Bids[:0])
		rec.Asks = b.Top(book.Asks, p.depth, rec.Asks[:0])
		rec.Depth, rec.FirstSeq, rec.Checksum = int64(p.depth), market.None, market.None
		batch.Reset()
		batch.Append(rec)
		p.out.EmitOf(i, batch.At(0))
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
