package main

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	pq "github.com/parquet-go/parquet-go"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func quickstartCommand(g *global) *cobra.Command {
	var duration time.Duration
	var dir, pipeline string
	c := &cobra.Command{Use: "quickstart", Short: "Collect from a simulated exchange for a moment and show what came of it",
		Args: exactArgs(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := g.logger()
			if err != nil {
				return err
			}
			if pipeline, err = filepath.Abs(pipeline); err != nil {
				return err
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			if err := os.Chdir(dir); err != nil {
				return err
			}
			return quickstart(c, g, log, pipeline, dir, duration)
		}}
	c.Flags().DurationVar(&duration, "for", 20*time.Second, "how long to collect")
	c.Flags().StringVar(&dir, "dir", ".", "directory for data and lake")
	c.Flags().StringVar(&pipeline, "pipeline", "pipelines/quickstart.hcl", "the pipeline to run")
	return c
}

func quickstart(c *cobra.Command, g *global, log zerolog.Logger, pipeline, dir string, duration time.Duration) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	// A second run goes on where the first one's market has got to meanwhile: 100
	// trades a second, as the simulator makes them.
	sim, err := startSimulator(c.Context(), addr, duration+time.Minute, "--first-id", strconv.FormatInt(time.Now().Unix()*100, 10))
	if err != nil {
		return err
	}
	defer sim.stop()
	cat := newCatalogue(c.Context(), log)
	f := pipelineFlags{vars: []string{"ws_url=ws://" + addr, "http_url=http://" + addr}}
	pl, p, diags := f.load(pipeline, cat)
	cat.close()
	if err := report(g, diags); err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "Collecting from a simulated Binance on %s for %v with %s\n", addr, duration, pipeline)
	o := runOptions{plan: pl, proxy: p.Settings.Proxy, log: log.Level(zerolog.WarnLevel), duration: duration, drain: 30 * time.Second}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		o.progress = newProgress(os.Stderr, colour(g, os.Stderr))
		o.log = o.log.Output(o.progress.logs(zerolog.ConsoleWriter{NoColor: !colour(g, os.Stderr), TimeFormat: time.TimeOnly}))
	}
	if err := runPlan(c.Context(), o); err != nil {
		return err
	}
	return showLake(c, filepath.Join(".", "lake"), dir)
}

// freeAddr finds a port for the simulator.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

type simulator struct {
	cmd *exec.Cmd
}

// startSimulator runs this binary as a venue and waits until it listens.
func startSimulator(ctx context.Context, addr string, bound time.Duration, args ...string) (*simulator, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{"simulate", "--listen", addr, "--for", bound.String()}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("simulator: %w", err)
	}
	r := bufio.NewReader(out)
	if line, err := r.ReadString('\n'); err != nil {
		_ = cmd.Wait()
		return nil, fmt.Errorf("simulator: it ended at once (%w): %s", err, line)
	}
	return &simulator{cmd}, nil
}

func (s *simulator) stop() {
	_ = s.cmd.Process.Signal(os.Interrupt)
	_ = s.cmd.Wait()
}

// showLake lists what was collected, by kind and symbol.
func showLake(c *cobra.Command, lake, dir string) error {
	type key struct{ kind, symbol string }
	type val struct {
		rows, bytes int64
		files       int
	}
	sums, order := map[key]*val{}, []key{}
	err := filepath.WalkDir(lake, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".parquet") {
			return err
		}
		rel, err := filepath.Rel(lake, path)
		if err != nil {
			return err
		}
		parts := strings.Split(rel, string(filepath.Separator))
		k := key{parts[0], strings.TrimPrefix(parts[3], "symbol=")}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			return err
		}
		file, err := pq.OpenFile(f, st.Size(), pq.SkipPageIndex(true), pq.SkipBloomFilters(true))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if sums[k] == nil {
			sums[k] = &val{}
			order = append(order, k)
		}
		sums[k].rows += file.NumRows()
		sums[k].bytes += st.Size()
		sums[k].files++
		return nil
	})
	if err != nil {
		return err
	}
	if len(order) == 0 {
		return fmt.Errorf("nothing was collected: %s holds no Parquet files; see the log above", lake)
	}
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "\nkind\tsymbol\trecords\tfiles\tbytes\t\n")
	for _, k := range order {
		v := sums[k]
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t\n", k.kind, k.symbol, v.rows, v.files, bytesText(uint64(v.bytes)))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	at := filepath.Join(dir, "lake")
	fmt.Fprintf(c.OutOrStdout(), "\nQuery it:\n  duckdb -c \"SELECT symbol, count(*), min(price), max(price) FROM read_parquet('%s/trade/**/*.parquet', hive_partitioning = true) GROUP BY symbol\"\n", at)
	return nil
}
