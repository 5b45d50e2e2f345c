// Package null is a sink that keeps no record: for benchmarks, and for pipelines
// that only watch a venue's quality. It reads every record as a store would,
// commits each batch, and can measure how long records took to reach it.
package null

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/sink"
)

// New makes the sink.
func New() sink.Sink { return &null{} }

type null struct {
	path       string
	recv, sent *hdrhistogram.Histogram // ns since the frame was read, and since the venue sent it
	records    int64
	began      time.Time
	skip       time.Duration
}

func (*null) Describe() sink.Manifest {
	return sink.Manifest{Name: "null", Title: "Keeps no record; measures how long they took", Version: "1.0.0", Commit: sink.CommitBatch, Idempotent: true,
		Batch:  sink.BatchDefaults{MaxRecords: 10_000, MaxWait: 100 * time.Millisecond},
		Access: &sink.Access{},
		Attributes: schema.Attributes{
			{Name: "latency_file", Type: schema.String, Writes: schema.File, Doc: "write the latencies of records, from socket and from the venue's send time to this sink, into this JSON file at the end"},
			{Name: "latency_skip", Type: schema.Duration, Default: "0s", Doc: "leave out records of this time after the start"},
		}}
}

// maxLatency bounds the histograms; what took longer counts as this.
const maxLatency = int64(time.Minute)

func (n *null) Open(_ context.Context, s sink.Settings) error {
	n.path, n.skip, n.began = s.Config.String("latency_file"), s.Config.Duration("latency_skip"), time.Now()
	if n.path == "" {
		return nil
	}
	if !filepath.IsAbs(n.path) {
		n.path = filepath.Join(s.WorkDir, n.path)
	}
	f, err := os.Create(n.path)
	if err != nil {
		return fault.New(fault.Stop, fmt.Errorf("null: latency_file: %w", err))
	}
	n.recv, n.sent = hdrhistogram.New(1, maxLatency, 3), hdrhistogram.New(1, maxLatency, 3)
	return f.Close()
}

// Write reads every record.
func (n *null) Write(_ context.Context, b *sink.Batch) error {
	now := time.Now()
	measure, at := n.recv != nil && now.Sub(n.began) >= n.skip, now.UnixNano()
	for b.Next() {
		n.records++
		if !measure {
			continue
		}
		v := b.Record()
		if v.Origin() != market.OriginLive {
			continue
		}
		// Values are clamped, so that recording can't fail.
		_ = n.recv.RecordValue(min(max(at-v.TsRecv(), 1), maxLatency))
		if v.Flags()&market.FlagTsEstimated == 0 {
			_ = n.sent.RecordValue(min(max(at-v.Ts(), 1), maxLatency))
		}
	}
	return b.Err()
}

func (*null) Flush(context.Context, sink.Range) error { return nil }

// Latency is what latency_file holds: ns.
type Latency struct {
	Records int64 `json:"records"`
	P50     int64 `json:"p50_ns"`
	P99     int64 `json:"p99_ns"`
	P999    int64 `json:"p99_9_ns"`
	Max     int64 `json:"max_ns"`
}

func latency(h *hdrhistogram.Histogram) Latency {
	return Latency{h.TotalCount(), h.ValueAtQuantile(50), h.ValueAtQuantile(99), h.ValueAtQuantile(99.9), h.Max()}
}

// Close writes what was measured.
func (n *null) Close(context.Context) error {
	if n.recv == nil {
		return nil
	}
	b, err := json.MarshalIndent(map[string]Latency{"from_socket": latency(n.recv), "from_venue": latency(n.sent)}, "", "  ")
	if err == nil {
		err = os.WriteFile(n.path, append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("null: latency_file: %w", err)
	}
	return nil
}
