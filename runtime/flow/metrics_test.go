package flow_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// reported are the lane's values by name and labels, the feed left out;
// histograms give their counts.
func (b *bench) reported() map[string]float64 {
	b.lane.Publish(time.Now().UnixNano())
	r := telemetry.NewRegistry()
	r.Add(func(e *telemetry.Emitter) {
		b.lane.Report(e, "test", flow.Backlog{Bytes: 12, Age: 3 * time.Second})
	})
	m := map[string]float64{}
	for _, v := range r.Values() {
		name := strings.TrimPrefix(v.Desc.Name, "marketprism_")
		for _, l := range v.Labels[1:] {
			name += " " + l
		}
		m[name] = v.Value
		if v.Hist != nil {
			m[name] = float64(v.Hist.Count)
			m[name+" sum"] = v.Hist.Sum.Seconds()
		}
	}
	return m
}

func (b *bench) metrics(want map[string]float64) {
	b.Helper()
	got := b.reported()
	for name, v := range want {
		if g, ok := got[name]; !ok || g != v {
			b.Errorf("%s is %v (%v), want %v", name, g, ok, v)
		}
	}
}

func TestMetrics(t *testing.T) {
	if err := telemetry.Check(flow.Descs()); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, nil)
	b.subscribed(1, "AAA")
	b.frame(1, trade("AAA", 1))
	b.frame(1, trade("AAA", 1)) // again
	b.frame(1, trade("AAA", 5)) // 2, 3 and 4 are missing
	b.frame(1, trade("AAA", 4)) // late
	b.feed(input{kind: source.InputText, conn: 1, decode: func(o *source.Out) { o.Refuse(errors.New("no JSON")) }})
	b.frame(1, snapshot("AAA", 10))
	b.frame(1, delta("AAA", 11, 11, "99.5", ""))
	b.metrics(map[string]float64{
		"flow_entries_total": 8, "flow_records_total trade": 3, "flow_records_total quality": 2, "flow_records_total book_snapshot": 1,
		"flow_records_total book_delta": 1, "flow_lag_bytes": 12, "flow_lag_seconds": 3,
		"flow_gaps_total trades gap": 1, "flow_gaps_total trades disconnect": 0, "flow_missing_total trades": 3, "flow_duplicates_total trades": 1,
		"flow_out_of_order_total trades": 1, "flow_decode_errors_total": 1, "flow_notices_total rejected": 0,
		"flow_streams trades": 1, "flow_streams book": 1, "flow_streams_broken trades": 0, "flow_streams_broken book": 0,
		"flow_last_record_timestamp_seconds book": float64(b.wall) / 1e9, "flow_last_record_timestamp_seconds trades": float64(b.wall-3e6) / 1e9,
		"flow_exchange_latency_seconds trades": 3, "flow_exchange_latency_seconds book": 2, "flow_clock_ahead_total": 0,
		"flow_record_latency_seconds": 7, "flow_diverged_total": 0,
		"book_tracked": 1, "book_synced": 1, "book_updates_total applied": 2, "book_updates_total stale": 0, "book_updates_total unsynced": 0,
		"book_resync_seconds": 1, "book_crossed_total": 0,
	})
	b.frame(1, func(o *source.Out) { o.Rejected([]byte("1"), []byte("no such symbol")) })
	b.frame(1, func(o *source.Out) { o.Maintenance("back at noon") })
	b.metrics(map[string]float64{"flow_notices_total rejected": 1, "flow_notices_total maintenance": 1})
	// The connection breaks a second later: both streams are lost, and the
	// book's next snapshot comes after two more.
	b.wall += 1e9
	b.closed(1, "reset by peer")
	b.metrics(map[string]float64{"flow_streams_broken trades": 1, "flow_streams_broken book": 1, "flow_gaps_total trades disconnect": 1,
		"flow_gaps_total book disconnect": 1, "book_synced": 0})
	b.wall += 2e9
	b.subscribed(2, "AAA")
	b.frame(2, snapshot("AAA", 30))
	got := b.reported()
	if s := got["book_resync_seconds sum"]; got["book_resync_seconds"] != 2 || s < 2 || s > 2.1 {
		t.Errorf("%v resyncs took %v s, want the second one to take 2 s", got["book_resync_seconds"], s)
	}
	b.metrics(map[string]float64{"flow_streams_broken trades": 1, "flow_streams_broken book": 0, "book_synced": 1})
	// All records are counted once, by what stands in the journal.
	kinds := map[string]float64{}
	for _, r := range b.read(b.records) {
		kinds["flow_records_total "+r.Kind().String()]++
	}
	counted := maps.Clone(b.reported())
	maps.DeleteFunc(counted, func(k string, _ float64) bool { return !strings.HasPrefix(k, "flow_records_total ") })
	if !maps.Equal(kinds, counted) {
		t.Errorf("counted %v, the journal holds %v", counted, kinds)
	}
}

// TestExemplars: once they are asked for, a latency names the symbol whose last
// record was the latest, in the formats that have exemplars.
func TestExemplars(t *testing.T) {
	b := newBench(t, nil)
	b.subscribed(1, "AAA", "BBB")
	at := func(symbol string, id int64, late time.Duration) {
		b.frame(1, func(o *source.Out) {
			o.Trade(&market.Trade{Header: market.Header{Instrument: o.Symbol([]byte(symbol)), Channel: market.ChannelTrades, Origin: market.OriginLive,
				Ts: b.wall - int64(late), TsSend: market.None, Seq: id, PrevSeq: market.None}, ID: fmt.Append(nil, id), Price: dec("1"), Amount: dec("1"),
				Side: market.SideBuy, FirstID: market.None, LastID: market.None})
		})
	}
	at("AAA", 1, 20*time.Millisecond)
	at("BBB", 1, 700*time.Millisecond)
	at("AAA", 2, 10*time.Millisecond)
	b.lane.Publish(b.wall)
	r := telemetry.NewRegistry()
	r.Add(func(e *telemetry.Emitter) { b.lane.Report(e, "test", flow.Backlog{}) })
	scrape := func() string {
		q := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		q.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, q)
		return w.Body.String()
	}
	if got := scrape(); strings.Contains(got, "# {") {
		t.Errorf("exemplars, which nobody asked for: %s", got)
	}
	r.SetExemplars(true)
	got := scrape()
	at0 := strings.Index(got, `marketprism_flow_exchange_latency_seconds_bucket{channel="trades",feed="test",le="1.0"} 3 # {symbol="BBB"} 0.7`)
	if at0 < 0 || strings.Count(got, "# {") != 1 || !strings.HasSuffix(got, "# EOF\n") {
		t.Errorf("%s", got)
	}
}

func TestLatencies(t *testing.T) {
	b := newBench(t, nil)
	live := func(ts, send int64) func(*source.Out) {
		return func(o *source.Out) {
			o.Trade(&market.Trade{Header: market.Header{Instrument: o.Symbol([]byte("AAA")), Channel: market.ChannelTrades, Ts: ts, TsSend: send, Seq: market.None,
				PrevSeq: market.None}, ID: []byte("x"), Price: dec("1"), Amount: dec("1"), Side: market.SideBuy, FirstID: market.None, LastID: market.None})
		}
	}
	at := time.Now().UnixNano() - 5e9
	for _, x := range []struct{ ts, send int64 }{{at - 1e9, at - 1e6}, {at - 2e6, market.None}, {at + 7e6, market.None}} {
		b.feed(input{kind: source.InputText, conn: 1, wall: at, decode: live(x.ts, x.send)})
	}
	got := b.reported()
	if n, s := got["flow_exchange_latency_seconds trades"], got["flow_exchange_latency_seconds trades sum"]; n != 3 || s != 0.003 {
		t.Errorf("%v records were %v s under way, want 1 ms by the sending time, 2 ms by the event's, and 0 where the clock is ahead", n, s)
	}
	if got["flow_clock_ahead_total"] != 1 {
		t.Errorf("the clock was ahead %v times, want once", got["flow_clock_ahead_total"])
	}
	if n, s := got["flow_record_latency_seconds"], got["flow_record_latency_seconds sum"]; n != 3 || s < 15 || s > 100 {
		t.Errorf("%v records were journalled after %v s together, want 5 s each", n, s)
	}
	// What was read before this run isn't timed, and nothing is where it is off.
	for _, change := range []func(*flow.Settings){func(s *flow.Settings) { s.LiveFrom = 1 << 40 }, func(s *flow.Settings) { s.Untimed = true }} {
		b := newBench(t, change)
		b.frame(1, live(at, market.None))
		got := b.reported()
		if got["flow_records_total trade"] != 1 || got["flow_record_latency_seconds"] != 0 || got["flow_exchange_latency_seconds trades"] != 0 {
			t.Errorf("want a record without latencies: %v", got)
		}
	}
}

// sunk is a records journal that keeps nothing.
type sunk struct{}

func (sunk) Append(shm.Header, []byte) (uint64, error) { return 0, nil }
func (sunk) Tail() uint64                              { return 0 }

// BenchmarkProcess is the lane's cost of a frame with one trade, in bursts of
// 64; untimed is without latencies.
func BenchmarkProcess(b *testing.B) {
	for _, untimed := range []bool{false, true} {
		name := "timed"
		if untimed {
			name = "untimed"
		}
		b.Run(name, func(b *testing.B) {
			x := newBench(b, func(s *flow.Settings) { s.Untimed, s.Records = untimed, sunk{} })
			in := input{kind: source.InputText, conn: 1, wall: time.Now().UnixNano(), decode: trade("AAA", 1)}
			x.feed(in)
			frame := x.encode(&in) // the record alone: the instrument is defined

			b.ReportAllocs()
			pos, next := x.lane.Next(), uint64(0)
			data := bytes.Clone(frame)
			for i := 0; b.Loop(); i++ {
				copy(data, frame)
				v := market.View(data)
				v.SetPos(pos)
				binary.LittleEndian.PutUint64(v[48:], uint64(i+2)) // Seq
				next = pos + 64
				if err := x.lane.Process(x.gen, pos, next, data); err != nil {
					b.Fatal(err)
				}
				if pos = next; i&63 == 63 {
					x.lane.Output().Mark()
					x.lane.Publish(v.TsRecv())
				}
			}
		})
	}
}
