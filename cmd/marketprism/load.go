package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/marketprism/marketprism/runtime/conn"
	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/listings"
	"github.com/marketprism/marketprism/runtime/pipefile"
	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/runtime/telemetry"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire"
)

// catalogue describes plugins: bundled ones from this binary's own tables,
// custom ones by asking a process of theirs.
type catalogue struct {
	ctx     context.Context
	host    *host.Host
	sources map[string]source.Manifest
	sinks   map[string]sink.Manifest
	custom  map[string]*host.Plugin // sources that name instruments
}

func newCatalogue(ctx context.Context, log zerolog.Logger) *catalogue {
	return &catalogue{ctx: ctx, host: host.New(host.Options{Logger: log}), sources: map[string]source.Manifest{}, sinks: map[string]sink.Manifest{},
		custom: map[string]*host.Plugin{}}
}

func (c *catalogue) close() {
	for _, p := range c.custom {
		p.Close()
	}
}

// Source implements pipefile.Schemas.
func (c *catalogue) Source(p pipefile.Plugin) (source.Manifest, error) {
	if p.FirstParty() {
		if f := bundledSources[p.Name]; f != nil {
			return f().Describe(), nil
		}
		return source.Manifest{}, fmt.Errorf("no bundled source plugin %q", p.Name)
	}
	if m, ok := c.sources[p.Name]; ok {
		return m, nil
	}
	proc, err := c.host.Open(c.ctx, spec(wire.KindSource, p))
	if err != nil {
		return source.Manifest{}, err
	}
	c.custom[proc.Description().Source.Venue] = proc
	c.sources[p.Name] = *proc.Description().Source
	return c.sources[p.Name], nil
}

// Sink implements pipefile.Schemas.
func (c *catalogue) Sink(p pipefile.Plugin) (sink.Manifest, error) {
	if p.FirstParty() {
		if f := bundledSinks[p.Name]; f != nil {
			return f().Describe(), nil
		}
		return sink.Manifest{}, fmt.Errorf("no bundled sink plugin %q", p.Name)
	}
	if m, ok := c.sinks[p.Name]; ok {
		return m, nil
	}
	d, err := c.host.Describe(c.ctx, spec(wire.KindSink, p))
	if err != nil {
		return sink.Manifest{}, err
	}
	c.sinks[p.Name] = *d.Sink
	return *d.Sink, nil
}

// Names implements pipefile.Schemas.
func (c *catalogue) Names() (sources, sinks []string) { return bundledNames() }

// Resolve implements plan.Resolver.
func (c *catalogue) Resolve(venue, name string) (market.Market, string, error) {
	if p := c.custom[venue]; p != nil {
		return p.Resolve(c.ctx, name)
	}
	for _, f := range bundledSources {
		if s := f(); s.Describe().Venue == venue {
			return s.Resolve(name)
		}
	}
	return 0, "", fmt.Errorf("no plugin for venue %q", venue)
}

func spec(kind string, p pipefile.Plugin) host.Spec {
	return host.Spec{Kind: kind, Name: p.Name, Path: p.Path, SHA256: p.SHA256}
}

// pipelineFlags are shared by the verbs that read a pipeline.
type pipelineFlags struct {
	vars, varFiles []string
	asJSON         bool
}

func (f *pipelineFlags) add(c *cobra.Command, jsonHelp string) {
	c.Flags().StringArrayVar(&f.vars, "var", nil, "set a variable: name=value (also MARKETPRISM_VAR_name)")
	c.Flags().StringArrayVar(&f.varFiles, "var-file", nil, "read variables from a file")
	c.Flags().BoolVar(&f.asJSON, "json", false, jsonHelp)
}

// load parses and plans; diagnostics are for the user either way.
func (f *pipelineFlags) load(path string, cat *catalogue) (*plan.Plan, *pipefile.Pipeline, pipefile.Diagnostics) {
	p, diags := pipefile.Parse(path, pipefile.Options{Vars: f.vars, VarFiles: f.varFiles}, cat)
	if p == nil {
		return nil, nil, diags
	}
	if d := os.Getenv("MARKETPRISM_DATA_DIR"); d != "" {
		p.Settings.DataDir = d
	}
	pl, more := plan.Build(p, cat)
	return pl, p, append(diags, more...)
}

// loadChosen is load for a pipeline that is to run: its selectors are asked for,
// unless the plan in force, or a run before, says what they have chosen. An error
// is a venue's that can't be asked.
func (f *pipelineFlags) loadChosen(ctx context.Context, path string, cat *catalogue, had listings.Had, log zerolog.Logger) (*plan.Plan, *pipefile.Pipeline, pipefile.Diagnostics, error) {
	pl, p, diags := f.load(path, cat)
	if pl == nil || !slices.ContainsFunc(p.Sources, func(s *pipefile.Source) bool { return s.Selector != nil }) {
		return pl, p, diags, nil
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	budgets := conn.NewBudgets()
	defer budgets.Close()
	asker := listings.Asker{Host: cat.host, Budgets: budgets, Logger: log}
	chosen, more, err := asker.Choose(ctx, p, time.Now(), had)
	if err != nil {
		return nil, p, diags, err
	}
	pl, diags = plan.BuildChosen(p, cat, chosen)
	return pl, p, append(diags, more...), nil
}

// interruptible ends with SIGINT and SIGTERM, so that what a question to a venue
// has made in the meantime is removed.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
}

// report prints diagnostics on standard error; it returns the error that the
// verb ends with if there are any errors among them.
func report(g *global, diags pipefile.Diagnostics) error {
	width := uint(100)
	if w, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil && w > 0 {
		width = uint(w)
	}
	if err := diags.WriteText(os.Stderr, width, colour(g, os.Stderr)); err != nil {
		return err
	}
	if diags.HasErrors() {
		return &exitCode{exitInvalid, nil}
	}
	return nil
}

func colour(g *global, w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && !g.noColor && term.IsTerminal(int(f.Fd()))
}

func (g *global) logger() (zerolog.Logger, error) {
	log, err := telemetry.NewLogger(telemetry.LogSettings{Level: g.logLevel, Format: g.logFormat, Color: colour(g, os.Stderr)})
	if err != nil {
		return log, &exitCode{exitUsage, err}
	}
	return log, nil
}

func validateCommand(g *global) *cobra.Command {
	f := &pipelineFlags{}
	c := &cobra.Command{Use: "validate FILE|DIRECTORY", Short: "Check a pipeline against the plugins' schemas and the venues' rules", Args: exactArgs(1, "one pipeline"),
		RunE: func(c *cobra.Command, args []string) error {
			log, err := g.logger()
			if err != nil {
				return err
			}
			cat := newCatalogue(c.Context(), log)
			defer cat.close()
			pl, _, diags := f.load(args[0], cat)
			if f.asJSON {
				if err := diags.WriteJSON(c.OutOrStdout()); err != nil {
					return err
				}
				if diags.HasErrors() {
					return &exitCode{exitInvalid, nil}
				}
				return nil
			}
			if err := report(g, diags); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s is valid: %s, %s\n", args[0], number(len(pl.Feeds), "feed"), number(len(pl.Sinks), "sink"))
			return err
		}}
	f.add(c, "print diagnostics as JSON")
	return c
}

func number(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func planCommand(g *global) *cobra.Command {
	f := &pipelineFlags{}
	offline := false
	c := &cobra.Command{Use: "plan FILE|DIRECTORY", Short: "Show what a pipeline would open, request and store, without connecting",
		Long: `Shows what a pipeline would open, request and store. No connection is opened but
those that selectors need: what a venue lists today decides what they choose.`,
		Args: exactArgs(1, "one pipeline"),
		RunE: func(c *cobra.Command, args []string) error {
			log, err := g.logger()
			if err != nil {
				return err
			}
			cat := newCatalogue(c.Context(), log)
			defer cat.close()
			var pl *plan.Plan
			var diags pipefile.Diagnostics
			if offline {
				pl, _, diags = f.load(args[0], cat)
			} else if pl, _, diags, err = f.loadChosen(c.Context(), args[0], cat, listings.Had{}, log); err != nil {
				return fmt.Errorf("%w; --offline plans without what selectors choose", err)
			}
			if err := report(g, diags); err != nil {
				return err
			}
			if f.asJSON {
				return pl.WriteJSON(c.OutOrStdout())
			}
			return pl.WriteText(c.OutOrStdout())
		}}
	f.add(c, "print the plan as JSON")
	c.Flags().BoolVar(&offline, "offline", false, "ask no venue: what selectors choose stays unknown")
	return c
}
