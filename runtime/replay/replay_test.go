package replay_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/runtime/replay"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

const t0 = int64(1_700_000_000_500_000_000)

func open(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j, _, err := journal.Open(journal.Options{Dir: dir, SegmentBytes: 1 << 20, MaxBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

// events lists an input's events in a few words.
func events(t *testing.T, in *replay.Input) []string {
	t.Helper()
	var out []string
	err := in.Each(func(ev *replay.Event) error {
		out = append(out, fmt.Sprintf("%d/%d +%v %s", ev.Kind, ev.Conn, time.Duration(ev.Wall-t0), ev.Payload))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// feedDir makes a data directory's feed, with its frames journal.
func feedDir(t *testing.T, name string) (dir string, frames *journal.Journal) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "feeds", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, open(t, filepath.Join(dir, "frames"))
}

// A recording without timers gets one for each second that passed.
func TestFeedMakesTimers(t *testing.T) {
	in := replay.Custom("here", "test", market.MarketSpot, func(yield func(*replay.Event) error) error {
		for _, ms := range []int64{0, 100, 700, 2600, 2700, 3500} {
			if err := yield(&replay.Event{Kind: source.InputText, Conn: 3, Wall: t0 + ms*1e6, Payload: []byte("x")}); err != nil {
				return err
			}
		}
		return yield(&replay.Event{Kind: source.InputHTTP, Wall: t0 + 3500e6, Payload: []byte("y")})
	})
	dir, j := feedDir(t, "test-spot")
	var frames replay.Frames
	last, err := replay.Feed(t.Context(), in, j, 0, time.Second, &frames)
	if err != nil || last != t0+3500e6 {
		t.Fatalf("ended at +%v, %v", time.Duration(last-t0), err)
	}
	if want := (replay.Frames{Recv: 6, HTTP: 1}); frames != want {
		t.Errorf("counted %+v, want %+v", frames, want)
	}
	back, err := replay.OpenJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	if back.Venue != "test" || back.Market != market.MarketSpot {
		t.Errorf("it is of %s %s", back.Venue, back.Market)
	}
	timer := func(s string) string { return fmt.Sprintf("%d/0 +%s ", source.InputTimer, s) }
	want := []string{"1/3 +0s x", "1/3 +100ms x", timer("500ms"), "1/3 +700ms x", timer("2.5s"), "1/3 +2.6s x", "1/3 +2.7s x",
		timer("3.5s"), "1/3 +3.5s x", "3/0 +3.5s y"}
	if got := events(t, back); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	// A journal has its own: its replay is the same journal, whatever came first.
	_, again := feedDir(t, "test-spot")
	if _, err := replay.Feed(t.Context(), back, again, 0, time.Second, &frames); err != nil {
		t.Fatal(err)
	}
	copied, err := replay.OpenJournal(again.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if got := events(t, copied); !slices.Equal(got, want) {
		t.Errorf("a replayed journal holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestJournalBeforeItsFirstTimer(t *testing.T) {
	dir, j := feedDir(t, "test-linear")
	for i := range int64(3) {
		if _, err := j.Append(shm.Header{Kind: uint8(source.InputText), Conn: 1, Wall: t0 + i*2e9}, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	in, err := replay.OpenJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, to := feedDir(t, "test-linear")
	var frames replay.Frames
	if _, err := replay.Feed(t.Context(), in, to, 0, time.Second, &frames); err != nil {
		t.Fatal(err)
	}
	if to.Tail() != j.Tail() {
		t.Errorf("the copy ends at %d, the journal at %d: something was added", to.Tail(), j.Tail())
	}
}

func TestFeedStopsWhenAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	in := replay.Custom("here", "test", market.MarketSpot, func(yield func(*replay.Event) error) error {
		for {
			if n++; n == 5000 {
				cancel()
			}
			if err := yield(&replay.Event{Kind: source.InputText, Wall: t0, Payload: []byte("x")}); err != nil {
				return err
			}
		}
	})
	_, j := feedDir(t, "test-spot")
	var frames replay.Frames
	if _, err := replay.Feed(ctx, in, j, 0, time.Second, &frames); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}

	// At the recorded pace, it stops while it waits.
	ctx, cancel = context.WithCancel(t.Context())
	slow := replay.Custom("here", "test", market.MarketSpot, func(yield func(*replay.Event) error) error {
		if err := yield(&replay.Event{Kind: source.InputText, Wall: t0}); err != nil {
			return err
		}
		time.AfterFunc(10*time.Millisecond, cancel)
		return yield(&replay.Event{Kind: source.InputText, Wall: t0 + int64(time.Hour)})
	})
	if _, err := replay.Feed(ctx, slow, j, 1, time.Second, &frames); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestOpenJournalRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"binance-spot", "binance", "binance-moon/frames"} {
		path := filepath.Join(dir, name)
		if name != "binance-spot" { // which has no frames
			if err := os.MkdirAll(filepath.Join(path, "frames"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := replay.OpenJournal(path); err == nil || !strings.Contains(err.Error(), filepath.Dir(path)) {
			t.Errorf("%s: got %v, want an error that names it", name, err)
		}
	}
}

func TestOpenCapture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.jsonl")
	text := `{"format":"marketprism-capture/1","venue":"test","market":"futures"}
{"t":` + fmt.Sprint(t0) + `,"c":2,"k":"open","u":"wss://x"}
{"t":` + fmt.Sprint(t0+1) + `,"c":2,"k":"send","d":"sub"}
{"t":` + fmt.Sprint(t0+2) + `,"c":2,"k":"recv","b":"AAE="}
{"t":` + fmt.Sprint(t0+3) + `,"c":2,"k":"close"}
`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	in, err := replay.OpenCapture(path)
	if err != nil {
		t.Fatal(err)
	}
	if in.Venue != "test" || in.Market != market.MarketMixed {
		t.Errorf("it is of %s %s", in.Venue, in.Market)
	}
	var url string
	var kinds []source.InputKind
	for range 2 { // an input can be gone through again
		kinds = kinds[:0]
		err = in.Each(func(ev *replay.Event) error {
			kinds = append(kinds, ev.Kind)
			if ev.Kind == source.InputOpen {
				var x source.Input
				if err := source.ParseInput(&x, ev.Kind, ev.Conn, ev.Wall, 0, ev.Payload); err != nil {
					return err
				}
				url = string(x.URL)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if want := []source.InputKind{source.InputOpen, source.InputSent, source.InputBinary, source.InputClose}; !slices.Equal(kinds, want) || url != "wss://x" {
		t.Errorf("got %v of %q, want %v", kinds, url, want)
	}
	stop := errors.New("enough")
	if err := in.Each(func(*replay.Event) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want the caller's error", err)
	}
	if _, err := replay.OpenCapture(path + "x"); err == nil {
		t.Error("a file that isn't there is opened")
	}
}

func TestRecordsNeedTheirInstrument(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "records"))
	tr := market.Trade{Header: market.Header{Instrument: 7, Ts: t0, TsRecv: t0}}
	if _, err := j.Append(shm.Header{Kind: uint8(market.KindTrade), Wall: t0}, tr.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	err := replay.Records(j.Dir(), "test", market.MarketSpot, func(market.View, *market.Instrument) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "instrument 7") {
		t.Errorf("got %v, want an error that names instrument 7", err)
	}
}
