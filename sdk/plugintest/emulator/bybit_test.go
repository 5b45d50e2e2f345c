package emulator

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
)

type bybitBook struct {
	Topic, Type string
	Data        struct {
		B, A [][2]string
		U    int64
	}
}

// TestBybitBook keeps a book as the venue's page says and compares it with the
// true one.
func TestBybitBook(t *testing.T) {
	e := start(t, Options{Venue: "bybit", Market: market.MarketInverse, Rate: 5000, Mix: Mix{0, 1}, Depth: 100})
	c := dial(t, e, "/v5/public/inverse")
	c.send(`{"op":"ping"}`)
	if b := c.next(); string(b) != `{"conn_id":"00000001","op":"ping","req_id":"","ret_msg":"pong","success":true}` {
		t.Fatalf("%s", b)
	}
	c.send(`{"req_id":"7","op":"subscribe","args":["orderbook.50.BTCUSD"]}`)
	if b := c.next(); string(b) != `{"conn_id":"00000001","op":"subscribe","req_id":"7","ret_msg":"","success":true}` {
		t.Fatalf("acknowledgement %s", b)
	}
	u := int64(0)
	keepsBook(t, e, c, "BTCUSD", 1000, func(n int, frame []byte) (update, bool) {
		var f bybitBook
		if err := json.Unmarshal(frame, &f); err != nil {
			t.Fatal(err)
		}
		if f.Type == "snapshot" != (n == 0) || n > 0 && f.Data.U != u+1 {
			t.Fatalf("frame %d: %s, %d after %d", n, f.Type, f.Data.U, u)
		}
		u = f.Data.U
		return update{U: u, B: f.Data.B, A: f.Data.A}, true
	})
}

// TestBybitLevelOne: the book of one level comes again, under its number, when
// nothing has happened for three seconds.
func TestBybitLevelOne(t *testing.T) {
	t.Parallel()
	e := start(t, Options{Venue: "bybit", Rate: 0.001})
	c := dial(t, e, "/v5/public/spot")
	c.send(`{"op":"subscribe","args":["orderbook.1.BTCUSDT"]}`)
	c.next()
	var f [2]bybitBook
	for i := range f {
		if err := json.Unmarshal(c.next(), &f[i]); err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(f[0]) != fmt.Sprint(f[1]) || f[0].Type != "snapshot" || len(f[0].Data.B) != 1 || f[0].Data.U == 0 {
		t.Errorf("%v, then %v", f[0], f[1])
	}
}

// TestBybitRefuses: a request is refused as a whole where one of its topics is
// wrong, and answered in the market's form.
func TestBybitRefuses(t *testing.T) {
	long := `"` + strings.Repeat(`kline.1.BTCUSDT","`, 1400) + `kline.1.BTCUSDT"`
	eleven := `"tickers.BTCUSDT"` + strings.Repeat(`,"kline.1.BTCUSDT"`, 10)
	for m, requests := range map[market.Market]map[string]string{
		market.MarketSpot: {
			`{"op":"subscribe","args":["tickers.BTCUSDT","tickers.NONE"]}`: `"ret_msg":"error:handler not found,topic:tickers.NONE","success":false`,
			`{"op":"subscribe","args":["allLiquidation.BTCUSDT"]}`:         `error:handler not found`,
			`{"op":"subscribe","args":["orderbook.25.BTCUSDT"]}`:           `error:handler not found`,
			`{"op":"subscribe","args":[` + eleven + `]}`:                   `error:args size \u003e10`,
			`{"op":"dance"}`: `"success":false`,
		},
		market.MarketLinear: {`{"op":"subscribe","args":[` + long + `]}`: `error:args length over limit`},
		market.MarketOption: {
			`{"op":"subscribe","args":["kline.1.BTC-27DEC30-100000-C-USDT"]}`: `"data":{"failTopics":["kline.1.BTC-27DEC30-100000-C-USDT"],"successTopics":[]}`,
			`{"op":"subscribe","args":["publicTrade.BTC"]}`:                   `"data":{"failTopics":[],"successTopics":["publicTrade.BTC"]},"success":true,"type":"COMMAND_RESP"`,
			`{"op":"ping"}`: `"op":"pong"`,
		},
	} {
		for request, want := range requests {
			e := start(t, Options{Venue: "bybit", Market: m, Rate: 0.001})
			c := dial(t, e, "/v5/public/"+m.String())
			c.answers(map[string]string{request: want})
		}
	}
	e := start(t, Options{Venue: "bybit", Rate: 0.001})
	c := dial(t, e, "/v5/public/spot")
	for _, want := range []string{`"success":true`, `error:already subscribed,topic:publicTrade.BTCUSDT`} {
		c.answers(map[string]string{`{"op":"subscribe","args":["publicTrade.BTCUSDT"]}`: want})
	}
	for path, want := range map[string]string{"orderbook?category=spot&symbol=BTCUSDT&limit=3": `"retCode":0,"retExtInfo":{},"retMsg":"OK"`,
		"orderbook?category=linear&symbol=BTCUSDT": `"retCode":10001`, "tickers?category=spot&symbol=NONE": "symbol invalid", "time": "timeSecond"} {
		if _, body, _ := get(t, e.HTTPURL()+"/v5/market/"+path); !strings.Contains(string(body), want) {
			t.Errorf("%s: %.200s", path, body)
		}
	}
}

// TestBybitPlayback plays a recording of two markets: each connection gets the
// frames of its own.
func TestBybitPlayback(t *testing.T) {
	p := play(t, "bybit", "bybit-mixed-20260809-cfv3")
	for conn, path := range map[int]string{1: "/v5/public/linear", 2: "/v5/public/spot"} {
		c := dial(t, p.Emulator, path)
		c.send(`{"req_id":"1","op":"subscribe","args":["orderbook.200.BTCUSDT"]}`)
		c.until(`"req_id":"1"`)
		c.receives(p.frames[conn])
	}
	if _, body, _ := get(t, p.HTTPURL()+"/v5/market/instruments-info?category=spot&status=Trading&limit=1000"); !strings.HasPrefix(string(body), `{"retCode":0,`) {
		t.Errorf("%.100s", body)
	}
}
