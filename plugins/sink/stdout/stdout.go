// Package stdout is a sink that writes records as JSON lines to the runtime's
// standard output. It commits each batch; after a crash the last batch may be
// written again (at least once), as a pipe can't take anything back.
package stdout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/sink"
)

// flushBytes is written at once, so that memory doesn't grow with the batch.
const flushBytes = 64 << 10

// New makes the sink.
func New() sink.Sink { return &stdout{} }

type stdout struct {
	out io.Writer
	buf []byte
}

func (*stdout) Describe() sink.Manifest {
	return sink.Manifest{Name: "stdout", Title: "JSON lines on standard output", Version: "1.0.0", Commit: sink.CommitBatch,
		Batch: sink.BatchDefaults{MaxRecords: 1000, MaxWait: 100 * time.Millisecond}, Access: &sink.Access{Stdout: true}}
}

// Open takes over the standard output of the runtime. Both write through one
// descriptor, so what they say stays in order where it is a file.
func (s *stdout) Open(_ context.Context, set sink.Settings) error {
	if set.Stdout == nil {
		return fault.Errorf(fault.Stop, "stdout: the runtime gave no standard output")
	}
	s.out = set.Stdout
	return nil
}

func (s *stdout) Write(_ context.Context, b *sink.Batch) error {
	s.buf = s.buf[:0]
	for b.Next() {
		s.buf = append(sink.AppendJSON(s.buf, b.Record(), b.Instrument()), '\n')
		if len(s.buf) >= flushBytes {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
	if err := s.flush(); err != nil {
		return err
	}
	return b.Err()
}

func (s *stdout) flush() error {
	_, err := s.out.Write(s.buf)
	s.buf = s.buf[:0]
	if errors.Is(err, syscall.EPIPE) {
		return fault.Errorf(fault.Stop, "stdout: the reader of standard output has gone: %w", err)
	}
	if err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	return nil
}

func (*stdout) Flush(context.Context, sink.Range) error { return nil }

func (*stdout) Close(context.Context) error { return nil }
