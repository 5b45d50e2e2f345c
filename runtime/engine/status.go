package engine

import (
	"time"

	"github.com/marketprism/marketprism/runtime/conn"
	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/plan"
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
	_, feeds, sinks := e.now()
	for _, f := range feeds {
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
	for _, d := range sinks {
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

// now is what runs at this moment; the slices are replaced, never changed.
func (e *Engine) now() (*plan.Plan, []*feed, []*sinkDriver) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.plan, e.feeds, e.sinks
}

// Ready says whether every feed is collecting and every sink writing.
func (e *Engine) Ready() (bool, string) {
	_, feeds, sinks := e.now()
	for _, f := range feeds {
		if ok, why := f.ready(); !ok {
			return false, "feed " + f.p.Name + ": " + why
		}
	}
	for _, d := range sinks {
		if st := d.proc.State(); st.Phase != host.Running {
			return false, "sink " + d.p.Name + ": plugin " + string(st.Phase) + ": " + st.Why
		}
	}
	return true, "ready"
}
