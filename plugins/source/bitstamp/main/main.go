// Command main is the Bitstamp plugin as an executable of its own, as a custom
// plugin would be built.
package main

import (
	"os"

	"github.com/marketprism/marketprism/plugins/source/bitstamp"
	"github.com/marketprism/marketprism/sdk/serve"
)

func main() { os.Exit(serve.Source(bitstamp.New())) }
