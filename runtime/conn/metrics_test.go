package conn

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestMetricsAreDescribed(t *testing.T) {
	if err := telemetry.Check(Descs()); err != nil {
		t.Error(err)
	}
}

// values asks a feed for its metrics: "name label,label" to value, of histograms
// the count.
func values(t *testing.T, reports ...telemetry.Reporter) map[string]float64 {
	t.Helper()
	reg := telemetry.NewRegistry()
	for _, r := range reports {
		reg.Add(r)
	}
	out := make(map[string]float64)
	for _, v := range reg.Values() {
		if len(v.Labels) != len(v.Desc.Labels) {
			t.Errorf("%s: labels %q for %q", v.Desc.Name, v.Labels, v.Desc.Labels)
		}
		key := strings.TrimPrefix(v.Desc.Name, "marketprism_conn_") + " " + strings.Join(v.Labels, ",")
		if _, twice := out[key]; twice {
			t.Errorf("%s is emitted twice", key)
		}
		if out[key] = v.Value; v.Hist != nil {
			out[key] = float64(v.Hist.Count)
		}
	}
	return out
}

// TestMetricValues does a number of things to a feed and looks for each in the metrics.
func TestMetricValues(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		mem := newMemory()
		s.Frames = mem
		mem.refuse = func(k source.InputKind, b []byte) error {
			if string(b) == "refused" {
				return fault.Errorf(fault.Skip, "too large")
			}
			return nil
		}
		s.Renderer, s.ProbeEvery, s.Standby = &plugin{tokens: true}, 15*time.Second, true
		s.Channels[0].StaleAfter = 2 * time.Hour
		endpoint(&s, func(e *source.Endpoint) {
			e.URL, e.Alternates = "wss://a.example/first", []string{"wss://b.example/second"}
			e.MaxAge = 24 * time.Hour
			e.Heartbeat = source.Heartbeat{Kind: source.HeartbeatServer, Timeout: 90 * time.Second}
		})
		hold := make(chan struct{}) // the third connection's dial is never answered
		v.deny = func(n int, w http.ResponseWriter, r *http.Request) bool {
			switch n {
			case 3:
				<-hold
			case 4:
				http.Error(w, "", http.StatusBadGateway)
			}
			return n == 4
		}
		v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
			ws.SetPingHandler(func(p string) error {
				time.Sleep(100 * time.Millisecond)
				return ws.WriteControl(websocket.PongMessage, []byte(p), time.Now().Add(time.Second))
			})
			if n == 1 {
				ws.WriteMessage(websocket.TextMessage, []byte("refused"))
			}
			ws.WriteMessage(websocket.TextMessage, []byte("12345"))
			v.serve(n, ws, nil)
		}
		decoded := make(chan uint32, 64) // acknowledges what the venue acknowledges, but for connection 1
		mem.decode = func(e entry) {
			if strings.Contains(e.payload, `"ack"`) && e.conn != 1 {
				decoded <- e.conn
			}
		}
		r := start(t, s, subs(market.ChannelTrades, 2))
		go func() {
			for c := range decoded {
				for _, e := range mem.all() {
					if e.conn == c && e.kind == source.InputSent {
						id := strings.Split(strings.Split(e.payload, `"id":"`)[1], `"`)[0]
						r.Signal(c, source.Signal{Kind: source.SignalSubscribed, Text: []byte(id)})
					}
				}
			}
		}()
		t.Cleanup(func() { close(hold); r.stop(); close(decoded) })
		// Nothing acknowledges the first frame of connection 1: it is sent three
		// times, and the connection given up. The next one is 2, and 3 its spare.
		time.Sleep(35 * time.Second)
		m := values(t, r.Report, s.Budgets.Report)
		want := func(at string, m map[string]float64, expected map[string]float64) {
			t.Helper()
			for k, x := range expected {
				if got, ok := m[k]; !ok || got != x {
					t.Errorf("%s: %s is %v, want %v (there: %v)", at, k, got, x, ok)
				}
			}
		}
		want("while the spare is dialled", m, map[string]float64{
			"opens_total testex-spot,": 2, "closes_total testex-spot,script": 1, "ack_timeouts_total testex-spot": 3, "refused_frames_total testex-spot": 1,
			"open testex-spot,,live": 1, "open testex-spot,,connecting": 1, "open testex-spot,,dead": 0, "standby_ready testex-spot": 0,
			"connect_seconds testex-spot": 2, "admission_waiting testex-spot": 0, "admission_wait_seconds testex-spot": 3,
		})
		if m["rotation_seconds testex-spot"] < 22*3600 || m["rotation_seconds testex-spot"] > 24*3600 {
			t.Errorf("rotation in %v s", m["rotation_seconds testex-spot"])
		}
		time.Sleep(30 * time.Second) // 3 is given up, 4 refused, and 5 is the spare
		m = values(t, r.Report, s.Budgets.Report)
		want("with a spare", m, map[string]float64{"open testex-spot,,live": 2, "standby_ready testex-spot": 1, "opens_total testex-spot,": 3,
			"connect_errors_total testex-spot,timeout": 1, "connect_errors_total testex-spot,status": 1,
			"resubscribes_total testex-spot": 0})
		if m["pong_rtt_seconds testex-spot"] < 2 || m["data_age_seconds testex-spot"] < 10 {
			t.Errorf("%v pongs, data %v s old", m["pong_rtt_seconds testex-spot"], m["data_age_seconds testex-spot"])
		}
		// The carrier breaks, and the spare takes over.
		r.Resubscribe(subs(market.ChannelTrades, 1)[0])
		r.Signal(2, source.Signal{Kind: source.SignalRejected, Text: []byte("nobody\x00no")})
		time.Sleep(time.Second)
		v.mu.Lock()
		v.open[1].Close()
		v.mu.Unlock()
		time.Sleep(10 * time.Second)
		m = values(t, r.Report, s.Budgets.Report)
		want("after a break", m, map[string]float64{"closes_total testex-spot,network": 1, "standby_takeovers_total testex-spot": 1,
			"resubscribes_total testex-spot": 1, "rejected_total testex-spot": 1,
			"signals_dropped_total testex-spot": 0, "heartbeat_timeouts_total testex-spot": 0, "stale_total testex-spot": 0})
		// A replacement that was asked for: the spare takes its place.
		time.Sleep(time.Minute)
		r.Reconnect(5, "test")
		time.Sleep(time.Minute)
		m = values(t, r.Report, s.Budgets.Report)
		want("after a replacement", m, map[string]float64{"replacements_total testex-spot,request": 1, "closes_total testex-spot,replaced": 1,
			"standby_takeovers_total testex-spot": 2, "standby_ready testex-spot": 1})
		n := r.Metrics()
		want("the counters", m, map[string]float64{"frames_total testex-spot": float64(n.Frames), "bytes_total testex-spot": float64(n.Bytes),
			"bursts_total testex-spot": float64(n.Bursts), "failovers_total testex-spot": float64(n.Failovers)})
		if n.Frames != uint64(count(source.InputText, "")(mem.all())) || n.Failovers == 0 {
			t.Errorf("%+v", n)
		}
		// Old data, then silence.
		time.Sleep(61 * time.Minute)
		if m = values(t, r.Report, s.Budgets.Report); m["degraded_total testex-spot,data"] == 0 || m["open testex-spot,,degraded"] == 0 {
			t.Errorf("nothing is degraded after an hour without data: %v", m)
		}
		elsewhere := []string{"weight_used", "weight_limit", "breaker_state", "breaker_opens_total"} // where requests have weights: TestHTTPMetrics
		for _, d := range Descs() {
			found := slices.Contains(elsewhere, strings.TrimPrefix(d.Name, "marketprism_conn_"))
			for k := range m {
				found = found || strings.HasPrefix(k, strings.TrimPrefix(d.Name, "marketprism_conn_")+" ")
			}
			if !found {
				t.Errorf("%s is declared and never emitted", d.Name)
			}
		}
	})
}
