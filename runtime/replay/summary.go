package replay

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"strconv"
	"strings"

	"github.com/marketprism/marketprism/runtime/book"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Summary says what a run of records comes to, in a form that can be compared
// with another implementation's result field by field. Symbols are the venue's
// own; numbers are exact decimal strings.
type Summary struct {
	Venue  string `json:"venue"`
	Market string `json:"market"`
	Frames Frames `json:"frames"`

	Trades         map[string]*tradeSum `json:"trades,omitempty"`
	AggTrades      map[string]*tradeSum `json:"agg_trades,omitempty"`
	TradesSnapshot map[string]*tradeSum `json:"trades_snapshot,omitempty"`
	Book           map[string]*bookSum  `json:"book,omitempty"`
	BBO            map[string]*lastSum  `json:"bbo,omitempty"`
	Ticker         map[string]*lastSum  `json:"ticker,omitempty"`
	Candles        map[string]*lastSum  `json:"candles,omitempty"`
	CandlesHistory map[string]*lastSum  `json:"candles_snapshot,omitempty"`
	Funding        map[string]*lastSum  `json:"funding,omitempty"`
	MarkPrice      map[string]*lastSum  `json:"mark_price,omitempty"`
	IndexPrice     map[string]*lastSum  `json:"index_price,omitempty"`
	OpenInterest   map[string]*lastSum  `json:"open_interest,omitempty"`
	Liquidations   map[string]*lastSum  `json:"liquidations,omitempty"`
	LongShortRatio map[string]*lastSum  `json:"long_short_ratio,omitempty"`
	Quality        map[string]int64     `json:"quality,omitempty"` // records by cause

	rules  map[market.Market]source.BookRule
	market map[string]market.Market // of a symbol, in a mixed recording
	mixed  bool                     // several markets
	shared bool                     // which have one symbol
	buf    []byte
}

// Frames counts what came from outside.
type Frames struct {
	Recv int64 `json:"recv"`
	Send int64 `json:"send"`
	HTTP int64 `json:"http"`
	Open int64 `json:"open"`
}

// Input counts one record of a frames journal.
func (f *Frames) Input(k source.InputKind) {
	switch k {
	case source.InputText, source.InputBinary:
		f.Recv++
	case source.InputSent:
		f.Send++
	case source.InputHTTP:
		f.HTTP++
	case source.InputOpen:
		f.Open++
	}
}

type tradeSum struct {
	Count     int64          `json:"count"`
	SHA256    string         `json:"sha256"`
	FirstID   string         `json:"first_id"`
	LastID    string         `json:"last_id"`
	SumAmount market.Decimal `json:"sum_amount"`
	h         hash.Hash
}

type bookSum struct {
	Snapshots    int64    `json:"snapshots"`
	Applied      int64    `json:"updates_applied"`
	Stale        int64    `json:"updates_stale"`
	Unsynced     int64    `json:"updates_unsynced"`
	LevelChanges int64    `json:"level_changes"`
	Gaps         int64    `json:"gaps"`
	ChecksumsOK  int64    `json:"checksums_ok"`
	ChecksumsBad int64    `json:"checksums_bad"`
	FinalSeq     *int64   `json:"final_seq"`
	Crossed      int64    `json:"crossed"`
	Levels       [2]int   `json:"levels"`
	Final        bookSide `json:"final"`
	FinalLevels  [2]int   `json:"final_levels"` // as levels, under the name that some oracles have
	FinalCrossed bool     `json:"final_crossed"`
	b            *book.Book
}

type bookSide struct {
	Bids [][2]string `json:"bids"`
	Asks [][2]string `json:"asks"`
}

type lastSum struct {
	Count  int64          `json:"count"`
	Last   map[string]any `json:"last"`
	Closed int64          `json:"closed,omitempty"` // candles
	rec    []byte
}

// NewSummary starts a summary of a venue's records.
func NewSummary(m source.Manifest, in *Input) *Summary {
	s := &Summary{Venue: m.Venue, Market: cmp.Or(in.Called, in.Market.String()), mixed: in.Market == market.MarketMixed, rules: map[market.Market]source.BookRule{}, market: map[string]market.Market{}}
	for _, c := range m.Channels {
		if c.Channel == market.ChannelBook && c.Book != nil {
			for _, on := range c.Markets {
				// The runtime judged sequences and checksums already; here a book is only filled.
				s.rules[on] = source.BookRule{Snapshot: source.SnapshotInBand, CutToDepth: c.Book.CutToDepth, CrossedLegal: true}
			}
		}
	}
	return s
}

func sum[T any](m *map[string]*T, symbol string) *T {
	if *m == nil {
		*m = map[string]*T{}
	}
	t := (*m)[symbol]
	if t == nil {
		t = new(T)
		(*m)[symbol] = t
	}
	return t
}

// Add takes one record of a records journal.
func (s *Summary) Add(v market.View, i *market.Instrument) {
	symbol := s.symbol(v, i)
	history := v.Origin() == market.OriginHistory
	switch v.Kind() {
	case market.KindTrade:
		switch {
		case history:
			s.trade(sum(&s.TradesSnapshot, symbol), v)
		case v.Flags()&market.FlagAggregate != 0:
			s.trade(sum(&s.AggTrades, symbol), v)
		default:
			s.trade(sum(&s.Trades, symbol), v)
		}
	case market.KindBookSnapshot, market.KindBookDelta:
		if v.Channel() == market.ChannelBook && v.Origin() != market.OriginDerived {
			s.book(sum(&s.Book, symbol), v, i.Market)
		}
	case market.KindBBO:
		s.last(sum(&s.BBO, symbol), v)
	case market.KindTicker:
		s.last(sum(&s.Ticker, symbol), v)
	case market.KindCandle:
		if history {
			s.last(sum(&s.CandlesHistory, symbol), v)
			return
		}
		c := sum(&s.Candles, symbol)
		s.last(c, v)
		if v.Flags()&market.FlagClosed != 0 {
			c.Closed++
		}
	case market.KindFunding:
		s.last(sum(&s.Funding, symbol), v)
	case market.KindMarkPrice:
		s.last(sum(&s.MarkPrice, symbol), v)
	case market.KindIndexPrice:
		s.last(sum(&s.IndexPrice, symbol), v)
	case market.KindOpenInterest:
		s.last(sum(&s.OpenInterest, symbol), v)
	case market.KindLiquidation:
		s.last(sum(&s.Liquidations, symbol), v)
	case market.KindLongShortRatio:
		s.last(sum(&s.LongShortRatio, symbol), v)
	case market.KindQuality:
		if s.Quality == nil {
			s.Quality = map[string]int64{}
		}
		fs := market.Fields(market.KindQuality)
		cause := market.Cause(v.Int(fs[0].Offset))
		s.Quality[cause.String()]++
		if cause == market.CauseGap && v.Channel() == market.ChannelBook && len(v.Text(fs[7].Offset)) == 0 {
			sum(&s.Book, symbol).Gaps++
		}
	}
}

// symbol is the venue's own, in a mixed recording behind its market, until
// Finish knows whether that is needed.
func (s *Summary) symbol(v market.View, i *market.Instrument) string {
	if k := v.Kind(); !s.mixed || k == market.KindInstrument {
		return i.Symbol
	}
	if m, ok := s.market[i.Symbol]; ok && m != i.Market {
		s.shared = true
	}
	s.market[i.Symbol] = i.Market
	return i.Market.String() + ":" + i.Symbol
}

// bare takes the markets off the symbols.
func bare[T any](m map[string]*T) {
	for k, t := range m {
		if _, symbol, ok := strings.Cut(k, ":"); ok {
			delete(m, k)
			m[symbol] = t
		}
	}
}

func (s *Summary) trade(t *tradeSum, v market.View) {
	if t.h == nil {
		t.h = sha256.New()
		t.FirstID = string(v.TradeID())
		t.SumAmount = market.NewDecimal(0, 0)
	}
	t.Count++
	t.LastID = string(v.TradeID())
	if n, ok := t.SumAmount.Add(v.TradeAmount()); ok {
		t.SumAmount = n
	}
	b := append(append(s.buf[:0], v.TradeID()...), '|')
	b = append(v.TradePrice().AppendTrimmed(b), '|')
	b = append(v.TradeAmount().AppendTrimmed(b), '|')
	b = append(append(b, v.TradeSide().String()...), '|')
	b = append(strconv.AppendInt(b, v.Ts(), 10), '\n')
	t.h.Write(b)
	s.buf = b
}

func (s *Summary) book(t *bookSum, v market.View, m market.Market) {
	if t.b == nil {
		t.b = book.New(s.rules[m], book.Options{})
	}
	f, delta := v.Flags(), v.Kind() == market.KindBookDelta
	if !delta {
		t.Snapshots++
	}
	if f&market.FlagChecksumOK != 0 {
		t.ChecksumsOK++
	}
	if f&market.FlagChecksumBad != 0 {
		t.ChecksumsBad++
	}
	switch {
	case f&market.FlagStale != 0 && delta:
		t.Stale++
	case f&market.FlagUnsynced != 0 && delta && f&market.FlagEnd == 0:
		t.Unsynced++
	case f&market.FlagApplied != 0:
		if delta {
			t.Applied++
			t.LevelChanges += int64(v.Bids().Len() + v.Asks().Len())
			if f&market.FlagCrossed != 0 {
				t.Crossed++
			}
		}
		if seq := v.Seq(); seq != market.None {
			t.FinalSeq = &seq
		}
		s.buf = append(s.buf[:0], v...)
		t.b.Apply(market.View(s.buf), func(market.View) {})
	}
}

func (s *Summary) last(t *lastSum, v market.View) {
	t.Count++
	t.rec = append(t.rec[:0], v...)
}

// Finish computes hashes, last records and final books; the summary can then be
// marshalled.
func (s *Summary) Finish() {
	lasts := []map[string]*lastSum{s.BBO, s.Ticker, s.Candles, s.CandlesHistory, s.Funding, s.MarkPrice, s.IndexPrice, s.OpenInterest,
		s.Liquidations, s.LongShortRatio}
	if s.mixed && !s.shared {
		bare(s.Trades)
		bare(s.AggTrades)
		bare(s.TradesSnapshot)
		bare(s.Book)
		for _, m := range lasts {
			bare(m)
		}
	}
	for _, m := range []map[string]*tradeSum{s.Trades, s.AggTrades, s.TradesSnapshot} {
		for _, t := range m {
			t.SHA256 = hex.EncodeToString(t.h.Sum(nil))
			t.SumAmount = t.SumAmount.Trim()
		}
	}
	for _, t := range s.Book {
		if t.b == nil {
			continue
		}
		t.Levels = [2]int{t.b.Len(book.Bids), t.b.Len(book.Asks)}
		t.FinalLevels = t.Levels
		t.Final = bookSide{top(t.b, book.Bids), top(t.b, book.Asks)}
		bid, ask := t.b.Top(book.Bids, 1, nil), t.b.Top(book.Asks, 1, nil)
		t.FinalCrossed = len(bid) > 0 && len(ask) > 0 && bid[0].Price.Cmp(ask[0].Price) >= 0
	}
	for _, m := range lasts {
		for _, t := range m {
			t.Last = lastFields(market.View(t.rec))
		}
	}
}

func top(b *book.Book, side book.Side) [][2]string {
	out := [][2]string{}
	for _, l := range b.Top(side, 25, nil) {
		out = append(out, [2]string{l.Price.String(), l.Amount.String()})
	}
	return out
}

func lastFields(v market.View) map[string]any {
	m := map[string]any{"ts": v.Ts()}
	if v.Flags()&market.FlagTsEstimated != 0 {
		m["ts"] = nil
	}
	for _, f := range market.Fields(v.Kind()) {
		switch f.Type {
		case market.FieldDec:
			if d := v.Dec(f.Offset); !d.IsNull() {
				m[f.Name] = d.String()
			}
		case market.FieldInt, market.FieldTime:
			if n := v.Int(f.Offset); n != market.None {
				m[f.Name] = n
			}
		case market.FieldEnum:
			m[f.Name] = f.Enum[v.Int(f.Offset)]
		case market.FieldText:
			if t := v.Text(f.Offset); len(t) > 0 {
				m[f.Name] = string(t)
			}
		}
	}
	if v.Kind() == market.KindCandle {
		m["closed"] = v.Flags()&market.FlagClosed != 0
	}
	return m
}

// JSON is the summary, indented.
func (s *Summary) JSON() ([]byte, error) { return json.MarshalIndent(s, "", "  ") }
