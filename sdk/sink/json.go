package sink

import (
	"strconv"
	"unicode/utf8"

	"github.com/marketprism/marketprism/sdk/market"
)

// AppendJSON writes a record as one JSON object: the common fields, then the
// kind's own in the order of market.Fields. Prices and amounts are strings,
// trimmed, so that no reader turns them into floats; times are int64 ns; what
// the venue didn't say is left out. It allocates only to grow b.
func AppendJSON(b []byte, v market.View, i *market.Instrument) []byte {
	k := v.Kind()
	b = append(b, `{"kind":"`...)
	b = append(b, k.String()...)
	b = appendStr(b, `","venue":"`, i.Venue)
	if i.Market != market.MarketNone {
		b = appendStr(b, `","market":"`, i.Market.String())
	}
	if i.Symbol != "" {
		b = appendStr(b, `","symbol":"`, i.Symbol)
	}
	if i.Name != "" {
		b = appendStr(b, `","instrument":"`, i.Name)
	}
	b = append(b, `","ts":`...)
	b = strconv.AppendInt(b, v.Ts(), 10)
	b = appendInt(b, "ts_send", v.TsSend())
	b = appendInt(b, "ts_recv", v.TsRecv())
	b = appendInt(b, "seq", v.Seq())
	b = appendInt(b, "prev_seq", v.PrevSeq())
	if o := v.Origin(); o != market.OriginLive {
		b = append(b, `,"origin":"`...)
		b = append(append(b, o.String()...), '"')
	}
	for _, f := range flagNames {
		if v.Flags()&f.flag != 0 {
			b = append(append(append(b, `,"`...), f.name...), `":true`...)
		}
	}
	for _, f := range market.Fields(k) {
		b = appendField(b, v, f)
	}
	if !i.ContractSize.IsNull() && k == market.KindTrade {
		if base, ok := AmountBase(v, i); ok {
			b = append(b, `,"amount_base":"`...)
			b = append(base.AppendTrimmed(b), '"')
		}
	}
	unit := i.AmountUnit
	if v.Flags()&market.FlagQuoteAmount != 0 {
		unit = market.UnitQuote
	}
	if unit != market.UnitUnknown && (k == market.KindTrade || k == market.KindOpenInterest || k == market.KindLiquidation) {
		b = append(b, `,"amount_unit":"`...)
		b = append(append(b, unit.String()...), '"')
	}
	b = append(b, `,"key":"`...)
	b = appendHex(b, v.Key())
	b = append(b, `","pos":`...)
	b = strconv.AppendUint(b, v.Pos(), 10)
	b = append(b, `,"index":`...)
	b = strconv.AppendUint(b, uint64(v.Index()), 10)
	return append(b, '}')
}

var flagNames = []struct {
	flag market.Flags
	name string
}{
	{market.FlagTsEstimated, "ts_estimated"}, {market.FlagReset, "reset"}, {market.FlagAggregate, "aggregate"},
	{market.FlagClosed, "closed"}, {market.FlagLossy, "lossy"}, {market.FlagEnd, "end"}, {market.FlagStale, "stale"}, {market.FlagUnsynced, "unsynced"},
	{market.FlagChecksumBad, "checksum_bad"}, {market.FlagCrossed, "crossed"},
}

// AmountBase converts a trade's amount to base currency, where the contract
// size makes an exact conversion possible: contracts of a linear market.
func AmountBase(v market.View, i *market.Instrument) (market.Decimal, bool) {
	if i.AmountUnit != market.UnitContract || i.Market != market.MarketLinear {
		return market.Decimal{}, false
	}
	return v.TradeAmount().Mul(i.ContractSize)
}

func appendStr(b []byte, before, s string) []byte { return appendText(append(b, before...), s) }

func appendInt(b []byte, name string, n int64) []byte {
	if n == market.None {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":`...)
	return strconv.AppendInt(b, n, 10)
}

func appendField(b []byte, v market.View, f market.Field) []byte {
	name := func() { b = append(append(append(b, `,"`...), f.Name...), `":`...) }
	switch f.Type {
	case market.FieldDec:
		if d := v.Dec(f.Offset); !d.IsNull() {
			name()
			b = append(d.AppendTrimmed(append(b, '"')), '"')
		}
	case market.FieldInt, market.FieldTime:
		b = appendInt(b, f.Name, v.Int(f.Offset))
	case market.FieldEnum:
		if s := f.Enum[v.Int(f.Offset)]; s != "" && s != "none" {
			name()
			b = append(append(append(b, '"'), s...), '"')
		}
	case market.FieldText:
		if s := v.Text(f.Offset); len(s) > 0 {
			name()
			b = append(appendText(append(b, '"'), s), '"')
		}
	case market.FieldLevels:
		name()
		b = append(b, '[')
		ls := v.Levels(f.Offset)
		for i := range ls.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			l := ls.At(i)
			b = l.Price.AppendTrimmed(append(b, `["`...))
			b = l.Amount.AppendTrimmed(append(b, `","`...))
			b = append(b, `"]`...)
		}
		b = append(b, ']')
	}
	return b
}

const hex = "0123456789abcdef"

func appendHex(b []byte, n uint64) []byte {
	for s := 60; s >= 0; s -= 4 {
		b = append(b, hex[n>>s&15])
	}
	return b
}

// appendText escapes a text for JSON; invalid UTF-8 becomes U+FFFD.
func appendText[T ~string | ~[]byte](b []byte, s T) []byte {
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
			i++
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			i++
		case c < utf8.RuneSelf:
			b = append(b, c)
			i++
		default:
			r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			b = utf8.AppendRune(b, r)
			i += n
		}
	}
	return b
}
