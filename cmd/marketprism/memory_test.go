package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
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
	dir := t.TempDir()
	emu, err := emulator.New(emulator.Options{Venue: "binance", Rate: *soakRate, Ledger: emulator.LedgerOptions{Off: true}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- emu.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := emu.Close(); err != nil {
			t.Error(err)
		}
	}()
	admin, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	pipeline := fmt.Sprintf(`marketprism {
  data_dir = "data"
  listen   = %q
  journal {
    max_size     = "64MiB"
    segment_size = "8MiB"
  }
}
source "binance" "md" {
  symbols  = ["BTC-USDT", "ETH-USDT"]
  url      = %q
  http_url = %q
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
`, admin, emu.URL(), emu.HTTPURL())
	if err := os.WriteFile(filepath.Join(dir, "p.hcl"), []byte(pipeline), 0o644); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(exe, "run", "--quiet", "--log-format", "json", "--memory-scale", fmt.Sprint(*soakTime), "p.hcl")
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(os.Environ(), asProgram+"=1"), &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	ended := false
	defer func() {
		if !ended {
			_ = cmd.Process.Kill()
			<-exited
		}
		if t.Failed() {
			t.Logf("the runtime's log ends:\n%s", log.Bytes()[max(0, log.Len()-4000):])
		}
	}()

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
		case err := <-exited:
			ended = true
			t.Fatalf("the runtime ended: %v", err)
		case now := <-turn.C:
			part := phases[int(time.Until(until)/length)%len(phases)]
			if on := float64(now.UnixMilli()/100%20) < 20*part; on == paused {
				if paused = !on; paused {
					emu.Pause()
				} else {
					emu.Resume()
				}
			}
			if rng.IntN(600) == 0 { // each minute or so
				f := emulator.Fault{Kind: []emulator.FaultKind{emulator.FaultGap, emulator.FaultDisconnect, emulator.FaultMalformed}[rng.IntN(3)], Count: 1}
				if err := emu.Inject(f); err != nil {
					t.Fatal(err)
				}
			}
		case <-look.C:
			var r memory.LeakReport
			if getJSON("http://"+admin+memory.Root+"leaks", &r) != nil {
				continue // it is starting
			}
			for _, l := range r.Leaks {
				if k := string(l.Kind) + l.Site() + l.Process; !seen[k] {
					seen[k] = true
					t.Errorf("a false alarm after %.0f s: %+v", r.Watched, l)
				}
			}
		}
	}
	emu.Resume()
	var r memory.LeakReport
	if err := getJSON("http://"+admin+memory.Root+"leaks", &r); err != nil {
		t.Fatal(err)
	}
	if want := (*soak).Seconds() / 2; r.Watched < want {
		t.Errorf("the detector watched for %.0f s, want %.0f", r.Watched, want)
	}
	resp, err := http.Post("http://"+admin+memory.Root+"snapshots", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err = <-exited
	ended = true
	if err != nil {
		t.Fatalf("the runtime ended: %v", err)
	}
	h, err := memory.ReadHistory(filepath.Join(dir, "data", engine.MemoryDir))
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
