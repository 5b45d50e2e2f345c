package conn

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Trades are asked for in turn, one request a second, each subscription once at a
// time; a ban is waited for, and each request is told of behind its response.
func TestHistory(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		var at []time.Time
		var of []string
		v.http = func(w http.ResponseWriter, r *http.Request) {
			sym := r.URL.Query().Get("symbol")
			v.mu.Lock()
			at, of = append(at, time.Now()), append(of, sym)
			n := len(at)
			v.mu.Unlock()
			switch {
			case n == 2: // of SYM1
				w.Header().Set("Retry-After", "60")
				w.WriteHeader(http.StatusTooManyRequests)
			case sym == "SYM2":
				http.Error(w, "no such symbol", http.StatusNotFound)
			default:
				fmt.Fprintf(w, `[%d]`, n)
			}
		}
		trades := subs(market.ChannelTrades, 4)
		r := start(t, s, trades[:3])
		time.Sleep(time.Second)
		began := time.Now()
		for range 3 {
			for i, sub := range trades { // the fourth is not subscribed
				r.History(sub, int64(10*i), int64(10*i+5))
			}
		}
		time.Sleep(10 * time.Minute)
		v.mu.Lock()
		want := append([]string{"SYM0", "SYM1", "SYM1"}, slices.Repeat([]string{"SYM2"}, historyTries)...)
		if !slices.Equal(of, want) {
			t.Fatalf("asked for %v, want %v", of, want)
		}
		for i, least := range []time.Duration{historyEvery, 2 * historyEvery, 60 * time.Second, 61 * time.Second} {
			if d := at[i].Sub(began); d < least {
				t.Errorf("request %d came after %v, want %v at least", i, d, least)
			}
		}
		v.mu.Unlock()
		told := r.seen(EventHistory)
		if len(told) != 3 {
			t.Fatalf("%+v", told)
		}
		for i, e := range told {
			if e.Subs[0].Symbol != trades[i].Symbol || e.From != int64(10*i) || e.To != int64(10*i+5) || (e.Err != nil) != (i == 2) || (e.Detail == "") != (i < 2) {
				t.Errorf("%+v", e)
			}
		}
		if !strings.Contains(told[2].Detail, "no such symbol") {
			t.Errorf("%s", told[2].Detail)
		}
		if n := count(source.InputHTTP, `[`)(r.mem.all()); n != 2 {
			t.Errorf("%d answers are journalled, want 2", n)
		}
		r.History(trades[0], 1, 2) // after all have ended
		time.Sleep(10 * time.Second)
		if n := len(r.seen(EventHistory)); n != 4 {
			t.Errorf("%d requests are told of, want 4", n)
		}
	})
}

// What is soon leaves room for what is urgent, and has more than what is later.
func TestPriorities(t *testing.T) {
	w := newWindow(source.Rate{N: 100, Per: time.Minute})
	now := time.Now()
	for _, x := range []struct {
		priority, n int
		room        bool
	}{{later, 80, true}, {later, 1, false}, {soon, 10, true}, {soon, 1, false}, {urgent, 10, true}, {urgent, 1, false}} {
		if d := w.take(now, x.n, x.priority); (d == 0) != x.room {
			t.Errorf("%d units of priority %d: wait %v", x.n, x.priority, d)
		}
	}
}
