package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/runtime/admin"
	"github.com/marketprism/marketprism/runtime/conn"
	"github.com/marketprism/marketprism/runtime/engine"
	"github.com/marketprism/marketprism/runtime/flow"
	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/runtime/memory"
	"github.com/marketprism/marketprism/runtime/pool"
	"github.com/marketprism/marketprism/runtime/sched"
	"github.com/marketprism/marketprism/runtime/telemetry"
)

// metricLayers are the packages that report metrics, in the order in which
// documents show them.
var metricLayers = []func() []*telemetry.Desc{
	engine.Descs,
	journal.Descs,
	flow.Descs,
	host.Descs,
	memory.Descs,
	pool.Descs,
	conn.Descs,
	sched.Descs,
	admin.Descs,
}

// allMetrics lists every metric of the program's own.
func allMetrics() (all []*telemetry.Desc) {
	for _, l := range metricLayers {
		all = append(all, l()...)
	}
	return all
}

func metricsCommand() *cobra.Command {
	c := &cobra.Command{Use: "metrics", Short: "Say which metrics there are and what each means", Args: exactArgs(0, "a subcommand"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	var asJSON bool
	var layer string
	list := &cobra.Command{Use: "list", Short: "List all metrics: name, type, labels, meaning", Args: exactArgs(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			descs := allMetrics()
			if layer != "" {
				descs = slices.DeleteFunc(descs, func(d *telemetry.Desc) bool { return d.Layer != layer })
				if len(descs) == 0 {
					return &exitCode{exitUsage, fmt.Errorf("no layer %q; there are %s", layer, strings.Join(layerNames(allMetrics()), ", "))}
				}
			}
			if asJSON {
				return metricsJSON(c.OutOrStdout(), descs)
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tTYPE\tLABELS\tMEANING")
			for _, d := range descs {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", d.Name, d.Type, cmp.Or(strings.Join(d.Labels, ","), "-"), d.Help)
			}
			return w.Flush()
		}}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	list.Flags().StringVar(&layer, "layer", "", "only this layer")
	doc := &cobra.Command{Use: "doc", Short: "Print docs/metrics.md", Hidden: true, Args: exactArgs(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error { return metricsDoc(c.OutOrStdout()) }}
	c.AddCommand(list, doc)
	return c
}

func layerNames(descs []*telemetry.Desc) (names []string) {
	for _, d := range descs {
		if !slices.Contains(names, d.Layer) {
			names = append(names, d.Layer)
		}
	}
	return names
}

// metricLine is a metric in JSON.
type metricLine struct {
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	Layer   string   `json:"layer"`
	Answers string   `json:"answers"`
	Labels  []string `json:"labels"`
	Help    string   `json:"help"`
}

func metricsJSON(w io.Writer, descs []*telemetry.Desc) error {
	lines := make([]metricLine, 0, len(descs))
	for _, d := range descs {
		lines = append(lines, metricLine{d.Name, d.Type.String(), d.Layer, d.Answer.String(), append([]string{}, d.Labels...), d.Help})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(lines)
}
