package emulator

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

type bitmexTable struct {
	Table, Action string
	Filter        struct{ Symbol string }
	Data          []struct {
		Symbol, Side string
		ID           int64
		Size, Price  json.Number
		TrdMatchID   string
		Timestamp    time.Time
	}
}

// TestBitmexBook keeps a book as the venue's page says, its rows by id, and
// compares it with the true one: what is inserted is new, what is updated or
// deleted is there, and stands at the price that it had.
func TestBitmexBook(t *testing.T) {
	e := start(t, Options{Venue: "bitmex", Market: market.MarketInverse, Rate: 2000, Mix: Mix{0, 1}, Depth: 100})
	c := dial(t, e, "/realtime")
	c.until("Welcome to the BitMEX Realtime API.")
	c.send("ping")
	if b := c.next(); string(b) != "pong" {
		t.Fatalf("%s", b)
	}
	c.send(`{"op":"subscribe","args":["orderBookL2:XBTUSD"]}`)
	if b := string(c.next()); b != `{"pool":"Primary","request":{"op":"subscribe","args":["orderBookL2:XBTUSD"]},"subscribe":"orderBookL2:XBTUSD","success":true}` {
		t.Fatal(b)
	}
	prices := map[int64]string{}
	keepsBook(t, e, c, "XBTUSD", 3000, func(n int, frame []byte) (u update, ok bool) {
		var f bitmexTable
		if err := json.Unmarshal(frame, &f); err != nil {
			t.Fatal(err)
		}
		if f.Action == "partial" != (n == 0) || n == 0 && f.Filter.Symbol != "XBTUSD" || f.Table != "orderBookL2" {
			t.Fatalf("frame %d: %s of %s", n, f.Action, f.Table)
		}
		for _, r := range f.Data {
			known, there := prices[r.ID]
			if there != (f.Action == "update" || f.Action == "delete") || there && known != r.Price.String() {
				t.Fatalf("frame %d: %s of %d at %s, which was at %q", n, f.Action, r.ID, r.Price, known)
			}
			size := r.Size.String()
			if prices[r.ID] = r.Price.String(); f.Action == "delete" {
				delete(prices, r.ID)
				size = "0"
			}
			if l := [2]string{r.Price.String(), size}; r.Side == "Buy" {
				u.B = append(u.B, l)
			} else {
				u.A = append(u.A, l)
			}
		}
		return u, true
	})
}

// TestBitmexRefuses: a request is refused as a whole, with what it was.
func TestBitmexRefuses(t *testing.T) {
	e := start(t, Options{Venue: "bitmex", Rate: 100})
	c := dial(t, e, "/realtime")
	c.until("Welcome")
	c.answers(map[string]string{
		`{"op":"subscribe","args":["trade:XBT_USDT","trade:NOPE"]}`: `"error":"Unknown or expired symbol: NOPE.`,
		`{"op":"subscribe","args":"trades:XBT_USDT"}`:               `"request":{"op":"subscribe","args":"trades:XBT_USDT"}`,
		`{"op":"subscribe","args":["liquidation:XBT_USDT"]}`:        `"error":"Unknown table: liquidation"`,
		`{"op":"unsubscribe","args":["trade:XBT_USDT"]}`:            `"error":"You are not subscribed to this topic: trade:XBT_USDT"`,
		`{"op":"dance","args":[]}`:                                  `"error":"Please send a valid request."`,
		`nonsense`:                                                  `"error":"Please send a valid request."`,
	}, `"status":400`)
	c.send(`{"op":"subscribe","args":"instrument:XBT_USDT"}`)
	c.until(`"subscribe":"instrument:XBT_USDT"`)
	c.until(`"action":"partial"`)
	c.send(`{"op":"subscribe","args":["instrument:XBT_USDT"]}`)
	c.until(`"error":"You are already subscribed to this topic: instrument:XBT_USDT"`)
}

// TestBitmexHistory: a subscription of trades begins with the last one, and a
// request gives the first ones of a span.
func TestBitmexHistory(t *testing.T) {
	e := start(t, Options{Venue: "bitmex", Rate: 2000, Mix: Mix{1, 0}})
	c := dial(t, e, "/realtime")
	c.send(`{"op":"subscribe","args":["trade:XBT_USDT"]}`)
	var last bitmexTable
	for range 200 {
		last = bitmexTable{}
		if err := json.Unmarshal(c.until(`"action":"insert"`), &last); err != nil {
			t.Fatal(err)
		}
	}
	e.Pause()
	d := dial(t, e, "/realtime")
	d.send(`{"op":"subscribe","args":["trade:XBT_USDT"]}`)
	if b := string(d.until(`"action":"partial"`)); !strings.Contains(b, `"trdMatchID":"00000000-006d-1000-0000-`) || strings.Count(b, "trdMatchID") != 1 {
		t.Errorf("%s", b)
	}
	span := url.Values{"symbol": {"XBT_USDT"}, "count": {"50"}, "startTime": {bitmexTime(0)}, "endTime": {bitmexTime(last.Data[0].Timestamp.UnixNano())}}
	_, body, head := get(t, e.HTTPURL()+"/api/v1/trade?"+span.Encode())
	var rows []struct{ Timestamp time.Time }
	if err := json.Unmarshal(body, &rows); err != nil || len(rows) != 50 || rows[49].Timestamp.Before(rows[0].Timestamp) || head.Get("X-Ratelimit-Remaining") != "29" {
		t.Errorf("%d trades, %v, %v", len(rows), err, head)
	}
	if code, body, _ := get(t, e.HTTPURL()+"/api/v1/trade?symbol=NOPE"); code != 400 || !strings.Contains(string(body), `{"error":{"message":`) {
		t.Errorf("%d %s", code, body)
	}
}

// TestBitmexRateLimit: thirty requests a minute are answered.
func TestBitmexRateLimit(t *testing.T) {
	e := start(t, Options{Venue: "bitmex", Rate: 1, Limits: true})
	codes := map[int]int{}
	for range 70 { // of two minutes, should one end here
		code, _, _ := get(t, e.HTTPURL()+"/api/v1/instrument/active")
		codes[code]++
	}
	if codes[200] < 30 || codes[200] > 60 || codes[429] != 70-codes[200] {
		t.Errorf("%v", codes)
	}
}

// TestBitmexPlayback plays a recording whose books have rows without prices.
func TestBitmexPlayback(t *testing.T) {
	e, _ := playsBack(t, "bitmex", "bitmex-mixed-20210417-cfg2", "/realtime", `{"op":"subscribe","args":["orderBookL2:LTCUSD"]}`, `"subscribe":"orderBookL2:LTCUSD"`)
	if code, body, _ := get(t, e.HTTPURL()+"/api/v1/instrument/active"); code != 200 || !strings.HasPrefix(string(body), `[{"symbol":"LINKUSDTM21"`) {
		t.Errorf("%d %s", code, fmt.Sprintf("%.100s", body))
	}
}
