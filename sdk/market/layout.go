package market

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// LayoutVersion stands in segment headers and in the plugin handshake.
const LayoutVersion = 1

// Sizes and limits of the layout.
const (
	HeaderSize    = 80      // bytes before the body
	LevelSize     = 32      // bytes of a book level: price, amount
	MaxRecordSize = 8 << 20 // bytes of one record, header included
	MaxText       = 1 << 10 // bytes of one text field
	MaxLevels     = 100_000 // levels of one side in one record
)

// None is the null of integer and time fields: the venue gave no value.
const None int64 = math.MinInt64

// InstrumentID names an instrument inside records. The runtime gives ids out,
// persists them, and never uses one twice; 0 stands for the feed as a whole. In
// records that leave a plugin the ids are the plugin's own, which the runtime
// replaces.
type InstrumentID uint32

// Header is what all records have. Plugins fill what the exchange said; TsRecv,
// Pos, Index and Key are filled for them.
type Header struct {
	Kind       Kind
	Origin     Origin
	Channel    Channel
	Revision   uint8 // of the decoder: raised when a build decodes differently
	Flags      Flags
	Index      uint16 // of this record among those of its frame
	Instrument InstrumentID
	Conn       uint32 // connection that carried the frame
	Ts         int64  // ns UTC, when it happened at the exchange
	TsSend     int64  // ns UTC, when the exchange sent it, or None
	TsRecv     int64  // ns UTC, when the runtime had read the frame
	Seq        int64  // the exchange's sequence number, or None
	PrevSeq    int64  // the sequence number before it, as the exchange states it, or None
	Key        uint64 // the same for the same fact from any connection or host
	Pos        uint64 // position of the frame in its journal
}

// FieldType is how a body field is stored.
type FieldType uint8

// The field types. All but Dec take 8 bytes, Dec takes 16.
const (
	FieldDec    FieldType = iota // Decimal
	FieldInt                     // int64, None = null
	FieldTime                    // ns UTC, None = null
	FieldEnum                    // small closed set, written by name
	FieldText                    // offset and length of UTF-8 text in the variable part
	FieldLevels                  // offset and number of levels in the variable part
)

// Field describes one field of a kind's body.
type Field struct {
	Name   string
	Type   FieldType
	Offset int // from the start of the record
	Enum   []string
}

type fieldDef struct {
	name string
	typ  FieldType
	enum enum
}

var bodies = [numKinds][]fieldDef{
	KindTrade: {{"id", FieldText, nil}, {"price", FieldDec, nil}, {"amount", FieldDec, nil}, {"side", FieldEnum, sideNames},
		{"first_id", FieldInt, nil}, {"last_id", FieldInt, nil}, {"conditions", FieldText, nil}},
	KindBookSnapshot: bookBody,
	KindBookDelta:    bookBody,
	KindBBO: {{"bid_price", FieldDec, nil}, {"bid_amount", FieldDec, nil}, {"ask_price", FieldDec, nil},
		{"ask_amount", FieldDec, nil}},
	KindTicker: {{"last", FieldDec, nil}, {"open", FieldDec, nil}, {"high", FieldDec, nil}, {"low", FieldDec, nil},
		{"volume", FieldDec, nil}, {"quote_volume", FieldDec, nil}, {"vwap", FieldDec, nil}, {"bid_price", FieldDec, nil},
		{"bid_amount", FieldDec, nil}, {"ask_price", FieldDec, nil}, {"ask_amount", FieldDec, nil}, {"last_amount", FieldDec, nil},
		{"trades", FieldInt, nil}},
	KindCandle: {{"interval", FieldText, nil}, {"open_ts", FieldTime, nil}, {"close_ts", FieldTime, nil}, {"open", FieldDec, nil},
		{"high", FieldDec, nil}, {"low", FieldDec, nil}, {"close", FieldDec, nil}, {"volume", FieldDec, nil},
		{"quote_volume", FieldDec, nil}, {"trades", FieldInt, nil}, {"buy_volume", FieldDec, nil}},
	KindFunding: {{"rate", FieldDec, nil}, {"predicted_rate", FieldDec, nil}, {"next_ts", FieldTime, nil},
		{"interval", FieldText, nil}},
	KindMarkPrice:    {{"price", FieldDec, nil}},
	KindIndexPrice:   {{"price", FieldDec, nil}},
	KindOpenInterest: {{"amount", FieldDec, nil}, {"value", FieldDec, nil}},
	KindLiquidation: {{"id", FieldText, nil}, {"price", FieldDec, nil}, {"amount", FieldDec, nil},
		{"side", FieldEnum, sideNames}},
	KindOptionSummary: {{"bid_price", FieldDec, nil}, {"bid_amount", FieldDec, nil}, {"bid_iv", FieldDec, nil},
		{"ask_price", FieldDec, nil}, {"ask_amount", FieldDec, nil}, {"ask_iv", FieldDec, nil}, {"mark_price", FieldDec, nil},
		{"mark_iv", FieldDec, nil}, {"last", FieldDec, nil}, {"open_interest", FieldDec, nil},
		{"underlying_index", FieldText, nil}, {"underlying_price", FieldDec, nil}, {"delta", FieldDec, nil},
		{"gamma", FieldDec, nil}, {"vega", FieldDec, nil}, {"theta", FieldDec, nil}, {"rho", FieldDec, nil}},
	KindLongShortRatio: {{"long", FieldDec, nil}, {"short", FieldDec, nil}, {"ratio", FieldDec, nil},
		{"population", FieldText, nil}},
	KindVolatilityIndex: {{"value", FieldDec, nil}},
	KindInstrument: {{"instrument", FieldText, nil}, {"base", FieldText, nil}, {"quote", FieldText, nil},
		{"settle", FieldText, nil}, {"contract_size", FieldDec, nil}, {"amount_unit", FieldEnum, unitNames},
		{"tick_size", FieldDec, nil}, {"lot_size", FieldDec, nil}, {"expiry", FieldTime, nil}, {"strike", FieldDec, nil},
		{"option_type", FieldEnum, optionNames}, {"status", FieldEnum, statusNames}},
	KindQuality: {{"cause", FieldEnum, causeNames}, {"channel", FieldEnum, channelNames}, {"from_seq", FieldInt, nil},
		{"to_seq", FieldInt, nil}, {"from_ts", FieldTime, nil}, {"to_ts", FieldTime, nil}, {"missing", FieldInt, nil},
		{"repaired", FieldText, nil}, {"ref", FieldInt, nil}, {"detail", FieldText, nil}},
	KindCoverage: {{"channel", FieldEnum, channelNames}, {"from_ts", FieldTime, nil}, {"to_ts", FieldTime, nil},
		{"messages", FieldInt, nil}, {"gaps", FieldInt, nil}, {"missing", FieldInt, nil},
		{"verifiable", FieldEnum, verifiableNames}, {"lossy_by_venue", FieldInt, nil}, {"clock_offset", FieldInt, nil}},
}

var bookBody = []fieldDef{{"bids", FieldLevels, nil}, {"asks", FieldLevels, nil}, {"depth", FieldInt, nil},
	{"first_seq", FieldInt, nil}, {"checksum", FieldInt, nil}}

var (
	fieldTable [numKinds][]Field
	bodySize   [numKinds]int // header included
)

func init() {
	for k, defs := range bodies {
		off := HeaderSize
		for _, d := range defs {
			fieldTable[k] = append(fieldTable[k], Field{d.name, d.typ, off, d.enum})
			off += 8
			if d.typ == FieldDec {
				off += 8
			}
		}
		bodySize[k] = off
	}
}

// Fields lists the body fields of a kind in order. Sinks map every kind from it.
func Fields(k Kind) []Field {
	if k >= numKinds {
		return nil
	}
	return fieldTable[k]
}

var le = binary.LittleEndian

// appendHeader grows b by the kind's fixed part and writes the header; the size
// is patched by finish.
func (h *Header) appendTo(b []byte) (out []byte, start int) {
	start = len(b)
	n := bodySize[h.Kind]
	if cap(b)-start >= n {
		b = b[:start+n]
	} else {
		b = append(b, make([]byte, n)...)
	}
	h.put(b[start:])
	return b, start
}

func (h *Header) put(r []byte) {
	_ = r[HeaderSize-1]
	r[4], r[5], r[6], r[7] = byte(h.Kind), byte(h.Origin), byte(h.Channel), h.Revision
	le.PutUint16(r[8:], uint16(h.Flags))
	le.PutUint16(r[10:], h.Index)
	le.PutUint32(r[12:], uint32(h.Instrument))
	le.PutUint32(r[16:], h.Conn)
	le.PutUint32(r[20:], 0)
	le.PutUint64(r[24:], uint64(h.Ts))
	le.PutUint64(r[32:], uint64(h.TsSend))
	le.PutUint64(r[40:], uint64(h.TsRecv))
	le.PutUint64(r[48:], uint64(h.Seq))
	le.PutUint64(r[56:], uint64(h.PrevSeq))
	le.PutUint64(r[64:], h.Key)
	le.PutUint64(r[72:], h.Pos)
}

func finish(b []byte, start int) []byte {
	for (len(b)-start)&7 != 0 {
		b = append(b, 0)
	}
	le.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

func putDec(r []byte, off int, d Decimal) {
	le.PutUint64(r[off:], d.lo)
	le.PutUint64(r[off+8:], uint64(d.ext))
}

func putInt(r []byte, off int, v int64) { le.PutUint64(r[off:], uint64(v)) }

// appendText adds a text to the variable part and points the field at off to it.
func appendText[T ~string | ~[]byte](b []byte, start, off int, s T) []byte {
	s = s[:min(len(s), MaxText)]
	le.PutUint32(b[start+off:], uint32(len(b)-start))
	le.PutUint32(b[start+off+4:], uint32(len(s)))
	return append(b, s...)
}

func appendLevels(b []byte, start, off int, ls []Level) []byte {
	at := len(b)
	le.PutUint32(b[start+off:], uint32(at-start))
	le.PutUint32(b[start+off+4:], uint32(len(ls)))
	n := len(ls) * LevelSize
	if cap(b)-at >= n {
		b = b[:at+n]
	} else {
		b = append(b, make([]byte, n)...)
	}
	for r := b[at:]; len(ls) > 0; ls, r = ls[1:], r[LevelSize:] {
		_ = r[31]
		l := &ls[0]
		le.PutUint64(r, l.Price.lo)
		le.PutUint64(r[8:], uint64(l.Price.ext))
		le.PutUint64(r[16:], l.Amount.lo)
		le.PutUint64(r[24:], uint64(l.Amount.ext))
	}
	return b
}

// View reads a record in place. Its methods trust the bytes: check foreign
// ones with Validate first.
type View []byte

// ErrRecord is what Validate's errors wrap.
var ErrRecord = errors.New("malformed record")

// Size is the record's length in bytes, header included.
func (v View) Size() int { return int(le.Uint32(v)) }

// The header's fields.
func (v View) Kind() Kind               { return Kind(v[4]) }
func (v View) Origin() Origin           { return Origin(v[5]) }
func (v View) Channel() Channel         { return Channel(v[6]) }
func (v View) Revision() uint8          { return v[7] }
func (v View) Flags() Flags             { return Flags(le.Uint16(v[8:])) }
func (v View) Index() uint16            { return le.Uint16(v[10:]) }
func (v View) Instrument() InstrumentID { return InstrumentID(le.Uint32(v[12:])) }
func (v View) Conn() uint32             { return le.Uint32(v[16:]) }
func (v View) Ts() int64                { return int64(le.Uint64(v[24:])) }
func (v View) TsSend() int64            { return int64(le.Uint64(v[32:])) }
func (v View) TsRecv() int64            { return int64(le.Uint64(v[40:])) }
func (v View) Seq() int64               { return int64(le.Uint64(v[48:])) }
func (v View) PrevSeq() int64           { return int64(le.Uint64(v[56:])) }
func (v View) Key() uint64              { return le.Uint64(v[64:]) }
func (v View) Pos() uint64              { return le.Uint64(v[72:]) }

// The setters are for the runtime, which owns these fields.
func (v View) SetFlags(f Flags)              { le.PutUint16(v[8:], uint16(f)) }
func (v View) SetIndex(i uint16)             { le.PutUint16(v[10:], i) }
func (v View) SetInstrument(id InstrumentID) { le.PutUint32(v[12:], uint32(id)) }
func (v View) SetConn(c uint32)              { le.PutUint32(v[16:], c) }
func (v View) SetTs(ts int64)                { le.PutUint64(v[24:], uint64(ts)) }
func (v View) SetTsRecv(ts int64)            { le.PutUint64(v[40:], uint64(ts)) }
func (v View) SetKey(k uint64)               { le.PutUint64(v[64:], k) }
func (v View) SetPos(p uint64)               { le.PutUint64(v[72:], p) }

// Header reads the whole header.
func (v View) Header() Header {
	return Header{v.Kind(), v.Origin(), v.Channel(), v.Revision(), v.Flags(), v.Index(), v.Instrument(), v.Conn(),
		v.Ts(), v.TsSend(), v.TsRecv(), v.Seq(), v.PrevSeq(), v.Key(), v.Pos()}
}

// Dec, Int, Text and Levels read a body field at an offset that Fields gives.
func (v View) Dec(off int) Decimal {
	return Decimal{le.Uint64(v[off:]), int64(le.Uint64(v[off+8:]))}
}

// Int reads an integer, time or enum field.
func (v View) Int(off int) int64 { return int64(le.Uint64(v[off:])) }

// Text aliases the record.
func (v View) Text(off int) []byte {
	at, n := le.Uint32(v[off:]), le.Uint32(v[off+4:])
	return v[at : at+n : at+n]
}

// Levels aliases the record.
func (v View) Levels(off int) Levels {
	at, n := le.Uint32(v[off:]), le.Uint32(v[off+4:])
	return Levels(v[at : at+n*LevelSize : at+n*LevelSize])
}

// Levels are book levels in place.
type Levels []byte

// Len is the number of levels.
func (l Levels) Len() int { return len(l) / LevelSize }

// At reads level i.
func (l Levels) At(i int) Level {
	r := l[i*LevelSize : i*LevelSize+LevelSize]
	return Level{Decimal{le.Uint64(r), int64(le.Uint64(r[8:]))}, Decimal{le.Uint64(r[16:]), int64(le.Uint64(r[24:]))}}
}

// Validate checks the first record of b, which may come from anywhere: size,
// kind, enums, decimals, and that every text and level lies inside. It returns
// the record alone. Errors wrap ErrRecord and name the field.
func Validate(b []byte) (View, error) {
	if len(b) < HeaderSize {
		return nil, fmt.Errorf("market: %w: %d bytes are less than a header", ErrRecord, len(b))
	}
	size := int64(le.Uint32(b))
	k := Kind(b[4])
	if k == KindInvalid || k >= numKinds {
		return nil, fmt.Errorf("market: %w: kind %d", ErrRecord, b[4])
	}
	if size < int64(bodySize[k]) || size&7 != 0 || size > int64(len(b)) || size > MaxRecordSize {
		return nil, fmt.Errorf("market: %w: %s of %d bytes where %d are present", ErrRecord, k, size, len(b))
	}
	if b[5] > byte(OriginDerived) || b[6] >= byte(numChannels) {
		return nil, fmt.Errorf("market: %w: %s with origin %d, channel %d", ErrRecord, k, b[5], b[6])
	}
	v := View(b[:size:size])
	for i := range fieldTable[k] {
		f := &fieldTable[k][i]
		ok := true
		switch f.Type {
		case FieldDec:
			ok = v.Dec(f.Offset).Valid()
		case FieldEnum:
			ok = v.Int(f.Offset) >= 0 && v.Int(f.Offset) < int64(len(f.Enum))
		case FieldText:
			at, n := int64(le.Uint32(v[f.Offset:])), int64(le.Uint32(v[f.Offset+4:]))
			ok = n == 0 && at <= size || at >= int64(bodySize[k]) && n <= MaxText && at+n <= size
		case FieldLevels:
			at, n := int64(le.Uint32(v[f.Offset:])), int64(le.Uint32(v[f.Offset+4:]))
			ok = at >= int64(bodySize[k]) && n <= MaxLevels && at+n*LevelSize <= size
			if ok {
				ls := v.Levels(f.Offset)
				for j := 0; j < len(ls) && ok; j += LevelSize {
					p, a := le.Uint64(ls[j+8:]), le.Uint64(ls[j+24:])
					ok = uint8(p)-1 <= MaxScale && uint8(a)-1 <= MaxScale
				}
			}
		}
		if !ok {
			return nil, fmt.Errorf("market: %w: %s field %s is out of bounds", ErrRecord, k, f.Name)
		}
	}
	return v, nil
}
