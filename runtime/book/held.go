package book

import "github.com/marketprism/marketprism/sdk/market"

// keepBytes is the buffer that an empty queue keeps: most books hold deltas once,
// at their start.
const keepBytes = 16 << 10

// held are copies of the deltas that wait for a snapshot, oldest first.
type held struct {
	buf  []byte
	head int // of the first record in buf
	n    int
}

func (h *held) fits(v market.View, o *Options) bool {
	return h.n < o.HeldRecords && len(h.buf)-h.head+v.Size() <= o.HeldBytes
}

func (h *held) push(v market.View) {
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
		h.head, h.buf = 0, h.buf[:0]
		if cap(h.buf) > keepBytes {
			h.buf = nil
		}
	}
}
