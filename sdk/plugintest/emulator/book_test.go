package emulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
)

func parseUpdate(t *testing.T, b []byte) (u update, ok bool) {
	t.Helper()
	var f struct {
		Data struct {
			Kind  string      `json:"e"`
			E     int64       `json:"E"`
			First int64       `json:"U"`
			Last  int64       `json:"u"`
			Prev  int64       `json:"pu"`
			B     [][2]string `json:"b"`
			A     [][2]string `json:"a"`
		}
	}
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return update{f.Data.Last, f.Data.First, f.Data.Prev, f.Data.B, f.Data.A}, f.Data.Kind == "depthUpdate"
}

// TestBinanceSplice builds a book as Binance's pages say, and compares it with
// the emulator's own when the market stands still.
func TestBinanceSplice(t *testing.T) {
	for _, x := range []struct {
		m                  market.Market
		path, symbol, rest string
	}{
		{market.MarketSpot, "/stream", "BTCUSDT", "/api/v3/depth?limit=5000&symbol="},
		{market.MarketLinear, "/public/stream", "BTCUSDT", "/fapi/v1/depth?limit=1000&symbol="},
		{market.MarketInverse, "/stream", "BTCUSD_PERP", "/dapi/v1/depth?limit=1000&symbol="},
	} {
		t.Run(x.m.String(), func(t *testing.T) {
			e := start(t, Options{Market: x.m, Rate: 3000, Mix: Mix{1, 3}, Depth: 300, Seed: 7})
			c := dial(t, e, x.path+"?streams="+strings.ToLower(x.symbol)+"@depth@100ms")
			var buffer []update
			for range 50 {
				if u, ok := parseUpdate(t, c.next()); ok {
					buffer = append(buffer, u)
				}
			}
			status, body, head := get(t, e.HTTPURL()+x.rest+x.symbol)
			if status != 200 || head.Get("X-Mbx-Used-Weight-1m") == "" {
				t.Fatalf("depth: %d, %v", status, head)
			}
			var snap struct {
				LastUpdateID int64
				Bids, Asks   [][2]string
			}
			if err := json.Unmarshal(body, &snap); err != nil {
				t.Fatal(err)
			}
			book, id, synced := sides{pairs(snap.Bids), pairs(snap.Asks)}, snap.LastUpdateID, false
			futures := x.m != market.MarketSpot
			handle := func(u update) {
				switch {
				case !synced && (!futures && u.U <= id || futures && u.U < id):
					return
				case !synced && !futures && !(u.First <= id+1 && id+1 <= u.U),
					!synced && futures && !(u.First <= id && id <= u.U || u.Prev <= id && id <= u.U),
					synced && !futures && u.First != id+1,
					synced && futures && u.Prev != id:
					t.Fatalf("update %d..%d (pu %d) does not follow %d", u.First, u.U, u.Prev, id)
				}
				synced, id = true, u.U
				book.apply(u)
			}
			for _, u := range buffer {
				handle(u)
			}
			for n := 0; n < 2000; {
				if u, ok := parseUpdate(t, c.next()); ok {
					handle(u)
					n++
				}
			}
			post(t, e, "/_pause", nil)
			c.send(`{"method":"LIST_SUBSCRIPTIONS","id":1}`)
			for {
				b := c.next()
				if bytes.HasPrefix(b, []byte(`{"result":[`)) {
					break
				}
				if u, ok := parseUpdate(t, b); ok {
					handle(u)
				}
			}
			truth, err := e.Book(x.symbol, 0)
			if err != nil {
				t.Fatal(err)
			}
			if truth.Seq != id {
				t.Errorf("book stands at %d, the emulator's at %d", id, truth.Seq)
			}
			if !book.is(truth) {
				t.Errorf("%d bids and %d asks differ from the %d and %d of the emulator", len(book.bids), len(book.asks), len(truth.Bids), len(truth.Asks))
			}
			if truth.Bids[0][0] >= truth.Asks[0][0] {
				t.Errorf("crossed: %v %v", truth.Bids[0], truth.Asks[0])
			}
		})
	}
}

// number keeps a JSON number as it was written.
type krakenLevel struct{ Price, Qty json.Number }

type krakenBook struct {
	Channel, Type string
	Data          []struct {
		Symbol     string
		Bids, Asks []krakenLevel
		Checksum   uint32
	}
}

// TestKrakenChecksum keeps books of several depths as Kraken's page says and
// computes each checksum from the texts alone.
func TestKrakenChecksum(t *testing.T) {
	for _, depth := range []int{10, 25, 100} {
		t.Run(fmt.Sprint(depth), func(t *testing.T) {
			e := start(t, Options{Venue: "kraken", Rate: 5000, Mix: Mix{1, 4}, Symbols: []string{"BTC-USD", "XRP-USD"}, Depth: 200})
			c := dial(t, e, "/v2")
			c.until(`"channel":"status"`)
			c.send(fmt.Sprintf(`{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD","XRP/USD"],"depth":%d},"req_id":3}`, depth))
			if b := c.next(); !bytes.HasPrefix(b, []byte(fmt.Sprintf(`{"method":"subscribe","result":{"channel":"book","depth":%d,"snapshot":true,"symbol":"BTC/USD"},"success":true,"time_in":"`, depth))) || !bytes.HasSuffix(b, []byte(`,"req_id":3}`)) {
				t.Fatalf("acknowledgement %s", b)
			}
			if err := e.Inject(Fault{Kind: FaultCrossed, Symbol: "BTC/USD"}); err != nil {
				t.Fatal(err)
			}
			books := map[string]*[2][]krakenLevel{}
			for n := 0; n < 3000; {
				var f krakenBook
				if err := json.Unmarshal(c.next(), &f); err != nil {
					t.Fatal(err)
				}
				if f.Channel != "book" {
					continue
				}
				n++
				d := f.Data[0]
				b := books[d.Symbol]
				if f.Type == "snapshot" {
					b = &[2][]krakenLevel{}
					books[d.Symbol] = b
				}
				for side, ls := range [2][]krakenLevel{d.Asks, d.Bids} {
					for _, l := range ls {
						b[side] = slices.DeleteFunc(b[side], func(x krakenLevel) bool { return x.Price == l.Price })
						if strings.Trim(string(l.Qty), "0.") != "" {
							b[side] = append(b[side], l)
						}
					}
					slices.SortFunc(b[side], func(x, y krakenLevel) int {
						px, _ := x.Price.Float64()
						py, _ := y.Price.Float64()
						if (px < py) == (side == 0) {
							return -1
						}
						return 1
					})
					b[side] = b[side][:min(len(b[side]), depth)]
				}
				var text strings.Builder
				for _, side := range b {
					for _, l := range side[:min(10, len(side))] {
						for _, s := range []json.Number{l.Price, l.Qty} {
							text.WriteString(strings.TrimLeft(strings.ReplaceAll(string(s), ".", ""), "0"))
						}
					}
				}
				if sum := crc32.ChecksumIEEE([]byte(text.String())); sum != d.Checksum {
					t.Fatalf("frame %d of %s: checksum %d, computed %d", n, d.Symbol, d.Checksum, sum)
				}
			}
			for s, b := range books {
				if len(b[0]) != depth || len(b[1]) != depth {
					t.Errorf("%s: %d asks and %d bids at depth %d", s, len(b[0]), len(b[1]), depth)
				}
			}
		})
	}
}

// TestSeed makes the same market twice, and another with another seed.
func TestSeed(t *testing.T) {
	run := func(seed uint64) string {
		o := Options{Venue: "binance", Seed: seed}
		if err := o.fill(); err != nil {
			t.Fatal(err)
		}
		m, err := newSynthetic(o, binanceVenue.symbols)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		var ev event
		for range 5000 {
			m.next(&ev)
			fmt.Fprintln(&b, ev.sym.native, ev.trade, ev.id, ev.price, ev.qty, ev.sell, ev.first, ev.last, ev.bids, ev.asks)
		}
		return b.String()
	}
	if run(1) != run(1) {
		t.Error("the same seed gave another market")
	}
	if run(1) == run(2) {
		t.Error("another seed gave the same market")
	}
}

// TestMarketStays runs a long market: the book is never empty, never crossed,
// its counts are true, and the price stays in the grid.
func TestMarketStays(t *testing.T) {
	o := Options{Venue: "binance", Seed: 3, Symbols: []string{"BTC-USDT", "XRP-USDT"}, Mix: Mix{0, 1}}
	if err := o.fill(); err != nil {
		t.Fatal(err)
	}
	m, err := newSynthetic(o, binanceVenue.symbols)
	if err != nil {
		t.Fatal(err)
	}
	var ev event
	short := 0
	for i := range 1_000_000 {
		m.next(&ev)
		if len(ev.bids)+len(ev.asks) < o.Levels {
			short++
		}
		if i%100_000 != 0 {
			continue
		}
		for _, s := range m.syms {
			nb, na := 0, 0
			s.bids(0, func(int, int64) { nb++ })
			s.asks(0, func(int, int64) { na++ })
			if nb != s.nb || na != s.na || nb < 20 || na < 20 || s.bb >= s.ba || s.qty[s.bb] == 0 || s.qty[s.ba] == 0 {
				t.Fatalf("after %d events: %s has %d of %d bids, %d of %d asks, touch %d %d", i, s.native, nb, s.nb, na, s.na, s.bb, s.ba)
			}
			if s.bb < gridHalf/2 || s.ba > gridHalf+gridHalf/2 {
				t.Fatalf("after %d events: %s stands at %d..%d of %d", i, s.native, s.bb, s.ba, gridSize)
			}
		}
	}
	if short > 1000 {
		t.Errorf("%d of a million updates have fewer than %d levels", short, o.Levels)
	}
}

func TestAppendFixed(t *testing.T) {
	for _, x := range []struct {
		v        int64
		dec, prt uint8
		want     string
	}{{6300010, 2, 8, "63000.10000000"}, {0, 5, 8, "0.00000000"}, {7, 5, 5, "0.00007"}, {-15, 1, 2, "-1.50"}, {42, 0, 0, "42"},
		{42, 0, 2, "42.00"}, {100, 2, 2, "1.00"}, {123456789, 3, 3, "123456.789"}, {5, 1, 1, "0.5"}} {
		if got := string(appendFixed(nil, x.v, x.dec, x.prt)); got != x.want {
			t.Errorf("%d at %d: %s, want %s", x.v, x.dec, got, x.want)
		}
	}
}
