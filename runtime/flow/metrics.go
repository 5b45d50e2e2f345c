package flow

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/market"
)

// The metrics of lanes and of their books.
var (
	layer         = telemetry.NewLayer("flow")
	mEntries      = layer.Counter(telemetry.Who, "entries_total", "Frames, timers and notes that gave something; if connections receive and this stands still, look at the plugin.", "feed")
	mRecords      = layer.Counter(telemetry.Who, "records_total", "Records that the lane made, by kind; if frames come and records don't, the plugin refuses them or sees repetitions.", "feed", "kind")
	mLag          = layer.Gauge(telemetry.Late, "lag_bytes", "Journalled bytes that are not decoded yet; if it grows, the plugin or the lane is too slow.", "feed")
	mLagAge       = layer.Gauge(telemetry.Late, "lag_seconds", "Age of the oldest frame that is not decoded yet, 0 if there is none; if it grows, the plugin hangs or is too slow.", "feed")
	mExchange     = layer.Histogram(telemetry.Late, "exchange_latency_seconds", "Time from the venue's sending (or the event, where the venue says no more) to reception, of live records; all channels late: the network or this machine's clock; one late: the venue.", "feed", "channel")
	mAhead        = layer.Counter(telemetry.Late, "clock_ahead_total", "Live records whose time at the venue is after their reception: one of the clocks is wrong, look at this machine's first; they count as 0 in exchange_latency_seconds.", "feed")
	mRecordTime   = layer.Histogram(telemetry.Late, "record_latency_seconds", "Time from a frame's reception to its records in the records journal, of each record of this run; if it grows, the plugin or this machine is too slow.", "feed")
	mLast         = layer.Gauge(telemetry.Late, "last_record_timestamp_seconds", "Reception of the newest record; its age says which channel is silent.", "feed", "channel")
	mStreams      = layer.Gauge(telemetry.Complete, "streams", "Channels of instruments that are subscribed or were received.", "feed", "channel")
	mBroken       = layer.Gauge(telemetry.Complete, "streams_broken", "Streams with an open gap now: lost and not yet resumed; the quality records say which and since when.", "feed", "channel")
	mGaps         = layer.Counter(telemetry.Complete, "gaps_total", "Gaps published as quality records; the cause says whose they are: gap and checksum the venue's, disconnect and stale the way's, dropped and runtime_down this machine's.", "feed", "channel", "cause")
	mMissing      = layer.Counter(telemetry.Complete, "missing_total", "Messages known to be missing by the venue's numbering; the quality records say between which.", "feed", "channel")
	mBackfills    = layer.Counter(telemetry.Complete, "backfills_total", "Ended gaps whose trades were asked for again, by what came of it: whole; part and none leave the rest a gap, the quality record says why; unasked, for too many waited already. If part and none grow, the venue's history doesn't reach back.", "feed", "result")
	mBackfilled   = layer.Counter(telemetry.Complete, "backfilled_total", "Trades that a gap had taken and a request brought; each is a record of origin backfill.", "feed")
	mBackfilling  = layer.Gauge(telemetry.Complete, "backfilling", "Gaps whose trades are asked for or wait for it; if it stays, look at marketprism_conn_http_requests_total of purpose history and at the venue's budget.", "feed")
	mDecodeErrors = layer.Counter(telemetry.Complete, "decode_errors_total", "Frames that the plugin refused; each is a quality record that names the frame, and the frame is kept.", "feed")
	mNotices      = layer.Counter(telemetry.Changed, "notices_total", "What the venue said of itself: rejected is a subscription that it refused, maintenance that it goes away.", "feed", "cause")
	mDuplicates   = layer.Counter(telemetry.Changed, "duplicates_total", "Records dropped because they had been delivered before; with two connections half of all, with one the venue repeats itself.", "feed", "channel")
	mOutOfOrder   = layer.Counter(telemetry.Complete, "out_of_order_total", "Live records that came after one of a higher number; they are kept, and a gap before them said that they were missing.", "feed", "channel")
	mDiverged     = layer.Counter(telemetry.Changed, "diverged_total", "Records that came out otherwise when they were derived again after a start: another build decodes differently.", "feed")

	books      = telemetry.NewLayer("book")
	mTracked   = books.Gauge(telemetry.Complete, "tracked", "Books that this feed keeps now.", "feed")
	mSynced    = books.Gauge(telemetry.Complete, "synced", "Books in force; fewer than marketprism_book_tracked means that some wait for a snapshot.", "feed")
	mResyncs   = books.Counter(telemetry.Complete, "resyncs_total", "Snapshots asked for to build a book anew, by what broke it; start is its first one. If it goes on growing, the venue's sequence breaks or its snapshots come late.", "feed", "cause")
	mResync    = books.Histogram(telemetry.Complete, "resync_seconds", "Time that a book was not in force, from its break or beginning to the snapshot that mended it; if it grows, look at the venue's HTTP budget.", "feed")
	mUpdates   = books.Counter(telemetry.Complete, "updates_total", "Book records by what became of them: applied; stale came too late to matter; unsynced belong to no snapshot and are in no book.", "feed", "result")
	mChecksums = books.Counter(telemetry.Complete, "checksums_total", "Books compared with the venue's checksum; bad: the book was wrong, was voided and is built anew.", "feed", "result")
	mCrossed   = books.Counter(telemetry.Complete, "crossed_total", "Times that a best bid was not below the best ask where the venue never shows that: an update is missing, the book is built anew.", "feed")
)

// Descs are the metrics of lanes and books.
func Descs() []*telemetry.Desc { return append(layer.Metrics(), books.Metrics()...) }

// Sizes of tables by small enumerations, powers of two.
const (
	maxKinds    = 32
	maxChannels = 32
	maxCauses   = 16
)

// meter is what is counted of a lane beside Counts. The lane's goroutine counts
// in plain words and publishes them behind each burst; what is rare is counted
// at once.
type meter struct {
	timed bool // take latencies

	// The lane's own.
	kinds     [maxKinds]uint64
	recv      [maxChannels]int64
	exchange  [maxChannels]*telemetry.Local
	checks    [numChecks]uint64
	ahead     uint64
	kindsSet  uint32 // what has changed since it was published, a bit each
	recvSet   uint32
	checksSet uint32
	frames    []frameTime
	record    telemetry.Local
	streams   bool // some came, went, broke or were mended

	pub struct {
		kinds    [maxKinds]atomic.Uint64
		recv     [maxChannels]atomic.Int64
		exchange [maxChannels]atomic.Pointer[telemetry.Histogram]
		checks   [numChecks]atomic.Uint64
		ahead    atomic.Uint64
		record   telemetry.Histogram
		streams  [maxChannels]atomic.Int64
		broken   [maxChannels]atomic.Int64
	}

	gaps                            [maxChannels][maxCauses]atomic.Uint64
	missing, duplicates, outOfOrder [maxChannels]atomic.Uint64
	notices, resyncs                [maxCauses]atomic.Uint64
	fills                           [len(fillResults)]atomic.Uint64
	backfilled                      atomic.Uint64
	filling                         atomic.Int64
	resync                          telemetry.Histogram
}

// frameTime is how many records a frame gave that was received at recv.
type frameTime struct {
	recv int64
	n    uint32
}

// burstFrames is how many frames' times are kept until the burst is published.
const burstFrames = 1024

// check is what the book engine says of a record in its flags.
type check int

const (
	checkApplied check = iota
	checkStale
	checkUnsynced
	checkSumOK
	checkSumBad
	numChecks
)

var checkFlags = [numChecks]market.Flags{market.FlagApplied, market.FlagStale, market.FlagUnsynced, market.FlagChecksumOK, market.FlagChecksumBad}

// made counts a record that the lane emits.
func (m *meter) made(k market.Kind) {
	k &= maxKinds - 1
	m.kinds[k]++
	m.kindsSet |= 1 << k
}

// judged counts a record that a book emits.
func (m *meter) judged(f market.Flags) {
	for c, bit := range checkFlags {
		if f&bit != 0 {
			m.checks[c]++
			m.checksSet |= 1 << c
		}
	}
}

// received counts a record of the plugin that is no repetition; live says that
// its frame is of this run.
func (m *meter) received(v market.View, recv int64, live bool) {
	ch := v.Channel() & (maxChannels - 1)
	m.recv[ch] = recv
	m.recvSet |= 1 << ch
	if !m.timed || !live || v.Origin() != market.OriginLive {
		return
	}
	sent := v.TsSend()
	if sent == market.None {
		// Candles and the like are of a time that is no sending.
		if v.Kind() > market.KindTicker && v.Kind() != market.KindLiquidation || v.Flags()&market.FlagTsEstimated != 0 {
			return
		}
		sent = v.Ts()
	}
	if recv < sent {
		m.ahead++
	}
	h := m.exchange[ch]
	if h == nil {
		h = new(telemetry.Local)
		m.exchange[ch] = h
		m.pub.exchange[ch].Store(new(telemetry.Histogram))
	}
	h.Observe(time.Duration(recv-sent), 1)
}

// frame notes that a frame gave n records. Frames that one read took from the
// kernel may be of one time.
func (m *meter) frame(recv int64, n uint32) {
	if k := len(m.frames); k > 0 && m.frames[k-1].recv == recv {
		m.frames[k-1].n += n
		return
	}
	if m.frames = append(m.frames, frameTime{recv, n}); len(m.frames) == burstFrames {
		m.times(time.Now().UnixNano())
	}
}

// times takes the time that frames took from reception until now.
func (m *meter) times(now int64) {
	for _, f := range m.frames {
		m.record.Observe(time.Duration(now-f.recv), f.n)
	}
	m.frames = m.frames[:0]
}

// publish shows what was counted since the burst before.
func (m *meter) publish(now int64) {
	for s := m.kindsSet; s != 0; s &= s - 1 {
		i := bits.TrailingZeros32(s)
		m.pub.kinds[i].Store(m.kinds[i])
	}
	for s := m.checksSet; s != 0; s &= s - 1 {
		i := bits.TrailingZeros32(s)
		m.pub.checks[i].Store(m.checks[i])
	}
	for s := m.recvSet; s != 0; s &= s - 1 {
		i := bits.TrailingZeros32(s)
		m.pub.recv[i].Store(m.recv[i])
		if h := m.exchange[i]; h != nil {
			h.FlushTo(m.pub.exchange[i].Load())
		}
	}
	m.kindsSet, m.checksSet, m.recvSet = 0, 0, 0
	if m.timed {
		m.pub.ahead.Store(m.ahead)
		if len(m.frames) > 0 {
			m.times(now)
		}
		m.record.FlushTo(&m.pub.record)
	}
}

func (l *Lane) countStreams() {
	var all, broken [maxChannels]int64
	for _, in := range l.insts {
		for _, st := range in.streams {
			ch := st.Channel & (maxChannels - 1)
			all[ch]++
			if st.Open.Cause != market.CauseNone {
				broken[ch]++
			}
		}
	}
	for ch := range all {
		l.meter.pub.streams[ch].Store(all[ch])
		l.meter.pub.broken[ch].Store(broken[ch])
	}
}

// Backlog is what is journalled and not decoded yet.
type Backlog struct {
	Bytes uint64
	Age   time.Duration // of its oldest frame
}

// Report emits the lane's values. It may be called from any goroutine; all but
// what is rare is as of the last Publish.
func (l *Lane) Report(e *telemetry.Emitter, feed string, lag Backlog) {
	m, c := &l.meter, &l.Counts
	e.Count(mEntries, uint64(c.Entries.Load()), feed)
	for k := range m.pub.kinds {
		if n := m.pub.kinds[k].Load(); n > 0 {
			e.Count(mRecords, n, feed, market.Kind(k).String())
		}
	}
	e.Count(mLag, lag.Bytes, feed)
	e.Value(mLagAge, lag.Age.Seconds(), feed)
	var slowest map[market.Channel]*telemetry.Exemplar
	if e.Exemplars {
		slowest = l.slowest()
	}
	for ch := range maxChannels {
		streams, recv := m.pub.streams[ch].Load(), m.pub.recv[ch].Load()
		if streams == 0 && recv == 0 {
			continue
		}
		name := market.Channel(ch).String()
		e.Value(mStreams, float64(streams), feed, name)
		e.Value(mBroken, float64(m.pub.broken[ch].Load()), feed, name)
		if recv > 0 {
			e.Value(mLast, float64(recv)/1e9, feed, name)
		}
		if h := m.pub.exchange[ch].Load(); h != nil {
			e.HistogramLike(mExchange, h.Snapshot(), slowest[market.Channel(ch)], feed, name)
		}
		e.Count(mMissing, m.missing[ch].Load(), feed, name)
		e.Count(mDuplicates, m.duplicates[ch].Load(), feed, name)
		e.Count(mOutOfOrder, m.outOfOrder[ch].Load(), feed, name)
		for cause := range m.gaps[ch] {
			if n, usual := m.gaps[ch][cause].Load(), usualGaps&(1<<cause) != 0; n > 0 || usual {
				e.Count(mGaps, n, feed, name, market.Cause(cause).String())
			}
		}
	}
	if m.timed {
		e.Count(mAhead, m.pub.ahead.Load(), feed)
		e.Histogram(mRecordTime, m.pub.record.Snapshot(), feed)
	}
	if spec := l.specs[market.ChannelTrades]; spec != nil && spec.History != nil {
		for i, result := range fillResults {
			e.Count(mBackfills, m.fills[i].Load(), feed, result)
		}
		e.Count(mBackfilled, m.backfilled.Load(), feed)
		e.Value(mBackfilling, float64(m.filling.Load()), feed)
	}
	e.Value(mDecodeErrors, float64(c.DecodeErrors.Load()), feed)
	for _, cause := range []market.Cause{market.CauseRejected, market.CauseMaintenance} {
		e.Count(mNotices, m.notices[cause].Load(), feed, cause.String())
	}
	e.Value(mDiverged, float64(c.Diverged.Load()), feed)

	e.Value(mTracked, float64(c.Books.Load()), feed)
	e.Value(mSynced, float64(c.BooksSynced.Load()), feed)
	for cause := range m.resyncs {
		name := market.Cause(cause).String()
		if cause == int(market.CauseNone) {
			name = "start"
		}
		if n := m.resyncs[cause].Load(); n > 0 {
			e.Count(mResyncs, n, feed, name)
		}
	}
	if c.Books.Load() > 0 {
		e.Histogram(mResync, m.resync.Snapshot(), feed)
		for i, result := range []string{"applied", "stale", "unsynced"} {
			e.Count(mUpdates, m.pub.checks[i].Load(), feed, result)
		}
		e.Count(mChecksums, m.pub.checks[checkSumOK].Load(), feed, "ok")
		e.Count(mChecksums, m.pub.checks[checkSumBad].Load(), feed, "bad")
		e.Value(mCrossed, float64(c.Crossed.Load()), feed)
	}
}

// slowest are the last records of those streams whose last record was the latest,
// by channel: symbols are too many to be labels.
func (l *Lane) slowest() map[market.Channel]*telemetry.Exemplar {
	by := map[market.Channel]*telemetry.Exemplar{}
	for _, s := range l.Streams(nil) {
		if x := by[s.Channel]; s.Delay.Known && (x == nil || s.Delay.Last > x.Value) {
			by[s.Channel] = &telemetry.Exemplar{Label: "symbol", Of: s.Symbol, Value: max(s.Delay.Last, 0), At: time.Unix(0, s.LastRecv)}
		}
	}
	return by
}

// usualGaps are the causes that are shown at 0 as well, a bit each: a rate sees
// their first one.
const usualGaps = 1<<market.CauseGap | 1<<market.CauseDisconnect | 1<<market.CauseStale
