package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/replay"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/wire"
)

// told are what records say that backfill is about: trades with their origin, and
// quality of trades without positions, which another journal has elsewhere.
type told struct {
	trades  map[string][]int64
	origins map[market.Origin]int
	lines   []string
	bytes   []byte
}

func (d *told) add(v market.View, i *market.Instrument) error {
	d.bytes = append(d.bytes, v...)
	switch v.Kind() {
	case market.KindTrade:
		d.trades[i.Symbol] = append(d.trades[i.Symbol], v.Seq())
		d.origins[v.Origin()]++
		d.lines = append(d.lines, fmt.Sprint(i.Symbol, v.Seq(), v.Origin(), v.Ts(), v.TsRecv(), v.Key()))
	case market.KindQuality:
		line := i.Symbol
		for _, f := range market.Fields(market.KindQuality) {
			switch f.Name {
			case "ref":
				line += fmt.Sprint(" ", v.Int(f.Offset) == market.None)
			case "repaired", "detail":
				line += fmt.Sprintf(" %q", v.Text(f.Offset))
			default:
				line += fmt.Sprint(" ", v.Int(f.Offset))
			}
		}
		d.lines = append(d.lines, line)
	}
	return nil
}

func newTold() *told {
	return &told{trades: map[string][]int64{}, origins: map[market.Origin]int{}}
}

// TestBackfillOverKills: the runtime is killed while trades are asked for that a
// gap took, and once more when they have come. Each trade that the venue made is
// there once, by the first start to the last; a replay of the frames says the same.
func TestBackfillOverKills(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
	r := newMetricsRun(t, 300, "256MiB", "1MiB")
	kill := func() {
		t.Helper()
		if err := r.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-r.exited
		r.cmd = nil
	}
	again := func() {
		t.Helper()
		r.start()
		r.reaches(40, "flow_records_total", "kind", "trade")
		r.whole()
	}
	r.start()
	r.reaches(100, "flow_records_total", "kind", "trade")
	r.whole()
	// The request is refused for longer than the runtime lives.
	r.inject(emulator.Fault{Kind: emulator.FaultStatus, Code: http.StatusTooManyRequests, Path: "/api/v3/historicalTrades", RetryAfter: 3600})
	for _, s := range []string{"BTCUSDT", "ETHUSDT"} {
		r.inject(emulator.Fault{Kind: emulator.FaultGap, Symbol: s, Channel: "trades", Count: 5})
	}
	r.reaches(1, "conn_rate_limited_total")
	r.reaches(2, "flow_backfilling")
	kill()
	again()
	r.until("the gaps to be filled", func(s scrape) bool { return s.of("flow_backfilling") == 0 && s.of("flow_backfilled_total") >= 10 })
	kill()
	again()
	r.inject(emulator.Fault{Kind: emulator.FaultDisconnect})
	r.reaches(1, "flow_gaps_total", "channel", "trades", "cause", "disconnect")
	r.whole()
	end := r.settled()
	for _, result := range []string{"part", "none", "unasked"} {
		if n := end.of("flow_backfills_total", "result", result); n != 0 {
			t.Errorf("%v gaps were filled as %s", n, result)
		}
	}
	r.terminate()

	live := newTold()
	if err := replay.Records(filepath.Join(r.dir, "data/feeds", metricsFeed, "records"), "binance", market.MarketSpot, live.add); err != nil {
		t.Fatal(err)
	}
	if n := live.origins[market.OriginBackfill]; n < 10 {
		t.Errorf("%d trades by history, want the 10 that were withheld at least", n)
	}
	if len(live.trades) != 2 {
		t.Errorf("trades of %d symbols", len(live.trades))
	}
	for symbol, ids := range live.trades {
		slices.Sort(ids)
		for i := range ids[1:] {
			if ids[i+1] != ids[i]+1 {
				t.Fatalf("%s: trade %d follows %d", symbol, ids[i+1], ids[i])
			}
		}
	}
	have, _ := r.lake()
	for p, n := range have {
		if n != 1 {
			t.Fatalf("in the lake %d times: %+v", n, p)
		}
	}

	var runs []*told
	for range 2 {
		in, err := replay.OpenJournal(filepath.Join(r.dir, "data/feeds", metricsFeed))
		if err != nil {
			t.Fatal(err)
		}
		one := newTold()
		if _, err := replay.Run(t.Context(), in, replay.Options{Manifest: bundledSources["binance"]().Describe(), Plugin: host.Spec{Kind: wire.KindSource, Name: "binance"},
			Logger: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)}, one.add); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, one)
	}
	if !bytes.Equal(runs[0].bytes, runs[1].bytes) {
		t.Error("two replays differ")
	}
	if i := slices.IndexFunc(runs[0].lines, func(l string) bool { return !slices.Contains(live.lines, l) }); i >= 0 {
		t.Errorf("the replay says %s, the run never did", runs[0].lines[i])
	}
	if len(runs[0].lines) != len(live.lines) {
		t.Errorf("%d trades and quality records by the replay, %d by the run", len(runs[0].lines), len(live.lines))
	}
}

// TestBackfillPages: gaps of more trades than an answer holds (OKX's has 100), and
// those that times bound, from either end.
func TestBackfillPages(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, venue := range []string{"okx", "bitmex", "bitget"} {
		t.Run(venue, func(t *testing.T) {
			plugintest.Run(t, plugintest.Config{Binary: exe, Env: []string{asProgram + "=1"}, Source: bundledSources[venue](), Cards: []string{"17"},
				Options: emulator.Options{Rate: 1000}})
		})
	}
}
