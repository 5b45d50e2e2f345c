package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/marketprism/marketprism/sdk/wire/heap"
)

// The test binary is the program: scripts run it as marketprism, and it starts
// itself again, as the program does, for plugins and for the simulator.
func TestMain(m *testing.M) {
	heap.SetRate()
	if os.Args[0] == "/proc/self/exe" || os.Getenv(asProgram) != "" {
		shortenLives()
		os.Exit(run(os.Args[1:]))
	}
	testscript.Main(m, map[string]func(){"marketprism": main})
}

// asProgram, set in the environment, makes the test binary the program: for
// tests that start it by its own path.
const asProgram = "MARKETPRISM_TEST_AS_PROGRAM"

// patience bounds every wait of a script. It is long, for machines that are busy
// with other things; no script waits for it to pass.
const patience = time.Minute

// TestScripts runs the user stories of testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			wd, err := os.Getwd()
			e.Setenv("PIPELINES", wd+"/../../pipelines")
			return err
		},
		Condition: func(name string) (bool, error) {
			if name != "landlock" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			v, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
			return e == 0 && v >= 4, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ports": scriptPorts, "http": scriptHTTP, "sigterm": scriptSignal(syscall.SIGTERM), "sighup": scriptSignal(syscall.SIGHUP), "jsonl": scriptJSONL, "code": scriptCode,
			"goroutines": scriptGoroutines,
		},
	})
}

// ports NAME... sets variables to free ports.
func scriptPorts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: ports NAME...")
	}
	for _, name := range args {
		port, err := freePort()
		ts.Check(err)
		ts.Setenv(name, strconv.Itoa(port))
	}
}

// given are the ports that freePort has named.
var given sync.Map

// freePort names a port for a process that is to listen later, or again and
// again. It lies below those that systems choose for connections and for who asks
// for any port: in between nobody has it by chance.
func freePort() (int, error) {
	const low, high = 10_000, 32_768
	var err error
	for range 100 {
		port := low + rand.IntN(high-low)
		if _, again := given.LoadOrStore(port, true); again {
			continue
		}
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("no port is free: %w", err)
}

// http [-method=M] [-body=B] [-token=T] [-status=N] [-match=RE] URL asks until the
// answer is as described; the body is then the script's stdout.
func scriptHTTP(ts *testscript.TestScript, neg bool, args []string) {
	method, body, token, status, match := http.MethodGet, "", "", http.StatusOK, regexp.MustCompile("")
	for len(args) > 1 {
		k, v, _ := strings.Cut(args[0], "=")
		var err error
		switch k {
		case "-method":
			method = v
		case "-body":
			body = v
		case "-token":
			token = v
		case "-status":
			status, err = strconv.Atoi(v)
		case "-match":
			match, err = regexp.Compile("(?m)" + v)
		default:
			err = fmt.Errorf("unknown flag %s", k)
		}
		ts.Check(err)
		args = args[1:]
	}
	if neg || len(args) != 1 {
		ts.Fatalf("usage: http [-method=M] [-body=B] [-token=T] [-status=N] [-match=RE] URL")
	}
	last := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		req, err := http.NewRequest(method, args[0], strings.NewReader(body))
		ts.Check(err)
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			last = err.Error()
			continue
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if last = fmt.Sprintf("%s, %v\n%s", resp.Status, err, b); err == nil && resp.StatusCode == status && match.Match(b) {
			_, err := ts.Stdout().Write(b)
			ts.Check(err)
			return
		}
	}
	ts.Fatalf("%s %s: want status %d and a body like %q; the last answer was %s", method, args[0], status, match, last)
}

// sigterm WORD and sighup WORD send a signal to the background command with that
// argument.
func scriptSignal(sig syscall.Signal) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: sigterm WORD")
		}
		for _, c := range ts.BackgroundCmds() {
			if slices.Contains(c.Args, args[0]) {
				ts.Check(c.Process.Signal(sig))
				return
			}
		}
		ts.Fatalf("no background command has the argument %q", args[0])
	}
}

// jsonl [-kinds=A,B] [-drop=F,G] [-min=N] FROM TO copies the records of these
// kinds, without the fields named. FROM may be stdout.
func scriptJSONL(ts *testscript.TestScript, neg bool, args []string) {
	var kinds, drop []string
	atLeast := 1
	for len(args) > 2 {
		k, v, _ := strings.Cut(args[0], "=")
		switch k {
		case "-kinds":
			kinds = strings.Split(v, ",")
		case "-drop":
			drop = strings.Split(v, ",")
		case "-min":
			var err error
			atLeast, err = strconv.Atoi(v)
			ts.Check(err)
		}
		args = args[1:]
	}
	if neg || len(args) != 2 {
		ts.Fatalf("usage: jsonl [-kinds=A,B] [-drop=F,G] [-min=N] FROM TO")
	}
	var out bytes.Buffer
	n := 0
	sc := bufio.NewScanner(strings.NewReader(ts.ReadFile(args[0])))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var rec map[string]json.RawMessage
		if err := json.Unmarshal(sc.Bytes(), &rec); err != nil {
			ts.Fatalf("%s: %q: %v", args[0], sc.Text(), err)
		}
		if len(kinds) > 0 && !slices.Contains(kinds, strings.Trim(string(rec["kind"]), `"`)) {
			continue
		}
		for _, d := range drop {
			delete(rec, d)
		}
		b, err := json.Marshal(rec)
		ts.Check(err)
		out.Write(append(b, '\n'))
		n++
	}
	ts.Check(sc.Err())
	if n < atLeast {
		ts.Fatalf("%s holds %d records of %v, want at least %d", args[0], n, kinds, atLeast)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), out.Bytes(), 0o644))
}

// code N PROGRAM ARGS... runs a program that must end with this exit code.
func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit := new(exec.ExitError)
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code is %d, want %d", got, want)
	}
}
