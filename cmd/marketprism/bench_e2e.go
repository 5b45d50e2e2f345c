package main

import "github.com/spf13/cobra"

func benchE2ECommand(g *global) *cobra.Command {
	return &cobra.Command{Use: "e2e", Hidden: true}
}
