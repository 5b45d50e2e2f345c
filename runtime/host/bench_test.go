package host_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"

	"github.com/marketprism/marketprism/runtime/host"
	"github.com/marketprism/marketprism/runtime/journal"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/serve"
	"github.com/marketprism/marketprism/sdk/source"
	"github.com/marketprism/marketprism/sdk/wire"
	"github.com/marketprism/marketprism/sdk/wire/shm"
)

const (
	benchFrame  = 200 // bytes in
	benchRecord = 64  // bytes out
	benchRate   = 20_000
)

// echoSource answers each frame with 64 bytes, without looking at it.
type echoSource struct{ lineSource }

type echoDecoder struct{ token string }

func (echoSource) NewDecoder(source.DecoderSettings) (source.Decoder, error) {
	return &echoDecoder{string(make([]byte, benchRecord-source.SignalSize))}, nil
}

func (d *echoDecoder) Decode(_ *source.Input, out *source.Out) error {
	out.Ready(d.token)
	return nil
}

func init() {
	hostile["echo"] = func() int { return serve.Source(echoSource{}) }
	hostile["stream"] = streamMain
}

// cpu is the processor time of a process.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	clock := int32(unix.CLOCK_PROCESS_CPUTIME_ID)
	if pid > 0 {
		clock = ^int32(pid)<<3 | 2
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// run is one benchmark of a way to the plugin and back: send hands over n
// frames, recv takes what came back and returns how many; it sleeps if told so.
type way struct {
	pid  int
	send func(n int)
	recv func(sleep bool) int
}

// saturate sends b.N frames, batch at a time, as fast as they come back.
func (w *way) saturate(b *testing.B, batch int) {
	const window = 8192 // so that the way's own buffers decide
	var got atomic.Int64
	self, child := cpu(b, 0), cpu(b, w.pid)
	b.ReportAllocs()
	b.ResetTimer()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for got.Load() < int64(b.N) {
			got.Add(int64(w.recv(true)))
		}
	}()
	for sent := 0; sent < b.N; {
		for int64(sent)-got.Load() > window {
			time.Sleep(50 * time.Microsecond)
		}
		n := min(batch, b.N-sent)
		w.send(n)
		sent += n
	}
	<-done
	b.StopTimer()
	w.report(b, self, child)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func (w *way) report(b *testing.B, self, child time.Duration) {
	n := float64(b.N)
	self, child = cpu(b, 0)-self, cpu(b, w.pid)-child
	b.ReportMetric(float64(self)/n, "host-cpu-ns/msg")
	b.ReportMetric(float64(child)/n, "plugin-cpu-ns/msg")
	b.ReportMetric(float64(self+child)/n, "cpu-ns/msg")
}

// pace sends single frames at benchRate and reports how long each took.
func (w *way) pace(b *testing.B) {
	sent := make([]atomic.Int64, b.N)
	took := make([]int64, 0, b.N)
	done := make(chan struct{})
	self, child := cpu(b, 0), cpu(b, w.pid)
	b.ResetTimer()
	start := time.Now()
	go func() {
		defer close(done)
		for len(took) < b.N {
			n := w.recv(true)
			now := int64(time.Since(start))
			for range n {
				took = append(took, now-sent[len(took)].Load())
			}
		}
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for i := range b.N {
		if d := time.Duration(i)*time.Second/benchRate - time.Since(start); d > 0 {
			ts := unix.NsecToTimespec(int64(d))
			_ = unix.Nanosleep(&ts, nil)
		}
		sent[i].Store(int64(time.Since(start)))
		w.send(1)
	}
	<-done
	b.StopTimer()
	w.report(b, self, child)
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100])/1e3, "p99-µs")
}

// benchJournal is small, so that its segments are used again and again, as in a
// runtime that has been up for a while, and in memory, so that what a file
// system takes to supply pages doesn't count: runtime/journal measures that.
func benchJournal(b *testing.B) *journal.Journal {
	dir := b.TempDir()
	if d, err := os.MkdirTemp("/dev/shm", "marketprism-bench"); err == nil {
		dir = d
		b.Cleanup(func() { os.RemoveAll(d) })
	}
	j := newJournal(b, journal.Options{Dir: dir, SegmentBytes: 16 << 20, MaxBytes: 64 << 20})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = j.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-done })
	return j
}

// warmJournal is one segment whose pages are all in place: the wire without the
// supply of pages.
type warmJournal struct {
	dir  string
	mem  []byte
	mu   sync.Mutex
	off  uint64
	read atomic.Pointer[shm.Control]
}

func newWarmJournal(b *testing.B) *warmJournal {
	dir, err := os.MkdirTemp("/dev/shm", "marketprism-bench")
	if err != nil {
		b.Skipf("no memory file system: %v", err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	size := (b.N+16)*int(shm.RecordBytes(benchFrame)) + 1<<20
	f, err := os.Create(filepath.Join(dir, shm.SegmentName(0)))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(size)); err != nil {
		b.Fatal(err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = unix.Munmap(mem) })
	for i := 0; i < size; i += 4096 {
		mem[i] = 0
	}
	shm.PutSegmentHeader(mem, shm.SegmentHeader{Epoch: 1, Size: uint64(size)})
	return &warmJournal{dir: dir, mem: mem, off: shm.SegmentHeaderBytes}
}

func (w *warmJournal) Dir() string         { return w.dir }
func (w *warmJournal) Detach(*shm.Control) { w.read.Store(nil) }
func (w *warmJournal) Attach(c *shm.Control, pos shm.Position) {
	c.SetPin(pos)
	c.SetCursor(pos)
	w.read.Store(c)
}

func (w *warmJournal) Tail() shm.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.off
}

func (w *warmJournal) Append(h shm.Header, frame []byte) (shm.Position, error) {
	w.mu.Lock()
	pos := w.off
	shm.Put(w.mem, pos, 1, pos, h, frame, nil)
	w.off += shm.RecordBytes(len(frame))
	w.mu.Unlock()
	return pos, nil
}

func (w *warmJournal) Ring() int {
	if c := w.read.Load(); c != nil {
		c.SetCommitted(w.Tail())
		c.Ring()
	}
	return 0
}

// appender is a journal that a benchmark fills.
type appender interface {
	host.Journal
	Append(shm.Header, []byte) (shm.Position, error)
	Ring() int
}

func benchAppend(b *testing.B, j appender, frame []byte, n int) {
	for range n {
		if _, err := j.Append(shm.Header{Kind: uint8(source.InputText), Conn: 1}, frame); err != nil {
			b.Error(err)
		}
	}
}

func sharedWay(b *testing.B, j appender, latency wire.Latency) *way {
	ctx, cancel := context.WithCancel(context.Background())
	pos := j.Tail()
	src, err := host.New(testOptions(io.Discard)).NewSource(host.SourceSpec{Spec: host.Spec{Name: "echo"}, Journal: j, Latency: latency,
		Settings:    source.DecoderSettings{Market: market.MarketSpot},
		RestartFrom: func() (shm.Position, []wire.Remembered) { return pos, nil }})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx) }()
	var batch host.Batch
	b.Cleanup(func() {
		cancel()
		<-done
		for src.Poll(&batch, 1<<20) == nil {
		}
		src.Close()
	})
	for src.State().Phase != host.Running {
		if err := src.Poll(&batch, 1<<20); err != nil {
			b.Fatal(err)
		}
		src.Wait(time.Millisecond)
	}
	frame := make([]byte, benchFrame)
	w := &way{pid: src.State().Pid}
	w.send = func(n int) {
		benchAppend(b, j, frame, n)
		j.Ring()
	}
	w.recv = func(sleep bool) int {
		if err := src.Poll(&batch, 64<<10); err != nil {
			b.Error(err)
			return b.N
		}
		if len(batch.Entries) == 0 && sleep {
			src.Wait(time.Second)
		}
		return len(batch.Entries)
	}
	return w
}

// rawCodec carries bytes as they are: what a gRPC transport of record bytes
// would do at best.
type rawCodec struct{}

func (rawCodec) Name() string { return "raw" }

func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append((*v.(*[]byte))[:0], b...)
	return nil
}

func init() { encoding.RegisterCodec(rawCodec{}) }

var streamDesc = grpc.StreamDesc{StreamName: "Echo", ServerStreams: true, ClientStreams: true}

// streamPlugin is a go-plugin plugin that answers batches on a stream.
type streamPlugin struct{ plugin.NetRPCUnsupportedPlugin }

func (streamPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	d := streamDesc
	d.Handler = func(_ any, st grpc.ServerStream) error {
		var in, out []byte
		for {
			if err := st.RecvMsg(&in); err != nil {
				return nil
			}
			n := len(in) / benchFrame * benchRecord
			out = slices.Grow(out[:0], n)[:n]
			for i := range n / benchRecord {
				copy(out[i*benchRecord:], in[i*benchFrame:i*benchFrame+8])
			}
			if err := st.SendMsg(&out); err != nil {
				return err
			}
		}
	}
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "bench", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{d}}, struct{}{})
	return nil
}

func (streamPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return c, nil
}

func streamMain() int {
	plugin.Serve(&plugin.ServeConfig{HandshakeConfig: wire.Handshake, GRPCServer: plugin.DefaultGRPCServer,
		VersionedPlugins: map[int]plugin.PluginSet{wire.ProtocolVersion: {wire.PluginName: streamPlugin{}}}})
	return 0
}

func streamWay(b *testing.B, mtls bool) *way {
	exe, _ := os.Executable()
	cmd := exec.Command(exe, "plugin", "source", "stream")
	c := plugin.NewClient(&plugin.ClientConfig{HandshakeConfig: wire.Handshake, Cmd: cmd, SkipHostEnv: true, AutoMTLS: mtls,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, Logger: hclog.NewNullLogger(),
		VersionedPlugins: map[int]plugin.PluginSet{wire.ProtocolVersion: {wire.PluginName: streamPlugin{}}}})
	b.Cleanup(c.Kill)
	rpc, err := c.Client()
	if err != nil {
		b.Fatal(err)
	}
	conn, err := rpc.Dispense(wire.PluginName)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	st, err := conn.(*grpc.ClientConn).NewStream(ctx, &streamDesc, "/bench/Echo", grpc.CallContentSubtype("raw"))
	if err != nil {
		b.Fatal(err)
	}
	var in []byte
	frames := make([]byte, 64*benchFrame)
	binary.LittleEndian.PutUint64(frames, 1)
	return &way{pid: cmd.Process.Pid,
		send: func(n int) {
			msg := frames[:n*benchFrame]
			if err := st.SendMsg(&msg); err != nil {
				b.Error(err)
			}
		},
		recv: func(sleep bool) int {
			if !sleep {
				return 0
			}
			if err := st.RecvMsg(&in); err != nil {
				b.Error(err)
				return b.N
			}
			return len(in) / benchRecord
		}}
}

// BenchmarkRoundTrip is a frame of 200 bytes to a plugin process and 64 bytes
// back, with all checks: through shared memory, and beside it through a
// go-plugin gRPC stream, with AutoMTLS as the runtime uses it and plain. The
// stream carries opaque bytes and checks none of them. CPU is of both processes. Run it with
// -benchtime=1000000x, or 100000x for the paced ones (20,000 a second). What
// appending to the journal costs by itself, its pages' supply included, is in
// append-alone and in the figures of shm; shm-warm has its pages in place.
func BenchmarkRoundTrip(b *testing.B) {
	b.Run("append-alone/saturated", func(b *testing.B) {
		j, frame := benchJournal(b), make([]byte, benchFrame)
		self := cpu(b, 0)
		b.ResetTimer()
		benchAppend(b, j, frame, b.N)
		b.StopTimer()
		b.ReportMetric(float64(cpu(b, 0)-self)/float64(b.N), "cpu-ns/msg")
	})
	b.Run("shm-warm/saturated", func(b *testing.B) { sharedWay(b, newWarmJournal(b), wire.Balanced).saturate(b, 64) })
	b.Run("shm/saturated", func(b *testing.B) { sharedWay(b, benchJournal(b), wire.Balanced).saturate(b, 64) })
	for _, batch := range []int{64, 1} {
		b.Run(fmt.Sprintf("grpc-%d/saturated", batch), func(b *testing.B) { streamWay(b, true).saturate(b, batch) })
		b.Run(fmt.Sprintf("grpc-plain-%d/saturated", batch), func(b *testing.B) { streamWay(b, false).saturate(b, batch) })
	}
	b.Run("shm-low/paced", func(b *testing.B) { sharedWay(b, benchJournal(b), wire.Low).pace(b) })
	b.Run("shm-balanced/paced", func(b *testing.B) { sharedWay(b, benchJournal(b), wire.Balanced).pace(b) })
	b.Run("grpc-1/paced", func(b *testing.B) { streamWay(b, true).pace(b) })
}
