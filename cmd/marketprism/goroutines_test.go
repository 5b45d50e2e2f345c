package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/marketprism/marketprism/runtime/sched"
)

const module = "github.com/marketprism/marketprism/"

// unlisted are goroutines with code of this module that the scheduler didn't
// start, by a function on their stack or the one that created them.
var unlisted = []struct{ by, why string }{
	{"main.main", "the program itself, which waits for the engine"},
	{"testing.(*T).Run", "the test's"},
	{module + "cmd/marketprism.runPlan", "signals: they end the engine and outlive it"},
	{"net/http.(*Server).Serve", "a request: the server's Shutdown, in admin's goroutine, waits for it"},
	{module + "runtime/journal.(*Journal).syncEvery", "a journal imports no scheduler; its Run, which is listed, waits for it"},
	{"github.com/hashicorp/go-plugin.(*Client).Start", "the library waits for the process with our runner; its Kill waits for it"},
}

// goroutines -token=T ADDRESS PATH... compares the stacks of a running runtime
// with what it lists, until both agree: each goroutine with code of this module
// was started by the scheduler, or stands in unlisted. Each PATH must be listed.
func scriptGoroutines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || !strings.HasPrefix(args[0], "-token=") {
		ts.Fatalf("usage: goroutines -token=T ADDRESS PATH...")
	}
	token, addr, want := strings.TrimPrefix(args[0], "-token="), args[1], args[2:]
	get := func(path string) []byte {
		req, err := http.NewRequest(http.MethodGet, addr+path, nil)
		ts.Check(err)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		ts.Check(err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		ts.Check(err)
		if resp.StatusCode != http.StatusOK {
			ts.Fatalf("%s: %s: %s", path, resp.Status, b)
		}
		return b
	}
	why := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var list struct {
			Goroutines []sched.Status
			Lanes      []sched.LaneStats
		}
		ts.Check(json.Unmarshal(get("/api/v1/goroutines"), &list))
		if why = disagree(string(get("/debug/pprof/goroutine?debug=2")), list.Goroutines, want); why == "" {
			if len(list.Lanes) == 0 {
				ts.Fatalf("no lane is listed")
			}
			return
		}
	}
	ts.Fatalf("%s", why)
}

// disagree says how stacks differ from a list.
func disagree(stacks string, list []sched.Status, want []string) string {
	supervised := 0
	for _, g := range strings.Split(strings.TrimSpace(stacks), "\n\n") {
		var funcs []string
		for _, line := range strings.Split(g, "\n")[1:] {
			if strings.HasPrefix(line, "\t") {
				continue
			}
			line, created := strings.CutPrefix(line, "created by ")
			if created {
				line, _, _ = strings.Cut(line, " in goroutine ")
			} else if i := strings.LastIndexByte(line, '('); i > 0 {
				line = line[:i]
			}
			funcs = append(funcs, line)
		}
		switch {
		case funcs[len(funcs)-1] == module+"runtime/sched.(*Group).start":
			supervised++
		case !slices.ContainsFunc(funcs, func(f string) bool { return strings.HasPrefix(f, module) }):
		case !slices.ContainsFunc(funcs, func(f string) bool {
			for _, u := range unlisted {
				if strings.HasPrefix(f, u.by) {
					return true
				}
			}
			return false
		}):
			return "nobody lists this goroutine:\n" + g
		}
	}
	var paths []string
	for _, s := range list {
		paths = append(paths, s.Path)
	}
	if supervised != len(list) {
		return fmt.Sprintf("%d goroutines were started by the scheduler, it lists %d:\n%s", supervised, len(list), strings.Join(paths, "\n"))
	}
	for _, w := range want {
		if !slices.Contains(paths, w) {
			return fmt.Sprintf("%s isn't among\n%s", w, strings.Join(paths, "\n"))
		}
	}
	return ""
}
