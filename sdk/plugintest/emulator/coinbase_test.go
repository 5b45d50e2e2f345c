package emulator

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/capture"
	"github.com/marketprism/marketprism/sdk/plugintest/corpus"
)

// TestCoinbaseBook keeps a book as the venue's page says and compares it with the
// true one. Every frame of the connection has the next number, also one that
// answers a request.
func TestCoinbaseBook(t *testing.T) {
	e := start(t, Options{Venue: "coinbase", Rate: 2000, Mix: Mix{1, 5}, Depth: 100})
	c := dial(t, e, "/")
	c.send(`{"type":"subscribe","channel":"heartbeats"}`)
	c.send(`{"type":"subscribe","product_ids":["BTC-USD"],"channel":"level2"}`)
	s := sides{map[string]string{}, map[string]string{}}
	counts := map[string]int{}
	for n := 0; n < 600; n++ {
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
		if n == 500 {
			e.Pause()
		}
		truth, err := e.Book("BTC-USD", 0)
		if err != nil {
			t.Fatal(err)
		}
		if n >= 500 && fmt.Sprint(s.bids, s.asks) == fmt.Sprint(pairs(truth.Bids), pairs(truth.Asks)) {
			if counts["subscriptions"] != 2 {
				t.Errorf("%v", counts)
			}
			return
		}
		b := c.next()
		if err := json.Unmarshal(b, &f); err != nil || f.SequenceNum != n {
			t.Fatalf("frame %d: %v %.200s", n, err, b)
		}
		counts[f.Channel]++
		u := update{}
		if f.Channel == "l2_data" {
			for _, l := range f.Events[0].Updates {
				if l.Side == "bid" {
					u.B = append(u.B, [2]string{l.Price, l.New})
				} else {
					u.A = append(u.A, [2]string{l.Price, l.New})
				}
			}
			s.apply(u)
		}
	}
	t.Error("the book never was the true one")
}

// TestCoinbaseRefuses: what the venue doesn't have, and what needs a login.
func TestCoinbaseRefuses(t *testing.T) {
	c := dial(t, start(t, Options{Venue: "coinbase", Rate: 100}), "/")
	for request, reason := range map[string]string{
		`{"type":"subscribe","product_ids":["XYZ-USD"],"channel":"level2"}`:                            "XYZ-USD is not a valid product",
		`{"type":"subscribe","product_ids":["BTC-USD"],"channel":"moon"}`:                              "moon is not a valid channel",
		`{"type":"subscribe","product_ids":["BTC-USD"],"channels":["level2"]}`:                         "now require authentication",
		`{"type":"subscribe","product_ids":["BTC-USD"],"channels":["full"],"key":"x","timestamp":"1"}`: "timestamp",
		`{"type":"subscribe","product_ids":[],"channels":["matches"]}`:                                 "at least one",
		`{"type":"dance"}`: "Malformed",
	} {
		c.send(request)
		if b := string(c.next()); !strings.Contains(b, `"type":"error"`) || !strings.Contains(b, reason) {
			t.Errorf("%s: %s", request, b)
		}
	}
}

// TestCoinbasePlayback plays a recording: requests are answered without a number,
// then the recorded frames come with theirs.
func TestCoinbasePlayback(t *testing.T) {
	file := corpus.Path(t, "captures", "coinbase-spot-20260809-cfv3.jsonl.zst")
	r, err := capture.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := dial(t, start(t, Options{Venue: "coinbase", Capture: file}), "/")
	c.send(`{"type":"subscribe","product_ids":["BTC-USD"],"channel":"market_trades"}`)
	if b := string(c.until(`"channel":"subscriptions"`)); strings.Contains(b, "sequence_num") {
		t.Errorf("%s", b)
	}
	n := 0
	for ev, err := range r.All() {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind != capture.KindRecv {
			continue
		}
		if got := string(c.next()); got != string(ev.Text) {
			t.Fatalf("frame %d: %.200s\nwant %.200s", n, got, ev.Text)
		}
		n++
	}
}
