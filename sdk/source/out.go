package source

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/marketprism/marketprism/sdk/market"
)

// SignalKind is what a decoder tells the runtime beside records.
type SignalKind uint8

// The signals. Values are part of the wire: they stand where a record has its
// kind, above all kinds.
const (
	SignalSubscribed  SignalKind = 0x80 + iota // Text is the token of a frame that the venue acknowledged, perhaps NUL, its name for the subscription
	SignalRejected                             // Text is token, NUL, the venue's reason
	SignalReply                                // Text is sent on the frame's connection at once (pong)
	SignalHeartbeat                            // a sign of life that is no data
	SignalResync                               // the book of Instrument must be built anew; Text says why
	SignalReconnect                            // the connection must be replaced; Text says why
	SignalMaintenance                          // the venue announces an interruption; Text says what
	SignalRemember                             // feed this frame again, first, to a restarted decoder of this connection
	SignalReady                                // what an Await step waits for; Text is its token
	SignalDefine                               // the plugin's instrument id stands for Text (JSON of market.Instrument)
	SignalError                                // the frame was refused; Text says why
	SignalEcho                                 // an input that is no frame of the venue passed: HTTP, open, close, timer, note, gap; Text is one byte, its InputKind
	SignalSequence                             // the frame's number on its connection; Text is the number, eight bytes, little endian
)

// SignalSize is the fixed part of an encoded signal; text follows, padded to 8.
const SignalSize = 32

// AppendSignal encodes a signal in the form that stands in the ring between records.
func AppendSignal[T ~string | ~[]byte](b []byte, k SignalKind, conn uint32, inst market.InstrumentID, pos uint64, text T) []byte {
	start := len(b)
	text = text[:min(len(text), market.MaxRecordSize-64)]
	var h [SignalSize]byte
	h[4] = byte(k)
	binary.LittleEndian.PutUint32(h[8:], uint32(len(text)))
	binary.LittleEndian.PutUint32(h[12:], uint32(inst))
	binary.LittleEndian.PutUint32(h[16:], conn)
	binary.LittleEndian.PutUint64(h[24:], pos)
	b = append(append(b, h[:]...), text...)
	for (len(b)-start)&7 != 0 {
		b = append(b, 0)
	}
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

// Signal is a decoded signal; Text aliases the bytes it was read from.
type Signal struct {
	Kind       SignalKind
	Conn       uint32
	Instrument market.InstrumentID
	Pos        uint64
	Text       []byte
}

// ParseSignal checks and reads a signal at the start of b, which may come from anywhere.
func ParseSignal(b []byte) (Signal, int, error) {
	if len(b) < SignalSize {
		return Signal{}, 0, fmt.Errorf("source: signal of %d bytes is cut short", len(b))
	}
	size, n := int64(binary.LittleEndian.Uint32(b)), int64(binary.LittleEndian.Uint32(b[8:]))
	k := SignalKind(b[4])
	if k < SignalSubscribed || k > SignalSequence || size&7 != 0 || size > int64(len(b)) || size < SignalSize+n {
		return Signal{}, 0, fmt.Errorf("source: malformed signal: kind %#x, size %d, text %d, %d bytes present", b[4], size, n, len(b))
	}
	return Signal{k, binary.LittleEndian.Uint32(b[16:]), market.InstrumentID(binary.LittleEndian.Uint32(b[12:])),
		binary.LittleEndian.Uint64(b[24:]), b[SignalSize : SignalSize+n]}, int(size), nil
}

// IsSignal tells a signal from a record by its first bytes.
func IsSignal(b []byte) bool { return len(b) > 4 && b[4] >= byte(SignalSubscribed) }

// Out collects what one Decode call produces. Its methods copy what they are
// given, fill connection, receive time, position, index, key and revision, and
// allocate only when a symbol appears for the first time or the buffer grows.
type Out struct {
	identify func(market.Market, string) market.Instrument
	market   market.Market
	venue    string
	revision uint8

	buf   []byte
	index uint16
	in    *Input

	ids  map[string]market.InstrumentID // by market byte + symbol
	inst []instrumentState
	name []byte

	byConn bool // books are numbered by their connection or subscription: the number names no update

	slots [256]market.InstrumentID // found last, by slotOf: most look-ups need no map
}

// slotOf spreads symbols by their first and last eight bytes.
func slotOf(symbol []byte) uint8 {
	n := len(symbol)
	h := uint64(n)
	if n >= 8 {
		h ^= binary.LittleEndian.Uint64(symbol) ^ binary.LittleEndian.Uint64(symbol[n-8:])<<1
	} else {
		for _, b := range symbol {
			h = h<<8 ^ uint64(b)
		}
	}
	return uint8(h * 0x9e3779b97f4a7c15 >> 56)
}

type instrumentState struct {
	seed   uint64
	symbol string
	market market.Market
}

// NewOut is used by the SDK's serving side and by tests.
func NewOut(s Source, m market.Market) *Out {
	man := s.Describe()
	o := &Out{identify: s.Identify, market: m, venue: man.Venue, revision: man.Revision,
		ids: make(map[string]market.InstrumentID), inst: make([]instrumentState, 1)}
	for _, c := range man.Channels {
		o.byConn = o.byConn || c.Book != nil && c.Book.Sequence.Scope.OfConnection() && (m == market.MarketMixed || m == market.MarketNone || slices.Contains(c.Markets, m))
	}
	return o
}

// Begin starts an input; Bytes then collects from empty.
func (o *Out) Begin(in *Input) { o.buf, o.index, o.in = o.buf[:0], 0, in }

// Bytes are the encoded records and signals since Begin, valid until the next Begin.
func (o *Out) Bytes() []byte { return o.buf }

// Mark and Rollback drop what a failed Decode produced. Definitions of
// instruments that it introduced stay: they come before the mark's records are cut.
func (o *Out) Rollback() {
	b := o.buf
	o.buf = o.buf[:0]
	for len(b) >= 8 {
		n := int(binary.LittleEndian.Uint32(b))
		if b[4] == byte(SignalDefine) {
			o.buf = append(o.buf, b[:n]...)
		}
		b = b[n:]
	}
	o.index = 0
}

// Symbol gives the id of a native symbol in the feed's market, introducing it
// to the runtime when it is new.
func (o *Out) Symbol(symbol []byte) market.InstrumentID { return o.SymbolIn(o.market, symbol) }

// SymbolIn is Symbol for feeds whose frames carry several markets.
func (o *Out) SymbolIn(m market.Market, symbol []byte) market.InstrumentID {
	slot := &o.slots[slotOf(symbol)]
	if i := &o.inst[*slot]; i.symbol != string(symbol) || i.market != m {
		*slot = o.introduce(m, symbol)
	}
	return *slot
}

// introduce finds the id of a symbol, or gives it one.
func (o *Out) introduce(m market.Market, symbol []byte) market.InstrumentID {
	o.name = append(append(o.name[:0], byte(m)), symbol...)
	if id, ok := o.ids[string(o.name)]; ok {
		return id
	}
	id := market.InstrumentID(len(o.inst))
	i := o.identify(m, string(symbol))
	i.ID, i.Venue, i.Market, i.Symbol = id, o.venue, m, string(symbol)
	o.ids[string(o.name)] = id
	o.inst = append(o.inst, instrumentState{market.KeySeed(o.venue, m, i.Symbol), i.Symbol, m})
	o.define(i)
	return id
}

// begin fills what the SDK knows of a header.
func (o *Out) begin(h *market.Header) {
	h.Conn, h.TsRecv, h.Pos, h.Index, h.Revision = o.in.Conn, o.in.Recv, o.in.Pos, o.index, o.revision
	h.Flags &^= market.FlagsRuntime
	if h.Ts == market.None || h.Ts == 0 {
		h.Ts, h.Flags = o.in.Recv, h.Flags|market.FlagTsEstimated
	}
	o.index++
}

func (o *Out) seed(id market.InstrumentID) uint64 {
	if int(id) < len(o.inst) {
		return o.inst[id].seed
	}
	return 0
}

// keySeq keys a record by its sequence, else by its event time.
func (o *Out) keySeq(h *market.Header, k market.Kind) {
	n := h.Seq
	if n == market.None {
		n = h.Ts
	}
	h.Key = market.KeySeq(o.seed(h.Instrument), k, n)
}

// Trade emits a trade.
func (o *Out) Trade(t *market.Trade) {
	o.begin(&t.Header)
	if len(t.ID) > 0 {
		t.Key = market.KeyID(o.seed(t.Instrument), market.KindTrade, t.ID)
		if t.Flags&market.FlagAggregate != 0 {
			t.Key = ^t.Key // aggregates have ids of their own
		}
	} else { // several may happen at one time
		o.keySeq(&t.Header, market.KindTrade)
		t.Key = mix(mix(t.Key, market.KindTrade, t.Price), market.KindTrade, t.Amount)
	}
	o.buf = t.AppendTo(o.buf)
}

// mix makes a key depend on a number too.
func mix(key uint64, k market.Kind, d market.Decimal) uint64 {
	c, _ := d.Trim().Coef()
	return market.KeySeq(key, k, c)
}

// Book emits a book_snapshot or book_delta, by Kind.
func (o *Out) Book(t *market.Book) {
	o.begin(&t.Header)
	o.keySeq(&t.Header, t.Kind)
	if o.byConn && t.Seq != market.None {
		t.Key = market.KeySeq(market.KeySeq(o.seed(t.Instrument), t.Kind, t.Ts), t.Kind, t.Seq)
	}
	switch { // two may have one time
	case t.Seq != market.None:
	case t.Checksum != market.None:
		t.Key = market.KeySeq(t.Key, t.Kind, t.Checksum)
	case t.Kind == market.KindBookDelta:
		for i, ls := range [...][]market.Level{t.Bids, t.Asks} {
			for _, l := range ls {
				t.Key = mix(mix(t.Key+uint64(i), t.Kind, l.Price), t.Kind, l.Amount)
			}
		}
	}
	o.buf = t.AppendTo(o.buf)
}

// EndBook ends a book that was given up.
func (o *Out) EndBook(id market.InstrumentID) {
	b := NewBook(market.KindBookDelta)
	b.Flags, b.Instrument = market.FlagEnd, id
	o.Book(&b)
}

// BBO emits a best bid and offer.
func (o *Out) BBO(t *market.BBO) {
	o.begin(&t.Header)
	o.keySeq(&t.Header, market.KindBBO)
	if t.Seq == market.None { // several may happen at one time
		for _, d := range [...]market.Decimal{t.BidPrice, t.BidAmount, t.AskPrice, t.AskAmount} {
			t.Key = mix(t.Key, market.KindBBO, d)
		}
	}
	o.buf = t.AppendTo(o.buf)
}

// Ticker emits a ticker.
func (o *Out) Ticker(t *market.Ticker) {
	o.begin(&t.Header)
	o.keySeq(&t.Header, market.KindTicker)
	o.buf = t.AppendTo(o.buf)
}

// Candle emits a candle. Its key covers interval, open time and event time.
func (o *Out) Candle(t *market.Candle) {
	o.begin(&t.Header)
	t.Key = market.KeyID(o.seed(t.Instrument), market.KindCandle, t.Interval)
	if t.Flags&market.FlagTsEstimated != 0 { // the venue tells its states apart by nothing but what they hold
		t.Key = mix(mix(market.KeySeq(t.Key, market.KindCandle, t.OpenTs^int64(t.Flags)), market.KindCandle, t.Close), market.KindCandle, t.Volume)
	} else {
		t.Key = market.KeySeq(t.Key, market.KindCandle, t.OpenTs^t.Ts<<1)
	}
	o.buf = t.AppendTo(o.buf)
}

// Funding emits a funding rate.
func (o *Out) Funding(t *market.Funding) {
	o.begin(&t.Header)
	o.keySeq(&t.Header, market.KindFunding)
	o.buf = t.AppendTo(o.buf)
}

// Price emits a mark_price or index_price, by Kind.
func (o *Out) Price(t *market.Price) {
	o.begin(&t.Header)
	o.keySeq(&t.Header, t.Kind)
	o.buf = t.AppendTo(o.buf)
}

// OpenInterest emits an open interest.
func (o *Out) OpenInterest(t *market.OpenInterest) {
	o.begin(&t.Header)
	o.keySeq(&t.Header, market.KindOpenInterest)
	o.buf = t.AppendTo(o.buf)
}

// Liquidation emits a liquidation.
func (o *Out) Liquidation(t *market.Liquidation) {
	o.begin(&t.Header)
	o.keySeq(&t.Header, market.KindLiquidation)
	if len(t.ID) > 0 {
		t.Key = market.KeyID(o.seed(t.Instrument), market.KindLiquidation, t.ID)
	} else { // several may happen at one time
		t.Key = mix(mix(t.Key, market.KindLiquidation, t.Price), market.KindLiquidation, t.Amount)
	}
	o.buf = t.AppendTo(o.buf)
}

// OptionSummary emits an option's state.
func (o *Out) OptionSummary(t *market.OptionSummary) {
	o.begin(&t.Header)
	o.keySeq(&t.Header, market.KindOptionSummary)
	o.buf = t.AppendTo(o.buf)
}

// LongShortRatio emits a ratio.
func (o *Out) LongShortRatio(t *market.LongShortRatio) {
	o.begin(&t.Header)
	t.Key = market.KeySeq(market.KeyID(o.seed(t.Instrument), market.KindLongShortRatio, t.Population), market.KindLongShortRatio, t.Ts)
	o.buf = t.AppendTo(o.buf)
}

// VolatilityIndex emits a volatility index.
func (o *Out) VolatilityIndex(t *market.VolatilityIndex) {
	o.begin(&t.Header)
	o.keySeq(&t.Header, market.KindVolatilityIndex)
	o.buf = t.AppendTo(o.buf)
}

// Instrument emits a catalogue entry.
func (o *Out) Instrument(t *market.InstrumentRecord) {
	o.begin(&t.Header)
	o.keySeq(&t.Header, market.KindInstrument)
	o.buf = t.AppendTo(o.buf)
}

func (o *Out) signal(k SignalKind, id market.InstrumentID, text []byte) {
	o.buf = AppendSignal(o.buf, k, o.in.Conn, id, o.in.Pos, text)
}

// TokenOldest is the token of an answer that doesn't say what it is to: the frame
// that has waited longest for one on its connection, where a venue answers in the
// order of requests.
const TokenOldest = "the oldest"

// Subscribed says that the venue acknowledged the frame with this token. An
// acknowledgement without one, which nobody waits for, is a sign of life.
func (o *Out) Subscribed(token []byte) {
	if len(token) == 0 {
		o.Heartbeat()
		return
	}
	o.signal(SignalSubscribed, 0, token)
}

// SubscribedAs is Subscribed where the venue gives the subscription a name of its
// own on this connection, by which it is ended: FrameRequest.Handles has it.
func (o *Out) SubscribedAs(token, handle []byte) {
	o.signal(SignalSubscribed, 0, append(append(append([]byte(nil), token...), 0), handle...))
}

// Rejected says that the venue refused the frame with this token, and why.
func (o *Out) Rejected(token, reason []byte) {
	o.signal(SignalRejected, 0, append(append(append([]byte(nil), token...), 0), reason...))
}

// Sequence says which number the venue gave this frame on its connection, before
// the frame's records: books whose rule has ScopeConnection, and what else has no
// numbers of its own, are known to be whole by it. Each must be one more than the
// one before; a repeated one is taken for a repeated frame.
func (o *Out) Sequence(n int64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(n))
	o.signal(SignalSequence, 0, b[:])
}

// Reply asks the runtime to send a text frame on this connection at once.
func (o *Out) Reply(frame []byte) { o.signal(SignalReply, 0, frame) }

// Heartbeat is a sign of life without data.
func (o *Out) Heartbeat() { o.signal(SignalHeartbeat, 0, nil) }

// Resync asks for a book to be built anew.
func (o *Out) Resync(id market.InstrumentID, why string) { o.signal(SignalResync, id, []byte(why)) }

// Reconnect asks for the connection to be replaced.
func (o *Out) Reconnect(why string) { o.signal(SignalReconnect, 0, []byte(why)) }

// Maintenance passes on the venue's announcement.
func (o *Out) Maintenance(what string) { o.signal(SignalMaintenance, 0, []byte(what)) }

// Remember keeps this frame with its connection.
func (o *Out) Remember() { o.signal(SignalRemember, 0, nil) }

// Ready is what an Await step with this token waits for.
func (o *Out) Ready(token string) { o.signal(SignalReady, 0, []byte(token)) }

// Echo is used by the SDK: it tells the runtime where among the records an input
// of its own stands, so that the runtime handles it in the journal's order.
func (o *Out) Echo() { o.signal(SignalEcho, 0, []byte{byte(o.in.Kind)}) }

// Refuse is used by the SDK to report a Decode error.
func (o *Out) Refuse(err error) { o.signal(SignalError, 0, []byte(err.Error())) }
