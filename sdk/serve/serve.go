// Package serve is a plugin's main. A source or sink plugin is a program whose
// main is one line:
//
//	func main() { os.Exit(serve.Source(binance.New())) }
//
// and the same call serves a plugin that is bundled in the runtime's binary.
//
// Order: the process shakes hands with the runtime that started it, answers
// control calls, and from Start (Open) on runs one data loop, which reads a
// journal in place and writes into shared memory. It ends when the runtime
// says so, or dies.
//
// Ownership: the data loop alone touches the decoder, or writes and flushes the
// sink; control calls run one at a time beside it.
//
// A slow plugin delays nobody but itself: frames and records wait in the
// journals, which the runtime owns.
package serve

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"

	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/heap"
)

// Source serves a source plugin until the runtime ends it, and returns the exit
// code. Started by hand with the argument "describe" it prints the manifest.
func Source(s source.Source) int {
	if described(s.Describe()) {
		return 0
	}
	srv := &sourceServer{Source: s, log: newLogger}
	return run(wire.SourcePlugin(srv))
}

// Sink serves a sink plugin until the runtime ends it, and returns the exit
// code. Started by hand with the argument "describe" it prints the manifest.
func Sink(s sink.Sink) int {
	if described(s.Describe()) {
		return 0
	}
	srv := &sinkServer{sink: s, log: newLogger}
	return run(wire.SinkPlugin(srv))
}

func described(manifest any) bool {
	if started() || len(os.Args) != 2 || os.Args[1] != "describe" {
		return false
	}
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	_ = e.Encode(manifest)
	return true
}

// started says whether a runtime started this process.
func started() bool {
	return os.Getenv(wire.Handshake.MagicCookieKey) == wire.Handshake.MagicCookieValue
}

func run(p plugin.Plugin) int {
	if started() {
		heap.SetRate() // the program of a bundled plugin has done so already
		watchLife()
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  wire.Handshake,
		VersionedPlugins: map[int]plugin.PluginSet{wire.ProtocolVersion: {wire.PluginName: p}},
		GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(o, wire.ServerOptions()...)...)
		},
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr, JSONFormat: true}),
	})
	return 0
}

// watchLife ends the process when the runtime is gone: its end of the life pipe
// closes then, whatever killed it.
func watchLife() {
	closeOnExec(wire.LifeFd)
	life := os.NewFile(wire.LifeFd, "life")
	go func() {
		var b [1]byte
		for {
			if _, err := life.Read(b[:]); err != nil {
				os.Exit(3)
			}
		}
	}()
}

// stderr is the process's own: go-plugin puts a pipe in its place.
var stderr io.Writer = os.Stderr

// newLogger writes what the runtime reads as log lines: fields and levels
// arrive there as they were given.
func newLogger() zerolog.Logger {
	zerolog.MessageFieldName = "@message"
	zerolog.LevelFieldName = "@level"
	zerolog.TimestampFieldName = "@timestamp"
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000000Z07:00"
	level, err := zerolog.ParseLevel(os.Getenv(wire.EnvLogLevel))
	if err != nil || level == zerolog.NoLevel {
		level = zerolog.InfoLevel
	}
	return zerolog.New(stderr).Level(level).With().Timestamp().Logger()
}

// maxErrorText bounds what an error says on its way to the runtime.
const maxErrorText = 2 << 10

func shorten(err error) error {
	if s := err.Error(); len(s) > maxErrorText {
		return fmt.Errorf("%s… (%d bytes)", s[:maxErrorText], len(s))
	}
	return err
}

// pace decides how a data loop sleeps once it has done all there was.
type pace struct {
	gather time.Duration // 0: never
	woke   time.Time
	dense  bool
}

// next is called with how much the last round did. It returns true where the
// loop should gather for p.gather, false where it should sleep on its doorbell.
func (p *pace) next(did int) bool {
	if p.gather == 0 {
		return false
	}
	if did == 0 {
		p.dense = false
	}
	return p.dense
}

// rung is called after the doorbell rang.
func (p *pace) rung() {
	if p.gather == 0 {
		return
	}
	now := time.Now()
	p.dense = now.Sub(p.woke) < p.gather // whoever rings doesn't gather itself
	p.woke = now
}
