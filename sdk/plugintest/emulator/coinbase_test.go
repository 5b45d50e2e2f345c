package emulator

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestCoinbaseBook keeps a book as the venue's page says and compares it with the
// true one. Every frame of the connection has the next number, also one that
// answers a request.
func TestCoinbaseBook(t *testing.T) {
	e := start(t, Options{Venue: "coinbase", Rate: 2000, Mix: Mix{1, 5}, Depth: 100})
	c := dial(t, e, "/")
	c.send(`{"type":"subscribe","channel":"heartbeats"}`)
	c.send(`{"type":"subscribe","product_ids":["BTC-USD"],"channel":"level2"}`)
	counts := map[string]int{}
	keepsBook(t, e, c, "BTC-USD", 500, func(n int, frame []byte) (u update, ok bool) {
		var f struct {
			Channel     string
			SequenceNum int `json:"sequence_num"`
			Events      []struct {
				Type    string
				Updates []struct {
					Side  string
					Price string `json:"price_level"`
					New   string `json:"new_quantity"`
				}
			}
		}
		if err := json.Unmarshal(frame, &f); err != nil || f.SequenceNum != n {
			t.Fatalf("frame %d: %v %.200s", n, err, frame)
		}
		counts[f.Channel]++
		if f.Channel != "l2_data" {
			return u, false
		}
		for _, l := range f.Events[0].Updates {
			if l.Side == "bid" {
				u.B = append(u.B, [2]string{l.Price, l.New})
			} else {
				u.A = append(u.A, [2]string{l.Price, l.New})
			}
		}
		return u, true
	})
	if counts["subscriptions"] != 2 {
		t.Errorf("%v", counts)
	}
}

// TestCoinbaseRefuses: what the venue doesn't have, and what needs a login.
func TestCoinbaseRefuses(t *testing.T) {
	c := dial(t, start(t, Options{Venue: "coinbase", Rate: 100}), "/")
	c.answers(map[string]string{
		`{"type":"subscribe","product_ids":["XYZ-USD"],"channel":"level2"}`:                            "XYZ-USD is not a valid product",
		`{"type":"subscribe","product_ids":["BTC-USD"],"channel":"moon"}`:                              "moon is not a valid channel",
		`{"type":"subscribe","product_ids":["BTC-USD"],"channels":["level2"]}`:                         "now require authentication",
		`{"type":"subscribe","product_ids":["BTC-USD"],"channels":["full"],"key":"x","timestamp":"1"}`: "timestamp",
		`{"type":"subscribe","product_ids":[],"channels":["matches"]}`:                                 "at least one",
		`{"type":"dance"}`: "Malformed",
	}, `"type":"error"`)
}

// TestCoinbasePlayback plays a recording: requests are answered without a number,
// then the recorded frames come with theirs.
func TestCoinbasePlayback(t *testing.T) {
	_, ack := playsBack(t, "coinbase", "coinbase-spot-20260809-cfv3", "/", `{"type":"subscribe","product_ids":["BTC-USD"],"channel":"market_trades"}`, `"channel":"subscriptions"`)
	if strings.Contains(ack, "sequence_num") {
		t.Errorf("%s", ack)
	}
}
