package book

import (
	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/sdk/market"
)

// keepBytes is the buffer that an empty queue of its own memory keeps: most books
// hold deltas once, at their start.
const keepBytes = 16 << 10

// held are copies of the deltas that wait for a snapshot, oldest first.
type held struct {
	buf  []byte
	head int // of the first record in buf
	n    int
	lent pool.Lease[pool.Batch] // that buf is of, while there are deltas
}

// lease borrows memory for an empty queue, if it can.
func (h *held) lease(o *Options) {
	if o.Batches == nil || h.lent.Valid() {
		return
	}
	if l, err := o.Batches.Lease(); err == nil {
		h.lent, h.buf = l, l.Value().Buf[:0]
	}
}

// clear drops what is held, and gives back what was borrowed.
func (h *held) clear() {
	h.head, h.n, h.buf = 0, 0, h.buf[:0]
	if b := h.lent.Value(); b != nil {
		b.Buf, h.buf = h.buf, nil
		h.lent.Return()
		h.lent = pool.Lease[pool.Batch]{}
	} else if cap(h.buf) > keepBytes {
		h.buf = nil
	}
}

func (h *held) fits(v market.View, o *Options) bool {
	return h.n < o.HeldRecords && len(h.buf)-h.head+v.Size() <= o.HeldBytes
}

func (h *held) push(v market.View, o *Options) {
	if h.n == 0 {
		h.lease(o)
	}
	if h.head > 0 && len(h.buf)+v.Size() > cap(h.buf) {
		h.buf = h.buf[:copy(h.buf, h.buf[h.head:])]
		h.head = 0
	}
	h.buf = append(h.buf, v[:v.Size()]...)
	h.n++
}

// front is the oldest, valid until the next push or pop.
func (h *held) front() market.View {
	v := market.View(h.buf[h.head:])
	n := v.Size()
	return v[:n:n]
}

func (h *held) pop() {
	h.head += h.front().Size()
	if h.n--; h.n == 0 {
		h.clear()
	}
}
