package emulator

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism/sdk/market"
)

type deribitBook struct {
	Params struct {
		Channel string
		Data    struct {
			Type         string
			ChangeID     int64  `json:"change_id"`
			PrevChangeID *int64 `json:"prev_change_id"`
			Bids, Asks   [][3]json.RawMessage
		}
	}
}

func deribitPairs(ls [][3]json.RawMessage) (all [][2]string) {
	for _, l := range ls {
		all = append(all, [2]string{string(l[1]), string(l[2])})
	}
	return all
}

// TestDeribitBook keeps a book as the venue's page says and compares it with the
// true one; a second subscription brings no second snapshot.
func TestDeribitBook(t *testing.T) {
	e := start(t, Options{Venue: "deribit", Market: market.MarketLinear, Rate: 5000, Mix: Mix{0, 1}, Depth: 100})
	c := dial(t, e, "/ws/api/v2")
	subscribe := `{"jsonrpc":"2.0","id":7,"method":"public/subscribe","params":{"channels":["book.NOPE.100ms","book.BTC_USDC-PERPETUAL.100ms"]}}`
	c.send(subscribe)
	if b := string(c.next()); !strings.Contains(b, `"id":7,`) || !strings.Contains(b, `"result":["book.BTC_USDC-PERPETUAL.100ms"]`) {
		t.Fatalf("acknowledgement %s", b)
	}
	seq := int64(-1)
	keepsBook(t, e, c, "BTC_USDC-PERPETUAL", 1500, func(n int, frame []byte) (update, bool) {
		if n == 500 {
			c.send(subscribe)
		}
		if strings.Contains(string(frame), `"result"`) {
			return update{}, false
		}
		var f deribitBook
		if err := json.Unmarshal(frame, &f); err != nil {
			t.Fatal(err)
		}
		d := f.Params.Data
		if d.Type == "snapshot" != (n == 0) || n > 0 && (d.PrevChangeID == nil || *d.PrevChangeID != seq) {
			t.Fatalf("frame %d: %.300s after %d", n, frame, seq)
		}
		seq = d.ChangeID
		return update{U: seq, B: deribitPairs(d.Bids), A: deribitPairs(d.Asks)}, true
	})
}

// TestDeribitRefuses: raw feeds without a login, wrong logins, unknown methods
// and text that is no JSON are answered with the venue's codes.
func TestDeribitRefuses(t *testing.T) {
	e := start(t, Options{Venue: "deribit", Market: market.MarketInverse, Rate: 100})
	c := dial(t, e, "/ws/api/v2")
	c.answers(map[string]string{
		`{"jsonrpc":"2.0","id":1,"method":"public/subscribe","params":{"channels":["trades.BTC-PERPETUAL.raw"]}}`:                                  `"code":13778,`,
		`{"jsonrpc":"2.0","id":1,"method":"public/auth","params":{"grant_type":"client_signature","client_id":"x","timestamp":1,"signature":"x"}}`: `"code":13004,`,
		`{"jsonrpc":"2.0","id":1,"method":"public/set_heartbeat","params":{"interval":5}}`:                                                         `"code":-32602,`,
		`{"jsonrpc":"2.0","id":1,"method":"public/nope"}`:                                                                                          `"code":-32601,`,
		`subscribe`: `"code":11050,`,
	})
	// What doesn't exist is left out without a word.
	for _, channel := range []string{"book.NOPE.100ms", "book.BTC-PERPETUAL.50ms", "book.BTC-PERPETUAL.none.50.100ms", "chart.trades.BTC-PERPETUAL.7", "ticker.BTC-PERPETUAL", "quote", "chart"} {
		c.answers(map[string]string{`{"jsonrpc":"2.0","id":2,"method":"public/subscribe","params":{"channels":["` + channel + `"]}}`: `"result":[]`})
	}
}

// TestDeribitCredits: an eleventh subscription at once ends the connection.
func TestDeribitCredits(t *testing.T) {
	e := start(t, Options{Venue: "deribit", Market: market.MarketInverse, Rate: 1, Limits: true})
	c := dial(t, e, "/ws/api/v2")
	for range 30 {
		c.send(`{"jsonrpc":"2.0","id":2,"method":"public/subscribe","params":{"channels":["quote.NOPE"]}}`)
	}
	n := 0
	for ; strings.Contains(string(c.next()), `"result"`); n++ {
	}
	if n < 10 || n > 20 {
		t.Errorf("%d subscriptions were taken at once", n)
	}
}

// TestDeribitHeartbeat: who answers test requests stays, who doesn't is closed.
func TestDeribitHeartbeat(t *testing.T) {
	e := start(t, Options{Venue: "deribit", Market: market.MarketInverse, Rate: 1, PingEvery: 200 * time.Millisecond, PongTimeout: time.Hour})
	c := dial(t, e, "/ws/api/v2")
	c.send(`{"jsonrpc":"2.0","id":1,"method":"public/set_heartbeat","params":{"interval":10}}`)
	c.until(`"result":"ok"`)
	for range 3 {
		c.until(`test_request`)
		c.send(`{"jsonrpc":"2.0","id":3,"method":"public/test","params":{}}`)
		c.until(`"version"`)
	}
	c.until(`test_request`)
	_ = c.ws.SetReadDeadline(time.Now().Add(patience))
	for {
		if _, _, err := c.ws.ReadMessage(); err != nil {
			if !websocket.IsCloseError(err, 4000) {
				t.Errorf("a connection that doesn't answer: %v", err)
			}
			return
		}
	}
}

// TestDeribitRequests: catalogues by kind, trades by number, a book.
func TestDeribitRequests(t *testing.T) {
	e := start(t, Options{Venue: "deribit", Market: market.MarketOption, Rate: 2000, Mix: Mix{1, 0}})
	c := dial(t, e, "/ws/api/v2")
	const symbol = "XRP_USDC-27DEC30-0d5-P"
	c.send(`{"jsonrpc":"2.0","id":1,"method":"public/subscribe","params":{"channels":["trades.` + symbol + `.100ms"]}}`)
	c.until(`"result"`)
	var f struct {
		Params struct {
			Data []struct {
				Seq int64 `json:"trade_seq"`
			}
		}
	}
	if err := json.Unmarshal(c.next(), &f); err != nil {
		t.Fatal(err)
	}
	seq := f.Params.Data[0].Seq
	for range 3 {
		c.next()
	}
	for path, want := range map[string]string{
		"get_instruments?currency=any&kind=option": `"strike":0.5`,
		"get_instruments?currency=any&kind=future": `"result":[]`,
		fmt.Sprintf("get_last_trades_by_instrument?instrument_name=%s&start_seq=%d&end_seq=%d&count=1000&sorting=asc", symbol, seq+1, seq+1): fmt.Sprintf(`"trade_seq":%d,`, seq+1),
		"get_order_book?instrument_name=" + symbol + "&depth=2":                                                                              `"bids":[[`,
		"get_order_book?instrument_name=NOPE":                                                                                                `"code":-32602`,
		"nope?instrument_name=" + symbol:                                                                                                     `"code":-32601`,
	} {
		if _, b, _ := get(t, e.HTTPURL()+"/api/v2/public/"+path); !strings.Contains(string(b), want) || strings.Count(string(b), "trade_seq") > 1 {
			t.Errorf("%s: %.300s", path, b)
		}
	}
}

// TestDeribitPlayback plays a recording: requests are acknowledged, then the
// recorded frames come, in order and whole.
func TestDeribitPlayback(t *testing.T) {
	e, _ := playsBack(t, "deribit", "deribit-mixed-20210417-cfg3", "/ws/api/v2",
		`{"jsonrpc":"2.0","id":99,"method":"public/subscribe","params":{"channels":["book.BTC-PERPETUAL.100ms"]}}`, `"id":99`)
	if _, body, _ := get(t, e.HTTPURL()+"/api/v2/public/get_instruments?currency=BTC&expired=false"); !strings.HasPrefix(string(body), `{"jsonrpc":"2.0","result":[`) {
		t.Errorf("%.100s", body)
	}
}
