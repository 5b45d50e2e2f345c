package conn

import (
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// roles counts live connections by role.
func (r *running) roles() (carriers, spares int) {
	for _, c := range r.Stats() {
		switch {
		case c.Carries():
			carriers++
		case c.State == StateStandby && c.Health == Live:
			spares++
		}
	}
	return carriers, spares
}

// kill breaks a subscription's oldest connection.
func (h *hub) kill(sub string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ws := range h.order {
		if h.subs[ws] == sub {
			ws.UnderlyingConn().Close()
			delete(h.subs, ws)
			return
		}
	}
}

// TestStandbyBridgesBreaks breaks connections while messages flow, half of the
// time the one that carries: the two together have each message.
func TestStandbyBridgesBreaks(t *testing.T) {
	const slots, breaks = 2, 20
	h := &hub{subs: map[*websocket.Conn]string{}}
	v := newVenue(t)
	v.ws = h.serve
	u := &union{have: map[string][]uint8{}}
	r := start(t, settings(v, func(s *Settings) {
		s.Frames, s.Standby = u, true
		endpoint(s, func(e *source.Endpoint) { e.MaxSubscriptions = 1 })
	}), subs(market.ChannelTrades, slots))
	stop, sent := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sent)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				h.send(2)
			case <-stop:
				return
			}
		}
	}()
	both := func() bool { c, s := r.roles(); return c == slots && s == slots }
	for i := range breaks {
		r.until("carriers and spares", both)
		opens := r.Metrics().Opens
		h.kill([]string{"trades:SYM0", "trades:SYM1"}[i%slots])
		r.until("a new spare", func() bool { return r.Metrics().Opens > opens })
	}
	r.until("carriers and spares", both)
	close(stop)
	<-sent
	r.stop()
	if n := r.Metrics().Takeovers; n != breaks {
		t.Errorf("%d takeovers after %d breaks", n, breaks)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for sub, have := range u.have {
		begun := false
		for n, times := range have {
			begun = begun || times > 0
			if begun && times == 0 {
				t.Errorf("%s: message %d of %d is on no connection", sub, n, len(have))
			}
		}
	}
	if len(u.have) != slots {
		t.Errorf("%d subscriptions", len(u.have))
	}
}

func TestStandbyPlaces(t *testing.T) {
	t.Run("another endpoint", func(t *testing.T) {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			s.Standby = true
			endpoint(&s, func(e *source.Endpoint) {
				e.URL, e.Alternates = "wss://a.example/first", []string{"wss://b.example/second"}
			})
			r := start(t, s, subs(market.ChannelTrades, 3))
			time.Sleep(time.Minute)
			st := r.Stats()
			if len(st) != 2 || st[0].State != StateLive || st[0].Endpoint != "wss://a.example/first" ||
				st[1].State != StateStandby || st[1].Endpoint != "wss://b.example/second" || st[1].Subscriptions != 3 {
				t.Fatalf("%+v", st)
			}
			// The preferred endpoint goes away: the other one carries at once.
			v.mu.Lock()
			v.deny = func(n int, w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/first" {
					http.Error(w, "", http.StatusBadGateway)
				}
				return r.URL.Path == "/first"
			}
			v.open[0].Close()
			v.mu.Unlock()
			time.Sleep(time.Millisecond)
			if st := r.Stats(); len(st) != 1 || st[0].State != StateLive || st[0].Endpoint != "wss://b.example/second" {
				t.Errorf("%+v", st)
			}
			if m := r.Metrics(); m.Takeovers != 1 || m.Failovers != 1 || len(r.seen(EventTakeover)) != 1 {
				t.Errorf("%+v", m)
			}
		})
	})
	for most, spares := range map[int]int{2: 0, 3: 0, 4: 1, 5: 2, 0: 2} {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			s.Standby, s.Spec.MaxConns = true, most
			endpoint(&s, func(e *source.Endpoint) { e.MaxSubscriptions = 1 })
			r := start(t, s, subs(market.ChannelTrades, 2))
			time.Sleep(10 * time.Minute)
			if c, n := r.roles(); c != 2 || n != spares {
				t.Errorf("at most %d connections: %d carriers, %d spares, want %d", most, c, n, spares)
			}
		})
	}
	t.Run("rotation", func(t *testing.T) {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			s.Standby = true
			endpoint(&s, func(e *source.Endpoint) { e.MaxAge = 24 * time.Hour })
			r := start(t, s, subs(market.ChannelTrades, 1))
			time.Sleep(10 * 24 * time.Hour)
			if c, n := r.roles(); c != 1 || n != 1 {
				t.Errorf("%d carriers, %d spares: %+v", c, n, r.Stats())
			}
			if n := count(source.InputClose, "replaced: age limit")(r.mem.all()); n < 9 {
				t.Errorf("%d rotations in ten days", n)
			}
			if n := count(source.InputClose, "the venue closed")(r.mem.all()); n != 0 {
				t.Errorf("%d connections broke", n)
			}
			for _, c := range r.Stats() {
				if time.Since(c.Since) > 24*time.Hour {
					t.Errorf("%+v", c)
				}
			}
		})
	})
	t.Run("stale", func(t *testing.T) {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			s.Standby, s.Channels[0].StaleAfter = true, 30*time.Second
			v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
				go func() {
					for i := 0; n != 2 || i < 5; i++ { // the first spare falls silent
						time.Sleep(1500 * time.Millisecond)
						if ws.WriteMessage(websocket.TextMessage, []byte("data")) != nil {
							return
						}
					}
				}()
				v.serve(n, ws, func(request) []string { return nil })
			}
			r := start(t, s, subs(market.ChannelTrades, 1))
			time.Sleep(5 * time.Minute)
			st := r.Stats()
			if len(st) != 2 || st[0].Conn != 1 || st[1].Conn != 3 || st[1].State != StateStandby {
				t.Errorf("%+v", st)
			}
			if r.Metrics().Stale != 0 || len(r.seen(EventStale)) != 0 {
				t.Error("a silent spare opened a gap")
			}
		})
	})
}
