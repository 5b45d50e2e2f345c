package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/replay"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/corpus"
	"github.com/marketprism/marketprism/sdk/wire"
)

// corpusCaptures are the public recordings of the bundled venues' markets, alone
// or mixed.
func corpusCaptures(t *testing.T) []string {
	t.Helper()
	dir := corpus.Path(t, "captures")
	var out []string
	for _, venue := range slices.Sorted(maps.Keys(bundledSources)) {
		have := len(out)
		markets := []string{"mixed"}
		for _, m := range bundledSources[venue]().Describe().Markets {
			if markets = append(markets, m.Market.String()); m.Market == market.MarketLinear {
				markets = append(markets, "futures")
			}
		}
		for _, m := range markets {
			fs, err := filepath.Glob(filepath.Join(dir, venue+"-"+m+"-*.jsonl.zst"))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fs...)
		}
		if len(out) == have {
			t.Fatalf("the corpus in %s has no capture of %s", dir, venue)
		}
	}
	return out
}

// replayed replays a capture through the plugin's process and both journals.
func replayed(t *testing.T, path string, each func(market.View, *market.Instrument) error) (*replay.Input, replay.Frames) {
	t.Helper()
	in, err := replay.OpenCapture(path)
	if err != nil {
		t.Fatal(err)
	}
	frames, err := replay.Run(t.Context(), in, replay.Options{Manifest: bundledSources[in.Venue]().Describe(), Logger: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel),
		Plugin: host.Spec{Kind: wire.KindSource, Name: in.Venue}}, each)
	if err != nil {
		t.Fatal(err)
	}
	return in, frames
}

// sections are what oracles state; those that a summary has and its oracle
// doesn't, and the other way round, are differences too.
var sections = []string{"venue", "market", "frames", "trades", "agg_trades", "trades_snapshot", "book", "bbo", "ticker", "candles", "candles_snapshot",
	"funding", "mark_price", "index_price", "open_interest", "liquidations", "long_short_ratio"}

// TestOracles: each recording, through plugin process, lane, books and both
// journals, comes to exactly what an independent implementation says it does.
func TestOracles(t *testing.T) {
	for _, path := range corpusCaptures(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".jsonl.zst"), func(t *testing.T) {
			t.Parallel()
			want := readOracle(t, strings.TrimSuffix(path, ".jsonl.zst")+".oracle.json")
			in, err := replay.OpenCapture(path)
			if err != nil {
				t.Fatal(err)
			}
			s := replay.NewSummary(bundledSources[in.Venue]().Describe(), in)
			_, s.Frames = replayed(t, path, func(v market.View, i *market.Instrument) error {
				s.Add(v, i)
				return nil
			})
			s.Finish()
			b, err := s.JSON()
			if err != nil {
				t.Fatal(err)
			}
			got := decodeObject(t, b)
			if n := got["quality"]; n != nil {
				t.Logf("quality records: %v", n)
			}
			compared := 0
			for _, name := range sections {
				w, g := want[name], got[name]
				if strings.HasPrefix(name, "candles") {
					fieldNames(w)
				}
				if name == "book" {
					results(w)
				}
				switch {
				case w == nil && g == nil:
				case w == nil && want["redundant_connections"] != nil: // stated of each connection alone, in oracles beside this one
				case w == nil:
					t.Errorf("%s: the summary has it, the oracle doesn't: %s", name, clipped(g))
				default:
					diffs, n := compare(name, w, g)
					compared += n
					for i, d := range diffs {
						if i == 20 {
							t.Errorf("… and %d more in %s", len(diffs)-i, name)
							break
						}
						t.Error(d)
					}
				}
			}
			if compared < 10 {
				t.Errorf("only %d fields of the oracle were compared", compared)
			}
		})
	}
}

func readOracle(t *testing.T, path string) map[string]any {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return decodeObject(t, b)
}

// fieldNames gives candles the names that records have, where an oracle calls
// times and lengths otherwise.
func fieldNames(section any) {
	bySymbol, _ := section.(map[string]any)
	for _, s := range bySymbol {
		last, _ := s.(map[string]any)["last"].(map[string]any)
		if open, ok := last["open_ns"]; ok {
			last["open_ts"], last["ts"] = open, last["ts_ns"]
			delete(last, "open_ns")
			delete(last, "ts_ns")
		} else if open, ok := last["ts_ns"]; ok { // the venue has no other time of them
			last["open_ts"] = open
			delete(last, "ts_ns")
		}
		if l, ok := last["interval"].(string); ok {
			last["interval"] = strings.TrimSuffix(l, "in") // 1min
		}
	}
}

// results leaves out what a book was subscribed with: no record says it.
func results(books any) {
	bySymbol, _ := books.(map[string]any)
	for _, b := range bySymbol {
		if m, ok := b.(map[string]any); ok {
			delete(m, "precision")
		}
	}
}

func decodeObject(t *testing.T, b []byte) map[string]any {
	t.Helper()
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

// compare reports where got differs from what the oracle states, and how many
// values it states. A symbol too many is a difference; of a last record, only
// the fields that the oracle has are asserted.
func compare(at string, want, got any) (diffs []string, n int) {
	w, ok := want.(map[string]any)
	if !ok {
		if d := cmp.Diff(want, got); d != "" {
			return []string{fmt.Sprintf("%s: want %s, got %s", at, clipped(want), clipped(got))}, 1
		}
		return nil, 1
	}
	g, ok := got.(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("%s: want %s, got %s", at, clipped(want), clipped(got))}, 1
	}
	for _, k := range slices.Sorted(maps.Keys(w)) {
		ds, m := compare(at+"."+k, w[k], g[k])
		diffs, n = append(diffs, ds...), n+m
	}
	if strings.Count(at, ".") == 0 && at != "frames" {
		for _, k := range slices.Sorted(maps.Keys(g)) {
			if _, ok := w[k]; !ok {
				diffs = append(diffs, fmt.Sprintf("%s: the summary has %s, the oracle doesn't: %s", at, k, clipped(g[k])))
			}
		}
	}
	return diffs, n
}

func clipped(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	if len(b) > 200 {
		b = append(b[:200], "…"...)
	}
	return string(b)
}

// TestReplayTwice: the same build gives the same bytes, whatever the timing of
// its processes was.
func TestReplayTwice(t *testing.T) {
	for _, path := range corpusCaptures(t) {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() > 1<<20 { // those of an hour say no more than those of 30 s
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".jsonl.zst"), func(t *testing.T) {
			t.Parallel()
			type record struct {
				bytes      []byte
				instrument market.Instrument
			}
			var first []record
			replayed(t, path, func(v market.View, i *market.Instrument) error {
				first = append(first, record{bytes.Clone(v), *i})
				return nil
			})
			n := 0
			replayed(t, path, func(v market.View, i *market.Instrument) error {
				switch {
				case n >= len(first):
					return errors.New("the second replay gives more records")
				case !bytes.Equal(first[n].bytes, v) || first[n].instrument != *i:
					return fmt.Errorf("record %d differs: %s of %s, pos %d", n, v.Kind(), i.Symbol, v.Pos())
				}
				n++
				return nil
			})
			if n < len(first) || n == 0 {
				t.Errorf("%d records the second time, %d the first", n, len(first))
			}
		})
	}
}
