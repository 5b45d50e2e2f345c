package conn

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// pongs makes a venue that answers pings after a delay by connection; negative: never.
func pongs(v *venue, delay func(n int) time.Duration) {
	v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
		ws.SetPingHandler(func(p string) error {
			v.arrive(n, "PING")
			d := delay(n)
			if d < 0 {
				return nil
			}
			go func() {
				time.Sleep(d)
				ws.WriteControl(websocket.PongMessage, []byte(p), time.Now().Add(time.Second))
			}()
			return nil
		})
		go func() { // signs of life
			time.Sleep(2500 * time.Millisecond)
			for ws.WriteMessage(websocket.TextMessage, []byte("data")) == nil {
				time.Sleep(5 * time.Second)
			}
		}()
		v.serve(n, ws, func(request) []string { return nil })
	}
}

func server(s *Settings) {
	endpoint(s, func(e *source.Endpoint) {
		e.Heartbeat = source.Heartbeat{Kind: source.HeartbeatServer, Every: 20 * time.Second, Timeout: time.Minute}
	})
}

func TestPongTimes(t *testing.T) {
	t.Run("measured", func(t *testing.T) {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			server(&s)
			pongs(v, func(int) time.Duration { return 300 * time.Millisecond })
			r := start(t, s, subs(market.ChannelTrades, 1))
			time.Sleep(10 * time.Minute)
			st := r.Stats()
			if len(st) != 1 || st[0].Health != Live || st[0].PongRTT != 300*time.Millisecond || st[0].Conn != 1 {
				t.Errorf("%+v", st)
			}
			h := r.pong.Snapshot()
			if h.Count < 35 || h.Count > 45 || h.Mean() != 300*time.Millisecond {
				t.Errorf("%d pongs of %v in ten minutes", h.Count, h.Mean())
			}
		})
	})
	t.Run("within the message budget", func(t *testing.T) {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			server(&s)
			s.ProbeEvery = time.Second
			endpoint(&s, func(e *source.Endpoint) { e.Messages = source.Rate{N: 5, Per: time.Minute} })
			pongs(v, func(int) time.Duration { return 0 })
			start(t, s, subs(market.ChannelTrades, 1))
			time.Sleep(10 * time.Minute)
			var at []time.Time
			for _, a := range v.arrivals() {
				if a.text == "PING" || strings.HasPrefix(a.text, "{") {
					at = append(at, a.at)
				}
			}
			if n := mostIn(at, time.Minute); n > 5 || len(at) < 30 {
				t.Errorf("%d messages within a minute, %d in all", n, len(at))
			}
		})
	})
	t.Run("slow: replaced, and well again", func(t *testing.T) {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			server(&s)
			pongs(v, func(n int) time.Duration {
				if n == 1 {
					return 4 * time.Second
				}
				return 10 * time.Millisecond
			})
			r := start(t, s, subs(market.ChannelTrades, 1))
			time.Sleep(20 * time.Second)
			if st := r.Stats(); len(st) != 1 || st[0].Health != Degraded || st[0].HealthWhy == "" {
				t.Errorf("%+v", st)
			}
			time.Sleep(75 * time.Second)
			st := r.Stats()
			if len(st) != 1 || st[0].Conn != 2 || st[0].Health != Live {
				t.Errorf("%+v", st)
			}
			if n := count(source.InputClose, "replaced: degraded for 30")(r.mem.all()); n != 1 {
				t.Errorf("replaced %d times:\n%s", n, dump(r.mem.all()))
			}
			if r.count.degraded[illPong].Load() != 1 || r.count.replacements[replaceDegraded].Load() != 1 || len(r.seen(EventDegraded)) != 1 {
				t.Errorf("%+v", r.Metrics())
			}
		})
	})
	t.Run("slow everywhere: not replaced for ever", func(t *testing.T) {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			server(&s)
			pongs(v, func(n int) time.Duration { return 5 * time.Second })
			r := start(t, s, subs(market.ChannelTrades, 1))
			time.Sleep(2 * time.Hour)
			if n := r.count.replacements[replaceDegraded].Load(); n < 4 || n > 16 {
				t.Errorf("%d replacements in two hours", n)
			}
		})
	})
	t.Run("no answer ever", func(t *testing.T) {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			server(&s)
			pongs(v, func(n int) time.Duration { return -1 })
			r := start(t, s, subs(market.ChannelTrades, 1))
			time.Sleep(time.Hour)
			if st := r.Stats(); len(st) != 1 || st[0].Conn != 1 || st[0].Health != Live || st[0].PongRTT != 0 {
				t.Errorf("%+v", st)
			}
			n := 0
			for _, a := range v.arrivals() {
				if a.text == "PING" {
					n++
				}
			}
			if n != probeTries {
				t.Errorf("%d pings to a venue that answers none", n)
			}
		})
	})
	t.Run("not to venues that want text", func(t *testing.T) {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			endpoint(&s, func(e *source.Endpoint) {
				e.Heartbeat = source.Heartbeat{Kind: source.HeartbeatText, Every: 20 * time.Second, Timeout: time.Minute, Payload: "ping"}
			})
			pongs(v, func(n int) time.Duration { return 0 })
			r := start(t, s, subs(market.ChannelTrades, 1))
			time.Sleep(10 * time.Minute)
			if texts(1, "PING")(v.arrivals()) || r.Stats()[0].Health != Live {
				t.Errorf("%+v", r.Stats())
			}
		})
	})
}

func TestErrorsDegrade(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		mem := newMemory()
		s.Frames = mem
		mem.refuse = func(k source.InputKind, b []byte) error {
			if string(b) == "bad" {
				return fault.Errorf(fault.Skip, "refused")
			}
			return nil
		}
		v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
			go func() {
				time.Sleep(time.Second / 2)
				for i := 0; ; i++ {
					msg := "fine"
					if i >= 30 && i < 40 {
						msg = "bad"
					}
					if ws.WriteMessage(websocket.TextMessage, []byte(msg)) != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			v.serve(n, ws, func(request) []string { return nil })
		}
		s.DegradedFor = time.Hour
		r := start(t, s, subs(market.ChannelTrades, 1))
		time.Sleep(42 * time.Second)
		st := r.Stats()
		if len(st) != 1 || st[0].Health != Degraded || !strings.Contains(st[0].HealthWhy, "frames refused") || st[0].Errors != 10 {
			t.Errorf("%+v", st)
		}
		time.Sleep(5 * time.Minute)
		if st := r.Stats(); len(st) != 1 || st[0].Health != Live || st[0].HealthWhy != "" || st[0].Conn != 1 {
			t.Errorf("%+v", st)
		}
		if r.count.degraded[illErrors].Load() != 1 {
			t.Errorf("%+v", r.Metrics())
		}
	})
}

func TestOldDataDegrade(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Channels[0].StaleAfter = 40 * time.Second
		quiet := make(chan struct{})
		v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
			go func() {
				time.Sleep(time.Second / 2)
				for i := 0; ; i++ {
					if ws.WriteMessage(websocket.TextMessage, []byte("data")) != nil {
						return
					}
					time.Sleep(time.Second)
					if i == 30 {
						<-quiet
					}
				}
			}()
			v.serve(n, ws, func(request) []string { return nil })
		}
		r := start(t, s, subs(market.ChannelTrades, 1))
		time.Sleep(56 * time.Second) // silent for 25
		if st := r.Stats(); len(st) != 1 || st[0].Health != Degraded || !strings.HasPrefix(st[0].HealthWhy, "no data for 2") {
			t.Errorf("%+v", st)
		}
		close(quiet)
		time.Sleep(30 * time.Second)
		if st := r.Stats(); len(st) != 1 || st[0].Health != Live || st[0].Conn != 1 {
			t.Errorf("%+v", st)
		}
		if m := r.Metrics(); m.Degraded != 1 || m.Stale != 0 || m.Replacements != 0 {
			t.Errorf("%+v", m)
		}
	})
}

func TestStatesOfAConnection(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		v.deny = func(n int, w http.ResponseWriter, _ *http.Request) bool {
			time.Sleep(time.Second)
			if n == 2 {
				http.Error(w, "", http.StatusBadGateway)
			}
			return n == 2
		}
		endpoint(&s, func(e *source.Endpoint) { e.MaxAge = 24 * time.Hour })
		r := start(t, s, subs(market.ChannelTrades, 1))
		one := func(what string, h Health) ConnStats {
			t.Helper()
			st := r.Stats()
			if len(st) != 1 || st[0].Health != h {
				t.Fatalf("%s: %+v", what, st)
			}
			return st[0]
		}
		time.Sleep(time.Second / 2)
		one("dialling", Connecting)
		time.Sleep(10 * time.Second)
		c := one("subscribed", Live)
		if c.Rotates.Sub(c.Since) < 23*time.Hour || c.Bursts == 0 || c.Sent != 1 || c.Endpoint != s.Spec.Endpoints[0].URL {
			t.Errorf("%+v", c)
		}
		v.hang()
		v.wait("the second dial", func(as []arrival) bool { return len(dials(as)) == 2 })
		time.Sleep(time.Second)
		for range 1000 { // the wait before the next dial is as short as chance makes it
			if c = r.Stats()[0]; c.Health == Dead {
				break
			}
			time.Sleep(50 * time.Microsecond)
		}
		c = one("between two dials", Dead)
		if c.State != "waiting" || !strings.Contains(c.LastError, "502 Bad Gateway") || c.HealthWhy != c.LastError || c.Reconnects != 2 || c.Carries() {
			t.Errorf("%+v", c)
		}
		time.Sleep(time.Minute)
		c = one("again", Live)
		if c.LastError == "" || c.LastErrorAt.IsZero() || c.Conn != 3 {
			t.Errorf("%+v", c)
		}
	})
}

func TestMaintenanceReplacesOnce(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		r := start(t, s, subs(market.ChannelTrades, 1))
		for range 60 { // the venue says it on each connection, again and again
			time.Sleep(5 * time.Second)
			for _, c := range r.Stats() {
				r.Signal(c.Conn, source.Signal{Kind: source.SignalMaintenance, Text: []byte("cancel only")})
			}
		}
		time.Sleep(time.Minute)
		if n := r.count.replacements[replaceMaintenance].Load(); n != 1 {
			t.Errorf("%d replacements", n)
		}
		if n := count(source.InputClose, "replaced: maintenance: cancel only")(r.mem.all()); n != 1 {
			t.Errorf("%d connections closed:\n%s", n, dump(r.mem.all()))
		}
	})
}

// TestLastDataIsOfNow asks between two looks of the connection's own loop.
func TestLastDataIsOfNow(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		r := start(t, s, subs(market.ChannelTrades, 1))
		time.Sleep(5 * time.Second)
		synctest.Wait() // the venue's own answer is written: from here on we write alone
		for range 30 {
			v.mu.Lock()
			for _, ws := range v.open {
				if err := ws.WriteMessage(websocket.TextMessage, []byte(`{"data":1}`)); err != nil {
					t.Error(err)
				}
			}
			v.mu.Unlock()
			time.Sleep(time.Second)
			st := r.Stats()
			if len(st) != 1 || time.Since(st[0].LastData) > 2*time.Second {
				t.Fatalf("data came a second ago, said is: %+v", st)
			}
		}
	})
}
