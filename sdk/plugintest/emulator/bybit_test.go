package emulator

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/capture"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/corpus"
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
	s := sides{map[string]string{}, map[string]string{}}
	u := int64(0)
	for n := 0; n < 2000; n++ {
		if n == 1000 {
			e.Pause()
		}
		truth, err := e.Book("BTCUSD", 0)
		if err != nil {
			t.Fatal(err)
		}
		if n >= 1000 && u == truth.Seq {
			break
		}
		var f bybitBook
		if err := json.Unmarshal(c.next(), &f); err != nil {
			t.Fatal(err)
		}
		if f.Type == "snapshot" != (n == 0) || n > 0 && f.Data.U != u+1 {
			t.Fatalf("frame %d: %s, %d after %d", n, f.Type, f.Data.U, u)
		}
		u = f.Data.U
		s.apply(update{B: f.Data.B, A: f.Data.A})
	}
	truth, err := e.Book("BTCUSD", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(s.bids, s.asks), fmt.Sprint(pairs(truth.Bids), pairs(truth.Asks)); got != want {
		t.Errorf("%.300s\nwant %.300s", got, want)
	}
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
			c.send(request)
			if b := string(c.next()); !strings.Contains(b, want) {
				t.Errorf("%s %.100s: %s", m, request, b)
			}
		}
	}
	e := start(t, Options{Venue: "bybit", Rate: 0.001})
	c := dial(t, e, "/v5/public/spot")
	for _, want := range []string{`"success":true`, `error:already subscribed,topic:publicTrade.BTCUSDT`} {
		c.send(`{"op":"subscribe","args":["publicTrade.BTCUSDT"]}`)
		if b := string(c.next()); !strings.Contains(b, want) {
			t.Errorf("%s", b)
		}
	}
	for path, want := range map[string]string{"orderbook?category=spot&symbol=BTCUSDT&limit=3": `"retCode":0,"retExtInfo":{},"retMsg":"OK"`,
		"orderbook?category=linear&symbol=BTCUSDT": `"retCode":10001`, "tickers?category=spot&symbol=NONE": "symbol invalid", "time": "timeSecond"} {
		resp, err := http.Get(e.HTTPURL() + "/v5/market/" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if resp.Body.Close(); err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s: %.200s, %v", path, body, err)
		}
	}
}

// TestBybitPlayback plays a recording of two markets: each connection gets the
// frames of its own.
func TestBybitPlayback(t *testing.T) {
	file := corpus.Path(t, "captures", "bybit-mixed-20260809-cfv3.jsonl.zst")
	want := map[int][]string{}
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
			want[ev.Conn] = append(want[ev.Conn], string(ev.Text))
		}
	}
	e := start(t, Options{Venue: "bybit", Capture: file})
	for conn, path := range map[int]string{1: "/v5/public/linear", 2: "/v5/public/spot"} {
		c := dial(t, e, path)
		c.send(`{"req_id":"1","op":"subscribe","args":["orderbook.200.BTCUSDT"]}`)
		c.until(`"req_id":"1"`)
		for i, w := range want[conn] {
			if got := string(c.next()); got != w {
				t.Fatalf("%s: frame %d: %.200s\nwant %.200s", path, i, got, w)
			}
		}
	}
	resp, err := http.Get(e.HTTPURL() + "/v5/market/instruments-info?category=spot&status=Trading&limit=1000")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.HasPrefix(string(body), `{"retCode":0,`) {
		t.Errorf("%v %.100s", err, body)
	}
}
