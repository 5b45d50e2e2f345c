// Command marketprism is the one binary: the runtime, the bundled plugins (each
// run in a process of its own), and the tools around them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/sdk/wire/heap"
)

// Exit codes.
const (
	exitOK      = 0
	exitError   = 1  // a runtime error
	exitUsage   = 2  // the command line
	exitInvalid = 78 // an invalid configuration (EX_CONFIG)
)

// exitCode is an error with the code that the process ends with; nothing more
// is printed about it if it has no text.
type exitCode struct {
	code int
	err  error
}

func (e *exitCode) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitCode) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitCode{exitUsage, fmt.Errorf(format, args...)}
}

func main() {
	heap.SetRate()
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) >= 1 && args[0] == "plugin" && os.Getenv(pluginCookie) != "" {
		return servePlugin(args[1:])
	}
	root := rootCommand()
	root.SetArgs(longFlags(args))
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return exitOK
	}
	code := &exitCode{exitError, err}
	if !errors.As(err, &code) {
		// What cobra itself refuses never reached a RunE.
		code = &exitCode{exitError, err}
		if isUsage(err) {
			code.code = exitUsage
		}
	}
	if msg := code.Error(); msg != "" {
		fmt.Fprintf(os.Stderr, "marketprism: %s\n", msg)
	}
	return code.code
}

// usageError marks errors of the command line.
type usageError struct{ error }

func isUsage(err error) bool {
	var u usageError
	return errors.As(err, &u)
}

// longFlags lets -var and -var-file be written as Terraform's users write them.
func longFlags(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if name, _, _ := strings.Cut(a, "="); name == "-var" || name == "-var-file" {
			a = "-" + a
		}
		out[i] = a
	}
	return out
}

// global flags.
type global struct {
	logLevel, logFormat string
	noColor             bool
}

func rootCommand() *cobra.Command {
	g := &global{}
	root := &cobra.Command{
		Use:   "marketprism",
		Short: "Collects crypto market data without losing a frame",
		Long: `MarketPrism collects crypto market data. A pipeline in HCL says what to collect
and where to put it; run collects, plan shows what it would open, replay derives
every record again from what was recorded.`,
		SilenceUsage: true, SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("no command %q; see marketprism --help", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	f := root.PersistentFlags()
	f.StringVar(&g.logLevel, "log-level", os.Getenv("MARKETPRISM_LOG"), "trace, debug, info, warn or error (MARKETPRISM_LOG)")
	f.StringVar(&g.logFormat, "log-format", os.Getenv("MARKETPRISM_LOG_FORMAT"), "console or json; console on a terminal, json elsewhere (MARKETPRISM_LOG_FORMAT)")
	f.BoolVar(&g.noColor, "no-color", os.Getenv("NO_COLOR") != "", "no colours (NO_COLOR)")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see marketprism %s --help", err, c.Name())}
	})
	root.AddCommand(runCommand(g), validateCommand(g), planCommand(g), replayCommand(g), decodeCommand(g), simulateCommand(g), statusCommand(g),
		versionCommand(), quickstartCommand(g), benchCommand(g), metricsCommand(), memoryCommand(g), instrumentsCommand(g), venuesCommand())
	return root
}

// exactArgs is cobra.ExactArgs with the error marked as one of usage.
func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("want %s; see marketprism %s --help", what, c.Name())}
		}
		return nil
	}
}
