// Package sink is the contract of store plugins.
//
// Order: Describe first and once; Open; then Write and Flush from one goroutine;
// Close last. Each Write carries one batch of one journal, in the journal's
// order. Batches of several journals interleave.
//
// Delivery: a batch is a range of journal positions. The runtime makes the range
// durable before it calls Write, and repeats the same range after any failure,
// until it is acknowledged. A sink with CommitBatch acknowledges by returning
// nil from Write: the store then has the batch. A sink with CommitRoll may keep
// written batches in temporaries; they count only when Flush returned nil for
// the range that holds them. What was written but not flushed is written again
// after a restart, possibly cut into other batches, but always flushed in the
// same ranges once a flush was begun.
//
// Loss: where retention takes what a batch has yet to read, the batch ends early,
// without an error; its name stays the range that it was begun with. The next one
// begins behind what was lost.
//
// Ownership: a Batch and its records are valid until Write returns.
//
// A slow sink loses nothing while the journal holds: its cursor lags, others go on.
package sink

import (
	"context"
	"io"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
)

// Sink is a store plugin. Errors carry fault kinds: Retry (with backoff, the
// default), Wait, Skip and Stop (the store refuses
// these records for good: the sink ends with the reason).
type Sink interface {
	Describe() Manifest
	Open(ctx context.Context, s Settings) error
	Write(ctx context.Context, b *Batch) error
	Flush(ctx context.Context, r Range) error
	Close(ctx context.Context) error
}

// Commit is when a store has what it was given.
type Commit string

// The ways to commit.
const (
	CommitBatch Commit = "batch" // when Write returns
	CommitRoll  Commit = "roll"  // when Flush returns
)

// Manifest describes a sink.
type Manifest struct {
	Name       string            `json:"name"`
	Title      string            `json:"title"`
	Version    string            `json:"version"`
	Commit     Commit            `json:"commit"`
	Idempotent bool              `json:"idempotent"` // the same range again leaves the store as it is
	Attributes schema.Attributes `json:"attributes,omitempty"`
	Access     *Access           `json:"access,omitempty"`
	Batch      BatchDefaults     `json:"batch"`
	Roll       RollDefaults      `json:"roll,omitzero"`
}

// Access is what a sink asks of the system, beside writing the paths that its
// attributes name (schema.Attribute.Writes) and a directory of its own
// (os.TempDir, gone with the process). Where the kernel can, the process is kept
// to it; what it reads is not restricted.
type Access struct {
	Connect bool `json:"connect,omitempty"` // it opens TCP connections
	Listen  bool `json:"listen,omitempty"`  // it listens on TCP, or binds connections to an address
	Stdout  bool `json:"stdout,omitempty"`  // it writes to the runtime's standard output: Settings.Stdout
}

// Declares says whether a manifest tells what the sink needs. One that doesn't is
// of an older SDK: nothing is known of where the sink writes.
func (m *Manifest) Declares() bool {
	return m.Access != nil || slices.ContainsFunc(m.Attributes, func(a schema.Attribute) bool { return a.Writes != "" })
}

// BatchDefaults hold where the pipeline's batch block is silent.
type BatchDefaults struct {
	MaxRecords int           `json:"max_records"`
	MaxWait    time.Duration `json:"max_wait"`
}

// RollDefaults hold for CommitRoll sinks. The sink takes attributes roll_every
// and roll_size with these defaults.
type RollDefaults struct {
	Every    time.Duration `json:"every"`
	MaxBytes int64         `json:"max_bytes"`
}

// Settings are given by the runtime at Open.
type Settings struct {
	Name    string // of the sink block: sink.parquet.lake is "parquet.lake"
	Config  schema.Values
	WorkDir string // where relative paths start
	// Stdout is the runtime's standard output, if Access.Stdout asks for it. The
	// plugin's own belongs to the handshake.
	Stdout io.Writer
	Logger zerolog.Logger
}

// Range names a batch or a roll: positions [From, To) of one journal.
type Range struct {
	Journal string // directory-safe name, as "binance-spot-records"
	Epoch   uint32
	From    uint64
	To      uint64
}

// Batch is an iterator over selected records of a range, in place.
type Batch struct {
	Range
	next func() (market.View, *market.Instrument, error)
	rec  market.View
	inst *market.Instrument
	err  error
	size int64
}

// NewBatch is used by the SDK's serving side and by tests. next returns a nil
// record at the end.
func NewBatch(r Range, next func() (market.View, *market.Instrument, error)) *Batch {
	return &Batch{Range: r, next: next}
}

// Next moves to the next record; false at the end or on an error.
func (b *Batch) Next() bool {
	if b.err != nil {
		return false
	}
	b.rec, b.inst, b.err = b.next()
	if b.err != nil || b.rec == nil {
		b.rec = nil
		return false
	}
	b.size++
	return true
}

// Record is the current record, valid until the next Next.
func (b *Batch) Record() market.View { return b.rec }

// Instrument is what the record is about; never nil (id 0: the feed as a whole).
func (b *Batch) Instrument() *market.Instrument { return b.inst }

// Count is the number of records so far.
func (b *Batch) Count() int64 { return b.size }

// Err is why the iteration ended early; return it from Write.
func (b *Batch) Err() error { return b.err }

// Sized is implemented by CommitRoll sinks: bytes that the next Flush would
// commit, by which the runtime decides to roll.
type Sized interface{ Pending(journal string) int64 }
