package host_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/ring"
)

// hostile are plugins that do what none should. They share no code with the
// SDK's serving side but the control plane.
var hostile = map[string]func() int{
	"version": func() int {
		plugin.Serve(&plugin.ServeConfig{HandshakeConfig: wire.Handshake, GRPCServer: plugin.DefaultGRPCServer,
			VersionedPlugins: map[int]plugin.PluginSet{99: {wire.PluginName: wire.SourcePlugin(&rawSource{})}}})
		return 0
	},
	"silent":  func() int { time.Sleep(time.Hour); return 0 },
	"chatter": func() int { fmt.Println(strings.Repeat("x", 100<<10)); time.Sleep(time.Hour); return 0 },
	"dead": func() int {
		fmt.Fprintln(os.Stderr, `{"@level":"error","@message":"no licence for this machine"}`)
		return 7
	},
	"scribe": func() int { // writes before it is asked anything
		if err := os.WriteFile(os.Getenv("SCRIBE"), nil, 0o600); err != nil {
			fmt.Fprintf(os.Stderr, `{"@level":"error","@message":%q}`+"\n", err.Error())
			return 1
		}
		return 0
	},
	"length":     raw(func(m []byte, _ uint64) { entry(m, 0, 8, 16, 1<<31, 0); put(m, out, 32) }),
	"flags":      raw(func(m []byte, _ uint64) { entry(m, 0, 8, 16, 8, 0xff); put(m, out, 32) }),
	"cursor":     raw(func(m []byte, _ uint64) { put(m, out, 1<<40) }),
	"backwards":  raw(func(m []byte, _ uint64) { put(m, out, ^uint64(7)) }),
	"odd":        raw(func(m []byte, _ uint64) { put(m, out, 31) }),
	"record":     raw(func(m []byte, at uint64) { entry(m, 0, at, at+64, 64, 0); put(m, out, 24+64) }),
	"beyond":     raw(func(m []byte, at uint64) { putTrade(m, at, at+1<<30, 0, 0) }),
	"upto":       raw(func(m []byte, at uint64) { put(m, upto, at+1<<30) }),
	"before":     raw(func(m []byte, at uint64) { putTrade(m, at-4096, at+64, 0, 0) }),
	"instrument": raw(func(m []byte, at uint64) { putTrade(m, at, at+64, 5, 0) }),
	"applied":    raw(func(m []byte, at uint64) { putTrade(m, at, at+64, 0, market.FlagApplied) }),
	"define": raw(func(m []byte, at uint64) {
		b := source.AppendSignal(nil, source.SignalDefine, 0, 77, at, "{}")
		copy(m[4096+24:], b)
		entry(m, 0, at, at+64, uint32(len(b)), 0)
		put(m, out, uint64(24+len(b)))
	}),
	"endless": raw(func(m []byte, at uint64) { // chunks of an entry that never ends
		const chunk = 1 << 20
		for n, in := uint64(0), uint64(0); ; n += 24 + chunk {
			for in = get(m, 128); n+24+chunk-in > uint64(len(m)-4096); in = get(m, 128) {
				time.Sleep(100 * time.Microsecond)
			}
			at4 := n % uint64(len(m)-4096)
			word := func(i, v uint64) { put(m, int(4096+(at4+i)%uint64(len(m)-4096)), v) }
			word(0, at)
			word(8, at+64)
			word(16, chunk|ring.FlagMore<<32)
			put(m, out, n+24+chunk)
		}
	}),
}

// Offsets of the plugin's words in a ring's memory.
const out, upto = 256, 264

func put(m []byte, at int, v uint64) { binary.LittleEndian.PutUint64(m[at:], v) }
func get(m []byte, at int) uint64    { return binary.LittleEndian.Uint64(m[at:]) }

func entry(m []byte, at int, pos, next uint64, size, flags uint32) {
	put(m, 4096+at, pos)
	put(m, 4096+at+8, next)
	put(m, 4096+at+16, uint64(size)|uint64(flags)<<32)
}

func putTrade(m []byte, pos, next uint64, id market.InstrumentID, f market.Flags) {
	t := market.Trade{Header: market.Header{Pos: pos, Instrument: id, Flags: f}, Price: market.NewDecimal(1, 0), Amount: market.NewDecimal(1, 0)}
	b := t.AppendTo(nil)
	copy(m[4096+24:], b)
	entry(m, 0, pos, next, uint32(len(b)), 0)
	put(m, out, uint64(24+len(b)))
}

// raw serves a source that writes into its ring what f writes, once started.
func raw(f func(mem []byte, from uint64)) func() int {
	return func() int {
		plugin.Serve(&plugin.ServeConfig{HandshakeConfig: wire.Handshake,
			GRPCServer:       func(o []grpc.ServerOption) *grpc.Server { return grpc.NewServer(o...) },
			VersionedPlugins: map[int]plugin.PluginSet{wire.ProtocolVersion: {wire.PluginName: wire.SourcePlugin(&rawSource{f: f})}}})
		return 0
	}
}

type rawSource struct {
	lineSource
	f      func([]byte, uint64)
	shrink string
}

func (r *rawSource) Health() wire.Health { return wire.Health{} }

func (r *rawSource) Frames(source.FrameRequest) ([]source.Frame, error) {
	return []source.Frame{{Data: r.shrink}}, nil
}

func (r *rawSource) Start(s wire.SourceStart) error {
	var st unix.Stat_t
	if err := unix.Fstat(s.RingFd, &st); err != nil {
		return err
	}
	for _, fd := range []int{s.RingFd, s.ControlFd} {
		r.shrink += fmt.Sprintln(unix.Ftruncate(fd, 0))
		_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
		r.shrink += fmt.Sprintln(err)
	}
	mem, err := unix.Mmap(s.RingFd, 0, int(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	if r.f != nil {
		go func() {
			r.f(mem, s.From)
			// Wake the runtime in case it sleeps.
			_, _ = unix.Write(s.HostBell, []byte{1})
		}()
	}
	return nil
}

// badSink answers a batch that nobody asked for.
type badSink struct{ fileSink }

func (*badSink) Health() wire.Health { return wire.Health{} }

func (*badSink) Open(_ context.Context, o wire.SinkOpen) error {
	var st unix.Stat_t
	if err := unix.Fstat(o.MailboxFd, &st); err != nil {
		return err
	}
	mem, err := unix.Mmap(o.MailboxFd, 0, int(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	put(mem, out, 3)
	return nil
}

func init() {
	hostile["shrink"] = raw(nil)
	hostile["badsink"] = func() int {
		plugin.Serve(&plugin.ServeConfig{HandshakeConfig: wire.Handshake, GRPCServer: plugin.DefaultGRPCServer,
			VersionedPlugins: map[int]plugin.PluginSet{wire.ProtocolVersion: {wire.PluginName: wire.SinkPlugin(&badSink{})}}})
		return 0
	}
}

func TestGarbageInRingQuarantines(t *testing.T) {
	for name, want := range map[string]string{
		"length": "entry of 2147483648 bytes", "flags": "with flags 0xff", "cursor": "commit cursor went", "backwards": "commit cursor went",
		"odd": "commit cursor went", "record": "malformed record", "beyond": "beyond the journal's end", "upto": "beyond the journal's end",
		"before": "entry of frame", "instrument": "of instrument 5 (of 0)", "applied": "flags 0x", "define": "instrument 77 is defined after 0",
		"endless": "gives more than",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJournal(t, journal.Options{})
			appendFrame(t, j, source.InputText, strings.Repeat("a frame ", 100))
			l := startSource(t, testOptions(io.Discard), host.SourceSpec{Spec: host.Spec{Name: name}}, j)
			err := l.failure()
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "garbage in shared memory") {
				t.Fatalf("quarantined with %v, not with %q", err, want)
			}
			if st := l.src.State(); st.Phase != host.Quarantined || st.Generation != 1 || !strings.Contains(st.Why, want) {
				t.Errorf("state %+v", st)
			}
			if len(l.got) > 0 {
				t.Errorf("took %q", l.got)
			}
			metrics(t, l.src, map[string]float64{"up": 0, "quarantined": 1, "violations_total": 1, "restarts_total": 0, "hangs_total": 0})
		})
	}
}

// failure polls until the plugin is given up and returns why.
func (l *testLane) failure() error {
	l.t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if err := l.src.Poll(&l.batch, 64<<10); err != nil {
			return err
		}
		l.take()
		if len(l.batch.Entries) == 0 {
			l.src.Wait(20 * time.Millisecond)
		}
	}
	l.t.Fatalf("not given up within 30 s: %+v", l.src.State())
	return nil
}

func TestSharedMemoryCannotBeShrunk(t *testing.T) {
	j := newJournal(t, journal.Options{})
	l := startSource(t, testOptions(io.Discard), host.SourceSpec{Spec: host.Spec{Name: "shrink"}}, j)
	l.until(func() bool { return l.src.State().Phase == host.Running })
	f, err := l.src.Frames(context.Background(), source.FrameRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat("operation not permitted\n", 4); len(f) != 1 || f[0].Data != want {
		t.Errorf("resizing and sealing gave %+v", f)
	}
}

func TestStartFailures(t *testing.T) {
	for name, want := range map[string]string{
		"version": "Plugin version: 99, Client versions: [1]",
		"silent":  "timeout while waiting for plugin to start",
		"chatter": "Unrecognized remote plugin message",
		"dead":    "no licence for this machine",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(io.Discard)
			if o.StartTimeout = 20 * time.Second; name == "silent" {
				o.StartTimeout = time.Second
			}
			_, err := host.New(o).Describe(context.Background(), host.Spec{Kind: wire.KindSource, Name: name})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, not %q", err, want)
			}
		})
	}
}

func TestDeathSpendsTheBudget(t *testing.T) {
	j := newJournal(t, journal.Options{})
	o := testOptions(io.Discard)
	o.Restart.Restarts = 2
	l := startSource(t, o, host.SourceSpec{}, j)
	appendFrame(t, j, source.InputText, "T A 1 1 1")
	appendFrame(t, j, source.InputText, "exit")
	err := l.failure()
	if err == nil || !strings.Contains(err.Error(), "after 2 restarts") || !strings.Contains(err.Error(), "exit status 9") {
		t.Errorf("%v", err)
	}
	if l.starts != 3 || l.src.State().Phase != host.Quarantined {
		t.Errorf("%d starts, %+v", l.starts, l.src.State())
	}
	metrics(t, l.src, map[string]float64{"up": 0, "quarantined": 1, "violations_total": 0, "restarts_total": 2})
}

func TestHangIsFound(t *testing.T) {
	for _, how := range []string{"stopped", "decoder"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			j := newJournal(t, journal.Options{})
			o := testOptions(io.Discard)
			o.StallAfter = time.Second
			l := startSource(t, o, host.SourceSpec{}, j)
			appendFrame(t, j, source.InputText, "T A 1 1 1")
			l.until(func() bool { return l.pos == j.Tail() })
			if how == "stopped" {
				stop(t, l.src.State().Pid)
			} else {
				appendFrame(t, j, source.InputText, "hang")
			}
			appendFrame(t, j, source.InputText, "T A 1 1 2")
			l.until(func() bool {
				if l.gen == 1 && l.starts == 2 && how == "decoder" {
					l.pos = j.Tail() // past the frame that hangs
				}
				return l.starts == 2 && l.src.State().Phase == host.Running
			})
			if why := l.src.State().Why; !strings.Contains(why, "it hangs: no progress for") {
				t.Errorf("why: %s", why)
			}
			if how == "stopped" {
				l.until(func() bool { return len(l.got) == 2 })
			}
			metrics(t, l.src, map[string]float64{"up": 1, "quarantined": 0, "hangs_total": 1, "restarts_total": 1, "start_seconds": 2})
			checkUsage(t, l.src)
		})
	}
}

func TestIdleIsNoHang(t *testing.T) {
	j := newJournal(t, journal.Options{})
	o := testOptions(io.Discard)
	o.StallAfter = 200 * time.Millisecond
	l := startSource(t, o, host.SourceSpec{}, j)
	appendFrame(t, j, source.InputText, "T A 1 1 1")
	end := time.Now().Add(time.Second)
	l.until(func() bool { return time.Now().After(end) })
	if l.starts != 1 || len(l.got) != 1 {
		t.Errorf("%d starts, %d records, %+v", l.starts, len(l.got), l.src.State())
	}
}
