package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

const tradeStream = "/stream?streams=btcusdt@trade"

func tradeOptions() Options {
	return Options{Rate: 1000, Mix: Mix{1, 0}, Symbols: []string{"BTC-USDT"}}
}

// tradeID reads a trade frame. Keys that differ in case alone must all be
// declared: encoding/json folds them.
func tradeID(b []byte) (int64, bool) {
	var f struct {
		Data struct {
			Event string `json:"e"`
			E     int64  `json:"E"`
			T     int64  `json:"T"`
			ID    int64  `json:"t"`
		}
	}
	err := json.Unmarshal(b, &f)
	return f.Data.ID, err == nil && f.Data.Event == "trade"
}

// tradeIDs reads n trade frames.
func tradeIDs(t *testing.T, c *client, n int) (ids []int64) {
	t.Helper()
	for len(ids) < n {
		if id, ok := tradeID(c.next()); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

func TestFrameFaults(t *testing.T) {
	for _, x := range []struct {
		fault Fault
		want  func(steps []int64) bool // differences of trade ids
	}{
		{Fault{Kind: FaultGap, Count: 3}, func(s []int64) bool { return count(s, 4) == 1 && count(s, 1) == len(s)-1 }},
		{Fault{Kind: FaultDuplicate, Count: 2}, func(s []int64) bool { return count(s, 0) == 2 }},
		{Fault{Kind: FaultReorder}, func(s []int64) bool { return count(s, -1) == 1 && count(s, 2) == 2 }},
	} {
		t.Run(string(x.fault.Kind), func(t *testing.T) {
			e := start(t, tradeOptions())
			c := dial(t, e, tradeStream)
			ids := tradeIDs(t, c, 5)
			x.fault.Symbol, x.fault.Channel = "BTCUSDT", "trades"
			post(t, e, "/_fault", x.fault)
			ids = append(ids, tradeIDs(t, c, 500)...)
			var steps []int64
			for i := 1; i < len(ids); i++ {
				steps = append(steps, ids[i]-ids[i-1])
			}
			if !x.want(steps) {
				t.Errorf("steps %v", steps)
			}
		})
	}
}

func count(s []int64, v int64) (n int) {
	for _, x := range s {
		if x == v {
			n++
		}
	}
	return n
}

// TestInsertedFrames checks faults that add a frame before the right one: the
// neighbours are intact.
func TestInsertedFrames(t *testing.T) {
	for kind, is := range map[FaultKind]func([]byte) bool{
		FaultMalformed:  func(b []byte) bool { return !json.Valid(b) && utf8.Valid(b) },
		FaultUTF8:       func(b []byte) bool { return !utf8.Valid(b) },
		FaultOversized:  func(b []byte) bool { return len(b) == 17<<20 },
		FaultUnannounce: func(b []byte) bool { return bytes.Contains(b, []byte("nobody@asked")) },
	} {
		t.Run(string(kind), func(t *testing.T) {
			e := start(t, tradeOptions())
			c := dial(t, e, tradeStream)
			last := tradeIDs(t, c, 1)[0]
			if err := e.Inject(Fault{Kind: kind}); err != nil {
				t.Fatal(err)
			}
			seen := false
			for n := 0; n < 300; n++ {
				b := c.next()
				if is(b) {
					seen = true
					continue
				}
				if id, ok := tradeID(b); !ok || id != last+1 {
					t.Fatalf("after trade %d: %.200s", last, b)
				}
				last++
			}
			if !seen {
				t.Error("the frame never came")
			}
		})
	}
}

func TestConnectionFaults(t *testing.T) {
	closeCode := func(c *client) int {
		for {
			if _, _, err := c.ws.ReadMessage(); err != nil {
				var ce *websocket.CloseError
				if errors.As(err, &ce) {
					return ce.Code
				}
				return websocket.CloseAbnormalClosure
			}
		}
	}
	e := start(t, tradeOptions())
	for _, x := range []struct {
		f    Fault
		code int
	}{{Fault{Kind: FaultDisconnect}, 1006}, {Fault{Kind: FaultClose, Code: 1012}, 1012}, {Fault{Kind: FaultClose}, 1001}} {
		c := dial(t, e, tradeStream)
		tradeIDs(t, c, 3)
		post(t, e, "/_fault", x.f)
		if got := closeCode(c); got != x.code {
			t.Errorf("%s %d: closed with %d", x.f.Kind, x.f.Code, got)
		}
	}

	c := dial(t, e, tradeStream)
	tradeIDs(t, c, 1) // the connection is known now
	post(t, e, "/_fault", Fault{Kind: FaultShutdown})
	c.until("serverShutdown")

	// A stall answers pings and withholds data, then goes on with a gap.
	pong := make(chan struct{}, 1)
	c.ws.SetPongHandler(func(string) error { pong <- struct{}{}; return nil })
	before := tradeIDs(t, c, 1)[0]
	post(t, e, "/_fault", map[string]any{"kind": "stall", "for": "300ms"})
	if err := c.ws.WriteControl(websocket.PingMessage, []byte("x"), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	ids := tradeIDs(t, c, 400)
	select {
	case <-pong:
	default:
		t.Error("no pong")
	}
	gap := int64(0)
	for _, id := range ids {
		gap, before = max(gap, id-before), id
	}
	if gap < 100 {
		t.Errorf("greatest step of trade ids %d", gap)
	}

	// A half-open connection gives nothing, not even a pong.
	h := dial(t, e, tradeStream)
	tradeIDs(t, h, 1)
	if err := e.Inject(Fault{Kind: FaultHalfOpen}); err != nil {
		t.Fatal(err)
	}
	_ = h.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second))
	_ = h.ws.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	for {
		if _, _, err := h.ws.ReadMessage(); err != nil {
			if !strings.Contains(err.Error(), "timeout") {
				t.Errorf("half-open: %v", err)
			}
			break
		}
	}

	// A dribble gives bytes one by one.
	d := dial(t, e, tradeStream)
	tradeIDs(t, d, 1)
	if err := e.Inject(Fault{Kind: FaultDribble, For: time.Second}); err != nil {
		t.Fatal(err)
	}
	tradeIDs(t, d, 300)
}

func TestBomb(t *testing.T) {
	o := tradeOptions()
	if _, err := New(Options{Venue: "binance", Faults: []Fault{{Kind: FaultBomb}}}); err == nil {
		t.Error("a bomb without compression was accepted")
	}
	o.Compression = true
	e := start(t, o)
	dialer := websocket.Dialer{EnableCompression: true}
	ws, _, err := dialer.Dial(e.URL()+tradeStream, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	c := &client{t, ws}
	tradeIDs(t, c, 1)
	if err := e.Inject(Fault{Kind: FaultBomb, Size: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	for {
		if b := c.next(); len(b) == 8<<20 {
			break
		}
	}
	tradeIDs(t, c, 10)
}

func TestRequestFaults(t *testing.T) {
	e := start(t, Options{Rate: 1000, Mix: Mix{0, 1}})
	depth := e.HTTPURL() + "/api/v3/depth?symbol=BTCUSDT"
	for code, retry := range map[int]string{429: "7", 418: "1", 451: "", 503: ""} {
		f := Fault{Kind: FaultStatus, Code: code}
		if code == 429 {
			f.RetryAfter = 7
		}
		post(t, e, "/_fault", f)
		status, _, head := get(t, depth)
		if status != code || head.Get("Retry-After") != retry {
			t.Errorf("%d: got %d, Retry-After %q", code, status, head.Get("Retry-After"))
		}
		if status, _, _ = get(t, depth); status != http.StatusOK {
			t.Errorf("after %d: %d", code, status)
		}
	}
	post(t, e, "/_fault", Fault{Kind: FaultStatus, Code: 451})
	if _, r, err := websocket.DefaultDialer.Dial(e.URL()+"/stream", nil); err == nil || r == nil || r.StatusCode != 451 {
		t.Errorf("upgrade under 451: %v", err)
	}

	c := dial(t, e, "/stream?streams=btcusdt@depth@100ms")
	first, _ := parseUpdate(t, c.next())
	post(t, e, "/_fault", Fault{Kind: FaultStaleSnapshot})
	var snap struct{ LastUpdateID int64 }
	_, body, _ := get(t, depth)
	if err := json.Unmarshal(body, &snap); err != nil || snap.LastUpdateID >= first.First {
		t.Errorf("stale snapshot at %d, first update from %d, %v", snap.LastUpdateID, first.First, err)
	}
	_, body, _ = get(t, depth)
	if err := json.Unmarshal(body, &snap); err != nil || snap.LastUpdateID < first.U {
		t.Errorf("snapshot after it at %d", snap.LastUpdateID)
	}

	post(t, e, "/_fault", Fault{Kind: FaultReject})
	c.send(`{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":5}`)
	c.until(`"error"`, `"id":5`)
	post(t, e, "/_fault", Fault{Kind: FaultSlowAck, For: 200 * time.Millisecond})
	c.send(`{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":6}`)
	c.until(`{"result":null,"id":6}`)

	if r, err := http.Post(e.HTTPURL()+"/_fault", "", strings.NewReader(`{"kind":"nonsense"}`)); err != nil || r.StatusCode != http.StatusBadRequest {
		t.Errorf("nonsense: %v", err)
	} else {
		r.Body.Close()
	}
	if err := e.Inject(Fault{Kind: FaultChecksum}); err == nil {
		t.Error("binance took a checksum fault")
	}
}

func TestCrossed(t *testing.T) {
	e := start(t, Options{Rate: 2000, Mix: Mix{0, 1}, Symbols: []string{"BTC-USDT"}})
	c := dial(t, e, "/stream?streams=btcusdt@depth@100ms")
	c.next()
	_, body, _ := get(t, e.HTTPURL()+"/api/v3/depth?limit=5000&symbol=BTCUSDT")
	var snap struct {
		LastUpdateID int64
		Bids, Asks   [][2]string
	}
	if err := json.Unmarshal(body, &snap); err != nil {
		t.Fatal(err)
	}
	if err := e.Inject(Fault{Kind: FaultCrossed}); err != nil {
		t.Fatal(err)
	}
	book, crossed := sides{pairs(snap.Bids), pairs(snap.Asks)}, 0
	for n, last := 0, 20_000; n < last; n++ {
		u, _ := parseUpdate(t, c.next())
		if u.U <= snap.LastUpdateID {
			continue
		}
		book.apply(u)
		bid, ask := "", "999999"
		for p := range book.bids {
			bid = max(bid, p)
		}
		for p := range book.asks {
			ask = min(ask, p)
		}
		if bid >= ask {
			crossed++
			last = n + 100 // the next one uncrosses it
		}
	}
	if crossed != 1 {
		t.Errorf("crossed after %d updates, want 1", crossed)
	}
}

func TestChecksumFault(t *testing.T) {
	e := start(t, Options{Venue: "kraken", Rate: 1000, Mix: Mix{0, 1}, Ledger: LedgerOptions{Path: filepath.Join(t.TempDir(), "ledger")}})
	c := dial(t, e, "/v2")
	c.send(`{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"]}}`)
	c.until(`"type":"snapshot"`)
	if err := e.Inject(Fault{Kind: FaultChecksum}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		c.next()
	}
	es, err := e.Ledger().Entries(0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, en := range es {
		if en.Flags&FlagFault != 0 {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d altered frames in the ledger", n)
	}
}

func TestParseFault(t *testing.T) {
	f, err := ParseFault("gap,symbol=BTCUSDT,channel=book,count=3,after=10s,for=5ms")
	if want := (Fault{Kind: FaultGap, Symbol: "BTCUSDT", Channel: "book", Count: 3, After: 10 * time.Second, For: 5 * time.Millisecond}); err != nil || f != want {
		t.Errorf("%+v, %v", f, err)
	}
	for _, bad := range []string{"gap,count", "gap,nothing=1", "gap,after=soon", "gap,count=many"} {
		if _, err := ParseFault(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
