package journal

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// FuzzRecover changes bytes of a journal that a dead process left, and opens
// and reads it: whatever changed, nothing panics, no record comes back that
// wasn't written there, and every record that wasn't touched comes back, as
// long as its segment's header wasn't.
func FuzzRecover(f *testing.F) {
	opt := Options{SegmentBytes: 64 << 10, MaxBytes: 1 << 20}
	type written struct {
		pos     shm.Position
		payload []byte
	}
	var all []written
	files := make(map[string][]byte)
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		f.Fatal(err)
	}
	opt.Dir = dir
	j, _, err := Open(opt)
	if err != nil {
		f.Fatal(err)
	}
	for i := range uint64(60) {
		p := body(i, int(i*i*97%5000))
		pos, err := j.Append(shm.Header{Kind: 1, Conn: uint32(i), Wall: int64(i), Mono: int64(i * 2)}, p)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, written{pos, p})
	}
	tail := j.Tail()
	abandon(j)
	entries, err := os.ReadDir(dir)
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			f.Fatal(err)
		}
	}
	os.RemoveAll(dir)

	// An edit is where (a position, u32), what to do with the byte (xor, set
	// or clear to the end of a span), and with what.
	edit := func(pos uint32, op, val byte, span uint16) []byte {
		b := binary.LittleEndian.AppendUint32(nil, pos)
		return binary.LittleEndian.AppendUint16(append(b, op, val), span)
	}
	at := func(i int) uint32 { return uint32(all[i].pos) }
	f.Add([]byte{})
	f.Add(edit(at(5), 0, 1, 1))                                           // a length
	f.Add(edit(at(5)+4, 0, 255, 1))                                       // a tag
	f.Add(edit(at(9)+40, 0, 1, 1))                                        // a payload
	f.Add(edit(at(20), 1, 0, 8))                                          // a lost commit word
	f.Add(edit(at(20), 1, 0, 20_000))                                     // lost pages
	f.Add(append(edit(at(5), 0, 1, 1), edit(at(6), 0, 1, 1)...))          // neighbours
	f.Add(edit(at(59)+9, 0, 1, 1))                                        // the last record
	f.Add(edit(0, 0, 1, 1))                                               // a header
	f.Add(edit(128, 1, 255, 16))                                          // its marks
	f.Add(edit(144, 1, 7, 16))                                            // where it is sealed
	f.Add(edit(uint32(shm.SegmentHeaderBytes), 0, 1, 1))                  // the head record
	f.Add(append(edit(at(3), 1, 255, 4), edit(at(40)+2, 1, 255, 300)...)) // a huge length

	f.Fuzz(func(t *testing.T, edits []byte) {
		dir := t.TempDir()
		opt := opt
		opt.Dir = dir
		touched := make(map[shm.Position]bool)
		for name, data := range files {
			base, ok := shm.ParseSegmentName(name)
			if !ok {
				continue
			}
			data = bytes.Clone(data)
			size := uint64(len(data))
			for e := edits; len(e) >= 8; e = e[8:] {
				pos, span := uint64(binary.LittleEndian.Uint32(e)), uint64(binary.LittleEndian.Uint16(e[6:]))
				for k := pos; k < pos+span; k++ {
					if k < base || k >= base+size {
						continue
					}
					was := data[k-base]
					if e[4]&1 == 0 {
						data[k-base] ^= e[5]
					} else {
						data[k-base] = e[5]
					}
					if data[k-base] != was {
						touched[k&^7] = true
					}
				}
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		// A header that changed takes its segment's claims with it.
		spoiled := func(pos shm.Position) bool {
			base := pos &^ (64<<10 - 1)
			for k := base; k < base+shm.SegmentHeaderBytes; k += 8 {
				if touched[k] {
					return true
				}
			}
			return false
		}
		whole := func(w written) bool {
			for k := w.pos; k < w.pos+shm.RecordBytes(len(w.payload)); k += 8 {
				if touched[k] {
					return false
				}
			}
			return true
		}
		check := func(r *shm.Reader) {
			t.Helper()
			seen := make(map[shm.Position]bool)
			last := shm.Position(0)
			for {
				rec, ok, err := r.Next()
				if err != nil {
					if _, lapped := err.(shm.ErrLapped); lapped {
						continue
					}
					t.Fatal(err)
				}
				if !ok {
					break
				}
				if rec.Pos <= last && last > 0 {
					t.Fatalf("position %d after %d", rec.Pos, last)
				}
				last = rec.Pos
				found := false
				for _, w := range all {
					if w.pos == rec.Pos {
						if !bytes.Equal(rec.Payload, w.payload) || rec.Wall*2 != rec.Mono {
							t.Fatalf("record at %d differs from what was written", rec.Pos)
						}
						found = true
					}
				}
				if !found {
					t.Fatalf("record at %d, where none was written", rec.Pos)
				}
				seen[rec.Pos] = true
				r.Release()
			}
			for i, w := range all {
				if !seen[w.pos] && whole(w) && !spoiled(w.pos) {
					t.Fatalf("record %d at %d is untouched and gone", i, w.pos)
				}
			}
		}
		j, rec, err := Open(opt)
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		if len(rec.Damaged) == 0 && j.base < tail {
			t.Fatalf("the new segment begins at %d, below %d", j.base, tail)
		}
		r, ctl, err := j.OpenReader(0)
		if err != nil {
			t.Fatal(err)
		}
		defer j.Detach(ctl)
		defer r.Close()
		check(r)
		s, err := shm.OpenReader(dir, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		check(s)
	})
}
