package emulator

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

type bitgetBook struct {
	Action string
	Arg    struct{ InstType, Channel, InstID string }
	Data   []struct {
		Asks, Bids [][2]string
		Seq, PSeq  int64
	}
}

// TestBitgetBook keeps a book as the venue's page says and compares it with the
// true one.
func TestBitgetBook(t *testing.T) {
	e := start(t, Options{Venue: "bitget", Market: market.MarketLinear, Rate: 5000, Mix: Mix{0, 1}, Depth: 100})
	c := dial(t, e, "/v2/ws/public")
	c.send("ping")
	if b := c.next(); string(b) != "pong" {
		t.Fatalf("%s", b)
	}
	c.send(`{"op":"subscribe","args":[{"instType":"USDC-FUTURES","channel":"books","instId":"ETHPERP"}]}`)
	if b := c.next(); string(b) != `{"arg":{"instType":"USDC-FUTURES","channel":"books","instId":"ETHPERP"},"event":"subscribe"}` {
		t.Fatalf("acknowledgement %s", b)
	}
	seq := int64(0)
	keepsBook(t, e, c, "ETHPERP", 1500, func(n int, frame []byte) (update, bool) {
		var f bitgetBook
		if err := json.Unmarshal(frame, &f); err != nil {
			t.Fatal(err)
		}
		d := f.Data[0]
		if f.Action == "snapshot" != (n == 0) || d.PSeq != seq || f.Arg.InstType != "USDC-FUTURES" {
			t.Fatalf("frame %d: %s of %s, %d after %d", n, f.Action, f.Arg.InstType, d.PSeq, seq)
		}
		seq = d.Seq
		return update{U: seq, B: d.Bids, A: d.Asks}, true
	})
}

// TestBitgetRefuses: what isn't there and malformed requests are answered with
// the venue's codes, with the stream's name in API v2, with its text in v3; a
// symbol under another product is acknowledged, and brings nothing.
func TestBitgetRefuses(t *testing.T) {
	e := start(t, Options{Venue: "bitget", Market: market.MarketLinear, Rate: 100})
	c := dial(t, e, "/v2/ws/public")
	c.answers(map[string]string{
		`{"op":"subscribe","args":[{"instType":"USDT-FUTURES","channel":"books","instId":"NOPEUSDT"}]}`:    `"arg":{"instType":"USDT-FUTURES","channel":"books","instId":"NOPEUSDT"},"code":30001`,
		`{"op":"subscribe","args":[{"instType":"USDT-FUTURES","channel":"books50","instId":"BTCUSDT"}]}`:   `"code":30001`,
		`{"op":"subscribe","args":[{"instType":"USDT-FUTURES","channel":"markPrice","instId":"BTCUSDT"}]}`: `"op":"subscribe"`,
		`{"op":"dance","args":[]}`: `"code":30003`,
		`{"op":"subscribe","args":[{"instType":"` + strings.Repeat("x", 4096) + `"}]}`: `"code":30016`,
	}, `"event":"error"`)
	c.answers(map[string]string{`{"op":"subscribe","args":[{"instType":"USDT-FUTURES","channel":"trade","instId":"ETHPERP"}]}`: `"event":"subscribe"`})
	c.send("ping")
	if b := c.next(); string(b) != "pong" {
		t.Errorf("%s of a symbol under another product", b)
	}
	c = dial(t, e, "/v3/ws/public")
	c.answers(map[string]string{`{"op":"subscribe","args":[{"instType":"usdt-futures","topic":"nope"}]}`: `"code":30001`}, `\"topic\":\"nope\"`, `"connId"`)
}

// TestBitgetHistory: a subscription of trades begins with the last ones, newest
// first, which are those that a request brings.
func TestBitgetHistory(t *testing.T) {
	e := start(t, Options{Venue: "bitget", Rate: 5000, Mix: Mix{1, 0}})
	c := dial(t, e, "/v2/ws/public")
	c.send(`{"op":"subscribe","args":[{"instType":"SPOT","channel":"trade","instId":"BTCUSDT"}]}`)
	for range 200 {
		c.until(`"action":"update"`)
	}
	e.Pause()
	d := dial(t, e, "/v2/ws/public")
	d.send(`{"op":"subscribe","args":[{"instType":"SPOT","channel":"trade","instId":"BTCUSDT"}]}`)
	d.until(`"event"`)
	var first, asked struct {
		Data []struct{ TradeID, Price, Size string }
	}
	if err := json.Unmarshal(d.until(`"action":"snapshot"`), &first); err != nil || len(first.Data) != 50 {
		t.Fatalf("%d trades, %v", len(first.Data), err)
	}
	_, body, _ := get(t, e.HTTPURL()+"/api/v2/spot/market/fills-history?symbol=BTCUSDT&limit=50")
	if err := json.Unmarshal(body, &asked); err != nil || fmt.Sprint(asked) != fmt.Sprint(first) || first.Data[0].TradeID <= first.Data[49].TradeID {
		t.Errorf("%v\n%v\n%v", err, asked, first)
	}
}

// TestBitgetRequests: a connection has 240 requests to subscribe in an hour.
func TestBitgetRequests(t *testing.T) {
	d := &bitget{e: &Emulator{opt: Options{Limits: true}}, requests: map[*Conn][]time.Time{}}
	c, now := &Conn{}, time.Now()
	for i := range bitgetRequests + 1 {
		if ok := d.count(c, now.Add(time.Duration(i)*time.Second)); ok != (i < bitgetRequests) {
			t.Fatalf("request %d: %v", i, ok)
		}
	}
	if other := (&Conn{}); !d.count(other, now) || !d.count(c, now.Add(2*time.Hour)) {
		t.Error("another connection, or another hour, has no requests")
	}
}

// TestBitgetPlayback plays a recording of API v1.
func TestBitgetPlayback(t *testing.T) {
	playsBack(t, "bitget", "bitget-spot-20220403-cfg1", "/spot/v1/stream", `{"op":"subscribe","args":[{"instType":"SP","channel":"books","instId":"MASKUSDT"}]}`, `"instType":"SP"`)
}
