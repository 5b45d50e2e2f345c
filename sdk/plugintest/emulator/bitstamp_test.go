package emulator

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism/sdk/market"
)

type bitstampBook struct {
	Microtimestamp string
	Bids, Asks     [][2]string
}

func (b *bitstampBook) update(t *testing.T) update {
	t.Helper()
	micros, err := strconv.ParseInt(b.Microtimestamp, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return update{U: micros, B: b.Bids, A: b.Asks}
}

// TestBitstampSplice begins a book as the venue's page says: changes at or before
// the requested book's time are in it. It is compared with the true one.
func TestBitstampSplice(t *testing.T) {
	for _, m := range []market.Market{market.MarketSpot, market.MarketLinear} {
		e := start(t, Options{Venue: "bitstamp", Market: m, Rate: 3000, Mix: Mix{0, 1}, Depth: 100})
		symbol := e.Symbols()[0]
		c := dial(t, e, "/")
		c.send(`{"event":"bts:subscribe","data":{"channel":"diff_order_book_` + symbol + `"}}`)
		if b := string(c.next()); b != `{"channel":"diff_order_book_`+symbol+`","data":{},"event":"bts:subscription_succeeded"}` {
			t.Fatal(b)
		}
		from := int64(0)
		keepsBook(t, e, c, symbol, 1500, func(n int, frame []byte) (update, bool) {
			var f struct {
				Channel string
				Data    bitstampBook
			}
			if err := json.Unmarshal(frame, &f); err != nil || f.Channel != "diff_order_book_"+symbol {
				t.Fatalf("%.200s: %v", frame, err)
			}
			u := f.Data.update(t)
			if n > 0 {
				return u, u.U > from
			}
			var book bitstampBook
			status, body, _ := get(t, e.HTTPURL()+"/api/v2/order_book/"+symbol+"/?group=1")
			if status != 200 || json.Unmarshal(body, &book) != nil {
				t.Fatalf("%d %.200s", status, body)
			}
			whole := book.update(t)
			if from = whole.U; from < u.U {
				t.Fatalf("the book of %d was requested after a change of %d", from, u.U)
			}
			return whole, true
		})
	}
}

// TestBitstampRefuses: what the venue says to requests that it can't take, and
// that it says nothing of symbols that it doesn't have.
func TestBitstampRefuses(t *testing.T) {
	e := start(t, Options{Venue: "bitstamp", Rate: 100})
	c := dial(t, e, "/")
	c.answers(map[string]string{
		`{`:                         "Incorrect JSON format.",
		`{"event":"bts:ping"}`:      "Bad subscription string.",
		`{"event":"bts:subscribe"}`: "Bad subscription string.",
		`{"event":"bts:subscribe","data":{"channel":"live_trades_BTCUSD"}}`:   "Invalid channel provided.",
		`{"event":"bts:subscribe","data":{"channel":"live_trades_btc/usd"}}`:  "Invalid channel provided.",
		`{"event":"bts:subscribe","data":{"channel":"announcements_btcusd"}}`: "Invalid channel provided.",
	}, `"event":"bts:error"`)
	c.answers(map[string]string{`{"event":"bts:subscribe","data":{"channel":"live_trades_xyzusd"}}`: "bts:subscription_succeeded"})
	c.send(`{"event":"bts:heartbeat","data":"` + strings.Repeat("x", 512) + `"}`)
	if _, _, err := c.ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
		t.Errorf("a frame of more than 512 bytes ends with %v", err)
	}
	for path, want := range map[string]int{"order_book/xyzusd/": 404, "ticker/xyzusd/": 200, "ohlc/btcusd/?step=61&limit=1": 400, "eur_usd/": 404} {
		if status, body, _ := get(t, e.HTTPURL()+"/api/v2/"+path); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

// TestBitstampPlayback plays a recording: requests are acknowledged, then the
// recorded frames come, in order and whole.
func TestBitstampPlayback(t *testing.T) {
	e, _ := playsBack(t, "bitstamp", "bitstamp-spot-20210417-cfg2", "/", `{"event":"bts:subscribe","data":{"channel":"live_trades_btcusd"}}`, "bts:subscription_succeeded")
	if _, body, _ := get(t, e.HTTPURL()+"/api/v2/order_book/btcusd/?group=1"); !strings.Contains(string(body), `"1618677695378609"`) {
		t.Errorf("%.100s", body)
	}
}
