package emulator

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
)

type hyperliquidBook struct {
	Channel string
	Data    struct {
		Coin   string
		Time   int64
		Fast   bool
		Levels [2][]struct{ Px, Sz string }
	}
}

// side is a side as the true book has it.
func (b *hyperliquidBook) side(i int) (all [][2]string) {
	for _, l := range b.Data.Levels[i] {
		all = append(all, [2]string{l.Px, l.Sz})
	}
	return all
}

// TestHyperliquidBook: each frame is the whole book, of as many levels as were
// asked for; the last one is the true book's.
func TestHyperliquidBook(t *testing.T) {
	for fast, depth := range map[string]int{"": 20, `,"fast":true`: 5} {
		e := start(t, Options{Venue: "hyperliquid", Market: market.MarketLinear, Rate: 2000, Mix: Mix{0, 1}, Depth: 100})
		c := dial(t, e, "/ws")
		c.send(`{"method":"subscribe","subscription":{"type":"l2Book","coin":"ETH"` + fast + `}}`)
		if b, want := string(c.next()), `{"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":{"type":"l2Book","coin":"ETH","nSigFigs":null,"mantissa":null,"fast":`; !strings.HasPrefix(b, want) {
			t.Fatalf("acknowledgement %s", b)
		}
		read := func() (f hyperliquidBook) {
			if err := json.Unmarshal(c.next(), &f); err != nil {
				t.Fatal(err)
			}
			if f.Channel != "l2Book" || f.Data.Coin != "ETH" || f.Data.Time == 0 || f.Data.Fast != (depth == 5) || len(f.side(0)) != depth || len(f.side(1)) != depth {
				t.Fatalf("%+v", f)
			}
			return f
		}
		var f hyperliquidBook
		for range 200 {
			f = read()
		}
		e.Pause()
		truth, err := e.Book("ETH", depth)
		if err != nil {
			t.Fatal(err)
		}
		for !(sides{pairs(f.side(0)), pairs(f.side(1))}).is(truth) {
			f = read() // what was under way; nothing comes if none of it is the true book
		}
	}
}

// TestHyperliquidRests: a book without a change is sent again, of 5 levels each
// half second.
func TestHyperliquidRests(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, Options{Venue: "hyperliquid", Rate: 0.001}), "/ws")
	c.send(`{"method":"subscribe","subscription":{"type":"l2Book","coin":"@107","fast":true}}`)
	c.next()
	var f [2]hyperliquidBook
	for i := range f {
		if err := json.Unmarshal(c.next(), &f[i]); err != nil {
			t.Fatal(err)
		}
	}
	if f[1].Data.Time <= f[0].Data.Time || f[0].side(0)[0] != f[1].side(0)[0] {
		t.Errorf("%+v, then %+v", f[0], f[1])
	}
}

// TestHyperliquidTrades: a subscription begins with the latest, the oldest first.
func TestHyperliquidTrades(t *testing.T) {
	e := start(t, Options{Venue: "hyperliquid", Market: market.MarketLinear, Rate: 2000, Mix: Mix{1, 0}})
	last := int64(0)
	for range 2 { // the second has something of before
		c := dial(t, e, "/ws")
		c.send(`{"method":"subscribe","subscription":{"type":"trades","coin":"BTC"}}`)
		c.next()
		before := last
		for n := range 50 {
			var f struct {
				Data []struct {
					Coin string
					Tid  int64
				}
			}
			if err := json.Unmarshal(c.next(), &f); err != nil {
				t.Fatal(err)
			}
			if n == 0 && (len(f.Data) > 30 || before > 0 && len(f.Data) < 30) {
				t.Fatalf("it begins with %d trades, behind %d", len(f.Data), before)
			}
			for i, x := range f.Data {
				if x.Coin != "BTC" || last > 0 && (n > 0 || i > 0) && x.Tid != last+1 { // the first frame may be empty
					t.Fatalf("frame %d, trade %d: %+v after %d", n, i, x, last)
				}
				last = x.Tid
			}
		}
	}
}

// TestHyperliquidRefuses: what can't be read is refused with its text; a coin that
// is unknown ends the connection without a word.
func TestHyperliquidRefuses(t *testing.T) {
	e := start(t, Options{Venue: "hyperliquid", Rate: 0.001})
	c := dial(t, e, "/ws")
	c.answers(map[string]string{
		`{"method":"ping"}`: `{"channel":"pong"}`,
		`{"method":"subscribe","subscription":{"type":"dance","coin":"@107"}}`:                  `"Error parsing JSON into valid websocket request: {\"method\":\"subscribe\"`,
		`{"method":"subscribe","subscription":{"type":"candle","coin":"@107","interval":"2m"}}`: `Error parsing JSON`,
		`{"method":"subscribe","subscription":{"type":"bbo","coin":["@107"]}}`:                  `Error parsing JSON`,
		`{"method":"subscribe"}`: `Error parsing JSON`, `{`: `Error parsing JSON`,
		`{"method":"unsubscribe","subscription":{"type":"bbo","coin":"@107"}}`: `Already unsubscribed: {\"type\":\"bbo\",\"coin\":\"@107\"}`,
	})
	trades := `{"method":"subscribe","subscription":{"type":"trades","coin":"@107"}}`
	c.answers(map[string]string{trades: `"subscriptionResponse"`})
	c.until(`"channel":"trades"`)
	c.answers(map[string]string{trades: `Already subscribed: {\"type\":\"trades\",\"coin\":\"@107\"}`})
	c.answers(map[string]string{strings.Replace(trades, "subscribe", "unsubscribe", 1): `"method":"unsubscribe"`})
	for _, unknown := range []string{`"type":"bbo","coin":"NOPE"`, `"type":"l2Book","coin":"@107","nSigFigs":6`, `"type":"l2Book","coin":"@107","nSigFigs":4,"mantissa":2`} {
		c := dial(t, e, "/ws")
		c.send(`{"method":"subscribe","subscription":{` + unknown + `}}`)
		if _, b, err := c.ws.ReadMessage(); err == nil {
			t.Errorf("%s is answered %s", unknown, b)
		}
	}
}

// TestHyperliquidRequests: requests say in their body what they ask for, and weigh
// on the address.
func TestHyperliquidRequests(t *testing.T) {
	perps := start(t, Options{Venue: "hyperliquid", Market: market.MarketLinear, Symbols: []string{"BTC-USDC-PERP", "xyz.SP500-USDC-PERP"}, Rate: 0.001, Limits: true})
	spot := start(t, Options{Venue: "hyperliquid", Rate: 0.001})
	ask := func(e *Emulator, body string) (int, string) {
		r, err := http.Post(e.HTTPURL()+"/info", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer http.DefaultClient.CloseIdleConnections()
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(b)
	}
	for _, x := range []struct {
		e          *Emulator
		body       string
		status     int
		part, stop string
	}{
		{perps, `{"type":"meta"}`, 200, `"universe":[{"maxLeverage":20,"name":"BTC","szDecimals":4}]}`, "xyz"},
		{perps, `{"type":"allPerpMetas"}`, 200, `"name":"xyz:SP500"`, "tokens"},
		{perps, `{"type":"metaAndAssetCtxs"}`, 200, `"oraclePx":`, "xyz"},
		{perps, `{"type":"l2Book","coin":"BTC"}`, 200, `{"coin":"BTC","time":`, "channel"},
		{perps, `{"type":"l2Book","coin":"NOPE"}`, 200, "null", "coin"},
		{perps, `{"type":"recentTrades","coin":"BTC"}`, 200, "[]", "coin"},
		{perps, `{"type":"dance"}`, 422, "Failed to deserialize", "coin"},
		{spot, `{"type":"spotMeta"}`, 200, `"name":"@107"`, "collateralToken"},
		{spot, `{"type":"spotMetaAndAssetCtxs"}`, 200, `"coin":"PURR/USDC"`, "oraclePx"},
	} {
		if status, body := ask(x.e, x.body); status != x.status || !strings.Contains(body, x.part) || strings.Contains(body, x.stop) {
			t.Errorf("%s: %d %.300s", x.body, status, body)
		}
	}
	if status, body, _ := get(t, perps.HTTPURL()+"/info"); status != 422 {
		t.Errorf("GET: %d %s", status, body)
	}
	status := 0
	for n := 0; n < 120 && status != 429; n++ { // 60 in a minute, which may end meanwhile
		status, _ = ask(perps, `{"type":"meta"}`)
	}
	if status != 429 {
		t.Error("there is no limit of requests")
	}
}

func TestHyperliquidPlayback(t *testing.T) {
	_, ack := playsBack(t, "hyperliquid", "hyperliquid-linear-20250126-hft-btc", "/ws", `{"method":"subscribe","subscription":{"type":"trades","coin":"BTC"}}`, "subscriptionResponse")
	if !strings.Contains(ack, `"subscription":{"type":"trades","coin":"BTC"}`) {
		t.Errorf("%s", ack)
	}
}
