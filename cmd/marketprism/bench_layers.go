package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// planned is one way of one part, with its number of operations in a round.
type planned struct {
	part, way string
	n, quick  int
}

// layerPlan is a round. Operations are bounded by count; where each has a
// connection of its own there are few, since the system keeps the port of each
// for a while.
var layerPlan = []planned{
	{"objects", "off", 4_000_000, 40_000}, {"objects", "on", 20_000_000, 100_000},
	{"requests", "off", 1_500, 300}, {"requests", "nethttp", 40_000, 2_000}, {"requests", "on", 210_000, 10_000},
	{"tasks", "off", 500_000, 50_000}, {"tasks", "on", 1_000_000, 50_000},
	{"tasks-concurrent", "off", 500_000, 50_000}, {"tasks-concurrent", "on", 1_200_000, 50_000},
	{"memory", "on", 20, 3},
	{"composite", "none", 1_500, 300}, {"composite", "pools", 1_500, 300}, {"composite", "connections", 100_000, 1_000},
	{"composite", "scheduler", 100_000, 1_000}, {"composite", "memory", 100_000, 1_000},
}

const (
	layerRounds = 5
	partTime    = 2 * time.Minute // bounds a part; it takes seconds
)

func benchLayersCommand() *cobra.Command {
	var asJSON, quick, floors bool
	var picture string
	c := &cobra.Command{Use: "layers", Short: "Run every resource layer off and on, beside the earlier system's figures",
		Long: `Runs object pools, connection pools, the scheduler and the memory monitor off and
on, alone and one after the other on the same work, and prints the earlier system's
table with its figures, this machine's, and the ratio. Each part runs in a process
of its own, and so does the HTTP server; figures are medians of several rounds.
The status is 1 where a floor is missed.`,
		Args: exactArgs(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := os.Stat(filepath.Dir(picture)); err != nil { // rather now than in a minute
				return fmt.Errorf("picture %s: %w", picture, err)
			}
			r, err := benchLayers(c.Context(), quick)
			if err != nil {
				return err
			}
			if picture != "" {
				if err := writePicture(picture, r); err != nil {
					return err
				}
			}
			if asJSON {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				err = e.Encode(r)
			} else {
				err = r.writeText(c.OutOrStdout())
			}
			if err != nil || !floors || quick {
				return err
			}
			return r.missed()
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, with the figures of every run")
	c.Flags().BoolVar(&quick, "quick", false, "one short round, to see that it works: floors aren't looked at")
	c.Flags().BoolVar(&floors, "floors", true, "fail where a floor is missed")
	c.Flags().StringVar(&picture, "svg", "", "write a picture of the cumulative effect to this file")
	return c
}

// benchLayers runs all rounds. Their order is turned each time, so that what else
// the machine does meets all ways alike.
func benchLayers(ctx context.Context, quick bool) (r *layersReport, err error) {
	server, err := startLean(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	rounds := layerRounds
	if quick {
		rounds = 1
	}
	r = &layersReport{At: time.Now().UTC().Truncate(time.Second), Machine: thisMachine(), Build: build(), Quick: quick, Rounds: rounds}
	for round := range rounds {
		order := slices.Clone(layerPlan)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, p := range order {
			n := p.n
			if quick {
				n = p.quick
			}
			fmt.Fprintf(os.Stderr, "round %d of %d: %s %s\n", round+1, rounds, p.part, p.way)
			res, err := runPart(ctx, p, n, server.addr)
			if err != nil {
				return nil, err
			}
			r.Runs = append(r.Runs, res)
		}
	}
	r.sum()
	return r, nil
}

// runPart runs a part in a process of its own.
func runPart(ctx context.Context, p planned, n int, server string) (res partResult, err error) {
	ctx, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "bench", "layer", p.part, "--way", p.way, "--n", strconv.Itoa(n), "--server", server)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if ctx.Err() != nil {
		err = fmt.Errorf("not done after %v", partTime)
	}
	if err == nil {
		err = json.Unmarshal(out, &res)
	}
	if err != nil {
		return res, fmt.Errorf("bench: %s, %s: %w", p.part, p.way, err)
	}
	return res, nil
}

// machine is what the figures hold for.
type machine struct {
	CPU    string  `json:"cpu"`
	Cores  int     `json:"cores"`
	Memory int64   `json:"memory_bytes"`
	System string  `json:"system"`
	Go     string  `json:"go"`
	Load   float64 `json:"load_average"` // of the minute before
}

func thisMachine() (m machine) {
	m = machine{CPU: "unknown", Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version()}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				m.CPU = strings.TrimSpace(v)
				break
			}
		}
	}
	if kv, err := statusFields("/proc/meminfo"); err == nil {
		m.Memory = kv["MemTotal"] << 10
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(b), &m.Load)
	}
	return m
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %s, %s, %s", m.CPU, number(m.Cores, "core"), m.System, m.Go)
}

// writePicture writes the picture beside its place and renames it into it.
func writePicture(path string, r *layersReport) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".layers-*.svg")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("picture %s: %w", path, err), os.Remove(f.Name()))
		}
	}()
	err = errors.Join(r.writeSVG(f), f.Chmod(0o644), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
