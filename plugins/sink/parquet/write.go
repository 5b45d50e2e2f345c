package parquet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	pq "github.com/parquet-go/parquet-go"
	pqzstd "github.com/parquet-go/parquet-go/compress/zstd"
	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/sink"
)

// rowGroupBytes of records, not encoded, make a row group: what the encoder
// holds in memory is a small multiple of it.
const rowGroupBytes = 2 << 20

// New makes the sink.
func New() sink.Sink { return &parquetSink{} }

type parquetSink struct {
	c      config
	tmp    string
	spools map[string]*spool // by journal
	tables map[market.Kind]*table
	rows   []pq.Row
	codec  *codec
	log    zerolog.Logger
}

// Open makes the directory and drops what a crash left in the temporary one.
func (p *parquetSink) Open(_ context.Context, s sink.Settings) (err error) {
	if p.c, err = configure(s); err != nil {
		return err
	}
	if p.codec, err = newCodec(); err != nil {
		return err
	}
	p.log, p.spools, p.tables = s.Logger, map[string]*spool{}, map[market.Kind]*table{}
	p.tmp = filepath.Join(p.c.path, ".tmp", escape(s.Name))
	if err := os.RemoveAll(p.tmp); err != nil {
		return fmt.Errorf("parquet: clearing %s: %w", p.tmp, err)
	}
	if err := os.MkdirAll(p.tmp, 0o755); err != nil {
		return fault.New(fault.Stop, fmt.Errorf("parquet: path %s can't be made: %w", p.c.path, err))
	}
	return nil
}

// Write spools a batch.
func (p *parquetSink) Write(_ context.Context, b *sink.Batch) error {
	sp := p.spools[b.Journal]
	if sp == nil {
		sp = newSpool()
		p.spools[b.Journal] = sp
	}
	if sp.from != b.From || sp.to != b.To {
		sp.from, sp.to, sp.count = b.From, b.To, 0
	}
	for have := sp.count; b.Next(); {
		if b.Count() > have {
			sp.add(b.Record(), b.Instrument())
			sp.count++
		}
	}
	if err := b.Err(); err != nil {
		return err
	}
	if sp.inMemory > p.c.memory {
		return sp.spill(p.c.memory/2, p.tmp)
	}
	return nil
}

// Pending implements sink.Sized.
func (p *parquetSink) Pending(journal string) int64 {
	if sp := p.spools[journal]; sp != nil {
		return sp.bytes
	}
	return 0
}

// Flush makes files of all that is spooled of the journal.
func (p *parquetSink) Flush(ctx context.Context, r sink.Range) error {
	sp := p.spools[r.Journal]
	if sp == nil {
		return nil
	}
	parts := make([]*partition, 0, len(sp.parts))
	for _, part := range sp.parts {
		parts = append(parts, part)
	}
	slices.SortFunc(parts, func(a, b *partition) int { return cmp.Compare(a.dir, b.dir) })
	name := fmt.Sprintf("%s-%016x-%016x.parquet", escape(r.Journal), r.From, r.To)
	type move struct{ from, to string }
	var moves []move
	for n, part := range parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		m := move{filepath.Join(p.tmp, fmt.Sprintf("%06d.parquet", n)), filepath.Join(p.c.path, part.dir, name)}
		if err := p.file(m.from, sp, part); err != nil {
			return err
		}
		moves = append(moves, m)
	}
	dirs := map[string]bool{}
	for _, m := range moves {
		dir := filepath.Dir(m.to)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("parquet: %w", err)
		}
		if err := os.Rename(m.from, m.to); err != nil {
			return fmt.Errorf("parquet: %w", err)
		}
		for ; len(dir) >= len(p.c.path) && !dirs[dir]; dir = filepath.Dir(dir) {
			dirs[dir] = true
		}
	}
	for dir := range dirs {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	p.log.Debug().Str("journal", r.Journal).Int("files", len(moves)).Int64("bytes", sp.bytes).Msg("rolled")
	delete(p.spools, r.Journal)
	// A roll takes several times the memory that spooling does, and the next one
	// is far off: what it took goes back to the system.
	debug.FreeOSMemory()
	return sp.close()
}

// codec is zstd with one encoder for all files, over a window that is a page
// several times over: the library's default holds 16 MiB for no gain here.
type codec struct {
	pqzstd.Codec // decodes
	enc          *zstd.Encoder
}

func newCodec() (*codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(512<<10), zstd.WithLowerEncoderMem(true),
		zstd.WithZeroFrames(true), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	return &codec{enc: enc}, nil
}

// Encode implements compress.Codec.
func (c *codec) Encode(dst, src []byte) ([]byte, error) { return c.enc.EncodeAll(src, dst[:0]), nil }

// file encodes one partition.
func (p *parquetSink) file(path string, sp *spool, part *partition) (err error) {
	t := p.tables[part.kind]
	if t == nil {
		t = newTable(part.kind, p.c.decimal)
		p.tables[part.kind] = t
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("parquet: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if t.writer == nil {
		t.writer = pq.NewGenericWriter[any](f, t.schema, pq.Compression(p.codec), pq.PageBufferSize(64<<10), pq.WriteBufferSize(64<<10),
			pq.CreatedBy("marketprism", "1", ""), pq.KeyValueMetadata("marketprism.layout", fmt.Sprint(market.LayoutVersion)))
	} else {
		t.writer.Reset(f)
	}
	w, group := t.writer, 0
	err = sp.each(part, func(v market.View) error {
		row, err := t.rowOf(v, &part.inst)
		if err != nil {
			return err
		}
		p.rows = append(p.rows[:0], row)
		if _, err := w.WriteRows(p.rows); err != nil {
			return fmt.Errorf("parquet: %s: %w", part.dir, err)
		}
		if group += len(v); group >= rowGroupBytes {
			group = 0
			return w.Flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("parquet: %s: %w", part.dir, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("parquet: %w", err)
	}
	return nil
}

// Close drops what wasn't rolled: the journal still has it.
func (p *parquetSink) Close(context.Context) error {
	var errs []error
	for _, sp := range p.spools {
		errs = append(errs, sp.close())
	}
	if p.tmp != "" {
		errs = append(errs, os.RemoveAll(p.tmp))
		_ = os.Remove(filepath.Dir(p.tmp)) // if no other sink's is there
	}
	return errors.Join(errs...)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("parquet: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("parquet: sync of %s: %w", dir, err)
	}
	return nil
}

// noSymbol is Hive's name for a null partition value.
const noSymbol = "__HIVE_DEFAULT_PARTITION__"

func partitionDir(v market.View, i *market.Instrument) string {
	symbol := noSymbol
	if i.Symbol != "" {
		symbol = escape(i.Symbol)
	}
	return filepath.Join(v.Kind().String(), "exchange="+escape(i.Venue), "market="+i.Market.String(), "symbol="+symbol,
		"date="+time.Unix(0, v.TsRecv()).UTC().Format(time.DateOnly))
}

// escape percent-encodes all but letters, digits, dot, dash and underscore.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.' && s != "." && s != "..":
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
