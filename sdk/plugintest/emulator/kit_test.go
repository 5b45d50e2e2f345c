package emulator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/capture"
	"github.com/marketprism/marketprism/sdk/plugintest/corpus"
)

// update is what a frame says of a book: its number, and changed levels as price
// and amount, an amount of zero for one that is gone.
type update struct {
	U, First, Prev int64
	B, A           [][2]string
}

// sides is a book that a test keeps of what it receives: amounts by price.
type sides struct{ bids, asks map[string]string }

func (s sides) apply(u update) {
	for side, ls := range map[*map[string]string][][2]string{&s.bids: u.B, &s.asks: u.A} {
		for _, l := range ls {
			if strings.Trim(l[1], "0.") == "" {
				delete(*side, l[0])
			} else {
				(*side)[l[0]] = l[1]
			}
		}
	}
}

// is reports whether the book is the true one.
func (s sides) is(truth Book) bool {
	return maps.Equal(s.bids, pairs(truth.Bids)) && maps.Equal(s.asks, pairs(truth.Asks))
}

func pairs(ls [][2]string) map[string]string {
	m := map[string]string{}
	for _, l := range ls {
		m[l[0]] = l[1]
	}
	return m
}

// keepsBook keeps a book of what read makes of the client's frames. After n of
// them the market stands still, and with those that are still under way the book
// must become the true one; a venue that numbers updates (U) is held to its last
// number, too. read is told how many frames came before; it checks the sequence,
// and gives false for a frame that isn't of the book.
func keepsBook(t *testing.T, e *Emulator, c *client, symbol string, n int, read func(n int, frame []byte) (update, bool)) {
	t.Helper()
	s, last := sides{map[string]string{}, map[string]string{}}, int64(0)
	next := func(i int) (ok bool) {
		u, ok := read(i, c.next())
		if ok {
			s.apply(u)
			last = u.U
		}
		return ok
	}
	for i := range n {
		next(i)
	}
	e.Pause()
	truth, err := e.Book(symbol, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, others := n, 0; others < 30 && last < truth.Seq; i++ { // heartbeats don't end
		if last == 0 && s.is(truth) {
			return
		}
		if others++; next(i) {
			others = 0
		}
	}
	if !s.is(truth) || last != truth.Seq {
		t.Errorf("the book stands at %d of %d; it differs at bids %v, at asks %v", last, truth.Seq, differ(s.bids, pairs(truth.Bids)), differ(s.asks, pairs(truth.Asks)))
	}
}

// differ are the first prices at which two sides have other amounts.
func differ(got, want map[string]string) (prices []string) {
	all := maps.Clone(want)
	maps.Copy(all, got)
	for _, p := range slices.Sorted(maps.Keys(all)) {
		if got[p] != want[p] && len(prices) < 5 {
			prices = append(prices, fmt.Sprintf("%s: %q, true is %q", p, got[p], want[p]))
		}
	}
	return prices
}

// played is an emulator that plays a recording, with what it recorded of each
// connection.
type played struct {
	*Emulator
	urls   map[int]string // that it was opened by
	frames map[int][]string
}

// play starts an emulator that plays a recording of the corpus.
func play(t *testing.T, venue, file string) played {
	t.Helper()
	path := corpus.Path(t, "captures", file+".jsonl.zst")
	r, err := capture.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := played{urls: map[int]string{}, frames: map[int][]string{}}
	for ev, err := range r.All() {
		if err != nil {
			t.Fatal(err)
		}
		switch ev.Kind {
		case capture.KindOpen:
			p.urls[ev.Conn] = string(ev.URL)
		case capture.KindRecv:
			p.frames[ev.Conn] = append(p.frames[ev.Conn], string(ev.Input().Data))
		}
	}
	p.Emulator = Start(t, Options{Venue: venue, Capture: path})
	return p
}

// receives compares the next frames with those of a recording.
func (c *client) receives(want []string) {
	c.t.Helper()
	if len(want) == 0 {
		c.t.Fatal("the recording has no frames of this connection")
	}
	for i, w := range want {
		if got := string(c.next()); got != w {
			c.t.Fatalf("frame %d: %.200s\nwant %.200s", i, got, w)
		}
	}
}

// playsBack plays a recording of one connection: a request is acknowledged by a
// frame that has ack in it, then all recorded frames come, in order and whole.
func playsBack(t *testing.T, venue, file, path, request, ack string) (e *Emulator, acknowledged string) {
	t.Helper()
	p := play(t, venue, file)
	if len(p.frames) != 1 {
		t.Fatalf("%s has %d connections: use play, and dial each", file, len(p.frames))
	}
	c := dial(t, p.Emulator, path)
	c.send(request)
	acknowledged = string(c.until(ack))
	for _, want := range p.frames {
		c.receives(want)
	}
	return p.Emulator, acknowledged
}

// answers sends requests one by one; each answer must have the text that stands
// with the request, and those that stand with all.
func (c *client) answers(requests map[string]string, all ...string) {
	c.t.Helper()
	for request, text := range requests {
		c.send(request)
		b := string(c.next())
		for _, want := range append(all, text) {
			if !strings.Contains(b, want) {
				c.t.Errorf("%.200s: %s, want %s", request, b, want)
			}
		}
	}
}
