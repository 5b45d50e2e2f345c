package emulator

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism/sdk/market"
)

// gunzip gives the text of a frame.
func gunzip(t *testing.T, frame []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(frame))
	if err != nil {
		t.Fatalf("%v: %.100q", err, frame)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func numbers(ls [][2]json.Number) (out [][2]string) {
	for _, l := range ls {
		out = append(out, [2]string{l[0].String(), l[1].String()})
	}
	return out
}

// TestHTXMarketByPrice keeps a book as the venue's page says: changes first, then
// the whole book by a request on the same connection, aligned by prevSeqNum.
func TestHTXMarketByPrice(t *testing.T) {
	e := start(t, Options{Venue: "htx", Rate: 5000, Mix: Mix{0, 1}, Depth: 100, Symbols: []string{"BTC-USDT"}, PingEvery: time.Hour})
	c := dial(t, e, "/feed")
	c.send(`{"sub":"market.btcusdt.mbp.150","id":"id1"}`)
	if b := string(gunzip(t, c.next())); !strings.Contains(b, `"id":"id1"`) || !strings.Contains(b, `"subbed":"market.btcusdt.mbp.150"`) {
		t.Fatal(b)
	}
	type state struct {
		SeqNum, PrevSeqNum int64
		Bids, Asks         [][2]json.Number
	}
	type frame struct {
		Rep  string
		Tick state
		Data state
	}
	var early []state // changes of before the whole book
	seq, asked := int64(0), false
	keepsBook(t, e, c, "btcusdt", 1500, func(n int, raw []byte) (update, bool) {
		var f frame
		if err := json.Unmarshal(gunzip(t, raw), &f); err != nil {
			t.Fatal(err)
		}
		if n >= 20 && !asked {
			asked = true
			c.send(`{"req":"market.btcusdt.mbp.150","id":"id2"}`)
		}
		switch {
		case f.Rep != "":
			seq = f.Data.SeqNum
			u := update{U: seq, B: numbers(f.Data.Bids), A: numbers(f.Data.Asks)}
			for _, s := range early { // the request's answer is as of between them
				if s.PrevSeqNum >= seq {
					t.Errorf("changes after %d came before the book of %d", s.PrevSeqNum, seq)
				}
			}
			return u, true
		case seq == 0:
			early = append(early, f.Tick)
			return update{}, false
		case f.Tick.PrevSeqNum != seq:
			t.Fatalf("changes follow %d, not %d", f.Tick.PrevSeqNum, seq)
		}
		seq = f.Tick.SeqNum
		return update{U: seq, B: numbers(f.Tick.Bids), A: numbers(f.Tick.Asks)}, true
	})
	if len(early) == 0 {
		t.Error("no changes came before the whole book")
	}
}

// TestHTXContractBook: a stream begins with a whole book and counts what follows;
// another subscription of it brings a whole one again.
func TestHTXContractBook(t *testing.T) {
	e := start(t, Options{Venue: "htx", Market: market.MarketLinear, Rate: 5000, Mix: Mix{0, 1}, Depth: 100, PingEvery: time.Hour})
	c := dial(t, e, "/linear-swap-ws")
	const subscribe = `{"sub":"market.BTC-USDT.depth.size_20.high_freq","data_type":"incremental","id":"id1"}`
	c.send(subscribe)
	c.next()
	version, whole := int64(0), 0
	keepsBook(t, e, c, "BTC-USDT", 1500, func(n int, raw []byte) (update, bool) {
		var f struct {
			ID   string
			Tick struct {
				Event      string
				Version    int64
				Bids, Asks [][2]json.Number
			}
		}
		if err := json.Unmarshal(gunzip(t, raw), &f); err != nil {
			t.Fatal(err)
		}
		if n == 500 {
			c.send(subscribe)
		}
		k := f.Tick
		switch {
		case f.ID != "":
			return update{}, false
		case k.Event == "snapshot":
			whole++
		case k.Event != "update" || k.Version != version+1:
			t.Fatalf("frame %d: %s %d after %d", n, k.Event, k.Version, version)
		}
		version = k.Version
		return update{U: version, B: numbers(k.Bids), A: numbers(k.Asks)}, true
	})
	if whole != 2 {
		t.Errorf("%d whole books", whole)
	}
}

// TestHTXRefuses: topics of another endpoint, what a market lacks, unknown names.
func TestHTXRefuses(t *testing.T) {
	e := start(t, Options{Venue: "htx", Market: market.MarketInverse, Rate: 100, Symbols: []string{"BTC-USD:BTC-PERP", "BTC-USD:BTC-20301227"}})
	for path, requests := range map[string][]string{
		"/swap-ws": {`{"sub":"market.BTC301227.bbo","id":"1"}`, `{"sub":"market.BTC-USDT.bbo","id":"1"}`, `{"sub":"market.BTC-USD.mark_price.1min","id":"1"}`,
			`{"sub":"market.BTC-USD.depth.size_20.high_freq","id":"1"}`, `{"sub":"market.BTC-USD.kline.7min","id":"1"}`, `{"sub":"market.BTC-USD.ticker","id":"1"}`,
			`{"req":"market.BTC-USD.mbp.150","id":"1"}`, `{"sub":"market","id":"1"}`, `{`},
		"/ws":                {`{"sub":"market.BTC-USD.bbo","id":"1"}`},
		"/ws_index":          {`{"sub":"market.BTC-USD.bbo","id":"1"}`},
		"/swap-notification": {`{"op":"sub","cid":"1","topic":"public.NO-USD.funding_rate"}`, `{"op":"sub","cid":"1","topic":"public.BTC-USD.liquidation_orders"}`, `{"op":"dance"}`},
	} {
		c := dial(t, e, path)
		for _, r := range requests {
			c.send(r)
			if b := string(gunzip(t, c.next())); !strings.Contains(b, `"err-msg":"`) {
				t.Errorf("%s: %s", r, b)
			}
		}
	}
	if _, body, _ := get(t, e.HTTPURL()+"/swap-ex/market/detail/batch_merged"); !strings.Contains(string(body), `"contract_code":"BTC-USD"`) {
		t.Errorf("%s", body)
	}
	if status, body, _ := get(t, e.HTTPURL()+"/swap-api/v1/swap_open_interest?contract_code=NO-USD"); status != 200 || !strings.Contains(string(body), `"status":"error"`) {
		t.Errorf("%d %s", status, body)
	}
}

// TestHTXPings: who answers stays, who doesn't is closed.
func TestHTXPings(t *testing.T) {
	e := start(t, Options{Venue: "htx", Rate: 100, PingEvery: 40 * time.Millisecond, PongTimeout: time.Hour})
	c := dial(t, e, "/ws")
	for range 3 * htxPingsLost {
		var f struct{ Ping int64 }
		if err := json.Unmarshal(gunzip(t, c.next()), &f); err != nil || f.Ping == 0 {
			t.Fatal(err)
		}
		c.send(`{"pong":` + strconv.FormatInt(f.Ping, 10) + `}`)
	}
	for range htxPingsLost + 1 {
		if _, _, err := c.ws.ReadMessage(); websocket.IsCloseError(err, 1003) {
			return
		}
	}
	t.Error("the connection is still open")
}

// TestHTXTrades: the last trade comes first, behind the answer on spot.
func TestHTXTrades(t *testing.T) {
	e := start(t, Options{Venue: "htx", Rate: 500, Mix: Mix{1, 0}, Symbols: []string{"BTC-USDT"}})
	first := dial(t, e, "/ws")
	first.send(`{"sub":"market.btcusdt.trade.detail","id":"1"}`)
	for range 20 {
		first.next()
	}
	c := dial(t, e, "/ws")
	c.send(`{"sub":"market.btcusdt.trade.detail","id":"2"}`)
	if b := gunzip(t, c.next()); !bytes.Contains(b, []byte(`"subbed"`)) {
		t.Fatalf("%s", b)
	}
	last := int64(0)
	for i := range 20 {
		var f struct {
			Tick struct{ Data []struct{ TradeID int64 } }
		}
		if err := json.Unmarshal(gunzip(t, c.next()), &f); err != nil || len(f.Tick.Data) != 1 || i > 0 && f.Tick.Data[0].TradeID != last+1 {
			t.Fatalf("%d: %+v after %d, %v", i, f, last, err)
		}
		last = f.Tick.Data[0].TradeID
	}
}

// TestHTXPlayback plays a recording: requests are acknowledged, then the recorded
// frames come, in order, whole and as they were compressed.
func TestHTXPlayback(t *testing.T) {
	p := play(t, "htx", "htx-spot-20210417-cfg2")
	c := dial(t, p.Emulator, "/ws")
	c.send(`{"sub":"market.trioeth.trade.detail","id":"1"}`)
	if b := gunzip(t, c.next()); !bytes.Contains(b, []byte(`"id":"1"`)) {
		t.Fatalf("%s", b)
	}
	for _, want := range p.frames {
		c.receives(want)
	}
	if _, body, _ := get(t, p.HTTPURL()+"/v1/common/symbols"); !strings.HasPrefix(string(body), `{"status":"ok"`) {
		t.Errorf("%.100s", body)
	}
}
