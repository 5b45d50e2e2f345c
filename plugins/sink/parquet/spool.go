package parquet

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/marketprism/marketprism/sdk/market"
)

// chunkBytes is the least that is worth a write of its own.
const chunkBytes = 32 << 10

// partition is what becomes one file.
type partition struct {
	dir    string // below path
	kind   market.Kind
	inst   market.Instrument
	buf    []byte  // records not spooled yet
	chunks []chunk // spooled, in order
	bytes  int64
}

type chunk struct{ off, n int64 }

// spool holds one journal's records until they are rolled: in memory up to a
// bound, beyond it in an unlinked file, which a crash leaves nothing of.
type spool struct {
	parts    map[partKey]*partition
	inMemory int
	bytes    int64
	file     *os.File
	end      int64

	from, to uint64 // the last batch, and how many of its records are here:
	count    int64  // one that failed half-way is given again and goes on there
}

type partKey struct {
	kind market.Kind
	inst market.InstrumentID
	day  int64
}

func newSpool() *spool { return &spool{parts: map[partKey]*partition{}} }

// add copies a record into its partition.
func (s *spool) add(v market.View, i *market.Instrument) {
	k := partKey{v.Kind(), v.Instrument(), v.TsRecv() / dayNs}
	p := s.parts[k]
	if p == nil {
		p = &partition{dir: partitionDir(v, i), kind: k.kind, inst: *i}
		s.parts[k] = p
	}
	p.inst = *i // names may have been corrected
	p.buf = append(p.buf, v...)
	p.bytes += int64(len(v))
	s.bytes += int64(len(v))
	s.inMemory += len(v)
}

// spill writes the fullest partitions out until at most want bytes are in memory.
func (s *spool) spill(want int, tmp string) error {
	if s.file == nil {
		f, err := os.CreateTemp(tmp, "spool-*")
		if err != nil {
			return fmt.Errorf("parquet: spool: %w", err)
		}
		s.file = f
		if err := os.Remove(f.Name()); err != nil {
			return fmt.Errorf("parquet: spool: %w", err)
		}
	}
	for least := chunkBytes; s.inMemory > want; least /= 4 {
		for _, p := range s.parts {
			if len(p.buf) < max(least, 1) {
				continue
			}
			if _, err := s.file.WriteAt(p.buf, s.end); err != nil {
				return fmt.Errorf("parquet: spool: %w", err)
			}
			p.chunks = append(p.chunks, chunk{s.end, int64(len(p.buf))})
			s.end += int64(len(p.buf))
			s.inMemory -= len(p.buf)
			p.buf = nil
			if s.inMemory <= want {
				break
			}
		}
	}
	return nil
}

// each calls f for every record of a partition in order. The record is valid
// until f returns.
func (s *spool) each(p *partition, f func(market.View) error) error {
	walk := func(b []byte) error {
		for len(b) > 0 {
			n := binary.LittleEndian.Uint32(b)
			if err := f(market.View(b[:n:n])); err != nil {
				return err
			}
			b = b[n:]
		}
		return nil
	}
	var buf []byte
	for _, c := range p.chunks {
		if int64(cap(buf)) < c.n {
			buf = make([]byte, c.n)
		}
		buf = buf[:c.n]
		if _, err := s.file.ReadAt(buf, c.off); err != nil {
			return fmt.Errorf("parquet: spool: %w", err)
		}
		if err := walk(buf); err != nil {
			return err
		}
	}
	return walk(p.buf)
}

func (s *spool) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
