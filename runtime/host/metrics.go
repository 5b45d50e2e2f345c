package host

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

// The metrics of plugin processes. The label plugin is source/FEED or sink/SINK.
var (
	layer        = telemetry.NewLayer("plugin")
	mUp          = layer.Gauge(telemetry.Who, "up", "1 while the plugin's process runs and takes work; at 0, restarts_total and the log say why.", "plugin")
	mQuarantined = layer.Gauge(telemetry.Complete, "quarantined", "1 once the plugin was given up: it broke its contract, or ended too often; its feed or sink stands still until the runtime is started anew.", "plugin")
	mRestarts    = layer.Counter(telemetry.Changed, "restarts_total", "Restarts of the plugin's process, whatever ended it; the log has its last lines.", "plugin")
	mHangs       = layer.Counter(telemetry.Changed, "hangs_total", "Processes killed since they made no progress while input waited; each is a restart as well.", "plugin")
	mViolations  = layer.Counter(telemetry.Complete, "violations_total", "Outputs that were refused since no correct plugin writes them; each quarantines the plugin, the log says what it was.", "plugin")
	mStart       = layer.Histogram(telemetry.Late, "start_seconds", "Time from the start of a process until it takes work; if it grows, restarts take longer to catch up.", "plugin")
	mCPU         = layer.Counter(telemetry.Who, "cpu_seconds_total", "CPU time of the plugin's processes, those that have ended included; a rate near 1 is a core: the plugin is the bottleneck.", "plugin")
	mRingFull    = layer.Counter(telemetry.Late, "ring_full_total", "Times that the lane found the plugin's record ring three quarters full: the plugin waits for the lane, and not the reverse.", "plugin")
	mLogDropped  = layer.Counter(telemetry.Changed, "log_lines_dropped_total", "Lines of the plugin's that were not logged since there were too many.", "plugin")
)

// Descs are the metrics of plugin processes.
func Descs() []*telemetry.Desc { return layer.Metrics() }

// vitals are what is counted of a plugin over all its processes.
type vitals struct {
	hangs, violations, ringFull, logDropped atomic.Uint64

	start telemetry.Histogram
	mu    sync.Mutex
	ended time.Duration // CPU time of the processes that were waited for
	shown time.Duration // greatest CPU time reported: a counter never goes back
}

// vitalsOf are those of a label. A plugin that is described before it runs
// under another label has others.
func (h *Host) vitalsOf(label string) *vitals {
	v, _ := h.vitals.LoadOrStore(label, new(vitals))
	return v.(*vitals)
}

func (v *vitals) end(cpu time.Duration) {
	v.mu.Lock()
	v.ended += cpu
	v.mu.Unlock()
}

func (v *vitals) cpu(running time.Duration) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shown = max(v.shown, v.ended+running)
	return v.shown
}

// Report emits the source's values.
func (s *Source) Report(e *telemetry.Emitter) { s.vitals.report(e, s.spec.Label, s.State()) }

// Report emits the sink's values.
func (s *Sink) Report(e *telemetry.Emitter) { s.vitals.report(e, s.spec.Label, s.State()) }

func (v *vitals) report(e *telemetry.Emitter, label string, st State) {
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	var cpu time.Duration
	if st.Pid > 0 {
		cpu = cpuTime(st.Pid)
	}
	e.Value(mUp, truth(st.Phase == Running), label)
	e.Value(mQuarantined, truth(st.Phase == Quarantined), label)
	e.Count(mRestarts, uint64(st.Restarts), label)
	e.Count(mHangs, v.hangs.Load(), label)
	e.Count(mViolations, v.violations.Load(), label)
	e.Histogram(mStart, v.start.Snapshot(), label)
	e.Value(mCPU, v.cpu(cpu).Seconds(), label)
	e.Count(mRingFull, v.ringFull.Load(), label)
	e.Count(mLogDropped, v.logDropped.Load(), label)
}
