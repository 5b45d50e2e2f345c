package parquet

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	pq "github.com/parquet-go/parquet-go"
	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/sink"
)

func open(t *testing.T, dir string, config schema.Values) *parquetSink {
	t.Helper()
	if config == nil {
		config = schema.Values{}
	}
	config["path"] = dir
	p := New().(*parquetSink)
	if err := p.Open(t.Context(), sink.Settings{Name: "parquet.lake", Config: config, Logger: zerolog.Nop()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close(context.Background()) })
	return p
}

type rec struct {
	v market.View
	i *market.Instrument
}

func batch(from, to uint64, recs []rec) *sink.Batch {
	n := 0
	return sink.NewBatch(sink.Range{Journal: "binance-spot-records", Epoch: 1, From: from, To: to}, func() (market.View, *market.Instrument, error) {
		if n == len(recs) {
			return nil, nil, nil
		}
		n++
		return recs[n-1].v, recs[n-1].i, nil
	})
}

func files(t *testing.T, dir string) []string {
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var btc = &market.Instrument{ID: 1, Venue: "binance", Market: market.MarketSpot, Symbol: "BTC/USDT", Name: "BTC-USDT"}

func trade(n int64, i *market.Instrument) rec {
	h := market.Header{Instrument: i.ID, Ts: n, TsSend: market.None, TsRecv: 1700000000e9 + n, Seq: n, PrevSeq: market.None, Key: ^uint64(n), Pos: uint64(n) * 8}
	t := market.Trade{Header: h, ID: fmt.Append(nil, n), Price: market.MustDecimal("61602.010"), Amount: market.NewDecimal(n, 3),
		Side: market.SideBuy, FirstID: market.None, LastID: market.None}
	return rec{market.View(t.AppendTo(nil)), i}
}

func delta(n int64, levels int) rec {
	h := market.Header{Instrument: 1, Ts: n, TsSend: n + 1, TsRecv: 1700000000e9 + n, Seq: n, PrevSeq: market.None, Flags: market.FlagApplied}
	b := market.Book{Header: h, Depth: market.None, FirstSeq: n, Checksum: market.None}
	b.Kind = market.KindBookDelta
	for l := range levels {
		b.Bids = append(b.Bids, market.Level{Price: market.NewDecimal(int64(1000-l), 1), Amount: market.NewDecimal(int64(l), 2)})
	}
	return rec{market.View(b.AppendTo(nil)), btc}
}

const tradeFile = "trade/exchange=binance/market=spot/symbol=BTC%2FUSDT/date=2023-11-14/binance-spot-records-0000000000000008-0000000000000100.parquet"

func readRows(t *testing.T, path string) []map[string]any {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, _ := f.Stat()
	file, err := pq.OpenFile(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	for _, g := range file.RowGroups() {
		rows := g.Rows()
		buf := make([]pq.Row, 1)
		for {
			n, err := rows.ReadRows(buf)
			if n == 1 {
				m := map[string]any{}
				for _, v := range buf[0] {
					c := strings.Join(file.Schema().Columns()[v.Column()], ".")
					var x any = v.String()
					if v.IsNull() {
						x = nil
					}
					if strings.Contains(c, ".list.") {
						l, _ := m[c].([]any)
						if x != nil {
							m[c] = append(l, x)
						}
						continue
					}
					m[c] = x
				}
				out = append(out, m)
			}
			if err != nil {
				break
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir, nil)
	recs := []rec{trade(1, btc), trade(2, btc), delta(3, 2), delta(4, 0)}
	if err := p.Write(t.Context(), batch(8, 0x100, recs)); err != nil {
		t.Fatal(err)
	}
	if p.Pending("binance-spot-records") == 0 {
		t.Error("nothing pending after a write")
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("files before the roll: %v", got)
	}
	if err := p.Flush(t.Context(), sink.Range{Journal: "binance-spot-records", From: 8, To: 0x100}); err != nil {
		t.Fatal(err)
	}
	rows := readRows(t, filepath.Join(dir, tradeFile))
	if len(rows) != 2 || rows[0]["price"] != "61602.01" || rows[1]["amount"] != "0.002" || rows[0]["side"] != "buy" || rows[0]["id"] != "1" ||
		rows[0]["ts_send"] != nil || rows[0]["instrument"] != "BTC-USDT" || rows[1]["seq"] != "2" || rows[0]["conditions"] != nil {
		t.Errorf("rows: %v", rows)
	}
	book := readRows(t, filepath.Join(dir, strings.Replace(tradeFile, "trade", "book_delta", 1)))
	if len(book) != 2 || fmt.Sprint(book[0]["bids.list.element.price"]) != "[100 99.9]" || fmt.Sprint(book[0]["bids.list.element.amount"]) != "[0 0.01]" ||
		book[1]["bids.list.element.price"] != nil || book[0]["state"] != "applied" || book[0]["ts_send"] != "4" {
		t.Errorf("book rows: %v", book)
	}
	if got := files(t, dir); len(got) != 2 {
		t.Errorf("files: %v", got)
	}
}

func TestSameRangeReplaces(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // the second time as after a crash between rename and acknowledgement
		p := open(t, dir, nil)
		if err := p.Write(t.Context(), batch(8, 0x100, []rec{trade(1, btc)})); err != nil {
			t.Fatal(err)
		}
		if err := p.Flush(t.Context(), sink.Range{Journal: "binance-spot-records", From: 8, To: 0x100}); err != nil {
			t.Fatal(err)
		}
	}
	if rows := readRows(t, filepath.Join(dir, tradeFile)); len(rows) != 1 || len(files(t, dir)) != 1 {
		t.Errorf("%d rows in %v", len(rows), files(t, dir))
	}
}

func TestCrashLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir, schema.Values{"max_memory": int64(1 << 20)})
	var recs []rec
	for n := range int64(20_000) {
		recs = append(recs, trade(n+1, btc))
	}
	if err := p.Write(t.Context(), batch(8, 0x100, recs)); err != nil {
		t.Fatal(err)
	}
	open(t, dir, nil)
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left over: %v", got)
	}
}

// A batch whose iteration failed half-way is given again whole.
func TestRetriedBatchIsThereOnce(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir, nil)
	recs := []rec{trade(1, btc), trade(2, btc), trade(3, btc)}
	n, failed := 0, false
	bad := sink.NewBatch(sink.Range{Journal: "binance-spot-records", From: 8, To: 0x100}, func() (market.View, *market.Instrument, error) {
		if n == 2 {
			failed = true
			return nil, nil, fmt.Errorf("journal: a read failed")
		}
		n++
		return recs[n-1].v, recs[n-1].i, nil
	})
	if err := p.Write(t.Context(), bad); err == nil || !failed {
		t.Fatal("the error was swallowed")
	}
	if err := p.Write(t.Context(), batch(8, 0x100, recs)); err != nil {
		t.Fatal(err)
	}
	if err := p.Flush(t.Context(), sink.Range{Journal: "binance-spot-records", From: 8, To: 0x100}); err != nil {
		t.Fatal(err)
	}
	if rows := readRows(t, filepath.Join(dir, tradeFile)); len(rows) != 3 || rows[2]["id"] != "3" {
		t.Errorf("rows: %v", rows)
	}
}

func TestDecimalEncoding(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir, schema.Values{"price_encoding": "decimal"})
	if err := p.Write(t.Context(), batch(8, 0x100, []rec{trade(1, btc)})); err != nil {
		t.Fatal(err)
	}
	if err := p.Flush(t.Context(), sink.Range{Journal: "binance-spot-records", From: 8, To: 0x100}); err != nil {
		t.Fatal(err)
	}
	if len(readRows(t, filepath.Join(dir, tradeFile))) != 1 {
		t.Error("no row")
	}
	for _, c := range []struct {
		in string
		ok bool
	}{{"1.5", true}, {"-1.5", true}, {"123456789012345678.5", true}, {"99999999999999999999", true}, {"0.0000000000000000001", false}, {"999999999999999999999", false}} {
		b, ok := fixed(market.MustDecimal(c.in))
		if ok != c.ok {
			t.Errorf("%s: ok %v", c.in, ok)
		}
		if c.in == "-1.5" && fmt.Sprintf("%x", b) != "ffffffffffffffffeb2eedf284ea0000" {
			t.Errorf("-1.5 is %x", b)
		}
	}
}

// TestMemoryIsBounded writes 400 symbols through a small buffer and looks at
// what the heap holds.
func TestMemoryIsBounded(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir, schema.Values{"max_memory": int64(1 << 20)})
	insts := make([]*market.Instrument, 400)
	for n := range insts {
		insts[n] = &market.Instrument{ID: market.InstrumentID(n + 1), Venue: "binance", Market: market.MarketSpot, Symbol: fmt.Sprintf("S%d", n)}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for b := range 50 {
		var recs []rec
		for n := range 2000 {
			recs = append(recs, trade(int64(b*2000+n+1), insts[n%len(insts)]))
		}
		if err := p.Write(t.Context(), batch(uint64(b)*0x1000+8, uint64(b)*0x1000+0x1008, recs)); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 6<<20 {
		t.Errorf("%d records of %d bytes pending hold %d bytes of heap", 100_000, p.Pending("binance-spot-records"), grown)
	}
	if err := p.Flush(t.Context(), sink.Range{Journal: "binance-spot-records", From: 8, To: 0x100}); err != nil {
		t.Fatal(err)
	}
	got := files(t, dir)
	if len(got) != len(insts) {
		t.Errorf("%d files", len(got))
	}
	if rows := readRows(t, filepath.Join(dir, got[0])); len(rows) != 250 {
		t.Errorf("%d rows", len(rows))
	}
}

func BenchmarkRoll(b *testing.B) {
	p := New().(*parquetSink)
	if err := p.Open(b.Context(), sink.Settings{Name: "b", Config: schema.Values{"path": b.TempDir()}, Logger: zerolog.Nop()}); err != nil {
		b.Fatal(err)
	}
	var recs []rec
	for n := range int64(100_000) {
		recs = append(recs, trade(n+1, btc))
	}
	for b.Loop() {
		if err := p.Write(b.Context(), batch(8, 0x100, recs)); err != nil {
			b.Fatal(err)
		}
		if err := p.Flush(b.Context(), sink.Range{Journal: "binance-spot-records", From: 8, To: 0x100}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(recs))*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// TestInstruments: the record's own name is the name column, which stands once.
func TestInstruments(t *testing.T) {
	for k := market.KindTrade; k <= market.KindCoverage; k++ {
		seen := map[string]bool{}
		for _, c := range newTable(k, false).schema.Columns() {
			name := strings.Join(c, ".")
			if seen[name] {
				t.Errorf("%s has two columns %s", k, name)
			}
			seen[name] = true
		}
	}
	dir := t.TempDir()
	p := open(t, dir, nil)
	r := market.InstrumentRecord{Header: market.Header{Instrument: 1, Ts: 1, TsSend: market.None, TsRecv: 1700000000e9, Seq: market.None, PrevSeq: market.None},
		Instrument: []byte("BTC-USDT"), Base: []byte("BTC"), Quote: []byte("USDT"), TickSize: market.MustDecimal("0.01"), Expiry: market.None, Status: market.StatusDelisted}
	if err := p.Write(t.Context(), batch(8, 0x100, []rec{{market.View(r.AppendTo(nil)), btc}})); err != nil {
		t.Fatal(err)
	}
	if err := p.Flush(t.Context(), sink.Range{Journal: "binance-spot-records", From: 8, To: 0x100}); err != nil {
		t.Fatal(err)
	}
	rows := readRows(t, filepath.Join(dir, strings.Replace(tradeFile, "trade", "instrument", 1)))
	if len(rows) != 1 || rows[0]["instrument"] != "BTC-USDT" || rows[0]["base"] != "BTC" || rows[0]["tick_size"] != "0.01" || rows[0]["status"] != "delisted" || rows[0]["expiry"] != nil {
		t.Errorf("rows: %v", rows)
	}
}
