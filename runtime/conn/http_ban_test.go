package conn

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// watcher stands on the wire: it sees when bans arrive and when requests leave.
type watcher struct {
	mu                          sync.Mutex
	since, until                time.Time
	bans, sent, early, sameTime int
	dials                       int
	first                       string
}

type watched struct {
	net.Conn
	w *watcher
}

func (c watched) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if b := p[:n]; bytes.HasPrefix(b, []byte("HTTP/1.1 429")) || bytes.HasPrefix(b, []byte("HTTP/1.1 418")) {
		status, _ := strconv.Atoi(string(b[9:12]))
		_, fields, _ := bytes.Cut(b, crlf)
		now := time.Now()
		wait := time.Minute
		if status == 418 {
			wait = 2 * time.Minute
		}
		if v := string(field(fields, "retry-after")); v != "" {
			if s, err := strconv.ParseFloat(v, 64); err == nil {
				wait = time.Duration(s * float64(time.Second))
			} else if t, err := http.ParseTime(v); err == nil {
				wait = t.Sub(now)
			}
		}
		c.w.mu.Lock()
		c.w.bans++
		if t := now.Add(wait); t.After(c.w.until) {
			if !now.Before(c.w.until) {
				c.w.since = now
			}
			c.w.until = t
		}
		c.w.mu.Unlock()
	}
	return n, err
}

func (c watched) Write(p []byte) (int, error) {
	now := time.Now()
	c.w.mu.Lock()
	since, until := c.w.since, c.w.until
	c.w.mu.Unlock()
	n, err := c.Conn.Write(p)
	if n > 0 && bytes.HasPrefix(p, []byte("GET ")) { // what a closed connection refused was not sent
		c.w.mu.Lock()
		defer c.w.mu.Unlock()
		c.w.sent++
		if bytes.Contains(p, []byte("Upgrade: websocket")) {
			c.w.dials++
		}
		switch {
		case now.Before(until) && now.After(since):
			if c.w.early++; c.w.first == "" {
				c.w.first = fmt.Sprintf("%.60q %v after the ban began, %v before its end", p, now.Sub(since), until.Sub(now))
			}
		case now.Equal(since):
			c.w.sameTime++
		}
	}
	return n, err
}

// null is a journal that keeps nothing.
type null struct{}

func (null) Append(_ source.InputKind, _ uint32, _, _ int64, _, _ []byte) (uint64, error) {
	return 0, nil
}
func (null) Ring() {}

// TestTenThousandBans lets a venue refuse 10,000 times with Retry-After of every
// kind, to three feeds, each with polls, sessions and WebSockets, of which many
// have requests in the air when the refusal comes.
func TestTenThousandBans(t *testing.T) {
	want := 10_000
	if testing.Short() {
		want = 1_000
	}
	bubble(t, func(t *testing.T, v *venue, p *pipes, s Settings) {
		var w watcher
		var refused atomic.Int64
		r := rand.New(rand.NewPCG(3, 4))
		var mu sync.Mutex
		draw := func(n int) int { mu.Lock(); defer mu.Unlock(); return r.IntN(n) }
		refuse := func(rw http.ResponseWriter) bool {
			time.Sleep(time.Duration(draw(300)) * time.Millisecond) // the request's way, and the answer's
			if draw(3) > 0 {
				return false
			}
			switch draw(4) {
			case 0:
				rw.Header().Set("Retry-After", strconv.Itoa(draw(30)))
			case 1:
				rw.Header().Set("Retry-After", fmt.Sprintf("%.3f", float64(draw(9000))/1000))
			case 2:
				rw.Header().Set("Retry-After", time.Now().Add(time.Duration(1+draw(40))*time.Second).UTC().Format(http.TimeFormat))
			}
			refused.Add(1)
			rw.WriteHeader([]int{429, 418}[draw(2)])
			return true
		}
		v.http = func(rw http.ResponseWriter, _ *http.Request) {
			if !refuse(rw) {
				rw.Write([]byte("{}"))
			}
		}
		v.deny = func(_ int, rw http.ResponseWriter, _ *http.Request) bool { return refuse(rw) }
		s.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			time.Sleep(time.Duration(draw(200)) * time.Millisecond) // a ban may come while a connection is being opened
			c, err := p.Dial(ctx, network, addr)
			return watched{c, &w}, err
		}
		s.Frames = null{}
		s.CatalogueEvery, s.Channels[3].PollEvery = time.Second, 500*time.Millisecond
		endpoint(&s, func(e *source.Endpoint) { e.MaxSubscriptions = 1 })
		var feeds []*running
		for range 3 {
			f := start(t, s, append(subs(market.ChannelTrades, 3), subs(market.ChannelOpenInterest, 6)...))
			feeds = append(feeds, f)
		}
		var users sync.WaitGroup
		for i := range 30 {
			users.Go(func() {
				f := feeds[i%3]
				for refused.Load() < int64(want) {
					_, err := f.do(context.Background(), source.Request{URL: "https://api.testex.example/direct"}, 0, 1, i%2)
					if err != nil && fault.Of(err) != fault.Wait {
						t.Errorf("%v", err)
						return
					}
					time.Sleep(time.Duration(draw(500)) * time.Millisecond)
				}
			})
		}
		go func() { // WebSockets break, so that there are dials
			for refused.Load() < int64(want) {
				time.Sleep(20 * time.Second)
				v.hang()
			}
		}()
		users.Wait()
		time.Sleep(time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.early > 0 {
			t.Errorf("%d of %d requests were sent too early, the first: %s", w.early, w.sent, w.first)
		}
		if w.bans < want || w.dials < 100 {
			t.Errorf("only %d bans were seen, %d dials", w.bans, w.dials)
		}
		t.Logf("%d refusals, %d requests of which %d handshakes, %d too early; %d left in the very instant in which a refusal came", w.bans, w.sent, w.dials, w.early, w.sameTime)
	})
}

// TestNothingIsWrittenAfterTheGateShut is the race that virtual time can't show:
// once shut has returned, nobody is between asking the gate and writing.
func TestNothingIsWrittenAfterTheGateShut(t *testing.T) {
	for range 200 {
		var g gate
		var silent atomic.Bool
		var early, writes atomic.Int64
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 200 {
					if !g.enter() {
						return
					}
					if silent.Load() {
						early.Add(1)
					}
					writes.Add(1)
					g.leave()
				}
			})
		}
		all.Go(func() {
			g.shut(time.Now(), time.Hour)
			silent.Store(true)
		})
		all.Wait()
		if early.Load() > 0 {
			t.Fatalf("%d writes after the gate was shut", early.Load())
		}
		if g.enter() {
			t.Fatal("the gate is open")
		}
	}
}

func TestGateNeverOpensEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		now := time.Now()
		g.shut(now, time.Minute)
		if u := g.shut(now, time.Second); u.Sub(now) != time.Minute {
			t.Errorf("a shorter ban opened the gate at %v", u.Sub(now))
		}
		begin := time.Now()
		if err := g.wait(t.Context()); err != nil || time.Since(begin) != time.Minute {
			t.Errorf("waited %v: %v", time.Since(begin), err)
		}
		if !g.enter() {
			t.Error("still shut")
		}
		g.leave()
	})
}
