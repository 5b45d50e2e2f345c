package main

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/engine"
	"github.com/marketprism/marketprism/runtime/replay"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

var (
	kills    = flag.Int("kills", 100, "how often the kill tests kill each process")
	killRate = flag.Float64("kill-rate", 20_000, "frames a second from the emulator in the kill tests")
)

// killRig is a rig with a lake under load; sync is off, for the tests kill
// processes and not the machine.
func killRig(t *testing.T, segment, roll string) *rig {
	t.Helper()
	o := emulator.Options{Venue: "binance", Rate: *killRate, Ledger: emulator.LedgerOptions{MaxBytes: 8 << 30}}
	return newRig(t, o, fmt.Sprintf(`marketprism {
  data_dir = "data"
  listen   = "ADMIN"
  journal {
    max_size     = "8GiB"
    segment_size = %q
    sync         = "process"
  }
}
source "binance" "md" {
  symbols  = ["BTC-USDT", "ETH-USDT"]
  url      = "URL"
  http_url = "HTTP_URL"
  channel "trades" {}
  channel "book" {
    depth = 100 # a light snapshot: the tests start the runtime more often a minute than the venue's budget expects
  }
}
sink "parquet" "lake" {
  input      = [source.binance.md]
  path       = "lake"
  %s
  batch {
    max_wait = "100ms"
  }
}
`, segment, roll))
}

func quantiles(ds []time.Duration) string {
	if len(ds) == 0 {
		return "none"
	}
	slices.Sort(ds)
	q := func(p float64) time.Duration {
		return ds[min(len(ds)-1, int(p*float64(len(ds))))].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("%d times, p50 %v, p99 %v, max %v", len(ds), q(.5), q(.99), ds[len(ds)-1].Round(100*time.Microsecond))
}

// TestKillPlugins kills the source plugin and the sink plugin again and again
// under load: no frame and no record is missing, none is there twice.
func TestKillPlugins(t *testing.T) {
	r := killRig(t, "64MiB", `roll_every = "2s"`)
	r.start()
	var source, sink []time.Duration
	for range *kills {
		s, _ := r.status()
		began := time.Now()
		if err := syscall.Kill(s.Feeds[0].Plugin.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		// The counter of frames is the connection's: reading goes on meanwhile.
		r.wait("the source to be back", func(n engine.Status) bool {
			return n.Feeds[0].Plugin.Generation > s.Feeds[0].Plugin.Generation && n.Feeds[0].Records > s.Feeds[0].Records && n.Feeds[0].LagBytes < 1<<20
		})
		source = append(source, time.Since(began))
		s, _ = r.status()
		began = time.Now()
		if err := syscall.Kill(s.Sinks[0].Plugin.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		r.wait("the sink to be back", func(n engine.Status) bool {
			return n.Sinks[0].Plugin.Generation > s.Sinks[0].Plugin.Generation && n.Sinks[0].Records > s.Sinks[0].Records
		})
		sink = append(sink, time.Since(began))
	}
	r.settle()
	r.terminate()
	t.Log("source killed ", quantiles(source))
	t.Log("sink killed ", quantiles(sink))
	r.check(false)
}

// TestKillRuntime kills the runtime again and again under load: every frame that
// the venue sent is journalled or inside a published gap, and every journalled
// record is in the Parquet output once.
func TestKillRuntime(t *testing.T) {
	r := killRig(t, "64MiB", `roll_every = "2s"`)
	for range *kills {
		r.start()
		s, _ := r.status()
		r.wait("some more records", func(n engine.Status) bool { return n.Feeds[0].Records > s.Feeds[0].Records+5000 })
		if err := r.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-r.exited
		r.cmd = nil
	}
	r.start()
	r.settle()
	r.terminate()
	var lengths []time.Duration
	for _, g := range r.check(true) {
		if g.To == math.MaxInt64 {
			continue
		}
		lengths = append(lengths, time.Duration(g.To-g.From))
	}
	t.Log("gaps published ", quantiles(lengths))
}

// TestRecordsLost takes the end of the records journal away after a kill, as a
// power failure can, since records are not synced with the frames: the lane
// begins at a checkpoint that is older than what was lost and derives it again.
func TestRecordsLost(t *testing.T) {
	r := killRig(t, "1MiB", `roll_every = "1h"`)
	r.start()
	r.wait("several segments", func(s engine.Status) bool { return s.Feeds[0].Records > 40_000 })
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.exited
	r.cmd = nil
	segments, err := filepath.Glob(filepath.Join(r.dir, "data/feeds/binance-spot/records/*.seg"))
	if err != nil || len(segments) < 6 {
		t.Fatalf("%d segments of records, want 6 at least (%v)", len(segments), err)
	}
	for _, s := range segments[len(segments)-3:] {
		if err := os.Remove(s); err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	r.settle()
	r.terminate()
	r.check(true)
	trades := 0
	err = replay.Records(filepath.Join(r.dir, "data/feeds/binance-spot/records"), "binance", market.MarketSpot, func(v market.View, _ *market.Instrument) error {
		if v.Kind() == market.KindTrade {
			trades++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	read, err := shm.OpenReader(filepath.Join(r.dir, "data/feeds/binance-spot/frames"), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	frames := 0
	for {
		rec, ok, err := read.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if source.InputKind(rec.Kind) == source.InputText && bytes.Contains(rec.Payload, []byte(`"e":"trade"`)) {
			frames++
		}
	}
	if trades != frames || frames == 0 {
		t.Errorf("%d trade frames are journalled, %d trades derived from them", frames, trades)
	}
}
