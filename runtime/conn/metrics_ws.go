package conn

import (
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

// The metrics of WebSocket connections.
var (
	mOpen = layer.Gauge(telemetry.Who, "open", "Connections by endpoint class and state (connecting, live, degraded, draining) and slots without one (dead); dead or degraded for long, look at last_error and health_why of /api/v1/status.",
		"feed", "class", "state")
	mOpens  = layer.Counter(telemetry.Changed, "opens_total", "Connections opened; if it outruns the age limit's pace, look at marketprism_conn_closes_total by reason.", "feed", "class")
	mCloses = layer.Counter(telemetry.Changed, "closes_total", "Connections closed, by reason; replaced and drained are ours and cost nothing, each other one is a gap unless a standby took over.",
		"feed", "reason")
	mConnectErrors = layer.Counter(telemetry.Who, "connect_errors_total", "Connections that could not be opened, by reason; resolve, refused and timeout are the network's or the venue's, status and script have their text in the log.",
		"feed", "reason")
	mConnect = layer.Histogram(telemetry.Late, "connect_seconds", "Time from dialling to the upgrade, TLS included; if it grows, so does each gap after a break.", "feed")
	mPong    = layer.Histogram(telemetry.Late, "pong_rtt_seconds", "Time from a ping to its pong behind the data before it; if it grows, the venue, the way or this machine is behind.", "feed")
	mReplace = layer.Counter(telemetry.Changed, "replacements_total", "Live connections replaced make-before-break, by reason; age is routine, stale and degraded say that the venue or the way is ill.",
		"feed", "reason")
	mFailovers = layer.Counter(telemetry.Changed, "failovers_total", "Times that subscriptions moved to another endpoint, back to the preferred one included; if it goes on growing, an endpoint comes and goes.", "feed")
	mTakeovers = layer.Counter(telemetry.Complete, "standby_takeovers_total", "Times that a standby connection took over without a gap; the log says what ended the one before.", "feed")
	mStandbys  = layer.Gauge(telemetry.RunsOut, "standby_ready", "Standby connections that could take over now; with standby set, fewer than live connections means that the next break is a gap.", "feed")
	mQueue     = layer.Gauge(telemetry.Late, "admission_waiting", "Dials that wait in the venue's queue; while it is above 0 for long, the connects budget is used up or no dial succeeds.", "feed")
	mQueued    = layer.Histogram(telemetry.Late, "admission_wait_seconds", "Time that dials waited in the venue's queue, for its connects budget, a ban to end and other dials.", "feed")
	mStale     = layer.Counter(telemetry.Complete, "stale_total", "Times that a connection showed life and no data for longer than its channels allow; each opens gaps and replaces it.", "feed")
	mSilent    = layer.Counter(telemetry.Changed, "heartbeat_timeouts_total", "Connections closed without a sign of life within the venue's heartbeat rule; each is a gap, and the network is the first suspect.", "feed")
	mIll       = layer.Counter(telemetry.Changed, "degraded_total", "Times that a connection became degraded, by cause: data, pong or errors; it is replaced if that lasts.", "feed", "reason")
	mRejected  = layer.Counter(telemetry.Complete, "rejected_total", "Subscriptions that the venue refused; they are not tried again on their connection, so mend the pipeline.", "feed")
	mAcks      = layer.Counter(telemetry.Complete, "ack_timeouts_total", "Frames that the venue did not acknowledge in time; the third time for one frame closes the connection.", "feed")
	mAgain     = layer.Counter(telemetry.Complete, "resubscribes_total", "Subscriptions renewed because a book or stream broke; if it goes on growing, the venue's sequence breaks.", "feed")
	mRead      = layer.Counter(telemetry.Who, "frames_total", "Data frames read and journalled; if it stands still, look at marketprism_conn_open by state.", "feed")
	mBytes     = layer.Counter(telemetry.RunsOut, "bytes_total", "Bytes of data frames, inflated; its rate is what the line and the journal have to carry.", "feed")
	mRefused   = layer.Counter(telemetry.Complete, "refused_frames_total", "Frames that were not journalled: too large, too slow, or refused by the journal; each is in the log and lost.", "feed")
	mBursts    = layer.Counter(telemetry.Pays, "bursts_total", "Times that readers went to the kernel; frames by bursts is what one wake-up yields, and near 1 under load gathering does not work.", "feed")
	mDropped   = layer.Counter(telemetry.Complete, "signals_dropped_total", "Signals and replies of the decoder that found a connection's queue full; acknowledgements are then awaited in vain and asked for again.", "feed")
	mRotation  = layer.Gauge(telemetry.RunsOut, "rotation_seconds", "Seconds until the connection that is next to reach the venue's age limit is replaced; far below 0, its replacement does not come up.", "feed")
	mDataAge   = layer.Gauge(telemetry.Late, "data_age_seconds", "Age of the newest data on the connection where they are oldest; compare with what its channels should send.", "feed")
)

// reportWS emits the values of WebSocket connections.
func (f *Feed) reportWS(e *telemetry.Emitter) {
	c, name := &f.count, f.metricName()
	type place struct {
		class string
		state Health
	}
	open := make(map[place]int)
	for _, ep := range f.set.Spec.Endpoints {
		for _, h := range healths {
			open[place{ep.Class, h}] = 0
		}
	}
	now := time.Now()
	standbys, oldest := 0, time.Duration(0)
	var rotates time.Time
	for _, s := range f.Stats() {
		open[place{s.Class, s.Health}]++
		if s.State == StateStandby && s.Health == Live {
			standbys++
		}
		if !s.Rotates.IsZero() && s.Carries() && (rotates.IsZero() || s.Rotates.Before(rotates)) {
			rotates = s.Rotates
		}
		if !s.LastData.IsZero() && (s.Health == Live || s.Health == Degraded) {
			oldest = max(oldest, now.Sub(s.LastData))
		}
	}
	for _, ep := range f.set.Spec.Endpoints {
		for _, h := range healths {
			e.Value(mOpen, float64(open[place{ep.Class, h}]), name, ep.Class, string(h))
		}
		f.mu.Lock()
		n := f.openedBy[ep.Class]
		f.mu.Unlock()
		e.Count(mOpens, n, name, ep.Class)
	}
	for r := range closeReasons {
		e.Count(mCloses, c.closes[r].Load(), name, r.String())
	}
	for r := range connectReasons {
		e.Count(mConnectErrors, c.connectErrors[r].Load(), name, r.String())
	}
	for r := range replaceReasons {
		e.Count(mReplace, c.replacements[r].Load(), name, r.String())
	}
	for r := range illnesses {
		e.Count(mIll, c.degraded[r].Load(), name, r.String())
	}
	e.Histogram(mConnect, f.dialled.Snapshot(), name)
	e.Histogram(mPong, f.pong.Snapshot(), name)
	e.Histogram(mQueued, f.waited.Snapshot(), name)
	e.Value(mQueue, float64(c.admitting.Load()), name)
	e.Value(mStandbys, float64(standbys), name)
	e.Count(mFailovers, c.failovers.Load(), name)
	e.Count(mTakeovers, c.takeovers.Load(), name)
	e.Count(mStale, c.stale.Load(), name)
	e.Count(mSilent, c.heartbeatTimeout.Load(), name)
	e.Count(mRejected, c.rejected.Load(), name)
	e.Count(mAcks, c.ackTimeouts.Load(), name)
	e.Count(mAgain, c.resubscribes.Load(), name)
	e.Count(mRead, c.frames.Load(), name)
	e.Count(mBytes, c.bytes.Load(), name)
	e.Count(mRefused, c.refused.Load(), name)
	e.Count(mBursts, c.bursts.Load(), name)
	e.Count(mDropped, c.signalsDropped.Load()+c.repliesDropped.Load(), name)
	if !rotates.IsZero() {
		e.Value(mRotation, rotates.Sub(now).Seconds(), name)
	}
	e.Value(mDataAge, oldest.Seconds(), name)
}

// metricName is the feed as the metrics name it.
func (f *Feed) metricName() string { return f.set.Venue + "-" + f.set.Spec.Market.String() }

// opened counts a connection of a class.
func (f *Feed) opened(class string) {
	f.count.opens.Add(1)
	f.mu.Lock()
	f.openedBy[class]++
	f.mu.Unlock()
}
