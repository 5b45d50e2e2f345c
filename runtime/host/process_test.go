package host_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

func TestControlCalls(t *testing.T) {
	ctx := context.Background()
	h := host.New(testOptions(io.Discard))
	p, err := h.Open(ctx, host.Spec{Kind: wire.KindSource, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if d := p.Description(); d.Source == nil || d.Source.Venue != "test" || d.Source.Revision != 3 || d.Sink != nil {
		t.Errorf("description %+v", d)
	}
	if m, s, err := p.Resolve(ctx, "BTC-USDT"); m != market.MarketSpot || s != "BTCUSDT" || err != nil {
		t.Errorf("resolve: %v %q %v", m, s, err)
	}
	if _, _, err := p.Resolve(ctx, "BTC"); fault.Of(err) != fault.Stop || !strings.Contains(err.Error(), `test: "BTC" is no name`) {
		t.Errorf("resolve: %v", err)
	}
	if i, err := p.Identify(ctx, market.MarketSpot, "X"); i.Name != "N-X" || i.AmountUnit != market.UnitBase || err != nil {
		t.Errorf("identify: %+v %v", i, err)
	}
	if s, err := p.Session(ctx, source.SessionRequest{Endpoint: "wss://x"}); err != nil || len(s.Steps) != 1 || s.Steps[0].Dial.URL != "wss://x" {
		t.Errorf("session: %+v %v", s, err)
	}
	if _, err := p.Session(ctx, source.SessionRequest{Config: schema.Values{"fail": int64(1)}}); fault.Of(err) != fault.Wait || fault.After(err) != 7*time.Second {
		t.Errorf("session: %v", err)
	}
	if f, err := p.Frames(ctx, source.FrameRequest{Unsubscribe: true, Subscriptions: make([]source.Subscription, 3)}); err != nil || f[0].Data != "true3" && f[0].Data != "true 3" {
		t.Errorf("frames: %+v %v", f, err)
	}
	if q, err := p.Requests(ctx, source.RequestFor{Base: "https://y"}); err != nil || q[0].URL != "https://y" || q[0].Weight != 5 {
		t.Errorf("requests: %+v %v", q, err)
	}
	if _, err := h.Open(ctx, host.Spec{Kind: wire.KindSink, Name: "version"}); fault.Of(err) != fault.Stop {
		t.Errorf("another version: %v", err)
	}
}

func TestEnvironmentIsClean(t *testing.T) {
	t.Setenv("EXCHANGE_API_SECRET", "hush")
	ctx := context.Background()
	p, err := host.New(testOptions(io.Discard)).Open(ctx, host.Spec{Kind: wire.KindSource, Name: "test", Env: []string{"ADDED=1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	q, err := p.Requests(ctx, source.RequestFor{Purpose: "environment"})
	if err != nil {
		t.Fatal(err)
	}
	env := q[0].Body
	for _, want := range []string{"GOMAXPROCS=1\n", "GOMEMLIMIT=67108864\n", "MARKETPRISM_PLUGIN_NAME=source.test\n", "\nADDED=1"} {
		if !strings.Contains(env, want) {
			t.Errorf("%q is missing in %s", want, env)
		}
	}
	for _, never := range []string{"hush", "PATH=", "HOME="} {
		if strings.Contains(env, never) {
			t.Errorf("%q is in the plugin's environment: %s", never, env)
		}
	}
}

func TestSourceIsConfined(t *testing.T) {
	ctx := context.Background()
	log := &buffer{}
	p, err := host.New(testOptions(log)).Open(ctx, host.Spec{Kind: wire.KindSource, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if strings.Contains(log.String(), "no Landlock") {
		t.Skip("this kernel has no Landlock; the host said so")
	}
	file := filepath.Join(t.TempDir(), "x")
	q, err := p.Requests(ctx, source.RequestFor{Purpose: source.Purpose("write:" + file)})
	if err != nil || !strings.Contains(q[0].Body, "permission denied") {
		t.Errorf("writing a file: %v %v", q, err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Errorf("the host itself: %v", err)
	}
	if strings.Contains(log.String(), "can't restrict TCP") {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	q, err = p.Requests(ctx, source.RequestFor{Purpose: source.Purpose("dial:" + l.Addr().String())})
	if err != nil || !strings.Contains(q[0].Body, "permission denied") {
		t.Errorf("dialling: %v %v", q, err)
	}
	filters(t)
	q, err = p.Requests(ctx, source.RequestFor{Purpose: "listen"})
	if err != nil || !strings.Contains(q[0].Body, "permission denied") {
		t.Errorf("listening: %v %v", q, err)
	}
}

// third copies the test binary to where a third-party plugin would lie.
func third(t *testing.T, name string) (path, sum string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o700); err != nil {
		t.Fatal(err)
	}
	h := sha256.Sum256(b)
	return path, hex.EncodeToString(h[:])
}

func TestThirdPartyIsPinned(t *testing.T) {
	ctx := context.Background()
	path, sum := third(t, "marketprism-source-test")
	h := host.New(testOptions(io.Discard))
	spec := host.Spec{Kind: wire.KindSource, Name: "test", Path: path}
	if _, err := h.Describe(ctx, spec); fault.Of(err) != fault.Stop || !strings.Contains(err.Error(), "has no SHA-256 pin") {
		t.Errorf("without a pin: %v", err)
	}
	spec.SHA256 = strings.Repeat("0", 64)
	if _, err := h.Describe(ctx, spec); fault.Of(err) != fault.Stop || !strings.Contains(err.Error(), sum) || !strings.Contains(err.Error(), spec.SHA256) {
		t.Errorf("wrong pin: %v", err)
	}
	spec.SHA256 = strings.ToUpper(sum)
	for range 2 { // a fresh hash per start
		if d, err := h.Describe(ctx, spec); err != nil || d.Source.Venue != "test" {
			t.Fatalf("right pin: %+v, %v", d, err)
		}
	}
	// What runs is what was hashed: the path may be anything by then.
	p, err := h.Open(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := os.WriteFile(path, []byte("#!/bin/false\n"), 0o700); err != nil {
		t.Fatalf("the path is free while the plugin runs: %v", err)
	}
	if _, _, err := p.Resolve(ctx, "A-B"); err != nil {
		t.Error(err)
	}
	if _, err := h.Describe(ctx, spec); err == nil || !strings.Contains(err.Error(), "the pipeline pins") {
		t.Errorf("changed file: %v", err)
	}
}

func TestStderrIsNotTrusted(t *testing.T) {
	ctx := context.Background()
	log := &buffer{}
	p, err := host.New(testOptions(log)).Open(ctx, host.Spec{Kind: wire.KindSource, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, line := range []string{
		`{"@message": 5}`, `{"@level": [], "@message": {}, "@timestamp": true}`, `{"@message":"a","level":"panic","message":"b","time":0}`,
		"\xff\xfe\x00", strings.Repeat("y", 200<<10), `{"a":`, "null", `{"@level":"fatal","@message":"not for you"}`,
		`{"@level":"warn","@message":"typed","n":12345678901234567890,"f":1.50,"deep":{"x":[1,2]}}`,
	} {
		if _, err := p.Requests(ctx, source.RequestFor{Purpose: source.Purpose("print:" + line)}); err != nil {
			t.Fatalf("%.40q: %v", line, err)
		}
	}
	want := []string{`"message":"5"`, `"plugin_level":"panic"`, `"level":"error","plugin":"source.test","message":"not for you"`,
		`"level":"warn","plugin":"source.test","deep":{"x":[1,2]},"f":1.50,"n":12345678901234567890,"message":"typed"`}
	for deadline := time.Now().Add(patience); len(want) > 0; {
		if strings.Contains(log.String(), want[0]) {
			want = want[1:]
		} else if time.Now().After(deadline) {
			t.Fatalf("%s is missing in %.3000s", want[0], log)
		} else {
			time.Sleep(5 * time.Millisecond)
		}
	}
	if _, _, err := p.Resolve(ctx, "A-B"); err != nil {
		t.Error(err)
	}
}

func TestStderrFloodIsBounded(t *testing.T) {
	j := newJournal(t, journal.Options{})
	log := &buffer{}
	o := testOptions(log)
	o.Restart.Restarts = -1
	l := startSource(t, o, host.SourceSpec{}, j)
	l.until(func() bool { return l.src.State().Phase == host.Running })
	_, err := l.src.Requests(context.Background(), source.RequestFor{Purpose: source.Purpose("print:" + strings.Repeat("z", 1000)), Base: "1000000"})
	if err == nil || !strings.Contains(err.Error(), "flooded standard error") {
		t.Errorf("the call that flooded: %v", err)
	}
	if err := l.failure(); !strings.Contains(err.Error(), "flooded standard error") {
		t.Errorf("quarantined with %v", err)
	}
	if n := len(log.String()); n > 4<<20 {
		t.Errorf("%d bytes were logged", n)
	}
	if !strings.Contains(log.String(), "lines were dropped") {
		t.Error("that lines were dropped was not logged")
	}
	// What is beyond the limit is a kilobyte a line.
	if n := reported(l.src)["log_lines_dropped_total"]; n < 16<<20/1100 || n > 1_000_000 {
		t.Errorf("%v lines dropped were counted", n)
	}
}

func TestKilledSourceResumes(t *testing.T) {
	const frames, kills = 60000, 12
	j := newJournal(t, journal.Options{})
	o := testOptions(io.Discard)
	o.Restart.Restarts = kills + 1
	l := startSource(t, o, host.SourceSpec{}, j)
	l.until(func() bool { return l.src.State().Phase == host.Running })
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		for i := range frames {
			_, err := j.Append(shm.Header{Kind: uint8(source.InputText), Conn: 1}, fmt.Appendf(nil, "T S%d 1.50 2 %d", i%5, i))
			if err != nil {
				t.Error(err)
				return
			}
			j.Ring()
		}
	}()
	killed := 0
	l.until(func() bool {
		if st := l.src.State(); killed < kills && len(l.got) > killed*frames/kills && int(st.Generation) == killed+1 && st.Pid > 0 {
			if syscall.Kill(st.Pid, syscall.SIGKILL) == nil {
				killed++
			}
		}
		return len(l.got) >= frames && killed == kills && l.pos == j.Tail()
	})
	<-stop
	if len(l.got) != frames {
		t.Fatalf("%d records of %d", len(l.got), frames)
	}
	for i, g := range l.got {
		if want := fmt.Sprintf("S%d %d", i%5, i); g != want {
			t.Fatalf("record %d is %q, not %q (%d kills)", i, g, want, killed)
		}
	}
	if l.starts < kills {
		t.Errorf("%d starts", l.starts)
	}
}

func TestRememberedFramesComeFirst(t *testing.T) {
	j := newJournal(t, journal.Options{})
	l := startSource(t, testOptions(io.Discard), host.SourceSpec{}, j)
	pos := appendFrame(t, j, source.InputText, "remember")
	l.until(func() bool { return l.pos == j.Tail() })
	if fmt.Sprint(l.signals) != "[87 ]" || l.names[1] != "REMEMBERED" {
		t.Fatalf("%q %v", l.signals, l.names)
	}
	l.remembered = []wire.Remembered{{Kind: source.InputText, Conn: 7, Pos: pos, Payload: []byte("remember")}}
	if err := syscall.Kill(l.src.State().Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	appendFrame(t, j, source.InputText, "T A 1 1 1")
	l.until(func() bool { return l.pos == j.Tail() })
	if l.gen != 2 || l.names[1] != "REMEMBERED" || fmt.Sprint(l.got) != "[A 1]" || len(l.signals) != 1 {
		t.Errorf("generation %d: %v %q %q", l.gen, l.names, l.got, l.signals)
	}
}

// TestCallsOutliveTheirProcess: a call that a process took with it is answered by
// the next one; one that ends that too is refused.
func TestCallsOutliveTheirProcess(t *testing.T) {
	o := testOptions(io.Discard)
	o.Restart.Restarts = 5
	l := startSource(t, o, host.SourceSpec{}, newJournal(t, journal.Options{}))
	l.until(func() bool { return l.src.State().Phase == host.Running })
	ask := func(purpose string) ([]source.Request, error) {
		type answer struct {
			q   []source.Request
			err error
		}
		answered := make(chan answer, 1)
		go func() {
			q, err := l.src.Requests(context.Background(), source.RequestFor{Purpose: source.Purpose(purpose)})
			answered <- answer{q, err}
		}()
		var a answer
		l.until(func() bool {
			select {
			case a = <-answered:
				return true
			default:
				return false
			}
		})
		return a.q, a.err
	}
	if q, err := ask(fmt.Sprint("die:", l.src.State().Pid)); err != nil || len(q) != 1 || q[0].Weight != 5 {
		t.Errorf("%+v, %v", q, err)
	}
	if q, err := ask("die:"); err == nil {
		t.Errorf("%+v of a process that ended", q)
	}
}

func TestGreatEntries(t *testing.T) {
	j := newJournal(t, journal.Options{SegmentBytes: 1 << 20, MaxBytes: 64 << 20})
	o := testOptions(io.Discard)
	o.RingBytes = 64 << 10
	l := startSource(t, o, host.SourceSpec{}, j)
	for range 3 {
		appendFrame(t, j, source.InputText, "huge 90000") // 2.9 MB of records through 64 KiB
		appendFrame(t, j, source.InputText, "T A 1 1 1")
	}
	l.until(func() bool { return l.pos == j.Tail() })
	if len(l.got) != 6 || l.gen != 1 || len(l.signals) > 0 {
		t.Errorf("%d records, generation %d, %q", len(l.got), l.gen, l.signals)
	}
}

func TestWake(t *testing.T) {
	j := newJournal(t, journal.Options{})
	woken := make(chan struct{}, 1)
	l := startSource(t, testOptions(io.Discard), host.SourceSpec{Latency: wire.Low, Wake: func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	}}, j)
	for i := range 50 {
		appendFrame(t, j, source.InputText, fmt.Sprintf("T A 1 1 %d", i))
		for l.pos < j.Tail() {
			if err := l.src.Poll(&l.batch, 1<<20); err != nil {
				t.Fatal(err)
			}
			l.take()
			if len(l.batch.Entries) > 0 || l.src.Arm() {
				continue
			}
			select {
			case <-woken:
			case <-time.After(patience):
				t.Fatalf("not woken for frame %d: %+v", i, l.src.State())
			}
		}
	}
	if len(l.got) != 50 {
		t.Errorf("%d records", len(l.got))
	}
}

func TestNothingLeaks(t *testing.T) {
	count := func() (goroutines, files int) {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return runtime.NumGoroutine(), len(d)
	}
	ctx := context.Background()
	h := host.New(testOptions(io.Discard))
	var g0, f0 int
	for i := range 8 {
		p, err := h.Open(ctx, host.Spec{Kind: wire.KindSource, Name: "test"})
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		if _, err := h.Open(ctx, host.Spec{Kind: wire.KindSource, Name: "dead"}); err == nil {
			t.Fatal("a dead plugin was opened")
		}
		if i == 0 {
			g0, f0 = count()
		}
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		g, f := count()
		if g <= g0+2 && f <= f0+2 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines and %d descriptors, %d and %d after the first start", g, f, g0, f0)
		}
	}
}

// hostMain is a runtime that starts a plugin, prints the process's id and waits
// to be killed.
func hostMain(dir string) int {
	exe, _ := os.Executable()
	p, err := host.New(host.Options{Exe: exe, Logger: zerolog.Nop(), TempDir: dir}).Open(context.Background(), host.Spec{Kind: wire.KindSource, Name: "test"})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	q, err := p.Requests(context.Background(), source.RequestFor{Purpose: "pid"})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(q[0].Body)
	time.Sleep(time.Hour)
	return 0
}

func TestNoOrphans(t *testing.T) {
	exe, _ := os.Executable()
	cmd := exec.Command(exe, "hostmain", t.TempDir())
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(pipe).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the host said %q", line)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("the plugin isn't there: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for deadline := time.Now().Add(patience); alive(pid); {
		if time.Now().After(deadline) {
			t.Fatalf("process %d outlived its runtime", pid)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stop stops a process and waits until all its threads have.
func stop(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(tasks) == 0 {
			t.Fatalf("process %d: %v", pid, err)
		}
		stopped := 0
		for _, task := range tasks {
			b, _ := os.ReadFile(task)
			if _, rest, _ := strings.Cut(string(b), ") "); strings.HasPrefix(rest, "T") {
				stopped++
			}
		}
		if stopped == len(tasks) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// alive says whether a process runs: one that ended and that nobody waited for
// doesn't.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}
