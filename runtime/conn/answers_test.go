package conn

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// signals speaks as the test venue's decoder.
func signals(r *running, e entry) {
	m := struct{ Ack, Reject, Why, Welcome string }{Why: "unknown symbol"}
	if e.kind != source.InputText || json.Unmarshal([]byte(e.payload), &m) != nil {
		return
	}
	switch {
	case m.Ack != "":
		r.Signal(e.conn, source.Signal{Kind: source.SignalSubscribed, Text: []byte(m.Ack)})
	case m.Reject != "":
		r.Signal(e.conn, source.Signal{Kind: source.SignalRejected, Text: []byte(m.Reject + "\x00" + m.Why)})
	case m.Welcome != "":
		r.Signal(e.conn, source.Signal{Kind: source.SignalReady, Text: []byte(m.Welcome)})
	}
}

// decoded starts a feed whose journal is read by signals.
func decoded(t *testing.T, s Settings, list []source.Subscription) *running {
	mem := newMemory()
	entries := make(chan entry, 4096)
	mem.decode = func(e entry) { entries <- e }
	s.Frames = mem
	r := start(t, s, list)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range entries {
			signals(r, e)
		}
	}()
	t.Cleanup(func() { r.stop(); close(entries); <-done })
	return r
}

// TestHandles: what the venue calls a subscription comes back when it is to be
// unsubscribed, and only then.
func TestHandles(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		pl := &plugin{batch: 1, tokens: true}
		s.Renderer = pl
		names := map[string]string{}
		v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
			v.serve(n, ws, func(r request) []string {
				v.mu.Lock()
				defer v.mu.Unlock()
				if r.Op == "unsubscribe" {
					return []string{fmt.Sprintf(`{"ack":%q}`, r.ID)}
				}
				names[r.ID] = fmt.Sprintf("chan-%s-%d", r.ID, len(names))
				return []string{fmt.Sprintf(`{"ack":"%s\u0000%s"}`, r.ID, names[r.ID])}
			})
		}
		all := subs(market.ChannelBook, 2)
		r := decoded(t, s, all)
		time.Sleep(time.Second)
		if st := r.Stats(); len(st) != 1 || st[0].Unacked != 0 {
			t.Fatalf("%+v", st)
		}
		for i := range 2 {
			v.mu.Lock()
			want := maps.Clone(names)
			v.mu.Unlock()
			r.Resubscribe(all[1])
			time.Sleep(time.Second)
			pl.mu.Lock()
			asked := pl.asked[2*i:]
			pl.mu.Unlock()
			if len(asked) != 2 || !asked[0].Unsubscribe || !maps.Equal(asked[0].Handles, want) || len(want) < 2 || asked[1].Handles != nil {
				t.Fatalf("%+v, want %v", asked, want)
			}
		}
	})
}

// TestNoRenewalOfWhatComes: a subscription that the venue hasn't acknowledged yet
// isn't renewed.
func TestNoRenewalOfWhatComes(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		pl := &plugin{batch: 1, tokens: true}
		s.Renderer = pl
		v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
			v.serve(n, ws, func(r request) []string {
				time.Sleep(3 * time.Second)
				return []string{fmt.Sprintf(`{"ack":%q}`, r.ID)}
			})
		}
		all := subs(market.ChannelBook, 1)
		r := decoded(t, s, all)
		for i, want := range []int{0, 2} {
			time.Sleep(time.Duration(1+4*i) * time.Second)
			r.Resubscribe(all[0])
			time.Sleep(time.Second)
			pl.mu.Lock()
			if len(pl.asked) != want {
				t.Errorf("%d times: %+v", len(pl.asked), pl.asked)
			}
			pl.mu.Unlock()
		}
	})
}

func TestAcknowledgements(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Renderer = &plugin{batch: 1, tokens: true}
		asked := make(map[string]int)
		v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
			v.serve(n, ws, func(r request) []string {
				v.mu.Lock()
				defer v.mu.Unlock()
				asked[r.Args[0]]++
				switch {
				case r.Args[0] == "trades:SYM1":
					return []string{fmt.Sprintf(`{"reject":%q}`, r.ID)}
				case r.Args[0] == "trades:SYM2" && asked[r.Args[0]] < 3, r.Args[0] == "trades:SYM4":
					return nil
				}
				return []string{fmt.Sprintf(`{"ack":%q}`, r.ID)}
			})
		}
		r := decoded(t, s, subs(market.ChannelTrades, 4))
		time.Sleep(5 * time.Second)
		if st := r.Stats(); st[0].Unacked != 1 {
			t.Errorf("%+v", st)
		}
		time.Sleep(time.Minute)
		if st := r.Stats(); len(st) != 1 || st[0].Unacked != 0 || st[0].Subscriptions != 3 || st[0].Conn != 1 {
			t.Errorf("%+v", st)
		}
		v.mu.Lock()
		if asked["trades:SYM1"] != 1 || asked["trades:SYM2"] != 3 || asked["trades:SYM0"] != 1 {
			t.Errorf("%v", asked)
		}
		v.mu.Unlock()
		ev := r.seen(EventRejected)
		if len(ev) != 1 || len(ev[0].Subs) != 1 || ev[0].Subs[0].Symbol != "SYM1" || !strings.Contains(ev[0].Detail, "unknown symbol") {
			t.Errorf("%+v", ev)
		}
		if n := len(r.seen(EventAckTimeout)); n != 2 {
			t.Errorf("%d timeouts", n)
		}
		// One that is never acknowledged costs the connection, not for ever.
		if err := r.SetSubscriptions(subs(market.ChannelTrades, 5)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(45 * time.Second)
		if n := count(source.InputClose, "no acknowledgement within 10s")(r.mem.all()); n != 1 {
			t.Errorf("closed %d times", n)
		}
	})
}

// TestSubscriptionThatEndsConnections: a venue that hangs up on some symbols costs
// them alone; one that hangs up on everything costs none.
func TestSubscriptionThatEndsConnections(t *testing.T) {
	for name, bad := range map[string][]string{"first": {"trades:SYM0"}, "two": {"trades:SYM2", "trades:SYM3"}, "all": {"trades:SYM0", "trades:SYM1", "trades:SYM2", "trades:SYM3", "trades:SYM4"}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
				s.Renderer = &plugin{batch: 1, tokens: true}
				asked := map[string]int{}
				v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
					v.serve(n, ws, func(r request) []string {
						v.mu.Lock()
						defer v.mu.Unlock()
						asked[r.Args[0]]++
						if slices.Contains(bad, r.Args[0]) {
							ws.Close()
							return nil
						}
						return []string{fmt.Sprintf(`{"ack":%q}`, r.ID)}
					})
				}
				r := decoded(t, s, subs(market.ChannelTrades, 5))
				time.Sleep(10 * time.Minute)
				rejected := r.seen(EventShunned)
				if len(bad) == 5 {
					if len(rejected) > 0 {
						t.Errorf("%+v", rejected)
					}
					return
				}
				if st := r.Stats(); len(st) != 1 || st[0].State != StateLive || st[0].Unacked != 0 || st[0].Subscriptions != 5-len(bad) {
					t.Errorf("%+v", st)
				}
				if len(rejected) != len(bad) {
					t.Fatalf("%+v", rejected)
				}
				for _, e := range rejected {
					if len(e.Subs) != 1 || !slices.Contains(bad, "trades:"+e.Subs[0].Symbol) || !strings.Contains(e.Detail, "ends each connection") {
						t.Errorf("%+v", e)
					}
				}
				v.mu.Lock()
				for _, b := range bad {
					if asked[b] > 6 {
						t.Errorf("%s was asked for %d times", b, asked[b])
					}
				}
				clear(asked)
				v.mu.Unlock()
				// It is tried again once it was given up and wanted anew.
				if err := r.SetSubscriptions(subs(market.ChannelTrades, 1)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				v.mu.Lock()
				bad = nil
				v.mu.Unlock()
				if err := r.SetSubscriptions(subs(market.ChannelTrades, 5)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				if st := r.Stats(); len(st) != 1 || st[0].Subscriptions != map[string]int{"first": 4, "two": 5}[name] { // SYM0 was wanted all the time
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// TestAnswersInOrder: a refusal that doesn't say what it is to is to the frame
// that waits longest.
func TestAnswersInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Renderer = &plugin{batch: 1, tokens: true}
		v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
			v.serve(n, ws, func(r request) []string {
				switch r.Args[0] {
				case "trades:SYM1", "trades:SYM3":
					return []string{fmt.Sprintf(`{"reject":%q}`, source.TokenOldest)}
				case "trades:SYM4":
					return []string{fmt.Sprintf(`{"ack":%q}`, source.TokenOldest)}
				}
				return []string{fmt.Sprintf(`{"ack":%q}`, r.ID)}
			})
		}
		r := decoded(t, s, subs(market.ChannelTrades, 6))
		time.Sleep(time.Minute)
		if st := r.Stats(); len(st) != 1 || st[0].Unacked != 0 || st[0].Subscriptions != 4 || st[0].Conn != 1 {
			t.Errorf("%+v", st)
		}
		var refused []string
		for _, e := range r.seen(EventRejected) {
			for _, sub := range e.Subs {
				refused = append(refused, sub.Symbol)
			}
		}
		if slices.Sort(refused); !slices.Equal(refused, []string{"SYM1", "SYM3"}) {
			t.Errorf("refused: %v", refused)
		}
		if n := len(r.seen(EventAckTimeout)); n != 0 {
			t.Errorf("%d timeouts", n)
		}
	})
}
