package parquet

import (
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"time"

	pq "github.com/parquet-go/parquet-go"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
)

// decimalScale is the scale of exact prices and amounts: 38 digits, 18 of them
// behind the point. A number that needs more is refused, never rounded.
const decimalScale = 18

// table is how records of one kind become rows.
type table struct {
	schema  *pq.Schema
	kind    market.Kind
	decimal bool
	row     pq.Row
	writer  *pq.GenericWriter[any] // one file after the other
	err     error
}

type dec16 = [16]byte

func newTable(k market.Kind, decimal bool) *table {
	var fs []reflect.StructField
	add := func(name string, t reflect.Type, tag string) {
		fs = append(fs, reflect.StructField{Name: strings.ToUpper(name[:1]) + name[1:] + "_", Type: t,
			Tag: reflect.StructTag(fmt.Sprintf(`parquet:"%s%s"`, name, tag))})
	}
	i64, str, boolean := reflect.TypeFor[int64](), reflect.TypeFor[string](), reflect.TypeFor[bool]()
	num, numTag := reflect.TypeFor[float64](), ""
	if decimal {
		num, numTag = reflect.TypeFor[dec16](), fmt.Sprintf(",decimal(%d:38)", decimalScale)
	}
	const opt = ",optional"
	add("instrument", str, opt+",dict")
	add("ts", i64, ",timestamp(nanosecond)")
	add("ts_send", i64, opt+",timestamp(nanosecond)")
	add("ts_recv", i64, ",timestamp(nanosecond)")
	add("ts_estimated", boolean, "")
	add("seq", i64, opt)
	add("prev_seq", i64, opt)
	add("origin", str, ",dict")
	add("key", i64, "")
	add("pos", i64, "")
	add("index", reflect.TypeFor[int32](), "")
	switch k {
	case market.KindBookSnapshot, market.KindBookDelta:
		add("state", str, ",dict")
	case market.KindTrade:
		add("aggregate", boolean, "")
	case market.KindCandle:
		add("closed", boolean, "")
	}
	for _, f := range fieldsOf(k) {
		switch f.Type {
		case market.FieldDec:
			add(f.Name, num, opt+numTag)
		case market.FieldInt:
			add(f.Name, i64, opt)
		case market.FieldTime:
			add(f.Name, i64, opt+",timestamp(nanosecond)")
		case market.FieldEnum:
			add(f.Name, str, opt+",dict")
		case market.FieldText:
			add(f.Name, str, opt)
		case market.FieldLevels:
			level := reflect.StructOf([]reflect.StructField{
				{Name: "Price", Type: num, Tag: reflect.StructTag(fmt.Sprintf(`parquet:"price%s"`, numTag))},
				{Name: "Amount", Type: num, Tag: reflect.StructTag(fmt.Sprintf(`parquet:"amount%s"`, numTag))}})
			add(f.Name, reflect.SliceOf(level), ",list")
		}
	}
	return &table{schema: pq.NewSchema(k.String(), pq.SchemaOf(reflect.New(reflect.StructOf(fs)).Elem().Interface())), kind: k, decimal: decimal}
}

// fieldsOf are a kind's own columns. An instrument record's name is that of the
// column which every record has.
func fieldsOf(k market.Kind) []market.Field {
	fs := market.Fields(k)
	if k == market.KindInstrument {
		fs = fs[1:]
	}
	return fs
}

// bookState says what the runtime's book engine made of an update.
func bookState(f market.Flags) string {
	switch {
	case f&market.FlagChecksumBad != 0:
		return "checksum_bad"
	case f&market.FlagApplied != 0:
		return "applied"
	case f&market.FlagStale != 0:
		return "stale"
	}
	return "unsynced"
}

// rowOf converts a record; the row is valid until the next call.
func (t *table) rowOf(v market.View, i *market.Instrument) (pq.Row, error) {
	t.row, t.err = t.row[:0], nil
	f := v.Flags()
	t.text(i.Name)
	t.value(pq.Int64Value(v.Ts()))
	t.int(v.TsSend())
	t.value(pq.Int64Value(v.TsRecv()))
	t.value(pq.BooleanValue(f&market.FlagTsEstimated != 0))
	t.int(v.Seq())
	t.int(v.PrevSeq())
	t.value(pq.ByteArrayValue([]byte(v.Origin().String())))
	t.value(pq.Int64Value(int64(v.Key())))
	t.value(pq.Int64Value(int64(v.Pos())))
	t.value(pq.Int32Value(int32(v.Index())))
	switch t.kind {
	case market.KindBookSnapshot, market.KindBookDelta:
		t.value(pq.ByteArrayValue([]byte(bookState(f))))
	case market.KindTrade:
		t.value(pq.BooleanValue(f&market.FlagAggregate != 0))
	case market.KindCandle:
		t.value(pq.BooleanValue(f&market.FlagClosed != 0))
	}
	for _, fd := range fieldsOf(t.kind) {
		switch fd.Type {
		case market.FieldDec:
			if d := v.Dec(fd.Offset); d.IsNull() {
				t.null()
			} else {
				t.present(t.number(d))
			}
		case market.FieldInt, market.FieldTime:
			t.int(v.Int(fd.Offset))
		case market.FieldEnum:
			t.text(fd.Enum[v.Int(fd.Offset)])
		case market.FieldText:
			t.text(string(v.Text(fd.Offset)))
		case market.FieldLevels:
			t.levels(v.Levels(fd.Offset))
		}
	}
	return t.row, t.err
}

func (t *table) col() int { return t.colAt() }

// colAt is the next column: levels take two columns but many values, so the
// column follows from the last value's.
func (t *table) colAt() int {
	if len(t.row) == 0 {
		return 0
	}
	return t.row[len(t.row)-1].Column() + 1
}

func (t *table) value(v pq.Value)   { t.row = append(t.row, v.Level(0, 0, t.col())) }
func (t *table) present(v pq.Value) { t.row = append(t.row, v.Level(0, 1, t.col())) }
func (t *table) null()              { t.row = append(t.row, pq.NullValue().Level(0, 0, t.col())) }

func (t *table) int(n int64) {
	if n == market.None {
		t.null()
		return
	}
	t.present(pq.Int64Value(n))
}

func (t *table) text(s string) {
	if s == "" {
		t.null()
		return
	}
	t.present(pq.ByteArrayValue([]byte(s)))
}

func (t *table) levels(ls market.Levels) {
	price := t.col()
	if ls.Len() == 0 {
		t.row = append(t.row, pq.NullValue().Level(0, 0, price), pq.NullValue().Level(0, 0, price+1))
		return
	}
	for _, amount := range [2]bool{false, true} {
		for i := range ls.Len() {
			l, col, rep := ls.At(i), price, 1
			d := l.Price
			if amount {
				d, col = l.Amount, price+1
			}
			if i == 0 {
				rep = 0
			}
			t.row = append(t.row, t.number(d).Level(rep, 1, col))
		}
	}
}

func (t *table) number(d market.Decimal) pq.Value {
	if !t.decimal {
		return pq.DoubleValue(d.Float64())
	}
	b, ok := fixed(d)
	if !ok && t.err == nil {
		t.err = fault.Errorf(fault.Skip, "parquet: %s is not exact in DECIMAL(38,%d); use price_encoding = \"double\" for this pipeline", d.Text(), decimalScale)
	}
	return pq.FixedLenByteArrayValue(b)
}

// fixed is a decimal at decimalScale as 16 bytes, big-endian two's complement.
func fixed(d market.Decimal) ([]byte, bool) {
	b := make([]byte, 16)
	if c, ok := d.Rescale(decimalScale); ok {
		for i := 15; i >= 8; i-- {
			b[i] = byte(c)
			c >>= 8
		}
		for i := 7; i >= 0; i-- {
			b[i] = byte(c) // the sign
		}
		return b, true
	}
	d = d.Trim()
	n, ok := new(big.Int).SetString(strings.Replace(d.Text(), ".", "", 1), 10)
	if !ok || int(d.Scale()) > decimalScale {
		return b, false
	}
	n.Mul(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimalScale-int(d.Scale()))), nil))
	if n.CmpAbs(new(big.Int).Exp(big.NewInt(10), big.NewInt(38), nil)) >= 0 {
		return b, false
	}
	if n.Sign() < 0 {
		n.Add(n, new(big.Int).Lsh(big.NewInt(1), 128))
	}
	n.FillBytes(b)
	return b, true
}

const dayNs = int64(24 * time.Hour)
