package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/marketprism/marketprism/runtime/engine"
	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/listings"
	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/runtime/telemetry"
)

func runCommand(g *global) *cobra.Command {
	f := &pipelineFlags{}
	var duration, drain time.Duration
	var restarts int
	var backoff time.Duration
	var quiet, untimed, unmonitored bool
	var profile string
	var mem memoryRun
	c := &cobra.Command{Use: "run FILE|DIRECTORY", Short: "Collect: run a pipeline until it is stopped",
		Long: `Runs a pipeline until SIGTERM or SIGINT, then drains: it stops reading, writes
what was read, and ends. A second signal stops at once; nothing that was read is
lost either way, the next start goes on where this one ended.

SIGHUP, or POST /-/reload, reads the pipeline again and takes over what changed;
a pipeline that is invalid is told and changes nothing.`,
		Args: exactArgs(1, "one pipeline"),
		RunE: func(c *cobra.Command, args []string) error {
			log, err := g.logger()
			if err != nil {
				return err
			}
			cat := newCatalogue(c.Context(), log)
			pl, p, diags, err := f.loadKept(c.Context(), args[0], cat, log)
			cat.close()
			if err != nil {
				return err
			}
			if err := report(g, diags); err != nil {
				return err
			}
			o := runOptions{plan: pl, proxy: p.Settings.Proxy, log: log, duration: duration, drain: drain, load: f.loader(args[0], log), untimed: untimed, unmonitored: unmonitored, memory: mem.options(),
				host: host.Options{Restart: host.Budget{Restarts: restarts, MaxBackoff: backoff}}}
			if !quiet && term.IsTerminal(int(os.Stderr.Fd())) && g.logFormat != "json" {
				o.progress = newProgress(os.Stderr, colour(g, os.Stderr))
				o.log = log.Output(o.progress.logs(zerolog.ConsoleWriter{NoColor: !colour(g, os.Stderr), TimeFormat: time.TimeOnly}))
			}
			if profile != "" {
				stop, err := cpuProfile(profile)
				if err != nil {
					return err
				}
				defer stop()
			}
			return runPlan(c.Context(), o)
		}}
	f.add(c, "reserved")
	_ = c.Flags().MarkHidden("json")
	c.Flags().DurationVar(&duration, "for", 0, "stop after this time")
	c.Flags().DurationVar(&drain, "drain", 30*time.Second, "deadline for going down")
	c.Flags().IntVar(&restarts, "plugin-restarts", 0, "restarts of a plugin within 10 minutes before it is quarantined (10 if 0)")
	c.Flags().StringVar(&profile, "cpuprofile", "", "write a CPU profile of the runtime process to this file")
	c.Flags().DurationVar(&backoff, "plugin-backoff", 0, "longest wait before a plugin is started again (10s if 0)")
	c.Flags().BoolVar(&untimed, "untimed", false, "take no latencies of records: what they cost is the difference")
	_ = c.Flags().MarkHidden("untimed")
	c.Flags().BoolVar(&unmonitored, "no-monitoring", false, "watch nothing, only count: what monitoring costs is the difference")
	_ = c.Flags().MarkHidden("no-monitoring")
	mem.add(c)
	c.Flags().BoolVar(&quiet, "quiet", false, "no progress on the terminal")
	return c
}

type runOptions struct {
	plan        *plan.Plan
	proxy       string
	log         zerolog.Logger
	host        host.Options
	duration    time.Duration
	drain       time.Duration
	progress    *progress
	load        func(context.Context, *plan.Plan) (*plan.Plan, string, pipefile.Diagnostics) // reads the pipeline again; nil: it can't be
	untimed     bool
	unmonitored bool
	memory      engine.MemoryOptions
}

// loader reads the same pipeline again, with the same variables.
func (f *pipelineFlags) loader(path string, log zerolog.Logger) func(context.Context, *plan.Plan) (*plan.Plan, string, pipefile.Diagnostics) {
	return func(ctx context.Context, inForce *plan.Plan) (*plan.Plan, string, pipefile.Diagnostics) {
		cat := newCatalogue(ctx, log)
		defer cat.close()
		pl, p, diags, err := f.loadChosen(ctx, path, cat, listings.Had{Plan: inForce}, log)
		if err != nil {
			return nil, "", append(diags, p.Errorf(pipefile.Range{}, "Venue can't be asked", "%v.", err))
		}
		if p == nil {
			return nil, "", diags
		}
		return pl, p.Settings.Proxy, diags
	}
}

// loadKept is loadChosen with what the last run in the data directory had chosen.
func (f *pipelineFlags) loadKept(ctx context.Context, path string, cat *catalogue, log zerolog.Logger) (*plan.Plan, *pipefile.Pipeline, pipefile.Diagnostics, error) {
	pl, p, diags := f.load(path, cat)
	if pl == nil || len(pl.Selected) == 0 {
		return pl, p, diags, nil
	}
	kept, err := listings.ReadKept(pl.DataDir)
	if err != nil {
		return nil, nil, nil, err
	}
	return f.loadChosen(ctx, path, cat, listings.Had{Kept: kept}, log)
}

// runPlan runs until a signal, the duration, or the end of all feeds.
func runPlan(ctx context.Context, o runOptions) error {
	soft, cancel := context.WithCancel(ctx)
	defer cancel()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	done := make(chan struct{})
	defer close(done)
	go func() {
		for n := 1; ; n++ {
			select {
			case s := <-signals:
				if n > 1 { // nothing is lost: what was read is in the journals, plugins end with this process
					fmt.Fprintln(os.Stderr, "marketprism: stopped at once; the next start goes on where this one ended")
					os.Exit(exitError)
				}
				o.log.Info().Stringer("signal", s).Msg("stopping; once more to stop at once")
				cancel()
			case <-done:
				return
			}
		}
	}()
	if o.duration > 0 {
		t := time.AfterFunc(o.duration, cancel)
		defer t.Stop()
	}
	wd, err := os.Getwd()
	if err != nil {
		return err
	}
	limit := limitMemory()
	e, err := engine.New(engine.Options{Plan: o.plan, Proxy: o.proxy, Host: o.host, Logger: o.log, Metrics: telemetry.NewRegistry(),
		Build: build(), WorkDir: wd, Drain: o.drain, Load: o.load, Untimed: o.untimed, Unmonitored: o.unmonitored, Memory: o.memory})
	if err != nil {
		return err
	}
	ev := o.log.Info().Str("pipeline", o.plan.Pipeline).Str("plan", o.plan.Digest).Str("version", build()).Str("data_dir", o.plan.DataDir).Str("memory_limit", limit)
	if a := e.URL(); a != "" {
		ev = ev.Str("admin", a)
	}
	ev.Msg("running")
	hups := make(chan os.Signal, 1) // more than one at a time mean no more than one
	signal.Notify(hups, syscall.SIGHUP)
	defer signal.Stop(hups)
	go func() {
		for {
			select {
			case <-hups:
				if _, err := e.Reload(ctx); errors.Is(err, engine.ErrNoPipeline) || errors.Is(err, engine.ErrReloading) {
					o.log.Warn().Err(err).Msg("SIGHUP does nothing") // the others are logged where they happen
				}
			case <-done:
				return
			}
		}
	}()
	if o.progress != nil {
		stop := o.progress.start(e.Status)
		defer stop()
	}
	return e.Run(soft, ctx)
}

// cpuProfile profiles this process until stop is called.
func cpuProfile(path string) (stop func(), err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			fmt.Fprintf(os.Stderr, "marketprism: %v\n", err)
		}
	}, nil
}
