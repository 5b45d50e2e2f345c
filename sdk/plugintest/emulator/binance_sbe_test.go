package emulator

import (
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// sbeDial connects as the holder of a key does.
func sbeDial(t *testing.T, e *Emulator, key string) (*websocket.Conn, *http.Response, error) {
	return websocket.DefaultDialer.Dial(e.URL()+"/stream", http.Header{binanceKeyHeader: {key}})
}

// TestBinanceSBE: another key is refused before the upgrade; the right one gets
// answers in text frames and data in binary ones, each with its template and the
// symbol at its end.
func TestBinanceSBE(t *testing.T) {
	e := start(t, Options{Rate: 2000, Mix: Mix{1, 3}, Depth: 100})
	ws, resp, err := sbeDial(t, e, "another")
	if err == nil {
		ws.Close()
		t.Fatal("another key was let in")
	}
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(string(body), "-2015") {
		t.Errorf("%d: %s", resp.StatusCode, body)
	}
	if ws, _, err = sbeDial(t, e, BinanceKey); err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	streams := []string{"btcusdt@trade", "btcusdt@bestBidAsk", "btcusdt@depth20", "btcusdt@depth", "btcusdt@bookTicker", "btcusdt@ticker"}
	if err := ws.WriteMessage(websocket.TextMessage, []byte(`{"method":"SUBSCRIBE","params":["`+strings.Join(streams, `","`)+`"],"id":5}`)); err != nil {
		t.Fatal(err)
	}
	blocks := map[uint16]uint16{10000: 18, 10001: 50, 10002: 18, 10003: 26}
	last, acks := int64(0), 0
	for seen := map[uint16]int{}; len(seen) < len(blocks) || seen[10003] < 100; {
		_ = ws.SetReadDeadline(time.Now().Add(patience))
		kind, b, err := ws.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if kind == websocket.TextMessage {
			if acks++; string(b) != `{"result":null,"id":5}` || acks > 1 {
				t.Fatalf("%s", b)
			}
			continue
		}
		le := binary.LittleEndian
		template := le.Uint16(b[2:])
		if le.Uint16(b) != blocks[template] || le.Uint16(b[4:]) != 1 || le.Uint16(b[6:]) != 0 || !strings.HasSuffix(string(b), "\x07BTCUSDT") {
			t.Fatalf("%q", b)
		}
		if seen[template]++; template == 10003 { // first and last update id follow the diff before
			first := int64(le.Uint64(b[16:]))
			if last != 0 && first != last+1 {
				t.Fatalf("update %d follows %d", first, last)
			}
			last = int64(le.Uint64(b[24:]))
		}
	}
}
