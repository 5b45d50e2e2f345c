package emulator

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism/sdk/market"
)

// TestGateBookV2 keeps a book as the venue's page says and compares it with the
// true one; a requested book fits into its numbers.
func TestGateBookV2(t *testing.T) {
	e := start(t, Options{Venue: "gateio", Market: market.MarketLinear, Rate: 5000, Mix: Mix{0, 1}, Depth: 100})
	ws, _, err := websocket.DefaultDialer.Dial(e.URL()+"/v4/ws/usdt", http.Header{"X-Gate-Size-Decimal": {"1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	c := &client{t, ws}
	c.send(`{"channel":"futures.ping"}`)
	if b := string(c.next()); !strings.Contains(b, `"channel":"futures.pong"`) {
		t.Fatal(b)
	}
	c.send(`{"id":7,"channel":"futures.obu","event":"subscribe","payload":["ob.BTC_USDT.400"]}`)
	if b := string(c.next()); !strings.Contains(b, `"id":7,"payload":["ob.BTC_USDT.400"],"result":{"status":"success"}`) {
		t.Fatal(b)
	}
	seq := int64(0)
	keepsBook(t, e, c, "BTC_USDT", 1500, func(n int, frame []byte) (update, bool) {
		var f struct {
			Result struct {
				Full  bool
				S     string
				First int64 `json:"U"`
				Last  int64 `json:"u"`
				B, A  [][2]string
			}
		}
		if err := json.Unmarshal(frame, &f); err != nil {
			t.Fatal(err)
		}
		r := f.Result
		if r.Full != (n == 0) || r.S != "ob.BTC_USDT.400" || n > 0 && r.First != seq+1 {
			t.Fatalf("frame %d: full %v, %d to %d after %d", n, r.Full, r.First, r.Last, seq)
		}
		seq = r.Last
		if n == 1000 {
			var b struct {
				ID   int64
				Bids []struct{ P, S json.Number }
			}
			if _, body, _ := get(t, e.HTTPURL()+"/api/v4/futures/usdt/order_book?contract=BTC_USDT&limit=100&with_id=true"); json.Unmarshal(body, &b) != nil || b.ID < seq || len(b.Bids) < 50 {
				t.Fatalf("%.200s", body)
			}
		}
		return update{U: r.Last, B: r.B, A: r.A}, true
	})
}

// TestGateSizes: who doesn't ask for decimals gets whole contracts.
func TestGateSizes(t *testing.T) {
	e := start(t, Options{Venue: "gateio", Market: market.MarketLinear, Rate: 500, Symbols: []string{"BTC-USDT-20301227"}})
	c := dial(t, e, "/v4/ws/delivery/usdt")
	c.send(`{"channel":"futures.trades","event":"subscribe","payload":["BTC_USDT_20301227"]}`)
	c.next()
	var f struct{ Result []struct{ Size json.Number } }
	if b := c.next(); json.Unmarshal(b, &f) != nil || strings.Contains(string(b), `"size":"`) || strings.Contains(f.Result[0].Size.String(), ".") {
		t.Errorf("%s", b)
	}
}

// TestGateRefuses: contracts of another endpoint, channels that a contract lacks,
// unknown names.
func TestGateRefuses(t *testing.T) {
	e := start(t, Options{Venue: "gateio", Market: market.MarketLinear, Rate: 100, Symbols: []string{"BTC-USDT-PERP", "ETH-USD1-PERP", "BTC-USDT-20301227"}})
	c := dial(t, e, "/v4/ws/usdt")
	for request, why := range map[string]string{
		`{"channel":"futures.trades","event":"subscribe","payload":["ETH_USD1"]}`:                           "unknown currency pair ETH_USD1",
		`{"channel":"futures.trades","event":"subscribe","payload":["BTC_USDT_20301227"]}`:                  "unknown currency pair",
		`{"channel":"futures.trades","event":"subscribe","payload":["BTC_USDT","XYZ_USDT"]}`:                "unknown currency pair XYZ_USDT",
		`{"channel":"spot.trades","event":"subscribe","payload":["BTC_USDT"]}`:                              "Unknown channel",
		`{"channel":"futures.candlesticks","event":"subscribe","payload":["7m","BTC_USDT"]}`:                "invalid argument",
		`{"channel":"futures.order_book_update","event":"subscribe","payload":["BTC_USDT","1000ms","100"]}`: "invalid argument",
		`{"channel":"futures.trades","event":"dance","payload":["BTC_USDT"]}`:                               "unknown event",
		`{`: "invalid argument struct",
	} {
		c.send(request)
		if b := string(c.next()); !strings.Contains(b, why) || !strings.Contains(b, `"status":"fail"`) {
			t.Errorf("%s: %s", request, b)
		}
	}
	d := dial(t, e, "/v4/ws/delivery/usdt")
	d.send(`{"channel":"futures.obu","event":"subscribe","payload":["ob.BTC_USDT_20301227.50"]}`)
	if b := string(d.next()); !strings.Contains(b, "unknown currency pair") {
		t.Error(b)
	}
	if status, body, _ := get(t, e.HTTPURL()+"/api/v4/futures/usdt/order_book?contract=XYZ_USDT"); status != 400 || !strings.Contains(string(body), `"label":"INVALID_CURRENCY_PAIR"`) {
		t.Errorf("%d %s", status, body)
	}
}

// TestGatePlayback plays a recording: requests are acknowledged, then the
// recorded frames come, in order and whole.
func TestGatePlayback(t *testing.T) {
	e, _ := playsBack(t, "gateio", "gateio-spot-20210422-cfg3", "/ws/v4/", `{"id":1,"channel":"spot.trades","event":"subscribe","payload":["DIS_USDT"]}`, `"id":1`)
	if _, body, _ := get(t, e.HTTPURL()+"/api/v4/spot/currency_pairs"); !strings.HasPrefix(string(body), `[{"id":"`) {
		t.Errorf("%.100s", body)
	}
}
