package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCursors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cursors")
	c, err := OpenCursors(path, SyncEvery(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(5) {
		s, err := c.Slot(fmt.Sprint("sink", i))
		if err != nil {
			t.Fatal(err)
		}
		if s.Load() != (State{}) {
			t.Errorf("new slot holds %+v", s.Load())
		}
		for k := range 3 + i {
			if err := s.Commit(State{Journal: 1 + i%2, Cursor: 1000*i + k*8, Batch: k}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if a, b, all := c.Above(1), c.Above(2), c.Above(0); a != 4048 || b != 3040 || all != 4048 {
		t.Errorf("above: %d, %d, %d", a, b, all)
	}
	c.Delete("sink2")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	// One copy of a slot torn: the other, older one counts.
	c, err = OpenCursors(path, SyncProcess)
	if err != nil {
		t.Fatal(err)
	}
	names := c.Names()
	slices.Sort(names)
	if fmt.Sprint(names) != "[sink0 sink1 sink3 sink4]" {
		t.Errorf("names %v", names)
	}
	s, _ := c.Slot("sink4")
	if st := s.Load(); st != (State{Journal: 1, Cursor: 4048, Batch: 6}) {
		t.Errorf("state %+v", st)
	}
	c.mem[s.at+int(s.gen&1)*copyBytes+copyState+10] ^= 1
	c.Close()
	c, err = OpenCursors(path, SyncProcess)
	if err != nil {
		t.Fatal(err)
	}
	s, _ = c.Slot("sink4")
	if st := s.Load(); st.Batch != 5 || st.Cursor != 4040 {
		t.Errorf("state after a torn write %+v", st)
	}
	s.Store(State{Batch: 9})
	for i := range MaxCursors {
		if _, err = c.Slot(fmt.Sprint("more", i)); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("a full cursor file: %v", err)
	}
	c.Close()
	if err := os.WriteFile(path, []byte("no cursors"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCursors(path, SyncProcess); err == nil {
		t.Error("a file of another kind was taken")
	}
}
