package memory

import (
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

// The metrics of this layer. Labels: process is runtime, source/FEED or
// sink/SINK; kind is one of a fixed list; subsystem is one of topSubsystems
// packages, or others. What pools lend is told by the pools themselves.
var (
	layer        = telemetry.NewLayer("memory")
	mResident    = layer.Gauge(telemetry.RunsOut, "resident_bytes", "Resident memory of a process, pages of files included; if it nears the limit, see marketprism memory advise.", "process")
	mAnonymous   = layer.Gauge(telemetry.RunsOut, "anonymous_bytes", "Resident memory of a process that no file backs: what the kernel can't take back.", "process")
	mPluginHeap  = layer.Gauge(telemetry.Who, "heap_live_bytes", "Heap of a process after its last collection; if it grows while load doesn't, see marketprism memory leaks.", "process")
	mPluginGo    = layer.Gauge(telemetry.Who, "goroutines", "Goroutines of a process; if they grow while connections don't, see marketprism memory leaks.", "process")
	mSubsystem   = layer.Gauge(telemetry.Who, "subsystem_bytes", "Live heap of the runtime by package; the one that moved is where to look.", "subsystem")
	mGoal        = layer.Gauge(telemetry.RunsOut, "heap_goal_bytes", "Heap size at which the next collection ends; raise GOMEMLIMIT if it is pressed to the live heap.")
	mLimit       = layer.Gauge(telemetry.RunsOut, "limit_bytes", "Memory limit of the runtime's collector (GOMEMLIMIT), 0 without one; set it where a control group has a limit.")
	mHeadroom    = layer.Gauge(telemetry.RunsOut, "headroom_bytes", "What is left below the lowest limit: GOMEMLIMIT, the control group's or the machine's; below a tenth of it, act.")
	mGC          = layer.Gauge(telemetry.Pays, "gc_cpu_ratio", "Part of the processor time used since the start that collections took; above 0.05 raise GOGC or GOMEMLIMIT.")
	mMapped      = layer.Gauge(telemetry.RunsOut, "mapped_bytes", "Mapped memory of the runtime by kind, journals apart; anonymous is what is neither Go's nor a file.", "kind")
	mDescriptors = layer.Gauge(telemetry.RunsOut, "descriptors", "Open descriptors of the runtime by kind; if sockets grow while connections don't, see marketprism memory leaks.", "kind")
	mFDLimit     = layer.Gauge(telemetry.RunsOut, "descriptors_limit", "Descriptors that the runtime may open; raise LimitNOFILE when seven tenths are used.")
	mSnapshots   = layer.Counter(telemetry.Changed, "snapshots_total", "Snapshots taken, by reason; one for a threshold or a leak marks when memory changed.", "reason")
	mHistory     = layer.Gauge(telemetry.RunsOut, "history_bytes", "Size of the snapshots on disk; bounded, so a greater value means that old ones can't be removed.")
	mLeaks       = layer.Gauge(telemetry.RunsOut, "leaks", "Things that grow without end now, by kind; marketprism memory leaks names each.", "kind")
	mFound       = layer.Counter(telemetry.Changed, "leaks_found_total", "Leaks found since the start; each is a warning in the log that names the site.")
	mGrowth      = layer.Gauge(telemetry.RunsOut, "growth_bytes_per_minute", "Sum of the slopes of all leaks of bytes; 0 while nothing leaks.", "process")
	mExhaustion  = layer.Gauge(telemetry.RunsOut, "exhaustion_seconds", "Time until the headroom is used up at the leaks' present slope; absent while nothing leaks.")
	mUnanswered  = layer.Gauge(telemetry.Who, "plugins_silent", "Plugin processes that gave no account of their heap at the last sample; look at their logs if it stays above 0.")
	mSamples     = layer.Counter(telemetry.Pays, "samples_total", "Samples taken; if it stands still, the monitor hangs and the other figures are old.")
	mCost        = layer.Counter(telemetry.Pays, "sample_cpu_seconds_total", "Processor time that samples took; more than 0.01 a second is too much: report it.")
)

// Descs are the metrics that this package reports.
func Descs() []*telemetry.Desc { return layer.Metrics() }

// topSubsystems bounds the label.
const topSubsystems = 16

// Report emits the last sample's values.
func (m *Monitor) Report(e *telemetry.Emitter) {
	for i, n := range reasonNames {
		e.Count(mSnapshots, m.taken[i].Load(), n)
	}
	e.Count(mFound, m.found.Load())
	e.Count(mSamples, m.ticks.Load())
	e.Value(mCost, time.Duration(m.cost.Load()).Seconds())
	s := m.latest.Load()
	if s == nil {
		return
	}
	growth := map[string]float64{}
	kinds := map[Kind]int{}
	var slope float64
	for i := range s.Leaks {
		l := &s.Leaks[i]
		kinds[l.Kind]++
		if l.Bytes() {
			growth[l.Process] += l.PerMinute
			slope += l.PerMinute
		}
	}
	silent := 0
	for i := range s.Processes {
		p := &s.Processes[i]
		e.Value(mResident, float64(p.Resident), p.Name)
		e.Value(mAnonymous, float64(p.Anonymous), p.Name)
		e.Value(mGrowth, growth[p.Name], p.Name)
		switch {
		case i == 0:
			e.Count(mPluginHeap, s.Go.Live, p.Name)
			e.Count(mPluginGo, s.Go.Goroutines, p.Name)
		case p.Heap != nil:
			e.Count(mPluginHeap, p.Heap.Live, p.Name)
			e.Count(mPluginGo, uint64(p.Heap.Goroutines), p.Name)
		default:
			silent++
		}
	}
	e.Value(mUnanswered, float64(silent))
	var others int64
	for i := range s.Subsystems {
		if i < topSubsystems {
			e.Value(mSubsystem, float64(s.Subsystems[i].Bytes), s.Subsystems[i].Name)
		} else {
			others += s.Subsystems[i].Bytes
		}
	}
	e.Value(mSubsystem, float64(others), "others")
	e.Count(mGoal, s.Go.Goal)
	e.Value(mLimit, float64(s.Go.Limit))
	left := s.headroom()
	e.Value(mHeadroom, float64(left))
	e.Value(mGC, s.Go.GCShare)
	byKind(s.Mappings, func(x *Mapping) (string, int64) { return x.Kind, x.Bytes }, func(k string, n int64) { e.Value(mMapped, float64(n), k) })
	byKind(s.Descriptors, func(x *Descriptors) (string, int64) { return x.Kind, int64(x.Count) }, func(k string, n int64) { e.Value(mDescriptors, float64(n), k) })
	e.Count(mFDLimit, s.DescriptorLimit)
	for _, k := range Kinds {
		e.Value(mLeaks, float64(kinds[k]), string(k))
	}
	if slope > 0 {
		e.Value(mExhaustion, float64(max(0, left))/slope*60)
	}
	if m.history != nil {
		if all, err := m.history.List(); err == nil {
			var n int64
			for _, x := range all {
				n += x.Bytes
			}
			e.Value(mHistory, float64(n))
		}
	}
}

// byKind adds up and emits in the order of first appearance.
func byKind[T any](all []T, of func(*T) (string, int64), emit func(string, int64)) {
	var order []string
	sums := map[string]int64{}
	for i := range all {
		k, n := of(&all[i])
		if _, ok := sums[k]; !ok {
			order = append(order, k)
		}
		sums[k] += n
	}
	for _, k := range order {
		emit(k, sums[k])
	}
}

// headroom is what is left below the lowest limit.
func (s *Snapshot) headroom() int64 {
	left := s.Machine.Available
	if s.Machine.Cgroup > 0 {
		left = min(left, s.Machine.Cgroup-s.Resident())
	}
	if s.Go.Limit > 0 {
		left = min(left, s.Go.Limit-int64(s.Go.Used()))
	}
	return left
}
