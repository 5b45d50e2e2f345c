//go:build !linux

package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/marketprism/marketprism/sdk/wire"
)

// process needs Linux: sealed shared memory and the parent-death signal.
type process struct {
	label  string
	client *wire.Client
}

func (p *process) pid() int                { return 0 }
func (p *process) exited() <-chan struct{} { return nil }
func (p *process) kill(error)              {}
func (p *process) end() error              { return nil }
func (p *process) explain(err error) error { return err }

func landlockVersion() int { return 0 }

func cpuTime(int) time.Duration { return 0 }

func (h *Host) launch(context.Context, Spec, string, []*os.File) (*process, error) {
	return nil, fmt.Errorf("host: plugin processes need Linux, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
