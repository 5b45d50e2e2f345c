package serve

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/ring"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

// sourceServer serves a source: control calls, and the decode loop.
type sourceServer struct {
	source.Source
	log     func() zerolog.Logger
	calls   sync.Mutex // the decoder's Identify beside control calls
	started bool

	frames, refused, skipped, wakeups atomic.Uint64
}

// Control calls and the decoder's call of Identify exclude each other, so that
// a source may be written as if it were called from one goroutine.

func (s *sourceServer) Resolve(name string) (market.Market, string, error) {
	s.calls.Lock()
	defer s.calls.Unlock()
	return s.Source.Resolve(name)
}

func (s *sourceServer) Identify(m market.Market, symbol string) market.Instrument {
	s.calls.Lock()
	defer s.calls.Unlock()
	return s.Source.Identify(m, symbol)
}

func (s *sourceServer) Session(r source.SessionRequest) (source.Script, error) {
	s.calls.Lock()
	defer s.calls.Unlock()
	return s.Source.Session(r)
}

func (s *sourceServer) Frames(r source.FrameRequest) ([]source.Frame, error) {
	s.calls.Lock()
	defer s.calls.Unlock()
	return s.Source.Frames(r)
}

func (s *sourceServer) Requests(r source.RequestFor) ([]source.Request, error) {
	s.calls.Lock()
	defer s.calls.Unlock()
	return s.Source.Requests(r)
}

func (s *sourceServer) Health() wire.Health {
	return wire.Health{Frames: s.frames.Load(), Refused: s.refused.Load(), SkippedBytes: s.skipped.Load(), Wakeups: s.wakeups.Load()}
}

// Start maps what the runtime handed over, feeds what was remembered and begins
// to decode.
func (s *sourceServer) Start(st wire.SourceStart) error {
	if s.started {
		return fault.Errorf(fault.Stop, "serve: start: the decoder runs already")
	}
	s.started = true
	ctl, err := shm.MapControl(st.ControlFd, st.BellFd)
	if err != nil {
		return fault.New(fault.Stop, err)
	}
	reader, err := shm.OpenReader(st.JournalDir, st.From, ctl)
	if err != nil {
		return err
	}
	closeOnExec(st.HostBell)
	prod, err := ring.OpenProducer(st.RingFd, st.HostBell, func() bool {
		ring.Pause(fullPause)
		return !ctl.Stopped()
	})
	if err != nil {
		return fault.New(fault.Stop, err)
	}
	dec, err := s.NewDecoder(st.Settings)
	if err != nil {
		return err
	}
	l := &decodeLoop{s: s, log: s.log(), ctl: ctl, reader: reader, prod: prod, dec: dec, out: source.NewOut(s, st.Settings.Market)}
	if st.Latency != wire.Low {
		l.pace.gather = st.Gather
	}
	reader.OnSkip(func(from, to shm.Position) {
		s.skipped.Add(to - from)
		l.log.Error().Uint64("from", from).Uint64("to", to).Msg("damaged frames were skipped")
	})
	go l.run(st)
	return nil
}

// fullPause is how long the loop sleeps while the ring has no room: the runtime
// takes longer than that to empty it.
const fullPause = 200 * time.Microsecond

// publishEvery bounds how many frames are decoded before what they gave becomes
// visible.
const publishEvery = 32

// decodeLoop feeds a decoder from the frames journal.
type decodeLoop struct {
	s      *sourceServer
	log    zerolog.Logger
	ctl    *shm.Control
	reader *shm.Reader
	prod   *ring.Producer
	dec    source.Decoder
	out    *source.Out
	in     source.Input
	rec    shm.Record
	pace   pace
}

func (l *decodeLoop) run(st wire.SourceStart) {
	for i := range st.Remembered {
		if !l.remembered(&st.Remembered[i], st.From) {
			return
		}
	}
	st.Remembered = nil
	for !l.ctl.Stopped() {
		did, ok := l.drain()
		if !ok {
			return
		}
		if l.pace.next(did) {
			ring.Pause(l.pace.gather)
		} else {
			l.reader.Wait(0)
			l.pace.rung()
		}
		l.s.wakeups.Add(1)
	}
}

// drain decodes all that is there.
func (l *decodeLoop) drain() (did int, ok bool) {
	for {
		ok, err := l.reader.Read(&l.rec)
		if err != nil {
			if !l.unreadable(err) {
				return did, false
			}
			continue
		}
		if !ok {
			l.s.frames.Add(uint64(did % publishEvery))
			l.prod.Publish(l.reader.Cursor())
			l.reader.Release()
			return did, true
		}
		if !l.frame(&l.rec) {
			return did, false
		}
		if did++; did%publishEvery == 0 {
			l.s.frames.Add(publishEvery)
			l.prod.Publish(l.rec.End())
			l.reader.Release()
		}
	}
}

// unreadable handles an error of the reader.
func (l *decodeLoop) unreadable(err error) bool {
	var lapped shm.ErrLapped
	if !errors.As(err, &lapped) {
		l.log.Error().Err(err).Msg("the frames journal can't be read")
		os.Exit(1) // the runtime starts the process again, within its budget
	}
	// Retention took frames that were never decoded: say so in their place.
	text := fmt.Sprintf("positions %d to %d were dropped before they were decoded", lapped.From, lapped.To)
	return l.prod.Append(lapped.From, lapped.To, 0, source.AppendSignal(nil, source.SignalError, 0, 0, lapped.From, text))
}

// frame decodes one record of the frames journal.
func (l *decodeLoop) frame(rec *shm.Record) bool {
	kind := source.InputKind(rec.Kind)
	if kind == source.InputSent {
		return true
	}
	err := source.ParseInput(&l.in, kind, rec.Conn, rec.Wall, rec.Pos, rec.Payload)
	l.out.Begin(&l.in)
	if err == nil && kind <= source.InputClose {
		err = l.decode()
	}
	if n := len(l.out.Bytes()); err == nil && n > ring.MaxEntry {
		err = fmt.Errorf("serve: frame at %d gives %d bytes of records, the limit is %d", rec.Pos, n, ring.MaxEntry)
	}
	if err != nil {
		l.s.refused.Add(1)
		l.out.Rollback()
		l.out.Refuse(shorten(err))
	}
	if kind > source.InputBinary {
		l.out.Echo()
	}
	if b := l.out.Bytes(); len(b) > 0 {
		return l.prod.Append(rec.Pos, rec.End(), 0, b)
	}
	return true
}

// decode calls the decoder. A panic refuses the frame as an error does: the
// next ones may be fine, and the runtime counts.
func (l *decodeLoop) decode() (err error) {
	defer func() {
		if r := recover(); r != nil {
			l.log.Error().Uint64("pos", l.in.Pos).Interface("panic", r).Bytes("stack", debug.Stack()).Msg("decoder panicked")
			err = fmt.Errorf("serve: decoder panicked: %v", r)
		}
	}()
	return l.dec.Decode(&l.in, l.out)
}

// remembered feeds a frame that the runtime kept. Its records were delivered
// before; only the instruments that it introduces matter.
func (l *decodeLoop) remembered(r *wire.Remembered, from uint64) bool {
	err := source.ParseInput(&l.in, r.Kind, r.Conn, r.Recv, r.Pos, r.Payload)
	l.out.Begin(&l.in)
	if err == nil {
		err = l.decode()
	}
	if err != nil {
		l.log.Warn().Err(err).Uint64("pos", r.Pos).Msg("a remembered frame was refused")
	}
	l.out.Rollback()
	if b := l.out.Bytes(); len(b) > 0 {
		return l.prod.Append(from, from, ring.FlagRemembered, b)
	}
	return true
}
