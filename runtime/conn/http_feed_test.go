package conn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// from counts arrivals by source address.
type from struct {
	mu sync.Mutex
	n  map[string]int
}

func (f *from) saw(r *http.Request) string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n == nil {
		f.n = make(map[string]int)
	}
	f.n[host]++
	return host
}

func (f *from) take() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := maps.Clone(f.n)
	clear(f.n)
	return n
}

var three = []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}

// ask makes n requests one after another.
func asks(t *testing.T, f *running, n int) (errs []error) {
	t.Helper()
	for range n {
		if _, err := f.do(t.Context(), source.Request{URL: "https://api.testex.example/x"}, 0, 1, urgent); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func TestEgressesShareTheLoad(t *testing.T) {
	v := newVenue(t)
	var got, sockets from
	banned := make(map[string]bool)
	v.http = func(w http.ResponseWriter, r *http.Request) {
		if banned[got.saw(r)] {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(429)
		}
	}
	v.deny = func(_ int, w http.ResponseWriter, r *http.Request) bool { sockets.saw(r); return false }
	s := settings(v, func(s *Settings) {
		s.HTTP.Egress = three
		s.Spec.MaxConns = 2
		endpoint(s, func(e *source.Endpoint) { e.MaxSubscriptions = 1 })
	})
	f := start(t, s, subs(market.ChannelTrades, 6))
	f.mem.wait(t, "six connections", atLeast(6, source.InputText, `{"ack"`))
	if n := sockets.take(); n["127.0.0.1"] != 2 || n["127.0.0.2"] != 2 || n["127.0.0.3"] != 2 {
		t.Errorf("WebSockets: %v", n)
	}
	if errs := asks(t, f, 30); errs != nil {
		t.Fatal(errs)
	}
	if n := got.take(); n["127.0.0.1"] != 10 || n["127.0.0.2"] != 10 || n["127.0.0.3"] != 10 {
		t.Errorf("requests: %v", n)
	}
	banned["127.0.0.2"] = true
	errs := asks(t, f, 30)
	if n := got.take(); len(errs) != 1 || fault.Of(errs[0]) != fault.Wait || n["127.0.0.2"] != 1 || n["127.0.0.1"]+n["127.0.0.3"] != 29 {
		t.Errorf("with a ban of one: %v, %v", n, errs)
	}
	if es := f.seen(EventRateLimited); len(es) != 1 || !strings.Contains(es[0].Detail, "127.0.0.2") {
		t.Errorf("%v", es)
	}
	v.hang() // the banned one dials no more, and the others are full
	f.mem.wait(t, "four connections again", atLeast(10, source.InputText, `{"ack"`))
	if n := sockets.take(); n["127.0.0.2"] != 0 {
		t.Errorf("WebSockets: %v", n)
	}
	banned["127.0.0.1"], banned["127.0.0.3"] = true, true
	if errs := asks(t, f, 2); len(errs) != 2 {
		t.Errorf("%v", errs)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	got.take()
	if _, err := f.do(ctx, source.Request{URL: "https://api.testex.example/x"}, 0, 1, urgent); !errors.Is(err, context.DeadlineExceeded) || len(got.take()) != 0 {
		t.Errorf("all are banned: %v", err)
	}
}

func TestEgressesHaveBudgetsOfTheirOwn(t *testing.T) {
	v := newVenue(t)
	var got from
	v.http = func(w http.ResponseWriter, r *http.Request) {
		if got.saw(r) == "127.0.0.3" {
			w.Header().Set("X-Used", "9") // somebody else uses this address
		}
	}
	s := settings(v, func(s *Settings) {
		s.HTTP.Egress = three
		s.Spec.Weight = source.WeightLimit{Rate: source.Rate{N: 10, Per: time.Hour}, UsedHeader: "X-Used"}
	})
	f := start(t, s, nil)
	if errs := asks(t, f, 22); errs != nil {
		t.Fatal(errs)
	}
	if n := got.take(); n["127.0.0.1"] != 10 || n["127.0.0.2"] != 10 || n["127.0.0.3"] != 2 {
		t.Errorf("%v", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := f.do(ctx, source.Request{URL: "https://api.testex.example/x"}, 0, 1, urgent); !errors.Is(err, context.DeadlineExceeded) || len(got.take()) != 0 {
		t.Errorf("all budgets are used: %v", err)
	}
	if u := f.Metrics().WeightUsed; u != 30 {
		t.Errorf("weight used: %d", u)
	}
	other := s // another feed of the venue finds them used as well
	other.Frames, other.HTTP.Egress = newMemory(), []string{"127.0.0.2"}
	if _, err := start(t, other, nil).do(ctx, source.Request{URL: "https://api.testex.example/x"}, 0, 1, urgent); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestEgressWhoseRegionIsRefused(t *testing.T) {
	v := newVenue(t)
	var got from
	refused := map[string]bool{"127.0.0.1": true, "127.0.0.2": true}
	v.http = func(w http.ResponseWriter, r *http.Request) {
		if refused[got.saw(r)] {
			w.WriteHeader(451)
		}
	}
	f := start(t, settings(v, func(s *Settings) { s.HTTP.Egress = three }), nil)
	errs := asks(t, f, 20)
	if n := got.take(); len(errs) != 2 || fault.Of(errs[0]) != fault.Retry || n["127.0.0.3"] != 18 {
		t.Errorf("%v %v", n, errs)
	}
	refused["127.0.0.3"] = true
	asks(t, f, 1)
	err := <-f.done
	f.done <- err
	if fault.Of(err) != fault.Stop || len(f.seen(EventRefused)) != 3 {
		t.Errorf("%v, %v", err, f.seen(EventRefused))
	}
}

func TestEgressByProxyAndAddress(t *testing.T) {
	v := newVenue(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var mu sync.Mutex
	tunnels := 0
	go serveSOCKS(l, func(string) { mu.Lock(); tunnels++; mu.Unlock() })
	var got from
	v.http = func(w http.ResponseWriter, r *http.Request) { got.saw(r) }
	f := start(t, settings(v, func(s *Settings) { s.HTTP.Egress = []string{"127.0.0.2", "socks5://" + l.Addr().String()} }), nil)
	if errs := asks(t, f, 10); errs != nil {
		t.Fatal(errs)
	}
	if n := got.take(); n["127.0.0.2"] != 5 || n["127.0.0.1"] != 5 || tunnels != 1 {
		t.Errorf("%v, %d tunnels", n, tunnels)
	}
	for _, bad := range [][]string{{"nowhere"}, {"ftp://a:1"}, {"127.0.0.1", "127.0.0.1"}, {"300.1.1.1"}, {"socks5://"}} {
		s := settings(v, func(s *Settings) { s.HTTP.Egress, s.Renderer, s.Frames = bad, &plugin{}, newMemory() })
		if _, err := New(s); fault.Of(err) != fault.Stop {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestBreaker(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		begin := time.Now()
		const outage = 2 * time.Minute
		v.http = func(w http.ResponseWriter, r *http.Request) {
			if time.Since(begin) < outage {
				w.WriteHeader(503)
			}
		}
		s.Channels[3].PollEvery = time.Second
		f := start(t, s, append(subs(market.ChannelOpenInterest, 5), subs(market.ChannelBook, 1)...))
		time.Sleep(30 * time.Second)
		f.Snapshot(subs(market.ChannelBook, 1)[0])
		if st := f.ways[0].pool.hosts[hostKey{false, "venue.test"}].breaker.state(); st == 0 {
			t.Error("the breaker is closed")
		}
		time.Sleep(outage - time.Since(begin))
		during := len(httpAt(v.arrivals(), ""))
		if during > 50 { // 600 polls were due, and at least 8 attempts at a snapshot
			t.Errorf("%d requests to a host that fails", during)
		}
		time.Sleep(time.Minute)
		if n := len(httpAt(v.arrivals(), "poll")); n < 200 {
			t.Errorf("%d polls after the outage", n)
		}
		if count(source.InputHTTP, "/snapshot?")(f.mem.all()) == 0 {
			t.Error("no answer to the snapshot")
		}
		var told []string
		for _, e := range f.seen(EventBreaker) {
			told = append(told, e.Detail)
		}
		if len(told) < 3 || !strings.Contains(told[0], "venue.test by direct opened") || !strings.Contains(told[len(told)-1], "closed") {
			t.Errorf("%q", told)
		}
		if f.Metrics().PollsSkipped < 400 {
			t.Errorf("%d polls skipped", f.Metrics().PollsSkipped)
		}
		// The trials are spread: those of hosts that failed together don't come together.
		gaps := make(map[time.Duration]bool)
		at := httpAt(v.arrivals()[:during], "")
		for i := 1; i < len(at); i++ {
			gaps[at[i].Sub(at[i-1]).Truncate(100*time.Millisecond)] = true
		}
		if len(gaps) < 5 {
			t.Errorf("gaps: %v", gaps)
		}
	})
}

func TestBansAreNoFailures(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		v.http = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "0.1")
			w.WriteHeader([]int{429, 418, 404}[len(v.arrivals())%3])
		}
		f := start(t, s, nil)
		asks(t, f, 200)
		h := f.ways[0].pool.hosts[hostKey{false, "venue.test"}]
		if h.breaker.opens.Load() != 0 || len(httpAt(v.arrivals(), "")) != 200 {
			t.Errorf("opened %d times, %d requests", h.breaker.opens.Load(), len(httpAt(v.arrivals(), "")))
		}
	})
}

func TestForbiddenForAskingTooOften(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		v.http = func(w http.ResponseWriter, r *http.Request) {
			if len(v.arrivals()) == 1 {
				http.Error(w, "403, access too frequent", http.StatusForbidden)
			}
		}
		f := start(t, s, nil)
		if errs := asks(t, f, 2); len(errs) != 1 || fault.Of(errs[0]) != fault.Wait {
			t.Errorf("%v", errs)
		}
		if at := httpAt(v.arrivals(), ""); at[1].Sub(at[0]) != 10*time.Minute {
			t.Errorf("asked again after %v", at[1].Sub(at[0]))
		}
	})
}

func TestBreakerOfBrokenConnections(t *testing.T) {
	addr, requests := rawServer(t, []string{""})
	p := testPool(t, HTTPPoolSettings{})
	var open *openError
	n := 0
	for ; n < 100 && open == nil; n++ {
		errors.As(p.Do(t.Context(), &HTTPRequest{URL: addr}, new(HTTPResponse)), &open)
	}
	if n != breakerLeast+1 || len(requests()) != breakerLeast || open.after < breakerDelay/2 || open.after > 2*breakerDelay {
		t.Errorf("opened after %d requests, for %+v", n-1, open)
	}
	ok, _ := rawServer(t, []string{okText})
	if err := p.Do(t.Context(), &HTTPRequest{URL: ok}, new(HTTPResponse)); err != nil {
		t.Errorf("another host: %v", err)
	}
}

// values are a reporter's metrics by name and labels.
func TestHTTPMetrics(t *testing.T) {
	if err := telemetry.Check(layer.Metrics()); err != nil {
		t.Fatal(err)
	}
	v := newVenue(t)
	v.http = func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			w.Write(make([]byte, 2000))
		case "/x":
			fmt.Fprint(w, "hello")
		default:
			status := 0
			fmt.Sscanf(r.URL.Path, "/%d", &status)
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(status)
		}
	}
	s := settings(v, func(s *Settings) {
		s.HTTP.Egress, s.MaxBody = []string{"127.0.0.1", "127.0.0.2"}, 1000
		s.Spec.Weight = source.WeightLimit{Rate: source.Rate{N: 1000, Per: time.Hour}}
	})
	f := start(t, s, subs(market.ChannelTrades, 2))
	f.mem.wait(t, "the connection", atLeast(1, source.InputText, `{"ack"`))
	other := s // what is shared must not be there twice
	other.Frames, other.Spec.Market = newMemory(), market.MarketLinear
	g := start(t, other, nil)
	asks(t, f, 10)
	get := func(purpose source.Purpose, path string) {
		f.exchange(t.Context(), call{Request: source.Request{URL: "https://api.testex.example" + path, Weight: 5}, purpose: purpose})
	}
	get(source.PurposePoll, "/404")
	get(source.PurposeSnapshot, "/503")
	get(source.PurposeHistory, "/302")
	get(source.PurposeInstruments, "/large")
	get(source.PurposePoll, "/429")
	f.ways[1].refused.Store(true)
	f.http.skippedBusy.Add(3)
	m := values(t, f.Report, g.Report, s.Budgets.Report)
	key := func(k string) string {
		name, labels, _ := strings.Cut(k, " ")
		return name + " " + strings.ReplaceAll(labels, " ", ",")
	}
	for k, want := range map[string]float64{
		"http_requests_total testex-spot session ok":                   10,
		"http_requests_total testex-spot poll client_error":            1,
		"http_requests_total testex-spot poll rate_limited":            1,
		"http_requests_total testex-spot snapshot server_error":        1,
		"http_requests_total testex-spot history redirect":             1,
		"http_requests_total testex-spot instruments too_large":        1,
		"http_requests_total testex-linear session ok":                 0,
		"http_request_seconds testex-spot session":                     10,
		"http_request_seconds testex-spot poll":                        2,
		"http_request_seconds testex-spot instruments":                 0,
		"http_queue_seconds testex-spot":                               15,
		"http_in_flight_requests testex-spot":                          0,
		"http_polls_skipped_total testex-spot busy":                    3,
		"http_polls_skipped_total testex-spot breaker":                 0,
		"http_body_bytes_total testex-spot":                            50,
		"egress_refused testex-spot 127.0.0.1":                         0,
		"egress_refused testex-spot 127.0.0.2":                         1,
		"weight_limit testex 127.0.0.1 api.testex.example weight":      1000,
		"breaker_state testex 127.0.0.1 " + v.Listener.Addr().String(): 0,
	} {
		if got, ok := m[key(k)]; !ok || got != want {
			t.Errorf("%s is %v, want %v", k, got, want)
		}
	}
	both := func(name string, rest ...string) (sum float64) {
		for _, e := range []string{"127.0.0.1", "127.0.0.2"} {
			sum += m[key(strings.Join(append([]string{name, "testex", e}, rest...), " "))]
		}
		return sum
	}
	opened, sent, reused := both("http_connections_opened_total"), both("http_sent_total"), both("http_reused_total")
	if sent != 15 || opened+reused != sent || both("http_open_connections", "http1") > opened || both("http_open_connections", "http2") != 0 || both("http_repeated_total") != 0 {
		t.Errorf("opened %v, sent %v, reused %v", opened, sent, reused)
	}
	if w := both("weight_used", "api.testex.example", "weight"); w != 10+5*5 {
		t.Errorf("weight used: %v", w)
	}
	if n := both("rate_limited_total"); n != 1 {
		t.Errorf("rate limited: %v", n)
	}
	if n := both("gate_closed_seconds"); n < 3590 || n > 3600 {
		t.Errorf("gate closed: %v", n)
	}
	if n := both("egress_websockets"); n != 1 {
		t.Errorf("WebSockets: %v", n)
	}
}

// TestBreakerMetrics has a host fail until it is left alone.
func TestBreakerMetrics(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		v.http = func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
		f := start(t, s, nil)
		for range breakerLeast {
			f.exchange(t.Context(), call{Request: source.Request{URL: "https://venue.test/x"}, purpose: source.PurposeSnapshot})
		}
		m := values(t, f.Report, s.Budgets.Report)
		for k, want := range map[string]float64{"breaker_state testex,direct,venue.test": 2, "breaker_opens_total testex,direct,venue.test": 1,
			"http_requests_total testex-spot,snapshot,server_error": breakerLeast} {
			if got, ok := m[k]; !ok || got != want {
				t.Errorf("%s is %v (%v), want %v", k, got, ok, want)
			}
		}
	})
}
