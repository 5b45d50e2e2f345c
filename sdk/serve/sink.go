package serve

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/sink"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/ring"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// sinkServer serves a sink: Open and Close, and the loop that answers the
// mailbox.
type sinkServer struct {
	sink sink.Sink
	log  func() zerolog.Logger

	calls    sync.Mutex
	stdout   *os.File
	box      *ring.Server
	ctl      *shm.Control
	journals []*journalReader
	opened   bool
	cancel   context.CancelFunc
	ended    chan struct{}

	records, skipped, wakeups atomic.Uint64
}

func (s *sinkServer) Describe() sink.Manifest { return s.sink.Describe() }

func (s *sinkServer) Health() wire.Health {
	return wire.Health{Records: s.records.Load(), SkippedBytes: s.skipped.Load(), Wakeups: s.wakeups.Load()}
}

// Open maps what the runtime handed over, opens the store and begins to serve.
// It may be called again after it failed.
func (s *sinkServer) Open(ctx context.Context, o wire.SinkOpen) error {
	s.calls.Lock()
	defer s.calls.Unlock()
	if s.opened {
		return fault.Errorf(fault.Stop, "serve: open: the sink is open already")
	}
	if s.box == nil {
		if err := s.attach(&o); err != nil {
			return fault.New(fault.Stop, err)
		}
	}
	settings := sink.Settings{Name: o.Name, Config: o.Config, WorkDir: o.WorkDir, Logger: s.log()}
	if s.stdout != nil {
		settings.Stdout = s.stdout
	}
	if err := s.sink.Open(ctx, settings); err != nil {
		return err
	}
	s.opened = true
	life, cancel := context.WithCancel(context.Background())
	s.cancel, s.ended = cancel, make(chan struct{})
	go s.serve(life)
	return nil
}

func (s *sinkServer) attach(o *wire.SinkOpen) error {
	for i := range o.Journals {
		j, err := openJournal(&o.Journals[i], o.Selection, func(from, to shm.Position) {
			s.skipped.Add(to - from)
		})
		if err != nil {
			return err
		}
		s.journals = append(s.journals, j)
	}
	ctl, err := shm.MapControl(o.ControlFd, o.BellFd)
	if err != nil {
		return err
	}
	closeOnExec(o.HostBell)
	box, err := ring.OpenServer(o.MailboxFd, o.HostBell)
	if err != nil {
		return err
	}
	s.ctl, s.box = ctl, box
	if fd, err := strconv.Atoi(os.Getenv(wire.EnvStdout)); err == nil {
		closeOnExec(fd)
		s.stdout = os.NewFile(uintptr(fd), "stdout")
	}
	return nil
}

// Close ends the loop and closes the store.
func (s *sinkServer) Close(ctx context.Context) error {
	s.calls.Lock()
	defer s.calls.Unlock()
	if !s.opened {
		return nil
	}
	s.opened = false
	s.cancel()
	s.ctl.Stop()
	s.ctl.Interrupt()
	select {
	case <-s.ended:
	case <-ctx.Done():
		return fmt.Errorf("serve: close: a write is still under way: %w", ctx.Err())
	}
	return s.sink.Close(ctx)
}

func (s *sinkServer) serve(ctx context.Context) {
	defer close(s.ended)
	for !s.ctl.Stopped() {
		r, ok := s.box.Next()
		if !ok {
			s.wakeups.Add(1)
			s.ctl.Wait(s.box.Ready, 0)
			continue
		}
		a := s.handle(ctx, &r)
		s.box.Answer(&a)
	}
}

func (s *sinkServer) handle(ctx context.Context, r *ring.Request) ring.Answer {
	a := ring.Answer{Batch: r.Batch, To: r.To, Pending: -1}
	err := s.do(ctx, r, &a)
	if err != nil {
		a.Failed, a.Kind, a.After, a.Text = true, fault.Of(err), fault.After(err), err.Error()
	}
	if sized, ok := s.sink.(sink.Sized); ok && int(r.Journal) < len(s.journals) {
		a.Pending = max(0, sized.Pending(s.journals[r.Journal].name))
	}
	return a
}

func (s *sinkServer) do(ctx context.Context, r *ring.Request, a *ring.Answer) error {
	if int(r.Journal) >= len(s.journals) {
		return fault.Errorf(fault.Stop, "serve: batch %d is of journal %d, Open named %d", r.Batch, r.Journal, len(s.journals))
	}
	j := s.journals[r.Journal]
	rng := sink.Range{Journal: j.name, Epoch: r.Epoch, From: r.From, To: r.To}
	switch r.Op {
	case ring.OpFlush:
		return s.sink.Flush(ctx, rng)
	case ring.OpWrite:
	default:
		return fault.Errorf(fault.Stop, "serve: batch %d asks for operation %s", r.Batch, r.Op)
	}
	defer j.release()
	if err := j.begin(r.From, r.To, r.MaxRecords); err != nil {
		return err
	}
	rng.To = j.to
	a.To = j.to
	if !j.some() {
		a.To = j.to
		return j.err
	}
	b := sink.NewBatch(rng, j.next)
	err := s.sink.Write(ctx, b)
	if err == nil {
		err = b.Err()
	}
	a.To = j.to // earlier, if the rest was gone
	if err == nil {
		a.Count = b.Count()
		s.records.Add(uint64(a.Count))
	}
	return err
}
