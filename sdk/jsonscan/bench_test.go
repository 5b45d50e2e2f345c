package jsonscan

import (
	"testing"

	"github.com/bytedance/sonic"
	segjson "github.com/segmentio/encoding/json"
	"github.com/valyala/fastjson"
)

const (
	tradeFrame = `{"stream":"btcusdt@trade","data":{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.00100000","q":"100.00000000","T":1672515782136,"m":true,"M":true}}`
	depthFrame = `{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1672515782136,"s":"BTCUSDT","U":31485920157,"u":31485920163,"b":[["16578.50000000","0.42000000"],["16578.41000000","1.00350000"],["16577.00000000","0.00000000"],["16570.10000000","12.31000000"]],"a":[["16578.51000000","0.09921000"],["16580.00000000","2.50000000"],["16601.99000000","0.00000000"]]}}`
)

func decimal(c *Cursor) Decimal {
	coef, scale, ok := c.DecimalParts()
	if !ok {
		c.Fail("not a decimal")
	}
	return Decimal{coef, scale}
}

type level struct{ price, amount Decimal }

type trade struct {
	symbol        []byte
	id            int64
	event, time   int64
	price, amount Decimal
	maker         bool
}

type depth struct {
	symbol      []byte
	event       int64
	first, last int64
	bids, asks  []level
}

// decodeTrade is the way a venue's decoder is written.
func decodeTrade(c *Cursor, frame []byte, out *trade) error {
	c.Reset(frame)
	for c.Object(); c.Key(); {
		switch string(c.KeyBytes()) {
		case "stream":
			c.Str()
		case "data":
			for c.Object(); c.Key(); {
				switch c.Key1() {
				case 'E':
					out.event = c.Int64()
				case 's':
					out.symbol = c.Str()
				case 't':
					out.id = c.Int64()
				case 'p':
					out.price = decimal(c)
				case 'q':
					out.amount = decimal(c)
				case 'T':
					out.time = c.Int64()
				case 'm':
					out.maker = c.Bool()
				default:
					c.Skip()
				}
			}
		}
	}
	return c.End()
}

// decodeTradeStrings is decodeTrade with a switch over the key as a string.
func decodeTradeStrings(c *Cursor, frame []byte, out *trade) error {
	c.Reset(frame)
	for c.Object(); c.Key(); {
		switch string(c.KeyBytes()) {
		case "stream":
			c.Str()
		case "data":
			for c.Object(); c.Key(); {
				switch string(c.KeyBytes()) {
				case "E":
					out.event = c.Int64()
				case "s":
					out.symbol = c.Str()
				case "t":
					out.id = c.Int64()
				case "p":
					out.price = decimal(c)
				case "q":
					out.amount = decimal(c)
				case "T":
					out.time = c.Int64()
				case "m":
					out.maker = c.Bool()
				default:
					c.Skip()
				}
			}
		}
	}
	return c.End()
}

func decodeLevels(c *Cursor, levels []level) []level {
	for c.Array(); c.Elem(); {
		var pair [2]Decimal
		if n, ok := c.Decimals(pair[:]); !ok {
			levelSlow(c, &pair)
		} else if n < 2 {
			c.Fail("a level has no amount")
		}
		levels = append(levels, level{pair[0], pair[1]})
	}
	return levels
}

func levelSlow(c *Cursor, pair *[2]Decimal) {
	i := 0
	for c.Array(); c.Elem(); i++ {
		if i < 2 {
			pair[i] = decimal(c)
		}
	}
	if i < 2 {
		c.Fail("a level has no amount")
	}
}

func decodeDepth(c *Cursor, frame []byte, out *depth) error {
	c.Reset(frame)
	for c.Object(); c.Key(); {
		switch string(c.KeyBytes()) {
		case "stream":
			c.Str()
		case "data":
			for c.Object(); c.Key(); {
				switch c.Key1() {
				case 'E':
					out.event = c.Int64()
				case 's':
					out.symbol = c.Str()
				case 'U':
					out.first = c.Int64()
				case 'u':
					out.last = c.Int64()
				case 'b':
					out.bids = decodeLevels(c, out.bids[:0])
				case 'a':
					out.asks = decodeLevels(c, out.asks[:0])
				default:
					c.Skip()
				}
			}
		}
	}
	return c.End()
}

// The same frames for the other libraries, prices left as text: they have no exact decimals.
type tradeMsg struct {
	Stream string `json:"stream"`
	Data   struct {
		Kind   string `json:"e"`
		Event  int64  `json:"E"`
		Symbol string `json:"s"`
		ID     int64  `json:"t"`
		Price  string `json:"p"`
		Amount string `json:"q"`
		Time   int64  `json:"T"`
		Maker  bool   `json:"m"`
		Ignore bool   `json:"M"`
	} `json:"data"`
}

type depthMsg struct {
	Stream string `json:"stream"`
	Data   struct {
		Kind   string      `json:"e"`
		Event  int64       `json:"E"`
		Symbol string      `json:"s"`
		First  int64       `json:"U"`
		Last   int64       `json:"u"`
		Bids   [][2]string `json:"b"`
		Asks   [][2]string `json:"a"`
	} `json:"data"`
}

func BenchmarkTrade(b *testing.B) {
	frame := []byte(tradeFrame)
	b.Run("jsonscan", func(b *testing.B) {
		var c Cursor
		var out trade
		b.SetBytes(int64(len(frame)))
		b.ReportAllocs()
		for b.Loop() {
			if err := decodeTrade(&c, frame, &out); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("jsonscan-string-keys", func(b *testing.B) {
		var c Cursor
		var out trade
		b.SetBytes(int64(len(frame)))
		b.ReportAllocs()
		for b.Loop() {
			if err := decodeTradeStrings(&c, frame, &out); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("jsonscan-end", func(b *testing.B) { benchEnd(b, frame) })
	b.Run("segmentio", func(b *testing.B) { benchSegmentio(b, frame, new(tradeMsg)) })
	b.Run("sonic", func(b *testing.B) { benchSonic(b, tradeFrame, func() any { return new(tradeMsg) }) })
	b.Run("fastjson", func(b *testing.B) {
		var p fastjson.Parser
		var out trade
		b.SetBytes(int64(len(frame)))
		b.ReportAllocs()
		for b.Loop() {
			v, err := p.ParseBytes(frame)
			if err != nil {
				b.Fatal(err)
			}
			d := v.Get("data")
			out.event = d.GetInt64("E")
			out.symbol = d.GetStringBytes("s")
			out.id = d.GetInt64("t")
			_ = d.GetStringBytes("p")
			_ = d.GetStringBytes("q")
			out.time = d.GetInt64("T")
			out.maker = d.GetBool("m")
		}
	})
}

func BenchmarkDepth7(b *testing.B) {
	frame := []byte(depthFrame)
	b.Run("jsonscan", func(b *testing.B) {
		var c Cursor
		var out depth
		b.SetBytes(int64(len(frame)))
		b.ReportAllocs()
		for b.Loop() {
			if err := decodeDepth(&c, frame, &out); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("jsonscan-end", func(b *testing.B) { benchEnd(b, frame) })
	b.Run("segmentio", func(b *testing.B) { benchSegmentio(b, frame, new(depthMsg)) })
	b.Run("sonic", func(b *testing.B) { benchSonic(b, depthFrame, func() any { return new(depthMsg) }) })
	b.Run("fastjson", func(b *testing.B) {
		var p fastjson.Parser
		var out depth
		b.SetBytes(int64(len(frame)))
		b.ReportAllocs()
		for b.Loop() {
			v, err := p.ParseBytes(frame)
			if err != nil {
				b.Fatal(err)
			}
			d := v.Get("data")
			out.event = d.GetInt64("E")
			out.symbol = d.GetStringBytes("s")
			out.first = d.GetInt64("U")
			out.last = d.GetInt64("u")
			for _, side := range []string{"b", "a"} {
				for _, l := range d.GetArray(side) {
					pair := l.GetArray()
					_, _ = pair[0].GetStringBytes(), pair[1].GetStringBytes()
				}
			}
		}
	})
}

// benchEnd validates a frame and reads nothing of it.
func benchEnd(b *testing.B, frame []byte) {
	var c Cursor
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		c.Reset(frame)
		if err := c.End(); err != nil {
			b.Fatal(err)
		}
	}
}

func benchSegmentio(b *testing.B, frame []byte, msg any) {
	const flags = segjson.ZeroCopy | segjson.DontMatchCaseInsensitiveStructFields
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		rest, err := segjson.Parse(frame, msg, flags)
		if err != nil || len(rest) != 0 {
			b.Fatal(err, len(rest))
		}
	}
}

// benchSonic takes a new message each time, as its compiled decoder keeps none of the slices of an old one.
func benchSonic(b *testing.B, frame string, msg func() any) {
	api := sonic.Config{CaseSensitive: true, NoValidateJSONMarshaler: true}.Froze()
	m := msg()
	if err := api.UnmarshalFromString(frame, m); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if err := api.UnmarshalFromString(frame, m); err != nil {
			b.Fatal(err)
		}
	}
}
