package conn

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// mostIn is the greatest number of times that lie within any interval of per.
func mostIn(at []time.Time, per time.Duration) (most int) {
	slices.SortFunc(at, time.Time.Compare)
	for i, j := 0, 0; j < len(at); j++ {
		for at[j].Sub(at[i]) >= per {
			i++
		}
		most = max(most, j-i+1)
	}
	return most
}

// dialsOf gives the dials whose path has a prefix, after a time.
func dialsOf(as []arrival, path string, after time.Time) (at []time.Time) {
	for _, a := range as {
		if strings.HasPrefix(a.text, "DIAL "+path) && a.at.After(after) {
			at = append(at, a.at)
		}
	}
	return at
}

// TestReconnectStorm loses 500 connections of two feeds at once: they come back
// at the venue's rate, few at a time, and the small feed does not wait for the
// large one.
func TestReconnectStorm(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		const large, small, n = 450, 50, 50
		s.Spec.Connects = source.Rate{N: n, Per: 10 * time.Second}
		var mu sync.Mutex
		now, most := 0, 0
		v.deny = func(int, http.ResponseWriter, *http.Request) bool { // a handshake takes its time
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(100 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
			return false
		}
		feed := func(path string, slots int) *running {
			f := s
			f.Spec.Endpoints = []source.Endpoint{{URL: "wss://ws.testex.example" + path, MaxSubscriptions: 1}}
			return start(t, f, subs(market.ChannelTrades, slots))
		}
		a, b := feed("/a", large), feed("/b", small)
		time.Sleep(5 * time.Minute)
		if n := a.Metrics().Open + b.Metrics().Open; n != large+small {
			t.Fatalf("%d connections", n)
		}
		cut := time.Now()
		v.hang()
		time.Sleep(5 * time.Second)
		if n := a.count.admitting.Load(); n < large/2 {
			t.Errorf("%d dials of the large feed wait", n)
		}
		time.Sleep(5 * time.Minute)
		as := v.arrivals()
		all := append(dialsOf(as, "/a", cut), dialsOf(as, "/b", cut)...)
		if len(all) != large+small {
			t.Errorf("%d dials for %d connections", len(all), large+small)
		}
		if m := mostIn(all, s.Spec.Connects.Per); m > n {
			t.Errorf("%d dials within %v", m, s.Spec.Connects.Per)
		}
		if m := mostIn(all, time.Second); m > n*3/4 {
			t.Errorf("%d dials within a second: a herd", m)
		}
		if most > maxDials {
			t.Errorf("%d handshakes at a time", most)
		}
		last := slices.MaxFunc(dialsOf(as, "/b", cut), time.Time.Compare)
		before := 0
		for _, at := range dialsOf(as, "/a", cut) {
			if at.Before(last) {
				before++
			}
		}
		if before > 2*small {
			t.Errorf("%d dials of the large feed went before the small one was through", before)
		}
		if a.count.admitting.Load() != 0 || a.waited.Snapshot().Quantile(1) < time.Minute {
			t.Errorf("waiting %d, longest wait %v", a.count.admitting.Load(), a.waited.Snapshot().Quantile(1))
		}
	})
}

// TestDeadVenueKeepsTheConnectsBudget takes a venue away for a minute: what is
// left of the budget is enough to come back at once.
func TestDeadVenueKeepsTheConnectsBudget(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		const slots = 100
		s.Spec.Connects = source.Rate{N: 300, Per: 5 * time.Minute}
		endpoint(&s, func(e *source.Endpoint) { e.MaxSubscriptions = 1 })
		r := start(t, s, subs(market.ChannelTrades, slots))
		time.Sleep(10 * time.Minute)
		v.mu.Lock()
		v.deny = func(n int, w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "", http.StatusBadGateway)
			return true
		}
		v.mu.Unlock()
		down := time.Now()
		v.hang()
		time.Sleep(time.Minute)
		if n := len(dialsOf(v.arrivals(), "/", down)); n > 40 || n < 5 {
			t.Errorf("%d dials at a shut door", n)
		}
		v.mu.Lock()
		v.deny = nil
		v.mu.Unlock()
		time.Sleep(90 * time.Second)
		if n := r.Metrics().Open; n != slots {
			t.Errorf("%d connections of %d after the venue came back", n, slots)
		}
	})
}

// TestAdmissionOrder fills the queue: what is broken goes first, spares last, a
// place is given up with its context.
func TestAdmissionOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudgets()
		a := b.admission(&way{egress: new(egress)}, "x", source.Rate{N: 100, Per: time.Hour})
		a.most = 1
		f := &Feed{}
		if err := a.enter(t.Context(), f, dialBroken, nil); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var got []int
		var all sync.WaitGroup
		for i := range 9 {
			all.Go(func() {
				if a.enter(t.Context(), f, []int{dialStandby, dialBroken, dialReplace}[i%3], nil) == nil {
					mu.Lock()
					got = append(got, []int{dialStandby, dialBroken, dialReplace}[i%3])
					mu.Unlock()
					a.leave(dialEnded, time.Now())
				}
			})
		}
		gone, cancel := context.WithCancel(t.Context())
		all.Go(func() {
			if a.enter(gone, f, dialBroken, nil) == nil {
				t.Error("let in after its end")
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		a.leave(dialEnded, time.Now())
		all.Wait()
		if !slices.IsSorted(got) || len(got) != 9 {
			t.Errorf("order %v", got)
		}
		if a.running != 0 || len(a.waiting) != 0 || f.count.admitting.Load() != 0 {
			t.Errorf("%+v", a)
		}
	})
}

// TestAdmissionObeysTheGate lets nobody in while the venue wants silence.
func TestAdmissionObeysTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &way{egress: new(egress)}
		g := &out.gate
		a := NewBudgets().admission(out, "x", source.Rate{})
		begin := time.Now()
		g.shut(begin, time.Minute)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if err := a.enter(t.Context(), &Feed{}, dialBroken, nil); err != nil || time.Since(begin) < 2*time.Minute {
					t.Errorf("let in after %v: %v", time.Since(begin), err)
				}
				a.leave(dialled, time.Now())
			})
		}
		time.Sleep(30 * time.Second)
		g.shut(time.Now(), 90*time.Second)
		all.Wait()
	})
}

// TestStormOnSockets is the storm with a real server and TLS.
func TestStormOnSockets(t *testing.T) {
	const slots, n = 120, 60
	per := 400 * time.Millisecond
	v := tlsVenue(t)
	s := settings(v, func(s *Settings) {
		s.TLS = clientTLS(v)
		s.Spec.Connects = source.Rate{N: n, Per: per}
		endpoint(s, func(e *source.Endpoint) { e.MaxSubscriptions = 1 })
	})
	r := start(t, s, subs(market.ChannelTrades, slots))
	r.mem.wait(t, "all connections", atLeast(slots, source.InputText, `{"ack"`)) // which the server has then, too
	v.hang()
	r.mem.wait(t, "all connections again", atLeast(2*slots, source.InputOpen, ""))
	var let []time.Time // as the queue counts: the network may bring them closer together
	r.Feed.mu.Lock()
	w := s.Budgets.admission(r.ways[0], hostOf(r.slots[0].ep.URL), s.Spec.Connects).window
	r.Feed.mu.Unlock()
	w.mu.Lock()
	for _, u := range w.used {
		let = append(let, u.at)
	}
	w.mu.Unlock()
	if m := mostIn(let, per); m > n {
		t.Errorf("%d dials within %v", m, per)
	}
	if m := mostIn(dials(v.arrivals()), per/2); m > n {
		t.Errorf("%d dials arrived within %v", m, per/2)
	}
	if d := len(dials(v.arrivals())); d != 2*slots {
		t.Errorf("%d dials", d)
	}
}
