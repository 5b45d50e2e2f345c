package journal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/marketprism/marketprism/sdk/wire/shm"
)

func TestCorruptRecordIsSkipped(t *testing.T) {
	for _, kind := range []string{"payload", "length", "commit", "zero"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			j, _ := open(t, Options{Dir: dir, SegmentBytes: 256 << 10, MaxBytes: 4 << 20})
			var at []shm.Position
			for i := range uint64(1000) {
				at = append(at, mustAppend(t, j, i, 100))
			}
			r, ctl, err := j.OpenReader(0)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			off := at[500] - j.base
			switch kind {
			case "payload":
				j.mem[off+40] ^= 4
			case "length":
				j.mem[off] ^= 8
			case "commit":
				j.mem[off+6] ^= 1
			case "zero":
				clear(j.mem[off : off+8])
			}
			want := func(got []uint64, r *shm.Reader) {
				t.Helper()
				wantRun(t, got[:500], 0, 500)
				wantRun(t, got[500:], 501, 1000)
				if places, n := r.Skipped(); places != 1 || n != at[501]-at[500] {
					t.Errorf("skipped %d places, %d bytes", places, n)
				}
			}
			want(readAll(t, r), r) // alive
			j.Detach(ctl)
			abandon(j)
			j, rec := open(t, Options{Dir: dir, SegmentBytes: 256 << 10, MaxBytes: 4 << 20})
			if rec.Skipped != 1 || rec.SkippedBytes != at[501]-at[500] || rec.Truncated != 0 || rec.Clean || rec.LastWall != 999 {
				t.Errorf("recovery: %+v", rec)
			}
			j.Close()
			got, r := scan(t, dir)
			want(got, r)
		})
	}
}

// abandon leaves a journal as the death of its process does.
func abandon(j *Journal) {
	j.files.Lock()
	defer j.files.Unlock()
	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	for _, s := range append([]*segment{j.cur, j.next, j.reserve}, j.sealed...) {
		if s != nil && s.mem != nil {
			_ = unmap(s.mem)
			s.mem = nil
		}
	}
	j.mem, j.off, j.limit = nil, 0, 0
	if j.lock != nil {
		j.lock.Close()
	}
}

// TestPowerFailure has the machine restarted (another boot id): what was
// synced stays, a torn tail is cut off where it tears.
func TestPowerFailure(t *testing.T) {
	dir := t.TempDir()
	opt := Options{Dir: dir, SegmentBytes: 256 << 10, MaxBytes: 4 << 20, Sync: SyncEvery(time.Hour), boot: [16]byte{1}}
	j, _ := open(t, opt)
	var at []shm.Position
	for i := range uint64(1000) {
		at = append(at, mustAppend(t, j, i, 100))
		if i == 699 {
			if err := j.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if st := j.Stats(); st.Synced != at[700] || st.Syncs == 0 {
		t.Errorf("synced %d, want %d", st.Synced, at[700])
	}
	j.mem[at[300]-j.base+50] ^= 1 // on the disk, and damaged there
	j.mem[at[800]-j.base+50] ^= 1 // never reached the disk
	abandon(j)
	opt.boot = [16]byte{2}
	j, rec := open(t, opt)
	metricsWanted{"recovered_bad_records": 1, "recovered_torn_bytes": float64(rec.Truncated), "recovered_clean": 0}.check(t, j)
	if rec.Skipped != 1 || rec.Truncated == 0 || rec.End != at[800] || rec.LastWall != 799 {
		t.Errorf("recovery: %+v", rec)
	}
	if pos := mustAppend(t, j, 1000, 10); pos <= at[999] {
		t.Errorf("position %d was used before", pos)
	}
	j.Close()
	got, _ := scan(t, dir)
	wantRun(t, got[:300], 0, 300)
	wantRun(t, got[300:799], 301, 800)
	wantRun(t, got[799:], 1000, 1001)
	// A reader that was above the cut reads on in the new epoch.
	r, err := shm.OpenReader(dir, at[900], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	wantRun(t, readAll(t, r), 1000, 1001)
}

// TestAboveCursors begins the new epoch above a cursor whose records the disk
// never had.
func TestAboveCursors(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, Options{Dir: dir, SegmentBytes: 64 << 10, MaxBytes: 4 << 20})
	mustAppend(t, j, 0, 10)
	j.Close()
	above := j.Tail() + 10<<20
	j, _ = open(t, Options{Dir: dir, SegmentBytes: 64 << 10, MaxBytes: 4 << 20, Above: above})
	if pos := mustAppend(t, j, 1, 10); pos < above {
		t.Errorf("position %d is below the cursor %d", pos, above)
	}
	j.Close()
	got, _ := scan(t, dir)
	wantRun(t, got, 0, 2)
}

func TestDamagedHeaderIsSetAside(t *testing.T) {
	dir := t.TempDir()
	opt := Options{Dir: dir, SegmentBytes: 64 << 10, MaxBytes: 4 << 20}
	j, _ := open(t, opt)
	for i := range uint64(2000) {
		mustAppend(t, j, i, 100)
	}
	j.Close()
	infos, err := shm.Segments(dir)
	if err != nil || len(infos) < 4 {
		t.Fatal(infos, err)
	}
	if infos[0].First != 0 || infos[1].First != infos[0].Last+1 || infos[0].Records != uint64(infos[0].Last)+1 {
		t.Errorf("segments %+v", infos[:2])
	}
	f, err := os.OpenFile(infos[1].Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte{0xff}, 30)
	f.Close()
	j, rec := open(t, opt)
	if len(rec.Damaged) != 1 || filepath.Base(rec.Damaged[0]) != filepath.Base(infos[1].Path)+".damaged" {
		t.Errorf("recovery: %+v", rec)
	}
	metricsWanted{"recovered_damaged_segments": 1, "recovered_clean": 1}.check(t, j)
	r, ctl, err := j.OpenReader(0)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Detach(ctl)
	defer r.Close()
	n := 0
	var lapped shm.ErrLapped
	for {
		_, ok, err := r.Next()
		if errors.As(err, &lapped) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		n++
	}
	if want := 2000 - int(infos[1].Records); n != want || lapped.To == 0 {
		t.Errorf("%d records, want %d; lapped %v", n, want, lapped)
	}
}
