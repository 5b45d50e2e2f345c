package conn

import (
	"encoding/json"
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
