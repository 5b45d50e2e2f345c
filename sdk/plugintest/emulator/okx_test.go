package emulator

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
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
	seq := int64(-1)
	keepsBook(t, e, c, "BTC-USDT-SWAP", 1500, func(n int, frame []byte) (update, bool) {
		var f okxBook
		if err := json.Unmarshal(frame, &f); err != nil {
			t.Fatal(err)
		}
		d := f.Data[0]
		if f.Action == "snapshot" != (n == 0) || d.PrevSeqID != seq || d.Checksum != 0 {
			t.Fatalf("frame %d: %s, %d after %d, checksum %d", n, f.Action, d.PrevSeqID, seq, d.Checksum)
		}
		seq = d.SeqID
		if n == 1000 {
			_, body, _ := get(t, e.HTTPURL()+"/api/v5/market/books?instId=BTC-USDT-SWAP&sz=400")
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
		u := update{U: seq}
		for _, l := range d.Bids {
			u.B = append(u.B, [2]string{l[0], l[1]})
		}
		for _, l := range d.Asks {
			u.A = append(u.A, [2]string{l[0], l[1]})
		}
		return u, true
	})
}

// TestOKXRefuses: channels of the other endpoint, unknown ones, what needs a
// login, and malformed requests are answered with the venue's codes.
func TestOKXRefuses(t *testing.T) {
	e := start(t, Options{Venue: "okx", Rate: 100})
	c := dial(t, e, "/ws/v5/public")
	c.answers(map[string]string{
		`{"op":"subscribe","args":[{"channel":"candle1m","instId":"BTC-USDT"}]}`:       `"code":"60018"`,
		`{"op":"subscribe","args":[{"channel":"trades","instId":"XYZ-USDT"}]}`:         `"code":"60018"`,
		`{"op":"subscribe","args":[{"channel":"funding-rate","instId":"BTC-USDT"}]}`:   `"code":"60018"`,
		`{"op":"subscribe","args":[{"channel":"books50-l2-tbt","instId":"BTC-USDT"}]}`: `"code":"60011"`,
		`{"op":"login","args":[{"apiKey":"x","timestamp":"1","sign":"x"}]}`:            `"code":"60009"`,
		`{"op":"dance","args":[]}`: `"code":"60012"`,
	}, `"event":"error"`)
}

// TestOKXPlayback plays a recording: requests are acknowledged, then the
// recorded frames come, in order and whole.
func TestOKXPlayback(t *testing.T) {
	e, _ := playsBack(t, "okx", "okx-mixed-20220513-cfg2", "/ws/v5/public", `{"id":"1","op":"subscribe","args":[{"channel":"books","instId":"BTC-USDT"}]}`, `"id":"1"`)
	if _, body, _ := get(t, e.HTTPURL()+"/api/v5/public/instruments?instType=SPOT"); !strings.HasPrefix(string(body), `{"code":"0","data":[`) {
		t.Errorf("%.100s", body)
	}
}
