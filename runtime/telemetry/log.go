// Package telemetry makes the logger and the metrics registry. It alone knows
// which logging format and which metrics library are in use: other packages
// take a zerolog.Logger in their Settings and report Samples.
package telemetry

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"
)

// LogSettings choose how logs look.
type LogSettings struct {
	Level  string // trace, debug, info, warn, error; info if empty
	Format string // console, json; console on a terminal, json elsewhere if empty
	Color  bool
	Out    io.Writer // standard error if nil
}

// NewLogger makes the runtime's logger.
func NewLogger(s LogSettings) (zerolog.Logger, error) {
	if s.Out == nil {
		s.Out = os.Stderr
	}
	level := zerolog.InfoLevel
	if s.Level != "" {
		var err error
		if level, err = zerolog.ParseLevel(s.Level); err != nil || level == zerolog.NoLevel {
			return zerolog.Logger{}, fmt.Errorf("telemetry: log level %q: there are trace, debug, info, warn, error", s.Level)
		}
	}
	switch s.Format {
	case "":
		if f, ok := s.Out.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
			break
		}
		fallthrough
	case "console":
		s.Out = zerolog.ConsoleWriter{Out: s.Out, NoColor: !s.Color, TimeFormat: time.TimeOnly}
	case "json":
	default:
		return zerolog.Logger{}, fmt.Errorf("telemetry: log format %q: there are console and json", s.Format)
	}
	return zerolog.New(s.Out).Level(level).With().Timestamp().Logger(), nil
}
