package emulator

import (
	"fmt"
	"slices"
	"time"
)

// Journalled is a frame that a collector says it has: its connection in the
// collector's own numbers, its receive time, and the Hash of its payload. The
// frames of a connection are given in the order of their receipt.
type Journalled struct {
	Conn uint64
	Recv int64
	Hash uint64
}

// Gap is an interval in which a collector has published that frames are missing.
type Gap struct{ From, To int64 }

// Report is what Account finds. Sent = Journalled + Explained + Unexplained -
// (frames the emulator did not send: Foreign) - (Duplicates).
type Report struct {
	Sent        int // frames handed to sockets
	Journalled  int // of those, journalled
	Explained   int // not journalled, and inside a published gap
	Unexplained []Missing
	Duplicates  int // journalled more often than sent
	Foreign     int // journalled and never sent
	Reordered   int // journalled before a frame that was sent earlier on its connection
	Conns       int // connections of the ledger
}

// Missing is a frame that was sent, is not journalled, and lies in no gap.
type Missing struct {
	Entry
	Due  int64 // when it would have been read at the earliest
	Tail bool  // nothing sent after it on its connection is journalled
}

// OK says whether the accounts balance.
func (r *Report) OK() bool {
	return len(r.Unexplained) == 0 && r.Duplicates == 0 && r.Foreign == 0 && r.Reordered == 0
}

func (r *Report) String() string {
	s := fmt.Sprintf("sent %d on %d connections, journalled %d, inside gaps %d, unexplained %d, duplicates %d, foreign %d, reordered %d",
		r.Sent, r.Conns, r.Journalled, r.Explained, len(r.Unexplained), r.Duplicates, r.Foreign, r.Reordered)
	if len(r.Unexplained) > 0 {
		m := r.Unexplained[0]
		s += fmt.Sprintf("; first unexplained: connection %d frame %d at %s (tail: %v)", m.Conn, m.Index,
			time.Unix(0, m.Time).UTC().Format(time.RFC3339Nano), m.Tail)
	}
	return s
}

// Account compares a ledger with what a collector journalled and the gaps that
// it published: ledger = journalled + inside published gaps.
//
// A collector numbers its connections itself, so they are matched by what they
// carry. A missing frame is due at the time it was sent, or at the receipt of
// the last journalled frame before it if that is later: a reader that died had
// frames waiting in the kernel that were sent before the last one it read. It is
// explained if a gap, widened by slack on both sides, contains that time.
func Account(ledger []Entry, journalled []Journalled, gaps []Gap, slack time.Duration) *Report {
	r := &Report{}
	sent := map[uint32][]Entry{}
	var order []uint32
	for _, e := range ledger {
		if e.Kind != EntryFrame || e.Flags&FlagWithheld != 0 {
			continue
		}
		if _, ok := sent[e.Conn]; !ok {
			order = append(order, e.Conn)
		}
		sent[e.Conn] = append(sent[e.Conn], e)
		r.Sent++
	}
	r.Conns = len(order)

	groups := map[uint64][]Journalled{}
	var ids []uint64
	for _, j := range journalled {
		if _, ok := groups[j.Conn]; !ok {
			ids = append(ids, j.Conn)
		}
		groups[j.Conn] = append(groups[j.Conn], j)
	}
	pairs := match(order, sent, ids, groups)

	for _, c := range order {
		var js []Journalled
		for _, id := range ids {
			if pairs[id] == c {
				js = append(js, groups[id]...)
			}
		}
		r.connection(sent[c], js, gaps, int64(slack))
	}
	for _, id := range ids {
		if pairs[id] == 0 {
			r.Foreign += len(groups[id])
		}
	}
	return r
}

// match finds the ledger's connection for each of the collector's: by frames
// that only one connection carried, of which a sample is enough, else by the
// first free one, in order, whose first frame is the same.
func match(order []uint32, sent map[uint32][]Entry, ids []uint64, groups map[uint64][]Journalled) map[uint64]uint32 {
	const several = 0 // connections are numbered from 1
	sample := func(g []Journalled) []Journalled {
		n := min(len(g), 64)
		return append(g[:n:n], g[max(n, len(g)-n):]...)
	}
	owners, wanted := map[uint64]uint32{}, map[uint64]bool{}
	for _, g := range groups {
		for _, j := range sample(g) {
			wanted[j.Hash] = true
		}
	}
	for _, c := range order {
		for _, e := range sent[c] {
			if !wanted[e.Hash] {
				continue
			}
			if o, ok := owners[e.Hash]; ok && o != c {
				owners[e.Hash] = several
			} else {
				owners[e.Hash] = c
			}
		}
	}
	pairs, taken := map[uint64]uint32{}, map[uint32]bool{}
	for _, id := range ids {
		votes := map[uint32]int{}
		for _, j := range sample(groups[id]) {
			if c := owners[j.Hash]; c != several {
				votes[c]++
			}
		}
		best := uint32(0)
		for c, n := range votes {
			if n > votes[best] || (n == votes[best] && c < best) {
				best = c
			}
		}
		if best != 0 {
			pairs[id], taken[best] = best, true
		}
	}
	for _, id := range ids {
		if pairs[id] != 0 {
			continue
		}
		for _, c := range order {
			if !taken[c] && sent[c][0].Hash == groups[id][0].Hash {
				pairs[id], taken[c] = c, true
				break
			}
		}
	}
	return pairs
}

func (r *Report) connection(sent []Entry, js []Journalled, gaps []Gap, slack int64) {
	recv := make([]int64, len(sent)) // 0: missing
	last := -1
	mark := func(i int, j Journalled) {
		recv[i], last = max(j.Recv, 1), max(last, i)
		r.Journalled++
	}
	// A connection is a stream of bytes: as a rule what is journalled is a prefix.
	n := 0
	for n < len(js) && n < len(sent) && js[n].Hash == sent[n].Hash {
		mark(n, js[n])
		n++
	}
	if n < len(js) {
		r.rest(sent, js[n:], n, mark, &last)
	}
	seen := int64(0)
	for i, e := range sent {
		if recv[i] != 0 {
			seen = max(seen, recv[i])
			continue
		}
		due := max(e.Time, seen)
		if slices.ContainsFunc(gaps, func(g Gap) bool { return g.From-slack <= due && due <= g.To+slack }) {
			r.Explained++
			continue
		}
		r.Unexplained = append(r.Unexplained, Missing{Entry: e, Due: due, Tail: i > last})
	}
}

// rest matches journalled frames with those sent from a place on, in any order.
func (r *Report) rest(sent []Entry, js []Journalled, from int, mark func(int, Journalled), last *int) {
	at := map[uint64][]int{} // places of a hash that are not journalled yet, the last first
	for i := len(sent) - 1; i >= from; i-- {
		at[sent[i].Hash] = append(at[sent[i].Hash], i)
	}
	known := map[uint64]bool{}
	for _, e := range sent {
		known[e.Hash] = true
	}
	for _, j := range js {
		places := at[j.Hash]
		if len(places) == 0 {
			if known[j.Hash] {
				r.Duplicates++
			} else {
				r.Foreign++
			}
			continue
		}
		// Equal frames (heartbeats) are told apart by order: the first free place
		// after the last match, else the first free one.
		k := len(places) - 1
		for k > 0 && places[k] < *last {
			k--
		}
		if places[k] < *last {
			k = len(places) - 1
			r.Reordered++
		}
		i := places[k]
		at[j.Hash] = slices.Delete(places, k, k+1)
		mark(i, j)
	}
}
