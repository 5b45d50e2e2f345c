package flow_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestBook(t *testing.T) {
	b := newBench(t, nil)
	b.subscribed(1, "btc", "eth")
	http := func(symbol string, seq int64) {
		b.feed(input{kind: source.InputHTTP, payload: "body", decode: snapshot(symbol, seq)})
	}
	b.frame(1, delta("btc", 1, 5, "99", ""))
	b.frame(1, delta("btc", 6, 8, "97", ""))
	http("btc", 6)
	http("eth", 3)
	b.frame(1, delta("eth", 2, 4, "", "105"))
	b.frame(1, delta("btc", 9, 9, "", "103"))
	b.want("book_snapshot btc 6 applied", "book_delta btc 5 stale", "book_delta btc 8 applied", "book_snapshot eth 3 applied", "book_delta eth 4 applied",
		"book_delta btc 9 applied")
	if want := (actions{"snapshot btc"}); !slices.Equal(b.asked, want) {
		t.Errorf("asked for %q, want %q", b.asked, want)
	}
	if n, s := b.lane.Counts.Books.Load(), b.lane.Counts.BooksSynced.Load(); n != 2 || s != 2 {
		t.Errorf("%d books, %d in step, want 2 and 2", n, s)
	}

	// One book breaks. It alone is asked for, once, and the other goes on.
	b.asked = nil
	b.frame(1, delta("btc", 12, 13, "96", ""))
	b.frame(1, delta("eth", 5, 6, "", "106"))
	b.frame(1, delta("btc", 14, 15, "96", ""))
	if want := (actions{"snapshot btc"}); !slices.Equal(b.asked, want) {
		t.Errorf("asked for %q, want %q", b.asked, want)
	}
	if n, s := b.lane.Counts.Books.Load(), b.lane.Counts.BooksSynced.Load(); n != 2 || s != 1 {
		t.Errorf("%d books, %d in step, want 2 and 1", n, s)
	}
	http("btc", 13)
	b.frame(1, delta("btc", 16, 16, "95", ""))
	want := []string{"quality btc gap book from_seq=9 to_seq=12", "book_delta eth 6 applied", "book_snapshot btc 13 applied", "book_delta btc 13 stale",
		"book_delta btc 15 applied", `quality btc gap book from_seq=9 to_seq=15 repaired="snapshot" closes`, "book_delta btc 16 applied"}
	if got := b.texts()[6:]; !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if s := b.lane.Counts.BooksSynced.Load(); s != 2 {
		t.Errorf("%d books in step, want 2", s)
	}

	// The connection breaks: both books are void until their snapshots.
	b.closed(1, "gone")
	if s := b.lane.Counts.BooksSynced.Load(); s != 0 {
		t.Errorf("%d books in step behind a disconnect, want 0", s)
	}
	was := len(b.texts())
	b.frame(2, delta("eth", 7, 8, "", "107"))
	if got := b.texts()[was:]; len(got) != 0 {
		t.Errorf("a void book emits %q", got)
	}
	http("eth", 7)
	want = []string{"book_snapshot eth 7 applied", "book_delta eth 8 applied", `quality eth disconnect book from_seq=6 to_seq=8 repaired="snapshot" closes`}
	if got := b.texts()[was:]; !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestOldCopies: an answer that holds less than the updates which wait is a copy
// that the venue keeps for a while, so that the next is asked for later.
func TestOldCopies(t *testing.T) {
	b := newBench(t, func(s *flow.Settings) {
		s.Channels = slices.Clone(s.Channels)
		for i := range s.Channels {
			if s.Channels[i].Book != nil {
				rule := *s.Channels[i].Book
				rule.Sequence.Kind = source.SequenceNone
				s.Channels[i].Book = &rule
			}
		}
	})
	b.subscribed(1, "btc")
	b.frame(1, delta("btc", 50, 50, "99", ""))
	b.want()
	last := b.feed(input{kind: source.InputHTTP, payload: "body", decode: snapshot("btc", 40)})
	b.want("book_snapshot btc 40 stale")
	if want := (actions{"snapshot btc"}); !slices.Equal(b.asked, want) {
		t.Errorf("asked for %q at once, want %q", b.asked, want)
	}
	b.timer(last.wall + 1e9)
	b.timer(last.wall + 3e9)
	if want := (actions{"snapshot btc", "snapshot btc"}); !slices.Equal(b.asked, want) {
		t.Errorf("asked for %q later, want %q", b.asked, want)
	}
	b.feed(input{kind: source.InputHTTP, payload: "body", decode: snapshot("btc", 50)})
	b.frame(1, delta("btc", 70, 70, "98", ""))
	b.want("book_snapshot btc 40 stale", "book_snapshot btc 50 applied", "book_delta btc 50 stale", "book_delta btc 70 applied")
}

func TestCrossedBookIsBuiltAnew(t *testing.T) {
	b := newBench(t, nil)
	b.frame(1, snapshot("btc", 1))
	b.asked = nil
	b.frame(1, delta("btc", 2, 2, "103", "")) // above the best ask
	b.frame(1, delta("btc", 3, 3, "", "104"))
	if want := (actions{"snapshot btc"}); !slices.Equal(slices.Compact(b.asked), want) { // a request under way is not made twice
		t.Errorf("asked for %q, want %q", b.asked, want)
	}
	b.frame(0, snapshot("btc", 3))
	b.frame(1, delta("btc", 4, 4, "97", ""))
	b.want("book_snapshot btc 1 applied", "book_delta btc 2 applied crossed", `quality btc crossed book from_seq=2 detail="best bid is not below best ask"`,
		"book_snapshot btc 3 applied", "book_delta btc 3 stale", `quality btc crossed book from_seq=2 to_seq=3 repaired="snapshot" closes`, "book_delta btc 4 applied")
	if n := b.lane.Counts.Crossed.Load(); n != 1 {
		t.Errorf("%d crossed books were counted, want 1", n)
	}
}

func TestPluginAsksForResync(t *testing.T) {
	b := newBench(t, nil)
	b.frame(1, snapshot("btc", 1))
	b.frame(1, snapshot("eth", 1))
	b.asked = nil
	b.frame(1, func(o *source.Out) { o.Resync(o.Symbol([]byte("btc")), "the venue says so") })
	if want := (actions{"snapshot btc"}); !slices.Equal(b.asked, want) {
		t.Errorf("asked for %q, want %q", b.asked, want)
	}
	b.want("book_snapshot btc 1 applied", "book_snapshot eth 1 applied", `quality btc gap book from_seq=1 detail="the venue says so"`)
}

func TestDerivedBBO(t *testing.T) {
	b := newBench(t, func(s *flow.Settings) { s.DeriveBBO = true })
	b.frame(1, snapshot("btc", 1))
	b.frame(1, delta("btc", 2, 2, "98", ""))   // not the best
	b.frame(1, delta("btc", 3, 3, "99.5", "")) // the best
	b.frame(1, delta("btc", 9, 9, "99.7", "")) // a gap: the book is void
	b.want("book_snapshot btc 1 applied", "bbo btc 1", "book_delta btc 2 applied", "book_delta btc 3 applied", "bbo btc 3",
		"quality btc gap book from_seq=3 to_seq=9")
}

// An orderly stop is where the books' held differences leave, so that the records
// before it don't depend on whether there is a next run.
func TestStopReleasesWhatBooksHold(t *testing.T) {
	b := newBench(t, nil)
	b.frame(1, delta("eth", 1, 2, "99", ""))
	b.frame(1, delta("btc", 1, 2, "99", ""))
	b.frame(1, delta("eth", 3, 3, "98", ""))
	b.want()
	b.note(0, flow.Note{Note: flow.NoteStop})
	b.want("book_delta btc 2 unsynced", "book_delta eth 2 unsynced", "book_delta eth 3 unsynced")
	b.note(0, flow.Note{Note: flow.NoteStopped, From: b.wall})
	b.want("book_delta btc 2 unsynced", "book_delta eth 2 unsynced", "book_delta eth 3 unsynced",
		"quality btc stopped book", "quality eth stopped book")
}
