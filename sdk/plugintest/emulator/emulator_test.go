package emulator

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/marketprism/marketprism/sdk/market"
)

func TestMain(m *testing.M) {
	if o := os.Getenv("EMULATOR_CHILD"); o != "" {
		os.Exit(runChild(o))
	}
	goleak.VerifyTestMain(m)
}

// patience bounds waits for what comes at once. It is long, for machines that are
// busy with other things; no test waits for it to pass.
const patience = time.Minute

// start is Start of Binance where the test names no venue.
func start(t testing.TB, o Options) *Emulator {
	t.Helper()
	if o.Venue == "" {
		o.Venue = "binance"
	}
	return Start(t, o)
}

// client is a plain WebSocket client that hands over what it receives.
type client struct {
	t  testing.TB
	ws *websocket.Conn
}

func dial(t testing.TB, e *Emulator, path string) *client {
	t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial(e.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	return &client{t, ws}
}

func (c *client) send(s string) {
	c.t.Helper()
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(s)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) next() []byte {
	c.t.Helper()
	_ = c.ws.SetReadDeadline(time.Now().Add(patience))
	_, b, err := c.ws.ReadMessage()
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return b
}

// until reads frames up to the first that contains every text.
func (c *client) until(texts ...string) []byte {
	c.t.Helper()
	for range 200_000 {
		b := c.next()
		ok := true
		for _, s := range texts {
			ok = ok && strings.Contains(string(b), s)
		}
		if ok {
			return b
		}
	}
	c.t.Fatalf("no frame with %q", texts)
	return nil
}

func get(t testing.TB, url string) (int, []byte, http.Header) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, b, r.Header
}

func post(t testing.TB, e *Emulator, path string, v any) {
	t.Helper()
	b, _ := json.Marshal(v)
	r, err := http.Post(e.HTTPURL()+path, "application/json", strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(r.Body)
		t.Fatalf("%s %s: %d %s", path, b, r.StatusCode, text)
	}
}

func TestSubscribe(t *testing.T) {
	e := start(t, Options{Rate: 500})
	c := dial(t, e, "/stream")
	c.send(`{"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@depth@100ms"],"id":7}`)
	if b := string(c.next()); b != `{"result":null,"id":7}` {
		t.Fatalf("first frame %s", b)
	}
	c.until(`{"stream":"btcusdt@trade","data":{"e":"trade"`)
	c.until(`{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate"`)
	c.send(`{"method":"LIST_SUBSCRIPTIONS","id":"x"}`)
	c.until(`{"result":["btcusdt@trade","btcusdt@depth@100ms"],"id":"x"}`)
	c.send(`{"method":"UNSUBSCRIBE","params":["btcusdt@trade"],"id":9}`)
	c.until(`"id":9`)
	for range 20 {
		if b := c.next(); strings.Contains(string(b), `"trade"`) {
			t.Fatalf("after unsubscribing: %s", b)
		}
	}
	c.send(`{"method":"DANCE","id":1}`)
	c.until(`{"error":{"code":2`, `"id":1}`)
	c.send(`{`)
	c.until(`{"error":{"code":3`)

	raw := dial(t, e, "/ws/ethusdt@trade?timeUnit=MICROSECOND")
	var tr struct{ T int64 }
	if err := json.Unmarshal(raw.until(`{"e":"trade"`), &tr); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(time.UnixMicro(tr.T)); d < 0 || d > time.Minute {
		t.Fatalf("trade time %d is %v ago", tr.T, d)
	}
	for _, path := range []string{"/public/stream", "/v2", "/nothing"} {
		if _, _, err := websocket.DefaultDialer.Dial(e.URL()+path, nil); err == nil {
			t.Errorf("%s was accepted on spot", path)
		}
	}
}

// TestFrames checks that every channel of every market renders valid JSON with
// the fields of its event.
func TestFrames(t *testing.T) {
	for _, x := range []struct {
		m     market.Market
		path  string
		names []string
	}{
		{market.MarketSpot, "/stream", []string{"btcusdt@trade", "btcusdt@aggTrade", "btcusdt@depth@100ms", "btcusdt@depth20", "btcusdt@bookTicker", "btcusdt@ticker", "btcusdt@kline_1m"}},
		{market.MarketLinear, "/public/stream", []string{"btcusdt@trade", "btcusdt@depth@100ms", "btcusdt@depth5@100ms", "btcusdt@bookTicker"}},
		{market.MarketLinear, "/market/stream", []string{"btcusdt@aggTrade", "btcusdt@ticker", "btcusdt@kline_1s", "btcusdt@markPrice@1s", "btcusdt@forceOrder"}},
		{market.MarketInverse, "/stream", []string{"btcusd_perp@trade", "btcusd_perp@aggTrade", "btcusd_perp@depth@100ms", "btcusd_perp@bookTicker", "btcusd_perp@markPrice@1s", "btcusd@indexPrice@1s", "btcusd_perp@forceOrder", "btcusd_perp@kline_5m"}},
	} {
		t.Run(fmt.Sprint(x.m, x.path), func(t *testing.T) {
			t.Parallel()
			e := start(t, Options{Market: x.m, Rate: 300})
			c := dial(t, e, x.path+"?streams="+strings.Join(x.names, "/"))
			missing := map[string]bool{}
			for _, n := range x.names {
				missing[n] = true
			}
			for deadline := time.Now().Add(patience); len(missing) > 0; {
				if time.Now().After(deadline) {
					t.Fatalf("no frames of %v", missing)
				}
				b := c.next()
				var f struct {
					Stream string
					Data   map[string]any
				}
				if err := json.Unmarshal(b, &f); err != nil {
					t.Fatalf("%v in %s", err, b)
				}
				if missing[f.Stream] {
					t.Logf("%s", b)
				}
				delete(missing, f.Stream)
			}
		})
	}
}
