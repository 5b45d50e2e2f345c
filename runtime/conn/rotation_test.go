package conn

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

var rotations = flag.Int("rotations", 1000, "connections replaced for their age in TestRotationsMissNothing")

// hub sends numbered messages to whoever has subscribed: "SYM0 17" after
// "SYM0 16", on every connection that carries SYM0.
type hub struct {
	mu    sync.Mutex
	n     int
	subs  map[*websocket.Conn]string
	order []*websocket.Conn // as they subscribed
}

func (h *hub) serve(_ int, ws *websocket.Conn, _ *http.Request) {
	defer func() {
		h.mu.Lock()
		delete(h.subs, ws)
		h.mu.Unlock()
	}()
	for {
		_, b, err := ws.ReadMessage()
		if err != nil {
			return
		}
		var r request
		if json.Unmarshal(b, &r) == nil && r.Op == "subscribe" {
			h.mu.Lock()
			h.subs[ws] = r.Args[0]
			h.order = append(h.order, ws)
			h.mu.Unlock()
		}
	}
}

// send makes the next n messages.
func (h *hub) send(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for range n {
		h.n++
		for ws, sub := range h.subs {
			if ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, "%s %d", sub, h.n)) != nil {
				delete(h.subs, ws)
			}
		}
	}
}

// union is a journal that remembers which numbers it has of each subscription.
type union struct {
	mu     sync.Mutex
	have   map[string][]uint8 // how often each
	opens  int
	bad    string
	rotate atomic.Int64 // connections closed because they were replaced for their age
}

func (u *union) Append(k source.InputKind, _ uint32, _, _ int64, p, _ []byte) (uint64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch k {
	case source.InputClose:
		if strings.HasPrefix(string(p), "replaced: age limit") {
			u.rotate.Add(1)
		} else if string(p) != "drained" {
			u.bad = string(p)
		}
	case source.InputText:
		sub, num, _ := strings.Cut(string(p), " ")
		n, err := strconv.Atoi(num)
		if err != nil {
			u.bad = string(p)
			return 0, nil
		}
		h := u.have[sub]
		for len(h) <= n {
			h = append(h, 0)
		}
		h[n]++
		u.have[sub] = h
	}
	return 0, nil
}

func (u *union) Ring() {}

// TestRotationsMissNothing replaces connections for their age again and again
// while messages flow: together the old ones and the new ones have each message.
func TestRotationsMissNothing(t *testing.T) {
	const slots = 4
	h := &hub{subs: map[*websocket.Conn]string{}}
	v := newVenue(t)
	v.ws = h.serve
	u := &union{have: map[string][]uint8{}}
	s := settings(v, func(s *Settings) {
		s.Frames, s.Overlap = u, time.Second
		endpoint(s, func(e *source.Endpoint) { e.MaxAge, e.MaxSubscriptions = 40*time.Millisecond, 1 })
	})
	r := start(t, s, subs(market.ChannelTrades, slots))
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(4 * patience)
	for u.rotate.Load() < int64(*rotations) {
		select {
		case <-tick.C:
			h.send(2)
		case <-deadline:
			t.Fatalf("%d rotations, want %d", u.rotate.Load(), *rotations)
		}
	}
	r.stop()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.bad != "" {
		t.Errorf("unexpected: %s", u.bad)
	}
	if len(u.have) != slots {
		t.Errorf("%d subscriptions were received", len(u.have))
	}
	messages, twice := 0, 0
	for sub, have := range u.have {
		begun := false
		for n, times := range have {
			begun = begun || times > 0
			switch {
			case begun && times == 0:
				t.Errorf("%s: message %d of %d is on no connection", sub, n, len(have))
			case times > 1:
				twice++
			}
			messages += int(times)
		}
	}
	if twice == 0 {
		t.Error("old and new connections did not overlap")
	}
	m := r.Metrics()
	t.Logf("%d rotations, %d messages, %d numbers on two connections, %d opens", u.rotate.Load(), messages, twice, m.Opens)
	if m.Replacements < uint64(*rotations) || m.Closes != m.Opens {
		t.Errorf("%+v", m)
	}
}
