package emulator

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism/sdk/market"
)

// kucoinToken asks for a token and gives the path that shows it.
func kucoinToken(t *testing.T, e *Emulator) string {
	t.Helper()
	resp, err := http.Post(e.HTTPURL()+"/api/v1/bullet-public", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var r struct {
		Code string
		Data struct {
			Token           string
			InstanceServers []struct {
				Endpoint     string
				PingInterval int
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil || r.Code != "200000" || r.Data.Token == "" || len(r.Data.InstanceServers) != 1 || r.Data.InstanceServers[0].PingInterval != 18000 {
		t.Fatalf("%+v, %v", r, err)
	}
	return "/?token=" + url.QueryEscape(r.Data.Token)
}

// TestKucoinBook keeps a book of the pro socket as the venue's page says and
// compares it with the true one. Its text comes in binary frames.
func TestKucoinBook(t *testing.T) {
	e := start(t, Options{Venue: "kucoin", Market: market.MarketLinear, Rate: 5000, Mix: Mix{0, 1}, Depth: 100})
	c := dial(t, e, "/")
	if kind, b, err := c.ws.ReadMessage(); err != nil || kind != websocket.BinaryMessage || !strings.Contains(string(b), `"message":"welcome"`) {
		t.Fatalf("%d %s %v", kind, b, err)
	}
	c.send(`{"id":"7","action":"subscribe","channel":"obu","tradeType":"FUTURES","symbol":"XBTUSDTM","depth":"increment@10ms"}`)
	if b := c.next(); string(b) != `{"id":"7","result":true}` {
		t.Fatalf("acknowledgement %s", b)
	}
	last := int64(0)
	keepsBook(t, e, c, "XBTUSDTM", 1500, func(n int, frame []byte) (update, bool) {
		var f struct {
			T, Dp string
			Kind  string `json:"t"`
			D     struct {
				S    string
				O, C int64
				A, B [][2]string
			}
		}
		if err := json.Unmarshal(frame, &f); err != nil {
			t.Fatal(err)
		}
		d := f.D
		if f.T != "obu.FUTURES" || d.S != "XBTUSDTM" || f.Kind == "snapshot" != (n == 0) || n > 0 && (d.O > last+1 || d.C <= last) || n == 0 && d.O != d.C {
			t.Fatalf("frame %d: %s, %d to %d after %d", n, f.Kind, d.O, d.C, last)
		}
		last = d.C
		return update{U: d.C, B: d.B, A: d.A}, true
	})
}

// TestKucoinRefuses: what neither socket has is answered with the venue's codes;
// a symbol that there isn't is acknowledged, and nothing comes.
func TestKucoinRefuses(t *testing.T) {
	e := start(t, Options{Venue: "kucoin", Rate: 100})
	c := dial(t, e, kucoinToken(t, e))
	c.until(`"type":"welcome"`)
	many := strings.Repeat("BTC-USDT,", kucoinBatch) + "BTC-USDT"
	c.answers(map[string]string{
		`{"id":"1","type":"ping"}`: `"type":"pong"`,
		`{"id":"1","type":"subscribe","topic":"/contractMarket/execution:BTC-USDT"}`: `"code":404`,
		`{"id":"1","type":"subscribe","topic":"/market/unheard:BTC-USDT"}`:           `"code":404`,
		`{"id":"1","type":"subscribe","topic":"/market/match:XYZ-USDT"}`:             `"type":"ack"`,
		`{"id":"1","type":"subscribe","topic":"/market/match:` + many + `"}`:         `"code":509`,
		`{"id":"1","type":"dance"}`: `"code":400`,
	}, `"id":"1"`)
	p := dial(t, e, "/")
	p.until(`"message":"welcome"`)
	p.answers(map[string]string{
		`{"id":"1","action":"subscribe","channel":"obu","tradeType":"FUTURES","symbol":"BTC-USDT","depth":"increment@10ms"}`: `not allowed in current environment`,
		`{"id":"1","action":"subscribe","channel":"obu","tradeType":"SPOT","symbol":"BTC-USDT","depth":"20"}`:                `invalid request data`,
		`{"id":"1","action":"subscribe","channel":"mark-price","symbol":"BTC-USDT"}`:                                         `invalid request data`,
	}, `"result":false`)
	if b := dial(t, e, "/?token=made-up").next(); !strings.Contains(string(b), `"code":401`) {
		t.Errorf("a token that was never granted: %s", b)
	}
	if _, body, _ := get(t, e.HTTPURL()+"/api/v1/bullet-public"); !strings.Contains(string(body), `"code":"400100"`) {
		t.Errorf("a token by GET: %s", body)
	}
}

// TestKucoinPlayback plays a recording: a token is granted and the connection
// welcomed, requests are acknowledged, then the recorded frames come.
func TestKucoinPlayback(t *testing.T) {
	e, _ := playsBack(t, "kucoin", "kucoin-spot-20210425-cfg3", "/endpoint?token=x", `{"id":"7","type":"subscribe","topic":"/market/match:EQZ-BTC","response":true}`, `"id":"7"`)
	dial(t, e, kucoinToken(t, e)).until(`"type":"welcome"`)
	if _, body, _ := get(t, e.HTTPURL()+"/api/v2/symbols"); !strings.HasPrefix(string(body), `{"code":"200000","data":[{"symbol":"REQ-ETH"`) {
		t.Errorf("%.100s", body)
	}
}
