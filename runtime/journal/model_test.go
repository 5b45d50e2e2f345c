package journal

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// model is the slow, obvious journal: a slice of what was appended, and for
// each reader where it stands in it.
type model struct {
	t       *rapid.T
	opt     Options
	j       *Journal
	all     []entry
	readers []*modelReader
}

type entry struct {
	pos     shm.Position
	h       shm.Header
	payload []byte
}

type modelReader struct {
	r    *shm.Reader
	ctl  *shm.Control
	next int          // index of the entry that it must see next
	held []shm.Record // not released
}

func (m *model) open() {
	j, rec, err := Open(m.opt)
	if err != nil {
		m.t.Fatal(err)
	}
	m.j = j
	if rec.Skipped+rec.Truncated != 0 || len(rec.Damaged) != 0 {
		m.t.Fatalf("recovery found damage: %+v", rec)
	}
	if n := len(m.all); n > 0 && rec.End <= m.all[n-1].pos {
		m.t.Fatalf("recovered to %d, last record at %d", rec.End, m.all[n-1].pos)
	}
}

func (m *model) append() {
	h := shm.Header{
		Kind: rapid.Uint8Max(shm.KindHead-1).Draw(m.t, "kind"),
		Conn: rapid.Uint32Max(shm.MaxConn).Draw(m.t, "conn"),
		Wall: rapid.Int64().Draw(m.t, "wall"),
		Mono: rapid.Int64().Draw(m.t, "mono"),
	}
	for range rapid.IntRange(1, 40).Draw(m.t, "n") {
		size := rapid.OneOf(rapid.IntRange(0, 600), rapid.IntRange(0, 20_000), rapid.Just(70_000)).Draw(m.t, "size")
		p := bytes.Repeat([]byte{byte(len(m.all)), byte(size)}, size/2+1)[:size]
		cut := rapid.IntRange(0, size).Draw(m.t, "cut")
		pos, err := m.j.AppendV(h, p[:cut], p[cut:])
		if err != nil {
			m.t.Fatal(err)
		}
		if n := len(m.all); n > 0 && pos < m.all[n-1].pos+shm.RecordBytes(len(m.all[n-1].payload)) {
			m.t.Fatalf("position %d overlaps the last record", pos)
		}
		m.all = append(m.all, entry{pos, h, p})
	}
	if rapid.Bool().Draw(m.t, "ring") {
		m.j.Ring()
	}
}

func (m *model) attach() {
	if len(m.readers) >= 4 {
		return
	}
	from, next := shm.Position(0), m.index(m.j.Oldest())
	if len(m.all) > next && rapid.Bool().Draw(m.t, "within") {
		next = rapid.IntRange(next, len(m.all)-1).Draw(m.t, "from")
		from = m.all[next].pos
	}
	r, ctl, err := m.j.OpenReader(from)
	if err != nil {
		m.t.Fatal(err)
	}
	m.readers = append(m.readers, &modelReader{r: r, ctl: ctl, next: next})
}

// index is that of the first entry at or above pos.
func (m *model) index(pos shm.Position) int {
	for i, e := range m.all {
		if e.pos >= pos {
			return i
		}
	}
	return len(m.all)
}

func (m *model) read() {
	if len(m.readers) == 0 {
		return
	}
	x := rapid.SampledFrom(m.readers).Draw(m.t, "reader")
	if x.r.Cursor() == 0 { // it begins with what is the oldest now
		x.next = m.index(m.j.Oldest())
	}
	for range rapid.IntRange(1, 100).Draw(m.t, "reads") {
		rec, ok, err := x.r.Next()
		var lapped shm.ErrLapped
		if errors.As(err, &lapped) {
			to := m.index(lapped.To)
			if to <= x.next && lapped.From >= m.all[x.next].pos || lapped.To > m.j.Oldest() {
				m.t.Fatalf("reader at %d says %v; the oldest is at %d", m.all[x.next].pos, err, m.j.Oldest())
			}
			x.next = to
			continue
		}
		if err != nil {
			m.t.Fatal(err)
		}
		if !ok {
			if x.next != len(m.all) {
				m.t.Fatalf("reader ends at entry %d of %d", x.next, len(m.all))
			}
			return
		}
		if x.next == len(m.all) {
			m.t.Fatal("reader sees what nobody wrote")
		}
		e := m.all[x.next]
		m.same(rec, e)
		x.held = append(x.held, rec)
		x.next++
	}
}

func (m *model) same(rec shm.Record, e entry) {
	if rec.Pos != e.pos || rec.Header != e.h || !bytes.Equal(rec.Payload, e.payload) {
		m.t.Fatalf("record %+v at %d, want %+v at %d", rec.Header, rec.Pos, e.h, e.pos)
	}
}

// release checks that what a reader holds is still as it was read, then moves
// its pin.
func (m *model) release() {
	if len(m.readers) == 0 {
		return
	}
	x := rapid.SampledFrom(m.readers).Draw(m.t, "reader")
	for _, rec := range x.held {
		m.same(rec, m.all[m.index(rec.Pos)])
	}
	keep := rapid.IntRange(0, len(x.held)).Draw(m.t, "keep")
	x.held = x.held[len(x.held)-keep:]
	if keep == 0 {
		x.r.Release()
	} else {
		x.r.Advance(x.held[0].Pos)
	}
}

func (m *model) detach() {
	if len(m.readers) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.readers)-1).Draw(m.t, "reader")
	m.readers[i].r.Close()
	m.j.Detach(m.readers[i].ctl)
	m.readers = append(m.readers[:i], m.readers[i+1:]...)
}

func (m *model) detachAll() {
	for _, x := range m.readers {
		for _, rec := range x.held {
			m.same(rec, m.all[m.index(rec.Pos)])
		}
		x.r.Close()
		m.j.Detach(x.ctl)
	}
	m.readers = nil
}

func (m *model) close() {
	m.detachAll()
	if err := m.j.Close(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) crash() {
	m.detachAll()
	abandon(m.j)
}

// scan reads the whole directory as if nobody owned it.
func (m *model) scan() {
	r, err := shm.OpenReader(m.opt.Dir, 0, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	defer r.Close()
	for _, e := range m.all[m.index(m.j.Oldest()):] {
		rec, ok, err := r.Next()
		if err != nil || !ok {
			m.t.Fatalf("scan ends before the record at %d: %v", e.pos, err)
		}
		m.same(rec, e)
	}
	if rec, ok, err := r.Next(); ok || err != nil {
		m.t.Fatalf("scan goes on with %+v (%v)", rec, err)
	}
}

func TestModel(t *testing.T) {
	// Hundreds of journals: in memory if there is a place for it.
	place := "/dev/shm"
	if st, err := os.Stat(place); err != nil || !st.IsDir() {
		place = ""
	}
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(place, "journal")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		m := &model{t: t, opt: Options{
			Dir: dir, SegmentBytes: 64 << 10, MaxBytes: rapid.SampledFrom([]int64{256 << 10, 1 << 20}).Draw(t, "max"),
			Sync: rapid.SampledFrom([]Sync{SyncProcess, SyncEvery(time.Millisecond)}).Draw(t, "sync"),
			Head: func() []byte { return []byte("head") },
		}}
		m.open()
		defer func() { m.j.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"append":  func(*rapid.T) { m.append() },
			"append2": func(*rapid.T) { m.append() },
			"append3": func(*rapid.T) { m.append() },
			"attach":  func(*rapid.T) { m.attach() },
			"read":    func(*rapid.T) { m.read() },
			"read2":   func(*rapid.T) { m.read() },
			"release": func(*rapid.T) { m.release() },
			"detach":  func(*rapid.T) { m.detach() },
			"ahead":   func(*rapid.T) { m.j.workAhead(minAhead) },
			"sync": func(t *rapid.T) {
				if err := m.j.Sync(); err != nil {
					t.Fatal(err)
				}
			},
			"scan":   func(*rapid.T) { m.scan() },
			"reopen": func(*rapid.T) { m.close(); m.open() },
			"crash":  func(*rapid.T) { m.crash(); m.open() },
		})
		m.detachAll()
	})
}
