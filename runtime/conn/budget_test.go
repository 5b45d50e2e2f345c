package conn

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
	"pgregory.net/rapid"
)

func TestWindowNeverExceedsItsRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "n")
		per := time.Duration(rapid.IntRange(1, 10).Draw(t, "s")) * time.Second
		w := newWindow(source.Rate{N: n, Per: per})
		type use struct {
			at time.Time
			n  int
		}
		var used []use
		now := time.Unix(1e9, 0)
		for range rapid.IntRange(1, 200).Draw(t, "asks") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(per/3)).Draw(t, "pause")))
			k := rapid.IntRange(1, n).Draw(t, "k")
			if d := w.take(now, k, urgent); d == 0 {
				used = append(used, use{now, k})
			} else if after := w.take(now.Add(d), k, urgent); after < 0 || d < 0 {
				t.Fatalf("wait of %v, then %v", d, after)
			} else if after == 0 {
				used = append(used, use{now.Add(d), k})
				now = now.Add(d)
			}
			sum := 0
			for i := len(used) - 1; i >= 0 && used[len(used)-1].at.Sub(used[i].at) < per; i-- {
				sum += used[i].n
			}
			if sum > n {
				t.Fatalf("%d units within %v, %d are allowed", sum, per, n)
			}
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		status int
		header string
		want   time.Duration
	}{
		{429, "7", 7 * time.Second},
		{429, " 0.5 ", 500 * time.Millisecond},
		{418, "Mon, 23 Nov 2026 12:03:00 GMT", 3 * time.Minute},
		{418, "Mon, 23 Nov 2026 11:00:00 GMT", time.Second},
		{418, "", 2 * time.Minute},
		{418, "soon", 2 * time.Minute},
		{418, "-3", 2 * time.Minute},
		{429, "", time.Minute},
		{429, "1e300", time.Minute},
	} {
		if d := retryAfter(c.status, c.header, now); d != c.want {
			t.Errorf("%d %q: %v, want %v", c.status, c.header, d, c.want)
		}
	}
}

func httpAt(as []arrival, contains string) (at []time.Time) {
	for _, a := range as {
		if strings.HasPrefix(a.text, "HTTP") && strings.Contains(a.text, contains) {
			at = append(at, a.at)
		}
	}
	return at
}

func TestNothingIsSentBeforeRetryAfter(t *testing.T) {
	for _, c := range []struct {
		status int
		header string
		wait   time.Duration
	}{{429, "30", 30 * time.Second}, {418, "", 2 * time.Minute}, {418, "date", 5 * time.Minute}} {
		t.Run(fmt.Sprint(c.status, " ", c.header), func(t *testing.T) {
			bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
				var banned time.Time
				v.http = func(w http.ResponseWriter, r *http.Request) {
					v.mu.Lock()
					first := banned.IsZero() && strings.Contains(r.URL.Path, "snapshot")
					if first {
						banned = time.Now().Add(time.Second)
					}
					v.mu.Unlock()
					time.Sleep(time.Second) // others stand in line for the budget and for a connection
					if !first {
						time.Sleep(time.Second)
					}
					if first {
						switch c.header {
						case "":
						case "date":
							w.Header().Set("Retry-After", banned.Add(c.wait).UTC().Format(http.TimeFormat))
						default:
							w.Header().Set("Retry-After", c.header)
						}
						w.WriteHeader(c.status)
						return
					}
					fmt.Fprint(w, "{}")
				}
				s.CatalogueEvery, s.Channels[3].PollEvery = 10*time.Second, 2*time.Second
				s.Spec.Weight = source.WeightLimit{Rate: source.Rate{N: 30, Per: 5 * time.Second}}
				all := append(subs(market.ChannelBook, 20), subs(market.ChannelOpenInterest, 5)...)
				one := start(t, s, all)
				other := s // another feed of the venue, behind the same address
				other.Frames = newMemory()
				two := start(t, other, all)
				time.Sleep(5 * time.Second)
				for _, b := range all[:20] {
					one.Snapshot(b)
					two.Snapshot(b)
				}
				time.Sleep(c.wait / 2)
				v.hang() // a connection that must be opened again waits, too
				time.Sleep(c.wait + time.Minute)
				v.mu.Lock()
				at := banned
				v.mu.Unlock()
				if at.IsZero() {
					t.Fatal("no ban")
				}
				after := 0
				for _, a := range v.arrivals() {
					if !strings.HasPrefix(a.text, "HTTP") && !strings.HasPrefix(a.text, "DIAL") {
						continue
					}
					if d := a.at.Sub(at); d > 0 && d < c.wait {
						t.Errorf("%s came %v after the ban of %v", a.text, d, c.wait)
					} else if d >= c.wait {
						after++
					}
				}
				if after < 10 {
					t.Errorf("only %d requests after the ban", after)
				}
				if n := count(source.InputHTTP, "/snapshot?")(one.mem.all()) + count(source.InputHTTP, "/snapshot?")(two.mem.all()); n != 41 {
					t.Errorf("%d responses to 40 snapshots of which one was refused first", n)
				}
				if len(one.seen(EventRateLimited))+len(two.seen(EventRateLimited)) != 1 {
					t.Errorf("events: %v %v", one.seen(EventRateLimited), two.seen(EventRateLimited))
				}
			})
		})
	}
}

func TestFeedsShareTheVenuesBudget(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Spec.Weight = source.WeightLimit{Rate: source.Rate{N: 50, Per: time.Minute}}
		s.Channels[1].Weight = 10
		s.Spec.Connects = source.Rate{N: 3, Per: time.Minute}
		endpoint(&s, func(e *source.Endpoint) { e.MaxSubscriptions = 2 })
		book := subs(market.ChannelBook, 10)
		one := start(t, s, book)
		other := s
		other.Frames = newMemory()
		two := start(t, other, book)
		time.Sleep(time.Second)
		for _, b := range book {
			for range 3 { // while one is pending, another is not made
				one.Snapshot(b)
				two.Snapshot(b)
			}
		}
		time.Sleep(10 * time.Minute)
		at := httpAt(v.arrivals(), "snapshot")
		if len(at) != 20 {
			t.Fatalf("%d snapshots, want 20", len(at))
		}
		for i := 5; i < len(at); i++ {
			if d := at[i].Sub(at[i-5]); d < time.Minute {
				t.Errorf("6 requests of weight 10 within %v of a budget of 50 a minute", d)
			}
		}
		if d := at[19].Sub(at[0]); d > 4*time.Minute {
			t.Errorf("20 requests took %v, the budget allows them in 3m9s", d)
		}
		d := dials(v.arrivals())
		if len(d) != 10 {
			t.Errorf("%d dials, want 10", len(d))
		}
		for i := 3; i < len(d); i++ {
			if gap := d[i].Sub(d[i-3]); gap < time.Minute {
				t.Errorf("4 connects within %v", gap)
			}
		}
	})
}

func TestUsedWeightHeaderCorrects(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Spec.Weight = source.WeightLimit{Rate: source.Rate{N: 100, Per: time.Minute}, UsedHeader: "X-Used"}
		v.http = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Used", "99") // others use this address, too
			fmt.Fprint(w, "{}")
		}
		book := subs(market.ChannelBook, 4)
		r := start(t, s, book)
		time.Sleep(time.Second)
		for _, b := range book {
			r.Snapshot(b)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(50 * time.Second)
		if n := len(httpAt(v.arrivals(), "snapshot")); n != 2 {
			t.Errorf("%d requests where the venue says that one is left", n)
		}
		if u := r.Metrics().WeightUsed; u != 100 {
			t.Errorf("weight used: %d", u)
		}
	})
}

func TestUrgentBeforeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWindow(source.Rate{N: 10, Per: time.Minute})
		now := time.Now()
		for range 8 {
			if w.take(now, 1, later) != 0 {
				t.Fatal("refused within the budget")
			}
		}
		if w.take(now, 1, later) == 0 {
			t.Error("polls took what is kept for snapshots")
		}
		if w.take(now, 2, urgent) != 0 {
			t.Error("a snapshot was refused what is kept for it")
		}
	})
}

func TestSubscribeWithinTheMessageRate(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		endpoint(&s, func(e *source.Endpoint) {
			e.Messages = source.Rate{N: 5, Per: time.Second}
			e.Heartbeat = source.Heartbeat{Kind: source.HeartbeatText, Every: 700 * time.Millisecond, Timeout: time.Minute, Payload: "ping"}
		})
		s.Renderer = &plugin{batch: 1}
		r := start(t, s, subs(market.ChannelTrades, 60))
		time.Sleep(500 * time.Millisecond)
		r.Signal(1, source.Signal{Kind: source.SignalReply, Text: []byte("pong")})
		asked := time.Now()
		time.Sleep(time.Minute)
		var at []time.Time
		for _, a := range v.arrivals() {
			if strings.Contains(a.text, "subscribe") || a.text == "ping" || a.text == "pong" {
				at = append(at, a.at)
			}
			if a.text == "pong" && a.at.Sub(asked) > 10*time.Millisecond {
				t.Errorf("the reply waited %v behind subscriptions", a.at.Sub(asked))
			}
		}
		if !texts(60, `"subscribe"`)(v.arrivals()) {
			t.Fatal("not all subscribed")
		}
		// What can't wait (replies, heartbeats) may come on top, and is paid for later.
		for i := 7; i < len(at); i++ {
			if d := at[i].Sub(at[i-7]); d < time.Second {
				t.Errorf("8 messages within %v at %v", d, at[i].Sub(at[0]))
			}
		}
	})
}

func TestSubscribeBudgetIsInHandBeforeTheDial(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		endpoint(&s, func(e *source.Endpoint) {
			e.Messages, e.SubscribeWithin, e.MaxSubscriptions = source.Rate{N: 2, Per: time.Second}, 5*time.Second, 1
			e.Heartbeat = source.Heartbeat{Kind: source.HeartbeatServer, Every: time.Hour}
		})
		r := start(t, s, subs(market.ChannelTrades, 40))
		time.Sleep(2 * time.Minute)
		dialled := make(map[int]time.Time)
		n := 0
		for _, a := range v.arrivals() {
			if strings.HasPrefix(a.text, "DIAL") {
				dialled[a.conn] = a.at
			} else if strings.Contains(a.text, "subscribe") {
				n++
				if d := a.at.Sub(dialled[a.conn]); d > 100*time.Millisecond {
					t.Errorf("connection %d subscribed %v after its dial", a.conn, d)
				}
			}
		}
		if n != 40 {
			t.Errorf("%d subscribed", n)
		}
		if len(r.seen(EventWarning)) != 1 { // that venue.test is reached without TLS
			t.Errorf("%v", r.seen(EventWarning))
		}
	})
}

func TestOpenConnectionsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Spec.MaxConns = 3
		endpoint(&s, func(e *source.Endpoint) { e.MaxSubscriptions = 1 })
		r := start(t, s, subs(market.ChannelTrades, 5))
		time.Sleep(time.Minute)
		if n := len(dials(v.arrivals())); n != 3 || r.Metrics().Open != 3 {
			t.Errorf("%d dials, %d open", n, r.Metrics().Open)
		}
		if err := r.SetSubscriptions(subs(market.ChannelTrades, 1)); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if r.Metrics().Open != 1 {
			t.Errorf("%d open", r.Metrics().Open)
		}
	})
}

func TestRegionRefused(t *testing.T) {
	body := "Service unavailable from a restricted location according to our terms"
	refuse := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Error(w, body, status) }
	}
	for _, c := range []struct {
		name string
		set  func(*venue)
	}{
		{"handshake 451", func(v *venue) {
			v.deny = func(_ int, w http.ResponseWriter, r *http.Request) bool { refuse(451)(w, r); return true }
		}},
		{"handshake 403", func(v *venue) {
			v.deny = func(_ int, w http.ResponseWriter, r *http.Request) bool { refuse(403)(w, r); return true }
		}},
		{"http 451", func(v *venue) { v.http = refuse(451) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
				c.set(v)
				endpoint(&s, func(e *source.Endpoint) { e.Alternates = []string{"wss://data.testex.example/stream"} })
				s.CatalogueEvery = time.Hour
				r := start(t, s, subs(market.ChannelTrades, 1))
				err := <-r.done
				r.done <- err
				if fault.Of(err) != fault.Stop || !strings.Contains(err.Error(), "region refused") ||
					!strings.Contains(err.Error(), "wss://data.testex.example/stream") || !strings.Contains(err.Error(), "restricted location") {
					t.Errorf("Run: %v", err)
				}
				synctest.Wait() // the venue may have to hear yet that the stream it has is left
				before := v.arrivals()
				time.Sleep(10 * time.Minute)
				if after := v.arrivals(); len(after) != len(before) {
					t.Errorf("asked again: %v", after[len(before):])
				}
				if len(r.seen(EventRefused)) == 0 {
					t.Error("no event")
				}
			})
		})
	}
	t.Run("a 403 that is no region", func(t *testing.T) {
		bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
			v.deny = func(_ int, w http.ResponseWriter, r *http.Request) bool {
				http.Error(w, "forbidden", 403)
				return true
			}
			r := start(t, s, subs(market.ChannelTrades, 1))
			time.Sleep(time.Minute)
			if len(dials(v.arrivals())) < 3 {
				t.Error("gave up")
			}
			if err := r.stop(); err != nil {
				t.Error(err)
			}
		})
	})
}

func TestHandshakeRateLimited(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		v.deny = func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n == 1 {
				w.Header().Set("Retry-After", "90")
				http.Error(w, "", 429)
			}
			return n == 1
		}
		start(t, s, subs(market.ChannelTrades, 1))
		time.Sleep(3 * time.Minute)
		d := dials(v.arrivals())
		if len(d) != 2 || d[1].Sub(d[0]) < 90*time.Second {
			t.Errorf("dials: %v", d)
		}
	})
}

func BenchmarkWindowTake(b *testing.B) {
	w := newWindow(source.Rate{N: 6000, Per: time.Minute})
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Duration(rand.IntN(1000)) * time.Millisecond)
		w.take(now, 5, urgent)
	}
}

// TestSubscribesHaveABudgetOfTheirOwn: other messages don't use it, and where it
// is used up the connection is replaced by one with a fresh one.
func TestSubscribesHaveABudgetOfTheirOwn(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		endpoint(&s, func(e *source.Endpoint) {
			e.Subscribes = source.Rate{N: 10, Per: time.Hour}
			e.Heartbeat = source.Heartbeat{Kind: source.HeartbeatText, Every: time.Second, Timeout: time.Minute, Payload: "ping"}
		})
		s.Renderer = &plugin{batch: 1}
		all := subs(market.ChannelTrades, 5)
		r := start(t, s, all)
		time.Sleep(5 * time.Second)
		for i := range 2 { // two requests each
			r.Resubscribe(all[i])
			time.Sleep(time.Second)
		}
		before := v.arrivals()
		if n := connections(before); n != 1 || !texts(9, `subscribe"`)(before) {
			t.Fatalf("%d connections", n)
		}
		r.Resubscribe(all[2]) // one more than there is room for
		time.Sleep(15 * time.Second)
		requests := map[int]int{}
		for _, a := range v.arrivals() {
			if strings.Contains(a.text, `subscribe"`) {
				requests[a.conn]++
			}
		}
		if n := sizes(subscribed(t, v.arrivals())); connections(v.arrivals()) != 2 || requests[1] != 10 || requests[2] != 5 || !slices.Equal(n, []int{5}) {
			t.Errorf("%d connections, requests by connection %v, subscriptions %v", connections(v.arrivals()), requests, n)
		}
	})
}

func connections(as []arrival) (n int) {
	for _, a := range as {
		if strings.HasPrefix(a.text, "DIAL") {
			n++
		}
	}
	return n
}
