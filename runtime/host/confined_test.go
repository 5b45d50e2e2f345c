package host_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/schema"
	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/ring"
)

// probeSink tries what its configuration says (do: "WHAT ARGUMENT…"), and logs
// what came of it. At a write it tries what the trade's id says.
type probeSink struct{ set sink.Settings }

func (*probeSink) Describe() sink.Manifest {
	return sink.Manifest{Name: "probe", Version: "1", Commit: sink.CommitBatch}
}

func (s *probeSink) Open(_ context.Context, set sink.Settings) error {
	s.set = set
	for _, do := range set.Config.Strings("do") {
		set.Logger.Info().Str("do", do).Str("did", fmt.Sprint(s.try(do))).Msg("tried")
	}
	if must := set.Config.String("must"); must != "" {
		if err := s.try(must); err != nil {
			return fault.New(fault.Stop, fmt.Errorf("probe: %w", err))
		}
	}
	return nil
}

func (s *probeSink) try(do string) error {
	f := strings.Fields(do)
	arg := func(i int) string { return append(f, "", "")[i] }
	pid, _ := strconv.Atoi(arg(1))
	switch f[0] {
	case "write":
		return os.WriteFile(arg(1), []byte("x"), 0o600)
	case "truncate":
		return os.Truncate(arg(1), 0)
	case "remove":
		return os.Remove(arg(1))
	case "mkdir":
		return os.MkdirAll(arg(1), 0o700)
	case "rename":
		return os.Rename(arg(1), arg(2))
	case "symlink":
		return os.Symlink(arg(1), arg(2))
	case "read":
		_, err := os.ReadFile(arg(1))
		return err
	case "temporary":
		f, err := os.CreateTemp("", "probe")
		if err != nil {
			return err
		}
		return errors.Join(f.Close(), os.Remove(f.Name()))
	case "dial":
		c, err := net.Dial(arg(1), arg(2))
		if err != nil {
			return err
		}
		return c.Close()
	case "listen":
		l, err := net.Listen("tcp", "127.0.0.1:0") // over multipath TCP, where the kernel has it
		if err != nil {
			return err
		}
		return l.Close()
	case "multipath":
		d := net.Dialer{}
		d.SetMultipathTCP(true)
		c, err := d.Dial("tcp", arg(1))
		if err != nil {
			return err
		}
		return c.Close()
	case "fastopen":
		to, err := net.ResolveTCPAddr("tcp4", arg(1))
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())})
	case "socket":
		var domain, protocol int
		if _, err := fmt.Sscan(arg(1)+" "+arg(2), &domain, &protocol); err != nil {
			return err
		}
		fd, err := unix.Socket(domain, unix.SOCK_STREAM, protocol)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	case "ring":
		var params [120]byte
		fd, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
		if e != 0 {
			return e
		}
		return unix.Close(int(fd))
	case "signal":
		return syscall.Kill(pid, 0)
	case "print":
		if s.set.Stdout == nil {
			return errors.New("no standard output")
		}
		_, err := fmt.Fprintln(s.set.Stdout, arg(1))
		return err
	}
	return errors.New("it doesn't know how")
}

func (s *probeSink) Write(_ context.Context, b *sink.Batch) error {
	for b.Next() {
		if err := s.try(string(b.Record().TradeID())); err != nil {
			return fmt.Errorf("probe: %w", err)
		}
	}
	return b.Err()
}

func (*probeSink) Flush(context.Context, sink.Range) error { return nil }
func (*probeSink) Close(context.Context) error             { return nil }

// landlock skips a test where the kernel can't do what it is about.
func landlock(t *testing.T, version int) {
	t.Helper()
	if v := host.LandlockVersion(); v < version {
		t.Skipf("this kernel has version %d of Landlock (0: none), the test needs %d", v, version)
	}
}

// filters skips a test where the kernel has no filters of system calls.
func filters(t *testing.T) {
	t.Helper()
	if b, err := os.ReadFile("/proc/self/status"); err != nil || !strings.Contains(string(b), "Seccomp_filters:") {
		t.Skip("this kernel has no seccomp filters")
	}
}

// probe starts a sink that tries all of this; each entry is what is tried and a
// part of what must come of it.
func probe(t *testing.T, spec host.SinkSpec, o host.Options, tries ...[2]string) *testSink {
	t.Helper()
	var do []string
	for _, x := range tries {
		do = append(do, x[0])
	}
	log := &buffer{}
	o.Logger = zerolog.New(log)
	spec.Name, spec.Config = "probe", schema.Values{"do": do}
	s := startSink(t, o, spec, newJournal(t, journal.Options{}))
	if r := s.next(); !r.Opened {
		t.Fatalf("%+v", r)
	}
	for _, x := range tries {
		tail := fmt.Sprintf(`","do":%q,`, x[0])
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(log.String(), tail); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%q was not tried: %s", x[0], log)
			}
		}
		line, _, _ := strings.Cut(log.String(), tail)
		if did := line[strings.LastIndex(line, `"did":"`)+len(`"did":"`):]; !strings.Contains(did, x[1]) {
			t.Errorf("%s: %s; wanted %s", x[0], did, x[1])
		}
	}
	return s
}

const (
	works  = "<nil>"
	denied = "permission denied"
)

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// TestSinkIsConfined: a sink writes below what it declares, wherever that is, and
// nowhere else.
func TestSinkIsConfined(t *testing.T) {
	landlock(t, 3)
	work, other := t.TempDir(), t.TempDir()
	lake, log := filepath.Join(work, "deep", "lake"), filepath.Join(work, "log")
	mine := filepath.Join(other, "mine")
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := host.SinkSpec{WorkDir: work}
	spec.Access.Writes = []host.Path{{Attribute: "path", Path: "deep/lake", Target: schema.Directory}, {Attribute: "log", Path: log, Target: schema.File}}
	probe(t, spec, testOptions(io.Discard),
		[2]string{"mkdir " + lake + "/.tmp/a", works},
		[2]string{"mkdir " + lake + "/b/c", works},
		[2]string{"write " + lake + "/.tmp/a/x", works},
		[2]string{"rename " + lake + "/.tmp/a/x " + lake + "/b/c/x", works}, // what a store lives by
		[2]string{"truncate " + lake + "/b/c/x", works},
		[2]string{"write " + log, works},
		[2]string{"temporary", works},
		[2]string{"write /dev/null", works},
		[2]string{"read " + mine, works},

		[2]string{"write " + work + "/x", denied},
		[2]string{"write " + log + "2", denied},
		[2]string{"remove " + log, denied}, // only its content is the sink's
		[2]string{"write " + mine, denied},
		[2]string{"truncate " + mine, denied},
		[2]string{"remove " + mine, denied},
		[2]string{"rename " + mine + " " + lake + "/mine", denied},
		[2]string{"rename " + lake + " " + work + "/lake2", denied},
		[2]string{"mkdir " + work + "/deep/lake2", denied},
		[2]string{"symlink " + mine + " " + lake + "/link", works},
		[2]string{"write " + lake + "/link", denied}, // a link leads out, a rule doesn't
		[2]string{"write /tmp/marketprism-probe", denied},
	)
	if b, err := os.ReadFile(mine); err != nil || string(b) != "mine" {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := os.ReadFile(log); err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
	if !exists(lake+"/b/c/x") || exists(work+"/x") || exists("/tmp/marketprism-probe") {
		t.Error("what was written isn't what was allowed")
	}
}

// TestSinkFollowsItsSettings: another path, after a reload, is another rule, and a
// process that is started again finds its directory, even if somebody took it.
func TestSinkFollowsItsSettings(t *testing.T) {
	landlock(t, 2)
	work := t.TempDir()
	spec := func(dir string) host.SinkSpec {
		s := host.SinkSpec{WorkDir: work}
		s.Access.Writes = []host.Path{{Attribute: "path", Path: dir, Target: schema.Directory}}
		return s
	}
	write := func(dir string) string { return "write " + filepath.Join(work, dir, "x") }
	probe(t, spec("one"), testOptions(io.Discard), [2]string{write("one"), works}, [2]string{write("two"), "no such file"})
	s := probe(t, spec("two"), testOptions(io.Discard), [2]string{write("one"), denied}, [2]string{write("two"), works})
	if err := os.RemoveAll(filepath.Join(work, "two")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.snk.State().Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if r := s.next(); !r.Opened || r.Generation != 2 || !exists(filepath.Join(work, "two", "x")) {
		t.Errorf("after a restart: %+v", r)
	}
}

// TestSinkTCP: a sink connects and listens if it declares that.
func TestSinkTCP(t *testing.T) {
	landlock(t, 4)
	filters(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := filepath.Join(t.TempDir(), "socket")
	u, err := net.Listen("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	addr := l.Addr().String()
	for _, c := range []struct {
		name         string
		access       host.Access
		dial, listen string
	}{
		{"nothing", host.Access{}, denied, denied},
		{"connect", host.Access{Connect: true}, works, denied},
		{"listen", host.Access{Listen: true}, denied, works},
		{"both", host.Access{Connect: true, Listen: true}, works, works},
		{"undeclared", host.Access{Undeclared: true}, works, works},
	} {
		t.Run(c.name, func(t *testing.T) {
			probe(t, host.SinkSpec{Spec: host.Spec{Access: c.access}, WorkDir: t.TempDir()}, testOptions(io.Discard),
				[2]string{"dial tcp " + addr, c.dial}, [2]string{"multipath " + addr, c.dial}, [2]string{"listen", c.listen},
				[2]string{"dial udp " + addr, works}, [2]string{"dial unix " + at, works})
		})
	}
}

// TestSinkSockets: what would pass Landlock's rules for TCP by isn't there for a
// sink without TCP.
func TestSinkSockets(t *testing.T) {
	landlock(t, 4)
	filters(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const mptcp, smc = unix.IPPROTO_MPTCP, unix.AF_SMC
	other := fmt.Sprintf("socket %d 0", unix.AF_VSOCK)
	for _, c := range []struct {
		access              host.Access
		fast, way, way2, io string
	}{
		{host.Access{}, denied, denied, denied, "not implemented"},
		{host.Access{Listen: true}, denied, denied, denied, "not implemented"},
		{host.Access{Connect: true}, "", denied, denied, "not implemented"},
		{host.Access{Connect: true, Listen: true}, "", "", "", ""}, // as the kernel has it
	} {
		probe(t, host.SinkSpec{Spec: host.Spec{Access: c.access}, WorkDir: t.TempDir()}, testOptions(io.Discard),
			[2]string{"fastopen " + l.Addr().String(), c.fast}, [2]string{fmt.Sprintf("socket %d %d", unix.AF_INET, mptcp), c.way},
			[2]string{fmt.Sprintf("socket %d %d", unix.AF_INET6, mptcp), c.way}, [2]string{fmt.Sprintf("socket %d 0", smc), c.way2}, [2]string{other, c.way2},
			[2]string{"ring", c.io}, [2]string{fmt.Sprintf("socket %d %d", unix.AF_INET, unix.IPPROTO_TCP), works})
	}
}

// TestSinkStaysInside: whatever a sink declares, it doesn't signal the runtime
// nor look into it. One that declares nothing writes as before.
func TestSinkStaysInside(t *testing.T) {
	landlock(t, 6)
	name := fmt.Sprintf("@marketprism-%d", os.Getpid())
	u, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	pid, out := os.Getpid(), filepath.Join(t.TempDir(), "out")
	signal, look := fmt.Sprintf("signal %d", pid), fmt.Sprintf("read /proc/%d/mem", pid)
	const no = "operation not permitted"
	probe(t, host.SinkSpec{WorkDir: t.TempDir()}, testOptions(io.Discard),
		[2]string{signal, no}, [2]string{look, denied}, [2]string{"dial unix " + name, no}, [2]string{"print x", "no standard output"}, [2]string{"write " + out, denied})
	probe(t, host.SinkSpec{Spec: host.Spec{Access: host.Access{Undeclared: true}}, WorkDir: t.TempDir()}, testOptions(io.Discard),
		[2]string{signal, no}, [2]string{look, denied}, [2]string{"dial unix " + name, works}, [2]string{"write " + out, works}, [2]string{"rename " + out + " " + t.TempDir() + "/x", works})
}

func TestSinkGetsStandardOutput(t *testing.T) {
	path, sum := third(t, "marketprism-sink-probe")
	for name, spec := range map[string]host.Spec{"bundled": {}, "third-party": {Path: path, SHA256: sum}} {
		o := testOptions(io.Discard)
		f, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		o.Stdout = f
		if _, err := f.WriteString("runtime\n"); err != nil {
			t.Fatal(err)
		}
		spec.Access.Stdout = true
		dir := t.TempDir()
		probe(t, host.SinkSpec{Spec: spec, WorkDir: dir}, o, [2]string{"print hello", works}, [2]string{"write " + dir + "/x", works})
		if _, err := f.WriteString("runtime again\n"); err != nil {
			t.Fatal(err)
		}
		if b, _ := os.ReadFile(f.Name()); string(b) != "runtime\nhello\nruntime again\n" {
			t.Errorf("%s: %q", name, b)
		}
	}
}

// TestDeniedIsExplained: an error of a denied write says what is allowed, whether
// it is of an open, a batch or a start.
func TestDeniedIsExplained(t *testing.T) {
	landlock(t, 4)
	work := t.TempDir()
	lake := filepath.Join(work, "lake")
	outside := filepath.Join(work, "x")
	spec := host.SinkSpec{Spec: host.Spec{Name: "probe"}, WorkDir: work}
	spec.Access.Writes = []host.Path{{Attribute: "path", Path: "lake", Target: schema.Directory}}
	want := "probe: open " + outside + ": permission denied; the plugin is confined to what its manifest declares: it may write below " + lake +
		" (path) and nothing else, and may not use TCP. If that is in the way"

	j := newJournal(t, journal.Options{})
	s := startSink(t, testOptions(io.Discard), spec, j)
	s.next()
	appendDefine(t, j, 1, "BTCUSDT")
	from := appendTrade(t, j, 1, "write "+outside)
	if err := s.snk.Submit(ring.Request{Batch: 1, Op: ring.OpWrite, From: from, To: j.Tail()}); err != nil {
		t.Fatal(err)
	}
	if r := s.next(); r.Err() == nil || fault.Of(r.Err()) != fault.Retry || !strings.HasPrefix(r.Err().Error(), want) {
		t.Errorf("a batch: %v, not %q", r.Err(), want)
	}

	spec.Config = schema.Values{"must": "write " + outside}
	s = startSink(t, testOptions(io.Discard), spec, j)
	if err := <-s.ended; fault.Of(err) != fault.Stop || strings.Count(err.Error(), want) != 1 || strings.Count(err.Error(), "confined") != 1 {
		t.Errorf("an open: %v, not %q", err, want)
	} else {
		s.ended <- err
	}

	_, err := host.New(testOptions(io.Discard)).Describe(context.Background(), host.Spec{Kind: wire.KindSink, Name: "scribe",
		Env: []string{"SCRIBE=" + outside}, Access: spec.Access})
	if err == nil || !strings.Contains(err.Error(), "permission denied; a plugin that is only asked what it is may neither write nor use TCP") {
		t.Errorf("a start: %v", err)
	}

	// What the runtime itself can't make is no matter of the plugin.
	spec.Access.Writes[0].Path = "/dev/null/lake"
	s = startSink(t, testOptions(io.Discard), spec, j)
	if err := <-s.ended; fault.Of(err) != fault.Stop || !strings.Contains(err.Error(), "path: what the sink writes can't be made: mkdir /dev/null: not a directory") {
		t.Errorf("a directory that can't be made: %v", err)
	} else {
		s.ended <- err
	}
}
