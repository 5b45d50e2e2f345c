package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// body is the payload of record i: its number, then n bytes that follow from it.
func body(i uint64, n int) []byte {
	b := make([]byte, 8+n)
	binary.LittleEndian.PutUint64(b, i)
	for k := range n {
		b[8+k] = byte(i*31 + uint64(k)*7)
	}
	return b
}

func checkBody(tb testing.TB, p []byte) uint64 {
	tb.Helper()
	i := binary.LittleEndian.Uint64(p)
	if !bytes.Equal(p, body(i, len(p)-8)) {
		tb.Fatalf("record %d has a wrong body", i)
	}
	return i
}

func mustAppend(tb testing.TB, j *Journal, i uint64, n int) shm.Position {
	tb.Helper()
	pos, err := j.Append(shm.Header{Kind: 1, Conn: uint32(i & shm.MaxConn), Wall: int64(i), Mono: int64(i * 2)}, body(i, n))
	if err != nil {
		tb.Fatal(err)
	}
	return pos
}

// readAll reads numbered records to the end.
func readAll(tb testing.TB, r *shm.Reader) (got []uint64) {
	tb.Helper()
	for {
		rec, ok, err := r.Next()
		if err != nil {
			tb.Fatal(err)
		}
		if !ok {
			return got
		}
		i := checkBody(tb, rec.Payload)
		if rec.Kind != 1 || rec.Conn != uint32(i&shm.MaxConn) || rec.Wall != int64(i) || rec.Mono != int64(i*2) {
			tb.Fatalf("record %d has header %+v", i, rec.Header)
		}
		got = append(got, i)
		r.Release()
	}
}

func scan(tb testing.TB, dir string) ([]uint64, *shm.Reader) {
	tb.Helper()
	r, err := shm.OpenReader(dir, 0, nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Close()
	return readAll(tb, r), r
}

func wantRun(tb testing.TB, got []uint64, from, to uint64) {
	tb.Helper()
	if uint64(len(got)) != to-from {
		tb.Fatalf("%d records, want %d", len(got), to-from)
	}
	for k, i := range got {
		if i != from+uint64(k) {
			tb.Fatalf("record %d at place %d, want %d", i, k, from+uint64(k))
		}
	}
}

func TestAppendAndRead(t *testing.T) {
	for _, sync := range []Sync{SyncProcess, SyncEvery(2 * time.Millisecond), SyncAlways} {
		t.Run(sync.String(), func(t *testing.T) {
			dir := t.TempDir()
			head := []byte("tables")
			j, rec := open(t, Options{Dir: dir, SegmentBytes: 64 << 10, MaxBytes: 8 << 20, Sync: sync, Head: func() []byte { return head }})
			if rec.Epoch != 1 || rec.End != 0 || rec.Clean {
				t.Errorf("recovery of a new journal: %+v", rec)
			}
			stop := run(t, j)
			r, ctl, err := j.OpenReader(0)
			if err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(1, 1))
			const n = 3000
			var last shm.Position
			for i := range uint64(n) {
				pos := mustAppend(t, j, i, rng.IntN(700))
				if pos <= last || pos&7 != 0 {
					t.Fatalf("position %d after %d", pos, last)
				}
				last = pos
			}
			j.Ring()
			wantRun(t, readAll(t, r), 0, n)
			if string(r.Head()) != "tables" {
				t.Errorf("head is %q", r.Head())
			}
			r.Close()
			j.Detach(ctl)
			if places, _ := r.Skipped(); places != 0 {
				t.Errorf("%d places skipped", places)
			}
			st := j.Stats()
			if st.Records != n || st.Rolls == 0 || st.Readers != 0 {
				t.Errorf("stats %+v", st)
			}
			stop()
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := j.Append(shm.Header{Kind: 1}, nil); !errors.Is(err, ErrClosed) {
				t.Errorf("append after close: %v", err)
			}
			got, _ := scan(t, dir)
			wantRun(t, got, 0, n)

			j, rec = open(t, Options{Dir: dir, SegmentBytes: 64 << 10, MaxBytes: 8 << 20, Sync: sync})
			if !rec.Clean || rec.Epoch != 2 || rec.LastWall != n-1 || rec.Skipped+rec.Truncated != 0 || rec.End <= last {
				t.Errorf("recovery after close: %+v", rec)
			}
			if pos := mustAppend(t, j, n, 10); pos < rec.End {
				t.Errorf("new epoch began at %d, below %d", pos, rec.End)
			}
			j.Close()
			got, _ = scan(t, dir)
			wantRun(t, got, 0, n+1)
		})
	}
}

func TestRange(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, Options{Dir: dir, SegmentBytes: 64 << 10, MaxBytes: 4 << 20})
	var at []shm.Position
	for i := range uint64(2000) {
		at = append(at, mustAppend(t, j, i, 100))
	}
	r, err := shm.OpenRange(dir, at[300], at[1700], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	wantRun(t, readAll(t, r), 300, 1700)
	for _, c := range [][2]uint64{{0, 1}, {5, 5}, {1999, 2000}, {700, 1500}, {699, 700}} {
		to := j.Tail()
		if c[1] < 2000 {
			to = at[c[1]]
		}
		if err := r.Reset(at[c[0]], to); err != nil {
			t.Fatal(err)
		}
		wantRun(t, readAll(t, r), c[0], c[1])
	}
	if err := r.Reset(8, 7); err == nil {
		t.Error("a range that ends before it begins was taken")
	}
}

func TestSizes(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, Options{Dir: dir, SegmentBytes: 64 << 10, MaxBytes: 256 << 20})
	h := shm.Header{Kind: 1}
	sizes := []int{0, 1, 7, 8, 9, 60 << 10, 63 << 10, 64 << 10, 1, shm.MaxPayload, 3, shm.MaxPayload - 1}
	for _, n := range sizes {
		if _, err := j.AppendV(h, make([]byte, n/3), make([]byte, n-n/3)); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	if _, err := j.Append(h, make([]byte, shm.MaxPayload+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("16 MiB + 1: %v", err)
	}
	if _, err := j.Append(shm.Header{Kind: shm.KindSeal}, nil); !errors.Is(err, ErrKind) {
		t.Errorf("reserved kind: %v", err)
	}
	if j.Stats().TooLarge != 1 {
		t.Errorf("too large counted %d times", j.Stats().TooLarge)
	}
	j.Close()
	r, err := shm.OpenReader(dir, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, n := range sizes {
		rec, ok, err := r.Next()
		if err != nil || !ok || len(rec.Payload) != n {
			t.Fatalf("%d bytes came back as %d (%v, %v)", n, len(rec.Payload), ok, err)
		}
		r.Release()
	}
	if _, ok, _ := r.Next(); ok {
		t.Error("a record too many")
	}
}

func TestLapped(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, Options{Dir: dir, SegmentBytes: 64 << 10, MaxBytes: 256 << 10})
	slow, ctl, err := j.OpenReader(0)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	var at []shm.Position
	at = append(at, mustAppend(t, j, 0, 100))
	first, ok, err := slow.Next()
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	n := uint64(1)
	for ; n < 10_000; n++ {
		at = append(at, mustAppend(t, j, n, 100))
	}
	j.Ring()
	if st := j.Stats(); st.Recycled != 0 || st.Unlinked == 0 || st.TotalBytes > 256<<10 {
		t.Errorf("with everything pinned: %+v", st)
	}
	// What it holds is as it was, and its segment is read to the end.
	if checkBody(t, first.Payload) != 0 {
		t.Error("pinned payload changed")
	}
	next := uint64(1)
	var lapped shm.ErrLapped
	for {
		rec, ok, err := slow.Next()
		if errors.As(err, &lapped) {
			break
		}
		if err != nil || !ok || checkBody(t, rec.Payload) != next {
			t.Fatalf("record %d: %v %v", next, ok, err)
		}
		next++
	}
	if lapped.From >= lapped.To || slow.Cursor() != lapped.To || !strings.Contains(lapped.Error(), fmt.Sprint(lapped.From)) {
		t.Errorf("%v, cursor %d", lapped, slow.Cursor())
	}
	rest := readAll(t, slow)
	wantRun(t, rest, n-uint64(len(rest)), n)
	if lapped.From > at[next] || at[n-uint64(len(rest))] < lapped.To {
		t.Errorf("lapped %v doesn't cover %d to %d", lapped, at[next], at[n-uint64(len(rest))])
	}
	// Released, segments are used again.
	for ; n < 20_000; n++ {
		mustAppend(t, j, n, 100)
		if n%100 == 0 {
			j.Ring()
			readAll(t, slow)
		}
	}
	if st := j.Stats(); st.Recycled == 0 {
		t.Errorf("nothing recycled: %+v", st)
	}
	j.Detach(ctl)
}

func TestHold(t *testing.T) {
	var passed []string
	j, _ := open(t, Options{
		SegmentBytes: 64 << 10, MaxBytes: 256 << 10, MaxAge: time.Hour,
		Passed: func(h string, from, to shm.Position) { passed = append(passed, h) },
	})
	oldest := j.Oldest()
	j.Hold("held", oldest)
	j.HoldUpTo("spill", oldest, 512<<10)
	i := uint64(0)
	for ; j.Stats().TotalBytes < 512<<10 && j.Oldest() == oldest; i++ {
		mustAppend(t, j, i, 100)
	}
	if j.Oldest() != oldest || len(passed) != 0 {
		t.Fatalf("dropped below the spill limit at %d bytes; passed %v", j.Stats().TotalBytes, passed)
	}
	if s := j.Slack(oldest); s > 0 {
		t.Errorf("slack of the oldest is %d over the limit", s)
	}
	// Wall times here are of 1970: everything is too old, but held.
	if err := j.retainAge(time.Now()); err != nil || j.Oldest() != oldest {
		t.Errorf("age dropped what is held (%v)", err)
	}
	for ; j.Oldest() == oldest; i++ {
		mustAppend(t, j, i, 100)
	}
	if len(passed) != 2 || j.Stats().Passed != 2 {
		t.Errorf("passed by: %v", passed)
	}
	j.Unhold("held")
	j.Unhold("spill")
	if err := j.retainAge(time.Now()); err != nil || j.Stats().Segments != 1 {
		t.Errorf("%d segments after age dropped all (%v)", j.Stats().Segments, err)
	}
}

func TestParseSync(t *testing.T) {
	for s, want := range map[string]Sync{"process": SyncProcess, "always": SyncAlways, "50ms": SyncEvery(50 * time.Millisecond)} {
		if got, err := ParseSync(s); err != nil || got != want || got.String() != s {
			t.Errorf("%s: %v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "never", "0s", "-1s", "1us", "1h"} {
		if _, err := ParseSync(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

// TestConcurrentAppend has several goroutines append: what each wrote is in its
// order.
func TestConcurrentAppend(t *testing.T) {
	for _, policy := range []Sync{SyncProcess, SyncEvery(time.Millisecond), SyncAlways} {
		t.Run(policy.String(), func(t *testing.T) {
			dir := t.TempDir()
			j, _ := open(t, Options{Dir: dir, SegmentBytes: 128 << 10, MaxBytes: 64 << 20, Sync: policy})
			stop := run(t, j)
			const writers = 4
			each := uint64(5000)
			if policy == SyncAlways {
				each = 200
			}
			r, ctl, err := j.OpenReader(0)
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for w := range uint64(writers) {
				wg.Go(func() {
					var last shm.Position
					for i := range each {
						pos, err := j.Append(shm.Header{Kind: uint8(w)}, body(i, int(i%200)))
						if err != nil || pos <= last {
							t.Errorf("position %d after %d: %v", pos, last, err)
							return
						}
						if policy == SyncAlways && j.Stats().Synced <= pos {
							t.Errorf("append at %d returned before its sync", pos)
							return
						}
						last = pos
						j.Ring()
					}
				})
			}
			var next [writers]uint64
			for n := uint64(0); n < writers*each; {
				rec, ok, err := r.Next()
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					r.Release()
					if !r.Wait(patience) {
						t.Fatalf("no record after %d", n)
					}
					continue
				}
				if policy == SyncAlways && rec.Pos >= j.Stats().Synced {
					t.Fatalf("record at %d was seen before its sync", rec.Pos)
				}
				if i := checkBody(t, rec.Payload); i != next[rec.Kind] {
					t.Fatalf("writer %d: record %d, want %d", rec.Kind, i, next[rec.Kind])
				}
				next[rec.Kind]++
				n++
			}
			wg.Wait()
			r.Close()
			j.Detach(ctl)
			stop()
		})
	}
}

// TestSyncError has the disk refuse a sync: the Append that waited for it says
// so, nothing more is claimed about that segment, and the journal goes on in
// the next one.
func TestSyncError(t *testing.T) {
	j, _ := open(t, Options{SegmentBytes: 64 << 10, MaxBytes: 1 << 20, Sync: SyncAlways})
	mustAppend(t, j, 0, 10)
	synced, base := j.Stats().Synced, j.base
	eio := errors.New("input/output error")
	j.msync = func([]byte, uint64, uint64) error { return eio }
	h := shm.Header{Kind: 1, Conn: 1, Wall: 1, Mono: 2}
	pos, err := j.Append(h, body(1, 10))
	if !errors.Is(err, eio) || pos == 0 || j.Stats().Synced != synced {
		t.Errorf("append at %d over a failed sync: %v", pos, err)
	}
	j.msync = syncRange
	if pos := mustAppend(t, j, 2, 10); pos < base+64<<10 {
		t.Errorf("went on at %d, in the segment whose sync had failed", pos)
	}
	if shm.GetMark(j.mem, shm.MarkSynced) == 0 || j.Stats().SyncErrors == 0 {
		t.Errorf("%+v", j.Stats())
	}
	metricsWanted{"sync_errors_total": float64(j.Stats().SyncErrors)}.check(t, j)
	if err := j.syncTo(pos + 8); !errors.Is(err, eio) {
		t.Errorf("the record whose sync failed counts as synced: %v", err)
	}
	r, ctl, err := j.OpenReader(0)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Detach(ctl)
	defer r.Close()
	wantRun(t, readAll(t, r), 0, 3)
}

// TestIdle has Run fall asleep when nothing is appended, and an Append wake it.
func TestIdle(t *testing.T) {
	j, _ := open(t, Options{SegmentBytes: 64 << 10, MaxBytes: 1 << 20, Sync: SyncEvery(time.Millisecond)})
	defer run(t, j)()
	idle := func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.idle
	}
	for i := range uint64(5) {
		mustAppend(t, j, i, 10)
		for deadline := time.Now().Add(patience); j.Stats().Synced != j.Tail() || !idle(); {
			if time.Now().After(deadline) {
				t.Fatalf("round %d: synced to %d of %d, idle %v", i, j.Stats().Synced, j.Tail(), idle())
			}
			time.Sleep(100 * time.Microsecond)
		}
		before := j.Stats().Syncs
		time.Sleep(10 * time.Millisecond)
		if after := j.Stats().Syncs; after != before {
			t.Errorf("%d syncs while idle", after-before)
		}
	}
}

// TestGroupCommit has several Appends wait for one sync: the next one does for
// all of them.
func TestGroupCommit(t *testing.T) {
	j, _ := open(t, Options{SegmentBytes: 64 << 10, MaxBytes: 1 << 20, Sync: SyncAlways})
	const n = 20
	var appended sync.WaitGroup
	appended.Add(n)
	calls, all := 0, j.Tail()+n*shm.RecordBytes(8)
	j.msync = func(mem []byte, from, to uint64) error {
		calls++
		for j.Tail() < all { // the disk is busy until all have appended
			runtime.Gosched()
		}
		return syncRange(mem, from, to)
	}
	for i := range uint64(n) {
		go func() {
			defer appended.Done()
			if _, err := j.Append(shm.Header{Kind: 1}, body(i, 0)); err != nil {
				t.Error(err)
			}
		}()
	}
	appended.Wait()
	if calls > 3 { // the first, one for all others, and a header
		t.Errorf("%d syncs for %d appends at once", calls, n)
	}
	j.msync = syncRange
}
