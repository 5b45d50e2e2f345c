package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/replay"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
)

// selecting is a runtime whose selector follows an emulator.
type selecting struct {
	*metricsRun
}

func newSelecting(t *testing.T, refresh string) *selecting {
	o := emulator.Options{Venue: "binance", Rate: 400, Symbols: []string{"BTC-USDT", "ETH-USDT", "SOL-USDT", "XRP-USDT", "ADA-USDT", "ETH-BTC"}}
	return &selecting{&metricsRun{rig: newRig(t, o, fmt.Sprintf(`marketprism {
  data_dir = "data"
  listen   = "ADMIN"
}
source "binance" "md" {
  symbols {
    market  = "spot"
    include = "ADA-*"
    exclude = "*-BTC"
    refresh = %q
    select {
      quote  = "USDT"
      top    = 2
      margin = 1
    }
  }
  url      = "URL"
  http_url = "HTTP_URL"
  channel "trades" {}
  channel "book" {
    depth = 100
  }
}
processor "book_snapshot" "top" {
  input = source.binance.md.book
  depth = 5
  every = "1s"
}
sink "parquet" "lake" {
  input      = [source.binance.md, processor.book_snapshot.top]
  path       = "lake"
  roll_every = "1s"
}
`, refresh))}}
}

func (r *selecting) list(l emulator.Listing) {
	r.t.Helper()
	if err := r.emu.List(l); err != nil {
		r.t.Fatal(err)
	}
}

// rounds waits until so many more catalogues were believed.
func (r *selecting) rounds(n float64) scrape {
	r.t.Helper()
	had := r.scrape().of("runtime_catalogues_total", "result", "believed")
	return r.reaches(had+n, "runtime_catalogues_total", "result", "believed")
}

// changes are the instrument records of the run, in order: +BTCUSDT, -BTCUSDT
// delisted.
func (r *selecting) changes() (out []string) {
	chosen := map[string]bool{}
	at := map[string]int{}
	for _, f := range market.Fields(market.KindInstrument) {
		at[f.Name] = f.Offset
	}
	if err := replay.Records(filepath.Join(r.dir, "data", "feeds", metricsFeed, "records"), "binance", market.MarketSpot, func(v market.View, i *market.Instrument) error {
		if v.Kind() == market.KindQuality && market.Cause(v.Int(80)) != market.CauseRuntimeDown && market.Cause(v.Int(80)) != market.CauseStopped {
			r.t.Errorf("a gap of %s: %s", i.Symbol, market.Cause(v.Int(80)))
		}
		if v.Kind() != market.KindInstrument {
			return nil
		}
		if string(v.Text(at["instrument"])) != i.Name || i.Name == "" || v.Dec(at["tick_size"]).IsNull() {
			r.t.Errorf("the record of %s names %s, tick %s", i.Name, v.Text(at["instrument"]), v.Dec(at["tick_size"]).Text())
		}
		s := market.Status(v.Int(at["status"]))
		switch {
		case !chosen[i.Symbol]:
			out = append(out, "+"+i.Symbol)
		case s == market.StatusTrading:
			out = append(out, "-"+i.Symbol)
		default:
			out = append(out, "-"+i.Symbol+" "+s.String())
		}
		chosen[i.Symbol] = !chosen[i.Symbol]
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
	return out
}

// TestSelection has a selector follow listings, delistings and volumes of a venue
// that doubts and refuses now and then.
func TestSelection(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	r := newSelecting(t, "2s")
	for i, s := range []string{"BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ETHBTC"} {
		r.list(emulator.Listing{Symbol: s, Turnover: int64(9-i) * 1e12})
	}
	began := time.Now()
	r.start()
	want := func(s scrape, n float64, taken, left float64) {
		t.Helper()
		for _, x := range []struct {
			name   string
			labels []string
			want   float64
		}{
			{"runtime_selected_instruments", nil, n}, {"runtime_selection_changes_total", []string{"change", "taken"}, taken},
			{"runtime_selection_changes_total", []string{"change", "left_out"}, left},
		} {
			if got := s.of(x.name, append(x.labels, "feed", metricsFeed)...); got != x.want || len(s.all(x.name, x.labels...)) != 1 {
				t.Errorf("%s%v is %v, want %v", x.name, x.labels, got, x.want)
			}
		}
	}
	s := r.scrape()
	want(s, 3, 0, 0) // ADA by name, BTC and ETH by volume
	if at := s.of("runtime_catalogue_timestamp_seconds"); at < stamp(began) || at > stamp(time.Now()) {
		t.Errorf("the catalogue is of %v", at)
	}

	// A new one of the greatest volume: the third stays within the margin.
	r.list(emulator.Listing{Symbol: "DOGE-USDT", Turnover: 90e12})
	want(r.reaches(1, "runtime_selection_changes_total", "change", "taken"), 4, 1, 0)
	// Another one: ETH falls behind the margin, and leaves after three rounds.
	r.list(emulator.Listing{Symbol: "XRPUSDT", Turnover: 80e12})
	want(r.reaches(1, "runtime_selection_changes_total", "change", "left_out"), 4, 2, 1)
	// One that is gone from the catalogue leaves in the second, one that is closed at once.
	r.list(emulator.Listing{Symbol: "DOGEUSDT", Hidden: true})
	want(r.reaches(2, "runtime_selection_changes_total", "change", "left_out"), 3, 2, 2)
	r.list(emulator.Listing{Symbol: "XRPUSDT", Status: "CLOSE"})
	s = r.reaches(3, "runtime_selection_changes_total", "change", "left_out")
	if got := s.of("runtime_selected_instruments"); got != 2 && got != 3 { // ETH comes back, maybe a round later
		t.Errorf("%v are chosen", got)
	}
	r.reaches(3, "runtime_selection_changes_total", "change", "taken")

	// A venue that can't be asked, and one that lists nothing any more, change nothing.
	r.inject(emulator.Fault{Kind: emulator.FaultStatus, Code: http.StatusInternalServerError, Count: 1, Path: "/api/v3/exchangeInfo"})
	want(r.reaches(1, "runtime_catalogues_total", "result", "failed"), 3, 3, 3)
	for _, s := range r.emu.Symbols() {
		r.list(emulator.Listing{Symbol: s, Hidden: true})
	}
	want(r.reaches(2, "runtime_catalogues_total", "result", "doubted"), 3, 3, 3)
	if !strings.Contains(r.log.String(), "the catalogue is not believed") {
		t.Error("the log doesn't say so")
	}

	// A start while it can't be asked goes on with what was chosen.
	if err := r.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-r.exited
	r.inject(emulator.Fault{Kind: emulator.FaultStatus, Code: http.StatusInternalServerError, Count: 3, Path: "/api/v3/exchangeInfo"})
	r.log.Reset()
	r.start()
	want(r.scrape(), 3, 0, 0)
	if !strings.Contains(r.log.String(), "Selection of an earlier run") {
		t.Error("the log doesn't say where the selection is from")
	}
	r.whole3()
	if opened := r.emu.Stats().Opened; opened != 2 { // one a run
		t.Errorf("%d connections were opened", opened)
	}
	r.terminate()
	got := strings.Join(r.changes(), " ")
	if want := "+ADAUSDT +BTCUSDT +ETHUSDT +DOGEUSDT +XRPUSDT -ETHUSDT -DOGEUSDT delisted"; !strings.HasPrefix(got, want) || !strings.Contains(got, "-XRPUSDT delisted") {
		t.Errorf("instrument records: %s\nwant them to begin: %s", got, want)
	}
}

// whole3 waits until the books of all that is chosen are in force.
func (r *selecting) whole3() {
	r.t.Helper()
	r.until("books to be whole", func(s scrape) bool { return s.of("book_synced") == 3 && s.of("runtime_ready") == 1 })
}
