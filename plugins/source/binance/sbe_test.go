package binance

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/source"
)

// message builds an SBE message part by part; ints are written with the size of
// their type, groups by their entries.
type message []byte

func (m message) put(parts ...any) message {
	for _, p := range parts {
		switch v := p.(type) {
		case int8:
			m = append(m, byte(v))
		case uint16:
			m = binary.LittleEndian.AppendUint16(m, v)
		case uint32:
			m = binary.LittleEndian.AppendUint32(m, v)
		case int64:
			m = binary.LittleEndian.AppendUint64(m, uint64(v))
		case string:
			m = append(append(m, byte(len(v))), v...)
		case []byte:
			m = append(m, v...)
		default:
			panic(fmt.Sprintf("%T", p))
		}
	}
	return m
}

func head(length, template, schema, version uint16) message {
	return message{}.put(length, template, schema, version)
}

const sbeNow = int64(1_672_515_782_136_042) // µs

// The same events as those of the benchmarks in JSON.
func sbeMessages() map[string][]byte {
	return map[string][]byte{
		"trade": head(18, sbeTrades, 1, 0).put(sbeNow, sbeNow-7, int8(-8), int8(-8), uint16(25), uint32(1),
			int64(3735683259), int64(6160201000000), int64(100000), int8(1), "BNBBTC"),
		"bbo": head(50, sbeBBO, 1, 0).put(sbeNow, int64(400900217), int8(-8), int8(-8),
			int64(2535190000), int64(3121000000), int64(2536520000), int64(4066000000), "BNBBTC"),
		"depth7": head(26, sbeDiff, 1, 0).put(sbeNow, int64(50093239189), int64(50093239202), int8(-8), int8(-8),
			uint16(16), uint16(4), int64(6173763000000), int64(0), int64(6173017000000), int64(51000000), int64(5685458000000), int64(0), int64(5685000000000), int64(125000000),
			uint16(16), uint16(3), int64(6183764000000), int64(154698000), int64(6183985000000), int64(0), int64(6184100000000), int64(2500000), "BNBBTC"),
	}
}

// records decodes a frame and lists what came out as JSON.
func records(t testing.TB, m market.Market, in source.Input) (lines []string, err error) {
	t.Helper()
	in.Recv = 1
	items, err := oracle.NewFeed(t, New(), m).Decode(t, &in)
	for _, i := range items {
		if i.Record == nil {
			if i.Signal.Kind != source.SignalDefine {
				t.Errorf("a signal of kind %d", i.Signal.Kind)
			}
			continue
		}
		lines = append(lines, string(sink.AppendJSON(nil, i.Record, &i.Instrument)))
	}
	return lines, err
}

func binaryFrame(b []byte) source.Input { return source.Input{Kind: source.InputBinary, Data: b} }

// without strikes members out of JSON.
func without(line string, names ...string) string {
	for _, n := range names {
		line = regexp.MustCompile(`"`+n+`":("[^"]*"|\d+|true),?`).ReplaceAllString(line, "")
	}
	return line
}

// TestSBE: what the streams in binary say is what those in JSON say of the same
// events, but for the times: these are finer, and the BBO has one.
func TestSBE(t *testing.T) {
	all := sbeMessages()
	for name, text := range map[string]string{"trade": benchTrade, "bbo": benchBBO, "depth7": benchDepth} {
		want, err := records(t, market.MarketSpot, source.Input{Kind: source.InputText, Data: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		got, err := records(t, market.MarketSpot, binaryFrame(all[name]))
		if err != nil || len(got) != 1 || without(got[0], "ts", "ts_send", "ts_estimated") != without(want[0], "ts", "ts_send", "ts_estimated") {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, got, want)
		}
		if !strings.Contains(got[0], `"ts_send":1672515782136042000`) || name == "trade" && !strings.Contains(got[0], `"ts":1672515782136035000`) {
			t.Errorf("%s: times of %s", name, got)
		}
	}
}

func TestSBEForms(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		want []string // parts of each record
	}{
		{"several trades", head(18, sbeTrades, 1, 0).put(sbeNow, sbeNow, int8(-2), int8(-3), uint16(25), uint32(2),
			int64(7), int64(101), int64(1500), int8(0), int64(8), int64(102), int64(1), int8(1), "BTCUSDT"),
			[]string{`"seq":7,"id":"7","price":"1.01","amount":"1.5","side":"buy"`, `"seq":8,"id":"8","price":"1.02","amount":"0.001","side":"sell"`}},
		{"no trades", head(18, sbeTrades, 1, 0).put(sbeNow, sbeNow, int8(-2), int8(-3), uint16(25), uint32(0), "BTCUSDT"), nil},
		{"a partial book", head(18, sbeSnapshot, 1, 0).put(sbeNow, int64(77), int8(-1), int8(0),
			uint16(16), uint16(2), int64(105), int64(1), int64(104), int64(2), uint16(16), uint16(1), int64(106), int64(3), "BTCUSDT"),
			[]string{`"kind":"book_snapshot"`, `"seq":77`, `"depth":20`, `"bids":[["10.5","1"],["10.4","2"]]`, `"asks":[["10.6","3"]]`}},
		{"powers of ten", head(50, sbeBBO, 1, 0).put(sbeNow, int64(1), int8(2), int8(0), int64(3), int64(4), int64(5), int64(6), "SHIBUSDT"),
			[]string{`"bid_price":"300","bid_amount":"4","ask_price":"500","ask_amount":"6"`}},
		{"an empty book", head(26, sbeDiff, 1, 0).put(sbeNow, int64(1), int64(2), int8(-1), int8(-1), uint16(16), uint16(0), uint16(16), uint16(0), "BTCUSDT"),
			[]string{`"first_seq":1`}},
		// A later version: more fields in each block, more parts behind the symbol.
		{"longer blocks", head(28, sbeDiff, 1, 3).put(sbeNow, int64(1), int64(2), int8(-1), int8(-1), uint16(9),
			uint16(18), uint16(1), int64(11), int64(12), uint16(9), uint16(18), uint16(1), int64(13), int64(14), uint16(9), "BTCUSDT", "more"),
			[]string{`"bids":[["1.1","1.2"]]`, `"asks":[["1.3","1.4"]]`}},
	} {
		got, err := records(t, market.MarketSpot, binaryFrame(c.in))
		text := strings.Join(got, "\n")
		if err != nil || (len(got) == 0) != (c.want == nil) {
			t.Errorf("%s: %v %s", c.name, err, text)
		}
		for _, w := range c.want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: %s\nlacks %s", c.name, text, w)
			}
		}
	}
}

func TestSBERefuses(t *testing.T) {
	bbo := func(us int64, price int8, bid int64, symbol string) []byte {
		return head(50, sbeBBO, 1, 0).put(us, int64(1), price, int8(0), bid, int64(4), int64(5), int64(6), symbol)
	}
	for _, c := range []struct {
		in   []byte
		want string
	}{
		{nil, "0 bytes are no SBE message"},
		{head(18, sbeTrades, 2, 0), "SBE schema 2"},
		{head(18, 10004, 1, 0), "unknown SBE template 10004"},
		{head(10, sbeBBO, 1, 0).put(make([]byte, 60)), "ends early or has a block that is too short"},
		{head(18, sbeTrades, 1, 0).put(sbeNow, sbeNow, int8(0), int8(0), uint16(25), uint32(math.MaxUint32), make([]byte, 25)), "ends early"},
		{head(18, sbeTrades, 1, 0).put(sbeNow, sbeNow, int8(0), int8(0), uint16(0), uint32(9), make([]byte, 25)), "block that is too short"},
		{head(18, sbeTrades, 1, 0).put(sbeNow, sbeNow, int8(0), int8(0), uint16(25), uint32(1), int64(1), int64(1), int64(1), int8(2), "X"), "trade 1 lacks"},
		{head(26, sbeDiff, 1, 0).put(sbeNow, int64(1), int64(2), int8(0), int8(0), uint16(16), uint16(1), int64(math.MinInt64), int64(1), uint16(16), uint16(0), "X"), "update 2 has a level without"},
		{bbo(-1, 0, 1, "X"), "a time of -1 µs"},
		{bbo(math.MaxInt64, 0, 1, "X"), "is out of range"},
		{bbo(1, -39, 1, "X"), "an exponent of -39"},
		{bbo(1, 19, 1, "X"), "an exponent of 19"},
		{bbo(1, 18, 10, "X"), "update 1 lacks"}, // more than 64 bits
		{bbo(1, 0, math.MinInt64, "X"), "update 1 lacks"},
		{bbo(1, 0, 1, ""), "has no symbol"},
	} {
		if got, err := records(t, market.MarketSpot, binaryFrame(c.in)); err == nil || len(got) > 0 || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", got, err, c.want)
		}
	}
	for name, b := range sbeMessages() {
		for n := range b { // whatever its end
			if got, err := records(t, market.MarketSpot, binaryFrame(b[:n:n])); err == nil || len(got) > 0 {
				t.Errorf("%s of %d bytes: %v", name, n, got)
			}
		}
		if _, err := records(t, market.MarketLinear, binaryFrame(b)); err == nil || !strings.Contains(err.Error(), "where the venue sends text") {
			t.Errorf("futures: %v", err)
		}
	}
}

func FuzzSBE(f *testing.F) {
	for _, b := range sbeMessages() {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		feed := oracle.NewFeed(t, New(), market.MarketSpot)
		in := binaryFrame(frame)
		in.Recv = 1
		for range 2 { // the second finds the room the first left
			_, _ = feed.Decode(t, &in)
		}
	})
}

func TestSBEAllocs(t *testing.T) {
	for name, b := range sbeMessages() {
		if n := testing.AllocsPerRun(100, sbeOnce(t, b)); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// sbeOnce decodes a frame each time that it is called.
func sbeOnce(t testing.TB, frame []byte) func() {
	decode, in := oracle.Decoding(t, New(), market.MarketSpot), binaryFrame(frame)
	in.Recv = 1
	return func() { decode(&in) }
}

// BenchmarkSBE decodes the events that BenchmarkDecode has in JSON.
func BenchmarkSBE(b *testing.B) {
	all := sbeMessages()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		b.Run(name, func(b *testing.B) {
			once := sbeOnce(b, all[name])
			b.SetBytes(int64(len(all[name])))
			b.ReportAllocs()
			for b.Loop() {
				once()
			}
		})
	}
}

// TestSBESession: the key is shown in the dial's header and nothing is signed.
func TestSBESession(t *testing.T) {
	feed := schema.Values{"feed": "sbe"}
	subs := []source.Subscription{{Channel: market.ChannelTrades, Symbol: "BTCUSDT", Config: feed}, {Channel: market.ChannelBook, Symbol: "BTCUSDT", Config: feed}, {Channel: market.ChannelBBO, Symbol: "ETHUSDT", Config: feed}}
	script, err := New().Session(source.SessionRequest{Market: market.MarketSpot, Class: classSBE, Endpoint: "wss://h/stream", Subscriptions: subs})
	if err != nil || len(script.Steps) != 2 || len(script.Steps[1].Subscribe) != 1 {
		t.Fatalf("%+v, %v", script, err)
	}
	d, f := script.Steps[0].Dial, script.Steps[1].Subscribe[0]
	if d.URL != "wss://h/stream" || d.Header["X-MBX-APIKEY"] != "${key}" || d.Sign == nil || d.Sign.Scheme != source.SchemeKey {
		t.Errorf("%+v", d)
	}
	if f.Sign != nil || !strings.Contains(f.Data, `"params":["btcusdt@trade","btcusdt@depth","ethusdt@bestBidAsk"]`) {
		t.Errorf("%+v", f)
	}
	subs[0].Config = schema.Values{"feed": "sbe", "aggregate": true}
	if _, err := New().Session(source.SessionRequest{Market: market.MarketSpot, Class: classSBE, Subscriptions: subs}); fault.Of(err) != fault.Stop || !strings.Contains(err.Error(), "no aggregate trades") {
		t.Errorf("%v", err)
	}
	for i, c := range NewUS().Describe().Channels {
		if len(c.ClassWhen) > 0 {
			t.Errorf("Binance.US: channel %d", i)
		}
	}
}
