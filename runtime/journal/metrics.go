package journal

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// The metrics of journals. The label journal is frames, records, or the name of
// a processor's.
var (
	layer       = telemetry.NewLayer("journal")
	mRecords    = layer.Counter(telemetry.Who, "records_total", "Records appended since the start; if those of a frames journal stand still, look at the feed's connections.", "feed", "journal")
	mBytes      = layer.Counter(telemetry.RunsOut, "bytes_total", "Bytes appended since the start; their rate times max_age is the disk that the journal needs.", "feed", "journal")
	mRefused    = layer.Counter(telemetry.Complete, "refused_total", "Appends refused; disk_full: free space, connections wait meanwhile; too_large: a message of more than 16 MiB, which is lost.", "feed", "journal", "cause")
	mFull       = layer.Gauge(telemetry.RunsOut, "full", "1 while no segment can be allocated: free space on the data directory's file system, or lower max_size.", "feed", "journal")
	mUsed       = layer.Gauge(telemetry.RunsOut, "used_bytes", "Bytes of all segment files, those prepared ahead included; at most max_bytes.", "feed", "journal")
	mMax        = layer.Gauge(telemetry.RunsOut, "max_bytes", "The journal's max_size: what it takes of the disk in the end.", "feed", "journal")
	mRetained   = layer.Gauge(telemetry.RunsOut, "retained_seconds", "Age of the oldest record kept: how far back a replay reaches, and how long a sink may be away.", "feed", "journal")
	mFill       = layer.Gauge(telemetry.RunsOut, "fill_seconds", "Time until max_size is reached and the oldest segment goes, at the present rate; infinite while nothing is appended, near 0 for good once it is full.", "feed", "journal")
	mSegments   = layer.Gauge(telemetry.RunsOut, "segments", "Segment files that hold records.", "feed", "journal")
	mDropped    = layer.Counter(telemetry.RunsOut, "segments_dropped_total", "Segments that retention took, by age or by size; readers that needed them are counted in readers_passed_total.", "feed", "journal")
	mLate       = layer.Counter(telemetry.Late, "segments_late_total", "Segments that were not prepared in time, so that an append waited for the file system: the disk is slow, or segment_size too small.", "feed", "journal")
	mPassed     = layer.Counter(telemetry.Complete, "readers_passed_total", "Segments that retention took before a reader had read them: they are gone for it; raise max_size, or mend the reader.", "feed", "journal")
	mSync       = layer.Histogram(telemetry.Late, "sync_seconds", "Time that one sync to the disk took; if it grows, the disk is slow, and a power failure takes more.", "feed", "journal")
	mSynced     = layer.Counter(telemetry.RunsOut, "synced_bytes_total", "Bytes that syncs have forced to the disk.", "feed", "journal")
	mUnsynced   = layer.Gauge(telemetry.RunsOut, "unsynced_bytes", "Bytes appended and not known to be on the disk: what a power failure may take; under sync = \"process\" the kernel's business.", "feed", "journal")
	mSyncErrors = layer.Counter(telemetry.Complete, "sync_errors_total", "Syncs that failed: the disk refuses writes; read the kernel's log, and move the data directory.", "feed", "journal")
	mClean      = layer.Gauge(telemetry.Changed, "recovered_clean", "1 if the run before this one closed the journal, or there was none; 0 after a kill or a power failure.", "feed", "journal")
	mBad        = layer.Gauge(telemetry.Complete, "recovered_bad_records", "Damaged places that recovery skipped at this start; what stood there is lost, its neighbours are kept.", "feed", "journal")
	mTorn       = layer.Gauge(telemetry.Complete, "recovered_torn_bytes", "Bytes of unfinished appends that recovery cut off at this start.", "feed", "journal")
	mDamaged    = layer.Gauge(telemetry.Complete, "recovered_damaged_segments", "Segment files that recovery set aside at this start since their header can't be believed; they are named in the log.", "feed", "journal")
)

// Descs are the metrics of journals.
func Descs() []*telemetry.Desc { return layer.Metrics() }

// Report emits the journal's values under the names of its feed and its own.
func (j *Journal) Report(e *telemetry.Emitter, feed, name string) {
	s, now := j.Stats(), time.Now()
	count := func(d *telemetry.Desc, n uint64) { e.Count(d, n, feed, name) }
	value := func(d *telemetry.Desc, v float64) { e.Value(d, v, feed, name) }
	count(mRecords, s.Records)
	count(mBytes, s.Bytes)
	e.Count(mRefused, s.DiskFull, feed, name, "disk_full")
	e.Count(mRefused, s.TooLarge, feed, name, "too_large")
	value(mFull, truth(j.noRoom.Load()))
	value(mUsed, float64(s.TotalBytes))
	value(mMax, float64(j.opt.MaxBytes))
	value(mRetained, j.retained(now).Seconds())
	value(mFill, max(0, float64(j.Slack(s.Oldest)))/j.rate.of(now, s.Bytes))
	count(mSegments, uint64(s.Segments))
	count(mDropped, s.Recycled+s.Unlinked)
	count(mLate, s.Late)
	count(mPassed, s.Passed)
	e.Histogram(mSync, j.syncTime.Snapshot(), feed, name)
	count(mSynced, s.SyncedBytes)
	count(mUnsynced, s.Tail-min(s.Synced, s.Tail))
	count(mSyncErrors, s.SyncErrors)
	value(mClean, truth(j.found.Clean || j.found.End == 0))
	count(mBad, j.found.Skipped)
	count(mTorn, j.found.Truncated)
	count(mDamaged, uint64(len(j.found.Damaged)))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// retained is the age of the oldest record kept.
func (j *Journal) retained(now time.Time) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.cur
	if len(j.sealed) > 0 {
		s = j.sealed[0]
	}
	if s.count == 0 {
		return 0
	}
	return max(0, time.Duration(now.UnixNano()-s.first))
}

// UntilPassed is the time until retention passes pos, at the present rate;
// infinite while nothing is appended. Readers look at it that may be slow.
func (j *Journal) UntilPassed(pos shm.Position) (seconds float64) {
	if pos < j.Oldest() {
		return 0
	}
	return max(0, float64(j.Slack(pos))) / j.rate.of(time.Now(), j.Stats().Bytes)
}

// WallAfter is the time of the first record at or after pos, in nanoseconds;
// false if there is none. It reads the journal: it is for those who ask now and
// then.
func (j *Journal) WallAfter(pos shm.Position) (wall int64, ok bool, err error) {
	tail := j.Tail()
	if pos >= tail {
		return 0, false, nil
	}
	r, err := shm.OpenRange(j.opt.Dir, pos, tail, nil)
	if err != nil {
		return 0, false, fmt.Errorf("journal: look at %d: %w", pos, err)
	}
	defer r.Close()
	rec, ok, err := r.Next()
	if err != nil {
		return 0, false, fmt.Errorf("journal: look at %d: %w", pos, err)
	}
	return rec.Wall, ok, nil
}

// rateOver is what a rate is taken over at least, once the journal is as old.
const rateOver = 30 * time.Second

// rate is the bytes appended a second over the last half to whole minute that
// somebody looked.
type rate struct {
	mu        sync.Mutex
	base, mid amount
}

type amount struct {
	at    time.Time
	bytes uint64
}

// of is never 0, so that what is divided by it is infinite at worst.
func (r *rate) of(now time.Time, bytes uint64) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.mid.at) >= rateOver {
		r.base, r.mid = r.mid, amount{now, bytes}
	}
	from := r.base
	if from.at.IsZero() {
		from = r.mid
	}
	d := now.Sub(from.at).Seconds()
	if d <= 0 || bytes <= from.bytes {
		return math.SmallestNonzeroFloat64
	}
	return float64(bytes-from.bytes) / d
}
