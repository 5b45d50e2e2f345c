// Command main is the BitMEX plugin as an executable of its own, as a custom
// plugin would be built.
package main

import (
	"os"

	"github.com/marketprism/marketprism/plugins/source/bitmex"
	"github.com/marketprism/marketprism/sdk/serve"
)

func main() { os.Exit(serve.Source(bitmex.New())) }
