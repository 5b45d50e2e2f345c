package flow

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// What each stream did is counted in two steps: the lane adds to plain fields as
// records pass, and Publish, behind each burst, stores what changed where others
// may load it. So a record costs a few plain additions, and nobody who asks ever
// holds the lane up. Nothing of it is in a checkpoint or a journal: the figures
// are of this run, and a replay makes the same records with them as without.

// stats are one stream's figures. A test holds them below 1 KiB.
type stats struct {
	channel   market.Channel
	aggregate bool
	inst      market.InstrumentID
	symbol    string

	// The lane's own.
	dirty           bool // in Lane.dirty
	synced, hasBook bool
	touched         uint64 // buckets since the last publication
	records         int64
	duplicates      int64
	gaps            int64
	missing         int64
	resyncs         int64
	recv, ts, send  int64 // of the last record
	pos             uint64
	probed          int64 // receive time of the newest probe
	first           int64 // receive time of the first record since the last publication
	delay, worst    int64 // exchange to receive: of the last record, and the most since the last turn
	brokeAt         int64
	tookSync        int64
	syncedAt        int64
	lane, laneWorst int64   // receive to journal
	laneMean        float64 // exponentially weighted
	buckets         [delayBuckets]uint32

	pub published
}

// published are loaded by others.
type published struct {
	records, duplicates, gaps, missing, resyncs atomic.Int64
	recv, ts, send                              atomic.Int64
	pos                                         atomic.Uint64
	delay, worst, worstBefore                   atomic.Int64
	lane, laneMean, laneWorst, laneWorstBefore  atomic.Int64
	tookSync, syncedAt, brokeAt                 atomic.Int64
	probes                                      [2]probe
	book                                        atomic.Int32 // 0: none, 1: waits for a snapshot, 2: in force
	gap                                         atomic.Pointer[Gap]
	buckets                                     [delayBuckets]atomic.Uint32
}

// probe is where and when a record was received: of the latest ones about one a
// second is kept, so that who knows how far a sink has come can tell how long a
// record took, though the newest one is still on its way.
type probe struct {
	pos  atomic.Uint64 // 0 while it is replaced
	recv atomic.Int64
}

func (p *probe) store(pos uint64, recv int64) {
	p.pos.Store(0)
	p.recv.Store(recv)
	p.pos.Store(pos)
}

func (p *probe) load() (r Received, ok bool) {
	r.Pos = p.pos.Load()
	r.Recv = p.recv.Load()
	return r, r.Pos != 0 && p.pos.Load() == r.Pos
}

const probeEvery = int64(time.Second)

// Buckets of exchange to receive: one for less than 131 µs (and for clocks that
// differ the other way), then four to a power of two, up to 7 s.
const (
	delayBuckets = 64
	delayLowBits = 17
)

// turn is how often old delays lose half of their weight, in the journal's time.
const turn = int64(5 * time.Minute)

// noDelay says that the venue gave no time of its own.
const noDelay = math.MinInt64

func delayBucket(d int64) int {
	if d < 1<<delayLowBits {
		return 0
	}
	e := bits.Len64(uint64(d)) - 1
	return min(1+(e-delayLowBits)<<2+int(d>>(e-2))&3, delayBuckets-1)
}

// delayBound is a bucket's upper bound in ns.
func delayBound(i int) int64 {
	if i == 0 {
		return 1 << delayLowBits
	}
	e := delayLowBits + (i-1)>>2
	return int64(4+(i-1)&3+1) << (e - 2)
}

// streamTable is what others walk.
type streamTable struct {
	mu   sync.RWMutex
	list []*stats
	gaps gapRing
}

// figures gives a stream's stats, which a restored one doesn't have yet.
func (l *Lane) figures(in *instrument, st *stream) *stats {
	if st.stats == nil {
		st.stats = &stats{channel: st.Channel, aggregate: st.Aggregate, inst: in.inst.ID, symbol: in.inst.Symbol,
			recv: market.None, ts: market.None, send: market.None, delay: noDelay, hasBook: in.book != nil && st.Channel == market.ChannelBook}
		s := st.stats
		s.synced = s.hasBook && in.book.Synced()
		l.table.mu.Lock()
		l.table.list = append(l.table.list, s)
		l.table.mu.Unlock()
		l.touch(s)
	}
	return st.stats
}

// forgetFigures takes a stream out of the table.
func (l *Lane) forgetFigures(s *stats) {
	l.table.mu.Lock()
	defer l.table.mu.Unlock()
	for i, x := range l.table.list {
		if x == s {
			last := len(l.table.list) - 1
			l.table.list[i] = l.table.list[last]
			l.table.list[last], l.table.list = nil, l.table.list[:last]
			return
		}
	}
}

func (l *Lane) touch(s *stats) {
	if !s.dirty {
		s.dirty, s.first = true, 0
		l.dirty = append(l.dirty, s)
	}
}

// observe counts a record that has left the lane, or waits in a book.
func (l *Lane) observe(s *stats, v market.View) {
	if l.s.Unfigured {
		return
	}
	if !s.dirty {
		s.dirty, s.first = true, 0
		l.dirty = append(l.dirty, s)
	}
	if s.first == 0 {
		s.first = l.recv
	}
	s.records++
	s.recv, s.ts, s.send, s.pos = l.recv, v.Ts(), v.TsSend(), l.out.pos
	if v.Flags()&market.FlagTsEstimated == 0 && v.Origin() == market.OriginLive {
		d := l.recv - s.ts
		s.delay = d
		s.worst = max(s.worst, d)
		i := delayBucket(d)
		s.buckets[i]++
		s.touched |= 1 << i
	}
}

// laneShare is the weight of the newest burst in the mean of receive to journal.
const laneShare = 1.0 / 16

// Publish ends a burst: what was counted since the one before is shown to
// Streams and Report. now is the wall clock; nothing that a lane makes depends
// on it.
func (l *Lane) Publish(now int64) {
	l.meter.publish(now)
	if l.meter.streams {
		l.meter.streams = false
		l.countStreams()
	}
	for _, s := range l.dirty {
		s.dirty = false
		if s.first != 0 { // of the burst's oldest record, which waited longest
			s.lane = max(now-s.first, 0)
			s.laneWorst = max(s.laneWorst, s.lane)
			if s.laneMean == 0 {
				s.laneMean = float64(s.lane)
			}
			s.laneMean += (float64(s.lane) - s.laneMean) * laneShare
		}
		if s.records > 0 && s.recv-s.probed >= probeEvery {
			if old, ok := s.pub.probes[0].load(); ok {
				s.pub.probes[1].store(old.Pos, old.Recv)
			}
			s.pub.probes[0].store(s.pos, s.recv)
			s.probed = s.recv
		}
		s.publish()
	}
	clear(l.dirty)
	l.dirty = l.dirty[:0]
}

// publish stores a value only where it changed: most bursts change few, and a
// load costs a tenth of a store.
func (s *stats) publish() {
	p := &s.pub
	set(&p.records, s.records)
	set(&p.recv, s.recv)
	set(&p.ts, s.ts)
	set(&p.send, s.send)
	set(&p.delay, s.delay)
	set(&p.lane, s.lane)
	set(&p.laneMean, int64(s.laneMean))
	set(&p.worst, s.worst)
	set(&p.laneWorst, s.laneWorst)
	set(&p.duplicates, s.duplicates)
	set(&p.gaps, s.gaps)
	set(&p.missing, s.missing)
	set(&p.resyncs, s.resyncs)
	set(&p.tookSync, s.tookSync)
	set(&p.syncedAt, s.syncedAt)
	set(&p.brokeAt, s.brokeAt)
	if p.pos.Load() != s.pos {
		p.pos.Store(s.pos)
	}
	book := int32(0)
	if s.hasBook {
		book = 1
		if s.synced {
			book = 2
		}
	}
	if p.book.Load() != book {
		p.book.Store(book)
	}
	for ; s.touched != 0; s.touched &= s.touched - 1 {
		i := bits.TrailingZeros64(s.touched)
		p.buckets[i].Store(s.buckets[i])
	}
}

func set(to *atomic.Int64, v int64) {
	if to.Load() != v {
		to.Store(v)
	}
}

// turnFigures makes room for new delays: counts lose half, maxima move on.
func (l *Lane) turnFigures(now int64) {
	if l.turned == 0 {
		l.turned = now
	}
	if now-l.turned < turn {
		return
	}
	l.turned = now
	for _, in := range l.insts {
		for _, st := range in.streams {
			s := st.stats
			if s == nil {
				continue
			}
			for i := range s.buckets {
				if s.buckets[i] != 0 {
					s.buckets[i] /= 2
					s.touched |= 1 << i
				}
			}
			s.pub.worstBefore.Store(s.worst)
			s.pub.laneWorstBefore.Store(s.laneWorst)
			s.worst, s.laneWorst = 0, 0
			l.touch(s)
		}
	}
}

// bookFigures notes whether a book is in force.
func (l *Lane) bookFigures(in *instrument) {
	for _, st := range in.streams {
		if st.Channel != market.ChannelBook {
			continue
		}
		s, now := l.figures(in, st), in.book != nil && in.book.Synced()
		if !s.hasBook { // a book waits for its snapshot from its first record on
			s.hasBook, s.brokeAt = true, l.recv
		}
		switch {
		case s.synced && !now:
			s.brokeAt = l.recv
		case !s.synced && now:
			s.syncedAt = l.recv
			if s.brokeAt != 0 {
				s.tookSync = l.recv - s.brokeAt
			}
		}
		s.synced = now
		l.touch(s)
		return
	}
}

// Gap is a statement that data is missing or doubtful, as the quality record of
// it says. Bounds that are unknown are market.None.
type Gap struct {
	Channel        market.Channel
	Aggregate      bool
	Symbol         string // native; empty: of the feed as a whole
	Cause          market.Cause
	FromSeq, ToSeq int64
	FromTs, ToTs   int64
	Missing        int64
	Detail         string
	Pos            uint64 // of the frame that told
	At             int64  // receive time of that frame
	Open           bool   // it goes on
	Closed         int64  // receive time of what ended it
	How            string // it ended
}

// maxGaps is how many of the latest gaps a feed keeps for who asks.
const maxGaps = 512

type gapRing struct {
	mu   sync.Mutex
	ring []*Gap
	n    int
}

func (r *gapRing) add(g *Gap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ring) < maxGaps {
		r.ring = append(r.ring, g)
	} else {
		r.ring[r.n%maxGaps] = g
	}
	r.n++
}

// replace puts the closed form of a gap in its place, if that is still there.
func (r *gapRing) replace(old, g *Gap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, x := range r.ring {
		if x == old {
			r.ring[i] = g
			return
		}
	}
}

// tell notes a quality record. st is nil where it concerns the feed.
func (l *Lane) tell(in *instrument, st *stream, q *market.Quality, open bool) {
	g := &Gap{Channel: q.Of, Cause: q.Cause, FromSeq: q.FromSeq, ToSeq: q.ToSeq, FromTs: q.FromTs, ToTs: q.ToTs, Missing: q.Missing,
		Detail: string(q.Detail), Pos: l.pos, At: l.recv, Open: open}
	if st == nil {
		l.table.gaps.add(g)
		return
	}
	g.Symbol, g.Aggregate = in.inst.Symbol, st.Aggregate
	s := l.figures(in, st)
	if len(q.Repaired) > 0 {
		g.Closed, g.How = l.recv, string(q.Repaired)
		if old := s.pub.gap.Load(); old != nil && old.Open {
			g.Detail, g.Pos, g.At = old.Detail, old.Pos, old.At
			s.pub.gap.Store(g)
			l.table.gaps.replace(old, g)
			return
		}
	}
	s.pub.gap.Store(g)
	l.table.gaps.add(g)
}

// Gaps are the latest ones, oldest first; at most maxGaps.
func (l *Lane) Gaps() []Gap {
	r := &l.table.gaps
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Gap, 0, len(r.ring))
	for i := range r.ring {
		k := i
		if len(r.ring) == maxGaps {
			k = (r.n + i) % maxGaps
		}
		out = append(out, *r.ring[k])
	}
	return out
}

// Received is a record by its place in the records journal and its receive time.
type Received struct {
	Pos  uint64
	Recv int64
}

// StreamStats are a stream's figures since the feed was started. Times are ns
// since 1970, or market.None where there is none yet.
type StreamStats struct {
	Channel    market.Channel
	Aggregate  bool
	Instrument market.InstrumentID
	Symbol     string

	Records, Duplicates, Gaps, Missing, Resyncs int64
	LastRecv, LastTs, LastSend                  int64
	LastPos                                     uint64     // in the records journal: of the last record, or behind it
	Before                                      []Received // up to two records of the last seconds, the newer first

	Delay    Delay         // exchange to receive
	Lane     time.Duration // receive to records journal: of the oldest record of the last burst
	LaneMean time.Duration // of that, the newest weighing most
	LaneMax  time.Duration // of that, in the last 5 to 10 minutes

	HasBook, Synced bool
	SyncedAt        int64         // receive time of the snapshot that brought the book in force; 0: not in this run
	BrokeAt         int64         // receive time of what broke it last, or of its first record
	ResyncTook      time.Duration // from that to SyncedAt
	LastGap         *Gap          // shared; don't change it
}

// Delay is the distribution of exchange to receive: event time by the venue's
// clock to receive time by this machine's, so it contains how far they differ.
type Delay struct {
	Known   bool
	Last    time.Duration
	Max     time.Duration // in the last 5 to 10 minutes
	Count   uint64        // in the buckets: each 5 minutes half of what was there is forgotten
	buckets [delayBuckets]uint32
}

// Quantile is the upper bound of the bucket that holds the quantile, at most 25 %
// above it; what is below 131 µs is told as that, and what is above the last
// bound of 7 s as Max.
func (d *Delay) Quantile(q float64) time.Duration {
	rank, n := uint64(math.Ceil(q*float64(d.Count))), uint64(0)
	for i, c := range d.buckets {
		if n += uint64(c); c > 0 && n >= max(rank, 1) {
			if i == delayBuckets-1 {
				return max(d.Max, time.Duration(delayBound(i)))
			}
			return time.Duration(delayBound(i))
		}
	}
	return 0
}

// Streams gives the figures of those streams that want takes (of all, if it is
// nil), in no order. It may be called at any time from any goroutine.
func (l *Lane) Streams(want func(ch market.Channel, aggregate bool, inst market.InstrumentID, symbol string) bool) []StreamStats {
	l.table.mu.RLock()
	list := make([]*stats, 0, len(l.table.list))
	for _, s := range l.table.list {
		if want == nil || want(s.channel, s.aggregate, s.inst, s.symbol) {
			list = append(list, s)
		}
	}
	l.table.mu.RUnlock()
	out := make([]StreamStats, len(list))
	for i, s := range list {
		s.read(&out[i])
	}
	return out
}

func (s *stats) read(o *StreamStats) {
	p := &s.pub
	*o = StreamStats{Channel: s.channel, Aggregate: s.aggregate, Instrument: s.inst, Symbol: s.symbol,
		Records: p.records.Load(), Duplicates: p.duplicates.Load(), Gaps: p.gaps.Load(), Missing: p.missing.Load(), Resyncs: p.resyncs.Load(),
		LastRecv: p.recv.Load(), LastTs: p.ts.Load(), LastSend: p.send.Load(), LastPos: p.pos.Load(),
		Lane: time.Duration(p.lane.Load()), LaneMean: time.Duration(p.laneMean.Load()),
		LaneMax: time.Duration(max(p.laneWorst.Load(), p.laneWorstBefore.Load())),
		HasBook: p.book.Load() != 0, Synced: p.book.Load() == 2, SyncedAt: p.syncedAt.Load(), BrokeAt: p.brokeAt.Load(), ResyncTook: time.Duration(p.tookSync.Load()),
		LastGap: p.gap.Load()}
	if o.Records == 0 {
		o.LastRecv, o.LastTs, o.LastSend = market.None, market.None, market.None
	}
	for i := range p.probes {
		if r, ok := p.probes[i].load(); ok {
			o.Before = append(o.Before, r)
		}
	}
	if d := p.delay.Load(); d != noDelay && o.Records > 0 {
		o.Delay.Known, o.Delay.Last = true, time.Duration(d)
	}
	o.Delay.Max = time.Duration(max(p.worst.Load(), p.worstBefore.Load()))
	for i := range p.buckets {
		o.Delay.buckets[i] = p.buckets[i].Load()
		o.Delay.Count += uint64(o.Delay.buckets[i])
	}
}
