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

type okxBook struct {
	Arg    struct{ Channel string }
	Action string
	Data   []struct {
		Asks, Bids [][4]string
		Checksum   int
		SeqID      int64
		PrevSeqID  int64
	}
}

// TestOKXBook keeps a book as the venue's page says and compares it with the
// true one; a snapshot by request fits into its sequence.
func TestOKXBook(t *testing.T) {
	e := start(t, Options{Venue: "okx", Market: market.MarketLinear, Rate: 5000, Mix: Mix{0, 1}, Depth: 100})
	c := dial(t, e, "/ws/v5/public")
	c.send("ping")
	if b := c.next(); string(b) != "pong" {
		t.Fatalf("%s", b)
	}
	c.send(`{"id":"7","op":"subscribe","args":[{"channel":"books","instId":"BTC-USDT-SWAP"}]}`)
	if b := c.next(); string(b) != `{"arg":{"channel":"books","instId":"BTC-USDT-SWAP"},"connId":"00000001","event":"subscribe","id":"7"}` {
		t.Fatalf("acknowledgement %s", b)
	}
	s := sides{map[string]string{}, map[string]string{}}
	seq, requested := int64(-1), false
	for n := 0; n < 2000; n++ {
		if n == 1500 {
			e.Pause()
		}
		truth, err := e.Book("BTC-USDT-SWAP", 0)
		if err != nil {
			t.Fatal(err)
		}
		if n >= 1500 && seq == truth.Seq {
			break
		}
		var f okxBook
		if err := json.Unmarshal(c.next(), &f); err != nil {
			t.Fatal(err)
		}
		d := f.Data[0]
		if f.Action == "snapshot" != (n == 0) || d.PrevSeqID != seq || d.Checksum != 0 {
			t.Fatalf("frame %d: %s, %d after %d, checksum %d", n, f.Action, d.PrevSeqID, seq, d.Checksum)
		}
		seq = d.SeqID
		u := update{}
		for _, l := range d.Bids {
			u.B = append(u.B, [2]string{l[0], l[1]})
		}
		for _, l := range d.Asks {
			u.A = append(u.A, [2]string{l[0], l[1]})
		}
		s.apply(u)
		if n == 1000 {
			requested = true
			resp, err := http.Get(e.HTTPURL() + "/api/v5/market/books?instId=BTC-USDT-SWAP&sz=400")
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			var r struct {
				Code string
				Data []struct {
					SeqID int64
					Bids  [][4]string
				}
			}
			if err := json.Unmarshal(body, &r); err != nil || r.Code != "0" || r.Data[0].SeqID < seq || len(r.Data[0].Bids) < 50 {
				t.Fatalf("%v %.200s", err, body)
			}
		}
	}
	truth, err := e.Book("BTC-USDT-SWAP", 0)
	if err != nil || !requested {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(s.bids, s.asks), fmt.Sprint(pairs(truth.Bids), pairs(truth.Asks)); got != want {
		t.Errorf("%.300s\nwant %.300s", got, want)
	}
}

// TestOKXRefuses: channels of the other endpoint, unknown ones, what needs a
// login, and malformed requests are answered with the venue's codes.
func TestOKXRefuses(t *testing.T) {
	e := start(t, Options{Venue: "okx", Rate: 100})
	c := dial(t, e, "/ws/v5/public")
	for request, code := range map[string]string{
		`{"op":"subscribe","args":[{"channel":"candle1m","instId":"BTC-USDT"}]}`:       "60018",
		`{"op":"subscribe","args":[{"channel":"trades","instId":"XYZ-USDT"}]}`:         "60018",
		`{"op":"subscribe","args":[{"channel":"funding-rate","instId":"BTC-USDT"}]}`:   "60018",
		`{"op":"subscribe","args":[{"channel":"books50-l2-tbt","instId":"BTC-USDT"}]}`: "60011",
		`{"op":"login","args":[{"apiKey":"x","timestamp":"1","sign":"x"}]}`:            "60009",
		`{"op":"dance","args":[]}`: "60012",
	} {
		c.send(request)
		if b := string(c.next()); !strings.Contains(b, `"code":"`+code+`"`) || !strings.Contains(b, `"event":"error"`) {
			t.Errorf("%s: %s", request, b)
		}
	}
}

// TestOKXPlayback plays a recording: requests are acknowledged, then the
// recorded frames come, in order and whole.
func TestOKXPlayback(t *testing.T) {
	file := corpus.Path(t, "captures", "okx-mixed-20220513-cfg2.jsonl.zst")
	var want []string
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
			want = append(want, string(ev.Text))
		}
	}
	e := start(t, Options{Venue: "okx", Capture: file})
	c := dial(t, e, "/ws/v5/public")
	c.send(`{"id":"1","op":"subscribe","args":[{"channel":"books","instId":"BTC-USDT"}]}`)
	c.until(`"id":"1"`)
	for i, w := range want {
		if got := string(c.next()); got != w {
			t.Fatalf("frame %d: %.200s\nwant %.200s", i, got, w)
		}
	}
	resp, err := http.Get(e.HTTPURL() + "/api/v5/public/instruments?instType=SPOT")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.HasPrefix(string(body), `{"code":"0","data":[`) {
		t.Errorf("%v %.100s", err, body)
	}
}
