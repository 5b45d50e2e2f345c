package market

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// samples holds one record of each kind with a different value in every field,
// and the values that a reader must find under each name.
func samples() map[Kind]struct {
	b    []byte
	want map[string]string
} {
	h := func(k Kind) Header {
		return Header{Kind: k, Origin: OriginLive, Channel: ChannelTrades, Revision: 3, Flags: FlagTsEstimated, Index: 4, Instrument: 5,
			Conn: 6, Ts: 7, TsSend: 8, TsRecv: 9, Seq: 10, PrevSeq: 11, Key: 12, Pos: 13}
	}
	n := int64(0)
	d := func() Decimal { n++; return NewDecimal(n*10+1, 1) }
	ls := []Level{{MustDecimal("1.50"), MustDecimal("2")}, {MustDecimal("1.4"), MustDecimal("0.00")}}
	type s = struct {
		b    []byte
		want map[string]string
	}
	out := map[Kind]s{}
	out[KindTrade] = s{(&Trade{h(KindTrade), []byte("77"), MustDecimal("1.10"), MustDecimal("2.5"), SideSell, 70, 71, []byte("block")}).AppendTo(nil),
		map[string]string{"id": "77", "price": "1.10", "amount": "2.5", "side": "sell", "first_id": "70", "last_id": "71", "conditions": "block"}}
	for _, k := range []Kind{KindBookSnapshot, KindBookDelta} {
		out[k] = s{(&Book{h(k), ls, ls[:1], 25, 99, 98}).AppendTo(nil),
			map[string]string{"bids": "1.50:2,1.4:0.00", "asks": "1.50:2", "depth": "25", "first_seq": "99", "checksum": "98"}}
	}
	out[KindBBO] = s{(&BBO{h(KindBBO), MustDecimal("1"), MustDecimal("2"), MustDecimal("3"), Decimal{}}).AppendTo(nil),
		map[string]string{"bid_price": "1", "bid_amount": "2", "ask_price": "3", "ask_amount": ""}}
	n = 0
	out[KindTicker] = s{(&Ticker{h(KindTicker), d(), d(), d(), d(), d(), d(), d(), d(), d(), d(), d(), d(), 121}).AppendTo(nil),
		decNames("last", "open", "high", "low", "volume", "quote_volume", "vwap", "bid_price", "bid_amount", "ask_price", "ask_amount", "last_amount")}
	out[KindTicker].want["trades"] = "121"
	n = 0
	c := &Candle{Header: h(KindCandle), Interval: []byte("1m"), OpenTs: 20, CloseTs: 21, Trades: 22}
	c.Open, c.High, c.Low, c.Close, c.Volume, c.QuoteVolume, c.BuyVolume = d(), d(), d(), d(), d(), d(), d()
	w := decNames("open", "high", "low", "close", "volume", "quote_volume", "buy_volume")
	w["interval"], w["open_ts"], w["close_ts"], w["trades"] = "1m", "20", "21", "22"
	out[KindCandle] = s{c.AppendTo(nil), w}
	out[KindFunding] = s{(&Funding{h(KindFunding), MustDecimal("-0.0001"), MustDecimal("0.0002"), 30, []byte("8h")}).AppendTo(nil),
		map[string]string{"rate": "-0.0001", "predicted_rate": "0.0002", "next_ts": "30", "interval": "8h"}}
	for _, k := range []Kind{KindMarkPrice, KindIndexPrice} {
		out[k] = s{(&Price{h(k), MustDecimal("5")}).AppendTo(nil), map[string]string{"price": "5"}}
	}
	out[KindOpenInterest] = s{(&OpenInterest{h(KindOpenInterest), MustDecimal("5"), MustDecimal("6")}).AppendTo(nil),
		map[string]string{"amount": "5", "value": "6"}}
	out[KindLiquidation] = s{(&Liquidation{h(KindLiquidation), []byte("L"), MustDecimal("5"), MustDecimal("6"), SideBuy}).AppendTo(nil),
		map[string]string{"id": "L", "price": "5", "amount": "6", "side": "buy"}}
	n = 0
	o := &OptionSummary{Header: h(KindOptionSummary), UnderlyingIndex: []byte("I")}
	o.BidPrice, o.BidAmount, o.BidIV, o.AskPrice, o.AskAmount, o.AskIV, o.MarkPrice, o.MarkIV, o.Last, o.OpenInterest = d(), d(), d(), d(), d(), d(), d(), d(), d(), d()
	o.UnderlyingPrice, o.Delta, o.Gamma, o.Vega, o.Theta, o.Rho = d(), d(), d(), d(), d(), d()
	w = decNames("bid_price", "bid_amount", "bid_iv", "ask_price", "ask_amount", "ask_iv", "mark_price", "mark_iv", "last", "open_interest",
		"underlying_price", "delta", "gamma", "vega", "theta", "rho")
	w["underlying_index"] = "I"
	out[KindOptionSummary] = s{o.AppendTo(nil), w}
	out[KindLongShortRatio] = s{(&LongShortRatio{h(KindLongShortRatio), MustDecimal("1"), MustDecimal("2"), MustDecimal("3"), []byte("p")}).AppendTo(nil),
		map[string]string{"long": "1", "short": "2", "ratio": "3", "population": "p"}}
	out[KindVolatilityIndex] = s{(&VolatilityIndex{h(KindVolatilityIndex), MustDecimal("1")}).AppendTo(nil), map[string]string{"value": "1"}}
	out[KindInstrument] = s{(&InstrumentRecord{h(KindInstrument), []byte("N"), []byte("B"), []byte("Q"), []byte("S"), MustDecimal("1"), MustDecimal("2"),
		MustDecimal("3"), MustDecimal("4"), UnitContract, 40, OptionPut, StatusHalted}).AppendTo(nil),
		map[string]string{"instrument": "N", "base": "B", "quote": "Q", "settle": "S", "contract_size": "1", "tick_size": "2", "lot_size": "3",
			"strike": "4", "amount_unit": "contract", "expiry": "40", "option_type": "put", "status": "halted"}}
	out[KindQuality] = s{(&Quality{h(KindQuality), CauseStale, ChannelBook, 1, 2, 3, 4, 5, []byte("how"), 6, []byte("why")}).AppendTo(nil),
		map[string]string{"cause": "stale", "channel": "book", "from_seq": "1", "to_seq": "2", "from_ts": "3", "to_ts": "4", "missing": "5",
			"repaired": "how", "ref": "6", "detail": "why"}}
	out[KindCoverage] = s{(&Coverage{h(KindCoverage), ChannelBook, 1, 2, 3, 4, 5, VerifiableChecksum, 1, 6}).AppendTo(nil),
		map[string]string{"channel": "book", "from_ts": "1", "to_ts": "2", "messages": "3", "gaps": "4", "missing": "5",
			"verifiable": "checksum", "lossy_by_venue": "1", "clock_offset": "6"}}
	return out
}

func decNames(names ...string) map[string]string {
	m := map[string]string{}
	for i, n := range names {
		m[n] = NewDecimal(int64(i+1)*10+1, 1).Text()
	}
	return m
}

func fieldText(v View, f Field) string {
	switch f.Type {
	case FieldDec:
		return v.Dec(f.Offset).Text()
	case FieldEnum:
		return f.Enum[v.Int(f.Offset)]
	case FieldText:
		return string(v.Text(f.Offset))
	case FieldLevels:
		var s []string
		for ls, i := v.Levels(f.Offset), 0; i < ls.Len(); i++ {
			s = append(s, ls.At(i).Price.Text()+":"+ls.At(i).Amount.Text())
		}
		return strings.Join(s, ",")
	}
	return fmt.Sprint(v.Int(f.Offset))
}

func TestEveryKindRoundTrips(t *testing.T) {
	ss := samples()
	for _, k := range Kinds() {
		s, ok := ss[k]
		if !ok {
			t.Errorf("%s: no sample", k)
			continue
		}
		v, err := Validate(append(s.b, 1, 2, 3))
		if err != nil {
			t.Errorf("%s: %v", k, err)
			continue
		}
		if h := v.Header(); h != (Header{k, OriginLive, ChannelTrades, 3, FlagTsEstimated, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}) {
			t.Errorf("%s: header %+v", k, h)
		}
		for _, f := range Fields(k) {
			if got := fieldText(v, f); got != s.want[f.Name] {
				t.Errorf("%s.%s = %q, want %q", k, f.Name, got, s.want[f.Name])
			}
			delete(s.want, f.Name)
		}
		if len(s.want) > 0 {
			t.Errorf("%s: fields %v are in no layout", k, s.want)
		}
	}
}

// TestLayoutIsPinned compares every offset with testdata/layout.txt. A
// difference means that old journals can't be read: raise LayoutVersion and keep
// a reader of the version before, then write the file anew (-update is
// deliberately absent).
func TestLayoutIsPinned(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "version %d header %d level %d\n", LayoutVersion, HeaderSize, LevelSize)
	for _, k := range Kinds() {
		fmt.Fprintf(&b, "%d %s", k, k)
		for _, f := range Fields(k) {
			fmt.Fprintf(&b, " %s:%d@%d", f.Name, f.Type, f.Offset)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintln(&b, "enums", sideNames, originNames, causeNames, verifiableNames, unitNames, statusNames, optionNames, channelNames, marketNames)
	want, err := os.ReadFile("testdata/layout.txt")
	if err != nil || string(want) != b.String() {
		t.Errorf("layout differs from testdata/layout.txt (%v); it is now:\n%s", err, b.String())
	}
}

func FuzzValidate(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Validate(b)
		if err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatalf("%v does not wrap ErrRecord", err)
			}
			return
		}
		for _, fd := range Fields(v.Kind()) {
			fieldText(v, fd)
		}
	})
}

func TestAppendAllocates(t *testing.T) {
	tr := Trade{ID: []byte("12345"), Price: MustDecimal("1.5"), Amount: MustDecimal("2")}
	bk := Book{Bids: make([]Level, 7), Asks: make([]Level, 7)}
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = bk.AppendTo(tr.AppendTo(buf[:0])) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestKeysDependOnNames(t *testing.T) {
	seen := map[uint64]string{}
	for _, m := range []Market{MarketSpot, MarketLinear} {
		for _, s := range []string{"BTCUSDT", "ETHUSDT"} {
			for _, k := range []Kind{KindTrade, KindBookDelta} {
				for i := int64(0); i < 1000; i++ {
					for j, key := range []uint64{KeySeq(KeySeed("binance", m, s), k, i), KeyID(KeySeed("binance", m, s), k, fmt.Append(nil, i))} {
						what := fmt.Sprint(m, s, k, i, j)
						if o, ok := seen[key]; ok {
							t.Fatalf("%s and %s share a key", o, what)
						}
						seen[key] = what
					}
				}
			}
		}
	}
}
