package book

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/sdk/market"
)

// ErrState is what Restore's errors wrap: the bytes are no state of such a book.
var ErrState = errors.New("book: malformed state")

// A state is a head of fixed size, the levels as book_snapshot records of up to
// statePiece levels a side, and the deltas held, as they were.
const (
	stateMagic = 0x3142504d // "MPB1": the layout's version is its last letter
	stateHead  = 152
	statePiece = 1024
)

var le = binary.LittleEndian

// rulePrint tells states of books that were kept by another rule.
func (b *Book) rulePrint() uint64 {
	h := fnv.New64a()
	r := &b.rule
	fmt.Fprint(h, r.Sequence.Kind, "|", r.Sequence.Start, "|", r.Sequence.Scope, "|", r.Checksum.Kind, "|", r.Checksum.Levels, "|",
		r.Snapshot, "|", r.Recovery, "|", r.CutToDepth)
	return h.Sum64()
}

// counts are the statistics in the order of the layout.
func (s *Stats) counts() [9]*int64 {
	return [...]*int64{&s.Snapshots, &s.Applied, &s.Stale, &s.Unsynced, &s.LevelChanges, &s.Gaps, &s.ChecksumsOK, &s.ChecksumsBad,
		&s.Crossed}
}

func (b *Book) bools() []*bool {
	return []*bool{&b.inForce, &b.starting, &b.broken, &b.asked, &b.prec.Known, &b.apart}
}

// AppendState appends a checkpoint: a book that restores it does with the records
// that follow what this one does.
func (b *Book) AppendState(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, stateHead)...)
	h := dst[start:]
	le.PutUint32(h, stateMagic)
	for i, p := range b.bools() {
		if *p {
			h[4] |= 1 << i
		}
	}
	h[5], h[6], h[7] = b.scale, b.prec.Price, b.prec.Amount
	le.PutUint64(h[8:], b.rulePrint())
	for i, n := range [...]int64{b.seq, b.snap, b.lost, int64(b.depth), int64(b.staleRun), int64(b.held.n)} {
		le.PutUint64(h[16+8*i:], uint64(n))
	}
	for i, n := range b.stats.counts() {
		le.PutUint64(h[64+8*i:], uint64(*n))
	}
	levels := len(dst)
	bids, asks := cursor{s: &b.bids}, cursor{s: &b.asks}
	var piece *market.Book
	if l := b.lend(); l.Valid() {
		defer l.Return()
		piece = l.Value()
	} else {
		piece = new(market.Book)
	}
	for {
		piece.Bids = b.piece(piece.Bids[:0], &bids, true)
		piece.Asks = b.piece(piece.Asks[:0], &asks, false)
		if len(piece.Bids)+len(piece.Asks) == 0 {
			break
		}
		piece.Kind = market.KindBookSnapshot
		dst = piece.AppendTo(dst)
	}
	le.PutUint64(dst[start+136:], uint64(len(dst)-levels))
	le.PutUint64(dst[start+144:], uint64(len(b.held.buf)-b.held.head))
	return append(dst, b.held.buf[b.held.head:]...)
}

// lend leases a book message, if it can.
func (b *Book) lend() (l pool.Lease[market.Book]) {
	if b.opts.Books != nil {
		l, _ = b.opts.Books.Lease() // an error, after Close say, leaves none: the allocator makes one
	}
	return l
}

func (b *Book) piece(dst []market.Level, c *cursor, negate bool) []market.Level {
	for len(dst) < statePiece {
		l, j, ok := c.next()
		if !ok {
			break
		}
		dst = append(dst, market.Level{Price: b.price(l.key[j], l.places[j], negate), Amount: l.amount[j]})
	}
	return dst
}

// Restore replaces the book by a state that AppendState made under the same rule.
// The bytes may come from anywhere; an error leaves the book as it was.
func (b *Book) Restore(state []byte) error {
	r := New(b.rule, b.opts)
	if err := r.restore(state); err != nil {
		r.Close()
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	b.Close()
	*b = *r
	b.bids.free, b.asks.free = &b.free, &b.free
	return nil
}

func (b *Book) restore(s []byte) error {
	if len(s) < stateHead || le.Uint32(s) != stateMagic {
		return fmt.Errorf("%d bytes that don't start with this layout's mark", len(s))
	}
	if got, want := le.Uint64(s[8:]), b.rulePrint(); got != want {
		return fmt.Errorf("it was made under rule %016x, the book's is %016x: synchronise anew", got, want)
	}
	bools := b.bools()
	for i, p := range bools {
		*p = s[4]&(1<<i) != 0
	}
	b.scale, b.prec.Price, b.prec.Amount = s[5], s[6], s[7]
	var n [6]int64
	for i := range n {
		n[i] = int64(le.Uint64(s[16+8*i:]))
	}
	b.seq, b.snap, b.lost = n[0], n[1], n[2]
	if s[4]>>len(bools) != 0 || b.scale > market.MaxScale || n[3] < 0 || n[3] > 1<<31-1 || n[4] < 0 || n[4] > maxStaleRun+1 {
		return fmt.Errorf("flags %#x, scale %d, depth %d or stale run %d is out of bounds", s[4], b.scale, n[3], n[4])
	}
	b.depth, b.staleRun = int(n[3]), int(n[4])
	for i, p := range b.stats.counts() {
		*p = int64(le.Uint64(s[64+8*i:]))
	}
	levels, heldSize := le.Uint64(s[136:]), le.Uint64(s[144:])
	body := s[stateHead:]
	if levels > uint64(len(body)) || heldSize != uint64(len(body))-levels {
		return fmt.Errorf("%d bytes of levels and %d of deltas held don't make %d", levels, heldSize, len(body))
	}
	if err := b.restoreLevels(body[:levels]); err != nil {
		return err
	}
	return b.restoreHeld(body[levels:], n[5])
}

func (b *Book) restoreLevels(body []byte) error {
	if len(body) > 0 && !b.inForce {
		return errors.New("a void book has levels")
	}
	for len(body) > 0 {
		v, err := market.Validate(body)
		if err != nil {
			return err
		}
		if v.Kind() != market.KindBookSnapshot {
			return fmt.Errorf("a %s stands among the levels", v.Kind())
		}
		if err := b.restoreSide(&b.bids, v.Bids(), true); err != nil {
			return err
		}
		if err := b.restoreSide(&b.asks, v.Asks(), false); err != nil {
			return err
		}
		body = body[v.Size():]
	}
	return nil
}

func (b *Book) restoreSide(s *side, ls market.Levels, negate bool) error {
	for i := range ls.Len() {
		l := ls.At(i)
		key, ok := exact(l.Price, b.scale)
		if !ok {
			return fmt.Errorf("price %s doesn't fit scale %d", l.Price, b.scale)
		}
		if negate {
			key = -key
		}
		if e := len(s.leaf) - 1; e >= 0 && s.leaf[e].key[s.leaf[e].n-1] >= key || l.Amount.Sign() <= 0 || s.n >= b.opts.MaxLevels {
			return fmt.Errorf("level %s × %s is out of order, empty or too many", l.Price, l.Amount)
		}
		s.push(key, l.Price.Scale(), l.Amount)
	}
	return nil
}

func (b *Book) restoreHeld(body []byte, n int64) error {
	if len(body) > 0 && (b.inForce || !b.holds()) {
		return errors.New("deltas are held where none can be")
	}
	if len(body) > 0 {
		b.held.lease(&b.opts)
	}
	for rest := body; len(rest) > 0; n-- {
		v, err := market.Validate(rest)
		if err != nil {
			return err
		}
		if v.Kind() != market.KindBookDelta || v.Flags()&(market.FlagsRuntime|market.FlagReset|market.FlagEnd) != 0 {
			return fmt.Errorf("a %s with flags %#x is held", v.Kind(), v.Flags())
		}
		b.held.n++
		rest = rest[v.Size():]
	}
	if n != 0 {
		return errors.New("the number of deltas held is wrong")
	}
	b.held.buf = append(b.held.buf, body...)
	return nil
}
