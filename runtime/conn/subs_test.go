package conn

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
)

// subscribed replays what the venue was asked, by connection.
func subscribed(t *testing.T, as []arrival) map[int]map[string]bool {
	t.Helper()
	have := make(map[int]map[string]bool)
	for _, a := range as {
		if strings.HasPrefix(a.text, "DIAL") {
			have[a.conn] = make(map[string]bool)
		}
		if strings.HasPrefix(a.text, "GONE") {
			delete(have, a.conn)
		}
		var r request
		if json.Unmarshal([]byte(a.text), &r) != nil {
			continue
		}
		for _, s := range r.Args {
			switch {
			case r.Op == "subscribe" && have[a.conn][s], r.Op == "unsubscribe" && !have[a.conn][s]:
				t.Errorf("connection %d: %s of %s is one too many", a.conn, r.Op, s)
			case r.Op == "subscribe":
				have[a.conn][s] = true
			default:
				delete(have[a.conn], s)
			}
		}
	}
	return have
}

func sizes(have map[int]map[string]bool) (out []int) {
	for _, m := range have {
		out = append(out, len(m))
	}
	slices.Sort(out)
	return out
}

func TestSharding(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		r := start(t, s, subs(market.ChannelTrades, 1025))
		time.Sleep(time.Second)
		if n := sizes(subscribed(t, v.arrivals())); !slices.Equal(n, []int{1, 1024}) {
			t.Errorf("1025 subscriptions are dealt %v", n)
		}
		st := r.Stats()
		if len(st) != 2 || st[0].Conn == st[1].Conn {
			t.Errorf("%+v", st)
		}
	})
}

func TestClassesAndMarketChannels(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Spec.Endpoints = append(s.Spec.Endpoints, source.Endpoint{Class: "business", URL: "wss://ws.testex.example/business"})
		s.Channels[1].Class = "business"
		all := slices.Concat(subs(market.ChannelTrades, 3), subs(market.ChannelBook, 3), subs(market.ChannelLiquidations, 3), subs(market.ChannelTrades, 2))
		r := start(t, s, all)
		time.Sleep(time.Second)
		have := subscribed(t, v.arrivals())
		if n := sizes(have); !slices.Equal(n, []int{3, 4}) {
			t.Errorf("dealt %v: %v", n, have)
		}
		for _, m := range have {
			for k := range m {
				if strings.HasPrefix(k, "liquidations:") && k != "liquidations:" {
					t.Errorf("the market's channel was subscribed for a symbol: %s", k)
				}
			}
		}
		urls := []string{}
		for _, st := range r.Stats() {
			urls = append(urls, st.Class+" "+st.URL)
		}
		slices.Sort(urls)
		if !slices.Equal(urls, []string{" wss://ws.testex.example/stream", "business wss://ws.testex.example/business"}) {
			t.Errorf("%v", urls)
		}
		if err := r.SetSubscriptions(subs(market.ChannelOptions, 1)); fault.Of(err) != fault.Stop {
			t.Errorf("a channel that the venue lacks: %v", err)
		}
	})
}

func TestSetSubscriptionsSendsTheDifference(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		endpoint(&s, func(e *source.Endpoint) { e.MaxSubscriptions = 4 })
		all := subs(market.ChannelTrades, 12)
		set := func(r *running, list []source.Subscription, want ...int) {
			t.Helper()
			if err := r.SetSubscriptions(list); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			have := subscribed(t, v.arrivals())
			union := make(map[string]bool)
			for _, m := range have {
				for k := range m {
					union[k] = true
				}
			}
			for _, sub := range list {
				if !union["trades:"+sub.Symbol] {
					t.Errorf("%s is missing", sub.Symbol)
				}
			}
			if n := sizes(have); len(union) != len(list) || !slices.Equal(n, want) {
				t.Errorf("%d subscribed of %d, dealt %v, want %v", len(union), len(list), n, want)
			}
		}
		r := start(t, s, all[:4])
		set(r, all[:4], 4)
		set(r, all[:6], 2, 4)
		set(r, all[2:8], 2, 4) // what left makes room where it was
		if n := len(dials(v.arrivals())); n != 2 {
			t.Errorf("%d dials", n)
		}
		set(r, all, 4, 4, 4)
		set(r, all[6:8], 2) // those that carry nothing are closed
		set(r, nil)
		if n := count(source.InputClose, "no subscriptions left")(r.mem.all()); n != 3 {
			t.Errorf("%d closed for want of subscriptions:\n%s", n, dump(r.mem.all()))
		}
		set(r, all[:1], 1)
	})
}

// TestLengthsTakePlaces: each length of a candle is a channel of the venue, as the
// plan counts it.
func TestLengthsTakePlaces(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Spec.Endpoints[0].MaxSubscriptions = 5
		all := subs(market.ChannelTrades, 4)
		for i := range all[:3] {
			all[i].Config = schema.Values{"intervals": []string{"1m", "1h"}}
		}
		start(t, s, all)
		time.Sleep(time.Second)
		if n := sizes(subscribed(t, v.arrivals())); !slices.Equal(n, []int{2, 2}) {
			t.Errorf("dealt %v", n)
		}
	})
}

func TestSubscriptionsWithAttributesAreDistinct(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		one := source.Subscription{Channel: market.ChannelTrades, Symbol: "A", Config: schema.Values{"interval": "1m"}}
		five := one
		five.Config = schema.Values{"interval": "5m"}
		r := start(t, s, []source.Subscription{one, five, one})
		time.Sleep(time.Second)
		if st := r.Stats(); len(st) != 1 || st[0].Subscriptions != 2 {
			t.Errorf("%+v", st)
		}
	})
}

// TestAddedSubscriptionsAreAnnounced: what is added to a live connection is told
// when the venue has acknowledged it, by itself; what it refuses is not.
func TestAddedSubscriptionsAreAnnounced(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Renderer = &plugin{batch: 1, tokens: true}
		v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
			v.serve(n, ws, func(r request) []string {
				switch {
				case r.Args[0] == "trades:SYM3":
					return []string{fmt.Sprintf(`{"reject":%q}`, r.ID)}
				case r.Args[0] == "trades:SYM4":
					time.Sleep(2 * time.Second)
				}
				return []string{fmt.Sprintf(`{"ack":%q}`, r.ID)}
			})
		}
		all := subs(market.ChannelTrades, 5)
		r := decoded(t, s, all[:2])
		time.Sleep(time.Second)
		if err := r.SetSubscriptions(all[1:]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if ev := r.seen(EventSubscribed); len(ev) != 1 || len(ev[0].Subs) != 2 {
			t.Errorf("before the acknowledgement: %+v", ev)
		}
		time.Sleep(10 * time.Second)
		r.Resubscribe(all[2]) // it is carried already
		time.Sleep(10 * time.Second)
		ev := r.seen(EventSubscribed)
		if len(ev) != 2 || len(ev[1].Subs) != 2 || ev[1].Subs[0].Symbol != "SYM2" || ev[1].Subs[1].Symbol != "SYM4" || ev[1].Conn != ev[0].Conn {
			t.Errorf("%+v", ev)
		}
	})
}

func TestResubscribeTouchesOneSymbol(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		all := subs(market.ChannelBook, 5)
		r := start(t, s, all)
		time.Sleep(time.Second)
		n := len(v.arrivals())
		r.Resubscribe(all[3])
		r.Resubscribe(source.Subscription{Channel: market.ChannelBook, Symbol: "UNKNOWN"})
		time.Sleep(time.Second)
		got := v.arrivals()[n:]
		if len(got) != 2 || !strings.Contains(got[0].text, `"unsubscribe"`) || !strings.Contains(got[1].text, `"subscribe"`) ||
			!strings.Contains(got[0].text, `["book:SYM3"]`) || !strings.Contains(got[1].text, `["book:SYM3"]`) {
			t.Errorf("%v", got)
		}
		if n := sizes(subscribed(t, v.arrivals())); !slices.Equal(n, []int{5}) {
			t.Errorf("dealt %v", n)
		}
	})
}

// TestUnsubscribeNamesWhatStays: channels may share one of the venue's, so that a
// plugin must know what it may not give up.
func TestUnsubscribeNamesWhatStays(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		all := slices.Concat(subs(market.ChannelTrades, 1), subs(market.ChannelBook, 2))
		r := start(t, s, all)
		time.Sleep(time.Second)
		if err := r.SetSubscriptions(slices.Concat(all[:2], subs(market.ChannelLiquidations, 1))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		r.plugin.mu.Lock()
		defer r.plugin.mu.Unlock()
		asked := r.plugin.asked
		if len(asked) != 2 || !asked[0].Unsubscribe || asked[1].Unsubscribe || asked[1].Live != nil {
			t.Fatalf("%+v", asked)
		}
		live := map[market.Channel]string{}
		for _, s := range asked[0].Live {
			live[s.Channel] = s.Symbol
		}
		if len(asked[0].Live) != 2 || live[market.ChannelTrades] != all[0].Symbol || live[market.ChannelBook] != all[1].Symbol {
			t.Errorf("%v stay", live)
		}
	})
}

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

func TestSessionScript(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		pl := &plugin{}
		pl.steps = func(r source.SessionRequest) []source.Step {
			steps := []source.Step{{Request: &source.Request{Method: "POST", URL: "https://api.testex.example/bullet", Body: "{}"}}}
			if len(r.Replies) == 0 {
				return steps
			}
			var reply struct{ Path string }
			if err := json.Unmarshal(r.Replies[0].Body, &reply); err != nil || reply.Path != "/bullet" {
				t.Errorf("reply %q: %v", r.Replies[0].Body, err)
			}
			return append(steps,
				source.Step{Dial: &source.Dial{URL: "wss://edge-7.testex.example/endpoint?token=abc", Header: map[string]string{"X-Kind": "public"}}},
				source.Step{Send: &source.Frame{Data: `{"op":"hello"}`}},
				source.Step{Await: &source.Await{Token: "welcome", Timeout: 5 * time.Second}},
				source.Step{Subscribe: pl.frames("subscribe", r.Subscriptions)},
				source.Step{Renew: &source.Renew{Every: 20 * time.Second, Frame: &source.Frame{Data: `{"op":"renew"}`}}},
				source.Step{Renew: &source.Renew{Every: 30 * time.Second, Request: &source.Request{URL: "https://api.testex.example/extend"}}})
		}
		s.Renderer = pl
		v.ws = func(n int, ws *websocket.Conn, r *http.Request) {
			if r.Header.Get("X-Kind") != "public" || r.Header.Get("User-Agent") == "" {
				t.Errorf("header: %v", r.Header)
			}
			v.serve(n, ws, func(r request) []string {
				if r.Op == "hello" && n > 1 {
					time.Sleep(time.Second)
					return []string{`{"welcome":"welcome"}`}
				}
				return nil
			})
		}
		r := decoded(t, s, subs(market.ChannelTrades, 2))
		time.Sleep(70 * time.Second)
		var got []string
		for _, a := range v.arrivals() {
			if a.conn != 1 && !strings.Contains(a.text, "extend") && !strings.Contains(a.text, "renew") {
				got = append(got, a.text[:min(len(a.text), 20)])
			}
		}
		want := []string{"HTTP /bullet", "HTTP /bullet", "DIAL /endpoint?token", `{"op":"hello"}`, `{"op":"subscribe","i`}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if !atLeast(1, source.InputClose, `"welcome" did not come within 5s`)(r.mem.all()) {
			t.Errorf("the first connection waited on:\n%s", dump(r.mem.all()))
		}
		es := r.mem.all()
		if n := count(source.InputSent, "renew")(es); n != 3 {
			t.Errorf("%d renewals", n)
		}
		if n := count(source.InputHTTP, "extend")(es); n != 2 {
			t.Errorf("%d renewals by request", n)
		}
		if st := r.Stats(); len(st) != 1 || st[0].URL != "wss://edge-7.testex.example/endpoint?token=abc" {
			t.Errorf("%+v", st)
		}
	})
}

func TestScriptsThatAreRefused(t *testing.T) {
	signed := &source.Sign{Scheme: "hmac-sha256"}
	for name, c := range map[string]struct {
		steps []source.Step
		want  string
	}{
		"signed frame":   {[]source.Step{{Dial: &source.Dial{URL: "wss://x.example/"}}, {Send: &source.Frame{Data: "login ${signature}", Sign: signed}}}, "give the secret in the source's credentials block"},
		"signed request": {[]source.Step{{Request: &source.Request{URL: "https://x.example/?s=${signature}", Sign: signed}}}, "give the secret in the source's credentials block"},
		"signed dial":    {[]source.Step{{Dial: &source.Dial{URL: "wss://x.example/", Header: map[string]string{"Key": "${key}"}, Sign: signed}}}, "the user's key"},
		"large frame":    {[]source.Step{{Dial: &source.Dial{URL: "wss://x.example/"}}, {Send: &source.Frame{Data: strings.Repeat("x", 4097)}}}, "the venue takes 4096"},
		"no dial":        {[]source.Step{}, "no dial step"},
		"bad index":      {[]source.Step{{Dial: &source.Dial{URL: "wss://x.example/"}}, {Subscribe: []source.Frame{{Subs: []int{7}}}}}, "subscription 7 of 1"},
		"bad renewal":    {[]source.Step{{Dial: &source.Dial{URL: "wss://x.example/"}}, {Renew: &source.Renew{}}}, "renew step"},
		"bad address":    {[]source.Step{{Dial: &source.Dial{URL: "%zz"}}}, "no WebSocket address"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
				endpoint(&s, func(e *source.Endpoint) { e.MaxFrameSent = 4096 })
				s.Renderer = &plugin{steps: func(source.SessionRequest) []source.Step { return c.steps }}
				r := start(t, s, subs(market.ChannelTrades, 1))
				err := <-r.done
				r.done <- err
				if fault.Of(err) != fault.Stop || !strings.Contains(err.Error(), c.want) {
					t.Errorf("Run: %v", err)
				}
				if strings.Contains(dump(r.mem.all()), "login") {
					t.Error("the frame was journalled")
				}
			})
		})
	}
}

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

// TestGatheringLosesNothing sends bursts, single messages and silences over a
// real socket, and wants each message once, in order, and soon after a silence.
func TestGatheringLosesNothing(t *testing.T) {
	for _, mode := range []Latency{Balanced, Low} {
		t.Run(string(mode), func(t *testing.T) {
			v := newVenue(t)
			const n = 30000
			v.ws = func(_ int, ws *websocket.Conn, _ *http.Request) {
				ws.ReadMessage()
				c := ws.UnderlyingConn().(*net.TCPConn)
				for i := 0; i < n; i++ {
					msg := fmt.Appendf(nil, `{"n":%06d}`, i)
					frame := append([]byte{0x81, byte(len(msg))}, msg...)
					switch {
					case i%1000 == 0: // alone after a silence, and cut in two
						time.Sleep(7 * time.Millisecond)
						c.Write(frame[:5])
						time.Sleep(3 * time.Millisecond)
						c.Write(frame[5:])
						time.Sleep(7 * time.Millisecond)
						continue
					case i%200 == 0:
						time.Sleep(50 * time.Microsecond)
					}
					if _, err := c.Write(frame); err != nil {
						return
					}
				}
				ws.ReadMessage()
			}
			r := start(t, settings(v, func(s *Settings) { s.Latency = mode }), subs(market.ChannelTrades, 1))
			es := r.mem.wait(t, "the last message", func(es []entry) bool { return len(es) >= n+2 }) // InputOpen, InputSent
			i := 0
			for _, e := range es {
				if e.kind == source.InputText {
					if want := fmt.Sprintf(`{"n":%06d}`, i); e.payload != want {
						t.Fatalf("message %d is %q", i, e.payload)
					}
					i++
				}
			}
			r.stop()
			m := r.Metrics()
			if m.Frames != n || mode == Low && m.Gathers != 0 || mode == Balanced && m.Gathers == 0 {
				t.Errorf("%+v", m)
			}
			t.Logf("%d frames in %d bursts, %d gathers, %d rings", m.Frames, m.Bursts, m.Gathers, r.mem.rings)
		})
	}
}

// TestReadingAllocates holds that a message costs gorilla's reader and no more.
func TestReadingAllocates(t *testing.T) {
	v := newVenue(t)
	msg := []byte(strings.Repeat("x", 200))
	begin := make(chan struct{})
	v.ws = func(_ int, ws *websocket.Conn, _ *http.Request) {
		frame := append([]byte{0x81, 126, 0, 200}, msg...)
		many := slices.Repeat(frame, 200)
		for range 50 {
			ws.UnderlyingConn().Write(many)
		}
		<-begin
		for range 500 {
			ws.UnderlyingConn().Write(many)
		}
		ws.ReadMessage()
		ws.ReadMessage()
	}
	d := &discard{}
	s := settings(v, func(s *Settings) { s.Frames = d })
	r := start(t, s, subs(market.ChannelTrades, 1))
	until := func(n uint64) {
		for limit := time.Now().Add(patience); r.Metrics().Frames < n; time.Sleep(time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("%+v", r.Metrics())
			}
		}
	}
	until(10000)
	before := mallocs()
	close(begin)
	until(110000)
	if per := float64(mallocs()-before) / 100000; per > 1.02 {
		t.Errorf("%.3f allocations a message", per)
	}
}
