package conn

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// ConnStats is a connection as it is now, or a slot that has none.
type ConnStats struct {
	Conn          uint32        `json:"conn"`
	Slot          int           `json:"slot"`
	Class         string        `json:"class,omitempty"`
	URL           string        `json:"url"`      // as the manifest or the plugin names it
	Endpoint      string        `json:"endpoint"` // of the manifest, from which the plugin made it
	State         string        `json:"state"`    // opening, subscribing, live, replacing, standby, closing; waiting: there is none, it is tried again
	Health        Health        `json:"health"`
	HealthWhy     string        `json:"health_why,omitempty"` // of degraded, draining and dead
	HealthSince   time.Time     `json:"health_since"`
	Subscriptions int           `json:"subscriptions"`
	Unacked       int           `json:"unacked"` // frames without an acknowledgement yet
	Queued        int           `json:"queued"`  // frames waiting for the message budget
	Frames        uint64        `json:"frames"`
	Bytes         uint64        `json:"bytes"`
	Bursts        uint64        `json:"bursts"` // times that the reader went to the kernel
	Sent          uint64        `json:"sent"`   // frames
	Errors        uint64        `json:"errors"` // frames refused or not acknowledged
	PongRTT       time.Duration `json:"pong_rtt_ns,omitempty"`
	Since         time.Time     `json:"since"`
	Rotates       time.Time     `json:"rotates,omitzero"` // when it is replaced for its age
	LastLife      time.Time     `json:"last_life"`        // any message, ping or pong
	LastData      time.Time     `json:"last_data"`        // what the decoder didn't call a heartbeat or an acknowledgement
	Reconnects    int           `json:"reconnects"`       // of the slot
	LastError     string        `json:"last_error,omitempty"`
	LastErrorAt   time.Time     `json:"last_error_at,omitzero"`
	CertExpires   time.Time     `json:"cert_expires,omitzero"`
}

// Carries says whether the connection carries its slot's subscriptions.
func (c *ConnStats) Carries() bool { return c.State == StateLive || c.State == StateReplacing }

// Stats describes the connections in the order of their numbers, and the slots
// that wait to be connected again.
func (f *Feed) Stats() []ConnStats {
	f.mu.Lock()
	links := slices.Collect(maps.Values(f.links))
	slots := slices.Clone(f.slots)
	f.mu.Unlock()
	out := make([]ConnStats, 0, len(links))
	served := make(map[*slot]bool, len(slots))
	for _, l := range links {
		c := l.stats()
		served[l.slot] = served[l.slot] || c.Health != Draining
		out = append(out, c)
	}
	for _, s := range slots {
		if last := s.last.Load(); last != nil && !served[s] {
			c := ConnStats{Conn: last.conn, Slot: s.id, Class: s.ep.Class, URL: s.ep.URL, Endpoint: s.ep.URL, State: "waiting", Health: Dead,
				HealthWhy: last.text, HealthSince: last.at, Since: last.at}
			s.describe(&c)
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b ConnStats) int { return cmp.Or(cmp.Compare(a.Conn, b.Conn), cmp.Compare(a.Slot, b.Slot)) })
	return out
}

// EndpointStats is what is remembered of an endpoint, by all feeds that have it.
type EndpointStats struct {
	Class   string        `json:"class,omitempty"`
	URL     string        `json:"url"`
	Cost    float64       `json:"cost"` // new connections go where it is least: what went wrong lately, seconds of ping time, place in the manifest
	Rests   time.Time     `json:"rests,omitzero"`
	Opened  int           `json:"opened"`
	Failed  int           `json:"failed"` // dials
	Ended   int           `json:"ended"`  // connections that were lost, or given up for their state
	PongRTT time.Duration `json:"pong_rtt_ns,omitempty"`
}

// Endpoints describes the endpoints that the feed's slots may dial, in the
// manifest's order.
func (f *Feed) Endpoints() []EndpointStats {
	f.mu.Lock()
	slots := slices.Clone(f.slots)
	f.mu.Unlock()
	var out []EndpointStats
	seen := make(map[*board]bool)
	for _, s := range slots {
		if !seen[s.board] {
			seen[s.board] = true
			out = append(out, s.board.stats(s.ep.Class, time.Now())...)
		}
	}
	return out
}

func (b *board) stats(class string, now time.Time) (out []EndpointStats) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.all {
		s := &b.all[i]
		e := EndpointStats{Class: class, URL: s.url, Cost: b.cost(i, now), Opened: s.opened, Failed: s.failed, Ended: s.ended, PongRTT: s.rtt}
		if s.rest.After(now) {
			e.Rests = s.rest
		}
		out = append(out, e)
	}
	return out
}

// describe adds what is the slot's.
func (s *slot) describe(c *ConnStats) {
	c.Reconnects = int(s.reconnects.Load())
	if last := s.last.Load(); last != nil {
		c.LastError, c.LastErrorAt = last.text, last.at
	}
}

// dataFrames are those that the decoder, which speaks a little later, hasn't
// called something else.
func (l *link) dataFrames() uint64 {
	frames := l.pubFrames.Load()
	return frames - min(l.noData.Load(), frames)
}

func (l *link) stats() ConnStats {
	st, h := l.stat.Load(), l.health.Load()
	c := ConnStats{Conn: l.num, Slot: l.slot.id, Class: l.ep.Class, URL: st.url, Endpoint: st.address, State: st.state, Health: h.state,
		HealthWhy: h.why, HealthSince: h.since, Subscriptions: st.subs, Unacked: st.unacked, Queued: st.queued,
		Frames: l.pubFrames.Load(), Bytes: l.pubBytes.Load(), Bursts: l.bursts.Load(), Sent: l.sent.Load(), Errors: l.errs.Load(),
		PongRTT: time.Duration(l.rtt.Load()), Since: st.since, Rotates: st.rotates, CertExpires: st.certExpires}
	l.slot.describe(&c)
	switch {
	case st.state != StateLive:
	case l.standby.Load():
		c.State = StateStandby
	case l.replacing.Load():
		c.State = StateReplacing
	}
	if n := l.lastLife.Load(); n != 0 {
		c.LastLife = processStart.Add(time.Duration(n))
	}
	seen := l.dataSeen.Load() // before lastData, which is of it or later
	n := l.lastData.Load()
	if l.dataFrames() > seen { // since run looked
		n = l.lastLife.Load()
	}
	if n != 0 {
		c.LastData = processStart.Add(time.Duration(n))
	}
	return c
}
