package engine

import (
	"github.com/marketprism/marketprism/runtime/telemetry"
)

// The metrics of feeds, journals, plugins and sinks.
var (
	runtimeMetrics = telemetry.NewLayer("runtime")
	mReady         = runtimeMetrics.Gauge(telemetry.Complete, "ready", "1 while every feed collects and every sink writes; at 0, /readyz says what is missing.")
	mReloads       = runtimeMetrics.Counter(telemetry.Changed, "reloads_total", "Reloads of the pipeline by their result; after invalid or failed the pipeline before it is in force, and the log says why.", "result")
	mReloaded      = runtimeMetrics.Gauge(telemetry.Changed, "last_reload_success_timestamp_seconds", "When a reload was last taken over or found nothing new; older than the last deployment means that it was not taken over.")

	journalMetrics = telemetry.NewLayer("journal")
	mFrames        = journalMetrics.Counter(telemetry.Who, "frames_total", "Records appended to the frames journal; if it stands still, look at the feed's connections.", "feed")
	mFrameBytes    = journalMetrics.Counter(telemetry.RunsOut, "frame_bytes_total", "Bytes appended to the frames journal; its rate times max_age is the disk it needs.", "feed")

	flowMetrics   = telemetry.NewLayer("flow")
	mRecords      = flowMetrics.Counter(telemetry.Who, "records_total", "Records that the lane made; if frames come and records don't, the plugin refuses them.", "feed")
	mLag          = flowMetrics.Gauge(telemetry.Late, "lag_bytes", "Journalled bytes that are not decoded yet; if it grows, the plugin or the lane is too slow.", "feed")
	mGaps         = flowMetrics.Counter(telemetry.Complete, "gaps_total", "Gaps published as quality records; look at them by cause in the data.", "feed")
	mMissing      = flowMetrics.Counter(telemetry.Complete, "missing_total", "Messages known to be missing; the quality records say which.", "feed")
	mDecodeErrors = flowMetrics.Counter(telemetry.Complete, "decode_errors_total", "Frames that the plugin refused; each is a quality record that names the frame.", "feed")
	mDuplicates   = flowMetrics.Counter(telemetry.Changed, "duplicates_total", "Records dropped because another connection had delivered them.", "feed")

	bookMetrics  = telemetry.NewLayer("book")
	mResyncs     = bookMetrics.Counter(telemetry.Complete, "resyncs_total", "Books built anew; if it goes on growing, the venue's sequence breaks or its snapshots come late.", "feed")
	mBooks       = bookMetrics.Gauge(telemetry.Complete, "tracked", "Books that this feed keeps now.", "feed")
	mBooksSynced = bookMetrics.Gauge(telemetry.Complete, "synced", "Books in force; fewer than marketprism_book_tracked means that some wait for a snapshot.", "feed")

	pluginMetrics = telemetry.NewLayer("plugin")
	mRestarts     = pluginMetrics.Counter(telemetry.Changed, "restarts_total", "Restarts of the plugin process; the log has its last lines.", "plugin")

	sinkMetrics  = telemetry.NewLayer("sink")
	mSinkRecords = sinkMetrics.Counter(telemetry.Who, "records_total", "Records handed to the sink, repetitions included.", "sink")
	mSinkBatches = sinkMetrics.Counter(telemetry.Who, "batches_total", "Batches that the sink has written.", "sink")
	mSinkRolls   = sinkMetrics.Counter(telemetry.Late, "rolls_total", "Rolls committed; a file is readable after its roll.", "sink")
	mSinkRetries = sinkMetrics.Counter(telemetry.Changed, "retries_total", "Batches that the store refused and that are tried again; the log says why.", "sink")
	mSinkDropped = sinkMetrics.Counter(telemetry.Complete, "dropped_total", "Times that retention passed the sink's cursor: data is lost to this sink; raise max_size, or mend the store.", "sink")
	mSinkLag     = sinkMetrics.Gauge(telemetry.Late, "lag_bytes", "Journalled bytes that the sink has not committed; compare with max_size.", "sink")
)

// Descs are all the metrics that this package reports.
func Descs() (all []*telemetry.Desc) {
	for _, l := range []*telemetry.Layer{runtimeMetrics, journalMetrics, flowMetrics, bookMetrics, pluginMetrics, sinkMetrics} {
		all = append(all, l.Metrics()...)
	}
	return all
}

func (e *Engine) report(m *telemetry.Emitter) {
	s := e.Status()
	ready := 0.0
	if s.Ready {
		ready = 1
	}
	m.Value(mReady, ready)
	e.reportReloads(m)
	for i := range s.Feeds {
		f := &s.Feeds[i]
		m.Count(mFrames, f.Frames, f.Name)
		m.Count(mFrameBytes, f.FrameBytes, f.Name)
		m.Value(mRecords, float64(f.Records), f.Name)
		m.Count(mLag, f.LagBytes, f.Name)
		m.Value(mGaps, float64(f.Gaps), f.Name)
		m.Value(mMissing, float64(f.Missing), f.Name)
		m.Value(mDecodeErrors, float64(f.DecodeErrors), f.Name)
		m.Value(mDuplicates, float64(f.Duplicates), f.Name)
		m.Value(mResyncs, float64(f.Resyncs), f.Name)
		m.Value(mBooks, float64(f.Books), f.Name)
		m.Value(mBooksSynced, float64(f.BooksSynced), f.Name)
		m.Value(mRestarts, float64(f.Plugin.Restarts), "source/"+f.Name)
	}
	for i := range s.Sinks {
		k := &s.Sinks[i]
		m.Value(mSinkRecords, float64(k.Records), k.Name)
		m.Value(mSinkBatches, float64(k.Batches), k.Name)
		m.Value(mSinkRolls, float64(k.Rolls), k.Name)
		m.Value(mSinkRetries, float64(k.Retries), k.Name)
		m.Value(mSinkDropped, float64(k.Dropped), k.Name)
		m.Count(mSinkLag, k.LagBytes, k.Name)
		m.Value(mRestarts, float64(k.Plugin.Restarts), "sink/"+k.Name)
	}
}
