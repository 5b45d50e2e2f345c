package oracle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/capture"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// Captures says how a plugin is held to the recordings of a venue.
type Captures struct {
	Pattern string // of file names in the corpus, without their ending
}

type trades struct {
	Count     int    `json:"count"`
	SHA256    string `json:"sha256"`
	FirstID   string `json:"first_id"`
	LastID    string `json:"last_id"`
	SumAmount string `json:"sum_amount"`

	h   hash.Hash
	sum market.Decimal
}

type book struct {
	Snapshots int `json:"snapshots"`
	Applied   int `json:"updates_applied"`
	Stale     int `json:"updates_stale"`
	Unsynced  int `json:"updates_unsynced"`

	deltas int
}

type lasts struct {
	Count int   `json:"count"`
	Last  event `json:"last"`
}

// totals are an oracle's sections that a decoder alone can make.
type totals struct {
	Trades         map[string]*trades `json:"trades"`
	AggTrades      map[string]*trades `json:"agg_trades"`
	TradesSnapshot map[string]*trades `json:"trades_snapshot"`
	Book           map[string]*book   `json:"book"`

	lasts map[string]map[string]*lasts
}

// sections of an oracle that hold a count and the last record, by kind.
var sections = map[market.Kind]string{
	market.KindBBO: "bbo", market.KindTicker: "ticker", market.KindCandle: "candles", market.KindFunding: "funding",
	market.KindMarkPrice: "mark_price", market.KindIndexPrice: "index_price", market.KindOpenInterest: "open_interest",
	market.KindLiquidation: "liquidations",
}

// Run decodes each recording and compares with the oracle beside it. No frame
// may be refused.
func (o Captures) Run(t *testing.T, s source.Source) {
	for _, path := range Files(t, 1, "captures", o.Pattern+".jsonl.zst") {
		base := strings.TrimSuffix(path, ".jsonl.zst")
		t.Run(filepath.Base(base), func(t *testing.T) {
			want := readOracle(t, base+".oracle.json")
			got, instruments := decodeAll(t, s, path, want.shared())
			compare(t, got, want)
			t.Logf("%d instruments", instruments)
		})
	}
}

// shared says whether symbols stand behind their market, linear:BTCUSDT, because
// several markets of a recording have one.
func (o *totals) shared() bool {
	for symbol := range o.Trades {
		if strings.Contains(symbol, ":") {
			return true
		}
	}
	return false
}

func readOracle(t *testing.T, path string) *totals {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := &totals{lasts: map[string]map[string]*lasts{}}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, want); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, name := range sections {
		if raw, ok := all[name]; ok {
			d := json.NewDecoder(bytes.NewReader(raw))
			d.UseNumber()
			m := map[string]*lasts{}
			if err := d.Decode(&m); err != nil {
				t.Fatalf("%s: %s: %v", path, name, err)
			}
			for _, l := range m {
				if text, ok := l.Last["interval"].(string); ok {
					l.Last["interval"] = strings.TrimSuffix(text, "in") // 1min
				}
			}
			want.lasts[name] = m
		}
	}
	return want
}

func decodeAll(t *testing.T, s source.Source, path string, shared bool) (*totals, int) {
	r, err := capture.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m, err := market.ParseMarket(r.Header.Market)
	if err != nil {
		m = market.MarketMixed // "futures": all kinds of one venue
	}
	f := NewFeed(t, s, m)
	got := &totals{Trades: map[string]*trades{}, AggTrades: map[string]*trades{}, TradesSnapshot: map[string]*trades{},
		Book: map[string]*book{}, lasts: map[string]map[string]*lasts{}}
	instruments := 0
	var line []byte
	for e, err := range r.All() {
		if err != nil {
			t.Fatal(err)
		}
		in := e.Input()
		items, err := f.Decode(t, &in)
		if err != nil {
			t.Fatalf("%s:%d: %v", path, e.Line, err)
		}
		for _, it := range items {
			v := it.Record
			if v == nil {
				continue
			}
			symbol := it.Instrument.Symbol
			if shared {
				symbol = it.Instrument.Market.String() + ":" + symbol
			}
			switch v.Kind() {
			case market.KindTrade:
				to := got.Trades
				if v.Flags()&market.FlagAggregate != 0 {
					to = got.AggTrades
				}
				if v.Origin() == market.OriginHistory {
					to = got.TradesSnapshot
				}
				line = of(to, symbol).add(v, line[:0])
			case market.KindBookSnapshot:
				of(got.Book, symbol).Snapshots++
			case market.KindBookDelta:
				if v.Flags()&market.FlagEnd == 0 {
					of(got.Book, symbol).deltas++
				}
			case market.KindInstrument:
				instruments++
			case market.KindCandle:
				if v.Origin() == market.OriginHistory { // counted apart, by what makes the summary
					continue
				}
				fallthrough
			default:
				if unstated(v.Kind()) {
					continue
				}
				name := sections[v.Kind()]
				if got.lasts[name] == nil {
					got.lasts[name] = map[string]*lasts{}
				}
				l := of(got.lasts[name], symbol)
				l.Count++
				l.Last = eventOf(v, it.Instrument)
			}
		}
	}
	return got, instruments
}

func of[T any](m map[string]*T, symbol string) *T {
	x, ok := m[symbol]
	if !ok {
		x = new(T)
		m[symbol] = x
	}
	return x
}

// add hashes id|price|amount|side|ts.
func (s *trades) add(v market.View, b []byte) []byte {
	if s.h == nil {
		s.h, s.FirstID, s.sum = sha256.New(), string(v.TradeID()), market.NewDecimal(0, 0)
	}
	s.Count++
	s.LastID = string(v.TradeID())
	b = append(append(b, v.TradeID()...), '|')
	b = append(v.TradePrice().AppendTrimmed(b), '|')
	b = append(v.TradeAmount().AppendTrimmed(b), '|')
	b = append(append(b, v.TradeSide().String()...), '|')
	b = append(fmt.Appendf(b, "%d", v.Ts()), '\n')
	s.h.Write(b)
	s.sum, _ = s.sum.Add(v.TradeAmount())
	s.SHA256, s.SumAmount = hex.EncodeToString(s.h.Sum(nil)), s.sum.String()
	return b
}

func compare(t *testing.T, got, want *totals) {
	tradesEqual(t, "trades", got.Trades, want.Trades)
	tradesEqual(t, "agg_trades", got.AggTrades, want.AggTrades)
	tradesEqual(t, "trades_snapshot", got.TradesSnapshot, want.TradesSnapshot)
	for symbol, w := range want.Book {
		g := of(got.Book, symbol)
		if deltas := w.Applied + w.Stale + w.Unsynced; g.Snapshots != w.Snapshots || g.deltas != deltas {
			t.Errorf("book of %s: %d snapshots and %d updates, want %d and %d", symbol, g.Snapshots, g.deltas, w.Snapshots, deltas)
		}
	}
	for symbol := range got.Book {
		if want.Book[symbol] == nil {
			t.Errorf("book of %s is not in the oracle", symbol)
		}
	}
	for name, bySymbol := range want.lasts {
		for symbol, w := range bySymbol {
			g := got.lasts[name][symbol]
			if g == nil || g.Count != w.Count {
				t.Errorf("%s of %s: %+v, want %d", name, symbol, g, w.Count)
				continue
			}
			if d := differs(g.Last, w.Last); d != "" {
				t.Errorf("last %s of %s: %s", name, symbol, d)
			}
		}
	}
	for name, bySymbol := range got.lasts {
		for symbol := range bySymbol {
			if want.lasts[name][symbol] == nil {
				t.Errorf("%s of %s is not in the oracle", name, symbol)
			}
		}
	}
}

func tradesEqual(t *testing.T, name string, got, want map[string]*trades) {
	for symbol, w := range want {
		g := of(got, symbol)
		if g.Count != w.Count || g.SHA256 != w.SHA256 || g.FirstID != w.FirstID || g.LastID != w.LastID || w.SumAmount != "" && g.SumAmount != w.SumAmount {
			t.Errorf("%s of %s: %d %s %s..%s sum %s, want %d %s %s..%s sum %s", name, symbol,
				g.Count, g.SHA256, g.FirstID, g.LastID, g.SumAmount, w.Count, w.SHA256, w.FirstID, w.LastID, w.SumAmount)
		}
	}
	for symbol := range got {
		if want[symbol] == nil {
			t.Errorf("%s of %s are not in the oracle", name, symbol)
		}
	}
}
