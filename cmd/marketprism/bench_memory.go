package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// residentMemory is what a process has resident: journal mappings, which are page cache
// that the system takes back when it needs it, counted apart.
type residentMemory struct{ own, journals int64 }

// residentOf reads a process's mappings.
func residentOf(pid int) (m residentMemory, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return m, err
	}
	defer f.Close()
	journal := false
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		line := sc.Text()
		if v, ok := strings.CutPrefix(line, "Rss:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			if err != nil {
				return m, err
			}
			if journal {
				m.journals += kb << 10
			} else {
				m.own += kb << 10
			}
			continue
		}
		if f := strings.Fields(line); len(f) >= 5 && strings.Contains(f[0], "-") && !strings.HasSuffix(f[0], ":") {
			journal = strings.HasSuffix(strings.TrimSuffix(line, " (deleted)"), ".seg")
		}
	}
	return m, sc.Err()
}

func benchMemoryCommand(g *global) *cobra.Command {
	var duration, every time.Duration
	var pipeline string
	c := &cobra.Command{Use: "memory", Short: "Measure what the quickstart pipeline holds resident, over time",
		Args: exactArgs(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			file, err := filepath.Abs(pipeline)
			if err != nil {
				return err
			}
			return benchMemory(c.Context(), c.OutOrStdout(), file, duration, every)
		}}
	c.Flags().DurationVar(&duration, "for", 10*time.Minute, "how long")
	c.Flags().DurationVar(&every, "every", 30*time.Second, "between samples")
	c.Flags().StringVar(&pipeline, "pipeline", "pipelines/quickstart.hcl", "the pipeline to run")
	return c
}

func benchMemory(ctx context.Context, out io.Writer, file string, duration, every time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "marketprism-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	sim, err := startSimulator(ctx, addr, duration+time.Minute)
	if err != nil {
		return err
	}
	defer sim.stop()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "run", "--quiet", "--log-level", "warn", "--for", (duration + 5*time.Second).String(),
		"--var", "ws_url=ws://"+addr, "--var", "http_url=http://"+addr, file)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	fmt.Fprintln(out, "resident MiB, journal mappings apart\n   after  runtime journals   source journals     sink journals")
	began := time.Now()
	for time.Since(began) < duration {
		select {
		case <-time.After(every):
		case err := <-ended:
			return fmt.Errorf("the runtime ended: %w", err)
		}
		fmt.Fprintf(out, "%8v", time.Since(began).Round(time.Second))
		for _, child := range []string{"", " plugin source ", " plugin sink "} {
			pid := cmd.Process.Pid
			if child != "" {
				if pid, err = childOf(cmd.Process.Pid, child); err != nil {
					return err
				}
			}
			m, err := residentOf(pid)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, " %8.1f %8.1f", float64(m.own)/(1<<20), float64(m.journals)/(1<<20))
		}
		fmt.Fprintln(out)
	}
	return <-ended
}

// childOf finds the child process whose command line has the words.
func childOf(parent int, words string) (int, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	if err != nil {
		return 0, err
	}
	for _, t := range tasks {
		b, err := os.ReadFile(t)
		if err != nil {
			continue // the thread has ended
		}
		for _, c := range strings.Fields(string(b)) {
			line, err := os.ReadFile("/proc/" + c + "/cmdline")
			if err == nil && strings.Contains(strings.ReplaceAll(string(line), "\x00", " "), words) {
				return strconv.Atoi(c)
			}
		}
	}
	return 0, fmt.Errorf("no child process runs%s", words)
}
