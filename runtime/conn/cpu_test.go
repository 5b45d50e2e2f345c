package conn

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

const roleVar = "MARKETPRISM_CONN_TEST_RATE"

// role turns the test binary into a venue that sends 200-byte messages one by
// one at a rate (0: as fast as it can), to measure the reading side alone.
func role(*testing.M) bool {
	rate, err := strconv.Atoi(os.Getenv(roleVar))
	if err != nil {
		return false
	}
	msg := []byte(`{"stream":"btcusdt@trade","data":{"p":"` + strings.Repeat("1", 160) + `"}}`)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		go func() {
			for {
				if _, _, err := ws.ReadMessage(); err != nil {
					os.Exit(0)
				}
			}
		}()
		p, _ := websocket.NewPreparedMessage(websocket.TextMessage, msg)
		if rate == 0 {
			many := make([]byte, 0, 64<<10)
			for len(many)+len(msg)+4 < 64<<10 {
				many = append(append(many, 0x81, 126, byte(len(msg)>>8), byte(len(msg))), msg...)
			}
			for {
				if _, err := ws.UnderlyingConn().Write(many); err != nil {
					return
				}
			}
		}
		begin := time.Now()
		for n := 0; ; n++ {
			at := begin.Add(time.Duration(n) * time.Second / time.Duration(rate))
			if d := time.Until(at); d > 200*time.Microsecond {
				time.Sleep(d - 100*time.Microsecond)
			}
			for time.Now().Before(at) {
			}
			if ws.WritePreparedMessage(p) != nil {
				return
			}
		}
	}))
	srv.Start()
	fmt.Println(srv.URL)
	select {}
}

// discard is a journal of one ring buffer: a copy, no more.
type discard struct {
	mu    sync.Mutex
	buf   [1 << 20]byte
	at    int
	rings atomic.Uint64
}

func (d *discard) Append(_ source.InputKind, _ uint32, _, _ int64, p, _ []byte) (uint64, error) {
	d.mu.Lock()
	if d.at+len(p) > len(d.buf) {
		d.at = 0
	}
	d.at += copy(d.buf[d.at:], p)
	d.mu.Unlock()
	return 0, nil
}

func (d *discard) Ring() { d.rings.Add(1) }

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkReading reports the reading process's CPU a message; the sender is
// another process. Run it with -benchtime 3x or so: an iteration is a second.
func BenchmarkReading(b *testing.B) {
	for _, rate := range []int{200, 2000, 20000, 0} {
		for _, mode := range []Latency{Balanced, Low} {
			b.Run(fmt.Sprintf("rate=%d/%s", rate, mode), func(b *testing.B) {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", roleVar, rate))
				out, err := cmd.StdoutPipe()
				if err != nil {
					b.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					b.Fatal(err)
				}
				defer cmd.Wait()
				defer cmd.Process.Kill()
				url, err := bufio.NewReader(out).ReadString('\n')
				if err != nil {
					b.Fatal(err)
				}
				d := &discard{}
				s := settings(nil, func(s *Settings) {
					s.Latency, s.Frames = mode, d
					s.URL = "ws" + strings.TrimPrefix(strings.TrimSpace(url), "http")
				})
				r := start(b, s, subs(market.ChannelTrades, 1))
				for r.Metrics().Frames == 0 {
					time.Sleep(time.Millisecond)
				}
				time.Sleep(100 * time.Millisecond)
				m, c, rings := r.Metrics(), cpu(), d.rings.Load()
				begin := time.Now()
				for b.Loop() {
					time.Sleep(time.Second)
				}
				n, used, took := r.Metrics(), cpu()-c, time.Since(begin)
				frames := float64(n.Frames - m.Frames)
				b.ReportMetric(float64(used.Nanoseconds())/1e3/frames, "µs-cpu/msg")
				b.ReportMetric(frames/took.Seconds(), "msg/s")
				b.ReportMetric(float64(d.rings.Load()-rings)/took.Seconds(), "rings/s")
				b.ReportMetric(float64(n.Gathers-m.Gathers)/took.Seconds(), "gathers/s")
			})
		}
	}
}
