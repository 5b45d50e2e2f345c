package conn

import "sync/atomic"

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
	Stale            uint64
	HeartbeatTimeout uint64
	Rejected         uint64
	AckTimeouts      uint64
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
	frames, bytes, refused, bursts, gathers, sent, pings, pongs, opens, closes, connectErrors, replacements,
	stale, heartbeatTimeout, rejected, ackTimeouts, repliesDropped, signalsDropped, requests, requestErrors,
	rateLimited, pollsSkipped atomic.Uint64
	open atomic.Int64
}

// Snapshot reads the counters; each is exact, together they are of about one moment.
func (c *counters) Snapshot() Metrics {
	return Metrics{
		Frames: c.frames.Load(), Bytes: c.bytes.Load(), Refused: c.refused.Load(), Bursts: c.bursts.Load(),
		Gathers: c.gathers.Load(), Sent: c.sent.Load(), Pings: c.pings.Load(), Pongs: c.pongs.Load(),
		Opens: c.opens.Load(), Closes: c.closes.Load(), ConnectErrors: c.connectErrors.Load(),
		Replacements: c.replacements.Load(), Stale: c.stale.Load(), HeartbeatTimeout: c.heartbeatTimeout.Load(),
		Rejected: c.rejected.Load(), AckTimeouts: c.ackTimeouts.Load(), RepliesDropped: c.repliesDropped.Load(),
		SignalsDropped: c.signalsDropped.Load(), Requests: c.requests.Load(), RequestErrors: c.requestErrors.Load(),
		RateLimited: c.rateLimited.Load(), PollsSkipped: c.pollsSkipped.Load(), Open: uint64(max(c.open.Load(), 0)),
	}
}
