package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// version is set by the release build: -ldflags "-X main.version=1.2.3".
var version = "0.1.0-dev"

// build describes this binary in journals and logs.
func build() string {
	rev := ""
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				rev = "+" + s.Value[:12]
			}
		}
	}
	return version + rev
}

func versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "version", Short: "Print versions of the binary, its formats and its plugins", Args: exactArgs(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			v := map[string]any{"version": build(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
				"record_layout": market.LayoutVersion, "journal_layout": shm.LayoutVersion, "plugin_protocol": wire.ProtocolVersion}
			sources, sinks := bundledNames()
			v["sources"], v["sinks"] = sources, sinks
			if asJSON {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(v)
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "marketprism %s (%s, %s/%s)\nrecord layout %d, journal layout %d, plugin protocol %d\nsources: %v\nsinks: %v\n",
				build(), runtime.Version(), runtime.GOOS, runtime.GOARCH, market.LayoutVersion, shm.LayoutVersion, wire.ProtocolVersion, sources, sinks)
			return err
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
