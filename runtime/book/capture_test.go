package book_test

import (
	"bufio"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/marketprism/marketprism/runtime/book"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// The rules of the recorded venues, as their manifests state them.
var (
	binanceSpot = source.BookRule{Snapshot: source.SnapshotHTTP, Recovery: source.RecoverRequest,
		Sequence: source.Sequence{Kind: source.SequenceRange, Start: source.StartRange}}
	binanceFutures = source.BookRule{Snapshot: source.SnapshotHTTP, Recovery: source.RecoverRequest,
		Sequence: source.Sequence{Kind: source.SequenceChain, Start: source.StartOverlap}}
	krakenSpot = source.BookRule{Snapshot: source.SnapshotInBand, Recovery: source.RecoverResubscribe, CutToDepth: true,
		Checksum: source.Checksum{Kind: source.ChecksumKraken, Levels: 10}}
	okx = source.BookRule{Snapshot: source.SnapshotInBand, Recovery: source.RecoverResubscribe,
		Checksum: source.Checksum{Kind: source.ChecksumPairs, Levels: 25}}
)

type event struct {
	T    int64  `json:"t"`
	C    uint32 `json:"c"`
	Kind string `json:"k"`
	URL  string `json:"u"`
	Data string `json:"d"`
}

type oracle struct {
	Book map[string]struct {
		Snapshots    int64 `json:"snapshots"`
		Applied      int64 `json:"updates_applied"`
		Stale        int64 `json:"updates_stale"`
		Unsynced     int64 `json:"updates_unsynced"`
		LevelChanges int64 `json:"level_changes"`
		Gaps         int64
		ChecksumsOK  int64  `json:"checksums_ok"`
		ChecksumsBad int64  `json:"checksums_bad"`
		FinalSeq     *int64 `json:"final_seq"`
		Crossed      int64
		Levels       []int
		FinalLevels  []int `json:"final_levels"`
		Final        struct{ Bids, Asks [][2]string }
	}
}

func captures(t testing.TB) string {
	dir := os.Getenv("MARKETPRISM_CORPUS")
	if dir == "" {
		dir = "../../../shared/corpus"
	}
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the corpus must be there: %v", err)
		}
		t.Skipf("no corpus: %v", err)
	}
	return filepath.Join(dir, "captures")
}

func events(t testing.TB, path string, f func(*event)) {
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := zstd.NewReader(file, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 64<<20)
	lines.Scan()
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		f(&e)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// decode turns a recorded frame into book records; it is a test's, plain and slow.
func decode(t testing.TB, venue string, e *event, emit func(symbol string, b *market.Book)) {
	switch {
	case strings.HasPrefix(venue, "binance"):
		decodeBinance(t, e, emit)
	case strings.HasPrefix(venue, "kraken") && strings.HasPrefix(e.Data, "["):
		decodeKrakenV1(t, e, emit)
	case strings.HasPrefix(venue, "kraken"):
		decodeKrakenV2(t, e, emit)
	default:
		decodeOKX(t, e, emit)
	}
}

func levels[T ~[]E, E ~[]string](t testing.TB, ls T) []market.Level {
	var out []market.Level
	for _, l := range ls {
		out = append(out, level(t, l[0], l[1]))
	}
	return out
}

func level(t testing.TB, price, amount string) market.Level {
	p, err := market.ParseDecimal(price)
	if err != nil {
		t.Fatal(err)
	}
	a, err := market.ParseDecimal(amount)
	if err != nil {
		t.Fatal(err)
	}
	return market.Level{Price: p, Amount: a}
}

func newBook(k market.Kind) *market.Book {
	none := market.None
	return &market.Book{Header: market.Header{Kind: k, Channel: market.ChannelBook, Seq: none, PrevSeq: none, TsSend: none},
		Depth: none, FirstSeq: none, Checksum: none}
}

func decodeBinance(t testing.TB, e *event, emit func(string, *market.Book)) {
	if e.Kind == "http" {
		u, err := url.Parse(e.URL)
		if err != nil || !strings.HasSuffix(u.Path, "/depth") {
			return
		}
		var d struct {
			ID   int64 `json:"lastUpdateId"`
			Bids [][]string
			Asks [][]string
		}
		if err := json.Unmarshal([]byte(e.Data), &d); err != nil {
			t.Fatal(err)
		}
		b := newBook(market.KindBookSnapshot)
		b.Seq, b.Bids, b.Asks = d.ID, levels(t, d.Bids), levels(t, d.Asks)
		emit(u.Query().Get("symbol"), b)
		return
	}
	var w struct{ Data json.RawMessage }
	raw := []byte(e.Data)
	if json.Unmarshal(raw, &w) == nil && w.Data != nil {
		raw = w.Data
	}
	if !strings.Contains(string(raw), `"depthUpdate"`) {
		return
	}
	m := map[string]json.RawMessage{} // encoding/json doesn't distinguish u and U in structs
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	number := func(k string) int64 {
		if m[k] == nil {
			return market.None
		}
		n, err := strconv.ParseInt(string(m[k]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var symbol string
	var bids, asks [][]string
	for k, p := range map[string]any{"s": &symbol, "b": &bids, "a": &asks} {
		if err := json.Unmarshal(m[k], p); err != nil {
			t.Fatal(err)
		}
	}
	b := newBook(market.KindBookDelta)
	b.FirstSeq, b.Seq, b.PrevSeq, b.Bids, b.Asks = number("U"), number("u"), number("pu"), levels(t, bids), levels(t, asks)
	emit(symbol, b)
}

func decodeKrakenV1(t testing.TB, e *event, emit func(string, *market.Book)) {
	var parts []json.RawMessage
	if err := json.Unmarshal([]byte(e.Data), &parts); err != nil {
		t.Fatal(err)
	}
	var channel, symbol string
	if json.Unmarshal(parts[len(parts)-2], &channel) != nil || !strings.HasPrefix(channel, "book-") {
		return
	}
	if err := json.Unmarshal(parts[len(parts)-1], &symbol); err != nil {
		t.Fatal(err)
	}
	b := newBook(market.KindBookDelta)
	b.Depth, _ = strconv.ParseInt(channel[len("book-"):], 10, 64)
	for _, p := range parts[1 : len(parts)-2] {
		var d struct {
			As, Bs, A, B [][]string
			C            string
		}
		if err := json.Unmarshal(p, &d); err != nil {
			t.Fatal(err)
		}
		if d.As != nil || d.Bs != nil {
			b.Kind = market.KindBookSnapshot
		}
		b.Bids = append(b.Bids, levels(t, append(d.Bs, d.B...))...)
		b.Asks = append(b.Asks, levels(t, append(d.As, d.A...))...)
		if d.C != "" {
			b.Checksum, _ = strconv.ParseInt(d.C, 10, 64)
		}
	}
	emit(symbol, b)
}

func decodeKrakenV2(t testing.TB, e *event, emit func(string, *market.Book)) {
	type entry struct{ Price, Qty json.Number }
	var m struct {
		Channel, Type, Method string
		Success               bool
		Result                struct{ Channel, Symbol string }
		Data                  json.RawMessage
	}
	if err := json.Unmarshal([]byte(e.Data), &m); err != nil {
		t.Fatal(err)
	}
	if m.Method == "unsubscribe" && m.Success && m.Result.Channel == "book" {
		b := newBook(market.KindBookDelta)
		b.Flags = market.FlagEnd
		emit(m.Result.Symbol, b)
	}
	if m.Channel != "book" {
		return
	}
	var data []struct {
		Symbol     string
		Bids, Asks []entry
		Checksum   int64
	}
	if err := json.Unmarshal(m.Data, &data); err != nil {
		t.Fatal(err)
	}
	for _, d := range data {
		b := newBook(market.KindBookDelta)
		if m.Type == "snapshot" {
			b.Kind = market.KindBookSnapshot
		}
		b.Checksum = d.Checksum
		for _, l := range d.Bids {
			b.Bids = append(b.Bids, level(t, string(l.Price), string(l.Qty)))
		}
		for _, l := range d.Asks {
			b.Asks = append(b.Asks, level(t, string(l.Price), string(l.Qty)))
		}
		emit(d.Symbol, b)
	}
}

// decodeOKX also reads Bitget, whose frames are of the same shape.
func decodeOKX(t testing.TB, e *event, emit func(string, *market.Book)) {
	var m struct {
		Arg    struct{ Channel, InstID string }
		Action string
		Data   json.RawMessage
	}
	if e.Kind != "recv" || json.Unmarshal([]byte(e.Data), &m) != nil || !strings.HasPrefix(m.Arg.Channel, "books") || m.Data == nil {
		return
	}
	var data []struct {
		Bids, Asks [][]string
		Checksum   int64
	}
	if err := json.Unmarshal(m.Data, &data); err != nil {
		t.Fatal(err)
	}
	for _, d := range data {
		b := newBook(market.KindBookDelta)
		if m.Action == "snapshot" {
			b.Kind = market.KindBookSnapshot
		}
		b.Checksum, b.Bids, b.Asks = d.Checksum, levels(t, d.Bids), levels(t, d.Asks)
		emit(m.Arg.InstID, b)
	}
}

// TestCaptures replays recordings and compares with what must come of them. The
// counts are made twice: by the engine and from the flags of what it emits.
func TestCaptures(t *testing.T) {
	dir := captures(t)
	all, err := filepath.Glob(filepath.Join(dir, "*.oracle.json"))
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, path := range all {
		name := strings.TrimSuffix(filepath.Base(path), ".oracle.json")
		var rule source.BookRule
		depth := 0
		switch {
		case strings.HasPrefix(name, "binance-spot"), strings.HasPrefix(name, "binanceus-spot"):
			rule = binanceSpot
		case strings.HasPrefix(name, "binance-"):
			rule = binanceFutures
		case strings.HasPrefix(name, "kraken-spot"):
			rule = krakenSpot
			depth = 10
			if strings.HasSuffix(name, "xrpusd") {
				depth = 25
			}
		case strings.HasPrefix(name, "okx-mixed-2022"), strings.HasPrefix(name, "okx-mixed-20210722-cfg3-c"), strings.HasPrefix(name, "bitget"):
			rule = okx
		default:
			continue
		}
		ran++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var want oracle
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			replay(t, name, filepath.Join(dir, name+".jsonl.zst"), rule, depth, &want)
		})
	}
	if ran == 0 {
		t.Fatalf("no recordings in %s", dir)
	}
}

func replay(t *testing.T, name, path string, rule source.BookRule, depth int, want *oracle) {
	type kept struct {
		*book.Book
		flags book.Stats
	}
	books := map[string]*kept{}
	var buf []byte
	records, emitted := 0, 0
	events(t, path, func(e *event) {
		if e.Kind != "recv" && e.Kind != "http" {
			return
		}
		decode(t, name, e, func(symbol string, r *market.Book) {
			k := books[symbol]
			if k == nil {
				k = &kept{Book: book.New(rule, book.Options{SubscribedDepth: depth})}
				books[symbol] = k
			}
			records++
			buf = r.AppendTo(buf[:0])
			out := k.Apply(buf, func(v market.View) {
				emitted++
				count(&k.flags, v)
			})
			if out.Cause != market.CauseNone || out.Reason != "" {
				t.Errorf("%s at %d: %+v", symbol, e.T, out)
			}
		})
	})
	if records == 0 {
		t.Fatal("no book records: the decoder found nothing")
	}
	for symbol, w := range want.Book {
		k := books[symbol]
		if k == nil {
			t.Errorf("%s: no book", symbol)
			continue
		}
		k.Flush(func(v market.View) { emitted++; count(&k.flags, v) })
		wantStats := book.Stats{Snapshots: w.Snapshots, Applied: w.Applied, Stale: w.Stale, Unsynced: w.Unsynced, LevelChanges: w.LevelChanges,
			Gaps: w.Gaps, ChecksumsOK: w.ChecksumsOK, ChecksumsBad: w.ChecksumsBad, Crossed: w.Crossed}
		if s := k.Stats(); s != wantStats {
			t.Errorf("%s: %+v, want %+v", symbol, s, wantStats)
		}
		k.flags.Gaps = w.Gaps // no flag tells them
		if k.flags != wantStats {
			t.Errorf("%s: by flags %+v, want %+v", symbol, k.flags, wantStats)
		}
		if w.FinalSeq != nil && k.Seq() != *w.FinalSeq {
			t.Errorf("%s: final_seq %d, want %d", symbol, k.Seq(), *w.FinalSeq)
		}
		n := w.Levels
		if n == nil {
			n = w.FinalLevels
		}
		if got := []int{k.Len(book.Bids), k.Len(book.Asks)}; got[0] != n[0] || got[1] != n[1] {
			t.Errorf("%s: levels %v, want %v", symbol, got, n)
		}
		for side, ls := range [][][2]string{w.Final.Bids, w.Final.Asks} {
			top := k.Top(book.Side(side), 25, nil)
			if len(top) != len(ls) {
				t.Errorf("%s: %d final levels, want %d", symbol, len(top), len(ls))
				continue
			}
			for i, l := range top {
				if l.Price.String() != ls[i][0] || l.Amount.String() != ls[i][1] {
					t.Errorf("%s: side %d, level %d is %s × %s, want %v", symbol, side, i, l.Price, l.Amount, ls[i])
				}
			}
		}
	}
	if emitted != records {
		t.Errorf("%d records came, %d left", records, emitted)
	}
}

// count is what a reader of the records counts by their flags.
func count(s *book.Stats, v market.View) {
	f := v.Flags()
	has := func(x market.Flags) int64 {
		if f&x != 0 {
			return 1
		}
		return 0
	}
	s.ChecksumsOK += has(market.FlagChecksumOK)
	s.ChecksumsBad += has(market.FlagChecksumBad)
	if v.Kind() == market.KindBookSnapshot {
		s.Snapshots++
		return
	}
	s.Applied += has(market.FlagApplied)
	s.Stale += has(market.FlagStale)
	s.Unsynced += has(market.FlagUnsynced)
	s.Crossed += has(market.FlagCrossed)
	s.LevelChanges += has(market.FlagApplied) * int64(v.Bids().Len()+v.Asks().Len())
}
