package conn

import (
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

var layer = telemetry.NewLayer("conn")

// Descs are the metrics of connections and requests.
func Descs() []*telemetry.Desc { return layer.Metrics() }

// Report emits the feed's values.
func (f *Feed) Report(e *telemetry.Emitter) {
	f.reportWS(e)
	f.reportHTTP(e)
}

// Metrics are a feed's counters since it was made.
type Metrics struct {
	Frames, Bytes    uint64 // data frames journalled
	Refused          uint64 // frames that were not journalled: too large, too slow, refused by the journal
	Bursts           uint64 // times that a reader went to the kernel; Frames/Bursts is what one wake-up yields
	Gathers          uint64 // of these, after a wait
	Sent             uint64 // text frames sent
	Pings, Pongs     uint64 // protocol pings received, pongs received
	Opens, Closes    uint64
	ConnectErrors    uint64
	Replacements     uint64
	Failovers        uint64 // subscriptions that moved to another endpoint
	Takeovers        uint64 // by standby connections
	Degraded         uint64 // times that a connection became ill
	Stale            uint64
	HeartbeatTimeout uint64
	Rejected         uint64
	AckTimeouts      uint64
	Resubscribes     uint64
	RepliesDropped   uint64 // the connection's queue of 64 was full
	SignalsDropped   uint64 // the connection's inbox of 1,024 was full; retried by timeout
	Requests         uint64
	RequestErrors    uint64
	RateLimited      uint64
	PollsSkipped     uint64 // the one before was still on its way
	WeightUsed       uint64 // in the window now
	Open             uint64 // connections now
}

type counters struct {
	frames, bytes, refused, bursts, gathers, sent, pings, pongs, failovers, takeovers,
	stale, heartbeatTimeout, rejected, ackTimeouts, resubscribes, repliesDropped, signalsDropped, requests, requestErrors,
	rateLimited, pollsSkipped atomic.Uint64
	opens         atomic.Uint64
	closes        [closeReasons]atomic.Uint64
	connectErrors [connectReasons]atomic.Uint64
	replacements  [replaceReasons]atomic.Uint64
	degraded      [illnesses]atomic.Uint64
	open          atomic.Int64
	admitting     atomic.Int64 // dials that wait in the queue
}

// distributions are a feed's distributions.
type distributions struct {
	dialled telemetry.Histogram // from the dial to the upgrade
	waited  telemetry.Histogram // in the queue of dials
	pong    telemetry.Histogram // from a ping to its pong
}

func total(cs []atomic.Uint64) (n uint64) {
	for i := range cs {
		n += cs[i].Load()
	}
	return n
}

// Snapshot reads the counters; each is exact, together they are of about one moment.
func (c *counters) Snapshot() Metrics {
	return Metrics{
		Frames: c.frames.Load(), Bytes: c.bytes.Load(), Refused: c.refused.Load(), Bursts: c.bursts.Load(),
		Gathers: c.gathers.Load(), Sent: c.sent.Load(), Pings: c.pings.Load(), Pongs: c.pongs.Load(),
		Opens: c.opens.Load(), Closes: total(c.closes[:]), ConnectErrors: total(c.connectErrors[:]),
		Replacements: total(c.replacements[:]), Failovers: c.failovers.Load(), Takeovers: c.takeovers.Load(),
		Degraded: total(c.degraded[:]), Stale: c.stale.Load(), HeartbeatTimeout: c.heartbeatTimeout.Load(),
		Rejected: c.rejected.Load(), AckTimeouts: c.ackTimeouts.Load(), Resubscribes: c.resubscribes.Load(), RepliesDropped: c.repliesDropped.Load(),
		SignalsDropped: c.signalsDropped.Load(), Requests: c.requests.Load(), RequestErrors: c.requestErrors.Load(),
		RateLimited: c.rateLimited.Load(), PollsSkipped: c.pollsSkipped.Load(), Open: uint64(max(c.open.Load(), 0)),
	}
}

// Metrics reads the feed's counters.
func (f *Feed) Metrics() Metrics {
	m := f.count.Snapshot()
	for _, w := range f.ways {
		m.WeightUsed += uint64(w.weight.inUse(time.Now()))
	}
	return m
}
