//go:build linux

package journal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// smallDisk mounts a file system of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a small disk needs the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestDiskFull(t *testing.T) {
	dir := smallDisk(t, "4m")
	opt := Options{Dir: filepath.Join(dir, "j"), SegmentBytes: 512 << 10, MaxBytes: 64 << 20, Reserve: true}
	j, _ := open(t, opt)
	n := uint64(0)
	appendAll := func() error {
		for {
			_, err := j.Append(shm.Header{Kind: 1, Conn: uint32(n & shm.MaxConn), Wall: int64(n), Mono: int64(n * 2)}, body(n, 200))
			if err != nil {
				return err
			}
			n++
		}
	}
	err := appendAll()
	if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), opt.Dir) || !strings.Contains(err.Error(), "free space") {
		t.Fatalf("on a full disk: %v", err)
	}
	if n < 10_000 {
		t.Errorf("only %d records fitted", n)
	}
	// Refused again, at once and without work, and the gap still goes in.
	if allocs := testing.AllocsPerRun(100, func() { _, err = j.Append(shm.Header{Kind: 1}, make([]byte, 200)) }); allocs > 0 || !errors.Is(err, ErrDiskFull) {
		t.Errorf("refused with %v allocations: %v", allocs, err)
	}
	gap, err := j.AppendReserved(shm.Header{Kind: shm.KindGap, Wall: 1}, []byte("a gap begins"))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := j.AppendReserved(shm.Header{Kind: shm.KindGap, Wall: 1}, []byte("a gap goes on")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := j.Append(shm.Header{Kind: 1}, make([]byte, 200)); !errors.Is(err, ErrDiskFull) {
		t.Errorf("a frame went into the reserved segment: %v", err)
	}
	if st := j.Stats(); st.DiskFull < 100 {
		t.Errorf("%+v", st)
	}
	// The process dies; the next one starts on the full disk and has what was.
	abandon(j)
	if _, _, err := Open(opt); !errors.Is(err, ErrDiskFull) {
		t.Fatalf("start on a full disk: %v", err)
	}
	// Room again: it goes on, and the journal has everything.
	before := n
	infos, err := shm.Segments(opt.Dir)
	if err != nil || len(infos) == 0 {
		t.Fatal(err)
	}
	if err := os.Remove(infos[0].Path); err != nil {
		t.Fatal(err)
	}
	if j, _, err = Open(opt); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := appendAll(); !errors.Is(err, ErrDiskFull) {
		t.Fatal(err)
	}
	if _, err = j.AppendReserved(shm.Header{Kind: shm.KindGap}, []byte("a gap begins")); err != nil {
		t.Fatal(err)
	}
	if !j.Stats().Full {
		t.Error("the reserved segment isn't in use")
	}
	infos, _ = shm.Segments(opt.Dir)
	if err := os.Remove(infos[0].Path); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; {
		if _, err = j.Append(shm.Header{Kind: 1, Wall: int64(n), Conn: uint32(n), Mono: int64(2 * n)}, body(n, 10)); err == nil {
			n++
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("doesn't go on with room: %v", err)
		}
		time.Sleep(retryFull / 4)
	}
	if j.Stats().Full {
		t.Error("the reserved segment is still in use")
	}
	j.Close()
	r, err := shm.OpenReader(opt.Dir, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	want, gaps := infos[1].First, 0
	for {
		rec, ok, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if rec.Kind == shm.KindGap {
			if gaps++; rec.Pos == gap && string(rec.Payload) != "a gap begins" {
				t.Errorf("gap %q", rec.Payload)
			}
			continue
		}
		if i := checkBody(t, rec.Payload); int64(i) != want {
			t.Fatalf("record %d, want %d", i, want)
		}
		want++
	}
	if uint64(want) != n || gaps != 102 || n <= before {
		t.Errorf("%d records, want %d; %d gaps", want, n, gaps)
	}
}

func TestDiskFullIsReported(t *testing.T) {
	j, _ := open(t, Options{Dir: filepath.Join(smallDisk(t, "2m"), "j"), SegmentBytes: 256 << 10, MaxBytes: 64 << 20})
	n := 0.0
	var err error
	for err == nil {
		if _, err = j.Append(shm.Header{Kind: 1, Wall: 1}, make([]byte, 1000)); err == nil {
			n++
		}
	}
	metricsWanted{"records_total": n, "refused_total/disk_full": 1, "full": 1}.check(t, j)
	free, size, err := Space(j.Dir())
	if err != nil || free >= 256<<10 || size != 2<<20 {
		t.Errorf("%d of %d bytes are free: %v", free, size, err)
	}
}
