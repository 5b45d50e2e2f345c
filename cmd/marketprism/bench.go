package main

import "github.com/spf13/cobra"

func benchCommand(g *global) *cobra.Command {
	c := &cobra.Command{Use: "bench", Short: "Measure this machine"}
	c.AddCommand(benchE2ECommand(g), benchMemoryCommand(g), benchLayersCommand(), benchLayerCommand(), benchVenuesCommand())
	return c
}
