package emulator

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestLedgerIsWhatIsRead compares the ledger's file with everything that two
// clients read, the market paused at the end.
func TestLedgerIsWhatIsRead(t *testing.T) {
	for _, rate := range []float64{0, 5000} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ledger")
			e := start(t, Options{Rate: rate, Ledger: LedgerOptions{Path: path}})
			got := make(chan []Journalled, 2)
			clients := []*client{}
			for range 2 {
				clients = append(clients, dial(t, e, "/stream?streams=btcusdt@trade/btcusdt@depth@100ms"))
			}
			for i, c := range clients {
				_ = c.ws.SetReadDeadline(time.Now().Add(patience))
				go func() {
					var js []Journalled
					for {
						_, b, err := c.ws.ReadMessage()
						if err != nil {
							break
						}
						js = append(js, Journalled{Conn: uint64(10 - i), Recv: time.Now().UnixNano(), Hash: Hash(b)})
						if strings.HasPrefix(string(b), `{"result":[`) {
							break
						}
					}
					got <- js
				}()
			}
			for e.Stats().Frames < 10_000 {
				time.Sleep(time.Millisecond)
			}
			post(t, e, "/_pause", nil)
			for _, c := range clients {
				c.send(`{"method":"LIST_SUBSCRIPTIONS","id":1}`)
			}
			js := append(<-got, <-got...)
			es, err := ReadLedger(path)
			if err != nil {
				t.Fatal(err)
			}
			r := Account(es, js, nil, 0)
			if !r.OK() || r.Conns != 2 || r.Journalled != r.Sent {
				t.Fatalf("%s", r)
			}
			if int64(r.Sent) != e.Stats().Frames {
				t.Errorf("%d in the ledger, %d counted", r.Sent, e.Stats().Frames)
			}
		})
	}
}

func entry(conn uint32, i int, at int64, hash uint64) Entry {
	return Entry{Time: at, Hash: hash, Conn: conn, Index: uint32(i), Kind: EntryFrame}
}

func TestAccount(t *testing.T) {
	const beat = 99 // the hash of a heartbeat: the same frame again and again
	var led []Entry
	for i := range 10 {
		led = append(led, entry(1, 2*i, int64(1000+10*i), uint64(100+i)), entry(1, 2*i+1, int64(1001+10*i), beat))
		led = append(led, entry(2, 2*i, int64(1002+10*i), uint64(200+i)), entry(2, 2*i+1, int64(1003+10*i), beat))
	}
	led = append(led, Entry{Kind: EntryFrame, Flags: FlagWithheld, Conn: 1, Hash: 7, Time: 1050}, Entry{Kind: EntryOpen, Conn: 1})
	all := func() (js []Journalled) {
		for _, e := range led[:40] {
			js = append(js, Journalled{Conn: uint64(e.Conn + 50), Recv: e.Time + 500, Hash: e.Hash})
		}
		return js
	}
	without := func(js []Journalled, drop func(i int, j Journalled) bool) (out []Journalled) {
		for i, j := range js {
			if !drop(i, j) {
				out = append(out, j)
			}
		}
		return out
	}
	for _, x := range []struct {
		name string
		js   []Journalled
		gaps []Gap
		want string
	}{
		{"whole", all(), nil, "journalled 40, inside gaps 0, unexplained 0, duplicates 0, foreign 0, reordered 0"},
		{"one lost", without(all(), func(i int, _ Journalled) bool { return i == 20 }), nil, "journalled 39, inside gaps 0, unexplained 1, duplicates 0, foreign 0, reordered 0; first unexplained: connection 1 frame 10"},
		{"a heartbeat lost", without(all(), func(i int, _ Journalled) bool { return i == 21 }), nil, "journalled 39, inside gaps 0, unexplained 1, duplicates 0, foreign 0, reordered 0"},
		{"lost inside a gap", without(all(), func(i int, _ Journalled) bool { return i == 20 }), []Gap{{1500, 1600}}, "journalled 39, inside gaps 1, unexplained 0"},
		{"lost beside a gap", without(all(), func(i int, _ Journalled) bool { return i == 20 }), []Gap{{2000, 2100}}, "inside gaps 0, unexplained 1"},
		// The tail was sent at 1050 to 1093, before the last frame was read at 1541.
		{"tail in flight", without(all(), func(_ int, j Journalled) bool { return j.Conn == 51 && j.Recv > 1545 }), []Gap{{1541, 9000}}, "journalled 30, inside gaps 10, unexplained 0"},
		{"tail without a gap", without(all(), func(_ int, j Journalled) bool { return j.Conn == 51 && j.Recv > 1545 }), nil, "journalled 30, inside gaps 0, unexplained 10"},
		{"twice", append(all(), Journalled{51, 3000, 105}), nil, "journalled 40, inside gaps 0, unexplained 0, duplicates 1"},
		{"never sent", append(all(), Journalled{51, 3000, 12345}), nil, "foreign 1"},
		{"withheld and yet there", append(all(), Journalled{51, 3000, 7}), nil, "foreign 1"},
		{"wrong order", func() []Journalled { js := all(); js[0], js[4] = js[4], js[0]; return js }(), nil, "journalled 40, inside gaps 0, unexplained 0, duplicates 0, foreign 0, reordered 1"},
	} {
		r := Account(led, x.js, x.gaps, 0)
		if !strings.Contains(r.String(), x.want) || r.Sent != 40 || r.Conns != 2 {
			t.Errorf("%s: %s", x.name, r)
		}
	}
}

func TestLedgerIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l, err := newLedger(LedgerOptions{Path: path, MaxBytes: ledgerChunk})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range ledgerChunk/entrySize + 3 {
		l.add(entry(1, i, int64(i), uint64(i)))
	}
	if _, err := l.Entries(0); err == nil || !strings.Contains(err.Error(), "3 entries did not fit") {
		t.Errorf("full ledger: %v", err)
	}
	if _, err := ReadLedger(path); err == nil || !strings.Contains(err.Error(), "3 entries did not fit") {
		t.Errorf("full ledger file: %v", err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() > ledgerChunk+ledgerHead {
		t.Errorf("the file has %d bytes", st.Size())
	}
	if err := os.WriteFile(path+"x", []byte("no ledger at all, and long enough"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadLedger(path + "x"); err == nil {
		t.Error("nonsense was read")
	}
}

// TestSlowReader stops reading: the connection is closed, the other one goes on.
func TestSlowReader(t *testing.T) {
	e := start(t, Options{Rate: 20_000, Levels: 100, Mix: Mix{0, 1}, SlowLimit: 1 << 20})
	slow := dial(t, e, "/stream?streams=btcusdt@depth@100ms/ethusdt@depth@100ms")
	slow.next()
	quick := dial(t, e, "/stream?streams=btcusdt@depth@100ms/ethusdt@depth@100ms")
	for e.Stats().Slow == 0 {
		quick.next()
	}
	quick.next()
}

func TestPings(t *testing.T) {
	e := start(t, Options{Rate: 100, PingEvery: 20 * time.Millisecond, PongTimeout: time.Hour})
	c := dial(t, e, tradeStream)
	for e.Stats().Pongs < 5 {
		c.next()
	}
	e = start(t, Options{Rate: 100, PingEvery: 20 * time.Millisecond, PongTimeout: 300 * time.Millisecond})
	c = dial(t, e, tradeStream)
	c.ws.SetPingHandler(func(string) error { return nil }) // answers none
	for {
		_ = c.ws.SetReadDeadline(time.Now().Add(patience))
		if _, _, err := c.ws.ReadMessage(); err != nil {
			if strings.Contains(err.Error(), "timeout") {
				t.Error("not closed without pongs")
			}
			return
		}
	}
}

func TestLimits(t *testing.T) {
	e := start(t, Options{Rate: 10, Limits: true})
	c := dial(t, e, "/stream")
	for i := range 8 {
		_ = c.ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"method":"LIST_SUBSCRIPTIONS","id":%d}`, i))
	}
	for {
		_ = c.ws.SetReadDeadline(time.Now().Add(patience))
		if _, _, err := c.ws.ReadMessage(); err != nil {
			if !websocket.IsCloseError(err, websocket.ClosePolicyViolation) {
				t.Errorf("closed with %v", err)
			}
			break
		}
	}
	for i := 0; ; i++ {
		status, _, head := get(t, e.HTTPURL()+"/api/v3/depth?symbol=BTCUSDT&limit=5000")
		if status == 429 {
			if head.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
			break
		}
		if i > 30 {
			t.Fatal("no limit of weight")
		}
	}
}

// TestPlayback plays a recorded connection and its HTTP answers.
func TestPlayback(t *testing.T) {
	p := play(t, "binance", "binance-spot-20211012-cfg5")
	for conn, url := range p.urls {
		dial(t, p.Emulator, url[strings.Index(url, "/stream"):]).receives(p.frames[conn])
	}
	if status, body, _ := get(t, p.HTTPURL()+"/api/v3/exchangeInfo"); len(p.urls) != 1 || status != 200 || !strings.Contains(string(body), `"symbols"`) {
		t.Errorf("%d connections, exchangeInfo: %d", len(p.urls), status)
	}
	live := dial(t, p.Emulator, "/stream")
	live.send(`{"method":"SUBSCRIBE","params":["x@trade"],"id":1}`)
	if got := string(live.next()); got != `{"result":null,"id":1}` {
		t.Errorf("acknowledgement %s", got)
	}
	for _, frames := range p.frames {
		live.receives(frames[:1])
	}
}

// TestRate counts frames against the emulator's own clock: the market's events
// in the ledger are evenly spaced on average.
func TestRate(t *testing.T) {
	e := start(t, Options{Rate: 2000})
	c := dial(t, e, "/stream?streams=btcusdt@trade/btcusdt@depth@100ms/ethusdt@trade/ethusdt@depth@100ms")
	for range 2001 {
		c.next()
	}
	es, err := e.Ledger().Entries(0)
	if err != nil {
		t.Fatal(err)
	}
	var times []int64
	for _, en := range es {
		if en.Kind == EntryFrame {
			times = append(times, en.Time)
		}
	}
	if span := time.Duration(times[2000] - times[0]); e.Stats().Behind == 0 && (span < 900*time.Millisecond || span > 1200*time.Millisecond) {
		t.Errorf("2,000 events at 2,000/s took %v", span)
	}
}

// TestScheduleAndAge lets a scheduled fault and the greatest age end connections.
func TestScheduleAndAge(t *testing.T) {
	e := start(t, Options{Rate: 500, MaxAge: 300 * time.Millisecond, Faults: []Fault{{Kind: FaultGap, Channel: "trades", After: 50 * time.Millisecond}}})
	c := dial(t, e, tradeStream)
	for {
		_ = c.ws.SetReadDeadline(time.Now().Add(patience))
		if _, _, err := c.ws.ReadMessage(); err != nil {
			if !websocket.IsCloseError(err, 1001) {
				t.Errorf("closed with %v", err)
			}
			break
		}
	}
	es, err := e.Ledger().Entries(0)
	if err != nil {
		t.Fatal(err)
	}
	withheld := 0
	for _, en := range es {
		if en.Flags&FlagWithheld != 0 {
			withheld++
			if en.Channel != ChannelTrades || en.Symbol != 1 || en.Seq == 0 {
				t.Errorf("withheld %+v", en)
			}
		}
	}
	if withheld != 1 {
		t.Errorf("%d frames withheld", withheld)
	}
}
