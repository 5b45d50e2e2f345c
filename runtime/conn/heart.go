package conn

import (
	"math/rand/v2"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/sdk/source"
)

// heart keeps one connection alive by its endpoint's rule, and says when it is
// dead. Messages, pings and pongs are signs of life; they are not data.
type heart struct {
	l     *link
	rule  source.Heartbeat
	next  time.Time // our next ping
	probe time.Time // our next ping beside the rule; zero: none
	sent  int       // probes
}

func newHeart(l *link) *heart {
	h := &heart{l: l, rule: l.ep.Heartbeat}
	if h.rule.Kind == "" {
		h.rule.Kind = source.HeartbeatPing // every server answers a protocol ping
	}
	if h.rule.Every <= 0 {
		h.rule.Every = 20 * time.Second
	}
	if h.rule.Timeout <= 0 {
		h.rule.Timeout = max(2*h.rule.Every+5*time.Second, 15*time.Second)
	}
	if h.rule.Timeout <= h.rule.Every { // of a pong, then: a quiet market shows nothing before the next ping
		h.rule.Timeout += h.rule.Every
	}
	h.next = time.Now().Add(h.rule.Every)
	// A venue that pings us answers pings as well. One that wants text does not
	// always know protocol pings, and is asked only where the settings say so.
	if every := l.f.set.ProbeEvery; every > 0 && (h.rule.Kind == source.HeartbeatServer || h.rule.Kind == source.HeartbeatText && l.f.set.ProbeText) {
		h.probe = time.Now().Add(rand.N(every/probeJitter + 1))
	}
	return h
}

// check measures how long the venue takes to answer, as far as the message
// budget has room for it.
func (h *heart) check(due func(time.Time) bool, now time.Time) error {
	l := h.l
	if h.probe.IsZero() || l.scripted.IsZero() || !due(h.probe) {
		return nil
	}
	if h.sent >= probeTries && !l.answers.Load() {
		h.probe = time.Time{}
		return nil
	}
	every := l.f.set.ProbeEvery
	h.probe = now.Add(every - every/probeJitter + rand.N(every/probeJitter*2+1))
	if l.messages != nil {
		if d := l.messages.take(now, 1, later); d > 0 {
			h.probe = now.Add(d)
			due(h.probe)
			return nil
		}
	}
	due(h.probe)
	h.sent++
	if err := l.ws.WriteControl(websocket.PingMessage, l.pingText(now), now.Add(time.Second)); err != nil {
		return l.endf(closeNetwork, "ping: %w", err)
	}
	return nil
}

func (h *heart) beat(due func(time.Time) bool, now time.Time) error {
	l := h.l
	life := processStart.Add(time.Duration(l.lastLife.Load()))
	// While a frame is being assembled its own deadline holds.
	if due(life.Add(h.rule.Timeout)) && l.began.Load() == 0 {
		l.f.count.heartbeatTimeout.Add(1)
		return l.endf(closeSilence, "no sign of life for %v", now.Sub(life).Round(time.Millisecond))
	}
	if err := h.check(due, now); err != nil || h.rule.Kind == source.HeartbeatServer {
		return err
	}
	if h.rule.Idle {
		if t := life.Add(h.rule.Every); t.After(h.next) {
			h.next = t
		}
	}
	if !due(h.next) {
		return nil
	}
	h.next = now.Add(h.rule.Every)
	due(h.next)
	l.messages.force(now, 1)
	if h.rule.Kind == source.HeartbeatText {
		return l.send(h.rule.Payload)
	}
	if err := l.ws.WriteControl(websocket.PingMessage, l.pingText(now), now.Add(time.Second)); err != nil {
		return l.endf(closeNetwork, "ping: %w", err)
	}
	return nil
}

// ageLimit is some time before the venue closes by itself, not the same for
// all connections. 0: no limit.
func (l *link) ageLimit() time.Duration {
	m := l.ep.MaxAge
	if m <= 0 {
		return 0
	}
	return m - min(m/10, 10*time.Minute) - rand.N(min(m/10, 20*time.Minute)+1)
}

// overlap is how long the old connection goes on beside a new one that has data.
// Where connections are short-lived it is a small part of their life.
func (l *link) overlap() time.Duration {
	if m := l.ep.MaxAge; m > 0 {
		return min(l.f.set.Overlap, m/20)
	}
	return l.f.set.Overlap
}

// staleAfter is the shortest silence that is suspicious for what the
// connection carries; 0: none is.
func (l *link) staleAfter() time.Duration {
	var d time.Duration
	for k := range l.active {
		if spec, ok := l.f.spec(k.channel); ok && spec.StaleAfter > 0 && (d == 0 || spec.StaleAfter < d) {
			d = spec.StaleAfter
		}
	}
	return d
}

// firstData is when control first saw data.
func (l *link) firstData(now time.Time) time.Time {
	if l.data.IsZero() {
		l.data = now
	}
	return l.data
}
