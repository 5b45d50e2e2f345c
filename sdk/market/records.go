package market

// Level is one price level; amount 0 removes it in a delta.
type Level struct{ Price, Amount Decimal }

// Trade is one execution, or several that the venue merged (FlagAggregate).
type Trade struct {
	Header
	ID            []byte // the venue's, as text; empty if it gives none
	Price, Amount Decimal
	Side          Side  // the taker's
	FirstID       int64 // of the merged trades, or None
	LastID        int64
	Conditions    []byte // comma-separated: block, liquidation, rpi, …
}

// Book is a book_snapshot or a book_delta. Seq is the sequence after it,
// FirstSeq the first one it covers, PrevSeq the one it follows, where the venue
// says so. Bids and asks are best first in snapshots, in the venue's order in
// deltas.
type Book struct {
	Header
	Bids, Asks []Level
	Depth      int64 // levels a side that the venue keeps, or None
	FirstSeq   int64
	Checksum   int64 // the venue's, as unsigned or signed as it sends it; None if it gives none
}

// BBO is the best bid and offer.
type BBO struct {
	Header
	BidPrice, BidAmount, AskPrice, AskAmount Decimal
}

// Ticker is a rolling statistic, 24 hours on most venues.
type Ticker struct {
	Header
	Last, Open, High, Low, Volume, QuoteVolume, VWAP, BidPrice, BidAmount, AskPrice, AskAmount Decimal
	LastAmount                                                                                 Decimal // of the last trade
	Trades                                                                                     int64   // in the window, or None
}

// Candle is an OHLC bar; FlagClosed when it is final.
type Candle struct {
	Header
	Interval                                               []byte // "1m"
	OpenTs, CloseTs                                        int64
	Open, High, Low, Close, Volume, QuoteVolume, BuyVolume Decimal
	Trades                                                 int64
}

// Funding is a funding rate of a perpetual, relative, per Interval.
type Funding struct {
	Header
	Rate, PredictedRate Decimal
	NextTs              int64
	Interval            []byte // "8h", empty if not given
}

// Price is a mark_price or an index_price.
type Price struct {
	Header
	Price Decimal
}

// OpenInterest is in the venue's unit; Value in quote currency where given.
type OpenInterest struct {
	Header
	Amount, Value Decimal
}

// Liquidation has the side of the closing order: buy closed a short.
type Liquidation struct {
	Header
	ID            []byte
	Price, Amount Decimal
	Side          Side
}

// OptionSummary is the state of one option.
type OptionSummary struct {
	Header
	BidPrice, BidAmount, BidIV, AskPrice, AskAmount, AskIV, MarkPrice, MarkIV, Last, OpenInterest Decimal
	UnderlyingIndex                                                                               []byte
	UnderlyingPrice, Delta, Gamma, Vega, Theta, Rho                                               Decimal
}

// LongShortRatio is the share of a population's accounts or positions.
type LongShortRatio struct {
	Header
	Long, Short, Ratio Decimal
	Population         []byte
}

// VolatilityIndex is a venue's volatility index.
type VolatilityIndex struct {
	Header
	Value Decimal
}

// InstrumentRecord states what an instrument is, on listing and on each change.
type InstrumentRecord struct {
	Header
	Instrument, Base, Quote, Settle         []byte
	ContractSize, TickSize, LotSize, Strike Decimal
	AmountUnit                              Unit
	Expiry                                  int64
	OptionType                              OptionType
	Status                                  Status
}

// Quality states what was lost, when, why, and how it was repaired.
type Quality struct {
	Header
	Cause          Cause
	Of             Channel // the channel concerned
	FromSeq, ToSeq int64   // last good and first good again
	FromTs, ToTs   int64
	Missing        int64  // messages, if known
	Repaired       []byte // how, empty while open
	Ref            int64  // Pos of the record that this one closes, or None
	Detail         []byte
}

// Coverage states what was received over a span.
type Coverage struct {
	Header
	Of                      Channel
	FromTs, ToTs            int64
	Messages, Gaps, Missing int64
	Verifiable              Verifiable
	LossyByVenue            int64 // 1 if the venue drops by design
	ClockOffset             int64 // ns, or None
}

// The AppendTo methods append the record to b and return it; they copy all they
// are given and allocate only to grow b. Header.Kind is set by them where the
// type has one kind.

// AppendTo appends the record.
func (t *Trade) AppendTo(b []byte) []byte {
	t.Kind = KindTrade
	b, s := t.appendTo(b)
	r := b[s:]
	putDec(r, 88, t.Price)
	putDec(r, 104, t.Amount)
	putInt(r, 120, int64(t.Side))
	putInt(r, 128, t.FirstID)
	putInt(r, 136, t.LastID)
	b = appendText(b, s, 80, t.ID)
	b = appendText(b, s, 144, t.Conditions)
	return finish(b, s)
}

// AppendTo appends the record; Kind must be KindBookSnapshot or KindBookDelta.
func (t *Book) AppendTo(b []byte) []byte {
	if t.Kind != KindBookSnapshot {
		t.Kind = KindBookDelta
	}
	b, s := t.appendTo(b)
	r := b[s:]
	putInt(r, 96, t.Depth)
	putInt(r, 104, t.FirstSeq)
	putInt(r, 112, t.Checksum)
	b = appendLevels(b, s, 80, t.Bids)
	b = appendLevels(b, s, 88, t.Asks)
	return finish(b, s)
}

// decs writes a run of decimals from off on and returns the offset behind them.
func decs(r []byte, off int, ds ...Decimal) int {
	for _, d := range ds {
		putDec(r, off, d)
		off += 16
	}
	return off
}

// AppendTo appends the record.
func (t *BBO) AppendTo(b []byte) []byte {
	t.Kind = KindBBO
	b, s := t.appendTo(b)
	decs(b[s:], 80, t.BidPrice, t.BidAmount, t.AskPrice, t.AskAmount)
	return finish(b, s)
}

// AppendTo appends the record.
func (t *Ticker) AppendTo(b []byte) []byte {
	t.Kind = KindTicker
	b, s := t.appendTo(b)
	off := decs(b[s:], 80, t.Last, t.Open, t.High, t.Low, t.Volume, t.QuoteVolume, t.VWAP, t.BidPrice, t.BidAmount, t.AskPrice, t.AskAmount,
		t.LastAmount)
	putInt(b[s:], off, t.Trades)
	return finish(b, s)
}

// AppendTo appends the record.
func (t *Candle) AppendTo(b []byte) []byte {
	t.Kind = KindCandle
	b, s := t.appendTo(b)
	r := b[s:]
	putInt(r, 88, t.OpenTs)
	putInt(r, 96, t.CloseTs)
	off := decs(r, 104, t.Open, t.High, t.Low, t.Close, t.Volume, t.QuoteVolume)
	putInt(r, off, t.Trades)
	putDec(r, off+8, t.BuyVolume)
	b = appendText(b, s, 80, t.Interval)
	return finish(b, s)
}

// AppendTo appends the record.
func (t *Funding) AppendTo(b []byte) []byte {
	t.Kind = KindFunding
	b, s := t.appendTo(b)
	off := decs(b[s:], 80, t.Rate, t.PredictedRate)
	putInt(b[s:], off, t.NextTs)
	b = appendText(b, s, off+8, t.Interval)
	return finish(b, s)
}

// AppendTo appends the record; Kind must be KindMarkPrice or KindIndexPrice.
func (t *Price) AppendTo(b []byte) []byte {
	if t.Kind != KindIndexPrice {
		t.Kind = KindMarkPrice
	}
	b, s := t.appendTo(b)
	putDec(b[s:], 80, t.Price)
	return finish(b, s)
}

// AppendTo appends the record.
func (t *OpenInterest) AppendTo(b []byte) []byte {
	t.Kind = KindOpenInterest
	b, s := t.appendTo(b)
	decs(b[s:], 80, t.Amount, t.Value)
	return finish(b, s)
}

// AppendTo appends the record.
func (t *Liquidation) AppendTo(b []byte) []byte {
	t.Kind = KindLiquidation
	b, s := t.appendTo(b)
	off := decs(b[s:], 88, t.Price, t.Amount)
	putInt(b[s:], off, int64(t.Side))
	b = appendText(b, s, 80, t.ID)
	return finish(b, s)
}

// AppendTo appends the record.
func (t *OptionSummary) AppendTo(b []byte) []byte {
	t.Kind = KindOptionSummary
	b, s := t.appendTo(b)
	text := decs(b[s:], 80, t.BidPrice, t.BidAmount, t.BidIV, t.AskPrice, t.AskAmount, t.AskIV, t.MarkPrice, t.MarkIV, t.Last, t.OpenInterest)
	decs(b[s:], text+8, t.UnderlyingPrice, t.Delta, t.Gamma, t.Vega, t.Theta, t.Rho)
	b = appendText(b, s, text, t.UnderlyingIndex)
	return finish(b, s)
}

// AppendTo appends the record.
func (t *LongShortRatio) AppendTo(b []byte) []byte {
	t.Kind = KindLongShortRatio
	b, s := t.appendTo(b)
	off := decs(b[s:], 80, t.Long, t.Short, t.Ratio)
	b = appendText(b, s, off, t.Population)
	return finish(b, s)
}

// AppendTo appends the record.
func (t *VolatilityIndex) AppendTo(b []byte) []byte {
	t.Kind = KindVolatilityIndex
	b, s := t.appendTo(b)
	putDec(b[s:], 80, t.Value)
	return finish(b, s)
}

// AppendTo appends the record.
func (t *InstrumentRecord) AppendTo(b []byte) []byte {
	t.Kind = KindInstrument
	b, s := t.appendTo(b)
	r := b[s:]
	putDec(r, 112, t.ContractSize)
	putInt(r, 128, int64(t.AmountUnit))
	decs(r, 136, t.TickSize, t.LotSize)
	putInt(r, 168, t.Expiry)
	putDec(r, 176, t.Strike)
	putInt(r, 192, int64(t.OptionType))
	putInt(r, 200, int64(t.Status))
	b = appendText(b, s, 80, t.Instrument)
	b = appendText(b, s, 88, t.Base)
	b = appendText(b, s, 96, t.Quote)
	b = appendText(b, s, 104, t.Settle)
	return finish(b, s)
}

// AppendTo appends the record.
func (t *Quality) AppendTo(b []byte) []byte {
	t.Kind = KindQuality
	b, s := t.appendTo(b)
	r := b[s:]
	for i, v := range [...]int64{int64(t.Cause), int64(t.Of), t.FromSeq, t.ToSeq, t.FromTs, t.ToTs, t.Missing} {
		putInt(r, 80+8*i, v)
	}
	putInt(r, 144, t.Ref)
	b = appendText(b, s, 136, t.Repaired)
	b = appendText(b, s, 152, t.Detail)
	return finish(b, s)
}

// AppendTo appends the record.
func (t *Coverage) AppendTo(b []byte) []byte {
	t.Kind = KindCoverage
	b, s := t.appendTo(b)
	for i, v := range [...]int64{int64(t.Of), t.FromTs, t.ToTs, t.Messages, t.Gaps, t.Missing, int64(t.Verifiable), t.LossyByVenue, t.ClockOffset} {
		putInt(b[s:], 80+8*i, v)
	}
	return finish(b, s)
}

// Typed accessors of the fields that the runtime reads itself.

// TradeID, Price, Amount, Side and FirstID of a trade.
func (v View) TradeID() []byte      { return v.Text(80) }
func (v View) TradeFirstID() int64  { return v.Int(128) }
func (v View) TradePrice() Decimal  { return v.Dec(88) }
func (v View) TradeAmount() Decimal { return v.Dec(104) }
func (v View) TradeSide() Side      { return Side(v.Int(120)) }

// Bids, Asks, Depth, FirstSeq and Checksum of a book record.
func (v View) Bids() Levels    { return v.Levels(80) }
func (v View) Asks() Levels    { return v.Levels(88) }
func (v View) Depth() int64    { return v.Int(96) }
func (v View) FirstSeq() int64 { return v.Int(104) }
func (v View) Checksum() int64 { return v.Int(112) }
