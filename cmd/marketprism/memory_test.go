package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/engine"
	"github.com/marketprism/marketprism/runtime/memory"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
)

var (
	soak     = flag.Duration("soak", 45*time.Second, "how long TestMemorySoak collects under varying load")
	soakTime = flag.Float64("soak-scale", 10, "how many times as fast the leak detector's time runs in TestMemorySoak")
	soakRate = flag.Float64("soak-rate", 2000, "frames a second of TestMemorySoak at full load")
)

// phases are the loads of the soak: part of the time that the venue sends.
var phases = []float64{1, 0.5, 1, 0, 0.25, 1, 0.75, 0.1, 0.5, 0}

// TestMemorySoak collects from a simulated venue whose load goes up and down,
// with faults, and expects that the leak detector says nothing. By default the
// detector's time is compressed; the whole hour is
//
//	go test -run MemorySoak ./cmd/marketprism -timeout 90m -soak 1h -soak-scale 1
func TestMemorySoak(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes most of a minute")
	}
	r := newRig(t, emulator.Options{Venue: "binance", Rate: *soakRate, Ledger: emulator.LedgerOptions{Off: true}}, `marketprism {
  data_dir = "data"
  listen   = "ADMIN"
  journal {
    max_size     = "64MiB"
    segment_size = "8MiB"
  }
}
source "binance" "md" {
  symbols  = ["BTC-USDT", "ETH-USDT"]
  url      = "URL"
  http_url = "HTTP_URL"
  channel "trades" {}
  channel "book" {}
  channel "bbo" {}
}
processor "book_snapshot" "top" {
  input = source.binance.md.book
  depth = 25
  every = "1s"
}
sink "parquet" "lake" {
  input      = [source.binance.md, processor.book_snapshot.top]
  path       = "lake"
  roll_every = "20s"
}
`)
	r.args = []string{"--memory-scale", fmt.Sprint(*soakTime)}
	r.start()
	rng := rand.New(rand.NewPCG(1, 2))
	until := time.Now().Add(*soak)
	look := time.NewTicker(max(time.Second, *soak/60))
	defer look.Stop()
	turn := time.NewTicker(100 * time.Millisecond)
	defer turn.Stop()
	length := max(3*time.Second, time.Duration(float64(2*time.Minute) / *soakTime))
	paused := false
	seen := map[string]bool{}
	for time.Now().Before(until) {
		select {
		case err := <-r.exited:
			r.cmd = nil
			t.Fatalf("the runtime ended: %v", err)
		case now := <-turn.C:
			part := phases[int(time.Until(until)/length)%len(phases)]
			if on := float64(now.UnixMilli()/100%20) < 20*part; on == paused {
				if paused = !on; paused {
					r.emu.Pause()
				} else {
					r.emu.Resume()
				}
			}
			if rng.IntN(600) == 0 { // each minute or so
				f := emulator.Fault{Kind: []emulator.FaultKind{emulator.FaultGap, emulator.FaultDisconnect, emulator.FaultMalformed}[rng.IntN(3)], Count: 1}
				if err := r.emu.Inject(f); err != nil {
					t.Fatal(err)
				}
			}
		case <-look.C:
			var report memory.LeakReport
			if err := getJSON("http://"+r.admin+memory.Root+"leaks", &report); err != nil {
				t.Fatal(err)
			}
			for _, l := range report.Leaks {
				if k := string(l.Kind) + l.Site() + l.Process; !seen[k] {
					seen[k] = true
					t.Errorf("a false alarm after %.0f s: %+v", report.Watched, l)
				}
			}
		}
	}
	r.emu.Resume()
	var report memory.LeakReport
	if err := getJSON("http://"+r.admin+memory.Root+"leaks", &report); err != nil {
		t.Fatal(err)
	}
	if want := (*soak).Seconds() / 2; report.Watched < want {
		t.Errorf("the detector watched for %.0f s, want %.0f", report.Watched, want)
	}
	resp, err := http.Post("http://"+r.admin+memory.Root+"snapshots", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	r.terminate()
	h, err := memory.ReadHistory(filepath.Join(r.dir, "data", engine.MemoryDir))
	if err != nil {
		t.Fatal(err)
	}
	d, err := h.Diff("first", "latest")
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := d.WriteText(&text, memory.Text{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", &text)
}

func getJSON(url string, v any) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, resp.Status, b)
	}
	return json.Unmarshal(b, v)
}
