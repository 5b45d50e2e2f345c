package book_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/marketprism/marketprism/runtime/book"
	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/sdk/market"
)

// lenders are the pools of a process.
func lenders(t testing.TB, o pool.MessageOptions) book.Options {
	levels, err := book.NewLevels(o)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := pool.NewMessages(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := levels.Close(); err != nil { // of books that are closed nothing is leased
			t.Error(err)
		}
		if err := messages.Close(); err != nil {
			t.Error(err)
		}
	})
	return book.Options{Levels: levels, Batches: messages.Batches, Books: messages.Books}
}

// Where levels are kept changes nothing of what a book says: books that share a
// pool break, begin anew, are restored and end, beside books that share nothing.
func TestSharedLevels(t *testing.T) {
	const n = 300
	o := lenders(t, pool.MessageOptions{})
	r := rand.New(rand.NewPCG(1, 2))
	recs := updates(n, 10, func(r *rand.Rand) int { return r.IntN(n) })
	type pair struct {
		shared, own *book.Book
		seq         int64
	}
	all := make([]pair, 8)
	fresh := func() pair { return pair{shared: book.New(increment, o), own: book.New(increment, book.Options{})} }
	for i := range all {
		all[i] = fresh()
	}
	emit := func(market.View) {}
	did := map[string]int{}
	for step := range 6_000 {
		i := r.IntN(len(all))
		p := &all[i]
		switch x := r.IntN(1000); {
		case x < 4:
			did["closed"]++
			p.shared.Close()
			*p = fresh()
		case x < 12:
			did["void"]++
			p.shared.Void(market.CauseDisconnect, emit)
			p.own.Void(market.CauseDisconnect, emit)
		case x < 20:
			did["restored"]++
			s := p.own.AppendState(nil)
			if err := p.shared.Restore(s); err != nil {
				t.Fatal(err)
			}
			if p.shared.Restore(s[:len(s)-1]) == nil {
				t.Fatal("half a state was taken")
			}
		case x < 50 || !p.own.Synced():
			did["snapshot"]++
			p.seq = 0
			p.shared.Apply(ladder(n), emit)
			p.own.Apply(ladder(n), emit)
		default:
			p.seq++
			rec := recs[step%len(recs)]
			setSeq(rec, p.seq)
			a := p.shared.Apply(bytes.Clone(rec), emit)
			if b := p.own.Apply(bytes.Clone(rec), emit); fmt.Sprint(a) != fmt.Sprint(b) {
				t.Fatalf("step %d: %+v, in memory of its own %+v", step, a, b)
			}
		}
		if step%50 == 0 && !bytes.Equal(p.shared.AppendState(nil), p.own.AppendState(nil)) {
			t.Fatalf("step %d: the books differ", step)
		}
	}
	if len(did) != 4 {
		t.Fatalf("%v", did)
	}
	leased := o.Levels.Stats().Outstanding
	if leased == 0 {
		t.Fatal("no level was leased")
	}
	for i := range all {
		all[i].shared.Close()
	}
	if s := o.Levels.Stats(); s.Outstanding != 0 || s.Misused != 0 || s.Hits < s.Leases*9/10 {
		t.Errorf("%d leaves are leased after Close, %d misused; %d of %d leases found one", s.Outstanding, s.Misused, s.Hits, s.Leases)
	}
}

// A pool that was closed lends nothing, and a book goes on without.
func TestLevelsAfterClose(t *testing.T) {
	levels, err := book.NewLevels(pool.MessageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	k := book.New(increment, book.Options{Levels: levels})
	k.Apply(ladder(10), func(market.View) {})
	if err := levels.Close(); err == nil {
		t.Error("a book's levels are leased, and Close says nothing")
	}
	if o := k.Apply(ladder(100), func(market.View) {}); o.Verdict != book.VerdictApplied || k.Len(book.Bids) != 100 {
		t.Errorf("%+v", o)
	}
	k.Close()
}

// BenchmarkComeAndGo is a book of 1,000 levels a side that is made, loaded and
// ended, as symbols of a selector are: with levels of its own, and with leased ones.
func BenchmarkComeAndGo(b *testing.B) {
	rec, emit := ladder(1000), func(market.View) {}
	for _, c := range []struct {
		name string
		o    book.Options
	}{{"own", book.Options{}}, {"leased", lenders(b, pool.MessageOptions{})}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k := book.New(increment, c.o)
				k.Apply(rec, emit)
				k.Close()
			}
		})
	}
}

// BenchmarkState is what a checkpoint asks of a book of 1,000 levels a side.
func BenchmarkState(b *testing.B) {
	for _, c := range []struct {
		name string
		o    book.Options
	}{{"own", book.Options{}}, {"leased", lenders(b, pool.MessageOptions{})}} {
		b.Run(c.name, func(b *testing.B) {
			k := book.New(increment, c.o)
			defer k.Close()
			k.Apply(ladder(1000), func(market.View) {})
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				dst = k.AppendState(dst[:0])
			}
		})
	}
}

// BenchmarkMended is a book of 1,000 levels a side that breaks and gets its snapshot.
func BenchmarkMended(b *testing.B) {
	rec, emit := ladder(1000), func(market.View) {}
	for _, c := range []struct {
		name string
		o    book.Options
	}{{"own", book.Options{}}, {"leased", lenders(b, pool.MessageOptions{})}} {
		b.Run(c.name, func(b *testing.B) {
			k := book.New(increment, c.o)
			defer k.Close()
			b.ReportAllocs()
			for b.Loop() {
				k.Void(market.CauseDisconnect, emit)
				k.Apply(rec, emit)
			}
		})
	}
}
