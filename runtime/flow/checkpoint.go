package flow

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
)

// A checkpoint is a lane's whole state at a frame position, so that a restart
// may begin there. Records derived again from there on, up to the last one in
// the records journal, are recognised and not journalled twice.
//
// It is a run of parts, each of which has its length and its checksum before it:
// savedLane, and behind it the state of each instrument's book. So no more than
// one book is held beside itself while it is written. In version 2 the states
// stood within savedLane.

const (
	checkpointVersion = 3
	partHead          = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type savedLane struct {
	Version    int
	Layout     int
	Frames     uint64 // where to begin
	Records    uint64 // tail of the records journal at that moment
	Now, Hour  int64
	Last       int64
	Stopping   bool
	Remembered []Remembered
	Sequences  []Sequence
	Insts      []savedInstrument
	Processors [][]byte
	Names      []string // of these
}

// NoState stands in Restore's positions for a processor that the checkpoint knows
// nothing of.
const NoState = ^uint64(0)

// named is a processor whose state is found by its name, so that others may come
// and go between two runs.
type named interface{ Name() string }

func (l *Lane) names() []string {
	out := make([]string, len(l.s.Processors))
	for i, p := range l.s.Processors {
		if n, ok := p.(named); ok {
			out[i] = n.Name()
		}
	}
	return out
}

// saved finds a processor's state: by name, or by place where it has none.
func (s *savedLane) saved(i int, name string) ([]byte, bool) {
	if name != "" && len(s.Names) == len(s.Processors) {
		i = slices.Index(s.Names, name)
	}
	if i < 0 || i >= len(s.Processors) {
		return nil, false
	}
	return s.Processors[i], true
}

type savedInstrument struct {
	ID      market.InstrumentID
	Streams []*stream
	Booked  bool   // a part of its own has its book's state
	Book    []byte // of version 2
	Crossed bool
	Gone    uint64
	Ahead   ahead
	Version uint64
	Parted  bool
}

// Save writes the lane's state.
func (l *Lane) Save(w io.Writer) error {
	s := savedLane{Version: checkpointVersion, Layout: market.LayoutVersion, Frames: l.next, Records: l.out.Position(),
		Now: l.now, Hour: l.hour, Last: l.last, Stopping: l.stopping, Remembered: l.remembered, Sequences: l.sequences}
	ordered := l.ordered()
	for _, in := range ordered {
		s.Insts = append(s.Insts, savedInstrument{ID: in.inst.ID, Streams: in.streams, Booked: in.book != nil, Crossed: in.crossed, Gone: in.gone,
			Ahead: in.ahead, Version: in.version, Parted: in.parted})
	}
	for _, p := range l.s.Processors {
		s.Processors = append(s.Processors, p.State())
	}
	s.Names = l.names()
	var buf bytes.Buffer
	buf.Write(make([]byte, partHead))
	err := gob.NewEncoder(&buf).Encode(s)
	if err == nil {
		err = writePart(w, buf.Bytes())
	}
	if err == nil {
		err = l.saveBooks(w, ordered)
	}
	if err != nil {
		return fmt.Errorf("flow: checkpoint: %w", err)
	}
	return nil
}

func (l *Lane) saveBooks(w io.Writer, all []*instrument) error {
	lent, err := l.s.Messages.Batches.Lease()
	if err != nil {
		return err
	}
	defer lent.Return()
	b := lent.Value()
	for _, in := range all {
		if in.book == nil {
			continue
		}
		b.Buf = in.book.AppendState(append(b.Buf[:0], make([]byte, partHead)...))
		if err := writePart(w, b.Buf); err != nil {
			return err
		}
	}
	return nil
}

// writePart fills in the head of a part and writes it.
func writePart(w io.Writer, b []byte) error {
	if len(b)-partHead > math.MaxUint32 {
		return fmt.Errorf("a part of %d bytes", len(b))
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-partHead))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[partHead:], castagnoli))
	_, err := w.Write(b)
	return err
}

// cutPart takes the first part off b.
func cutPart(b []byte) (part, rest []byte, err error) {
	if len(b) >= partHead {
		if n := uint64(binary.LittleEndian.Uint32(b)); n <= uint64(len(b)-partHead) {
			part, rest = b[partHead:partHead+n], b[partHead+n:]
			if crc32.Checksum(part, castagnoli) == binary.LittleEndian.Uint32(b[4:]) {
				return part, rest, nil
			}
		}
	}
	return nil, nil, fmt.Errorf("%w: length or checksum differ", ErrCheckpoint)
}

// ErrCheckpoint is wrapped by errors of a checkpoint that can't be used.
var ErrCheckpoint = errors.New("unusable checkpoint")

// Restore takes over a saved state. It returns where the records journal stood,
// and the processors' journals: NoState for a processor that is new. A lane that
// refused one is of no use; it is closed as any other is.
func (l *Lane) Restore(b []byte) (records uint64, processors []uint64, err error) {
	part, rest, err := cutPart(b)
	if err != nil {
		return 0, nil, fmt.Errorf("flow: %w", err)
	}
	var s savedLane
	if err := gob.NewDecoder(bytes.NewReader(part)).Decode(&s); err != nil {
		return 0, nil, fmt.Errorf("flow: %w: %w", ErrCheckpoint, err)
	}
	if s.Version != checkpointVersion && s.Version != 2 || s.Layout != market.LayoutVersion {
		return 0, nil, fmt.Errorf("flow: %w: version %d, layout %d", ErrCheckpoint, s.Version, s.Layout)
	}
	for i := range s.Insts {
		if si := &s.Insts[i]; si.Booked {
			if si.Book, rest, err = cutPart(rest); err != nil {
				return 0, nil, fmt.Errorf("flow: the book of instrument %d: %w", si.ID, err)
			}
		}
	}
	if len(rest) > 0 {
		return 0, nil, fmt.Errorf("flow: %w: %d bytes behind the last part", ErrCheckpoint, len(rest))
	}
	names := l.names()
	if len(s.Processors) != len(names) && (slices.Contains(names, "") || slices.Contains(s.Names, "") || len(s.Names) != len(s.Processors)) {
		return 0, nil, fmt.Errorf("flow: %w: %d processors without names", ErrCheckpoint, len(s.Processors))
	}
	for i, p := range l.s.Processors {
		state, ok := s.saved(i, names[i])
		if !ok { // it is new: it begins here
			processors = append(processors, NoState)
			continue
		}
		at, err := p.Restore(state)
		if err != nil {
			return 0, nil, fmt.Errorf("flow: %w: %w", ErrCheckpoint, err)
		}
		processors = append(processors, at)
	}
	for _, si := range s.Insts {
		inst := l.s.Registry.Get(si.ID)
		if inst == nil {
			return 0, nil, fmt.Errorf("flow: %w: instrument %d is in no table", ErrCheckpoint, si.ID)
		}
		in := &instrument{inst: inst, seed: market.KeySeed(inst.Venue, inst.Market, inst.Symbol), streams: si.Streams, crossed: si.Crossed, gone: si.Gone, ahead: si.Ahead, version: si.Version, parted: si.Parted}
		l.insts[si.ID] = in // Close finds it, whatever comes of the rest
		if si.Book != nil {
			spec := l.specs[market.ChannelBook]
			if spec == nil || spec.Book == nil {
				return 0, nil, fmt.Errorf("flow: %w: a book of %s, whose market has none", ErrCheckpoint, inst.Symbol)
			}
			in.book = l.newBook(inst, spec.Book)
			in.brokenAt = s.Last
			if err := in.book.Restore(si.Book); err != nil {
				return 0, nil, fmt.Errorf("flow: %w: %w", ErrCheckpoint, err)
			}
		}
		l.holes += len(in.ahead.Deltas)
		for _, st := range in.streams {
			l.holes += len(st.Holes)
			l.forgetFills(-len(st.Fills))
			l.figures(in, st)
		}
	}
	l.last = s.Last
	l.next, l.now, l.hour, l.remembered, l.sequences, l.stopping = s.Frames, s.Now, s.Hour, s.Remembered, s.Sequences, s.Stopping
	l.Counts.Next.Store(int64(l.next))
	l.countBooks()
	l.meter.streams = true
	return s.Records, processors, nil
}

func (l *Lane) countBooks() {
	books, synced := int64(0), int64(0)
	for _, in := range l.insts {
		if in.book != nil {
			books++
			if in.book.Synced() {
				synced++
			}
		}
	}
	l.Counts.Books.Store(books)
	l.Counts.BooksSynced.Store(synced)
}

const checkpointExt = ".ckpt"

// WriteCheckpoint writes what save does for a frame position into dir, whole or not at all.
func WriteCheckpoint(dir string, pos uint64, save func(io.Writer) error) error {
	name := filepath.Join(dir, fmt.Sprintf("%016x%s", pos, checkpointExt))
	tmp := name + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("flow: checkpoint: %w", err)
	}
	if err = save(f); err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(tmp, name)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("flow: checkpoint: %w", err)
	}
	return nil
}

// Checkpoints lists the positions that dir has checkpoints of, ascending.
func Checkpoints(dir string) ([]uint64, error) {
	es, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	var out []uint64
	for _, e := range es {
		if s, ok := strings.CutSuffix(e.Name(), checkpointExt); ok {
			if p, err := strconv.ParseUint(s, 16, 64); err == nil {
				out = append(out, p)
			}
		}
	}
	slices.Sort(out)
	return out, err
}

// ReadCheckpoint reads the checkpoint of a position.
func ReadCheckpoint(dir string, pos uint64) ([]byte, error) {
	return os.ReadFile(filepath.Join(dir, fmt.Sprintf("%016x%s", pos, checkpointExt)))
}

// RemoveCheckpoint removes the checkpoint of a position.
func RemoveCheckpoint(dir string, pos uint64) error {
	return os.Remove(filepath.Join(dir, fmt.Sprintf("%016x%s", pos, checkpointExt)))
}

// DropCheckpoints removes checkpoints below floor, but never the newest.
func DropCheckpoints(dir string, floor uint64) error {
	ps, err := Checkpoints(dir)
	if err != nil {
		return err
	}
	for i, p := range ps {
		if p < floor && i < len(ps)-1 {
			if err := RemoveCheckpoint(dir, p); err != nil {
				return err
			}
		}
	}
	return nil
}
