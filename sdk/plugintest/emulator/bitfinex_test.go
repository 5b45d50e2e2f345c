package emulator

import (
	"encoding/json"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
)

// bitfinexSide is one of a book that a test keeps: price and amount as sent, by price.
type bitfinexSide map[float64][2]string

func (s bitfinexSide) best(dir float64) (all [][2]string) {
	prices := make([]float64, 0, len(s))
	for p := range s {
		prices = append(prices, p)
	}
	slices.SortFunc(prices, func(a, b float64) int { return int(dir) * map[bool]int{true: 1, false: -1}[a > b] })
	for _, p := range prices {
		all = append(all, s[p])
	}
	return all
}

// TestBitfinexBook keeps a book as the venue's pages say, checks its sums of the
// texts that were sent, and compares it with the true one. The numbers of the
// connection's frames have no hole.
func TestBitfinexBook(t *testing.T) {
	e := start(t, Options{Venue: "bitfinex", Rate: 3000, Mix: Mix{1, 5}, Depth: 100})
	c := dial(t, e, "/ws/2")
	c.send(`{"event":"conf","flags":229376}`)
	c.send(`{"event":"subscribe","channel":"book","symbol":"tBTCUSD","prec":"P0","freq":"F0","len":"250","subId":"b"}`)
	c.send(`{"event":"subscribe","channel":"trades","symbol":"tBTCUSD"}`)
	ids, number, sums, exponents := map[int64]string{}, int64(0), 0, 0
	bids, asks := bitfinexSide{}, bitfinexSide{}
	keepsBook(t, e, c, "tBTCUSD", 4000, func(_ int, frame []byte) (u update, ok bool) {
		if frame[0] == '{' {
			var ev struct {
				Channel string
				ChanID  int64
			}
			if err := json.Unmarshal(frame, &ev); err != nil || strings.Contains(string(frame), "error") {
				t.Fatalf("%v %s", err, frame)
			}
			ids[ev.ChanID] = ev.Channel
			return u, false
		}
		var f []json.RawMessage
		if err := json.Unmarshal(frame, &f); err != nil || len(f) < 4 {
			t.Fatalf("%v %s", err, frame)
		}
		number++
		id, _ := strconv.ParseInt(string(f[0]), 10, 64)
		if n, _ := strconv.ParseInt(string(f[len(f)-2]), 10, 64); n != number || len(f[len(f)-1]) != 13 {
			t.Fatalf("frame %d: %s", number, frame)
		}
		switch {
		case ids[id] != "book":
			return u, false
		case string(f[1]) == `"cs"`:
			var parts []string
			b, a := bids.best(-1), asks.best(1)
			for i := range 25 {
				parts = append(parts, b[i][0], b[i][1], a[i][0], a[i][1])
			}
			if sum := strconv.Itoa(int(int32(crc32.ChecksumIEEE([]byte(strings.Join(parts, ":")))))); sum != string(f[2]) {
				t.Fatalf("sum %s, the book's is %s: %v", f[2], sum, parts)
			}
			if exponents += strings.Count(strings.Join(parts, ":"), "e-"); sums < 1000 {
				sums++
			}
			return u, false
		case string(f[1]) == `"hb"`:
			return u, false
		}
		var rows [][3]json.Number
		if json.Unmarshal(f[1], &rows) != nil {
			rows = make([][3]json.Number, 1)
			if err := json.Unmarshal(f[1], &rows[0]); err != nil {
				t.Fatalf("%v %s", err, frame)
			}
		}
		for _, r := range rows {
			price, _ := r[0].Float64()
			amount, _ := r[2].Float64()
			side, to := bids, &u.B
			if amount < 0 {
				side, to, amount = asks, &u.A, -amount
			}
			side[price] = [2]string{r[0].String(), r[2].String()}
			if r[1] == "0" {
				amount = 0
				delete(side, price)
			}
			*to = append(*to, [2]string{strconv.FormatFloat(price, 'f', 0, 64), strconv.FormatFloat(amount, 'f', 8, 64)})
		}
		return u, true
	})
	if sums == 0 || exponents == 0 {
		t.Errorf("%d sums, with %d exponents", sums, exponents)
	}
}

// TestBitfinexRefuses: what the venue doesn't have, what is there already, and
// malformed requests are answered with the venue's codes.
func TestBitfinexRefuses(t *testing.T) {
	c := dial(t, start(t, Options{Venue: "bitfinex", Market: market.MarketLinear, Rate: 100, Mix: Mix{0, 1}}), "/ws/2")
	c.until(`"event":"info"`)
	c.answers(map[string]string{
		`{"event":"subscribe","channel":"trades","symbol":"tXXXYYY","subId":"x"}`:    `"code":10300,"event":"error","msg":"symbol: invalid","subId":"x"`,
		`{"event":"subscribe","channel":"candles","key":"trade:7m:tBTCF0:USTF0"}`:    `"code":10300`,
		`{"event":"subscribe","channel":"book","symbol":"tBTCF0:USTF0","prec":"P9"}`: `"code":10300`,
		`{"event":"subscribe","channel":"status","key":"moon:tBTCF0:USTF0"}`:         `"code":10300`,
		`{"event":"unsubscribe","chanId":7}`:                                         `"code":10400`,
		`{"event":"dance"}`:                                                          `"code":10000`,
		`[`:                                                                          `"code":10000`,
	}, `"event":"error"`)
	c.send(`{"event":"subscribe","channel":"trades","symbol":"tBTCF0:USTF0"}`)
	c.until(`"event":"subscribed"`)
	c.send(`{"event":"subscribe","channel":"trades","symbol":"tBTCF0:USTF0"}`)
	c.until(`"code":10301`)
}

// TestBitfinexPlayback plays a recording: requests are acknowledged, then the
// recorded frames come, in order and whole.
func TestBitfinexPlayback(t *testing.T) {
	playsBack(t, "bitfinex", "bitfinex-spot-20210417-cfg2", "/ws/2", `{"event":"conf","flags":65536}`, `"event":"conf"`)
}
