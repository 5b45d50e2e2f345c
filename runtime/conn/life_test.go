package conn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

func dials(as []arrival) (at []time.Time) {
	for _, a := range as {
		if strings.HasPrefix(a.text, "DIAL") {
			at = append(at, a.at)
		}
	}
	return at
}

// endpoint edits the only endpoint of the settings.
func endpoint(s *Settings, edit func(*source.Endpoint)) { edit(&s.Spec.Endpoints[0]) }

func TestHalfOpenConnectionIsReplaced(t *testing.T) {
	for _, kind := range []source.HeartbeatKind{source.HeartbeatPing, source.HeartbeatText, source.HeartbeatServer} {
		t.Run(string(kind), func(t *testing.T) {
			bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
				endpoint(&s, func(e *source.Endpoint) {
					e.Heartbeat = source.Heartbeat{Kind: kind, Every: 20 * time.Second, Timeout: 60 * time.Second, Payload: "ping"}
				})
				v.ws = func(n int, ws *websocket.Conn, r *http.Request) {
					if n > 1 {
						v.serve(n, ws, nil)
						return
					}
					ws.SetPingHandler(func(string) error { return nil }) // takes everything, answers nothing
					for {
						if _, _, err := ws.ReadMessage(); err != nil {
							return
						}
					}
				}
				begin := time.Now()
				r := start(t, s, subs(market.ChannelTrades, 1))
				time.Sleep(90 * time.Second)
				d := dials(v.arrivals())
				if len(d) < 2 || d[1].Sub(begin) < 60*time.Second || d[1].Sub(begin) > 61*time.Second {
					t.Errorf("dials at %v after %v", d, begin)
				}
				if n := count(source.InputClose, "no sign of life for 1m0s")(r.mem.all()); n != 1 {
					t.Errorf("closed %d times for silence:\n%s", n, dump(r.mem.all()))
				}
				if m := values(t, r.Report); m["heartbeat_timeouts_total testex-spot"] != 1 || m["closes_total testex-spot,silence"] != 1 {
					t.Errorf("counted as %v", m)
				}
			})
		})
	}
}

func TestHeartbeats(t *testing.T) {
	t.Run("text", func(t *testing.T) {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			endpoint(&s, func(e *source.Endpoint) {
				e.Heartbeat = source.Heartbeat{Kind: source.HeartbeatText, Every: 20 * time.Second, Timeout: time.Minute, Payload: `{"op":"ping"}`}
			})
			r := start(t, s, subs(market.ChannelTrades, 1))
			time.Sleep(5*time.Minute + time.Second)
			if n := count(source.InputSent, `{"op":"ping"}`)(r.mem.all()); n != 15 {
				t.Errorf("%d pings in 5 minutes", n)
			}
			if !texts(15, `{"op":"ping"}`)(v.arrivals()) || len(dials(v.arrivals())) != 1 {
				t.Error("the venue didn't get them on one connection")
			}
		})
	})
	t.Run("only when idle", func(t *testing.T) {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			endpoint(&s, func(e *source.Endpoint) {
				e.Heartbeat = source.Heartbeat{Kind: source.HeartbeatText, Every: 20 * time.Second, Timeout: time.Minute, Payload: "ping", Idle: true}
			})
			v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
				go func() {
					for range 30 { // 5 minutes of traffic, then silence
						time.Sleep(10 * time.Second)
						if ws.WriteMessage(websocket.TextMessage, []byte("{}")) != nil {
							return
						}
					}
				}()
				for {
					_, b, err := ws.ReadMessage()
					if err != nil {
						return
					}
					v.arrive(n, string(b))
				}
			}
			r := start(t, s, subs(market.ChannelTrades, 1))
			time.Sleep(5 * time.Minute)
			if n := count(source.InputSent, "ping")(r.mem.all()); n != 0 {
				t.Errorf("%d pings while traffic flowed", n)
			}
			time.Sleep(21 * time.Second)
			if n := count(source.InputSent, "ping")(r.mem.all()); n != 1 {
				t.Errorf("%d pings after 20 s of silence", n)
			}
		})
	})
	t.Run("server ping is echoed", func(t *testing.T) {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
				ws.SetPongHandler(func(s string) error { v.arrive(n, "PONG "+s); return nil })
				go func() {
					for i := range 3 {
						ws.WriteControl(websocket.PingMessage, fmt.Appendf(nil, "1234567890-%d", i), time.Now().Add(time.Second))
						time.Sleep(20 * time.Second)
					}
				}()
				v.serve(n, ws, nil)
			}
			start(t, s, subs(market.ChannelTrades, 1))
			time.Sleep(50 * time.Second)
			for i := range 3 {
				if !texts(1, fmt.Sprintf("PONG 1234567890-%d", i))(v.arrivals()) {
					t.Errorf("ping %d was not answered with its payload: %v", i, v.arrivals())
				}
			}
		})
	})
}

func TestReconnectsAreSpread(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		const n = 40
		endpoint(&s, func(e *source.Endpoint) { e.MaxSubscriptions = 1 })
		start(t, s, subs(market.ChannelTrades, n))
		time.Sleep(2 * time.Minute)
		if d := dials(v.arrivals()); len(d) != n {
			t.Fatalf("%d connections for %d subscriptions", len(d), n)
		}
		v.hang()
		cut := time.Now()
		time.Sleep(time.Minute)
		var delays []time.Duration
		for _, at := range dials(v.arrivals())[n:] {
			delays = append(delays, at.Sub(cut))
		}
		slices.Sort(delays)
		if len(delays) != n || delays[n-1] > backoffBase {
			t.Fatalf("reconnected after %v", delays)
		}
		if spread := delays[n*9/10] - delays[n/10]; spread < backoffBase/2 {
			t.Errorf("80%% reconnected within %v: %v", spread, delays)
		}
	})
}

func TestBackoffNeverGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		v.deny = func(n int, w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "maintenance", http.StatusServiceUnavailable)
			return true
		}
		r := start(t, s, subs(market.ChannelTrades, 1))
		time.Sleep(time.Hour)
		d := dials(v.arrivals())
		if len(d) < 60 || len(d) > 400 {
			t.Errorf("%d attempts in an hour", len(d))
		}
		for i := range d[1:] {
			if gap := d[i+1].Sub(d[i]); gap > backoffCap+handshakeTime {
				t.Errorf("attempt %d came after %v", i+1, gap)
			}
		}
		if n := count(source.InputClose, "503 Service Unavailable")(r.mem.all()); n != len(d) {
			t.Errorf("%d failures of %d are journalled", n, len(d))
		}
		v.mu.Lock()
		v.deny = nil
		v.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if st := r.Stats(); len(st) != 1 || st[0].State != "live" {
			t.Errorf("after the maintenance: %+v", st)
		}
	})
}

func TestAlternateEndpoint(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		endpoint(&s, func(e *source.Endpoint) {
			e.URL, e.Alternates = "wss://a.example/first", []string{"wss://b.example/second"}
		})
		v.deny = func(n int, w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/first" {
				http.Error(w, "", http.StatusBadGateway)
				return true
			}
			return false
		}
		r := start(t, s, subs(market.ChannelTrades, 1))
		time.Sleep(time.Minute)
		if st := r.Stats(); len(st) != 1 || st[0].URL != "wss://b.example/second" {
			t.Errorf("%+v", st)
		}
	})
}

// replaced checks that connection 2 was subscribed before connection 1 was told to go.
func replaced(t *testing.T, v *venue, why string, r *running) {
	t.Helper()
	as := v.arrivals()
	sub := slices.IndexFunc(as, func(a arrival) bool { return a.conn == 2 && strings.Contains(a.text, "subscribe") })
	gone := slices.IndexFunc(as, func(a arrival) bool { return a.conn == 1 && strings.HasPrefix(a.text, "GONE") })
	if sub < 0 || gone < 0 || sub > gone {
		t.Errorf("subscribed on the second at %d, first gone at %d: %v", sub, gone, as)
	}
	if gone >= 0 && !strings.Contains(as[gone].text, "close 1001") {
		t.Errorf("the old connection ended with %q", as[gone].text)
	}
	var closed string
	for _, e := range r.mem.all() {
		if e.kind == source.InputClose {
			closed = e.payload
			break
		}
	}
	if !strings.Contains(closed, "replaced: "+why) {
		t.Errorf("InputClose says %q", closed)
	}
}

func TestMakeBeforeBreak(t *testing.T) {
	t.Run("age", func(t *testing.T) {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			endpoint(&s, func(e *source.Endpoint) { e.MaxAge = 24 * time.Hour })
			r := start(t, s, subs(market.ChannelTrades, 3))
			time.Sleep(24 * time.Hour)
			replaced(t, v, "age limit of 24h0m0s", r)
			d := dials(v.arrivals())
			if age := d[1].Sub(d[0]); age < 23*time.Hour+29*time.Minute || age > 23*time.Hour+50*time.Minute {
				t.Errorf("replaced after %v", age)
			}
		})
	})
	t.Run("signal", func(t *testing.T) {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			r := start(t, s, subs(market.ChannelTrades, 3))
			time.Sleep(time.Second)
			for range 20 { // a venue that says it twenty times gets one replacement
				r.Signal(1, source.Signal{Kind: source.SignalReconnect, Text: []byte("serverShutdown")})
			}
			time.Sleep(20 * time.Second)
			replaced(t, v, "serverShutdown", r)
			if d := dials(v.arrivals()); len(d) != 2 {
				t.Errorf("%d dials", len(d))
			}
		})
	})
	t.Run("replacement fails first", func(t *testing.T) {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			v.deny = func(n int, w http.ResponseWriter, _ *http.Request) bool {
				if n == 2 {
					http.Error(w, "", http.StatusBadGateway)
				}
				return n == 2
			}
			r := start(t, s, subs(market.ChannelTrades, 3))
			time.Sleep(time.Second)
			r.Reconnect(1, "test")
			time.Sleep(time.Minute)
			st := r.Stats()
			if len(st) != 1 || st[0].Conn != 3 || st[0].State != "live" {
				t.Errorf("%+v", st)
			}
		})
	})
	t.Run("old one dies meanwhile", func(t *testing.T) {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			v.deny = func(n int, w http.ResponseWriter, _ *http.Request) bool {
				if n == 2 {
					v.hang()
				}
				return false
			}
			r := start(t, s, subs(market.ChannelTrades, 3))
			time.Sleep(time.Second)
			r.Reconnect(1, "test")
			time.Sleep(time.Minute)
			st := r.Stats()
			if len(st) != 1 || st[0].Conn != 2 || st[0].State != "live" || st[0].Subscriptions != 3 {
				t.Errorf("%+v", st)
			}
		})
	})
}

func TestStaleByDataNotByHeartbeat(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Channels[0].StaleAfter = 30 * time.Second
		mem := newMemory()
		s.Frames = mem
		signals := make(chan uint32, 1024)
		mem.decode = func(e entry) {
			if e.payload == "hb" {
				signals <- e.conn
			}
		}
		v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
			go func() {
				for i := 0; ; i++ {
					msg := "hb"
					if n == 1 && i < 60 || n > 1 { // the first goes stale after a minute, though it stays alive
						msg = "data"
					}
					if ws.WriteMessage(websocket.TextMessage, []byte(msg)) != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			v.serve(n, ws, func(request) []string { return nil })
		}
		r := start(t, s, subs(market.ChannelTrades, 1))
		go func() {
			for c := range signals {
				r.Signal(c, source.Signal{Kind: source.SignalHeartbeat})
			}
		}()
		t.Cleanup(func() { r.stop(); close(signals) })
		time.Sleep(85 * time.Second)
		if len(r.seen(EventStale)) != 0 {
			t.Errorf("stale too early: %v", r.seen(EventStale))
		}
		time.Sleep(65 * time.Second)
		ev := r.seen(EventStale)
		if len(ev) != 1 || ev[0].Conn != 1 {
			t.Errorf("stale: %v", ev)
		}
		if m := values(t, r.Report); m["stale_total testex-spot"] != 1 || m["replacements_total testex-spot,stale"] != 1 {
			t.Errorf("counted as %v", m)
		}
		if n := count(source.InputClose, "replaced: stale: no data for")(mem.all()); n != 1 {
			t.Errorf("not replaced:\n%s", dump(mem.all()[:5]))
		}
	})
}

func TestQuietMarketIsNotReconnectedForEver(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Channels[0].StaleAfter = 10 * time.Second
		r := start(t, s, subs(market.ChannelTrades, 1))
		time.Sleep(time.Hour)
		if n := len(r.seen(EventStale)); n < 3 || n > 20 {
			t.Errorf("%d replacements in an hour", n)
		}
	})
}

func TestCloseReasons(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
			if n == 1 {
				ws.ReadMessage()
				ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1012, "restart"), time.Now().Add(time.Second))
			}
			v.serve(n, ws, nil)
		}
		r := start(t, s, subs(market.ChannelTrades, 1))
		time.Sleep(10 * time.Second)
		if n := count(source.InputClose, "close 1012")(r.mem.all()); n != 1 {
			t.Errorf("1012 is not journalled:\n%s", dump(r.mem.all()))
		}
		p.mu.Lock()
		p.broken = &net.DNSError{Err: "no such host", Name: "ws.testex.example", IsNotFound: true}
		p.mu.Unlock()
		v.hang()
		time.Sleep(10 * time.Second)
		if n := count(source.InputClose, "no such host")(r.mem.all()); n == 0 {
			t.Errorf("the resolver's error is not journalled:\n%s", dump(r.mem.all()))
		}
	})
}

func TestJournalErrors(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		mem := newMemory()
		s.Frames = mem
		mem.refuse = func(k source.InputKind, b []byte) error {
			switch {
			case string(b) == "too large":
				return fault.Errorf(fault.Skip, "record too large")
			case string(b) == "too full":
				return errors.New("no space left on device")
			case string(b) == "too closed":
				return fault.Errorf(fault.Stop, "journal closed")
			}
			return nil
		}
		v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
			for _, m := range [][]string{{"too large", "fine"}, {"too full"}, {"too closed"}}[n-1] {
				ws.WriteMessage(websocket.TextMessage, []byte(m))
				if m == "fine" {
					time.Sleep(time.Second)
					return
				}
			}
			v.serve(n, ws, nil)
		}
		r := start(t, s, subs(market.ChannelTrades, 1))
		time.Sleep(time.Minute)
		if !atLeast(1, source.InputText, "fine")(mem.all()) {
			t.Error("a refused frame closed the connection")
		}
		if !atLeast(1, source.InputClose, "no space left")(mem.all()) {
			t.Errorf("a full disk did not:\n%s", dump(mem.all()))
		}
		select {
		case err := <-r.done:
			r.done <- err
			if fault.Of(err) != fault.Stop {
				t.Errorf("Run: %v", err)
			}
		default:
			t.Error("a closed journal did not stop the feed")
		}
		if r.Metrics().Refused != 1 {
			t.Errorf("refused: %d", r.Metrics().Refused)
		}
	})
}

func TestRunOnce(t *testing.T) {
	v := newVenue(t)
	r := start(t, settings(v, nil), nil)
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if err := r.Run(context.Background()); err == nil {
		t.Error("ran twice")
	}
}
