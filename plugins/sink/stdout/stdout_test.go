package stdout

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/sink"
)

// trades is a batch of n trades.
func trades(n int) *sink.Batch {
	i := &market.Instrument{ID: 1, Venue: "binance", Market: market.MarketSpot, Symbol: "BTCUSDT"}
	left := n
	return sink.NewBatch(sink.Range{Journal: "binance-spot-records"}, func() (market.View, *market.Instrument, error) {
		if left == 0 {
			return nil, nil, nil
		}
		left--
		tr := market.Trade{Header: market.Header{Kind: market.KindTrade, Instrument: 1, Ts: 1}, ID: fmt.Append(nil, n-left), Price: market.NewDecimal(1, 0), Amount: market.NewDecimal(1, 0)}
		return tr.AppendTo(nil), i, nil
	})
}

func TestLines(t *testing.T) {
	s := New()
	var out bytes.Buffer
	if err := s.Open(t.Context(), sink.Settings{Stdout: &out}); err != nil {
		t.Fatal(err)
	}
	const n = 1000 // more than one write
	if err := s.Write(t.Context(), trades(n)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != n || !strings.Contains(lines[n-1], `"symbol":"BTCUSDT"`) || !strings.Contains(lines[n-1], `"1000"`) {
		t.Errorf("%d lines; the last is %s", len(lines), lines[len(lines)-1])
	}
}

func TestFaults(t *testing.T) {
	if err := New().Open(t.Context(), sink.Settings{}); fault.Of(err) != fault.Stop {
		t.Errorf("without standard output: %v", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	s := New()
	if err := s.Open(t.Context(), sink.Settings{Stdout: w}); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), trades(1)); fault.Of(err) != fault.Stop || !strings.Contains(err.Error(), "the reader of standard output has gone") {
		t.Errorf("nobody reads: %v", err)
	}
	s = New()
	if err := s.Open(t.Context(), sink.Settings{Stdout: full{}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), trades(1)); fault.Of(err) != fault.Retry || !errors.Is(err, errFull) {
		t.Errorf("a full device: %v", err)
	}
}

var errFull = errors.New("no space left on device")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }
