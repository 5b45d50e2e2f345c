package emulator

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
)

type krakenFuturesBook struct {
	Feed       string
	Seq        int64
	Side       string
	Price, Qty json.Number
	Bids, Asks []struct{ Price, Qty json.Number }
}

func (f *krakenFuturesBook) update() update {
	u := update{U: f.Seq}
	for _, l := range f.Bids {
		u.B = append(u.B, [2]string{l.Price.String(), l.Qty.String()})
	}
	for _, l := range f.Asks {
		u.A = append(u.A, [2]string{l.Price.String(), l.Qty.String()})
	}
	one := [][2]string{{f.Price.String(), f.Qty.String()}}
	switch f.Side {
	case "buy":
		u.B = one
	case "sell":
		u.A = one
	}
	return u
}

// TestKrakenFuturesBook keeps a book as the venue's page says: a change is one
// level and one number, and never crosses the book.
func TestKrakenFuturesBook(t *testing.T) {
	e := start(t, Options{Venue: "kraken", Market: market.MarketLinear, Rate: 2000, Mix: Mix{0, 1}, Depth: 100})
	c := dial(t, e, "/ws/v1")
	c.until(`{"event":"info","version":1}`)
	c.send(`{"event":"subscribe","feed":"book","product_ids":["pf_xbtusd"]}`)
	if b := string(c.next()); b != `{"event":"subscribed","feed":"book","product_ids":["PF_XBTUSD"]}` {
		t.Fatalf("acknowledgement %s", b)
	}
	seq := int64(0)
	bids, asks := map[float64]bool{}, map[float64]bool{}
	keepsBook(t, e, c, "PF_XBTUSD", 2000, func(n int, frame []byte) (update, bool) {
		var f krakenFuturesBook
		if err := json.Unmarshal(frame, &f); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{true: "book_snapshot", false: "book"}[n == 0]; f.Feed != want || n > 0 && f.Seq != seq+1 {
			t.Fatalf("frame %d: %.300s after %d", n, frame, seq)
		}
		seq = f.Seq
		u := f.update()
		if n > 0 && len(u.B)+len(u.A) != 1 {
			t.Errorf("frame %d has %d levels", n, len(u.B)+len(u.A))
		}
		for side, ls := range map[*map[float64]bool][][2]string{&bids: u.B, &asks: u.A} {
			for _, l := range ls {
				price, _ := strconv.ParseFloat(l[0], 64)
				if (*side)[price] = true; strings.Trim(l[1], "0.") == "" {
					delete(*side, price)
				}
			}
		}
		if bid, ask := slices.Max(slices.Collect(maps.Keys(bids))), slices.Min(slices.Collect(maps.Keys(asks))); bid >= ask {
			t.Fatalf("frame %d crosses the book: %v, %v", n, bid, ask)
		}
		return u, true
	})
}

// TestKrakenFuturesRefuses: unknown feeds and products, what is subscribed
// already, what isn't, and text that is no JSON.
func TestKrakenFuturesRefuses(t *testing.T) {
	e := start(t, Options{Venue: "kraken", Market: market.MarketInverse, Rate: 1})
	c := dial(t, e, "/ws/v1")
	c.until(`"info"`)
	c.answers(map[string]string{
		`{"event":"subscribe","feed":"book","product_ids":["PI_NOPEUSD"]}`:   "Couldn't subscribe to invalid product `PI_NOPEUSD`",
		`{"event":"subscribe","feed":"candles","product_ids":["PI_XBTUSD"]}`: `{"event":"error","message":"Invalid feed"}`,
		`{"event":"unsubscribe","feed":"trade","product_ids":["PI_XBTUSD"]}`: `{"event":"alert","message":"Not subscribed to feed"}`,
		`subscribe`: `{"event":"error","message":"Json Error"}`,
	})
	c.send(`{"event":"subscribe","feed":"trade","product_ids":["PI_XBTUSD"]}`)
	c.until(`{"event":"subscribed","feed":"trade","product_ids":["PI_XBTUSD"]}`)
	c.send(`{"event":"subscribe","feed":"trade","product_ids":["PI_XBTUSD"]}`)
	c.until(`Already subscribed to feed, re-requesting`)
	c.until(`"feed":"trade_snapshot"`)
}

// TestKrakenFuturesTicker: options have greeks, perpetuals a rate.
func TestKrakenFuturesTicker(t *testing.T) {
	for m, want := range map[market.Market]struct{ symbol, has, lacks string }{
		market.MarketInverse: {"PI_XBTUSD", `"relative_funding_rate":`, "greeks"},
		market.MarketOption:  {"OF_XBTUSD_301227_100000_C", `"greeks":{"iv":`, "funding"},
	} {
		c := dial(t, start(t, Options{Venue: "kraken", Market: m, Rate: 100}), "/ws/v1")
		c.send(`{"event":"subscribe","feed":"ticker","product_ids":["` + want.symbol + `"]}`)
		c.until(`"subscribed"`)
		if b := c.next(); !json.Valid(b) || !strings.Contains(string(b), want.has) || strings.Contains(string(b), want.lacks) {
			t.Errorf("%s: %s", want.symbol, b)
		}
		c.send(`{"event":"subscribe","feed":"ticker_lite","product_ids":["` + want.symbol + `"]}`)
		if b := c.until(`"ticker_lite","product_id"`); !json.Valid(b) || strings.Contains(string(b), `"time"`) {
			t.Errorf("%s: %s", want.symbol, b)
		}
	}
}

// TestKrakenFuturesRequests: the catalogue, candles, the newest trades, a book.
func TestKrakenFuturesRequests(t *testing.T) {
	e := start(t, Options{Venue: "kraken", Market: market.MarketLinear, Rate: 2000, Mix: Mix{1, 0}, Symbols: []string{"BTC-USD-20301227", "ETH-USD-PERP"}})
	c := dial(t, e, "/ws/v1")
	c.send(`{"event":"subscribe","feed":"trade","product_ids":["PF_ETHUSD"]}`)
	c.until(`"seq":`)
	for path, want := range map[string]string{
		"/derivatives/api/v3/instruments":                   `"lastTradingTime":"2030-12-27T08:00:00.000Z"`,
		"/derivatives/api/v3/history?symbol=pf_ethusd":      `"uid":"00000000-0000-4000-8000-`,
		"/derivatives/api/v3/orderbook?symbol=PF_ETHUSD":    `"bids":[[`,
		"/derivatives/api/v3/orderbook?symbol=PF_NOPEUSD":   `"result":"error"`,
		"/api/charts/v1/trade/PF_ETHUSD/1m?count=2":         `"more_candles":true`,
		"/api/charts/v1/trade/PF_ETHUSD/2m?count=2":         `"errors":`,
		"/derivatives/api/v3/feeschedules?symbol=PF_ETHUSD": `404 page not found`,
	} {
		if _, b, _ := get(t, e.HTTPURL()+path); !strings.Contains(string(b), want) {
			t.Errorf("%s: %.300s", path, b)
		}
	}
}

// TestKrakenFuturesFaults: contracts have no checksums that could be wrong.
func TestKrakenFuturesFaults(t *testing.T) {
	e := start(t, Options{Venue: "kraken", Market: market.MarketInverse})
	if err := e.Inject(Fault{Kind: FaultChecksum}); err == nil || !strings.Contains(err.Error(), "kraken inverse has no checksums") {
		t.Error(err)
	}
}

// TestKrakenFuturesPlayback plays a recording: requests are acknowledged, then
// the recorded frames come, in order and whole.
func TestKrakenFuturesPlayback(t *testing.T) {
	e, _ := playsBack(t, "kraken", "kraken-futures-20210722-cfg3", "/ws/v1", `{"event":"subscribe","feed":"book","product_ids":["PI_NOPEUSD"]}`, `"PI_NOPEUSD"`)
	if _, body, _ := get(t, e.HTTPURL()+"/derivatives/api/v3/instruments"); !strings.HasPrefix(string(body), `{"result":"success","instruments":[`) {
		t.Errorf("%.100s", body)
	}
}
