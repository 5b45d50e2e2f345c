package engine

import (
	"time"

	"github.com/marketprism/marketprism/runtime/conn"
	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/telemetry"
)

// Status is what the runtime is doing.
type Status struct {
	Since time.Time    `json:"since"`
	Ready bool         `json:"ready"`
	Why   string       `json:"why,omitempty"`
	Feeds []FeedStatus `json:"feeds"`
	Sinks []SinkStatus `json:"sinks"`
}

// FeedStatus is one feed's.
type FeedStatus struct {
	Name         string           `json:"name"`
	State        string           `json:"state"`
	Plugin       host.State       `json:"plugin"`
	Connections  []conn.ConnStats `json:"connections"`
	Frames       uint64           `json:"frames"`
	FrameBytes   uint64           `json:"frame_bytes"`
	Records      int64            `json:"records"`
	LagBytes     uint64           `json:"lag_bytes"` // journalled and not decoded yet
	Gaps         int64            `json:"gaps"`
	Missing      int64            `json:"missing"`
	DecodeErrors int64            `json:"decode_errors"`
	Duplicates   int64            `json:"duplicates"`
	Resyncs      int64            `json:"resyncs"`
	Books        int64            `json:"books"`
	BooksSynced  int64            `json:"books_synced"`
	LastFrame    time.Time        `json:"last_frame,omitzero"`
	Diverged     int64            `json:"diverged,omitempty"`
}

// SinkStatus is one sink's.
type SinkStatus struct {
	Name       string     `json:"name"`
	State      string     `json:"state"`
	Plugin     host.State `json:"plugin"`
	Records    int64      `json:"records"`
	Batches    int64      `json:"batches"`
	Rolls      int64      `json:"rolls"`
	Retries    int64      `json:"retries"`
	Dropped    int64      `json:"dropped"` // times that retention passed its cursor
	LagBytes   uint64     `json:"lag_bytes"`
	LastCommit time.Time  `json:"last_commit,omitzero"` // receive time of the last record committed
}

// Status says what the runtime is doing.
func (e *Engine) Status() Status {
	s := Status{Since: e.started}
	s.Ready, s.Why = e.Ready()
	for _, f := range e.feeds {
		c := &f.lane.Counts
		f.mu.Lock()
		state := f.state
		f.mu.Unlock()
		js := f.frames.Stats()
		fs := FeedStatus{Name: f.p.Name, State: state, Plugin: f.src.State(), Frames: js.Records, FrameBytes: js.Bytes, Records: c.Records.Load(),
			Gaps: c.Gaps.Load(), Missing: c.Missing.Load(), DecodeErrors: c.DecodeErrors.Load(), Duplicates: c.Duplicates.Load(),
			Resyncs: c.Resyncs.Load(), Books: c.Books.Load(), BooksSynced: c.BooksSynced.Load(), Diverged: c.Diverged.Load()}
		if next := c.Next.Load(); uint64(next) < js.Tail {
			fs.LagBytes = js.Tail - uint64(next)
		}
		if t := c.LastRecv.Load(); t > 0 {
			fs.LastFrame = time.Unix(0, t)
		}
		if f.conn != nil {
			fs.Connections = f.conn.Stats()
		}
		s.Feeds = append(s.Feeds, fs)
	}
	for _, d := range e.sinks {
		d.mu.Lock()
		state := d.state
		d.mu.Unlock()
		ss := SinkStatus{Name: d.p.Name, State: state, Plugin: d.proc.State(), Records: d.Records.Load(), Batches: d.Batches.Load(),
			Rolls: d.Rolls.Load(), Retries: d.Retries.Load(), Dropped: d.Passed.Load(), LagBytes: d.lag()}
		if t := d.CommitWall.Load(); t > 0 {
			ss.LastCommit = time.Unix(0, t)
		}
		s.Sinks = append(s.Sinks, ss)
	}
	return s
}

// Ready says whether every feed is collecting and every sink writing.
func (e *Engine) Ready() (bool, string) {
	for _, f := range e.feeds {
		if ok, why := f.ready(); !ok {
			return false, "feed " + f.p.Name + ": " + why
		}
	}
	for _, d := range e.sinks {
		if st := d.proc.State(); st.Phase != host.Running {
			return false, "sink " + d.p.Name + ": plugin " + string(st.Phase) + ": " + st.Why
		}
	}
	return true, "ready"
}

// report gives the metrics of feeds, journals and sinks.
func (e *Engine) report(emit func(telemetry.Sample)) {
	s := e.Status()
	counter := func(name, help string, v float64, labels ...string) {
		emit(telemetry.Sample{Name: "marketprism_" + name, Help: help, Type: telemetry.Counter, Value: v, Labels: labels})
	}
	gauge := func(name, help string, v float64, labels ...string) {
		emit(telemetry.Sample{Name: "marketprism_" + name, Help: help, Type: telemetry.Gauge, Value: v, Labels: labels})
	}
	ready := 0.0
	if s.Ready {
		ready = 1
	}
	gauge("ready", "1 while every feed collects and every sink writes; at 0, /readyz says what is missing.", ready)
	for i := range s.Feeds {
		f := &s.Feeds[i]
		l := []string{"feed", f.Name}
		counter("journal_frames_total", "Records appended to the frames journal.", float64(f.Frames), l...)
		counter("journal_frame_bytes_total", "Bytes appended to the frames journal.", float64(f.FrameBytes), l...)
		counter("flow_records_total", "Records that the lane made.", float64(f.Records), l...)
		gauge("flow_lag_bytes", "Journalled bytes that are not decoded yet; if it grows, the plugin or the lane is too slow.", float64(f.LagBytes), l...)
		counter("flow_gaps_total", "Gaps published as quality records; look at them by cause in the data.", float64(f.Gaps), l...)
		counter("flow_missing_total", "Messages known to be missing.", float64(f.Missing), l...)
		counter("flow_decode_errors_total", "Frames that the plugin refused; each is a quality record.", float64(f.DecodeErrors), l...)
		counter("flow_duplicates_total", "Records dropped because another connection had delivered them.", float64(f.Duplicates), l...)
		counter("book_resyncs_total", "Books built anew.", float64(f.Resyncs), l...)
		gauge("books", "Books of this feed.", float64(f.Books), l...)
		gauge("books_synced", "Books in force; fewer than marketprism_books means that some wait for a snapshot.", float64(f.BooksSynced), l...)
		counter("plugin_restarts_total", "Restarts of the plugin process.", float64(f.Plugin.Restarts), "plugin", "source/"+f.Name)
		live := 0
		for _, c := range f.Connections {
			if c.State == conn.StateLive {
				live++
			}
		}
		gauge("connections", "WebSocket connections that are live.", float64(live), l...)
	}
	for i := range s.Sinks {
		k := &s.Sinks[i]
		l := []string{"sink", k.Name}
		counter("sink_records_total", "Records handed to the sink, repetitions included.", float64(k.Records), l...)
		counter("sink_batches_total", "Batches written.", float64(k.Batches), l...)
		counter("sink_rolls_total", "Rolls committed.", float64(k.Rolls), l...)
		counter("sink_retries_total", "Batches that the store refused and that are tried again; the log says why.", float64(k.Retries), l...)
		counter("sink_dropped_total", "Times that retention passed the sink's cursor: data is lost to this sink.", float64(k.Dropped), l...)
		gauge("sink_lag_bytes", "Journalled bytes that the sink has not committed.", float64(k.LagBytes), l...)
		counter("plugin_restarts_total", "Restarts of the plugin process.", float64(k.Plugin.Restarts), "plugin", "sink/"+k.Name)
	}
}
