package book_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/marketprism/marketprism/runtime/book"
	"github.com/marketprism/marketprism/sdk/market"
)

// states are checkpoints of books in all conditions.
func states(t testing.TB) [][]byte {
	synced := book.New(binanceSpot, book.Options{})
	snap := ladder(1500)
	setSeq(snap, 100)
	synced.Apply(snap, func(market.View) {})
	waiting := book.New(binanceSpot, book.Options{})
	waiting.SetPrecision(market.Precision{Known: true, Price: 1, Amount: 8})
	for i := range int64(3) {
		d := newBook(market.KindBookDelta)
		d.FirstSeq, d.Seq = i, i
		d.Bids = []market.Level{level(t, "1.50", "910458645843700000000000.00000000")}
		waiting.Apply(d.AppendTo(nil), func(market.View) {})
	}
	return [][]byte{book.New(binanceSpot, book.Options{}).AppendState(nil), synced.AppendState(nil), waiting.AppendState(nil)}
}

func TestRestoreRefuses(t *testing.T) {
	for n, s := range states(t) {
		b := book.New(binanceSpot, book.Options{})
		if err := b.Restore(s); err != nil {
			t.Fatal(err)
		}
		if err := book.New(binanceFutures, book.Options{}).Restore(s); !errors.Is(err, book.ErrState) {
			t.Errorf("state %d: another rule took it: %v", n, err)
		}
		if err := b.Restore(append(s[:len(s):len(s)], 0)); !errors.Is(err, book.ErrState) {
			t.Errorf("state %d: one byte more: %v", n, err)
		}
		for cut := 0; cut < len(s); cut += max(1, len(s)/500) {
			if err := b.Restore(s[:cut]); !errors.Is(err, book.ErrState) {
				t.Fatalf("state %d cut to %d: %v", n, cut, err)
			}
		}
		if string(b.AppendState(nil)) != string(s) {
			t.Errorf("state %d: refused states changed the book", n)
		}
	}
}

// FuzzRestore: foreign bytes are refused, or give a book that works and whose own
// state is stable.
func FuzzRestore(f *testing.F) {
	for _, s := range states(f) {
		if len(s) < 4096 {
			f.Add(s)
		}
	}
	small := book.New(binanceSpot, book.Options{})
	small.Apply(ladder(3), func(market.View) {})
	f.Add(small.AppendState(nil))
	f.Fuzz(func(t *testing.T, s []byte) {
		if len(s) >= 16 { // the rule's mark is right, or nothing behind it would be tried
			s = append([]byte(nil), s...)
			copy(s[8:16], small.AppendState(nil)[8:16])
		}
		b := book.New(binanceSpot, book.Options{})
		if b.Restore(s) != nil {
			return
		}
		first := b.AppendState(nil)
		again := book.New(binanceSpot, book.Options{})
		if err := again.Restore(first); err != nil {
			t.Fatalf("its own state is refused: %v", err)
		}
		if second := again.AppendState(nil); string(first) != string(second) {
			t.Fatal("the state isn't stable")
		}
		next := newBook(market.KindBookDelta)
		next.FirstSeq, next.Seq = b.Seq()+1, b.Seq()+1
		next.Bids = []market.Level{level(t, "1.5", "1")}
		rec := next.AppendTo(nil)
		binary.LittleEndian.PutUint64(rec[64:], 1)
		one := b.Apply(append([]byte(nil), rec...), func(market.View) {})
		two := again.Apply(append([]byte(nil), rec...), func(market.View) {})
		if one != two {
			t.Fatalf("%+v and %+v", one, two)
		}
		b.Apply(ladder(3), func(market.View) {})
		b.Top(book.Bids, 25, nil)
	})
}
