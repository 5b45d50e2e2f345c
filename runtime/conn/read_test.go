package conn

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

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
