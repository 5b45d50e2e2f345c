package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/runtime/engine"
	"github.com/marketprism/marketprism/runtime/memory"
)

// memoryFlags say where the figures come from and how they are printed.
type memoryFlags struct {
	admin, tokenFile, dataDir string
	asJSON                    bool
	top                       int
}

func (f *memoryFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.admin, "admin", "127.0.0.1:9464", "the runtime's listen address: host:port, a URL, or unix:///path")
	c.Flags().StringVar(&f.tokenFile, "token-file", os.Getenv("MARKETPRISM_TOKEN_FILE"), "file with the token (MARKETPRISM_TOKEN_FILE)")
	c.Flags().StringVar(&f.dataDir, "data-dir", "", "read the history in this data directory; no runtime need run")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	c.Flags().IntVar(&f.top, "top", 10, "rows of a table")
}

func memoryCommand(g *global) *cobra.Command {
	c := &cobra.Command{Use: "memory", Short: "Where memory is, whether it leaks, and which setting to change",
		Long: `Asks the running runtime (--admin), or reads the snapshots that it left in its data
directory (--data-dir). Snapshots are taken every ten minutes, when memory jumps, and
when a leak is found.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("no command %q; see marketprism memory --help", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(memorySnapshotCommand(g), memoryDiffCommand(g), memoryLeaksCommand(g), memoryAdviseCommand(g))
	return c
}

func memorySnapshotCommand(g *global) *cobra.Command {
	f := &memoryFlags{}
	var list bool
	c := &cobra.Command{Use: "snapshot [ID]", Short: "Take a snapshot, or show one of the history",
		Long: `Takes a snapshot and shows it. With an id (or a unique beginning of it, or latest,
previous, first) it shows one that was taken, and with --data-dir the latest if no id
is given.`,
		Args: atMost(1, "at most one id"),
		RunE: func(c *cobra.Command, args []string) error {
			if list {
				all, err := fetch(c.Context(), f, http.MethodGet, "snapshots", (*memory.History).List)
				if err != nil {
					return err
				}
				return f.print(g, c, all, func(w io.Writer, _ memory.Text) error { return listSnapshots(w, all) })
			}
			id, method, path := "latest", http.MethodPost, "snapshots"
			if len(args) == 1 {
				id, method, path = args[0], http.MethodGet, "snapshots/"+url.PathEscape(args[0])
			}
			s, err := fetch(c.Context(), f, method, path, func(h *memory.History) (*memory.Snapshot, error) { return h.Get(id) })
			if err != nil {
				return err
			}
			return f.print(g, c, s, s.WriteText)
		}}
	f.add(c)
	c.Flags().BoolVar(&list, "list", false, "list the history")
	return c
}

func listSnapshots(w io.Writer, all []memory.Entry) error {
	for _, e := range all {
		if _, err := fmt.Fprintf(w, "%s  %9s\n", e.ID, memory.Size(e.Bytes)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d snapshots\n", len(all))
	return err
}

func memoryDiffCommand(g *global) *cobra.Command {
	f := &memoryFlags{}
	c := &cobra.Command{Use: "diff [FROM [TO]]", Short: "Say what changed between two snapshots",
		Long: `Says which processes, subsystems, allocation sites, mappings, pools, goroutines and
descriptors changed between two snapshots: by default the last two.`,
		Args: atMost(2, "at most two ids"),
		RunE: func(c *cobra.Command, args []string) error {
			ids := append(args, "", "")
			q := url.Values{"from": {ids[0]}, "to": {ids[1]}}
			d, err := fetch(c.Context(), f, http.MethodGet, "diff?"+q.Encode(), func(h *memory.History) (*memory.Diff, error) { return h.Diff(ids[0], ids[1]) })
			if err != nil {
				return err
			}
			return f.print(g, c, d, d.WriteText)
		}}
	f.add(c)
	return c
}

func memoryLeaksCommand(g *global) *cobra.Command {
	f := &memoryFlags{}
	c := &cobra.Command{Use: "leaks", Short: "Name what grows without end", Args: exactArgs(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := fetch(c.Context(), f, http.MethodGet, "leaks", func(h *memory.History) (memory.LeakReport, error) {
				s, err := h.Get("latest")
				return memory.Leaking(s), err
			})
			if err != nil {
				return err
			}
			return f.print(g, c, r, r.WriteText)
		}}
	f.add(c)
	return c
}

func memoryAdviseCommand(g *global) *cobra.Command {
	f := &memoryFlags{}
	c := &cobra.Command{Use: "advise", Short: "Say which setting to change, and why", Args: exactArgs(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := fetch(c.Context(), f, http.MethodGet, "advice", func(h *memory.History) ([]memory.Advice, error) {
				s, err := h.Get("latest")
				if err != nil {
					return nil, err
				}
				return append([]memory.Advice{}, memory.Advise(s, nil)...), nil
			})
			if err != nil {
				return err
			}
			return f.print(g, c, all, func(w io.Writer, t memory.Text) error { return memory.WriteAdvice(w, all, t) })
		}}
	f.add(c)
	return c
}

func atMost(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) > n {
			return usageError{fmt.Errorf("want %s; see marketprism memory %s --help", what, c.Name())}
		}
		return nil
	}
}

// print writes v as JSON, or as text.
func (f *memoryFlags) print(g *global, c *cobra.Command, v any, text func(io.Writer, memory.Text) error) error {
	out := c.OutOrStdout()
	if f.asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	return text(out, memory.Text{Color: colour(g, out), Top: f.top})
}

// fetch asks the running runtime, or reads the history.
func fetch[T any](ctx context.Context, f *memoryFlags, method, path string, offline func(*memory.History) (T, error)) (v T, err error) {
	if f.dataDir != "" {
		h, err := memory.ReadHistory(filepath.Join(f.dataDir, engine.MemoryDir))
		if err != nil {
			return v, fmt.Errorf("%w: is it the data directory of a runtime that ran?", err)
		}
		return offline(h)
	}
	a, err := newAdminClient(f.admin, f.tokenFile)
	if err != nil {
		return v, err
	}
	if err := a.call(ctx, method, memory.Root+path, &v); err != nil {
		return v, fmt.Errorf("%w, or read what it left with --data-dir DIR", err)
	}
	return v, nil
}

// memoryRun are the flags of run that concern memory.
type memoryRun struct {
	off   bool
	scale float64
}

func (m *memoryRun) add(c *cobra.Command) {
	c.Flags().BoolVar(&m.off, "no-memory-monitor", false, "take no snapshots of memory and look for no leaks")
	c.Flags().Float64Var(&m.scale, "memory-scale", 1, "let the monitor's time run so many times as fast")
	_ = c.Flags().MarkHidden("memory-scale") // for tests
}

func (m *memoryRun) options() engine.MemoryOptions {
	o := engine.MemoryOptions{Off: m.off}
	if m.scale > 1 {
		o.Thresholds = memory.Defaults().Scaled(m.scale)
	}
	return o
}

// limitMemory sets the memory limit of this process and says so.
func limitMemory() string {
	l, err := memory.SetLimit()
	switch {
	case err != nil:
		return err.Error()
	case l.Bytes == 0:
		return "none: " + l.Why
	}
	return memory.Size(l.Bytes) + ": " + l.Why
}
