package emulator

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism/sdk/capture"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/corpus"
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
	s := sides{map[string]string{}, map[string]string{}}
	seq := int64(-1)
	for n := 0; n < 2000; n++ {
		if n == 1500 {
			e.Pause()
		}
		truth, err := e.Book("BTC_USDC-PERPETUAL", 0)
		if err != nil {
			t.Fatal(err)
		}
		if n >= 1500 && seq == truth.Seq {
			break
		}
		b := c.next()
		if n == 500 {
			c.send(subscribe)
		}
		if strings.Contains(string(b), `"result"`) {
			continue
		}
		var f deribitBook
		if err := json.Unmarshal(b, &f); err != nil {
			t.Fatal(err)
		}
		d := f.Params.Data
		if d.Type == "snapshot" != (n == 0) || n > 0 && (d.PrevChangeID == nil || *d.PrevChangeID != seq) {
			t.Fatalf("frame %d: %.300s after %d", n, b, seq)
		}
		seq = d.ChangeID
		s.apply(update{B: deribitPairs(d.Bids), A: deribitPairs(d.Asks)})
	}
	truth, err := e.Book("BTC_USDC-PERPETUAL", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(s.bids, s.asks), fmt.Sprint(pairs(truth.Bids), pairs(truth.Asks)); got != want {
		t.Errorf("%.300s\nwant %.300s", got, want)
	}
}

// TestDeribitRefuses: raw feeds without a login, wrong logins, unknown methods
// and text that is no JSON are answered with the venue's codes.
func TestDeribitRefuses(t *testing.T) {
	e := start(t, Options{Venue: "deribit", Market: market.MarketInverse, Rate: 100})
	c := dial(t, e, "/ws/api/v2")
	for request, code := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"method":"public/subscribe","params":{"channels":["trades.BTC-PERPETUAL.raw"]}}`:                                  "13778",
		`{"jsonrpc":"2.0","id":1,"method":"public/auth","params":{"grant_type":"client_signature","client_id":"x","timestamp":1,"signature":"x"}}`: "13004",
		`{"jsonrpc":"2.0","id":1,"method":"public/set_heartbeat","params":{"interval":5}}`:                                                         "-32602",
		`{"jsonrpc":"2.0","id":1,"method":"public/nope"}`:                                                                                          "-32601",
		`subscribe`: "11050",
	} {
		c.send(request)
		if b := string(c.next()); !strings.Contains(b, `"code":`+code+`,`) {
			t.Errorf("%s: %s", request, b)
		}
	}
	// What doesn't exist is left out without a word.
	for _, channel := range []string{"book.NOPE.100ms", "book.BTC-PERPETUAL.50ms", "book.BTC-PERPETUAL.none.50.100ms", "chart.trades.BTC-PERPETUAL.7", "ticker.BTC-PERPETUAL", "quote", "chart"} {
		c.send(`{"jsonrpc":"2.0","id":2,"method":"public/subscribe","params":{"channels":["` + channel + `"]}}`)
		if b := string(c.next()); !strings.Contains(b, `"result":[]`) {
			t.Errorf("%s: %s", channel, b)
		}
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
	_ = c.ws.SetReadDeadline(time.Now().Add(10 * time.Second))
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
	get := func(path string) string {
		resp, err := http.Get(e.HTTPURL() + "/api/v2/public/" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for path, want := range map[string]string{
		"get_instruments?currency=any&kind=option": `"strike":0.5`,
		"get_instruments?currency=any&kind=future": `"result":[]`,
		fmt.Sprintf("get_last_trades_by_instrument?instrument_name=%s&start_seq=%d&end_seq=%d&count=1000&sorting=asc", symbol, seq+1, seq+1): fmt.Sprintf(`"trade_seq":%d,`, seq+1),
		"get_order_book?instrument_name=" + symbol + "&depth=2":                                                                              `"bids":[[`,
		"get_order_book?instrument_name=NOPE":                                                                                                `"code":-32602`,
		"nope?instrument_name=" + symbol:                                                                                                     `"code":-32601`,
	} {
		if b := get(path); !strings.Contains(b, want) || strings.Count(b, "trade_seq") > 1 {
			t.Errorf("%s: %.300s", path, b)
		}
	}
}

// TestDeribitPlayback plays a recording: requests are acknowledged, then the
// recorded frames come, in order and whole.
func TestDeribitPlayback(t *testing.T) {
	file := corpus.Path(t, "captures", "deribit-mixed-20210417-cfg3.jsonl.zst")
	var want []string
	r, err := capture.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for ev, err := range r.All() {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind == capture.KindRecv {
			want = append(want, string(ev.Text))
		}
	}
	e := start(t, Options{Venue: "deribit", Capture: file})
	c := dial(t, e, "/ws/api/v2")
	c.send(`{"jsonrpc":"2.0","id":99,"method":"public/subscribe","params":{"channels":["book.BTC-PERPETUAL.100ms"]}}`)
	c.until(`"id":99`)
	for i, w := range want {
		if got := string(c.next()); got != w {
			t.Fatalf("frame %d: %.200s\nwant %.200s", i, got, w)
		}
	}
	resp, err := http.Get(e.HTTPURL() + "/api/v2/public/get_instruments?currency=BTC&expired=false")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.HasPrefix(string(body), `{"jsonrpc":"2.0","result":[`) {
		t.Errorf("%v %.100s", err, body)
	}
}
