package main

import (
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
)

// entries counts what the venue's ledger holds of a kind up to the end.
func (r *metricsRun) entries(k emulator.EntryKind) (n float64) {
	for _, e := range r.ledger {
		if e.Kind == k {
			n++
		}
	}
	return n
}

// repeated are the messages of a channel that the venue sent more than once: by
// a fault, and while two connections had the same subscriptions.
func (r *metricsRun) repeated(ch emulator.Channel) (n float64) {
	type key struct {
		symbol uint16
		seq    int64
	}
	seen := map[key]bool{}
	for _, e := range r.ledger {
		if e.Kind != emulator.EntryFrame || e.Channel != ch || e.Flags&emulator.FlagWithheld != 0 {
			continue
		}
		k := key{e.Symbol, e.Seq}
		if seen[k] {
			n++
		}
		seen[k] = true
	}
	return n
}

// Connections of the run: the first, the one that took over when the venue said
// that it would close, and the one after the disconnect.
const (
	opened      = 3
	limitedOnce = 1
)

var connChecks = map[string]func(*check){
	"conn_open": func(c *check) {
		for _, s := range []scrape{c.calm, c.replaced, c.end, c.again} {
			c.equal(s, 1, "conn_open", "state", "live")
			c.equal(s, 1, "conn_open")
		}
	},
	"conn_opens_total": func(c *check) {
		c.equal(c.calm, 1, "conn_opens_total")
		c.equal(c.replaced, 2, "conn_opens_total")
		c.equal(c.end, opened, "conn_opens_total")
		c.equal(c.end, c.entries(emulator.EntryOpen), "conn_opens_total")
	},
	"conn_closes_total": func(c *check) {
		c.equal(c.calm, 0, "conn_closes_total")
		c.equal(c.end, 1, "conn_closes_total", "reason", "replaced")
		c.equal(c.end, 1, "conn_closes_total", "reason", "network")
		c.equal(c.end, c.entries(emulator.EntryClose), "conn_closes_total")
	},
	"conn_connect_errors_total": func(c *check) {
		c.equal(c.calm, 0, "conn_connect_errors_total")
		c.equal(c.end, 1, "conn_connect_errors_total", "reason", "status")
		c.equal(c.end, 1, "conn_connect_errors_total")
	},
	"conn_connect_seconds": func(c *check) {
		c.equal(c.end, opened, "conn_connect_seconds")
		c.mean(c.end, 1e-5, 5, "conn_connect_seconds")
	},
	"conn_pong_rtt_seconds": func(c *check) {
		// Every connection is asked once it is up, and every 15 s.
		c.between(c.end, 2, opened+c.lastAt.Sub(c.began).Seconds()/10, "conn_pong_rtt_seconds")
		c.mean(c.end, 1e-6, 5, "conn_pong_rtt_seconds")
	},
	"conn_replacements_total": func(c *check) {
		c.equal(c.calm, 0, "conn_replacements_total")
		c.equal(c.end, 1, "conn_replacements_total", "reason", "venue")
		c.equal(c.end, 1, "conn_replacements_total")
		// Make before break: nothing is lost by it.
		c.equal(c.replaced, 0, "flow_gaps_total")
	},
	"conn_failovers_total":         never("conn_failovers_total"), // there is one endpoint
	"conn_standby_takeovers_total": never("conn_standby_takeovers_total"),
	"conn_standby_ready":           never("conn_standby_ready"), // none is asked for
	"conn_admission_waiting":       never("conn_admission_waiting"),
	"conn_admission_wait_seconds": func(c *check) {
		c.equal(c.end, opened+1, "conn_admission_wait_seconds") // each dial, the refused one as well
		c.mean(c.end, 0, 10, "conn_admission_wait_seconds")
	},
	// These take a minute at least; tests of the package have them.
	"conn_stale_total":              never("conn_stale_total"),
	"conn_heartbeat_timeouts_total": never("conn_heartbeat_timeouts_total"),
	"conn_degraded_total":           never("conn_degraded_total"),
	"conn_rejected_total":           never("conn_rejected_total"),
	"conn_ack_timeouts_total":       func(c *check) { c.equal(c.calm, 0, "conn_ack_timeouts_total") }, // a plugin that stands still acknowledges nothing
	"conn_resubscribes_total":       never("conn_resubscribes_total"),                                 // this venue's books are mended by a request
	"conn_frames_total": func(c *check) {
		c.equal(c.calm, float64(framesSent(c.sent)), "conn_frames_total")
		texts, _ := inputs(c.first("frames", c.end.of("journal_records_total", "journal", "frames")))
		c.equal(c.end, texts, "conn_frames_total")
	},
	"conn_bytes_total": func(c *check) {
		n := 0.0
		for _, e := range c.sent {
			if e.Kind == emulator.EntryFrame && e.Flags&emulator.FlagWithheld == 0 {
				n += float64(e.Size)
			}
		}
		c.equal(c.calm, n, "conn_bytes_total")
	},
	"conn_refused_frames_total": never("conn_refused_frames_total"),
	"conn_bursts_total": func(c *check) {
		// A wake-up yields more than one frame at this rate, and some windows of 4 ms pass.
		c.between(c.end, c.end.of("conn_frames_total")/100, c.end.of("conn_frames_total"), "conn_bursts_total")
	},
	"conn_signals_dropped_total": never("conn_signals_dropped_total"),
	"conn_rotation_seconds": func(c *check) { // 24 h are the venue's; it is replaced before
		c.between(c.end, 20*3600, 24*3600, "conn_rotation_seconds")
	},
	"conn_data_age_seconds": func(c *check) {
		// Settled: what the API says of the connection a moment later is of the same time.
		last := c.last.Feeds[0].Connections[0].LastData
		c.between(c.end, c.endBegan.Sub(last).Seconds()-0.01, c.lastAt.Sub(last).Seconds(), "conn_data_age_seconds")
	},
	"conn_http_requests_total": func(c *check) {
		c.equal(c.end, limitedOnce, "conn_http_requests_total", "outcome", "rate_limited", "purpose", "snapshot")
		c.equal(c.end, float64(c.venue.HTTP)-limitedOnce, "conn_http_requests_total", "outcome", "ok")
		c.equal(c.end, float64(c.venue.HTTP), "conn_http_requests_total")
		c.equal(c.calm, 2, "conn_http_requests_total", "purpose", "snapshot") // one each book
	},
	"conn_http_request_seconds": func(c *check) {
		c.equal(c.end, float64(c.venue.HTTP), "conn_http_request_seconds")
		c.mean(c.end, 1e-5, 5, "conn_http_request_seconds", "purpose", "snapshot")
	},
	"conn_http_queue_seconds": func(c *check) {
		c.equal(c.end, float64(c.venue.HTTP), "conn_http_queue_seconds")
		// The one that came again had to wait for as long as the venue wanted.
		if waited := c.end.sum("conn_http_queue_seconds") - c.replaced.sum("conn_http_queue_seconds"); waited < limitedFor-0.5 || waited > 4*limitedFor {
			c.Errorf("requests stood in line for %v s, the venue wanted %v s of silence", waited, limitedFor)
		}
	},
	"conn_http_in_flight_requests":  never("conn_http_in_flight_requests"),
	"conn_http_polls_skipped_total": never("conn_http_polls_skipped_total"),
	"conn_http_body_bytes_total": func(c *check) {
		n := 0.0
		for _, e := range c.ledger {
			if e.Kind == emulator.EntryHTTP {
				n += float64(e.Size)
			}
		}
		// The answer to the refused handshake is in the ledger, and no request's.
		c.near(c.end, n, 0, 200, "conn_http_body_bytes_total")
	},
	"conn_http_connections_opened_total": func(c *check) {
		c.between(c.end, 1, 6, "conn_http_connections_opened_total") // at most one for each request that is under way
	},
	"conn_http_sent_total": func(c *check) {
		c.equal(c.end, float64(c.venue.HTTP), "conn_http_sent_total", "egress", "direct")
	},
	"conn_http_reused_total": func(c *check) {
		c.equal(c.end, c.end.of("conn_http_sent_total")-c.end.of("conn_http_connections_opened_total"), "conn_http_reused_total")
	},
	"conn_http_repeated_total": never("conn_http_repeated_total"),
	"conn_http_open_connections": func(c *check) {
		c.between(c.end, 1, c.end.of("conn_http_connections_opened_total"), "conn_http_open_connections", "protocol", "http1")
		c.equal(c.end, 0, "conn_http_open_connections", "protocol", "http2")
	},
	"conn_weight_used": func(c *check) {
		const snapshotWeight = 5 // of 100 levels, as the venue counts
		const historyWeight = 25
		c.equal(c.calm, 2*snapshotWeight, "conn_weight_used", "budget", "weight")
		c.between(c.end, 0, snapshotWeight*float64(c.venue.HTTP)+historyWeight*c.end.of("conn_http_requests_total", "purpose", "history"), "conn_weight_used", "budget", "weight")
		c.equal(c.calm, 1, "conn_weight_used", "budget", "connects")
		c.equal(c.end, opened+1, "conn_weight_used", "budget", "connects") // in five minutes
	},
	"conn_weight_limit": func(c *check) {
		c.equal(c.end, 6000, "conn_weight_limit", "budget", "weight") // as the venue says
		c.equal(c.end, 300, "conn_weight_limit", "budget", "connects")
	},
	"conn_gate_closed_seconds": func(c *check) {
		c.equal(c.calm, 0, "conn_gate_closed_seconds")
		c.between(c.limited, 1e-3, limitedFor+0.5, "conn_gate_closed_seconds", "egress", "direct")
		c.equal(c.end, 0, "conn_gate_closed_seconds")
	},
	"conn_rate_limited_total": func(c *check) {
		c.equal(c.calm, 0, "conn_rate_limited_total")
		c.equal(c.end, limitedOnce, "conn_rate_limited_total", "egress", "direct")
	},
	"conn_breaker_state":       never("conn_breaker_state"),
	"conn_breaker_opens_total": never("conn_breaker_opens_total"),
	"conn_egress_websockets":   func(c *check) { c.equal(c.end, 1, "conn_egress_websockets", "egress", "direct") },
	"conn_egress_refused":      never("conn_egress_refused"),
}
