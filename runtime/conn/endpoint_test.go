package conn

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
	"pgregory.net/rapid"
)

func TestBoard(t *testing.T) {
	at := time.Unix(1e9, 0)
	fresh := func() *board { return NewBudgets().board("x", []string{"a", "b", "c"}) }
	t.Run("the manifest's order", func(t *testing.T) {
		b := fresh()
		if u := b.choose(at, ""); u != "a" {
			t.Error(u)
		}
		if u := b.choose(at, "a"); u != "b" {
			t.Errorf("a spare beside a goes to %s", u)
		}
		if u, ok := b.better(at, "a"); ok {
			t.Errorf("%s is better than a", u)
		}
	})
	t.Run("a failure and its rest", func(t *testing.T) {
		b := fresh()
		b.failed("a", at)
		if u := b.choose(at.Add(time.Second), ""); u != "b" {
			t.Errorf("after a failed: %s", u)
		}
		b.failed("b", at)
		b.failed("c", at)
		if u := b.choose(at, ""); u == "" { // all rest: the one whose rest ends first
			t.Error("nowhere")
		}
		if _, ok := b.better(at.Add(time.Second), "b"); ok {
			t.Error("better while it rests")
		}
		later := at.Add(20 * time.Minute)
		if u, ok := b.better(later, "b"); !ok || u != "a" {
			t.Errorf("later: %s %v", u, ok)
		}
		if u, ok := b.better(later, "b"); ok {
			t.Errorf("a second connection goes to %s before the first one held", u)
		}
		b.held("a")
		if _, ok := b.better(later, "b"); !ok {
			t.Error("none follows after the first one held")
		}
	})
	t.Run("a connection that lived long", func(t *testing.T) {
		b := fresh()
		b.ended("a", at, 24*time.Hour)
		if u := b.choose(at, ""); u != "a" {
			t.Errorf("one end after a day leads to %s", u)
		}
		for range 20 { // all that were there
			b.ended("a", at, 24*time.Hour)
		}
		if u := b.choose(at, ""); u != "b" {
			t.Errorf("twenty ends at once lead to %s", u)
		}
	})
	t.Run("a slow endpoint", func(t *testing.T) {
		b := fresh()
		b.ping("a", 3*time.Second)
		u, ok := b.better(at, "a")
		if !ok || u != "b" {
			t.Fatalf("%s %v", u, ok)
		}
		for range 50 {
			b.ping("b", 3*time.Second) // no better: then the manifest's order holds, once
		}
		u, ok = b.better(at, "b")
		if !ok || u == "b" {
			t.Errorf("%s %v", u, ok)
		}
	})
	t.Run("rests grow", func(t *testing.T) {
		b := fresh()
		now, last := at, time.Duration(0)
		for range 12 {
			b.failed("a", now)
			last = b.all[0].rest.Sub(now)
			now = b.all[0].rest
		}
		if last < defaultBoard.most/2 || last > defaultBoard.most {
			t.Errorf("after 12 failures it rests for %v", last)
		}
	})
}

// TestBoardMovesNobodyInCircles: whatever happened, following better leads to an
// end, and never back to where one was at the same moment.
func TestBoardMovesNobodyInCircles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		urls := []string{"a", "b", "c", "d"}
		b := NewBudgets().board("x", urls)
		now := time.Unix(1e9, 0)
		for range rapid.IntRange(0, 40).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(5*time.Minute)).Draw(t, "pause")))
			u := rapid.SampledFrom(urls).Draw(t, "url")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				b.failed(u, now)
			case 1:
				b.ended(u, now, time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "lived")))
			case 2:
				b.held(u)
			case 3:
				b.ping(u, time.Duration(rapid.Int64Range(1, int64(5*time.Second)).Draw(t, "rtt")))
			}
		}
		at, seen := b.choose(now, ""), map[string]bool{}
		for {
			if seen[at] {
				t.Fatalf("back at %s: %+v", at, b.all)
			}
			seen[at] = true
			to, ok := b.better(now, at)
			if !ok {
				return
			}
			at = to
		}
	})
}

// twoServers are a venue's preferred endpoint and its alternate, on sockets of
// their own. The first can be taken away and brought back at the same address.
type twoServers struct {
	t             *testing.T
	first, second *venue
	addr          string
	srv           *http.Server
}

func newTwoServers(t *testing.T) *twoServers {
	two := &twoServers{t: t, first: &venue{t: t, changed: make(chan struct{})}, second: newVenue(t)}
	// An address of loopback that nobody else uses: while the server is away,
	// neither a connection nor another test's server is given its port.
	l, err := net.Listen("tcp", "127.0.0.7:0")
	if err != nil {
		t.Fatal(err)
	}
	two.addr = l.Addr().String()
	l.Close()
	t.Cleanup(func() {
		if two.srv != nil {
			two.down()
		}
	})
	return two
}

func (two *twoServers) up() {
	l, err := net.Listen("tcp", two.addr)
	if err != nil {
		two.t.Fatal(err)
	}
	two.srv = &http.Server{Handler: two.first}
	go two.srv.Serve(l)
}

func (two *twoServers) down() {
	two.srv.Close()
	two.first.hang()
}

func (two *twoServers) settings(times boardTimes) Settings {
	return settings(nil, func(s *Settings) {
		s.Budgets.times = times
		s.Spec.Endpoints = []source.Endpoint{{URL: "ws://" + two.addr + "/first", Alternates: []string{two.second.wsURL() + "/second"}, MaxSubscriptions: 1}}
	})
}

// quick are times for real sockets.
var quick = boardTimes{half: 50 * time.Millisecond, hold: 100 * time.Millisecond, rest: 20 * time.Millisecond, most: 500 * time.Millisecond,
	trial: 500 * time.Millisecond, review: 20 * time.Millisecond}

// at counts live connections by endpoint.
func (r *running) at(path string) (n int) {
	for _, c := range r.Stats() {
		if c.Carries() && strings.HasSuffix(c.Endpoint, path) {
			n++
		}
	}
	return n
}

func (r *running) until(what string, ok func() bool) {
	r.t.Helper()
	for limit := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			b, _ := json.Marshal(r.Stats())
			r.t.Fatalf("waited in vain for %s: %s", what, b)
		}
	}
}

func TestFailoverAndReturn(t *testing.T) {
	const slots = 3
	two := newTwoServers(t)
	r := start(t, two.settings(quick), subs(market.ChannelTrades, slots))
	r.until("the alternate", func() bool { return r.at("/second") == slots })
	if n := len(dials(two.first.arrivals())); n != 0 {
		t.Errorf("%d dials at a server that is not there", n)
	}
	two.up()
	r.until("the return", func() bool { return r.at("/first") == slots })
	es := r.mem.wait(t, "the alternate's connections to close", atLeast(slots, source.InputClose, "replaced: a better endpoint: ws://"+two.addr))
	if n := count(source.InputClose, "the venue closed")(es); n != 0 {
		t.Errorf("%d connections were broken, not replaced", n)
	}
	two.down()
	r.until("the alternate again", func() bool { return r.at("/second") == slots })
	two.up()
	r.until("the return again", func() bool { return r.at("/first") == slots })
	if st := r.Stats(); st[0].LastError == "" || st[0].Reconnects == 0 {
		t.Errorf("%+v", st[0])
	}
}

// TestFailoverIsBrief: many connections wait to dial an endpoint that is gone.
// The first failure sends the others to the alternate.
func TestFailoverIsBrief(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		const slots = 200
		endpoint(&s, func(e *source.Endpoint) {
			e.URL, e.Alternates, e.MaxSubscriptions = "wss://a.example/first", []string{"wss://b.example/second"}, 1
		})
		up := false
		v.deny = func(n int, w http.ResponseWriter, r *http.Request) bool {
			time.Sleep(50 * time.Millisecond)
			v.mu.Lock()
			defer v.mu.Unlock()
			if r.URL.Path == "/first" && !up {
				http.Error(w, "", http.StatusBadGateway)
				return true
			}
			return false
		}
		r := start(t, s, subs(market.ChannelTrades, slots))
		time.Sleep(10 * time.Second)
		if n := r.at("/second"); n != slots {
			t.Errorf("%d of %d connections are at the alternate", n, slots)
		}
		if n := len(dialsOf(v.arrivals(), "/first", time.Time{})); n > firstDials {
			t.Errorf("%d dials at an endpoint that is gone", n)
		}
		e := r.Endpoints()
		if len(e) != 2 || e[0].Failed == 0 || e[0].Opened != 0 || e[0].Cost < e[1].Cost || e[1].Opened != slots || e[1].URL != "wss://b.example/second" {
			t.Errorf("%+v", e)
		}
		time.Sleep(20 * time.Minute)
		if n := len(dialsOf(v.arrivals(), "/first", time.Time{})); n > firstDials+10 {
			t.Errorf("%d dials at an endpoint that is gone, in 20 minutes", n)
		}
		v.mu.Lock()
		up = true
		v.mu.Unlock()
		time.Sleep(time.Hour)
		if n := r.at("/first"); n != slots {
			t.Errorf("%d of %d connections went back", n, slots)
		}
		if m := r.Metrics(); m.Failovers != slots || r.count.replacements[replaceEndpoint].Load() < slots {
			t.Errorf("%+v", m)
		}
		if n := count(source.InputClose, "the venue closed")(r.mem.all()); n != 0 {
			t.Errorf("%d connections broke", n)
		}
	})
}

// TestFlappingEndpoint: the preferred endpoint takes connections and drops each
// after 20 s. In six hours it is tried now and then, and is otherwise left alone.
func TestFlappingEndpoint(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		endpoint(&s, func(e *source.Endpoint) {
			e.URL, e.Alternates, e.MaxSubscriptions = "wss://a.example/first", []string{"wss://b.example/second"}, 1
		})
		v.ws = func(n int, ws *websocket.Conn, r *http.Request) {
			if r.URL.Path == "/first" {
				go func() {
					time.Sleep(20 * time.Second)
					ws.Close()
				}()
			}
			v.serve(n, ws, nil)
		}
		const slots = 5
		r := start(t, s, subs(market.ChannelTrades, slots))
		time.Sleep(6 * time.Hour)
		tries := len(dialsOf(v.arrivals(), "/first", time.Time{}))
		if tries < slots+3 || tries > slots+40 {
			t.Errorf("%d connections to an endpoint that drops them", tries)
		}
		if n := r.at("/second"); n < slots-1 {
			t.Errorf("%d connections at the endpoint that holds", n)
		}
		// It holds now: all go back, one before the others.
		v.mu.Lock()
		v.ws = nil
		v.mu.Unlock()
		time.Sleep(time.Hour)
		if n := r.at("/first"); n != slots {
			t.Errorf("%d of %d went back: %+v", n, slots, r.slots[0].board.all)
		}
	})
}
