package admin

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestEndpoints(t *testing.T) {
	ready := false
	s, err := New(Settings{Listen: "127.0.0.1:0", Metrics: http.NotFoundHandler(), Ready: func() (bool, string) { return ready, "feed binance spot: connecting" },
		Status: func() any { return map[string]int{"feeds": 1} }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	get := func(path, host string) (int, string) {
		req, _ := http.NewRequest("GET", "http://"+s.Addr()+path, nil)
		if host != "" {
			req.Host = host
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	for _, c := range []struct {
		path, host string
		code       int
		body       string
	}{
		{"/healthz", "", 200, "ok"},
		{"/readyz", "", 503, "connecting"},
		{"/api/v1/status", "", 200, `"feeds": 1`},
		{"/healthz", "attacker.example:80", 403, "localhost only"},
	} {
		if code, body := get(c.path, c.host); code != c.code || !strings.Contains(body, c.body) {
			t.Errorf("%s (%s): %d %q", c.path, c.host, code, body)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRefusesOtherAddresses(t *testing.T) {
	for _, a := range []string{"0.0.0.0:0", ":0", "192.0.2.1:1", "example.com:80", "nonsense"} {
		if _, err := New(Settings{Listen: a}); err == nil {
			t.Errorf("%s was taken", a)
		}
	}
}
