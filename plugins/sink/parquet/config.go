// Package parquet is a sink that writes Parquet files (zstd), partitioned as
//
//	<path>/<kind>/exchange=<venue>/market=<market>/symbol=<symbol>/date=<YYYY-MM-DD>/<journal>-<from>-<to>.parquet
//
// so that DuckDB, pandas, Polars and Spark find exchange, market, symbol and
// date in the path; they are not in the files (readers refuse both). symbol is
// percent-encoded, date is that of the receive time in UTC. Records about a feed
// as a whole have no symbol and lie under Hive's name for null.
//
// Order and delivery: records are spooled until the roll (roll_every or
// roll_size), then each partition becomes one file, under a temporary name
// first, synced, renamed, directories synced; only then is the range
// acknowledged. A file's name holds its journal range, so a roll that is
// repeated after a crash replaces its own files and nothing is there twice.
//
// Memory is bounded however many symbols there are: partitions share one buffer
// (max_memory), what doesn't fit goes to an unlinked spool file, and files are
// encoded one at a time in row groups of a few MiB.
package parquet

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/sink"
)

type config struct {
	path    string
	memory  int
	decimal bool
}

// Describe implements sink.Sink.
func (*parquetSink) Describe() sink.Manifest {
	return sink.Manifest{
		Name: "parquet", Title: "Parquet files, partitioned by kind, exchange, market, symbol and date", Version: "1.0.0",
		Commit: sink.CommitRoll, Idempotent: true,
		Batch:  sink.BatchDefaults{MaxRecords: 10_000, MaxWait: time.Second},
		Roll:   sink.RollDefaults{Every: time.Hour, MaxBytes: 256 << 20},
		Access: &sink.Access{},
		Attributes: schema.Attributes{
			{Name: "path", Type: schema.String, Required: true, Writes: schema.Directory, Doc: "directory to write into; made if it isn't there"},
			{Name: "roll_every", Type: schema.Duration, Default: "1h", Min: schema.Limit(int64(time.Second)), Doc: "files are closed at the latest after this time"},
			{Name: "roll_size", Type: schema.Size, Default: "256MiB", Min: schema.Limit(1 << 20), Max: schema.Limit(64 << 30),
				Doc: "files are closed when records of this size, not encoded yet, are there; files come out at about a tenth of it"},
			{Name: "price_encoding", Type: schema.String, Default: "double", Allowed: []string{"double", "decimal"},
				Doc: "prices and amounts as DOUBLE, quick in data frames, or as exact DECIMAL(38,18)"},
			{Name: "max_memory", Type: schema.Size, Default: "8MiB", Min: schema.Limit(1 << 20), Max: schema.Limit(4 << 30),
				Doc: "buffer shared by all partitions; what doesn't fit is spooled to disk"},
		},
	}
}

func configure(s sink.Settings) (config, error) {
	c := config{path: s.Config.String("path"), memory: int(s.Config.Int("max_memory")), decimal: s.Config.String("price_encoding") == "decimal"}
	if c.path == "" {
		return c, fault.New(fault.Stop, fmt.Errorf("parquet: %s: attribute path is empty; name a directory", s.Name))
	}
	if !filepath.IsAbs(c.path) {
		c.path = filepath.Join(s.WorkDir, c.path)
	}
	if c.memory <= 0 {
		c.memory = 8 << 20
	}
	return c, nil
}
