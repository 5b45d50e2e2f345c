package flow

import (
	"slices"

	"github.com/marketprism/marketprism/sdk/market"
)

// recentKeys is how many keys a stream remembers to drop what a second
// connection, or the venue itself, delivers again. It spans well over the skew
// between two connections of the busiest symbols.
const recentKeys = 256

// stream is one channel of one instrument: what was received, and what was lost.
// Its exported fields are what a checkpoint holds.
type stream struct {
	Channel    market.Channel
	Aggregate  bool
	Carriers   []uint32 // live connections that deliver it
	Primary    uint32   // of a book whose updates carry no sequence: the connection that counts
	LastSeq    int64    // of live records, where the channel numbers them
	LastConn   uint32   // that brought LastSeq
	Known      int64    // all numbers from it to LastSeq have come,
	Lost       []span   // but for these, the oldest first
	LastTs     int64
	LastRecv   int64
	PrevRecv   int64 // of the record before the last
	Since      int64 // start of the coverage span
	Ended      bool  // nothing carries it: its span was stated, the next one begins with a carrier
	Messages   int64
	Gaps       int64
	Missing    int64
	Duplicates int64
	Sums       int64    // checksums of the book that were right when the span began
	Recent     []uint64 // ring of keys
	At         int      // next place in Recent

	Fills  []fill // gaps whose trades are asked for, the oldest first
	Filled bool   // some were: what answers hold beside what lacks is a repeat

	Open  openGap
	Holes []hole // that may yet be filled, the oldest first

	frame  uint64 // that before was taken at, plus 1
	before int64  // LastSeq before the frame that is being handled

	stats *stats // figures of this run; nil until the first record
}

// maxLost bounds how many runs of lost numbers a stream remembers. With more, it
// no longer knows of the numbers up to the oldest of them whether they came.
const maxLost = 16

// span is a run of numbers, both ends included.
type span struct{ From, To int64 }

// openGap is a quality record that waits to be closed.
type openGap struct {
	Cause   market.Cause // CauseNone: no gap is open
	Ref     int64
	FromSeq int64
	FromTs  int64
	LastTs  int64 // of the record before it, at the venue
	Missing int64 // already known to be
}

func newStream(ch market.Channel, aggregate bool, since int64) *stream {
	return &stream{Channel: ch, Aggregate: aggregate, LastSeq: market.None, LastTs: market.None, Since: since}
}

// begin starts a coverage span where none runs.
func (s *stream) begin(now int64) {
	if s.Ended {
		s.Ended, s.Since = false, now
	}
}

// seen records a key and reports whether it is among the recent ones. The scan
// is made only when asked for.
func (s *stream) seen(key uint64, scan bool) bool {
	if scan && slices.Contains(s.Recent, key) {
		return true
	}
	if len(s.Recent) < recentKeys {
		s.Recent = append(s.Recent, key)
		return false
	}
	s.Recent[s.At] = key
	s.At = (s.At + 1) % recentKeys
	return false
}

// came says whether an old number is a repeat by another connection, which may
// be further behind than keys are remembered. A venue that begins to count anew
// isn't taken for that: what it sends is younger than what it repeats.
func (s *stream) came(conn uint32, v market.View) bool {
	seq, ts := v.Seq(), v.Ts()
	return conn != s.LastConn && seq >= s.Known && ts != market.None && s.LastTs != market.None && ts <= s.LastTs &&
		!slices.ContainsFunc(s.Lost, func(l span) bool { return l.From <= seq && seq <= l.To })
}

// lost notes numbers that have not come.
func (s *stream) lost(from, to int64) {
	s.Lost = append(s.Lost, span{from, to})
	s.trimLost()
}

// found notes numbers that came late.
func (s *stream) found(first, last int64) {
	s.Lost = cut(s.Lost, first, last)
	s.trimLost()
	for i := range s.Fills {
		f := &s.Fills[i]
		if f.Left = cut(f.Left, first, last); len(f.Left) > maxFillSpans {
			f.Beyond += f.Left[0].To - f.Left[0].From + 1
			f.Left = slices.Delete(f.Left, 0, 1)
		}
	}
}

// cut takes numbers out of runs.
func cut(ss []span, first, last int64) []span {
	for i := 0; i < len(ss); i++ {
		s := ss[i]
		if last < s.From || first > s.To {
			continue
		}
		var rest []span
		for _, r := range []span{{s.From, first - 1}, {last + 1, s.To}} {
			if r.From <= r.To {
				rest = append(rest, r)
			}
		}
		ss = slices.Replace(ss, i, i+1, rest...)
		i += len(rest) - 1
	}
	return ss
}

// length is how many numbers are in runs.
func length(ss []span) (n int64) {
	for _, s := range ss {
		n += s.To - s.From + 1
	}
	return n
}

func (s *stream) trimLost() {
	if n := len(s.Lost) - maxLost; n > 0 {
		s.Known = s.Lost[n-1].To + 1
		s.Lost = slices.Delete(s.Lost, 0, n)
	}
}

// carry notes that a connection delivers this stream.
func (s *stream) carry(conn uint32) {
	if !slices.Contains(s.Carriers, conn) {
		s.Carriers = append(s.Carriers, conn)
	}
}

// drop notes that a connection is gone; it reports whether it was the last carrier.
func (s *stream) drop(conn uint32) bool {
	i := slices.Index(s.Carriers, conn)
	if i < 0 {
		return false
	}
	s.Carriers = slices.Delete(s.Carriers, i, i+1)
	return len(s.Carriers) == 0
}
