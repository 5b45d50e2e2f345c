package flow_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// figures gives the figures of one stream.
func (b *bench) figures(ch market.Channel, symbol string) flow.StreamStats {
	b.Helper()
	got := b.lane.Streams(func(c market.Channel, _ bool, _ market.InstrumentID, s string) bool { return c == ch && s == symbol })
	if len(got) != 1 {
		b.Fatalf("%d streams are %s of %s", len(got), ch, symbol)
	}
	return got[0]
}

// tradeAt emits a trade of this event time.
func tradeAt(symbol string, id, ts int64) func(*source.Out) {
	return func(o *source.Out) {
		o.Trade(&market.Trade{Header: market.Header{Instrument: o.Symbol([]byte(symbol)), Channel: market.ChannelTrades, Origin: market.OriginLive,
			Ts: ts, TsSend: ts + 1000, Seq: id, PrevSeq: market.None}, ID: fmt.Append(nil, id), Price: dec("100.5"), Amount: dec("1"),
			Side: market.SideBuy, FirstID: market.None, LastID: market.None})
	}
}

func TestStreamFigures(t *testing.T) {
	b := newBench(t, nil)
	b.subscribed(1, "btc")
	if s := b.figures(market.ChannelTrades, "btc"); s.Records != 0 || s.LastRecv != market.None || s.Delay.Known || s.HasBook {
		t.Errorf("subscribed, and nothing came: %+v", s)
	}
	// 100 trades, 1 to 100 ms late; 40 and 41 are missing, 50 comes twice.
	for id := int64(1); id <= 100; id++ {
		if id == 40 || id == 41 {
			continue
		}
		wall := t0 + id*second
		for range 1 + id/50*(50/id) {
			b.feed(input{kind: source.InputText, conn: 1, wall: wall, decode: tradeAt("btc", id, wall-id*1e6)})
		}
	}
	if s := b.figures(market.ChannelTrades, "btc"); s.Records != 0 {
		t.Errorf("%d records before they were published", s.Records)
	}
	b.lane.Publish(t0 + 103*second)
	s := b.figures(market.ChannelTrades, "btc")
	if s.Records != 98 || s.Missing != 2 || s.Gaps != 1 || s.Duplicates != 1 {
		t.Errorf("records %d, missing %d, gaps %d, duplicates %d", s.Records, s.Missing, s.Gaps, s.Duplicates)
	}
	wall := t0 + 100*second
	if s.LastRecv != wall || s.LastTs != wall-100e6 || s.LastSend != wall-100e6+1000 {
		t.Errorf("last record: received %d, event %d, sent %d", s.LastRecv, s.LastTs, s.LastSend)
	}
	if d := s.Delay; !d.Known || d.Last != 100*time.Millisecond || d.Max != 100*time.Millisecond || d.Count != 98 {
		t.Errorf("exchange to receive: %v, %v, %d", d.Last, d.Max, d.Count)
	}
	for q, want := range map[float64]time.Duration{0.5: 51 * time.Millisecond, 0.99: 99 * time.Millisecond, 0.01: time.Millisecond} {
		if got := s.Delay.Quantile(q); got < want || got > want*5/4+1 {
			t.Errorf("quantile %v is %v, want %v or up to a quarter above", q, got, want)
		}
	}
	if s.Lane != 102*time.Second || s.LaneMean != s.Lane || s.LaneMax != s.Lane {
		t.Errorf("receive to journal: %v, mean %v, max %v; the burst's first record waited 102 s", s.Lane, s.LaneMean, s.LaneMax)
	}
	if s.LastPos >= b.records.Tail() || s.LastPos == 0 {
		t.Errorf("last position %d, the journal ends at %d", s.LastPos, b.records.Tail())
	}
	g := s.LastGap
	if g == nil || g.Cause != market.CauseGap || g.FromSeq != 39 || g.ToSeq != 42 || g.Missing != 2 || g.Open || g.Symbol != "btc" {
		t.Errorf("last gap %+v", g)
	}

	// The connection breaks: the gap is open until trades come again.
	b.closed(1, "the venue hung up")
	if g := b.figures(market.ChannelTrades, "btc").LastGap; !g.Open || g.Cause != market.CauseDisconnect || g.Detail != "the venue hung up" || g.FromSeq != 100 {
		t.Errorf("open gap %+v", g)
	}
	at := b.frame(2, trade("btc", 104)).wall
	g = b.figures(market.ChannelTrades, "btc").LastGap
	if g.Open || g.Closed != at || g.How != "resumed" || g.Missing != 3 || g.ToSeq != 104 || g.Detail != "the venue hung up" {
		t.Errorf("closed gap %+v", g)
	}
	gaps := b.lane.Gaps()
	if len(gaps) != 3 || gaps[1].Channel == gaps[2].Channel || gaps[0].Missing != 2 { // btc's book broke as well
		t.Errorf("gaps %+v", gaps)
	}

	// What was late once is forgotten: after 10 minutes in the maximum, by half
	// each 5 minutes in the quantiles.
	b.timer(b.wall + second)
	for range 2 {
		b.timer(b.wall + 300*second)
	}
	b.lane.Publish(b.wall)
	if s := b.figures(market.ChannelTrades, "btc"); s.Delay.Max != 0 || s.Delay.Count >= 98/2 || s.Delay.Last == 0 {
		t.Errorf("after 10 minutes: max %v, %d counted, last %v", s.Delay.Max, s.Delay.Count, s.Delay.Last)
	}
}

func TestBookFigures(t *testing.T) {
	b := newBench(t, nil)
	b.subscribed(1, "btc")
	began := b.frame(1, delta("btc", 1, 5, "99", "")).wall
	b.lane.Publish(b.wall)
	if s := b.figures(market.ChannelBook, "btc"); !s.HasBook || s.Synced || s.SyncedAt != 0 {
		t.Errorf("before the snapshot: %+v", s)
	}
	synced := b.feed(input{kind: source.InputHTTP, payload: "body", decode: snapshot("btc", 5)}).wall
	b.frame(1, delta("btc", 6, 6, "98", ""))
	b.lane.Publish(b.wall)
	s := b.figures(market.ChannelBook, "btc")
	if !s.Synced || s.SyncedAt != synced || s.ResyncTook != time.Duration(synced-began) || s.LastGap != nil {
		t.Errorf("in force at %d after %v: %+v", s.SyncedAt, s.ResyncTook, s)
	}
	if s.Delay.Count != 3 {
		t.Errorf("%d delays", s.Delay.Count)
	}
	resyncs := s.Resyncs
	broke := b.frame(1, delta("btc", 9, 9, "98", "")).wall // 7 and 8 are missing
	b.lane.Publish(b.wall)
	if s := b.figures(market.ChannelBook, "btc"); s.Synced || s.Gaps != 1 || s.Resyncs != resyncs+1 || s.LastGap == nil || !s.LastGap.Open {
		t.Errorf("broken: %+v", s)
	}
	b.timer(b.wall + 3*second)
	synced = b.feed(input{kind: source.InputHTTP, payload: "body", decode: snapshot("btc", 10)}).wall
	b.frame(1, delta("btc", 10, 11, "98", ""))
	b.lane.Publish(b.wall)
	if s := b.figures(market.ChannelBook, "btc"); !s.Synced || s.ResyncTook < 3*time.Second || s.ResyncTook > time.Duration(b.wall-broke) || s.LastGap.Open || s.LastGap.How != "snapshot" {
		t.Errorf("mended: %+v, %+v", s, s.LastGap)
	}
}

// A symbol that is no longer wanted leaves the table; what is still on its way
// is passed on without a book and without gaps; asked for again it is new.
func TestUnsubscribe(t *testing.T) {
	b := newBench(t, nil)
	b.subscribed(1, "btc", "eth")
	b.frame(1, trade("btc", 1))
	b.feed(input{kind: source.InputHTTP, payload: "body", decode: snapshot("btc", 5)})
	b.frame(1, delta("btc", 6, 6, "98", ""))
	subs := []source.Subscription{{Channel: market.ChannelTrades, Symbol: "btc"}, {Channel: market.ChannelBook, Symbol: "btc"}}
	b.note(0, flow.Note{Note: flow.NoteUnsubscribed, Subs: subs})
	covered := 0
	for _, r := range b.read(b.records) {
		if r.Kind() == market.KindCoverage && r.symbol == "btc" {
			covered++
		}
	}
	if covered != 2 {
		t.Errorf("%d statements of what was received of the two streams", covered)
	}
	was := len(b.texts())
	b.frame(1, trade("btc", 5)) // 2 to 4 are nobody's loss
	b.frame(1, delta("btc", 9, 9, "98", ""))
	if n := b.lane.Counts.Books.Load(); n != 0 {
		t.Errorf("%d books", n)
	}
	if n := len(b.lane.Streams(nil)); n != 2 { // eth's
		t.Errorf("%d streams are left", n)
	}
	saved := saved(t, b.lane)
	again := flow.New(b.settings)
	if _, _, err := again.Restore(saved); err != nil {
		t.Fatal(err)
	}
	b.lane = again
	b.plugin()
	b.frame(1, trade("btc", 7))
	b.closed(1, "gone")
	got := b.texts()[was:]
	want := []string{"trade btc 5", "book_delta btc 9 unsynced", "trade btc 7", `quality eth disconnect trades detail="gone"`, `quality eth disconnect book detail="gone"`}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	b.note(0, flow.Note{Note: flow.NoteWanted, Subs: subs})
	was = len(b.texts())
	b.feed(input{kind: source.InputHTTP, payload: "body", decode: snapshot("btc", 20)}) // before the acknowledgement
	b.frame(2, delta("btc", 21, 21, "98", ""))
	b.frame(2, trade("btc", 10))
	if got, want := b.texts()[was:], []string{"book_snapshot btc 20 applied", "book_delta btc 21 applied", "trade btc 10"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Those who ask race with the lane, and are never in its way.
func TestFiguresWhileTheLaneRuns(t *testing.T) {
	b := newBench(t, nil)
	b.subscribed(1, "btc")
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for last := int64(0); ; {
			select {
			case <-done:
				return
			default:
			}
			for _, s := range b.lane.Streams(nil) {
				if s.Channel == market.ChannelTrades && s.Symbol == "btc" {
					if s.Records < last {
						t.Errorf("%d records after %d", s.Records, last)
					}
					last = s.Records
				}
			}
			b.lane.Gaps()
		}
	})
	for i := int64(1); i <= 2000; i++ {
		b.frame(1, trade([]string{"btc", "eth", fmt.Sprint(i % 50)}[i%3], i*2))
		b.lane.Publish(b.wall)
	}
	close(done)
	wg.Wait()
	if n := len(b.lane.Gaps()); n != 512 {
		t.Errorf("%d gaps are kept", n)
	}
	g := b.lane.Gaps()
	if !slices.IsSortedFunc(g, func(a, b flow.Gap) int { return int(a.At - b.At) }) {
		t.Error("gaps are out of order")
	}
}
