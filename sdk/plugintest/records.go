package plugintest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
)

// Record is a line of the stdout sink, as far as the cards look at it.
type Record struct {
	Kind       string              `json:"kind"`
	Venue      string              `json:"venue"`
	Market     string              `json:"market"`
	Symbol     string              `json:"symbol"`
	Instrument string              `json:"instrument"`
	Origin     string              `json:"origin"`
	Seq        int64               `json:"seq"`
	TsRecv     int64               `json:"ts_recv"`
	Pos        uint64              `json:"pos"`
	ID         string              `json:"id"`
	Bids       [][2]market.Decimal `json:"bids"`
	Asks       [][2]market.Decimal `json:"asks"`
	Stale      bool                `json:"stale"`
	Unsynced   bool                `json:"unsynced"`
	Reset      bool                `json:"reset"`

	Cause   string `json:"cause"`
	Channel string `json:"channel"`
	FromSeq *int64 `json:"from_seq"`
	ToSeq   *int64 `json:"to_seq"`
	FromTs  *int64 `json:"from_ts"`
	ToTs    *int64 `json:"to_ts"`
	Missing *int64 `json:"missing"`
	Ref     *int64 `json:"ref"`
	Detail  string `json:"detail"`

	Repaired string `json:"repaired"`
}

// id is a trade's number in the emulator's ledger: its id, of a UUID the last
// part, or where the venue's ids are no numbers, what it numbers trades with.
func (r *Record) id() int64 {
	n, err := strconv.ParseInt(r.ID[strings.LastIndexByte(r.ID, '-')+1:], 10, 64)
	if err != nil {
		return cmp.Or(r.Seq, -1)
	}
	return n
}

// reader follows a file of JSON lines.
type reader struct {
	path    string
	off     int64
	part    []byte
	records []Record
}

func (r *reader) read() ([]Record, error) {
	f, err := os.Open(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for {
		n, err := f.ReadAt(buf, r.off)
		r.off += int64(n)
		r.part = append(r.part, buf[:n]...)
		if n == 0 || err != nil {
			break
		}
	}
	for {
		line, rest, ok := bytes.Cut(r.part, []byte{'\n'})
		if !ok {
			return r.records, nil
		}
		r.part = rest
		var rec Record
		if err := json.Unmarshal(line, &rec); err != nil {
			return nil, fmt.Errorf("plugintest: line %d of the sink's output: %w: %.200s", len(r.records)+1, err, line)
		}
		r.records = append(r.records, rec)
	}
}

func summary(rs []Record) string {
	n := map[string]int{}
	for _, r := range rs {
		k := r.Kind
		if r.Cause != "" {
			k += " " + r.Cause
		}
		n[k]++
	}
	var s []string
	for k, c := range n {
		s = append(s, fmt.Sprintf("%s %d", k, c))
	}
	slices.Sort(s)
	return strings.Join(s, ", ")
}

// quality are the quality records that match; empty texts match any.
func quality(rs []Record, cause, channel, symbol string) (qs []Record) {
	for _, r := range rs {
		if r.Kind == "quality" && (cause == "" || r.Cause == cause) && (channel == "" || r.Channel == channel || r.Channel == "") &&
			(symbol == "" || r.Symbol == symbol || r.Symbol == "") {
			qs = append(qs, r)
		}
	}
	return qs
}

// TradeReport is what AccountTrades finds.
type TradeReport struct {
	Sent        int
	Delivered   int     // live or repaired
	Explained   int     // missing, inside a published gap
	Unexplained []int64 // ids that are missing without a gap
	Duplicates  int
	Foreign     int // never sent
	Disordered  int // live trades of a symbol that go back
}

func (r *TradeReport) String() string {
	return fmt.Sprintf("trades: sent %d, delivered %d, inside gaps %d, unexplained %d %v, duplicates %d, foreign %d, out of order %d", r.Sent, r.Delivered,
		r.Explained, len(r.Unexplained), r.Unexplained[:min(5, len(r.Unexplained))], r.Duplicates, r.Foreign, r.Disordered)
}

// AccountTrades compares the trades of a ledger with those that a sink was
// given: each once, or inside a published gap. Withheld trades, which the venue
// made and did not send, must be repaired or inside a gap too. names are the
// emulator's symbols.
func AccountTrades(ledger []emulator.Entry, names []string, rs []Record) *TradeReport {
	type key struct {
		symbol string
		id     int64
	}
	r := &TradeReport{}
	got, last := map[key]int{}, map[string]int64{}
	lastSeen := map[string]int64{} // receive time of the last trade before a time: see due
	for _, rec := range rs {
		if rec.Kind != "trade" {
			continue
		}
		k := key{rec.Symbol, rec.id()}
		got[k]++
		if rec.Origin == "" {
			if k.id < last[rec.Symbol] {
				r.Disordered++
			}
			last[rec.Symbol] = max(last[rec.Symbol], k.id)
		}
	}
	seen := map[key]bool{}
	recv := map[key]int64{}
	for _, rec := range rs {
		if rec.Kind == "trade" {
			recv[key{rec.Symbol, rec.id()}] = rec.TsRecv
		}
	}
	for _, e := range ledger {
		if e.Kind != emulator.EntryFrame || e.Channel != emulator.ChannelTrades || e.Seq == 0 {
			continue
		}
		k := key{names[e.Symbol-1], e.Seq}
		if seen[k] {
			continue
		}
		seen[k] = true
		r.Sent++
		if t, ok := recv[k]; ok {
			lastSeen[k.symbol] = max(lastSeen[k.symbol], t)
			r.Delivered++
			if got[k] > 1 {
				r.Duplicates++
			}
			continue
		}
		// Due when it was sent, or when the last trade before it was read.
		if inGap(rs, k.symbol, "trades", k.id, max(e.Time, lastSeen[k.symbol])) {
			r.Explained++
		} else {
			r.Unexplained = append(r.Unexplained, k.id)
		}
	}
	for k := range got {
		// History and repairs may hold trades of before the first frame.
		if !seen[k] && slices.ContainsFunc(rs, func(x Record) bool {
			return x.Kind == "trade" && x.Symbol == k.symbol && x.id() == k.id && x.Origin == ""
		}) {
			r.Foreign++
		}
	}
	return r
}

// inGap says whether a quality record covers an id or a time of a channel.
func inGap(rs []Record, symbol, channel string, id, at int64) bool {
	for _, q := range quality(rs, "", channel, symbol) {
		switch q.Cause {
		case "duplicate", "decode_error", "crossed", "maintenance":
			continue
		}
		if q.FromSeq != nil && q.ToSeq != nil && q.Symbol == symbol && *q.FromSeq <= id && id <= *q.ToSeq {
			return true
		}
		if q.FromTs != nil && *q.FromTs <= at && (q.ToTs == nil || at <= *q.ToTs) && !(q.ToTs != nil && *q.ToTs == *q.FromTs) {
			return true
		}
	}
	return false
}

// RebuiltBook is a book made of records alone.
type RebuiltBook struct {
	bids, asks map[string]market.Decimal // by price text
	snapshots  int
}

// Rebuild applies the book records of a symbol: a snapshot replaces, a delta
// that the runtime did not mark as stale or unsynced changes.
func Rebuild(rs []Record, symbol string) *RebuiltBook {
	b := &RebuiltBook{bids: map[string]market.Decimal{}, asks: map[string]market.Decimal{}}
	for _, r := range rs {
		if r.Symbol != symbol || r.Kind != "book_snapshot" && r.Kind != "book_delta" || r.Stale || r.Unsynced || r.Origin == "derived" {
			continue
		}
		if r.Kind == "book_snapshot" || r.Reset {
			clear(b.bids)
			clear(b.asks)
			b.snapshots++
		}
		for side, ls := range map[*map[string]market.Decimal][][2]market.Decimal{&b.bids: r.Bids, &b.asks: r.Asks} {
			for _, l := range ls {
				if l[1].Sign() == 0 {
					delete(*side, l[0].String())
				} else {
					(*side)[l[0].String()] = l[1]
				}
			}
		}
	}
	return b
}

// differs says how a book differs from the true one, to n levels (0: all).
func (b *RebuiltBook) differs(truth emulator.Book, n int) string {
	if b.snapshots == 0 {
		return "no snapshot came"
	}
	for _, x := range []struct {
		what string
		got  map[string]market.Decimal
		want [][2]string
		desc bool
	}{{"bid", b.bids, truth.Bids, true}, {"ask", b.asks, truth.Asks, false}} {
		type row struct{ price, amount market.Decimal }
		var rows []row
		for p, a := range x.got {
			rows = append(rows, row{market.MustDecimal(p), a})
		}
		slices.SortFunc(rows, func(a, b row) int {
			if x.desc {
				return b.price.Cmp(a.price)
			}
			return a.price.Cmp(b.price)
		})
		if n > 0 {
			rows = rows[:min(n, len(rows))]
		}
		for i := range max(len(rows), len(x.want)) {
			switch {
			case i >= len(rows):
				return fmt.Sprintf("%s %d is missing: %v", x.what, i+1, x.want[i])
			case i >= len(x.want):
				return fmt.Sprintf("%s %d is too many: %s %s", x.what, i+1, rows[i].price, rows[i].amount)
			case !rows[i].price.Equal(market.MustDecimal(x.want[i][0])) || !rows[i].amount.Equal(market.MustDecimal(x.want[i][1])):
				return fmt.Sprintf("%s %d is %s %s, the emulator's is %v", x.what, i+1, rows[i].price, rows[i].amount, x.want[i])
			}
		}
	}
	return ""
}
