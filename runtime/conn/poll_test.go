package conn

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestSnapshots(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		tries := make(map[string]int)
		v.http = func(w http.ResponseWriter, r *http.Request) {
			sym := r.URL.Query().Get("symbol")
			v.mu.Lock()
			tries[sym]++
			n := tries[sym]
			v.mu.Unlock()
			if sym == "SYM1" && n < 3 || sym == "SYM2" {
				http.Error(w, "busy", http.StatusInternalServerError)
				return
			}
			time.Sleep(time.Second)
			fmt.Fprintf(w, `{"lastUpdateId":%d}`, n)
		}
		book := subs(market.ChannelBook, 3)
		r := start(t, s, book)
		time.Sleep(time.Second)
		for range 5 {
			for _, b := range book {
				r.Snapshot(b)
			}
		}
		time.Sleep(10 * time.Minute)
		v.mu.Lock()
		if tries["SYM0"] != 1 || tries["SYM1"] != 3 || tries["SYM2"] != snapshotTries {
			t.Errorf("%v", tries)
		}
		v.mu.Unlock()
		ev := r.seen(EventRequest)
		if n := len(ev); n == 0 || !strings.Contains(ev[n-1].Detail, "given up") || ev[n-1].Subs[0].Symbol != "SYM2" {
			t.Errorf("%+v", ev)
		}
		r.Snapshot(book[0]) // after the one before has ended
		time.Sleep(10 * time.Second)
		if n := count(source.InputHTTP, `{"lastUpdateId":2}`)(r.mem.all()); n != 1 {
			t.Errorf("asked again %d times", n)
		}
	})
}

func TestPollsAndCatalogue(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Channels[3].PollEvery = time.Minute
		s.CatalogueEvery = 6 * time.Hour
		fails := 2
		v.http = func(w http.ResponseWriter, r *http.Request) {
			v.mu.Lock()
			defer v.mu.Unlock()
			if strings.Contains(r.URL.Path, "instruments") && fails > 0 {
				fails--
				http.Error(w, "", http.StatusBadGateway)
				return
			}
			fmt.Fprint(w, "{}")
		}
		polled := subs(market.ChannelOpenInterest, 20)
		r := start(t, s, polled)
		begin := time.Now()
		time.Sleep(61 * time.Second)
		at := httpAt(v.arrivals(), "/poll?")
		first := make([]time.Duration, 0, 20)
		for _, a := range at[:20] {
			first = append(first, a.Sub(begin))
		}
		if first[19]-first[0] < 20*time.Second {
			t.Errorf("polls are bunched: %v", first)
		}
		time.Sleep(time.Hour)
		if n := len(httpAt(v.arrivals(), "/poll?symbol=SYM7")); n < 58 || n > 64 {
			t.Errorf("%d polls of one symbol in an hour", n)
		}
		if n := len(dials(v.arrivals())); n != 0 {
			t.Errorf("%d connections for polls", n)
		}
		if err := r.SetSubscriptions(polled[:1]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		n := len(httpAt(v.arrivals(), "/poll?symbol=SYM7"))
		time.Sleep(13 * time.Hour)
		if m := len(httpAt(v.arrivals(), "/poll?symbol=SYM7")); m != n {
			t.Error("polled after it was dropped")
		}
		if n := len(httpAt(v.arrivals(), "instruments")); n != 5 {
			t.Errorf("%d catalogues in 14 hours, two of them failed", n)
		}
		if n := count(source.InputHTTP, "/instruments{}")(r.mem.all()); n != 3 {
			t.Errorf("%d catalogues are journalled", n)
		}
	})
}

func TestSocketRequest(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Renderer = socketPlugin{&plugin{}}
		endpoint(&s, func(e *source.Endpoint) { e.MaxSubscriptions = 1 })
		book := subs(market.ChannelBook, 2)
		r := start(t, s, book)
		time.Sleep(time.Second)
		r.Snapshot(book[1])
		time.Sleep(time.Second)
		for _, a := range v.arrivals() {
			if strings.Contains(a.text, `"req"`) && !subscribed(t, v.arrivals())[a.conn]["book:SYM1"] {
				t.Errorf("asked on the wrong connection: %+v", a)
			}
		}
		if n := count(source.InputSent, `{"req":"SYM1"}`)(r.mem.all()); n != 1 {
			t.Errorf("sent %d times", n)
		}
	})
}

type socketPlugin struct{ *plugin }

func (p socketPlugin) Requests(_ ctx, r source.RequestFor) ([]source.Request, error) {
	return []source.Request{{Socket: true, Body: fmt.Sprintf(`{"req":%q}`, r.Subs[0].Symbol)}}, nil
}
