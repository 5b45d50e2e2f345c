package engine

import (
	"math"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/runtime/telemetry"
)

// The metrics of the runtime as a whole, of checkpoints and of sinks. Journals,
// lanes, books and plugins have theirs beside them.
var (
	runtimeMetrics = telemetry.NewLayer("runtime")
	mReady         = runtimeMetrics.Gauge(telemetry.Complete, "ready", "1 while every feed collects and every sink writes; at 0, /readyz says what is missing.")
	mReloads       = runtimeMetrics.Counter(telemetry.Changed, "reloads_total", "Reloads of the pipeline by their result; after invalid or failed the pipeline before it is in force, and the log says why.", "result")
	mReloaded      = runtimeMetrics.Gauge(telemetry.Changed, "last_reload_success_timestamp_seconds", "When a reload was last taken over or found nothing new; older than the last deployment means that it was not taken over.")
	mFeedReady     = runtimeMetrics.Gauge(telemetry.Who, "feed_ready", "1 while the feed's plugin runs, its connections are live and its books in force; at 0, /api/v1/status says what is missing.", "feed")
	mStarted       = runtimeMetrics.Gauge(telemetry.Changed, "start_timestamp_seconds", "When this runtime was started; a value that jumps is a restart that somebody should know of.")
	mBuild         = runtimeMetrics.Gauge(telemetry.Changed, "build_info", "Always 1; its labels say which build runs, so that a change of version stands beside what it changed.", "version", "go_version")
	mPlan          = runtimeMetrics.Gauge(telemetry.Changed, "plan_info", "Always 1; its labels are the pipeline and the digest of its plan, which changes when the pipeline does.", "pipeline", "plan")
	mFeeds         = runtimeMetrics.Gauge(telemetry.Changed, "feeds", "Feeds in the plan: a venue and market each.")
	mSinks         = runtimeMetrics.Gauge(telemetry.Changed, "sinks", "Sinks in the plan, whether or not they write.")
	mDiskFree      = runtimeMetrics.Gauge(telemetry.RunsOut, "disk_free_bytes", "Bytes that are free for journals on the data directory's file system; at less than a segment, connections are closed until there is room.")
	mDiskSize      = runtimeMetrics.Gauge(telemetry.RunsOut, "disk_size_bytes", "Size of the data directory's file system, whoever uses it.")
	mHolds         = runtimeMetrics.Counter(telemetry.Late, "holds_total", "Times that a connection's reader waited since the lane was half of max_size behind: the plugin is too slow, and the venue may cut the connection.", "feed")
	mSelected      = runtimeMetrics.Gauge(telemetry.Changed, "selected_instruments", "Instruments of the feed that selectors have chosen; a step beside listings or delistings in the log is the venue's, any other one deserves a look.", "feed")
	mSelections    = runtimeMetrics.Counter(telemetry.Changed, "selection_changes_total", "Instruments that selectors have taken or left out while running; the log and the instrument records say which, and why.", "feed", "change")
	mCatalogues    = runtimeMetrics.Counter(telemetry.Complete, "catalogues_total", "Catalogues that selectors asked for; while doubted or failed grows, what is collected does not follow the venue, and the log says why.", "feed", "result")
	mCatalogued    = runtimeMetrics.Gauge(telemetry.Complete, "catalogue_timestamp_seconds", "When the feed's last catalogue was believed, or its selection came up; older than a few refresh intervals means that listings are missed.", "feed")

	checkpointMetrics = telemetry.NewLayer("checkpoint")
	mCheckpoints      = checkpointMetrics.Counter(telemetry.Changed, "writes_total", "Checkpoints written of the lane's state; one each segment of frames.", "feed")
	mCheckpointErrors = checkpointMetrics.Counter(telemetry.RunsOut, "errors_total", "Checkpoints that could not be written, the log says why; a restart begins at the one before and derives more again.", "feed")
	mCheckpointTime   = checkpointMetrics.Histogram(telemetry.Late, "write_seconds", "Time that the lane stood still for a checkpoint; grows with books and their depth.", "feed")
	mCheckpointAt     = checkpointMetrics.Gauge(telemetry.RunsOut, "timestamp_seconds", "When the newest checkpoint was written or, at a start, read.", "feed")
	mCheckpointBehind = checkpointMetrics.Gauge(telemetry.Late, "behind_bytes", "Bytes of frames since the newest checkpoint: what a restart would derive again before it is up to date.", "feed")

	sinkMetrics    = telemetry.NewLayer("sink")
	mSinkRecords   = sinkMetrics.Counter(telemetry.Who, "records_total", "Records handed to the sink, repetitions included; if it stands still while lag grows, the store is the cause.", "sink")
	mSinkBatches   = sinkMetrics.Counter(telemetry.Who, "batches_total", "Batches that the sink has written; records_total divided by it is their size.", "sink")
	mSinkRolls     = sinkMetrics.Counter(telemetry.Late, "rolls_total", "Rolls committed; a file is readable after its roll.", "sink")
	mSinkRetries   = sinkMetrics.Counter(telemetry.Changed, "retries_total", "Batches that the store refused and that are tried again; the log says why.", "sink")
	mSinkRepeated  = sinkMetrics.Counter(telemetry.Changed, "repeated_total", "Batches and rolls that were under way when the plugin's process ended; the same ranges are written again.", "sink")
	mSinkRefused   = sinkMetrics.Counter(telemetry.Complete, "refused_total", "Batches that no retry can help: the sink has stopped, its records stay in the journals until retention takes them.", "sink")
	mSinkDropped   = sinkMetrics.Counter(telemetry.Complete, "dropped_total", "Times that retention passed the sink's cursor: data is lost to this sink; raise max_size, or mend the store.", "sink")
	mSinkLag       = sinkMetrics.Gauge(telemetry.Late, "lag_bytes", "Journalled bytes that the sink has not committed; compare with max_size.", "sink")
	mSinkLagAge    = sinkMetrics.Gauge(telemetry.Late, "lag_seconds", "Age, since reception, of the oldest record that is not committed, 0 if all are; up to roll_every where commits roll, more means that the store is slow or away.", "sink")
	mSinkCommit    = sinkMetrics.Histogram(telemetry.Late, "commit_latency_seconds", "Time from reception to commit of the oldest records of each commit.", "sink")
	mSinkWrite     = sinkMetrics.Histogram(telemetry.Late, "write_seconds", "Time that the sink took for a batch (write) or a roll (flush), failures included; if it grows, the store is slow.", "sink", "op")
	mSinkCommitted = sinkMetrics.Gauge(telemetry.Late, "last_commit_timestamp_seconds", "When the sink committed last; 0 before the first commit of this run.", "sink")
	mSinkBackoff   = sinkMetrics.Gauge(telemetry.Changed, "backoff_seconds", "Time until a refused batch is tried again, 0 if none waits; 30 s is the longest unless the store asks for more.", "sink")
	mSinkPassed    = sinkMetrics.Gauge(telemetry.RunsOut, "until_dropped_seconds", "Time until retention passes the sink's cursor if it stands still, at the journals' present rate; infinite while nothing is appended. Mend the store before, or raise max_size.", "sink")
)

// Descs are all the metrics that this package reports.
func Descs() (all []*telemetry.Desc) {
	for _, l := range []*telemetry.Layer{runtimeMetrics, checkpointMetrics, sinkMetrics} {
		all = append(all, l.Metrics()...)
	}
	return all
}

// checkpointMeter is what is counted of a feed's checkpoints.
type checkpointMeter struct {
	writes, errors atomic.Uint64
	at, wall       atomic.Int64 // position, and time, of the newest
	took           telemetry.Histogram
}

// sinkMeter is what is counted of a sink beside its driver's counters.
type sinkMeter struct {
	repeated, refused    atomic.Uint64
	committed, backoff   atomic.Int64 // ns: when it committed last, until when it waits
	commit, write, flush telemetry.Histogram
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unix(ns int64) float64 { return float64(ns) / 1e9 }

func (e *Engine) report(m *telemetry.Emitter) {
	p, feeds, sinks := e.now()
	ready, _ := e.Ready()
	m.Value(mReady, truth(ready))
	m.Value(mStarted, unix(e.started.UnixNano()))
	m.Value(mBuild, 1, e.opt.Build, runtime.Version())
	m.Value(mPlan, 1, p.Pipeline, p.Digest)
	m.Value(mFeeds, float64(len(feeds)))
	m.Value(mSinks, float64(len(sinks)))
	if free, size, err := journal.Space(e.dir); err == nil {
		m.Count(mDiskFree, free)
		m.Count(mDiskSize, size)
	}
	e.reportReloads(m)
	e.budgets.Report(m)
	for _, f := range feeds {
		f.report(m)
		if slices.ContainsFunc(p.Selected, func(s plan.Selected) bool { return slices.Contains(f.p.Sources, s.Source) }) {
			e.followMeter(f.p.Name).report(m, f.p.Name)
		}
	}
	for _, d := range sinks {
		d.report(m)
	}
}

func (f *followMeter) report(m *telemetry.Emitter, feed string) {
	m.Value(mSelected, float64(f.chosen.Load()), feed)
	m.Count(mSelections, f.added.Load(), feed, "taken")
	m.Count(mSelections, f.removed.Load(), feed, "left_out")
	m.Count(mCatalogues, f.believed.Load(), feed, "believed")
	m.Count(mCatalogues, f.doubted.Load(), feed, "doubted")
	m.Count(mCatalogues, f.failed.Load(), feed, "failed")
	m.Value(mCatalogued, unix(f.at.Load()), feed)
}

func (f *feed) report(m *telemetry.Emitter) {
	name := f.p.Name
	ready, _ := f.ready()
	m.Value(mFeedReady, truth(ready), name)
	f.frames.Report(m, name, "frames")
	f.records.Report(m, name, "records")
	for _, p := range f.processors {
		p.journal.Report(m, name, p.name)
	}
	f.lane.Report(m, name, f.backlogNow())
	f.src.Report(m)
	if f.conn != nil {
		f.conn.Report(m)
		m.Value(mHolds, float64(f.framesConn.held.Load()), name)
	}
	c := &f.checkpointMeter
	m.Count(mCheckpoints, c.writes.Load(), name)
	m.Count(mCheckpointErrors, c.errors.Load(), name)
	m.Histogram(mCheckpointTime, c.took.Snapshot(), name)
	m.Value(mCheckpointAt, unix(c.wall.Load()), name)
	m.Value(mCheckpointBehind, float64(max(0, f.lane.Counts.Next.Load()-c.at.Load())), name)
}

// backlogNow is what waits for the lane. What the journal can't tell is 0: the
// bytes are known in any case.
func (f *feed) backlogNow() (b flow.Backlog) {
	next, tail := uint64(f.lane.Counts.Next.Load()), f.frames.Tail()
	if next >= tail {
		return b
	}
	b.Bytes = tail - next
	if wall, ok, err := f.frames.WallAfter(next); ok && err == nil {
		b.Age = max(0, time.Since(time.Unix(0, wall)))
	}
	return b
}

func (d *sinkDriver) report(m *telemetry.Emitter) {
	name, now := d.p.Name, time.Now()
	m.Value(mSinkRecords, float64(d.Records.Load()), name)
	m.Value(mSinkBatches, float64(d.Batches.Load()), name)
	m.Value(mSinkRolls, float64(d.Rolls.Load()), name)
	m.Value(mSinkRetries, float64(d.Retries.Load()), name)
	m.Count(mSinkRepeated, d.meter.repeated.Load(), name)
	m.Count(mSinkRefused, d.meter.refused.Load(), name)
	m.Value(mSinkDropped, float64(d.Passed.Load()), name)
	m.Count(mSinkLag, d.lag(), name)
	age, left := time.Duration(0), math.Inf(1)
	for _, t := range d.tracks {
		cursor := t.slot.Load().Cursor
		left = min(left, t.j.UntilPassed(cursor))
		if wall, ok, err := t.j.WallAfter(max(cursor, t.j.Oldest())); ok && err == nil {
			age = max(age, now.Sub(time.Unix(0, wall)))
		}
	}
	m.Value(mSinkLagAge, age.Seconds(), name)
	m.Histogram(mSinkCommit, d.meter.commit.Snapshot(), name)
	m.Histogram(mSinkWrite, d.meter.write.Snapshot(), name, "write")
	m.Histogram(mSinkWrite, d.meter.flush.Snapshot(), name, "flush")
	m.Value(mSinkCommitted, unix(d.meter.committed.Load()), name)
	m.Value(mSinkBackoff, max(0, unix(d.meter.backoff.Load()-now.UnixNano())), name)
	m.Value(mSinkPassed, left, name)
	d.proc.Report(m)
}
