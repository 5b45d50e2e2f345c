package main

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/engine"
	"github.com/marketprism/marketprism/runtime/replay"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

var rotations = flag.Int("rotations", 1000, "connections replaced for their age in TestRotations")

// shortLived, set in the environment to a duration, makes the bundled Binance
// plugin name it as the greatest age of a connection, put two subscriptions on
// each, and allow as many connects as that takes.
const shortLived = "MARKETPRISM_TEST_MAX_AGE"

type shortLivedSource struct {
	source.Source
	age time.Duration
}

func (s shortLivedSource) Describe() source.Manifest {
	m := s.Source.Describe()
	m.Markets = slices.Clone(m.Markets)
	for i := range m.Markets {
		spec := &m.Markets[i]
		spec.Connects = source.Rate{}
		spec.Endpoints = slices.Clone(spec.Endpoints)
		for j := range spec.Endpoints {
			spec.Endpoints[j].MaxAge, spec.Endpoints[j].MaxSubscriptions = s.age, 2
		}
	}
	return m
}

// shortenLives does what shortLived asks for; the runtime's process alone reads
// these parts of a manifest.
func shortenLives() {
	age, err := time.ParseDuration(os.Getenv(shortLived))
	if err != nil {
		return
	}
	binance := bundledSources["binance"]
	bundledSources["binance"] = func() source.Source { return shortLivedSource{binance(), age} }
}

// newRotationRig is a rig of eight symbols, with a connection for each where
// shortLived is set.
func newRotationRig(t *testing.T, rate float64) *rig {
	symbols := []string{"BTC-USDT", "ETH-USDT", "SOL-USDT", "XRP-USDT", "ADA-USDT", "LTC-USDT", "DOT-USDT", "BNB-USDT"}
	o := emulator.Options{Venue: "binance", Rate: rate, Symbols: symbols, Ledger: emulator.LedgerOptions{MaxBytes: 4 << 30}}
	list := ""
	for _, s := range symbols {
		list += fmt.Sprintf("%q, ", s)
	}
	return newRig(t, o, fmt.Sprintf(`marketprism {
  data_dir = "data"
  listen   = "ADMIN"
  journal {
    max_size = "4GiB"
    sync = "process"
  }
}
source "binance" "md" {
  symbols  = [%s]
  url      = "URL"
  http_url = "HTTP_URL"
  channel "trades" {}
  channel "book" {
    depth = 100
  }
}
sink "null" "none" {
  input = [source.binance.md]
}
`, list))
}

// rotated counts connections in the frames journal that another one replaced for
// a reason, and gives the reasons of those that ended otherwise.
func (r *rig) rotated(why string) (n int, others []string) {
	rd, err := shm.OpenReader(filepath.Join(r.dir, "data/feeds/binance-spot/frames"), 0, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rd.Close()
	for {
		rec, ok, err := rd.Next()
		if err != nil {
			r.t.Fatal(err)
		}
		switch {
		case !ok:
			return n, others
		case source.InputKind(rec.Kind) != source.InputClose:
		case bytes.HasPrefix(rec.Payload, []byte("replaced: "+why)):
			n++
		case string(rec.Payload) != "drained":
			others = append(others, string(rec.Payload))
		}
	}
}

// TestRotations replaces connections for their age under load: every frame that
// the venue sent on any connection is journalled, every trade is recorded once
// though two connections bring it, and no gap is published.
func TestRotations(t *testing.T) {
	t.Setenv(shortLived, "250ms")
	r := newRotationRig(t, 4000)
	r.start()
	opened := r.emu.Stats().Opened
	r.wait("the rotations", func(s engine.Status) bool {
		return r.emu.Stats().Opened >= opened+int64(*rotations)+8
	})
	r.checkRotations("age limit", *rotations)
}

// TestShutdownAnnounced has the venue say again and again that it will close the
// connection: it is replaced before that.
func TestShutdownAnnounced(t *testing.T) {
	const rounds = 8
	r := newRotationRig(t, 4000)
	r.start()
	for range rounds {
		opened := r.emu.Stats().Opened
		if err := r.emu.Inject(emulator.Fault{Kind: emulator.FaultShutdown}); err != nil {
			t.Fatal(err)
		}
		r.wait("the replacements", func(s engine.Status) bool {
			return r.emu.Stats().Opened == opened+1 && len(s.Feeds[0].Connections) == 1
		})
	}
	r.checkRotations("the venue shuts this server down", rounds)
}

// checkRotations stops the market and compares what was sent with what is there.
func (r *rig) checkRotations(why string, want int) {
	t := r.t
	t.Helper()
	r.emu.Pause()
	r.wait("all to be read and decoded", func(s engine.Status) bool {
		return s.Feeds[0].LagBytes == 0 && int64(len(r.frames())) == r.emu.Stats().Frames
	})
	stopped := time.Now() // connections go on being replaced, and what is sent on the last one may come too late
	r.terminate()
	n, others := r.rotated(why)
	if n < want || len(others) > 0 {
		t.Errorf("%d rotations, want %d; connections that ended otherwise: %q", n, want, others)
	}
	ledger, err := r.emu.Ledger().Entries(0)
	if err != nil {
		t.Fatal(err)
	}
	rep := emulator.Account(ledger, r.frames(), []emulator.Gap{{From: stopped.UnixNano(), To: math.MaxInt64}}, 0)
	t.Logf("%d rotations: %s", n, rep)
	if !rep.OK() {
		t.Error("ledger and journal don't balance: ", rep)
	}
	checkTradesOnce(t, r, ledger)
}

// checkTradesOnce compares the trades recorded with those sent, each sent on
// one connection or on several, and looks for published gaps.
func checkTradesOnce(t *testing.T, r *rig, ledger []emulator.Entry) {
	type trade struct{ symbol, seq int64 }
	sent, copies := map[trade]int{}, 0
	for _, e := range ledger {
		if e.Kind == emulator.EntryFrame && e.Channel == emulator.ChannelTrades {
			sent[trade{int64(e.Symbol), e.Seq}]++
			copies++
		}
	}
	perSymbol := map[string]map[int64]bool{}
	records := 0
	err := replay.Records(filepath.Join(r.dir, "data/feeds/binance-spot/records"), "binance", market.MarketSpot, func(v market.View, i *market.Instrument) error {
		switch v.Kind() {
		case market.KindTrade:
			have := perSymbol[i.Symbol]
			if have == nil {
				have = map[int64]bool{}
				perSymbol[i.Symbol] = have
			}
			if have[v.Seq()] {
				t.Errorf("trade %d of %s is recorded twice", v.Seq(), i.Symbol)
			}
			have[v.Seq()] = true
			records++
		case market.KindQuality:
			fields := market.Fields(market.KindQuality)
			at := func(name string) int {
				return fields[slices.IndexFunc(fields, func(f market.Field) bool { return f.Name == name })].Offset
			}
			if c := market.Cause(v.Int(at("cause"))); c != market.CauseStopped {
				t.Errorf("a quality record of %s: %s of %s from %d to %d, missing %d, repaired %q: %s", i.Symbol, c, v.Channel(), v.Int(at("from_seq")), v.Int(at("to_seq")), v.Int(at("missing")), v.Text(at("repaired")), v.Text(at("detail")))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d trades, %d of them on two connections; %d recorded", len(sent), copies-len(sent), records)
	if records != len(sent) || copies == len(sent) {
		t.Errorf("%d trades were sent, %d in all copies; %d are recorded", len(sent), copies, records)
	}
}
