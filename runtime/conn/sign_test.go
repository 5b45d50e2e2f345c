package conn

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/runtime/sign"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

const testKey, testSecret, testPass = "key-of-the-test", "secret-of-the-test", "passphrase-of-the-test"

// sums is the signature that the test venue wants.
func sums(text string) string {
	h := hmac.New(sha256.New, []byte(testSecret))
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

var signed = source.Sign{Scheme: source.SchemeHMACSHA256, Payload: "${timestamp}|${nonce}", Encoding: source.EncodingHex, Timestamp: source.TimeMillis, Conceal: []string{"token"}}

// TestSigned: requests, dial, frames and renewals go out with values, and anew
// each time; what is journalled, told and published has none of them.
func TestSigned(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Credentials = sign.New([]byte(testKey), []byte(testSecret), []byte(testPass))
		pl := &plugin{}
		login := `{"op":"login","id":"${key}","args":["${passphrase}","${timestamp}|${nonce}","${signature}","${kept:token}"]}`
		pl.steps = func(r source.SessionRequest) []source.Step {
			steps := []source.Step{{Request: &source.Request{Method: "POST", URL: "https://api.testex.example/bullet?t=${timestamp}|${nonce}&s=${signature}",
				Header: map[string]string{"X-Key": "${key}"}, Body: `{"pass":"${passphrase}"}`, Sign: &signed}}}
			if len(r.Replies) == 0 {
				return steps
			}
			if b := string(r.Replies[0].Body); !strings.Contains(b, `"token":"******"`) || strings.Contains(b, testPass) {
				t.Errorf("the plugin saw %s", b)
			}
			return append(steps,
				source.Step{Dial: &source.Dial{URL: "wss://stream.testex.example/ws?token=${kept:token}", Header: map[string]string{"X-Key": "${key}"}, Sign: &source.Sign{}}},
				source.Step{Send: &source.Frame{Data: login, Sign: &signed}},
				source.Step{Await: &source.Await{Token: "welcome", Timeout: 5 * time.Second}},
				source.Step{Subscribe: pl.frames("subscribe", r.Subscriptions)},
				source.Step{Renew: &source.Renew{Every: 20 * time.Second, Frame: &source.Frame{Data: login, Sign: &signed}}})
		}
		s.Renderer = pl
		v.http = func(w http.ResponseWriter, r *http.Request) {
			if q := r.URL.Query(); q.Get("s") != sums(q.Get("t")) || r.Header.Get("X-Key") != testKey {
				t.Errorf("request %s of %s", r.URL, r.Header)
			}
			fmt.Fprintf(w, `{"token":"tok\"7","echo":"%s"}`, testPass)
		}
		v.ws = func(n int, ws *websocket.Conn, r *http.Request) {
			if r.Header.Get("X-Key") != testKey || r.URL.Query().Get("token") != `tok"7` {
				t.Errorf("dial %s with %v", r.URL, r.Header)
			}
			logins := 0
			v.serve(n, ws, func(r request) []string {
				if r.Op != "login" {
					return nil
				}
				kept := `tok"7`
				if logins > 0 {
					kept = "granted"
				}
				if len(r.Args) != 4 || r.ID != testKey || r.Args[0] != testPass || r.Args[2] != sums(r.Args[1]) || r.Args[3] != kept {
					t.Errorf("login %+v", r)
				}
				if logins++; n == 1 && logins == 3 {
					ws.Close()
				}
				return []string{`{"welcome":"welcome","hint":"` + testKey + ` ` + r.Args[2] + `","token":"granted"}`}
			})
		}
		r := decoded(t, s, subs(market.ChannelTrades, 2))
		time.Sleep(70 * time.Second)
		var nonces []string
		for _, a := range v.arrivals() {
			if strings.Contains(a.text, `"login"`) {
				nonces = append(nonces, strings.SplitN(strings.SplitN(a.text, "|", 2)[1], `"`, 2)[0])
			}
		}
		seen := map[string]bool{}
		for _, n := range nonces {
			if seen[n] {
				t.Errorf("nonce %s came twice", n)
			}
			seen[n] = true
		}
		if len(nonces) < 4 { // two connections, with a renewal each
			t.Errorf("%d logins", len(nonces))
		}
		es := r.mem.all()
		text := dump(es) + fmt.Sprintf("%+v", r.Stats())
		for _, e := range r.seen(EventOpen) {
			text += e.Detail
		}
		for _, e := range es {
			text += e.payload
		}
		for _, hidden := range append(nonces, testKey, testSecret, testPass, "tok", "granted") {
			if i := strings.Index(strings.ReplaceAll(text, "token", ""), hidden); i >= 0 {
				t.Errorf("%q is seen in %.200s", hidden, text[max(0, i-80):])
			}
		}
		if !atLeast(4, source.InputSent, login)(es) || !atLeast(2, source.InputHTTP, "s=${signature}")(es) || !atLeast(2, source.InputOpen, "token=${kept:token}")(es) {
			t.Errorf("journalled:\n%s", dump(es))
		}
	})
}

// TestLoginRefused: what the venue's code says is what happens next.
func TestLoginRefused(t *testing.T) {
	for _, c := range []struct {
		code string
		kind fault.Kind
	}{{"60009", fault.Stop}, {"60014", fault.Wait}, {"63999", fault.Retry}} {
		t.Run(c.code, func(t *testing.T) {
			bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
				s.Credentials = sign.New([]byte(testKey), []byte(testSecret), nil)
				pl := &plugin{}
				pl.steps = func(r source.SessionRequest) []source.Step {
					return []source.Step{{Dial: &source.Dial{URL: "wss://stream.testex.example/ws"}},
						{Send: &source.Frame{Data: `{"op":"login","args":["${signature}"]}`, Sign: &signed}},
						{Await: &source.Await{Token: "login", Refusals: []source.Refusal{{Reason: "60014", Kind: fault.Wait, After: 5 * time.Minute}, {Reason: "63999", Kind: fault.Retry}}}},
						{Subscribe: pl.frames("subscribe", r.Subscriptions)}}
				}
				s.Renderer = pl
				v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
					v.serve(n, ws, func(r request) []string {
						if r.Op == "login" {
							return []string{`{"reject":"login","why":"` + c.code + `: no, ` + testKey + `"}`}
						}
						return nil
					})
				}
				r := decoded(t, s, subs(market.ChannelTrades, 1))
				time.Sleep(4 * time.Minute)
				opens := len(r.seen(EventOpen))
				closed := r.seen(EventClose)
				if len(closed) == 0 || !strings.Contains(closed[0].Detail, `the venue refuses "login": `+c.code+": no, ***") {
					t.Fatalf("%+v", closed)
				}
				switch c.kind {
				case fault.Stop:
					err := <-r.done
					r.done <- err
					if opens != 1 || fault.Of(err) != fault.Stop || !strings.Contains(err.Error(), "look at the source's credentials block") {
						t.Errorf("%d connections, %v", opens, err)
					}
				case fault.Wait:
					if opens != 1 {
						t.Errorf("%d connections before the time was up", opens)
					}
					time.Sleep(2 * time.Minute)
					if n := len(r.seen(EventOpen)); n != 2 {
						t.Errorf("%d connections", n)
					}
				default:
					if opens < 3 {
						t.Errorf("%d connections", opens)
					}
				}
			})
		})
	}
}

// TestUnauthorized: HTTP 401 to what was signed stops the feed, and 400 to a dial.
func TestUnauthorized(t *testing.T) {
	dial := source.Step{Dial: &source.Dial{URL: "wss://stream.testex.example/ws?k=${key}", Sign: &source.Sign{}}}
	request := source.Step{Request: &source.Request{URL: "https://api.testex.example/token?k=${key}", Sign: &source.Sign{}}}
	for _, c := range []struct {
		name   string
		step   source.Step
		status int
	}{{"dial", dial, http.StatusUnauthorized}, {"dial with a bad key", dial, http.StatusBadRequest}, {"request", request, http.StatusUnauthorized}} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
				s.Credentials = sign.New([]byte(testKey), nil, nil)
				s.Renderer = &plugin{steps: func(source.SessionRequest) []source.Step { return []source.Step{c.step} }}
				refuse := func(w http.ResponseWriter) { http.Error(w, "no such key: "+testKey, c.status) }
				v.http = func(w http.ResponseWriter, _ *http.Request) { refuse(w) }
				v.deny = func(_ int, w http.ResponseWriter, _ *http.Request) bool { refuse(w); return true }
				r := start(t, s, subs(market.ChannelTrades, 1))
				err := <-r.done
				r.done <- err
				if fault.Of(err) != fault.Stop || !strings.Contains(err.Error(), fmt.Sprint("refuses the login: HTTP ", c.status)) || strings.Contains(err.Error(), testKey) || strings.Contains(dump(r.mem.all()), testKey) {
					t.Errorf("%v\n%s", err, dump(r.mem.all()))
				}
			})
		})
	}
}

// TestTokenRefused: a token that a venue grants to everybody is no login: one
// that it refuses, at the dial or where it is granted, is asked for anew.
func TestTokenRefused(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		pl := &plugin{}
		pl.steps = func(r source.SessionRequest) []source.Step {
			steps := []source.Step{{Request: &source.Request{Method: "POST", URL: r.Base + "/bullet", Sign: &source.Sign{Conceal: []string{"token"}}}}}
			if len(r.Replies) == 0 {
				return steps
			}
			return append(steps, source.Step{Dial: &source.Dial{URL: "wss://stream.testex.example/ws?token=${kept:token}", Sign: &source.Sign{}}},
				source.Step{Subscribe: pl.frames("subscribe", r.Subscriptions)})
		}
		s.Renderer = pl
		asked := 0
		v.http = func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked == 1 {
				http.Error(w, "not now", http.StatusUnauthorized)
				return
			}
			fmt.Fprintf(w, `{"token":"granted=%d"}`, asked)
		}
		v.deny = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			old := r.URL.Query().Get("token") != "granted=3"
			if old {
				http.Error(w, "token is invalid", http.StatusUnauthorized)
			}
			return old
		}
		r := decoded(t, s, subs(market.ChannelTrades, 1))
		time.Sleep(time.Minute)
		if n := len(r.seen(EventOpen)); n != 1 || asked != 3 {
			t.Errorf("%d connections after %d requests", n, asked)
		}
		if text := dump(r.mem.all()) + fmt.Sprintf("%+v", r.Stats()); strings.Contains(text, "granted") {
			t.Errorf("a token is seen in %s", text)
		}
	})
}

// TestEachConnectionLogsIn: the one that carries, the spare, what replaces them
// for their age and what comes after a break sign in for themselves. A spare
// that the venue wants to wait isn't tried before the time is up.
func TestEachConnectionLogsIn(t *testing.T) {
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		s.Standby = true
		s.Credentials = sign.New([]byte(testKey), []byte(testSecret), nil)
		endpoint(&s, func(e *source.Endpoint) { e.MaxAge = time.Hour })
		pl := &plugin{}
		pl.steps = func(r source.SessionRequest) []source.Step {
			return []source.Step{{Dial: &source.Dial{URL: "wss://stream.testex.example/ws"}},
				{Send: &source.Frame{Data: `{"op":"login","args":["${timestamp}|${nonce}","${signature}"]}`, Sign: &signed}},
				{Await: &source.Await{Token: "login", Refusals: []source.Refusal{{Reason: "429", Kind: fault.Wait, After: 5 * time.Minute}}}},
				{Subscribe: pl.frames("subscribe", r.Subscriptions)}}
		}
		s.Renderer = pl
		var mu sync.Mutex
		nonces, refuse := map[string]bool{}, false
		v.ws = func(n int, ws *websocket.Conn, _ *http.Request) {
			in := false
			v.serve(n, ws, func(r request) []string {
				if r.Op != "login" {
					if !in {
						t.Errorf("connection %d: %+v before its login", n, r)
					}
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				if refuse {
					return []string{`{"reject":"login","why":"429: too many logins"}`}
				}
				if len(r.Args) != 2 || r.Args[1] != sums(r.Args[0]) || nonces[r.Args[0]] {
					t.Errorf("connection %d: login %+v", n, r)
				}
				nonces[r.Args[0]], in = true, true
				return []string{`{"welcome":"login"}`}
			})
		}
		r := decoded(t, s, subs(market.ChannelTrades, 2))
		time.Sleep(time.Minute)
		if c, n := r.roles(); c != 1 || n != 1 {
			t.Fatalf("%d carriers, %d spares", c, n)
		}
		time.Sleep(80 * time.Minute) // beyond the age limit of both
		m := r.Metrics()
		if m.Replacements == 0 {
			t.Error("no connection was replaced for its age")
		}
		mu.Lock()
		if len(nonces) != int(m.Opens) || len(nonces) < 3 {
			t.Errorf("%d logins on %d connections", len(nonces), m.Opens)
		}
		refuse = true
		mu.Unlock()
		v.mu.Lock()
		v.open[len(v.open)-1].Close()
		v.mu.Unlock()
		time.Sleep(4 * time.Minute)
		if n := r.Metrics().Opens - m.Opens; n != 1 {
			t.Errorf("%d connections opened before the time was up", n)
		}
		if c, _ := r.roles(); c != 1 {
			t.Errorf("%d carriers", c)
		}
	})
}
