// Package null is a sink that counts records and keeps none: for benchmarks and
// for pipelines that only watch a venue's quality. It commits each batch.
package null

import (
	"context"
	"time"

	"github.com/marketprism/marketprism/sdk/sink"
)

// New makes the sink.
func New() sink.Sink { return &null{} }

type null struct{ records int64 }

func (*null) Describe() sink.Manifest {
	return sink.Manifest{Name: "null", Title: "Counts records and keeps none", Version: "1.0.0", Commit: sink.CommitBatch, Idempotent: true,
		Batch: sink.BatchDefaults{MaxRecords: 10_000, MaxWait: 100 * time.Millisecond}}
}

func (*null) Open(context.Context, sink.Settings) error { return nil }

// Write reads every record, as a store would.
func (n *null) Write(_ context.Context, b *sink.Batch) error {
	for b.Next() {
		n.records++
	}
	return b.Err()
}

func (*null) Flush(context.Context, sink.Range) error { return nil }
func (*null) Close(context.Context) error             { return nil }
