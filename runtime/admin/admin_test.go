package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/telemetry"
)

const secret = "correct-horse-battery-staple"

func tokenFile(t *testing.T, mode os.FileMode, content string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(p, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	return p
}

// start serves until the test ends. It returns what asks: a request is given as
// method and path, headers as "Name: value".
func start(t *testing.T, s Settings) (*Server, func(method, path, body string, headers ...string) (*http.Response, string)) {
	t.Helper()
	if s.Listen == "" {
		s.Listen = "127.0.0.1:0"
	}
	if s.Ready == nil {
		s.Ready = func() (bool, string) { return true, "ready" }
	}
	srv, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	srv.headerTime, srv.readTime = 200*time.Millisecond, 400*time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		a := srv.ln.Addr()
		return new(net.Dialer).DialContext(ctx, a.Network(), a.String())
	}}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		c.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	host := "localhost"
	if !srv.unix {
		host = srv.ln.Addr().String()
	}
	return srv, func(method, path, body string, headers ...string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+host+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range headers {
			name, v, _ := strings.Cut(h, ": ")
			if name == "Host" {
				req.Host = v
			} else {
				req.Header.Set(name, v)
			}
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp, string(b)
	}
}

func TestEndpoints(t *testing.T) {
	ready := false
	reloads := 0
	_, ask := start(t, Settings{Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "a_metric 1") }),
		Ready: func() (bool, string) { return ready, "feed binance spot: connecting" },
		Reload: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			reloads++
			JSON(w, 200, map[string]bool{"changed": false})
		}),
		Routes: map[string]http.Handler{"GET /api/v1/things/{name...}": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			JSON(w, 200, map[string]string{"name": r.PathValue("name")})
		})}})
	for _, c := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/healthz", 200, "ok"},
		{"GET", "/-/healthy", 200, "ok"},
		{"HEAD", "/healthz", 200, ""},
		{"GET", "/readyz", 503, "connecting"},
		{"GET", "/-/ready", 503, "connecting"},
		{"GET", "/metrics", 200, "a_metric 1"},
		{"GET", "/api/v1/things/a/b%20c", 200, `"name": "a/b c"`},
		{"GET", "/api/v1/", 200, `"GET /api/v1/things/{name...}"`},
		{"HEAD", "/api/v1/", 200, ""},
		{"POST", "/api/v1/", 405, `"message": "POST is not how /api/v1/ is asked for; use GET, HEAD"`},
		{"GET", "/-/reload", 405, "use POST"},
		{"HEAD", "/-/reload", 405, ""},
		{"PUT", "/-/reload", 405, "use POST"},
		{"DELETE", "/healthz", 405, "use GET, HEAD"},
		{"GET", "/nothing", 404, `"POST /-/reload"`},
		{"GET", "/api/v1/nothing", 404, `"GET /api/v1/things/{name...}"`},
		{"GET", "/api//v1/", 307, ""},
		{"GET", "/debug/pprof/", 403, "token_file"},
		{"GET", "/debug/pprof/heap", 403, "token_file"},
		{"GET", "/debug/pprof/profile?seconds=1", 403, "token_file"},
	} {
		resp, body := ask(c.method, c.path, "")
		if resp.StatusCode != c.code || !strings.Contains(body, c.body) {
			t.Errorf("%s %s: %d %q, want %d with %q", c.method, c.path, resp.StatusCode, body, c.code, c.body)
		}
		if c.code >= 400 && c.code != 503 && c.method != "HEAD" {
			var e struct{ Error Problem }
			if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error.Status != c.code || e.Error.Message == "" {
				t.Errorf("%s %s: not the shape of an error: %q", c.method, c.path, body)
			}
		}
	}
	if reloads != 0 {
		t.Fatal("something else than a POST reloaded")
	}
	if resp, body := ask("POST", "/-/reload", "ignored"); resp.StatusCode != 200 || reloads != 1 {
		t.Errorf("reload: %d %q", resp.StatusCode, body)
	}
}

func TestReloadWithoutAFile(t *testing.T) {
	_, ask := start(t, Settings{})
	if resp, body := ask("POST", "/-/reload", ""); resp.StatusCode != 409 {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
}

// A name that an attacker's page resolves to loopback is not served, whatever
// the method and path.
func TestForeignHosts(t *testing.T) {
	srv, ask := start(t, Settings{Hosts: []string{"Collector.internal"}})
	for host, want := range map[string]int{
		"attacker.example": 403, "attacker.example:80": 403, "localhost.attacker.example": 403, "127.0.0.1.attacker.example": 403,
		"192.0.2.7": 403, "[2001:db8::1]:80": 403,
		"localhost": 200, "LOCALHOST:9464": 200, "localhost.:1": 200, "127.0.0.1": 200, "[::1]:9": 200, "::1": 200, "127.8.9.1:1": 200,
		"collector.internal:9464": 200, "COLLECTOR.internal.": 200, "x.collector.internal": 403,
	} {
		for _, path := range []string{"/healthz", "/api/v1/"} {
			if resp, body := ask("GET", path, "", "Host: "+host); resp.StatusCode != want {
				t.Errorf("%s of %s: %d %q, want %d", path, host, resp.StatusCode, body, want)
			}
		}
	}
	if n := srv.count.hosts.Load(); n != 14 {
		t.Errorf("%d refusals were counted, want 14", n)
	}
}

func TestCrossOrigin(t *testing.T) {
	reloads := 0
	_, ask := start(t, Settings{Reload: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reloads++ })})
	for _, h := range []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: http://attacker.example", "Origin: null"} {
		if resp, body := ask("POST", "/-/reload", "", h); resp.StatusCode != 403 || !strings.Contains(body, "origin") {
			t.Errorf("%s: %d %q", h, resp.StatusCode, body)
		}
	}
	if reloads != 0 {
		t.Fatal("it was done all the same")
	}
	if resp, _ := ask("POST", "/-/reload", "", "Sec-Fetch-Site: same-origin"); resp.StatusCode != 200 || reloads != 1 {
		t.Errorf("same origin: %d", resp.StatusCode)
	}
}

func TestToken(t *testing.T) {
	file := tokenFile(t, 0o600, secret+"\n")
	srv, ask := start(t, Settings{TokenFile: file})
	bearer := "Authorization: Bearer " + secret
	for _, c := range []struct {
		method, path, header string
		code                 int
	}{
		{"GET", "/healthz", "X: y", 200}, // says nothing but that it lives
		{"GET", "/-/healthy", "X: y", 200},
		{"GET", "/readyz", "X: y", 401},
		{"GET", "/api/v1/", "X: y", 401},
		{"GET", "/nothing", "X: y", 401}, // what there is is told to who may know
		{"POST", "/-/reload", "X: y", 401},
		{"GET", "/debug/pprof/", "X: y", 401},
		{"GET", "/api/v1/", "Authorization: Bearer wrong", 401},
		{"GET", "/api/v1/", "Authorization: Bearer", 401},
		{"GET", "/api/v1/", "Authorization: Bearer " + secret + "x", 401},
		{"GET", "/api/v1/", "Authorization: Bearer " + secret[1:], 401},
		{"GET", "/api/v1/", "Authorization: Basic " + secret, 401},
		{"GET", "/api/v1/", "Authorization: " + secret, 401},
		{"GET", "/api/v1/", bearer, 200},
		{"GET", "/api/v1/", "Authorization: bearer " + secret, 200},
		{"GET", "/debug/pprof/", bearer, 200},
		{"GET", "/debug/pprof/goroutine?debug=1", bearer, 200},
		{"GET", "/debug/pprof/symbol", bearer, 200},
		{"GET", "/debug/pprof/profile?seconds=100000", bearer, 400},
		{"POST", "/debug/pprof/symbol", bearer, 405},
	} {
		resp, body := ask(c.method, c.path, "", c.header)
		if resp.StatusCode != c.code {
			t.Errorf("%s %s with %q: %d %q, want %d", c.method, c.path, c.header, resp.StatusCode, body, c.code)
		}
		if c.code == 401 && !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: a 401 without the way in", c.path)
		}
		if strings.Contains(body, secret) {
			t.Errorf("%s tells the token", c.path)
		}
	}
	// The token is changed in the file; a reload takes it over.
	if err := os.WriteFile(file, []byte("another-token-of-some-length"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := srv.Update(file, nil); err != nil {
		t.Fatal(err)
	}
	if resp, _ := ask("GET", "/api/v1/", "", bearer); resp.StatusCode != 401 {
		t.Error("the old token still holds")
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := srv.Update(file, nil); err == nil {
		t.Error("a token that all can read was taken over")
	}
	if resp, _ := ask("GET", "/api/v1/", "", "Authorization: Bearer another-token-of-some-length"); resp.StatusCode != 200 {
		t.Error("a failed update changed something")
	}
	// Without it, profiles are closed and the rest is open to this machine.
	if err := srv.Update("", nil); err != nil {
		t.Fatal(err)
	}
	if resp, _ := ask("GET", "/debug/pprof/", "", bearer); resp.StatusCode != 403 {
		t.Error("profiles without a token")
	}
}

func TestRefusedSettings(t *testing.T) {
	dir := t.TempDir()
	regular := filepath.Join(dir, "file")
	if err := os.WriteFile(regular, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		s    Settings
		want string
	}{
		{Settings{Listen: "0.0.0.0:0"}, "token_file"},
		{Settings{Listen: ":0"}, "token_file"},
		{Settings{Listen: "192.0.2.1:1"}, "token_file"},
		{Settings{Listen: "example.com:80"}, "token_file"},
		{Settings{Listen: "nonsense"}, "host:port"},
		{Settings{Listen: "unix://"}, "want unix"},
		{Settings{Listen: "unix://" + regular}, "no socket"},
		{Settings{Listen: "unix://" + dir + "/" + strings.Repeat("x", 120)}, "107"},
		{Settings{Listen: "127.0.0.1:0", TokenFile: dir + "/none"}, "umask 077"},
		{Settings{Listen: "127.0.0.1:0", TokenFile: dir}, ""},
		{Settings{Listen: "127.0.0.1:0", TokenFile: tokenFile(t, 0o644, secret)}, "mode 0644"},
		{Settings{Listen: "127.0.0.1:0", TokenFile: tokenFile(t, 0o640, secret)}, "chmod 600"},
		{Settings{Listen: "0.0.0.0:0", TokenFile: tokenFile(t, 0o644, secret)}, "mode 0644"},
		{Settings{Listen: "127.0.0.1:0", TokenFile: tokenFile(t, 0o600, "short")}, "guessed"},
		{Settings{Listen: "127.0.0.1:0", TokenFile: tokenFile(t, 0o600, "")}, "guessed"},
		{Settings{Listen: "127.0.0.1:0", TokenFile: tokenFile(t, 0o600, "two words of some length")}, "without spaces"},
		{Settings{Listen: "127.0.0.1:0", TokenFile: tokenFile(t, 0o600, strings.Repeat("x", 5000))}, "more than"},
	} {
		srv, err := New(c.s)
		if err == nil {
			srv.Close()
			t.Errorf("%+v was taken", c.s)
		} else if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s, %s: %v", c.s.Listen, c.s.TokenFile, err)
		}
	}
	srv, err := New(Settings{Listen: "0.0.0.0:0", TokenFile: tokenFile(t, 0o600, secret)})
	if err != nil {
		t.Fatal(err)
	}
	srv.Close()
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	srv, ask := start(t, Settings{Listen: "unix://" + path})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode().Type() != os.ModeSocket {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	if a := srv.Addr(); a != "unix://"+path || srv.URL() != a {
		t.Error(a)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".admin-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if resp, body := ask("GET", "/api/v1/", "", "Host: anything"); resp.StatusCode != 200 {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	if _, err := New(Settings{Listen: "unix://" + path}); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a second one: %v", err)
	}
}

func TestUnixSocketIsRemovedAndReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	left, err := net.Listen("unix", path) // of a run that was killed
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	left.Close()
	srv, err := New(Settings{Listen: "unix://" + path})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestBodies(t *testing.T) {
	read := make(chan error, 1)
	_, ask := start(t, Settings{Reload: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		read <- err
		if err != nil {
			Error(w, http.StatusRequestEntityTooLarge, "%v", err)
		}
	})})
	if resp, body := ask("POST", "/-/reload", strings.Repeat("x", maxBody+1)); resp.StatusCode != 413 {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	select {
	case <-read:
		t.Error("a body that says it is too large reached the handler")
	default:
	}
	if resp, _ := ask("POST", "/-/reload", strings.Repeat("x", maxBody)); resp.StatusCode != 200 || <-read != nil {
		t.Errorf("%d", resp.StatusCode)
	}
}

// A body that doesn't say how long it is ends at the limit as well.
func TestChunkedBody(t *testing.T) {
	read := make(chan error, 1)
	srv, _ := start(t, Settings{Reload: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		read <- err
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	})})
	resp, err := http.Post("http://"+srv.Addr()+"/-/reload", "text/plain", io.MultiReader(bytes.NewReader(make([]byte, maxBody)), strings.NewReader("x")))
	if err == nil {
		resp.Body.Close()
	}
	if err := <-read; err == nil {
		t.Error("it was read to the end")
	}
}

// A reload may last longer than a request's reading may.
func TestLongAnswer(t *testing.T) {
	cut := make(chan bool, 1)
	srv, ask := start(t, Settings{Reload: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			cut <- true
		case <-time.After(time.Second):
			cut <- false
		}
	})})
	if resp, _ := ask("POST", "/-/reload", ""); resp.StatusCode != 200 || <-cut {
		t.Errorf("the request ended after %v: %d", srv.readTime, resp.StatusCode)
	}
}

// A client that says nothing, and one whose headers never end, are cut off.
func TestSlowAndEndlessClients(t *testing.T) {
	srv, ask := start(t, Settings{})
	for _, say := range []string{"", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n"} {
		c, err := net.Dial("tcp", srv.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, say); err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(c) // returns when the server has closed
		if strings.Contains(string(b), " 200 ") {
			t.Errorf("%q was answered: %q", say, b)
		}
		c.Close()
	}
	c, err := net.Dial("tcp", srv.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() { // until it is cut off
		_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
		for {
			if _, err := io.WriteString(c, "X-Filler: "+strings.Repeat("x", 1000)+"\r\n"); err != nil {
				return
			}
		}
	}()
	b := make([]byte, 64)
	if n, _ := io.ReadFull(c, b); !strings.Contains(string(b[:n]), "431") {
		t.Errorf("headers without end: %q", b[:n])
	}
	if resp, _ := ask("GET", "/healthz", ""); resp.StatusCode != 200 {
		t.Error("it serves no more")
	}
}

// Connections that say nothing take all places, and give them back.
func TestConnectionsAreBounded(t *testing.T) {
	srv, ask := start(t, Settings{})
	var cs []net.Conn
	for range maxConns + 10 {
		c, err := net.Dial("tcp", srv.Addr()) // beyond the bound it waits in the kernel
		if err != nil {
			t.Fatal(err)
		}
		cs = append(cs, c)
	}
	if resp, _ := ask("GET", "/healthz", ""); resp.StatusCode != 200 {
		t.Error(resp.StatusCode)
	}
	for _, c := range cs {
		c.Close()
	}
}

func TestScrapesAreBounded(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	_, ask := start(t, Settings{Metrics: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { in <- struct{}{}; <-out })})
	done := make(chan int, maxScrapes)
	for range maxScrapes {
		go func() {
			resp, _ := ask("GET", "/metrics", "")
			done <- resp.StatusCode
		}()
	}
	for range maxScrapes {
		<-in
	}
	if resp, _ := ask("GET", "/metrics", ""); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d", resp.StatusCode)
	}
	close(out)
	for range maxScrapes {
		if code := <-done; code != 200 {
			t.Error(code)
		}
	}
}

func TestMetrics(t *testing.T) {
	if err := telemetry.Check(Descs()); err != nil {
		t.Fatal(err)
	}
	srv, ask := start(t, Settings{TokenFile: tokenFile(t, 0o600, secret), Metrics: http.NotFoundHandler()})
	ask("GET", "/healthz", "")
	ask("GET", "/-/ready", "", "Authorization: Bearer "+secret)
	ask("GET", "/metrics", "", "Authorization: Bearer "+secret)
	ask("GET", "/api/v1/", "")
	ask("GET", "/api/v1/", "")
	ask("GET", "/api/v1/", "", "Authorization: Bearer "+secret)
	ask("GET", "/x", "", "Authorization: Bearer "+secret)
	ask("POST", "/-/reload", "", "Authorization: Bearer "+secret)
	ask("GET", "/healthz", "", "Host: attacker.example")
	r := telemetry.NewRegistry()
	r.Add(srv.Report)
	got := map[string]float64{}
	for _, v := range r.Values() {
		if v.Value != 0 {
			got[v.Desc.Name+" "+strings.Join(v.Labels, " ")] = v.Value
		}
	}
	want := map[string]float64{"marketprism_admin_requests_total health 2xx": 2, "marketprism_admin_requests_total health 4xx": 1,
		"marketprism_admin_requests_total metrics 4xx": 1, "marketprism_admin_requests_total api 2xx": 1, "marketprism_admin_requests_total api 4xx": 2,
		"marketprism_admin_requests_total other 4xx": 1, "marketprism_admin_requests_total reload 4xx": 1,
		"marketprism_admin_refused_total token": 2, "marketprism_admin_refused_total host": 1}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
