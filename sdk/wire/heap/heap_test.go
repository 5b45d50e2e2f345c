package heap

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	SetRate()
	os.Exit(m.Run())
}

//go:noinline
func hold() []byte { return make([]byte, 8<<20) }

func TestRead(t *testing.T) {
	kept := hold()
	var s strings.Builder
	grow(&s)
	runtime.GC()
	r := NewReader()
	for range 2 { // the second time from the cache
		sites := r.Read()
		if len(sites) < 2 || !strings.HasSuffix(sites[0].Func, "heap.hold") || sites[0].Bytes < 8<<20 || sites[0].Bytes > 9<<20 {
			t.Fatalf("%+v", sites)
		}
		if !strings.HasSuffix(sites[1].Func, "heap.grow") || sites[1].Owner != "sdk/wire/heap" {
			t.Errorf("what the standard library allocates is its caller's: %+v", sites[1])
		}
	}
	runtime.KeepAlive(kept)
	runtime.KeepAlive(s)
}

//go:noinline
func grow(s *strings.Builder) { s.Grow(2 << 20) }

func TestNames(t *testing.T) {
	for function, want := range map[string]string{
		"runtime.mallocgc":                             "runtime",
		"main.main.func1":                              "main",
		"github.com/a/b.(*T).F":                        "github.com/a/b",
		"github.com/a/b.New[...]":                      "github.com/a/b",
		"github.com/a/b.New[github.com/c/d.T].func1":   "github.com/a/b",
		"vendor/golang.org/x/net/http2/hpack.(*D).Get": "vendor/golang.org/x/net/http2/hpack",
	} {
		if got := Package(function); got != want {
			t.Errorf("%s: %s, want %s", function, got, want)
		}
	}
	for pkg, want := range map[string]bool{"runtime": true, "net/http": true, "vendor/golang.org/x/net": true, "main": false, "github.com/a/b": false} {
		if Standard(pkg) != want {
			t.Errorf("%s: standard is %v", pkg, !want)
		}
	}
	if l := Library("google.golang.org/grpc/internal/transport"); l != "google.golang.org/grpc/internal" {
		t.Error(l)
	}
}

func TestCollector(t *testing.T) {
	c := Collector{Every: time.Minute, MaxEvery: time.Hour, Share: 0.01}
	now := time.Now()
	first := c.Collect(now)
	if n := c.Collect(now.Add(30 * time.Second)); n != first {
		t.Errorf("collected after half a minute: %d, %d", first, n)
	}
	if n := c.Collect(now.Add(61 * time.Second)); n <= first {
		t.Errorf("not collected after a minute: %d, %d", first, n)
	}
	c.cost = time.Minute // dear: every hour at most
	first = c.cycles
	if n := c.Collect(now.Add(10 * time.Minute)); n != first {
		t.Errorf("collected too often: %d, %d", first, n)
	}
}
