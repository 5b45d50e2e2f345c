package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal whose other end a program writes to.
type terminal struct {
	*os.File // the program's end

	mu  sync.Mutex
	got bytes.Buffer
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	m, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { m.Close() })
	n, err := unix.IoctlGetInt(int(m.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(m.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(m.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 100})
	}
	x := &terminal{}
	if err == nil {
		x.File, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { x.File.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := m.Read(b)
			x.mu.Lock()
			x.got.Write(b[:n])
			x.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return x
}

func (x *terminal) text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.got.String()
}

// until waits for the terminal to show something.
func (x *terminal) until(t *testing.T, what string) {
	t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(x.text(), what); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the terminal never showed %q; it showed\n%s", what, x.text())
		}
	}
}

// program is this program, run in a directory of its own.
func program(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe, args...)
	c.Dir = dir
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "NO_COLOR=") && !strings.HasPrefix(kv, "MARKETPRISM_LOG") {
			c.Env = append(c.Env, kv)
		}
	}
	c.Env = append(c.Env, asProgram+"=1")
	return c
}

const awayPipeline = `
marketprism {
  data_dir = "data"
  listen   = "127.0.0.1:0"
}
source "binance" "md" {
  symbols  = ["BTC-USDT"]
  url      = "ws://127.0.0.1:1"
  http_url = "http://127.0.0.1:1"
  channel "trades" {}
}
sink "null" "out" {
  input = [source.binance.md]
}
`

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestColours: diagnostics have them on a terminal, unless NO_COLOR or --no-color
// says otherwise.
func TestColours(t *testing.T) {
	bad := writeFile(t, "bad.hcl", strings.Replace(awayPipeline, `"binance" "md"`, `"binanse" "md"`, 1))
	for _, c := range []struct {
		name   string
		env    string
		args   []string
		colour bool
	}{{"terminal", "", nil, true}, {"NO_COLOR", "NO_COLOR=1", nil, false}, {"--no-color", "", []string{"--no-color"}, false}} {
		t.Run(c.name, func(t *testing.T) {
			x := newTerminal(t)
			cmd := program(t, t.TempDir(), append([]string{"validate", bad}, c.args...)...)
			cmd.Stderr = x.File
			cmd.Env = append(cmd.Env, c.env)
			if err := cmd.Run(); cmd.ProcessState.ExitCode() != exitInvalid {
				t.Fatalf("%v; it said\n%s", err, x.text())
			}
			x.until(t, `Did you mean "binance"?`)
			if got := strings.Contains(x.text(), "\x1b["); got != c.colour {
				t.Errorf("colours: %v, want %v:\n%q", got, c.colour, x.text())
			}
		})
	}
}

// colours are what NO_COLOR leaves out; the cursor still moves.
var colours = regexp.MustCompile("\x1b\\[[1-9][0-9;]*m")

// TestProgress: on a terminal, run shows what it does in place of JSON logs.
func TestProgress(t *testing.T) {
	pipe := writeFile(t, "pipe.hcl", awayPipeline)
	x := newTerminal(t)
	cmd := program(t, t.TempDir(), "run", pipe)
	cmd.Env = append(cmd.Env, "NO_COLOR=1")
	cmd.Stderr = x.File
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	x.until(t, "frames/s")
	x.until(t, "binance-spot")
	x.until(t, "records/s")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v; it showed\n%s", err, x.text())
	}
	if s := x.text(); strings.Contains(s, `{"level"`) || colours.MatchString(s) {
		t.Errorf("JSON logs or colours are on the terminal:\n%q", s)
	}
}

// TestSecondSignal: the first drains, the second ends it at once, with a status
// that says so. Its sink can't be drained: what it should write to has no room.
func TestSecondSignal(t *testing.T) {
	sim := program(t, t.TempDir(), "simulate", "--listen", "127.0.0.1:0", "--rate", "10000")
	simOut, err := sim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sim.Process.Kill()
		_ = sim.Wait()
	}()
	line := make([]byte, 200)
	n, err := simOut.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	_, addr, ok := strings.Cut(strings.TrimSpace(string(line[:n])), "http://")
	if !ok {
		t.Fatalf("the simulator said %q", line[:n])
	}
	go io.Copy(io.Discard, simOut)

	pipe := strings.NewReplacer("127.0.0.1:1\"", addr+"\"", `"null"`, `"stdout"`).Replace(awayPipeline)
	cmd := program(t, t.TempDir(), "run", writeFile(t, "pipe.hcl", pipe))
	r, w, err := os.Pipe() // nobody reads from it
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	x := newTerminal(t)
	cmd.Stdout, cmd.Stderr = w, x.File
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	x.until(t, "MiB waiting") // the pipe is full, and the sink waits in its write
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	x.until(t, "once more to stop at once")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if cmd.ProcessState.ExitCode() != exitError {
		t.Errorf("%v, want exit status 1; it showed\n%s", err, x.text())
	}
	x.until(t, "stopped at once; the next start goes on where this one ended")
}
