package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// patience bounds waits for what comes soon. It is long, for machines that are
// busy with other things; no test waits for it to pass.
const patience = time.Minute

var kills = flag.Int("kills", 200, "how often TestKill kills the writer")

// The test binary is the other process too: MARKETPRISM_JOURNAL_CHILD says
// what it does.
const childEnv = "MARKETPRISM_JOURNAL_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "own":
		_, err := LockDir(os.Args[1])
		fmt.Println(err)
	case "write":
		childWrite()
	case "read":
		childRead()
	case "cursor":
		childCursor()
	}
	os.Exit(3)
}

func child(tb testing.TB, what string, files []*os.File, args ...string) *exec.Cmd {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), childEnv+"="+what)
	cmd.ExtraFiles = files
	cmd.Stderr = os.Stderr
	return cmd
}

func die(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(4)
}

// counters in a file that two processes map.
type shared struct{ mem []byte }

func mapShared(path string) (shared, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return shared{}, err
	}
	defer f.Close()
	if err := f.Truncate(4096); err != nil {
		return shared{}, err
	}
	mem, err := mapWrite(f, 4096)
	return shared{mem}, err
}

func (s shared) at(i int) *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&s.mem[i*64])) }

func TestSecondOwner(t *testing.T) {
	dir := t.TempDir()
	open(t, Options{Dir: dir, SegmentBytes: 64 << 10, MaxBytes: 1 << 20})
	out, _ := child(t, "own", nil, dir).Output()
	want := fmt.Sprintf("journal: %s is in use by process %d: stop it first, or use another data directory\n", dir, os.Getpid())
	if string(out) != want {
		t.Errorf("second owner says %q, want %q", out, want)
	}
	_, _, err := Open(Options{Dir: dir, SegmentBytes: 64 << 10, MaxBytes: 1 << 20})
	var locked *ErrLocked
	if !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("second journal in this process: %v", err)
	}
}

var killOptions = Options{SegmentBytes: 1 << 20, MaxBytes: 8 << 20}

// childWrite appends numbered records for ever, and counts those whose Append
// returned.
func childWrite() {
	dir := os.Args[1]
	next, _ := strconv.ParseUint(os.Args[2], 10, 64)
	policy, _ := ParseSync(os.Args[3])
	cnt, err := mapShared(filepath.Join(dir, "count"))
	if err != nil {
		die(err)
	}
	opt := killOptions
	opt.Dir, opt.Sync = filepath.Join(dir, "j"), policy
	j, rec, err := Open(opt)
	if err != nil {
		die(err)
	}
	cnt.at(1).Store(rec.Skipped + rec.Truncated)
	go j.Run(context.Background())
	for ; ; next++ {
		h := shm.Header{Kind: 1, Conn: uint32(next & shm.MaxConn), Wall: int64(next), Mono: int64(next * 2)}
		if _, err := j.Append(h, body(next, int(next%300))); err != nil {
			die(err)
		}
		cnt.at(0).Store(next + 1)
	}
}

// TestKill kills a writer process at random moments, 200 times (-kills). Every
// record whose Append had returned is there afterwards, but for what
// retention took, and nothing else is.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	cnt, err := mapShared(filepath.Join(dir, "count"))
	if err != nil {
		t.Fatal(err)
	}
	next, unreported, total := uint64(0), 0, uint64(0)
	for round := range *kills {
		policy := []string{"process", "process", "5ms"}[round%3]
		began := next
		cmd := child(t, "write", nil, dir, strconv.FormatUint(next, 10), policy)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// So many records into the round it dies: some rounds within the
		// first segment, some after retention has begun.
		until := next + uint64(1+round*round*97%60_000)
		for deadline := time.Now().Add(patience); cnt.at(0).Load() < until; {
			if time.Now().After(deadline) {
				cmd.Process.Kill()
				t.Fatalf("round %d: the writer stands at %d of %d", round, cnt.at(0).Load(), until)
			}
			time.Sleep(100 * time.Microsecond)
		}
		cmd.Process.Kill()
		cmd.Wait()
		if cnt.at(1).Load() != 0 {
			t.Fatalf("round %d: the writer's recovery found damage", round)
		}
		counted := cnt.at(0).Load()
		opt := killOptions
		opt.Dir = filepath.Join(dir, "j")
		j, rec, err := Open(opt)
		if err != nil {
			t.Fatal(err)
		}
		if rec.Skipped != 0 || rec.Truncated != 0 || rec.Clean {
			t.Fatalf("round %d: %+v", round, rec)
		}
		j.Close()
		got, r := scan(t, opt.Dir)
		if places, _ := r.Skipped(); places != 0 {
			t.Fatalf("round %d: %d damaged places", round, places)
		}
		// The record under way at the kill may be there or not.
		end := got[len(got)-1] + 1
		if end != counted && end != counted+1 {
			t.Fatalf("round %d: records end at %d, Append had returned %d", round, end, counted)
		}
		if end != counted {
			unreported++
		}
		wantRun(t, got, end-uint64(len(got)), end)
		total += counted - began
		next = end
		cnt.at(0).Store(next)
	}
	t.Logf("%d kills, %d records reported and found, %d found beside them", *kills, total, unreported)
}

// childRead reads numbered records through a control block that it was handed,
// sleeping whenever there is none.
func childRead() {
	cnt, err := mapShared(filepath.Join(os.Args[1], "count"))
	if err != nil {
		die(err)
	}
	ctl, err := shm.MapControl(3, 4)
	if err != nil {
		die(err)
	}
	r, err := shm.OpenReader(filepath.Join(os.Args[1], "j"), ctl.Pin(), ctl)
	if err != nil {
		die(err)
	}
	for {
		rec, ok, err := r.Next()
		if err != nil {
			die(err)
		}
		if !ok {
			r.Release()
			cnt.at(0).Store(cnt.at(1).Load())
			r.Wait(0)
			if ctl.Stopped() && !r.Ready() {
				os.Exit(0)
			}
			continue
		}
		if want := cnt.at(1).Add(1) - 1; binary.LittleEndian.Uint64(rec.Payload) != want {
			die(fmt.Errorf("record %d, want %d", binary.LittleEndian.Uint64(rec.Payload), want))
		}
	}
}

// TestReaderProcess reads in another process, and counts how often it woke:
// an idle reader doesn't.
func TestReaderProcess(t *testing.T) {
	for _, procs := range []string{"1", "2"} {
		for _, sync := range []Sync{SyncProcess, SyncAlways} {
			t.Run("GOMAXPROCS="+procs+" "+sync.String(), func(t *testing.T) { readerProcess(t, procs, sync) })
		}
	}
}

func readerProcess(t *testing.T, procs string, sync Sync) {
	dir := t.TempDir()
	cnt, err := mapShared(filepath.Join(dir, "count"))
	if err != nil {
		t.Fatal(err)
	}
	j, _ := open(t, Options{Dir: filepath.Join(dir, "j"), SegmentBytes: 256 << 10, MaxBytes: 64 << 20, Sync: sync})
	ctl, err := shm.NewControl()
	if err != nil {
		t.Fatal(err)
	}
	defer ctl.Close()
	j.Attach(ctl, 0)
	a, b := ctl.Files()
	cmd := child(t, "read", []*os.File{a, b}, dir)
	cmd.Env = append(cmd.Env, "GOMAXPROCS="+procs)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n := uint64(20_000)
	if sync == SyncAlways {
		n = 500
	}
	caughtUp := func(n uint64) {
		t.Helper()
		for deadline := time.Now().Add(patience); cnt.at(0).Load() < n || !ctl.Parked(); {
			if time.Now().After(deadline) {
				cmd.Process.Kill()
				t.Fatalf("reader stands at %d of %d, parked %v, cursor %d of %d", cnt.at(1).Load(), n, ctl.Parked(), ctl.Cursor(), j.Tail())
			}
			time.Sleep(time.Millisecond)
		}
	}
	rings := 0
	for i := range n {
		mustAppend(t, j, i, 100)
		if i%10 == 9 {
			rings += j.Ring()
		}
	}
	rings += j.Ring()
	caughtUp(n)
	if ctl.Cursor() != j.Tail() || ctl.Pin() != j.Tail() {
		t.Errorf("cursor %d and pin %d, tail %d", ctl.Cursor(), ctl.Pin(), j.Tail())
	}
	// Idle: it gives its processor up after a few sleeps in vain, and from then
	// on nothing but a ring wakes it.
	for deadline, still := time.Now().Add(patience), false; !still; {
		before := ctl.Waits()
		time.Sleep(200 * time.Millisecond)
		woke := ctl.Waits() - before
		if still = woke == 0; !still && time.Now().After(deadline) {
			t.Errorf("an idle reader wakes %d times in 200 ms", woke)
			break
		}
	}
	mustAppend(t, j, n, 1)
	if j.Ring() != 1 {
		t.Error("ringing an idle reader woke nobody")
	}
	caughtUp(n + 1)
	if sync == SyncProcess {
		// Appends without a ring don't wake it.
		mustAppend(t, j, n+1, 1)
		if !ctl.Parked() {
			t.Error("an append woke the reader")
		}
		j.Ring()
		caughtUp(n + 2)
	}
	t.Logf("%d records, %d rings woke it, %d sleeps", n, rings, ctl.Waits())
	ctl.Stop()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	j.Detach(ctl)
}

// childCursor stores states for ever.
func childCursor() {
	cnt, err := mapShared(filepath.Join(os.Args[1], "count"))
	if err != nil {
		die(err)
	}
	c, err := OpenCursors(filepath.Join(os.Args[1], "cursors"), SyncProcess)
	if err != nil {
		die(err)
	}
	s, err := c.Slot("sink.parquet.lake")
	if err != nil {
		die(err)
	}
	for i := s.Load().Batch + 1; ; i++ {
		s.Store(State{Journal: 7, Cursor: i * 8, IntentFrom: i * 8, IntentTo: i * 16, Batch: i, Epoch: i})
		cnt.at(0).Store(i)
	}
}

func TestCursorsKill(t *testing.T) {
	dir := t.TempDir()
	cnt, err := mapShared(filepath.Join(dir, "count"))
	if err != nil {
		t.Fatal(err)
	}
	for round := range 30 {
		cmd := child(t, "cursor", nil, dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for until := cnt.at(0).Load() + uint64(1+round*round*31); cnt.at(0).Load() < until; {
			time.Sleep(50 * time.Microsecond)
		}
		cmd.Process.Kill()
		cmd.Wait()
		counted := cnt.at(0).Load()
		c, err := OpenCursors(filepath.Join(dir, "cursors"), SyncProcess)
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.Slot("sink.parquet.lake")
		if err != nil {
			t.Fatal(err)
		}
		st := s.Load()
		if st.Batch != counted && st.Batch != counted+1 {
			t.Fatalf("round %d: batch %d, stored %d", round, st.Batch, counted)
		}
		i := st.Batch
		if st != (State{Journal: 7, Cursor: i * 8, IntentFrom: i * 8, IntentTo: i * 16, Batch: i, Epoch: i}) {
			t.Fatalf("round %d: mixed state %+v", round, st)
		}
		c.Close()
	}
}
